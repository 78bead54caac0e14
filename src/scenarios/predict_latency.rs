//! What planned delays come to: the course of a phase, worked out from the delays as they are drawn, with a server and
//! a network that take no time.
//!
//! The k-th event of a publishing connection in a phase takes that connection's k-th think delay and k-th delay up; the
//! j-th delivery to a subscribing connection, in the order of arrival, its j-th delay down. What travels on one
//! connection in one direction keeps its order: nothing is released before what was there first.
//!
//! An event with a rate is due at its time, whatever it waits for; one of a closed loop is due when the one before it is
//! acknowledged. Thinking begins when an event is due and the one before it is sent.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::plan::{Crew, Delay, FaultKind, Pace, Part, Plan, PublisherGroup};
use crate::inject::{Act, Draws, Lane, Schedule};

/// Deliveries of one phase beyond which it would take too long.
const MOST: f64 = 2_000_000.0;

/// Figures of a distribution that are predicted, with their quantiles.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// All delays of one connection in one lane; several faults add up.
type Delays = Vec<(Draws, Delay)>;

/// Adds what the delays of every phase come to, where they act on whole phases; `deliveries`: of each, where known.
pub(super) fn put(
    plan: &Plan,
    schedule: &Schedule,
    deliveries: &[Option<f64>],
    predicted: &mut BTreeMap<String, f64>,
) {
    for (phase, deliveries) in deliveries.iter().enumerate() {
        let Some(course) =
            deliveries.filter(|number| *number <= MOST).and_then(|_| Course::of(plan, schedule, phase))
        else {
            continue;
        };
        let mut suffixes = vec![format!(" in {}", plan.phases[phase].name)];
        // A run of one phase is that phase.
        suffixes.extend((plan.phases.len() == 1).then(String::new));
        for suffix in suffixes {
            course.put(&suffix, predicted);
        }
    }
}

/// One phase, as far as delays decide it.
struct Course<'a> {
    lanes: HashMap<(u32, Lane), Delays>,
    plan: &'a Plan,
    schedule: &'a Schedule,
    phase: usize,
}

/// How fast a phase is published where delays decide it.
#[derive(Debug, Clone, Copy)]
struct Pacing {
    /// Events per second, from the first to the last.
    rate: f64,
    /// Until the last of them is acknowledged: a phase of events ends with that.
    lasts: Duration,
}

/// An event on its way; times from the begin of the phase.
#[derive(Debug, Clone, Copy)]
struct Event {
    /// Its number within the group; what arrives together arrives in this order.
    number: u64,
    due: Duration,
    sent: Duration,
    /// At the server.
    arrived: Duration,
}

/// How long deliveries take to one cohort.
#[derive(Debug, Default)]
struct Taken {
    from_due: Vec<u64>,
    from_sent: Vec<u64>,
}

impl<'a> Course<'a> {
    /// `None`: nothing is delayed, or not in a way that decides the whole phase.
    fn of(plan: &'a Plan, schedule: &'a Schedule, phase: usize) -> Option<Self> {
        let mut lanes: HashMap<(u32, Lane), Delays> = HashMap::new();
        for act in schedule.acts() {
            let fault = &plan.faults[act.fault];
            let takes = fault.kind.takes_away();
            // What was taken away once is missing from then on.
            if takes && act.part <= Part::Phase(phase) {
                return None;
            }
            if act.part != Part::Phase(phase) {
                if plan.reached(act).contains(&Part::Phase(phase)) {
                    return None;
                }
                continue;
            }
            if !is_whole(plan, act, phase) {
                return None;
            }
            let mut add = |lane, delay: Option<Delay>| {
                if let Some(delay) = delay {
                    let draws = schedule.delays(act.fault, act.connection, lane);
                    lanes.entry((act.connection, lane)).or_default().push((draws, delay));
                }
            };
            match &fault.kind {
                FaultKind::ThinkTime(delay) => add(Lane::Think, Some(*delay)),
                FaultKind::LinkDelay(link) => {
                    add(Lane::Up, link.up);
                    add(Lane::Down, link.down);
                }
                _ => {}
            }
        }
        (!lanes.is_empty()).then_some(Self { lanes, plan, schedule, phase })
    }

