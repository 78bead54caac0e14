//! By how much the schedule of a phase slipped and when, kept in bounded memory, and when events were due because of it.
//!
//! Remembers only: whether and by how much it slips is decided in `slowdown`.

use super::slowdown::Side;

/// Steps that are kept of a phase. Beyond it every second one is dropped, so that a run of any length fits; sums stay
/// exact, and when a lost event was due is then known less exactly.
const STEPS: usize = 4_096;

/// By how much the schedule of one phase slipped, and when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slips {
    /// How often it slipped.
    pub count: u64,
    /// By how much altogether, ns.
    pub total_ns: u64,
    /// Of that, because of the server.
    pub by_server_ns: u64,
    /// When it slipped, and by how much it had slipped before that and since the last one.
    steps: Vec<Step>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// When it slipped, ns on the run's axis.
    at_ns: u64,
    /// By how much it had slipped until then.
    before_ns: u64,
}

impl Slips {
    /// It slips by so much at this moment, because of this side.
    pub(super) fn add(&mut self, at_ns: u64, by_ns: u64, side: Side) {
        if self.steps.len() == STEPS {
            let mut n = 0;
            self.steps.retain(|_| {
                n += 1;
                n % 2 == 0
            });
        }
        self.steps.push(Step { at_ns, before_ns: self.total_ns });
        self.count += 1;
        self.total_ns += by_ns;
        self.by_server_ns += if side == Side::Server { by_ns } else { 0 };
    }

    /// When events were due, from when they were due before anything slipped.
    #[must_use]
    pub fn timetable(&self) -> Slipped {
        let mut latest_ns = 0;
        let until = |step: &Step| {
            latest_ns = latest_ns.max(step.at_ns.saturating_sub(step.before_ns));
            (latest_ns, step.before_ns)
        };
        Slipped { until: self.steps.iter().map(until).collect(), last_ns: self.total_ns }
    }
}

/// From the timetable's times to those that events were due at.
///
/// An event is due at its time and what had slipped when it was sent. Which that was is not kept for each event; it is
/// the first slip under which it came due before the next one. For the few that were waiting when it slipped this is a
/// step too early, at most what the schedule slipped by at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slipped {
    /// Events of the timetable before the first had slipped by the second, ns; rising in the first.
    until: Vec<(u64, u64)>,
    last_ns: u64,
}

impl Slipped {
    /// When an event was due that the timetable has at `planned_ns`.
    #[must_use]
    pub fn due_ns(&self, planned_ns: u64) -> u64 {
        let step = self.until.partition_point(|(until_ns, _)| *until_ns <= planned_ns);
        planned_ns + self.until.get(step).map_or(self.last_ns, |(_, before_ns)| *before_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const S: u64 = 1_000 * MS;

    #[test]
    fn the_timetable_of_what_was_due_follows_the_slips() {
        let mut slips = Slips::default();
        // At 2 s it slips by 0.5 s: events of 1.5 s to 2 s were waiting. At 4 s by 1 s.
        slips.add(2 * S, S / 2, Side::Server);
        slips.add(4 * S, S, Side::Generator);
        let slipped = slips.timetable();
        let due = |planned_ms: u64| slipped.due_ns(planned_ms * MS) / MS;
        assert_eq!([due(0), due(1_000), due(1_999)], [0, 1_000, 1_999]);
        assert_eq!([due(2_000), due(3_000), due(3_499)], [2_500, 3_500, 3_999]);
        assert_eq!([due(3_500), due(10_000)], [5_000, 11_500]);
    }

    #[test]
    fn a_run_of_any_length_keeps_so_many_steps_and_exact_sums() {
        let mut slips = Slips::default();
        for n in 0..100_000 {
            slips.add(n * S, S / 4, if n % 4 == 0 { Side::Generator } else { Side::Server });
        }
        assert!(slips.steps.len() <= STEPS, "{}", slips.steps.len());
        assert_eq!((slips.count, slips.total_ns), (100_000, 25_000 * S));
        assert_eq!((slips.by_server_ns, slips.total_ns - slips.by_server_ns), (18_750 * S, 6_250 * S));
        let slipped = slips.timetable();
        let due: Vec<u64> = (0..75_000).map(|n| slipped.due_ns(n * S)).collect();
        assert!(due.is_sorted(), "what was planned later was due later");
        assert_eq!(slipped.due_ns(100_000 * S), 125_000 * S);
    }
}
