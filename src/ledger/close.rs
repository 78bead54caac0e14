//! Closing a ledger: every obligation that was not met gets its class.

use std::sync::Arc;

use super::audit::{End, ShardLedger, seconds};
use super::classes::{Facts, Life, Received, classify, rule};
use super::counts::{LOST_BUCKET_NS, Totals};
use super::streams::StreamId;
use crate::report::model::Example;

/// What a ledger must be told by others to judge what did not arrive.
pub trait CloseFacts {
    /// Whether the target promises order per publisher.
    fn ordered(&self) -> bool;

    /// Whether the publish was acknowledged; true where there are no acknowledgements.
    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool;

    /// The phase that the event belongs to.
    fn phase_of(&self, stream: StreamId, seq: u64) -> usize;

    /// When the event was due; `None`: unknown.
    fn due_ns(&self, stream: StreamId, seq: u64) -> Option<u64>;

    /// Whether a fault of ours still held or cut this delivery.
    fn suppressed(&self, sub: usize, stream: StreamId, seq: u64) -> bool {
        let _ = (sub, stream, seq);
        false
    }
}

impl ShardLedger {
    /// Ends what is still live, which thereby has lived through the quiet period, and classes every obligation.
    #[must_use]
    pub fn close(mut self, facts: &impl CloseFacts) -> Totals {
        self.quiet_passed();
        for sub in 0..self.subscriptions.len() {
            self.end(sub, End::Unsubscribed);
        }
        for sub in 0..self.subscriptions.len() {
            self.close_subscription(sub, facts);
        }
        self.totals
    }

    fn close_subscription(&mut self, sub: usize, facts: &impl CloseFacts) {
        let streams = Arc::clone(&self.config.streams);
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            let slot = streams.slot(stream);
            let book = &self.books[sub * streams.slots() + slot];
            let window = book.window();
            for (life, mark) in self.lives.of(sub, slot) {
                let high = mark.high(window.end);
                for seq in book.missing(mark.owed()) {
                    let later_arrived = seq < high;
                    let damaged = !self.damaged.is_empty() && self.damaged.contains(&(sub, stream, seq));
                    let missed = Facts {
                        unaccounted: book.is_capped() && !window.contains(&seq),
                        received: if damaged { Received::Damaged } else { Received::Nothing },
                        acknowledged: facts.acknowledged(stream, seq),
                        // Behind the last arrival of an incarnation that ended early, an event may have been
                        // in flight when it ended.
                        life: if life.lived_on || later_arrived { Life::Throughout } else { Life::Boundary },
                        suppressed: facts.suppressed(sub, stream, seq),
                        later_arrived,
                        ordered: facts.ordered(),
                        lived_on: life.lived_on,
                    };
                    let delivery = Delivery {
                        group: usize::from(self.subscriptions[sub].group),
                        subscription: self.config.first_subscription + sub as u64,
                        channel: streams.channel(stream),
                        publisher: streams.publisher(stream),
                        seq,
                        phase: facts.phase_of(stream, seq),
                        due_ns: facts.due_ns(stream, seq),
                    };
                    settle(&mut self.totals, &delivery, &missed);
                }
            }
        }
    }
}

/// One obligation that was not met.
struct Delivery {
    group: usize,
    subscription: u64,
    channel: u32,
    publisher: u32,
    seq: u64,
    phase: usize,
    due_ns: Option<u64>,
}

/// Counts an obligation that was not met in its class.
fn settle(totals: &mut Totals, delivery: &Delivery, facts: &Facts) {
    let class = classify(facts);
    totals.cell(delivery.group, delivery.phase).add(class);
    if class.is_lost() {
        let bucket = delivery.due_ns.map_or(u64::MAX, |due| due / LOST_BUCKET_NS);
        *totals.lost_by_due.entry(bucket).or_default() += 1;
    }
    totals.keep_example(class, || Example {
        channel: delivery.channel.into(),
        publisher: delivery.publisher.into(),
        seq: delivery.seq,
        subscription: delivery.subscription,
        due_s: delivery.due_ns.map(seconds),
        rule: rule(facts).to_owned(),
        ..Example::default()
    });
}
