//! Closing a ledger: every obligation that was not met gets its class.

use std::sync::Arc;

use super::audit::{End, ShardLedger, seconds};
use super::classes::{Facts, Life, Received, classify, rule};
use super::counts::{LOST_BUCKET_NS, Totals};
use super::streams::StreamId;
use crate::report::model::Example;

/// What a ledger must be told by others to judge what did not arrive.
pub trait CloseFacts {
    /// Whether the target promises order per publisher.
    fn ordered(&self) -> bool;

    /// Whether the publish was acknowledged; true where there are no acknowledgements.
    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool;

    /// The phase that the event belongs to.
    fn phase_of(&self, stream: StreamId, seq: u64) -> usize;

    /// When the event was due; `None`: unknown.
    fn due_ns(&self, stream: StreamId, seq: u64) -> Option<u64>;

    /// Whether a fault of ours still held or cut this delivery.
    fn suppressed(&self, sub: usize, stream: StreamId, seq: u64) -> bool {
        let _ = (sub, stream, seq);
        false
    }
}

impl ShardLedger {
    /// Ends what is still live, which thereby has lived through the quiet period, and classes every obligation.
    #[must_use]
    pub fn close(mut self, facts: &impl CloseFacts) -> Totals {
        self.quiet_passed();
        for sub in 0..self.subscriptions.len() {
            self.end(sub, End::Unsubscribed);
        }
        for sub in 0..self.subscriptions.len() {
            self.close_subscription(sub, facts);
        }
        self.totals
    }

    fn close_subscription(&mut self, sub: usize, facts: &impl CloseFacts) {
        let streams = Arc::clone(&self.config.streams);
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            let slot = streams.slot(stream);
            let book = &self.books[sub * streams.slots() + slot];
            let window = book.window();
            for (life, mark) in self.lives.of(sub, slot) {
                let high = mark.high(window.end);
                for seq in book.missing(mark.owed()) {
                    let later_arrived = seq < high;
                    let damaged = !self.damaged.is_empty() && self.damaged.contains(&(sub, stream, seq));
                    let missed = Facts {
                        unaccounted: book.is_capped() && !window.contains(&seq),
                        received: if damaged { Received::Damaged } else { Received::Nothing },
                        acknowledged: facts.acknowledged(stream, seq),
                        // Behind the last arrival of an incarnation that ended early, an event may have been
                        // in flight when it ended.
                        life: if life.lived_on || later_arrived { Life::Throughout } else { Life::Boundary },
                        suppressed: facts.suppressed(sub, stream, seq),
                        later_arrived,
                        ordered: facts.ordered(),
                        lived_on: life.lived_on,
                    };
                    let delivery = Delivery {
                        group: usize::from(self.subscriptions[sub].group),
                        subscription: self.config.first_subscription + sub as u64,
                        channel: streams.channel(stream),
                        publisher: streams.publisher(stream),
                        seq,
                        phase: facts.phase_of(stream, seq),
                        due_ns: facts.due_ns(stream, seq),
                    };
                    settle(&mut self.totals, &delivery, &missed);
                }
            }
        }
    }
}

/// One obligation that was not met.
struct Delivery {
    group: usize,
    subscription: u64,
    channel: u32,
    publisher: u32,
    seq: u64,
    phase: usize,
    due_ns: Option<u64>,
}

