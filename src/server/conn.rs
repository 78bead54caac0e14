//! One connection as everyone else sees it: a socket that anybody may write to and only its own task reads.
//!
//! Writing goes straight to the socket; what it does not take waits in the outbox, and the connection's task is
//! woken to write it when the socket takes more. Nothing overtakes the outbox, so frames never mix.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read};
use std::task::{Context, Poll, Waker};

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::closings::{How, Life};
use super::event::{Event, text_header};
use super::fanout::Subscriptions;
use super::hub::Hub;
use super::outbox::Outbox;
use super::stats::Counters;
use crate::clock::{self, Instant};

/// What remains of a frame is shared rather than copied from this size on: fifty slow readers of 2 KiB events
/// would otherwise keep fifty copies of each. Below it, the bookkeeping would weigh as much as the copy.
const SHARE: usize = 1 << 10;

/// Chunks handed to one write call; a shared event is two of them.
const SLICES: usize = 64;

/// How far a connection has come; the sweeper measures each stage by its own limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Its first HTTP request has not been read.
    Asking,
    /// It is kept alive for more HTTP requests.
    KeptAlive,
    /// It is a WebSocket without `connection_init`.
    Greeting,
    /// It is a WebSocket and acknowledged.
    Ready,
    /// Its last bytes are on their way.
    Closing,
}

/// Why a connection has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has not.
    Live,
    /// With this close code and reason.
    Close(u16, &'static str),
    /// Its queue was full: nothing more is written.
    CutOff,
    /// At once.
    Abort,
}

/// What became of an event offered to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offered {
    /// The kernel has all of it.
    Written,
    /// The rest, or all of it, waits.
    Queued,
    /// It would exceed the queue limit; nothing of it was written or queued.
    Full,
    /// The connection is ending.
    Gone,
}

