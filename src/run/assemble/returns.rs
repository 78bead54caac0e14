//! How clients came back, of any selection of them.

use super::clients::share;
use crate::clients::tally::GroupTally;
use crate::report::model::{Breaker, Reconnects};

/// Buckets of attempts in 100 ms.
const PEAK_BUCKETS: u32 = 10;

/// What coming back took, and what became of the circuit breakers of those who did.
pub(super) fn returns<'a>(tallies: impl Iterator<Item = &'a GroupTally>) -> (Reconnects, Breaker) {
    let mut all = GroupTally::default();
    tallies.for_each(|tally| all += tally);
    let returns = &all.returns;
    let (ended, absences) = (all.cut + all.dropped_unexpectedly, all.absences);
    let attempts = returns.attempts.total();
    let restored = |percent: u64| {
        let needed = (absences * percent).div_ceil(100);
        let back_ns = returns.recovered.end_of_nth(needed).filter(|_| needed > 0)?;
        Some(back_ns.saturating_sub(returns.first_end_ns?) as f64 / 1e9)
    };
    let reconnects = Reconnects {
        ended,
        attempts,
        failed: all.reconnect_failures.total() + returns.aborted_by_plan,
        aborted_by_plan: returns.aborted_by_plan,
        budget_waits: returns.budget_waits,
        amplification: share(attempts, ended),
        peak_per_100ms: returns.attempts.most_within(PEAK_BUCKETS),
        restored_50_s: restored(50),
        restored_95_s: restored(95),
        restored_100_s: restored(100),
    };
    let breaker = Breaker {
        opened: returns.opened,
        closed: returns.closed,
        half_open_attempts: returns.half_open_attempts,
        open_at_end: returns.open_at_end,
    };
    (reconnects, breaker)
}
