//! The publisher thread: publishing connections and the prober, on a runtime of their own.
//!
//! Apart from the subscribers because publishing beside 10,000 subscribers on one thread multiplies the deliver
//! p99 that is measured by five.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
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
use super::climb::Climb;
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Endpoint, Refusal};
use super::http_link::{self, HttpEndpoint};
use super::link;
use super::pacing::Schedules;
use super::presence::{Arrival, Presence};
use super::probes::Probes;
use super::sabotage::{self, Orders};
use super::slowdown::TICK_US;
use super::source::{Events, PublishOrders, Source, What};
use super::tally::Sight;
pub use super::tally::{LinkTally, PublishTally};
use super::task::pass_on;
use super::weather::{Climate, Tally};
use crate::inject::{FaultTally, Schedule};
use crate::ledger::StreamId;
use crate::metrics::{LatencySet, Precision, Recorder, thread_time};
use crate::scenarios::plan::{FaultKind, Plan};

const TICK: Duration = Duration::from_micros(TICK_US);

/// How long to wait before a connection that is gone is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// How often what is acknowledged is remembered. A delivery whose publish was acknowledged one to two of these before a
/// cut of ours was not on its way any more when we cut.
const REMEMBER: Duration = Duration::from_millis(500);

/// Unacknowledged publishes that are remembered one by one for the ledger; beyond it what did not arrive is `unverified`.
const UNACKED_KEPT: usize = 1 << 20;

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
    /// The first reason.
    pub first_loss: Option<Refusal>,
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

/// Shared by the tasks of the thread.
pub(super) struct Desk {
    pub endpoint: Endpoint,
    pub board: Arc<Board>,
    pub orders: Cell<PublishOrders>,
    pub result: RefCell<PublisherResult>,
    pub seats: RefCell<Vec<Presence>>,
    /// Who is hit by which fault, and when.
    pub schedule: Schedule,
    /// What each fault does.
    pub kinds: Vec<FaultKind>,
    /// Index of the first publishing connection among all of the plan.
    pub first_connection: u32,
    /// What became of each fault.
    pub faults: Vec<Tally>,
    /// What faults make of those whom they hit.
    pub climate: Climate,
    /// Where schedules are that may slip.
    pub schedules: Schedules,
    /// What connections are to do about their sockets.
    pub errands: RefCell<BTreeMap<usize, Orders>>,
    /// What remains to be done about connections that were ended.
    pub aftermath: Aftermath,
    /// Cancelled when closing is ordered: for connections that have not come so far as to follow orders.
    pub closing: CancellationToken,
}

/// Why the answer to a publish is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// Its connection is gone.
    Gone,
    /// An operation takes no longer.
    TimedOut,
    /// A fault of ours has cut or holds its connection.
    ByPlan,
}

/// One publishing connection's place.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublisherSeat {
    pub index: usize,
    /// Index in `PublisherResult::links`.
    pub group: usize,
    /// First operation id; ids of different connections never meet.
    pub first_id: u64,
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

