//! The subscriptions of one shard beside their books: how far each has come, over all lives of its connection.
//!
//! Everything here happens to state alone, in one go; `live` reads and writes sockets and calls it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use super::board::Board;
use super::climb::Climb;
use super::failure::{Failure, Reason, Stage};
use super::seats::Seat;
use super::shard::Shard;
use super::tally::GroupTally;
use crate::ledger::{End, Kind, ShardLedger, Token};
use crate::metrics::LatencySet;

/// One subscription's state beside its books.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sub {
    pub channel: u32,
    pub cohort: u16,
    pub state: SubState,
    /// The outcome of its first life has been counted.
    pub settled: bool,
    /// It has been proved once and has not left since.
    pub member: bool,
    /// It has been proved at some time.
    pub proved: bool,
    /// When its subscribe was flushed, ns on the run's axis.
    pub flushed_ns: u64,
    /// How long after that it was proved the last time, in ns.
    pub proved_within_ns: u64,
    /// Number of the first probe received in this life, plus one; 0: none.
    pub first_probe: u32,
    /// Probes received in this life.
    pub probes: u32,
    /// Number of the last census received in this life.
    pub census: u32,
    /// How far its channel had come when it was asked for, or when its end was; `None`: nothing of what is published now
    /// can be on its way to it.
    pub mark: Option<Mark>,
}

/// How far a channel had come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    events: u64,
    probes: u32,
}

/// How far a subscription has come in the present life of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SubState {
    /// Not asked for yet.
    Idle,
    /// Flushed, waiting for a probe.
    Waiting,
    /// Proved.
    Active,
    /// Not proved in time; the server may hold it all the same.
    Failed,
    /// Unsubscribed after it had been proved.
    Unsubscribed,
    /// Over for good: refused, ended by the server, or its client does not come back.
    Ended,
}

impl Sub {
    pub(super) fn new(channel: u32, cohort: u16) -> Self {
        Self {
            channel,
            cohort,
            state: SubState::Idle,
            settled: false,
            member: false,
            proved: false,
            flushed_ns: 0,
            proved_within_ns: 0,
            first_probe: 0,
            probes: 0,
            census: 0,
            mark: None,
        }
    }
}

/// A client on its way back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    /// When its connection ended, ns on the run's axis.
    pub since_ns: u64,
    /// Attempts to connect since then.
    pub attempts: u32,
    /// Once it is connected, subscriptions that are still to be proved.
    pub unproved: Option<u32>,
    /// One of them was not proved and never will be.
    pub damaged: bool,
    /// It has never been connected: a fault of ours ended its first attempt. There is nothing that it comes back to.
    pub is_new: bool,
}

impl Away {
    /// Its connection ended at this moment.
    pub(super) fn since(since_ns: u64) -> Self {
        Self { since_ns, attempts: 0, unproved: None, damaged: false, is_new: false }
    }
}

/// Everything that a shard's tasks share and change.
pub(super) struct State {
    pub ledger: ShardLedger,
    /// One per cohort.
    pub cohorts: Vec<GroupTally>,
    pub latency: LatencySet,
    pub subs: Vec<Sub>,
    /// Clients on their way back, by seat. A map, because what an idle connection keeps counts 10,000 times.
    pub away: BTreeMap<usize, Away>,
    /// Clients that set-up still waits for although their first attempt is over, and until when (ns on the run's axis).
    pub newcomers: BTreeMap<usize, u64>,
    pub receipts: u64,
    /// From sent to received, summed up over all events, µs.
    pub from_sent_us: u64,
    /// Owed events received intact.
    pub satisfied: u64,
    pub settled: u64,
    pub resolved: u64,
    /// Subscriptions that wait for a probe.
    pub waiting: u64,
    pub barriers_noted: bool,
    pub outstanding: u64,
    /// Connections that owe an answer to what was sent after their unsubscribes.
    pub unanswered: u64,
}

impl State {
    /// The outcome of its first life is known, or is waited for no longer.
    pub(super) fn settle(&mut self, index: usize) {
        let sub = &mut self.subs[index];
        self.settled += u64::from(!sub.settled);
        sub.settled = true;
    }

