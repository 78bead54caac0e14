//! Whether a report says what was done: pure, from report and truth alone.
//!
//! Nothing here looks behind the report. A defect is found if the figure it must show in is exactly as large as the
//! server says it struck, every other figure of its clients is zero, and its condition was judged as expected.

use serde::Serialize;
use serde_json::Value;

use super::rows::{Asked, Found, PUBLISHERS, Row, Stage};
use super::truth::Truth;
use crate::report::model::{Judgement, Ledger, Report, Slice, Verdict};
use crate::report::style::word;

/// Everything in a ledger that a delivery, or a message, may become besides arriving as it should.
const WRONG: [&str; 17] = [
    "late",
    "recovered",
    "damaged",
    "missed_disconnected",
    "indeterminate",
    "unknown_publish",
    "suppressed",
    "lost_proven",
    "lost_presumed",
    "unverified",
    "unowed",
    "duplicated",
    "reordered",
    "corrupted",
    "phantom",
    "misrouted",
    "after_unsubscribe",
];

/// One row of the matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The defect.
    pub defect: String,
    /// How often the server says it struck.
    pub planted: u64,
    /// Where it was looked for, and what was found.
    pub found: Vec<Finding>,
    /// The condition that had to judge it.
    pub condition: String,
    /// How it had to.
    pub expected_verdict: Verdict,
    /// How it did.
    pub verdict: Verdict,
    /// Why it cannot be seen with the protocol in use.
    pub not_applicable: Option<String>,
    /// What is not as it had to be; empty: detection was exact.
    pub wrong: Vec<String>,
}

/// One figure a defect must show in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name.
    pub class: String,
    /// What it had to be.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

/// Judges the run of a stage whose defects were planted: a line for each row, and whatever belongs to none.
#[must_use]
pub(super) fn planted(stage: &Stage, report: &Report, truths: &[Truth]) -> (Vec<Line>, Vec<String>) {
    let mut told = truths.iter();
    let lines = stage.rows.iter().map(|row| {
        let truth = row.kind.and_then(|_| told.next());
        line(stage, row, report, truth)
    });
    let lines = lines.collect();
    let mut strays = beside(stage, report);
    if truths.len() != stage.planted().count() {
        strays.push(format!("the server told of {} defects, not {}", truths.len(), stage.planted().count()));
    }
    (lines, strays)
}

/// The false alarms of an honest server.
#[must_use]
pub(super) fn alarms(stage: &Stage, report: &Report) -> Vec<String> {
    let mut alarms = Vec::new();
    for judged in report.expectations.iter().chain(&report.reached) {
        if !matches!(judged.verdict, Verdict::Pass | Verdict::NotApplicable) && !is_limited(judged) {
            let why = judged.why.as_deref().unwrap_or("no reason given");
            alarms.push(format!("{} is {}: {why}", judged.id, word(judged.verdict)));
        }
    }
    for row in stage.rows.iter().filter(|row| row.group.is_some()) {
        let strange = match report.groups.get(row.name) {
            Some(slice) => strange(stage, row, slice, &[]),
            None => vec!["the report does not know its clients".to_owned()],
        };
        alarms.extend(strange.into_iter().map(|what| format!("{}: {what}", row.name)));
    }
    alarms.extend(unexpected_waits(report, &[]));
    alarms.extend(wrong_checks(report, &[]));
    alarms.extend(publishing(report, &[]));
    alarms
}

/// Whether a condition could not be judged because this machine was too busy, which accuses nobody.
fn is_limited(judged: &Judgement) -> bool {
    let why = judged.why.as_deref().unwrap_or_default();
    judged.verdict == Verdict::Inconclusive && why.starts_with("the generator was limited")
}

/// Whether anything of an honest server could not be judged because this machine was too busy.
#[must_use]
pub(super) fn limited(report: &Report) -> bool {
    report.expectations.iter().chain(&report.reached).any(is_limited)
}

