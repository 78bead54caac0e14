//! How long sparse messages take over TCP on loopback, one way, in each direction.
//!
//! Both ends are in this process, so both read one clock. They speak when a thread of its own tells them to: tokio's
//! timers have ticks of a millisecond, and a message that is sent on such a tick would meet the injector's timers always
//! at the same phase.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use futures_util::future::{poll_fn, try_join, try_join_all};
use stressctl::clock::{self, RunClock};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{JoinSet, LocalSet, spawn_blocking};

use crate::sets::{SPACING, Set};

const MESSAGE: usize = 200;
/// Beyond the time that the messages are spread over.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the messages took, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    /// From the client's end, around which the injector is.
    pub(crate) out: Vec<u64>,
    /// To the client's end.
    pub(crate) in_: Vec<u64>,
}

/// Measures one set; `link` makes the client's end of a connection of its socket, and `driver` keeps these going.
pub(crate) fn measure<S, F>(set: &Set, link: F, driver: impl Future<Output = ()>) -> anyhow::Result<Latencies>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(TcpStream, u32) -> anyhow::Result<S>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let limit = PATIENCE + SPACING * set.messages;
    LocalSet::new().block_on(&runtime, async {
        let measured = tokio::time::timeout(limit, exchange(set, link));
        tokio::select! {
            measured = measured => {
                measured.with_context(|| format!("not every message arrived within {limit:?}"))?
            }
            () = driver => Err(anyhow!("what drives the links has ended")),
        }
    })
}

async fn exchange<S, F>(set: &Set, link: F) -> anyhow::Result<Latencies>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(TcpStream, u32) -> anyhow::Result<S>,
{
    let clock = RunClock::start();
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    let mut talks = JoinSet::new();
    for ((client, server), nth) in connections(set.connections).await?.into_iter().zip(0..) {
        let (cue, client) = End::new(link(client, nth)?, clock);
        clients.push(cue);
        let (cue, server) = End::new(server, clock);
        servers.push(cue);
        talks.spawn_local(talk(client, server, set.messages as usize));
    }
    let cues: Vec<_> = clients.into_iter().chain(servers).collect();
    let messages = set.messages;
    let conductor = spawn_blocking(move || conduct(&cues, messages));
    let mut all = Latencies::default();
    while let Some(talked) = talks.join_next().await {
        let (client, server) = talked??;
        all.out.extend(server);
        all.in_.extend(client);
    }
    conductor.await??;
    Ok(all)
}

/// Both ends of so many connections.
async fn connections(count: u32) -> anyhow::Result<Vec<(TcpStream, TcpStream)>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let connect = try_join_all((0..count).map(|_| TcpStream::connect(address)));
    let accept = async {
        let mut accepted = HashMap::new();
        for _ in 0..count {
            let (socket, peer) = listener.accept().await?;
            accepted.insert(peer, socket);
        }
        Ok(accepted)
    };
    let (clients, mut accepted) = try_join(connect, accept).await?;
    let pair = |client: TcpStream| {
        let server = accepted.remove(&client.local_addr()?).context("a stranger connected")?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        Ok((client, server))
    };
    clients.into_iter().map(pair).collect()
}

/// Tells one end after the other to speak, evenly, so that the beats meet a millisecond at every phase.
fn conduct(cues: &[Sender<()>], messages: u32) -> anyhow::Result<()> {
    let ends = u32::try_from(cues.len()).context("more ends than can be counted")?;
    let began = clock::now();
    for message in 0..messages {
        for (cue, end) in cues.iter().zip(0..) {
            let due = began + SPACING * message + SPACING * end / ends;
            thread::sleep(due.saturating_duration_since(clock::now()));
            cue.try_send(()).map_err(|_| anyhow!("an end of a connection has gone, or lags behind"))?;
        }
    }
    Ok(())
}

/// Runs both ends until each has heard all that the other says; gives what the client heard, and the server.
async fn talk<A, B>(
    mut client: End<A>,
    mut server: End<B>,
    messages: usize,
) -> anyhow::Result<(Vec<u64>, Vec<u64>)>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    poll_fn(|cx| {
        client.advance(cx)?;
        server.advance(cx)?;
        let done = client.latencies.len() >= messages && server.latencies.len() >= messages;
        if done { Poll::Ready(io::Result::Ok(())) } else { Poll::Pending }
    })
    .await?;
    ensure!(
        client.latencies.len() == messages && server.latencies.len() == messages,
        "more was heard than was said"
    );
    Ok((client.latencies, server.latencies))
}

/// One end of a connection. It is driven by polling alone, because awaiting a flush would keep it from reading.
struct End<S> {
    stream: S,
    clock: RunClock,
    cues: Receiver<()>,
    unsent: Vec<u8>,
    unflushed: bool,
    /// Has room for more than a message, so that one read tells that there is no more.
    heard: [u8; 2 * MESSAGE],
    filled: usize,
    latencies: Vec<u64>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> End<S> {
    fn new(stream: S, clock: RunClock) -> (Sender<()>, Self) {
        let (cue, cues) = channel(4);
        let end = Self {
            stream,
            clock,
            cues,
            unsent: Vec::new(),
            unflushed: false,
            heard: [0; 2 * MESSAGE],
            filled: 0,
            latencies: Vec::new(),
        };
        (cue, end)
    }

    /// Does what can be done now, and has the task woken when there is more.
    fn advance(&mut self, cx: &mut TaskContext<'_>) -> io::Result<()> {
        while let Poll::Ready(Some(())) = self.cues.poll_recv(cx) {
            let sent = self.clock.now_ns().to_le_bytes();
            self.unsent.extend(sent.into_iter().chain([b'.'; MESSAGE - 8]));
        }
        if let Poll::Ready(Err(error)) = self.poll_send(cx) {
            return Err(error);
        }
        match self.poll_hear(cx) {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(never)) => match never {},
            Poll::Pending => Ok(()),
        }
    }

    fn poll_send(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unsent))?;
            self.unsent.drain(..sent);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_hear(&mut self, cx: &mut TaskContext<'_>) -> Poll<io::Result<std::convert::Infallible>> {
        loop {
            let mut rest = ReadBuf::new(&mut self.heard[self.filled..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut rest))?;
            match rest.filled().len() {
                0 => return Poll::Ready(Err(ErrorKind::UnexpectedEof.into())),
                heard => self.filled += heard,
            }
            while self.filled >= MESSAGE {
                let (sent, _) = self.heard.split_first_chunk().expect("a message begins with its time");
                self.latencies.push(self.clock.now_ns() - u64::from_le_bytes(*sent));
                self.heard.copy_within(MESSAGE.., 0);
                self.filled -= MESSAGE;
            }
        }
    }
}
