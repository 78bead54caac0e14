//! One thread of subscribers: its connections, what they count, and the orders it follows.
//!
//! A shard owns a `current_thread` runtime; all its tasks share one state without locks. It never decides when
//! something happens: the conductor gives orders on a watch channel, and a ticker passes the counts back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::aftermath::Aftermath;
use super::board::Board;
use super::churn::Churner;
use super::counts::Counts;
use super::failure::{Failure, Reason, Stage};
use super::handshake::Endpoint;
use super::injector::Parked;
use super::live::Live;
use super::opening::{Gate, open_wave};
use super::pacing::Told;
use super::seats::{Seat, seats};
use super::slow::{SlowReader, Watched};
use super::subs::{State, Sub};
use super::tally::GroupTally;
use super::task::pass_on;
use super::turnstile::Turnstile;
use super::weather::{Climate, Tally};
use super::{client, injector};
use crate::clock::{self, Instant};
use crate::inject::{FaultTally, Schedule};
use crate::ledger::ShardLedger;
use crate::metrics::{LatencySet, Precision, Recorder, thread_time};
use crate::scenarios::plan::{FaultKind, SubscriberGroup};

/// How often counts are passed to the conductor.
const TICK: Duration = Duration::from_millis(20);

/// How often the length of our own queue is sampled.
const CANARY: Duration = Duration::from_millis(5);

/// How often what is outstanding is counted once somebody wants to know: it takes a look at every book.
const COUNT: Duration = Duration::from_millis(200);

/// What the conductor wants; each field only ever grows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Orders {
    /// How many waves may have been opened.
    pub waves: u32,
    /// How far the run has come.
    pub course: Course,
    /// The last phase that has begun, with its begin on the run's axis.
    pub phase: Option<(usize, u64)>,
    /// No fault is applied any more.
    pub healed: bool,
    /// What a link delays is not waited for either.
    pub hurry: bool,
    /// Nobody connects again any more; who is away has left.
    pub settled: bool,
    /// Whoever is live now waits for the barriers of its channel.
    pub barrier: bool,
    /// The quiet period has passed with everything still open.
    pub quiet_passed: bool,
}

/// The course of a connection, as ordered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Course {
    /// Connect, subscribe, receive.
    #[default]
    Run,
    /// Unsubscribe and stay.
    Unsubscribe,
    /// Close politely.
    Close,
    /// Drop everything.
    Abort,
}

/// Everything a shard needs to know beforehand.
pub struct ShardPlan {
    /// This shard's index among `shards`.
    pub index: u32,
    /// How many shards share the connections.
    pub shards: u32,
    /// The target.
    pub endpoint: Endpoint,
    /// Shared gauges and the roster.
    pub board: Arc<Board>,
    /// All groups of the plan.
    pub groups: Vec<SubscriberGroup>,
    /// Number of channels.
    pub channels: u32,
    /// Number of phases.
    pub phases: usize,
    /// What each fault does.
    pub kinds: Vec<FaultKind>,
    /// Payload of an event of each group of publishers, in bytes.
    pub payloads: Vec<u64>,
    /// Who is hit by which fault, and when.
    pub schedule: Arc<Schedule>,
}

/// What a shard passes on with every tick.
#[derive(Debug)]
pub struct Snapshot {
    /// Its counts so far.
    pub counts: Counts,
    /// Deliver latencies since the conductor last took them.
    pub interval: Recorder,
    /// CPU time of the shard's thread.
    pub cpu: Duration,
}

impl Default for Snapshot {
    fn default() -> Self {
        let counts = Counts::default();
        Self { counts, interval: Recorder::new(Precision::Coarse), cpu: Duration::ZERO }
    }
}

/// What a shard leaves behind.
pub struct ShardResult {
    /// One tally per cohort.
    pub cohorts: Vec<GroupTally>,
    /// What became of each fault.
    pub faults: Vec<FaultTally>,
    /// The ledger, open.
    pub ledger: ShardLedger,
    /// Event messages received.
    pub receipts: u64,
    /// Latencies.
    pub latency: LatencySet,
    /// What became of those whom faults made slow.
    pub slow: Vec<SlowReader>,
}

