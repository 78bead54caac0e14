//! A publish with defects: who gets it, how often, and what is left of it.

use std::rc::Rc;

use super::super::conn::Fate;
use super::super::event::Event;
use super::super::fanout::{self, Subscription};
use super::super::hub::Hub;
use super::damage;
use super::kind::{Breakage, Kind};
use super::parse::HEADER;
use super::planted::{Defects, Ghost, Held, Lane, Message, Spot};

/// What becomes of one delivery.
#[derive(Debug)]
enum Action {
    Lose,
    Twice,
    /// Made after this many later ones.
    Hold,
    /// Made with this payload, a JSON string.
    Instead(String),
    /// Made, and after it one of this payload.
    Also(String),
    /// Made, and after it a broken frame.
    Break(Breakage),
    /// Made under this prefix.
    Under(Box<[u8]>),
    /// Not made, and none after it.
    Forget,
    /// The last one of its connection.
    Close,
}

/// [`fanout::publish`] where there are defects.
pub(crate) fn publish(hub: &Hub, defects: &Defects, channel: &str, payload_json: &str) -> (u64, usize) {
    let lane = defects.lane(channel);
    let (seq, found) = fanout::announce(hub, channel);
    let subscribers = found.map_or_else(Vec::new, |channel| channel.subscribers());
    let message = lane.note(payload_json);
    let owed = subscribers.len();
    if lane.publish_is_struck(defects, &message, owed) {
        return (seq, 0);
    }
    match lane.delay(&message, owed) {
        Some(delay) => defects.delays.add(delay, lane, message, &subscribers),
        None => lane.fan_out(hub, &subscribers, &message),
    }
    (seq, owed)
}

impl Lane {
    /// Does what is done once for a publish; whether nobody gets it.
    fn publish_is_struck(&self, defects: &Defects, message: &Message, owed: usize) -> bool {
        let mut forgotten = false;
        for (spot, _) in self.spots_for(message) {
            let deliveries = match *spot.kind() {
                Kind::AckAndForget if !forgotten => owed as u64,
                Kind::NoAck | Kind::LeakPerEvent { .. } => 0,
                // Wrong from the first event on: whoever compares two readings must see a difference.
                Kind::Miscount { .. } if spot.planted.truth.borrow().planted() == 0 => 0,
                _ => continue,
            };
            if !spot.hits(&self.label) {
                continue;
            }
            spot.planted.truth.borrow_mut().strike(Some(&self.label), deliveries);
            match *spot.kind() {
                Kind::AckAndForget => forgotten = true,
                Kind::NoAck => defects.withheld_ack.set(true),
                Kind::LeakPerEvent { bytes } => spot.planted.leak(bytes),
                _ => {}
            }
        }
        forgotten
    }

    /// How late the message is to be.
    ///
    /// Short messages are as late as the event before them: they must not overtake it.
    fn delay(&self, message: &Message, owed: usize) -> Option<std::time::Duration> {
        let mut latest = None;
        for (spot, number) in self.spots.iter().zip(&message.numbers) {
            let Kind::SlowDown { step, max } = *spot.kind() else { continue };
            let mut state = spot.state.borrow_mut();
            if let Some(number) = *number {
                let steps = u32::try_from(number).unwrap_or(u32::MAX);
                state.delay = step.saturating_mul(steps).min(max);
                spot.planted.truth.borrow_mut().strike(Some(&self.label), owed as u64);
            }
            latest = latest.max(Some(state.delay).filter(|delay| !delay.is_zero()));
        }
        latest
    }

    /// Delivers a message to these subscriptions, as wrongly as it was asked for.
    pub(super) fn fan_out(&self, hub: &Hub, subscribers: &[Rc<Subscription>], message: &Message) {
        let mut event = encoded(&message.payload);
        // Before the rest: a subscription that is forgotten now has lost this message already.
        self.haunt(hub, message, &mut event);
        for subscription in subscribers {
            if subscription.conn().fate() == Fate::Live {
                self.deliver(hub, subscription, message, &mut event);
            }
        }
    }

    fn deliver(&self, hub: &Hub, subscription: &Rc<Subscription>, message: &Message, event: &mut Event) {
        self.release_before(hub, subscription, message);
        let action = self.spots_for(message).find_map(|(spot, number)| {
            Some((spot, spot.decide(&self.label, subscription, &message.payload, number)?))
        });
        match action {
            Some((spot, action)) => spot.perform(hub, subscription, message, event, action),
            None => {
                fanout::deliver(hub, subscription, event);
                self.remember(subscription, message);
            }
        }
        self.release_after(hub, subscription, message);
    }

