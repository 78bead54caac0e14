//! `when-behind = "slow-down"`: when a group's schedule moves to later, by how much, and because of whom.
//!
//! Decides only, from what it is told at fixed ticks and whenever an event is about to be sent; reads no clock and
//! knows no socket. An open schedule that nobody can hold queues for ever: latency from *due* then grows without bound
//! and tells the length of the run. So two things are done here.
//!
//! **Holding.** What the server has been given and not answered, and what it owes and has not delivered, are two flows
//! ([`Flow`]). One of them is behind when it takes [`QUEUED_NS`] longer than it did at its fastest *and* less comes out
//! than goes in. The delay above the fastest is how LEDBAT (RFC 6817) tells a queue from a long way; the second half is
//! ours, because a server that has become slow and still takes everything holds the rate. While a flow is behind,
//! events are sent at nine tenths of the rate at which they come out, so that the queue shrinks and never runs empty.
//! Deliveries are one flow for all groups: what the others put into it is taken off those nine tenths.
//!
//! **Resting.** A generator without any time left would measure itself. Where one of its threads is busy nearly all the
//! time, nothing is sent in some of the ticks, in more of them for as long as that lasts and in fewer again after it
//! ([`Rest`]). So the rest of the run can be judged at the rate that we can hold, and the schedule slips because of us.
//!
//! **Slipping.** An event that is sent more than [`CATCH_UP_NS`] after it was due, for whatever reason, moves itself and
//! everything after it in the phase to later by just that much, for the whole group. Latency counts from the moved due
//! time; what was moved is kept, step by step, and reported: nothing is omitted in silence.

use std::collections::VecDeque;

pub use super::slips::{Slipped, Slips};

const MS: u64 = 1_000_000;

/// A flow that takes this much longer than at its fastest has a queue, ns.
pub const QUEUED_NS: u64 = 250 * MS;

/// What is late by less than this is caught up, ns: a pause of either side is no rate.
pub const CATCH_UP_NS: u64 = 50 * MS;

/// Ticks that rates are taken over: at 20 ms, a fifth of a second.
const WINDOW: usize = 10;

/// Less than this share of what goes in comes out of a flow that does not keep up.
const KEEPS_UP: f64 = 0.97;

/// While a flow is behind, this share of what comes out may go in.
const DRAINING: f64 = 0.9;

/// How long a tick is meant to be, µs.
pub const TICK_US: u64 = 20_000;

/// A hold is looked at again after this and twice the delay, µs: what was sent before it has come out by then.
const SETTLES_US: f64 = 1e6;

/// A hold whose delay is still above this share of its peak drains nothing: the delay has another reason.
const DRAINED: f64 = 0.95;

/// How long a server that has never answered may take before it is taken to be stuck, µs.
const FIRST_US: f64 = 1e6;

/// By how much of all ticks more is rested after each in which a thread of ours was busy.
const RESTS_MORE: f64 = 0.005;

/// By how much less after each in which none was.
const RESTS_LESS: f64 = 0.002;

/// Ticks that are rested at most: what is left is enough to find out that it is over.
const MOST_REST: f64 = 0.75;

/// Who did not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The server.
    Server,
    /// We.
    Generator,
}

/// What went into a flow and came out of it during one tick.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tick {
    /// Events sent, or deliveries owed.
    pub offered: u64,
    /// Of all there ever were, so many answered or received.
    pub completed: u64,
    /// How long these took, summed up, µs.
    pub delay_us: u64,
    /// Whether anything is still waited for that must come: an answer, or its timeout.
    pub must_come: bool,
    /// Our own part in it.
    pub own: Own,
}

/// How well one of our threads was.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Own {
    /// How long something that arrives waits for our own processing, µs.
    pub wait_us: u64,
    /// Whether the thread had no time left.
    pub busy: bool,
}

impl Own {
    /// Whose doing a delay above the fastest is.
    fn side(self, excess_us: f64) -> Side {
        if self.busy || self.wait_us as f64 > excess_us / 2.0 { Side::Generator } else { Side::Server }
    }
}