/// Shared by the tasks of one shard.
pub(super) struct Shard {
    pub plan: ShardPlan,
    pub seats: Vec<Seat>,
    /// Subscriptions of the whole plan.
    pub subscriptions: u64,
    pub state: RefCell<State>,
    pub orders: Cell<Orders>,
    /// The present connection of each seat.
    pub lives: RefCell<Vec<Option<Box<Live>>>>,
    /// One per group.
    pub gates: Vec<Gate>,
    /// Where large messages may come: for all on whose bytes no fault acts.
    pub turnstile: Option<Rc<Turnstile>>,
    /// Cancelled when first attempts are given up.
    pub handshakes: CancellationToken,
    /// Cancelled when nobody comes back any more.
    pub returns: CancellationToken,
    /// When the answers to the unsubscribes begin to be waited for.
    unsubscribed: Cell<Option<Instant>>,
    /// What became of each fault.
    pub faults: Vec<Tally>,
    /// Clients that go through cycles, by seat.
    pub churners: BTreeMap<usize, Rc<RefCell<Churner>>>,
    /// Their cycles that are over, or will never be.
    cycles_over: Rc<Cell<u64>>,
    /// What faults make of those whom they hit.
    pub climate: Climate,
    /// Connections given up by their clients while a fault holds them.
    pub parked: RefCell<Vec<Parked>>,
    /// Whom faults have made slow, by seat.
    pub slow: RefCell<BTreeMap<usize, Watched>>,
    /// What remains to be done about connections that were ended.
    pub aftermath: Aftermath,
}

/// Runs a shard until it is ordered to stop; called on its own thread.
///
/// # Errors
/// If the thread cannot have an event loop (no free file).
pub fn run(
    plan: ShardPlan,
    ledger: ShardLedger,
    orders: watch::Receiver<Orders>,
    snapshot: &Arc<Mutex<Snapshot>>,
) -> std::io::Result<ShardResult> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shard = Rc::new(Shard::new(plan, ledger));
    let local = LocalSet::new();
    runtime.block_on(local.run_until(drive(Rc::clone(&shard), orders, Arc::clone(snapshot))));
    drop(local);
    drop(runtime);
    let shard = Rc::into_inner(shard).expect("every task of the shard has ended with its runtime");
    let slow = shard.slow_readers();
    let state = shard.state.into_inner();
    Ok(ShardResult {
        cohorts: state.cohorts,
        faults: shard.faults.iter().map(|tally| tally.borrow().clone()).collect(),
        ledger: state.ledger,
        receipts: state.receipts,
        latency: state.latency,
        slow,
    })
}

/// The subscriptions of this shard, in the order of its connections: `(channel, cohort)`.
#[must_use]
pub fn subscriptions(plan: &ShardPlan) -> Vec<(u32, u16)> {
    let seats = seats(&plan.groups, &plan.schedule, plan.index, plan.shards);
    seats.iter().flat_map(|s| s.channels(plan.channels).map(|c| (c, s.cohort))).collect()
}

/// Follows orders; owns every task.
async fn drive(shard: Rc<Shard>, mut orders: watch::Receiver<Orders>, snapshot: Arc<Mutex<Snapshot>>) {
    let mut connections = JoinSet::new();
    let mut helpers = JoinSet::new();
    helpers.spawn_local(tick(Rc::clone(&shard), Arc::clone(&snapshot)));
    helpers.spawn_local(canary(Rc::clone(&shard)));
    let mut agenda = shard.agenda();
    // Before anybody connects.
    agenda.begin_set_up(shard.plan.board.clock.now_ns(), |due_ns, step, planned| {
        shard.step(due_ns, step, planned);
    });
    let agenda = Rc::new(RefCell::new(agenda));
    helpers.spawn_local(injector::run(Rc::clone(&shard), Rc::clone(&agenda), orders.clone()));
    let mut openers = JoinSet::new();
    let (offers, mut offered) = tokio::sync::mpsc::channel(1_024);
    let mut opened = 0;
    loop {
        let now = *orders.borrow_and_update();
        agenda.borrow_mut().catch_up(&shard.plan.board, injector::course(&now), |due_ns, step, planned| {
            shard.step(due_ns, step, planned);
        });
        while opened < now.waves {
            open_wave(&shard, opened, &offers, &mut connections, &mut openers);
            opened += 1;
        }
        if shard.obey(now) {
            // What was ordered must show in the counts before anything happens that was ordered.
            shard.publish_counts(&snapshot);
        }
        if now.course == Course::Abort || (now.course == Course::Close && connections.is_empty()) {
            break;
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { break },
            Some((seat, permit)) = offered.recv() => {
                connections.spawn_local(client::run(Rc::clone(&shard), seat, permit));
            }
            Some(ended) = connections.join_next() => pass_on(ended),
            Some(ended) = openers.join_next() => pass_on(ended),
            Some(ended) = helpers.join_next() => pass_on(ended),
        }
    }
    openers.shutdown().await;
    connections.shutdown().await;
    helpers.shutdown().await;
    shard.close_books();
    shard.reconcile_faults();
    shard.publish_counts(&snapshot);
}

