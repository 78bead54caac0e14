//! How a connection is ended on purpose: abruptly, by the end of the stream, or by a close frame.

use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::time::Duration;

use futures_util::{Sink, StreamExt};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::aftermath::Rest;
use super::handshake::Socket;
use crate::scenarios::plan::How;

/// How long the server may take to end its side.
const WAIT: Duration = Duration::from_secs(2);

/// What arrives after the end is read in pieces of this size and thrown away.
const READ: usize = 4 << 10;

/// Ends a connection now, without awaiting anything; what remains to be done about it, if anything does.
pub(super) fn begin(socket: Socket, how: How, healed: CancellationToken) -> Option<Rest> {
    let tcp = SockRef::from(socket.get_ref().tcp());
    match how {
        How::Reset => {
            // Closed with nothing to linger for, the socket is reset, whatever is on its way.
            let lingers = tcp.set_linger(Some(Duration::ZERO));
            debug_assert!(lingers.is_ok(), "{lingers:?}");
            None
        }
        How::Fin | How::HalfClose => {
            // As the end of a process looks from outside: under TLS, too, without a goodbye of its own. It fails
            // where the server ended the connection a moment ago, and then there is nothing left to end.
            let _ = tcp.shutdown(Shutdown::Write);
            Some(Box::pin(async move {
                let read = read_to_end(socket.get_ref().tcp());
                if how == How::HalfClose {
                    // Our side is ended, the other one is the server's to end: it has until everything is healed.
                    healed.run_until_cancelled(read).await;
                } else {
                    let _ = timeout(WAIT, read).await;
                }
            }))
        }
        How::WsClose(code) => Some(close(socket, code)),
    }
}

/// A socket that is closed with unread data resets the connection, which would not be what was asked for.
async fn read_to_end(tcp: &TcpStream) {
    let mut thrown_away = vec![0; READ];
    while tcp.readable().await.is_ok() {
        match tcp.try_read(&mut thrown_away) {
            Ok(1..) => {}
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn close(mut socket: Socket, code: u16) -> Rest {
    let frame = CloseFrame { code: code.into(), reason: Utf8Bytes::default() };
    // Whoever waits for the answer polls again; here the frame is handed over as far as the socket takes it.
    let mut cx = Context::from_waker(Waker::noop());
    let mut sink = Pin::new(&mut socket);
    let sent = sink.as_mut().start_send(Message::Close(Some(frame)));
    if sent.is_ok() {
        let _ = sink.poll_flush(&mut cx);
    }
    Box::pin(async move {
        // The library answers and flushes while it reads; the end is an error or nothing.
        let _ = timeout(WAIT, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    })
}
