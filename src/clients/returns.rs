//! What the way back of a cohort's clients is counted by: attempts, breakers, and when everybody was back.

use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Length of a bucket, in ns.
const BUCKET_NS: u64 = 10_000_000;

/// Counts of clients that connect again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReturnTally {
    /// Attempts to connect that were not a client's first, by when they began.
    pub attempts: Buckets,
    /// Of those, the ones that a fault of ours ended; they are among no failures.
    pub aborted_by_plan: u64,
    /// Attempts that would have been made earlier if the retry budget had allowed it.
    pub budget_waits: u64,
    /// When the first connection ended, ns on the run's axis.
    pub first_end_ns: Option<u64>,
    /// Clients that were back with every subscription proved, by when.
    pub recovered: Buckets,
    /// Times that a breaker opened.
    pub opened: u64,
    /// Times that one closed again.
    pub closed: u64,
    /// Attempts that were made half open.
    pub half_open_attempts: u64,
    /// Breakers that were not closed when nobody came back any more.
    pub open_at_end: u64,
}

impl AddAssign<&Self> for ReturnTally {
    fn add_assign(&mut self, other: &Self) {
        self.attempts += &other.attempts;
        self.aborted_by_plan += other.aborted_by_plan;
        self.budget_waits += other.budget_waits;
        self.first_end_ns = self.first_end_ns.into_iter().chain(other.first_end_ns).min();
        self.recovered += &other.recovered;
        self.opened += other.opened;
        self.closed += other.closed;
        self.half_open_attempts += other.half_open_attempts;
        self.open_at_end += other.open_at_end;
    }
}

/// How many of something fell into each 10 ms of the run; only those that are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Buckets(BTreeMap<u32, u32>);

impl Buckets {
    /// One more, at this time on the run's axis.
    pub fn add(&mut self, at_ns: u64) {
        let bucket = u32::try_from(at_ns / BUCKET_NS).unwrap_or(u32::MAX);
        *self.0.entry(bucket).or_default() += 1;
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().map(|n| u64::from(*n)).sum()
    }

    /// Most in so many neighbouring buckets.
    #[must_use]
    pub fn most_within(&self, buckets: u32) -> u64 {
        let from = |first: u32| {
            let within = self.0.range(first..=first.saturating_add(buckets.saturating_sub(1)));
            within.map(|(_, n)| u64::from(*n)).sum()
        };
        self.0.keys().map(|first| from(*first)).max().unwrap_or(0)
    }

    /// The end of the bucket in which the `n`-th fell, from 1, ns on the run's axis.
    #[must_use]
    pub fn end_of_nth(&self, n: u64) -> Option<u64> {
        let mut so_far = 0;
        let holds = |(_, count): &(&u32, &u32)| {
            so_far += u64::from(**count);
            so_far >= n
        };
        let (bucket, _) = self.0.iter().find(holds)?;
        Some((u64::from(*bucket) + 1) * BUCKET_NS)
    }
}

impl AddAssign<&Self> for Buckets {
    fn add_assign(&mut self, other: &Self) {
        for (bucket, n) in &other.0 {
            *self.0.entry(*bucket).or_default() += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(times_ms: &[u64]) -> Buckets {
        let mut buckets = Buckets::default();
        times_ms.iter().for_each(|ms| buckets.add(ms * 1_000_000));
        buckets
    }

    #[test]
    fn the_fullest_window_is_found_wherever_it_lies() {
        assert_eq!(at(&[]).most_within(10), 0);
        assert_eq!(at(&[5]).most_within(10), 1);
        // From 90 ms to 190 ms, across two tenths of a second.
        assert_eq!(at(&[0, 95, 99, 100, 110, 189, 190]).most_within(10), 5);
        assert_eq!(at(&[0, 99, 100, 199, 200]).most_within(10), 2);
        assert_eq!(at(&[7, 8, 9]).most_within(1), 3);
    }

    #[test]
    fn the_bucket_of_the_nth() {
        let buckets = at(&[12, 14, 30, 30, 55]);
        let ends = (1..=6).map(|n| buckets.end_of_nth(n).map(|ns| ns / 1_000_000));
        let expected = [Some(20), Some(20), Some(40), Some(40), Some(60), None];
        assert_eq!(ends.collect::<Vec<_>>(), expected);
        assert_eq!(buckets.total(), 5);
    }

    #[test]
    fn tallies_of_two_shards_are_one() {
        let tally = |times: &[u64], first_end_ns| ReturnTally {
            attempts: at(times),
            aborted_by_plan: 1,
            budget_waits: 2,
            first_end_ns,
            recovered: at(times),
            opened: 3,
            closed: 4,
            half_open_attempts: 5,
            open_at_end: 6,
        };
        let mut all = tally(&[1, 20], Some(9));
        all += &tally(&[2], Some(7));
        all += &tally(&[], None);
        let expected = ReturnTally {
            attempts: at(&[1, 2, 20]),
            aborted_by_plan: 3,
            budget_waits: 6,
            first_end_ns: Some(7),
            recovered: at(&[1, 2, 20]),
            opened: 9,
            closed: 12,
            half_open_attempts: 15,
            open_at_end: 18,
        };
        assert_eq!(all, expected);
    }
}
