//! What a socket has not taken yet, in order, and how many of the events in it are still undelivered.
//!
//! Bytes only: it knows neither sockets nor limits. [`super::conn`] fills and empties it.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::rc::Rc;

/// Chunks are filled up to this size before another one is begun.
const CHUNK: usize = 64 << 10;

/// A queue of bytes with marks where events end.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    chunks: VecDeque<Chunk>,
    /// Bytes of the first chunk that are already written.
    offset: usize,
    len: usize,
    written: u64,
    /// Positions, counted like `written`, at which queued events end.
    event_ends: VecDeque<u64>,
    /// The buffer of a chunk that is done with.
    spare: Vec<u8>,
}

#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    /// A piece of an event that waits in many outboxes, from an offset on.
    Shared(Rc<[u8]>, usize),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes, from) => &bytes[*from..],
        }
    }
}

impl Outbox {
    /// Appends a copy of `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if let Some(Chunk::Own(last)) = self.chunks.back_mut()
            && last.len() + bytes.len() <= CHUNK
        {
            last.extend_from_slice(bytes);
            return;
        }
        let mut chunk = std::mem::take(&mut self.spare);
        chunk.extend_from_slice(bytes);
        self.chunks.push_back(Chunk::Own(chunk));
    }

    /// Appends `bytes[from..]` without copying it.
    pub(crate) fn push_shared(&mut self, bytes: Rc<[u8]>, from: usize) {
        self.len += bytes.len() - from;
        self.chunks.push_back(Chunk::Shared(bytes, from));
    }

    /// Marks that what was pushed last completes an event.
    pub(crate) fn end_event(&mut self) {
        self.event_ends.push_back(self.written + self.len as u64);
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Events not completely written yet.
    pub(crate) fn events(&self) -> u64 {
        self.event_ends.len() as u64
    }

    /// Fills `slices` with what is to be written next; returns how many it filled.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut offset = self.offset;
        let mut filled = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(&chunk.bytes()[offset..]);
            offset = 0;
            filled += 1;
        }
        filled
    }

    /// Removes the first `n` bytes; returns how many events they completed.
    pub(crate) fn advance(&mut self, n: usize) -> u64 {
        debug_assert!(n <= self.len, "more written than queued");
        self.len -= n;
        self.written += n as u64;
        let mut left = self.offset + n;
        while let Some(first) = self.chunks.front() {
            let size = first.bytes().len();
            if left < size {
                break;
            }
            left -= size;
            self.drop_first();
        }
        self.offset = left;
        let mut completed = 0;
        while self.event_ends.front().is_some_and(|&end| end <= self.written) {
            self.event_ends.pop_front();
            completed += 1;
        }
        completed
    }

    /// Forgets the first chunk but keeps a small buffer for the next one.
    fn drop_first(&mut self) {
        if let Some(Chunk::Own(mut bytes)) = self.chunks.pop_front()
            && bytes.capacity() <= CHUNK
        {
            bytes.clear();
            self.spare = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(outbox: &Outbox) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 16];
        let filled = outbox.slices(&mut slices);
        slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    #[test]
    fn bytes_leave_in_order_and_events_complete_with_their_last_byte() {
        let mut outbox = Outbox::default();
        outbox.push(b"one");
        outbox.end_event();
        outbox.push(b"ack");
        outbox.push(b"two");
        outbox.push_shared(Rc::from(&b"..shared"[..]), 2);
        outbox.end_event();
        assert_eq!((outbox.len(), outbox.events()), (15, 2));
        assert_eq!(waiting(&outbox), b"oneacktwoshared");

        assert_eq!(outbox.advance(2), 0);
        assert_eq!(outbox.advance(1), 1);
        assert_eq!(waiting(&outbox), b"acktwoshared");
        assert_eq!(outbox.advance(7), 0);
        assert_eq!(waiting(&outbox), b"hared");
        assert_eq!(outbox.advance(5), 1);
        assert_eq!((outbox.len(), outbox.events(), waiting(&outbox)), (0, 0, vec![]));
    }

    #[test]
    fn any_split_of_the_writing_gives_the_same_bytes() {
        for step in 1..40 {
            let mut outbox = Outbox::default();
            let mut expected = Vec::new();
            let mut written = Vec::new();
            let mut completed = 0;
            for n in 0..50_u8 {
                let bytes = vec![n; usize::from(n) + 1];
                expected.extend_from_slice(&bytes);
                if n % 3 == 0 {
                    outbox.push_shared(Rc::from(&bytes[..]), 0);
                } else {
                    outbox.push(&bytes);
                }
                outbox.end_event();
                let take = step.min(outbox.len());
                written.extend_from_slice(&waiting(&outbox)[..take]);
                completed += outbox.advance(take);
            }
            while outbox.len() > 0 {
                let some = waiting(&outbox);
                written.extend_from_slice(&some);
                completed += outbox.advance(some.len());
            }
            assert_eq!(completed, 50);
            assert_eq!(written, expected, "in steps of {step}");
        }
    }

    #[test]
    fn large_pushes_do_not_grow_one_buffer_for_ever() {
        let mut outbox = Outbox::default();
        for _ in 0..10 {
            outbox.push(&[0; CHUNK / 2 + 1]);
        }
        assert_eq!(outbox.chunks.len(), 10);
    }
}
