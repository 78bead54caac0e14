//! Durations, counted into buckets: what a shard records on its hot path.
//!
//! Recording takes no lock, cannot fail and allocates once per histogram in use. Next to read:
//! [`super::latency_set`], everything one shard times.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

use super::base64;
use crate::report::model::Latency;

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

    /// Counts one sample of a series that should have one every `interval`, and the samples that a longer wait
    /// prevented (HdrHistogram's correction for coordinated omission).
    pub fn record_corrected(&mut self, took: Duration, interval: Duration) {
        let us = |d: Duration| u64::try_from(d.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US);
        self.counts().record_correct(us(took), us(interval)).expect("the value lies within the bounds");
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

/// Several distributions as one, from the histograms that they carry; `None`: one of them cannot be read, or there is
/// no sample in any.
#[must_use]
pub fn merged(each: &[Latency]) -> Option<Latency> {
    let mut all = Recorder::new(Precision::Fine);
    // As coarse as the finest of them: digits that nobody recorded are not made up.
    let histograms: Vec<Histogram<u64>> = each.iter().map(read).collect::<Option<_>>()?;
    if histograms.iter().all(|one| one.sigfig() <= Precision::Coarse.digits()) {
        all = Recorder::new(Precision::Coarse);
    }
    for one in &histograms {
        all.counts().add(one).ok()?;
    }
    all.latency()
}

fn read(latency: &Latency) -> Option<Histogram<u64>> {
    let bytes = base64::decode(&latency.hdr)?;
    let mut reader = bytes.as_slice();
    let read: Histogram<u64> = Deserializer::new().deserialize(&mut reader).ok()?;
    (read.len() == latency.count).then_some(read)
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
    fn distributions_of_a_report_are_merged_as_if_recorded_together() {
        for precision in [Precision::Coarse, Precision::Fine] {
            let parts = [
                recorded(precision, 1..=900),
                recorded(precision, [40_000, 2_000_000]),
                recorded(precision, [7]),
            ];
            let latencies: Vec<Latency> = parts.iter().map(|part| part.latency().unwrap()).collect();
            let mut whole = Recorder::new(precision);
            parts.iter().for_each(|part| whole.merge(part));
            let (merged, whole) = (merged(&latencies).unwrap(), whole.latency().unwrap());
            assert_eq!(Latency { hdr: String::new(), ..merged }, Latency { hdr: String::new(), ..whole });
        }
        assert_eq!(merged(&[]), None);
        assert_eq!(merged(&[Latency { count: 1, ..Latency::default() }]), None, "no histogram");
        let other = Latency { count: 2, ..recorded(Precision::Fine, [5]).latency().unwrap() };
        assert_eq!(merged(&[other]), None, "not the histogram of these figures");
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
}
