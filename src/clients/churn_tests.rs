//! A client's cycles, told what its connection shows; time is a number.

use super::*;
use crate::inject::FaultTally;

/// Two cycles that hold for 100 and pause for 50, of which these fail.
fn churner(fails: &[(u32, DropPoint)]) -> Churner {
    Churner {
        cycles: 2,
        hold: 100,
        pause: 50,
        fails: fails.iter().map(|(cycle, point)| (*cycle, (7, *point))).collect(),
        started: 0,
        over: 0,
        stage: Stage::Before,
        stopped: false,
        broken: false,
        due: 0,
        began: 0,
        tally: Rc::new(std::cell::RefCell::new(FaultTally::default())),
        all_over: Rc::new(Cell::new(0)),
    }
}

fn seen(now: u64, subscriptions: Shown) -> Seen {
    Seen { now, subscriptions, said: true, received: false, answered: None, overdue: false }
}

const PROVED: Shown = Shown::Proved(3);

/// Unsubscribes what set-up subscribed, at 950, and begins the first cycle a pause after that was answered, at 1,002.
fn begin(churner: &mut Churner) {
    assert_eq!(churner.next(&seen(900, PROVED)), Move::Wait(None), "its fault has not begun");
    churner.begin(950);
    assert_eq!(churner.next(&seen(950, PROVED)), Move::Unsubscribe);
    assert_eq!(churner.next(&seen(951, PROVED)), Move::Wait(None));
    let answered = |now| Seen { answered: Some(952), ..seen(now, PROVED) };
    assert_eq!(
        churner.next(&answered(952)),
        Move::Wait(Some(1_002)),
        "what is on its way has time to arrive"
    );
    assert_eq!(churner.next(&answered(1_002)), Move::Subscribe);
}

fn counts(churner: &Churner) -> (u64, u64, u64, u64) {
    let mut tally = churner.tally.borrow_mut();
    let cycles = tally.cycles();
    (cycles.completed, cycles.failed_by_plan, cycles.failed, churner.all_over.get())
}

#[test]
fn a_cycle_is_proved_held_ended_answered_and_followed_by_a_pause() {
    let mut churner = churner(&[]);
    begin(&mut churner);
    assert_eq!(churner.next(&seen(1_010, Shown::Pending)), Move::Wait(None));
    assert_eq!(churner.next(&seen(1_020, PROVED)), Move::Wait(Some(1_120)), "it holds from its proof on");
    assert_eq!(churner.next(&seen(1_119, PROVED)), Move::Wait(Some(1_120)));
    assert_eq!(churner.next(&seen(1_120, PROVED)), Move::Unsubscribe);
    let answered = |now| Seen { answered: Some(now), ..seen(now, PROVED) };
    assert_eq!(churner.next(&answered(1_130)), Move::Wait(Some(1_180)));
    assert_eq!(counts(&churner), (1, 0, 0, 1));
    assert_eq!(churner.next(&answered(1_180)), Move::Subscribe);
    assert_eq!(churner.next(&seen(1_190, PROVED)), Move::Wait(Some(1_290)));
    assert_eq!(churner.next(&seen(1_290, PROVED)), Move::Unsubscribe);
    assert_eq!(churner.next(&answered(1_300)), Move::Wait(None), "there is no third");
    assert_eq!((counts(&churner), churner.started()), ((2, 0, 0, 2), 2));
}

