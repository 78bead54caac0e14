//! Which failed conditions are told by what was counted: a condition on a count is, where causes of its own were seen as
//! often as it says, and in the round that the report shows. Whatever else was found tells nothing about it.

use super::{Found, Origin, connections, deliveries, server};
use crate::report::metrics;
use crate::report::model::{Judgement, Observed, Report, Verdict};
use crate::report::trends;

/// Deliveries that were owed and did not arrive as they should.
const NOT_DELIVERED: [&str; 8] = [
    "lost_proven",
    "lost_presumed",
    "damaged",
    "late",
    "recovered",
    "unknown_publish",
    "missed_disconnected",
    "indeterminate",
];

/// Counts that every failure with a name is in, and those without one.
const WITHOUT_A_NAME: [&str; 4] = ["errors", "dropped", "publish-unknown", "unknown_publish"];

/// Stages of a connection before it is established; what our own machine did not allow is among them.
const CONNECTING: [&str; 5] = ["tcp", "tls", "upgrade", "init", "local"];

/// Whether a failed condition needs no entry of its own.
pub(super) fn is_told(report: &Report, judgement: &Judgement) -> bool {
    let elsewhere = judgement.why.as_deref().is_some_and(|why| why.starts_with("in round "));
    let Some(about) = About::of(judgement).filter(|_| !elsewhere) else { return false };
    if about.metric.starts_with("server") {
        return is_told_of_the_server(report, &about);
    }
    if let Some(told) = is_told_as_a_whole(report, &about) {
        return told;
    }
    let Some(wanted) = failures(report, judgement, &about) else { return false };
    let counted = counted(report, &about);
    counted > 0 && counted as f64 + 0.5 >= wanted
}

/// Growth, rates and cycles have one entry each, whatever the limit; `None`: it is none of these.
fn is_told_as_a_whole(report: &Report, about: &About<'_>) -> Option<bool> {
    let saw = |cause: &str| server::found(report).iter().any(|one| one.cause == cause);
    let growth = |of: &str| Some(saw(&format!("growth of {of}")));
    match (about.metric.as_str(), about.over) {
        ("trend.server_memory.growth", None) => growth(trends::SERVER_MEMORY),
        ("trend.client_memory.growth", None) => growth(trends::OUR_MEMORY),
        ("trend.deliver_p99.growth", None) => growth(trends::DELIVER_P99),
        ("published.rate", Some("predicted")) => Some(saw("rate-not-held") && !about.is_of_a_part),
        (metric, None) => {
            let name = metric.strip_prefix("faults.")?.strip_suffix(".cycles.failed")?;
            Some(report.faults.get(name)?.cycles.as_ref()?.failed > 0)
        }
        _ => None,
    }
}

/// What a condition speaks of.
struct About<'a> {
    /// Without the group before it.
    metric: String,
    /// The whole of the left side, before a division.
    term: &'a str,
    over: Option<&'a str>,
    is_of_a_part: bool,
}

impl<'a> About<'a> {
    fn of(judgement: &'a Judgement) -> Option<Self> {
        const SIGNS: [&str; 8] = ["<", "<=", "==", "!=", ">=", ">", "within", "is"];
        let condition = judgement.condition.as_str();
        let is_sign = |word: &str| SIGNS.contains(&word);
        let sign = condition.split(' ').find(|word| is_sign(word))?;
        let (left, _) = condition.split_once(&format!(" {sign} "))?;
        let (term, over) = left.split_once(" / ").map_or((left, None), |(term, over)| (term, Some(over)));
        let (path, window) = term.split_once(' ').map_or((term, None), |(path, when)| (path, Some(when)));
        let of_group = || path.split_once('.').and_then(|(_, rest)| metrics::find(rest));
        let metric = metrics::find(path).or_else(of_group)?.path;
        Some(Self { metric, term, over, is_of_a_part: window.is_some() })
    }
}

