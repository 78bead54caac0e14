//! Which phases of a report a window of a condition covers, and what several of them come to together.
//!
//! Windows are whole phases. Where a fault acts is what the plan says; that it acted at all must have been seen.

use serde_json::Value;

use crate::metrics::histograms;
use crate::report::model::{Latency, Observed};
use crate::scenarios::condition::{Dimension, Term, When};
use crate::scenarios::plan::Part;

/// The phases a window covers.
pub(super) fn phases_in<'a>(report: &'a Value, when: &When) -> Result<Vec<&'a Value>, String> {
    let all: Vec<&Value> = phases(report).collect();
    let names: Vec<&str> = all.iter().map(|phase| name(phase)).collect();
    unapplied(report, when, &names)?;
    let covered = when.covers(&names, &faults(report, &names));
    if covered.is_empty() {
        return Err(format!("nothing was recorded {}", said(when)));
    }
    Ok(covered.into_iter().map(|index| all[index]).collect())
}

/// The names of the phases that a window covers.
pub(super) fn names_in(report: &Value, when: &When) -> Vec<String> {
    let found = phases_in(report, when).unwrap_or_default();
    found.into_iter().map(|phase| name(phase).to_owned()).collect()
}

/// All phases that began.
pub(super) fn phases(report: &Value) -> impl Iterator<Item = &Value> {
    report.get("phases").and_then(Value::as_array).into_iter().flatten()
}

/// A phase's name.
pub(super) fn name(phase: &Value) -> &str {
    phase.get("name").and_then(Value::as_str).unwrap_or_default()
}

fn said(when: &When) -> String {
    match when {
        When::Before(None) | When::During(None) | When::After(None) => format!("{when} the faults"),
        _ => when.to_string(),
    }
}

/// Every fault with the parts of the run it acts in.
fn faults<'a>(report: &'a Value, phases: &[&str]) -> Vec<(&'a str, Vec<Part>)> {
    let part = |name: &Value| match name.as_str()? {
        "setup" => Some(Part::Setup),
        // A phase that never began is later than all that did.
        name => Some(Part::Phase(phases.iter().position(|phase| *phase == name).unwrap_or(usize::MAX))),
    };
    let parts = |fault: &Value| {
        let named = fault.get("parts").and_then(Value::as_array);
        named.into_iter().flatten().filter_map(part).collect()
    };
    let all = report.get("faults").and_then(Value::as_object);
    all.into_iter().flatten().map(|(name, fault)| (name.as_str(), parts(fault))).collect()
}

/// Refuses what is during or after a fault that never was.
fn unapplied(report: &Value, when: &When, phases: &[&str]) -> Result<(), String> {
    let (When::During(of) | When::After(of)) = when else { return Ok(()) };
    if of.as_deref().is_some_and(|name| phases.contains(&name)) {
        return Ok(());
    }
    let all = report.get("faults").and_then(Value::as_object);
    let meant = all.into_iter().flatten().filter(|(name, _)| of.as_ref().is_none_or(|of| of == *name));
    let applied: u64 = meant.filter_map(|(_, fault)| fault.get("applied")?.as_u64()).sum();
    match of {
        _ if applied > 0 => Ok(()),
        Some(name) => Err(format!("{name} was never applied, so nothing was recorded {when}")),
        None => Err(format!("no fault was applied, so nothing was recorded {}", said(when))),
    }
}

/// What a term comes to over several phases: counts add up, distributions are merged, and of errors of the server's
/// gauges the worst counts. `find`: what it is in one of them.
pub(super) fn together(
    scopes: &[&Value],
    term: &Term,
    find: impl Fn(&Value) -> Result<f64, String>,
) -> Result<Observed, String> {
    let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
    let numbers = || scopes.iter().map(|scope| find(scope)).collect::<Result<Vec<f64>, String>>();
    let number = match keys.as_slice() {
        ["latency", distribution, figure] => merged(scopes, distribution, figure)?,
        ["server_stats", _, "error_ratio"] => numbers()?.into_iter().fold(0.0, f64::max),
        ["errors", "ratio"] => errors(scopes)?,
        ["duration_s"] => numbers()?.into_iter().sum(),
        ["resources", _, "memory_peak_bytes"] => numbers()?.into_iter().fold(0.0, f64::max),
        _ if adds_up(term) => numbers()?.into_iter().sum(),
        _ => return Err(format!("{} was not recorded over several phases together", term.metric)),
    };
    Ok(Observed::Number(number))
}

/// Whether what a term comes to over several phases is the sum of what it comes to in each.
pub(super) fn adds_up(term: &Term) -> bool {
    term.dimension == Dimension::Count || term.keys == ["published", "volume_bytes"]
}

/// What failed in several phases / what was done in them.
fn errors(scopes: &[&Value]) -> Result<f64, String> {
    let sum = |key: &str| -> Option<f64> {
        scopes.iter().map(|scope| scope.get("errors")?.get(key)?.as_f64()).sum()
    };
    let both = sum("failed").zip(sum("operations")).filter(|(_, operations)| *operations > 0.0);
    both.map(|(failed, operations)| failed / operations).ok_or_else(|| "nothing was done".to_owned())
}

/// A figure of the deliveries of several phases, taken from all of them as one distribution.
fn merged(scopes: &[&Value], distribution: &str, figure: &str) -> Result<f64, String> {
    let found = |scope: &&Value| scope.get("latency").and_then(|all| all.get(distribution)).cloned();
    let each = scopes.iter().filter_map(found).filter(|one| !one.is_null());
    let unreadable = || format!("{distribution} of one phase cannot be read");
    let each: Option<Vec<Latency>> = each.map(|one| serde_json::from_value(one).ok()).collect();
    let each = each.ok_or_else(unreadable)?;
    if each.is_empty() {
        return Err("no samples".to_owned());
    }
    let merged = histograms::merged(&each).ok_or_else(unreadable)?;
    let merged = serde_json::to_value(merged).expect("a distribution is plain data");
    let number = merged.get(figure).and_then(Value::as_f64);
    let number = number.ok_or_else(|| format!("{figure} of {distribution} was not recorded"))?;
    Ok(if figure.ends_with("_us") { number / 1e6 } else { number })
}
