//! Large frames cut into small ones before the WebSocket library sees them, so that it keeps no buffer of their size.
//!
//! The library reserves a whole frame in a buffer that a connection then keeps: a hundred connections that have read
//! 16 MB once hold 1.6 GB for good. What it makes of fragments (RFC 6455 §5.4) is a message that is freed when it was
//! looked at. So bytes from the server are looked at here, frame by frame: one whose payload is longer than
//! [`LARGE`] becomes fragments of [`FRAGMENT`] bytes. Everything else passes as it is, what is wrong with it included. A
//! message longer than [`LARGE`], in one frame or in many, needs a pass from there to its end. Next to read: `turnstile`,
//! which says how many of them are read at a time.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::turnstile::{Pass, Turnstile};
use crate::clock::{self, Instant};

/// Frames with a longer payload are cut, and longer messages need a pass; in bytes.
pub(super) const LARGE: u64 = 256 << 10;
/// Payload of each fragment but the last, in bytes.
const FRAGMENT: u64 = 64 << 10;
/// The longest header: two bytes, eight of extended length, four of a mask.
const HEADER: usize = 14;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
/// The kind of a frame; continuation, text and binary are below the first of the others.
const OPCODE: u8 = 0x0F;
const RESERVED: u8 = 0x03;

/// Where one connection is in its frames.
#[derive(Debug)]
pub(super) struct Frames {
    turnstile: Rc<Turnstile>,
    /// Bytes that were read before, together with the answer to the opening handshake.
    before: Vec<u8>,
    /// Of those, passed on.
    before_at: usize,
    /// A header as far as it was read.
    header: [u8; HEADER],
    header_len: usize,
    /// Header bytes for the library, and how many of them it has.
    out: [u8; HEADER],
    out_len: usize,
    out_at: usize,
    /// Payload bytes that pass until the next header of either kind.
    passing: u64,
    /// The large frame that is being cut.
    cut: Option<Cut>,
    /// Payload bytes so far of a message that is not at its last frame.
    message: u64,
    /// To the end of a large message, so much of what may be read at a time is in use.
    pass: Option<Pass>,
    /// The frame that passes is the last of its message.
    ends: bool,
    /// Since when it waits for a pass.
    waiting: Option<Instant>,
}

/// What is left of a large frame behind the fragment that is passing.
#[derive(Debug)]
struct Cut {
    left: u64,
    /// Whether its last fragment ends the message.
    fin: bool,
}

impl Frames {
    /// Frames that begin with bytes that were read already.
    pub(super) fn new(turnstile: Rc<Turnstile>, before: Vec<u8>) -> Self {
        Self {
            turnstile,
            before,
            before_at: 0,
            header: [0; HEADER],
            header_len: 0,
            out: [0; HEADER],
            out_len: 0,
            out_at: 0,
            passing: 0,
            cut: None,
            message: 0,
            pass: None,
            ends: false,
            waiting: None,
        }
    }

