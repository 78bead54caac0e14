//! Applies faults to the connections of one shard when the agenda says so, and takes them back.
//!
//! Who and when is decided in `inject`; how a socket is ended is in `farewell`, what a link does to bytes in
//! `inject::stream`. What was not applied, for whatever reason, is found when the shard ends: planned less applied.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::agenda::{self, Agenda, Planned, Step};
use super::farewell;
use super::live::Live;
use super::shard::{Course, Orders, Shard};
use super::task::pass_on;
use super::timer;
use super::weather::{Doom, block};
use crate::clock::{self, Instant};
use crate::inject::{Act, Control, partition};
use crate::ledger::End;
use crate::scenarios::plan::{DropPoint, FaultKind, How, Terminate};

/// How long after a connection was let go what it had not received may still be on its way, if nothing arrives: longer
/// than any retransmission waits after a partition of a few seconds.
const STILL_ON_ITS_WAY: Duration = Duration::from_secs(10);

/// A connection whose client has given it up while a fault of ours held it: to close it would tell the server.
pub(super) struct Parked {
    fault: usize,
    live: Box<Live>,
    control: Option<Rc<Control>>,
}

/// A connection that was let go, and what it had received by then.
pub(super) struct LetGo {
    seat: usize,
    control: Rc<Control>,
    received: u64,
    at: Instant,
}

/// What remains to be done about a connection that was ended.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// How the orders of a shard read to the agenda.
pub(super) fn course(orders: &Orders) -> agenda::Course {
    agenda::Course { phase: orders.phase, healed: orders.healed || orders.course > Course::Run }
}

/// Follows the agenda until it is done or everything has to be healed, and sees every end through.
pub(super) async fn run(shard: Rc<Shard>, agenda: Rc<RefCell<Agenda>>, orders: watch::Receiver<Orders>) {
    let hurry = orders.clone();
    let following = Agenda::follow(&agenda, &shard.plan.board, orders, course, |due_ns, step, planned| {
        shard.step(due_ns, step, planned);
    });
    let mut rests = JoinSet::new();
    let mut following = std::pin::pin!(following);
    let mut driving = std::pin::pin!(timer::drive(shard.climate.alarm()));
    let mut followed = false;
    loop {
        for rest in shard.rests.take() {
            rests.spawn_local(rest);
        }
        tokio::select! {
            () = &mut following, if !followed => {
                followed = true;
                shard.healed.cancel();
                if hurry.borrow().hurry {
                    shard.climate.flush();
                }
            }
            () = &mut driving => {}
            () = shard.new_rest.notified() => {}
            Some(ended) = rests.join_next() => pass_on(ended),
        }
    }
}

impl Shard {
    /// Everything that is planned for this shard.
    pub(super) fn agenda(&self) -> Agenda {
        Agenda::of(&self.plan.schedule, &self.plan.kinds, |connection| self.seat_of(connection))
    }

    /// A step of an act is due.
    pub(super) fn step(&self, due_ns: u64, step: Step, planned: &Planned) {
        match step {
            Step::Begin => self.begin_act(due_ns, planned),
            Step::End => self.end_act(planned),
        }
    }

    fn begin_act(&self, due_ns: u64, planned: &Planned) {
        let Planned { seat, act } = *planned;
        let kind = &self.plan.kinds[act.fault];
        if let FaultKind::Terminate(end) = kind {
            return self.begin_end(due_ns, seat, &act, end);
        }
        let draws = |lane| self.plan.schedule.delays(act.fault, act.connection, lane);
        let tally = &self.faults[act.fault];
        let begun = self.climate.begin(seat, act.fault, kind, draws, tally) || self.block(seat, act.fault);
        if begun {
            tally.borrow_mut().apply(due_ns, self.plan.board.clock.now_ns());
            self.wake(seat);
        }
    }