/// Answers, or deliveries: what is on its way and how long it takes.
#[derive(Debug, Default)]
struct Flow {
    window: VecDeque<Tick>,
    /// The shortest mean delay of a tick so far, µs.
    fastest_us: Option<f64>,
    /// That of the last tick with any.
    latest_us: f64,
    /// Ticks in a row in which nothing came out that must.
    silent_ticks: u32,
    hold: Option<Hold>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Hold {
    /// What may be sent all the same.
    credit: f64,
    side: Side,
    /// Since it began, or was last looked at.
    ticks: u32,
    /// The longest delay since then, µs.
    peak_us: f64,
}

impl Flow {
    fn tick(&mut self, tick: Tick) {
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(tick);
        if tick.completed > 0 {
            self.latest_us = tick.delay_us as f64 / tick.completed as f64;
            self.fastest_us = Some(self.fastest_us.map_or(self.latest_us, |us| us.min(self.latest_us)));
        }
        let waits = tick.must_come && tick.completed == 0;
        self.silent_ticks = if waits { self.silent_ticks + 1 } else { 0 };
        let excess_us = self.fastest_us.map_or(0.0, |fastest| self.latest_us - fastest);
        let side = tick.own.side(excess_us.max(QUEUED_NS as f64 / 1e3));
        let pays = DRAINING * tick.completed as f64;
        let behind = self.is_stuck() || (excess_us * 1e3 > QUEUED_NS as f64 && !self.is_silent());
        self.hold = match self.hold {
            Some(hold) if behind => self.held_on(Hold { side, ..hold }, pays),
            None if self.is_stuck() || (behind && self.grows()) => {
                Some(Hold { credit: pays, side, ticks: 0, peak_us: self.latest_us })
            }
            _ => None,
        };
    }

    fn sum(&self, of: fn(&Tick) -> u64) -> u64 {
        self.window.iter().map(of).sum()
    }

    /// Less comes out than goes in.
    fn grows(&self) -> bool {
        (self.sum(|tick| tick.completed) as f64) < KEEPS_UP * self.sum(|tick| tick.offered) as f64
    }

    /// Nothing comes out any more. What may be lost is not waited for.
    fn is_silent(&self) -> bool {
        self.window.len() == WINDOW && self.sum(|tick| tick.completed) == 0
    }

    /// What must come does not, for much longer than it ever took at best.
    fn is_stuck(&self) -> bool {
        let limit_us = self.fastest_us.map_or(FIRST_US, |fastest| fastest + QUEUED_NS as f64 / 1e3);
        f64::from(self.silent_ticks) * TICK_US as f64 > limit_us
    }

    /// Goes on holding, unless that has turned out to drain nothing: then what it takes now is what it takes.
    fn held_on(&mut self, hold: Hold, pays: f64) -> Option<Hold> {
        let credit = (hold.credit + pays).min(pays.max(1.0));
        let hold = Hold { credit, ticks: hold.ticks + 1, peak_us: hold.peak_us.max(self.latest_us), ..hold };
        let is_due = f64::from(hold.ticks) * TICK_US as f64 > 2.0 * self.latest_us + SETTLES_US;
        if !is_due || self.is_stuck() {
            return Some(hold);
        }
        if self.latest_us > DRAINED * hold.peak_us {
            self.fastest_us = Some(self.latest_us);
            return None;
        }
        Some(Hold { ticks: 0, peak_us: self.latest_us, ..hold })
    }

    fn holds(&self) -> Option<Side> {
        self.hold.filter(|hold| hold.credit <= 0.0).map(|hold| hold.side)
    }

