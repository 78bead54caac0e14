//! CPU time of the calling thread: how busy the generator was.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::clock::{self, Instant};

/// CPU time that the calling thread has used since it started. Each shard asks for itself; no thread can ask
/// for another.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The beginning of a stretch of time on the calling thread.
#[derive(Debug, Clone, Copy)]
pub struct CpuMark {
    at: Instant,
    used: Duration,
}

impl CpuMark {
    /// Begins a stretch now.
    #[must_use]
    pub fn now() -> Self {
        Self { at: clock::now(), used: thread_time() }
    }

    /// Wall time since the mark.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }

    /// CPU time / wall time since the mark, on the same thread; 1: it was busy all the time. `None` before any
    /// time has passed.
    #[must_use]
    pub fn share(&self) -> Option<f64> {
        share(thread_time().saturating_sub(self.used), clock::now().saturating_duration_since(self.at))
    }
}

fn share(busy: Duration, wall: Duration) -> Option<f64> {
    (!wall.is_zero()).then(|| busy.as_secs_f64() / wall.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_busy_over_wall() {
        assert_eq!(share(Duration::from_millis(250), Duration::from_secs(1)), Some(0.25));
        assert_eq!(share(Duration::ZERO, Duration::ZERO), None);
    }

    #[test]
    fn work_counts_and_sleep_does_not() {
        let before = thread_time();
        std::thread::sleep(Duration::from_millis(30));
        let slept = thread_time() - before;
        let mut sum = 0_u64;
        while thread_time() - before < slept + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(slept < Duration::from_millis(20), "{slept:?}");
    }
}