#[test]
fn one_that_fails_dies_where_it_is_to_and_the_next_begins_after_the_pause() {
    for point in [DropPoint::SubscribeSent, DropPoint::Receive, DropPoint::UnsubscribeSent] {
        let mut churner = churner(&[(0, point)]);
        begin(&mut churner);
        let die = Move::Die(7, point);
        match point {
            DropPoint::SubscribeSent => {
                let unsaid = Seen { said: false, ..seen(1_010, Shown::Pending) };
                assert_eq!(churner.next(&unsaid), Move::Wait(None), "its subscribe has not left");
                assert_eq!(churner.next(&seen(1_011, Shown::Pending)), die);
            }
            DropPoint::Receive => {
                let event = |now| Seen { received: true, ..seen(now, PROVED) };
                assert_eq!(churner.next(&event(1_010)), Move::Wait(Some(1_110)), "it came before the proof");
                assert_eq!(churner.next(&event(1_050)), die);
            }
            _ => {
                assert_eq!(churner.next(&seen(1_010, PROVED)), Move::Wait(Some(1_110)));
                assert_eq!(churner.next(&seen(1_110, PROVED)), Move::UnsubscribeLast);
                assert_eq!(churner.next(&Seen { said: false, ..seen(1_111, PROVED) }), Move::Wait(None));
                assert_eq!(churner.next(&seen(1_112, PROVED)), die);
            }
        }
        churner.cut(true, 1_200);
        assert_eq!(counts(&churner), (0, 1, 0, 1), "{point:?}");
        assert_eq!(churner.next(&seen(1_249, Shown::Pending)), Move::Wait(Some(1_250)));
        assert_eq!(churner.next(&seen(1_250, Shown::Pending)), Move::Subscribe);
    }
}

#[test]
fn where_nothing_is_sent_one_that_dies_of_a_message_asks_for_one() {
    let mut churner = churner(&[(0, DropPoint::Receive)]);
    begin(&mut churner);
    assert_eq!(churner.next(&seen(1_010, PROVED)), Move::Wait(Some(1_110)));
    let late = 1_110 + PATIENCE;
    assert_eq!(churner.next(&seen(1_110, PROVED)), Move::Wait(Some(late)), "an event may come yet");
    assert_eq!(churner.next(&seen(late, PROVED)), Move::Ask);
    assert_eq!(churner.next(&seen(late + 1, PROVED)), Move::Wait(None));
    let answered = Seen { answered: Some(late + 2), ..seen(late + 2, PROVED) };
    assert_eq!(churner.next(&answered), Move::Die(7, DropPoint::Receive));
}

#[test]
fn what_goes_wrong_otherwise_has_failed_whatever_was_planned() {
    let mut refused = churner(&[]);
    begin(&mut refused);
    assert_eq!(refused.next(&seen(1_010, Shown::Broken)), Move::Unsubscribe);
    let answered = Seen { answered: Some(1_020), ..seen(1_020, Shown::Broken) };
    assert_eq!(refused.next(&answered), Move::Wait(Some(1_070)));
    assert_eq!(counts(&refused), (0, 0, 1, 1));

    let mut unanswered = churner(&[]);
    begin(&mut unanswered);
    assert_eq!(unanswered.next(&seen(1_010, PROVED)), Move::Wait(Some(1_110)));
    assert_eq!(unanswered.next(&seen(1_110, PROVED)), Move::Unsubscribe);
    let overdue = Seen { overdue: true, ..seen(9_000, PROVED) };
    assert_eq!(unanswered.next(&overdue), Move::GiveUpAnswer);
    assert_eq!(counts(&unanswered), (0, 0, 1, 1));

    let mut dropped = churner(&[(0, DropPoint::Receive)]);
    begin(&mut dropped);
    dropped.cut(false, 1_010);
    assert_eq!(counts(&dropped), (0, 0, 1, 1));
}

#[test]
fn who_gives_up_or_is_stopped_begins_no_other_cycle() {
    let mut gone = churner(&[]);
    begin(&mut gone);
    gone.give_up();
    assert_eq!((counts(&gone).3, gone.next(&seen(5_000, PROVED))), (2, Move::Wait(None)));
    let mut stopped = churner(&[]);
    begin(&mut stopped);
    stopped.stop();
    assert_eq!(stopped.next(&seen(5_000, PROVED)), Move::Wait(None));
    assert!(!stopped.is_churning());
}
