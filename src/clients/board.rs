//! What the threads of a run share: a few gauges, one number per channel, and the roster.
//!
//! Rare things only. Nothing here is touched per message except the roster, once per publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use super::climb::Climb;
use super::pacing::Arrivals;
use crate::clock::RunClock;
use crate::ledger::{Roster, StreamId, Streams};

/// Shared state of one round.
#[derive(Debug)]
pub struct Board {
    /// The time axis.
    pub clock: RunClock,
    /// Names this run in every token and channel.
    pub run: u32,
    /// Which publisher serves which channel.
    pub streams: Arc<Streams>,
    /// Published and enrolled per stream.
    pub roster: Arc<Roster>,
    /// Connections between `connection_ack` and their end.
    pub open: Gauge,
    /// Connections that are held on purpose after their end, so that the server still has them.
    pub parked: Gauge,
    /// Their subscriptions.
    pub parked_subscriptions: Gauge,
    /// Connections between the connect call and `connection_ack`.
    pub handshaking: Gauge,
    /// Subscriptions between their confirmation and their end.
    pub active: Gauge,
    /// Subscriptions that wait for a probe, per channel.
    pub waiting: Box<[AtomicU32]>,
    /// Probes and censuses published, per channel.
    pub probes_sent: Box<[AtomicU32]>,
    /// The census in progress.
    pub census: Census,
    /// Who still waits for the barriers at the end of the run.
    pub barriers: Barriers,
    /// Number of the last census of which every probe has been acknowledged.
    pub census_acked: AtomicU32,
    /// Start of each phase in ns on the run's axis; `u64::MAX` until it started.
    pub phase_starts: Box<[AtomicU64]>,
    /// Events handed to a socket.
    pub events_sent: AtomicU64,
    /// Everything that was handed to a socket to be published: events, probes, barriers, last words of victims.
    pub handed: AtomicU64,
    /// Of those, what was acknowledged.
    pub answered: AtomicU64,
    /// Obligations those events created.
    pub obligations: AtomicU64,
    /// What became of deliveries, for schedules that slow down when they are behind.
    pub arrivals: Arrivals,
    /// Events whose acknowledgement is still open.
    pub unacked: AtomicU64,
    /// The climb of payloads, where the plan has one.
    pub climb: Option<Climb>,
    /// Whether latencies are being measured: from the start of the first phase until everything has arrived. The
    /// generator's own lateness counts against it only then; while 10,000 handshakes run at once it is always late.
    pub measuring: AtomicBool,
}

impl Board {
    /// An empty board for `channels` channels and `phases` phases.
    #[must_use]
    pub fn new(clock: RunClock, run: u32, streams: Arc<Streams>, channels: u32, phases: usize) -> Self {
        let roster = Arc::new(Roster::new(&streams));
        let barriers = Barriers::new(streams.len());
        Self {
            clock,
            run,
            roster,
            streams,
            open: Gauge::default(),
            handshaking: Gauge::default(),
            parked: Gauge::default(),
            parked_subscriptions: Gauge::default(),
            active: Gauge::default(),
            waiting: (0..channels).map(|_| AtomicU32::new(0)).collect(),
            probes_sent: (0..channels).map(|_| AtomicU32::new(0)).collect(),
            census: Census::default(),
            barriers,
            census_acked: AtomicU32::new(0),
            phase_starts: (0..phases).map(|_| AtomicU64::new(u64::MAX)).collect(),
            events_sent: AtomicU64::new(0),
            handed: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            obligations: AtomicU64::new(0),
            arrivals: Arrivals::default(),
            unacked: AtomicU64::new(0),
            climb: None,
            measuring: AtomicBool::new(false),
        }
    }

    /// The name of a channel on the wire; it holds the run, so that two runs on one server never mix.
    #[must_use]
    pub fn channel_name(&self, channel: u32) -> String {
        format!("stress-{:08x}-{channel}", self.run)
    }

    /// The phase an event belongs to: the last one that had started when it was due.
    #[must_use]
    pub fn phase_of(&self, due_ns: u64) -> usize {
        self.phase_starts.iter().rposition(|s| s.load(Relaxed) <= due_ns).unwrap_or(0)
    }
}

/// A census in progress: its number and how many live subscriptions have received it, in one word, so that whoever
/// dies holding an older one can never be taken off the count of a newer one.
#[derive(Debug, Default)]
pub struct Census(AtomicU64);

impl Census {
    /// Begins census `number`, from 1; nobody holds it yet.
    pub fn begin(&self, number: u32) {
        self.0.store(u64::from(number) << 32, Relaxed);
    }

    /// The number of the census in progress; 0 before the first.
    #[must_use]
    pub fn number(&self) -> u32 {
        (self.0.load(Relaxed) >> 32) as u32
    }

    /// Live subscriptions that have received it.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.0.load(Relaxed) as u32
    }

    /// One more has received census `number`; whether that is the one in progress.
    pub fn hold(&self, number: u32) -> bool {
        self.change(number, |held| held + 1)
    }

    /// One that had received census `number` is no longer alive.
    pub fn drop_out(&self, number: u32) {
        self.change(number, |held| held - 1);
    }

    fn change(&self, number: u32, change: impl Fn(u64) -> u64) -> bool {
        let same = |word: u64| (number > 0 && word >> 32 == u64::from(number)).then(|| change(word));
        self.0.fetch_update(Relaxed, Relaxed, same).is_ok()
    }
}

/// Live subscriptions that have not received the barrier of a stream yet, per stream and in all.
#[derive(Debug)]
pub struct Barriers {
    awaited: Box<[AtomicU32]>,
    total: AtomicU64,
}

impl Barriers {
    fn new(streams: usize) -> Self {
        Self { awaited: (0..streams).map(|_| AtomicU32::new(0)).collect(), total: AtomicU64::new(0) }
    }

    /// One more waits.
    pub fn wait_for(&self, stream: StreamId) {
        self.awaited[stream.index()].fetch_add(1, Relaxed);
        self.total.fetch_add(1, Relaxed);
    }

    /// One has received it, or waits no longer.
    pub fn done(&self, stream: StreamId) {
        self.awaited[stream.index()].fetch_sub(1, Relaxed);
        self.total.fetch_sub(1, Relaxed);
    }

    /// How many wait for the barrier of this stream.
    #[must_use]
    pub fn awaited(&self, stream: StreamId) -> u32 {
        self.awaited[stream.index()].load(Relaxed)
    }

    /// How many barriers are waited for in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }
}

/// A number that goes up and down, with its highest value.
#[derive(Debug, Default)]
pub struct Gauge {
    now: AtomicU32,
    peak: AtomicU32,
}

impl Gauge {
    /// One more.
    pub fn up(&self) {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    /// The present value.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.now.load(Relaxed)
    }

    /// The highest value so far.
    #[must_use]
    pub fn peak(&self) -> u32 {
        self.peak.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_census_counts_only_its_own() {
        let census = Census::default();
        assert!(!census.hold(0) && !census.hold(1));
        census.begin(1);
        assert!(census.hold(1) && census.hold(1));
        census.drop_out(1);
        assert_eq!((census.number(), census.held()), (1, 1));
        census.begin(2);
        census.drop_out(1);
        assert!(!census.hold(1) && census.hold(2));
        assert_eq!((census.number(), census.held()), (2, 1));
    }

    #[test]
    fn a_gauge_remembers_its_peak() {
        let gauge = Gauge::default();
        gauge.up();
        gauge.up();
        gauge.down();
        gauge.up();
        gauge.down();
        assert_eq!((gauge.get(), gauge.peak()), (1, 2));
    }
}
