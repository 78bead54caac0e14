//! A publish with defects: who gets it, how often, and what is left of it.

use std::rc::Rc;

use super::super::conn::Fate;
use super::super::event::Event;
use super::super::fanout::{self, Subscription};
use super::super::hub::Hub;
use super::kind::Kind;
use super::planted::{Defects, Held, Lane, Message, Spot};

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
                Kind::NoAck | Kind::LeakPerEvent { .. } | Kind::SlowPublish { .. } => 0,
                // Wrong from an event on, not before: whoever compares two readings must see a difference.
                Kind::Miscount { from, .. } => {
                    let events = spot.planted.events.get() + 1;
                    spot.planted.events.set(events);
                    if events != from {
                        continue;
                    }
                    0
                }
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
                Kind::SlowPublish { per } => spot.planted.occupy(per),
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
                if let Some(defects) = &hub.defects {
                    defects.hold(subscription.conn());
                }
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

/// An event of its own, beside the one being published.
pub(super) fn encoded(payload_json: &str) -> Event {
    let mut event = Event::default();
    event.encode(payload_json);
    event
}
