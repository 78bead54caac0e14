//! Slow readers: what they were behind by, what the server did about them, and whether what was lost is explained by it.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::{self, Signs};
use crate::clients::fleet::FleetResult;
use crate::clients::slow::SlowReader;
use crate::inject::{Act, cohort};
use crate::ledger::{Class, Counts, Totals};
use crate::metrics::server_stats::Counters;
use crate::report::human;
use crate::report::model::{Health, Report, SlowConsumers, SlowPolicy};
use crate::run::round::PhaseEvents;
use crate::scenarios::plan::{FELT, FaultKind, Pace, Part, Plan};

/// How long half of all publishes wait for their acknowledgement at least before publishers count as held up: far above
/// what a busy machine makes of it, far below what it takes to wait for a reader. In µs.
const HELD_UP_US: u64 = 250_000;
/// How many times as long as before readers were slow it must be.
const HELD_UP_TIMES: u64 = 10;
/// The share of the planned rate that a publisher which is not held up keeps.
const KEPT_RATE: f64 = 0.9;
/// The share that is kept where nobody had to wait, but for what a measurement differs by.
const ALL_OF_IT: f64 = 0.98;
/// How far a reader has to be behind for the server to feel it where it makes publishers wait: on loopback the kernels
/// alone hold 2.3 MiB for one that does not read.
const BEHIND: u64 = 2 << 20;
/// How far the server's count of what it dropped may be below ours.
const TOLERANCE: f64 = 0.01;

/// What is known of a run in which readers may have been slow.
pub(super) struct Known<'a> {
    pub(super) plan: &'a Plan,
    pub(super) acts: &'a [Act],
    pub(super) fleet: &'a FleetResult,
    pub(super) totals: &'a Totals,
    pub(super) dropped: Dropped<'a>,
}

/// What the server says it dropped.
#[derive(Clone, Copy)]
pub(super) struct Dropped<'a> {
    pub(super) counters: Option<&'a Counters>,
    pub(super) events: &'a [PhaseEvents],
}

impl Dropped<'_> {
    /// Deliveries that it dropped since a phase began, to whomever; `None`: it does not say.
    pub(super) fn since(&self, phase: usize) -> Option<u64> {
        let before = self.events.get(phase)?.server_dropped?;
        self.counters?.dropped_since(before).map(|dropped| dropped as u64)
    }
}

/// Fills in what is said of slow readers, and which losses are unexplained. All else of the report is there.
pub(super) fn fill(report: &mut Report, known: &Known<'_>) {
    let readers = &known.fleet.slow;
    let slow = known.slow_cohorts();
    let Losses { explicable, of_slow, others } = known.losses(&slow);
    let admitted = known.dropped.since(known.first_phase());
    report.ledger.lost_unexplained = match unexplained(explicable, admitted) {
        Some(more) => Some(others + more),
        // Some of it nobody could admit.
        None => Some(others).filter(|others| *others > 0),
    };
    let owed = known.counts(&slow);
    if readers.is_empty() {
        return;
    }
    let mut found = SlowConsumers {
        readers: readers.len() as u64,
        backlog_bytes: readers.iter().map(|one| one.peak_bytes).min().unwrap_or_default(),
        backlog_max_bytes: readers.iter().map(|one| one.peak_bytes).max().unwrap_or_default(),
        disconnected: readers.iter().filter(|one| one.disconnected).count() as u64,
        disconnects: known.disconnects(&slow),
        passed_over: readers.iter().filter(|one| one.passed_over > 0).count() as u64,
        lost: of_slow,
        missed: owed.of(Class::MissedDisconnected),
        admitted,
        ..SlowConsumers::default()
    };
    let open = owed.of(Class::Indeterminate).saturating_sub(owed.excused);
    let others_ended = slow.iter().map(|cohort| known.fleet.groups[*cohort].dropped_unexpectedly).sum();
    found.cut_short = cut_short(open, found.disconnected, others_ended);
    known.publishing(report, &mut found);
    let signs = Signs {
        disconnected: found.disconnected > 0,
        dropped: of_slow > 0,
        held_up: held_up(report, &found),
        backlog: found.backlog_bytes > FELT,
        open: open > found.cut_short,
    };
    (found.policy, found.also) = policy::name(signs);
    let felt = |one: &&SlowReader| {
        let is_behind = one.peak_bytes > if signs.held_up { BEHIND } else { FELT };
        is_behind || one.disconnected || one.passed_over > 0
    };
    found.felt_ratio = readers.iter().filter(felt).count() as f64 / readers.len() as f64;
    found.server_memory_rise_bytes = memory_rise(report, &known.slow_faults());
    found.evidence = evidence(&found);
    report.slow_consumers = Some(found);
}

