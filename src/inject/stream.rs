//! A byte stream with faults on it: applies what its control says, and decides nothing.
//!
//! Delay is a queue, not a sleep before each read: every chunk carries its own time, so that a second of delay on ten
//! chunks is one second.
//!
//! A link belongs to one task at a time, which polls its reads whenever it is woken, as every WebSocket does: what waits
//! to be written is handed on from there. The socket must write through, as TCP does: it is not flushed after that.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::alarm::Ticket;
use super::control::{CUT_SHORT_AT, Control};
use super::gate::Allowed;
use super::queue::{Head, Queue};
use crate::clock;

/// Bytes read from the socket at once; on the stack, for as long as that takes.
const SCRATCH: usize = 8 << 10;

/// A stream that faults may act on.
#[derive(Debug)]
pub struct Link<S> {
    io: S,
    /// `None`: none ever will.
    faults: Option<Box<Faults>>,
}

#[derive(Debug)]
struct Faults {
    control: Rc<Control>,
    up: Queue,
    down: Queue,
    /// For when it may read again.
    again: Ticket,
    /// The socket has nothing more to read.
    ended: bool,
    /// Nothing more is written: the end is on its way.
    shut: bool,
    /// Whoever writes waits for room, or for everything to have gone.
    writer_waits: bool,
    /// The socket does not take what it was given.
    broken: Option<io::ErrorKind>,
}

impl<S> Link<S> {
    /// A stream that no fault will act on.
    pub fn plain(io: S) -> Self {
        Self { io, faults: None }
    }

    /// A stream under a control.
    pub fn under(io: S, control: Rc<Control>) -> Self {
        let faults = Faults {
            control,
            up: Queue::default(),
            down: Queue::default(),
            again: Ticket::default(),
            ended: false,
            shut: false,
            writer_waits: false,
            broken: None,
        };
        Self { io, faults: Some(Box::new(faults)) }
    }

    /// The stream underneath.
    pub fn get_ref(&self) -> &S {
        &self.io
    }

    /// What tells it what to do.
    pub fn control(&self) -> Option<&Rc<Control>> {
        self.faults.as_ref().map(|faults| &faults.control)
    }

    /// Whether all that was written has been given to the socket. A flush does not wait for that, as it does not wait
    /// for a network.
    pub fn has_sent(&self) -> bool {
        self.faults.as_ref().is_none_or(|faults| faults.up.is_empty())
    }
}

impl<S: AsyncWrite + Unpin> Link<S> {
    /// Ready once all that was written has been given to the socket.
    ///
    /// # Errors
    /// If the socket does not take it.
    pub fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(faults) = &mut self.faults else { return Poll::Ready(Ok(())) };
        faults.control.watch_writer(cx);
        faults.pump(&mut self.io, cx);
        faults.writer_waits = !faults.up.is_empty();
        match faults.broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None if faults.writer_waits => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.control.alarm().cancel(&mut self.up.ticket);
        self.control.alarm().cancel(&mut self.down.ticket);
        self.control.alarm().cancel(&mut self.again);
    }
}

/// What is written.
impl Faults {
    /// Hands on what may go up.
    fn pump<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) {
        if self.up.is_empty() {
            return;
        }
        let (control, before) = (Rc::clone(&self.control), self.up.bytes());
        let orders = control.up();
        while self.broken.is_none() && !orders.stall {
            let now = clock::now();
            let written = match self.up.head(&orders, now) {
                Head::Bytes(bytes) => Pin::new(&mut *io).poll_write(cx, bytes),
                Head::End => Pin::new(&mut *io).poll_shutdown(cx).map_ok(|()| 0),
                Head::Waits(Some(until)) => {
                    control.alarm().set(&mut self.up.ticket, until, cx.waker());
                    break;
                }
                Head::Waits(None) | Head::Empty => break,
            };
            match written {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) if self.up.bytes() == 0 => drop(self.up.take_end(&orders, now)),
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(n)) => self.up.advance(n, &orders, now),
                Poll::Ready(Err(e)) => self.broken = Some(e.kind()),
            }
        }
        drop(orders);
        if self.broken.is_some() {
            self.up.clear();
        }
        let has_changed = self.up.is_empty() || self.up.bytes() < before;
        if has_changed && std::mem::take(&mut self.writer_waits) {
            control.wake_writer();
        }
    }

    fn write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let control = Rc::clone(&self.control);
        control.watch_writer(cx);
        self.pump(io, cx);
        if let Some(kind) = self.broken.or(self.shut.then_some(io::ErrorKind::BrokenPipe)) {
            return Poll::Ready(Err(kind.into()));
        }
        let length = slices.iter().map(|slice| slice.len()).sum();
        if length == 0 {
            return Poll::Ready(Ok(0));
        }
        let orders = control.up();
        if orders.queues() || !self.up.is_empty() {
            let room = orders.room().saturating_sub(self.up.bytes()).min(length);
            if room == 0 {
                self.writer_waits = true;
                return Poll::Pending;
            }
            self.up.push_slices(slices, room, &orders, clock::now());
            drop(orders);
            self.pump(io, cx);
            return Poll::Ready(Ok(room));
        }
        match slices {
            _ if orders.stall => Poll::Pending,
            [bytes] => Pin::new(io).poll_write(cx, bytes),
            slices => Pin::new(io).poll_write_vectored(cx, slices),
        }
    }

    /// The end comes behind what is on its way, and is as long on its own way.
    fn shut<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let control = Rc::clone(&self.control);
        control.watch_writer(cx);
        if !std::mem::replace(&mut self.shut, true) {
            self.up.push_end(Ok(()), &control.up(), clock::now());
        }
        self.pump(io, cx);
        self.writer_waits = !self.up.is_empty();
        match self.broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None if self.writer_waits => Poll::Pending,
            None => Poll::Ready(Ok(())),
        }
    }
}

