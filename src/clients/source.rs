//! What one publishing connection has to say next, and when: events of a plan and their barriers, or probes.
//!
//! Decides only; the links (`link`, `http_link`) put it on the wire.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::barriers::{BarrierRounds, Turn};
use super::board::Board;
use super::climb::{Ahead, Climb};
use super::pace::{Share, Timetable};
use super::pacing::Shared;
use super::probes::Probes;
use super::slowdown::{Kept, Side};
use super::thinker::Thinker;
use super::weather::ThinkSlot;
use crate::ledger::{Kind, StreamId, Token};
use crate::scenarios::plan::{Pace, Plan, PublisherGroup};

/// How long a schedule that is held waits before it looks again, ns.
const HELD_NS: u64 = 2_000_000;

/// Barriers handed to the socket before it is flushed; they are not load, so nothing is shown by flushing each.
const BARRIER_BATCH: u32 = 64;

/// One message to publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub token: Token,
    /// Bytes of payload.
    pub payload: usize,
    /// Since when it could have been sent, ns on the run's axis: when it was due, and thought about.
    pub ready_ns: u64,
    pub what: What,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Event `n` of the plan; `seq` in its stream.
    Event { group: usize, phase: usize, stream: StreamId, seq: u64 },
    /// The barrier of a stream.
    Barrier,
    /// A probe.
    Probe,
    /// A probe of the census with this number.
    Census(u32),
}

/// How it stands with the connection that asks what to publish.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Line {
    /// What waits for its answer.
    pub in_flight: usize,
    /// Since when it could be written to: what is late until then is late because of the target.
    pub free_ns: u64,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Publish this now.
    Send(Outgoing),
    /// Nothing before this time on the run's axis.
    At(u64),
    /// Nothing before an acknowledgement or an order.
    Wait,
}

/// What the conductor wants from publishers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PublishOrders {
    /// The phase to publish, with its start on the run's axis.
    pub phase: Option<(usize, u64)>,
    /// Number of the census to take; 0: none yet.
    pub census: u32,
    /// Publish no more events.
    pub stop: bool,
    /// What a link delays is not waited for either.
    pub hurry: bool,
    /// Publish the barrier of every stream that somebody waits on, again and again.
    pub barrier: bool,
    /// Close the connections.
    pub close: bool,
    /// Drop everything.
    pub abort: bool,
}

/// Where a connection's messages come from.
pub(super) enum Source {
    Events(Box<Events>),
    Probes(Probes),
}

impl Source {
    /// There is a connection, or another one; called before anything is said on it.
    pub(super) fn connected(&mut self) {
        match self {
            Self::Events(events) => events.connected(),
            Self::Probes(probes) => probes.connected(),
        }
    }

    /// Something that was handed over on the present connection was answered, or its answer was given up.
    pub(super) fn answered(&mut self, what: What, now_ns: u64) {
        match self {
            Self::Events(events) if what == What::Barrier => events.barriers.answered(now_ns),
            Self::Events(_) => {}
            Self::Probes(probes) => probes.answered(what),
        }
    }

    /// Whether it connects again for as long as the run lasts: without the prober every subscription that waits would
    /// seem unproved.
    pub(super) fn never_gives_up(&self) -> bool {
        matches!(self, Self::Probes(_))
    }

    pub(super) fn next(&mut self, orders: &PublishOrders, line: Line, now_ns: u64) -> Next {
        match self {
            Self::Events(events) => events.next(orders, line, now_ns),
            Self::Probes(probes) => probes.next(orders, line.in_flight, now_ns),
        }
    }

    /// Messages handed to the socket before it is flushed.
    pub(super) fn batch(&self, orders: &PublishOrders) -> u32 {
        match self {
            Self::Events(_) if orders.barrier => BARRIER_BATCH,
            Self::Events(events) => events.batch,
            Self::Probes(_) => 64,
        }
    }

    /// Whether nothing of the ordered phase is left to send.
    pub(super) fn is_done(&self, orders: &PublishOrders) -> bool {
        match self {
            Self::Events(events) => events.is_done(orders),
            Self::Probes(_) => true,
        }
    }
}

/// The events one connection of one group publishes.
pub(super) struct Events {
    board: Arc<Board>,
    group: usize,
    publisher: u32,
    pace: Pace,
    table: Timetable,
    payload: usize,
    batch: u32,
    share: Share,
    barriers: BarrierRounds,
    /// Rises with every connection after the first.
    epoch: u32,
    is_first_connection: bool,
    /// First event and count per phase of the plan; `None`: the group is silent in it.
    spans: Vec<Option<(u64, u64)>>,
    thinker: Thinker,
    /// The group's, where it slows down when it is behind.
    schedule: Option<Shared>,
    /// Until when that held this connection.
    held: Kept,
}

