//! Ends connections when the schedule says so: one task per shard, which cuts everything that is due in one go.
//!
//! Who and when is decided in `inject`; how a socket is ended is in `farewell`. Between two cuts that are due at the
//! same moment nothing is awaited, so that they lie as close together as the kernel allows.

use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::farewell;
use super::shard::{Course, Orders, Shard};
use super::task::pass_on;
use crate::inject::Cut;
use crate::ledger::End;

/// A planned cut of one of this shard's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Planned {
    seat: usize,
    cut: Cut,
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
    fn of(cuts: &[Cut], seat_of: impl Fn(u32) -> Option<usize>) -> Self {
        let mine = cuts.iter().filter_map(|cut| Some(Planned { seat: seat_of(cut.connection)?, cut: *cut }));
        Self { later: mine.collect(), begun: Vec::new() }
    }

    /// The phases that `began` knows the beginning of have begun.
    fn begin(&mut self, began: impl Fn(usize) -> Option<u64>) {
        let begun = &mut self.begun;
        self.later.retain(|planned| {
            let Some(start_ns) = began(planned.cut.phase) else { return true };
            let after = u64::try_from(planned.cut.after.as_nanos()).unwrap_or(u64::MAX);
            begun.push((start_ns.saturating_add(after), *planned));
            false
        });
        begun.sort_by_key(|(due_ns, _)| std::cmp::Reverse(*due_ns));
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
pub(super) async fn run(shard: Rc<Shard>, mut orders: watch::Receiver<Orders>) {
    let mut agenda = Agenda::of(shard.plan.schedule.cuts(), |connection| shard.seat_of(connection));
    let mut farewells = JoinSet::new();
    while !agenda.is_empty() {
        let now = *orders.borrow_and_update();
        if now.healed || now.course > Course::Run {
            break;
        }
        agenda.begin(|phase| shard.began(now, phase));
        while let Some((due_ns, planned)) = agenda.take_due(shard.plan.board.clock.now_ns()) {
            shard.cut(due_ns, &planned, &mut farewells);
        }
        let due = agenda.next_due().map(|due_ns| shard.plan.board.clock.at(due_ns));
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { break },
            () = async { sleep_until(due.expect("checked")).await }, if due.is_some() => {}
            Some(ended) = farewells.join_next() => pass_on(ended),
        }
    }
    while let Some(ended) = farewells.join_next().await {
        pass_on(ended);
    }
}

impl Shard {
    /// When a phase began, if it has: orders name only the last one.
    fn began(&self, orders: Orders, phase: usize) -> Option<u64> {
        let (last, start_ns) = orders.phase?;
        match phase.cmp(&last) {
            std::cmp::Ordering::Equal => Some(start_ns),
            std::cmp::Ordering::Greater => None,
            std::cmp::Ordering::Less => {
                Some(self.plan.board.phase_starts[phase].load(Relaxed)).filter(|at| *at != u64::MAX)
            }
        }
    }

    /// Cuts a connection now, if it is open; its life ends at this moment.
    fn cut(&self, due_ns: u64, planned: &Planned, farewells: &mut JoinSet<()>) {
        let Planned { seat, cut } = planned;
        let is_open = self.lives.borrow()[*seat].as_ref().is_some_and(|live| live.is_open());
        if !is_open {
            return;
        }
        let live = self.take_life(*seat).expect("it is open");
        let waker = live.waker().cloned();
        if let Some(rest) = farewell::begin(live.into_socket(), cut.how) {
            farewells.spawn_local(rest);
        }
        let at_ns = self.plan.board.clock.now_ns();
        self.book_cut(*seat);
        self.state.borrow_mut().faults[cut.fault].apply(due_ns, at_ns);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was planned for this shard and not applied, for whatever reason, was not applied.
    pub(super) fn reconcile_faults(&self) {
        let faults = &mut self.state.borrow_mut().faults;
        let planned = Agenda::of(self.plan.schedule.cuts(), |connection| self.seat_of(connection)).later;
        planned.iter().for_each(|planned| faults[planned.cut.fault].not_applied += 1);
        faults.iter_mut().for_each(|fault| fault.not_applied -= fault.applied);
    }

    fn seat_of(&self, connection: u32) -> Option<usize> {
        self.seats.binary_search_by_key(&connection, |seat| seat.connection).ok()
    }

    fn book_cut(&self, seat: usize) {
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
