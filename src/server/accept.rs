//! Takes connections in, quickly: the kernel's queue of them is short, and what overflows it waits a second.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Sleep;

use super::conn::{Conn, Fate};
use super::farewell::Farewell;
use super::http;
use super::hub::{Guest, Hub};
use super::session::{Ending, Session};

/// Connections taken in before those already here get their turn.
const BURST: usize = 512;

/// Connections that may wait to be accepted, if the kernel allows as many.
const BACKLOG: i32 = 16_384;

/// How long to wait when no more files can be opened.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Opens the listening socket.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' last packets.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog())?;
    TcpListener::from_std(socket.into())
}

/// The kernel cuts it to its own limit as well, but silently.
fn backlog() -> i32 {
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok();
    somaxconn.and_then(|text| text.trim().parse().ok()).unwrap_or(BACKLOG).min(BACKLOG)
}

/// Accepts connections for ever; their tasks live in `tasks`.
pub(crate) async fn accept(hub: &Rc<Hub>, listener: &TcpListener, tasks: &mut JoinSet<()>) {
    loop {
        let error = tokio::task::unconstrained(accept_until_error(hub, listener, tasks)).await;
        if is_of_one_connection(&error) {
            continue;
        }
        tracing::warn!(%error, "cannot accept connections; trying again");
        tokio::time::sleep(BACK_OFF).await;
    }
}

/// Without tokio's own budget, which would let four times as many handshakes go first.
async fn accept_until_error(hub: &Rc<Hub>, listener: &TcpListener, tasks: &mut JoinSet<()>) -> io::Error {
    // One that was accepted and is kept from everybody, itself and those behind it: a defect.
    let mut kept: Option<(Pin<Box<Sleep>>, TcpStream)> = None;
    poll_fn(|cx| {
        while let Poll::Ready(Some(ended)) = tasks.poll_join_next(cx) {
            if let Err(error) = ended {
                tracing::error!(%error, "a connection's task failed");
            }
        }
        for _ in 0..BURST {
            if let Some((pause, _)) = &mut kept {
                ready!(pause.as_mut().poll(cx));
            }
            if let Some((_, stream)) = kept.take() {
                tasks.spawn_local(attend(Rc::clone(hub), stream));
            }
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, _))) => {
                    match hub.defects.as_ref().and_then(|defects| defects.accepted()) {
                        None => drop(tasks.spawn_local(attend(Rc::clone(hub), stream))),
                        Some(pause) => kept = Some((Box::pin(tokio::time::sleep(pause)), stream)),
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(error),
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}

/// Whether the error says nothing about the next connection.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// A connection's whole life.
async fn attend(hub: Rc<Hub>, stream: TcpStream) {
    // Small messages must not wait for the acknowledgement of earlier ones. Fails only on a dead connection.
    let _ = stream.set_nodelay(true);
    let guest = hub.welcome(Rc::new(Conn::new(stream)));
    // Boxed: ten thousand open WebSockets should not keep the space of their handshakes.
    let upgraded = Box::pin(http::attend(&guest)).await;
    let ending = match upgraded {
        Some(upgraded) => web_socket(&guest, upgraded).await,
        None if guest.conn.fate() == Fate::Live => Ending::HangUp,
        None => Ending::Gone,
    };
    if ending != Ending::Gone {
        let mut farewell = Farewell::new(Rc::clone(&guest.hub), Rc::clone(&guest.conn), ending);
        poll_fn(|cx| farewell.poll(cx)).await;
    }
}

async fn web_socket(guest: &Guest, upgraded: http::Upgraded) -> Ending {
    guest.hub.count_open(&guest.conn);
    if !upgraded.acceptable {
        return Ending::Close(4406, "Subprotocol not acceptable");
    }
    let mut session = Session::new(Rc::clone(&guest.hub), Rc::clone(&guest.conn), upgraded.tail);
    poll_fn(|cx| session.poll(cx)).await
}