/// First event number and count of a group in each phase.
#[must_use]
pub fn spans(plan: &Plan, group: &PublisherGroup) -> Vec<Option<(u64, u64)>> {
    let table = timetable(group);
    let mut first = 0;
    let mut spans = Vec::new();
    for (index, phase) in plan.phases.iter().enumerate() {
        if !group.phases.contains(&index) {
            spans.push(None);
            continue;
        }
        let within = phase.length.and_then(|length| table.count_within(length));
        let count = match (group.events, within) {
            (Some(events), Some(within)) => events.min(within),
            // What a climb has at most.
            (Some(events), None) => events * group.payloads().len() as u64,
            (events, within) => events.or(within).unwrap_or(0),
        };
        spans.push(Some((first, count)));
        first += count;
    }
    spans
}

/// When the group's events are due.
#[must_use]
pub fn timetable(group: &PublisherGroup) -> Timetable {
    let rate = match group.pace {
        Pace::Open(rate) => Some(rate),
        Pace::Unlimited | Pace::OneByOne => None,
    };
    let batch = u64::from(group.batch);
    Timetable { rate, together: if batch > 1 { batch * u64::from(group.connections) } else { 1 } }
}

impl Events {
    pub(super) fn new(
        board: Arc<Board>,
        plan: &Plan,
        index: usize,
        (connection, publisher): (u32, u32),
        think: Option<ThinkSlot>,
        schedule: Option<Shared>,
    ) -> Self {
        let group = &plan.publishers[index];
        let streams = u64::from(board.streams.streams_of_group(index));
        let share = Share::new(connection, group.connections, streams);
        Self {
            board,
            group: index,
            publisher,
            pace: group.pace,
            table: timetable(group),
            payload: group.payload,
            batch: group.batch,
            barriers: BarrierRounds::new(share.clone(), streams),
            share,
            epoch: 0,
            is_first_connection: true,
            spans: spans(plan, group),
            thinker: Thinker::new(think),
            schedule,
            held: Kept { until_ns: 0, by: Side::Server },
        }
    }

    /// What an old connection was given may be processed after what the new one is given first, or never: order is
    /// promised only within an epoch.
    fn connected(&mut self) {
        if !std::mem::replace(&mut self.is_first_connection, false) {
            self.epoch = self.board.roster.begin_epoch(&self.board.streams, self.publisher);
        }
        self.barriers.connected();
    }

    /// The phase that is still to be sent under these orders: its index, its start and its first event. What a
    /// phase that was given up left over comes first, as part of that phase: seqs have no holes.
    fn current(&self, orders: &PublishOrders) -> Option<(usize, u64, u64)> {
        if orders.stop { None } else { self.phase_of_next(orders, &self.share) }
    }

    fn phase_of_next(&self, orders: &PublishOrders, share: &Share) -> Option<(usize, u64, u64)> {
        let (ordered, start_ns) = orders.phase?;
        let n = share.peek();
        let begun = self.spans.iter().take(ordered + 1).enumerate();
        let (phase, first) = begun.filter_map(|(phase, span)| Some((phase, (*span)?))).find_map(
            |(phase, (first, count))| (first..first + count).contains(&n).then_some((phase, first)),
        )?;
        let earlier_ns = || self.board.phase_starts[phase].load(Relaxed);
        Some((phase, if phase == ordered { start_ns } else { earlier_ns() }, first))
    }

    fn is_done(&self, orders: &PublishOrders) -> bool {
        match self.climb() {
            Some(climb) if !orders.stop && self.climbs(orders) => climb.is_over(),
            _ => self.current(orders).is_none(),
        }
    }

    /// The climb, if it is this group that climbs.
    fn climb(&self) -> Option<&Climb> {
        self.board.climb.as_ref().filter(|climb| climb.is_of(self.group))
    }

    /// Whether the phase of its climb is ordered: the only one it publishes in.
    fn climbs(&self, orders: &PublishOrders) -> bool {
        orders.phase.is_some_and(|(phase, _)| self.spans[phase].is_some())
    }

    /// Nothing is left to publish: of a climb the last deliveries are awaited.
    fn await_climb(&self, orders: &PublishOrders, in_flight: usize, now_ns: u64) -> Next {
        match self.climb() {
            Some(climb)
                if !orders.stop && self.climbs(orders) && climb.turn(in_flight, now_ns) == Ahead::Wait =>
            {
                Next::At(Climb::next_look(now_ns))
            }
            _ => Next::Wait,
        }
    }

