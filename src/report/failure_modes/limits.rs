//! Limits of the scenario that were exceeded, where nothing else in a report tells what happened: times, rates, memory.

use super::{Found, Origin, circumstances, connections, deliveries, server};
use crate::report::model::{Judgement, Report, Verdict};

/// Metrics whose failures are told by what was counted; the place where that is.
const TOLD: [(&str, super::Source); 7] = [
    ("ledger.", deliveries::found),
    ("connections.", connections::found),
    ("subscriptions.", connections::found),
    ("errors.", connections::found),
    ("recovered_ratio", connections::found),
    ("server_stats.", server::found),
    ("server.alive", server::found),
];

/// Expectations that failed and are not told elsewhere.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let failed = report.expectations.iter().filter(|judgement| judgement.verdict == Verdict::Fail);
    failed.filter(|judgement| !is_told(report, judgement)).map(|judgement| limit(report, judgement)).collect()
}

/// Whether what was counted already shows what failed here. What we injected explains no failure.
fn is_told(report: &Report, judgement: &Judgement) -> bool {
    let of = |(metric, source): &(&str, super::Source)| {
        judgement.condition.contains(metric)
            && source(report).iter().any(|found| found.origin != Origin::Ours)
    };
    TOLD.iter().any(of)
}

fn limit(report: &Report, judgement: &Judgement) -> Found {
    let Judgement { id, condition, observed_text, limit, .. } = judgement;
    let origin = if condition.starts_with("victims.") { Origin::Answer } else { Origin::Server };
    let names = [&format!("limit {id}"), &format!("Limit exceeded: {id}")];
    let what = format!("observed {observed_text}, wanted {limit}: {condition}");
    let mut found = Found::new(report, origin, names.map(String::as_str), None, what);
    found.sighting.others = circumstances::others(report);
    found.sighting.recovery.extend(circumstances::came_back(report));
    // In which round, say.
    found.sighting.when = crate::report::words::why(judgement).into_iter().collect();
    found
}
