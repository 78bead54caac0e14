//! What a plan predicts: counted from the plan alone, before anything is sent.
//!
//! Event `n` of a publisher group goes to stream `n % S`, S the larger of channels and connections of the group;
//! stream `k` publishes to channel `k % channels`; `n` counts on over the phases and starts again in each round.
//! Subscription `i`, counted over all groups, is on channel `i % channels`.
//!
//! A connection that is cut is owed what is published while it is away, as long as it is expected back; how much of
//! that it gets depends on how fast it comes back, and the plan does not know. What happens to bystanders, and before
//! the first phase with a cut, it does.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::plan::{Crew, DropPoint, FaultKind, Pace, Part, Plan, PublisherGroup, Reconnect, SubscriberGroup};
use super::predict_latency;
use crate::inject::{Act, Schedule};

impl Plan {
    /// How many events a publisher group has due in one pass of a phase, where the plan knows it.
    #[must_use]
    pub fn events_in(&self, group: &PublisherGroup, phase: usize) -> Option<u64> {
        if !group.phases.contains(&phase) {
            return Some(0);
        }
        if group.climb.is_some() {
            // It ends where something gives.
            return None;
        }
        if let Some(events) = group.events {
            return Some(events);
        }
        match (group.pace, self.phases.get(phase)?.length) {
            // Event n is due n / rate after the start: those strictly before the end.
            (Pace::Open(rate), Some(length)) => {
                // Bounded, so that no sum over phases can overflow.
                Some((rate * length.as_secs_f64() * (1.0 - 1e-12)).ceil().min(1e15) as u64)
            }
            _ => None,
        }
    }

    /// Metric path (`ledger.delivered`, `clients.ledger.delivered`, `ledger.delivered in PHASE`) → the value this
    /// plan leads to in each round if nothing is lost, where the plan knows it.
    #[must_use]
    pub fn predict(&self) -> BTreeMap<String, f64> {
        let mut predicted = BTreeMap::new();
        let known = Known::of(self);
        let phases: Vec<Option<PhaseCounts>> =
            (0..self.phases.len()).map(|phase| self.count_phase(phase, &known)).collect();
        let deliveries =
            |counts: &Option<PhaseCounts>| Some(counts.as_ref()?.owed.iter().map(|o| o.all).sum());
        let deliveries: Vec<Option<f64>> = phases.iter().map(deliveries).collect();
        for (phase, counts) in self.phases.iter().zip(&phases) {
            if let Some(counts) = counts {
                self.put(&mut predicted, counts, &format!(" in {}", phase.name));
            }
        }
        let counted: Option<Vec<PhaseCounts>> = phases.into_iter().collect();
        if let Some(counted) = counted {
            let sum = counted
                .into_iter()
                .fold(PhaseCounts { acked_known: true, ..PhaseCounts::default() }, |sum, one| sum.add(&one));
            self.put(&mut predicted, &sum, "");
        }
        for (index, fault) in self.faults.iter().enumerate() {
            let applications = known.schedule.planned(index, &fault.kind);
            if let FaultKind::Terminate(end) = &self.faults[index].kind
                && !end.at.is_empty()
            {
                let points: HashSet<DropPoint> = end.at.iter().copied().collect();
                predicted.insert(format!("faults.{}.points_hit", fault.name), points.len() as f64);
            }
            if let FaultKind::Churn(_) = fault.kind {
                let all = applications.saturating_sub(known.schedule.failing_cycles(index));
                predicted.insert(format!("faults.{}.cycles.completed", fault.name), all as f64);
            }
            for name in ["planned", "applied"] {
                predicted.insert(format!("faults.{}.{name}", fault.name), applications as f64);
            }
        }
        predict_latency::put(self, &known.schedule, &deliveries, &mut predicted);
        predicted
    }

