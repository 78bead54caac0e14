//! Full-size scenario → plan: `--scale`, and what cannot be judged at the size it leaves.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::check::{self, Conditions};
use super::condition::{Condition, Dimension, Over, Quantity, Term, Test};
use super::faults;
use super::file::{Channels, ConnectWord, PaceWord};
use super::full::{At, Full, FullCondition};
use super::plan::{
    Change, Climb, Connect, Crew, FaultKind, Pace, Phase, Plan, PublisherGroup, Reconnect, SubscriberGroup,
    WhenBehind,
};
use super::problem::{Finding, Sources};
use super::target::Target;
use super::units::show_count;
use crate::inject::Act;

/// Handshakes in flight unless a scenario says otherwise.
pub(crate) const HANDSHAKES: u32 = 100;

/// Samples that must lie beyond a percentile before it means anything.
const BEYOND: f64 = 10.0;

/// What decides the size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizing<'a> {
    /// `--scale`.
    pub(crate) scale: f64,
    /// `--seed`.
    pub(crate) seed: Option<u64>,
    /// Whether the target's process is watched.
    pub(crate) server_pid: bool,
    /// Everything that values were read from: what `--set` gave is not scaled.
    pub(crate) sources: &'a Sources,
}

/// Builds the plan of a scenario that `check` found nothing wrong with. Its hash and resolved text are still empty.
pub(crate) fn plan(
    full: &Full,
    conditions: Conditions,
    target: Target,
    sizing: Sizing<'_>,
    findings: &mut Vec<Finding>,
) -> Plan {
    let mut shrink = Shrink { sizing, full, changes: Vec::new() };
    let mut subscribers = Vec::new();
    let mut first_subscription = 0;
    for group in &full.subscribers {
        let scaled = shrink.subscribers(group, first_subscription, findings);
        first_subscription += scaled.subscriptions;
        subscribers.push(scaled);
    }
    let channels = shrink.channels(first_subscription);
    let publishers = full.publishers.iter().map(|group| shrink.publishers(group)).collect();
    let cycles: Vec<Option<u32>> = full.faults.iter().map(|fault| shrink.cycles(fault)).collect();
    let mut plan = Plan {
        name: full.name.clone(),
        about: full.about.clone(),
        // `--seed` may come from the environment, and what `--set` gave goes before that.
        seed: sizing.seed.filter(|_| !sizing.sources.is_override(&full.seed.span)).unwrap_or(full.seed.value),
        scale: sizing.scale,
        hash: String::new(),
        rounds: full.rounds.value,
        time_scale: full.time_scale.value,
        channels,
        subscribers,
        publishers,
        faults: Vec::new(),
        phases: full.phases.iter().map(|phase| shortened(full, phase)).collect(),
        deadline: full.deadline,
        timeouts: full.timeouts,
        expect: conditions.expect,
        reached: conditions.reached,
        abort_if: conditions.abort_if,
        target,
        changes: shrink.changes,
        resolved: serde_json::Value::Null,
    };
    if !faults::build::faults(full, &cycles, &mut plan, findings) {
        return plan;
    }
    check::limits(full, &plan.target, plan.subscriber_connections() + plan.publisher_connections(), findings);
    judge(full, &mut plan, sizing, findings);
    spare_rounds(full, &mut plan, sizing);
    plan
}

fn shortened(full: &Full, phase: &super::full::FullPhase) -> Phase {
    let length = phase.length.as_ref().map(|l| compressed(full, l.value));
    Phase { name: phase.name.clone(), length }
}

/// A planned time after `time-scale`.
fn compressed(full: &Full, time: Duration) -> Duration {
    Duration::from_secs_f64(time.as_secs_f64() / full.time_scale.value)
}

struct Shrink<'a> {
    sizing: Sizing<'a>,
    full: &'a Full,
    changes: Vec<Change>,
}

