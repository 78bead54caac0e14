//! The whole report of one round, section by section.

use super::clients::{connections, link_connections, place_failures, prober, subscriptions};
use super::cohorts::{self, Selection, deliveries, ledger, selections};
use super::errors::{Deeds, errors, phase_errors};
use super::escalation::escalation;
use super::facts::Facts;
use super::faults::faults;
use super::generator::generator;
use super::publishing::{due, flow, published};
use super::returns::returns;
use super::slow::{self, Dropped, Known};
use super::slowed::Shares;
use crate::clients::board::Board;
use crate::clients::fleet::FleetResult;
use crate::clients::publisher::PublisherResult;
use crate::inject::Schedule;
use crate::ledger::{SumError, Totals, sums};
use crate::metrics::{LatencySet, Recorder};
use crate::report::model::{
    Example, Latencies, PhaseConnections, PhaseReport, Report, Setup, Slice, WaveMemory, Waves,
};
use crate::run::round::{PhaseEvents, Round};
use crate::scenarios::plan::Plan;

/// Fills a report with the figures of one round.
///
/// # Errors
/// If a sum of the ledger does not close, which is a bug in stressctl; the report is filled all the same.
pub(crate) fn fill(report: &mut Report, plan: &Plan, round: Round) -> Result<(), SumError> {
    let Round {
        mut fleet,
        phases,
        events,
        waves,
        setup,
        peak_active,
        busiest,
        server_turn,
        barriers_complete,
        ..
    } = round;
    let counters = round.counters;
    let shares = Shares::of(server_turn, busiest);
    let schedule = Schedule::of(plan);
    report.setup = Setup { duration_s: setup.map(|s| s.as_secs_f64()) };
    report.connections = connections(
        plan.subscriber_connections().into(),
        fleet.groups.iter(),
        Some((fleet.board.open.peak().into(), fleet.board.handshaking.peak().into())),
    );
    report.subscriptions = subscriptions(plan, fleet.groups.iter(), Some(peak_active), &fleet.board);
    report.subscriptions.barriers.complete = barriers_complete;
    let due = due(plan, &phases, &fleet.publisher.groups);
    let tallies = fleet.publisher.groups.iter().flatten().zip(due.iter().flatten().copied());
    report.published = published(tallies, shares);
    let deeds = Deeds {
        connections: Some(&report.connections),
        subscriptions: Some(&report.subscriptions),
        published: Some(&report.published),
        links: &fleet.publisher.links,
        publishes: &fleet.publisher.groups,
    };
    report.errors = errors(deeds, &fleet.groups.iter().collect::<Vec<_>>());
    (report.reconnects, report.breaker) = returns(fleet.groups.iter());
    report.waves = (plan.subscribers.iter().any(|g| g.waves > 1))
        .then(|| Waves { server_memory: WaveMemory { spread: spread(&waves) }, each: waves });
    let receipts = &fleet.latency.receipts;
    report.flow = flow(receipts, fleet.publisher.groups.iter().flatten(), u64::MAX);
    report.latency = latencies(&fleet.latency, &fleet.publisher.latency);
    report.faults = faults(plan, schedule.acts(), &fleet.faults, &phases);
    generator(report, &fleet, busiest);

    let facts = Facts::new(plan, &fleet.board.streams, &phases, &fleet.publisher);
    let obligations = fleet.board.obligations.load(std::sync::atomic::Ordering::Relaxed);
    let mut totals = Totals::new(cohorts::count(plan), plan.phases.len());
    for ledger in std::mem::take(&mut fleet.ledgers) {
        totals += ledger.close(&facts);
    }
    report.ledger = ledger(plan, &totals.all(), totals.receipts(), obligations);
    report.ledger.examples = totals.examples().map(|example| named(example, &fleet.board)).collect();
    let selections = selections(plan, schedule.acts());
    report.groups =
        selections.iter().map(|one| (one.name.clone(), one.slice(plan, &fleet, &totals))).collect();
    for (index, (group, due)) in plan.publishers.iter().zip(&due).enumerate() {
        let slice = publishers(group.connections.into(), &fleet.publisher, (index, due), shares);
        report.groups.insert(group.name.clone(), slice);
    }
    report.groups.extend(prober(&fleet.publisher.links));
    place_failures(report, plan);
    report.phases = phase_reports(plan, (&phases, &events), &fleet, &totals, &selections, (&due, shares));
    let climb = fleet.board.climb.as_ref();
    let dropped = Dropped { counters: counters.as_ref(), events: &events };
    report.escalation =
        climb.map(|climb| escalation(plan, climb, &round.step_peaks, &report.phases, &dropped));
    report.server.alive = round.alive;
    report.drain.duration_s = drained(&fleet.publisher, round.drained_ns);
    fill_timeline(report, &totals);
    let known = Known { plan, acts: schedule.acts(), fleet: &fleet, totals: &totals, dropped };
    slow::fill(report, &known);
    sums(&totals.all(), totals.receipts(), obligations)
}

