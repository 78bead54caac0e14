//! What to improve first: every figure of the reports that is beyond a limit, close to one, or a cost, ranked by evidence.
//!
//! [`ranked`] is pure. The rule, in this order:
//!
//! 1. limits that were exceeded, by how many times; one of 0 is exceeded without measure, and then the larger count goes
//!    first;
//! 2. limits that held with less than half of their room left, by how little;
//! 3. costs that have no limit: CPU time, memory, latency, time to recover;
//! 4. whatever of these is not to be relied upon, in the same order, each with the reason.
//!
//! Nothing is here without a measurement. [`document`] renders and never reckons.

mod costs;
pub mod document;
mod limits;
#[cfg(test)]
mod tests;

use super::model::{Health, Report};

/// What a target rests on, the weightiest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ground {
    /// A limit was exceeded.
    Exceeded,
    /// A limit held, with little room left.
    Close,
    /// A cost without a limit.
    Cost,
}

/// One thing to improve. All texts are plain.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// What it rests on.
    pub ground: Ground,
    /// Larger goes first within the same ground: how many times the limit was exceeded, the share of it that is used, or
    /// the fixed order of costs.
    pub weight: f64,
    /// Settles equal weights: what was counted.
    pub count: f64,
    /// What it is about.
    pub title: String,
    /// The scenario that shows it best.
    pub scenario: String,
    /// The figure.
    pub measured: String,
    /// What it costs, with its unit.
    pub cost: String,
    /// The same figure in other scenarios, the worst first.
    pub also: Vec<String>,
    /// What to look at after a repetition, and what must then be so.
    pub fixed_when: String,
    /// Index of the report whose command shows it again.
    pub report: usize,
    /// Why the figure is not to be relied upon; empty: it is.
    pub doubts: Vec<String>,
}

/// All targets, by the rule above.
#[must_use]
pub fn ranked(reports: &[Report]) -> Vec<Target> {
    let mut targets = limits::targets(reports);
    targets.extend(costs::targets(reports));
    targets.sort_by(|a, b| {
        let key = |target: &Target| (!target.doubts.is_empty(), target.ground);
        key(a)
            .cmp(&key(b))
            .then(b.weight.total_cmp(&a.weight))
            .then(b.count.total_cmp(&a.count))
            .then_with(|| a.report.cmp(&b.report))
    });
    targets
}

/// Why times of this run are not the server's alone.
fn generator_doubt(report: &Report) -> Option<String> {
    let what = match report.generator.health {
        Health::Ok => return None,
        Health::Limited => "the generator was limited",
        Health::Invalid => "the generator's own bookkeeping failed",
    };
    let reasons = report.generator.reasons.join("; ");
    Some(if reasons.is_empty() { what.to_owned() } else { format!("{what}: {reasons}") })
}

/// Why times to come back are not the server's.
fn turned_away(report: &Report) -> Option<String> {
    let tries = report.reconnects.aborted_by_plan;
    (tries > 0).then(|| {
        format!("faults of ours turned {} tries away, so most of it is ours", super::human::count(tries))
    })
}
