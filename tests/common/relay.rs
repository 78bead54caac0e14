//! A relay in front of a server: it sees how each client ends its connection, and can turn newcomers away.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stressctl::clock::{self, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio_util::sync::CancellationToken;

/// How a client ended its side, as the kernel and the bytes told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A TCP reset.
    Reset,
    /// The end of the stream, without a word before it.
    Fin,
    /// A close frame of this code, then the end of the stream.
    Close(u16),
}

#[derive(Default)]
struct Seen {
    ends: Mutex<Vec<(Instant, End)>>,
    accepted: AtomicU64,
    /// Newcomers that will be turned away.
    refusing: AtomicI64,
    refused: AtomicU64,
    /// Of the connections numbered so, in the order they were made, nothing comes back to the client any more.
    silent: Mutex<Range<u64>>,
}

/// A running relay.
pub(crate) struct Relay {
    address: SocketAddr,
    seen: Arc<Seen>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    pub(crate) fn to(server: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("it can be polled");
        let address = listener.local_addr().expect("it is bound");
        let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
        let (sees, stopped) = (Arc::clone(&seen), stop.clone());
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let local = LocalSet::new();
            local.block_on(&runtime.expect("a runtime"), async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                stopped.run_until_cancelled(accept(listener, server, sees)).await;
            });
        });
        Self { address, seen, stop, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Resets the next `n` connections as soon as they are made.
    pub(crate) fn refuse(&self, n: i64) {
        self.seen.refusing.store(n, Relaxed);
    }

    /// From now on nothing comes back over the connections numbered so in the order they were made, from 0; what clients
    /// send still arrives.
    pub(crate) fn silence(&self, connections: Range<u64>) {
        *self.seen.silent.lock().unwrap_or_else(PoisonError::into_inner) = connections;
    }

    /// Connections that were turned away.
    pub(crate) fn refused(&self) -> u64 {
        self.seen.refused.load(Relaxed)
    }

    /// Connections that were made, without those turned away.
    pub(crate) fn accepted(&self) -> u64 {
        self.seen.accepted.load(Relaxed)
    }

    /// How clients have ended so far.
    pub(crate) fn ends(&self) -> Vec<End> {
        self.seen.ends.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(_, end)| *end).collect()
    }

    /// Time between the first and the last end.
    pub(crate) fn spread(&self) -> Duration {
        let ends = self.seen.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let times = || ends.iter().map(|(at, _)| *at);
        times().max().zip(times().min()).map_or(Duration::ZERO, |(last, first)| last - first)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; a second one here would only hide the test's own.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, seen: Arc<Seen>) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.expect("a connection");
        if seen.refusing.fetch_sub(1, Relaxed) > 0 {
            seen.refused.fetch_add(1, Relaxed);
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an open socket");
            continue;
        }
        let number = seen.accepted.fetch_add(1, Relaxed);
        let seen = Arc::clone(&seen);
        connections.spawn_local(async move {
            let server = TcpStream::connect(server).await.expect("the server listens");
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            let reset = Cell::new(false);
            let is_silent = || seen.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&number);
            tokio::join!(
                up(from_client, to_server, &seen, &reset),
                down(from_server, to_client, &reset, is_silent)
            );
        });
    }
}

/// The kernel tells a reset once, to whoever asks first: `reset` says that it was the other direction.
async fn up(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, seen: &Seen, reset: &Cell<bool>) {
    let mut buffer = [0; 4096];
    let mut tail = Vec::new();
    let end = loop {
        match from.read(&mut buffer).await {
            Ok(0) if reset.get() => break End::Reset,
            Ok(0) => break close_code(&tail).map_or(End::Fin, End::Close),
            Err(_) => break End::Reset,
            Ok(n) => {
                tail.extend_from_slice(&buffer[..n]);
                tail.drain(..tail.len().saturating_sub(8));
                // How a server takes it is for the client to see.
                let _ = to.write_all(&buffer[..n]).await;
            }
        }
    };
    seen.ends.lock().unwrap_or_else(PoisonError::into_inner).push((clock::now(), end));
    let _ = to.shutdown().await;
}

async fn down(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    reset: &Cell<bool>,
    is_silent: impl Fn() -> bool,
) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        if is_silent() {
            continue;
        }
        if let Err(error) = to.write_all(&buffer[..n]).await {
            reset.set(error.kind() == std::io::ErrorKind::ConnectionReset);
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// The code of a masked close frame without reason that ends a stream.
fn close_code(tail: &[u8]) -> Option<u16> {
    let [0x88, 0x82, a, b, _, _, high, low] = *tail else { return None };
    Some(u16::from_be_bytes([high ^ a, low ^ b]))
}
