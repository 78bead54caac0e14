//! Applies faults to publishing connections when the agenda says so, and takes them back.
//!
//! A publishing connection is owned by its task, so what has to be done to its socket is ordered from it here and done
//! by `link`; what concerns its thinking, its bytes and its attempts to connect goes through the climate as for
//! everyone else.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::watch;

use super::agenda::{self, Agenda, Planned, Step};
use super::desk::{Desk, PublisherSeat};
use super::handshake::{Refusal, Socket};
use super::presence::Lost;
use super::presence::Presence;
use super::source::PublishOrders;
use super::weather::{Doom, block};
use crate::inject::{FaultTally, Lane, partition};
use crate::scenarios::plan::{DropPoint, FaultKind, How};

/// What one publishing connection is to do about its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// End it now.
    Cut {
        /// Index of the fault in the plan.
        fault: usize,
        /// When it was due, ns on the run's axis.
        due_ns: u64,
        /// How.
        how: How,
    },
    /// End it at a point.
    Doom(Doom, How),
    /// Have the kernel drop what comes in, or no longer.
    Partition(bool),
}

/// Orders that wait for one connection.
pub(super) type Orders = VecDeque<Order>;

pub(super) fn course(orders: &PublishOrders) -> agenda::Course {
    agenda::Course { phase: orders.phase, healed: orders.stop || orders.close || orders.abort }
}

/// Follows the agenda until it is done or everything has to be healed, and sees every end through.
pub(super) async fn run(desk: Rc<Desk>, agenda: Rc<RefCell<Agenda>>, orders: watch::Receiver<PublishOrders>) {
    let at = (&*desk.board, &desk.climate);
    // Whoever is let go of may act before the thread has handed these orders on: it must not publish any more.
    let course = |orders: &PublishOrders| {
        let course = course(orders);
        if course.healed {
            desk.orders.set(*orders);
        }
        (course, orders.hurry)
    };
    let step = |due_ns, step, planned: &Planned| desk.step(due_ns, step, planned);
    desk.aftermath.run(&agenda, at, orders, course, step).await;
}

impl Desk {
    /// Everything that is planned for publishing connections.
    pub(super) fn agenda(&self) -> Agenda {
        let first = self.first_connection;
        let seat_of = |connection: u32| connection.checked_sub(first).map(|index| index as usize);
        Agenda::of(&self.schedule, &self.kinds, seat_of)
    }

    /// A step of an act is due.
    pub(super) fn step(&self, due_ns: u64, step: Step, planned: &Planned) {
        match step {
            Step::Begin => self.begin_act(due_ns, planned),
            Step::End => self.end_act(planned),
        }
        self.wake(planned.seat);
    }

    fn begin_act(&self, due_ns: u64, planned: &Planned) {
        let Planned { seat, act } = *planned;
        let kind = &self.kinds[act.fault];
        let fault = act.fault;
        if let FaultKind::Terminate(end) = kind {
            match act.point {
                None => self.order(seat, Order::Cut { fault, due_ns, how: end.how }),
                Some(point) => {
                    let doom = Doom { fault, due_ns: Some(due_ns), point };
                    if let DropPoint::Connect | DropPoint::Init = point {
                        self.climate.doom_attempt(seat, doom);
                    }
                    self.order(seat, Order::Doom(doom, end.how));
                }
            }
            return;
        }
        let draws = |lane: Lane| self.schedule.delays(fault, act.connection, lane);
        let tally = &self.faults[fault];
        let mut begun = self.climate.begin(seat, fault, kind, draws, tally);
        if !begun && self.seats.borrow().get(seat).is_some_and(Presence::is_ready) {
            begun = self.climate.block(seat, fault, kind).is_some();
            if let FaultKind::Partition { .. } = kind {
                self.order(seat, Order::Partition(true));
            }
        }
        if begun {
            tally.borrow_mut().apply(due_ns, self.board.clock.now_ns());
        }
    }

    fn end_act(&self, planned: &Planned) {
        let Planned { seat, act } = *planned;
        let kind = &self.kinds[act.fault];
        self.climate.end(seat, act.fault);
        let mut ended = matches!(kind.layer(), "client") || matches!(kind, FaultKind::LinkDelay(_));
        ended |= matches!(kind, FaultKind::HandshakeAbort(_));
        if self.climate.blocked_by(seat) == Some(act.fault) {
            if let Some(control) = self.climate.control(seat) {
                block(&control, kind, false);
            }
            if let FaultKind::Partition { .. } = kind {
                self.order(seat, Order::Partition(false));
            }
            self.climate.let_go(seat);
            ended = true;
        }
        self.faults[act.fault].borrow_mut().ended += u64::from(ended);
    }

    fn order(&self, seat: usize, order: Order) {
        // Whoever has no connection has nothing to be done to it.
        if self.seats.borrow().get(seat).is_some_and(Presence::is_ready) {
            self.errands.borrow_mut().entry(seat).or_default().push_back(order);
        }
    }

    /// What a connection is to do next about its socket.
    pub(super) fn next_order(&self, seat: usize) -> Option<Order> {
        let mut errands = self.errands.borrow_mut();
        if errands.is_empty() {
            return None;
        }
        errands.get_mut(&seat)?.pop_front()
    }

    /// A connection is gone: what it was to do is of no use to the next one.
    pub(super) fn forget_orders(&self, seat: usize) {
        self.errands.borrow_mut().remove(&seat);
        self.climate.forget(seat);
    }

    /// Notes that a connection was ended as planned.
    pub(super) fn note_cut(&self, fault: usize, due_ns: impl Into<Option<u64>>, point: Option<DropPoint>) {
        let mut tally = self.faults[fault].borrow_mut();
        tally.apply(due_ns, self.board.clock.now_ns());
        if let Some(point) = point {
            *tally.points.entry(point).or_default() += 1;
        }
    }

    fn wake(&self, seat: usize) {
        let waker = self.seats.borrow().get(seat).and_then(|presence| presence.waker.clone());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What becomes of an attempt to connect that failed: one that had to fail may have ended a connection as planned.
    pub(super) fn refused_connection(&self, seat: PublisherSeat, refusal: Refusal) -> Lost {
        if !refusal.failure.is_injected() {
            return Lost::Refused(refusal);
        }
        if let Some(doom) = self.climate.take_doomed_attempt(seat.index) {
            self.note_cut(doom.fault, doom.due_ns, Some(doom.point));
        }
        Lost::Aborted
    }

    /// Ends a connection; what remains to be done about it is done aside.
    pub(super) fn see_off(&self, seat: PublisherSeat, socket: Socket, how: How) {
        // What is kept from travelling must not keep the end from it.
        if let Some(fault) = self.climate.blocked_by(seat.index) {
            if let Some(control) = socket.get_ref().control() {
                block(control, &self.kinds[fault], false);
            }
            // Nothing is attached where it is no partition.
            let _ = partition::detach(socket.get_ref().tcp());
            self.faults[fault].borrow_mut().ended += 1;
        }
        self.aftermath.see_off(socket, how);
    }

    /// What became of each fault on this thread; what was planned and not applied was not applied.
    pub(super) fn reconciled_faults(&self) -> Vec<FaultTally> {
        let one = |(tally, planned): (&super::weather::Tally, u64)| {
            let mut tally = tally.borrow().clone();
            tally.not_applied = planned.saturating_sub(tally.applied);
            tally
        };
        self.faults.iter().zip(self.agenda().counts()).map(one).collect()
    }
}