/// From the last publish until nothing owed was on its way any more, in seconds.
fn drained(publisher: &PublisherResult, drained_ns: Option<u64>) -> Option<f64> {
    let last =
        publisher.groups.iter().flatten().filter_map(|tally| tally.span_ns).map(|(_, last)| last).max()?;
    Some(drained_ns?.saturating_sub(last) as f64 / 1e9)
}

fn named(example: &Example, board: &Board) -> Example {
    Example { channel_name: board.channel_name(example.channel as u32), ..example.clone() }
}

/// The whole run as one group of publishers saw it.
fn publishers(
    planned: u64,
    publisher: &PublisherResult,
    (index, due): (usize, &[u64]),
    shares: Shares,
) -> Slice {
    let published = published(publisher.groups[index].iter().zip(due.iter().copied()), shares);
    let deeds = Deeds {
        published: Some(&published),
        links: &publisher.links[index..=index],
        publishes: &publisher.groups[index..=index],
        ..Deeds::default()
    };
    Slice {
        errors: errors(deeds, &[]),
        connections: link_connections(planned, &publisher.links[index]),
        published,
        ..Slice::default()
    }
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

/// Every phase that began.
fn phase_reports(
    plan: &Plan,
    (phases, events): (&[(u64, u64)], &[PhaseEvents]),
    fleet: &FleetResult,
    totals: &Totals,
    selections: &[Selection],
    (due, shares): (&[Vec<u64>], Shares),
) -> Vec<PhaseReport> {
    let groups = &fleet.publisher.groups;
    let one = |(index, span): (usize, &(u64, u64))| {
        let mut report =
            phase_report(plan, (index, *span, &events[index]), &fleet.latency, totals, selections);
        let tallies = groups.iter().zip(due).map(|(group, due)| (&group[index], due[index]));
        report.published = published(tallies, shares);
        report.errors = phase_errors(&events[index], groups.iter().map(|group| &group[index]));
        report.flow = flow(&fleet.latency.receipts, groups.iter().map(|group| &group[index]), span.1);
        report.latency.publish_ack = fleet.publisher.acks.get(index).and_then(Recorder::latency);
        report
    };
    phases.iter().enumerate().map(one).collect()
}

/// One phase as subscribers and both processes saw it.
fn phase_report(
    plan: &Plan,
    (index, (start, end), events): (usize, (u64, u64), &PhaseEvents),
    latency: &LatencySet,
    totals: &Totals,
    selections: &[Selection],
) -> PhaseReport {
    let counts = totals.phase(index);
    let (start_s, end_s) = (start as f64 / 1e9, end as f64 / 1e9);
    let in_phase = |one: &Selection| (one.name.clone(), one.in_phase(plan, latency, totals, index));
    PhaseReport {
        name: plan.phases[index].name.clone(),
        start_s,
        end_s,
        duration_s: end_s - start_s,
        ledger: ledger(plan, &counts, counts.receipts(), counts.obligations()),
        latency: deliveries(&latency.slice(|_, phase| phase == index)),
        groups: selections.iter().map(in_phase).collect(),
        connections: PhaseConnections { dropped_unexpectedly: events.dropped },
        resources: events.peaks.report(),
        ..PhaseReport::default()
    }
}

fn latencies(subscribers: &LatencySet, publishers: &LatencySet) -> Latencies {
    Latencies {
        publish_ack: publishers.publish_ack.latency(),
        send_lag: publishers.send_lag.latency(),
        ..subscribers.latencies()
    }
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
