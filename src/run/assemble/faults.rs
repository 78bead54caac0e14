//! Plan and deed of every fault, side by side.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use indexmap::IndexMap;

use super::clients::groups;
use crate::inject::{Act, FaultTally, Reads};
use crate::report::model::{CycleReport, DelayReport, FaultReport, PointReport, ReadReport};
use crate::scenarios::plan::{DropPoint, Fault, FaultKind, Part, Plan};

/// Every fault of the plan. How often it was planned is read off the schedule, never off what happened.
///
/// `phases`: begin and end of each, on the run's axis.
pub(super) fn faults(
    plan: &Plan,
    acts: &[Act],
    tallies: &[FaultTally],
    phases: &[(u64, u64)],
) -> IndexMap<String, FaultReport> {
    let none = FaultTally::default();
    let one = |(index, fault): (usize, &Fault)| {
        let planned = acts.iter().filter(|act| act.fault == index).count() as u64 * fault.kind.times();
        let tally = tallies.get(index).unwrap_or(&none);
        let seconds = |ns: u64| ns as f64 / 1e9;
        let groups = aimed_at(plan, acts, index);
        let report = FaultReport {
            kind: fault.kind.name().to_owned(),
            planned_kind: planned_kind(plan, fault),
            layer: fault.kind.layer().to_owned(),
            parts: parts(plan, acts, index, phases),
            victims: groups.values().sum(),
            groups,
            planned,
            applied: tally.applied,
            not_applied: planned.saturating_sub(tally.applied),
            first_s: tally.span_ns.map(|(first, _)| seconds(first)),
            last_s: tally.span_ns.map(|(_, last)| seconds(last)),
            spread_s: tally.span_ns.map(|(first, last)| seconds(last - first)),
            applied_late_p99_us: tally.late.quantile_us(0.99),
            ended: tally.ended,
            points_hit: tally.points.len() as u64,
            points: points(acts, index, tally),
            delays: delays(tally),
            reads: reads(tally),
            cycles: cycles(fault, tally),
        };
        (fault.name.clone(), report)
    };
    plan.faults.iter().enumerate().map(one).collect()
}

/// How many connections of each group a fault is aimed at, those of none left out.
fn aimed_at(plan: &Plan, acts: &[Act], fault: usize) -> IndexMap<String, u64> {
    let victims: BTreeSet<u32> =
        acts.iter().filter(|act| act.fault == fault).map(|act| act.connection).collect();
    let of = |seats: Range<u32>| victims.range(seats).count() as u64;
    groups(plan).map(|(name, seats)| (name.to_owned(), of(seats))).filter(|(_, n)| *n > 0).collect()
}

/// What a fault is in the scenario, where something else runs in its place: only a partition can be replaced.
fn planned_kind(plan: &Plan, fault: &Fault) -> Option<String> {
    let written = plan.resolved.get("faults")?.get(&fault.name)?.get("partition")?;
    let replaced = !written.is_null() && fault.kind.name() != "partition";
    replaced.then(|| "partition".to_owned())
}

/// Parts of the run that a fault acts in: those it begins in, and those that its length reaches into.
fn parts(plan: &Plan, acts: &[Act], fault: usize, phases: &[(u64, u64)]) -> Vec<String> {
    let mut acting: BTreeSet<Part> = BTreeSet::new();
    for act in acts.iter().filter(|act| act.fault == fault) {
        acting.insert(act.part);
        let (Part::Phase(first), Some(length)) = (act.part, act.length) else { continue };
        let Some((began, _)) = phases.get(first) else { continue };
        let over = Duration::from_nanos(*began).saturating_add(act.after).saturating_add(length);
        let reached = (first + 1..phases.len()).filter(|later| Duration::from_nanos(phases[*later].0) < over);
        acting.extend(reached.map(Part::Phase));
    }
    let name = |part| match part {
        Part::Setup => "setup".to_owned(),
        Part::Phase(phase) => plan.phases[phase].name.clone(),
    };
    acting.into_iter().map(name).collect()
}

/// Plan and deed for every point that connections are ended at, in the order of a connection's life.
fn points(acts: &[Act], fault: usize, tally: &FaultTally) -> IndexMap<String, PointReport> {
    let one = |point: DropPoint| {
        let planned = acts.iter().filter(|act| act.fault == fault && act.point == Some(point)).count() as u64;
        let applied = tally.points.get(&point).copied().unwrap_or_default();
        (planned > 0).then(|| (point.word().to_owned(), PointReport { planned, applied }))
    };
    DropPoint::ALL.into_iter().filter_map(one).collect()
}

/// What slow readers read; nothing where there were none.
fn reads(tally: &FaultTally) -> Option<ReadReport> {
    let Reads { bytes, lasted, pauses } = tally.reads;
    let lasted_s = lasted.as_secs_f64();
    (lasted_s > 0.0).then(|| ReadReport {
        total_bytes: bytes,
        lasted_s,
        per_second_bytes: bytes as f64 / lasted_s,
        pauses,
    })
}

/// What became of cycles, of faults that have clients go through them.
fn cycles(fault: &Fault, tally: &FaultTally) -> Option<CycleReport> {
    let FaultKind::Churn(_) = fault.kind else { return None };
    let Some(cycles) = &tally.cycles else { return Some(CycleReport::default()) };
    Some(CycleReport {
        completed: cycles.completed,
        failed_by_plan: cycles.failed_by_plan,
        failed: cycles.failed,
        confirm: cycles.confirm.latency(),
        unsubscribe: cycles.unsubscribe.latency(),
    })
}

/// What was drawn beside what it was; nothing where nothing was delayed.
fn delays(tally: &FaultTally) -> Option<DelayReport> {
    let FaultTally { drawn, realised, .. } = tally;
    let micros = |seconds: f64| seconds * 1e6;
    (realised.count > 0).then(|| DelayReport {
        count: realised.count,
        drawn_mean_us: micros(drawn.mean),
        drawn_deviation_us: micros(drawn.deviation()),
        mean_us: micros(realised.mean),
        deviation_us: micros(realised.deviation()),
        min_us: micros(realised.min),
        max_us: micros(realised.max),
    })
}