fn line(stage: &Stage, row: &Row, report: &Report, truth: Option<&Truth>) -> Line {
    let mut wrong = Vec::new();
    let none = Truth::default();
    let truth = truth.unwrap_or(&none);
    if row.kind.is_some() {
        wrong.extend(mistold(stage, row, truth));
    }
    let found: Vec<Finding> =
        row.found.iter().map(|found| figure(*found, row, report, truth, &mut wrong)).collect();
    for Finding { class, expected, found } in &found {
        if expected != found {
            wrong.push(format!("{found} {class}, not {expected}"));
        }
    }
    if row.group.is_some() {
        match report.groups.get(row.name) {
            Some(slice) => wrong.extend(strange(stage, row, slice, &row.found)),
            None => wrong.push("the report does not know its clients".to_owned()),
        }
    }
    let judged = report.expectations.iter().find(|judged| judged.id == row.name);
    let verdict = judged.map_or(Verdict::Inconclusive, |judged| judged.verdict);
    if verdict != row.verdict {
        wrong.push(misjudged(judged, row.verdict));
    }
    Line {
        defect: row.name.to_owned(),
        planted: truth.planted,
        found,
        condition: row.expect.to_owned(),
        expected_verdict: row.verdict,
        verdict,
        not_applicable: row.unseen.map(str::to_owned),
        wrong,
    }
}

/// What the server's own account has that was not asked for. A defect that never happened proves nothing.
fn mistold(stage: &Stage, row: &Row, truth: &Truth) -> Vec<String> {
    let mut wrong = Vec::new();
    if Some(truth.kind.as_str()) != row.kind {
        wrong.push(format!("the server told of `{}` instead", truth.kind));
    }
    let channels = stage.channels_of(row);
    let asked = match row.asked {
        Asked::Times(times) => Some(times),
        Asked::OnEach(times) => row.group.map(|group| times * u64::from(group.subscriptions)),
        Asked::Some => None,
    };
    match asked {
        Some(asked) if asked != truth.planted => {
            wrong.push(format!("the server struck {} times, not {asked} as asked", truth.planted));
        }
        None if truth.planted == 0 => wrong.push("the server never struck".to_owned()),
        _ => {}
    }
    if let Some(own) = channels {
        let inside = |name: &String| name.parse().is_ok_and(|channel: u32| own.contains(&channel));
        if let Some(outside) = truth.channels.keys().find(|name| !inside(name)) {
            wrong.push(format!("the server struck on channel {outside}, which is not its own"));
        }
    }
    wrong
}

/// What a defect must show in, and what the report has there.
fn figure(found: Found, row: &Row, report: &Report, truth: &Truth, wrong: &mut Vec<String>) -> Finding {
    let slice = report.groups.get(row.name);
    let ledger = |class| slice.map_or(0, |slice| count(&slice.ledger, class));
    let (expected, number) = match found {
        Found::Ledger(class) => (truth.planted, ledger(class)),
        Found::LedgerByDelivery(class) => (truth.deliveries, ledger(class)),
        Found::Dropped => (truth.planted, slice.map_or(0, |slice| slice.connections.dropped_unexpectedly)),
        Found::Failed(name) => {
            let failed = slice.and_then(|slice| slice.connections.failed.get(name));
            (truth.planted, failed.copied().unwrap_or(0))
        }
        Found::Unacknowledged => (truth.planted, report.published.unknown),
        Found::Surplus(name) => {
            let off = off(report, name).unwrap_or(0);
            (truth.planted, u64::try_from(off).unwrap_or(0))
        }
        Found::Deficit(name) => {
            let off = off(report, name).unwrap_or(0);
            (truth.planted, u64::try_from(-off).unwrap_or(0))
        }
        Found::Off(name, by) => {
            let off = off(report, name).unwrap_or(0);
            if off != by && off != 0 {
                wrong.push(format!("`{name}` is off by {off}, not by {by}"));
            }
            (truth.planted, u64::from(off == by))
        }
    };
    Finding { class: found.name().to_owned(), expected, found: number }
}

/// By how much the server's figure is off.
fn off(report: &Report, name: &str) -> Option<i64> {
    let check = report.server_stats.as_ref()?.checks.iter().find(|check| check.name == name)?;
    Some((check.server? - check.client).round() as i64)
}

