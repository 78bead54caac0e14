//! What the language can say and this version cannot do: recognised, and refused with one clear error each.
//!
//! Whoever builds one of these deletes its line here.

use super::condition::{Condition, Op, Over, Term, Test, When};
use super::faults::file::{FaultTable, Kind};
use super::file::ScenarioTable;
use super::problem::Finding;

/// Parts of a run that are no phases; the report has no figures for them.
pub(crate) const STAGES: [&str; 3] = ["setup", "drain", "closed"];

/// Every use of what is missing in a scenario.
pub(crate) fn in_scenario(scenario: &ScenarioTable) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |span: std::ops::Range<usize>, what: &str| {
        findings.push(Finding::error(span, format!("this version cannot {what} yet")));
    };
    for fault in scenario.faults.values() {
        in_fault(fault).into_iter().for_each(|(span, what)| refuse(span, &what));
    }
    findings
}

fn in_fault(fault: &FaultTable) -> Vec<(std::ops::Range<usize>, String)> {
    let mut missing = Vec::new();
    // Several kinds are one mistake, whatever they are.
    let [kind] = fault.kinds.as_slice() else { return missing };
    if let Kind::NotYet(key) = kind.get_ref() {
        missing.push((kind.span(), format!("inject `{}`", key.word())));
    }
    missing
}

/// Whether a group has a figure of its own; a metric that is always empty would never be judged.
fn kept_per_group(metric: &str) -> bool {
    let timing = metric.strip_prefix("latency.");
    timing.is_none_or(|timing| timing.starts_with("deliver") || timing.starts_with("reconnect."))
        && !matches!(
            metric,
            "connections.peak_open" | "connections.peak_handshaking" | "subscriptions.peak_active"
        )
}

/// Whether a group has a figure of its own within each phase.
fn kept_per_group_and_phase(metric: &str) -> bool {
    metric.starts_with("ledger.") || metric.starts_with("latency.deliver")
}

/// Counts that are known while a run goes on, beside `resources.…`; all of them only grow within a round.
const LIVE: [&str; 8] = [
    "connections.established",
    "connections.dropped_unexpectedly",
    "connections.peak_open",
    "connections.peak_handshaking",
    "subscriptions.confirmed",
    "published.sent",
    "ledger.obligations",
    "ledger.receipts",
];

/// Why a condition of `abort-if` would never be looked at with figures of the run, or would stop it at its begin.
pub(crate) fn in_abort_if(condition: &Condition) -> Option<String> {
    let counts = |term: &Term| LIVE.contains(&term.metric.as_str());
    for term in condition.terms() {
        let metric = &term.metric;
        if !metric.starts_with("resources.") && !counts(term) {
            let known = LIVE.join("`, `");
            return Some(format!("while it runs `resources.…`, `{known}` can be watched, not `{metric}`"));
        }
        if term.subject.is_some() || term.when.is_some() {
            return Some(format!("while it runs `{metric}` is known of the whole run only"));
        }
    }
    let (Test::Compare { left, .. } | Test::Within { left, .. }) = &condition.test else { return None };
    if left.over == Some(Over::Predicted) {
        return Some("while it runs nothing is compared with what is predicted of the whole run".to_owned());
    }
    let rising = matches!(condition.test, Test::Compare { op: Op::Greater | Op::GreaterOrEqual, .. });
    (counts(&left.term) && left.over.is_none() && !rising)
        .then(|| format!("`{}` begins at 0 and only grows: compare it with > or >=", left.term.metric))
}

/// Why a term of a condition cannot be judged yet.
pub(crate) fn in_condition(term: &Term) -> Option<String> {
    let what = match (&term.subject, &term.when) {
        (_, Some(When::In(stage))) if STAGES.contains(&stage.as_str()) => return None,
        (Some(group), None) if !kept_per_group(&term.metric) => {
            format!("this version cannot tell `{}` of `{group}` alone yet", term.metric)
        }
        (Some(group), Some(_)) if !kept_per_group_and_phase(&term.metric) => {
            format!("this version cannot tell `{}` of `{group}` within one phase yet", term.metric)
        }
        _ => return None,
    };
    Some(what)
}
