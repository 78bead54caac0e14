//! The plan: everything a run will do, decided before it starts and valid by construction.
//!
//! `scenarios::build` is the only maker of plans, from what `scenarios::check` found nothing wrong with. Nothing after it reads the scenario file again, and nothing
//! here knows about sockets or clocks. Next to read: `clients::fleet`, which runs a plan.

use std::time::Duration;

use super::condition::Condition;
use super::target::Target;

mod fault;

pub use fault::*;

/// One scenario, scaled, overridden and checked.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The scenario's name in the catalogue or file.
    pub name: String,
    /// Its one-line description.
    pub about: String,
    /// The seed that every random decision of the run is keyed by.
    pub seed: u64,
    /// The factor given by `--scale`, 1 for full size.
    pub scale: f64,
    /// Hash over everything that decides what the run does, 16 hex digits; equal plans have equal hashes.
    pub hash: String,
    /// How often the whole scenario is run on the same server process, at least 1.
    pub rounds: u32,
    /// By how much time is compressed: rates below are those of the file times this, lengths of phases and times of
    /// faults divided by it. Timeouts, latencies and waits are not.
    pub time_scale: f64,
    /// Number of distinct channels.
    pub channels: u32,
    /// Groups of subscribing clients, in file order.
    pub subscribers: Vec<SubscriberGroup>,
    /// Groups of publishing clients, in file order.
    pub publishers: Vec<PublisherGroup>,
    /// Injected faults, in file order.
    pub faults: Vec<Fault>,
    /// The phases in order, at least one.
    pub phases: Vec<Phase>,
    /// A delivery later than this after its due time is `late`.
    pub deadline: Duration,
    /// Bounds on every wait.
    pub timeouts: Timeouts,
    /// Must hold, or the run fails.
    pub expect: Vec<Condition>,
    /// Must have happened, or the run is inconclusive.
    pub reached: Vec<Condition>,
    /// Stops the run when it becomes true.
    pub abort_if: Vec<Condition>,
    /// The server under test; one without a URL is the reference server in a child process.
    pub target: Target,
    /// What `--scale` changed, for the user to see.
    pub changes: Vec<Change>,
    /// The scenario with every default filled in, as `show` prints it; secrets stay `${env:NAME}`.
    pub resolved: serde_json::Value,
}

impl Plan {
    /// All connections of subscribing clients.
    #[must_use]
    pub fn subscriber_connections(&self) -> u32 {
        self.subscribers.iter().map(|g| g.connections).sum()
    }

    /// All subscriptions.
    #[must_use]
    pub fn subscriptions(&self) -> u32 {
        self.subscribers.iter().map(|g| g.subscriptions).sum()
    }

    /// All connections of publishing clients.
    #[must_use]
    pub fn publisher_connections(&self) -> u32 {
        self.publishers.iter().map(|g| g.connections).sum()
    }

    /// The largest payload any publisher sends, in bytes.
    #[must_use]
    pub fn largest_payload(&self) -> usize {
        self.publishers.iter().map(PublisherGroup::largest_payload).max().unwrap_or(0)
    }

    /// The longest that any client thinks before an operation.
    #[must_use]
    pub fn longest_think(&self) -> Duration {
        let thinks = self.faults.iter().filter_map(|fault| match fault.kind {
            FaultKind::ThinkTime(delay) => Some(delay.longest()),
            _ => None,
        });
        thinks.max().unwrap_or_default()
    }

    /// Runs partitions as stalls where the plan allows that; whether there is one that has to be a partition.
    pub fn stall_instead_of_partition(&mut self) -> bool {
        let mut refused = false;
        for fault in &mut self.faults {
            match fault.kind {
                FaultKind::Partition { or_stall: true } => fault.kind = FaultKind::Stall(Direction::Both),
                FaultKind::Partition { or_stall: false } => refused = true,
                _ => {}
            }
        }
        refused
    }

    /// Index of a named phase.
    #[must_use]
    pub fn phase_index(&self, name: &str) -> Option<usize> {
        self.phases.iter().position(|p| p.name == name)
    }
}

/// One thing that `--scale` made smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Path of the key, such as `subscribers.clients.connections`.
    pub key: String,
    /// The value in the file.
    pub from: u64,
    /// The value used.
    pub to: u64,
    /// Whether the floor `at-least` decided.
    pub at_least: bool,
}

/// Clients that connect and subscribe.
#[derive(Debug, Clone)]
pub struct SubscriberGroup {
    /// Its name.
    pub name: String,
    /// Connections it opens.
    pub connections: u32,
    /// Subscriptions over all its connections, a multiple of `connections`.
    pub subscriptions: u32,
    /// How its connections are opened.
    pub connect: Connect,
    /// In how many equal waves of connections they are opened.
    pub waves: u32,
    /// The pause between one wave's census and the next wave.
    pub wave_pause: Duration,
    /// Index of its first subscription among all subscriptions of the plan.
    pub first_subscription: u32,
    /// What its clients do when their connection is gone.
    pub reconnect: Reconnect,
    /// How many attempts they have; `None`: as many as they like.
    pub retry_budget: Option<RetryBudget>,
    /// When they stop trying for a while.
    pub breaker: Option<CircuitBreaker>,
    /// Their own pings; `None`: they answer those of the server, and send none.
    pub keepalive: Option<Keepalive>,
}