/// Counts an obligation that was not met in its class.
fn settle(totals: &mut Totals, delivery: &Delivery, facts: &Facts) {
    let class = classify(facts);
    totals.cell(delivery.group, delivery.phase).add(class);
    if class.is_lost() {
        let bucket = delivery.due_ns.map_or(u64::MAX, |due| due / LOST_BUCKET_NS);
        *totals.lost_by_due.entry(bucket).or_default() += 1;
    }
    totals.keep_example(class, || Example {
        channel: delivery.channel.into(),
        publisher: delivery.publisher.into(),
        seq: delivery.seq,
        subscription: delivery.subscription,
        due_s: delivery.due_ns.map(seconds),
        rule: rule(facts).to_owned(),
        ..Example::default()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{
        Class, Config, Found, GroupShape, Kind, ReceiptClass, Roster, Streams, SubscriptionShape, Token, sums,
    };

    struct Ordered(bool);

    impl CloseFacts for Ordered {
        fn ordered(&self) -> bool {
            self.0
        }

        fn acknowledged(&self, _: StreamId, seq: u64) -> bool {
            seq != 9
        }

        fn phase_of(&self, _: StreamId, _: u64) -> usize {
            0
        }

        fn due_ns(&self, _: StreamId, seq: u64) -> Option<u64> {
            Some(seq * LOST_BUCKET_NS)
        }
    }

    /// One subscription that is confirmed and owed ten events, of which these arrive.
    fn ledger(arrive: &[u64], gaps_max_bytes: usize) -> (ShardLedger, u64) {
        let streams = Arc::new(Streams::new(1, &[GroupShape { connections: 1 }]));
        let roster = Arc::new(Roster::new(&streams));
        let config = Config {
            run: 1,
            streams,
            roster: Arc::clone(&roster),
            deadline_ns: 0,
            groups: 1,
            phases: 1,
            gaps_max_bytes,
            first_subscription: 100,
        };
        let mut ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 0, group: 0 }]);
        ledger.confirm(0);
        let obligations = (0..10).map(|_| roster.publish(StreamId(0)).obligations).sum();
        for &seq in arrive {
            let token = Token {
                run: 1,
                channel: 0,
                publisher: 0,
                epoch: 0,
                kind: Kind::Event,
                seq,
                due_ns: 5,
                sent_ns: 5,
            };
            ledger.count_receipt(0, 0);
            ledger.receive(0, &Found::Intact(token), 5, 0);
        }
        (ledger, obligations)
    }

    fn classes(totals: &Totals) -> Vec<(Class, u64)> {
        let all = totals.all();
        Class::ALL.into_iter().map(|class| (class, all.of(class))).filter(|(_, count)| *count > 0).collect()
    }

    const ARRIVE: [u64; 6] = [0, 1, 3, 4, 5, 7];

    #[test]
    fn what_never_arrived_is_lost_if_the_subscription_lived_on() {
        let (ledger, _) = ledger(&ARRIVE, 1_000);
        assert_eq!(ledger.count_outstanding(), 4);
        let totals = ledger.close(&Ordered(true));
        let expected = [
            (Class::Delivered, 6),
            (Class::UnknownPublish, 1),
            (Class::LostProven, 2),
            (Class::LostPresumed, 1),
        ];
        assert_eq!(classes(&totals), expected);
        assert_eq!(totals.lost_by_due.into_iter().collect::<Vec<_>>(), [(2, 1), (6, 1), (8, 1)]);
    }

    #[test]
    fn what_was_in_flight_when_it_ended_cannot_be_decided() {
        for how in [End::Died, End::Unsubscribed] {
            let (mut ledger, _) = ledger(&ARRIVE, 1_000);
            ledger.end(0, how);
            let totals = ledger.close(&Ordered(true));
            let expected = [
                (Class::Delivered, 6),
                (Class::UnknownPublish, 1),
                (Class::LostProven, 2),
                (Class::Indeterminate, 1),
            ];
            assert_eq!(classes(&totals), expected);
        }
    }

    #[test]
    fn unsubscribing_after_the_quiet_period_excuses_nothing() {
        let (mut ledger, _) = ledger(&ARRIVE, 1_000);
        ledger.quiet_passed();
        ledger.end(0, End::Unsubscribed);
        let totals = ledger.close(&Ordered(false));
        assert_eq!(
            classes(&totals),
            [(Class::Delivered, 6), (Class::UnknownPublish, 1), (Class::LostPresumed, 3)]
        );
        let example = totals.examples().find(|example| example.class == "lost_presumed").unwrap();
        assert_eq!((example.subscription, example.seq, example.due_s), (100, 2, Some(0.2)));
    }

    #[test]
    fn without_memory_for_gaps_sums_still_close() {
        let (ledger, obligations) = ledger(&ARRIVE, 0);
        let totals = ledger.close(&Ordered(true));
        assert_eq!(classes(&totals), [(Class::Unverified, 8), (Class::Delivered, 2)]);
        assert_eq!(totals.all().receipts_of(ReceiptClass::Unverified), 4);
        assert_eq!(sums(&totals.all(), totals.receipts(), obligations), Ok(()));
    }
}
