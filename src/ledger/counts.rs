//! Counts by class, and what a shard's ledger leaves behind when it is closed.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::classes::Class;
use crate::report::model::{Example, Ledger};
use crate::scenarios::target::Contract;

/// Most examples kept of each class.
pub const EXAMPLES: usize = 64;

/// Width of the buckets that lost events are counted in by due time.
pub const LOST_BUCKET_NS: u64 = 100_000_000;

/// What a receipt was. Exactly one applies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReceiptClass {
    /// The first of its event.
    First,
    /// A further one.
    Duplicated,
    /// Header or filler damaged, or no token in a message that must carry one.
    Corrupted,
    /// Never published by this run.
    Phantom,
    /// Arrived under the operation of another channel.
    Misrouted,
    /// Published after the subscription had been ended on purpose.
    AfterUnsubscribe,
    /// Cannot be told: a memory cap was hit.
    Unverified,
}

impl ReceiptClass {
    /// All classes, in the order of their indices.
    pub const ALL: [Self; 7] = [
        Self::First,
        Self::Duplicated,
        Self::Corrupted,
        Self::Phantom,
        Self::Misrouted,
        Self::AfterUnsubscribe,
        Self::Unverified,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Duplicated => "duplicated",
            Self::Corrupted => "corrupted",
            Self::Phantom => "phantom",
            Self::Misrouted => "misrouted",
            Self::AfterUnsubscribe => "after_unsubscribe",
            Self::Unverified => "unverified_receipt",
        }
    }
}

/// Obligations and receipts by class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    obligations: [u64; Class::ALL.len()],
    receipts: [u64; ReceiptClass::ALL.len()],
    /// First receipts that were not owed.
    pub unowed: u64,
    /// First receipts behind a later one; in no sum.
    pub reordered: u64,
    /// Of the indeterminate, those in flight when a fault of ours ended a life, or when it was renewed after that.
    pub excused: u64,
}

impl Counts {
    /// Obligations of a class.
    #[must_use]
    pub fn of(&self, class: Class) -> u64 {
        self.obligations[class as usize]
    }

    /// Receipts of a class.
    #[must_use]
    pub fn receipts_of(&self, class: ReceiptClass) -> u64 {
        self.receipts[class as usize]
    }

    /// Obligations over all classes.
    #[must_use]
    pub fn obligations(&self) -> u64 {
        self.obligations.iter().sum()
    }

    /// Receipts over all classes.
    #[must_use]
    pub fn receipts(&self) -> u64 {
        self.receipts.iter().sum()
    }

    /// Counts one obligation.
    pub fn add(&mut self, class: Class) {
        count(&mut self.obligations[class as usize], class.name());
    }

    /// Counts one receipt.
    pub fn add_receipt(&mut self, class: ReceiptClass) {
        count(&mut self.receipts[class as usize], class.name());
    }

    /// Counts one first receipt that was not owed.
    pub fn add_unowed(&mut self) {
        count(&mut self.unowed, "unowed");
    }

    /// Losses that a server with this contract is blamed for: `lost_proven + lost_presumed`, and
    /// `missed_disconnected` unless events may be missed.
    #[must_use]
    pub fn lost(&self, contract: Contract) -> u64 {
        Class::ALL.iter().filter(|class| class.is_lost(contract)).map(|class| self.of(*class)).sum()
    }

    /// What a server with this contract should never do, apart from losses: `phantom + misrouted +
    /// after_unsubscribe`, `duplicated` unless events may be repeated, and `reordered` if it promises order.
    #[must_use]
    pub fn strange(&self, contract: Contract, ordered: bool) -> u64 {
        use ReceiptClass::{AfterUnsubscribe, Duplicated, Misrouted, Phantom};
        let duplicated = if contract == Contract::AtLeastOnce { 0 } else { self.receipts_of(Duplicated) };
        let reordered = if ordered { self.reordered } else { 0 };
        let always = [Phantom, Misrouted, AfterUnsubscribe];
        always.iter().map(|class| self.receipts_of(*class)).sum::<u64>() + duplicated + reordered
    }

