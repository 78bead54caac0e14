//! Finds the number a term names in a serialised report, in base units, or says why there is none.

use serde_json::{Map, Value};

use super::window;
use crate::report::model::Observed;
use crate::scenarios::condition::{Dimension, Term, When};

/// What a term stands for, or why that is unknown.
pub(crate) fn find(report: &Value, term: &Term) -> Result<Observed, String> {
    if let Some(found) = in_stage(report, term) {
        return found;
    }
    let scopes = scopes(report, term)?;
    let found = |scope: &Value| walk(scope, &term.keys).map_err(|gap| gap.why(term));
    if let [scope] = scopes.as_slice() {
        return found(scope);
    }
    let plain =
        |scope: &Value| number(&found(scope)?).ok_or_else(|| format!("{} is not a number", term.metric));
    window::together(&scopes, term, plain)
}

/// The same for a sibling of the term's last key, such as `attempted` beside `established_ratio`; `None` where it
/// was not recorded.
pub(crate) fn sibling(report: &Value, term: &Term, keys: &[&str]) -> Option<f64> {
    let term = Term {
        keys: keys.iter().map(ToString::to_string).collect(),
        dimension: Dimension::Count,
        ..term.clone()
    };
    number(&find(report, &term).ok()?)
}

/// The object that these keys lead to in the scope of a term, where the scope is one.
pub(crate) fn object<'a>(report: &'a Value, term: &Term, keys: &[&str]) -> Option<&'a Map<String, Value>> {
    let scopes = scopes(report, term).ok()?;
    let [scope] = scopes.as_slice() else { return None };
    keys.iter().try_fold(*scope, |at, key| at.get(*key))?.as_object()
}

/// The plan's own value for the metric, group and phase of a term.
pub(crate) fn predicted(report: &Value, term: &Term) -> Result<f64, String> {
    let metric = match &term.subject {
        Some(subject) => format!("{subject}.{}", term.metric),
        None => term.metric.clone(),
    };
    let value = |key: &str| report.get("predicted").and_then(|p| p.get(key)).and_then(Value::as_f64);
    let keys = match &term.when {
        None => vec![metric],
        Some(when) => {
            let phases = window::names_in(report, when);
            phases.iter().map(|phase| format!("{metric} in {phase}")).collect()
        }
    };
    let nothing = || Err(format!("the plan predicts nothing for {}", term.key()));
    match keys.as_slice() {
        [key] => value(key).map_or_else(nothing, Ok),
        [_, ..] if window::adds_up(term) => {
            keys.iter().map(|key| value(key)).sum::<Option<f64>>().map_or_else(nothing, Ok)
        }
        _ => nothing(),
    }
}

/// The number in an observation, if it is one.
pub(crate) fn number(observed: &Observed) -> Option<f64> {
    match observed {
        Observed::Number(number) => Some(*number),
        Observed::Word(_) => None,
    }
}

/// The objects of the report in which the keys of a term are looked up.
fn scopes<'a>(report: &'a Value, term: &Term) -> Result<Vec<&'a Value>, String> {
    let Some(when) = &term.when else {
        return match &term.subject {
            None => Ok(vec![report]),
            Some(subject) => subject_scope(report, subject),
        };
    };
    let phases = window::phases_in(report, when)?;
    let Some(subject) = &term.subject else { return Ok(phases) };
    let in_phase = |phase: &'a Value| phase.get("groups").and_then(|groups| groups.get(subject));
    phases
        .into_iter()
        .map(|phase| in_phase(phase).ok_or_else(|| format!("{subject} was not recorded per phase")))
        .collect()
}

/// A group, or a phase named as the subject, as in `load.duration`.
fn subject_scope<'a>(report: &'a Value, subject: &str) -> Result<Vec<&'a Value>, String> {
    if let Some(group) = report.get("groups").and_then(|groups| groups.get(subject)) {
        return Ok(vec![group]);
    }
    let phases: Vec<_> = window::phases(report).filter(|phase| window::name(phase) == subject).collect();
    if phases.is_empty() { Err(format!("nothing was recorded for {subject}")) } else { Ok(phases) }
}

