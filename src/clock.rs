//! The only place that reads a clock.
//!
//! Everything else receives a [`RunClock`] or an [`Instant`], so that time-dependent logic can be tested on
//! tokio's paused clock and so that all times of one run share one epoch.

use std::time::{Duration, SystemTime};

pub use tokio::time::Instant;

/// Returns the current monotonic time (CLOCK_MONOTONIC; tokio's clock in tests that pause it).
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Returns the current wall-clock time, for dates in reports only.
#[allow(clippy::disallowed_methods, reason = "this is the clock")]
#[must_use]
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The time axis of one run: nanoseconds since its epoch, shared by every thread of the process.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    epoch: Instant,
}

impl RunClock {
    /// Starts the axis now.
    #[must_use]
    pub fn start() -> Self {
        Self { epoch: now() }
    }

    /// Nanoseconds since the epoch; 584 years fit.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.ns(now())
    }

    /// Where `at` lies on the axis, in nanoseconds; 0 for anything before the epoch.
    #[must_use]
    pub fn ns(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant that lies `ns` nanoseconds after the epoch.
    #[must_use]
    pub fn at(&self, ns: u64) -> Instant {
        self.epoch + Duration::from_nanos(ns)
    }
}