    fn spend(&mut self, amount: u64) {
        if let Some(hold) = &mut self.hold {
            hold.credit -= amount as f64;
        }
    }
}

/// Ticks in which nothing is sent because a thread of ours has no time left.
#[derive(Debug, Default)]
struct Rest {
    /// Of all ticks; additive up and down, so that it finds its place and follows it.
    share: f64,
    owed: f64,
    now: bool,
}

impl Rest {
    fn tick(&mut self, busy: bool) {
        let step = if busy { RESTS_MORE } else { -RESTS_LESS };
        self.share = (self.share + step).clamp(0.0, MOST_REST);
        self.owed += self.share;
        self.now = self.owed >= 1.0;
        self.owed -= if self.now { 1.0 } else { 0.0 };
    }
}

/// The schedule of one group.
#[derive(Debug)]
pub struct Slowdown {
    answers: Flow,
    deliveries: Flow,
    rest: Rest,
    /// Events sent and answered since the last tick.
    since: Tick,
    unanswered: u64,
    /// Deliveries owed for events of this group since the last tick.
    owed: u64,
    phases: Vec<Slips>,
}

impl Slowdown {
    /// A schedule of so many phases that has not slipped.
    #[must_use]
    pub fn new(phases: usize) -> Self {
        Self {
            answers: Flow::default(),
            deliveries: Flow::default(),
            rest: Rest::default(),
            since: Tick::default(),
            unanswered: 0,
            owed: 0,
            phases: vec![Slips::default(); phases],
        }
    }

    /// A tick is over: how well the publishers' thread was, and what became of deliveries meanwhile, those of all groups.
    pub fn tick(&mut self, own: Own, deliveries: Tick) {
        let answers = std::mem::take(&mut self.since);
        self.answers.tick(Tick { own, must_come: self.unanswered > 0, ..answers });
        let by_others = deliveries.offered.saturating_sub(std::mem::take(&mut self.owed));
        self.deliveries.spend(by_others);
        self.deliveries.tick(deliveries);
        self.rest.tick(own.busy || deliveries.own.busy);
    }

    /// Whether nothing is to be sent now although it is due, and because of whom.
    #[must_use]
    pub fn holds(&self) -> Option<Side> {
        let resting = self.rest.now.then_some(Side::Generator);
        resting.or_else(|| self.answers.holds()).or_else(|| self.deliveries.holds())
    }

    /// By how much the phase has slipped so far, ns.
    #[must_use]
    pub fn slipped_ns(&self, phase: usize) -> u64 {
        self.phases[phase].total_ns
    }

    /// An event that was due at `due_ns` (slips included) is sent at `now_ns`; when it is due now.
    ///
    /// `kept` says until when something else than our own slowness kept it from being sent, and whose doing that was.
    pub fn send(&mut self, phase: usize, due_ns: u64, now_ns: u64, kept: Kept) -> u64 {
        let late_ns = now_ns.saturating_sub(due_ns);
        if late_ns <= CATCH_UP_NS {
            return due_ns;
        }
        let own_ns = now_ns.saturating_sub(due_ns.max(kept.until_ns));
        let side = if own_ns > late_ns / 2 { Side::Generator } else { kept.by };
        self.phases[phase].add(now_ns, late_ns, side);
        now_ns
    }

    /// It was sent, and is owed to so many.
    pub fn sent(&mut self, obligations: u64) {
        self.since.offered += 1;
        self.unanswered += 1;
        self.owed += obligations;
        self.answers.spend(1);
        self.deliveries.spend(obligations);
    }

    /// An event was acknowledged after so long.
    pub fn answered(&mut self, after_us: u64) {
        self.since.completed += 1;
        self.since.delay_us += after_us;
        self.unanswered -= 1;
    }

    /// An event was refused, or is not waited for any longer.
    pub fn given_up(&mut self) {
        self.unanswered -= 1;
    }

    /// What slipped, phase by phase.
    #[must_use]
    pub fn slips(&self) -> &[Slips] {
        &self.phases
    }
}

/// Until when a connection could not send, ns on the run's axis, and because of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Until then.
    pub until_ns: u64,
    /// By whom.
    pub by: Side,
}

impl Kept {
    /// Whatever ends later.
    #[must_use]
    pub fn or_longer(self, other: Self) -> Self {
        if other.until_ns > self.until_ns { other } else { self }
    }
}

#[cfg(test)]
#[path = "slowdown_tests.rs"]
mod tests;
