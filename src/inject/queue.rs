//! Bytes on their way in one direction of a link: what may be let go when.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use super::alarm::Ticket;
use super::control::Orders;
use crate::clock::Instant;

/// What one read or write brought.
#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    release: Instant,
    /// The delay that was drawn for it; `None`: it came while there was none.
    drawn: Option<Duration>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// These, from an offset on.
    Bytes(Box<[u8]>, usize),
    /// The end of the stream, or what was wrong with it.
    End(io::Result<()>),
}

/// What is at the head of a queue.
#[derive(Debug)]
pub(super) enum Head<'a> {
    /// Bytes that may go.
    Bytes(&'a [u8]),
    /// The stream has ended.
    End,
    /// Something that has to wait until then; `None`: until the orders change.
    Waits(Option<Instant>),
    /// Nothing.
    Empty,
}

/// Chunks in the order of their arrival.
#[derive(Debug, Default)]
pub(super) struct Queue {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    last_release: Option<Instant>,
    /// Delays drawn in this series, and the series.
    drawn: u64,
    series: u32,
    pub(super) ticket: Ticket,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, bytes: &[u8], orders: &Orders, now: Instant) {
        self.bytes += bytes.len();
        self.put(What::Bytes(bytes.into(), 0), orders, now);
    }

    pub(super) fn push_end(&mut self, end: io::Result<()>, orders: &Orders, now: Instant) {
        self.put(What::End(end), orders, now);
    }

    /// On an ordered stream nothing is released before what came before it.
    fn put(&mut self, what: What, orders: &Orders, now: Instant) {
        if self.series != orders.series {
            (self.series, self.drawn) = (orders.series, 0);
        }
        let drawn = orders.delay.as_ref().map(|lane| {
            self.drawn += 1;
            lane.draws.delay(lane.delay, self.drawn - 1)
        });
        let alone = now + drawn.unwrap_or_default();
        let release = self.last_release.map_or(alone, |last| last.max(alone));
        self.last_release = Some(release);
        self.chunks.push_back(Chunk { arrived: now, release, drawn, what });
    }

    /// What may go now.
    pub(super) fn head(&self, orders: &Orders, now: Instant) -> Head<'_> {
        let Some(first) = self.chunks.front() else { return Head::Empty };
        if orders.hold {
            return Head::Waits(None);
        }
        if orders.delay.is_some() && first.release > now {
            return Head::Waits(Some(first.release));
        }
        match &first.what {
            What::Bytes(bytes, from) => Head::Bytes(&bytes[*from..]),
            What::End(_) => Head::End,
        }
    }

    /// So many bytes at the head have gone.
    pub(super) fn advance(&mut self, n: usize, orders: &Orders, now: Instant) {
        self.bytes -= n;
        let Some(first) = self.chunks.front_mut() else { return };
        // Noted with its first byte: what it waits for after that is not the link's.
        if let (Some(drawn), Some(lane)) = (first.drawn.take(), &orders.delay) {
            let ordered = first.release.saturating_duration_since(first.arrived).max(drawn);
            lane.tally.borrow_mut().delayed(ordered, now.saturating_duration_since(first.arrived));
        }
        let What::Bytes(bytes, from) = &mut first.what else { return };
        *from += n;
        if *from == bytes.len() {
            self.chunks.pop_front();
        }
        self.forget_if_empty();
    }

    /// Takes the end of the stream.
    pub(super) fn take_end(&mut self) -> io::Result<()> {
        match self.chunks.pop_front() {
            Some(Chunk { what: What::End(end), .. }) => end,
            _ => Ok(()),
        }
    }

    fn forget_if_empty(&mut self) {
        if self.chunks.is_empty() {
            // Ten thousand idle links should not keep ten thousand buffers.
            self.chunks = VecDeque::new();
        }
    }
}