    fn next(&mut self, orders: &PublishOrders, line: Line, now_ns: u64) -> Next {
        if orders.barrier {
            return self.next_barrier(now_ns);
        }
        let Some((phase, start_ns, first)) = self.current(orders) else {
            return self.await_climb(orders, line.in_flight, now_ns);
        };
        if let Some(climb) = self.climb() {
            match climb.turn(line.in_flight, now_ns) {
                Ahead::Send => {}
                Ahead::Wait => return Next::At(Climb::next_look(now_ns)),
                Ahead::Over => return Next::Wait,
            }
        }
        let n = self.share.peek();
        let slipped_ns = self.schedule.as_ref().map_or(0, |schedule| schedule.borrow().slipped_ns(phase));
        let mut due_ns = start_ns + self.table.due(n - first).as_nanos() as u64 + slipped_ns;
        match self.pace {
            Pace::Open(_) if due_ns > now_ns => return Next::At(due_ns),
            Pace::Open(_) => match self.slip(phase, due_ns, line, now_ns) {
                Ok(moved_ns) => due_ns = within(orders, phase, moved_ns),
                Err(at_ns) => return Next::At(at_ns),
            },
            Pace::OneByOne if line.in_flight > 0 => return Next::Wait,
            // Without a timetable an event is due when it can be sent.
            Pace::OneByOne | Pace::Unlimited => due_ns = self.thinker.began_ns().unwrap_or(now_ns),
        }
        let ready_ns = match self.thinker.ready(due_ns, now_ns) {
            Ok(ready_ns) => ready_ns,
            Err(at_ns) => return Next::At(at_ns),
        };
        // What the server kept from being sent is not late because of us.
        let by_server_ns = if self.held.by == Side::Server { self.held.until_ns } else { 0 };
        let ready_ns = ready_ns.max(by_server_ns);
        self.share.advance();
        let (stream, seq) = self.board.streams.event(self.group, n);
        let published = self.board.roster.publish(stream);
        debug_assert_eq!(published.seq, seq, "a stream is published by one connection, in order");
        self.board.obligations.fetch_add(published.obligations, Relaxed);
        if let Some(schedule) = &self.schedule {
            schedule.borrow_mut().sent(published.obligations);
        }
        let payload = self.climb().map_or(self.payload, |climb| climb.publish(published.obligations, now_ns));
        Next::Send(Outgoing {
            token: self.token(stream, Kind::Event, seq, (due_ns, now_ns)),
            payload,
            ready_ns,
            what: What::Event { group: self.group, phase, stream, seq },
        })
    }

    /// When an event that should have been sent by now is due, now that it can be sent; `Err`: it cannot, and when to
    /// ask again.
    fn slip(&mut self, phase: usize, due_ns: u64, line: Line, now_ns: u64) -> Result<u64, u64> {
        let Some(schedule) = &self.schedule else { return Ok(due_ns) };
        let mut schedule = schedule.borrow_mut();
        if let Some(by) = schedule.holds() {
            self.held = Kept { until_ns: now_ns, by };
            return Err(now_ns + HELD_NS);
        }
        let kept = self.held.or_longer(Kept { until_ns: line.free_ns, by: Side::Server });
        Ok(schedule.send(phase, due_ns, now_ns, kept))
    }

    fn next_barrier(&mut self, now_ns: u64) -> Next {
        let Self { board, barriers, group, .. } = self;
        // The first event of each stream names it.
        let stream = |k| board.streams.event(*group, k).0;
        match barriers.next(now_ns, |k| board.barriers.awaited(stream(k)) > 0) {
            Turn::At(at_ns) => Next::At(at_ns),
            Turn::Wait => Next::Wait,
            Turn::Publish(k) => {
                let stream = stream(k);
                let seq = board.roster.published(stream);
                let token = self.token(stream, Kind::Barrier, seq, (now_ns, now_ns));
                Next::Send(Outgoing { token, payload: 0, ready_ns: now_ns, what: What::Barrier })
            }
        }
    }

    fn token(&self, stream: StreamId, kind: Kind, seq: u64, (due_ns, sent_ns): (u64, u64)) -> Token {
        Token {
            run: self.board.run,
            channel: self.board.streams.channel(stream),
            publisher: self.publisher,
            epoch: self.epoch,
            kind,
            seq,
            due_ns,
            sent_ns,
        }
    }
}

