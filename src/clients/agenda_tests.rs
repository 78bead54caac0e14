//! Begins and ends on a paused clock, against their times in the plan.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::*;
use crate::clock::{self, RunClock};
use crate::ledger::Streams;
use crate::scenarios::plan::{Direction, How, Terminate};

/// A fault that happens at one moment, and one that lasts.
fn kinds() -> Vec<FaultKind> {
    vec![
        FaultKind::Terminate(Terminate { how: How::Reset, at: Vec::new() }),
        FaultKind::Stall(Direction::Both),
    ]
}

fn act(fault: usize, connection: u32, part: Part, after_ms: u64, length_ms: Option<u64>) -> Act {
    let (after, length) = (Duration::from_millis(after_ms), length_ms.map(Duration::from_millis));
    Act { fault, connection, part, after, length, point: None, cycle: None }
}

fn cut(connection: u32, phase: usize, after_ms: u64) -> Act {
    act(0, connection, Part::Phase(phase), after_ms, None)
}

fn board() -> Board {
    Board::new(RunClock::start(), 1, Arc::new(Streams::new(1, &[])), 1, 3)
}

fn begin(board: &Board, orders: &watch::Sender<Course>, phase: usize) {
    let now_ns = board.clock.now_ns();
    board.phase_starts[phase].store(now_ns, Relaxed);
    orders.send_modify(|o| o.phase = Some((phase, now_ns)));
}

/// Follows the acts while `conduct` gives orders; what was done to which seat at which ms. Connection 10 and those
/// beyond are somebody else's.
async fn done<F: Future<Output = ()>>(
    planned: &[Act],
    board: &Board,
    conduct: impl FnOnce(watch::Sender<Course>) -> F,
) -> Vec<(Step, usize, u128)> {
    let began = clock::now();
    let (give, orders) = watch::channel(Course::default());
    let done = RefCell::new(Vec::new());
    let mut agenda = Agenda { lasts: kinds().iter().map(FaultKind::lasts).collect(), ..Agenda::default() };
    let mine = planned.iter().filter(|act| act.connection < 10);
    agenda.later = mine.map(|act| Planned { seat: act.connection as usize, act: *act }).collect();
    let step = |due_ns: u64, step: Step, planned: &Planned| {
        assert!(board.clock.now_ns() >= due_ns, "not before its time");
        done.borrow_mut().push((step, planned.seat, began.elapsed().as_millis()));
    };
    agenda.begin_set_up(board.clock.now_ns(), step);
    let agenda = RefCell::new(agenda);
    let following = Agenda::follow(&agenda, board, orders, |course| *course, step);
    let both = async { tokio::join!(following, conduct(give)) };
    timeout(Duration::from_secs(100), both).await.expect("it ends with its orders");
    done.into_inner()
}

fn at(ms: u128, found: u128) -> bool {
    (ms..ms + 3).contains(&found)
}

#[tokio::test(start_paused = true)]
async fn each_is_done_at_its_time_in_its_phase() {
    let board = &board();
    let planned = [cut(1, 1, 0), cut(2, 0, 250), cut(3, 0, 250), cut(4, 1, 30), cut(5, 2, 10), cut(11, 0, 0)];
    let done = done(&planned, board, |orders| async move {
        sleep(Duration::from_millis(100)).await;
        begin(board, &orders, 0);
        sleep(Duration::from_millis(1_000)).await;
        begin(board, &orders, 1);
        sleep(Duration::from_millis(1_000)).await;
    });
    let done = done.await;
    let seats: Vec<usize> = done.iter().map(|(_, seat, _)| *seat).collect();
    assert!(seats[..2].contains(&2) && seats[..2].contains(&3), "{done:?}");
    assert_eq!(seats[2..], [1, 4], "and the third phase never began: {done:?}");
    assert!(at(350, done[0].2) && done[1].2 == done[0].2, "at one instant: {done:?}");
    assert!(at(1_100, done[2].2) && at(1_130, done[3].2), "{done:?}");
    assert!(done.iter().all(|(step, ..)| *step == Step::Begin), "what happens at one moment does not end");
}

#[tokio::test(start_paused = true)]
async fn a_phase_that_was_left_early_keeps_its_times() {
    let board = &board();
    let planned = [cut(1, 0, 500), cut(2, 1, 100)];
    let done = done(&planned, board, |orders| async move {
        begin(board, &orders, 0);
        begin(board, &orders, 1);
        sleep(Duration::from_millis(1_000)).await;
    });
    let done: Vec<_> = done.await.into_iter().map(|(_, seat, at)| (seat, at / 10)).collect();
    assert_eq!(done, [(2, 10), (1, 50)]);
}

#[tokio::test(start_paused = true)]
async fn what_lasts_ends_at_its_time_or_with_its_part() {
    let board = &board();
    let phase = Part::Phase;
    let planned = [
        act(1, 1, Part::Setup, 0, None),
        act(1, 2, phase(0), 100, Some(300)),
        act(1, 3, phase(0), 200, None),
        // It lasts from one part into the next.
        act(1, 4, phase(0), 900, Some(300)),
        // The same victim again, without a gap.
        act(1, 1, phase(0), 0, None),
    ];
    let done = done(&planned, board, |orders| async move {
        sleep(Duration::from_millis(1_000)).await;
        begin(board, &orders, 0);
        sleep(Duration::from_millis(1_000)).await;
        begin(board, &orders, 1);
        sleep(Duration::from_millis(1_000)).await;
    });
    let done: Vec<_> = done.await.into_iter().map(|(step, seat, at)| (step, seat, at / 10)).collect();
    use Step::{Begin, End};
    let expected = [
        (Begin, 1, 0),
        (End, 1, 100),
        (Begin, 1, 100),
        (Begin, 2, 110),
        (Begin, 3, 120),
        (End, 2, 140),
        (Begin, 4, 190),
    ];
    assert_eq!(done[..7], expected);
    let mut rest = done[7..].to_vec();
    rest.sort_unstable();
    assert_eq!(rest, [(End, 1, 200), (End, 3, 200), (End, 4, 220)]);
}

#[tokio::test(start_paused = true)]
async fn healing_ends_what_lasts_and_nothing_begins_any_more() {
    let board = &board();
    let phase = Part::Phase;
    let planned = [
        cut(1, 0, 100),
        cut(2, 0, 200),
        cut(3, 1, 0),
        act(1, 4, phase(0), 0, None),
        act(1, 5, phase(0), 0, Some(5_000)),
        act(1, 6, phase(0), 400, None),
    ];
    let done = done(&planned, board, |orders| async move {
        begin(board, &orders, 0);
        sleep(Duration::from_millis(150)).await;
        orders.send_modify(|course| course.healed = true);
        sleep(Duration::from_millis(500)).await;
        begin(board, &orders, 1);
        sleep(Duration::from_millis(500)).await;
    });
    let mut done: Vec<_> = done.await.into_iter().map(|(step, seat, at)| (seat, step, at / 10)).collect();
    done.sort_unstable();
    use Step::{Begin, End};
    assert_eq!(done, [(1, Begin, 10), (4, End, 15), (4, Begin, 0), (5, End, 15), (5, Begin, 0)]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_orders_and_leaves_heals() {
    let board = &board();
    let planned = [act(1, 1, Part::Phase(0), 0, None)];
    let done = done(&planned, board, |orders| async move {
        begin(board, &orders, 0);
        sleep(Duration::from_millis(20)).await;
        drop(orders);
    });
    assert_eq!(done.await.iter().map(|(step, ..)| *step).collect::<Vec<_>>(), [Step::Begin, Step::End]);
}
