//! One scenario at full size with every default filled in: what `check` judges, `show` prints and `build` shrinks.

use std::collections::HashSet;
use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::faults::{self, full::FullFault, policies};
use super::file::{
    Channels, ConnectWord, DefaultsTable, Name, Named, PaceWord, Payload, PublisherTable, ScenarioTable,
    SubscriberTable, TimeoutsTable,
};
use super::plan::{CircuitBreaker, Crew, Keepalive, Reconnect, RetryBudget, Timeouts, WhenBehind};
use super::problem::Finding;
use super::units::{Count, Span};

/// Bytes of payload unless told.
const PAYLOAD: u64 = 200;

/// A value and where it was written, or where the table is that it was left out of.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
    /// Whether it was written.
    pub(crate) written: bool,
}

impl<T> At<T> {
    pub(crate) fn or<S>(
        written: Option<&Spanned<S>>,
        read: impl Fn(&S) -> T,
        default: T,
        table: &Range<usize>,
    ) -> Self {
        match written {
            Some(found) => At { value: read(found.get_ref()), span: found.span(), written: true },
            None => At { value: default, span: table.clone(), written: false },
        }
    }

    /// What was written, if anything.
    pub(crate) fn of<S>(written: Option<&Spanned<S>>, read: impl Fn(&S) -> T) -> Option<Self> {
        written.map(|found| At { value: read(found.get_ref()), span: found.span(), written: true })
    }
}

/// The scenario.
#[derive(Debug, Clone)]
pub(crate) struct Full {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) about: String,
    pub(crate) seed: At<u64>,
    pub(crate) deadline: Duration,
    pub(crate) rounds: At<u32>,
    pub(crate) channels: At<Channels>,
    pub(crate) time_scale: At<f64>,
    pub(crate) at_least_connections: u32,
    pub(crate) at_least_events: u64,
    pub(crate) at_least_cycles: u32,
    pub(crate) timeouts: Timeouts,
    pub(crate) phases: Vec<FullPhase>,
    pub(crate) subscribers: Vec<FullSubscribers>,
    pub(crate) publishers: Vec<FullPublishers>,
    pub(crate) expect: Vec<FullCondition>,
    pub(crate) reached: Vec<FullCondition>,
    pub(crate) abort_if: Vec<FullCondition>,
    pub(crate) faults: Vec<FullFault>,
}

impl Full {
    /// The named phase.
    pub(crate) fn phase(&self, name: &str) -> Option<&FullPhase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// The named group.
    pub(crate) fn crew(&self, name: &str) -> Option<Crew> {
        let subscribers = self.subscribers.iter().position(|group| group.name == name);
        let publishers = || self.publishers.iter().position(|group| group.name == name);
        subscribers.map(Crew::Subscribers).or_else(|| publishers().map(Crew::Publishers))
    }

    /// The phases a publisher group publishes in.
    pub(crate) fn phases_of<'a>(&'a self, group: &'a FullPublishers) -> impl Iterator<Item = &'a FullPhase> {
        self.phases_named(group.phases.as_ref())
    }

    /// The phases that are named; all without any names.
    pub(crate) fn phases_named<'a>(
        &'a self,
        names: Option<&'a Vec<(String, Range<usize>)>>,
    ) -> impl Iterator<Item = &'a FullPhase> {
        let named = move |phase: &&FullPhase| {
            names.is_none_or(|names| names.iter().any(|(name, _)| *name == phase.name))
        };
        self.phases.iter().filter(named)
    }
}

/// A phase.
#[derive(Debug, Clone)]
pub(crate) struct FullPhase {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) length: Option<At<Duration>>,
}

/// A group of subscribing clients.
#[derive(Debug, Clone)]
pub(crate) struct FullSubscribers {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) connections: At<u32>,
    pub(crate) subscriptions: At<u32>,
    pub(crate) connect: ConnectWord,
    pub(crate) waves: At<u32>,
    pub(crate) wave_pause: At<Duration>,
    pub(crate) reconnect: At<Reconnect>,
    pub(crate) retry_budget: Option<At<RetryBudget>>,
    pub(crate) breaker: Option<At<CircuitBreaker>>,
    pub(crate) keepalive: Option<At<Keepalive>>,
}

/// A group of publishing clients.
#[derive(Debug, Clone)]
pub(crate) struct FullPublishers {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    pub(crate) connections: At<u32>,
    pub(crate) rate: At<PaceWord>,
    pub(crate) events: Option<At<u64>>,
    /// Its first one where it climbs.
    pub(crate) payload: At<u64>,
    /// By what factor it climbs, and up to what.
    pub(crate) climb: Option<(u32, u64)>,
    pub(crate) batch: u32,
    pub(crate) when_behind: At<WhenBehind>,
    /// Names of its phases; `None`: all.
    pub(crate) phases: Option<Vec<(String, Range<usize>)>>,
}

