//! Durations, counted into buckets: what a shard records on its hot path.
//!
//! Recording takes no lock, cannot fail and allocates once per histogram in use. A shard owns its set; sets are
//! merged when the run is over, and the timeline's share of them once a second.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use super::base64;
use crate::report::model::{Latencies, Latency};

/// The longest duration told apart, in microseconds; longer ones count as this.
pub const LONGEST_US: u64 = 3_600_000_000;

/// How finely durations are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Three digits, 188 KB once in use: for the whole run.
    Fine,
    /// Two digits, 27 KB once in use: for each group and phase, and for each second.
    Coarse,
}

impl Precision {
    const fn digits(self) -> u8 {
        match self {
            Self::Fine => 3,
            Self::Coarse => 2,
        }
    }
}

/// A distribution of durations in microseconds, from 1 µs to an hour. An unused one costs a few bytes.
#[derive(Debug, Clone)]
pub struct Recorder {
    precision: Precision,
    counts: Option<Box<Histogram<u64>>>,
}

impl Recorder {
    /// An empty distribution.
    #[must_use]
    pub const fn new(precision: Precision) -> Self {
        Self { precision, counts: None }
    }

    /// Counts one duration; one beyond an hour counts as an hour.
    #[inline]
    pub fn record(&mut self, took: Duration) {
        self.record_us(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US));
    }

    /// Counts one duration given in nanoseconds, as differences on the run's time axis are.
    #[inline]
    pub fn record_ns(&mut self, took_ns: u64) {
        self.record_us(took_ns / 1_000);
    }

    /// Counts one duration given in microseconds.
    #[inline]
    pub fn record_us(&mut self, took_us: u64) {
        self.counts().saturating_record(took_us);
    }

    /// Adds everything that `other` counted; a coarser one stays as coarse as it was recorded.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.counts else { return };
        match &mut self.counts {
            None if self.precision == other.precision => self.counts = Some(theirs.clone()),
            _ => self.counts().add(&**theirs).expect("all recorders share one range"),
        }
    }

    /// Forgets everything and keeps the allocation.
    pub fn reset(&mut self) {
        if let Some(counts) = &mut self.counts {
            counts.reset();
        }
    }

    /// Hands over what was counted and goes on empty.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self { precision: self.precision, counts: self.counts.take() }
    }

    /// How many durations were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.len())
    }

    /// The duration in microseconds that a share `quantile` of all stay at or below; `None` without samples.
    #[must_use]
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        // The upper end of the last bucket may lie above what was ever recorded.
        self.samples().map(|counts| counts.value_at_quantile(quantile).min(counts.max()))
    }

    /// The distribution as the report shows it; `None` without samples.
    #[must_use]
    pub fn latency(&self) -> Option<Latency> {
        let counts = self.samples()?;
        let at = |quantile| self.quantile_us(quantile).unwrap_or_default();
        let mut hdr = Vec::new();
        V2DeflateSerializer::new().serialize(counts, &mut hdr).expect("a vector takes every byte");
        Some(Latency {
            count: counts.len(),
            min_us: counts.min(),
            mean_us: counts.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: counts.max(),
            iqr_us: at(0.75) - at(0.25),
            hdr: base64::encode(&hdr),
        })
    }

    fn samples(&self) -> Option<&Histogram<u64>> {
        self.counts.as_deref().filter(|counts| !counts.is_empty())
    }

    #[inline]
    fn counts(&mut self) -> &mut Histogram<u64> {
        let digits = self.precision.digits();
        self.counts.get_or_insert_with(|| {
            Box::new(Histogram::new_with_bounds(1, LONGEST_US, digits).expect("the bounds are constants"))
        })
    }
}

/// Deliveries as one group saw them in one phase.
#[derive(Debug, Clone)]
pub struct Delivered {
    /// From when the event was due until it was received.
    pub from_due: Recorder,
    /// From when the event was sent until it was received.
    pub from_sent: Recorder,
}

impl Delivered {
    const fn new(precision: Precision) -> Self {
        Self { from_due: Recorder::new(precision), from_sent: Recorder::new(precision) }
    }

    fn merge(&mut self, other: &Self) {
        self.from_due.merge(&other.from_due);
        self.from_sent.merge(&other.from_sent);
    }
}