/// How many of the undecided deliveries of slow readers it explains that so many were disconnected for being slow: all of
/// them, but where others ended as well nobody knows what of it is theirs.
fn cut_short(open: u64, disconnected: u64, others_ended: u64) -> u64 {
    if disconnected > 0 && others_ended == 0 { open } else { 0 }
}

/// How many of the losses that a policy may explain it does not: those beyond what the server says it dropped. `None`:
/// it does not say.
fn unexplained(lost: u64, admitted: Option<u64>) -> Option<u64> {
    if lost == 0 {
        return Some(0);
    }
    let admitted = admitted?;
    let within = lost as f64 <= admitted as f64 * (1.0 + TOLERANCE);
    Some(if within { 0 } else { lost.saturating_sub(admitted) })
}

/// Deliveries that were lost.
#[derive(Debug, Clone, Copy, Default)]
struct Losses {
    /// Those that a server's way with slow readers may explain: of slow readers, and of everybody in phases in which
    /// somebody publishes as fast as it can, so that of nobody it can be said that it should have kept up.
    explicable: u64,
    /// Of those, the ones of slow readers.
    of_slow: u64,
    /// All others: of who could keep up, and of everybody before anybody was slow.
    others: u64,
}

impl Known<'_> {
    /// Losses, by whether what the server does about slow readers may explain them.
    fn losses(&self, slow: &BTreeSet<usize>) -> Losses {
        let contract = self.plan.target.contract;
        let first = self.first_phase();
        let mut losses = Losses::default();
        for phase in 0..self.plan.phases.len() {
            let groups = self.plan.publishers.iter().filter(|group| group.phases.contains(&phase));
            let floods = !slow.is_empty() && groups.clone().any(|group| group.pace == Pace::Unlimited);
            for cohort in 0..super::cohorts::count(self.plan) {
                let counts = self.totals.at(cohort, phase);
                if phase >= first && slow.contains(&cohort) {
                    let lost = counts.of(Class::LostProven) + counts.of(Class::LostPresumed);
                    (losses.of_slow, losses.explicable) = (losses.of_slow + lost, losses.explicable + lost);
                } else if phase >= first && floods {
                    losses.explicable += counts.lost(contract);
                } else {
                    losses.others += counts.lost(contract);
                }
            }
        }
        losses
    }

    /// The first phase in which a reader is slow, or everybody is sent more than anybody can be expected to take.
    fn first_phase(&self) -> usize {
        let slow = self.acts.iter().filter(|act| self.is_slow(act.fault));
        let slow = slow.map(|act| if let Part::Phase(phase) = act.part { phase } else { 0 }).min();
        let floods = self.plan.publishers.iter().filter(|group| group.pace == Pace::Unlimited);
        let floods = floods.flat_map(|group| group.phases.first()).copied().min();
        slow.map_or(0, |slow| floods.map_or(slow, |floods| slow.min(floods)))
    }

    fn is_slow(&self, fault: usize) -> bool {
        matches!(self.plan.faults[fault].kind, FaultKind::SlowConsumer(_))
    }

    /// Names of the faults that make readers slow.
    fn slow_faults(&self) -> Vec<&str> {
        let faults = self.plan.faults.iter().enumerate();
        faults.filter(|(index, _)| self.is_slow(*index)).map(|(_, fault)| fault.name.as_str()).collect()
    }

    /// Cohorts of victims among which there are slow readers. Other victims of the same group are in them too.
    fn slow_cohorts(&self) -> BTreeSet<usize> {
        let mut first = 0;
        let mut slow = BTreeSet::new();
        for (index, group) in self.plan.subscribers.iter().enumerate() {
            let own = first..first + group.connections;
            first = own.end;
            if self.acts.iter().any(|act| self.is_slow(act.fault) && own.contains(&act.connection)) {
                slow.insert(cohort(index, true));
            }
        }
        slow
    }

    fn counts(&self, cohorts: &BTreeSet<usize>) -> Counts {
        let mut all = Counts::default();
        cohorts.iter().for_each(|cohort| all += &self.totals.group(*cohort));
        all
    }

    fn disconnects(&self, cohorts: &BTreeSet<usize>) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for cohort in cohorts {
            for (name, count) in self.fleet.groups[*cohort].disconnected_slow.by_name() {
                *all.entry(name).or_default() += count;
            }
        }
        all
    }

    /// How publishing went while readers were slow, and before. Only phases count in which every publisher has a rate to
    /// keep: of one that sends as fast as it can nobody knows how fast that should be.
    fn publishing(&self, report: &Report, found: &mut SlowConsumers) {
        let names = self.slow_faults();
        let slow = |phase: usize| {
            let name = &self.plan.phases[phase].name;
            names.iter().any(|fault| report.faults.get(*fault).is_some_and(|f| f.parts.contains(name)))
        };
        let planned = |phase: usize| {
            let groups = self.plan.publishers.iter().filter(|group| group.phases.contains(&phase));
            groups
                .map(|group| if let Pace::Open(rate) = group.pace { Some(rate) } else { None })
                .sum::<Option<f64>>()
        };
        let begun = 0..report.phases.len();
        let with_rate = |phase: &usize| planned(*phase).is_some_and(|rate| rate > 0.0);
        let p50 = |phase: usize| Some(report.phases[phase].latency.publish_ack.as_ref()?.p50_us);
        let first = begun.clone().find(|phase| slow(*phase)).unwrap_or(begun.end);
        found.publish_ack_before_us = (0..first).filter(with_rate).filter_map(p50).max();
        let during: Vec<usize> = begun.filter(|phase| slow(*phase)).filter(with_rate).collect();
        found.publish_ack_during_us = during.iter().filter_map(|phase| p50(*phase)).max();
        // The phase that fell furthest behind its plan.
        let worst = |phases: &mut dyn Iterator<Item = usize>| {
            let rates =
                phases.filter_map(|phase| Some((report.phases[phase].published.rate?, planned(phase)?)));
            rates.min_by(|one, other| (one.0 / one.1).total_cmp(&(other.0 / other.1))).unzip()
        };
        (found.published_rate, found.planned_rate) = worst(&mut during.into_iter());
        (found.published_rate_before, found.planned_rate_before) = worst(&mut (0..first).filter(with_rate));
    }
}

