//! What faults are due on one thread's connections, and when: follows the schedule through the parts of a run.
//!
//! It knows times and orders, nothing of what a fault does: whoever follows it is told of each begin and each end.
//! Between two steps that are due at the same moment nothing is awaited, so that they lie as close together as the
//! kernel allows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;
use tokio::time::timeout_at;

use super::board::Board;
use crate::inject::{Act, Schedule};
use crate::scenarios::plan::{FaultKind, Part};

/// What a thread must know of the course of a run to follow the schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// The last phase that has begun, with its begin on the run's axis.
    pub phase: Option<(usize, u64)>,
    /// Nothing is applied any more, and what lasts is over.
    pub healed: bool,
}

/// A planned act on one of this thread's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    /// The connection's place on this thread.
    pub seat: usize,
    pub act: Act,
}

/// A step of an act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// It is over. Before the begins of the same moment: one part hands over to the next.
    End,
    /// It begins.
    Begin,
}

/// What is still to be done.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// Of parts that have not begun.
    later: Vec<Planned>,
    /// By when each is due, ns on the run's axis; at the same moment ends first, and each in the order of the schedule.
    due: BTreeMap<(u64, Step, u64), Planned>,
    /// How many were ever due.
    numbers: u64,
    /// Begun, and lasting to the end of their part.
    open: Vec<Planned>,
    /// What lasts, by fault.
    lasts: Vec<bool>,
    /// The last phase that it knows of.
    phase: Option<(usize, u64)>,
}

impl Agenda {
    /// Everything that has its time on these connections: their places, by their indices in the plan. What ends a cycle of
    /// churn comes with the cycle.
    pub(super) fn of(
        schedule: &Schedule,
        kinds: &[FaultKind],
        seat_of: impl Fn(u32) -> Option<usize>,
    ) -> Self {
        let mine = schedule
            .acts()
            .iter()
            .filter(|act| act.cycle.is_none())
            .filter_map(|act| Some(Planned { seat: seat_of(act.connection)?, act: *act }));
        let lasts = kinds.iter().map(FaultKind::lasts).collect();
        Self { later: mine.collect(), lasts, ..Self::default() }
    }

    /// How many acts are planned of each fault.
    pub(super) fn counts(&self) -> Vec<u64> {
        let mut counts = vec![0; self.lasts.len()];
        self.later.iter().for_each(|planned| counts[planned.act.fault] += 1);
        counts
    }

    /// Follows orders until everything is done or healed. `course` reads them; `step` is told of what is due at which
    /// time.
    pub(super) async fn follow<O>(
        this: &RefCell<Self>,
        board: &Board,
        mut orders: watch::Receiver<O>,
        course: impl Fn(&O) -> Course,
        mut step: impl FnMut(u64, Step, &Planned),
    ) {
        loop {
            let now = course(&orders.borrow_and_update());
            let next = {
                let mut agenda = this.borrow_mut();
                agenda.catch_up(board, now, &mut step);
                if agenda.is_empty() {
                    return;
                }
                agenda.due.first_key_value().map(|((due_ns, ..), _)| *due_ns)
            };
            let changed = orders.changed();
            let changed = match next {
                None => changed.await,
                Some(due_ns) => match timeout_at(board.clock.at(due_ns), changed).await {
                    Err(_) => continue,
                    Ok(changed) => changed,
                },
            };
            if changed.is_err() {
                return this.borrow_mut().heal(board.clock.now_ns(), &mut step);
            }
        }
    }

    /// Does everything that is due under these orders. Whoever hands orders on calls it first, so that nobody acts in a
    /// phase before its faults do.
    pub(super) fn catch_up(&mut self, board: &Board, now: Course, mut step: impl FnMut(u64, Step, &Planned)) {
        let now_ns = board.clock.now_ns();
        if now.healed {
            return self.heal(now_ns, &mut step);
        }
        if self.phase != now.phase {
            self.phase = now.phase;
            let begin = now.phase.map_or(now_ns, |(_, start_ns)| start_ns);
            self.end_of_part(begin, now.phase);
        }
        self.begin(|part| began(board, now, part));
        while let Some((due_ns, what, planned)) = self.take_due(board.clock.now_ns()) {
            self.take(due_ns, what, &planned, now.phase, &mut step);
        }
    }

