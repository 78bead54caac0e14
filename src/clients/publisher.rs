//! The publisher thread: publishing connections and the prober, on a runtime of their own.
//!
//! Apart from the subscribers because publishing beside 10,000 subscribers on one thread multiplies the deliver
//! p99 that is measured by five.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::aftermath::Aftermath;
use super::board::Board;
use super::desk::{Desk, PublisherSeat};
use super::handshake::Endpoint;
use super::http_link::{self, HttpEndpoint};
use super::link;
use super::pacing::Schedules;
use super::presence::Presence;
use super::probes::Probes;
use super::sabotage;
use super::slowdown::TICK_US;
use super::source::{Events, PublishOrders, Source};
pub use super::tally::{LinkTally, PublishTally};
use super::task::pass_on;
use super::weather::{Climate, Tally};
use crate::inject::FaultTally;
use crate::ledger::StreamId;
use crate::metrics::{LatencySet, Precision, Recorder};
use crate::scenarios::plan::{FaultKind, Plan};

const TICK: Duration = Duration::from_micros(TICK_US);

/// How often what is acknowledged is remembered. A delivery whose publish was acknowledged one to two of these before a
/// cut of ours was not on its way any more when we cut.
const REMEMBER: Duration = Duration::from_millis(500);

/// Everything the thread needs to know beforehand.
pub struct PublisherPlan {
    /// The target's WebSocket side.
    pub endpoint: Endpoint,
    /// Its HTTP side, where events are published by POST.
    pub http: Option<HttpEndpoint>,
    /// Shared gauges and the roster.
    pub board: Arc<Board>,
    /// The plan.
    pub plan: Arc<Plan>,
}

/// Counts that the conductor sees while the run goes on.
#[derive(Debug, Default, Clone)]
pub struct PublisherSnapshot {
    /// Connections that are ready to publish.
    pub ready: u32,
    /// Connections that failed to open, or ended and will not come back; the prober's, whenever it is not connected.
    pub lost: u32,
    /// Connections that ended and are on their way back.
    pub away: u32,
    /// Connections that ended before they were told to.
    pub dropped: u64,
    /// The orders that the figures below belong to.
    pub orders: PublishOrders,
    /// Connections that still have something to send under these orders.
    pub busy: u32,
    /// CPU time of the thread.
    pub cpu: Duration,
}

/// What the publisher thread leaves behind.
#[derive(Debug)]
pub struct PublisherResult {
    /// `[group][phase]`
    pub groups: Vec<Vec<PublishTally>>,
    /// One per group, then one for the prober.
    pub links: Vec<LinkTally>,
    /// `publish_ack` and `send_lag`; `loop_lag` of this thread.
    pub latency: LatencySet,
    /// `publish_ack` of the events of each phase.
    pub acks: Vec<Recorder>,
    /// Publishes without an acknowledgement.
    pub unacked: Vec<(StreamId, u64)>,
    /// There were more of them than can be remembered.
    pub unacked_capped: bool,
    /// What became of each fault on publishing connections.
    pub faults: Vec<FaultTally>,
}

/// Runs the thread until it is ordered to close; called on its own thread.
///
/// # Errors
/// If the thread cannot have an event loop or a timer (no free file).
pub fn run(
    plan: PublisherPlan,
    orders: watch::Receiver<PublishOrders>,
    snapshot: &Arc<Mutex<PublisherSnapshot>>,
) -> std::io::Result<PublisherResult> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let (groups, phases) = (plan.plan.publishers.len(), plan.plan.phases.len());
    let schedule = plan.plan.schedule();
    let kinds: Vec<FaultKind> = plan.plan.faults.iter().map(|fault| fault.kind.clone()).collect();
    let first_connection = plan.plan.subscriber_connections();
    let desk = Rc::new(Desk {
        endpoint: plan.endpoint.clone(),
        board: Arc::clone(&plan.board),
        orders: Cell::default(),
        result: RefCell::new(PublisherResult {
            groups: vec![vec![PublishTally::default(); phases]; groups],
            links: vec![LinkTally::default(); groups + 1],
            latency: LatencySet::new(1, 1),
            acks: plan.plan.phases.iter().map(|_| Recorder::new(Precision::Coarse)).collect(),
            unacked: Vec::new(),
            unacked_capped: false,
            faults: Vec::new(),
        }),
        schedules: Schedules::of(&plan.plan),
        seats: RefCell::default(),
        climate: Climate::of(&schedule, &kinds, |connection| {
            connection.checked_sub(first_connection).map(|index| index as usize)
        }),
        faults: kinds.iter().map(|_| Tally::default()).collect(),
        schedule,
        kinds,
        first_connection,
        errands: RefCell::default(),
        aftermath: Aftermath::default(),
        closing: CancellationToken::new(),
    });
    runtime.block_on(local.run_until(drive(Rc::clone(&desk), plan, orders, Arc::clone(snapshot))));
    drop(local);
    drop(runtime);
    let desk = Rc::into_inner(desk).expect("every task of the thread has ended with its runtime");
    let faults = desk.reconciled_faults();
    let mut groups = std::mem::take(&mut desk.result.borrow_mut().groups);
    desk.schedules.note_slips(&mut groups);
    Ok(PublisherResult { faults, groups, ..desk.result.into_inner() })
}

