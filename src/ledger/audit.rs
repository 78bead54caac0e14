//! The ledger of one subscriber shard: told of every confirmation, end and receipt, it remembers who was owed
//! what and what arrived.
//!
//! Owned by the shard's thread and shares nothing but the [`Roster`]. Here is what a subscription goes through; what
//! it receives is in the sibling `receive`, the end of a run in `barriers`, and closing, where obligations get their
//! classes, in `close`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::barriers::Barrier;
use super::book::{Book, Room};
use super::counts::{ReceiptClass, Totals};
use super::lives::{Edge, Lives, Mark, NEVER, OlderEpochs, Standing};
use super::roster::Roster;
use super::settled::Forgotten;
use super::streams::{StreamId, Streams};

/// Most damaged obligations remembered by a shard; beyond it nobody knows whether what is missing
/// arrived damaged, and it is `unverified`.
pub const DAMAGED_MAX: usize = 1 << 16;

/// What a ledger must know before it starts.
#[derive(Debug, Clone)]
pub struct Config {
    /// The run that tokens must name.
    pub run: u32,
    /// The streams of the run.
    pub streams: Arc<Streams>,
    /// What was published and who is enrolled, shared by all threads.
    pub roster: Arc<Roster>,
    /// A delivery later than this after its due time is late.
    pub deadline_ns: u64,
    /// Number of subscriber groups.
    pub groups: usize,
    /// Number of phases.
    pub phases: usize,
    /// Bytes that gaps may take over all subscriptions of the shard.
    pub gaps_max_bytes: usize,
    /// Number of the shard's first subscription among all, for examples in reports.
    pub first_subscription: u64,
}

/// A subscription as the ledger sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriptionShape {
    /// The channel it is subscribed to.
    pub channel: u32,
    /// The subscriber group it belongs to.
    pub group: u16,
}

/// How an incarnation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its connection was lost, or the server ended the operation.
    Died,
    /// A fault of ours ended its connection.
    Cut,
    /// It was ended on purpose; what is published from then on must not arrive.
    Unsubscribed,
    /// The same while there was load: whether what was published at that moment was on time for it nobody can tell, and
    /// that is our doing.
    Left,
}

impl End {
    /// Whether it was ended on purpose, so that the subscription is no member any more.
    #[must_use]
    pub fn leaves(self) -> bool {
        matches!(self, Self::Unsubscribed | Self::Left)
    }
}

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receipt {
    /// The first of its event.
    First {
        /// Behind a later one of its stream.
        reordered: bool,
        /// After the deadline.
        late: bool,
        /// Whether it was owed.
        owed: bool,
    },
    /// A further one.
    Duplicated,
    /// Header or filler damaged, or no token at all.
    Corrupted,
    /// Never published by this run.
    Phantom,
    /// Arrived under the operation of another channel.
    Misrouted,
    /// Published after the subscription had been ended on purpose.
    AfterUnsubscribe,
    /// Cannot be told: a memory cap was hit.
    Unverified,
}

impl Receipt {
    /// Its class.
    #[must_use]
    pub fn class(self) -> ReceiptClass {
        match self {
            Self::First { .. } => ReceiptClass::First,
            Self::Duplicated => ReceiptClass::Duplicated,
            Self::Corrupted => ReceiptClass::Corrupted,
            Self::Phantom => ReceiptClass::Phantom,
            Self::Misrouted => ReceiptClass::Misrouted,
            Self::AfterUnsubscribe => ReceiptClass::AfterUnsubscribe,
            Self::Unverified => ReceiptClass::Unverified,
        }
    }
}

/// The ledger of one shard.
#[derive(Debug)]
pub struct ShardLedger {
    pub(super) config: Config,
    pub(super) subscriptions: Vec<SubscriptionShape>,
    /// One row of `streams.slots()` books per subscription.
    pub(super) books: Vec<Book>,
    pub(super) lives: Lives,
    /// Like the books, once somebody has to do with barriers.
    pub(super) barriers: Vec<Barrier>,
    pub(super) room: Room,
    /// Subscriptions whose connections a fault of ours holds, or has let go a moment ago: what had been acknowledged long
    /// before it began to, per slot.
    pub(super) held: HashMap<usize, Vec<u64>>,
    /// Obligations of which a damaged copy arrived.
    pub(super) damaged: HashSet<(usize, StreamId, u64)>,
    /// A publisher whose missing deliveries are waited for by nobody.
    pub(super) forgone: Option<u32>,
    /// What was missing of memberships that are not kept any more.
    pub(super) forgotten: HashMap<(usize, StreamId), Forgotten>,
    pub(super) totals: Totals,
}