    /// Every decision about its faults.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule::of(self)
    }

    /// The first phase in which a fault can keep a delivery from its victim.
    pub(crate) fn first_taking(&self) -> Option<usize> {
        self.schedule().acts().iter().filter_map(|act| self.taking_phase(act)).min()
    }

    fn taking_phase(&self, act: &Act) -> Option<usize> {
        let takes = self.faults[act.fault].kind.takes_away();
        match act.part {
            Part::Phase(phase) if takes => Some(phase),
            Part::Setup if takes => Some(0),
            _ => None,
        }
    }

    fn put(&self, predicted: &mut BTreeMap<String, f64>, counts: &PhaseCounts, suffix: &str) {
        let mut put = |metric: String, value: f64| {
            predicted.insert(format!("{metric}{suffix}"), value);
        };
        let acked = counts.acked_known.then_some("acked");
        for name in ["attempted", "sent"].into_iter().chain(acked) {
            put(format!("published.{name}"), counts.events as f64);
        }
        // Of the payloads; each message has a little more around its own.
        put("published.volume".to_owned(), counts.bytes);
        if let Some(seconds) = counts.seconds.filter(|seconds| *seconds > 0.0) {
            put("published.rate".to_owned(), counts.events as f64 / seconds);
        }
        self.put_deliveries("ledger.obligations", counts, |owed| owed.owed_known, &mut put);
        self.put_deliveries("ledger.delivered", counts, |owed| owed.delivered_known, &mut put);
    }

    /// One figure of all, of each group, of victims and of bystanders, where it is known.
    fn put_deliveries(
        &self,
        metric: &str,
        counts: &PhaseCounts,
        known: fn(&Owed) -> bool,
        put: &mut impl FnMut(String, f64),
    ) {
        let sum = |of: fn(&Owed) -> f64| counts.owed.iter().map(of).sum::<f64>();
        let mut put = |subject: &str, known: bool, value: f64| {
            if known {
                put(format!("{subject}{metric}"), value);
            }
        };
        let all_known = counts.owed.iter().all(known);
        put("", all_known, sum(|owed| owed.all));
        for (group, owed) in self.subscribers.iter().zip(&counts.owed) {
            put(&format!("{}.", group.name), known(owed), owed.all);
        }
        if !self.faults.is_empty() {
            put("victims.", all_known, sum(|owed| owed.victims));
            // Faults on publishers are the only ones that bystanders feel.
            let others = all_known || counts.acked_known;
            put("bystanders.", others, sum(|owed| owed.all - owed.victims));
        }
    }

    /// One pass of one phase; `None`: some publisher's number of events is not known.
    fn count_phase(&self, phase: usize, known: &Known) -> Option<PhaseCounts> {
        let untouched = |first: Option<usize>| first.is_none_or(|first| phase < first);
        // What is published in the moment of a cut may be accepted without anybody knowing.
        let acked_known = untouched(known.publishing_until);
        let untils = known.whole_until.iter().zip(&known.churning_from);
        let owed = self.subscribers.iter().zip(untils).map(|(group, (first, churning))| {
            let whole = untouched(*first);
            let returns = group.reconnect != Reconnect::None;
            let owed_known = (whole || returns) && untouched(*churning);
            Owed { owed_known, delivered_known: whole && acked_known, ..Owed::default() }
        });
        let mut counts = PhaseCounts { owed: owed.collect(), acked_known, ..PhaseCounts::default() };
        let mut seconds = Some(0.0_f64);
        for group in &self.publishers {
            let events = self.events_in(group, phase)?;
            let before: Option<u64> = (0..phase).map(|earlier| self.events_in(group, earlier)).sum();
            let before = before?;
            counts.events += events;
            counts.bytes += events as f64 * group.payload as f64;
            if events > 0 {
                seconds = match (group.pace, seconds) {
                    (Pace::Open(rate), Some(longest)) => Some(longest.max(events as f64 / rate)),
                    _ => None,
                };
            }
            let range = before..before + events;
            for ((owed, subscribers), victims) in
                counts.owed.iter_mut().zip(&self.subscribers).zip(&known.victims)
            {
                owed.all += self.deliveries(group, subscribers, &range);
                owed.victims += self.deliveries_to(group, &range, |channel| {
                    victims.get(channel as usize).copied().unwrap_or_default().into()
                });
            }
        }
        counts.seconds = seconds;
        Some(counts)
    }

    /// Deliveries owed to one group for a range of events of another.
    fn deliveries(&self, from: &PublisherGroup, to: &SubscriberGroup, events: &Range<u64>) -> f64 {
        let first = u64::from(to.first_subscription);
        let last = first + u64::from(to.subscriptions);
        let channels = u64::from(self.channels);
        self.deliveries_to(from, events, |channel| {
            hits(last, channels, channel) - hits(first, channels, channel)
        })
    }

    /// Deliveries owed for a range of events to so many subscriptions of each channel.
    fn deliveries_to(&self, from: &PublisherGroup, events: &Range<u64>, on: impl Fn(u64) -> u64) -> f64 {
        let channels = u64::from(self.channels);
        let streams = channels.max(u64::from(from.connections));
        let sent = |stream| hits(events.end, streams, stream) - hits(events.start, streams, stream);
        // In floating point: trillions of events times millions of subscriptions pass 64 bits.
        (0..streams).map(|stream| sent(stream) as f64 * on(stream % channels) as f64).sum()
    }
}

