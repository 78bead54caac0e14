//! Limits of the scenario that were exceeded, where nothing else in a report tells what happened: times, rates, memory, and
//! whatever failed in a round that the report does not show.

use super::told::is_told;
use super::{Found, Origin, circumstances};
use crate::report::metrics;
use crate::report::model::{Judgement, Report, Verdict};

/// Expectations that failed and are not told elsewhere.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let failed = report.expectations.iter().filter(|judgement| judgement.verdict == Verdict::Fail);
    failed.filter(|judgement| !is_told(report, judgement)).map(|judgement| limit(report, judgement)).collect()
}

fn limit(report: &Report, judgement: &Judgement) -> Found {
    let Judgement { id, condition, observed_text, limit, .. } = judgement;
    let origin = match condition {
        ours if metrics::is_of_ourselves(ours) => Origin::Run,
        answer if answer.starts_with("victims.") => Origin::Answer,
        _ => Origin::Server,
    };
    let names = [&format!("limit {id}"), &format!("Limit exceeded: {id}")];
    let what = format!("observed {observed_text}, wanted {limit}: {condition}");
    let mut found = Found::new(report, origin, names.map(String::as_str), None, what);
    found.sighting.others = circumstances::others(report);
    found.sighting.recovery.extend(circumstances::came_back(report));
    // In which round, say.
    found.sighting.when = crate::report::words::why(judgement).into_iter().collect();
    found
}