impl ShardLedger {
    /// A ledger for the subscriptions of one shard, which are numbered in the order given.
    #[must_use]
    pub fn new(config: Config, subscriptions: &[SubscriptionShape]) -> Self {
        let slots = config.streams.slots();
        Self {
            subscriptions: subscriptions.to_vec(),
            books: vec![Book::default(); subscriptions.len() * slots],
            lives: Lives::new(subscriptions.len(), slots),
            barriers: Vec::new(),
            room: Room::new(config.gaps_max_bytes),
            held: HashMap::new(),
            damaged: HashSet::new(),
            forgone: None,
            forgotten: HashMap::new(),
            totals: Totals::new(config.groups, config.phases),
            config,
        }
    }

    /// The subscribe of the next incarnation has been flushed; called at once, and before [`Self::confirm`].
    pub fn subscribed(&mut self, sub: usize) {
        self.subscribed_at(sub, NEVER);
    }

    /// As [`Self::subscribed`], with the time of the flush on the run's axis: an event that was sent later is not
    /// taken for a replayed one, even if its acknowledgement came before this call.
    pub fn subscribed_at(&mut self, sub: usize, flushed_ns: u64) {
        match self.lives.standing(sub) {
            Standing::Live => {}
            // It may be the second subscribe of one that had been ended on purpose.
            Standing::Outside => {
                self.lives.renewing(sub, NEVER);
                self.each_slot(sub, |this, slot, _| this.lives.edge_mut(sub, slot).soft = NEVER);
            }
            Standing::Away => {
                self.lives.renewing(sub, flushed_ns);
                self.each_slot(sub, |this, slot, stream| {
                    let acked = this.config.roster.acked_through(stream);
                    let from = acked.max(this.lives.member_since(sub, slot));
                    this.lives.edge_mut(sub, slot).soft = from;
                });
            }
        }
    }

    /// An incarnation starts. With the first the subscription becomes a member: from now on, and also while it is
    /// away, it is owed every event of its channel.
    ///
    /// # Panics
    /// If it has a live incarnation already.
    pub fn confirm(&mut self, sub: usize) {
        assert!(!self.is_live(sub), "a subscription is confirmed once per incarnation");
        let (streams, roster) = (Arc::clone(&self.config.streams), Arc::clone(&self.config.roster));
        let joins = self.lives.standing(sub) == Standing::Outside;
        let first = |stream| if joins { roster.enrol(stream) } else { roster.published(stream) };
        let slots = streams.streams_of_channel(self.subscriptions[sub].channel);
        self.lives.begin(sub, slots.map(|stream| (streams.slot(stream), first(stream))));
        self.forget_barriers(sub);
        if joins {
            self.settle_past(sub);
        }
    }

    /// The live incarnation ends. Having died or been cut, the subscription stays a member, away, until it is confirmed
    /// again or leaves; having been unsubscribed it leaves. Without an incarnation only that.
    pub fn end(&mut self, sub: usize, how: End) {
        let leaves = how.leaves();
        match self.lives.standing(sub) {
            Standing::Live => {}
            Standing::Away if leaves => return self.leave(sub),
            Standing::Away | Standing::Outside => return,
        }
        let (streams, roster) = (Arc::clone(&self.config.streams), Arc::clone(&self.config.roster));
        let held = self.held.remove(&sub);
        let mark = |stream| {
            let slot = streams.slot(stream);
            let Edge { soft: from, hard: first } = self.lives.edge(sub, slot);
            let acked_end = roster.acked_through(stream);
            let long_acked = roster.acked_long_ago(stream);
            let long_acked = held.as_ref().map_or(long_acked, |held| held[slot].min(long_acked));
            let end = if leaves { roster.release(stream) } else { roster.published(stream) };
            let barrier = self.barrier_of(sub, slot);
            let (mut high, older) = self.arrived(sub, stream, first..end);
            // The newest epoch may be empty; what came before it a barrier does not prove.
            if barrier.is_seen() && first < end && roster.epoch_end(stream, end - 1) == NEVER {
                high = high.max(end);
            }
            let given_up = barrier.is_given_up();
            (slot, Mark { from, first, end, acked_end, long_acked, high, left: NEVER, given_up }, older)
        };
        let channel = self.subscriptions[sub].channel;
        let marks: Vec<_> = streams.streams_of_channel(channel).map(mark).collect();
        self.lives.finish(sub, how, marks);
    }