    /// These counts as the report states them, beside the two counters that other code kept. What the target promises
    /// decides what is a failure, never what is counted.
    #[must_use]
    pub fn report(&self, receipts: u64, obligations: u64, contract: Contract, ordered: bool) -> Ledger {
        Ledger {
            obligations,
            delivered: self.of(Class::Delivered),
            late: self.of(Class::Late),
            recovered: self.of(Class::Recovered),
            damaged: self.of(Class::Damaged),
            missed_disconnected: self.of(Class::MissedDisconnected),
            indeterminate: self.of(Class::Indeterminate),
            unknown_publish: self.of(Class::UnknownPublish),
            suppressed: self.of(Class::Suppressed),
            lost_proven: self.of(Class::LostProven),
            lost_presumed: self.of(Class::LostPresumed),
            unverified: self.of(Class::Unverified),
            lost: self.lost(contract),
            receipts,
            first_receipts: self.receipts_of(ReceiptClass::First),
            unowed: self.unowed,
            duplicated: self.receipts_of(ReceiptClass::Duplicated),
            reordered: self.reordered,
            indeterminate_by_faults: self.excused,
            corrupted: self.receipts_of(ReceiptClass::Corrupted),
            phantom: self.receipts_of(ReceiptClass::Phantom),
            misrouted: self.receipts_of(ReceiptClass::Misrouted),
            after_unsubscribe: self.receipts_of(ReceiptClass::AfterUnsubscribe),
            strange: self.strange(contract, ordered),
            ..Ledger::default()
        }
    }
}

/// Adds one to a counter that a sum is made of; tests can make it slip.
#[inline]
fn count(counter: &mut u64, name: &'static str) {
    #[cfg(test)]
    if super::slip::happens(name) {
        return;
    }
    let _ = name;
    *counter += 1;
}

impl AddAssign<&Self> for Counts {
    fn add_assign(&mut self, other: &Self) {
        let add = |to: &mut [u64], from: &[u64]| to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        add(&mut self.obligations, &other.obligations);
        add(&mut self.receipts, &other.receipts);
        self.unowed += other.unowed;
        self.reordered += other.reordered;
        self.excused += other.excused;
    }
}

/// What the ledgers of all shards add up to.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Totals {
    phases: usize,
    /// Per group and phase; see [`Totals::at`].
    counts: Vec<Counts>,
    /// The decoder's own counter, per group and phase.
    receipts: Vec<u64>,
    /// Per class: obligations first, then receipts.
    examples: Vec<Vec<Example>>,
    /// Lost deliveries by due time, in buckets of [`LOST_BUCKET_NS`]; without a due time in the last one.
    pub lost_by_due: BTreeMap<u64, u64>,
}

impl Totals {
    /// All zero.
    #[must_use]
    pub fn new(groups: usize, phases: usize) -> Self {
        let cells = groups * phases;
        Self {
            phases,
            counts: vec![Counts::default(); cells],
            receipts: vec![0; cells],
            examples: vec![Vec::new(); Class::ALL.len() + ReceiptClass::ALL.len()],
            lost_by_due: BTreeMap::new(),
        }
    }

    /// Counts of one group in one phase.
    #[must_use]
    pub fn at(&self, group: usize, phase: usize) -> &Counts {
        &self.counts[group * self.phases + phase]
    }

    /// The decoder's counter of one group in one phase.
    #[must_use]
    pub fn receipts_at(&self, group: usize, phase: usize) -> u64 {
        self.receipts[group * self.phases + phase]
    }

    /// Counts over everything.
    #[must_use]
    pub fn all(&self) -> Counts {
        self.sum(|_| true)
    }

    /// Counts of one group over all phases.
    #[must_use]
    pub fn group(&self, group: usize) -> Counts {
        self.sum(|cell| cell / self.phases == group)
    }

    /// Counts of one phase over all groups.
    #[must_use]
    pub fn phase(&self, phase: usize) -> Counts {
        self.sum(|cell| cell % self.phases == phase)
    }

    /// The decoder's counter over everything.
    #[must_use]
    pub fn receipts(&self) -> u64 {
        self.receipts.iter().sum()
    }

    /// A few deliveries of each class, to follow.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        self.examples.iter().flatten()
    }

    fn sum(&self, wanted: impl Fn(usize) -> bool) -> Counts {
        let mut sum = Counts::default();
        self.counts.iter().enumerate().filter(|(cell, _)| wanted(*cell)).for_each(|(_, one)| sum += one);
        sum
    }

    pub(super) fn cell(&mut self, group: usize, phase: usize) -> &mut Counts {
        &mut self.counts[group * self.phases + phase]
    }

    pub(super) fn count_receipt(&mut self, group: usize, phase: usize) {
        count(&mut self.receipts[group * self.phases + phase], "decoded");
    }

    /// Keeps an example of an obligation unless there are enough of its class.
    pub(super) fn keep_example(&mut self, class: Class, make: impl FnOnce() -> Example) {
        keep(&mut self.examples[class as usize], class.name(), make);
    }

    /// Keeps an example of a receipt unless there are enough of its class.
    pub(super) fn keep_receipt_example(&mut self, class: ReceiptClass, make: impl FnOnce() -> Example) {
        keep(&mut self.examples[Class::ALL.len() + class as usize], class.name(), make);
    }
}

fn keep(examples: &mut Vec<Example>, class: &str, make: impl FnOnce() -> Example) {
    if examples.len() < EXAMPLES {
        examples.push(Example { class: class.to_owned(), ..make() });
    }
}