/// Everything one shard times.
///
/// Deliveries are kept per cohort and phase as well. A *cohort* is whatever the caller tells apart, a group or
/// its victims; [`LatencySet::slice`] puts any selection of them together again.
#[derive(Debug, Clone)]
pub struct LatencySet {
    /// Start of TCP connect until the protocol's acknowledgement.
    pub connect: Recorder,
    /// TCP handshake.
    pub tcp: Recorder,
    /// TLS handshake.
    pub tls: Recorder,
    /// HTTP upgrade.
    pub upgrade: Recorder,
    /// The protocol's own greeting.
    pub init: Recorder,
    /// Subscribe flushed until the first probe was received.
    pub subscribe: Recorder,
    /// Publish sent until acknowledged.
    pub publish_ack: Recorder,
    /// Cut until confirmed again.
    pub reconnect: Recorder,
    /// Due until sent: the generator's own lateness.
    pub send_lag: Recorder,
    /// How long the last message of a readiness batch waited for our own processing.
    pub drain: Recorder,
    /// How late the event loop woke up.
    pub loop_lag: Recorder,
    /// Deliveries of the whole run.
    delivered: Delivered,
    /// Deliveries since the timeline last took them, from due.
    interval: Recorder,
    /// Deliveries per cohort and phase, phases of one cohort side by side.
    slices: Vec<Delivered>,
    phases: usize,
}

impl LatencySet {
    /// An empty set for this many cohorts and phases.
    #[must_use]
    pub fn new(cohorts: usize, phases: usize) -> Self {
        const FINE: Recorder = Recorder::new(Precision::Fine);
        Self {
            connect: FINE,
            tcp: FINE,
            tls: FINE,
            upgrade: FINE,
            init: FINE,
            subscribe: FINE,
            publish_ack: FINE,
            reconnect: FINE,
            send_lag: FINE,
            drain: FINE,
            loop_lag: FINE,
            delivered: Delivered::new(Precision::Fine),
            interval: Recorder::new(Precision::Coarse),
            slices: vec![Delivered::new(Precision::Coarse); cohorts * phases],
            phases,
        }
    }

    /// Counts one delivery wherever it belongs: to the run, to its second, to its cohort and phase.
    ///
    /// # Panics
    /// If the set was not made for that cohort or phase.
    #[inline]
    pub fn deliver(&mut self, cohort: usize, phase: usize, from_due_us: u64, from_sent_us: u64) {
        assert!(phase < self.phases, "phase {phase} of {}", self.phases);
        self.delivered.from_due.record_us(from_due_us);
        self.delivered.from_sent.record_us(from_sent_us);
        self.interval.record_us(from_due_us);
        let slice = &mut self.slices[cohort * self.phases + phase];
        slice.from_due.record_us(from_due_us);
        slice.from_sent.record_us(from_sent_us);
    }

    /// Deliveries of the whole run.
    #[must_use]
    pub const fn delivered(&self) -> &Delivered {
        &self.delivered
    }

    /// Hands over the deliveries since the last call, for one point of the timeline.
    #[must_use]
    pub fn take_interval(&mut self) -> Recorder {
        self.interval.take()
    }

    /// Deliveries of every cohort and phase that `chosen` picks, put together.
    #[must_use]
    pub fn slice(&self, chosen: impl Fn(usize, usize) -> bool) -> Delivered {
        let mut together = Delivered::new(Precision::Coarse);
        for (index, slice) in self.slices.iter().enumerate() {
            if chosen(index / self.phases, index % self.phases) {
                together.merge(slice);
            }
        }
        together
    }

