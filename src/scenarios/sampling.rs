//! How finely a run is looked at, decided by the plan: often enough for a trend, seldom enough for a day.

use std::time::Duration;

use super::condition::Condition;
use super::plan::{Pace, Plan};
use crate::verdict::trend::samples_needed;

/// How often memory is sampled unless a trend needs it more often.
const USUAL: Duration = Duration::from_secs(1);
/// The same where it does, and the plan cannot say how long the phases take.
const UNFORESEEN: Duration = Duration::from_millis(250);
/// How often at most.
const FINEST: Duration = Duration::from_millis(50);
/// Points that the phases should come to where a trend is judged.
const POINTS: f64 = 250.0;
/// Points that a run should not exceed by much: half of what the timeline holds.
const MOST_POINTS: f64 = 600.0;
/// Deliveries in a point of the timeline below which its p99 is hardly more than its maximum.
pub const DELIVERIES_PER_POINT: u64 = 100;
/// Points that are lost at the edges of the phases.
const EDGES: u64 = 2;

/// How finely a run is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Between two samples of memory.
    pub every: Duration,
    /// Width of a point of the timeline, at least that.
    pub width: Duration,
}

impl Plan {
    /// How long the phases of one round take, where the plan knows it.
    #[must_use]
    pub fn measured(&self) -> Option<Duration> {
        (0..self.phases.len()).map(|phase| self.phase_takes(phase)).sum()
    }

