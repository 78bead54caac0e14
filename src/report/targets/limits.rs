//! Limits that were exceeded, and limits with little room left.

use super::{Ground, Target, generator_doubt, turned_away};
use crate::report::human;
use crate::report::metrics;
use crate::report::model::{Judgement, Observed, Report, Verdict};
use crate::scenarios::condition::{Dimension, Value};
use crate::scenarios::units::parse_value;

/// Share of a limit from which its room is little.
const CLOSE: f64 = 0.5;

/// On which side of its limit a value has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Below,
    Above,
    At,
}

/// A limit as the condition has it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    side: Side,
    value: Value,
}

impl Limit {
    /// The same of what lies above the least that there can be.
    fn above(self, least: f64) -> Self {
        Self { value: Value { number: self.value.number - least, ..self.value }, ..self }
    }
}

/// Of every expectation that was judged, or would have been but for a doubt.
pub(super) fn targets(reports: &[Report]) -> Vec<Target> {
    let of = |(i, report): (usize, &Report)| {
        report.expectations.iter().filter_map(|judgement| target(i, report, judgement)).collect::<Vec<_>>()
    };
    reports.iter().enumerate().flat_map(of).collect()
}

fn target(index: usize, report: &Report, judgement: &Judgement) -> Option<Target> {
    if metrics::is_of_ourselves(&judgement.condition) {
        return None;
    }
    let Some(Observed::Number(observed)) = judgement.observed else { return wordy(index, report, judgement) };
    let limit = limit(&judgement.condition);
    // The largest of something over the smallest is 1 at least: that much is not used.
    let least = if judgement.condition.contains(".spread ") { 1.0 } else { 0.0 };
    let used = limit.and_then(|limit| used(limit.above(least), observed - least));
    let failed = judgement.verdict == Verdict::Fail;
    let (ground, weight) = match (failed, used) {
        (true, used) => (Ground::Exceeded, used.unwrap_or(1.0)),
        // What is exactly as it has to be cannot come closer.
        (false, Some(_)) if limit.is_some_and(|limit| limit.side == Side::At) => return None,
        (false, Some(used)) if used > 1.0 => (Ground::Exceeded, used),
        (false, Some(used)) if used >= CLOSE => (Ground::Close, used),
        (false, _) => return None,
    };
    let mut doubts = Vec::new();
    match judgement.verdict {
        Verdict::NotApplicable => return None,
        Verdict::Inconclusive => {
            doubts.push(judgement.why.clone().unwrap_or_else(|| "it could not be judged".to_owned()));
        }
        // Counts do not suffer from a generator that is late.
        Verdict::Pass if limit.is_some_and(|limit| is_timed(judgement, limit)) => {
            doubts.extend(generator_doubt(report));
            let comes_back = ["reconnect", "restored"].iter().any(|of| judgement.condition.contains(of));
            doubts.extend(turned_away(report).filter(|_| comes_back));
        }
        Verdict::Pass => {}
        // A count that failed stands, and what is timed is not judged where the generator did not keep up.
        Verdict::Fail => {}
    }
    Some(Target {
        weight,
        count: observed,
        cost: limit.map_or_else(|| "see the condition".to_owned(), |limit| cost(limit, observed, weight)),
        doubts,
        ..plain(ground, index, report, judgement)
    })
}

fn is_timed(judgement: &Judgement, limit: Limit) -> bool {
    matches!(limit.value.dimension, Dimension::Duration | Dimension::Rate)
        || judgement.condition.contains("latency.")
}

/// A failure that is no number: a word, or nothing that could be read.
fn wordy(index: usize, report: &Report, judgement: &Judgement) -> Option<Target> {
    let failed = judgement.verdict == Verdict::Fail;
    failed.then(|| plain(Ground::Exceeded, index, report, judgement))
}

fn plain(ground: Ground, index: usize, report: &Report, judgement: &Judgement) -> Target {
    let Judgement { id, condition, observed_text, limit, .. } = judgement;
    Target {
        ground,
        weight: 1.0,
        count: 0.0,
        title: id.clone(),
        scenario: report.scenario.name.clone(),
        measured: format!("{observed_text}, wanted {limit} ({condition})"),
        cost: "see the condition".to_owned(),
        also: Vec::new(),
        fixed_when: format!("expectation {id} passes: {condition}"),
        report: index,
        doubts: Vec::new(),
    }
}

/// Reads the limit of a condition with an operator; `None` for the other shapes.
fn limit(condition: &str) -> Option<Limit> {
    let operators =
        [("<=", Side::Below), (">=", Side::Above), ("==", Side::At), ("<", Side::Below), (">", Side::Above)];
    let (operator, side) = operators.into_iter().find(|(operator, _)| condition.contains(operator))?;
    let (_, right) = condition.split_once(operator)?;
    let text = right.split(" at ").next().unwrap_or(right).trim();
    Some(Limit { side, value: parse_value(text)? })
}