    fn end_act(&self, planned: &Planned) {
        let Planned { seat, act } = *planned;
        self.climate.end(seat, act.fault);
        let mut ended = matches!(
            self.plan.kinds[act.fault],
            FaultKind::ThinkTime(_) | FaultKind::LinkDelay(_) | FaultKind::HandshakeAbort(_)
        );
        if self.climate.blocked_by(seat) == Some(act.fault) {
            self.let_go(seat, act.fault);
            ended = true;
        }
        let is_it = |parked: &mut Parked| parked.fault == act.fault && parked.live.seat().local == seat;
        let over: Vec<Parked> = self.parked.borrow_mut().extract_if(.., is_it).collect();
        for one in over {
            self.close_parked(one);
            ended = true;
        }
        self.faults[act.fault].borrow_mut().ended += u64::from(ended);
        self.wake(seat);
    }

    /// Ends a connection, or dooms it to end at a point.
    fn begin_end(&self, due_ns: u64, seat: usize, act: &Act, end: &Terminate) {
        let Some(point) = act.point else { return self.cut(due_ns, seat, act.fault, end.how) };
        let doom = Doom { fault: act.fault, due_ns, point };
        if let DropPoint::Connect | DropPoint::Init = point {
            // It connects anew: what it has ends first, and the attempt that follows is the one that is counted.
            self.climate.doom_attempt(seat, doom);
            if let Some(live) = self.take_open(seat) {
                self.end_now(live, end.how);
                self.book_cut(seat);
            }
            return;
        }
        if point == DropPoint::ReceivePartial
            && let Some(control) = self.climate.control(seat)
        {
            control.cut_short();
        }
        if let Some(live) = self.lives.borrow_mut()[seat].as_mut() {
            live.doom(doom);
        }
        self.wake(seat);
    }

    /// Cuts a connection now, if it is open; its life ends at this moment.
    fn cut(&self, due_ns: u64, seat: usize, fault: usize, how: How) {
        let Some(live) = self.take_open(seat) else { return };
        self.end_now(live, how);
        let at_ns = self.plan.board.clock.now_ns();
        self.book_cut(seat);
        self.faults[fault].borrow_mut().apply(due_ns, at_ns);
    }

    /// A doomed connection has come to its point.
    pub(super) fn execute(&self, live: Box<Live>, doom: Doom) {
        let FaultKind::Terminate(end) = &self.plan.kinds[doom.fault] else { return };
        let seat = live.seat().local;
        self.end_now(live, end.how);
        self.book_cut(seat);
        self.note_point(doom);
    }

    /// A connection was ended at its point, or an attempt to connect was.
    pub(super) fn note_point(&self, doom: Doom) {
        let mut tally = self.faults[doom.fault].borrow_mut();
        tally.apply(doom.due_ns, self.plan.board.clock.now_ns());
        *tally.points.entry(doom.point).or_default() += 1;
    }

    /// The present connection of a client, taken away from it, if it is open.
    fn take_open(&self, seat: usize) -> Option<Box<Live>> {
        let is_open = self.lives.borrow()[seat].as_ref().is_some_and(|live| live.is_open());
        if is_open { self.take_life(seat) } else { None }
    }

