//! How a connection ends in good order.

use std::future::Future;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};

use super::conn::{Conn, Fate};
use super::hub::Hub;
use super::session::Ending;

/// Reads of ignored bytes in one turn.
const BUDGET: usize = 256;

/// Ends a connection in good order: its subscriptions at once, then what waits for it and the close frame are
/// written, then the client is given the time to hang up. The sweeper aborts what takes too long.
pub(crate) struct Farewell {
    hub: Rc<Hub>,
    conn: Rc<Conn>,
    written: bool,
}

impl Farewell {
    pub(crate) fn new(hub: Rc<Hub>, conn: Rc<Conn>, ending: Ending) -> Self {
        hub.begin_closing(&conn);
        if let Ending::Close(code, reason) = ending {
            let close = Frame::close(Some(CloseFrame { code: code.into(), reason: reason.into() }));
            let mut bytes = Vec::with_capacity(128);
            close.format(&mut bytes).expect("writing to memory does not fail");
            conn.queue(&bytes);
        }
        Self { hub, conn, written: false }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.conn.watch(cx);
        if self.conn.fate() == Fate::Abort {
            return Poll::Ready(());
        }
        if !self.written {
            if ready!(self.conn.poll_flush(cx, &self.hub)).is_err() {
                return Poll::Ready(());
            }
            self.conn.shut_down_writing();
            self.written = true;
        }
        // Closing with unread bytes would reset the connection and take the close frame with it.
        let mut ignored = [0; 4096];
        for _ in 0..BUDGET {
            match self.conn.read(&mut ignored) {
                Ok(0) => return Poll::Ready(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if ready!(self.conn.poll_readable(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Err(_) => return Poll::Ready(()),
            }
        }
        continue_later(cx);
        Poll::Pending
    }
}

/// Has the task polled again, but only after the driver has looked at all sockets.
///
/// Waking the task directly would have it polled up to sixty times before that; by then a burst of large events
/// fills the queues of subscribers whose sockets have long been ready for more.
pub(crate) fn continue_later(cx: &mut Context<'_>) {
    let yielded = std::pin::pin!(tokio::task::yield_now());
    // Always pending: its first poll is what asks for the wake-up.
    let _ = yielded.poll(cx);
}