impl Desk {
    fn wake_all(&self) {
        let wakers: Vec<Waker> = self.seats.borrow().iter().filter_map(|s| s.waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    fn publish_counts(&self, snapshot: &Mutex<PublisherSnapshot>) {
        let seats = self.seats.borrow();
        let orders = self.orders.get();
        let mut out = snapshot.lock().expect("nobody panics while holding a snapshot");
        let count = |is: &dyn Fn(&Presence) -> bool| seats.iter().filter(|s| is(s)).count() as u32;
        out.ready = count(&Presence::is_ready);
        out.lost = count(&Presence::is_lost);
        out.away = count(&Presence::is_away);
        out.dropped = self.result.borrow().links.iter().map(|link| link.lost).sum();
        out.busy = count(&|seat| seat.is_busy(orders));
        out.orders = orders;
        out.cpu = thread_time();
    }

    /// Follows orders on behalf of a connection: whether nothing of what is ordered is left to send, and whom to wake
    /// when the orders change.
    pub(super) fn follow(&self, seat: PublisherSeat, is_done: bool, waker: &Waker) {
        let state = &mut self.seats.borrow_mut()[seat.index];
        if is_done {
            state.done(self.orders.get());
        }
        if !state.waker.as_ref().is_some_and(|w| w.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }

    /// Does `work` in place of a connection that there is not, following orders meanwhile; `None`: closing is ordered.
    pub(super) async fn meanwhile<F: Future>(
        &self,
        seat: PublisherSeat,
        source: &Source,
        work: F,
    ) -> Option<F::Output> {
        let mut work = pin!(self.closing.run_until_cancelled(work));
        poll_fn(|cx| {
            self.follow(seat, source.is_done(&self.orders.get()), cx.waker());
            work.as_mut().poll(cx)
        })
        .await
    }

    /// After a connection was lost: waits until it is time to connect again; whether to.
    pub(super) async fn comes_back(&self, seat: PublisherSeat, source: &Source, refusal: &Refusal) -> bool {
        self.lost(seat, refusal, source.never_gives_up())
            && self.meanwhile(seat, source, tokio::time::sleep(AGAIN_AFTER)).await.is_some()
    }

    /// The same after a fault of ours has cut it.
    pub(super) async fn comes_back_after_cut(&self, seat: PublisherSeat, source: &Source) -> bool {
        self.cut(seat, source.never_gives_up())
            && self.meanwhile(seat, source, tokio::time::sleep(AGAIN_AFTER)).await.is_some()
    }

    /// The same after a fault of ours has kept it from connecting, for as long as that lasts.
    pub(super) async fn comes_back_after_abort(&self, seat: PublisherSeat, source: &Source) -> bool {
        self.result.borrow_mut().links[seat.group].aborted_by_plan += 1;
        self.seats.borrow_mut()[seat.index].stay_away();
        self.meanwhile(seat, source, tokio::time::sleep(AGAIN_AFTER)).await.is_some()
    }

    /// Books an attempt to connect; one that is to replace an established connection is not an attempt of the load.
    pub(super) fn attempted(&self, seat: PublisherSeat) {
        let is_first = !self.seats.borrow()[seat.index].is_established();
        self.result.borrow_mut().links[seat.group].attempted += u64::from(is_first);
    }

    /// Books a connection that can publish from now on.
    pub(super) fn ready(&self, seat: PublisherSeat) {
        let arrival = self.seats.borrow_mut()[seat.index].arrive();
        let link = &mut self.result.borrow_mut().links[seat.group];
        match arrival {
            Arrival::First => link.established += 1,
            Arrival::Again => link.reconnected += 1,
            Arrival::Replaced => {}
        }
    }

    /// That something fails now on a connection.
    fn sight(&self, seat: PublisherSeat) -> Sight {
        Sight { at_ns: self.board.clock.now_ns(), connection: seat.index as u32 }
    }

    /// Books a failure that the connection survives.
    pub(super) fn failed(&self, seat: PublisherSeat, refusal: &Refusal) {
        if let Some(climb) = self.climb_of(seat.group) {
            climb.publisher_failed(refusal, self.board.clock.now_ns());
        }
        self.result.borrow_mut().links[seat.group].failures.add(
            refusal.failure,
            &refusal.text,
            self.sight(seat),
        );
    }

    /// Books the end of a connection that should have gone on, or an attempt to connect that failed; whether it is
    /// tried again.
    pub(super) fn lost(&self, seat: PublisherSeat, refusal: &Refusal, never_gives_up: bool) -> bool {
        let settle = self.endpoint.timeouts.settle;
        if let Some(climb) = self.climb_of(seat.group) {
            climb.publisher_failed(refusal, self.board.clock.now_ns());
        }
        let loss = self.seats.borrow_mut()[seat.index].lose(settle, never_gives_up);
        let mut result = self.result.borrow_mut();
        let link = &mut result.links[seat.group];
        link.lost += u64::from(loss.was_ready);
        link.failures.add(refusal.failure, &refusal.text, self.sight(seat));
        loss.again
    }

    /// Books the end of a connection by a fault of ours; whether another one is made.
    pub(super) fn cut(&self, seat: PublisherSeat, never_gives_up: bool) -> bool {
        self.result.borrow_mut().links[seat.group].cut += 1;
        self.seats.borrow_mut()[seat.index].lose(self.endpoint.timeouts.settle, never_gives_up).again
    }

    /// Books an event that is handed to the socket.
    pub(super) fn sent(&self, what: What, now_ns: u64) {
        self.board.handed.fetch_add(1, Relaxed);
        let What::Event { group, phase, .. } = what else { return };
        self.board.events_sent.fetch_add(1, Relaxed);
        self.board.unacked.fetch_add(1, Relaxed);
        let tally = &mut self.result.borrow_mut().groups[group][phase];
        tally.sent += 1;
        tally.span_ns = Some((tally.span_ns.map_or(now_ns, |(first, _)| first), now_ns));
    }

    /// Books the length of the message that carries what is handed to the socket.
    pub(super) fn carried(&self, what: What, bytes: usize) {
        if let What::Event { group, phase, .. } = what {
            self.result.borrow_mut().groups[group][phase].bytes += bytes as u64;
        }
    }

    /// Books the acknowledgement of what was published.
    pub(super) fn acked(&self, seat: PublisherSeat, what: What, sent_ns: u64, now_ns: u64) {
        self.board.answered.fetch_add(1, Relaxed);
        let What::Event { group, phase, stream, seq } = what else {
            let link = &mut self.result.borrow_mut().links[seat.group];
            let is_barrier = matches!(what, What::Barrier);
            return *(if is_barrier { &mut link.barriers_acked } else { &mut link.probes_acked }) += 1;
        };
        self.settled(stream, seq);
        let after_ns = now_ns.saturating_sub(sent_ns);
        self.schedules.answered(group, Some(after_ns));
        if let Some(climb) = self.climb_of(group) {
            climb.acked(self.board.streams.number(stream, seq).1, now_ns);
        }
        let mut result = self.result.borrow_mut();
        result.groups[group][phase].acked += 1;
        result.latency.publish_ack.record_ns(after_ns);
        result.acks[phase].record_ns(after_ns);
    }

    /// Books an event that the server refused with a GraphQL error.
    pub(super) fn refused(&self, seat: PublisherSeat, what: What, refusal: &Refusal) {
        self.result.borrow_mut().links[seat.group].failures.add(
            refusal.failure,
            &refusal.text,
            self.sight(seat),
        );
        let What::Event { group, phase, stream, seq } = what else { return };
        self.settled(stream, seq);
        self.schedules.answered(group, None);
        if let Some(climb) = self.climb_of(group) {
            climb.publisher_failed(refusal, self.board.clock.now_ns());
        }
        let mut result = self.result.borrow_mut();
        result.groups[group][phase].failed += 1;
        result.keep_unacked(stream, seq);
    }

    /// Books an event whose acknowledgement will not be waited for any longer.
    pub(super) fn unknown(&self, seat: PublisherSeat, what: What, why: Unanswered) {
        let timed_out = why == Unanswered::TimedOut;
        if timed_out {
            let failure = Failure::new(Stage::Publish, Reason::Timeout);
            self.failed(seat, &Refusal { failure, text: String::new() });
        }
        let What::Event { group, phase, stream, seq } = what else { return };
        self.settled(stream, seq);
        self.schedules.answered(group, None);
        let mut result = self.result.borrow_mut();
        let tally = &mut result.groups[group][phase];
        tally.unknown += 1;
        tally.timed_out += u64::from(timed_out);
        tally.unknown_by_plan += u64::from(why == Unanswered::ByPlan);
        result.keep_unacked(stream, seq);
    }

    /// The climb, if it is this group that climbs.
    fn climb_of(&self, group: usize) -> Option<&Climb> {
        self.board.climb.as_ref().filter(|climb| climb.is_of(group))
    }

    /// Why a publish is not answered in time.
    pub(super) fn timed_out(&self, seat: PublisherSeat) -> Unanswered {
        if self.climate.is_our_doing(seat.index) { Unanswered::ByPlan } else { Unanswered::TimedOut }
    }

    /// Nothing more is awaited about an event.
    fn settled(&self, stream: StreamId, seq: u64) {
        self.board.roster.settle(stream, seq);
        self.board.unacked.fetch_sub(1, Relaxed);
    }

    /// How late an event was sent although its connection could be written.
    pub(super) fn send_lag(&self, lag_ns: u64) {
        self.result.borrow_mut().latency.send_lag.record_ns(lag_ns);
    }
}

impl PublisherResult {
    fn keep_unacked(&mut self, stream: StreamId, seq: u64) {
        self.unacked_capped |= self.unacked.len() >= UNACKED_KEPT;
        if !self.unacked_capped {
            self.unacked.push((stream, seq));
        }
    }
}
