//! Little histories of one subscription, each with what must become of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::report::model::Example;
use crate::scenarios::target::Contract;

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

#[test]
fn what_a_member_misses_while_it_is_away_has_a_class_of_its_own() {
    let mut story = gone_and_back();
    story.receive([11]);
    assert_eq!(story.ledger.count_outstanding(), 1, "only what is owed to the live incarnation");
    let missed = [(4, AWAY), (5, AWAY), (6, RENEWED), (7, RENEWED), (8, RENEWED), (9, RENEWED), (10, PROVEN)];
    assert_eq!(story.rules(), ruled(&missed));
}

#[test]
fn what_is_made_up_for_is_recovered_and_what_was_in_flight_is_delivered() {
    let mut story = gone_and_back();
    story.receive([4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(story.end(), [("delivered", 10), ("recovered", 2)]);
}

#[test]
fn what_was_sent_after_the_flush_is_no_replay() {
    let mut story = Story::live();
    story.publish(1).receive([0]);
    story.ledger.end(0, End::Died);
    story.publish(3).ack(3);
    story.ledger.subscribed_at(0, 2);
    story.ledger.confirm(0);
    story.receive([1, 2, 3]);
    assert_eq!(story.end(), [("delivered", 2), ("recovered", 2)]);
}

#[test]
fn a_member_is_owed_events_until_it_leaves() {
    let mut story = Story::new();
    assert_eq!(story.publish(1).obligations, 0);
    story.ledger.confirm(0);
    assert_eq!(story.publish(1).obligations, 1);
    story.ledger.end(0, End::Cut);
    assert!(!story.ledger.is_live(0));
    assert_eq!(story.publish(1).obligations, 2);
    story.ledger.leave(0);
    assert_eq!(story.publish(1).obligations, 2);
    story.ledger.leave(0);
    story.ledger.end(0, End::Unsubscribed);
    story.ack(9).receive([0, 1, 3]);
    assert_eq!(story.end(), [("delivered", 1), ("missed_disconnected", 1), ("unowed", 2)]);
}

#[test]
fn leaving_ends_a_live_incarnation_and_unsubscribing_ends_one_that_is_away() {
    for away in [false, true] {
        let mut story = Story::live();
        if away {
            story.ledger.end(0, End::Died);
            story.ledger.end(0, End::Unsubscribed);
        } else {
            story.ledger.leave(0);
        }
        assert_eq!(story.roster.enrolled(STREAM), 0);
        assert!(story.publish(1).ledger.count_outstanding() == 0);
        assert_eq!(story.end(), []);
    }
}

#[test]
fn a_second_membership_is_owed_nothing_of_the_time_before() {
    let mut story = Story::live();
    story.publish(2).ack(1).receive([0]);
    story.ledger.end(0, End::Unsubscribed);
    story.publish(3);
    story.ledger.subscribed(0);
    story.ledger.confirm(0);
    story.publish(2).receive([1, 2, 6]);
    assert_eq!(story.end(), [("delivered", 2), ("recovered", 1), ("lost_proven", 1), ("unowed", 1)]);
}

#[test]
fn what_was_in_flight_when_it_became_a_member_stays_unowed_in_every_incarnation() {
    let mut story = Story::new();
    story.publish(2);
    story.ledger.confirm(0);
    story.publish(1);
    story.ledger.end(0, End::Died);
    // Nothing was acknowledged by now.
    story.ledger.subscribed(0);
    story.receive([0]);
    story.ledger.confirm(0);
    story.receive([1, 2]);
    assert_eq!(story.end(), [("delivered", 1), ("unowed", 2)]);
}

#[test]
fn a_cut_excuses_what_it_may_have_cut_off_and_no_hole_before_something_later() {
    let story = |how, ordered| {
        let mut story = Story::live();
        story.promise.ordered = ordered;
        story.publish(6).ack(3).receive([0, 2]);
        story.ledger.end(0, how);
        story.ledger.leave(0);
        story.rules()
    };
    let cut = |first| ruled(&[(1, first), (3, CUT), (4, IN_FLIGHT), (5, IN_FLIGHT)]);
    assert_eq!(story(End::Cut, true), cut(PROVEN));
    assert_eq!(story(End::Cut, false), cut(TOO_EARLY));
    let died = ruled(&[(1, PROVEN), (3, TOO_EARLY), (4, IN_FLIGHT), (5, IN_FLIGHT)]);
    assert_eq!(story(End::Died, true), died);
    assert_eq!(story(End::Unsubscribed, true), died);
}

#[test]
fn what_was_on_its_way_when_it_was_unsubscribed_is_evidence() {
    let mut story = Story::live();
    story.publish(4).ack(3).receive([0]);
    story.ledger.end(0, End::Unsubscribed);
    story.receive([2]);
    assert_eq!(story.rules(), ruled(&[(1, PROVEN), (3, TOO_EARLY)]));
}

#[test]
fn nothing_is_proved_over_a_publishers_reconnect() {
    let mut story = Story::live();
    story.publish(3);
    assert_eq!(story.roster.begin_epoch(&story.streams, 0), 1);
    story.publish(3).receive([0, 5]);
    assert_eq!(story.rules(), ruled(&[(1, PRESUMED), (2, PRESUMED), (3, PROVEN), (4, PROVEN)]));
}

#[test]
fn an_incarnation_remembers_what_it_proved_of_each_epoch() {
    let mut story = Story::live();
    story.publish(3).receive([1]);
    let epoch = |story: &Story| story.roster.begin_epoch(&story.streams, 0);
    assert_eq!(epoch(&story), 1);
    story.publish(2);
    assert_eq!(epoch(&story), 2);
    story.publish(2).ack(6).receive([6]);
    story.ledger.end(0, End::Died);
    story.ledger.subscribed(0);
    story.ledger.confirm(0);
    story.publish(1);
    // A replay on a later incarnation proves nothing of the first one.
    story.receive([4]);
    let again = "received intact only in a later incarnation";
    let expected = [(0, PROVEN), (2, TOO_EARLY), (3, TOO_EARLY), (4, again), (5, PROVEN), (7, PRESUMED)];
    assert_eq!(story.rules(), ruled(&expected));
}

#[test]
fn late_evidence_counts_for_its_own_epoch_only() {
    let mut story = Story::live();
    story.publish(3);
    _ = story.roster.begin_epoch(&story.streams, 0);
    story.publish(3).ack(5);
    story.ledger.end(0, End::Unsubscribed);
    story.receive([1]);
    let early = [(0, PROVEN), (2, TOO_EARLY), (3, TOO_EARLY), (4, TOO_EARLY), (5, TOO_EARLY)];
    assert_eq!(story.rules(), ruled(&early));
}

#[test]
fn order_is_promised_within_an_epoch() {
    let mut story = Story::live();
    story.publish(3);
    _ = story.roster.begin_epoch(&story.streams, 0);
    story.publish(2).receive([0, 4, 1, 2, 3]);
    assert_eq!(story.end(), [("delivered", 5), ("reordered", 1)]);
    let mut story = Story::live();
    story.publish(3).receive([1, 0, 2]);
    assert_eq!(story.end(), [("delivered", 3), ("reordered", 1)]);
}

#[test]
fn an_event_of_another_epoch_was_never_published() {
    let mut story = Story::live();
    story.publish(1);
    _ = story.roster.begin_epoch(&story.streams, 0);
    story.publish(1);
    for (seq, epoch) in [(0, 1), (1, 0), (1, 2)] {
        let token = Token { epoch, ..story.token(seq) };
        assert_eq!(story.receive_token(token), Receipt::Phantom);
    }
    assert_eq!(story.end(), [("lost_presumed", 2), ("phantom", 3)]);
}

#[test]
fn a_barrier_proves_what_is_missing_before_it() {
    let mut story = Story::live();
    story.publish(3).receive([0]);
    assert_eq!(story.ledger.await_barriers(0), [STREAM]);
    assert_eq!(story.ledger.await_barriers(0), []);
    assert_eq!(story.ledger.barrier(0, &story.barrier_token()), Some(STREAM));
    assert_eq!(story.ledger.barrier(0, &story.barrier_token()), None);
    assert_eq!(story.ledger.give_up_barriers(0), []);
    assert_eq!(story.rules(), ruled(&[(1, PROVEN), (2, PROVEN)]));
}

#[test]
fn what_is_no_barrier_of_the_newest_epoch_proves_nothing() {
    let mut story = Story::live();
    story.publish(2);
    _ = story.roster.begin_epoch(&story.streams, 0);
    story.publish(1).receive([2]);
    assert_eq!(story.ledger.await_barriers(0), [STREAM]);
    let good = story.barrier_token();
    let bad = [
        Token { epoch: 0, ..good },
        Token { epoch: 2, ..good },
        Token { seq: 2, ..good },
        Token { seq: 4, ..good },
        Token { run: 2, ..good },
        Token { channel: 1, ..good },
        Token { publisher: 1, ..good },
        Token { kind: Kind::Census, ..good },
    ];
    for token in &bad {
        assert_eq!(story.ledger.barrier(0, token), None, "{token:?}");
    }
    assert_eq!(story.ledger.barrier(0, &good), Some(STREAM));
    // It ends the second epoch and says nothing of the first.
    assert_eq!(story.rules(), ruled(&[(0, PRESUMED), (1, PRESUMED)]));
}

#[test]
fn a_barrier_of_an_empty_epoch_proves_nothing_of_the_one_before() {
    let mut story = Story::live();
    story.publish(2);
    assert_eq!(story.ledger.await_barriers(0), [STREAM]);
    _ = story.roster.begin_epoch(&story.streams, 0);
    assert_eq!(story.ledger.barrier(0, &story.barrier_token()), Some(STREAM));
    assert_eq!(story.rules(), ruled(&[(0, PRESUMED), (1, PRESUMED)]));
}

/// A subscription that its server has forgotten gets neither events nor barriers, however alive its connection is.
#[test]
fn without_its_barrier_a_loss_is_presumed_if_the_connection_still_answered() {
    for (how, last) in [(End::Unsubscribed, PRESUMED), (End::Died, GIVEN_UP)] {
        let mut story = Story::live();
        story.publish(2);
        assert_eq!(story.ledger.await_barriers(0), [STREAM]);
        story.ledger.give_up_barriers(0);
        story.ledger.quiet_passed();
        story.ledger.end(0, how);
        story.ledger.leave(0);
        story.ledger.unsubscribe_answered(0);
        assert_eq!(story.rules(), ruled(&[(0, last), (1, last)]), "{how:?}");
    }
}

#[test]
fn without_its_barrier_nothing_is_presumed() {
    for gives_up in [true, false] {
        let mut story = Story::live();
        story.publish(1);
        _ = story.roster.begin_epoch(&story.streams, 0);
        story.publish(3);
        assert_eq!(story.ledger.await_barriers(0), [STREAM]);
        if gives_up {
            assert_eq!(story.ledger.give_up_barriers(0), [STREAM]);
            assert_eq!(story.ledger.give_up_barriers(0), []);
        }
        story.receive([2]);
        assert_eq!(story.rules(), ruled(&[(0, PRESUMED), (1, PROVEN), (3, GIVEN_UP)]));
    }
}

#[test]
fn barriers_are_awaited_where_something_was_owed_and_on_one_incarnation() {
    let mut story = Story::new();
    story.publish(1);
    assert_eq!(story.ledger.await_barriers(0), []);
    story.ledger.confirm(0);
    assert_eq!(story.ledger.await_barriers(0), [], "nothing was published since");
    story.publish(1).ack(1);
    assert_eq!(story.ledger.await_barriers(0), [STREAM]);
    story.ledger.end(0, End::Died);
    assert_eq!(story.ledger.await_barriers(0), []);
    assert_eq!(story.ledger.barrier(0, &story.barrier_token()), None, "nobody is there");
    assert_eq!(story.ledger.give_up_barriers(0), [STREAM]);
    story.ledger.confirm(0);
    assert_eq!(story.ledger.give_up_barriers(0), []);
    assert_eq!(story.rules(), ruled(&[(1, TOO_EARLY)]));
}

#[test]
fn after_the_answer_to_an_unsubscribe_nothing_may_arrive() {
    let mut story = Story::live();
    story.publish(2).receive([0, 1]);
    story.ledger.unsubscribe_answered(0);
    story.ledger.end(0, End::Unsubscribed);
    story.publish(1).receive([2]);
    story.ledger.unsubscribe_answered(0);
    story.publish(1);
    story.ledger.unsubscribe_answered(0);
    let late = story.receive_token(story.token(3));
    assert_eq!(late, Receipt::AfterUnsubscribe);
    let (classes, examples) = story.end_with_examples();
    assert_eq!(classes, [("delivered", 2), ("after_unsubscribe", 1), ("unowed", 1)]);
    let expected = Example {
        channel_name: String::new(),
        class: "after_unsubscribe".to_owned(),
        channel: 0,
        publisher: 0,
        epoch: 0,
        seq: 3,
        subscription: 100,
        due_s: Some(3e-9),
        sent_s: Some(3e-9),
        received_s: Some(3e-9),
        rule: "published after the unsubscribe had been answered".to_owned(),
    };
    assert_eq!(examples, [expected]);
}

#[test]
fn a_new_subscribe_makes_arrivals_right_again() {
    let mut story = Story::live();
    story.ledger.end(0, End::Unsubscribed);
    story.ledger.unsubscribe_answered(0);
    story.publish(1);
    assert_eq!(story.receive_token(story.token(0)), Receipt::AfterUnsubscribe);
    story.ledger.subscribed(0);
    assert_eq!(
        story.receive_token(story.token(0)),
        Receipt::First { reordered: false, late: false, owed: false }
    );
    assert_eq!(story.end(), [("after_unsubscribe", 1), ("unowed", 1)]);
}

#[test]
fn examples_say_when_and_of_which_epoch() {
    let mut story = Story::live();
    _ = story.roster.begin_epoch(&story.streams, 0);
    story.publish(3);
    story.promise.unacked = vec![2];
    story.ledger.quiet_passed();
    let (_, examples) = story.end_with_examples();
    let example = |class: &str, seq: u64, rule: &str| Example {
        channel_name: String::new(),
        class: class.to_owned(),
        channel: 0,
        publisher: 0,
        epoch: 1,
        seq,
        subscription: 100,
        due_s: Some(seq as f64),
        sent_s: Some(seq as f64 * 2.0),
        received_s: None,
        rule: rule.to_owned(),
    };
    let expected = [
        example("unknown_publish", 2, "the publish was never acknowledged"),
        example("lost_presumed", 0, PRESUMED),
        example("lost_presumed", 1, PRESUMED),
    ];
    assert_eq!(examples, expected);
}

#[test]
fn a_damaged_copy_is_no_delivery() {
    let mut story = Story::live();
    story.publish(3);
    for token in [story.token(1), story.token(3), Token { channel: 1, ..story.token(0) }] {
        story.ledger.count_receipt(0, 0);
        assert_eq!(story.ledger.receive(0, &Found::Damaged(token), 0, 0), Receipt::Corrupted);
    }
    story.receive([2]);
    assert_eq!(story.end(), [("delivered", 1), ("damaged", 1), ("lost_proven", 1), ("corrupted", 3)]);
}

#[test]
fn the_deadline_counts_from_when_an_event_was_due() {
    let mut story = Story::live();
    story.publish(3);
    for (seq, delay, late) in [(0, 0, false), (1, DEADLINE_NS, false), (2, DEADLINE_NS + 1, true)] {
        story.ledger.count_receipt(0, 0);
        let token = Token { sent_ns: 99, ..story.token(seq) };
        let receipt = story.ledger.receive(0, &Found::Intact(token), seq + delay, 0);
        assert_eq!(receipt, Receipt::First { reordered: false, late, owed: true });
    }
    let (classes, examples) = story.end_with_examples();
    assert_eq!(classes, [("delivered", 2), ("late", 1)]);
    // The late one can be followed.
    let late = Example {
        class: "late".to_owned(),
        channel_name: String::new(),
        channel: 0,
        publisher: 0,
        epoch: 0,
        seq: 2,
        subscription: 100,
        due_s: Some(2e-9),
        sent_s: Some(99e-9),
        received_s: Some((2 + DEADLINE_NS + 1) as f64 / 1e9),
        rule: "received intact after the deadline".to_owned(),
    };
    assert_eq!(examples, [late]);
}

#[test]
fn without_memory_nothing_is_called_lost_or_delivered() {
    let mut story = Story::with_memory(0);
    story.ledger.confirm(0);
    story.publish(6);
    let receipts = [0, 2, 3, 1].map(|seq| story.receive_token(story.token(seq)));
    let first = Receipt::First { reordered: false, late: false, owed: true };
    assert_eq!(receipts, [first, Receipt::Unverified, Receipt::Unverified, first]);
    assert_eq!(story.end(), [("unverified", 4), ("delivered", 2), ("unverified_receipt", 2)]);
}

#[test]
fn the_time_of_a_loss_is_kept_for_what_the_contract_calls_one() {
    let lost = |contract| {
        let mut story = Story::live().unordered();
        story.promise.contract = contract;
        story.ledger.end(0, End::Died);
        story.publish(1).ack(0);
        story.ledger.subscribed(0);
        story.ledger.confirm(0);
        story.publish(1);
        let totals = story.ledger.close(&story.promise);
        totals.lost_by_due.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(lost(Contract::AtMostOnce), [(10, 1)]);
    assert_eq!(lost(Contract::AtLeastOnce), [(0, 1), (10, 1)]);
    assert_eq!(lost(Contract::ExactlyOnce), [(0, 1), (10, 1)]);
}

/// A history with every class of obligation and receipt but what only a memory cap brings; the sums over it.
fn everything() -> Result<(), SumError> {
    let mut story = gone_and_back();
    story.promise.unacked = vec![8];
    story.receive([4, 10, 10, 11]);
    story.publish(3);
    let other = Token { run: 2, ..story.token(0) };
    story.receive_token(other);
    for found in [Found::Broken, Found::Damaged(story.token(12))] {
        story.ledger.count_receipt(0, 0);
        story.ledger.receive(0, &found, 0, 0);
    }
    story.ledger.count_receipt(0, 0);
    let late = story.token(14);
    story.ledger.receive(0, &Found::Intact(late), late.due_ns + DEADLINE_NS + 1, 0);
    let probe = Token { channel: 1, kind: Kind::Probe, ..story.token(0) };
    story.ledger.count_receipt(0, 0);
    story.ledger.receive_stray(0, &probe, 0, 0, Receipt::Misrouted);
    story.publish(1).ack(15);
    story.ledger.end(0, End::Cut);
    story.ledger.subscribed(0);
    story.ledger.confirm(0);
    story.publish(1);
    story.ledger.quiet_passed();
    story.ledger.end(0, End::Unsubscribed);
    story.publish(1).receive([17]);
    story.ledger.unsubscribe_answered(0);
    story.publish(1).receive([18]);
    let Story { ledger, obligations, promise, .. } = story;
    let totals = ledger.close(&promise);
    sums(&totals.all(), totals.receipts(), obligations)
}

#[test]
fn every_increment_that_the_code_leaves_out_is_noticed_by_its_sum() {
    assert_eq!(everything(), Ok(()));
    let mut slipped = BTreeSet::new();
    for n in 0.. {
        let (result, counter) = slip::without(n, everything);
        let Some(counter) = counter else { break };
        slipped.insert(counter);
        let noticed = match counter {
            "obligations" => matches!(result, Err(SumError::Obligations { .. })),
            "decoded" => matches!(result, Err(SumError::Receipts { .. })),
            "unowed" => matches!(result, Err(SumError::First { .. })),
            class if Class::ALL.iter().any(|one| one.name() == class) => {
                matches!(result, Err(SumError::Obligations { .. }))
            }
            _ => matches!(result, Err(SumError::Receipts { .. })),
        };
        assert!(noticed, "{counter} (increment {n}): {result:?}");
    }
    let classes = Class::ALL.iter().map(|class| class.name()).filter(|name| *name != "unverified");
    let receipts = ReceiptClass::ALL.iter().map(|class| class.name()).filter(|n| *n != "unverified_receipt");
    let all = classes.chain(receipts).chain(["obligations", "decoded", "unowed"]);
    assert_eq!(slipped, all.collect::<BTreeSet<_>>());
}

/// A server that forgot the subscription before our cut: what had long been acknowledged by then the cut did not hold
/// back, and what was in flight, it may have.
#[test]
fn a_cut_excuses_what_was_on_its_way_and_nothing_older() {
    let mut story = Story::live();
    story.publish(3).ack(0).ack(1).ack(2);
    story.roster.remember();
    story.publish(1).ack(3);
    story.roster.remember();
    story.publish(1);
    story.ledger.end(0, End::Cut);
    story.ledger.leave(0);
    story.ack(4);
    let all = story.ledger.close(&story.promise).all();
    assert_eq!((all.of(Class::Indeterminate), all.of(Class::Suppressed)), (4, 1));
    assert_eq!(all.excused, 1, "the one that was not acknowledged when we cut");
}
