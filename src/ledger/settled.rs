//! What is over with: memberships that ended well before the present one are taken out of the ledger, so that a client
//! that comes and goes for a day costs no more than one that does so for a minute.
//!
//! A membership of which nothing is missing has nothing left to be classed, and goes as soon as two newer ones have
//! ended. One of which something is missing is kept whole, to be classed when the run is over, as long as there are few
//! of them; the oldest beyond that are counted here and now. What was being published at the moment of an unsubscribe of
//! ours stays undecided whatever else comes to be known; the rest is `unverified`. Then the books forget what lies before
//! everything that is kept.

use super::audit::{End, ShardLedger};
use super::classes::Class;
use super::close::CloseFacts;
use super::counts::Totals;
use super::lives::Past;
use super::streams::StreamId;

/// Memberships that stay as they are behind the present one: what still arrives for them is told apart exactly.
const RECENT: usize = 2;

/// Lives that are kept for one subscription, at most.
pub(super) const LIVES_MAX: usize = 64;

/// Gaps that a book may have, or as many as take its memory, before what is old is forgotten.
pub(super) const GAPS_MAX: usize = 1_024;

/// What was missing of one stream in memberships that are not kept any more.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forgotten {
    /// It was on its way when we unsubscribed.
    undecided: u64,
    /// Nobody remembers what is needed to tell.
    unverified: u64,
    /// The newest of them.
    seq: u64,
}

impl ShardLedger {
    /// Takes memberships of `sub` out of the ledger that are over with. Called as a new one begins.
    pub(super) fn settle_past(&mut self, sub: usize) {
        let mut kept = 0;
        let mut newer = None;
        for membership in self.lives.memberships(sub).collect::<Vec<_>>() {
            kept += 1;
            if kept > RECENT && self.is_complete(sub, &membership) {
                self.lives.take_out(sub, newer, &membership);
            } else {
                newer = membership.last().copied();
            }
        }
        loop {
            if self.has_many_gaps(sub) {
                self.forget_books(sub);
            }
            let memberships: Vec<_> = self.lives.memberships(sub).collect();
            let lives: usize = memberships.iter().map(Vec::len).sum();
            let crowded = lives > LIVES_MAX || self.has_many_gaps(sub);
            let [.., newer, oldest] = memberships.as_slice() else { return };
            if !crowded || memberships.len() <= RECENT {
                return;
            }
            self.count_now(sub, oldest);
            self.lives.take_out(sub, newer.last().copied(), oldest);
        }
    }

    /// Whether everything that a membership was owed has arrived.
    fn is_complete(&self, sub: usize, membership: &[u32]) -> bool {
        let (Some(&newest), Some(&first)) = (membership.first(), membership.last()) else { return true };
        let mut slots = self.slots_of(sub);
        slots.all(|(slot, _)| {
            let owed = self.lives.mark(first, slot).first..self.lives.mark(newest, slot).left;
            self.books[self.row(sub) + slot].count_missing(owed) == 0
        })
    }

    /// Counts what is missing of a membership, with what is known now.
    fn count_now(&mut self, sub: usize, membership: &[u32]) {
        let (Some(&newest), Some(&first)) = (membership.first(), membership.last()) else { return };
        for (slot, stream) in self.slots_of(sub).collect::<Vec<_>>() {
            let (from, mark) = (self.lives.mark(first, slot).first, *self.lives.mark(newest, slot));
            let past: Past<'_> = self.lives.as_past(newest, slot);
            let ours = matches!(past.life.how, End::Left | End::Cut);
            let mut counted = Forgotten::default();
            for seq in self.books[self.row(sub) + slot].missing(from..mark.left) {
                let lived = mark.first.max(mark.acked_end)..mark.end;
                let on_its_way = ours && lived.contains(&seq) && !past.later_arrived(seq);
                let damaged = self.damaged.contains(&(sub, stream, seq));
                *(if on_its_way && !damaged { &mut counted.undecided } else { &mut counted.unverified }) += 1;
                counted.seq = seq;
            }
            if counted.undecided + counted.unverified > 0 {
                let sum = self.forgotten.entry((sub, stream)).or_default();
                sum.undecided += counted.undecided;
                sum.unverified += counted.unverified;
                sum.seq = sum.seq.max(counted.seq);
            }
        }
    }

