//! What arrives: every message becomes one receipt, and the first receipt of an event meets its obligation.
//!
//! This is the hot path: no lock, no allocation, no channel. In order and on a live incarnation an event costs a few
//! comparisons and additions.

use super::audit::{DAMAGED_MAX, Receipt, ShardLedger};
use super::book;
use super::classes::{Class, LATE, RECOVERED};
use super::lives::{NEVER, Standing};
use super::streams::StreamId;
use super::token::{Found, Kind, Token};
use crate::report::model::Example;

/// Where an event arrived that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrival {
    /// On the incarnation that may have been live when it was published.
    Here,
    /// On a later one.
    Later,
}

impl ShardLedger {
    /// The decoder's own counter, kept apart from everything else so that the second sum proves something:
    /// called once for each receipt, before [`Self::receive`] or [`Self::receive_nothing`].
    pub fn count_receipt(&mut self, sub: usize, phase: usize) {
        self.totals.count_receipt(usize::from(self.subscriptions[sub].group), phase);
    }

    /// Enters one event's token that arrived under the operation of `sub`. `phase` is the phase the event
    /// belongs to, by its due time; for a broken token the current one. Probes and the like stay out.
    pub fn receive(&mut self, sub: usize, found: &Found, recv_ns: u64, phase: usize) -> Receipt {
        self.receive_under(sub, found, recv_ns, phase, false)
    }

    /// The same; `earlier`: it came under an operation that was ended before the present one was asked for. What that
    /// was owed has come to where it belongs, however late it is.
    pub fn receive_under(
        &mut self,
        sub: usize,
        found: &Found,
        recv_ns: u64,
        phase: usize,
        earlier: bool,
    ) -> Receipt {
        debug_assert!(
            !matches!(found, Found::Intact(token) if token.kind != Kind::Event),
            "only events are owed"
        );
        let receipt = match found {
            Found::Intact(token) => self.judge(sub, token, recv_ns, phase, earlier),
            Found::Damaged(token) => self.note_damage(sub, token),
            Found::Broken => Receipt::Corrupted,
        };
        self.book_receipt(sub, found, receipt, recv_ns, phase);
        receipt
    }

    /// Enters a message that must carry a token and carries none, so that corruption that hits the magic of a
    /// token is seen too.
    pub fn receive_nothing(&mut self, sub: usize, recv_ns: u64, phase: usize) -> Receipt {
        self.receive(sub, &Found::Broken, recv_ns, phase)
    }

    /// Enters a message of a kind that is in no stream, such as a probe, which `receipt` says should not have come:
    /// [`Receipt::Phantom`] if another run sent it, [`Receipt::Misrouted`] if it is of another channel,
    /// [`Receipt::AfterUnsubscribe`] if it was sent after the unsubscribe had been answered.
    pub fn receive_stray(
        &mut self,
        sub: usize,
        token: &Token,
        recv_ns: u64,
        phase: usize,
        receipt: Receipt,
    ) -> Receipt {
        debug_assert!(!matches!(receipt, Receipt::First { .. }), "what is in no stream meets no obligation");
        self.book_receipt(sub, &Found::Intact(*token), receipt, recv_ns, phase);
        receipt
    }

    fn book_receipt(&mut self, sub: usize, found: &Found, receipt: Receipt, recv_ns: u64, phase: usize) {
        let group = usize::from(self.subscriptions[sub].group);
        self.totals.cell(group, phase).add_receipt(receipt.class());
        if !matches!(receipt, Receipt::First { .. }) {
            self.keep_example(sub, found, recv_ns, receipt);
        }
    }

    /// The stream of a token that this run did publish.
    fn published(&self, token: &Token) -> Option<StreamId> {
        let (streams, roster) = (&self.config.streams, &self.config.roster);
        let stream = streams.stream_of(token.publisher, token.channel)?;
        let known = token.run == self.config.run
            && token.seq < roster.published(stream)
            && token.epoch == roster.epoch_of(stream, token.seq);
        known.then_some(stream)
    }

