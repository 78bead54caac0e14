//! Closing a ledger: every obligation that was not met gets its class.

use super::audit::{End, ShardLedger, seconds};
use super::classes::{Class, Facts, Life, Received, classify, rule};
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
        let Self { config, subscriptions, books, lives, damaged, totals, .. } = self;
        let shape = subscriptions[sub];
        let group = usize::from(shape.group);
        for stream in config.streams.streams_of_channel(shape.channel) {
            let slot = config.streams.slot(stream);
            let book = &books[sub * config.streams.slots() + slot];
            let window = book.window();
            for (life, mark) in lives.of(sub, slot) {
                let high = mark.high(window.end);
                for seq in book.missing(mark.owed()) {
                    let later_arrived = seq < high;
                    let facts_of = Facts {
                        unaccounted: book.is_capped() && !window.contains(&seq),
                        received: if damaged.contains(&(sub, stream, seq)) {
                            Received::Damaged
                        } else {
                            Received::Nothing
                        },
                        acknowledged: facts.acknowledged(stream, seq),
                        // Behind the last arrival of an incarnation that ended early, an event may have been
                        // in flight when it ended.
                        life: if life.lived_on || later_arrived { Life::Throughout } else { Life::Boundary },
                        suppressed: facts.suppressed(sub, stream, seq),
                        later_arrived,
                        ordered: facts.ordered(),
                        lived_on: life.lived_on,
                    };
                    let class = classify(&facts_of);
                    let due_ns = facts.due_ns(stream, seq);
                    totals.cell(group, facts.phase_of(stream, seq)).add(class);
                    if class.is_lost() {
                        let bucket = due_ns.map_or(u64::MAX, |due| due / LOST_BUCKET_NS);
                        *totals.lost_by_due.entry(bucket).or_default() += 1;
                    }
                    totals.keep_example(class.name(), || Example {
                        channel: shape.channel.into(),
                        publisher: config.streams.publisher(stream).into(),
                        seq,
                        subscription: config.first_subscription + sub as u64,
                        due_s: due_ns.map(seconds),
                        rule: rule(&facts_of).to_owned(),
                        ..Example::default()
                    });
                    debug_assert!(!matches!(class, Class::Delivered | Class::Late | Class::Recovered));
                }
            }
        }
    }
}