    fn no_longer_waits(&mut self, index: usize, board: &Board) {
        self.waiting -= 1;
        board.waiting[self.subs[index].channel as usize].fetch_sub(1, Relaxed);
    }

    /// It will not come back: nothing that is published from now on is owed to it.
    fn leave(&mut self, index: usize) {
        if std::mem::take(&mut self.subs[index].member) {
            self.ledger.leave(index);
        }
    }

    /// It is asked for once more, under another id.
    pub(super) fn begin_anew(&mut self, index: usize) {
        let sub = &mut self.subs[index];
        sub.state = SubState::Idle;
        (sub.first_probe, sub.probes, sub.census) = (0, 0, 0);
    }

    /// One that is not there, and that nobody asks for before its client's next cycle.
    pub(super) fn rest(&mut self, index: usize) {
        if self.subs[index].state == SubState::Idle {
            self.subs[index].state = SubState::Unsubscribed;
        }
        self.leave(index);
    }

    /// The incarnation of a proved subscription ends.
    fn end_incarnation(&mut self, index: usize, how: End, board: &Board) {
        if self.barriers_noted {
            let given_up = self.ledger.give_up_barriers(index);
            given_up.into_iter().for_each(|stream| board.barriers.done(stream));
        }
        self.ledger.end(index, how);
        let sub = &self.subs[index];
        if how == End::Unsubscribed {
            self.cohorts[usize::from(sub.cohort)].probes_missed += missed_probes(board, sub);
        }
        board.active.down();
        board.census.drop_out(sub.census);
    }

    /// Whatever it was doing in this life is over; returns what it had come to.
    fn stop(&mut self, index: usize, how: End, board: &Board) -> SubState {
        let before = self.subs[index].state;
        match before {
            SubState::Waiting => self.no_longer_waits(index, board),
            SubState::Active => self.end_incarnation(index, how, board),
            _ => {}
        }
        self.settle(index);
        before
    }
}

/// Probes of the subscription's channel that it did not receive although it had received an earlier one.
fn missed_probes(board: &Board, sub: &Sub) -> u64 {
    let sent = board.probes_sent[sub.channel as usize].load(Relaxed);
    let owed = (sent + 1).saturating_sub(sub.first_probe);
    u64::from(owed.saturating_sub(sub.probes))
}

impl Shard {
    /// How far the channel of a subscription has come.
    fn mark(&self, channel: u32) -> Mark {
        let board = &self.plan.board;
        let streams = board.streams.streams_of_channel(channel);
        Mark {
            events: streams.map(|stream| board.roster.published(stream)).sum(),
            probes: board.probes_sent[channel as usize].load(Relaxed),
        }
    }

    /// A subscription is about to be asked for.
    pub(super) fn asks(&self, index: u32) {
        let sub = &mut self.state.borrow_mut().subs[index as usize];
        sub.mark = Some(self.mark(sub.channel));
    }

    /// Messages that may be on their way to a subscription beside what is owed to it. If its connection is reset now, the
    /// server has delivered them and nobody has received them.
    fn on_the_way(&self, sub: &Sub) -> u64 {
        match (sub.state, sub.mark) {
            // Nothing is owed to it yet, or no longer.
            (SubState::Waiting | SubState::Unsubscribed, Some(then)) => {
                let now = self.mark(sub.channel);
                now.events - then.events + u64::from(now.probes - then.probes)
            }
            (SubState::Active, _) => missed_probes(&self.plan.board, sub),
            _ => 0,
        }
    }

    /// The subscribes of these subscriptions are out: from here on a probe proves them.
    pub(super) fn flushed(&self, subs: Range<u32>) {
        let board = &self.plan.board;
        let now = board.clock.now_ns();
        let state = &mut *self.state.borrow_mut();
        for index in subs {
            let sub = &mut state.subs[index as usize];
            if sub.state == SubState::Idle {
                sub.state = SubState::Waiting;
                sub.flushed_ns = now;
                state.waiting += 1;
                state.ledger.subscribed_at(index as usize, now);
                board.waiting[sub.channel as usize].fetch_add(1, Relaxed);
            }
        }
    }

