//! Checks of faults and reconnects across keys, at full size.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use super::full::FullFault;
use crate::scenarios::build::HANDSHAKES;
use crate::scenarios::condition::{Condition, Term};
use crate::scenarios::file::ConnectWord;
use crate::scenarios::full::{Cuts, Full, FullPhase, FullSubscribers};
use crate::scenarios::not_yet;
use crate::scenarios::plan::{Reconnect, Stagger};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{exact_duration, show_count, show_duration, show_ratio};

/// Everything that is wrong, or doubtful, about a scenario's faults and the clients they hit.
pub(crate) fn faults(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    for fault in &full.faults {
        aims(full, fault, cuts, findings);
        phases(full, fault, cuts, findings);
    }
    for group in &full.subscribers {
        fractions(full, group, findings);
        clients(full, group, findings);
    }
    if let Some(fault) = full.faults.first().filter(|_| full.reached.is_empty() && !cuts.touch("reached")) {
        let message = "a scenario with a fault needs a reached-condition: that the fault did what it is for";
        let example =
            format!("write reached.all-hit = \"faults.{0}.applied / predicted == 100%\"", fault.name);
        findings.push(Finding::error(fault.span.clone(), message).note(example));
    }
}

/// Names after `on`.
fn aims(full: &Full, fault: &FullFault, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let Some(on) = &fault.on else { return };
    if on.is_empty() {
        findings.push(Finding::error(fault.span.clone(), "an empty `on`: it would hit nobody"));
    }
    let groups = || full.subscribers.iter().map(|g| g.name.as_str());
    let mut seen = HashSet::new();
    for (name, span) in on {
        let error = |message: String| Finding::error(span.clone(), message);
        if !seen.insert(name) {
            findings.push(error(format!("`{name}` is listed twice")));
        } else if full.publishers.iter().any(|g| g.name == *name) {
            findings.push(error(not_yet::ON_PUBLISHERS.to_owned()));
        } else if groups().any(|known| known == name) || cuts.touch(&format!("subscribers.{name}")) {
            continue;
        } else if full.faults.iter().any(|f| f.name == *name) {
            findings.push(error(not_yet::ON_VICTIMS.to_owned()));
        } else {
            findings.push(error(format!("there is no group `{name}`")).allowed(name, groups()));
        }
    }
}

/// The phases it acts in, and whether it is over before they are.
fn phases(full: &Full, fault: &FullFault, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let mut seen = HashSet::new();
    for (name, span) in fault.phases.iter().flatten() {
        let error = |message: String| Finding::error(span.clone(), message);
        if full.phase(name).is_none() && not_yet::STAGES.contains(&name.as_str()) {
            findings.push(error(not_yet::in_stage(name)));
        } else if full.phase(name).is_none() && !cuts.touch("phases") {
            let known = full.phases.iter().map(|p| p.name.as_str());
            findings.push(error(format!("there is no phase `{name}`")).allowed(name, known));
        } else if !seen.insert(name) {
            findings.push(error(format!("the phase `{name}` is listed twice")));
        }
    }
    if fault.phases.as_ref().is_some_and(Vec::is_empty) {
        findings.push(Finding::error(fault.span.clone(), "an empty list of phases: it would never act"));
    }
    let acting: Vec<&FullPhase> = full.phases_named(fault.phases.as_ref()).collect();
    for phase in &acting {
        findings.extend(too_long(fault, phase));
    }
    let stays =
        full.subscribers.iter().find(|g| fault.aims_at(&g.name) && g.reconnect.value == Reconnect::None);
    if let (Some(group), [first, second, ..]) = (stays, acting.as_slice()) {
        let message = format!(
            "`{}` does not reconnect: what is cut in `{}` is not there to be cut in `{}`",
            group.name, first.name, second.name
        );
        findings.push(
            Finding::warning(fault.span.clone(), message)
                .note("name one phase, or give the group a `reconnect`"),
        );
    }
}

