//! The fleet: owns every thread that makes load, passes orders to them and adds up what they count.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use super::board::Board;
use super::climb::Climb;
use super::counts::Counts;
use super::handshake::Endpoint;
use super::http_link::HttpEndpoint;
use super::publisher::{self, PublisherPlan, PublisherResult, PublisherSnapshot};
use super::shard::{self, Orders, ShardPlan, ShardResult, Snapshot};
use super::slow::SlowReader;
use super::source::PublishOrders;
use super::tally::GroupTally;
use crate::clock::{self, RunClock};
use crate::inject::{FaultTally, Schedule};
use crate::ledger::{Config, GroupShape, ShardLedger, Streams, SubscriptionShape};
use crate::metrics::{LatencySet, Precision, Recorder};
use crate::scenarios::plan::Plan;

/// Bytes that gaps in the books may take over all shards; beyond it deliveries become `unverified`.
const GAPS_MAX_BYTES: usize = 512 << 20;

/// How long threads may take to drop everything once they are ordered to.
const END_WITHIN: Duration = Duration::from_secs(20);

/// All clients of one round.
pub struct Fleet {
    board: Arc<Board>,
    orders: watch::Sender<Orders>,
    publish: watch::Sender<PublishOrders>,
    shards: Vec<Shard>,
    publisher: Publisher,
}

struct Shard {
    thread: JoinHandle<io::Result<ShardResult>>,
    snapshot: Arc<Mutex<Snapshot>>,
}

struct Publisher {
    thread: JoinHandle<io::Result<PublisherResult>>,
    snapshot: Arc<Mutex<PublisherSnapshot>>,
}

/// Where and how the fleet connects.
#[derive(Clone)]
pub struct Paths {
    /// The WebSocket side.
    pub endpoint: Endpoint,
    /// The HTTP side, where events are published by POST.
    pub http: Option<HttpEndpoint>,
    /// Threads of subscribers.
    pub shards: u32,
}

/// What all threads have counted so far.
#[derive(Debug, Clone, Default)]
pub struct FleetCounts {
    /// All shards together.
    pub shards: Counts,
    /// The publisher thread.
    pub publisher: PublisherSnapshot,
    /// CPU time of the busiest thread that makes load.
    pub busiest_cpu: Duration,
}

/// What a round leaves behind.
pub struct FleetResult {
    /// One tally per cohort of subscribers: bystanders and victims of each group in turn.
    pub groups: Vec<GroupTally>,
    /// One open ledger per shard.
    pub ledgers: Vec<ShardLedger>,
    /// Event messages received by all shards, counted by the decoder.
    pub receipts: u64,
    /// All latencies of subscribers.
    pub latency: LatencySet,
    /// What publishers did.
    pub publisher: PublisherResult,
    /// What became of each fault, in the order of the plan.
    pub faults: Vec<FaultTally>,
    /// What became of those whom faults made slow.
    pub slow: Vec<SlowReader>,
    /// The shared gauges.
    pub board: Arc<Board>,
}

/// A load thread ended in a way it never should.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// It could not start.
    #[error("a load thread cannot run: {0}")]
    Thread(#[from] io::Error),
    /// It does not end.
    #[error("a load thread does not end although it was ordered to")]
    Stuck,
    /// It panicked.
    #[error("a load thread panicked: {0}")]
    Panicked(String),
}

