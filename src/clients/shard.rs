//! One thread of subscribers: its connections, what they count, and the orders it follows.
//!
//! A shard owns a `current_thread` runtime; all its tasks share one state without locks. It never decides when
//! something happens: the conductor gives orders on a watch channel, and a ticker passes the counts back.

use std::cell::{Cell, RefCell};
use std::ops::{AddAssign, Range};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::failure::{Failure, Reason, Stage};
use super::handshake::Endpoint;
use super::pace::Timetable;
use super::seats::{Seat, seats};
use super::subscriber;
use super::tally::GroupTally;
use super::task::pass_on;
use crate::clock;
use crate::ledger::{End, ShardLedger};
use crate::metrics::{LatencySet, Precision, Recorder, thread_time};
use crate::scenarios::plan::{Connect, SubscriberGroup};

/// How often counts are passed to the conductor.
const TICK: Duration = Duration::from_millis(20);

/// How often the length of our own queue is sampled.
const CANARY: Duration = Duration::from_millis(5);

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
}

/// Counts that the conductor sees while the run goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Attempts that have ended, well or badly.
    pub resolved: u64,
    /// Attempts that failed, and established connections that ended unexpectedly.
    pub failed: u64,
    /// Connections established so far.
    pub established: u64,
    /// Subscriptions that no longer wait for a probe: confirmed, failed or gone.
    pub settled: u64,
    /// Subscriptions confirmed so far.
    pub confirmed: u64,
    /// Event messages received.
    pub receipts: u64,
    /// Owed events received intact.
    pub satisfied: u64,
    /// Connections that ended and are on their way back: not open, or not all subscriptions proved again.
    pub away: u64,
    /// Shards that have noted who waits for barriers.
    pub barriers_noted: u64,
    /// Deliveries still owed on live incarnations; reckoned only once barriers are awaited.
    pub outstanding: u64,
    /// Connections that have not answered what was sent after their unsubscribes.
    pub unanswered: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.resolved += other.resolved;
        self.failed += other.failed;
        self.established += other.established;
        self.settled += other.settled;
        self.confirmed += other.confirmed;
        self.receipts += other.receipts;
        self.satisfied += other.satisfied;
        self.away += other.away;
        self.barriers_noted += other.barriers_noted;
        self.outstanding += other.outstanding;
        self.unanswered += other.unanswered;
    }
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
    /// One tally per subscriber group.
    pub groups: Vec<GroupTally>,
    /// The ledger, open.
    pub ledger: ShardLedger,
    /// Event messages received.
    pub receipts: u64,
    /// Latencies.
    pub latency: LatencySet,
}

/// One subscription's state beside its books.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sub {
    pub channel: u32,
    pub group: u16,
    pub state: SubState,
    /// When its subscribe was flushed, ns on the run's axis.
    pub flushed_ns: u64,
    /// Number of the first probe received, plus one; 0: none.
    pub first_probe: u32,
    /// Probes received.
    pub probes: u32,
    /// Number of the last census received.
    pub census: u32,
}

/// Life of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubState {
    /// Not asked for yet.
    Idle,
    /// Flushed, waiting for a probe.
    Waiting,
    /// Proved.
    Active,
    /// Not proved in time, refused, or ended by the server.
    Failed,
    /// Unsubscribed, or its connection ended.
    Ended,
}

pub(super) struct State {
    pub ledger: ShardLedger,
    pub groups: Vec<GroupTally>,
    pub latency: LatencySet,
    pub subs: Vec<Sub>,
    pub wakers: Vec<Option<Waker>>,
    pub receipts: u64,
    /// Owed events received intact.
    pub satisfied: u64,
    pub settled: u64,
    pub resolved: u64,
}

