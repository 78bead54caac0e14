//! The cycles of one client, over all its connections: what comes next, and what became of each.
//!
//! [`Churner`] decides and knows neither clock nor socket: it is told what the connection shows, and says what is to be
//! done. Who does it is in `cycling`. All times are ns on the run's axis.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::weather::Tally;
use crate::inject::{Act, Schedule};
use crate::scenarios::plan::{Churn, DropPoint, FaultKind};

/// What its connection shows of a client that churns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub now: u64,
    pub subscriptions: Shown,
    /// Everything that was to be said has left.
    pub said: bool,
    /// An event has arrived since the subscriptions were proved.
    pub received: bool,
    /// When the server answered what was asked after the last operation.
    pub answered: Option<u64>,
    /// Nobody waits for that answer any more.
    pub overdue: bool,
}

/// How much longer than it was to hold a cycle waits for the event with which it is to end, in ns.
const PATIENCE: u64 = 1_000_000_000;

/// How the subscriptions of a cycle stand, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// One is not asked for, or not proved yet.
    Pending,
    /// All are proved; how long the last one took.
    Proved(u64),
    /// One was not proved in time, or was refused or ended by the server.
    Broken,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Nothing before this time, or before something happens.
    Wait(Option<u64>),
    /// Ask for the subscriptions, under ids of their own.
    Subscribe,
    /// End them, and ask something that is answered behind it.
    Unsubscribe,
    /// End them, and ask nothing: the connection ends when that is out.
    UnsubscribeLast,
    /// Ask something that is answered.
    Ask,
    /// The answer to the unsubscribe was given up.
    GiveUpAnswer,
    /// End the connection, as this fault has it, at this point.
    Die(usize, DropPoint),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The fault has not begun.
    Before,
    /// It has begun, and the subscriptions of set-up are still there.
    Starting,
    Resting {
        until: u64,
    },
    Subscribing,
    Holding {
        until: u64,
    },
    /// Of one that ends with the next message: none came while it held, so it asks for one.
    Asking,
    Leaving,
}

/// One client's cycles.
pub(super) struct Churner {
    cycles: u32,
    hold: u64,
    pause: u64,
    /// Cycles that fail by plan: by which fault, where.
    fails: BTreeMap<u32, (usize, DropPoint)>,
    started: u32,
    /// Of those, over.
    over: u32,
    stage: Stage,
    stopped: bool,
    /// Something went wrong in this cycle that no fault of ours explains.
    broken: bool,
    /// When this cycle was due, and when it began.
    due: u64,
    began: u64,
    tally: Tally,
    /// Cycles of the thread that are over, or will never be.
    all_over: Rc<Cell<u64>>,
}

impl Churner {
    /// Those of the connection that `act` has churn; `None`: it is of another kind.
    pub(super) fn of(
        schedule: &Schedule,
        kinds: &[FaultKind],
        act: &Act,
        tally: &Tally,
        all_over: &Rc<Cell<u64>>,
    ) -> Option<Self> {
        let FaultKind::Churn(Churn { cycles, hold, pause }) = &kinds[act.fault] else { return None };
        let of_its_part = |other: &&Act| other.part == act.part;
        let fails = schedule.acts_of(act.connection).iter().filter(of_its_part);
        let fails = fails.filter_map(|other| Some((other.cycle?, (other.fault, other.point?)))).collect();
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Some(Self {
            cycles: *cycles,
            hold: ns(*hold),
            pause: ns(*pause),
            fails,
            started: 0,
            over: 0,
            stage: Stage::Before,
            stopped: false,
            broken: false,
            due: 0,
            began: 0,
            tally: Rc::clone(tally),
            all_over: Rc::clone(all_over),
        })
    }

    /// Its first cycle is due.
    pub(super) fn begin(&mut self, due: u64) {
        if self.stage == Stage::Before && !self.stopped {
            (self.stage, self.due) = (Stage::Starting, due);
        }
    }

    /// No other cycle begins, and what is subscribed stays so.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// Its client does not come back: what is left of its cycles will not be.
    pub(super) fn give_up(&mut self) {
        self.stop();
        let left = self.cycles - self.over;
        self.over = self.cycles;
        self.all_over.set(self.all_over.get() + u64::from(left));
    }

    /// Whether its subscriptions come and go with its cycles.
    pub(super) fn is_churning(&self) -> bool {
        self.stage != Stage::Before && !self.stopped
    }

    /// Whether it may ask for subscriptions.
    pub(super) fn may_subscribe(&self) -> bool {
        matches!(self.stage, Stage::Before | Stage::Subscribing)
    }

    /// Whether its subscriptions are being ended.
    pub(super) fn is_leaving(&self) -> bool {
        self.stage == Stage::Leaving
    }

    /// Cycles that have begun.
    pub(super) fn started(&self) -> u32 {
        self.started
    }