    fn has_many_gaps(&self, sub: usize) -> bool {
        self.slots_of(sub).any(|(slot, _)| self.books[self.row(sub) + slot].gaps() > GAPS_MAX)
    }

    /// The books forget the older half of what they remember, but for what lies within lives that are kept.
    fn forget_books(&mut self, sub: usize) {
        for (slot, _) in self.slots_of(sub).collect::<Vec<_>>() {
            let oldest = self.lives.past(sub, slot).last().map(|past| past.mark.from);
            let kept = oldest.unwrap_or_else(|| self.lives.edge(sub, slot).soft);
            let at = self.row(sub) + slot;
            let window = self.books[at].window();
            self.books[at].forget_below(kept.min(window.start.midpoint(window.end)), &mut self.room);
        }
    }

    /// Puts what was counted before its time into the totals, in the phase of the newest of it.
    pub(super) fn close_forgotten(&self, facts: &impl CloseFacts, totals: &mut Totals) {
        for (&(sub, stream), forgotten) in &self.forgotten {
            let group = usize::from(self.subscriptions[sub].group);
            let cell = totals.cell(group, facts.phase_of(stream, forgotten.seq));
            (0..forgotten.unverified).for_each(|_| cell.add(Class::Unverified));
            (0..forgotten.undecided).for_each(|_| cell.add(Class::Indeterminate));
            cell.excused += forgotten.undecided;
        }
    }

    fn slots_of(&self, sub: usize) -> impl Iterator<Item = (usize, StreamId)> + '_ {
        let streams = &self.config.streams;
        streams
            .streams_of_channel(self.subscriptions[sub].channel)
            .map(|stream| (streams.slot(stream), stream))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::{Config, Found, GroupShape, Kind, Roster, Streams, SubscriptionShape, Token, sums};
    use crate::scenarios::target::Contract;

    struct Plain;

    impl CloseFacts for Plain {
        fn ordered(&self) -> bool {
            true
        }

        fn contract(&self) -> Contract {
            Contract::AtMostOnce
        }

        fn acknowledged(&self, _: StreamId, _: u64) -> bool {
            true
        }

        fn phase_of(&self, _: StreamId, _: u64) -> usize {
            0
        }

        fn due_ns(&self, _: StreamId, _: u64) -> Option<u64> {
            None
        }
    }

    /// What one event is, and how it fares in a cycle.
    #[derive(Clone, Copy, PartialEq)]
    enum Fate {
        Arrives,
        /// It was acknowledged, and does not arrive.
        Lost,
        /// It is published just before the unsubscribe, and does not arrive.
        OnItsWay,
    }

    struct Day {
        ledger: ShardLedger,
        roster: Arc<Roster>,
        obligations: u64,
    }

    const STREAM: StreamId = StreamId(0);

