//! What became of the applications of one fault.

use std::ops::AddAssign;

use crate::metrics::{Precision, Recorder};

/// Applications of one fault as they happened; one per shard, added up by the fleet.
#[derive(Debug, Clone)]
pub struct FaultTally {
    /// Applied.
    pub applied: u64,
    /// Could not be applied: the connection was not open when it was due.
    pub not_applied: u64,
    /// First and last application, ns on the run's axis.
    pub span_ns: Option<(u64, u64)>,
    /// How late each was.
    pub late: Recorder,
}

impl Default for FaultTally {
    fn default() -> Self {
        Self { applied: 0, not_applied: 0, span_ns: None, late: Recorder::new(Precision::Fine) }
    }
}

impl FaultTally {
    /// Notes an application that was due at `due_ns` and happened at `at_ns`.
    pub fn apply(&mut self, due_ns: u64, at_ns: u64) {
        self.applied += 1;
        self.widen((at_ns, at_ns));
        self.late.record_ns(at_ns.saturating_sub(due_ns));
    }

    fn widen(&mut self, by: (u64, u64)) {
        let (first, last) = self.span_ns.unwrap_or(by);
        self.span_ns = Some((first.min(by.0), last.max(by.1)));
    }
}

impl AddAssign<&Self> for FaultTally {
    fn add_assign(&mut self, other: &Self) {
        self.applied += other.applied;
        self.not_applied += other.not_applied;
        other.span_ns.into_iter().for_each(|span| self.widen(span));
        self.late.merge(&other.late);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_the_span_covers_both() {
        let mut one = FaultTally::default();
        one.apply(100, 150);
        let mut two = FaultTally { not_applied: 1, ..FaultTally::default() };
        two.apply(100, 120);
        one += &two;
        assert_eq!((one.applied, one.not_applied, one.span_ns), (2, 1, Some((120, 150))));
        assert_eq!(one.late.count(), 2);
    }
}
