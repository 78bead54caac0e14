//! Readers that a fault has made slow: how far each is behind, and what the server did to it.
//!
//! Behind is what was published to a reader's channels while it lived and lies after the last event that it has read:
//! what the server, the kernels and the link still have for it. An event that was passed over is not waited for any
//! more, so what a server drops is not in it. In payload bytes: what is around them on the wire is not counted, which
//! makes a reader that is said to be behind by 8 MiB so by a little more.

use std::collections::BTreeMap;

use super::seats::Seat;
use super::shard::Shard;
use crate::ledger::StreamId;
use crate::scenarios::plan::{FELT, FaultKind};

/// A reader that is behind by no more than this when its connection ends was not disconnected for being slow: the least
/// that a link and two sockets hold, in payload bytes.
const BEHIND: u64 = 64 << 10;

/// What became of one slow reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlowReader {
    /// Most payload bytes that it was behind while it was slow.
    pub peak_bytes: u64,
    /// Events of the time since it became slow that never arrived, although later ones of the same stream did.
    pub passed_over: u64,
    /// The server ended its connection while it was slow, or had not caught up.
    pub disconnected: bool,
}

/// A reader that is slow, or was.
#[derive(Debug)]
pub(super) struct Watched {
    acting: bool,
    /// What had been published of each of its streams when it became slow.
    from: Vec<(u32, StreamId, u64)>,
    /// The same when it ceased to be: until it has read that far, it has not caught up.
    until: Vec<(u32, StreamId, u64)>,
    found: SlowReader,
    /// Its connection is being ended by the server, which has been noted.
    ending: bool,
    /// What it had been passed over by when its connection ended for the first time: what is published while it is away
    /// has not passed it over.
    passed_over: Option<u64>,
}

/// How far a reader is behind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Behind {
    events: u64,
    /// Of payloads.
    bytes: u64,
}

impl Behind {
    /// Events that links and kernels may hold for it, and not the server.
    fn on_the_way(self) -> u64 {
        if self.bytes <= FELT {
            self.events
        } else {
            (self.events as f64 * FELT as f64 / self.bytes as f64) as u64
        }
    }
}

impl Shard {
    /// A reader is slow from now on.
    pub(super) fn begin_slow(&self, seat: usize) {
        let published = self.published_streams(&self.seats[seat]);
        let mut slow = self.slow.borrow_mut();
        let watched = slow.entry(seat).or_insert_with(|| Watched {
            acting: true,
            from: published,
            until: Vec::new(),
            found: SlowReader::default(),
            ending: false,
            passed_over: None,
        });
        watched.acting = true;
    }

    /// It reads as fast as it can again.
    pub(super) fn end_slow(&self, seat: usize) {
        self.look_at_slow(seat);
        let published = self.published_streams(&self.seats[seat]);
        if let Some(watched) = self.slow.borrow_mut().get_mut(&seat) {
            (watched.acting, watched.until) = (false, published);
        }
    }

    /// Whether it is slow, or has not caught up.
    pub(super) fn lags(&self, seat: usize) -> bool {
        let slow = self.slow.borrow();
        let Some(watched) = slow.get(&seat) else { return false };
        let ledger = &self.state.borrow().ledger;
        let behind = |&(sub, stream, until): &(u32, StreamId, u64)| {
            ledger.is_live(sub as usize) && ledger.read_up_to(sub as usize, stream) < until
        };
        watched.acting || watched.until.iter().any(behind)
    }

    /// The server ends a connection, whose life has not been ended in the books yet. If its reader lags, that is noted.
    pub(super) fn notice_end(&self, seat: &Seat) {
        let lags = self.lags(seat.local);
        let behind = self.look_at_slow(seat.local);
        let mut slow = self.slow.borrow_mut();
        let Some(watched) = slow.get_mut(&seat.local) else { return };
        if watched.passed_over.is_none() {
            watched.passed_over = Some(self.passed_over(watched));
        }
        if !lags || behind.bytes <= BEHIND {
            return;
        }
        (watched.found.disconnected, watched.ending) = (true, true);
        // The kernels may have taken these from the server all the same.
        self.state.borrow_mut().cohorts[usize::from(seat.cohort)].withheld += behind.on_the_way();
    }

    /// Whether the end of a connection by the server was that of a reader that lagged.
    pub(super) fn was_slow_end(&self, seat: &Seat) -> bool {
        let noticed = |slow: &mut BTreeMap<usize, Watched>| {
            slow.get_mut(&seat.local).is_some_and(|watched| std::mem::take(&mut watched.ending))
        };
        if noticed(&mut self.slow.borrow_mut()) {
            return true;
        }
        self.notice_end(seat);
        noticed(&mut self.slow.borrow_mut())
    }

    /// Looks how far those are behind who are slow.
    pub(super) fn look_at_all_slow(&self) {
        let acting: Vec<usize> =
            self.slow.borrow().iter().filter(|(_, watched)| watched.acting).map(|(seat, _)| *seat).collect();
        acting.into_iter().for_each(|seat| _ = self.look_at_slow(seat));
    }

    /// Looks how far one is behind.
    fn look_at_slow(&self, seat: usize) -> Behind {
        let mut found = Behind::default();
        let ledger = &self.state.borrow().ledger;
        for (sub, stream, published) in self.published_streams(&self.seats[seat]) {
            if ledger.is_live(sub as usize) {
                let behind = published.saturating_sub(ledger.read_up_to(sub as usize, stream));
                let (group, _) = self.plan.board.streams.number(stream, 0);
                found.events += behind;
                found.bytes += behind * self.plan.payloads[group];
            }
        }
        if let Some(watched) = self.slow.borrow_mut().get_mut(&seat).filter(|watched| watched.acting) {
            watched.found.peak_bytes = watched.found.peak_bytes.max(found.bytes);
        }
        found
    }

    /// Subscriptions of a connection with their streams, and what has been published of each.
    fn published_streams(&self, seat: &Seat) -> Vec<(u32, StreamId, u64)> {
        let board = &self.plan.board;
        let channels = seat.range().zip(seat.channels(self.plan.channels));
        channels
            .flat_map(|(sub, channel)| {
                let streams = board.streams.streams_of_channel(channel);
                streams.map(move |stream| (sub, stream, board.roster.published(stream)))
            })
            .collect()
    }

    /// What became of every slow reader; asked once, at the end.
    pub(super) fn slow_readers(&self) -> Vec<SlowReader> {
        let one = |watched: &Watched| {
            let passed_over = watched.passed_over.unwrap_or_else(|| self.passed_over(watched));
            SlowReader { passed_over, ..watched.found }
        };
        self.slow.borrow().values().map(one).collect()
    }

    /// Events that never arrived so far although later ones did, since it became slow.
    fn passed_over(&self, watched: &Watched) -> u64 {
        let ledger = &self.state.borrow().ledger;
        let passed = |&(sub, stream, from): &(u32, StreamId, u64)| {
            ledger.count_passed_over(sub as usize, stream, from)
        };
        watched.from.iter().map(passed).sum()
    }

    /// Whether a fault makes clients slow readers.
    pub(super) fn makes_slow(&self, fault: usize) -> bool {
        matches!(self.plan.kinds[fault], FaultKind::SlowConsumer(_))
    }
}