/// What the faults of a plan leave known.
struct Known {
    schedule: Schedule,
    /// Per group of subscribers: the first phase in which a fault can keep a delivery from one of it.
    whole_until: Vec<Option<usize>>,
    /// Per group of subscribers: the first phase in which one of it churns, from which on nobody knows what it is owed.
    churning_from: Vec<Option<usize>>,
    /// The same of all publishers, and what they publish.
    publishing_until: Option<usize>,
    /// Per group of subscribers, how many subscriptions of its victims, of whatever fault, are on each channel.
    victims: Vec<Vec<u32>>,
}

impl Known {
    fn of(plan: &Plan) -> Self {
        let schedule = plan.schedule();
        let first_taking = |own: Range<u32>| {
            let acts = schedule.acts().iter().filter(|act| own.contains(&act.connection));
            acts.filter_map(|act| plan.taking_phase(act)).min()
        };
        let seats = |index: usize, group: &SubscriberGroup| {
            let first = schedule.first_of(Crew::Subscribers(index));
            first..first + group.connections
        };
        let groups = || plan.subscribers.iter().enumerate();
        let whole_until: Vec<_> = groups().map(|(index, group)| first_taking(seats(index, group))).collect();
        let churning = |own: Range<u32>| {
            let acts = schedule.acts().iter().filter(|act| own.contains(&act.connection));
            let churns = acts.filter(|act| matches!(plan.faults[act.fault].kind, FaultKind::Churn(_)));
            churns.filter_map(|act| plan.taking_phase(act)).min()
        };
        let churning_from = groups().map(|(index, group)| churning(seats(index, group))).collect();
        let publishing_until = first_taking(plan.subscriber_connections()..u32::MAX);
        let on_channels = |(index, group): (usize, &SubscriberGroup)| {
            let mut counts = vec![0; plan.channels as usize];
            let (own, per) = (seats(index, group), group.per_connection());
            for victim in own.clone().filter(|connection| schedule.is_victim(*connection)) {
                let first = group.first_subscription + (victim - own.start) * per;
                (first..first + per).for_each(|sub| counts[(sub % plan.channels) as usize] += 1);
            }
            counts
        };
        let victims = groups().map(on_channels).collect();
        Self { whole_until, churning_from, publishing_until, victims, schedule }
    }
}

/// How many of 0..n leave the remainder r when divided by d.
fn hits(n: u64, d: u64, r: u64) -> u64 {
    n / d + u64::from(r < n % d)
}

/// Counts of one pass.
#[derive(Debug, Clone, Default)]
struct PhaseCounts {
    events: u64,
    /// Bytes of their payloads.
    bytes: f64,
    /// Whether all of them are acknowledged, if the server takes them.
    acked_known: bool,
    /// Per subscriber group.
    owed: Vec<Owed>,
    /// From the first event until the last one's successor would be due.
    seconds: Option<f64>,
}

/// Deliveries to one group, and what the plan knows of them.
#[derive(Debug, Clone, Copy, Default)]
struct Owed {
    /// To all of it.
    all: f64,
    /// To those that a fault hits at some time.
    victims: f64,
    /// Whether so many are owed.
    owed_known: bool,
    /// Whether so many are delivered, if nothing is lost.
    delivered_known: bool,
}

impl Owed {
    fn add(self, other: &Self) -> Self {
        Self {
            all: self.all + other.all,
            victims: self.victims + other.victims,
            owed_known: self.owed_known && other.owed_known,
            delivered_known: self.delivered_known && other.delivered_known,
        }
    }
}

impl PhaseCounts {
    fn add(self, other: &Self) -> Self {
        let nothing = Owed { owed_known: true, delivered_known: true, ..Owed::default() };
        let longer = if self.owed.is_empty() { vec![nothing; other.owed.len()] } else { self.owed };
        Self {
            events: self.events + other.events,
            bytes: self.bytes + other.bytes,
            acked_known: self.acked_known && other.acked_known,
            owed: longer.into_iter().zip(&other.owed).map(|(a, b)| a.add(b)).collect(),
            seconds: match (self.events, self.seconds, other.seconds) {
                (0, _, seconds) => seconds,
                (_, Some(a), Some(b)) => Some(a + b),
                _ => None,
            },
        }
    }
}

#[cfg(test)]
#[path = "predict_tests.rs"]
mod tests;
