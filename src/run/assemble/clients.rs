//! Connections and subscriptions, of any selection of clients.

use std::ops::Range;

use crate::clients::board::Board;
use crate::clients::publisher::LinkTally;
use crate::clients::tally::{Failures, GroupTally, Span};
use crate::report::model::{Barriers, Connections, FailedSpan, Probes, Report, Slice, Subscriptions};
use crate::scenarios::plan::Plan;

/// The group of the one connection that publishes probes; no scenario can have one of this name.
const PROBER: &str = "prober";
/// Names of failures in one report.
const FAILURE_NAMES: usize = 64;

/// What became of the connections of some cohorts.
pub(super) fn connections<'a>(
    planned: u64,
    tallies: impl Iterator<Item = &'a GroupTally>,
    peaks: Option<(u64, u64)>,
) -> Connections {
    let mut all = GroupTally::default();
    let mut spread = None;
    for tally in tallies {
        spread = spread.max(tally.offered_spread_ns());
        all += tally;
    }
    let (peak_open, peak_handshaking) = peaks.unzip();
    let mut connections = Connections {
        planned,
        attempted: all.attempted,
        established: all.established,
        established_ratio: share(all.established, all.attempted - all.aborted_by_plan),
        aborted_by_plan: all.aborted_by_plan,
        peak_open,
        peak_handshaking,
        offered_spread_s: spread.map(|ns| ns as f64 / 1e9),
        dropped_by_plan: all.dropped_by_plan,
        dropped_unexpectedly: all.dropped_unexpectedly,
        reconnected: all.reconnected,
        cut: all.cut,
        absences: all.absences,
        recovered: all.recovered,
        ..Connections::default()
    };
    add_failures(&mut connections, [&all.failures, &all.reconnect_failures].into_iter());
    connections
}

/// What became of the connections of a group of publishers.
pub(super) fn link_connections(planned: u64, link: &LinkTally) -> Connections {
    let mut connections = Connections {
        planned,
        attempted: link.attempted,
        established: link.established,
        established_ratio: share(link.established, link.attempted),
        dropped_unexpectedly: link.lost,
        dropped_by_plan: link.established + link.reconnected - link.lost,
        cut: link.cut,
        reconnected: link.reconnected,
        ..Connections::default()
    };
    add_failures(&mut connections, std::iter::once(&link.failures));
    connections
}

/// The connection that publishes probes is nobody's business unless it failed.
pub(super) fn prober(links: &[LinkTally]) -> Option<(String, Slice)> {
    let link = links.last().filter(|link| link.failures.total() > 0)?;
    let slice = Slice { connections: link_connections(1, link), ..Slice::default() };
    Some((PROBER.to_owned(), slice))
}

/// The list of names is closed and short; should a server find more ways to refuse, the rarest share one name.
fn add_failures<'a>(connections: &mut Connections, failures: impl Iterator<Item = &'a Failures>) {
    for one in failures {
        for (name, count) in one.by_name() {
            *connections.failed.entry(name).or_default() += count;
        }
        connections.failed_texts.extend(one.texts());
        for (name, span) in one.spans() {
            let found = failed_span(span);
            connections.failed_spans.entry(name).and_modify(|known| join(known, &found)).or_insert(found);
        }
    }
    while connections.failed.len() > FAILURE_NAMES {
        let rarest =
            connections.failed.iter().filter(|(name, _)| *name != "other.other").min_by_key(|(_, n)| **n);
        let Some((name, count)) = rarest.map(|(name, n)| (name.clone(), *n)) else { return };
        connections.failed.remove(&name);
        connections.failed_texts.remove(&name);
        connections.failed_spans.remove(&name);
        *connections.failed.entry("other.other".to_owned()).or_default() += count;
    }
}

/// Its connection still counted among all of its kind; see [`place_failures`].
fn failed_span(span: Span) -> FailedSpan {
    let seconds = |ns: u64| ns as f64 / 1e9;
    FailedSpan {
        first_s: seconds(span.first.at_ns),
        last_s: seconds(span.last_ns),
        group: String::new(),
        connection: span.first.connection.into(),
    }
}

fn join(known: &mut FailedSpan, other: &FailedSpan) {
    let last_s = known.last_s.max(other.last_s);
    if other.first_s < known.first_s {
        known.clone_from(other);
    }
    known.last_s = last_s;
}

/// Every group of a plan with its share of all connections: subscribers first, then publishers.
pub(super) fn groups(plan: &Plan) -> impl Iterator<Item = (&str, Range<u32>)> {
    let subscribers = plan.subscribers.iter().map(|group| (group.name.as_str(), group.connections));
    let publishers = plan.publishers.iter().map(|group| (group.name.as_str(), group.connections));
    subscribers.chain(publishers).scan(0, |next, (name, connections)| {
        let first = *next;
        *next += connections;
        Some((name, first..*next))
    })
}

/// Says of each failure to which group its connection belongs, and which of that group it is.
pub(super) fn place_failures(report: &mut Report, plan: &Plan) {
    let seats: Vec<(&str, Range<u32>)> = groups(plan).collect();
    let place = |connections: &mut Connections, first: u32| {
        for span in connections.failed_spans.values_mut() {
            let seat = u32::try_from(span.connection).unwrap_or(u32::MAX).saturating_add(first);
            let (group, within) = match seats.iter().find(|(_, seats)| seats.contains(&seat)) {
                Some((name, seats)) => (*name, seat - seats.start),
                None => (PROBER, 0),
            };
            (span.group, span.connection) = (group.to_owned(), within.into());
        }
    };
    place(&mut report.connections, 0);
    for (name, group) in &mut report.groups {
        let publishes = name == PROBER || plan.publishers.iter().any(|publisher| publisher.name == *name);
        place(&mut group.connections, if publishes { plan.subscriber_connections() } else { 0 });
    }
}

/// What became of the subscriptions of some cohorts.
pub(super) fn subscriptions<'a>(
    plan: &Plan,
    tallies: impl Iterator<Item = &'a GroupTally>,
    peak_active: Option<u64>,
    board: &Board,
) -> Subscriptions {
    let mut all = GroupTally::default();
    tallies.for_each(|t| all += t);
    let sent = (0..plan.channels as usize)
        .map(|c| u64::from(board.probes_sent[c].load(std::sync::atomic::Ordering::Relaxed)))
        .sum();
    Subscriptions {
        requested: all.requested,
        confirmed: all.confirmed,
        peak_active,
        probes: Probes { sent, delivered: all.probes_delivered, missed_after_first: all.probes_missed },
        barriers: Barriers { delivered: all.barriers_delivered, complete: None },
    }
}

/// Absences that ended with every subscription proved / absences.
pub(super) fn recovered_ratio(connections: &Connections) -> Option<f64> {
    share(connections.recovered, connections.absences)
}

/// `part / of`; nothing where there is nothing to divide by.
pub(super) fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}