/// Shared by the tasks of one shard.
pub(super) struct Shard {
    pub plan: ShardPlan,
    pub state: RefCell<State>,
    pub course: Cell<Course>,
    pub handshakes: CancellationToken,
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
    let seats = seats(&plan.groups, plan.index, plan.shards);
    let state = RefCell::new(State {
        ledger,
        groups: vec![GroupTally::default(); plan.groups.len()],
        latency: LatencySet::new(plan.groups.len(), plan.phases),
        subs: subs_of(&plan),
        wakers: vec![None; seats.len()],
        receipts: 0,
        satisfied: 0,
        settled: 0,
        resolved: 0,
    });
    let shard =
        Rc::new(Shard { plan, state, course: Cell::new(Course::Run), handshakes: CancellationToken::new() });
    let local = LocalSet::new();
    runtime.block_on(local.run_until(drive(Rc::clone(&shard), seats, orders, Arc::clone(snapshot))));
    drop(local);
    drop(runtime);
    let shard = Rc::into_inner(shard).expect("every task of the shard has ended with its runtime");
    let state = shard.state.into_inner();
    Ok(ShardResult {
        groups: state.groups,
        ledger: state.ledger,
        receipts: state.receipts,
        latency: state.latency,
    })
}

/// The subscriptions of this shard, in the order of its connections: `(channel, group)`.
#[must_use]
pub fn subscriptions(plan: &ShardPlan) -> Vec<(u32, u16)> {
    let seats = seats(&plan.groups, plan.index, plan.shards);
    seats.iter().flat_map(|s| s.channels(plan.channels).map(|c| (c, s.group))).collect()
}

fn subs_of(plan: &ShardPlan) -> Vec<Sub> {
    let new = |(channel, group)| Sub {
        channel,
        group,
        state: SubState::Idle,
        flushed_ns: 0,
        first_probe: 0,
        probes: 0,
        census: 0,
    };
    subscriptions(plan).into_iter().map(new).collect()
}

