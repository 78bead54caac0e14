//! Closing a ledger: every obligation that was not met gets its class.

use std::ops::Range;

use super::audit::{DAMAGED_MAX, End, ShardLedger};
use super::classes::{Class, Facts, Life, Received, classify, rule};
use super::counts::{LOST_BUCKET_NS, Totals};
use super::lives::{Mark, NEVER, Past};
use super::receive::seconds;
use super::streams::StreamId;
use crate::report::model::Example;
use crate::scenarios::target::Contract;

/// What a ledger must be told by others to judge what did not arrive.
pub trait CloseFacts {
    /// Whether the target promises order per publisher.
    fn ordered(&self) -> bool;

    /// What the target promises, which says what is lost.
    fn contract(&self) -> Contract;

    /// Whether the publish was acknowledged; true where there are no acknowledgements.
    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool;

    /// Whether it is known what became of the publish: not once more of them than can be remembered had no answer.
    fn accounted(&self, stream: StreamId, seq: u64) -> bool {
        let _ = (stream, seq);
        true
    }

    /// The phase that the event belongs to.
    fn phase_of(&self, stream: StreamId, seq: u64) -> usize;

    /// When the event was due; `None`: unknown.
    fn due_ns(&self, stream: StreamId, seq: u64) -> Option<u64>;

    /// When it was sent; `None`: unknown.
    fn sent_ns(&self, stream: StreamId, seq: u64) -> Option<u64> {
        let _ = (stream, seq);
        None
    }

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
        let mut totals = std::mem::take(&mut self.totals);
        for sub in 0..self.subscriptions.len() {
            self.close_subscription(sub, facts, &mut totals);
        }
        self.close_forgotten(facts, &mut totals);
        totals
    }

    fn close_subscription(&self, sub: usize, facts: &impl CloseFacts, totals: &mut Totals) {
        let streams = &self.config.streams;
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            let slot = streams.slot(stream);
            let book = &self.books[self.row(sub) + slot];
            for (range, stretch) in self.stretches(sub, slot) {
                for seq in book.missing(range) {
                    let missed = self.facts_of(sub, stream, seq, stretch, facts);
                    let delivery = Delivery {
                        group: usize::from(self.subscriptions[sub].group),
                        subscription: self.config.first_subscription + sub as u64,
                        channel: streams.channel(stream),
                        publisher: streams.publisher(stream),
                        epoch: self.config.roster.epoch_of(stream, seq),
                        seq,
                        phase: facts.phase_of(stream, seq),
                        due_ns: facts.due_ns(stream, seq),
                        sent_ns: facts.sent_ns(stream, seq),
                    };
                    let excused = stretch.is_our_doing(&missed);
                    settle(totals, facts.contract(), &delivery, &missed, excused);
                }
            }
        }
    }

    /// Everything that a subscription was owed of a slot, cut at its edges.
    fn stretches(&self, sub: usize, slot: usize) -> Vec<(Range<u64>, Stretch<'_>)> {
        let mut stretches = Vec::new();
        let mut left = self.lives.edge(sub, slot).hard;
        let mut next: Option<Mark> = None;
        for past in self.lives.past(sub, slot) {
            let mark = *past.mark;
            if mark.left != NEVER {
                left = mark.left;
            }
            // Up to the next life, or to the end of the membership.
            let (from, first) = next.map_or((left, left), |next| (next.from.max(mark.end), next.first));
            stretches.push((mark.end..from, Stretch::Absent));
            stretches.push((from..first, Stretch::Starting(past.life.how)));
            stretches.push((mark.first..mark.end, Stretch::Lived(past)));
            next = (!past.life.joined).then_some(mark);
        }
        stretches
    }

    fn facts_of(
        &self,
        sub: usize,
        stream: StreamId,
        seq: u64,
        stretch: Stretch<'_>,
        facts: &impl CloseFacts,
    ) -> Facts {
        let roster = &self.config.roster;
        let book = &self.books[self.row(sub) + self.config.streams.slot(stream)];
        let damaged = !self.damaged.is_empty() && self.damaged.contains(&(sub, stream, seq));
        let mut missed = Facts {
            unaccounted: (book.is_capped() && !book.window().contains(&seq))
                || !facts.accounted(stream, seq)
                || (self.damaged.len() >= DAMAGED_MAX && !damaged),
            received: if damaged { Received::Damaged } else { Received::Nothing },
            acknowledged: facts.acknowledged(stream, seq),
            life: Life::Throughout,
            suppressed: facts.suppressed(sub, stream, seq),
            later_arrived: false,
            ordered: facts.ordered(),
            lived_on: false,
            barrier_given_up: false,
        };
        match stretch {
            Stretch::Absent => missed.life = Life::Absent,
            Stretch::Starting(_) => missed.life = Life::Starting,
            Stretch::Lived(past) => {
                missed.lived_on = past.life.lived_on;
                missed.later_arrived = past.later_arrived(seq);
                missed.barrier_given_up =
                    past.mark.given_up && !past.life.answered && roster.epoch_end(stream, seq) == NEVER;
                if !missed.lived_on && !missed.later_arrived {
                    if seq >= past.mark.acked_end {
                        missed.life = Life::Ending;
                    }
                    // Where something later arrived, a hole is the server's and not the cut's; and what had long been
                    // acknowledged was not on its way any more when we cut.
                    missed.suppressed |= past.life.how == End::Cut && seq >= past.mark.long_acked;
                }
            }
        }
        missed
    }
}