/// How many of something a condition says there were; `None`: it does not come down to a count.
fn failures(report: &Report, judgement: &Judgement, about: &About<'_>) -> Option<f64> {
    let observed = match judgement.observed {
        Some(Observed::Number(number)) => number,
        Some(Observed::Word(_)) => return None,
        None => 0.0,
    };
    let connections = &report.connections;
    let short = |of: f64| Some((1.0 - observed) * of);
    match (about.metric.as_str(), about.over) {
        ("ledger.delivered", Some("predicted")) => short(*report.predicted.get(about.term)?),
        ("errors.ratio", None) => {
            let all = report.published.sent + report.subscriptions.requested + connections.established;
            Some(observed * all as f64)
        }
        ("connections.established_ratio", None) => {
            short(connections.attempted.saturating_sub(connections.aborted_by_plan) as f64)
        }
        ("recovered_ratio", None) => short(connections.absences as f64),
        (metric, None) => metrics::find(metric)
            .is_some_and(|metric| metric.dimension == crate::scenarios::condition::Dimension::Count)
            .then_some(observed),
        _ => None,
    }
}

/// How often causes of a metric were seen. What we injected explains no failure.
fn counted(report: &Report, about: &About<'_>) -> u64 {
    let source = if about.metric.starts_with("ledger.") { deliveries::found } else { connections::found };
    let mut found = source(report);
    if about.metric.starts_with("errors.") {
        found.extend(deliveries::found(report));
    }
    let told = found.iter().filter(|one| one.origin != Origin::Ours && tells(&about.metric, &one.cause));
    let times = |one: &Found| match one.cause.as_str() {
        // Elsewhere it is deliveries that count, and here what was published.
        "unknown_publish" if about.metric.starts_with("errors.") => report.published.unknown,
        _ => one.sighting.times.unwrap_or(0),
    };
    let sum: u64 = told.map(times).sum();
    // Attempts to come back have the same names, and are no first ones.
    let again = report.reconnects.failed.saturating_sub(report.reconnects.aborted_by_plan);
    if about.metric == "connections.established_ratio" { sum.saturating_sub(again) } else { sum }
}

/// Whether a cause is one of those that a metric counts.
fn tells(metric: &str, cause: &str) -> bool {
    let named = cause.split_once('.');
    let stage = |stages: &[&str]| named.is_some_and(|(stage, _)| stages.contains(&stage));
    let reason = |wanted: &str| named.is_some_and(|(_, reason)| reason == wanted);
    match metric {
        "ledger.lost" | "ledger.lost_unexplained" => {
            ["lost_proven", "lost_presumed", "missed_disconnected"].contains(&cause)
        }
        "ledger.strange" => {
            ["phantom", "misrouted", "after_unsubscribe", "duplicated", "reordered"].contains(&cause)
        }
        "ledger.delivered" => NOT_DELIVERED.contains(&cause),
        "connections.dropped_unexpectedly" => cause == "dropped" || stage(&["open", "confirm"]),
        "connections.established_ratio" => stage(&CONNECTING),
        "subscriptions.probes.missed_after_first" => cause == "probes-missed",
        "errors.unexplained" => cause == "errors" || reason("io"),
        "errors.timeout" => cause == "errors" || reason("timeout"),
        "errors.unexpected" => WITHOUT_A_NAME.contains(&cause) || named.is_some(),
        "errors.ratio" => {
            WITHOUT_A_NAME.contains(&cause)
                || cause == "publish-failed"
                || stage(&["open", "confirm", "publish"])
        }
        "recovered_ratio" => cause == "not-back",
        class => class.strip_prefix("ledger.") == Some(cause),
    }
}

/// Comparisons with the server's own counts, each of which is judged; in parts of a run nothing but the condition is.
fn is_told_of_the_server(report: &Report, about: &About<'_>) -> bool {
    let causes = server::found(report);
    let saw = |cause: &str| causes.iter().any(|one| one.cause == cause);
    let checks = report.server_stats.iter().flat_map(|stats| &stats.checks);
    let wrong: Vec<&str> =
        checks.filter(|check| check.verdict == Verdict::Fail).map(|check| check.name.as_str()).collect();
    let wrong = |what: &str| wrong.iter().any(|name| name.starts_with(what));
    if about.is_of_a_part {
        return false;
    }
    match about.metric.as_str() {
        "server.alive" => saw("server-gone"),
        "server_stats.worst.error_ratio" => wrong(""),
        "server_stats.gauges.error_ratio" => wrong("connections") || wrong("subscriptions"),
        "server_stats.worst_during.error_ratio" => saw("server-counts-during"),
        metric => {
            let what = metric.trim_start_matches("server_stats.").split('.').next().unwrap_or_default();
            wrong(what)
        }
    }
}