impl Fleet {
    /// Starts the threads; nothing connects before [`Self::order`] says so, except publishers.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn start(plan: &Arc<Plan>, paths: &Paths, clock: RunClock, run: u32) -> io::Result<Self> {
        let shapes: Vec<GroupShape> =
            plan.publishers.iter().map(|g| GroupShape { connections: g.connections }).collect();
        let streams = Arc::new(Streams::new(plan.channels, &shapes));
        let board = Board::new(clock, run, streams, plan.channels, plan.phases.len());
        let board = Arc::new(Board { climb: Climb::of(plan), ..board });
        let (orders, _) = watch::channel(Orders::default());
        let (publish, publish_orders) = watch::channel(PublishOrders::default());
        let publisher = start_publisher(plan, paths, &board, publish_orders)?;
        let schedule = Arc::new(Schedule::of(plan));
        let shards = (0..paths.shards)
            .map(|index| start_shard(plan, &schedule, paths, &board, index, orders.subscribe()))
            .collect::<io::Result<_>>()?;
        Ok(Self { board, orders, publish, shards, publisher })
    }

    /// The shared gauges.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The same, for whoever looks at them while the fleet is borrowed otherwise.
    #[must_use]
    pub fn board_shared(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    /// Changes the orders of all subscribers.
    pub fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// Changes the orders of all publishers.
    pub fn publish(&self, change: impl FnOnce(&mut PublishOrders)) {
        self.publish.send_modify(change);
    }

    /// Adds up what all threads have passed on, at most 20 ms old.
    #[must_use]
    pub fn counts(&self) -> FleetCounts {
        let mut all =
            FleetCounts { publisher: lock(&self.publisher.snapshot).clone(), ..FleetCounts::default() };
        all.busiest_cpu = all.publisher.cpu;
        for shard in &self.shards {
            let one = lock(&shard.snapshot);
            all.shards += one.counts;
            all.busiest_cpu = all.busiest_cpu.max(one.cpu);
        }
        all
    }

    /// Deliver latencies since the last call.
    #[must_use]
    pub fn take_interval(&self) -> Recorder {
        let mut all = Recorder::new(Precision::Coarse);
        for shard in &self.shards {
            all.merge(&lock(&shard.snapshot).interval.take());
        }
        all
    }

    /// Whether every thread has ended.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.shards.iter().all(|s| s.thread.is_finished()) && self.publisher.thread.is_finished()
    }

    /// Whether any thread has ended.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.shards.iter().any(|s| s.thread.is_finished()) || self.publisher.thread.is_finished()
    }

    /// Collects what is left once all threads have been ordered to stop; blocks until they have, but not for ever.
    ///
    /// # Errors
    /// If a thread could not run, panicked or does not end.
    pub fn finish(self) -> Result<FleetResult, FleetError> {
        let began = clock::now();
        while !self.has_stopped() {
            if began.elapsed() > END_WITHIN {
                return Err(FleetError::Stuck);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let publisher = join(self.publisher.thread)?;
        let mut shards = self.shards.into_iter().map(|s| join(s.thread)).collect::<Result<Vec<_>, _>>()?;
        let first = shards.remove(0);
        let mut result = FleetResult {
            groups: first.cohorts,
            ledgers: vec![first.ledger],
            receipts: first.receipts,
            latency: first.latency,
            publisher,
            faults: first.faults,
            slow: first.slow,
            board: self.board,
        };
        for shard in shards {
            for (mine, theirs) in result.groups.iter_mut().zip(&shard.cohorts) {
                *mine += theirs;
            }
            for (mine, theirs) in result.faults.iter_mut().zip(&shard.faults) {
                *mine += theirs;
            }
            result.receipts += shard.receipts;
            result.latency.merge(&shard.latency);
            result.ledgers.push(shard.ledger);
            result.slow.extend(shard.slow);
        }
        for (mine, theirs) in result.faults.iter_mut().zip(&result.publisher.faults) {
            *mine += theirs;
        }
        Ok(result)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked is reported by `finish`; its last counts are still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn join<T>(thread: JoinHandle<io::Result<T>>) -> Result<T, FleetError> {
    match thread.join() {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let text = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            Err(FleetError::Panicked(text))
        }
    }
}

fn start_publisher(
    plan: &Arc<Plan>,
    paths: &Paths,
    board: &Arc<Board>,
    orders: watch::Receiver<PublishOrders>,
) -> io::Result<Publisher> {
    let snapshot = Arc::new(Mutex::new(PublisherSnapshot::default()));
    let out = Arc::clone(&snapshot);
    let plan = PublisherPlan {
        endpoint: paths.endpoint.clone(),
        http: paths.http.clone(),
        board: Arc::clone(board),
        plan: Arc::clone(plan),
    };
    let thread = std::thread::Builder::new()
        .name("publishers".to_owned())
        .spawn(move || publisher::run(plan, orders, &out))?;
    Ok(Publisher { thread, snapshot })
}

fn start_shard(
    plan: &Arc<Plan>,
    schedule: &Arc<Schedule>,
    paths: &Paths,
    board: &Arc<Board>,
    index: u32,
    orders: watch::Receiver<Orders>,
) -> io::Result<Shard> {
    let shard_plan = ShardPlan {
        index,
        shards: paths.shards,
        endpoint: paths.endpoint.clone(),
        board: Arc::clone(board),
        groups: plan.subscribers.clone(),
        channels: plan.channels,
        phases: plan.phases.len(),
        kinds: plan.faults.iter().map(|fault| fault.kind.clone()).collect(),
        payloads: plan.publishers.iter().map(|group| group.payload as u64).collect(),
        schedule: Arc::clone(schedule),
    };
    let shapes: Vec<SubscriptionShape> = shard::subscriptions(&shard_plan)
        .into_iter()
        .map(|(channel, cohort)| SubscriptionShape { channel, group: cohort })
        .collect();
    let config = Config {
        run: board.run,
        streams: Arc::clone(&board.streams),
        roster: Arc::clone(&board.roster),
        deadline_ns: u64::try_from(plan.deadline.as_nanos()).unwrap_or(u64::MAX),
        groups: 2 * plan.subscribers.len(),
        phases: plan.phases.len(),
        gaps_max_bytes: GAPS_MAX_BYTES / paths.shards as usize,
        first_subscription: 0,
    };
    let ledger = ShardLedger::new(config, &shapes);
    let snapshot = Arc::new(Mutex::new(Snapshot::default()));
    let out = Arc::clone(&snapshot);
    let thread = std::thread::Builder::new()
        .name(format!("subscribers-{index}"))
        .spawn(move || shard::run(shard_plan, ledger, orders, &out))?;
    Ok(Shard { thread, snapshot })
}
