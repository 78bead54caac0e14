//! The ledger of one subscriber shard: told of every confirmation, end and receipt, it remembers who was owed
//! what and what arrived.
//!
//! Owned by the shard's thread and shares nothing but the [`Roster`]. Closing it, where obligations get their
//! classes, is in the sibling `close`.

use std::collections::HashSet;
use std::sync::Arc;

use super::book::{self, Book, Room};
use super::classes::Class;
use super::counts::{ReceiptClass, Totals};
use super::lives::Lives;
use super::roster::Roster;
use super::streams::{StreamId, Streams};
use super::token::{Found, Kind, Token};
use crate::report::model::Example;

/// Most damaged obligations remembered by a shard; what is damaged beyond is classed as if it never arrived.
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
    pub(super) room: Room,
    /// Obligations of which a damaged copy arrived.
    pub(super) damaged: HashSet<(usize, StreamId, u64)>,
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
            room: Room::new(config.gaps_max_bytes),
            damaged: HashSet::new(),
            totals: Totals::new(config.groups, config.phases),
            config,
        }
    }

    /// An incarnation starts: from now on the subscription is owed every event of its channel.
    ///
    /// # Panics
    /// If it has a live incarnation already.
    pub fn confirm(&mut self, sub: usize) {
        assert!(!self.lives.is_live(sub), "a subscription is confirmed once per incarnation");
        let streams = Arc::clone(&self.config.streams);
        let row = sub * streams.slots();
        self.lives.begin(sub, |slot| self.books[row + slot].window().end);
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            self.lives.owe_from(sub, streams.slot(stream), self.config.roster.enrol(stream));
        }
    }

    /// The live incarnation ends: it is owed nothing that is published from now on. Without one, nothing happens.
    pub fn end(&mut self, sub: usize, how: End) {
        if !self.lives.is_live(sub) {
            return;
        }
        let streams = Arc::clone(&self.config.streams);
        for stream in streams.streams_of_channel(self.subscriptions[sub].channel) {
            self.lives.owe_until(sub, streams.slot(stream), self.config.roster.release(stream));
        }
        self.lives.finish(sub, how);
    }

    /// The quiet period after the last publish has passed: what is still missing on an incarnation that is live
    /// now may be presumed lost, even if it is unsubscribed before the ledger is closed.
    pub fn quiet_passed(&mut self) {
        self.lives.quiet_passed();
    }

    /// The subscribe of the next incarnation has been flushed; called before [`Self::confirm`].
    pub fn subscribed(&mut self, sub: usize) {
        let _ = sub;
    }

    /// The subscription will not come back: it is owed nothing that is published from now on.
    pub fn leave(&mut self, sub: usize) {
        let _ = sub;
    }

    /// The server has answered what was sent after the unsubscribe: what is published from now on must not arrive.
    pub fn unsubscribe_answered(&mut self, sub: usize) {
        let _ = sub;
    }

    /// The streams of a live subscription whose barriers it must receive.
    pub fn await_barriers(&mut self, sub: usize) -> Vec<StreamId> {
        let _ = sub;
        Vec::new()
    }

    /// Enters a barrier that arrived under the operation of `sub`; its stream, if it was awaited and is now seen.
    pub fn barrier(&mut self, sub: usize, token: &Token) -> Option<StreamId> {
        let _ = (sub, token);
        None
    }

    /// The barriers that `sub` still waits for are no longer waited for: they were given up, or it ended.
    pub fn give_up_barriers(&mut self, sub: usize) -> Vec<StreamId> {
        let _ = sub;
        Vec::new()
    }

    /// Whether the subscription has a live incarnation.
    #[must_use]
    pub fn is_live(&self, sub: usize) -> bool {
        self.lives.is_live(sub)
    }

    /// The decoder's own counter, kept apart from everything else so that the second sum proves something:
    /// called once for each receipt, before [`Self::receive`] or [`Self::receive_nothing`].
    pub fn count_receipt(&mut self, sub: usize, phase: usize) {
        self.totals.count_receipt(usize::from(self.subscriptions[sub].group), phase);
    }

    /// Enters one event's token that arrived under the operation of `sub`. `phase` is the phase the event
    /// belongs to, by its due time; for a broken token the current one. Probes and the like stay out.
    pub fn receive(&mut self, sub: usize, found: &Found, recv_ns: u64, phase: usize) -> Receipt {
        debug_assert!(
            !matches!(found, Found::Intact(token) if token.kind != Kind::Event),
            "only events are owed"
        );
        let receipt = match found {
            Found::Intact(token) => self.judge(sub, token, recv_ns, phase),
            Found::Damaged(token) => self.note_damage(sub, token),
            Found::Broken => Receipt::Corrupted,
        };
        let group = usize::from(self.subscriptions[sub].group);
        self.totals.cell(group, phase).add_receipt(receipt.class());
        if !matches!(receipt, Receipt::First { .. }) {
            self.keep_example(sub, found, recv_ns, receipt);
        }
        receipt
    }

    /// Enters a message that must carry a token and carries none, so that corruption that hits the magic of a
    /// token is seen too.
    pub fn receive_nothing(&mut self, sub: usize, recv_ns: u64, phase: usize) -> Receipt {
        self.receive(sub, &Found::Broken, recv_ns, phase)
    }

    /// Enters a probe, census or barrier of this run that arrived where it must not: under the operation of another
    /// channel, or after the unsubscribe. They are in no stream, but one that strays shows what an event would.
    pub fn receive_stray(
        &mut self,
        sub: usize,
        token: &Token,
        recv_ns: u64,
        phase: usize,
        receipt: Receipt,
    ) -> Receipt {
        let group = usize::from(self.subscriptions[sub].group);
        self.totals.cell(group, phase).add_receipt(receipt.class());
        self.keep_example(sub, &Found::Intact(*token), recv_ns, receipt);
        receipt
    }

    /// Whether every obligation so far has been met, for those who wait until the last delivery has arrived.
    /// Looks at every subscription: not for the receive loop.
    #[must_use]
    pub fn count_outstanding(&self) -> u64 {
        let streams = &self.config.streams;
        let missing = |sub: usize| {
            streams.streams_of_channel(self.subscriptions[sub].channel).map(move |stream| {
                let slot = streams.slot(stream);
                let Some((life, mark)) = self.lives.of(sub, slot).next() else { return 0 };
                if life.ended.is_some() {
                    return 0;
                }
                let end = self.config.roster.published(stream);
                self.books[sub * streams.slots() + slot].count_missing(mark.owed().start..end)
            })
        };
        (0..self.subscriptions.len()).flat_map(missing).sum()
    }

    /// Bytes that this ledger holds on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.books.capacity() * size_of::<Book>()
            + self.books.iter().map(Book::heap_bytes).sum::<usize>()
            + self.subscriptions.capacity() * size_of::<SubscriptionShape>()
            + self.lives.heap_bytes()
    }

    /// The stream of a token that this run did publish.
    fn published(&self, token: &Token) -> Option<StreamId> {
        let stream = self.config.streams.stream_of(token.publisher, token.channel)?;
        let known = token.run == self.config.run && token.seq < self.config.roster.published(stream);
        known.then_some(stream)
    }

    fn judge(&mut self, sub: usize, token: &Token, recv_ns: u64, phase: usize) -> Receipt {
        let shape = self.subscriptions[sub];
        let Some(stream) = self.published(token) else { return Receipt::Phantom };
        if token.channel != shape.channel {
            return Receipt::Misrouted;
        }
        let slot = self.config.streams.slot(stream);
        let seq = token.seq;
        if let Some((life, mark)) = self.lives.of(sub, slot).next()
            && life.ended == Some(End::Unsubscribed)
            && seq >= mark.owed().end
        {
            return Receipt::AfterUnsubscribe;
        }
        let book = &mut self.books[sub * self.config.streams.slots() + slot];
        let reordered = match book.record(seq, &mut self.room) {
            book::Receipt::First { reordered } => reordered,
            book::Receipt::Duplicate => return Receipt::Duplicated,
            book::Receipt::Unverified => return Receipt::Unverified,
        };
        let late = recv_ns.saturating_sub(token.due_ns) > self.config.deadline_ns;
        let in_life = self.lives.of(sub, slot).position(|(_, mark)| mark.owed().contains(&seq));
        let counts = self.totals.cell(usize::from(shape.group), phase);
        counts.reordered += u64::from(reordered);
        match in_life {
            Some(0) if late => counts.add(Class::Late),
            Some(0) => counts.add(Class::Delivered),
            Some(_) => counts.add(Class::Recovered),
            None => counts.unowed += 1,
        }
        Receipt::First { reordered, late, owed: in_life.is_some() }
    }

    fn note_damage(&mut self, sub: usize, token: &Token) -> Receipt {
        if let Some(stream) = self.published(token)
            && token.channel == self.subscriptions[sub].channel
            && self.damaged.len() < DAMAGED_MAX
        {
            self.damaged.insert((sub, stream, token.seq));
        }
        Receipt::Corrupted
    }

    fn keep_example(&mut self, sub: usize, found: &Found, recv_ns: u64, receipt: Receipt) {
        let subscription = self.config.first_subscription + sub as u64;
        let channel = self.subscriptions[sub].channel;
        self.totals.keep_receipt_example(receipt.class(), || {
            let blank = Example {
                channel: channel.into(),
                subscription,
                received_s: Some(seconds(recv_ns)),
                rule: rule(found, receipt).to_owned(),
                ..Example::default()
            };
            match found {
                Found::Broken => blank,
                Found::Intact(token) | Found::Damaged(token) => Example {
                    channel: token.channel.into(),
                    publisher: token.publisher.into(),
                    epoch: token.epoch.into(),
                    seq: token.seq,
                    due_s: Some(seconds(token.due_ns)),
                    sent_s: Some(seconds(token.sent_ns)),
                    ..blank
                },
            }
        });
    }
}

pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// Why a receipt that is not a first one is what it is.
fn rule(found: &Found, receipt: Receipt) -> &'static str {
    match receipt {
        Receipt::First { .. } => "the first receipt of its event",
        Receipt::Duplicated => "this subscription had received the event before",
        Receipt::Corrupted if matches!(found, Found::Broken) => "no readable token in the message",
        Receipt::Corrupted => "the token's filler is wrong or truncated",
        Receipt::Phantom => "this run published no such event",
        Receipt::Misrouted => "arrived under the operation of another channel",
        Receipt::AfterUnsubscribe => "published after this subscription was ended",
        Receipt::Unverified => "a memory cap was hit for this stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::GroupShape;

    /// What a subscription to channel 0 of two says to a probe, which belongs to no stream.
    #[test]
    fn a_probe_that_strays_is_misrouted_and_one_of_another_run_is_a_phantom() {
        let streams = Arc::new(Streams::new(2, &[GroupShape { connections: 1 }]));
        let roster = Arc::new(Roster::new(&streams));
        let config = Config {
            run: 1,
            streams,
            roster,
            deadline_ns: 0,
            groups: 1,
            phases: 1,
            gaps_max_bytes: 0,
            first_subscription: 0,
        };
        let mut ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 0, group: 0 }]);
        let probe = |run, kind| Token {
            run,
            channel: 1,
            publisher: 1,
            epoch: 0,
            kind,
            seq: 0,
            due_ns: 0,
            sent_ns: 0,
        };
        assert_eq!(
            ledger.receive_stray(0, &probe(1, Kind::Probe), 0, 0, Receipt::Misrouted),
            Receipt::Misrouted
        );
        let foreign = Found::Intact(probe(2, Kind::Event));
        assert_eq!(ledger.receive(0, &foreign, 0, 0), Receipt::Phantom);
        let counts = ledger.totals.all();
        let of = |class| counts.receipts_of(class);
        assert_eq!((of(ReceiptClass::Misrouted), of(ReceiptClass::Phantom)), (1, 1));
    }
}