    /// What acts from the first moment on, before anybody connects.
    pub(super) fn begin_set_up(&mut self, now_ns: u64, mut step: impl FnMut(u64, Step, &Planned)) {
        self.begin(|part| (part == Part::Setup).then_some(now_ns));
        while let Some((due_ns, what, planned)) = self.take_due(now_ns) {
            self.take(due_ns, what, &planned, None, &mut step);
        }
    }

    fn take(
        &mut self,
        due_ns: u64,
        what: Step,
        planned: &Planned,
        phase: Option<(usize, u64)>,
        step: &mut impl FnMut(u64, Step, &Planned),
    ) {
        if what == Step::Begin && self.lasts[planned.act.fault] {
            match planned.act.length {
                Some(length) => {
                    let end_ns = due_ns.saturating_add(u64::try_from(length.as_nanos()).unwrap_or(u64::MAX));
                    self.schedule(end_ns, Step::End, *planned);
                }
                // Its part is over before it began: there is nothing of it left.
                None if phase.map_or(Part::Setup, |(index, _)| Part::Phase(index)) != planned.act.part => {
                    return;
                }
                None => self.open.push(*planned),
            }
        }
        step(due_ns, what, planned);
    }

    /// The parts that `began` knows the beginning of have begun.
    fn begin(&mut self, began: impl Fn(Part) -> Option<u64>) {
        let later = std::mem::take(&mut self.later);
        for planned in later {
            let Some(start_ns) = began(planned.act.part) else {
                self.later.push(planned);
                continue;
            };
            let after = u64::try_from(planned.act.after.as_nanos()).unwrap_or(u64::MAX);
            self.schedule(start_ns.saturating_add(after), Step::Begin, planned);
        }
    }

    /// A phase begins: what lasts to the end of a part before it ends.
    fn end_of_part(&mut self, begin_ns: u64, phase: Option<(usize, u64)>) {
        let now = phase.map_or(Part::Setup, |(index, _)| Part::Phase(index));
        let (goes_on, over): (Vec<Planned>, Vec<Planned>) =
            std::mem::take(&mut self.open).into_iter().partition(|planned| planned.act.part == now);
        self.open = goes_on;
        over.into_iter().for_each(|planned| self.schedule(begin_ns, Step::End, planned));
    }

    fn schedule(&mut self, due_ns: u64, step: Step, planned: Planned) {
        self.due.insert((due_ns, step, self.numbers), planned);
        self.numbers += 1;
    }

    /// One that is due by now.
    fn take_due(&mut self, now_ns: u64) -> Option<(u64, Step, Planned)> {
        let first = self.due.first_entry().filter(|entry| entry.key().0 <= now_ns)?;
        let ((due_ns, step, _), planned) = first.remove_entry();
        Some((due_ns, step, planned))
    }

    /// Ends what lasts, whatever was planned.
    fn heal(&mut self, now_ns: u64, step: &mut impl FnMut(u64, Step, &Planned)) {
        let Self { later, due, open, .. } = std::mem::take(self);
        drop(later);
        let ends = due.into_iter().filter(|((_, what, _), _)| *what == Step::End);
        let planned = ends.map(|(_, planned)| planned).chain(open);
        planned.for_each(|planned| step(now_ns, Step::End, &planned));
    }

    fn is_empty(&self) -> bool {
        self.later.is_empty() && self.due.is_empty() && self.open.is_empty()
    }
}

/// When a part began, if it has: orders name only the last one. The set-up is begun by [`Agenda::begin_set_up`].
fn began(board: &Board, now: Course, part: Part) -> Option<u64> {
    let (last, start_ns) = now.phase?;
    match part {
        Part::Setup => None,
        Part::Phase(phase) if phase == last => Some(start_ns),
        Part::Phase(phase) if phase > last => None,
        Part::Phase(phase) => Some(board.phase_starts[phase].load(Relaxed)).filter(|at| *at != u64::MAX),
    }
}

#[cfg(test)]
#[path = "agenda_tests.rs"]
mod tests;
