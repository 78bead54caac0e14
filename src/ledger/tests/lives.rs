//! Members that come and go, their incarnations, and the epochs of publishers.

use super::*;

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