    /// A fault of ours keeps what is sent to a subscription from arriving. If the connection ends by our doing before
    /// [`Self::let_go`], everything since now is excused, and what may have been on its way.
    pub fn hold(&mut self, sub: usize) {
        let mut marks = vec![NEVER; self.config.streams.slots()];
        self.each_slot(sub, |this, slot, stream| marks[slot] = this.config.roster.acked_long_ago(stream));
        self.held.entry(sub).or_insert(marks);
    }

    /// What was held has begun to arrive: what does not arrive from now on is not our doing.
    pub fn let_go(&mut self, sub: usize) {
        self.held.remove(&sub);
    }

    /// The subscription will not come back: it is owed nothing that is published from now on.
    pub fn leave(&mut self, sub: usize) {
        self.end(sub, End::Died);
        if self.lives.standing(sub) == Standing::Away {
            self.each_slot(sub, |this, slot, stream| {
                let left = this.config.roster.release(stream);
                *this.lives.edge_mut(sub, slot) = Edge { soft: NEVER, hard: left };
            });
            self.lives.leave(sub);
        }
    }

    /// The server has answered what was sent after the unsubscribe: what is published from now on must not arrive, and
    /// what had not arrived by then was not held up by the connection.
    pub fn unsubscribe_answered(&mut self, sub: usize) {
        if self.lives.standing(sub) == Standing::Outside {
            self.lives.answer(sub);
            self.each_slot(sub, |this, slot, stream| {
                let published = this.config.roster.published(stream);
                let edge = this.lives.edge_mut(sub, slot);
                edge.soft = edge.soft.min(published);
            });
        }
    }

    /// A fault of ours ended the connection of a subscription that had been unsubscribed in mid-run and was not answered
    /// yet: what was on its way to it came to an end with the connection, and not with the unsubscribe.
    pub fn cut_behind(&mut self, sub: usize) {
        if self.lives.standing(sub) == Standing::Outside && self.lives.is_behind(sub) {
            self.lives.cut_behind(sub);
        }
    }

    /// The quiet period after the last publish has passed: what is still missing on an incarnation that is live
    /// now may be presumed lost, even if it is unsubscribed before the ledger is closed.
    pub fn quiet_passed(&mut self) {
        self.lives.quiet_passed();
    }

    /// Whether the subscription has a live incarnation.
    #[must_use]
    pub fn is_live(&self, sub: usize) -> bool {
        self.lives.standing(sub) == Standing::Live
    }

    /// How many obligations may still be met: what is missing on live incarnations of what was published since they
    /// were confirmed. For those who wait until the last delivery has arrived; looks at every subscription, so it is
    /// not for the receive loop.
    #[must_use]
    pub fn count_outstanding(&self) -> u64 {
        let streams = &self.config.streams;
        let missing = |sub: usize| {
            let all = streams.streams_of_channel(self.subscriptions[sub].channel);
            all.filter(|stream| !self.is_forgone(*stream)).map(move |stream| {
                let slot = streams.slot(stream);
                let first = self.lives.edge(sub, slot).hard;
                let published = self.config.roster.published(stream);
                self.books[self.row(sub) + slot].count_missing(first..published)
            })
        };
        (0..self.subscriptions.len()).filter(|sub| self.is_live(*sub)).flat_map(missing).sum()
    }

    /// Up to where a live subscription has read a stream: one more than the last seq that arrived, or where it began to
    /// be owed. What was passed over is not waited for.
    #[must_use]
    pub fn read_up_to(&self, sub: usize, stream: StreamId) -> u64 {
        let slot = self.config.streams.slot(stream);
        self.books[self.row(sub) + slot].window().end.max(self.lives.edge(sub, slot).hard)
    }

    /// Seqs of a stream from `from` on that did not arrive although later ones did.
    #[must_use]
    pub fn count_passed_over(&self, sub: usize, stream: StreamId, from: u64) -> u64 {
        let book = &self.books[self.row(sub) + self.config.streams.slot(stream)];
        book.count_missing(from.max(book.window().start)..book.window().end.max(from))
    }