impl Shrink<'_> {
    /// n → min(n, max(ceil(n · scale), floor)), unless `--set` gave n.
    fn count(&mut self, key: String, n: u64, span: &Range<usize>, floor: u64) -> u64 {
        if self.sizing.sources.is_override(span) {
            return n;
        }
        // 10,000 x 0.07 is 700.0000000000001 in binary, and still 700.
        let share = (n as f64 * self.sizing.scale * (1.0 - 1e-12)).ceil() as u64;
        let to = n.min(share.max(floor));
        self.note(key, n, to, to > share);
        to
    }

    fn note(&mut self, key: String, from: u64, to: u64, at_least: bool) {
        if from != to {
            self.changes.push(Change { key, from, to, at_least });
        }
    }

    fn subscribers(
        &mut self,
        group: &super::full::FullSubscribers,
        first_subscription: u32,
        findings: &mut Vec<Finding>,
    ) -> SubscriberGroup {
        let key = |name: &str| format!("subscribers.{}.{name}", group.name);
        let full = u64::from(group.connections.value);
        let floor = u64::from(self.full.at_least_connections);
        let connections = self.count(key("connections"), full, &group.connections.span, floor) as u32;
        let fixed = group.subscriptions.written && self.sizing.sources.is_override(&group.subscriptions.span);
        let subscriptions = if fixed {
            group.subscriptions.value
        } else {
            group.subscriptions.value / group.connections.value * connections
        };
        if subscriptions % connections != 0 {
            let message = format!(
                "{} subscriptions do not divide evenly among the {} connections of this size",
                show_count(subscriptions.into()),
                show_count(connections.into())
            );
            findings.push(Finding::error(group.subscriptions.span.clone(), message));
        }
        self.note(key("subscriptions"), group.subscriptions.value.into(), subscriptions.into(), false);
        let waves = group.waves.value.min(connections);
        self.note(key("waves"), group.waves.value.into(), waves.into(), false);
        SubscriberGroup {
            name: group.name.clone(),
            connections,
            subscriptions,
            connect: match group.connect {
                ConnectWord::Bounded => Connect::Bounded(HANDSHAKES),
                ConnectWord::Together => Connect::Together,
                ConnectWord::Rate(rate) => Connect::Rate(rate),
            },
            waves,
            wave_pause: group.wave_pause.value,
            first_subscription,
            reconnect: group.reconnect.value,
            retry_budget: group.retry_budget.as_ref().map(|budget| budget.value),
            breaker: group.breaker.as_ref().map(|breaker| breaker.value),
            keepalive: group.keepalive.as_ref().map(|keepalive| keepalive.value),
        }
    }

    /// Cycles of each victim of a fault.
    fn cycles(&mut self, fault: &faults::full::FullFault) -> Option<u32> {
        let At { value, span, .. } = fault.cycles.as_ref()?;
        let floor = u64::from(self.full.at_least_cycles);
        let key = format!("faults.{}.churn.cycles", fault.name);
        Some(self.count(key, u64::from(*value), span, floor) as u32)
    }

    /// Channels shrink by the factor that subscriptions shrank by.
    fn channels(&mut self, subscriptions: u32) -> u32 {
        let At { value, span, .. } = &self.full.channels;
        let Channels::Shared(channels) = *value else { return subscriptions };
        if self.sizing.sources.is_override(span) {
            return channels;
        }
        let before: u64 = self.full.subscribers.iter().map(|g| u64::from(g.subscriptions.value)).sum();
        let to = (u64::from(channels) * u64::from(subscriptions)).div_ceil(before.max(1));
        let to = (to as u32).clamp(1, channels);
        self.note("channels".to_owned(), channels.into(), to.into(), false);
        to
    }

    fn publishers(&mut self, group: &super::full::FullPublishers) -> PublisherGroup {
        let floor = self.full.at_least_events;
        let key = || format!("publishers.{}.events", group.name);
        let events = group.events.as_ref().map(|e| self.count(key(), e.value, &e.span, floor));
        let phase_in = |name: &str| self.full.phases_of(group).any(|p| p.name == name);
        PublisherGroup {
            name: group.name.clone(),
            connections: group.connections.value,
            pace: match group.rate.value {
                PaceWord::Open(rate) => Pace::Open(rate * self.full.time_scale.value),
                PaceWord::Unlimited => Pace::Unlimited,
                PaceWord::OneByOne => Pace::OneByOne,
            },
            events,
            payload: usize::try_from(group.payload.value).unwrap_or(usize::MAX),
            climb: group
                .climb
                .map(|(times, up_to)| Climb { times, up_to: usize::try_from(up_to).unwrap_or(usize::MAX) }),
            batch: group.batch,
            phases: (0..self.full.phases.len()).filter(|i| phase_in(&self.full.phases[*i].name)).collect(),
            when_behind: group.when_behind.value,
        }
    }
}