    /// The spots that may strike this message, with its number at each.
    fn spots_for(&self, message: &Message) -> impl Iterator<Item = (&Spot, u64)> {
        let spots = self.spots.iter().zip(&message.numbers);
        spots.filter_map(|(spot, number)| number.map(|number| (spot, number)))
    }

    /// Serves those who completed, and counts what those are owed who were forgotten.
    fn haunt(&self, hub: &Hub, message: &Message, event: &mut Event) {
        for (spot, _) in self.spots_for(message) {
            let delivers = matches!(spot.kind(), Kind::AfterUnsubscribe { .. });
            spot.state.borrow_mut().ghosts.retain_mut(|ghost| {
                let Some(conn) = ghost.conn.upgrade().filter(|conn| conn.fate() == Fate::Live) else {
                    return false;
                };
                if delivers {
                    fanout::hand_over(hub, &conn, &ghost.prefix, event);
                    spot.planted.strike(&self.label);
                } else {
                    spot.planted.truth.borrow_mut().touch();
                }
                ghost.left -= 1;
                ghost.left > 0
            });
        }
    }

    /// Remembers what a subscription got, for those that send it again.
    fn remember(&self, subscription: &Rc<Subscription>, message: &Message) {
        for (spot, _) in self.spots_for(message) {
            if let Kind::DuplicateOnReconnect { events, lag } = *spot.kind() {
                spot.know(subscription, |known| {
                    known.recent.push_back(Rc::clone(&message.payload));
                    if known.recent.len() > events.saturating_add(lag) {
                        known.recent.pop_front();
                    }
                });
            }
        }
    }

    /// A short message may be a barrier: what is still held back comes before it.
    fn release_before(&self, hub: &Hub, subscription: &Rc<Subscription>, message: &Message) {
        for (spot, number) in self.spots.iter().zip(&message.numbers) {
            if number.is_none() && matches!(spot.kind(), Kind::Reorder { .. }) {
                let held = spot.know(subscription, |known| std::mem::take(&mut known.held));
                self.release(hub, subscription, spot, &held);
            }
        }
    }

    /// Makes the held deliveries that enough others have overtaken.
    fn release_after(&self, hub: &Hub, subscription: &Rc<Subscription>, message: &Message) {
        for (spot, _) in self.spots_for(message) {
            if let Kind::Reorder { by } = *spot.kind() {
                let due = spot.know(subscription, |known| {
                    let due = known.held.iter().take_while(|held| held.overtaken >= by).count();
                    known.held.drain(..due).collect::<Vec<_>>()
                });
                self.release(hub, subscription, spot, &due);
            }
        }
    }

    fn release(&self, hub: &Hub, subscription: &Subscription, spot: &Spot, held: &[Held]) {
        for Held { payload, overtaken } in held {
            fanout::deliver(hub, subscription, &mut encoded(payload));
            if *overtaken > 0 {
                spot.planted.strike(&self.label);
            }
        }
    }
}

impl Spot {
    /// What is to become of a delivery, if anything but itself; notes the strike.
    fn decide(&self, label: &Rc<str>, to: &Rc<Subscription>, payload: &str, number: u64) -> Option<Action> {
        let (conn, defect) = (to.conn(), &self.planted.defect);
        let candidate = match *self.kind() {
            Kind::DropTail { after } => {
                // The same events for every subscriber, so no choice.
                let tail = after..after.saturating_add(defect.rule.times.unwrap_or(1));
                return tail.contains(&(number - 1)).then(|| {
                    self.planted.strike(label);
                    Action::Lose
                });
            }
            Kind::Stall { after } => {
                self.stall(label, to, after);
                return None;
            }
            Kind::CloseWithoutFrame { after } => return self.close(label, to, after),
            Kind::Reorder { .. } => return self.hold(label, to),
            Kind::DropWhenSlow => conn.waiting() > 0,
            Kind::DropFirst => self.seen(to) == 1,
            Kind::ForgetSubscription { after } => self.seen(to) == after.saturating_add(1),
            Kind::Misroute => self.other_channel(to).is_some(),
            Kind::Drop
            | Kind::Duplicate
            | Kind::CorruptFiller { .. }
            | Kind::CorruptHeader { .. }
            | Kind::BreakFrame(_)
            | Kind::Truncate { .. }
            | Kind::ReplayOldRun { .. } => true,
            _ => false,
        };
        if !candidate || !self.hits(label) {
            return None;
        }
        let action = self.action(label, to, payload)?;
        self.planted.strike(label);
        Some(action)
    }

