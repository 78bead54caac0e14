//! From what a round left behind to the figures of its report. Pure: no clock, no socket, no decision.

use std::collections::HashSet;
use std::time::Duration;

use super::round::Round;
use crate::clients::failure::{Failure, Reason, Stage};
use crate::clients::fleet::FleetResult;
use crate::clients::publisher::{LinkTally, PublishTally};
use crate::clients::source::{spans, timetable};
use crate::clients::tally::{Failures, GroupTally};
use crate::inject::cohort;
use crate::ledger::{CloseFacts, StreamId, Streams, SumError, Totals, sums};
use crate::metrics::LatencySet;
use crate::report::model::{
    Connections, Errors, Health, Latencies, PhaseReport, Probes, Published, Report, Setup, Slice,
    Subscriptions, WaveMemory, Waves,
};
use crate::scenarios::plan::{Pace, Plan, PublisherGroup};
use crate::scenarios::target::Contract;

/// A generator whose events are sent this late, or whose loop wakes up this late, does not keep its own schedule.
const LATE_US: u64 = 100_000;
/// A thread that is busy for more than this share of the time has no room to be on time.
const BUSY: f64 = 0.95;
/// The group of the one connection that publishes probes; no scenario can have one of this name.
const PROBER: &str = "prober";
/// Names of failures in one report.
const FAILURE_NAMES: usize = 64;

/// Fills a report with the figures of one round.
///
/// # Errors
/// If a sum of the ledger does not close, which is a bug in stressctl; the report is filled all the same.
pub fn fill(report: &mut Report, plan: &Plan, round: Round) -> Result<(), SumError> {
    let Round { fleet, phases, waves, setup, peak_active, busiest, .. } = round;
    let groups: Vec<GroupTally> = fleet.groups.chunks(2).map(together).collect();
    report.setup = Setup { duration_s: setup.map(|s| s.as_secs_f64()) };
    report.connections = connections(
        plan.subscriber_connections().into(),
        groups.iter(),
        Some((fleet.board.open.peak().into(), fleet.board.handshaking.peak().into())),
    );
    report.subscriptions = subscriptions(plan, groups.iter(), Some(peak_active), &fleet.board);
    let due = due(plan, &phases);
    report.published = published(fleet.publisher.groups.iter().flatten().zip(due.iter().flatten().copied()));
    report.errors = errors(report, &groups, &fleet.publisher.links, &fleet.publisher.groups);
    report.waves = (plan.subscribers.iter().any(|g| g.waves > 1))
        .then(|| Waves { server_memory: WaveMemory { spread: spread(&waves) }, each: waves });
    report.latency = latencies(&fleet.latency, Some(&fleet.publisher.latency));
    generator(report, &fleet, busiest);

    let spans: Vec<_> = plan.publishers.iter().map(|g| spans(plan, g)).collect();
    let facts = Facts {
        plan,
        streams: &fleet.board.streams,
        spans,
        starts: phases.iter().map(|(start, _)| *start).collect(),
        unacked: fleet.publisher.unacked.iter().copied().collect(),
    };
    let obligations = fleet.board.obligations.load(std::sync::atomic::Ordering::Relaxed);
    let mut totals = Totals::new(2 * plan.subscribers.len(), plan.phases.len());
    for ledger in fleet.ledgers {
        totals += ledger.close(&facts);
    }
    let (contract, ordered) = (plan.target.contract, plan.target.ordered);
    report.ledger = totals.all().report(totals.receipts(), obligations, contract, ordered);
    report.ledger.examples = totals.examples().cloned().collect();
    let tallies = &fleet.publisher.groups;
    report.groups.clear();
    for (index, group) in plan.subscribers.iter().enumerate() {
        let one = std::iter::once(&groups[index]);
        let delivered = fleet.latency.slice(|cohort, _| cohort / 2 == index);
        let mut counts = totals.group(cohort(index, false));
        counts += &totals.group(cohort(index, true));
        let slice = Slice {
            connections: connections(group.connections.into(), one.clone(), None),
            subscriptions: subscriptions(plan, one, None, &fleet.board),
            ledger: counts.report(counts.receipts(), counts.obligations(), contract, ordered),
            latency: deliver_only(&delivered),
            ..Slice::default()
        };
        report.groups.insert(group.name.clone(), slice);
    }
    for (index, group) in plan.publishers.iter().enumerate() {
        let slice = Slice {
            connections: link_connections(group.connections.into(), &fleet.publisher.links[index]),
            published: published(tallies[index].iter().zip(due[index].iter().copied())),
            ..Slice::default()
        };
        report.groups.insert(group.name.clone(), slice);
    }
    report.groups.extend(prober(&fleet.publisher.links));
    report.phases = phase_reports(plan, &phases, tallies, &due, &totals, &fleet.latency);
    fill_timeline(report, &totals);
    sums(&totals.all(), totals.receipts(), obligations)
}

