//! How much a client that does not keep up may read, and when: a token bucket, and pauses. It is told the time.
//!
//! What it does not read stays in the kernel, whose window closes: from there on the peer cannot send. What it really
//! read is noted, so that the fault can be held against the plan.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::FaultTally;
use crate::clock::Instant;
use crate::scenarios::plan::{Pauses, SlowConsumer};

/// What a bucket holds at most, as a time of its rate: short, so that any second sees the rate that was asked for.
const BUCKET: Duration = Duration::from_millis(100);
/// The least that a bucket holds, in bytes: a read of a few bytes costs as much as one of a page.
const LEAST_BUCKET: f64 = 1_024.0;

/// What may be read at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// So many bytes.
    Bytes(usize),
    /// Nothing before this.
    Until(Instant),
}

/// One slow reader, while it is slow.
#[derive(Debug)]
pub(super) struct Gate {
    slow: SlowConsumer,
    began: Instant,
    /// Bytes that may be read, as of `at`.
    tokens: f64,
    at: Instant,
    /// The last pause that kept it from reading, counted from 1.
    paused: u64,
    tally: Rc<RefCell<FaultTally>>,
}

impl Gate {
    /// Slow from `now` on; what it does is noted in `tally`. The bucket is empty.
    pub(super) fn new(slow: SlowConsumer, tally: Rc<RefCell<FaultTally>>, now: Instant) -> Self {
        Self { slow, began: now, tokens: 0.0, at: now, paused: 0, tally }
    }

    /// What may be read now.
    pub(super) fn allow(&mut self, now: Instant) -> Allowed {
        if let Some((number, until)) = self.slow.pauses.and_then(|pauses| self.pause(pauses, now)) {
            if number > std::mem::replace(&mut self.paused, number) {
                self.tally.borrow_mut().reads.pauses += 1;
            }
            // What would have been read meanwhile is not made up for.
            (self.tokens, self.at) = (0.0, until);
            return Allowed::Until(until);
        }
        let Some(rate) = self.slow.reads.map(|reads| reads as f64) else {
            return Allowed::Bytes(usize::MAX);
        };
        let size = (rate * BUCKET.as_secs_f64()).max(LEAST_BUCKET);
        let since = now.saturating_duration_since(self.at);
        (self.tokens, self.at) = ((self.tokens + rate * since.as_secs_f64()).min(size), self.at.max(now));
        // Not byte by byte: half a bucket is worth a read.
        let missing = size / 2.0 - self.tokens;
        if missing <= 0.0 || self.tokens >= size {
            return Allowed::Bytes(self.tokens as usize);
        }
        // A nanosecond more than that, or rounding would have it look again and again.
        Allowed::Until(now + Duration::from_secs_f64(missing / rate) + Duration::from_nanos(1))
    }

    /// So many bytes were read.
    pub(super) fn took(&mut self, bytes: usize) {
        self.tokens -= bytes as f64;
        self.tally.borrow_mut().reads.bytes += bytes as u64;
    }

    /// The number of the pause that is on, from 1, and its end.
    fn pause(&self, pauses: Pauses, now: Instant) -> Option<(u64, Instant)> {
        let since = now.saturating_duration_since(self.began);
        let number = u64::try_from(since.as_nanos() / pauses.every.as_nanos().max(1)).unwrap_or(u64::MAX);
        let begin = pauses.every.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX));
        (since - begin < pauses.pause).then(|| (number + 1, self.began + begin + pauses.pause))
    }
}

impl Drop for Gate {
    /// It is over, or its connection is.
    fn drop(&mut self) {
        self.tally.borrow_mut().reads.lasted += self.began.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn gate(slow: SlowConsumer) -> (Gate, Rc<RefCell<FaultTally>>, Instant) {
        let (tally, now) = (Rc::<RefCell<FaultTally>>::default(), clock::now());
        (Gate::new(slow, Rc::clone(&tally), now), tally, now)
    }

    /// Reads whatever it may for so long; bytes read, and the most within any one step of 10 ms.
    fn read_for(gate: &mut Gate, began: Instant, time: Duration) -> (usize, usize) {
        let (mut now, mut all, mut most) = (began, 0, 0);
        while now < began + time {
            match gate.allow(now) {
                Allowed::Bytes(bytes) => {
                    gate.took(bytes);
                    (all, most) = (all + bytes, most.max(bytes));
                }
                Allowed::Until(until) => {
                    assert!(until > now, "it is never told to look again at once");
                    now = until;
                }
            }
        }
        (all, most)
    }

    #[test]
    fn a_second_sees_its_rate_and_no_moment_much_more() {
        for rate in [512, 64 << 10, 10_000_000] {
            let (mut gate, tally, began) =
                gate(SlowConsumer { reads: Some(rate), ..SlowConsumer::default() });
            let (all, most) = read_for(&mut gate, began, Duration::from_secs(20));
            let expected = rate as f64 * 20.0;
            assert!((all as f64 - expected).abs() < 1_025.0 + expected * 0.01, "{rate}: {all}");
            assert!(most as f64 <= (rate as f64 * 0.1).max(1_024.0), "{rate}: {most} at once");
            assert_eq!(tally.borrow().reads.bytes, all as u64);
        }
    }

    #[test]
    fn nothing_is_read_in_a_pause_nor_made_up_for_after_it() {
        let second = Duration::from_secs(1);
        let pauses = Some(Pauses { pause: second, every: 4 * second });
        let (mut gate, tally, began) =
            gate(SlowConsumer { reads: Some(10_000), pauses, receive_buffer: None });
        assert_eq!(gate.allow(began), Allowed::Until(began + second));
        assert_eq!(gate.allow(began + second / 2), Allowed::Until(began + second));
        assert!(
            matches!(gate.allow(began + 4 * second + second / 2), Allowed::Until(until) if until == began + 5 * second)
        );
        assert_eq!(tally.borrow().reads.pauses, 2, "looked at twice, the first is still one");
        let (all, _) = read_for(&mut gate, began + 5 * second, 15 * second);
        // From 5 to 20 s it is not paused for 12: 5 to 8, 9 to 12, 13 to 16, 17 to 20.
        assert!((all as i64 - 120_000).abs() <= 4_096, "{all}");
    }

    #[test]
    fn with_pauses_alone_there_is_no_rate() {
        let ms = Duration::from_millis;
        let pauses = Some(Pauses { pause: ms(100), every: ms(200) });
        let (mut gate, tally, began) = gate(SlowConsumer { pauses, ..SlowConsumer::default() });
        assert_eq!(gate.allow(began + ms(150)), Allowed::Bytes(usize::MAX));
        assert_eq!(gate.allow(began + ms(200)), Allowed::Until(began + ms(300)));
        drop(gate);
        assert!(tally.borrow().reads.lasted > Duration::ZERO);
    }
}
