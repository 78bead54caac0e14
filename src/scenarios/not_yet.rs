//! What the language can say and this version cannot do: recognised, and refused with one clear error each.
//!
//! Whoever builds one of these deletes its line here.

use toml::Spanned;

use super::condition::{Term, When};
use super::file::{Payload, Reconnect, ScenarioTable, WhenBehind};
use super::problem::Finding;

/// Parts of a run that are no phases; the report has no figures for them.
pub(crate) const STAGES: [&str; 3] = ["setup", "drain", "closed"];

/// Every use of what is missing in a scenario.
pub(crate) fn in_scenario(scenario: &ScenarioTable) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut refuse = |span: std::ops::Range<usize>, what: &str| {
        findings.push(Finding::error(span, format!("this version cannot {what} yet")));
    };
    for name in scenario.faults.keys() {
        refuse(name.span(), "inject faults");
    }
    if let Some(cycles) = &scenario.at_least.cycles {
        refuse(cycles.span(), "run subscribe/unsubscribe cycles");
    }
    for group in scenario.subscribers.values() {
        if let Some(way) = group.reconnect.as_ref().filter(|way| !matches!(way.get_ref(), Reconnect::None)) {
            refuse(way.span(), "reconnect");
        }
        let missing = [
            (group.retry_budget.as_ref().map(Spanned::span), "keep a retry budget"),
            (group.circuit_breaker.as_ref().map(Spanned::span), "break circuits"),
            (group.keepalive.as_ref().map(Spanned::span), "send its own keepalive"),
        ];
        missing.into_iter().for_each(|(span, what)| span.into_iter().for_each(|span| refuse(span, what)));
    }
    for group in scenario.publishers.values() {
        if let Some(payload) = group.payload.as_ref().filter(|p| *p.get_ref() == Payload::Climb) {
            refuse(payload.span(), "climb payload sizes");
        }
        if let Some(word) = group.when_behind.as_ref().filter(|w| *w.get_ref() == WhenBehind::SlowDown) {
            refuse(word.span(), "slow down when it is behind");
        }
    }
    findings
}

/// Whether a group has a figure of its own; a metric that is always empty would never be judged.
fn kept_per_group(metric: &str) -> bool {
    let timing = metric.strip_prefix("latency.");
    timing.is_none_or(|timing| timing.starts_with("deliver"))
        && !matches!(
            metric,
            "connections.peak_open" | "connections.peak_handshaking" | "subscriptions.peak_active"
        )
}

/// Why a condition of `abort-if` would never be looked at with figures of the run.
pub(crate) fn in_abort_if(metric: &str) -> Option<String> {
    let live = metric.starts_with("resources.");
    (!live).then(|| format!("this version watches `resources.…` only while it runs, not `{metric}` yet"))
}

/// Why a term of a condition cannot be judged yet.
pub(crate) fn in_condition(term: &Term) -> Option<String> {
    let what = match (&term.subject, &term.when) {
        (_, Some(When::Before(_) | When::During(_) | When::After(_))) => {
            "this version cannot judge before, during or after a moment yet: use `in PHASE`".to_owned()
        }
        (_, Some(When::In(stage))) if STAGES.contains(&stage.as_str()) => {
            format!("this version cannot judge within `{stage}` yet")
        }
        (Some(group), None) if !kept_per_group(&term.metric) => {
            format!("this version cannot tell `{}` of `{group}` alone yet", term.metric)
        }
        (Some(_), Some(_)) => "this version cannot judge one group within one phase yet".to_owned(),
        _ => return None,
    };
    Some(what)
}