/// Everything that is not right about the clients of a row and is not among what `found` looks at.
fn strange(stage: &Stage, row: &Row, slice: &Slice, found: &[Found]) -> Vec<String> {
    let mut strange = Vec::new();
    let looked_at = |class: &str| {
        found.iter().any(|f| matches!(f, Found::Ledger(c) | Found::LedgerByDelivery(c) if *c == class))
    };
    for class in WRONG.into_iter().filter(|class| !looked_at(class) && !row.usual.contains(class)) {
        match count(&slice.ledger, class) {
            0 => {}
            number => strange.push(format!("{number} {class} that nothing was planted for")),
        }
    }
    let dropped = slice.connections.dropped_unexpectedly;
    let ends = found.contains(&Found::Dropped);
    if dropped > 0 && !ends {
        strange.push(format!("{dropped} connections dropped unexpectedly"));
    }
    for (name, number) in &slice.connections.failed {
        if !found.iter().any(|f| matches!(f, Found::Failed(n) if n == name)) {
            strange.push(format!("{number} {name} that nothing was planted for"));
        }
    }
    let owed = row.group.map_or(0, |group| u64::from(group.subscriptions)) * stage.owed_each();
    if !ends && slice.ledger.obligations != owed {
        strange.push(format!("{} deliveries owed, not {owed}", slice.ledger.obligations));
    }
    strange
}

/// What is wrong with the run of a stage and belongs to none of its rows.
fn beside(stage: &Stage, report: &Report) -> Vec<String> {
    let found: Vec<Found> = stage.rows.iter().flat_map(|row| row.found.iter().copied()).collect();
    let mut strays = unexpected_waits(report, stage.waits);
    strays.extend(wrong_checks(report, &found));
    strays.extend(publishing(report, &found));
    let gravest = stage.rows.iter().map(|row| row.verdict).max().unwrap_or_default();
    if report.verdict < gravest {
        strays.push(format!("the whole run is {}, not {}", word(report.verdict), word(gravest)));
    }
    strays
}

/// Waits that were given up although nothing planted keeps anything from coming.
fn unexpected_waits(report: &Report, expected: &[&str]) -> Vec<String> {
    let given_up = report.run.timed_out.iter().filter(|wait| !expected.contains(&wait.as_str()));
    given_up.map(|wait| format!("the {wait} deadline passed")).collect()
}

/// The server's figures that do not agree with ours.
fn wrong_checks(report: &Report, found: &[Found]) -> Vec<String> {
    let Some(stats) = &report.server_stats else { return vec!["the server told no figures".to_owned()] };
    let of_figure = |f: &Found| matches!(f, Found::Surplus(_) | Found::Deficit(_) | Found::Off(..));
    let planted = |name: &str| found.iter().any(|f| of_figure(f) && f.name() == name);
    let wrong = stats.checks.iter().filter(|check| check.verdict != Verdict::Pass && !planted(&check.name));
    wrong
        .map(|check| {
            let server = check.server.map_or("nothing".to_owned(), |server| server.to_string());
            format!("the server's `{}` is {server}, not {}", check.name, check.client)
        })
        .collect()
}

/// What is wrong with publishing.
fn publishing(report: &Report, found: &[Found]) -> Vec<String> {
    let published = &report.published;
    let unknown = if found.contains(&Found::Unacknowledged) { 0 } else { published.unknown };
    let lost = report.groups.get(PUBLISHERS).map_or(0, |group| group.connections.dropped_unexpectedly);
    let figures = [
        (unknown, "events never acknowledged"),
        (published.failed, "events refused"),
        (published.attempted.saturating_sub(published.sent), "events never sent"),
        (lost, "publishing connections lost"),
    ];
    let wrong = figures.into_iter().filter(|(number, _)| *number > 0);
    wrong.map(|(number, what)| format!("{number} {what}")).collect()
}

/// A figure of a ledger by its name in the report.
fn count(ledger: &Ledger, class: &str) -> u64 {
    let figures = serde_json::to_value(ledger).expect("a ledger is plain data");
    figures.get(class).and_then(Value::as_u64).expect("a class of the ledger")
}

fn misjudged(judged: Option<&Judgement>, expected: Verdict) -> String {
    let Some(judged) = judged else { return "its condition was not judged".to_owned() };
    let why = judged.why.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("its condition is {}{why}, not {}", word(judged.verdict), word(expected))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