/// Passes counts to the conductor, gives up on what takes too long, and notices how late the event loop wakes up.
async fn tick(shard: Rc<Shard>, snapshot: Arc<Mutex<Snapshot>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut counted = None;
    let mut told = Told::new(shard.plan.index);
    loop {
        let due = ticks.tick().await;
        shard.note_lag(due.elapsed());
        shard.expire_unconfirmed();
        shard.expire_answers();
        shard.expire_newcomers();
        shard.keep_alive();
        shard.tick_turnstile();
        shard.follow_up();
        shard.look_at_all_slow();
        if shard.orders.get().barrier && counted.is_none_or(|at: Instant| at.elapsed() >= COUNT) {
            shard.count_outstanding();
            counted = Some(clock::now());
        }
        told.tell(&shard);
        shard.publish_counts(&snapshot);
    }
}

/// How long a task that becomes ready now waits for our own processing of everything before it: the part of every
/// deliver latency that is ours. A sample every 5 ms, corrected for the samples that a long wait prevented.
async fn canary(shard: Rc<Shard>) {
    let mut ticks = interval(CANARY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let began = clock::now();
        tokio::task::yield_now().await;
        if !shard.plan.board.measuring.load(Relaxed) {
            continue;
        }
        shard.plan.board.arrivals.waited(began.elapsed());
        shard.state.borrow_mut().latency.drain.record_corrected(began.elapsed(), CANARY);
    }
}

impl Shard {
    pub(super) fn new(plan: ShardPlan, ledger: ShardLedger) -> Self {
        let seats = seats(&plan.groups, &plan.schedule, plan.index, plan.shards);
        let cohorts = 2 * plan.groups.len();
        let subs = subscriptions(&plan).into_iter().map(|(channel, cohort)| Sub::new(channel, cohort));
        let state = State {
            ledger,
            cohorts: vec![GroupTally::default(); cohorts],
            latency: LatencySet::new(cohorts, plan.phases),
            subs: subs.collect(),
            away: BTreeMap::new(),
            newcomers: BTreeMap::new(),
            receipts: 0,
            from_sent_us: 0,
            satisfied: 0,
            settled: 0,
            resolved: 0,
            waiting: 0,
            barriers_noted: false,
            outstanding: 0,
            unanswered: 0,
        };
        let gate = |group: &SubscriberGroup| Gate::new(group.connect, plan.index, plan.shards);
        let seat_of =
            |connection| seats.binary_search_by_key(&connection, |seat: &Seat| seat.connection).ok();
        let climate = Climate::of(&plan.schedule, &plan.kinds, seat_of);
        let faults: Vec<Tally> = plan.kinds.iter().map(|_| Tally::default()).collect();
        let cycles_over = Rc::default();
        let acts = plan.schedule.acts().iter();
        let churners = acts.filter_map(|act| {
            let seat = seat_of(act.connection)?;
            let churner = Churner::of(&plan.schedule, &plan.kinds, act, &faults[act.fault], &cycles_over)?;
            Some((seat, Rc::new(RefCell::new(churner))))
        });
        let churners = churners.collect();
        Self {
            subscriptions: plan.groups.iter().map(|g| u64::from(g.subscriptions)).sum(),
            state: RefCell::new(state),
            orders: Cell::default(),
            lives: RefCell::new(seats.iter().map(|_| None).collect()),
            gates: plan.groups.iter().map(gate).collect(),
            turnstile: Turnstile::for_messages(plan.endpoint.config.max_message_size),
            handshakes: CancellationToken::new(),
            returns: CancellationToken::new(),
            unsubscribed: Cell::new(None),
            faults,
            churners,
            cycles_over,
            climate,
            parked: RefCell::default(),
            slow: RefCell::default(),
            aftermath: Aftermath::default(),
            seats,
            plan,
        }
    }