/// Whether publishers were made to wait while readers were slow, and not before. Where nothing was published before, what
/// was planned is all that there is to compare with.
fn held_up(report: &Report, found: &SlowConsumers) -> bool {
    let late = found.publish_ack_during_us.is_some_and(|during| {
        during > HELD_UP_US && during > found.publish_ack_before_us.unwrap_or(0) * HELD_UP_TIMES
    });
    let share = |rate: Option<f64>, planned: Option<f64>| Some(rate? / planned?);
    let before = share(found.published_rate_before, found.planned_rate_before).unwrap_or(1.0).min(1.0);
    let during = share(found.published_rate, found.planned_rate);
    let below = |share: f64| during.is_some_and(|during| during < share * before);
    // Acknowledgements alone are late on a busy machine, too; who waits for them publishes less. And a generator that does
    // not keep up publishes too little all by itself.
    (late && below(ALL_OF_IT)) || (below(KEPT_RATE) && report.generator.health == Health::Ok)
}

/// How much more memory the server had while readers were slow than at the least before, in the whole run: what an
/// earlier round has left it with it need not take again.
fn memory_rise(report: &Report, faults: &[&str]) -> Option<u64> {
    let acting = faults.iter().filter_map(|name| report.faults.get(*name));
    let from = acting.clone().filter_map(|fault| fault.first_s).reduce(f64::min)?;
    let parts: BTreeSet<&String> = acting.flat_map(|fault| &fault.parts).collect();
    let ends = report.phases.iter().filter(|phase| parts.contains(&phase.name)).map(|phase| phase.end_s);
    let until = ends.reduce(f64::max)?;
    let memory = |points: &[crate::report::model::TimelinePoint]| -> Vec<u64> {
        points.iter().filter_map(|point| point.server_rss_bytes).collect()
    };
    let first = report.timeline.partition_point(|point| point.t_s < from);
    // Sampled once a second: the sample after the end still knows.
    let last = report.timeline.partition_point(|point| point.t_s < until) + 1;
    let before = memory(&report.timeline[..first]).into_iter().min()?;
    let during = memory(report.timeline.get(first..last.min(report.timeline.len()))?);
    Some(during.into_iter().max()?.saturating_sub(before))
}