    /// What comes next, given what the connection shows.
    pub(super) fn next(&mut self, seen: &Seen) -> Move {
        if self.stopped && self.stage != Stage::Leaving {
            return Move::Wait(None);
        }
        let doom = self.doom();
        let die = |point| doom.filter(|(_, at)| *at == point).map(|(fault, at)| Move::Die(fault, at));
        match self.stage {
            Stage::Before => Move::Wait(None),
            Stage::Starting => self.leave(false),
            Stage::Resting { .. } if self.started == self.cycles => Move::Wait(None),
            Stage::Resting { until } if seen.now < until => Move::Wait(Some(until)),
            Stage::Resting { until } => self.subscribe(until, seen.now),
            Stage::Subscribing => {
                match (die(DropPoint::SubscribeSent).filter(|_| seen.said), seen.subscriptions) {
                    (Some(die), _) => die,
                    (None, Shown::Pending) => Move::Wait(None),
                    (None, Shown::Broken) => self.leave(true),
                    (None, Shown::Proved(took)) => {
                        let mut tally = self.tally.borrow_mut();
                        tally.cycles().confirm.record_ns(took);
                        drop(tally);
                        self.stage = Stage::Holding { until: seen.now.saturating_add(self.hold) };
                        self.next(&Seen { received: false, ..*seen })
                    }
                }
            }
            Stage::Holding { until } => match die(DropPoint::Receive) {
                Some(die) if seen.received => die,
                _ if !matches!(seen.subscriptions, Shown::Proved(_)) => self.leave(true),
                _ if seen.now < until => Move::Wait(Some(until)),
                Some(_) if seen.now < until.saturating_add(PATIENCE) => {
                    Move::Wait(Some(until.saturating_add(PATIENCE)))
                }
                Some(_) => {
                    self.stage = Stage::Asking;
                    Move::Ask
                }
                None => self.leave(false),
            },
            Stage::Asking => match die(DropPoint::Receive) {
                Some(die) if seen.received || seen.answered.is_some() || seen.overdue => die,
                _ => Move::Wait(None),
            },
            Stage::Leaving => match (die(DropPoint::UnsubscribeSent), seen.answered) {
                (Some(die), _) if seen.said => die,
                (_, Some(_)) => {
                    self.finish(false);
                    self.rest(seen.now);
                    self.next(seen)
                }
                _ if seen.overdue => {
                    self.broken = true;
                    self.finish(false);
                    self.rest(seen.now);
                    Move::GiveUpAnswer
                }
                _ => Move::Wait(None),
            },
        }
    }

    /// How long the unsubscribe of a cycle took to be answered.
    pub(super) fn answered_within(&self, took: u64) {
        if self.started > 0 && self.stage == Stage::Leaving {
            self.tally.borrow_mut().cycles().unsubscribe.record_ns(took);
        }
    }

    /// Its connection has ended, by a fault of ours or not.
    pub(super) fn cut(&mut self, by_us: bool, now: u64) {
        match self.stage {
            Stage::Before | Stage::Resting { .. } => return,
            Stage::Subscribing | Stage::Holding { .. } | Stage::Asking | Stage::Leaving | Stage::Starting => {
            }
        }
        self.broken |= !by_us;
        self.finish(by_us);
        self.rest(now);
    }

    fn doom(&self) -> Option<(usize, DropPoint)> {
        self.fails.get(&self.started.checked_sub(1)?).copied()
    }

    fn subscribe(&mut self, due: u64, now: u64) -> Move {
        self.started += 1;
        (self.broken, self.due, self.began) = (false, due, now);
        self.stage = Stage::Subscribing;
        Move::Subscribe
    }

    /// `broken`: it was not let stay for as long as it was to.
    fn leave(&mut self, broken: bool) -> Move {
        self.broken |= broken;
        self.stage = Stage::Leaving;
        match self.doom() {
            Some((_, DropPoint::UnsubscribeSent)) => Move::UnsubscribeLast,
            _ => Move::Unsubscribe,
        }
    }

    /// The pause between two cycles, and after the subscriptions of set-up have ended: what is on its way then has time to
    /// arrive, or it would come in the life that follows.
    fn rest(&mut self, now: u64) {
        self.stage = Stage::Resting { until: now.saturating_add(self.pause) };
    }

    /// The cycle is over, if it is one.
    fn finish(&mut self, by_us: bool) {
        if self.over >= self.started {
            return;
        }
        self.over += 1;
        self.all_over.set(self.all_over.get() + 1);
        let mut tally = self.tally.borrow_mut();
        tally.apply(self.due, self.began);
        tally.ended += 1;
        let cycles = tally.cycles();
        match (self.broken, by_us) {
            (true, _) => cycles.failed += 1,
            (false, true) => cycles.failed_by_plan += 1,
            (false, false) => cycles.completed += 1,
        }
    }
}

#[cfg(test)]
#[path = "churn_tests.rs"]
mod tests;
