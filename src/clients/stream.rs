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
pub enum Stream {
    /// `ws://`
    Plain(Link<TcpStream>),
    /// `wss://`
    Tls(Box<TlsStream<Link<TcpStream>>>),
    /// Either of them, whose frames are cut because they may be large.
    Cut(Box<Cut>),
}

/// A stream whose frames are cut.
#[derive(Debug)]
pub struct Cut {
    inner: Stream,
    frames: Frames,
}

impl Stream {
    /// From now on WebSocket frames come, of which `before` was read already; the large ones are cut.
    pub(super) fn cut_frames(self, turnstile: Rc<Turnstile>, before: Vec<u8>) -> Self {
        Self::Cut(Box::new(Cut { inner: self, frames: Frames::new(turnstile, before) }))
    }

    fn link(&self) -> &Link<TcpStream> {
        match self {
            Self::Plain(link) => link,
            Self::Tls(tls) => tls.get_ref().0,
            Self::Cut(cut) => cut.inner.link(),
        }
    }

    fn link_mut(&mut self) -> &mut Link<TcpStream> {
        match self {
            Self::Plain(link) => link,
            Self::Tls(tls) => tls.get_mut().0,
            Self::Cut(cut) => cut.inner.link_mut(),
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

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
            Self::Cut(cut) => cut.frames.poll_read(&mut cut.inner, cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_write(cx, buf),
            Self::Cut(cut) => Pin::new(&mut cut.inner).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
            Self::Cut(cut) => Pin::new(&mut cut.inner).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
            Self::Cut(cut) => Pin::new(&mut cut.inner).poll_shutdown(cx),
        }
    }
}