    /// Adds what another shard timed.
    ///
    /// # Panics
    /// If the other set was made for other cohorts or phases.
    pub fn merge(&mut self, other: &Self) {
        assert_eq!(
            (self.slices.len(), self.phases),
            (other.slices.len(), other.phases),
            "shards share one plan"
        );
        self.connect.merge(&other.connect);
        self.tcp.merge(&other.tcp);
        self.tls.merge(&other.tls);
        self.upgrade.merge(&other.upgrade);
        self.init.merge(&other.init);
        self.subscribe.merge(&other.subscribe);
        self.publish_ack.merge(&other.publish_ack);
        self.reconnect.merge(&other.reconnect);
        self.send_lag.merge(&other.send_lag);
        self.drain.merge(&other.drain);
        self.loop_lag.merge(&other.loop_lag);
        self.delivered.merge(&other.delivered);
        self.interval.merge(&other.interval);
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.merge(theirs);
        }
    }

    /// The whole run as the report shows it.
    #[must_use]
    pub fn latencies(&self) -> Latencies {
        Latencies {
            connect: self.connect.latency(),
            tcp: self.tcp.latency(),
            tls: self.tls.latency(),
            upgrade: self.upgrade.latency(),
            init: self.init.latency(),
            subscribe: self.subscribe.latency(),
            publish_ack: self.publish_ack.latency(),
            deliver: self.delivered.from_due.latency(),
            deliver_from_sent: self.delivered.from_sent.latency(),
            reconnect: self.reconnect.latency(),
            send_lag: self.send_lag.latency(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(precision: Precision, values: impl IntoIterator<Item = u64>) -> Recorder {
        let mut recorder = Recorder::new(precision);
        values.into_iter().for_each(|value| recorder.record_us(value));
        recorder
    }

    #[test]
    fn an_unused_recorder_allocates_nothing_and_has_no_latency() {
        let mut recorder = Recorder::new(Precision::Fine);
        recorder.merge(&Recorder::new(Precision::Fine));
        recorder.reset();
        assert!(recorder.counts.is_none());
        assert_eq!((recorder.count(), recorder.quantile_us(0.5), recorder.latency()), (0, None, None));
    }

    #[test]
    fn a_recorder_that_was_reset_has_no_latency_either() {
        let mut recorder = recorded(Precision::Fine, [5]);
        recorder.reset();
        assert_eq!((recorder.count(), recorder.latency()), (0, None));
    }

    #[test]
    fn a_hundred_values_give_their_percentiles() {
        let latency = recorded(Precision::Fine, 1..=100).latency().unwrap();
        assert_eq!(
            Latency { hdr: String::new(), ..latency },
            Latency {
                count: 100,
                min_us: 1,
                mean_us: 50.5,
                p50_us: 50,
                p90_us: 90,
                p99_us: 99,
                p999_us: 100,
                max_us: 100,
                iqr_us: 50,
                hdr: String::new(),
            }
        );
    }

    #[test]
    fn nothing_is_too_short_or_too_long() {
        let mut recorder = Recorder::new(Precision::Coarse);
        recorder.record(Duration::ZERO);
        recorder.record(Duration::MAX);
        recorder.record_ns(u64::MAX);
        let latency = recorder.latency().unwrap();
        assert_eq!((latency.count, latency.min_us), (3, 0));
        assert!(latency.max_us >= LONGEST_US);
    }

    #[test]
    fn the_serialized_histogram_can_be_read_back() {
        let recorder = recorded(Precision::Fine, [10, 20, 3_000_000]);
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(recorder.samples().unwrap(), &mut bytes).unwrap();
        assert_eq!(base64::encode(&bytes), recorder.latency().unwrap().hdr);
        let read: Histogram<u64> =
            hdrhistogram::serialization::Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
        assert_eq!((read.len(), read.value_at_quantile(0.5)), (3, 20));
    }

    #[test]
    fn merging_adds_across_precisions() {
        let mut whole = Recorder::new(Precision::Fine);
        whole.merge(&recorded(Precision::Fine, [10, 20]));
        whole.merge(&recorded(Precision::Coarse, [30]));
        assert_eq!((whole.count(), whole.quantile_us(1.0)), (3, Some(30)));
        let mut fine = Recorder::new(Precision::Fine);
        fine.merge(&recorded(Precision::Coarse, [30]));
        fine.record_us(1_001);
        assert_eq!(fine.latency().unwrap().max_us, 1_001, "it kept its own precision");
    }

    #[test]
    fn a_delivery_is_found_in_the_run_its_second_and_its_slice() {
        let mut one = LatencySet::new(2, 2);
        one.deliver(0, 0, 100, 90);
        one.deliver(1, 1, 200, 190);
        let mut two = LatencySet::new(2, 2);
        two.deliver(1, 0, 300, 290);
        assert_eq!(two.take_interval().count(), 1);
        assert_eq!(two.take_interval().count(), 0);
        one.merge(&two);
        assert_eq!(one.delivered().from_due.count(), 3);
        assert_eq!(one.slice(|cohort, _| cohort == 1).from_due.count(), 2);
        assert_eq!(one.slice(|_, phase| phase == 0).from_sent.count(), 2);
        assert_eq!(one.slice(|cohort, phase| (cohort, phase) == (0, 1)).from_due.count(), 0);
        let latencies = one.latencies();
        assert_eq!(latencies.deliver.map(|latency| latency.max_us), Some(300));
        assert_eq!(latencies.connect, None);
    }
}