    /// What a hit does; `None` if the payload is not one it can be done to.
    fn action(&self, label: &Rc<str>, to: &Rc<Subscription>, payload: &str) -> Option<Action> {
        Some(match self.kind() {
            Kind::Duplicate => Action::Twice,
            Kind::CorruptFiller { from_end } => {
                Action::Instead(damage::corrupt(payload, |len| len.checked_sub(*from_end))?)
            }
            Kind::CorruptHeader { at } => {
                let (seed, nth) = (self.planted.defect.rule.seed, self.planted.truth.borrow().planted());
                let drawn = |len| damage::place(seed, label, nth, HEADER, len);
                Action::Instead(damage::corrupt(payload, |len| at.or_else(|| drawn(len)))?)
            }
            Kind::Truncate { share } => Action::Instead(damage::truncate(payload, *share)?),
            Kind::BreakFrame(how) => Action::Break(*how),
            Kind::Misroute => Action::Under(self.other_channel(to)?),
            Kind::ReplayOldRun { payload } => Action::Also(damage::json_of(payload)),
            Kind::ForgetSubscription { .. } => Action::Forget,
            _ => Action::Lose,
        })
    }

    fn perform(
        &self,
        hub: &Hub,
        to: &Rc<Subscription>,
        message: &Message,
        event: &mut Event,
        action: Action,
    ) {
        match action {
            Action::Lose => {}
            Action::Twice => {
                fanout::deliver(hub, to, event);
                fanout::deliver(hub, to, event);
            }
            Action::Hold => {
                let held = Held { payload: Rc::clone(&message.payload), overtaken: 0 };
                self.know(to, |known| known.held.push(held));
            }
            Action::Instead(payload) => fanout::deliver(hub, to, &mut encoded(&payload)),
            Action::Also(payload) => {
                fanout::deliver(hub, to, event);
                fanout::deliver(hub, to, &mut encoded(&payload));
            }
            Action::Break(how) => {
                fanout::deliver(hub, to, event);
                to.conn().queue(damage::broken_frame(how));
                to.conn().wake();
            }
            Action::Under(prefix) => fanout::hand_over(hub, to.conn(), &prefix, event),
            Action::Forget => {
                let conn = Rc::downgrade(to.conn());
                let ghost = Ghost { conn, prefix: to.prefix().into(), left: u64::MAX };
                self.state.borrow_mut().ghosts.push(ghost);
                fanout::unsubscribe(hub, to.conn(), to.prefix());
            }
            Action::Close => {
                fanout::deliver(hub, to, event);
                to.conn().end(Fate::CutOff);
            }
        }
    }

    /// Counts a delivery to a subscription.
    fn seen(&self, subscription: &Rc<Subscription>) -> u64 {
        self.know(subscription, |known| {
            known.seen += 1;
            known.seen
        })
    }

    /// Holds the delivery back, or counts it as one that overtakes those held back.
    fn hold(&self, label: &str, to: &Rc<Subscription>) -> Option<Action> {
        if self.hits(label) {
            return Some(Action::Hold);
        }
        self.know(to, |known| known.held.iter_mut().for_each(|held| held.overtaken += 1));
        None
    }

    /// Stops writing to a chosen connection, as soon as nothing waits for it: so each event is either written
    /// whole or counted as withheld.
    fn stall(&self, label: &Rc<str>, to: &Subscription, after: u64) {
        let conn = to.conn();
        self.planted.meet(conn, label, |met| {
            if met.struck {
                self.planted.truth.borrow_mut().touch();
            } else if met.hit && met.seen >= after && conn.waiting() == 0 {
                conn.mute();
                met.struck = true;
                self.planted.strike(label);
            }
            met.seen += 1;
        });
    }

    fn close(&self, label: &Rc<str>, to: &Subscription, after: u64) -> Option<Action> {
        self.planted.meet(to.conn(), label, |met| {
            met.seen += 1;
            (met.hit && met.seen == after).then(|| {
                self.planted.strike(label);
                Action::Close
            })
        })
    }

    /// The prefix of a subscription of the same connection to another channel that this defect may strike.
    fn other_channel(&self, to: &Subscription) -> Option<Box<[u8]>> {
        let mut found: Option<Box<[u8]>> = None;
        to.conn().subscriptions.each(|other| {
            let name = other.channel_name();
            if name != to.channel_name()
                && self.planted.defect.channels.contain(name)
                && found.as_deref().is_none_or(|found| other.prefix() < found)
            {
                found = Some(other.prefix().into());
            }
        });
        found
    }
}

/// An event of its own, beside the one being published.
pub(super) fn encoded(payload_json: &str) -> Event {
    let mut event = Event::default();
    event.encode(payload_json);
    event
}