    /// What a victim publishes to a channel in its last moment.
    pub(super) fn parting(&self, channel: u32, cohort: u16) -> String {
        self.state.borrow_mut().cohorts[usize::from(cohort)].partings_sent += 1;
        let board = &self.plan.board;
        board.handed.fetch_add(1, Relaxed);
        let now_ns = board.clock.now_ns();
        let token = Token {
            run: board.run,
            channel,
            publisher: u32::MAX,
            epoch: 0,
            kind: Kind::Parting,
            seq: 0,
            due_ns: now_ns,
            sent_ns: now_ns,
        };
        let mut payload = Vec::new();
        token.write(0, &mut payload);
        String::from_utf8(payload).expect("a token is ASCII")
    }

    /// A probe has proved a subscription that waited for it.
    pub(super) fn proved(&self, state: &mut State, index: usize, now_ns: u64) {
        let board = &self.plan.board;
        state.no_longer_waits(index, board);
        state.settle(index);
        state.ledger.confirm(index);
        board.active.up();
        let sub = &mut state.subs[index];
        sub.state = SubState::Active;
        // Each subscription counts once, however often its client comes back.
        sub.member = true;
        sub.proved_within_ns = now_ns.saturating_sub(sub.flushed_ns);
        if !std::mem::replace(&mut sub.proved, true) {
            state.cohorts[usize::from(sub.cohort)].confirmed += 1;
            state.latency.subscribe.record_ns(sub.proved_within_ns);
        }
        self.step_back(state, index, true);
    }

    /// The connection of these subscriptions has ended; those that can be asked for again wait for its next life.
    pub(super) fn end_life(&self, subs: Range<u32>, how: End) {
        let churns =
            self.churns(&subs) && self.cycle_is_cut(self.seat_of_sub(subs.start as usize).local, how);
        let state = &mut *self.state.borrow_mut();
        for index in subs.map(|i| i as usize) {
            if how == End::Cut {
                let sub = &state.subs[index];
                state.cohorts[usize::from(sub.cohort)].withheld += self.on_the_way(sub);
            }
            let before = state.stop(index, how, &self.plan.board);
            if before == SubState::Unsubscribed && how == End::Cut {
                state.ledger.cut_behind(index);
            }
            // Whatever held it held this connection.
            state.ledger.let_go(index);
            let sub = &mut state.subs[index];
            let again = matches!(before, SubState::Idle | SubState::Waiting | SubState::Active);
            sub.state = if again { SubState::Idle } else { SubState::Ended };
            (sub.first_probe, sub.probes, sub.census) = (0, 0, 0);
            if churns {
                state.subs[index].state = SubState::Idle;
                state.rest(index);
            }
        }
    }

    /// Whether anybody churns, and there are subscriptions.
    fn churns(&self, subs: &Range<u32>) -> bool {
        !self.churners.is_empty() && !subs.is_empty()
    }

    /// A subscription ends although its connection lives.
    pub(super) fn end_subscription(&self, index: u32, how: End) {
        let state = &mut *self.state.borrow_mut();
        let index = index as usize;
        let before = state.stop(index, how, &self.plan.board);
        let unsubscribed = how.leaves() && before == SubState::Active;
        state.subs[index].mark = Some(self.mark(state.subs[index].channel));
        state.subs[index].state = if unsubscribed { SubState::Unsubscribed } else { SubState::Ended };
        state.leave(index);
        if matches!(before, SubState::Idle | SubState::Waiting) {
            self.step_back(state, index, false);
        }
    }

    /// The client of these subscriptions does not come back.
    pub(super) fn leave(&self, subs: Range<u32>) {
        if self.churns(&subs) {
            self.give_up_cycles(self.seat_of_sub(subs.start as usize).local);
        }
        let state = &mut *self.state.borrow_mut();
        for index in subs.map(|i| i as usize) {
            state.stop(index, End::Died, &self.plan.board);
            state.subs[index].state = SubState::Ended;
            state.leave(index);
        }
    }

    /// Nobody comes back from now on: whoever is not proved at this moment has left.
    pub(super) fn leave_the_absent(&self) {
        let state = &mut *self.state.borrow_mut();
        state.away.clear();
        for index in 0..state.subs.len() {
            let Sub { state: was, member, .. } = state.subs[index];
            if !member || was == SubState::Active {
                continue;
            }
            if was == SubState::Waiting {
                state.no_longer_waits(index, &self.plan.board);
            }
            // Its connection may be open and the server may have it.
            state.subs[index].state = SubState::Failed;
            state.leave(index);
        }
    }