/// How much of the limit is used: 1 is all of it, beyond 1 it is exceeded. `None`: there is no measure for it.
fn used(limit: Limit, observed: f64) -> Option<f64> {
    let Limit { side, value: Value { number, dimension } } = limit;
    let is_share = dimension == Dimension::Ratio && (0.0..1.0).contains(&number);
    let used = match side {
        Side::Below if number == 0.0 && observed == 0.0 => 0.0,
        Side::Below => observed / number,
        // Of 99 % at least, 98 % is missing by twice what may be missing.
        Side::Above if is_share => (1.0 - observed) / (1.0 - number),
        Side::Above if number == 0.0 => return None,
        Side::Above => number / observed,
        Side::At if number == 0.0 && observed != 0.0 => f64::INFINITY,
        Side::At if number == 0.0 => 0.0,
        Side::At => 1.0 + (observed / number - 1.0).abs(),
    };
    used.is_finite().then_some(used).or((used == f64::INFINITY).then_some(f64::INFINITY))
}

fn cost(limit: Limit, observed: f64, used: f64) -> String {
    let Limit { value: Value { number, dimension }, .. } = limit;
    let percent = dimension == Dimension::Ratio;
    let distance = human::quantity((observed - number).abs(), dimension, percent, 3);
    let what = match dimension {
        Dimension::Duration => "time",
        Dimension::Size => "memory",
        Dimension::Rate => "rate",
        Dimension::Ratio => "share",
        Dimension::Count | Dimension::Word => "count",
    };
    let times = |used: f64| format!("{} of what is allowed", human::ratio(used));
    match used {
        used if used.is_infinite() => format!("{what}: {distance} where none is allowed"),
        used if used > 1.0 => format!("{what}: {distance} beyond the limit, {}", times(used)),
        used => format!("{what}: {distance} of room left, {} is used", times(used)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(condition: &str, observed: f64) -> Option<f64> {
        used(limit(condition)?, observed).map(|used| (used * 1e6).round() / 1e6)
    }

    #[test]
    fn our_own_memory_is_no_target() {
        let judgement = |condition: &str| Judgement {
            condition: condition.to_owned(),
            observed: Some(Observed::Number(9e9)),
            verdict: Verdict::Fail,
            ..Judgement::default()
        };
        let of = |condition: &str| {
            targets(&[Report { expectations: vec![judgement(condition)], ..Report::default() }]).len()
        };
        assert_eq!(of("resources.client.memory_peak < 512MiB"), 0);
        assert_eq!(of("trend.client_memory.growth < 64MiB"), 0);
        assert_eq!(of("resources.server.memory_peak < 512MiB"), 1);
    }

    #[test]
    fn a_spread_has_none_of_its_limit_used_at_one() {
        let report = |observed: f64| Report {
            expectations: vec![Judgement {
                condition: "waves.server_memory.spread <= 1.5".to_owned(),
                observed: Some(Observed::Number(observed)),
                verdict: Verdict::Pass,
                ..Judgement::default()
            }],
            ..Report::default()
        };
        assert_eq!(targets(&[report(1.0), report(1.2)]), []);
        let close = targets(&[report(1.3)]);
        assert!((close[0].weight - 0.6).abs() < 1e-9, "{close:?}");
        assert!(close[0].cost.contains("0.2 of room left"), "{close:?}");
    }

    #[test]
    fn how_much_of_a_limit_is_used() {
        assert_eq!(share("latency.deliver.p99 in load < 100ms", 0.05), Some(0.5));
        assert_eq!(share("latency.deliver.p99 / before <= 2", 3.0), Some(1.5));
        assert_eq!(share("connections.established_ratio >= 99%", 0.98), Some(2.0));
        assert_eq!(share("connections.established_ratio >= 99% at 95%", 0.995), Some(0.5));
        assert_eq!(share("published.rate >= 5000/s", 2_500.0), Some(2.0));
        assert_eq!(share("ledger.lost == 0", 2.0), Some(f64::INFINITY));
        assert_eq!(share("ledger.lost == 0", 0.0), Some(0.0));
        assert_eq!(share("server_stats.gauges.error_ratio == 0%", 0.1), Some(f64::INFINITY));
        assert_eq!(share("ledger.delivered / predicted == 100%", 0.9), Some(1.1));
        assert_eq!(share("victims.ledger.missed_disconnected > 0", 5.0), None);
        assert_eq!(share("latency.deliver.p50 within 1ms..2ms", 0.003), None);
        assert_eq!(share("run.stop_reason is completed", 0.0), None);
    }
}