    /// Reads from `inner` as [`AsyncRead`] does.
    pub(super) fn poll_read<R: AsyncRead + Unpin>(
        &mut self,
        inner: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        loop {
            self.give_back();
            if buf.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            match self.step(inner, cx, buf) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending if buf.filled().len() > filled => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Moves something on; false at the end of the stream.
    fn step<R: AsyncRead + Unpin>(
        &mut self,
        inner: &mut R,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        if self.out_at < self.out_len {
            let count = buf.remaining().min(self.out_len - self.out_at);
            buf.put_slice(&self.out[self.out_at..self.out_at + count]);
            self.out_at += count;
            return Poll::Ready(Ok(true));
        }
        if self.passing > 0 {
            let most = usize::try_from(self.passing).unwrap_or(usize::MAX).min(buf.remaining());
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
            std::task::ready!(self.fetch(inner, cx, &mut part))?;
            let count = part.filled().len();
            buf.advance(count);
            self.passing -= count as u64;
            if self.pass.is_some() {
                self.turnstile.progress();
            }
            return Poll::Ready(Ok(count > 0));
        }
        if self.cut.is_some() {
            self.next_fragment();
            return Poll::Ready(Ok(true));
        }
        let wanted = wanted(&self.header[..self.header_len]);
        if self.header_len < wanted {
            let mut bytes = [0; HEADER];
            let mut part = ReadBuf::new(&mut bytes[..wanted - self.header_len]);
            std::task::ready!(self.fetch(inner, cx, &mut part))?;
            let read = part.filled();
            let count = read.len();
            self.header[self.header_len..self.header_len + count].copy_from_slice(read);
            self.header_len += count;
            if count == 0 && self.header_len > 0 {
                // Half a header: the library is to see that.
                self.emit_header();
                return Poll::Ready(Ok(true));
            }
            return Poll::Ready(Ok(count > 0));
        }
        std::task::ready!(self.begin(cx));
        Poll::Ready(Ok(true))
    }

    fn fetch<R: AsyncRead + Unpin>(
        &mut self,
        inner: &mut R,
        cx: &mut Context<'_>,
        part: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.before_at < self.before.len() {
            let count = part.remaining().min(self.before.len() - self.before_at);
            part.put_slice(&self.before[self.before_at..self.before_at + count]);
            self.before_at += count;
            if self.before_at == self.before.len() {
                (self.before, self.before_at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(inner).poll_read(cx, part)
    }

    /// A header is whole: passes it on, or begins to cut its frame, once its message may be read.
    fn begin(&mut self, cx: &Context<'_>) -> Poll<()> {
        let (first, second) = (self.header[0], self.header[1]);
        let length = length(&self.header[..self.header_len]);
        // Control frames may come in the middle of a message. A server may not mask what it sends, nor send more than
        // the library takes; both it refuses as soon as it sees the header.
        let is_data = first & OPCODE < RESERVED && second & MASKED == 0 && length <= self.turnstile.largest();
        if !is_data {
            self.passing = length;
            self.emit_header();
            return Poll::Ready(());
        }
        let fin = first & FIN != 0;
        let message = self.message.saturating_add(length);
        if message > LARGE && self.pass.is_none() {
            std::task::ready!(self.poll_pass(cx, if fin { message } else { self.turnstile.largest() }));
        }
        self.message = if fin { 0 } else { message };
        self.ends = fin;
        if length > LARGE {
            self.header_len = 0;
            self.cut = Some(Cut { left: length - FRAGMENT, fin });
            self.emit(first & !FIN, FRAGMENT);
        } else {
            self.passing = length;
            self.emit_header();
        }
        Poll::Ready(())
    }

    fn poll_pass(&mut self, cx: &Context<'_>, bytes: u64) -> Poll<()> {
        let Poll::Ready(pass) = self.turnstile.poll_pass(cx, bytes) else {
            self.waiting.get_or_insert_with(clock::now);
            return Poll::Pending;
        };
        self.pass = Some(pass);
        if let Some(since) = self.waiting.take() {
            self.turnstile.waited(since);
        }
        Poll::Ready(())
    }

    /// Gives the pass back once a message has passed to its end.
    fn give_back(&mut self) {
        if self.ends && self.passing == 0 && self.cut.is_none() && self.out_at == self.out_len {
            (self.pass, self.ends) = (None, false);
        }
    }

    fn next_fragment(&mut self) {
        let Some(cut) = &mut self.cut else { return };
        let length = cut.left.min(FRAGMENT);
        cut.left -= length;
        let (last, fin) = (cut.left == 0, cut.fin);
        if last {
            self.cut = None;
        }
        self.emit(if last && fin { FIN } else { 0 }, length);
    }

    /// A header of ours, followed by so much payload.
    fn emit(&mut self, first: u8, length: u64) {
        self.out = [0; HEADER];
        self.out[0] = first;
        self.out_len = match u16::try_from(length) {
            Ok(short @ 0..=125) => {
                self.out[1] = short as u8;
                2
            }
            Ok(middle) => {
                self.out[1] = 126;
                self.out[2..4].copy_from_slice(&middle.to_be_bytes());
                4
            }
            Err(_) => {
                self.out[1] = 127;
                self.out[2..10].copy_from_slice(&length.to_be_bytes());
                10
            }
        };
        self.out_at = 0;
        self.passing = length;
    }

    /// The header as it came.
    fn emit_header(&mut self) {
        self.out = self.header;
        (self.out_len, self.out_at) = (self.header_len, 0);
        self.header_len = 0;
    }
}

/// How many bytes the header has of which these are the first.
fn wanted(header: &[u8]) -> usize {
    let Some(second) = header.get(1) else { return 2 };
    let extended = match second & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    2 + extended + if second & MASKED == 0 { 0 } else { 4 }
}

/// Payload bytes of a whole header.
fn length(header: &[u8]) -> u64 {
    match header[1] & !MASKED {
        126 => u64::from(u16::from_be_bytes([header[2], header[3]])),
        127 => header[2..10].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        short => u64::from(short),
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