/// A condition, not parsed.
#[derive(Debug, Clone)]
pub(crate) struct FullCondition {
    pub(crate) id: String,
    pub(crate) id_span: Range<usize>,
    pub(crate) text: String,
    pub(crate) span: Range<usize>,
}

/// What was cut from a scenario because it was bad already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cuts<'a> {
    pub(crate) all: &'a HashSet<String>,
    pub(crate) prefix: &'a str,
}

impl Cuts<'_> {
    /// Whether anything at or below a path of the scenario (or above it) was cut.
    pub(crate) fn touch(&self, path: &str) -> bool {
        let full = format!("{}{path}", self.prefix);
        let below = |outer: &str, inner: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        self.all.iter().any(|cut| below(&full, cut) || below(cut, &full))
    }
}

/// Merges a scenario with the defaults (the nearest first); says what is missing.
pub(crate) fn fill(
    name: &Name,
    table: &ScenarioTable,
    defaults: &[&DefaultsTable],
    cuts: Cuts<'_>,
    findings: &mut Vec<Finding>,
) -> Full {
    let span = name.span();
    let first = |own: Option<&Spanned<Span>>, of: fn(&DefaultsTable) -> Option<&Spanned<Span>>| {
        own.or_else(|| defaults.iter().find_map(|d| of(d))).map(|s| s.get_ref().0)
    };
    let seed = table.seed.as_ref().or_else(|| defaults.iter().find_map(|d| d.seed.as_ref()));
    if table.about.is_none() && !cuts.touch("about") {
        findings.push(missing(&span, "about", "about = \"one line on what it tests\""));
    }
    let phases = match table.phases.as_ref() {
        None => vec![FullPhase { name: "main".to_owned(), span: span.clone(), length: None }],
        Some(phases) => phases.get_ref().iter().map(phase).collect(),
    };
    Full {
        name: name.get_ref().clone(),
        about: table.about.as_ref().map(|a| a.get_ref().clone()).unwrap_or_default(),
        seed: At::or(seed, |s| s.0, 1, &span),
        deadline: first(table.deadline.as_ref(), |d| d.deadline.as_ref()).unwrap_or(Duration::from_secs(10)),
        rounds: At::or(table.rounds.as_ref(), whole, 1, &span),
        channels: At::or(table.channels.as_ref(), |c| *c, Channels::Own, &span),
        time_scale: At::or(table.time_scale.as_ref(), |t| t.0, 1.0, &span),
        at_least_connections: table.at_least.connections.as_ref().map_or(1, whole),
        at_least_events: table.at_least.events.map_or(1, |e| e.0),
        at_least_cycles: table.at_least.cycles.as_ref().map_or(1, whole),
        timeouts: timeouts(&table.timeouts, defaults),
        phases,
        subscribers: table.subscribers.iter().map(|(n, t)| subscribers(n, t, cuts, findings)).collect(),
        publishers: table.publishers.iter().map(|(n, t)| publishers(n, t, cuts, findings)).collect(),
        expect: conditions(&table.expect, defaults, |d| &d.expect, findings),
        reached: conditions(&table.reached, defaults, |d| &d.reached, findings),
        abort_if: conditions(&table.abort_if, defaults, |d| &d.abort_if, findings),
        faults: table.faults.iter().map(|(n, t)| faults::full::fault(n, t, cuts, findings)).collect(),
        span,
    }
}

/// A key that has to be there.
pub(crate) fn missing(span: &Range<usize>, key: &str, example: &str) -> Finding {
    Finding::error(span.clone(), format!("the key `{key}` is missing")).note(format!("write {example}"))
}

/// `Count` never exceeds ten million, so this never saturates.
pub(crate) fn whole(count: &Count) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

fn phase(table: &super::file::PhaseTable) -> FullPhase {
    let span = table.name.span();
    let length = At::of(table.length.as_ref(), |length| length.0);
    FullPhase { name: table.name.get_ref().clone(), span, length }
}

