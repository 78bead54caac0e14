//! A byte stream with faults on it: applies what its control says, and decides nothing.
//!
//! Delay is a queue, not a sleep before each read: every chunk carries its own time, so that a second of delay on ten
//! chunks is one second. The task that owns the stream polls its reads all the time, and what waits to be written is
//! handed on from there.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::control::Control;
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
    /// The socket has nothing more to read.
    ended: bool,
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
        let faults =
            Faults { control, up: Queue::default(), down: Queue::default(), ended: false, broken: None };
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
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.control.alarm().cancel(&mut self.up.ticket);
        self.control.alarm().cancel(&mut self.down.ticket);
    }
}

impl Faults {
    /// Hands on what may go up.
    fn pump<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) {
        if self.up.is_empty() {
            return;
        }
        let (control, before) = (Rc::clone(&self.control), self.up.len());
        let orders = control.up();
        while self.broken.is_none() && !orders.stall {
            let now = clock::now();
            let bytes = match self.up.head(&orders, now) {
                Head::Bytes(bytes) => bytes,
                Head::Waits(Some(until)) => {
                    control.alarm().set(&mut self.up.ticket, until, cx.waker());
                    break;
                }
                Head::Waits(None) | Head::End | Head::Empty => break,
            };
            match Pin::new(&mut *io).poll_write(cx, bytes) {
                Poll::Pending => break,
                Poll::Ready(Ok(0)) => self.broken = Some(io::ErrorKind::WriteZero),
                Poll::Ready(Ok(n)) => self.up.advance(n, &orders, now),
                Poll::Ready(Err(e)) => self.broken = Some(e.kind()),
            }
        }
        if self.up.len() < before || self.broken.is_some() {
            control.wake_writer();
        }
    }

    /// Reads what has arrived, as far as there is room for it.
    fn fill<S: AsyncRead + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) {
        let control = Rc::clone(&self.control);
        let orders = control.down();
        while !self.ended && !orders.stall && orders.queues() && self.down.len() < orders.room() {
            let mut scratch = [0; SCRATCH];
            let most = SCRATCH.min(orders.room() - self.down.len());
            let mut read = ReadBuf::new(&mut scratch[..most]);
            match Pin::new(&mut *io).poll_read(cx, &mut read) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if read.filled().is_empty() => self.end(Ok(())),
                Poll::Ready(Ok(())) => {
                    control.note_received(read.filled().len());
                    self.down.push(read.filled(), &orders, clock::now());
                }
                Poll::Ready(Err(e)) => self.end(Err(e)),
            }
        }
    }

    fn end(&mut self, end: io::Result<()>) {
        self.ended = true;
        self.down.push_end(end, &self.control.down(), clock::now());
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
                Head::End => return Poll::Ready(self.down.take_end()),
                Head::Waits(until) => {
                    if let Some(until) = until {
                        control.alarm().set(&mut self.down.ticket, until, cx.waker());
                    }
                    return Poll::Pending;
                }
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
        if queues || !self.down.is_empty() {
            self.fill(io, cx);
            return self.let_go(cx, buf);
        }
        if stall {
            return Poll::Pending;
        }
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(io).poll_read(cx, buf))?;
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
        let mut few = [0; super::control::CUT_SHORT_AT as usize];
        let mut short = ReadBuf::new(&mut few[..usize::from(left).min(buf.remaining())]);
        if short.remaining() == 0 {
            self.control.watch_reader(cx);
            return Poll::Pending;
        }
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
        let Some(faults) = faults else { return Pin::new(io).poll_write(cx, bytes) };
        let control = Rc::clone(&faults.control);
        control.watch_writer(cx);
        faults.pump(io, cx);
        if let Some(kind) = faults.broken {
            return Poll::Ready(Err(kind.into()));
        }
        let orders = control.up();
        if orders.queues() || !faults.up.is_empty() {
            let room = orders.room().saturating_sub(faults.up.len()).min(bytes.len());
            if room == 0 && !bytes.is_empty() {
                return Poll::Pending;
            }
            faults.up.push(&bytes[..room], &orders, clock::now());
            drop(orders);
            faults.pump(io, cx);
            return Poll::Ready(Ok(room));
        }
        if orders.stall { Poll::Pending } else { Pin::new(io).poll_write(cx, bytes) }
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
        let Some(faults) = faults else { return Pin::new(io).poll_shutdown(cx) };
        faults.control.watch_writer(cx);
        faults.pump(io, cx);
        match faults.broken {
            Some(kind) => Poll::Ready(Err(kind.into())),
            // The end comes behind what is on its way.
            None if !faults.up.is_empty() => Poll::Pending,
            None => Pin::new(io).poll_shutdown(cx),
        }
    }
}