    pub(super) fn course(&self) -> Course {
        self.orders.get().course
    }

    /// Takes over new orders; whether there were any.
    fn obey(&self, now: Orders) -> bool {
        let before = self.orders.replace(now);
        if now.settled && !before.settled {
            self.returns.cancel();
            self.leave_the_absent();
        }
        if now.barrier && !before.barrier {
            self.note_barriers();
            self.count_outstanding();
        }
        if now.quiet_passed && !before.quiet_passed {
            self.state.borrow_mut().ledger.quiet_passed();
        }
        if now.course > before.course {
            self.turn_to(now.course);
        }
        now != before
    }

    fn turn_to(&self, course: Course) {
        self.returns.cancel();
        if course >= Course::Close {
            self.handshakes.cancel();
        }
        if course == Course::Unsubscribe {
            self.unsubscribed.set(Some(clock::now()));
            self.lives.borrow_mut().iter_mut().flatten().for_each(|live| live.expect_answer(self));
        }
        // Woken outside the borrow: a waker may run arbitrary code.
        let wakers: Vec<Waker> =
            self.lives.borrow().iter().flatten().filter_map(|live| live.waker().cloned()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Gives up on answers to the unsubscribes that do not come in time.
    fn expire_answers(&self) {
        let limit = self.plan.endpoint.timeouts.operation;
        let waiting = self.unsubscribed.get().is_some_and(|since| since.elapsed() > limit);
        if !waiting || self.state.borrow().unanswered == 0 {
            return;
        }
        for live in self.lives.borrow_mut().iter_mut().flatten().filter(|_| self.course() < Course::Close) {
            if live.forgo_answer(self) {
                let failure = Failure::new(Stage::Unsubscribe, Reason::Timeout);
                let sight = self.sight(live.seat());
                let cohort = &mut self.state.borrow_mut().cohorts[usize::from(live.seat().cohort)];
                cohort.failures.add(failure, "", sight);
            }
        }
    }

    fn count_outstanding(&self) {
        let state = &mut *self.state.borrow_mut();
        state.outstanding = state.ledger.count_outstanding();
    }

    /// What waited for other messages of this thread was late because of us.
    pub(super) fn tick_turnstile(&self) {
        let Some(turnstile) = &self.turnstile else { return };
        turnstile.tick();
        let waits = turnstile.take_waits();
        if self.plan.board.measuring.load(Relaxed) {
            let latency = &mut self.state.borrow_mut().latency;
            waits.into_iter().for_each(|wait| latency.drain.record(wait));
        }
    }

    fn note_lag(&self, lag: Duration) {
        let latency = &mut self.state.borrow_mut().latency;
        let measuring = self.plan.board.measuring.load(Relaxed);
        if measuring { &mut latency.loop_lag } else { &mut latency.setup_lag }.record(lag);
    }

    fn publish_counts(&self, snapshot: &Mutex<Snapshot>) {
        let mut state = self.state.borrow_mut();
        let mut out = snapshot.lock().expect("nobody panics while holding a snapshot");
        out.counts = Counts {
            resolved: state.resolved,
            failed: state.cohorts.iter().map(|g| g.failures.total()).sum(),
            turned_away: state
                .cohorts
                .iter()
                .map(|g| g.dropped_unexpectedly + g.reconnect_failures.total())
                .sum(),
            dropped: state.cohorts.iter().map(|g| g.dropped_unexpectedly).sum(),
            ended_operations: state.cohorts.iter().map(GroupTally::ended_operations).sum(),
            established: state.cohorts.iter().map(|g| g.established).sum(),
            settled: state.settled,
            confirmed: state.cohorts.iter().map(|g| g.confirmed).sum(),
            receipts: state.receipts,
            received: state.receipts + state.cohorts.iter().map(GroupTally::aside_delivered).sum::<u64>(),
            withheld: state.cohorts.iter().map(|g| g.withheld).sum(),
            satisfied: state.satisfied,
            away: state.away.len() as u64,
            barriers_noted: state.barriers_noted.into(),
            outstanding: state.outstanding,
            unanswered: state.unanswered,
            cycles_over: self.cycles_over.get(),
        };
        out.cpu = thread_time();
        out.interval.merge(&state.latency.take_interval());
    }
}
