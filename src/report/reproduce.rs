//! The command line that runs the same plan again, as far as a report knows it.

use std::fmt::Write as _;

use super::human;
use super::markup::quoted;
use super::model::Report;

/// The command, on one line and without anything that moves a cursor.
pub(super) fn command(report: &Report) -> String {
    report.scenario.command.as_ref().map_or_else(|| rebuilt(report), |command| human::clean(command))
}

/// The same as a block of Markdown, in a fence longer than any run of backticks within.
pub(super) fn fenced(report: &Report) -> String {
    let command = command(report);
    let fence = "`".repeat(3.max(1 + command.split(|c| c != '`').map(str::len).max().unwrap_or(0)));
    format!("{fence}sh\n{command}\n{fence}")
}

/// The command line of a report that does not keep it.
fn rebuilt(report: &Report) -> String {
    let scenario = &report.scenario;
    let mut command = format!("stressctl run --scenario {} --seed {}", quoted(&scenario.name), scenario.seed);
    if (scenario.scale - 1.0).abs() > f64::EPSILON {
        let _ = write!(command, " --scale {}", scenario.scale);
    }
    if !report.target.reference_server && !report.target.url.is_empty() {
        let _ = write!(command, " --target {}", quoted(&report.target.url));
    }
    command
}
