//! Ends connections when the schedule says so: one task per shard, which cuts everything that is due in one go.
//!
//! Who and when is decided in `inject`; how a socket is ended is in `farewell`. Between two cuts that are due at the
//! same moment nothing is awaited, so that they lie as close together as the kernel allows.

use std::cmp::{Ordering, Reverse};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use super::board::Board;
use super::farewell;
use super::shard::{Course, Orders, Shard};
use super::task::pass_on;
use crate::inject::Act;
use crate::ledger::End;
use crate::scenarios::plan::{FaultKind, How, Part};

/// A planned cut of one of this shard's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    seat: usize,
    act: Act,
    how: How,
}

/// What is still to be cut.
#[derive(Debug, Default)]
struct Agenda {
    /// By phase.
    later: Vec<Planned>,
    /// Of phases that have begun: when each is due, ns on the run's axis; the last is due first.
    begun: Vec<(u64, Planned)>,
}

impl Agenda {
    /// Everything planned for these connections: their indices in the plan, by seat.
    fn of(acts: &[Act], how: impl Fn(usize) -> Option<How>, seat_of: impl Fn(u32) -> Option<usize>) -> Self {
        let mine = acts.iter().filter_map(|act| {
            Some(Planned { seat: seat_of(act.connection)?, act: *act, how: how(act.fault)? })
        });
        Self { later: mine.collect(), begun: Vec::new() }
    }

    /// The phases that `began` knows the beginning of have begun.
    fn begin(&mut self, began: impl Fn(Part) -> Option<u64>) {
        let begun = &mut self.begun;
        self.later.retain(|planned| {
            let Some(start_ns) = began(planned.act.part) else { return true };
            let after = u64::try_from(planned.act.after.as_nanos()).unwrap_or(u64::MAX);
            begun.push((start_ns.saturating_add(after), *planned));
            false
        });
        begun.sort_by_key(|(due_ns, _)| Reverse(*due_ns));
    }

    /// When the next one is due.
    fn next_due(&self) -> Option<u64> {
        self.begun.last().map(|(due_ns, _)| *due_ns)
    }

    /// One that is due by now.
    fn take_due(&mut self, now_ns: u64) -> Option<(u64, Planned)> {
        self.begun.pop_if(|(due_ns, _)| *due_ns <= now_ns)
    }

    fn is_empty(&self) -> bool {
        self.later.is_empty() && self.begun.is_empty()
    }
}

/// Follows the schedule until it is done or nothing may be cut any more; what was not cut then never is, and
/// [`Shard::reconcile_faults`] says so.
pub(super) async fn run(shard: Rc<Shard>, orders: watch::Receiver<Orders>) {
    let agenda = shard.agenda();
    let mut farewells = JoinSet::new();
    follow(agenda, orders, &shard.plan.board, |due_ns, planned| {
        while let Some(ended) = farewells.try_join_next() {
            pass_on(ended);
        }
        shard.cut(due_ns, planned, &mut farewells);
    })
    .await;
    while let Some(ended) = farewells.join_next().await {
        pass_on(ended);
    }
}