    /// Events at a fixed rate take their time; how long others take is up to the server.
    fn phase_takes(&self, phase: usize) -> Option<Duration> {
        if let Some(length) = self.phases[phase].length {
            return Some(length);
        }
        let takes = self.publishers.iter().filter(|group| group.phases.contains(&phase)).map(|group| {
            let Pace::Open(rate) = group.pace else { return None };
            let seconds = self.events_in(group, phase)? as f64 / rate;
            Duration::try_from_secs_f64(seconds).ok()
        });
        takes.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How finely it is looked at.
    #[must_use]
    pub fn sampling(&self) -> Sampling {
        let of_trend = |condition: &Condition| condition.terms().iter().any(|term| is_trend(&term.metric));
        self.sampling_for(self.expect.iter().chain(&self.reached).any(of_trend))
    }

    fn sampling_for(&self, trend: bool) -> Sampling {
        let Some(measured) = self.measured() else {
            let every = if trend { UNFORESEEN } else { USUAL };
            return Sampling { every, width: every };
        };
        let every = if trend { measured.div_f64(POINTS).clamp(FINEST, USUAL) } else { USUAL };
        let all = measured * self.rounds;
        Sampling { every, width: every.max(all.div_f64(MOST_POINTS)) }
    }

    /// Why a trend cannot come out of this plan, as far as it knows; `None`: it may.
    pub(crate) fn too_short_for(&self, metric: &str, deliveries: Option<f64>) -> Option<String> {
        if !is_trend(metric) {
            return None;
        }
        let measured = self.measured()?.as_secs_f64();
        let width = self.sampling_for(true).width.as_secs_f64();
        let (points, needed) = ((measured / width) as u64, samples_needed() as u64 + EDGES);
        if points < needed {
            let shortest = needed as f64 * FINEST.as_secs_f64();
            return Some(format!(
                "`{metric}` needs {needed} points of the timeline, and {points} are planned: let the phases last {shortest:.1} s"
            ));
        }
        let each = deliveries? * width / measured;
        (metric.starts_with("trend.deliver_p99") && each < DELIVERIES_PER_POINT as f64).then(|| {
            format!(
                "`{metric}` needs {DELIVERIES_PER_POINT} deliveries in each point of the timeline, and {each:.0} are planned"
            )
        })
    }
}

fn is_trend(metric: &str) -> bool {
    metric.starts_with("trend.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::catalogue::{Catalogue, Options};

    fn text(load: &str, expect: &str) -> String {
        format!(
            "[scenarios.s]\nabout = \"s\"\nsubscribers.clients = {{ connections = 10 }}\n{load}\n{expect}\n"
        )
    }

    fn plan(load: &str, expect: &str, scale: f64) -> Result<Plan, String> {
        let text = text(load, expect);
        let catalogue = Catalogue::from_text(Some(("test", &text))).map_err(|e| e.to_string())?;
        let options = Options { scale, ..Options::default() };
        Ok(catalogue.plan(&["s"], &options).map_err(|e| e.to_string())?.plans.remove(0))
    }

    const LEAK: &str = "expect.no-leak = \"trend.server_memory.growth < 64MiB\"";
    const MINUTE: &str =
        "channels = 1\nphases = [{ name = \"load\", for = \"60s\" }]\npublishers.feed = { rate = \"100/s\" }";

    fn sampled(load: &str, expect: &str) -> (f64, f64) {
        let Sampling { every, width } = plan(load, expect, 1.0).unwrap().sampling();
        (every.as_secs_f64(), width.as_secs_f64())
    }

    #[test]
    fn a_short_run_is_sampled_faster_for_a_trend_and_a_long_one_shown_more_coarsely() {
        assert_eq!(sampled(MINUTE, ""), (1.0, 1.0));
        assert_eq!(sampled(MINUTE, LEAK), (0.24, 0.24));
        let seconds = MINUTE.replace("60s", "6s");
        assert_eq!(sampled(&seconds, LEAK), (0.05, 0.05));
        let day = MINUTE.replace("60s", "24h");
        assert_eq!(sampled(&day, LEAK), (1.0, 144.0));
        // The rate says how long events take.
        let events = "publishers.feed = { rate = \"1000/s\", events = 50_000 }";
        assert_eq!(sampled(events, LEAK), (0.2, 0.2));
        let unlimited = "publishers.feed = { rate = \"unlimited\", events = 50_000 }";
        assert_eq!(sampled(unlimited, LEAK), (0.25, 0.25));
    }

    #[test]
    fn a_trend_of_too_few_blocks_is_an_error_and_when_reduced_not_applicable() {
        let events = "at-least = { events = 10 }\npublishers.feed = { rate = \"1000/s\", events = 50_000 }";
        let reduced = plan(events, LEAK, 0.02).unwrap();
        let why = reduced.expect.iter().find(|c| c.id == "no-leak").and_then(|c| c.not_applicable.clone());
        let reason = "`trend.server_memory.growth` needs 92 points of the timeline, and 20 are planned: let the phases \
                      last 4.6 s";
        assert_eq!(why.as_deref(), Some(reason));
        let short = plan(&MINUTE.replace("60s", "4s"), LEAK, 1.0).unwrap_err();
        assert!(short.contains("needs 92 points of the timeline, and 80 are planned"), "{short}");
        assert!(plan(&MINUTE.replace("60s", "5s"), LEAK, 1.0).is_ok());
    }

    #[test]
    fn a_percentile_needs_deliveries_in_each_point() {
        let slow = "expect.no-degradation = \"trend.deliver_p99.growth < 10%\"";
        let few = plan(MINUTE, slow, 1.0).unwrap();
        assert_eq!(few.predict().get("ledger.obligations"), Some(&60_000.0));
        let fewer = plan(&MINUTE.replace("100/s", "10/s"), slow, 1.0).unwrap_err();
        assert!(
            fewer.contains("needs 100 deliveries in each point of the timeline, and 24 are planned"),
            "{fewer}"
        );
    }

    #[test]
    fn growth_is_only_limited_from_above() {
        for wrong in
            ["> 1MiB", "== 0", "within 0 .. 1MiB", "< 1MiB at 95%", "/ resources.server.memory_peak < 1"]
        {
            let expect = format!("expect.x = \"trend.server_memory.growth {wrong}\"");
            let error = plan(MINUTE, &expect, 1.0).unwrap_err();
            assert!(error.contains("limited from above") || error.contains("95 % interval"), "{error}");
        }
        assert!(plan(MINUTE, "expect.x = \"trend.deliver_p99.word is steady or undecided\"", 1.0).is_ok());
    }
}