/// Rounds are there to be compared: where nothing that compares them can be judged at this size, one of them will do.
fn spare_rounds(full: &Full, plan: &mut Plan, sizing: Sizing<'_>) {
    let given = sizing.sources.is_override(&full.rounds.span);
    let conditions = plan.expect.iter().chain(&plan.reached);
    let mut comparisons = conditions
        .filter(|condition| condition.terms().iter().any(|term| term.metric.starts_with("rounds.")));
    let first = comparisons.next();
    let any = |condition: &Condition| condition.not_applicable.is_none();
    if sizing.scale >= 1.0 || plan.rounds == 1 || given || first.is_none_or(any) || comparisons.any(any) {
        return;
    }
    let (key, from) = ("rounds".to_owned(), u64::from(plan.rounds));
    plan.changes.push(Change { key, from, to: 1, at_least: false });
    plan.rounds = 1;
}

/// Marks what cannot be judged at this size, and refuses what could not be judged at any.
fn judge(full: &Full, plan: &mut Plan, sizing: Sizing<'_>, findings: &mut Vec<Finding>) {
    let predicted = plan.predict();
    let mut expect = std::mem::take(&mut plan.expect);
    let mut reached = std::mem::take(&mut plan.reached);
    let mut abort_if = std::mem::take(&mut plan.abort_if);
    let lists = [
        (&mut expect, &full.expect, true),
        (&mut reached, &full.reached, true),
        (&mut abort_if, &full.abort_if, false),
    ];
    for (conditions, written, shrinks) in lists {
        for condition in conditions {
            let Some(place) = written.iter().find(|w| w.id == condition.id) else { continue };
            if let Some(unpredicted) = unpredicted(plan, &condition.test, &predicted) {
                let message = format!("the plan does not predict `{unpredicted}`");
                let known = predicted.keys().map(String::as_str);
                let finding = Finding::error(place.span.clone(), message);
                let finding = match plan.first_taking() {
                    Some(phase) if unpredicted.contains("ledger.") => finding.note(format!(
                        "from `{}` on faults keep deliveries from their victims, and how much these get is not known beforehand",
                        plan.phases[phase].name
                    )),
                    _ => finding,
                };
                findings.push(finding.allowed(&unpredicted, known));
            }
            condition.not_applicable = unobservable(plan, &condition.test, sizing.server_pid);
            if shrinks && condition.not_applicable.is_none() {
                small(plan, &predicted, condition, place, sizing, findings);
            }
        }
    }
    (plan.expect, plan.reached, plan.abort_if) = (expect, reached, abort_if);
}

fn unpredicted(plan: &Plan, test: &Test, predicted: &BTreeMap<String, f64>) -> Option<String> {
    let (Test::Compare { left, .. } | Test::Within { left, .. }) = test else { return None };
    let Quantity { term, over: Some(Over::Predicted) } = left else { return None };
    plan.predicted_of(predicted, term).is_none().then(|| term.key())
}

/// What this target does not tell.
fn unobservable(plan: &Plan, test: &Test, server_pid: bool) -> Option<String> {
    plan.target.url.as_ref()?;
    let statistics = plan.target.statistics.as_ref();
    let has =
        |of: fn(&super::target::Statistics) -> &Option<String>| statistics.is_some_and(|s| of(s).is_some());
    check::terms(test).find_map(|term| {
        let metric = term.metric.as_str();
        let memory =
            ["resources.server.", "waves.server_memory", "rounds.server_memory", "trend.server_memory"]
                .iter()
                .any(|m| metric.starts_with(m));
        let (known, key) = match metric {
            _ if memory => (server_pid || has(|s| &s.memory), "memory"),
            _ if metric.starts_with("server_stats.connections") => (has(|s| &s.connections), "connections"),
            _ if metric.starts_with("server_stats.subscriptions") => {
                (has(|s| &s.subscriptions), "subscriptions")
            }
            _ if metric.starts_with("server_stats.published") => (has(|s| &s.published), "published"),
            _ if metric.starts_with("server_stats.delivered") => (has(|s| &s.delivered), "delivered"),
            _ if metric.starts_with("server_stats.gauges") => {
                (has(|s| &s.connections) || has(|s| &s.subscriptions), "connections")
            }
            _ if metric.starts_with("server_stats.") => (statistics.is_some(), ""),
            _ => (true, ""),
        };
        let dot = if key.is_empty() { "" } else { "." };
        (!known).then(|| format!("the target's table has no statistics{dot}{key}"))
    })
}

