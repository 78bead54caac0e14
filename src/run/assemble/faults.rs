//! Plan and deed of every fault, side by side.

use indexmap::IndexMap;

use crate::inject::{Cut, FaultTally};
use crate::report::model::FaultReport;
use crate::scenarios::plan::{Fault, FaultKind, Plan};

/// Every fault of the plan. How often it was planned is read off the schedule, never off what happened.
pub(super) fn faults(plan: &Plan, cuts: &[Cut], tallies: &[FaultTally]) -> IndexMap<String, FaultReport> {
    let none = FaultTally::default();
    let one = |(index, fault): (usize, &Fault)| {
        let planned = cuts.iter().filter(|cut| cut.fault == index).count() as u64;
        let tally = tallies.get(index).unwrap_or(&none);
        let (kind, layer) = match fault.kind {
            FaultKind::Terminate(_) => ("terminate", "connection"),
        };
        let seconds = |ns: u64| ns as f64 / 1e9;
        let report = FaultReport {
            kind: kind.to_owned(),
            layer: layer.to_owned(),
            planned,
            applied: tally.applied,
            not_applied: planned.saturating_sub(tally.applied),
            first_s: tally.span_ns.map(|(first, _)| seconds(first)),
            last_s: tally.span_ns.map(|(_, last)| seconds(last)),
            spread_s: tally.span_ns.map(|(first, last)| seconds(last - first)),
            applied_late_p99_us: tally.late.quantile_us(0.99),
        };
        (fault.name.clone(), report)
    };
    plan.faults.iter().enumerate().map(one).collect()
}