impl SubscriberGroup {
    /// Subscriptions on each connection.
    #[must_use]
    pub fn per_connection(&self) -> u32 {
        self.subscriptions / self.connections
    }

    /// The connections of wave `wave` (0-based) as a range of indices within the group; waves differ by at
    /// most one connection in size.
    #[must_use]
    pub fn wave(&self, wave: u32) -> std::ops::Range<u32> {
        let bound = |w: u32| (u64::from(self.connections) * u64::from(w) / u64::from(self.waves)) as u32;
        if wave >= self.waves { self.connections..self.connections } else { bound(wave)..bound(wave + 1) }
    }
}

/// What a client does when its connection is gone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reconnect {
    /// It stays gone.
    #[default]
    None,
    /// It connects again at once.
    Immediate,
    /// It waits the same time before every attempt.
    Fixed(Duration),
    /// Before attempt n (from 0) it waits `min(cap, first · 2ⁿ)`; with jitter ("full jitter"), a random time from zero
    /// up to that.
    Exponential {
        /// The first wait.
        first: Duration,
        /// The longest.
        cap: Duration,
        /// Whether a random share of it is waited.
        jitter: bool,
    },
}

/// How many attempts to connect again a client has: so many at once, and then again as many evenly over each `per`
/// (a token bucket). An attempt beyond it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Attempts.
    pub attempts: u32,
    /// The time in which they come back.
    pub per: Duration,
}

/// A circuit breaker of each client: closed until `opens_after` attempts in a row have failed, then open for `stays_open`,
/// then half open: one attempt decides whether it closes or stays open for as long again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Failed attempts in a row.
    pub opens_after: u32,
    /// How long no attempt is made.
    pub stays_open: Duration,
}

/// The client's own pings, and when it takes its connection for dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Between two pings.
    pub every: Duration,
    /// So long without anything received, with a ping unanswered, a connection is dead.
    pub dead_after: Duration,
}

/// How a group opens its connections, and later reopens them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Connect {
    /// At most this many handshakes in flight.
    Bounded(u32),
    /// All at once, with no limit in flight.
    Together,
    /// At a fixed rate per second, open model.
    Rate(f64),
}

/// Clients that publish.
#[derive(Debug, Clone)]
pub struct PublisherGroup {
    /// Its name.
    pub name: String,
    /// Connections it publishes over.
    pub connections: u32,
    /// When each event is due.
    pub pace: Pace,
    /// Events of the whole group in each of its phases; `None`: until the phase ends.
    pub events: Option<u64>,
    /// Bytes of payload per event (the token and its filler); where it climbs, of its first step.
    pub payload: usize,
    /// Payloads that grow step by step until one step is not fully delivered.
    pub climb: Option<Climb>,
    /// Events handed to the socket before it is flushed, at least 1.
    pub batch: u32,
    /// Indices of the phases it publishes in.
    pub phases: Vec<usize>,
    /// What becomes of its timetable when events cannot be sent when they are due.
    pub when_behind: WhenBehind,
}

/// How the payload of a group climbs; `events` is then what it publishes in each step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Climb {
    /// The factor between two steps, at least 2.
    pub times: u32,
    /// The last step has this payload.
    pub up_to: usize,
}

impl PublisherGroup {
    /// The payload of every step in bytes; one that does not climb has one step.
    #[must_use]
    pub fn payloads(&self) -> Vec<usize> {
        let mut steps = vec![self.payload];
        let Some(climb) = self.climb else { return steps };
        while let Some(&last) = steps.last().filter(|last| **last < climb.up_to) {
            steps.push(last.saturating_mul(climb.times.max(2) as usize).min(climb.up_to));
        }
        steps
    }

    /// Bytes of the largest payload.
    #[must_use]
    pub fn largest_payload(&self) -> usize {
        self.climb.map_or(self.payload, |climb| climb.up_to)
    }
}

/// The load model of a publisher group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Open model: this many events per second over the whole group, due at times fixed in advance.
    Open(f64),
    /// As fast as the connections take them.
    Unlimited,
    /// Closed model: each connection publishes its next event when the previous one was acknowledged.
    OneByOne,
}

/// What an open group does when it is late.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenBehind {
    /// It sends what is late as soon as it can; every event stays due when it was.
    #[default]
    CatchUp,
    /// It moves everything that is still due to later, by what it is behind.
    SlowDown,
}

/// One phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// Its length; `None`: until the events of its publishers are acknowledged.
    pub length: Option<Duration>,
}

/// A bound for every wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP (and TLS) connect.
    pub connect: Duration,
    /// WebSocket upgrade.
    pub upgrade: Duration,
    /// `connection_init` until `connection_ack`.
    pub init: Duration,
    /// Subscribe until the first probe arrives.
    pub confirm: Duration,
    /// A publish until its acknowledgement.
    pub operation: Duration,
    /// Reconnects after the last phase.
    pub settle: Duration,
    /// After the last publish until everything owed has arrived.
    pub drain: Duration,
    /// Silence that is waited for before closing.
    pub quiet: Duration,
    /// Between the last close and the last memory sample.
    pub cool_down: Duration,
}