/// Bystanders and victims of one group.
fn together(cohorts: &[GroupTally]) -> GroupTally {
    let mut group = GroupTally::default();
    cohorts.iter().for_each(|one| group += one);
    group
}

fn connections<'a>(
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
        established_ratio: share(all.established, all.attempted),
        peak_open,
        peak_handshaking,
        offered_spread_s: spread.map(|ns| ns as f64 / 1e9),
        dropped_by_plan: all.dropped_by_plan,
        dropped_unexpectedly: all.dropped_unexpectedly,
        ..Connections::default()
    };
    add_failures(&mut connections, std::iter::once(&all.failures));
    connections
}

fn link_connections(planned: u64, link: &LinkTally) -> Connections {
    let mut connections = Connections {
        planned,
        attempted: link.attempted,
        established: link.established,
        established_ratio: share(link.established, link.attempted),
        dropped_unexpectedly: link.lost,
        dropped_by_plan: link.established + link.reconnected - link.lost,
        reconnected: link.reconnected,
        ..Connections::default()
    };
    add_failures(&mut connections, std::iter::once(&link.failures));
    connections
}

/// The connection that publishes probes is nobody's business unless it failed.
fn prober(links: &[LinkTally]) -> Option<(String, Slice)> {
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
    }
    while connections.failed.len() > FAILURE_NAMES {
        let rarest =
            connections.failed.iter().filter(|(name, _)| *name != "other.other").min_by_key(|(_, n)| **n);
        let Some((name, count)) = rarest.map(|(name, n)| (name.clone(), *n)) else { return };
        connections.failed.remove(&name);
        connections.failed_texts.remove(&name);
        *connections.failed.entry("other.other".to_owned()).or_default() += count;
    }
}

fn subscriptions<'a>(
    plan: &Plan,
    tallies: impl Iterator<Item = &'a GroupTally>,
    peak_active: Option<u64>,
    board: &crate::clients::board::Board,
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
    }
}

/// Events of each publisher group that were due in each phase, `[group][phase]`: all that were planned, or those due by
/// the moment the phase was stopped. Without a rate an event is due when it can be sent, so all of them are.
fn due(plan: &Plan, phases: &[(u64, u64)]) -> Vec<Vec<u64>> {
    let one = |group: &PublisherGroup| {
        let table = timetable(group);
        let in_phase = |(phase, span): (usize, Option<(u64, u64)>)| {
            let (Some((_, count)), Some((start, end))) = (span, phases.get(phase)) else { return 0 };
            let lasted = Duration::from_nanos(end - start);
            table.count_within(lasted).map_or(count, |due| due.min(count))
        };
        spans(plan, group).into_iter().enumerate().map(in_phase).collect()
    };
    plan.publishers.iter().map(one).collect()
}

fn published<'a>(tallies: impl Iterator<Item = (&'a PublishTally, u64)>) -> Published {
    let mut all = Published::default();
    let mut span: Option<(u64, u64)> = None;
    for (tally, attempted) in tallies {
        all.attempted += attempted;
        all.sent += tally.sent;
        all.acked += tally.acked;
        all.unknown += tally.unknown;
        all.failed += tally.failed;
        if let Some((first, last)) = tally.span_ns {
            span = Some(span.map_or((first, last), |(f, l)| (f.min(first), l.max(last))));
        }
    }
    // n events span n - 1 intervals.
    all.rate = span
        .filter(|(first, last)| last > first && all.sent > 1)
        .map(|(first, last)| (all.sent - 1) as f64 / ((last - first) as f64 / 1e9));
    all
}