    impl Day {
        fn new() -> Self {
            let streams = Arc::new(Streams::new(1, &[GroupShape { connections: 1 }]));
            let roster = Arc::new(Roster::new(&streams));
            let config = Config {
                run: 1,
                streams,
                roster: Arc::clone(&roster),
                deadline_ns: u64::MAX,
                groups: 1,
                phases: 1,
                gaps_max_bytes: 1 << 20,
                first_subscription: 0,
            };
            let ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 0, group: 0 }]);
            Self { ledger, roster, obligations: 0 }
        }

        fn publish(&mut self) -> u64 {
            let seq = self.roster.published(STREAM);
            self.obligations += self.roster.publish(STREAM).obligations;
            seq
        }

        fn receive(&mut self, seq: u64) -> crate::ledger::Receipt {
            let (kind, due_ns) = (Kind::Event, seq);
            let token = Token { run: 1, channel: 0, publisher: 0, epoch: 0, kind, seq, due_ns, sent_ns: seq };
            self.ledger.count_receipt(0, 0);
            self.ledger.receive(0, &Found::Intact(token), seq, 0)
        }

        /// A cycle of five events of which the fourth, or the fifth, fares like this; and two while it is away.
        fn cycle(&mut self, fate: Fate) {
            self.ledger.subscribed(0);
            self.ledger.confirm(0);
            for k in 0..5 {
                let seq = self.publish();
                let unlucky = k == if fate == Fate::Lost { 3 } else { 4 };
                if !unlucky || fate == Fate::Arrives {
                    self.receive(seq);
                }
                if !unlucky || fate != Fate::OnItsWay {
                    self.roster.settle(STREAM, seq);
                }
            }
            self.ledger.end(0, End::Left);
            self.ledger.unsubscribe_answered(0);
            let settled = self.roster.published(STREAM);
            self.roster.settle(STREAM, settled - 1);
            for _ in 0..2 {
                let seq = self.publish();
                self.roster.settle(STREAM, seq);
            }
        }

        fn close(self) -> (u64, u64, u64, u64, u64) {
            let totals = self.ledger.close(&Plain);
            let all = totals.all();
            assert_eq!(sums(&all, totals.receipts(), self.obligations), Ok(()));
            let of = |class| all.of(class);
            let lost = of(Class::LostProven) + of(Class::LostPresumed);
            (of(Class::Delivered), lost, of(Class::Indeterminate), all.excused, of(Class::Unverified))
        }
    }

    /// The most that its ledger holds in these cycles.
    fn most(day: &mut Day, cycles: u64, fate: Fate) -> usize {
        let held = (0..cycles).map(|_| {
            day.cycle(fate);
            day.ledger.heap_bytes()
        });
        held.max().expect("there are some")
    }

    #[test]
    fn cycles_of_which_nothing_is_missing_leave_nothing_behind() {
        let mut day = Day::new();
        let first = most(&mut day, 40_000, Fate::Arrives);
        let rest = most(&mut day, 160_000, Fate::Arrives);
        assert!(rest <= first && first < 32 << 10, "{first} and then {rest}");
        assert!(day.ledger.lives.memberships(0).count() <= RECENT + 1);
        assert_eq!(day.close(), (1_000_000, 0, 0, 0, 0));
    }

    #[test]
    fn what_is_missing_is_kept_as_long_as_it_is_little_and_then_counted() {
        let mut day = Day::new();
        (0..20).for_each(|_| day.cycle(Fate::Lost));
        let first = most(&mut day, 40_000, Fate::OnItsWay);
        let rest = most(&mut day, 60_000, Fate::OnItsWay);
        assert!(rest <= first && first < 64 << 10, "{first} and then {rest}");
        let few = |lost| {
            let mut day = Day::new();
            (0..lost).for_each(|_| day.cycle(Fate::Lost));
            day.close()
        };
        assert_eq!(few(20), (80, 20, 0, 0, 0), "few are judged as ever");
        let (delivered, lost, undecided, excused, unverified) = day.close();
        assert_eq!((delivered, lost, unverified), (400_080, 0, 20), "what was lost long ago nobody can tell");
        assert_eq!((undecided, excused), (100_000, 100_000));
    }

    #[test]
    fn what_comes_again_from_long_ago_cannot_be_told_and_from_the_last_cycles_can() {
        let mut day = Day::new();
        (0..10).for_each(|_| day.cycle(Fate::Arrives));
        assert_eq!(
            day.receive(0),
            crate::ledger::Receipt::Duplicated,
            "nothing is forgotten before it must be"
        );
        (0..40_000).for_each(|_| day.cycle(Fate::Arrives));
        let newest = day.roster.published(STREAM) - 3;
        assert_eq!(day.receive(0), crate::ledger::Receipt::Unverified);
        assert_eq!(day.receive(newest), crate::ledger::Receipt::Duplicated);
        assert_eq!(day.receive(newest - 7), crate::ledger::Receipt::Duplicated);
        assert_eq!(day.close(), (200_050, 0, 0, 0, 0));
    }
}
