//! Checks of faults and reconnects across keys, at full size; `loads` has those that depend on the size of a run.

use std::ops::Range;

use super::aims::{self, Hits};
use super::{cycles, delays, suits, times};
use crate::scenarios::build::HANDSHAKES;
use crate::scenarios::condition::{Condition, Term};
use crate::scenarios::file::ConnectWord;
use crate::scenarios::full::{Cuts, Full, FullSubscribers};
use crate::scenarios::plan::{Crew, FaultKind, Reconnect, exact_share};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{exact_duration, show_count};

/// Most faults of a scenario: whoever aims at whose victims is looked up for every pair of them.
const MOST: usize = 200;

/// Everything that is wrong, or doubtful, about a scenario's faults and the clients they hit.
pub(crate) fn faults(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    if let Some(fault) = full.faults.get(MOST) {
        let message = format!("more than {MOST} faults in one scenario");
        findings.push(Finding::error(fault.span.clone(), message));
        return;
    }
    aims::check(full, cuts, findings);
    let hits = aims::hits(full);
    for (fault, hits) in full.faults.iter().zip(&hits) {
        times::check(full, fault, hits, cuts, findings);
        suits::check(full, fault, hits, findings);
        cycles::check(full, fault, hits, findings);
        delays::check(full, fault, hits, findings);
    }
    for (index, group) in full.subscribers.iter().enumerate() {
        clients(full, index, &hits, findings);
        suits::policies(group, findings);
    }
    if let Some(fault) = full.faults.first().filter(|_| full.reached.is_empty() && !cuts.touch("reached")) {
        let message = "a scenario with a fault needs a reached-condition: that the fault did what it is for";
        let example =
            format!("write reached.all-hit = \"faults.{0}.applied / predicted == 100%\"", fault.name);
        findings.push(Finding::error(fault.span.clone(), message).note(example));
    }
}

/// Reconnects that make something else than was meant.
fn clients(full: &Full, index: usize, hits: &[Hits], findings: &mut Vec<Finding>) {
    let group = &full.subscribers[index];
    if let Reconnect::Exponential { first, cap, .. } = group.reconnect.value
        && first > cap
    {
        let message = "`first` is longer than `cap`: every wait would be `cap`";
        let note = format!("write fixed = {{ wait = \"{}\" }}", exact_duration(cap));
        findings.push(Finding::error(group.reconnect.span.clone(), message).note(note));
    }
    let ends = |kind: &Option<FaultKind>| matches!(kind, Some(FaultKind::Terminate(_)));
    let cut = full.faults.iter().zip(hits).filter(|(fault, _)| ends(&fault.kind)).flat_map(|(_, hits)| hits);
    let own = cut.filter(|(crew, _)| *crew == Crew::Subscribers(index));
    let most = own.map(|(_, count)| *count).max().unwrap_or(0);
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

/// How many of so many connections a fraction is.
pub(crate) fn victims(fraction: f64, connections: u32) -> u32 {
    exact_share(fraction, connections.into()) as u32
}

/// Why a term would never have a sample: it asks how long nobody took to come back.
pub(crate) fn nobody_returns(full: &Full, term: &Term) -> Option<String> {
    if !term.metric.starts_with("latency.reconnect.") {
        return None;
    }
    let hits = if full.faults.len() > MOST { Vec::new() } else { aims::hits(full) };
    let hit = |index| hits.iter().flatten().any(|(crew, _)| *crew == Crew::Subscribers(index));
    let asked = |(index, group): &(usize, &FullSubscribers)| match term.subject.as_deref() {
        None | Some("bystanders") => true,
        Some("victims") => hit(*index),
        Some(name) => name == group.name,
    };
    let mut groups = full.subscribers.iter().enumerate().filter(asked);
    let returns = groups.any(|(_, group)| group.reconnect.value != Reconnect::None);
    (!returns).then(|| format!("nobody reconnects, so `{}` would have no samples", term.metric))
}

/// Conditions that ask for what cannot be there.
pub(crate) fn condition(full: &Full, condition: &Condition, place: &Range<usize>) -> Option<Finding> {
    let why = condition.terms().into_iter().find_map(|term| nobody_returns(full, term))?;
    Some(Finding::error(place.clone(), why).note("write reconnect = \"immediate\" for the group"))
}