/// What an earlier phase left over was due in that phase, however late that has become.
fn within(orders: &PublishOrders, phase: usize, due_ns: u64) -> u64 {
    match orders.phase {
        Some((ordered, begun_ns)) if phase < ordered => due_ns.min(begun_ns.saturating_sub(1)),
        _ => due_ns,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RunClock;
    use crate::ledger::{GroupShape, Streams};

    const MS: u64 = 1_000_000;

    /// One connection on one channel, three events at 100/s in each of two phases; the first begins at 0, the
    /// second at 1 s.
    fn events() -> Events {
        let streams = Arc::new(Streams::new(1, &[GroupShape { connections: 1 }]));
        let board = Arc::new(Board::new(RunClock::start(), 1, streams, 1, 2));
        board.phase_starts[0].store(0, Relaxed);
        board.phase_starts[1].store(1_000 * MS, Relaxed);
        Events {
            board,
            group: 0,
            publisher: 0,
            pace: Pace::Open(100.0),
            table: Timetable { rate: Some(100.0), together: 1 },
            payload: 0,
            batch: 1,
            share: Share::new(0, 1, 1),
            barriers: BarrierRounds::new(Share::new(0, 1, 1), 1),
            epoch: 0,
            is_first_connection: true,
            spans: vec![Some((0, 3)), Some((3, 3))],
            thinker: Thinker::new(None),
            schedule: None,
            held: Kept { until_ns: 0, by: Side::Server },
        }
    }

    fn orders(phase: usize) -> PublishOrders {
        PublishOrders { phase: Some((phase, phase as u64 * 1_000 * MS)), ..PublishOrders::default() }
    }

    /// Phase, seq and due time in ms of the event that is sent next.
    fn sent(events: &mut Events, orders: &PublishOrders, now_ms: u64) -> Option<(usize, u64, u64)> {
        let Next::Send(outgoing) = events.next(orders, Line::default(), now_ms * MS) else { return None };
        let What::Event { phase, seq, .. } = outgoing.what else { panic!("no event") };
        Some((phase, seq, outgoing.token.due_ns / MS))
    }

    #[test]
    fn what_a_phase_left_over_is_sent_first_and_belongs_to_it() {
        let mut events = events();
        assert_eq!(sent(&mut events, &orders(0), 5), Some((0, 0, 0)));
        let second = orders(1);
        assert_eq!(sent(&mut events, &second, 1_010), Some((0, 1, 10)));
        assert_eq!(sent(&mut events, &second, 1_010), Some((0, 2, 20)));
        assert_eq!(sent(&mut events, &second, 1_010), Some((1, 3, 1_000)));
        assert_eq!(sent(&mut events, &second, 1_010), Some((1, 4, 1_010)));
        assert_eq!(sent(&mut events, &second, 1_010), None);
        assert!(!events.is_done(&second));
        assert_eq!(sent(&mut events, &second, 1_020), Some((1, 5, 1_020)));
        assert!(events.is_done(&second));
    }

    /// Stream (by its channel), seq and epoch of the barriers that are sent now.
    fn barriers(events: &mut Events, now_ms: u64) -> Vec<(u32, u64, u32)> {
        let orders = PublishOrders { stop: true, barrier: true, ..orders(0) };
        std::iter::from_fn(|| match events.next(&orders, Line::default(), now_ms * MS) {
            Next::Send(Outgoing { token, what: What::Barrier, .. }) => {
                Some((token.channel, token.seq, token.epoch))
            }
            _ => None,
        })
        .collect()
    }

    #[test]
    fn barriers_say_how_many_events_there_were_while_somebody_waits() {
        let mut events = events();
        assert_eq!(sent(&mut events, &orders(0), 15), Some((0, 0, 0)));
        assert_eq!(sent(&mut events, &orders(0), 15), Some((0, 1, 10)));
        assert_eq!(barriers(&mut events, 20), [], "nobody waits");
        let stream = StreamId(0);
        events.board.barriers.wait_for(stream);
        assert_eq!(barriers(&mut events, 2_000), [(0, 2, 0)]);
        events.barriers.answered(2_000 * MS);
        assert_eq!(barriers(&mut events, 2_050), []);
        assert_eq!(barriers(&mut events, 3_000), [(0, 2, 0)], "again, for who has not received it");
        events.board.barriers.done(stream);
        assert_eq!(barriers(&mut events, 10_000), []);
    }

    #[test]
    fn epochs_rise_with_every_connection_after_the_first() {
        let mut events = events();
        let sent =
            |events: &mut Events, now_ms: u64| match events.next(&orders(0), Line::default(), now_ms * MS) {
                Next::Send(outgoing) => (outgoing.token.epoch, outgoing.token.seq),
                _ => panic!("nothing is due"),
            };
        events.connected();
        assert_eq!(sent(&mut events, 0), (0, 0));
        events.connected();
        assert_eq!(
            sent(&mut events, 500),
            (1, 1),
            "what came due meanwhile is sent late, with seqs that run on"
        );
        events.connected();
        assert_eq!(sent(&mut events, 500), (2, 2));
        events.board.barriers.wait_for(StreamId(0));
        assert_eq!(barriers(&mut events, 600), [(0, 3, 2)]);
    }
}