impl AddAssign for Totals {
    /// Merges the totals of another shard; both have the same groups and phases.
    fn add_assign(&mut self, other: Self) {
        if self.counts.is_empty() {
            *self = other;
            return;
        }
        assert_eq!(
            (self.phases, self.counts.len()),
            (other.phases, other.counts.len()),
            "shards share one plan"
        );
        self.counts.iter_mut().zip(&other.counts).for_each(|(to, from)| *to += from);
        self.receipts.iter_mut().zip(&other.receipts).for_each(|(to, from)| *to += from);
        for (bucket, lost) in other.lost_by_due {
            *self.lost_by_due.entry(bucket).or_default() += lost;
        }
        for (to, from) in self.examples.iter_mut().zip(other.examples) {
            let space = EXAMPLES.saturating_sub(to.len());
            to.extend(from.into_iter().take(space));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(group: usize, phase: usize, examples: usize) -> Totals {
        let mut totals = Totals::new(2, 3);
        totals.cell(group, phase).add(Class::Late);
        totals.cell(group, phase).add_receipt(ReceiptClass::First);
        totals.count_receipt(group, phase);
        totals.lost_by_due.insert(phase as u64, 1);
        (0..examples).for_each(|_| totals.keep_example(Class::Late, Example::default));
        totals
    }

    #[test]
    fn shards_add_up() {
        let mut sum = Totals::default();
        sum += totals(0, 1, 40);
        sum += totals(1, 1, 40);
        sum += totals(1, 2, 0);
        assert_eq!((sum.all().of(Class::Late), sum.all().receipts(), sum.receipts()), (3, 3, 3));
        assert_eq!((sum.group(1).of(Class::Late), sum.phase(1).of(Class::Late)), (2, 2));
        assert_eq!(
            (sum.at(1, 2).obligations(), sum.at(0, 2).obligations(), sum.receipts_at(0, 1)),
            (1, 0, 1)
        );
        assert_eq!(sum.lost_by_due, BTreeMap::from([(1, 2), (2, 1)]));
        assert_eq!(sum.examples().count(), EXAMPLES);
        assert!(sum.examples().all(|example| example.class == "late"));
    }

    #[test]
    fn the_contract_decides_what_is_a_failure_and_never_what_is_counted() {
        // Every class has its own power of two, so that a sum shows what is in it.
        let mut counts = Counts { unowed: 1 << 20, reordered: 1 << 21, ..Counts::default() };
        counts.obligations.iter_mut().enumerate().for_each(|(i, count)| *count = 1 << i);
        counts.receipts.iter_mut().enumerate().for_each(|(i, count)| *count = 1 << (i + 12));
        let of = |class: Class| counts.of(class);
        let receipts = |class: ReceiptClass| counts.receipts_of(class);
        let lost = of(Class::LostProven) + of(Class::LostPresumed);
        let missed = of(Class::MissedDisconnected);
        let strange = receipts(ReceiptClass::Phantom)
            + receipts(ReceiptClass::Misrouted)
            + receipts(ReceiptClass::AfterUnsubscribe);
        let twice = receipts(ReceiptClass::Duplicated);
        let expected = [
            (Contract::AtMostOnce, lost, strange + twice),
            (Contract::AtLeastOnce, lost + missed, strange),
            (Contract::ExactlyOnce, lost + missed, strange + twice),
        ];
        let blank = Ledger { lost: 0, strange: 0, ..counts.report(7, 8, Contract::AtMostOnce, true) };
        let counted = Ledger {
            obligations: 8,
            unverified: 1 << 0,
            delivered: 1 << 1,
            late: 1 << 2,
            recovered: 1 << 3,
            damaged: 1 << 4,
            unknown_publish: 1 << 5,
            missed_disconnected: 1 << 6,
            suppressed: 1 << 7,
            lost_proven: 1 << 8,
            lost_presumed: 1 << 9,
            indeterminate: 1 << 10,
            receipts: 7,
            first_receipts: 1 << 12,
            duplicated: 1 << 13,
            corrupted: 1 << 14,
            phantom: 1 << 15,
            misrouted: 1 << 16,
            after_unsubscribe: 1 << 17,
            unowed: 1 << 20,
            reordered: 1 << 21,
            ..Ledger::default()
        };
        assert_eq!(blank, counted);
        for (contract, lost, strange) in expected {
            for (ordered, reordered) in [(false, 0), (true, counts.reordered)] {
                let report = counts.report(7, 8, contract, ordered);
                assert_eq!((report.lost, report.strange), (lost, strange + reordered), "{contract:?}");
                assert_eq!(Ledger { lost: 0, strange: 0, ..report }, blank);
            }
        }
    }

    #[test]
    fn indices_follow_the_list() {
        assert!(ReceiptClass::ALL.iter().enumerate().all(|(i, class)| *class as usize == i));
    }
}