    /// Bytes that this ledger holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.books.capacity() * size_of::<Book>()
            + self.books.iter().map(Book::heap_bytes).sum::<usize>()
            + self.subscriptions.capacity() * size_of::<SubscriptionShape>()
            + self.barriers.capacity() * size_of::<Barrier>()
            + self.damaged.capacity() * size_of::<(usize, StreamId, u64)>()
            + self.held.capacity() * size_of::<(usize, Vec<u64>)>()
            + self.held.values().map(|marks| marks.capacity() * size_of::<u64>()).sum::<usize>()
            + self.forgotten.capacity() * size_of::<((usize, StreamId), Forgotten)>()
            + self.lives.heap_bytes()
    }

    /// Where a subscription's books begin.
    pub(super) fn row(&self, sub: usize) -> usize {
        sub * self.config.streams.slots()
    }

    /// Everything that differs by stream, done for each stream of a subscription's channel.
    pub(super) fn each_slot(&mut self, sub: usize, mut act: impl FnMut(&mut Self, usize, StreamId)) {
        let streams = Arc::clone(&self.config.streams);
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            act(self, streams.slot(stream), stream);
        }
    }

    /// The end of what arrived of the last epoch in a range of a stream, and of each epoch before it.
    fn arrived(&self, sub: usize, stream: StreamId, range: std::ops::Range<u64>) -> (u64, OlderEpochs) {
        let book = &self.books[self.row(sub) + self.config.streams.slot(stream)];
        let mut epochs = self.config.roster.epochs_within(stream, range);
        epochs.pop();
        let older = epochs.into_iter().map(|epoch| (epoch.clone(), book.end_within(epoch))).collect();
        (book.window().end, older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Found, GroupShape, Kind, Token};

    fn ledger(subscriptions: usize, gaps_max_bytes: usize) -> (ShardLedger, Arc<Roster>) {
        let streams = Arc::new(Streams::new(1, &[GroupShape { connections: 1 }]));
        let roster = Arc::new(Roster::new(&streams));
        let config = Config {
            run: 1,
            streams,
            roster: Arc::clone(&roster),
            deadline_ns: 0,
            groups: 1,
            phases: 1,
            gaps_max_bytes,
            first_subscription: 0,
        };
        (ShardLedger::new(config, &vec![SubscriptionShape { channel: 0, group: 0 }; subscriptions]), roster)
    }

    fn token(epoch: u32, seq: u64) -> Token {
        Token { run: 1, channel: 0, publisher: 0, epoch, kind: Kind::Event, seq, due_ns: 0, sent_ns: 0 }
    }

    /// Whatever a subscription goes through is counted; vectors begin with room for four.
    #[test]
    fn memory_is_counted_wherever_it_is() {
        let (mut ledger, roster) = ledger(1, 1_000);
        ledger.confirm(0);
        (0..4).for_each(|_| _ = roster.publish(StreamId(0)));
        let mut expected = 24 + 8 + 8 + 16;
        assert_eq!(ledger.heap_bytes(), expected);
        [0, 2].iter().for_each(|seq| _ = ledger.receive(0, &Found::Intact(token(0, *seq)), 0, 0));
        expected += 48 + 4 * 16;
        assert_eq!(ledger.heap_bytes(), expected, "a gap");
        ledger.receive(0, &Found::Damaged(token(0, 1)), 0, 0);
        expected += ledger.damaged.capacity() * 24;
        assert_eq!(ledger.heap_bytes(), expected, "a damaged event");
        ledger.await_barriers(0);
        expected += 1;
        assert_eq!(ledger.heap_bytes(), expected, "a barrier");
        ledger.end(0, End::Died);
        expected += 4 * (16 + 64);
        assert_eq!(ledger.heap_bytes(), expected, "a life that has ended");
        ledger.confirm(0);
        roster.publish(StreamId(0));
        _ = roster.begin_epoch(&ledger.config.streams, 0);
        roster.publish(StreamId(0));
        ledger.end(0, End::Died);
        // A map begins with room for three.
        expected += 3 * 32 + 24;
        assert_eq!(ledger.heap_bytes(), expected, "a life over two epochs");
    }

    #[test]
    fn without_gaps_and_in_one_life_a_subscription_takes_57_bytes_at_most() {
        let (mut ledger, roster) = ledger(1_000, 0);
        (0..1_000).for_each(|sub| ledger.confirm(sub));
        for seq in 0..50 {
            roster.publish(StreamId(0));
            (0..1_000).for_each(|sub| _ = ledger.receive(sub, &Found::Intact(token(0, seq)), 0, 0));
        }
        assert_eq!(ledger.heap_bytes(), 56_000);
        (0..1_000).for_each(|sub| _ = ledger.await_barriers(sub));
        assert_eq!(ledger.heap_bytes(), 57_000);
    }
}