    fn judge(&mut self, sub: usize, token: &Token, recv_ns: u64, phase: usize, earlier: bool) -> Receipt {
        let shape = self.subscriptions[sub];
        let Some(stream) = self.published(token) else { return Receipt::Phantom };
        if token.channel != shape.channel {
            return Receipt::Misrouted;
        }
        let (slot, seq) = (self.config.streams.slot(stream), token.seq);
        let edge = self.lives.edge(sub, slot);
        let live = self.lives.standing(sub) == Standing::Live;
        if !live && self.lives.standing(sub) == Standing::Outside && seq >= edge.soft {
            return Receipt::AfterUnsubscribe;
        }
        let at = self.row(sub) + slot;
        let reordered = match self.books[at].record(seq, &mut self.room) {
            book::Receipt::First { reordered } => reordered && self.is_behind_its_epoch(at, stream, seq),
            book::Receipt::Duplicate => return Receipt::Duplicated,
            book::Receipt::Unverified => return Receipt::Unverified,
        };
        let holder = if earlier { self.lives.holder(sub, slot, seq, token.sent_ns) } else { None };
        let arrival = if let Some(life) = holder {
            self.lives.raise_in(life, slot, seq);
            Some(Arrival::Here)
        } else if live && seq >= edge.soft {
            Some(Arrival::Here)
        } else {
            self.arrival(sub, slot, token)
        };
        let late = recv_ns.saturating_sub(token.due_ns) > self.config.deadline_ns;
        let counts = self.totals.cell(usize::from(shape.group), phase);
        counts.reordered += u64::from(reordered);
        match arrival {
            Some(Arrival::Here) if late => counts.add(Class::Late),
            Some(Arrival::Here) => counts.add(Class::Delivered),
            Some(Arrival::Later) => counts.add(Class::Recovered),
            None => counts.add_unowed(),
        }
        match arrival {
            Some(Arrival::Here) if late => self.keep_arrival(sub, token, recv_ns, Class::Late),
            Some(Arrival::Later) => self.keep_arrival(sub, token, recv_ns, Class::Recovered),
            _ => {}
        }
        Receipt::First { reordered, late, owed: arrival.is_some() }
    }

    /// Where an event arrived; `None`: it is not owed. Also notes what it proves of a life that has ended.
    #[cold]
    fn arrival(&mut self, sub: usize, slot: usize, token: &Token) -> Option<Arrival> {
        let seq = token.seq;
        if !self.lives.is_owed(sub, slot, seq) {
            return None;
        }
        let here = if self.lives.is_behind(sub) {
            self.lives.raise(sub, slot, seq);
            let newest = self.lives.past(sub, slot).next();
            newest.is_some_and(|past| (past.mark.from..past.mark.end).contains(&seq))
        } else {
            let from = match self.lives.standing(sub) {
                Standing::Outside => NEVER,
                Standing::Live | Standing::Away => self.lives.edge(sub, slot).soft,
            };
            seq >= from || token.sent_ns > self.lives.flushed_ns(sub)
        };
        Some(if here { Arrival::Here } else { Arrival::Later })
    }

    /// Whether a later seq of the same epoch was there before this one: over a publisher's reconnect nobody promises
    /// order.
    #[cold]
    fn is_behind_its_epoch(&self, at: usize, stream: StreamId, seq: u64) -> bool {
        let end = self.config.roster.epoch_end(stream, seq);
        end == NEVER || self.books[at].end_within(seq + 1..end) > seq + 1
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

    /// Keeps an example of what arrived intact and not as it should.
    #[cold]
    fn keep_arrival(&mut self, sub: usize, token: &Token, recv_ns: u64, class: Class) {
        let subscription = self.config.first_subscription + sub as u64;
        self.totals.keep_example(class, || Example {
            subscription,
            received_s: Some(seconds(recv_ns)),
            rule: if class == Class::Late { LATE } else { RECOVERED }.to_owned(),
            ..event(token)
        });
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
                    subscription: blank.subscription,
                    received_s: blank.received_s,
                    rule: blank.rule,
                    ..event(token)
                },
            }
        });
    }
}

/// What a token says of its event.
fn event(token: &Token) -> Example {
    Example {
        channel: token.channel.into(),
        publisher: token.publisher.into(),
        epoch: token.epoch.into(),
        seq: token.seq,
        due_s: Some(seconds(token.due_ns)),
        sent_s: Some(seconds(token.sent_ns)),
        ..Example::default()
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
        Receipt::AfterUnsubscribe => "published after the unsubscribe had been answered",
        Receipt::Unverified => "a memory cap was hit for this stream",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ledger::GroupShape;
    use crate::ledger::audit::{Config, SubscriptionShape};
    use crate::ledger::{ReceiptClass, Roster, Streams};

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
            first_subscription: 7,
        };
        let mut ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 0, group: 0 }]);
        let probe = |run, kind| Token {
            run,
            channel: 1,
            publisher: 1,
            epoch: 5,
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
        let examples: Vec<_> =
            ledger.totals.examples().map(|e| (e.channel, e.publisher, e.epoch, e.subscription)).collect();
        assert_eq!(examples, [(1, 1, 5, 7), (1, 1, 5, 7)]);
        assert_eq!((of(ReceiptClass::Misrouted), of(ReceiptClass::Phantom)), (1, 1));
    }
}
