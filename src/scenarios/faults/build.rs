//! Faults of a plan: with exact numbers of victims, at the size of the run.

use std::collections::HashSet;
use std::time::Duration;

use super::check::victims;
use super::full::FullFault;
use crate::inject::Schedule;
use crate::scenarios::full::Full;
use crate::scenarios::plan::{Aim, Crew, Fault, FaultKind, Part, Plan, Stagger};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::show_count;

/// Puts the faults into a plan that has everything else.
///
/// `cycles`: those of each fault at the size of the run, where it has any. False: it has more of them than can be drawn,
/// and nothing that is drawn may be asked of it.
pub(crate) fn faults(
    full: &Full,
    cycles: &[Option<u32>],
    plan: &mut Plan,
    findings: &mut Vec<Finding>,
) -> bool {
    plan.faults =
        full.faults.iter().zip(cycles).filter_map(|(fault, cycles)| bare(full, fault, *cycles)).collect();
    let groups = on_groups(full, plan, findings);
    let mut pending: Vec<Option<Vec<Aim>>> = groups.into_iter().map(Some).collect();
    // As many sweeps as the longest chain has links; only victims that are known can be counted. Who waits for that
    // aims at nobody meanwhile, and takes nobody from the others.
    for _ in 0..plan.faults.len() {
        for index in 0..plan.faults.len() {
            let others: Vec<usize> = others(full, index);
            if others.iter().all(|other| pending[*other].is_none())
                && let Some(mut on) = pending[index].take()
            {
                on.extend(on_victims(full, plan, index, &others));
                plan.faults[index].on = on;
                // What ends cycles is drawn once their victims are known, and it may be for the next fault already.
                if let Some(finding) = super::cycles::too_many(plan, index, &full.faults[index]) {
                    findings.push(finding);
                    return false;
                }
            }
        }
    }
    super::loads::check(full, plan, findings);
    true
}

/// A planned time after `time-scale`.
fn compressed(full: &Full, time: Duration) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64() / full.time_scale.value)
}

/// A fault that aims at nobody yet.
fn bare(full: &Full, fault: &FullFault, cycles: Option<u32>) -> Option<Fault> {
    let stagger = match fault.stagger.value {
        Stagger::Together => Stagger::Together,
        Stagger::Linear(over) => Stagger::Linear(compressed(full, over)),
        Stagger::Poisson(over) => Stagger::Poisson(compressed(full, over)),
    };
    let phases = full.phases.iter().enumerate().filter(|(_, phase)| fault.acts_in(&phase.name));
    let setup = fault.in_setup().then_some(Part::Setup);
    let mut kind = fault.kind.clone()?;
    if let (FaultKind::Churn(churn), Some(cycles)) = (&mut kind, cycles) {
        churn.cycles = cycles;
    }
    Some(Fault {
        name: fault.name.clone(),
        on: Vec::new(),
        parts: setup.into_iter().chain(phases.map(|(index, _)| Part::Phase(index))).collect(),
        start: compressed(full, fault.start.value),
        length: fault.length.as_ref().map(|length| compressed(full, length.value)),
        stagger,
        kind,
        operations: fault.of_operations().then_some(fault.fraction.value),
    })
}

/// For every fault, an exact number of connections of each group, of those that the faults before it left.
fn on_groups(full: &Full, plan: &Plan, findings: &mut Vec<Finding>) -> Vec<Vec<Aim>> {
    let subscribers = (0..plan.subscribers.len()).map(Crew::Subscribers);
    let crews: Vec<Crew> = subscribers.chain((0..plan.publishers.len()).map(Crew::Publishers)).collect();
    let mut left: Vec<u32> = crews.iter().map(|crew| plan.crew(*crew).1).collect();
    let mut all = Vec::new();
    for fault in &full.faults {
        let mut on = Vec::new();
        for (group, left) in crews.iter().copied().zip(&mut left) {
            let (name, connections) = plan.crew(group);
            if !fault.aims_at(name) {
                continue;
            }
            if !fault.draws() {
                on.push(Aim::Group { group, count: connections });
                continue;
            }
            // Halves of an odd number are rounded up, both of them.
            let count = victims(fault.fraction.value, connections).min(*left);
            *left -= count;
            if count == 0 {
                let connections = show_count(connections.into());
                let message = format!(
                    "of the {connections} connections of `{name}` at this size none is left for `{}`",
                    fault.name
                );
                let note = "raise at-least.connections, or the connections of the group";
                findings.push(Finding::error(fault.fraction.span.clone(), message).note(note));
            }
            on.push(Aim::Group { group, count });
        }
        all.push(on);
    }
    all
}

/// Indices of the faults whose victims a fault aims at.
fn others(full: &Full, fault: usize) -> Vec<usize> {
    let names = full.faults[fault].on.iter().flatten().map(|(name, _)| name);
    names.filter_map(|name| full.faults.iter().position(|other| other.name == *name)).collect()
}

/// An exact number of the victims of each of the other faults, which are known.
fn on_victims(full: &Full, plan: &Plan, fault: usize, others: &[usize]) -> Vec<Aim> {
    if others.is_empty() {
        return Vec::new();
    }
    let schedule = Schedule::of(plan);
    let fraction = full.faults[fault].share();
    let aim = |of: &usize| Aim::Victims { of: *of, count: victims(fraction, victims_of(&schedule, *of)) };
    others.iter().map(aim).collect()
}

/// How many connections a fault hits: a connection that it aims at twice is one victim.
pub(crate) fn victims_of(schedule: &Schedule, fault: usize) -> u32 {
    let hit = schedule.acts().iter().filter(|act| act.fault == fault).map(|act| act.connection);
    u32::try_from(hit.collect::<HashSet<u32>>().len()).unwrap_or(u32::MAX)
}