/// What is read.
impl Faults {
    /// Reads what has arrived, as far as there is room for it.
    fn fill<S: AsyncRead + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) {
        let control = Rc::clone(&self.control);
        let orders = control.down();
        while !self.ended && !orders.stall && orders.queues() && self.down.bytes() < orders.room() {
            let mut scratch = [const { MaybeUninit::uninit() }; SCRATCH];
            let most = SCRATCH.min(orders.room() - self.down.bytes());
            let mut read = ReadBuf::uninit(&mut scratch[..most]);
            let end = match self.take_in(io, cx, &mut read) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    self.down.push(read.filled(), &orders, clock::now());
                    continue;
                }
                Poll::Ready(end) => end,
            };
            self.ended = true;
            self.down.push_end(end, &orders, clock::now());
        }
    }

    /// Lets go into `buf` what may go.
    fn let_go(&mut self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let control = Rc::clone(&self.control);
        let orders = control.down();
        let before = buf.filled().len();
        loop {
            let now = clock::now();
            match self.down.head(&orders, now) {
                Head::Bytes(bytes) if buf.remaining() > 0 => {
                    let n = bytes.len().min(buf.remaining());
                    buf.put_slice(&bytes[..n]);
                    self.down.advance(n, &orders, now);
                }
                _ if buf.filled().len() > before => return Poll::Ready(Ok(())),
                Head::Bytes(_) => return Poll::Ready(Ok(())),
                Head::End => return Poll::Ready(self.down.take_end(&orders, now)),
                Head::Waits(until) => {
                    if let Some(until) = until {
                        control.alarm().set(&mut self.down.ticket, until, cx.waker());
                    }
                    return Poll::Pending;
                }
                // An end that was told once is told again.
                Head::Empty if self.ended => return Poll::Ready(Ok(())),
                Head::Empty => return Poll::Pending,
            }
        }
    }

    fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.control.watch_reader(cx);
        self.pump(io, cx);
        let (queues, stall) = {
            let orders = self.control.down();
            (orders.queues(), orders.stall)
        };
        if queues || self.ended || !self.down.is_empty() {
            self.fill(io, cx);
            return self.let_go(cx, buf);
        }
        if stall {
            return Poll::Pending;
        }
        self.take_in(io, cx, buf)
    }

    /// Reads from the socket, as fast as a slow consumer may.
    fn take_in<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.control.may_read() {
            None => ready!(Pin::new(io).poll_read(cx, buf))?,
            Some(Allowed::Until(again)) => {
                self.control.alarm().set(&mut self.again, again, cx.waker());
                return Poll::Pending;
            }
            Some(Allowed::Bytes(most)) => {
                let mut scratch = [const { MaybeUninit::uninit() }; SCRATCH];
                let most = most.clamp(1, SCRATCH).min(buf.remaining());
                let mut read = ReadBuf::uninit(&mut scratch[..most]);
                ready!(Pin::new(io).poll_read(cx, &mut read))?;
                buf.put_slice(read.filled());
            }
        }
        self.control.note_received(buf.filled().len() - before);
        Poll::Ready(Ok(()))
    }

    /// Lets through the few bytes that are left until the connection is cut in the middle of a frame.
    fn read_short<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        left: u8,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if left == 0 {
            self.control.watch_reader(cx);
            self.pump(io, cx);
            return Poll::Pending;
        }
        let mut few = [0; CUT_SHORT_AT as usize];
        let mut short = ReadBuf::new(&mut few[..usize::from(left).min(buf.remaining())]);
        ready!(self.read(io, cx, &mut short))?;
        let got = short.filled();
        buf.put_slice(got);
        self.control.let_through(got.len() as u8);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Link<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { io, faults } = self.get_mut();
        let Some(faults) = faults else { return Pin::new(io).poll_read(cx, buf) };
        match faults.control.short() {
            None => faults.read(io, cx, buf),
            Some(left) => faults.read_short(io, cx, buf, left),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Link<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { io, faults } = self.get_mut();
        match faults {
            None => Pin::new(io).poll_write(cx, bytes),
            Some(faults) => faults.write(io, cx, &[IoSlice::new(bytes)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Self { io, faults } = self.get_mut();
        match faults {
            None => Pin::new(io).poll_write_vectored(cx, slices),
            Some(faults) => faults.write(io, cx, slices),
        }
    }

    /// TLS hands over several records at once where that is one system call.
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, faults } = self.get_mut();
        let Some(faults) = faults else { return Pin::new(io).poll_flush(cx) };
        faults.pump(io, cx);
        match faults.broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            // What was taken is on its way, as with a kernel.
            None if !faults.up.is_empty() => Poll::Ready(Ok(())),
            None => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, faults } = self.get_mut();
        match faults {
            None => Pin::new(io).poll_shutdown(cx),
            Some(faults) => faults.shut(io, cx),
        }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