/// The server's gauges in a stage that is no phase: they stand among the checks. `None`: another window or metric.
fn in_stage(report: &Value, term: &Term) -> Option<Result<Observed, String>> {
    let Some(When::In(stage)) = &term.when else { return None };
    let moment = match stage.as_str() {
        "setup" => "at census",
        "closed" => "after close",
        _ => return None,
    };
    let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
    let ["server_stats", which, figure @ ("error_ratio" | "left_over")] = keys.as_slice() else {
        return None;
    };
    let wanted = |name: &str| match name.strip_suffix(moment).map(str::trim_end) {
        Some(count) => *which == "gauges" || *which == count,
        None => false,
    };
    let checks = report.pointer("/server_stats/checks").and_then(Value::as_array);
    let found = checks
        .into_iter()
        .flatten()
        .filter(|check| check.get("name").and_then(Value::as_str).is_some_and(wanted));
    let of = |check: &Value| match *figure {
        "left_over" => Some((check.get("server")?.as_f64()? - check.get("client")?.as_f64()?).max(0.0)),
        ratio => check.get(ratio)?.as_f64(),
    };
    let ratios: Option<Vec<f64>> = found.map(of).collect();
    // Of several waves the last census counts, as in the report; of gauges the worst.
    let chosen = ratios.and_then(|all| match *which {
        "gauges" => all.into_iter().reduce(f64::max),
        _ => all.last().copied(),
    });
    Some(chosen.map(Observed::Number).ok_or_else(|| Gap::Null.why(term)))
}

/// Why a walk found nothing.
enum Gap {
    /// No such key here.
    Unrecorded,
    /// The key says `null`.
    Null,
    /// The key holds something that is neither number nor word.
    Strange,
}

impl Gap {
    fn why(&self, term: &Term) -> String {
        let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
        match (self, keys.as_slice()) {
            (Self::Strange, _) => format!("{} is neither a number nor a word", term.metric),
            (Self::Unrecorded, _) if term.when.is_some() => {
                format!("{} was not recorded per phase", term.metric)
            }
            (Self::Unrecorded, _) => format!("{} was not recorded", term.metric),
            (Self::Null, ["latency", ..]) => "no samples".to_owned(),
            (Self::Null, ["server_stats", ..]) if matches!(&term.when, Some(When::In(stage)) if stage == "closed") => {
                "the server's statistics were not read after the last close".to_owned()
            }
            (Self::Null, ["server_stats", ..]) => "the server's statistics were not available".to_owned(),
            (Self::Null, ["resources", "server", ..]) => {
                "the server's process could not be observed".to_owned()
            }
            (Self::Null, ["setup", ..]) => "set-up was not finished".to_owned(),
            (Self::Null, ["recovered_ratio"]) if term.when.is_none() => {
                "no connection ended during the run".to_owned()
            }
            (Self::Null, ["recovered_ratio"]) => format!("{} was not recorded per phase", term.metric),
            (Self::Null, ["reconnects", "amplification"]) => "no connection ended during the run".to_owned(),
            (Self::Null, ["reconnects", ..]) => "so many connections did not come back".to_owned(),
            (Self::Null, ["flow", ..]) => "nothing was received".to_owned(),
            (Self::Null, ["faults", _, "delays", ..]) => "it delayed nothing".to_owned(),
            (Self::Null, ["faults", ..]) => "it was never applied".to_owned(),
            (Self::Null, ["slow_consumers", ..]) => "no reader was slow".to_owned(),
            (Self::Null, ["ledger", "lost_unexplained"]) => {
                "slow readers lost deliveries, and the target does not say how many it dropped".to_owned()
            }
            (Self::Null, ["drain", ..]) => {
                "not everything owed had arrived when the wait for it ended".to_owned()
            }
            (Self::Null, ["server", ..]) => "the server was not asked whether it still answers".to_owned(),
            (Self::Null, ["rounds", ..]) => "there were no two rounds to compare".to_owned(),
            (Self::Null, ["trend", ..]) => "there are too few points of the timeline for a trend".to_owned(),
            (Self::Null, ["waves", ..]) => "there were no two waves to compare".to_owned(),
            (Self::Null, _) => format!("{} has no samples", term.metric),
        }
    }
}

fn walk(scope: &Value, keys: &[String]) -> Result<Observed, Gap> {
    let mut at = scope;
    for key in keys {
        if at.is_null() {
            return Err(Gap::Null);
        }
        at = at.get(key).ok_or(Gap::Unrecorded)?;
    }
    match at {
        Value::Null => Err(Gap::Null),
        Value::Bool(yes) => Ok(Observed::Word(if *yes { "yes" } else { "no" }.to_owned())),
        Value::String(word) => Ok(Observed::Word(word.clone())),
        Value::Number(number) => {
            let micros = keys.last().is_some_and(|key| key.ends_with("_us"));
            let number = number.as_f64().ok_or(Gap::Strange)?;
            Ok(Observed::Number(if micros { number / 1e6 } else { number }))
        }
        Value::Array(_) | Value::Object(_) => Err(Gap::Strange),
    }
}
