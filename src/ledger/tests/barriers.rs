//! What barriers prove, and what may be presumed without one.

use super::*;

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
