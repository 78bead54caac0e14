//! `optimization_targets.md`: what to improve first, each with its evidence and how to see that it is better.

use super::{Ground, Target, ranked};
use crate::report::markup::{code, escape, line, list, table, unbroken};
use crate::report::model::Report;
use crate::report::reproduce;

/// Name of the document within the directory of reports.
pub const FILE: &str = "optimization_targets.md";

/// How targets are ranked, for whoever reads the document.
const RULE: &str = "Ranked by evidence: limits that were exceeded, by how many times (a limit of 0 first of all); then limits \
                    that held with less than half of their room left; then costs that have no limit. Figures that are not \
                    to be relied upon stand below all others, with the reason. Nothing is here without a measurement.";

/// The document.
#[must_use]
pub fn render(reports: &[Report]) -> String {
    let targets = ranked(reports);
    let mut out = String::from("# Optimization targets\n\n");
    line(&mut out, RULE);
    if reports.iter().any(|report| report.target.reference_server) {
        let ours = names(reports, |report| report.target.reference_server);
        line(&mut out, &format!("Of stressctl's own reference server: {}.", ours.join(", ")));
    }
    if targets.is_empty() {
        line(&mut out, "**No figure was measured that could be improved on.**");
        return out;
    }
    let row = |(i, target): (usize, &Target)| {
        [
            (i + 1).to_string(),
            escape(&target.title),
            unbroken(ground(target)),
            code(&target.scenario),
            escape(&target.cost),
        ]
    };
    let rows: Vec<_> = targets.iter().enumerate().map(row).collect();
    table(&mut out, &["", "What", "Why it is here", "Shown by", "What it costs"], "rllll", &rows);
    for (i, target) in targets.iter().enumerate() {
        section(&mut out, i + 1, target, &reports[target.report]);
    }
    out
}

fn names(reports: &[Report], keep: impl Fn(&Report) -> bool) -> Vec<String> {
    reports.iter().filter(|report| keep(report)).map(|report| code(&report.scenario.name)).collect()
}

fn ground(target: &Target) -> &'static str {
    match target.ground {
        _ if !target.doubts.is_empty() => "not to be relied upon",
        Ground::Exceeded => "limit exceeded",
        Ground::Close => "close to its limit",
        Ground::Cost => "cost",
    }
}

fn section(out: &mut String, place: usize, target: &Target, report: &Report) {
    line(out, &format!("## {place}. {} ({})", escape(&target.title), code(&target.scenario)));
    let mut items = vec![format!("measured: {}", target.measured), format!("costs: {}", target.cost)];
    items.extend(target.doubts.iter().map(|doubt| format!("not to be relied upon: {doubt}")));
    items.extend(target.also.iter().map(|also| format!("in other scenarios: {also}")));
    items.push(format!("to check, repeat it and see that {}", target.fixed_when));
    list(out, items.iter().map(String::as_str));
    line(out, &reproduce::fenced(report));
}
