//! Tells schedules that may slip how their events fare: what was answered, what was delivered, and what of that is ours.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::board::Board;
use super::shard::Shard;
use super::slowdown::{Own, Slowdown, Tick};
use super::tally::PublishTally;
use crate::metrics::CpuMark;
use crate::scenarios::plan::{Plan, PublisherGroup, WhenBehind};

/// A thread that is busy for more than this share of the time has none left to catch up in. Less than makes the
/// generator's health `limited`, so that a schedule that slows down in time leaves it well.
const BUSY: f64 = 0.9;

/// How long a thread's share of the time is taken over.
const LOOK: Duration = Duration::from_millis(200);

/// One schedule, shared by the connections of its group.
pub(super) type Shared = Rc<RefCell<Slowdown>>;

/// What the subscribers' threads tell the publishers' about deliveries.
#[derive(Debug, Default)]
pub struct Arrivals {
    /// Events received.
    pub received: AtomicU64,
    /// From sent to received, summed up over these, µs.
    pub delay_us: AtomicU64,
    /// The longest that anything had to wait for our own processing since the publishers last looked, µs.
    pub own_us: AtomicU64,
    /// One bit for each of the subscribers' threads: it has no time left.
    pub busy: AtomicU64,
}

impl Arrivals {
    /// Something waited so long for our own processing.
    pub(super) fn waited(&self, wait: Duration) {
        self.own_us.fetch_max(micros(wait), Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a thread has had time left lately. Lives on that thread.
#[derive(Debug)]
pub(super) struct Busyness {
    mark: CpuMark,
    busy: bool,
}

impl Busyness {
    pub(super) fn new() -> Self {
        Self { mark: CpuMark::now(), busy: false }
    }

    pub(super) fn look(&mut self) -> bool {
        if self.mark.elapsed() >= LOOK {
            self.busy = self.mark.share().is_some_and(|share| share > BUSY);
            self.mark = CpuMark::now();
        }
        self.busy
    }
}

/// What one shard has told the publishers so far.
#[derive(Debug)]
pub(super) struct Told {
    bit: u64,
    received: u64,
    delay_us: u64,
    busyness: Busyness,
}

impl Told {
    /// Nothing yet; made on the thread of that shard.
    pub(super) fn new(shard: u32) -> Self {
        Self { bit: 1 << (shard % 64), received: 0, delay_us: 0, busyness: Busyness::new() }
    }

    /// Tells what was received since the last time.
    pub(super) fn tell(&mut self, shard: &Shard) {
        let state = shard.state.borrow();
        let arrivals = &shard.plan.board.arrivals;
        let add = |to: &AtomicU64, now: u64, before: &mut u64| {
            to.fetch_add(now - std::mem::replace(before, now), Relaxed);
        };
        add(&arrivals.received, state.satisfied, &mut self.received);
        add(&arrivals.delay_us, state.from_sent_us, &mut self.delay_us);
        if self.busyness.look() {
            arrivals.busy.fetch_or(self.bit, Relaxed);
        } else {
            arrivals.busy.fetch_and(!self.bit, Relaxed);
        }
    }
}

/// The schedules of all groups that slow down when they are behind.
#[derive(Debug)]
pub(super) struct Schedules {
    groups: Vec<Option<Shared>>,
    seen: RefCell<Seen>,
}

#[derive(Debug)]
struct Seen {
    obligations: u64,
    received: u64,
    delay_us: u64,
    busyness: Busyness,
}

impl Schedules {
    /// One for each group that asks for it. Made on the publishers' thread.
    pub(super) fn of(plan: &Plan) -> Self {
        let one = |group: &PublisherGroup| {
            let slows = group.when_behind == WhenBehind::SlowDown;
            slows.then(|| Rc::new(RefCell::new(Slowdown::new(plan.phases.len()))))
        };
        let seen = Seen { obligations: 0, received: 0, delay_us: 0, busyness: Busyness::new() };
        Self { groups: plan.publishers.iter().map(one).collect(), seen: RefCell::new(seen) }
    }

    /// That of a group, if it may slip.
    pub(super) fn group(&self, group: usize) -> Option<&Shared> {
        self.groups[group].as_ref()
    }

    /// An event of a group was answered after so long, ns; `None`: refused, or not waited for any longer.
    pub(super) fn answered(&self, group: usize, after_ns: Option<u64>) {
        let Some(schedule) = &self.groups[group] else { return };
        match after_ns {
            Some(ns) => schedule.borrow_mut().answered(ns / 1_000),
            None => schedule.borrow_mut().given_up(),
        }
    }

    /// Looks at what happened since the last time; `late`: how late that is.
    pub(super) fn tick(&self, board: &Board, late: Duration) {
        if self.groups.iter().all(Option::is_none) {
            return;
        }
        let mut seen = self.seen.borrow_mut();
        let arrivals = &board.arrivals;
        let count = |now: &AtomicU64, before: &mut u64| {
            let now = now.load(Relaxed);
            now - std::mem::replace(before, now)
        };
        let busy = seen.busyness.look();
        let deliveries = Tick {
            offered: count(&board.obligations, &mut seen.obligations),
            completed: count(&arrivals.received, &mut seen.received),
            delay_us: count(&arrivals.delay_us, &mut seen.delay_us),
            must_come: false,
            own: Own { wait_us: arrivals.own_us.swap(0, Relaxed), busy: arrivals.busy.load(Relaxed) > 0 },
        };
        let own = Own { wait_us: micros(late), busy };
        for slowdown in self.groups.iter().flatten() {
            slowdown.borrow_mut().tick(own, deliveries);
        }
    }

    /// Notes in `[group][phase]` what slipped, where anything may.
    pub(super) fn note_slips(&self, groups: &mut [Vec<PublishTally>]) {
        for (schedule, tallies) in self.groups.iter().zip(groups) {
            let Some(schedule) = schedule else { continue };
            for (tally, slips) in tallies.iter_mut().zip(schedule.borrow().slips()) {
                tally.slips = Some(slips.clone());
            }
        }
    }
}
