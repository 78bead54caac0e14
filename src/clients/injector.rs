//! Applies faults to the connections of one shard when the agenda says so, and takes them back.
//!
//! Who and when is decided in `inject`; how a socket is ended is in `farewell`, what a link does to bytes in
//! `inject::stream`. What was not applied, for whatever reason, is found when the shard ends: planned less applied.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;

use super::agenda::{self, Agenda, Planned, Step};
use super::live::Live;
use super::shard::{Course, Orders, Shard};
use super::subs::SubState;
use super::weather::{Doom, block};
use crate::inject::{Act, Control, partition};
use crate::ledger::End;
use crate::scenarios::plan::{DropPoint, FaultKind, How, Part, Terminate};

/// A connection whose client has given it up while a fault of ours held it: to close it would tell the server.
pub(super) struct Parked {
    fault: usize,
    live: Box<Live>,
    control: Option<Rc<Control>>,
    /// Its subscriptions, which the server still has.
    subscriptions: u32,
    /// Events published to them until then.
    published: u64,
}

/// How the orders of a shard read to the agenda.
pub(super) fn course(orders: &Orders) -> agenda::Course {
    agenda::Course { phase: orders.phase, healed: orders.healed || orders.course > Course::Run }
}

/// Follows the agenda until it is done or everything has to be healed, and sees every end through.
pub(super) async fn run(shard: Rc<Shard>, agenda: Rc<RefCell<Agenda>>, orders: watch::Receiver<Orders>) {
    let at = (&*shard.plan.board, &shard.climate);
    let course = |orders: &Orders| (course(orders), orders.hurry);
    let step = |due_ns, step, planned: &Planned| shard.step(due_ns, step, planned);
    shard.aftermath.run(&agenda, at, orders, course, step).await;
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
        if let FaultKind::Churn(_) = kind {
            if self.begin_cycles(seat, due_ns) {
                self.wake(seat);
            }
            return;
        }
        let draws = |lane| self.plan.schedule.delays(act.fault, act.connection, lane);
        let tally = &self.faults[act.fault];
        let begun = self.climate.begin(seat, act.fault, kind, draws, tally) || self.block(seat, act.fault);
        if begun {
            if self.makes_slow(act.fault) {
                self.begin_slow(seat);
                // Who is gone by now reads nothing slowly; in set-up nobody is there yet.
                let is_gone = self.lives.borrow()[seat].as_ref().is_none_or(|live| !live.is_open());
                if is_gone && act.part != Part::Setup {
                    return;
                }
            }
            tally.borrow_mut().apply(due_ns, self.plan.board.clock.now_ns());
            self.wake(seat);
        }
    }

    fn end_act(&self, planned: &Planned) {
        let Planned { seat, act } = *planned;
        if let FaultKind::Churn(_) = self.plan.kinds[act.fault] {
            return self.stop_cycles(seat);
        }
        self.climate.end(seat, act.fault);
        if self.makes_slow(act.fault) {
            self.end_slow(seat);
        }
        let mut ended = matches!(
            self.plan.kinds[act.fault],
            FaultKind::ThinkTime(_)
                | FaultKind::LinkDelay(_)
                | FaultKind::HandshakeAbort(_)
                | FaultKind::SlowConsumer(_)
        );
        if self.climate.blocked_by(seat) == Some(act.fault) {
            self.let_go(seat);
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
        let doom = Doom { fault: act.fault, due_ns: Some(due_ns), point };
        if let DropPoint::Connect | DropPoint::Init = point {
            // It connects anew: what it has ends first, and the attempt that follows is the one that is counted.
            self.climate.doom_attempt(seat, doom);
            if let Some(live) = self.take_open(seat) {
                self.end_now(live, end.how);
                self.book_cut(seat);
            }
            return;
        }
        let mut lives = self.lives.borrow_mut();
        let dooms = lives[seat].as_mut().filter(|live| live.is_open()).is_some_and(|live| live.doom(doom));
        drop(lives);
        if dooms && point == DropPoint::ReceivePartial {
            self.climate.control(seat).inspect(|control| control.cut_short());
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
        self.aftermath.see_off(live.into_socket(), how);
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
        let keeps_deliveries = match kind {
            FaultKind::Hold(direction) | FaultKind::Stall(direction) => direction.is_down(),
            _ => true,
        };
        if keeps_deliveries {
            let ledger = &mut self.state.borrow_mut().ledger;
            live.seat().range().for_each(|sub| ledger.hold(sub as usize));
        }
        true
    }

    /// Lets bytes of a client's present connection travel again.
    fn let_go(&self, seat: usize) {
        let control = self.climate.control(seat);
        if let Some((live, control)) = self.lives.borrow()[seat].as_ref().zip(control) {
            self.unblock(&control, live);
        }
        self.climate.let_go(seat);
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

    /// Once nothing that was held can be on its way any more, what does not arrive is not our doing.
    pub(super) fn follow_up(&self) {
        self.climate.follow_up(|seat| {
            let ledger = &mut self.state.borrow_mut().ledger;
            self.seats[seat].range().for_each(|sub| ledger.let_go(sub as usize));
        });
    }

    /// A client takes its connection for dead. While a fault of ours holds it, it is kept aside until that is over.
    pub(super) fn abandon(&self, live: Box<Live>) {
        let seat = live.seat().local;
        match self.climate.blocked_by(seat) {
            Some(fault) => {
                let (control, range) = (live.control(), live.seat().range());
                let is_active = |sub: &u32| self.state.borrow().subs[*sub as usize].state == SubState::Active;
                let subscriptions = range.clone().filter(is_active).count() as u32;
                self.plan.board.parked.up();
                (0..subscriptions).for_each(|_| self.plan.board.parked_subscriptions.up());
                let published = self.published_to(range);
                self.parked.borrow_mut().push(Parked { fault, live, control, subscriptions, published });
            }
            None => self.end_now(live, How::Reset),
        }
    }

    /// The fault that held a connection which its client has given up is over.
    fn close_parked(&self, parked: Parked) {
        let Parked { live, control, subscriptions, published, .. } = parked;
        if let Some(control) = control {
            self.unblock(&control, &live);
        }
        self.plan.board.parked.down();
        (0..subscriptions).for_each(|_| self.plan.board.parked_subscriptions.down());
        // The server may have got rid of those to the old connection, which nobody reads any more.
        let withheld = self.published_to(live.seat().range()).saturating_sub(published);
        let cohort = usize::from(live.seat().cohort);
        self.state.borrow_mut().cohorts[cohort].withheld += withheld;
        self.aftermath.see_off(live.into_socket(), How::Fin);
    }

    /// Events published so far to the channels of these subscriptions, for each of them.
    fn published_to(&self, subs: std::ops::Range<u32>) -> u64 {
        let board = &self.plan.board;
        let state = self.state.borrow();
        let channels = subs.map(|sub| state.subs[sub as usize].channel);
        channels
            .flat_map(|channel| board.streams.streams_of_channel(channel))
            .map(|s| board.roster.published(s))
            .sum()
    }

    fn wake(&self, seat: usize) {
        let waker = self.lives.borrow()[seat].as_ref().and_then(|live| live.waker().cloned());
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// What was planned for this shard and not applied, for whatever reason, was not applied.
    pub(super) fn reconcile_faults(&self) {
        let mut planned = vec![0; self.faults.len()];
        for act in self.plan.schedule.acts().iter().filter(|act| self.seat_of(act.connection).is_some()) {
            planned[act.fault] += self.plan.kinds[act.fault].times();
        }
        for (tally, planned) in self.faults.iter().zip(planned) {
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
        self.climate.forget(seat.local);
        {
            let cohort = &mut self.state.borrow_mut().cohorts[usize::from(seat.cohort)];
            cohort.dropped_by_plan += 1;
            cohort.cut += 1;
        }
        self.note_absence(seat);
        self.part(seat)
    }
}
