//! Everything one shard times, and how shards are put together.
//!
//! A shard owns its set and shares it with nobody; sets are merged when the run is over, and the timeline's
//! share of them once a second.

use super::histograms::{Precision, Recorder};
use super::silence::Receipts;
use crate::report::model::Latencies;

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
    /// Start of TCP connect until the protocol's acknowledgement, of first connections; so the four after it.
    pub connect: Recorder,
    /// TCP handshake.
    pub tcp: Recorder,
    /// TLS handshake.
    pub tls: Recorder,
    /// HTTP upgrade.
    pub upgrade: Recorder,
    /// The protocol's own greeting.
    pub init: Recorder,
    /// Subscribe flushed until the first probe was received, once for every subscription.
    pub subscribe: Recorder,
    /// Publish sent until acknowledged.
    pub publish_ack: Recorder,
    /// Due until sent: the generator's own lateness.
    pub send_lag: Recorder,
    /// How long the last message of a readiness batch waited for our own processing, and large messages for others to
    /// be read.
    pub drain: Recorder,
    /// How late the event loop woke up.
    pub loop_lag: Recorder,
    /// The same while connections were set up.
    pub setup_lag: Recorder,
    /// End of a connection until all its subscriptions are confirmed again, per cohort.
    pub reconnect: Vec<Recorder>,
    /// When events were received.
    pub receipts: Receipts,
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
            send_lag: FINE,
            drain: FINE,
            loop_lag: FINE,
            setup_lag: FINE,
            reconnect: vec![FINE; cohorts],
            receipts: Receipts::default(),
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

    /// Reconnects of every cohort that `chosen` picks, put together.
    #[must_use]
    pub fn reconnects(&self, chosen: impl Fn(usize) -> bool) -> Recorder {
        let mut together = Recorder::new(Precision::Fine);
        let picked = self.reconnect.iter().enumerate().filter(|(cohort, _)| chosen(*cohort));
        picked.for_each(|(_, one)| together.merge(one));
        together
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
        self.reconnect.iter_mut().zip(&other.reconnect).for_each(|(mine, theirs)| mine.merge(theirs));
        self.send_lag.merge(&other.send_lag);
        self.drain.merge(&other.drain);
        self.loop_lag.merge(&other.loop_lag);
        self.setup_lag.merge(&other.setup_lag);
        self.receipts.merge(&other.receipts);
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
            reconnect: self.reconnects(|_| true).latency(),
            send_lag: self.send_lag.latency(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
