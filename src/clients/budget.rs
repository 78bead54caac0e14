//! How many attempts to connect again one client has: a token bucket. No clock inside: it is told the time, as it
//! has passed since any moment that stays the same.

use std::time::Duration;

use crate::scenarios::plan::RetryBudget;

/// A bucket that holds so many attempts and is filled evenly.
///
/// It keeps only the moment at which it would be full again: one attempt moves that moment by the time it takes to come
/// back, and there is none left once it lies further ahead than a whole filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Budget {
    /// In which one attempt comes back.
    each: Duration,
    /// In which all of them do.
    all: Duration,
    full_at: Duration,
}

impl Budget {
    /// Full.
    pub(super) fn new(policy: RetryBudget) -> Self {
        let attempts = policy.attempts.max(1);
        let each = policy.per / attempts;
        // Not `per`: what the division dropped would be missing for the last attempt.
        Self { each, all: each * attempts, full_at: Duration::ZERO }
    }

    /// How long it takes from `now` on until there is an attempt.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        (self.full_at.max(now) + self.each).saturating_sub(now + self.all)
    }

    /// Takes an attempt, once [`Self::wait`] is over.
    pub(super) fn take(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + self.each;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn budget(attempts: u32, per: Duration) -> Budget {
        Budget::new(RetryBudget { attempts, per })
    }

    /// When attempts are made, in ms, by one that wants to make each at this time or as soon as it can after it.
    fn made(mut budget: Budget, wanted: &[u64]) -> Vec<u128> {
        let mut now = Duration::ZERO;
        let mut make = |at: &u64| {
            now = now.max(MS(*at));
            now += budget.wait(now);
            budget.take(now);
            now.as_millis()
        };
        wanted.iter().map(&mut make).collect()
    }

    #[test]
    fn attempts_by_their_table() {
        let second = MS(1_000);
        let table: [(u32, Duration, &[u64], &[u128]); 6] = [
            (1, second, &[0, 0, 0], &[0, 1_000, 2_000]),
            (3, second * 3, &[0, 0, 0, 0, 0], &[0, 0, 0, 1_000, 2_000]),
            (4, second, &[0, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 250, 500]),
            // One came back in the meantime, then two; never more than there is room for.
            (2, second, &[0, 0, 600, 600], &[0, 0, 600, 1_000]),
            (2, second, &[0, 0, 9_000, 9_000, 9_000], &[0, 0, 9_000, 9_000, 9_500]),
            // Slower than it is filled, nobody ever waits.
            (2, second, &[0, 500, 1_000, 1_500, 2_000], &[0, 500, 1_000, 1_500, 2_000]),
        ];
        for (attempts, per, wanted, expected) in table {
            assert_eq!(made(budget(attempts, per), wanted), expected, "{attempts} per {per:?} at {wanted:?}");
        }
    }

    #[test]
    fn what_does_not_divide_keeps_nobody_waiting_for_a_nanosecond() {
        let mut budget = budget(7, Duration::from_nanos(1_000));
        for _ in 0..7 {
            assert_eq!(budget.wait(MS(3)), Duration::ZERO);
            budget.take(MS(3));
        }
        assert_eq!(budget.wait(MS(3)), Duration::from_nanos(142));
    }

    #[test]
    fn in_any_window_no_more_are_made_than_there_were_and_came_back() {
        let times = made(budget(5, MS(500)), &[0; 50]);
        for from in 0..times.len() {
            let within = times[from..].iter().filter(|at| **at < times[from] + 1_000).count();
            assert!(within <= 5 + 10, "{within} from {}", times[from]);
        }
        assert_eq!(times.last(), Some(&4_500));
    }
}