    fn put(&self, suffix: &str, predicted: &mut BTreeMap<String, f64>) {
        let Some((on_channels, pace)) = self.publish() else { return };
        if let Some(Pacing { rate, lasts }) = pace {
            predicted.insert(format!("published.rate{suffix}"), rate);
            // Of a phase that has a length that is known anyway; and only a phase has a duration.
            if self.plan.phases[self.phase].length.is_none() && !suffix.is_empty() {
                predicted.insert(format!("duration{suffix}"), lasts.as_secs_f64());
            }
        }
        let cohorts = self.deliver(&on_channels);
        let mut put = |subject: &str, wanted: &dyn Fn(usize, bool) -> bool| {
            let mut all = Taken::default();
            for (_, taken) in cohorts.iter().filter(|((group, victim), _)| wanted(*group, *victim)) {
                all.from_due.extend(&taken.from_due);
                all.from_sent.extend(&taken.from_sent);
            }
            for (metric, taken) in [("deliver", all.from_due), ("deliver_from_sent", all.from_sent)] {
                for (figure, value) in figures(taken) {
                    predicted.insert(format!("{subject}latency.{metric}.{figure}{suffix}"), value);
                }
            }
        };
        put("", &|_, _| true);
        for (index, group) in self.plan.subscribers.iter().enumerate() {
            put(&format!("{}.", group.name), &|group, _| group == index);
        }
        put("victims.", &|_, victim| victim);
        put("bystanders.", &|_, victim| !victim);
    }

    /// Everything published, by channel, and its pace where delays decide it; `None`: how
    /// fast events are published depends on the server.
    fn publish(&self) -> Option<(Vec<Vec<Event>>, Option<Pacing>)> {
        let mut on_channels = vec![Vec::new(); self.plan.channels as usize];
        let (mut sent, mut paced_by_delays, mut lasts) = (Vec::new(), false, Duration::ZERO);
        for (index, group) in self.plan.publishers.iter().enumerate() {
            let events = self.plan.events_in(group, self.phase)?;
            let before: u64 = (0..self.phase).map(|p| self.plan.events_in(group, p)).sum::<Option<_>>()?;
            if events == 0 {
                continue;
            }
            let streams = u64::from(self.plan.channels).max(group.connections.into());
            let first = self.schedule.first_of(Crew::Publishers(index));
            let mut publishers: Vec<Publisher<'_>> =
                (0..group.connections).map(|c| self.publisher(group, first + c)).collect::<Option<_>>()?;
            paced_by_delays |=
                publishers.iter().any(|one| !one.think.is_empty() || group.pace == Pace::OneByOne);
            for n in before..before + events {
                let stream = n % streams;
                let publisher = &mut publishers[(stream % u64::from(group.connections)) as usize];
                let event = publisher.next(group, n - before);
                sent.push(event.sent);
                on_channels[(stream % u64::from(self.plan.channels)) as usize].push(event);
            }
            lasts = publishers.iter().map(|one| one.acked).fold(lasts, Duration::max);
        }
        let span = sent.iter().max()?.saturating_sub(*sent.iter().min()?).as_secs_f64();
        let pace =
            (paced_by_delays && span > 0.0).then(|| Pacing { rate: (sent.len() - 1) as f64 / span, lasts });
        Some((on_channels, pace))
    }

