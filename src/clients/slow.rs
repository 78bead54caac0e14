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
use crate::scenarios::plan::FaultKind;

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
        if !self.lags(seat.local) {
            return;
        }
        let behind = self.look_at_slow(seat.local);
        if let Some(watched) = self.slow.borrow_mut().get_mut(&seat.local) {
            (watched.found.disconnected, watched.ending) = (true, true);
        }
        // The kernels may have taken these from the server all the same.
        self.state.borrow_mut().cohorts[usize::from(seat.cohort)].withheld += behind;
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

    /// Looks how far one is behind; in events.
    fn look_at_slow(&self, seat: usize) -> u64 {
        let (mut events, mut bytes) = (0, 0);
        let ledger = &self.state.borrow().ledger;
        for (sub, stream, published) in self.published_streams(&self.seats[seat]) {
            if ledger.is_live(sub as usize) {
                let behind = published.saturating_sub(ledger.read_up_to(sub as usize, stream));
                let (group, _) = self.plan.board.streams.number(stream, 0);
                events += behind;
                bytes += behind * self.plan.payloads[group];
            }
        }
        if let Some(watched) = self.slow.borrow_mut().get_mut(&seat).filter(|watched| watched.acting) {
            watched.found.peak_bytes = watched.found.peak_bytes.max(bytes);
        }
        events
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
        let ledger = &self.state.borrow().ledger;
        let one = |watched: &Watched| {
            let passed = |&(sub, stream, from): &(u32, StreamId, u64)| {
                ledger.count_passed_over(sub as usize, stream, from)
            };
            SlowReader { passed_over: watched.from.iter().map(passed).sum(), ..watched.found }
        };
        self.slow.borrow().values().map(one).collect()
    }

    /// Whether a fault makes clients slow readers.
    pub(super) fn makes_slow(&self, fault: usize) -> bool {
        matches!(self.plan.kinds[fault], FaultKind::SlowConsumer(_))
    }
}