/// By what the policy was recognised.
fn evidence(found: &SlowConsumers) -> Vec<String> {
    let mut said = Vec::new();
    let bytes = |bytes: u64| human::bytes(bytes as f64);
    let peaks = human::range(&bytes(found.backlog_bytes), &bytes(found.backlog_max_bytes));
    let beyond = if found.backlog_bytes > FELT { "more" } else { "not more, for all of them," };
    said.push(format!(
        "readers were behind by {peaks}: {beyond} than the {} that kernels may hold",
        bytes(FELT)
    ));
    if found.disconnected > 0 {
        let named: Vec<String> = found
            .disconnects
            .iter()
            .map(|(name, count)| format!("{name} {}", human::count(*count)))
            .collect();
        said.push(format!(
            "the server ended the connections of {} of {} slow readers ({})",
            human::count(found.disconnected),
            human::count(found.readers),
            named.join(", ")
        ));
    }
    if found.lost > 0 {
        said.push(format!(
            "{} deliveries were lost on connections of slow readers that lived on",
            human::count(found.lost)
        ));
    }
    if let Some((rate, planned)) = found.published_rate.zip(found.planned_rate) {
        let before = found.published_rate_before.zip(found.planned_rate_before);
        let before = before
            .map(|(rate, planned)| format!("; {} of {} before", human::rate(rate), human::rate(planned)));
        said.push(format!(
            "{} were published meanwhile, and {} were planned{}",
            human::rate(rate),
            human::rate(planned),
            before.unwrap_or_default()
        ));
    }
    if let Some(during) = found.publish_ack_during_us {
        let before = found.publish_ack_before_us.map(|us| format!(", and {} before", human::micros(us)));
        said.push(format!(
            "half of the publishes were acknowledged within {}{}",
            human::micros(during),
            before.unwrap_or_default()
        ));
    }
    if let Some(rise) = found.server_memory_rise_bytes {
        said.push(format!("the server's memory was up to {} above its least before", bytes(rise)));
    }
    if found.policy == SlowPolicy::Unknown {
        said.push("what became of some deliveries to slow readers is open".to_owned());
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disconnect_explains_nothing_of_connections_that_ended_otherwise() {
        assert_eq!(cut_short(70, 0, 0), 0);
        assert_eq!(cut_short(70, 5, 0), 70);
        assert_eq!(cut_short(70, 5, 1), 0);
    }

    #[test]
    fn what_the_server_does_not_admit_to_is_unexplained() {
        // Lost, what it says it dropped, and what of the losses that leaves.
        let table = [
            (0, None, Some(0)),
            (0, Some(0), Some(0)),
            (0, Some(50), Some(0)),
            (1, None, None),
            (1_000, Some(1_000), Some(0)),
            // Probes and barriers that it dropped are none of ours.
            (1_000, Some(1_020), Some(0)),
            (1_000, Some(991), Some(0)),
            (1_000, Some(980), Some(20)),
            (1_000, Some(0), Some(1_000)),
        ];
        for (lost, admitted, expected) in table {
            assert_eq!(unexplained(lost, admitted), expected, "{lost} {admitted:?}");
        }
    }

    fn found(rate: f64, before_us: Option<u64>, during_us: u64) -> SlowConsumers {
        SlowConsumers {
            published_rate: Some(rate),
            planned_rate: Some(1_000.0),
            publish_ack_before_us: before_us,
            publish_ack_during_us: Some(during_us),
            ..SlowConsumers::default()
        }
    }

    fn so_before(rate: f64, found: SlowConsumers) -> SlowConsumers {
        SlowConsumers { published_rate_before: Some(rate), planned_rate_before: Some(1_000.0), ..found }
    }

    #[test]
    fn publishers_are_held_up_when_they_are_late_or_behind() {
        let mut report = Report::default();
        for (found, expected) in [
            (found(1_000.0, Some(500), 900), false),
            (found(960.0, Some(500), 400_000), true),
            // A busy machine: all of it was published as planned.
            (found(998.0, Some(500), 400_000), false),
            // A server that was as slow before.
            (found(960.0, Some(300_000), 400_000), false),
            (found(960.0, None, 400_000), true),
            (found(960.0, Some(500), 200_000), false),
            (found(850.0, Some(500), 900), true),
            (found(950.0, Some(500), 900), false),
            // One that takes no more than that at any time, and one that takes still less now.
            (so_before(850.0, found(850.0, Some(500), 900)), false),
            (so_before(850.0, found(600.0, Some(500), 900)), true),
            (so_before(1_000.0, found(850.0, Some(500), 900)), true),
        ] {
            assert_eq!(held_up(&report, &found), expected, "{found:?}");
        }
        report.generator.health = Health::Limited;
        assert!(!held_up(&report, &found(500.0, Some(500), 900)), "it may have been our own doing");
    }
}