/// Limits meant for full size, and percentiles of too few samples.
fn small(
    plan: &Plan,
    predicted: &BTreeMap<String, f64>,
    condition: &mut Condition,
    place: &FullCondition,
    sizing: Sizing<'_>,
    findings: &mut Vec<Finding>,
) {
    let reduced = sizing.scale < 1.0;
    for term in check::terms(&condition.test) {
        if reduced
            && (full_size(term) || full_rate(plan, &condition.test))
            && !sizing.sources.is_override(&place.span)
        {
            condition.not_applicable = Some(format!("`{}` is limited for full size", term.metric));
            return;
        }
        let hidden =
            || plan.hides_slow_consumers().filter(|_| reduced && term.metric.starts_with("slow_consumers."));
        let deliveries = predicted.get("ledger.obligations").copied();
        let reason = if let Some(hidden) = hidden() {
            hidden
        } else if let Some(short) = plan.too_short_for(&term.metric, deliveries) {
            short
        } else if nobody(plan, term) {
            "every connection is hit by a fault, so there are no bystanders".to_owned()
        } else if let Some((samples, needed)) = too_few(plan, predicted, term) {
            let (needed, samples) = (show_count(needed), show_count(samples));
            format!("`{}` needs {needed} samples, and {samples} are planned", term.metric)
        } else {
            continue;
        };
        if reduced {
            condition.not_applicable = Some(reason);
        } else {
            findings.push(Finding::error(place.span.clone(), reason));
        }
        return;
    }
}

fn full_size(term: &Term) -> bool {
    (term.metric.starts_with("resources.") && term.dimension == Dimension::Size)
        || term.metric.starts_with("waves.server_memory")
        || term.metric.starts_with("rounds.server_memory")
}

/// Whether a condition is about the rate that a schedule is to hold: a reduced run is over too soon to say, and a
/// schedule that slows down asks for what a machine can do at its best.
fn full_rate(plan: &Plan, test: &Test) -> bool {
    let (Test::Compare { left, .. } | Test::Within { left, .. }) = test else { return false };
    let slows = |group: &PublisherGroup| group.when_behind == WhenBehind::SlowDown;
    left.over == Some(Over::Predicted)
        && left.term.metric == "published.rate"
        && plan.publishers.iter().any(slows)
}

/// Whether a term speaks of bystanders where there are none.
fn nobody(plan: &Plan, term: &Term) -> bool {
    if term.subject.as_deref() != Some("bystanders") {
        return false;
    }
    let schedule = plan.schedule();
    (0..plan.subscriber_connections()).all(|connection| schedule.is_victim(connection))
}

/// Planned samples of a percentile and how many it needs, where there are too few.
fn too_few(plan: &Plan, predicted: &BTreeMap<String, f64>, term: &Term) -> Option<(u64, u64)> {
    let (distribution, percentile) = term.metric.strip_prefix("latency.")?.split_once('.')?;
    let share = match percentile {
        "p50" => 0.5,
        "p90" => 0.9,
        "p99" => 0.99,
        "p999" => 0.999,
        _ => return None,
    };
    let needed = (BEYOND / (1.0 - share)).round() as u64;
    let group = plan.subscribers.iter().filter(|g| term.subject.as_ref().is_none_or(|name| *name == g.name));
    let samples = match distribution {
        "deliver" | "deliver_from_sent" | "publish_ack" | "send_lag" => {
            let metric = if distribution.starts_with("deliver") {
                "ledger.obligations"
            } else {
                "published.attempted"
            };
            let counted = Term { metric: metric.to_owned(), dimension: Dimension::Count, ..term.clone() };
            plan.predicted_of(predicted, &counted)? as u64
        }
        // A report shows one round.
        "connect" | "tcp" | "upgrade" | "init" => group.map(|g| u64::from(g.connections)).sum::<u64>(),
        "reconnect" => returns(plan, term.subject.as_deref()),
        "subscribe" => group.map(|g| u64::from(g.subscriptions)).sum::<u64>(),
        _ => return None,
    };
    (samples < needed).then_some((samples, needed))
}

/// Planned reconnects of a group, of all victims, or of everyone; bystanders have none.
fn returns(plan: &Plan, subject: Option<&str>) -> u64 {
    let counts = |group: &SubscriberGroup| {
        group.reconnect != Reconnect::None
            && match subject {
                None | Some("victims") => true,
                Some(name) => name == group.name,
            }
    };
    let schedule = plan.schedule();
    let ended =
        plan.subscribers.iter().enumerate().filter(|(_, group)| counts(group)).map(|(index, group)| {
            let first = schedule.first_of(Crew::Subscribers(index));
            let own = first..first + group.connections;
            let ends = |act: &&Act| matches!(plan.faults[act.fault].kind, FaultKind::Terminate(_));
            schedule.acts().iter().filter(|act| own.contains(&act.connection)).filter(ends).count() as u64
        });
    ended.sum()
}
