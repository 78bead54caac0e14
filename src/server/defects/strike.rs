//! One delivery and one defect: whether it is hit, and what is done then.

use std::rc::Rc;

use super::super::conn::Fate;
use super::super::event::Event;
use super::super::fanout::{self, Subscription};
use super::super::hub::Hub;
use super::damage;
use super::fan_out::encoded;
use super::kind::{Breakage, Kind};
use super::parse::HEADER;
use super::planted::{Ghost, Held, Message, Spot};

/// What becomes of one delivery.
#[derive(Debug)]
pub(super) enum Action {
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

impl Spot {
    /// What is to become of a delivery, if anything but itself; notes the strike.
    pub(super) fn decide(
        &self,
        label: &Rc<str>,
        to: &Rc<Subscription>,
        payload: &str,
        number: u64,
    ) -> Option<Action> {
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
            Kind::DropOnReconnect => return self.rob(label, to),
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

    /// Does it.
    pub(super) fn perform(
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