/// Failed operations and unexpected drops among established connections; failed connects are in
/// `established_ratio` alone.
fn errors(
    report: &Report,
    groups: &[GroupTally],
    links: &[LinkTally],
    published: &[Vec<PublishTally>],
) -> Errors {
    let all = || groups.iter().map(|g| &g.failures).chain(links.iter().map(|l| &l.failures));
    let count = |keep: &dyn Fn(Failure) -> bool| -> u64 { all().map(|f| f.count(keep)).sum() };
    let timed_out: u64 = published.iter().flatten().map(|t| t.timed_out).sum();
    let refused = count(&|f| f.stage == Stage::Confirm || is_ended_operation(f));
    let in_next: u64 = groups.iter().map(|g| g.errors_in_next).sum();
    let failed = report.published.failed + report.published.unknown + refused + in_next;
    let drops = report.connections.dropped_unexpectedly + links.iter().map(|l| l.lost).sum::<u64>();
    let of = report.published.sent + report.subscriptions.requested + report.connections.established;
    Errors {
        ratio: share(failed + drops, of),
        timeout: count(&|f| f.reason == Reason::Timeout),
        // A publish that timed out is among the failures by name already.
        unexpected: count(&|_| true) + in_next + report.published.unknown - timed_out,
        unexplained: count(&Failure::is_unexplained),
    }
}