/// Whether a connection is made to wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// It is not.
    No,
    /// Nothing is written.
    Corked,
    /// What waited meanwhile is still being written; no limit counts until it is.
    Draining,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    outbox: RefCell<Option<Box<Outbox>>>,
    waker: RefCell<Option<Waker>>,
    /// Publishers that wait until there is room.
    awaiting: RefCell<Vec<Waker>>,
    fate: Cell<Fate>,
    stage: Cell<Stage>,
    /// When the stage began.
    since: Cell<Instant>,
    /// Whether the last read left nothing in the socket.
    drained: Cell<bool>,
    /// Whether nothing is written any more though it stays open: a defect.
    muted: Cell<bool>,
    /// Whether the kernel did not take all that it was offered, and something waits for that reason.
    blocked: Cell<bool>,
    /// Whether it is made to wait for others: a defect.
    held: Cell<Held>,
    /// What is told of it when it has ended.
    pub(crate) life: Life,
    pub(crate) subscriptions: Subscriptions,
    /// Its place in the hub's register.
    pub(crate) place: Cell<usize>,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream) -> Self {
        let life = Life::begin();
        Self {
            stream,
            outbox: RefCell::new(None),
            waker: RefCell::new(None),
            awaiting: RefCell::default(),
            fate: Cell::new(Fate::Live),
            stage: Cell::new(Stage::Asking),
            since: Cell::new(life.accepted()),
            drained: Cell::new(false),
            muted: Cell::new(false),
            blocked: Cell::new(false),
            held: Cell::new(Held::No),
            life,
            subscriptions: Subscriptions::default(),
            place: Cell::new(usize::MAX),
        }
    }

    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Since when the limit of its stage counts.
    pub(crate) fn since(&self) -> Instant {
        match self.stage.get() {
            Stage::Ready => self.since.get().max(self.life.arrived()),
            _ => self.since.get(),
        }
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.set(stage);
        self.since.set(clock::now());
    }

    /// Begins the limit of its stage again.
    pub(crate) fn renew(&self) {
        self.since.set(clock::now());
    }

    pub(crate) fn fate(&self) -> Fate {
        self.fate.get()
    }

    /// Decides how the connection ends and wakes its task to see to it; the first decision stays, unless the new
    /// one is to abort.
    pub(crate) fn end(&self, fate: Fate) {
        self.life.ended(How::Server);
        if self.fate.get() == Fate::Live || fate == Fate::Abort {
            self.fate.set(fate);
        }
        self.wake();
        self.wake_awaiting();
    }

    /// Remembers whom to wake; called at the beginning of every poll of the connection's task.
    pub(crate) fn watch(&self, cx: &Context<'_>) {
        // The driver may have noted new bytes since; `read` must not clear that.
        self.drained.set(false);
        self.life.begin_turn();
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Ready once no more waits than may, or the connection ends; with the task woken then.
    pub(crate) fn poll_room(&self, cx: &Context<'_>, limit: usize) -> Poll<()> {
        if self.fate.get() != Fate::Live || !self.exceeds(limit) {
            return Poll::Ready(());
        }
        let mut awaiting = self.awaiting.borrow_mut();
        if !awaiting.iter().any(|known| known.will_wake(cx.waker())) {
            awaiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn wake_awaiting(&self) {
        let awaiting = self.awaiting.take();
        awaiting.into_iter().for_each(Waker::wake);
    }

    /// Lets everything wait that is to be written from now on.
    pub(crate) fn mute(&self) {
        self.muted.set(true);
        self.outbox.borrow_mut().get_or_insert_default();
    }

    /// Lets everything wait until [`Self::uncork`]; whether that is new.
    pub(crate) fn cork(&self) -> bool {
        self.outbox.borrow_mut().get_or_insert_default();
        self.held.replace(Held::Corked) != Held::Corked
    }

    pub(crate) fn uncork(&self) {
        if self.held.get() == Held::Corked {
            self.held.set(Held::Draining);
            self.wake();
        }
    }

    /// Whether something waits because the kernel did not take it.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.get()
    }

    /// Whether more waits than may, and nobody else is to blame.
    pub(crate) fn exceeds(&self, limit: usize) -> bool {
        self.waiting() > limit && self.held.get() == Held::No
    }

    /// Bytes that wait to be written.
    pub(crate) fn waiting(&self) -> usize {
        self.outbox.borrow().as_ref().map_or(0, |outbox| outbox.len())
    }

    /// Hands the frame of `event` for the subscription `prefix` to the socket, or to the outbox up to `limit`.
    ///
    /// A frame the socket has taken a part of is queued whatever the limit: half a frame would end the connection.
    pub(crate) fn offer(&self, event: &mut Event, prefix: &[u8], limit: usize) -> Offered {
        if self.fate.get() != Fate::Live {
            return Offered::Gone;
        }
        let mut outbox = self.outbox.borrow_mut();
        let frame = event.frame(prefix);
        let written = if outbox.is_some() {
            0
        } else {
            match self.stream.try_write(frame) {
                Ok(n) if n == frame.len() => return Offered::Written,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => {
                    drop(outbox);
                    self.life.failed(&error);
                    self.end(Fate::Abort);
                    return Offered::Gone;
                }
            }
        };
        let rest = frame.len() - written;
        let first = outbox.is_none();
        let waiting = outbox.as_ref().map_or(0, |outbox| outbox.len());
        if written == 0 && waiting + rest > limit && self.held.get() == Held::No {
            return Offered::Full;
        }
        let outbox = outbox.get_or_insert_default();
        if rest < SHARE {
            outbox.push(&frame[written..]);
        } else {
            let own = frame.len() - event.tail_len();
            if written < own {
                outbox.push(&event.frame(prefix)[written..own]);
            }
            outbox.push_shared(event.shared_tail(), written.saturating_sub(own));
        }
        outbox.end_event();
        if first {
            self.blocked.set(true);
            self.wake();
        }
        Offered::Queued
    }

    /// Queues bytes for this connection's own task to flush when its input is exhausted.
    pub(crate) fn queue(&self, bytes: &[u8]) {
        if self.fate.get() == Fate::CutOff {
            // Half a frame may have been written: nothing can follow it.
            return;
        }
        self.outbox.borrow_mut().get_or_insert_default().push(bytes);
    }

    /// Queues a text message like [`Self::queue`].
    pub(crate) fn queue_text(&self, text: &[u8]) {
        let (header, len) = text_header(text.len());
        self.queue(&header[..len]);
        self.queue(text);
    }

    /// Writes what waits; `Pending` when the socket does not take all of it, with the task woken when it does.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>, hub: &Hub) -> Poll<io::Result<()>> {
        loop {
            let flushed = self.flush(&hub.counters);
            if !self.exceeds(hub.options.queue_limit.0) {
                self.wake_awaiting();
            }
            match flushed {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.note_blocked(true, hub),
                result => {
                    if let Err(error) = &result {
                        self.life.failed(error);
                    }
                    self.note_blocked(false, hub);
                    return Poll::Ready(result);
                }
            }
            match self.stream.poll_write_ready(cx) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
        }
    }

    fn note_blocked(&self, blocked: bool, hub: &Hub) {
        if self.blocked.replace(blocked) != blocked
            && let Some(defects) = &hub.defects
        {
            defects.blocked(self);
        }
    }

    fn flush(&self, counters: &Counters) -> io::Result<()> {
        let mut slot = self.outbox.borrow_mut();
        let silenced = self.muted.get() || self.held.get() == Held::Corked;
        let Some(outbox) = slot.as_mut().filter(|_| !silenced) else { return Ok(()) };
        while outbox.len() > 0 {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = outbox.slices(&mut slices);
            let n = match filled {
                1 => self.stream.try_write(&slices[0])?,
                _ => self.stream.try_write_vectored(&slices[..filled])?,
            };
            let events = outbox.advance(n);
            counters.queued.sub(events);
            counters.delivered.add(events);
        }
        // Ten thousand idle connections should not keep ten thousand buffers.
        *slot = None;
        self.held.set(Held::No);
        Ok(())
    }

    /// Forgets what waits; returns how many events were among it.
    pub(crate) fn discard(&self) -> u64 {
        self.outbox.take().map_or(0, |outbox| outbox.events())
    }

    /// Reads what has arrived; `WouldBlock` when that is nothing.
    ///
    /// A read that does not fill `buf` has emptied the socket, so the next one reports that without asking the
    /// kernel. No event is lost in between: the driver runs only when the task has yielded, and [`Self::watch`]
    /// is the first thing it does after that.
    pub(crate) fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        if self.drained.take() {
            return self.stream.try_io(Interest::READABLE, || Err(io::ErrorKind::WouldBlock.into()));
        }
        let n = match self.stream.try_read(buf) {
            Ok(0) => {
                self.life.ended(How::Eof);
                return Ok(0);
            }
            Ok(n) => n,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    self.life.failed(&error);
                }
                return Err(error);
            }
        };
        self.life.heard();
        self.drained.set(n < buf.len());
        Ok(n)
    }

    /// Reads what a connection that is gone has left behind, whether or not the driver knows of it yet.
    pub(crate) fn read_remains(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&*socket2::SockRef::from(&self.stream)).read(buf)
    }

    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_read_ready(cx)
    }

    /// Tells the client that nothing more will come.
    pub(crate) fn shut_down_writing(&self) {
        // Fails only if the connection is gone already.
        let _ = socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn next(conn: &Conn) -> io::Result<Vec<u8>> {
        let mut buf = [0; 100];
        let read = poll_fn(|cx| {
            conn.watch(cx);
            loop {
                match conn.read(&mut buf) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::task::ready!(conn.poll_readable(cx))?;
                    }
                    result => return Poll::Ready(result),
                }
            }
        });
        let n = tokio::time::timeout(Duration::from_secs(5), read).await??;
        Ok(buf[..n].to_vec())
    }

    #[tokio::test]
    async fn bytes_noted_by_the_driver_after_a_short_read_are_read() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let conn = Conn::new(listener.accept().await.unwrap().0);
        client.write_all(b"one").await.unwrap();
        assert_eq!(next(&conn).await.unwrap(), b"one");
        client.write_all(b"two").await.unwrap();
        // The driver runs meanwhile.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(next(&conn).await.unwrap(), b"two");
        drop(client);
        assert_eq!(next(&conn).await.unwrap(), b"");
    }
}
