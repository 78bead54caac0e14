//! What became of the applications of one fault.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use crate::metrics::{Precision, Recorder};
use crate::scenarios::plan::DropPoint;

/// Applications of one fault as they happened; one per shard, added up by the fleet.
#[derive(Debug, Clone)]
pub struct FaultTally {
    /// Applied.
    pub applied: u64,
    /// Of those, over by now: a fault that lasts was taken back. One that does not last is never among them.
    pub ended: u64,
    /// Could not be applied: the connection was not open when it was due.
    pub not_applied: u64,
    /// First and last application, ns on the run's axis.
    pub span_ns: Option<(u64, u64)>,
    /// How late each was.
    pub late: Recorder,
    /// Applications by the point that the connection was ended at.
    pub points: BTreeMap<DropPoint, u64>,
    /// Delays that were drawn, of faults that delay.
    pub drawn: Moments,
    /// How long those really took.
    pub realised: Moments,
    /// What slow consumers really read.
    pub reads: Reads,
    /// What became of cycles, of faults that have clients churn. Boxed, because of its histograms.
    pub cycles: Option<Box<CycleTally>>,
}

impl Default for FaultTally {
    fn default() -> Self {
        Self {
            applied: 0,
            ended: 0,
            not_applied: 0,
            span_ns: None,
            late: Recorder::new(Precision::Fine),
            points: BTreeMap::new(),
            drawn: Moments::default(),
            realised: Moments::default(),
            reads: Reads::default(),
            cycles: None,
        }
    }
}

impl FaultTally {
    /// Notes an application that was due at `due_ns` and happened at `at_ns`; `None`: there was no time for it beforehand,
    /// so that it cannot be late.
    pub fn apply(&mut self, due_ns: impl Into<Option<u64>>, at_ns: u64) {
        self.applied += 1;
        self.widen((at_ns, at_ns));
        if let Some(due_ns) = due_ns.into() {
            self.late.record_ns(at_ns.saturating_sub(due_ns));
        }
    }

    /// Notes one delay: as drawn, and as it was.
    pub fn delayed(&mut self, drawn: Duration, realised: Duration) {
        self.drawn.add(drawn.as_secs_f64());
        self.realised.add(realised.as_secs_f64());
    }

    /// What became of its cycles.
    pub fn cycles(&mut self) -> &mut CycleTally {
        self.cycles.get_or_insert_default()
    }

    fn widen(&mut self, by: (u64, u64)) {
        let (first, last) = self.span_ns.unwrap_or(by);
        self.span_ns = Some((first.min(by.0), last.max(by.1)));
    }
}

impl AddAssign<&Self> for FaultTally {
    fn add_assign(&mut self, other: &Self) {
        self.applied += other.applied;
        self.ended += other.ended;
        self.not_applied += other.not_applied;
        other.span_ns.into_iter().for_each(|span| self.widen(span));
        self.late.merge(&other.late);
        for (point, count) in &other.points {
            *self.points.entry(*point).or_default() += count;
        }
        self.drawn += other.drawn;
        self.realised += other.realised;
        self.reads += other.reads;
        if let Some(cycles) = &other.cycles {
            *self.cycles() += cycles;
        }
    }
}

/// What slow consumers read while they were slow, all of them together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reads {
    /// Bytes taken from their sockets.
    pub bytes: u64,
    /// How long they were connected and slow.
    pub lasted: Duration,
    /// Pauses that kept one of them from reading.
    pub pauses: u64,
}

impl AddAssign for Reads {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.lasted += other.lasted;
        self.pauses += other.pauses;
    }
}

/// Cycles that are over, by how they ended.
#[derive(Debug, Clone)]
pub struct CycleTally {
    /// Unsubscribed, and that was answered.
    pub completed: u64,
    /// Their connection was ended by a fault of ours.
    pub failed_by_plan: u64,
    /// Not proved in time, refused, ended by the server, cut off otherwise, or an unsubscribe without answer.
    pub failed: u64,
    /// Subscribe flushed until the proof, of the last one where there are several.
    pub confirm: Recorder,
    /// Unsubscribe sent until what was asked behind it was answered.
    pub unsubscribe: Recorder,
}

impl Default for CycleTally {
    fn default() -> Self {
        let fine = Recorder::new(Precision::Fine);
        Self { completed: 0, failed_by_plan: 0, failed: 0, confirm: fine.clone(), unsubscribe: fine }
    }
}

impl AddAssign<&Self> for CycleTally {
    fn add_assign(&mut self, other: &Self) {
        self.completed += other.completed;
        self.failed_by_plan += other.failed_by_plan;
        self.failed += other.failed;
        self.confirm.merge(&other.confirm);
        self.unsubscribe.merge(&other.unsubscribe);
    }
}

/// Count, mean and deviation of a series of seconds, kept without its members.
///
/// Updated by Welford's method and merged by that of Chan, Golub and LeVeque ("Updating Formulae and a Pairwise Algorithm
/// for Computing Sample Variances", 1979).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    /// Members.
    pub count: u64,
    /// Their mean.
    pub mean: f64,
    /// Sum of the squares of their distances from the mean.
    squares: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Moments {
    /// One more.
    pub fn add(&mut self, value: f64) {
        *self += Self { count: 1, mean: value, squares: 0.0, min: value, max: value };
    }

    /// Standard deviation of the members themselves (not of a population they are a sample of).
    #[must_use]
    pub fn deviation(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.squares / self.count as f64).sqrt() }
    }
}

impl AddAssign for Moments {
    fn add_assign(&mut self, other: Self) {
        if self.count == 0 || other.count == 0 {
            *self = if self.count == 0 { other } else { *self };
            return;
        }
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let (all, apart) = (mine + theirs, other.mean - self.mean);
        self.count += other.count;
        self.squares += other.squares + apart * apart * mine * theirs / all;
        self.mean += apart * theirs / all;
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_the_span_covers_both() {
        let mut one = FaultTally::default();
        one.apply(100, 150);
        one.points.insert(DropPoint::Receive, 1);
        let mut two = FaultTally { not_applied: 1, ended: 1, ..FaultTally::default() };
        two.apply(100, 120);
        two.points.insert(DropPoint::Receive, 2);
        two.delayed(Duration::from_millis(5), Duration::from_millis(6));
        one += &two;
        assert_eq!((one.applied, one.ended, one.not_applied, one.span_ns), (2, 1, 1, Some((120, 150))));
        assert_eq!((one.late.count(), one.points[&DropPoint::Receive]), (2, 3));
        assert_eq!((one.drawn.mean, one.realised.mean), (0.005, 0.006));
    }

    #[test]
    fn moments_are_those_of_all_members_however_they_are_put_together() {
        let members = [0.5, 0.1, 0.9, 0.4, 0.4, 0.7];
        let of = |members: &[f64]| {
            let mut moments = Moments::default();
            members.iter().for_each(|m| moments.add(*m));
            moments
        };
        for split in 0..=members.len() {
            let mut all = of(&members[..split]);
            all += of(&members[split..]);
            assert_eq!((all.count, all.min, all.max), (6, 0.1, 0.9));
            assert!((all.mean - 0.5).abs() < 1e-12, "{all:?}");
            assert!((all.deviation() - (0.38_f64 / 6.0).sqrt()).abs() < 1e-12, "{all:?}");
        }
        assert_eq!(Moments::default().deviation(), 0.0);
    }
}
