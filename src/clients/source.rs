//! What one publishing connection has to say next, and when: events of a plan, or probes for whoever waits.
//!
//! Decides only; the links (`link`, `http_link`) put it on the wire.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::board::Board;
use super::pace::{Share, Timetable};
use crate::ledger::{Kind, StreamId, Token};
use crate::scenarios::plan::{Pace, Plan, PublisherGroup};

/// How often the waiting channels are looked through.
const SCAN: Duration = Duration::from_millis(5);
/// The shortest pause before a channel is probed again; a server that is busy accepting 10,000 connections
/// answers late, and probes sent every fraction of a millisecond would only make it later.
const FIRST_BACKOFF_MS: u32 = 50;
/// The longest.
const LAST_BACKOFF_MS: u32 = 1_000;
/// Probes that may be unacknowledged; beyond it the prober waits for the server.
const PROBES_IN_FLIGHT: usize = 512;

/// One message to publish.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outgoing {
    pub token: Token,
    /// Bytes of payload.
    pub payload: usize,
    pub what: What,
}

/// What is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Event `n` of the plan; `seq` in its stream.
    Event { group: usize, phase: usize, stream: StreamId, seq: u64 },
    /// A probe or a census.
    Probe,
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
    /// Publish the barrier of every stream that somebody waits on, again and again.
    pub barrier: bool,
    /// Close the connections.
    pub close: bool,
    /// Drop everything.
    pub abort: bool,
}

/// Where a connection's messages come from.
pub(super) enum Source {
    Events(Events),
    Probes(Probes),
}

impl Source {
    pub(super) fn next(&mut self, orders: &PublishOrders, in_flight: usize, now_ns: u64) -> Next {
        match self {
            Self::Events(events) => events.next(orders, in_flight, now_ns),
            Self::Probes(probes) => probes.next(orders, in_flight, now_ns),
        }
    }

    /// Messages handed to the socket before it is flushed.
    pub(super) fn batch(&self) -> u32 {
        match self {
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
    /// First event and count per phase of the plan; `None`: the group is silent in it.
    spans: Vec<Option<(u64, u64)>>,
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
    pub(super) fn new(board: Arc<Board>, plan: &Plan, index: usize, connection: u32, publisher: u32) -> Self {
        let group = &plan.publishers[index];
        let streams = u64::from(board.streams.streams_of_group(index));
        Self {
            board,
            group: index,
            publisher,
            pace: group.pace,
            table: timetable(group),
            payload: group.payload,
            batch: group.batch,
            share: Share::new(connection, group.connections, streams),
            spans: spans(plan, group),
        }
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
        self.current(orders).is_none()
    }

    fn next(&mut self, orders: &PublishOrders, in_flight: usize, now_ns: u64) -> Next {
        let Some((phase, start_ns, first)) = self.current(orders) else { return Next::Wait };
        let n = self.share.peek();
        let mut due_ns = start_ns + self.table.due(n - first).as_nanos() as u64;
        match self.pace {
            Pace::Open(_) if due_ns > now_ns => return Next::At(due_ns),
            Pace::Open(_) => {}
            Pace::OneByOne if in_flight > 0 => return Next::Wait,
            // Without a timetable an event is due when it can be sent.
            Pace::OneByOne | Pace::Unlimited => due_ns = now_ns,
        }
        self.share.advance();
        let (stream, seq) = self.board.streams.event(self.group, n);
        let published = self.board.roster.publish(stream);
        debug_assert_eq!(published.seq, seq, "a stream is published by one connection, in order");
        self.board.obligations.fetch_add(published.obligations, Relaxed);
        Next::Send(Outgoing {
            token: Token {
                run: self.board.run,
                channel: self.board.streams.channel(stream),
                publisher: self.publisher,
                epoch: 0,
                kind: Kind::Event,
                seq,
                due_ns,
                sent_ns: now_ns,
            },
            payload: self.payload,
            what: What::Event { group: self.group, phase, stream, seq },
        })
    }
}

/// Probes for channels on which somebody waits, and censuses over all channels.
pub(super) struct Probes {
    board: Arc<Board>,
    publisher: u32,
    channels: u32,
    cursor: u32,
    next_scan_ns: u64,
    census: u32,
    census_cursor: u32,
    /// When each channel may be probed again (ms on the run's axis) and the pause after that.
    rounds: Vec<(u32, u32)>,
}

impl Probes {
    pub(super) fn new(board: Arc<Board>, publisher: u32, channels: u32) -> Self {
        let rounds = vec![(0, FIRST_BACKOFF_MS); channels as usize];
        Self {
            board,
            publisher,
            channels,
            cursor: 0,
            next_scan_ns: 0,
            census: 0,
            census_cursor: channels,
            rounds,
        }
    }

    fn next(&mut self, orders: &PublishOrders, in_flight: usize, now_ns: u64) -> Next {
        if in_flight >= PROBES_IN_FLIGHT {
            return Next::Wait;
        }
        if orders.census > self.census {
            self.census = orders.census;
            self.census_cursor = 0;
        }
        if self.census_cursor < self.channels {
            self.census_cursor += 1;
            return Next::Send(self.probe(self.census_cursor - 1, Kind::Census, now_ns));
        }
        if now_ns < self.next_scan_ns {
            return Next::At(self.next_scan_ns);
        }
        while self.cursor < self.channels {
            let channel = self.cursor;
            self.cursor += 1;
            if self.is_due(channel, now_ns) {
                return Next::Send(self.probe(channel, Kind::Probe, now_ns));
            }
        }
        self.cursor = 0;
        self.next_scan_ns = now_ns + SCAN.as_nanos() as u64;
        Next::At(self.next_scan_ns)
    }

    /// One round for everyone who waits on the channel; rounds back off.
    fn is_due(&mut self, channel: u32, now_ns: u64) -> bool {
        let now_ms = (now_ns / 1_000_000) as u32;
        let (next_ms, pause_ms) = &mut self.rounds[channel as usize];
        if self.board.waiting[channel as usize].load(Relaxed) == 0 {
            *pause_ms = FIRST_BACKOFF_MS;
            return false;
        }
        if now_ms < *next_ms {
            return false;
        }
        *next_ms = now_ms + *pause_ms;
        *pause_ms = (*pause_ms * 2).min(LAST_BACKOFF_MS);
        true
    }

    fn probe(&self, channel: u32, kind: Kind, now_ns: u64) -> Outgoing {
        let seq = self.board.probes_sent[channel as usize].fetch_add(1, Relaxed);
        Outgoing {
            token: Token {
                run: self.board.run,
                channel,
                publisher: self.publisher,
                epoch: if kind == Kind::Census { self.census } else { 0 },
                kind,
                seq: u64::from(seq),
                due_ns: now_ns,
                sent_ns: now_ns,
            },
            payload: 0,
            what: What::Probe,
        }
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
            spans: vec![Some((0, 3)), Some((3, 3))],
        }
    }

    fn orders(phase: usize) -> PublishOrders {
        PublishOrders { phase: Some((phase, phase as u64 * 1_000 * MS)), ..PublishOrders::default() }
    }

    /// Phase, seq and due time in ms of the event that is sent next.
    fn sent(events: &mut Events, orders: &PublishOrders, now_ms: u64) -> Option<(usize, u64, u64)> {
        let Next::Send(outgoing) = events.next(orders, 0, now_ms * MS) else { return None };
        let What::Event { phase, seq, .. } = outgoing.what else { panic!("a probe") };
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
}