/// Follows orders; owns every task.
async fn drive(
    shard: Rc<Shard>,
    seats: Vec<Seat>,
    mut orders: watch::Receiver<Orders>,
    snapshot: Arc<Mutex<Snapshot>>,
) {
    let mut connections = JoinSet::new();
    let mut helpers = JoinSet::new();
    helpers.spawn_local(tick(Rc::clone(&shard), Arc::clone(&snapshot)));
    helpers.spawn_local(canary(Rc::clone(&shard)));
    let mut openers = JoinSet::new();
    let (offers, mut offered) = tokio::sync::mpsc::channel(1_024);
    let mut opened = 0;
    loop {
        let now = *orders.borrow_and_update();
        while opened < now.waves {
            open_wave(&shard, &seats, opened, &offers, &mut connections, &mut openers);
            opened += 1;
        }
        if now.quiet_passed {
            shard.state.borrow_mut().ledger.quiet_passed();
        }
        if now.course > shard.course.get() {
            shard.order(now.course);
        }
        if now.course == Course::Abort || (now.course == Course::Close && connections.is_empty()) {
            break;
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { break },
            Some((seat, permit)) = offered.recv() => {
                connections.spawn_local(subscriber::connection(Rc::clone(&shard), seat, permit));
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
    shard.publish_counts(&snapshot);
}

type Permit = Option<tokio::sync::OwnedSemaphorePermit>;

fn open_wave(
    shard: &Rc<Shard>,
    seats: &[Seat],
    wave: u32,
    offers: &tokio::sync::mpsc::Sender<(Seat, Permit)>,
    connections: &mut JoinSet<()>,
    openers: &mut JoinSet<()>,
) {
    for (g, group) in shard.plan.groups.iter().enumerate() {
        let mine: Vec<Seat> = seats
            .iter()
            .filter(|s| usize::from(s.group) == g && u32::from(s.wave) == wave)
            .copied()
            .collect();
        match group.connect {
            Connect::Together => {
                for seat in mine {
                    connections.spawn_local(subscriber::connection(Rc::clone(shard), seat, None));
                }
            }
            Connect::Bounded(limit) => {
                let share = share_of(limit, shard.plan.index, shard.plan.shards);
                openers.spawn_local(open_bounded(mine, share, offers.clone()));
            }
            Connect::Rate(rate) => {
                let rate = rate / f64::from(shard.plan.shards);
                openers.spawn_local(open_at_rate(mine, rate, offers.clone()));
            }
        }
    }
}

/// This shard's part of a limit; at least 1, or nothing would ever open.
fn share_of(limit: u32, index: u32, shards: u32) -> usize {
    (limit / shards + u32::from(index < limit % shards)).max(1) as usize
}

async fn open_bounded(seats: Vec<Seat>, limit: usize, offers: tokio::sync::mpsc::Sender<(Seat, Permit)>) {
    let permits = Arc::new(Semaphore::new(limit));
    for seat in seats {
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        if offers.send((seat, permit)).await.is_err() {
            return;
        }
    }
}

async fn open_at_rate(seats: Vec<Seat>, rate: f64, offers: tokio::sync::mpsc::Sender<(Seat, Permit)>) {
    let table = Timetable { rate: Some(rate), together: 1 };
    let began = clock::now();
    for (n, seat) in seats.into_iter().enumerate() {
        sleep_until(began + table.due(n as u64)).await;
        if offers.send((seat, None)).await.is_err() {
            return;
        }
    }
}

/// Passes counts to the conductor, gives up on subscriptions that are not confirmed in time, and notices how late
/// the event loop wakes up.
async fn tick(shard: Rc<Shard>, snapshot: Arc<Mutex<Snapshot>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = ticks.tick().await;
        shard.note_lag(due.elapsed());
        shard.expire_unconfirmed();
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
        shard.state.borrow_mut().latency.drain.record_corrected(began.elapsed(), CANARY);
    }
}

impl Shard {
    fn order(&self, course: Course) {
        self.course.set(course);
        if course >= Course::Close {
            self.handshakes.cancel();
        }
        // Woken outside the borrow: a waker may run arbitrary code.
        let wakers: Vec<Waker> = self.state.borrow().wakers.iter().flatten().cloned().collect();
        wakers.iter().for_each(Waker::wake_by_ref);
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
            failed: state.groups.iter().map(|g| g.failures.total()).sum(),
            established: state.groups.iter().map(|g| g.established).sum(),
            settled: state.settled,
            confirmed: state.groups.iter().map(|g| g.confirmed).sum(),
            receipts: state.receipts,
            satisfied: state.satisfied,
            ..Counts::default()
        };
        out.cpu = thread_time();
        out.interval.merge(&state.latency.take_interval());
    }

    fn expire_unconfirmed(&self) {
        let board = &self.plan.board;
        let limit = self.plan.endpoint.timeouts.confirm;
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let State { subs, groups, settled, .. } = &mut *self.state.borrow_mut();
        if *settled == subs.len() as u64 {
            return;
        }
        let now = board.clock.now_ns();
        for sub in subs.iter_mut().filter(|s| s.state == SubState::Waiting) {
            if now.saturating_sub(sub.flushed_ns) > limit_ns {
                sub.state = SubState::Failed;
                *settled += 1;
                board.waiting[sub.channel as usize].fetch_sub(1, Relaxed);
                groups[usize::from(sub.group)]
                    .failures
                    .add(Failure::new(Stage::Confirm, Reason::Timeout), "");
            }
        }
    }

    /// Ends what is still open, so that every enrolment is released.
    fn close_books(&self) {
        let all = 0..self.state.borrow().subs.len() as u32;
        self.end_subscriptions(all, End::Unsubscribed);
    }

    /// Ends the subscriptions of `range` (indices in this shard), however far they had come.
    pub(super) fn end_subscriptions(&self, range: Range<u32>, how: End) {
        let board = &self.plan.board;
        let State { subs, ledger, settled, groups, .. } = &mut *self.state.borrow_mut();
        for index in range {
            let sub = &mut subs[index as usize];
            match sub.state {
                SubState::Ended => continue,
                SubState::Idle | SubState::Failed => {}
                SubState::Waiting => {
                    board.waiting[sub.channel as usize].fetch_sub(1, Relaxed);
                }
                SubState::Active => {
                    ledger.end(index as usize, how);
                    // Nobody comes back yet.
                    ledger.leave(index as usize);
                    if how == End::Unsubscribed {
                        groups[usize::from(sub.group)].probes_missed += missed_probes(board, sub);
                    }
                    board.active.down();
                    board.census.drop_out(sub.census);
                }
            }
            if matches!(sub.state, SubState::Idle | SubState::Waiting) {
                *settled += 1;
            }
            sub.state = SubState::Ended;
        }
    }
}

/// Probes of the subscription's channel that it did not receive although it had received an earlier one.
fn missed_probes(board: &Board, sub: &Sub) -> u64 {
    let sent = board.probes_sent[sub.channel as usize].load(Relaxed);
    let owed = (sent + 1).saturating_sub(sub.first_probe);
    u64::from(owed.saturating_sub(sub.probes))
}
