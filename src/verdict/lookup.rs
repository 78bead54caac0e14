//! Finds the number a term names in a serialised report, in base units, or says why there is none.

use serde_json::{Map, Value};

use crate::report::model::Observed;
use crate::scenarios::condition::{Dimension, Term, When};

/// What a term stands for, or why that is unknown.
pub(crate) fn find(report: &Value, term: &Term) -> Result<Observed, String> {
    let scopes = scopes(report, term)?;
    let [scope] = scopes.as_slice() else { return sum(&scopes, term) };
    walk(scope, &term.keys).map_err(|gap| gap.why(term))
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
    let key = match &term.when {
        None => metric,
        Some(When::In(phase) | When::During(Some(phase))) => format!("{metric} in {phase}"),
        Some(_) => return Err(format!("the plan predicts {metric} only for whole phases")),
    };
    let predicted = report.get("predicted").and_then(|p| p.get(&key)).and_then(Value::as_f64);
    predicted.ok_or_else(|| format!("the plan predicts nothing for {key}"))
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
    let phases = window(report, when)?;
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
    let phases: Vec<_> = phases(report).filter(|phase| name(phase) == subject).collect();
    if phases.is_empty() { Err(format!("nothing was recorded for {subject}")) } else { Ok(phases) }
}

/// The phases a window covers.
fn window<'a>(report: &'a Value, when: &When) -> Result<Vec<&'a Value>, String> {
    let (phases, said) = match when {
        When::In(name) => (named(report, name), format!("in {name}")),
        When::Before(of) => (by_time(report, of.as_deref(), |p, from, _| p.1 <= from), said("before", of)),
        When::During(of) => {
            (by_time(report, of.as_deref(), |p, from, to| p.0 <= to && p.1 > from), said("during", of))
        }
        When::After(of) => (by_time(report, of.as_deref(), |p, _, to| p.0 >= to), said("after", of)),
    };
    if phases.is_empty() { Err(format!("nothing was recorded {said}")) } else { Ok(phases) }
}

fn said(word: &str, of: &Option<String>) -> String {
    format!("{word} {}", of.as_deref().unwrap_or("the faults"))
}

/// Phases whose (start, end) stands to a span as `fits` asks. Nothing fits a span that never was.
fn by_time<'a>(
    report: &'a Value,
    of: Option<&str>,
    fits: impl Fn((f64, f64), f64, f64) -> bool,
) -> Vec<&'a Value> {
    let Some((from, to)) = span(report, of) else { return Vec::new() };
    phases(report).filter(|phase| bounds(phase).is_some_and(|bounds| fits(bounds, from, to))).collect()
}

/// When a phase or fault lasted; without a name, from the first to the last application of any fault. The end of
/// a fault is not recorded, so the phase of its last application counts as its end: faults last as long as their
/// phase unless told otherwise.
fn span(report: &Value, of: Option<&str>) -> Option<(f64, f64)> {
    let wide = |spans: Vec<(f64, f64)>| spans.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    if let Some(name) = of {
        let phases = named(report, name);
        if !phases.is_empty() {
            // Neighbours touch: the end is drawn in a little, so that the next phase is not part of this one.
            return wide(phases.into_iter().filter_map(bounds).collect())
                .map(|(s, e)| (s, (e - 1e-9).max(s)));
        }
    }
    let faults = report.get("faults")?.as_object()?;
    let of_interest = faults.iter().filter(|(name, _)| of.is_none_or(|wanted| wanted == name.as_str()));
    let applied = wide(
        of_interest
            .filter_map(|(_, fault)| Some((fault.get("first_s")?.as_f64()?, fault.get("last_s")?.as_f64()?)))
            .collect(),
    )?;
    let held: Vec<_> =
        phases(report).filter_map(bounds).filter(|p| p.0 <= applied.1 && p.1 > applied.0).collect();
    wide(held).map(|(s, e)| (s, (e - 1e-9).max(s))).or(Some(applied))
}

fn named<'a>(report: &'a Value, wanted: &str) -> Vec<&'a Value> {
    phases(report).filter(|phase| name(phase) == wanted).collect()
}

fn phases(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("phases").and_then(Value::as_array).into_iter().flatten()
}

fn name(phase: &Value) -> &str {
    phase.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn bounds(phase: &Value) -> Option<(f64, f64)> {
    Some((phase.get("start_s")?.as_f64()?, phase.get("end_s")?.as_f64()?))
}

/// Counts add up over several phases; nothing else does.
fn sum(scopes: &[&Value], term: &Term) -> Result<Observed, String> {
    if term.dimension != Dimension::Count {
        return Err(format!("{} was not recorded over several phases together", term.metric));
    }
    let mut total = 0.0;
    for scope in scopes {
        let found = walk(scope, &term.keys).map_err(|gap| gap.why(term))?;
        total += number(&found).ok_or_else(|| format!("{} is not a number", term.metric))?;
    }
    Ok(Observed::Number(total))
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
            (Self::Null, ["server_stats", ..]) => "the server's statistics were not available".to_owned(),
            (Self::Null, ["resources", "server", ..]) => {
                "the server's process could not be observed".to_owned()
            }
            (Self::Null, ["setup", ..]) => "set-up was not finished".to_owned(),
            (Self::Null, ["recovered_ratio"]) if term.when.is_none() => {
                "no connection ended during the run".to_owned()
            }
            (Self::Null, ["recovered_ratio"]) => format!("{} was not recorded per phase", term.metric),
            (Self::Null, ["rounds", ..]) => "there were no two rounds to compare".to_owned(),
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
