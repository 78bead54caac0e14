//! Little histories of one subscription, each with what must become of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::report::model::Example;
use crate::scenarios::target::Contract;

mod barriers;
mod books;
mod lives;
mod receipts;

const DEADLINE_NS: u64 = 10;

struct Promise {
    ordered: bool,
    contract: Contract,
    unacked: Vec<u64>,
}

impl CloseFacts for Promise {
    fn ordered(&self) -> bool {
        self.ordered
    }

    fn contract(&self) -> Contract {
        self.contract
    }

    fn acknowledged(&self, _: StreamId, seq: u64) -> bool {
        !self.unacked.contains(&seq)
    }

    fn phase_of(&self, _: StreamId, _: u64) -> usize {
        0
    }

    fn due_ns(&self, _: StreamId, seq: u64) -> Option<u64> {
        Some(seq * 1_000_000_000)
    }

    fn sent_ns(&self, _: StreamId, seq: u64) -> Option<u64> {
        Some(seq * 2_000_000_000)
    }
}

const STREAM: StreamId = StreamId(0);

/// One subscription to channel 0 of two, one publisher.
struct Story {
    ledger: ShardLedger,
    roster: Arc<Roster>,
    streams: Arc<Streams>,
    obligations: u64,
    promise: Promise,
}

impl Story {
    fn new() -> Self {
        Self::with_memory(1_000)
    }

    fn with_memory(gaps_max_bytes: usize) -> Self {
        let streams = Arc::new(Streams::new(2, &[GroupShape { connections: 1 }]));
        let roster = Arc::new(Roster::new(&streams));
        let config = Config {
            run: 1,
            streams: Arc::clone(&streams),
            roster: Arc::clone(&roster),
            deadline_ns: DEADLINE_NS,
            groups: 1,
            phases: 1,
            gaps_max_bytes,
            first_subscription: 100,
        };
        let ledger = ShardLedger::new(config, &[SubscriptionShape { channel: 0, group: 0 }]);
        let promise = Promise { ordered: true, contract: Contract::AtMostOnce, unacked: Vec::new() };
        Self { ledger, roster, streams, obligations: 0, promise }
    }

    /// The same, confirmed.
    fn live() -> Self {
        let mut story = Self::new();
        story.ledger.confirm(0);
        story
    }

    fn unordered(mut self) -> Self {
        self.promise.ordered = false;
        self
    }

    fn publish(&mut self, events: u64) -> &mut Self {
        (0..events).for_each(|_| self.obligations += self.roster.publish(STREAM).obligations);
        self
    }

    fn ack(&mut self, last: u64) -> &mut Self {
        (self.roster.acked_through(STREAM)..=last).for_each(|seq| self.roster.settle(STREAM, seq));
        self
    }

    fn token(&self, seq: u64) -> Token {
        Token {
            run: 1,
            channel: 0,
            publisher: 0,
            epoch: self.roster.epoch_of(STREAM, seq),
            kind: Kind::Event,
            seq,
            due_ns: seq,
            sent_ns: seq,
        }
    }

    fn barrier_token(&self) -> Token {
        Token { kind: Kind::Barrier, ..self.token(self.roster.published(STREAM)) }
    }

    fn receive_token(&mut self, token: Token) -> Receipt {
        self.ledger.count_receipt(0, 0);
        self.ledger.receive(0, &Found::Intact(token), token.due_ns, 0)
    }

    fn receive(&mut self, seqs: impl IntoIterator<Item = u64>) -> &mut Self {
        for seq in seqs {
            self.receive_token(self.token(seq));
        }
        self
    }

    /// What became of everything, once the sums have closed: the counts of all classes that are not empty.
    fn end(self) -> Vec<(&'static str, u64)> {
        self.end_with_examples().0
    }

    fn end_with_examples(self) -> (Vec<(&'static str, u64)>, Vec<Example>) {
        let Self { ledger, roster, obligations, promise, .. } = self;
        let totals = ledger.close(&promise);
        assert_eq!(sums(&totals.all(), totals.receipts(), obligations), Ok(()));
        assert_eq!(roster.enrolled(STREAM), 0);
        (named(&totals.all()), totals.examples().cloned().collect())
    }

    /// Seq and rule of every example of an obligation.
    fn rules(self) -> Vec<(u64, String)> {
        let mut rules: Vec<_> = self.end_with_examples().1.into_iter().map(|e| (e.seq, e.rule)).collect();
        rules.sort();
        rules
    }
}

fn named(counts: &Counts) -> Vec<(&'static str, u64)> {
    let obligations = Class::ALL.into_iter().map(|class| (class.name(), counts.of(class)));
    let receipts = ReceiptClass::ALL.into_iter().map(|class| (class.name(), counts.receipts_of(class)));
    let others = [("unowed", counts.unowed), ("reordered", counts.reordered)];
    obligations.chain(receipts.skip(1)).chain(others).filter(|(_, count)| *count > 0).collect()
}

const PROVEN: &str =
    "a later event of the same stream and epoch, or its barrier, arrived on an ordered target";
const PRESUMED: &str = "never arrived although the subscription lived through the quiet period";
const AWAY: &str = "no incarnation was live from when it was sent until it was acknowledged";
const RENEWED: &str = "its publish was in flight when the subscription was renewed";
const IN_FLIGHT: &str = "its publish was in flight when the subscription ended";
const TOO_EARLY: &str = "the subscription ended before the quiet period";
const CUT: &str = "a fault of ours held or cut the stream";
const GIVEN_UP: &str = "its barrier was given up, and its connection answered nothing after that";

fn ruled(rules: &[(u64, &str)]) -> Vec<(u64, String)> {
    rules.iter().map(|(seq, rule)| (*seq, (*rule).to_owned())).collect()
}

/// Confirmed with events 0 to 3, away from 4, asked for again when everything up to 5 was acknowledged, confirmed again
/// before 10.
fn gone_and_back() -> Story {
    let mut story = Story::live();
    story.publish(4).ack(3).receive(0..4);
    story.ledger.end(0, End::Died);
    story.publish(4).ack(5);
    story.ledger.subscribed(0);
    story.publish(2);
    story.ledger.confirm(0);
    story.publish(2);
    story
}