fn subscribers(
    name: &Name,
    table: &SubscriberTable,
    cuts: Cuts<'_>,
    findings: &mut Vec<Finding>,
) -> FullSubscribers {
    let span = name.span();
    if table.connections.is_none() && !cuts.touch(&format!("subscribers.{}.connections", name.get_ref())) {
        findings.push(missing(&span, "connections", "connections = 1_000"));
    }
    let connections = At::or(table.connections.as_ref(), whole, 1, &span);
    FullSubscribers {
        name: name.get_ref().clone(),
        subscriptions: At::or(table.subscriptions.as_ref(), whole, connections.value, &connections.span),
        connections,
        connect: table.connect.unwrap_or(ConnectWord::Bounded),
        waves: At::or(table.waves.as_ref(), whole, 1, &span),
        wave_pause: At::or(table.wave_pause.as_ref(), |p| p.0, Duration::ZERO, &span),
        reconnect: At::or(table.reconnect.as_ref(), policies::reconnect, Reconnect::None, &span),
        retry_budget: At::of(table.retry_budget.as_ref(), policies::retry_budget),
        breaker: At::of(table.circuit_breaker.as_ref(), policies::circuit_breaker),
        keepalive: At::of(table.keepalive.as_ref(), policies::keepalive),
        span,
    }
}

fn publishers(
    name: &Name,
    table: &PublisherTable,
    cuts: Cuts<'_>,
    findings: &mut Vec<Finding>,
) -> FullPublishers {
    let span = name.span();
    if table.rate.is_none() && !cuts.touch(&format!("publishers.{}.rate", name.get_ref())) {
        findings.push(missing(&span, "rate", "rate = \"100/s\", \"unlimited\" or \"one-by-one\""));
    }
    let size = |payload: &Payload| match payload {
        Payload::Size(bytes) => *bytes,
        Payload::Climb(climb) => climb.from.0,
    };
    let climb = |payload: &Payload| match payload {
        Payload::Size(_) => None,
        Payload::Climb(climb) => Some((u32::try_from(climb.times.0).unwrap_or(u32::MAX), climb.up_to.0)),
    };
    FullPublishers {
        name: name.get_ref().clone(),
        connections: At::or(table.connections.as_ref(), whole, 1, &span),
        rate: At::or(table.rate.as_ref(), |rate| *rate, PaceWord::OneByOne, &span),
        events: At::of(table.events.as_ref(), |events| events.0),
        payload: At::or(table.payload.as_ref(), size, PAYLOAD, &span),
        climb: table.payload.as_ref().and_then(|payload| climb(payload.get_ref())),
        batch: table.batch.as_ref().map_or(1, |b| whole(b.get_ref())),
        when_behind: At::or(table.when_behind.as_ref(), |word| (*word).into(), WhenBehind::CatchUp, &span),
        phases: table.phase.as_ref().map(faults::full::names),
        span,
    }
}

fn timeouts(own: &TimeoutsTable, defaults: &[&DefaultsTable]) -> Timeouts {
    let pick = |of: fn(&TimeoutsTable) -> Option<Span>, seconds: u64| {
        of(own)
            .or_else(|| defaults.iter().find_map(|d| of(&d.timeouts)))
            .map_or(Duration::from_secs(seconds), |span| span.0)
    };
    Timeouts {
        connect: pick(|t| t.connect.map(|w| w.0), 30),
        upgrade: pick(|t| t.upgrade.map(|w| w.0), 10),
        init: pick(|t| t.init.map(|w| w.0), 10),
        confirm: pick(|t| t.confirm.map(|w| w.0), 10),
        operation: pick(|t| t.operation.map(|w| w.0), 10),
        settle: pick(|t| t.settle, 30),
        drain: pick(|t| t.drain.map(|w| w.0), 30),
        quiet: pick(|t| t.quiet, 2),
        cool_down: pick(|t| t.cool_down, 2),
    }
}

/// Defaults first, in their order; the scenario replaces by ID, adds, and removes with `"off"`.
fn conditions(
    own: &Named<Spanned<String>>,
    defaults: &[&DefaultsTable],
    of: fn(&DefaultsTable) -> &Named<Spanned<String>>,
    findings: &mut Vec<Finding>,
) -> Vec<FullCondition> {
    let mut merged: Vec<FullCondition> = Vec::new();
    for level in defaults.iter().rev().map(|d| of(d)).chain([own]) {
        for (id, text) in level {
            let condition = FullCondition {
                id: id.get_ref().clone(),
                id_span: id.span(),
                text: text.get_ref().clone(),
                span: text.span(),
            };
            let known = merged.iter().position(|c| c.id == condition.id);
            match (known, condition.text.trim() == "off") {
                (Some(at), true) => {
                    merged.remove(at);
                }
                (Some(at), false) => merged[at] = condition,
                (None, false) => merged.push(condition),
                (None, true) => {
                    let known: Vec<&str> = merged.iter().map(|c| c.id.as_str()).collect();
                    let message = format!("there is no default `{}` to turn off", condition.id);
                    findings.push(Finding::error(condition.id_span, message).allowed(&condition.id, known));
                }
            }
        }
    }
    merged
}
