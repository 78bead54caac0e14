//! What arrives too late, damaged or after the end, what is told of it, and what is left open.

use super::*;

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