    /// `None`: its events are published when the server lets it.
    fn publisher(&self, group: &PublisherGroup, connection: u32) -> Option<Publisher<'_>> {
        let publisher = Publisher {
            think: self.lane(connection, Lane::Think),
            up: self.lane(connection, Lane::Up),
            down: self.lane(connection, Lane::Down),
            ..Publisher::default()
        };
        let free = [publisher.think, publisher.up, publisher.down].iter().all(|lane| lane.is_empty());
        let known = match group.pace {
            Pace::Open(_) => free || group.batch == 1,
            Pace::OneByOne => !free && group.batch == 1,
            Pace::Unlimited => false,
        };
        known.then_some(publisher)
    }

    /// How long everything takes to each cohort: a group of subscribers, and whether they are victims.
    fn deliver(&self, on_channels: &[Vec<Event>]) -> BTreeMap<(usize, bool), Taken> {
        let mut cohorts: BTreeMap<(usize, bool), Taken> = BTreeMap::new();
        for (index, group) in self.plan.subscribers.iter().enumerate() {
            let first = self.schedule.first_of(Crew::Subscribers(index));
            let per = group.per_connection();
            for own in 0..group.connections {
                let connection = first + own;
                let subscriptions =
                    group.first_subscription + own * per..group.first_subscription + (own + 1) * per;
                let mut arriving: Vec<&Event> = subscriptions
                    .flat_map(|subscription| &on_channels[(subscription % self.plan.channels) as usize])
                    .collect();
                arriving.sort_by_key(|event| (event.arrived, event.number));
                let down = self.lane(connection, Lane::Down);
                let taken = cohorts.entry((index, self.schedule.is_victim(connection))).or_default();
                let mut released = Duration::ZERO;
                for (number, event) in (0..).zip(arriving) {
                    released = released.max(event.arrived + sum(down, number));
                    taken.from_due.push(nanos(released - event.due));
                    taken.from_sent.push(nanos(released - event.sent));
                }
            }
        }
        cohorts
    }

    fn lane(&self, connection: u32, lane: Lane) -> &[(Draws, Delay)] {
        self.lanes.get(&(connection, lane)).map_or(&[], Vec::as_slice)
    }
}

/// A publishing connection in the course of a phase.
#[derive(Debug, Default)]
struct Publisher<'a> {
    think: &'a [(Draws, Delay)],
    up: &'a [(Draws, Delay)],
    down: &'a [(Draws, Delay)],
    /// Events so far.
    number: u64,
    /// When the latest was sent, arrived at the server, and was acknowledged.
    sent: Duration,
    arrived: Duration,
    acked: Duration,
}

impl Publisher<'_> {
    /// Its next event, number `n` of its group in the phase.
    fn next(&mut self, group: &PublisherGroup, n: u64) -> Event {
        let together =
            if group.batch > 1 { u64::from(group.batch) * u64::from(group.connections) } else { 1 };
        let due = match group.pace {
            Pace::Open(rate) => Duration::from_secs_f64((n / together * together) as f64 / rate),
            Pace::OneByOne | Pace::Unlimited => self.acked,
        };
        self.sent = due.max(self.sent) + sum(self.think, self.number);
        self.arrived = self.arrived.max(self.sent + sum(self.up, self.number));
        self.acked = self.acked.max(self.arrived + sum(self.down, self.number));
        self.number += 1;
        Event { number: n, due, sent: self.sent, arrived: self.arrived }
    }
}

/// Whether a fault acts on its victim for all of a phase.
fn is_whole(plan: &Plan, act: &Act, phase: usize) -> bool {
    let lasts = match (act.length, plan.phases[phase].length) {
        (None, _) => true,
        (Some(length), Some(phase)) => length >= phase,
        (Some(_), None) => false,
    };
    act.after.is_zero() && lasts
}

fn sum(delays: &[(Draws, Delay)], number: u64) -> Duration {
    delays.iter().map(|(draws, delay)| draws.delay(*delay, number)).sum()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Every figure of a distribution in seconds; nothing where nothing takes any time.
fn figures(mut taken: Vec<u64>) -> Vec<(&'static str, f64)> {
    taken.sort_unstable();
    let (Some(min), Some(max)) = (taken.first(), taken.last()) else { return Vec::new() };
    let seconds = |ns: u64| ns as f64 / 1e9;
    // The smallest that at least this share does not exceed, as the histograms of the report have it.
    let at = |share: f64| {
        let rank = (share * taken.len() as f64 - 1e-9).ceil().max(1.0) as usize;
        seconds(taken[rank - 1])
    };
    let mean = taken.iter().map(|ns| seconds(*ns)).sum::<f64>() / taken.len() as f64;
    let mut figures = vec![("min", seconds(*min)), ("mean", mean), ("max", seconds(*max))];
    figures.extend(QUANTILES.map(|(name, share)| (name, at(share))));
    figures.push(("iqr", at(0.75) - at(0.25)));
    figures.retain(|(_, value)| *value > 0.0);
    figures
}

#[cfg(test)]
#[path = "predict_latency_tests.rs"]
mod tests;
