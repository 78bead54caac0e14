//! What is compared: each delay in netem's words and in ours, and how much traffic it takes to tell them apart.
//!
//! A message must never wait for the one before it, so the messages of one connection are further apart than any delay
//! here varies. The quartiles of two samples of a wide distribution differ by chance: with 6,000 messages under netem and
//! 3,000 each way through the injector, what is allowed is 3.8 standard errors of the first quartile of `uniform-50-150`,
//! and more of all others. More connections at a time would be quicker, but a guest of user-mode-linux takes half a
//! millisecond of processor for a message, and a busy one delays what netem has let go.

use std::time::Duration;

/// A link delay in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delay {
    None,
    Fixed(Duration),
    Uniform { min: Duration, max: Duration },
    Normal { mean: Duration, deviation: Duration },
}

impl Delay {
    /// Half of the messages are to take longer.
    pub(crate) fn median(self) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Fixed(delay) => delay,
            Self::Uniform { min, max } => (min + max) / 2,
            Self::Normal { mean, .. } => mean,
        }
    }
}

/// One delay and the traffic that it is measured with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set {
    pub(crate) name: &'static str,
    /// What `tc qdisc … netem` is told.
    pub(crate) netem: &'static str,
    pub(crate) delay: Delay,
    pub(crate) connections: u32,
    /// From each end of each connection.
    pub(crate) messages: u32,
}

/// How much later an end of a connection speaks again.
pub(crate) const SPACING: Duration = Duration::from_millis(293);

/// The traffic without any delay: what the machine itself takes. It is shown and subtracted from nothing.
pub(crate) const BASELINE: Set =
    Set { name: "none", netem: "", delay: Delay::None, connections: 75, messages: 6 };

pub(crate) const SETS: [Set; 4] = [
    Set {
        name: "fixed-20",
        netem: "delay 20ms",
        delay: Delay::Fixed(Duration::from_millis(20)),
        connections: 50,
        messages: 6,
    },
    Set {
        name: "fixed-100",
        netem: "delay 100ms",
        delay: Delay::Fixed(Duration::from_millis(100)),
        connections: 50,
        messages: 6,
    },
    Set {
        name: "uniform-50-150",
        netem: "delay 100ms 50ms",
        delay: Delay::Uniform { min: Duration::from_millis(50), max: Duration::from_millis(150) },
        connections: 75,
        messages: 40,
    },
    Set {
        name: "normal-100-20",
        netem: "delay 100ms 20ms distribution normal",
        delay: Delay::Normal { mean: Duration::from_millis(100), deviation: Duration::from_millis(20) },
        connections: 75,
        messages: 40,
    },
];

/// The set of that name, or the baseline.
pub(crate) fn named(name: &str) -> Option<Set> {
    [BASELINE].into_iter().chain(SETS).find(|set| set.name == name)
}
