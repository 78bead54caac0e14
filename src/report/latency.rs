//! From a histogram of microseconds to the figures of the report.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};

use super::model::Latency;

impl Latency {
    /// Reads the figures off a histogram whose values are microseconds; `None` without samples, because nothing
    /// was measured and 0 would say otherwise.
    #[must_use]
    pub fn from_histogram(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let at = |quantile| histogram.value_at_quantile(quantile);
        Some(Self {
            count: histogram.len(),
            min_us: histogram.min(),
            mean_us: histogram.mean(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max(),
            iqr_us: at(0.75).saturating_sub(at(0.25)),
            hdr: encode(histogram),
        })
    }
}

/// HdrHistogram V2 deflate as base64, which every HdrHistogram library reads.
fn encode(histogram: &Histogram<u64>) -> String {
    let mut compressed = Vec::new();
    V2DeflateSerializer::new()
        .serialize(histogram, &mut compressed)
        .expect("a histogram serialises into memory");
    STANDARD.encode(compressed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    #[test]
    fn without_samples_there_is_nothing() {
        let histogram = Histogram::<u64>::new(3).unwrap();
        assert_eq!(Latency::from_histogram(&histogram), None);
    }

    #[test]
    fn figures_of_a_known_distribution() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for us in 1..=1_000 {
            histogram.record(us).unwrap();
        }
        let latency = Latency::from_histogram(&histogram).unwrap();
        let expected = Latency {
            count: 1_000,
            min_us: 1,
            mean_us: 500.5,
            p50_us: 500,
            p90_us: 900,
            p99_us: 990,
            p999_us: 999,
            max_us: 1_000,
            iqr_us: 500,
            hdr: latency.hdr.clone(),
        };
        assert_eq!(latency, expected);
    }

    #[test]
    fn the_histogram_survives_the_round_trip() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for us in [17, 17, 40_000, 1_200_000] {
            histogram.record(us).unwrap();
        }
        let latency = Latency::from_histogram(&histogram).unwrap();
        let bytes = STANDARD.decode(latency.hdr).unwrap();
        let decoded: Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(decoded, histogram);
    }
}
