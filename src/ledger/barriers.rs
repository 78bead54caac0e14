//! The end of a run: barriers, each of which says that the last event of its stream was the last one.
//!
//! A barrier proves nothing but the newest epoch of its stream, on the incarnation that it arrived on.

use super::audit::ShardLedger;
use super::streams::StreamId;
use super::token::{Kind, Token};

const AWAITED: u8 = 1;
const SEEN: u8 = 2;
const GIVEN_UP: u8 = 4;

/// What a subscription's newest incarnation has to do with the barrier of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Barrier(u8);

impl Barrier {
    pub(super) fn is_seen(self) -> bool {
        self.0 & SEEN != 0
    }

    /// Whoever still waits when an incarnation ends waits in vain.
    pub(super) fn is_given_up(self) -> bool {
        self.0 & (AWAITED | GIVEN_UP) != 0
    }

    fn is_awaited(self) -> bool {
        self.0 & AWAITED != 0
    }
}

impl ShardLedger {
    /// The streams of a live subscription whose barriers it must receive: those with events since it was confirmed.
    /// Nothing is published on any of them from now on.
    pub fn await_barriers(&mut self, sub: usize) -> Vec<StreamId> {
        if !self.is_live(sub) {
            return Vec::new();
        }
        self.choose(sub, |this, slot, stream| {
            if this.is_forgone(stream) {
                return false;
            }
            let owed = this.lives.edge(sub, slot).hard < this.config.roster.published(stream);
            let barrier = this.barrier_mut(sub, slot);
            let waits = owed && *barrier == Barrier::default();
            if waits {
                barrier.0 |= AWAITED;
            }
            waits
        })
    }

    /// What the streams of a publisher still owe is not waited for: that it is missing is what was to be found out. It
    /// gets its class like everything else.
    pub fn forgo(&mut self, publisher: u32) {
        self.forgone = Some(publisher);
    }

    pub(super) fn is_forgone(&self, stream: StreamId) -> bool {
        self.forgone.is_some_and(|publisher| self.config.streams.publisher(stream) == publisher)
    }

    /// Enters a barrier that arrived under the operation of `sub`; its stream, if it was awaited and is now seen. One
    /// that does not end the newest epoch of a stream of the subscription is no evidence.
    pub fn barrier(&mut self, sub: usize, token: &Token) -> Option<StreamId> {
        let (streams, roster) = (&self.config.streams, &self.config.roster);
        let stream = streams.stream_of(token.publisher, token.channel)?;
        let published = roster.published(stream);
        let ends_its_stream = token.kind == Kind::Barrier
            && token.run == self.config.run
            && token.channel == self.subscriptions[sub].channel
            && token.seq == published
            && token.epoch == roster.epoch_of(stream, published);
        if !ends_its_stream || !self.is_live(sub) {
            return None;
        }
        let slot = streams.slot(stream);
        let barrier = self.barrier_mut(sub, slot);
        let awaited = barrier.is_awaited();
        barrier.0 = barrier.0 & !AWAITED | SEEN;
        awaited.then_some(stream)
    }

    /// The barriers that `sub` still waits for are no longer waited for: they were given up, or it ended.
    pub fn give_up_barriers(&mut self, sub: usize) -> Vec<StreamId> {
        if self.barriers.is_empty() {
            return Vec::new();
        }
        self.choose(sub, |this, slot, _| {
            let barrier = this.barrier_mut(sub, slot);
            let awaited = barrier.is_awaited();
            if awaited {
                barrier.0 = barrier.0 & !AWAITED | GIVEN_UP;
            }
            awaited
        })
    }

    /// How it stands with the barrier of one stream.
    pub(super) fn barrier_of(&self, sub: usize, slot: usize) -> Barrier {
        self.barriers.get(self.row(sub) + slot).copied().unwrap_or_default()
    }

    /// A new incarnation has seen no barrier.
    pub(super) fn forget_barriers(&mut self, sub: usize) {
        let row = self.row(sub);
        if let Some(barriers) = self.barriers.get_mut(row..row + self.config.streams.slots()) {
            barriers.fill(Barrier::default());
        }
    }

    fn barrier_mut(&mut self, sub: usize, slot: usize) -> &mut Barrier {
        if self.barriers.is_empty() {
            self.barriers = vec![Barrier::default(); self.books.len()];
        }
        let row = self.row(sub);
        &mut self.barriers[row + slot]
    }

    fn choose(
        &mut self,
        sub: usize,
        mut is_chosen: impl FnMut(&mut Self, usize, StreamId) -> bool,
    ) -> Vec<StreamId> {
        let mut chosen = Vec::new();
        self.each_slot(sub, |this, slot, stream| {
            if is_chosen(this, slot, stream) {
                chosen.push(stream);
            }
        });
        chosen
    }
}
