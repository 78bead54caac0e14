//! The byte stream under a WebSocket: TCP, or TLS over TCP.
//!
//! Faults on bytes are applied right above the socket, below TLS: as on a wire.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::frames::Frames;
use super::turnstile::Turnstile;
use crate::inject::{Control, Link};

/// One connection's bytes.
#[derive(Debug)]
pub struct Stream {
    wire: Wire,
    /// Where messages may be large: what cuts them.
    frames: Option<Box<Frames>>,
}

#[derive(Debug)]
enum Wire {
    /// `ws://`
    Plain(Link<TcpStream>),
    /// `wss://`
    Tls(Box<TlsStream<Link<TcpStream>>>),
}

impl From<Link<TcpStream>> for Stream {
    fn from(link: Link<TcpStream>) -> Self {
        Self { wire: Wire::Plain(link), frames: None }
    }
}

impl From<TlsStream<Link<TcpStream>>> for Stream {
    fn from(tls: TlsStream<Link<TcpStream>>) -> Self {
        Self { wire: Wire::Tls(Box::new(tls)), frames: None }
    }
}

impl Stream {
    /// From now on WebSocket frames come, of which `before` was read already; the large ones are cut.
    pub(super) fn cut_frames(&mut self, turnstile: Rc<Turnstile>, before: Vec<u8>) {
        self.frames = Some(Box::new(Frames::new(turnstile, before)));
    }

    fn link(&self) -> &Link<TcpStream> {
        match &self.wire {
            Wire::Plain(link) => link,
            Wire::Tls(tls) => tls.get_ref().0,
        }
    }

    fn link_mut(&mut self) -> &mut Link<TcpStream> {
        match &mut self.wire {
            Wire::Plain(link) => link,
            Wire::Tls(tls) => tls.get_mut().0,
        }
    }

    /// Whether all that was flushed has been given to the socket: a link with a fault on it may keep it a while.
    #[must_use]
    pub fn has_sent(&self) -> bool {
        self.link().has_sent()
    }

    /// Waits until it has.
    ///
    /// # Errors
    /// If the socket does not take it.
    pub async fn sent(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.link_mut().poll_sent(cx)).await
    }

    /// What tells its link what to do to bytes, where a fault may ever act on them.
    #[must_use]
    pub fn control(&self) -> Option<&Rc<Control>> {
        self.link().control()
    }

    /// The socket underneath.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        self.link().get_ref()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { wire, frames } = self.get_mut();
        match frames {
            None => Pin::new(wire).poll_read(cx, buf),
            Some(frames) => frames.poll_read(wire, cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().wire {
            Wire::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Wire::Tls(s) => Pin::new(s).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(s) => Pin::new(s).poll_flush(cx),
            Wire::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Wire::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}