    /// Ends a connection and wakes its client; what remains to be done is done aside.
    fn end_now(&self, live: Box<Live>, how: How) {
        let waker = live.waker().cloned();
        // What is kept from travelling must not keep the end from it.
        if let Some(control) = live.control() {
            self.unblock(&control, &live);
        }
        if let Some(rest) = farewell::begin(live.into_socket(), how, self.healed.clone()) {
            self.rests.borrow_mut().push(rest);
            self.new_rest.notify_one();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Keeps bytes of a client's present connection from travelling; whether there is one.
    fn block(&self, seat: usize, fault: usize) -> bool {
        let kind = &self.plan.kinds[fault];
        let lives = self.lives.borrow();
        let Some(live) = lives[seat].as_ref().filter(|live| live.is_open()) else { return false };
        if let FaultKind::Partition { .. } = kind
            && partition::attach(live.tcp()).is_err()
        {
            return false;
        }
        if self.climate.block(seat, fault, kind).is_none() {
            return false;
        }
        let range = live.seat().range();
        let ledger = &mut self.state.borrow_mut().ledger;
        range.for_each(|sub| ledger.hold(sub as usize));
        true
    }

    /// Lets bytes of a client's present connection travel again.
    fn let_go(&self, seat: usize, fault: usize) {
        let control = self.climate.control(seat);
        if let Some((live, control)) = self.lives.borrow()[seat].as_ref().zip(control) {
            self.unblock(&control, live);
            let received = control.received();
            self.let_go.borrow_mut().push(LetGo { seat, control, received, at: clock::now() });
        }
        debug_assert_eq!(self.climate.blocked_by(seat), Some(fault));
        self.climate.unblock(seat);
    }

    fn unblock(&self, control: &Control, live: &Live) {
        for kind in &self.plan.kinds {
            block(control, kind, false);
            if let FaultKind::Partition { .. } = kind {
                // Nothing is attached where another fault acted.
                let _ = partition::detach(live.tcp());
            }
        }
    }

    /// Once something arrives on a connection that was let go, what does not arrive is no longer our doing.
    pub(super) fn follow_up(&self) {
        if self.let_go.borrow().is_empty() {
            return;
        }
        self.let_go.borrow_mut().retain(|one| {
            let arrives = one.control.received() > one.received;
            let on_its_way = !arrives && one.at.elapsed() < STILL_ON_ITS_WAY;
            if !on_its_way {
                let ledger = &mut self.state.borrow_mut().ledger;
                self.seats[one.seat].range().for_each(|sub| ledger.let_go(sub as usize));
            }
            on_its_way
        });
    }

    /// Whether what happens to a client's present connection is brought about by a fault of ours: it is held, or what was
    /// held has not begun to arrive.
    pub(super) fn is_our_doing(&self, seat: usize) -> bool {
        self.climate.blocked_by(seat).is_some() || self.let_go.borrow().iter().any(|one| one.seat == seat)
    }

    /// A client takes its connection for dead. While a fault of ours holds it, it is kept aside until that is over.
    pub(super) fn abandon(&self, live: Box<Live>) {
        let seat = live.seat().local;
        match self.climate.blocked_by(seat) {
            Some(fault) => {
                let control = live.control();
                self.plan.board.parked.up();
                self.parked.borrow_mut().push(Parked { fault, live, control });
            }
            None => self.end_now(live, How::Reset),
        }
    }

    /// The fault that held a connection which its client has given up is over.
    fn close_parked(&self, parked: Parked) {
        let Parked { live, control, .. } = parked;
        if let Some(control) = control {
            self.unblock(&control, &live);
        }
        self.plan.board.parked.down();
        if let Some(rest) = farewell::begin(live.into_socket(), How::Fin, self.healed.clone()) {
            self.rests.borrow_mut().push(rest);
            self.new_rest.notify_one();
        }
    }

    fn wake(&self, seat: usize) {
        let waker = self.lives.borrow()[seat].as_ref().and_then(|live| live.waker().cloned());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was planned for this shard and not applied, for whatever reason, was not applied.
    pub(super) fn reconcile_faults(&self) {
        for (tally, planned) in self.faults.iter().zip(self.agenda().counts()) {
            let mut tally = tally.borrow_mut();
            tally.not_applied = planned.saturating_sub(tally.applied);
        }
    }

    pub(super) fn seat_of(&self, connection: u32) -> Option<usize> {
        self.seats.binary_search_by_key(&connection, |seat| seat.connection).ok()
    }

    /// Books the end of a connection by a fault of ours; whether its client shall come back.
    pub(super) fn book_cut(&self, seat: usize) -> bool {
        let seat = &self.seats[seat];
        self.plan.board.open.down();
        self.end_life(seat.range(), End::Cut);
        self.climate.unblock(seat.local);
        {
            let cohort = &mut self.state.borrow_mut().cohorts[usize::from(seat.cohort)];
            cohort.dropped_by_plan += 1;
            cohort.cut += 1;
        }
        self.part(seat)
    }
}