/// A subscription that the server ended although its connection lives.
fn is_ended_operation(failure: Failure) -> bool {
    failure.stage == Stage::Open && matches!(failure.reason, Reason::Error | Reason::Complete)
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// Largest / smallest growth per subscription among waves 2 and later.
fn spread(waves: &[crate::report::model::Wave]) -> Option<f64> {
    let growth: Option<Vec<f64>> =
        waves.iter().skip(1).map(|w| w.server_memory_per_subscription_bytes).collect();
    let growth = growth.filter(|g| g.len() > 1)?;
    let largest = growth.iter().copied().fold(f64::MIN, f64::max);
    let smallest = growth.iter().copied().fold(f64::MAX, f64::min);
    (smallest > 0.0).then(|| largest / smallest)
}

fn latencies(subscribers: &LatencySet, publishers: Option<&LatencySet>) -> Latencies {
    let mut all = subscribers.latencies();
    if let Some(publishers) = publishers {
        all.publish_ack = publishers.publish_ack.latency();
        all.send_lag = publishers.send_lag.latency();
    }
    all
}

fn deliver_only(delivered: &crate::metrics::latency_set::Delivered) -> Latencies {
    Latencies {
        deliver: delivered.from_due.latency(),
        deliver_from_sent: delivered.from_sent.latency(),
        ..Latencies::default()
    }
}

fn phase_reports(
    plan: &Plan,
    phases: &[(u64, u64)],
    tallies: &[Vec<PublishTally>],
    due: &[Vec<u64>],
    totals: &Totals,
    latency: &LatencySet,
) -> Vec<PhaseReport> {
    let one = |(index, (start, end)): (usize, &(u64, u64))| {
        let counts = totals.phase(index);
        let (start_s, end_s) = (*start as f64 / 1e9, *end as f64 / 1e9);
        PhaseReport {
            name: plan.phases[index].name.clone(),
            start_s,
            end_s,
            duration_s: end_s - start_s,
            published: published(tallies.iter().zip(due).map(|(group, due)| (&group[index], due[index]))),
            ledger: counts.report(
                counts.receipts(),
                counts.obligations(),
                plan.target.contract,
                plan.target.ordered,
            ),
            latency: deliver_only(&latency.slice(|_, phase| phase == index)),
            ..PhaseReport::default()
        }
    };
    phases.iter().enumerate().map(one).collect()
}

/// Whether the generator kept its own schedule. Where it did not, times say more about it than about the server.
fn generator(report: &mut Report, fleet: &FleetResult, busiest: Option<(Duration, Duration)>) {
    let latency = &fleet.latency;
    let generator = &mut report.generator;
    generator.send_lag_p99_us = fleet.publisher.latency.send_lag.quantile_us(0.99);
    generator.loop_lag_p99_us =
        latency.loop_lag.quantile_us(0.99).max(fleet.publisher.latency.loop_lag.quantile_us(0.99));
    generator.setup_lag_p99_us = latency.setup_lag.quantile_us(0.99);
    generator.drain_p99_us = latency.drain.quantile_us(0.99);
    generator.cpu_share =
        busiest.filter(|(_, wall)| !wall.is_zero()).map(|(cpu, wall)| cpu.as_secs_f64() / wall.as_secs_f64());
    let ms = |us: u64| us as f64 / 1e3;
    let mut reasons = Vec::new();
    if let Some(us) = generator.send_lag_p99_us.filter(|us| *us > LATE_US) {
        reasons.push(format!("one event in a hundred was sent {:.0} ms late or later", ms(us)));
    }
    if let Some(us) = generator.loop_lag_p99_us.filter(|us| *us > LATE_US) {
        reasons.push(format!("its event loop woke up {:.0} ms late or later one time in a hundred", ms(us)));
    }
    if let Some(share) = generator.cpu_share.filter(|s| *s > BUSY) {
        reasons.push(format!("its busiest thread was busy {:.0} % of the time", share * 100.0));
    }
    let local: u64 = fleet.groups.iter().map(|g| g.failures.count(Failure::is_local)).sum();
    if local > 0 {
        reasons.push(format!("{local} connections failed for want of files or ports on this machine"));
    }
    if !reasons.is_empty() {
        generator.health = Health::Limited;
    }
    generator.reasons = reasons;
}

/// Losses belong to the second in which the event was due.
fn fill_timeline(report: &mut Report, totals: &Totals) {
    let bucket_s = crate::ledger::counts::LOST_BUCKET_NS as f64 / 1e9;
    for (bucket, lost) in &totals.lost_by_due {
        let due_s = *bucket as f64 * bucket_s;
        let last = report.timeline.len().saturating_sub(1);
        let index = report.timeline.partition_point(|point| point.t_s < due_s).min(last);
        if let Some(point) = report.timeline.get_mut(index) {
            point.lost += lost;
        }
    }
}

/// What the plan and the publishers know about events that did not arrive.
struct Facts<'a> {
    plan: &'a Plan,
    streams: &'a Streams,
    /// `[group][phase]`: first event and count.
    spans: Vec<Vec<Option<(u64, u64)>>>,
    starts: Vec<u64>,
    unacked: HashSet<(StreamId, u64)>,
}

impl Facts<'_> {
    /// Group, phase and number within the phase.
    fn place(&self, stream: StreamId, seq: u64) -> (usize, usize, u64) {
        let (group, n) = self.streams.number(stream, seq);
        let place = self.spans[group].iter().enumerate().find_map(|(phase, span)| {
            let (first, count) = (*span)?;
            (first..first + count).contains(&n).then(|| (group, phase, n - first))
        });
        place.expect("a published event belongs to a phase of its group")
    }
}

impl CloseFacts for Facts<'_> {
    fn ordered(&self) -> bool {
        self.plan.target.ordered
    }

    fn contract(&self) -> Contract {
        self.plan.target.contract
    }

    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool {
        !self.unacked.contains(&(stream, seq))
    }

    fn phase_of(&self, stream: StreamId, seq: u64) -> usize {
        self.place(stream, seq).1
    }

    fn due_ns(&self, stream: StreamId, seq: u64) -> Option<u64> {
        let (group, phase, n) = self.place(stream, seq);
        let group = &self.plan.publishers[group];
        let table = timetable(group);
        matches!(group.pace, Pace::Open(_))
            .then(|| self.starts.get(phase).map(|start| start + table.due(n).as_nanos() as u64))
            .flatten()
    }
}