/// How it stood with a subscription over a range of seqs.
#[derive(Clone, Copy)]
enum Stretch<'a> {
    /// It was away.
    Absent,
    /// It may have been there again, after a life that ended like this.
    Starting(End),
    /// It lived.
    Lived(Past<'a>),
}

impl Stretch<'_> {
    /// Whether it is for an end of our making in mid-run that nobody can decide what became of a publish in flight.
    fn is_our_doing(&self, facts: &Facts) -> bool {
        match self {
            Self::Absent => false,
            Self::Starting(how) => *how == End::Cut,
            Self::Lived(past) => facts.life == Life::Ending && matches!(past.life.how, End::Cut | End::Left),
        }
    }
}

/// One obligation that was not met.
struct Delivery {
    group: usize,
    subscription: u64,
    channel: u32,
    publisher: u32,
    epoch: u32,
    seq: u64,
    phase: usize,
    due_ns: Option<u64>,
    sent_ns: Option<u64>,
}

/// Counts an obligation that was not met in its class.
fn settle(totals: &mut Totals, contract: Contract, delivery: &Delivery, facts: &Facts, excused: bool) {
    let class = classify(facts);
    let cell = totals.cell(delivery.group, delivery.phase);
    cell.add(class);
    cell.excused += u64::from(excused && class == Class::Indeterminate);
    if class.is_lost(contract) {
        let bucket = delivery.due_ns.map_or(u64::MAX, |due| due / LOST_BUCKET_NS);
        *totals.lost_by_due.entry(bucket).or_default() += 1;
    }
    totals.keep_example(class, || Example {
        channel: delivery.channel.into(),
        publisher: delivery.publisher.into(),
        epoch: delivery.epoch.into(),
        seq: delivery.seq,
        subscription: delivery.subscription,
        due_s: delivery.due_ns.map(seconds),
        sent_s: delivery.sent_ns.map(seconds),
        rule: rule(facts).to_owned(),
        ..Example::default()
    });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{
        Class, Config, Found, GroupShape, Kind, ReceiptClass, Roster, Streams, SubscriptionShape, Token, sums,
    };

    struct Ordered(bool);

    impl CloseFacts for Ordered {
        fn ordered(&self) -> bool {
            self.0
        }

        fn contract(&self) -> Contract {
            Contract::AtMostOnce
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
        let streams = Arc::new(Streams::new(2, &[GroupShape { connections: 2 }]));
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
        let mut ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 1, group: 0 }]);
        ledger.confirm(0);
        let obligations = (0..10).map(|_| roster.publish(StreamId(1)).obligations).sum();
        for &seq in arrive {
            let token = Token {
                run: 1,
                channel: 1,
                publisher: 1,
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

    /// Ten events of which the first two arrive, all of them acknowledged long before a cut, and held from some time on.
    fn cut_after(held: impl Fn(&mut ShardLedger, u64)) -> Vec<(Class, u64)> {
        let (mut ledger, _) = ledger(&[], 1_000);
        // The first ten of the fixture are over with.
        let roster = Arc::clone(&ledger.config.roster);
        let remember_all = |until: u64| {
            (0..until).for_each(|seq| roster.settle(StreamId(1), seq));
            roster.remember();
            roster.remember();
        };
        remember_all(10);
        held(&mut ledger, 0);
        (0..10).for_each(|_| _ = roster.publish(StreamId(1)));
        remember_all(20);
        held(&mut ledger, 1);
        ledger.end(0, End::Cut);
        classes(&ledger.close(&Ordered(true)))
    }

    #[test]
    fn a_hold_excuses_from_its_begin_and_a_cut_only_what_was_on_its_way() {
        let unknown = (Class::UnknownPublish, 1);
        assert_eq!(cut_after(|_, _| ()), [unknown, (Class::Indeterminate, 19)]);
        let held = cut_after(|ledger, when| {
            if when == 0 {
                ledger.hold(0);
            }
        });
        assert_eq!(held, [unknown, (Class::Suppressed, 10), (Class::Indeterminate, 9)]);
        let let_go = cut_after(|ledger, when| {
            if when == 0 {
                ledger.hold(0);
            } else {
                ledger.let_go(0);
            }
        });
        assert_eq!(let_go, [unknown, (Class::Indeterminate, 19)], "it had its time to arrive");
        let twice = cut_after(|ledger, _| ledger.hold(0));
        assert_eq!(twice, held, "the first hold counts");
    }

    #[test]
    fn a_hold_does_not_pass_to_the_next_life() {
        let (mut ledger, _) = ledger(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 1_000);
        ledger.hold(0);
        ledger.end(0, End::Died);
        let roster = Arc::clone(&ledger.config.roster);
        ledger.subscribed(0);
        ledger.confirm(0);
        (0..5).for_each(|_| _ = roster.publish(StreamId(1)));
        (0..15).for_each(|seq| roster.settle(StreamId(1), seq));
        roster.remember();
        roster.remember();
        ledger.end(0, End::Cut);
        assert_eq!(
            classes(&ledger.close(&Ordered(true))),
            [(Class::Delivered, 10), (Class::Indeterminate, 5)]
        );
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
        assert_eq!((example.channel, example.publisher), (1, 1));
        assert_eq!((example.subscription, example.seq), (100, 2));
        assert_eq!((example.due_s, example.sent_s), (Some(0.2), None));
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