/// A fault that begins, or is still acting, when its phase has ended.
fn too_long(fault: &FullFault, phase: &FullPhase) -> Option<Finding> {
    let length = phase.length.as_ref()?.value;
    let (spread, place) = match fault.stagger.value {
        // One instant must lie before the end, and a spread may reach up to it.
        Stagger::Together => (Duration::from_nanos(1), &fault.start),
        Stagger::Linear(over) | Stagger::Poisson(over) => (over, &fault.start),
    };
    let span: &Range<usize> =
        if fault.stagger.written && fault.start.value < length { &fault.stagger.span } else { &place.span };
    let end = fault.start.value.saturating_add(spread);
    (end > length).then(|| {
        let show = |duration: Duration| show_duration(duration.as_secs_f64());
        let acts = if spread.as_nanos() == 1 {
            format!("acts {}", show(fault.start.value))
        } else {
            format!("acts until {}", show(end))
        };
        let message = format!(
            "the fault `{}` {acts} after the begin of `{}`, which ends after {}",
            fault.name,
            phase.name,
            show(length)
        );
        Finding::error(span.clone(), message)
    })
}

/// Faults draw without replacement, so their fractions of one group cannot add up to more than it.
fn fractions(full: &Full, group: &FullSubscribers, findings: &mut Vec<Finding>) {
    let drawing = full.faults.iter().filter(|fault| fault.draws() && fault.aims_at(&group.name));
    let mut sum = 0.0;
    for fault in drawing {
        let before = sum;
        sum += fault.fraction.value;
        if sum > 1.0 + 1e-9 {
            let message = format!(
                "{} of `{}` are taken by the faults before, and {} more are not there",
                show_ratio(before),
                group.name,
                show_ratio(fault.fraction.value)
            );
            let note =
                "faults draw their victims from one group without replacement, in the order of the file";
            findings.push(Finding::error(fault.fraction.span.clone(), message).note(note));
            return;
        }
    }
}

/// Reconnects that make something else than was meant.
fn clients(full: &Full, group: &FullSubscribers, findings: &mut Vec<Finding>) {
    if let Reconnect::Exponential { first, cap, .. } = group.reconnect.value
        && first > cap
    {
        let message = "`first` is longer than `cap`: every wait would be `cap`";
        let note = format!("write fixed = {{ wait = \"{}\" }}", exact_duration(cap));
        findings.push(Finding::error(group.reconnect.span.clone(), message).note(note));
    }
    let hit = full.faults.iter().filter(|fault| fault.aims_at(&group.name));
    let most = hit.map(|fault| victims(fault.fraction.value, group.connections.value)).max().unwrap_or(0);
    if group.reconnect.value == Reconnect::Immediate
        && group.connect == ConnectWord::Bounded
        && most > HANDSHAKES
    {
        let message = format!(
            "{} connections come back {HANDSHAKES} at a time: this is a queue, not a herd",
            show_count(most.into())
        );
        let note = "`connect` also governs reconnects: write connect = \"together\" for a herd";
        findings.push(Finding::warning(group.reconnect.span.clone(), message).note(note));
    }
}

/// How many of so many connections a fraction is: rounded, half up, and at least one.
pub(crate) fn victims(fraction: f64, connections: u32) -> u32 {
    // 14.5 % of 100 is 14.499999999999998 in binary, and still 15.
    let exact = fraction * f64::from(connections) * (1.0 + 1e-12);
    ((exact + 0.5).floor() as u32).clamp(1, connections)
}

/// Why a term would never have a sample: it asks how long nobody took to come back.
pub(crate) fn nobody_returns(full: &Full, term: &Term) -> Option<String> {
    if !term.metric.starts_with("latency.reconnect.") {
        return None;
    }
    let asked = |group: &&FullSubscribers| match term.subject.as_deref() {
        None | Some("bystanders") => true,
        Some("victims") => full.faults.iter().any(|fault| fault.aims_at(&group.name)),
        Some(name) => name == group.name,
    };
    let returns = full.subscribers.iter().filter(asked).any(|group| group.reconnect.value != Reconnect::None);
    (!returns).then(|| format!("nobody reconnects, so `{}` would have no samples", term.metric))
}

/// Conditions that ask for what cannot be there.
pub(crate) fn condition(full: &Full, condition: &Condition, place: &Range<usize>) -> Option<Finding> {
    let why = condition.terms().into_iter().find_map(|term| nobody_returns(full, term))?;
    Some(Finding::error(place.clone(), why).note("write reconnect = \"immediate\" for the group"))
}