async fn drive(
    desk: Rc<Desk>,
    plan: PublisherPlan,
    mut orders: watch::Receiver<PublishOrders>,
    snapshot: Arc<Mutex<PublisherSnapshot>>,
) {
    let mut links = JoinSet::new();
    let mut helpers = JoinSet::new();
    for (seat, source) in seats(&desk, &plan) {
        desk.seats.borrow_mut().push(Presence::default());
        let desk = Rc::clone(&desk);
        match plan.http.clone() {
            Some(http) => links.spawn_local(http_link::run(desk, seat, source, http)),
            None => links.spawn_local(link::run(desk, seat, source)),
        };
    }
    helpers.spawn_local(tick(Rc::clone(&desk), Arc::clone(&snapshot)));
    let mut agenda = desk.agenda();
    // Before anybody connects: nothing has been polled yet.
    agenda.begin_set_up(desk.board.clock.now_ns(), |due_ns, step, planned| desk.step(due_ns, step, planned));
    let agenda = Rc::new(RefCell::new(agenda));
    helpers.spawn_local(sabotage::run(Rc::clone(&desk), Rc::clone(&agenda), orders.clone()));
    loop {
        let now = *orders.borrow_and_update();
        agenda.borrow_mut().catch_up(&desk.board, sabotage::course(&now), |due_ns, step, planned| {
            desk.step(due_ns, step, planned);
        });
        desk.orders.set(now);
        desk.wake_all();
        if now.close {
            desk.closing.cancel();
        }
        if now.abort || (now.close && links.is_empty()) {
            break;
        }
        tokio::select! {
            changed = orders.changed() => if changed.is_err() { break },
            Some(ended) = links.join_next() => pass_on(ended),
            Some(ended) = helpers.join_next() => pass_on(ended),
        }
    }
    links.shutdown().await;
    helpers.shutdown().await;
    desk.publish_counts(&snapshot);
}

/// Every publishing connection with what it says, and the prober last.
fn seats(desk: &Desk, plan: &PublisherPlan) -> Vec<(PublisherSeat, Source)> {
    let mut seats = Vec::new();
    let seat = |index: usize, group| PublisherSeat { index, group, first_id: (index as u64 + 1) << 32 };
    for (g, group) in plan.plan.publishers.iter().enumerate() {
        for c in 0..group.connections {
            let index = seats.len();
            let think = desk.climate.think(index);
            let schedule = desk.schedules.group(g).cloned();
            let board = Arc::clone(&plan.board);
            let events = Events::new(board, &plan.plan, g, (c, index as u32), think, schedule);
            seats.push((seat(index, g), Source::Events(Box::new(events))));
        }
    }
    let index = seats.len();
    let probes = Probes::new(Arc::clone(&plan.board), index as u32, plan.plan.channels);
    seats.push((seat(index, plan.plan.publishers.len()), Source::Probes(probes)));
    seats
}

async fn tick(desk: Rc<Desk>, snapshot: Arc<Mutex<PublisherSnapshot>>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut remembered = crate::clock::now();
    loop {
        let due = ticks.tick().await;
        desk.climate.follow_up(|_| {});
        if due.duration_since(remembered) >= REMEMBER {
            desk.board.roster.remember();
            remembered = due;
        }
        if desk.board.measuring.load(Relaxed) {
            desk.result.borrow_mut().latency.loop_lag.record(due.elapsed());
        }
        desk.schedules.tick(&desk.board, due.elapsed());
        desk.publish_counts(&snapshot);
    }
}
