//! What a plan predicts: counted from the plan alone, before anything is sent.
//!
//! Event `n` of a publisher group goes to stream `n % S`, S the larger of channels and connections of the group;
//! stream `k` publishes to channel `k % channels`; `n` counts on over the phases and starts again in each round.
//! Subscription `i`, counted over all groups, is on channel `i % channels`.

use std::collections::BTreeMap;
use std::ops::Range;

use super::plan::{Pace, Plan, PublisherGroup, SubscriberGroup};

impl Plan {
    /// How many events a publisher group has due in one pass of a phase, where the plan knows it.
    #[must_use]
    pub fn events_in(&self, group: &PublisherGroup, phase: usize) -> Option<u64> {
        if !group.phases.contains(&phase) {
            return Some(0);
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
        let phases: Vec<Option<PhaseCounts>> =
            (0..self.phases.len()).map(|phase| self.count_phase(phase)).collect();
        for (phase, counts) in self.phases.iter().zip(&phases) {
            if let Some(counts) = counts {
                self.put(&mut predicted, counts, &format!(" in {}", phase.name));
            }
        }
        let known: Option<Vec<PhaseCounts>> = phases.into_iter().collect();
        if let Some(known) = known {
            let sum = known.into_iter().fold(PhaseCounts::default(), |sum, one| sum.add(&one));
            self.put(&mut predicted, &sum, "");
        }
        predicted
    }

    fn put(&self, predicted: &mut BTreeMap<String, f64>, counts: &PhaseCounts, suffix: &str) {
        let mut put = |metric: String, value: f64| predicted.insert(format!("{metric}{suffix}"), value);
        for name in ["attempted", "sent", "acked"] {
            put(format!("published.{name}"), counts.events as f64);
        }
        for name in ["obligations", "delivered"] {
            put(format!("ledger.{name}"), counts.owed.iter().sum::<f64>());
        }
        if let Some(seconds) = counts.seconds.filter(|seconds| *seconds > 0.0) {
            put("published.rate".to_owned(), counts.events as f64 / seconds);
        }
        // The report knows groups over the whole run only.
        if suffix.is_empty() {
            for (group, owed) in self.subscribers.iter().zip(&counts.owed) {
                for name in ["obligations", "delivered"] {
                    put(format!("{}.ledger.{name}", group.name), *owed);
                }
            }
        }
    }

    /// One pass of one phase; `None`: some publisher's number of events is not known.
    fn count_phase(&self, phase: usize) -> Option<PhaseCounts> {
        let mut counts = PhaseCounts { owed: vec![0.0; self.subscribers.len()], ..PhaseCounts::default() };
        let mut seconds = Some(0.0_f64);
        for group in &self.publishers {
            let events = self.events_in(group, phase)?;
            let before: Option<u64> = (0..phase).map(|earlier| self.events_in(group, earlier)).sum();
            let before = before?;
            counts.events += events;
            if events > 0 {
                seconds = match (group.pace, seconds) {
                    (Pace::Open(rate), Some(longest)) => Some(longest.max(events as f64 / rate)),
                    _ => None,
                };
            }
            for (owed, subscribers) in counts.owed.iter_mut().zip(&self.subscribers) {
                *owed += self.deliveries(group, subscribers, &(before..before + events));
            }
        }
        counts.seconds = seconds;
        Some(counts)
    }

    /// Deliveries owed to one group for a range of events of another.
    fn deliveries(&self, from: &PublisherGroup, to: &SubscriberGroup, events: &Range<u64>) -> f64 {
        let channels = u64::from(self.channels);
        let streams = channels.max(u64::from(from.connections));
        let first = u64::from(to.first_subscription);
        let last = first + u64::from(to.subscriptions);
        // How many of 0..n leave the remainder r when divided by d.
        let hits = |n: u64, d: u64, r: u64| n / d + u64::from(r < n % d);
        (0..streams)
            .map(|stream| {
                let channel = stream % channels;
                let sent = hits(events.end, streams, stream) - hits(events.start, streams, stream);
                // In floating point: trillions of events times millions of subscriptions pass 64 bits.
                sent as f64 * (hits(last, channels, channel) - hits(first, channels, channel)) as f64
            })
            .sum()
    }
}

/// Counts of one pass.
#[derive(Debug, Clone, Default)]
struct PhaseCounts {
    events: u64,
    /// Per subscriber group.
    owed: Vec<f64>,
    /// From the first event until the last one's successor would be due.
    seconds: Option<f64>,
}

impl PhaseCounts {
    fn add(self, other: &Self) -> Self {
        let longer = if self.owed.is_empty() { vec![0.0; other.owed.len()] } else { self.owed };
        Self {
            events: self.events + other.events,
            owed: longer.iter().zip(&other.owed).map(|(a, b)| a + b).collect(),
            seconds: match (self.events, self.seconds, other.seconds) {
                (0, _, seconds) => seconds,
                (_, Some(a), Some(b)) => Some(a + b),
                _ => None,
            },
        }
    }
}
