//! `failure_modes.md`: what failed, by whose doing and by cause.

use super::undecided::{Condition, Undecided, undecided};
use super::{FailureMode, Origin, Sighting, circumstances, observed};
use crate::report::documents::Scope;
use crate::report::human::{NOTHING, count};
use crate::report::markup::{code, escape, line, list, table, unbroken};
use crate::report::model::Report;
use crate::report::style::{mark, word};

/// Name of the document within the directory of reports.
pub const FILE: &str = "failure_modes.md";

/// The parts of the document, in order.
const PARTS: [(Origin, &str, &str, &str); 5] = [
    (
        Origin::Server,
        "Of the server",
        "server",
        "No fault of ours explains these: they are the server's doing, or that of what lies between it and us.",
    ),
    (
        Origin::Answer,
        "How the server took what we did",
        "answer to a fault of ours",
        "Seen only of clients that a fault of ours was aimed at.",
    ),
    (
        Origin::Open,
        "Whose doing is not known",
        "not known",
        "What was observed does not tell whose doing these are.",
    ),
    (
        Origin::Run,
        "Of the run itself",
        "the run",
        "The load generator, its machine, or whoever stopped it. They say nothing about the server, and limit what can be \
         said of it.",
    ),
    (
        Origin::Ours,
        "Injected by us",
        "injected by us",
        "Our own faults, and what they explain. None of this is a failure of the server.",
    ),
];

/// The document.
#[must_use]
pub fn render(scope: &Scope<'_>) -> String {
    let reports = scope.reports;
    let (modes, open) = (observed(reports), undecided(scope));
    let mut out = String::from("# Failure modes\n\n");
    line(
        &mut out,
        "Every failure that was observed, by cause, and nothing that was not. What could not be decided stands apart, and so \
         does what we injected ourselves, at the end. Names in code are those of the JSON reports.",
    );
    summary(&mut out, &modes, &open, reports);
    for part in PARTS {
        if part.0 == Origin::Ours {
            not_decided(&mut out, &open);
        }
        section(&mut out, &modes, part);
    }
    loads(&mut out, reports);
    out
}

fn summary(out: &mut String, modes: &[FailureMode], open: &[Undecided], reports: &[Report]) {
    let failed = modes.iter().filter(|mode| mode.origin != Origin::Ours).count();
    if reports.is_empty() {
        line(out, "**Nothing was run to its end, so nothing was observed.**");
    } else if failed == 0 {
        let beside = if modes.is_empty() { "" } else { " but what we injected ourselves" };
        line(
            out,
            &format!("**No failure was observed{beside}**, under the load at the end of this document."),
        );
    }
    match open.len() {
        0 => {}
        1 => line(out, "**1 thing could not be decided**: [Undecided](#undecided)."),
        n => line(
            out,
            &format!("**{} things could not be decided**: [Undecided](#undecided).", count(n as u64)),
        ),
    }
    let row = |mode: &FailureMode, seen: &Sighting| {
        let whose =
            PARTS.iter().find(|(origin, ..)| *origin == mode.origin).map_or("", |(_, _, whose, _)| whose);
        let times = seen.times.map_or_else(|| NOTHING.to_owned(), count);
        [escape(&mode.title), code(&mode.cause), unbroken(whose), code(&seen.scenario), times]
    };
    let rows: Vec<_> =
        modes.iter().flat_map(|mode| mode.sightings.iter().map(move |seen| row(mode, seen))).collect();
    if !rows.is_empty() {
        table(out, &["What", "Cause", "Whose doing", "Scenario", "Times"], "llllr", &rows);
    }
}

fn section(out: &mut String, modes: &[FailureMode], (origin, title, _, about): (Origin, &str, &str, &str)) {
    let mut modes = modes.iter().filter(|mode| mode.origin == origin).peekable();
    if modes.peek().is_none() {
        return;
    }
    line(out, &format!("## {title}"));
    line(out, about);
    for mode in modes {
        line(out, &format!("### {} ({})", escape(&mode.title), code(&mode.cause)));
        mode.sightings.iter().for_each(|seen| sighting(out, seen));
    }
}

fn sighting(out: &mut String, seen: &Sighting) {
    line(out, &format!("**In {}:** {}", code(&seen.scenario), escape(&seen.what)));
    let joined = |texts: &[String]| (!texts.is_empty()).then(|| texts.join("; "));
    let items = [
        ("to whom", joined(&seen.whom)),
        ("when", joined(&seen.when)),
        ("under", Some(seen.load.clone())),
        ("others meanwhile", seen.others.clone()),
        ("recovery", joined(&seen.recovery)),
        ("in the server's words", seen.said.clone()),
        ("to follow", seen.example.clone()),
    ];
    let items: Vec<String> =
        items.into_iter().filter_map(|(label, text)| Some(format!("{label}: {}", text?))).collect();
    list(out, items.iter().map(String::as_str));
}

/// What the runs were to show and did not, with the reason.
fn not_decided(out: &mut String, open: &[Undecided]) {
    if open.is_empty() {
        return;
    }
    line(out, "## Undecided");
    line(out, "What should have been shown and was not. None of it failed, and none of it held.");
    let row = |one: &Undecided| {
        let (condition, observed) = match &one.condition {
            Some(Condition { id, text, observed }) => {
                (format!("**{}**<br>{}", code(id), code(text)), escape(observed))
            }
            None => ("the whole run".to_owned(), NOTHING.to_owned()),
        };
        [code(&one.scenario), condition, observed, escape(&one.why)]
    };
    let rows: Vec<_> = open.iter().map(row).collect();
    table(out, &["Scenario", "What", "Observed", "Why"], "llll", &rows);
}

/// Under which load all of this was observed, or was not.
fn loads(out: &mut String, reports: &[Report]) {
    if reports.is_empty() {
        return;
    }
    line(out, "## Under which load");
    let row = |report: &Report| {
        let verdict = format!("{} {}", mark(report.verdict), word(report.verdict));
        [code(&report.scenario.name), unbroken(&verdict), escape(&circumstances::load(report))]
    };
    let rows: Vec<_> = reports.iter().map(row).collect();
    table(out, &["Scenario", "Verdict", "Load"], "lll", &rows);
}