    /// Gives up on what was not proved in time.
    pub(super) fn expire_unconfirmed(&self) {
        let limit = self.plan.endpoint.timeouts.confirm;
        let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let state = &mut *self.state.borrow_mut();
        if state.waiting == 0 {
            return;
        }
        let now = self.plan.board.clock.now_ns();
        for index in 0..state.subs.len() {
            let Sub { state: was, flushed_ns, cohort, .. } = state.subs[index];
            if was != SubState::Waiting || now.saturating_sub(flushed_ns) <= limit_ns {
                continue;
            }
            state.no_longer_waits(index, &self.plan.board);
            state.settle(index);
            state.subs[index].state = SubState::Failed;
            state.leave(index);
            // On a link that we hold nothing can prove it.
            if !self.climate.is_our_doing(self.seat_of_sub(index).local) {
                let failures = &mut state.cohorts[usize::from(cohort)].failures;
                let sight = self.sight(self.seat_of_sub(index));
                failures.add(Failure::new(Stage::Confirm, Reason::Timeout), "", sight);
            }
            self.step_back(state, index, false);
        }
    }

    /// Ends what is still open, so that every enrolment is released.
    pub(super) fn close_books(&self) {
        let state = &mut *self.state.borrow_mut();
        for index in 0..state.subs.len() {
            state.stop(index, End::Unsubscribed, &self.plan.board);
            state.subs[index].state = SubState::Ended;
            state.leave(index);
        }
    }

    /// Every live subscription waits for its barriers from now on.
    pub(super) fn note_barriers(&self) {
        let State { subs, ledger, barriers_noted, .. } = &mut *self.state.borrow_mut();
        if let Some(publisher) = self.plan.board.climb.as_ref().and_then(Climb::failed_publisher) {
            ledger.forgo(publisher);
        }
        for (index, _) in subs.iter().enumerate().filter(|(_, sub)| sub.state == SubState::Active) {
            let awaited = ledger.await_barriers(index);
            awaited.into_iter().for_each(|stream| self.plan.board.barriers.wait_for(stream));
        }
        *barriers_noted = true;
    }

    /// A client that had been away, or was kept away from the begin, is connected; `subs` are its subscriptions.
    pub(super) fn reconnected(&self, seat: &Seat) {
        let state = &mut *self.state.borrow_mut();
        let is_new = state.away.get(&seat.local).is_some_and(|away| away.is_new);
        state.cohorts[usize::from(seat.cohort)].reconnected += u64::from(!is_new);
        let asks = |index: &u32| state.subs[*index as usize].state == SubState::Idle;
        let unproved = seat.range().filter(asks).count() as u32;
        if let Some(away) = state.away.get_mut(&seat.local) {
            away.unproved = Some(unproved);
        }
        self.is_back(state, seat);
    }

    fn seat_of_sub(&self, index: usize) -> &Seat {
        &self.seats[self.seats.partition_point(|s| s.first_sub as usize <= index) - 1]
    }

    /// One subscription fewer is between its client and being back.
    fn step_back(&self, state: &mut State, index: usize, proved: bool) {
        if state.away.is_empty() {
            return;
        }
        let seat = self.seat_of_sub(index);
        let Some(away) = state.away.get_mut(&seat.local) else { return };
        let Some(unproved) = &mut away.unproved else { return };
        *unproved -= 1;
        away.damaged |= !proved;
        self.is_back(state, seat);
    }

    /// Takes a client off the list once nothing of it is open any more.
    fn is_back(&self, state: &mut State, seat: &Seat) {
        let Some(away) = state.away.get(&seat.local).filter(|away| away.unproved == Some(0)) else { return };
        let Away { since_ns, damaged, is_new, .. } = *away;
        state.away.remove(&seat.local);
        if !damaged && !is_new {
            let cohort = usize::from(seat.cohort);
            let now_ns = self.plan.board.clock.now_ns();
            state.cohorts[cohort].recovered += 1;
            state.cohorts[cohort].returns.recovered.add(now_ns);
            state.latency.reconnect[cohort].record_ns(now_ns.saturating_sub(since_ns));
        }
    }
}
