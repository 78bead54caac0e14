//! Defects in the lives of subscriptions and connections, and in what is told about them.

use std::rc::Rc;
use std::time::Duration;

use super::super::conn::Conn;
use super::super::fanout::{self, Subscription};
use super::super::hub::Hub;
use super::super::stats::Snapshot;
use super::delay::YEAR;
use super::fan_out::encoded;
use super::kind::{Counter, Kind};
use super::planted::{Defects, Ghost};
use crate::clock;

/// The first byte of an unfragmented WebSocket pong.
const PONG: u8 = 0x8A;

/// How a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// On its own.
    Completed,
    /// With its connection.
    Disconnected,
}

impl Defects {
    /// A WebSocket was opened.
    pub(crate) fn opened(&self) {
        for planted in &self.planted {
            if let Kind::LeakPerConnection { bytes } = planted.defect.kind
                && planted.connections.borrow_mut().choice.next(&planted.defect.rule, "")
            {
                planted.leak(bytes);
                planted.truth.borrow_mut().strike(None, 0);
            }
        }
    }

    /// A connection was accepted: for how long that is kept from everybody.
    pub(crate) fn accepted(&self) -> Option<Duration> {
        let mut longest = None;
        for planted in &self.planted {
            let Kind::StarveAccepts { after, pause } = planted.defect.kind else { continue };
            planted.accepted.set(planted.accepted.get() + 1);
            if planted.accepted.get() > after {
                planted.truth.borrow_mut().strike(None, 0);
                longest = longest.max(Some(pause));
            }
        }
        longest
    }

    /// A connection is gone; its address may become another's.
    pub(crate) fn gone(&self, conn: &Conn) {
        for planted in &self.planted {
            planted.connections.borrow_mut().known.remove(&std::ptr::from_ref(conn));
        }
    }

    /// A subscription was made.
    pub(crate) fn subscribed(&self, hub: &Hub, subscription: &Rc<Subscription>) {
        self.expire(hub);
        let lane = self.lane(subscription.channel_name());
        for spot in &lane.spots {
            match spot.kind() {
                Kind::DropOnReconnect => spot.comes_back(&lane.label, subscription),
                Kind::NoPong { .. } => spot.planted.meet(subscription.conn(), &lane.label, |_| ()),
                Kind::DuplicateOnReconnect { .. } => {
                    let orphan = spot.state.borrow_mut().orphans.pop_front();
                    for payload in orphan.filter(|_| spot.hits(&lane.label)).into_iter().flatten() {
                        fanout::deliver(hub, subscription, &mut encoded(&payload));
                        spot.planted.strike(&lane.label);
                    }
                }
                _ => {}
            }
        }
    }

    /// A subscription has been removed.
    pub(crate) fn ended(&self, hub: &Hub, subscription: &Rc<Subscription>, left: Left) {
        let lane = self.lane(subscription.channel_name());
        for spot in &lane.spots {
            let known = spot.state.borrow_mut().subscriptions.remove(&Rc::as_ptr(subscription));
            spot.state.borrow_mut().left |= left == Left::Disconnected;
            match *spot.kind() {
                Kind::DuplicateOnReconnect { events, lag } if left == Left::Disconnected => {
                    let recent = known.unwrap_or_default().recent;
                    let sure = recent.len().saturating_sub(lag);
                    let again = recent.into_iter().take(sure).skip(sure.saturating_sub(events));
                    let again = again.collect::<Vec<_>>();
                    if !again.is_empty() {
                        spot.state.borrow_mut().orphans.push_back(again);
                    }
                }
                Kind::AfterUnsubscribe { events } if left == Left::Completed && spot.hits(&lane.label) => {
                    let conn = Rc::downgrade(subscription.conn());
                    let ghost = Ghost { conn, prefix: subscription.prefix().into(), left: events };
                    spot.state.borrow_mut().ghosts.push(ghost);
                }
                Kind::StaleCount { lasting }
                    if left == Left::Disconnected
                        && !subscription.conn().life.was_closed()
                        && spot.hits(&lane.label) =>
                {
                    hub.counters.subscriptions.add(1);
                    spot.planted.truth.borrow_mut().strike(Some(&lane.label), 0);
                    if let Some(lasting) = lasting {
                        spot.planted.stale.borrow_mut().push_back(clock::now() + lasting.min(YEAR));
                    }
                }
                Kind::KeepSubscriptions { bytes } if spot.hits(&lane.label) => {
                    hub.counters.subscriptions.add(1);
                    spot.planted.leak(bytes);
                    spot.planted.truth.borrow_mut().strike(Some(&lane.label), 0);
                }
                _ => {}
            }
        }
    }

    /// No longer counts what has been counted too long for as long as it was to be.
    pub(crate) fn expire(&self, hub: &Hub) {
        for planted in self.planted.iter().filter(|planted| !planted.stale.borrow().is_empty()) {
            let now = clock::now();
            let mut stale = planted.stale.borrow_mut();
            let over = stale.iter().take_while(|&&end| end <= now).count();
            stale.drain(..over);
            hub.counters.subscriptions.sub(over as u64);
        }
    }

    /// Whether a ping of this connection stays without an answer.
    pub(crate) fn withholds_pong(&self, conn: &Conn) -> bool {
        let mut withheld = false;
        for planted in &self.planted {
            let Kind::NoPong { after } = planted.defect.kind else { continue };
            let mut connections = planted.connections.borrow_mut();
            let Some(met) = connections.known.get_mut(&std::ptr::from_ref(conn)) else { continue };
            met.seen += 1;
            if met.hit && met.seen > after {
                planted.truth.borrow_mut().strike(Some(&met.channel), 0);
                withheld = true;
            }
        }
        withheld
    }

    /// The same for a frame that is about to be written.
    pub(crate) fn withholds_frame(&self, conn: &Conn, frame: &[u8]) -> bool {
        frame.first() == Some(&PONG) && self.withholds_pong(conn)
    }

    /// Whether the publish just made stays without an answer.
    pub(crate) fn withholds_ack(&self) -> bool {
        self.withheld_ack.take()
    }

    /// Makes the counts wrong, once there was an event to count.
    pub(crate) fn falsify(&self, snapshot: &mut Snapshot) {
        for planted in &self.planted {
            if let Kind::Miscount { counter, by, until, .. } = planted.defect.kind
                && planted.truth.borrow().planted() > 0
                && planted.events.get() <= until
            {
                let count = match counter {
                    Counter::Delivered => &mut snapshot.delivered,
                    Counter::Published => &mut snapshot.published,
                    Counter::Connections => &mut snapshot.connections,
                    Counter::Subscriptions => &mut snapshot.subscriptions,
                };
                *count = count.saturating_add_signed(by);
            }
        }
    }
}