async fn follow(
    mut agenda: Agenda,
    mut orders: watch::Receiver<Orders>,
    board: &Board,
    mut cut: impl FnMut(u64, &Planned),
) {
    while !agenda.is_empty() {
        let now = *orders.borrow_and_update();
        if now.healed || now.course > Course::Run {
            return;
        }
        agenda.begin(|part| began(board, now, part));
        while let Some((due_ns, planned)) = agenda.take_due(board.clock.now_ns()) {
            cut(due_ns, &planned);
        }
        let changed = orders.changed();
        let changed = match agenda.next_due() {
            None => changed.await,
            Some(due_ns) => match timeout_at(board.clock.at(due_ns), changed).await {
                Err(_) => continue,
                Ok(changed) => changed,
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// When a phase began, if it has: orders name only the last one.
fn began(board: &Board, orders: Orders, part: Part) -> Option<u64> {
    let Part::Phase(phase) = part else { return Some(0) };
    let (last, start_ns) = orders.phase?;
    match phase.cmp(&last) {
        Ordering::Equal => Some(start_ns),
        Ordering::Greater => None,
        Ordering::Less => Some(board.phase_starts[phase].load(Relaxed)).filter(|at| *at != u64::MAX),
    }
}

impl Shard {
    /// Cuts a connection now, if it is open; its life ends at this moment.
    fn cut(&self, due_ns: u64, planned: &Planned, farewells: &mut JoinSet<()>) {
        let Planned { seat, act, how } = planned;
        let is_open = self.lives.borrow()[*seat].as_ref().is_some_and(|live| live.is_open());
        if !is_open {
            return;
        }
        let live = self.take_life(*seat).expect("it is open");
        let waker = live.waker().cloned();
        if let Some(rest) = farewell::begin(live.into_socket(), *how) {
            farewells.spawn_local(rest);
        }
        let at_ns = self.plan.board.clock.now_ns();
        self.book_cut(*seat);
        self.state.borrow_mut().faults[act.fault].apply(due_ns, at_ns);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was planned for this shard and not applied, for whatever reason, was not applied.
    pub(super) fn reconcile_faults(&self) {
        let faults = &mut self.state.borrow_mut().faults;
        let planned = self.agenda().later;
        planned.iter().for_each(|planned| faults[planned.act.fault].not_applied += 1);
        faults.iter_mut().for_each(|fault| fault.not_applied -= fault.applied);
    }

    fn agenda(&self) -> Agenda {
        let how = |fault: usize| match &self.plan.kinds[fault] {
            FaultKind::Terminate(end) => Some(end.how),
            _ => None,
        };
        Agenda::of(self.plan.schedule.acts(), how, |connection| self.seat_of(connection))
    }

    fn seat_of(&self, connection: u32) -> Option<usize> {
        self.seats.binary_search_by_key(&connection, |seat| seat.connection).ok()
    }

    /// Books the end of a connection that a fault of ours ended or held when it died.
    pub(super) fn book_cut(&self, seat: usize) {
        let seat = &self.seats[seat];
        self.plan.board.open.down();
        self.end_life(seat.range(), End::Cut);
        {
            let cohort = &mut self.state.borrow_mut().cohorts[usize::from(seat.cohort)];
            cohort.dropped_by_plan += 1;
            cohort.cut += 1;
        }
        self.part(seat);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::clock::{self, RunClock};
    use crate::ledger::Streams;

    fn cut(connection: u32, phase: usize, after_ms: u64) -> Act {
        let after = Duration::from_millis(after_ms);
        Act { fault: 0, connection, part: Part::Phase(phase), after, length: None, point: None }
    }

    fn board() -> Board {
        Board::new(RunClock::start(), 1, Arc::new(Streams::new(1, &[])), 1, 3)
    }

    fn begin(board: &Board, orders: &watch::Sender<Orders>, phase: usize) {
        let now_ns = board.clock.now_ns();
        board.phase_starts[phase].store(now_ns, Relaxed);
        orders.send_modify(|o| o.phase = Some((phase, now_ns)));
    }

    /// Follows the cuts while `conduct` gives orders; which seat was cut at which ms.
    async fn cuts<F: Future<Output = ()>>(
        planned: &[Act],
        board: &Board,
        conduct: impl FnOnce(watch::Sender<Orders>) -> F,
    ) -> Vec<(usize, u128)> {
        let began = clock::now();
        let (give, orders) = watch::channel(Orders::default());
        let done = RefCell::new(Vec::new());
        let agenda = Agenda::of(
            planned,
            |_| Some(How::Reset),
            |connection| (connection < 10).then_some(connection as usize),
        );
        let following = follow(agenda, orders, board, |due_ns, planned| {
            assert!(board.clock.now_ns() >= due_ns, "not before its time");
            done.borrow_mut().push((planned.seat, began.elapsed().as_millis()));
        });
        let both = async { tokio::join!(following, conduct(give)) };
        timeout(Duration::from_secs(100), both).await.expect("it ends with its orders");
        done.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_cut_at_its_time_in_its_phase() {
        let board = board();
        // Connection 11 is somebody else's.
        let planned =
            [cut(1, 1, 0), cut(2, 0, 250), cut(3, 0, 250), cut(4, 1, 30), cut(5, 2, 10), cut(11, 0, 0)];
        let board = &board;
        let done = cuts(&planned, board, |orders| async move {
            sleep(Duration::from_millis(100)).await;
            begin(board, &orders, 0);
            sleep(Duration::from_millis(1_000)).await;
            begin(board, &orders, 1);
            sleep(Duration::from_millis(1_000)).await;
        });
        let at = |ms: u128, found: u128| (ms..ms + 3).contains(&found);
        let done = done.await;
        let seats: Vec<usize> = done.iter().map(|(seat, _)| *seat).collect();
        assert!(seats[..2].contains(&2) && seats[..2].contains(&3), "{done:?}");
        assert_eq!(seats[2..], [1, 4], "and the third phase never began: {done:?}");
        assert!(at(350, done[0].1) && done[1].1 == done[0].1, "at one instant: {done:?}");
        assert!(at(1_100, done[2].1) && at(1_130, done[3].1), "{done:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_phase_that_was_left_early_keeps_its_times() {
        let board = &board();
        let planned = [cut(1, 0, 500), cut(2, 1, 100)];
        let done = cuts(&planned, board, |orders| async move {
            begin(board, &orders, 0);
            begin(board, &orders, 1);
            sleep(Duration::from_millis(1_000)).await;
        });
        let done: Vec<_> = done.await.into_iter().map(|(seat, at)| (seat, at / 10)).collect();
        assert_eq!(done, [(2, 10), (1, 50)]);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_healing_nothing_is_cut() {
        let ways: [fn(&mut Orders); 3] =
            [|o| o.healed = true, |o| o.course = Course::Unsubscribe, |o| o.course = Course::Abort];
        for end in ways {
            let board = &board();
            let planned = [cut(1, 0, 100), cut(2, 0, 200), cut(3, 1, 0)];
            let done = cuts(&planned, board, |orders| async move {
                begin(board, &orders, 0);
                sleep(Duration::from_millis(150)).await;
                orders.send_modify(end);
                sleep(Duration::from_millis(500)).await;
                begin(board, &orders, 1);
                sleep(Duration::from_millis(500)).await;
            });
            assert_eq!(done.await.len(), 1);
        }
    }
}
