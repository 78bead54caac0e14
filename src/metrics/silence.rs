//! When anything was received at all: one bit for every 10 ms of a run.
//!
//! A shard keeps one and shares it with nobody; they are put together when the run is over. A day takes 1 MB.

use std::time::Duration;

/// How finely times are told apart.
const WIDTH_NS: u64 = 10_000_000;

/// Moments of a run at which something was received.
#[derive(Debug, Clone, Default)]
pub struct Receipts {
    /// Bit n of word n / 64: something was received in the nth 10 ms.
    words: Vec<u64>,
}

impl Receipts {
    /// Something was received at this time on the run's axis.
    #[inline]
    pub fn note(&mut self, now_ns: u64) {
        let (word, bit) = place(now_ns / WIDTH_NS);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// Adds what another shard received.
    pub fn merge(&mut self, other: &Self) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(mine, theirs)| *mine |= theirs);
    }

    /// The longest time in which nothing was received, from the first event sent until the last was sent or received,
    /// whichever is later, and no further than `end_ns`; `None`: nothing was received meanwhile.
    #[must_use]
    pub fn longest_silence(&self, first_sent_ns: u64, last_sent_ns: u64, end_ns: u64) -> Option<Duration> {
        let (first, end) = (first_sent_ns / WIDTH_NS, end_ns / WIDTH_NS);
        let end = end.min(self.words.len() as u64 * 64);
        let last = (first..=end).rev().find(|bucket| self.is_set(*bucket))?;
        let last = last.max(last_sent_ns.min(end_ns) / WIDTH_NS);
        let (mut longest, mut empty) = (0_u64, 0_u64);
        for bucket in first..=last {
            empty = if self.is_set(bucket) { 0 } else { empty + 1 };
            longest = longest.max(empty);
        }
        Some(Duration::from_nanos(longest * WIDTH_NS))
    }

    fn is_set(&self, bucket: u64) -> bool {
        let (word, bit) = place(bucket);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

/// The word of a bucket, and its bit in it.
fn place(bucket: u64) -> (usize, u64) {
    (usize::try_from(bucket / 64).expect("a run is shorter than the memory is large"), 1 << (bucket % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn received(at_ms: &[u64]) -> Receipts {
        let mut receipts = Receipts::default();
        at_ms.iter().for_each(|ms| receipts.note(ms * MS));
        receipts
    }

    fn silence(receipts: &Receipts, first_ms: u64, last_ms: u64, end_ms: u64) -> Option<u128> {
        let longest = receipts.longest_silence(first_ms * MS, last_ms * MS, end_ms * MS);
        longest.map(|longest| longest.as_millis())
    }

    #[test]
    fn the_longest_of_several_gaps() {
        let receipts = received(&[1_000, 1_040, 1_040, 1_300, 1_305, 2_000]);
        assert_eq!(silence(&receipts, 1_000, 1_900, 9_000), Some(690));
        assert_eq!(silence(&receipts, 1_000, 1_200, 1_310), Some(250));
        assert_eq!(silence(&receipts, 1_000, 1_000, 1_050), Some(30));
    }

    #[test]
    fn it_begins_with_the_first_event_and_ends_with_the_last() {
        let receipts = received(&[500, 1_000]);
        assert_eq!(silence(&receipts, 900, 900, 9_000), Some(100), "until the first receipt");
        assert_eq!(silence(&receipts, 1_000, 1_000, 9_000), Some(0), "what comes later was not sent");
        assert_eq!(silence(&receipts, 1_000, 3_000, 9_000), Some(2_000), "events that never arrived");
        assert_eq!(silence(&receipts, 1_000, 3_000, 2_000), Some(1_000), "no further than the end");
        assert_eq!(silence(&receipts, 1_100, 3_000, 9_000), None);
        assert_eq!(silence(&Receipts::default(), 0, 3_000, u64::MAX / MS), None);
    }

    #[test]
    fn what_one_shard_received_was_no_silence() {
        let mut all = received(&[1_000, 2_000]);
        all.merge(&received(&[1_500, 7_000]));
        assert_eq!(silence(&all, 1_000, 2_000, 2_010), Some(490));
        assert_eq!(silence(&all, 1_000, 2_000, 9_000), Some(4_990));
        let mut long = received(&[7_000]);
        long.merge(&received(&[1_000]));
        assert_eq!(silence(&long, 1_000, 1_000, 9_000), Some(5_990));
    }

    #[test]
    fn a_day_takes_a_megabyte() {
        let receipts = received(&[24 * 3_600 * 1_000]);
        assert!(receipts.words.len() * 8 < 1_100_000);
    }
}
