//! When faults act: their parts of the run, and whether they are over before those are.

use std::collections::HashSet;
use std::time::Duration;

use super::aims::{Hits, name_of};
use super::full::{FullFault, SETUP};
use crate::scenarios::full::{Cuts, Full, FullPhase};
use crate::scenarios::plan::{Crew, FaultKind, Reconnect, Stagger};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::show_duration;

/// Parts of a run that faults do not reach.
const HEALED: [&str; 2] = ["drain", "closed"];

/// The parts a fault acts in.
pub(crate) fn check(
    full: &Full,
    fault: &FullFault,
    hits: &Hits,
    cuts: Cuts<'_>,
    findings: &mut Vec<Finding>,
) {
    parts(full, fault, cuts, findings);
    let acting: Vec<&FullPhase> = full.phases_named(fault.phases.as_ref()).collect();
    findings.extend(acting.iter().filter_map(|phase| too_long(fault, phase)));
    findings.extend(without_end(fault));
    findings.extend(never_published(full, fault, hits, &acting));
    if let Some(FaultKind::Terminate(_)) = &fault.kind {
        let setup = fault.in_setup().then_some(SETUP);
        let parts: Vec<&str> =
            setup.into_iter().chain(acting.iter().map(|phase| phase.name.as_str())).collect();
        findings.extend(gone(full, fault, hits, &parts));
    }
}

/// Names after `phase`.
fn parts(full: &Full, fault: &FullFault, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for (name, span) in fault.phases.iter().flatten() {
        let error = |message: String| Finding::error(span.clone(), message);
        let known = full.phase(name).is_some() || name == SETUP;
        if !known && HEALED.contains(&name.as_str()) {
            let message = format!("every fault is healed before `{name}`");
            findings.push(error(message).note("name phases, or `setup`"));
        } else if !known && !cuts.touch("phases") {
            let known = full.phases.iter().map(|p| p.name.as_str()).chain([SETUP]);
            findings.push(error(format!("there is no phase `{name}`")).allowed(name, known));
        } else if !seen.insert(name) {
            findings.push(error(format!("the phase `{name}` is listed twice")));
        }
    }
    if fault.phases.as_ref().is_some_and(Vec::is_empty) {
        findings.push(Finding::error(fault.span.clone(), "an empty list of phases: it would never act"));
    }
}

fn show(duration: Duration) -> String {
    show_duration(duration.as_secs_f64())
}

/// A fault that begins, or is still acting, when its phase has ended.
fn too_long(fault: &FullFault, phase: &FullPhase) -> Option<Finding> {
    let length = phase.length.as_ref()?.value;
    let (start, stagger) = (&fault.start, &fault.stagger);
    let spread = match stagger.value {
        Stagger::Together => Duration::ZERO,
        Stagger::Linear(over) | Stagger::Poisson(over) => over,
    };
    let begun = start.value.saturating_add(spread);
    let lasting = fault.length.as_ref();
    let end = begun.saturating_add(lasting.map_or(Duration::ZERO, |length| length.value));
    // What happens at one instant must lie before the end; a spread may reach up to it.
    let instant = lasting.is_none() && spread.is_zero();
    if end < length || (end == length && !instant) {
        return None;
    }
    let place = match lasting {
        Some(lasting) if begun < length => &lasting.span,
        _ if stagger.written && start.value < length => &stagger.span,
        _ => &start.span,
    };
    let acts = if instant { "acts" } else { "acts until" };
    let message = format!(
        "the fault `{}` {acts} {} after the begin of `{}`, which ends after {}",
        fault.name,
        show(end),
        phase.name,
        show(length)
    );
    Some(Finding::error(place.clone(), message))
}

/// Set-up ends when everyone is ready, and what keeps clients from that until it ends never does.
fn without_end(fault: &FullFault) -> Option<Finding> {
    let kind = fault.kind.as_ref().filter(|_| fault.in_setup() && fault.length.is_none())?;
    let keeps = matches!(kind, FaultKind::Hold(_) | FaultKind::Stall(_) | FaultKind::Partition { .. });
    let message = format!("`{}` in `setup` needs a `for`: set-up would wait for its end", kind.name());
    keeps.then(|| Finding::error(fault.kind_span.clone(), message).note("write for = \"2s\""))
}

/// A phase that ends with its events does not end while those who publish them are silent until it does.
fn never_published(full: &Full, fault: &FullFault, hits: &Hits, acting: &[&FullPhase]) -> Option<Finding> {
    let kind = fault.kind.as_ref().filter(|_| fault.length.is_none())?;
    let silences = matches!(kind, FaultKind::Hold(_) | FaultKind::Stall(_) | FaultKind::Partition { .. });
    let publishes = |phase: &FullPhase, crew: &Crew| match crew {
        Crew::Publishers(index) => full.phases_of(&full.publishers[*index]).any(|p| p.name == phase.name),
        Crew::Subscribers(_) => false,
    };
    let open_ended = |phase: &&&FullPhase| phase.length.is_none();
    let stuck = |phase: &&FullPhase| hits.iter().any(|(crew, _)| publishes(phase, crew));
    let phase = acting.iter().filter(open_ended).find(|phase| stuck(phase)).filter(|_| silences)?;
    let message = format!(
        "`{}` until the end of `{}`, which ends with the events of those whom it silences",
        kind.name(),
        phase.name
    );
    Some(
        Finding::error(fault.kind_span.clone(), message)
            .note("write for = \"2s\", or give the phase a `for`"),
    )
}

/// Whoever is cut and stays away is not there to be cut again.
fn gone(full: &Full, fault: &FullFault, hits: &Hits, parts: &[&str]) -> Option<Finding> {
    let [first, second, ..] = parts else { return None };
    let stays = |crew: &Crew| match crew {
        Crew::Subscribers(index) => full.subscribers[*index].reconnect.value == Reconnect::None,
        Crew::Publishers(_) => false,
    };
    let crew = hits.iter().map(|(crew, _)| *crew).find(stays)?;
    let message = format!(
        "`{}` does not reconnect: what is cut in `{first}` is not there to be cut in `{second}`",
        name_of(full, crew)
    );
    let note = "name one phase, or give the group a `reconnect`";
    Some(Finding::warning(fault.span.clone(), message).note(note))
}
