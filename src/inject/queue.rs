//! Bytes on their way in one direction of a link: what may be let go when.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Duration;

use super::FaultTally;
use super::alarm::Ticket;
use super::control::Orders;
use crate::clock::Instant;

/// What one read or write brought.
#[derive(Debug)]
struct Chunk {
    arrived: Instant,
    release: Instant,
    /// The delay that was drawn for it alone.
    drawn: Duration,
    /// The series of delays that its release is of.
    series: u32,
    /// Where its delay is noted; `None`: there was none, or it has been noted.
    tally: Option<Rc<RefCell<FaultTally>>>,
    what: What,
}

#[derive(Debug)]
enum What {
    /// These, from an offset on.
    Bytes(Box<[u8]>, usize),
    /// The end of the stream, or what was wrong with it.
    End(io::Result<()>),
}

impl Chunk {
    /// Whether it still has a time to wait for, were it not for a hold.
    fn has_time(&self, orders: &Orders) -> bool {
        self.series > orders.freed
    }
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
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, bytes: &[u8], orders: &Orders, now: Instant) {
        self.bytes += bytes.len();
        self.put(What::Bytes(bytes.into(), 0), orders, now);
    }

    /// The first `n` bytes of `slices`, as one chunk.
    pub(super) fn push_slices(&mut self, slices: &[IoSlice<'_>], n: usize, orders: &Orders, now: Instant) {
        let mut bytes = Vec::with_capacity(n);
        for slice in slices {
            bytes.extend_from_slice(&slice[..slice.len().min(n - bytes.len())]);
        }
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
        let release = match self.chunks.back().filter(|before| before.has_time(orders)) {
            Some(before) => before.release.max(alone),
            None => alone,
        };
        let tally = orders.delay.as_ref().map(|lane| Rc::clone(&lane.tally));
        let drawn = drawn.unwrap_or_default();
        self.chunks.push_back(Chunk { arrived: now, release, drawn, series: orders.series, tally, what });
    }

    /// What may go now.
    pub(super) fn head(&self, orders: &Orders, now: Instant) -> Head<'_> {
        let Some(first) = self.chunks.front() else { return Head::Empty };
        if orders.hold {
            return Head::Waits(None);
        }
        if first.has_time(orders) && first.release > now {
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
        self.note(orders, now);
        let Some(Chunk { what: What::Bytes(bytes, from), .. }) = self.chunks.front_mut() else { return };
        *from += n;
        if *from == bytes.len() {
            self.chunks.pop_front();
        }
        self.forget_if_empty();
    }

    /// Takes the end of the stream, which is at the head.
    pub(super) fn take_end(&mut self, orders: &Orders, now: Instant) -> io::Result<()> {
        self.note(orders, now);
        let first = self.chunks.pop_front();
        self.forget_if_empty();
        match first {
            Some(Chunk { what: What::End(end), .. }) => end,
            _ => Ok(()),
        }
    }

    /// Forgets everything: it will never go.
    pub(super) fn clear(&mut self) {
        (self.chunks, self.bytes) = (VecDeque::new(), 0);
    }

    /// Notes the delay of what is at the head, as ordered and as it was, when the first of it goes: what the rest
    /// waits for is not the link's. One that was taken back is no sample of either.
    fn note(&mut self, orders: &Orders, now: Instant) {
        let Some(first) = self.chunks.front_mut() else { return };
        let has_time = first.has_time(orders);
        if let Some(tally) = first.tally.take().filter(|_| has_time) {
            let took = |until: Instant| until.saturating_duration_since(first.arrived);
            tally.borrow_mut().delayed(first.drawn, took(now));
        }
    }

    fn forget_if_empty(&mut self) {
        if self.chunks.is_empty() {
            // Ten thousand idle links should not keep ten thousand buffers.
            self.chunks = VecDeque::new();
        }
    }
}
