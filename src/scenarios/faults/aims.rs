//! Whom faults aim at: names after `on`, through the victims of other faults down to groups.

use std::collections::HashSet;

use super::check::victims;
use super::full::FullFault;
use crate::scenarios::full::{Cuts, Full};
use crate::scenarios::plan::Crew;
use crate::scenarios::problem::Finding;
use crate::scenarios::units::show_ratio;

/// Groups that a fault hits, and how many connections of each at most, at full size.
pub(crate) type Hits = Vec<(Crew, u32)>;

/// Names after `on`: whether they are there, and whether they come to an end.
pub(crate) fn check(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    for fault in &full.faults {
        names(full, fault, cuts, findings);
    }
    circles(full, findings);
    let subscribers = full.subscribers.iter().map(|group| group.name.as_str());
    for group in subscribers.chain(full.publishers.iter().map(|group| group.name.as_str())) {
        fractions(full, group, findings);
    }
}

fn names(full: &Full, fault: &FullFault, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let Some(on) = &fault.on else { return };
    if on.is_empty() {
        findings.push(Finding::error(fault.span.clone(), "an empty `on`: it would hit nobody"));
    }
    let groups = full.subscribers.iter().map(|group| group.name.as_str());
    let groups = groups.chain(full.publishers.iter().map(|group| group.name.as_str()));
    let others = full.faults.iter().map(|other| other.name.as_str()).filter(|name| *name != fault.name);
    let known: Vec<&str> = groups.chain(others).collect();
    let mut seen = HashSet::new();
    for (name, span) in on {
        let error = |message: String| Finding::error(span.clone(), message);
        let cut = ["subscribers", "publishers", "faults"].map(|table| format!("{table}.{name}"));
        if !seen.insert(name) {
            findings.push(error(format!("`{name}` is listed twice")));
        } else if *name == fault.name {
            findings.push(error(format!("`{name}` aims at its own victims, so it has none")));
        } else if !known.contains(&name.as_str()) && !cut.iter().any(|path| cuts.touch(path)) {
            findings
                .push(error(format!("there is no group and no fault `{name}`")).allowed(name, known.clone()));
        }
    }
}

/// Index of the fault whose victims a name stands for; groups go first.
fn other(full: &Full, name: &str) -> Option<usize> {
    if full.crew(name).is_some() { None } else { full.faults.iter().position(|fault| fault.name == name) }
}

/// Faults that aim at each other's victims all the way round: nobody among them is ever drawn.
fn circles(full: &Full, findings: &mut Vec<Finding>) {
    let mut told = HashSet::new();
    for (index, fault) in full.faults.iter().enumerate() {
        let Some(path) = round(full, index).filter(|path| path.len() > 1) else { continue };
        if path.iter().any(|step| told.contains(step)) {
            continue;
        }
        told.extend(path.iter().copied());
        let names: Vec<String> = path.iter().map(|step| format!("`{}`", full.faults[*step].name)).collect();
        let message =
            format!("{} aim at each other's victims in a circle, so nobody is hit", names.join(", "));
        let next = &full.faults[path[1]].name;
        let place = fault.on.iter().flatten().find(|(name, _)| name == next).map(|(_, span)| span.clone());
        let place = place.unwrap_or_else(|| fault.span.clone());
        findings.push(Finding::error(place, message).note("let one of them aim at groups"));
    }
}

/// The shortest way from a fault back to it, without its end.
fn round(full: &Full, from: usize) -> Option<Vec<usize>> {
    let mut paths = vec![vec![from]];
    let mut seen = HashSet::new();
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        let last = *path.last()?;
        for step in full.faults[last].on.iter().flatten().filter_map(|(name, _)| other(full, name)) {
            if step == from {
                return Some(path);
            }
            if seen.insert(step) {
                let mut longer = path.clone();
                longer.push(step);
                paths.push(longer);
            }
        }
    }
    None
}

/// Faults draw without replacement, so their fractions of one group cannot add up to more than it.
fn fractions(full: &Full, group: &str, findings: &mut Vec<Finding>) {
    let mut sum = 0.0;
    for fault in full.faults.iter().filter(|fault| fault.draws() && fault.aims_at(group)) {
        let before = sum;
        sum += fault.fraction.value;
        if sum > 1.0 + 1e-9 {
            let message = format!(
                "{} of `{group}` are taken by the faults before, and {} more are not there",
                show_ratio(before),
                show_ratio(fault.fraction.value)
            );
            let note =
                "faults draw their victims from one group without replacement, in the order of the file";
            findings.push(Finding::error(fault.fraction.span.clone(), message).note(note));
            return;
        }
    }
}

/// Whom every fault hits; nobody, where it is in a circle.
pub(crate) fn hits(full: &Full) -> Vec<Hits> {
    let mut hits: Vec<Option<Hits>> = vec![None; full.faults.len()];
    // One sweep for each link of the longest chain.
    for _ in 0..full.faults.len() {
        for (index, fault) in full.faults.iter().enumerate() {
            if hits[index].is_none() {
                hits[index] = hit(full, fault, &hits);
            }
        }
    }
    hits.into_iter().map(Option::unwrap_or_default).collect()
}

/// Whom a fault hits; `None`: at victims that are not known yet.
fn hit(full: &Full, fault: &FullFault, known: &[Option<Hits>]) -> Option<Hits> {
    let mut all = Hits::new();
    for (name, _) in fault.on.iter().flatten() {
        let aimed = match (full.crew(name), other(full, name)) {
            (Some(crew), _) => vec![(crew, connections(full, crew))],
            (None, Some(other)) => known[other].clone()?,
            (None, None) => continue,
        };
        for (crew, count) in aimed {
            let count = victims(fault.share(), count);
            match all.iter_mut().find(|(hit, _)| *hit == crew) {
                Some((_, sum)) => *sum = sum.saturating_add(count).min(connections(full, crew)),
                None => all.push((crew, count)),
            }
        }
    }
    Some(all)
}

fn connections(full: &Full, crew: Crew) -> u32 {
    match crew {
        Crew::Subscribers(index) => full.subscribers[index].connections.value,
        Crew::Publishers(index) => full.publishers[index].connections.value,
    }
}

/// The name of a group.
pub(crate) fn name_of(full: &Full, crew: Crew) -> &str {
    match crew {
        Crew::Subscribers(index) => &full.subscribers[index].name,
        Crew::Publishers(index) => &full.publishers[index].name,
    }
}
