//! What the publishing connections share: their orders, their presence, and the books they keep.
//!
//! A connection says here what became of it and of what it published; nothing here touches a socket.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::aftermath::Aftermath;
use super::board::Board;
use super::climb::Climb;
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Endpoint, Refusal};
use super::pacing::Schedules;
use super::presence::{Arrival, Presence};
use super::publisher::{PublisherResult, PublisherSnapshot};
use super::sabotage::Orders;
use super::source::{PublishOrders, Source, What};
use super::tally::Sight;
use super::weather::{Climate, Tally};
use crate::inject::Schedule;
use crate::ledger::StreamId;
use crate::metrics::thread_time;
use crate::scenarios::plan::FaultKind;

/// How long to wait before a connection that is gone is made again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// Unacknowledged publishes that are remembered one by one for the ledger; beyond it what did not arrive is `unverified`.
const UNACKED_KEPT: usize = 1 << 20;

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

impl Desk {
    /// Lets every connection look at its orders.
    pub(super) fn wake_all(&self) {
        let wakers: Vec<Waker> = self.seats.borrow().iter().filter_map(|s| s.waker.clone()).collect();
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Shows the conductor how far the thread is.
    pub(super) fn publish_counts(&self, snapshot: &Mutex<PublisherSnapshot>) {
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
