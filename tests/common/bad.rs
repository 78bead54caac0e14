//! Servers that are each bad in exactly one way, and a good one that can be made to die.
//!
//! stressctl opens one preflight connection before the load. A server that is bad from its first connection is for
//! the preflight, one that is bad from its second is for the load. Dropped, a server is gone.

use std::net::{Ipv4Addr, SocketAddr, TcpStream as StdTcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_util::sync::CancellationToken;

use super::hub::{Hub, Session};

/// The one thing a server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Nothing.
    Good,
    /// Does not listen.
    Refuses,
    /// Listens with a full queue: its kernel ignores connects.
    Full,
    /// Accepts and says nothing.
    Silent,
    /// Answers the upgrade with this HTTP status.
    Status(u16),
    /// Reads the upgrade and ends the stream.
    ClosesUpgrade,
    /// Upgrades to this subprotocol, or to none.
    Subprotocol(Option<&'static str>),
    /// Does not answer `connection_init`.
    NeverAcks,
    /// Answers `connection_init` with half a message.
    GarbageForAck,
    /// Answers `connection_init` with a close.
    ClosesInit { code: u16, reason: &'static str },
    /// Answers `connection_init` by ending the TCP stream.
    DropsInit,
    /// Accepts subscriptions and never delivers.
    NeverDelivers,
    /// Answers a subscribe with a close.
    ClosesOpen { code: u16, reason: &'static str },
    /// Answers a subscribe with a close frame of this code and keeps the TCP stream.
    KeepsTcp(u16),
    /// Answers a subscribe by ending the TCP stream.
    DropsOpen,
    /// Answers a subscribe with a TCP reset.
    ResetsOpen,
    /// Answers a subscribe with the head of a frame of 64 MiB.
    Oversized,
    /// Answers a subscribe with a text frame that is not UTF-8.
    InvalidUtf8,
    /// Answers a subscribe with a message that is not JSON.
    GarbageMessage,
    /// Answers `connection_init` a second late.
    AcksLate,
    /// Never delivers to the first so many subscriptions.
    Deaf(u64),
    /// Does not deliver the first so many deliveries of events; probes arrive.
    Drops(u64),
    /// Delivers the first so many deliveries of events twice.
    Repeats(u64),
    /// Changes the last byte of the first so many deliveries of events.
    Corrupts(u64),
    /// Delivers, but never answers the first so many publishes of events.
    Unanswering(u64),
    /// Does not answer pings.
    NeverPongs,
    /// Answers a ping so much later, and reads nothing until then.
    PongsLate(Duration),
    /// Delivers after the unsubscribe as before it.
    KeepsDelivering,
    /// Both.
    DeafToTheEnd,
    /// Sends a pong that nobody asked for with every subscription, and delivers after the unsubscribe.
    Chatty,
    /// Says in its statistics that it has one connection more than it has.
    Miscounts,
    /// Acknowledges event n (from 0) and delivers it to nobody.
    Loses(u64),
    /// From event n on, acknowledges everything and delivers nothing at all.
    GoesMute(u64),
    /// From event n on, neither reads from nor writes to connections with subscriptions.
    Freezes(u64),
    /// At event n, ends the connection that it came over, once, without a word; the event is gone.
    CutsPublisher(u64),
    /// The same, and loses the fifth event before that one.
    LosesAndCuts(u64),
    /// The same as [`Self::CutsPublisher`], and refuses every connection after that.
    ShutsOut(u64),
    /// Says something else to subscribers instead of delivering an event with a payload of so many bytes or more.
    Declines(usize, Instead),
    /// Delivers event n 700 ms late, and ends the connection that it was posted over without an answer.
    Dawdles(u64),
}

/// What is said instead of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instead {
    /// That the subscription has failed.
    Error,
    /// That it is over.
    Complete,
    /// A result with errors and without data.
    Result,
}

impl Manner {
    /// Does not hear an unsubscribe.
    pub(crate) fn is_deaf(self) -> bool {
        matches!(self, Self::KeepsDelivering | Self::DeafToTheEnd | Self::Chatty)
    }
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    hub: Arc<Hub>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server without fault.
    pub(crate) fn good() -> Self {
        Self::start(Manner::Good, 0, u64::MAX)
    }

    /// Bad from its first connection.
    pub(crate) fn bad(manner: Manner) -> Self {
        Self::start(manner, 0, u64::MAX)
    }

    /// Good on its first connection, bad on all others.
    pub(crate) fn bad_after_preflight(manner: Manner) -> Self {
        Self::start(manner, 1, u64::MAX)
    }

    /// Good until so many publishes (probes among them) have arrived; then it is gone with all connections.
    pub(crate) fn mortal(publishes: u64) -> Self {
        Self::start(Manner::Good, 0, publishes)
    }

    fn start(manner: Manner, good: u64, publishes: u64) -> Self {
        let hub = Arc::new(Hub::default());
        let stop = CancellationToken::new();
        let socket =
            bind(if manner == Manner::Full { 0 } else { 1024 }, manner == Manner::Refuses && good == 0);
        let address = socket.local_addr().expect("it is bound").as_socket().expect("it is IPv4");
        // Before anyone learns of the address, who could take the place in the queue.
        let filler = (manner == Manner::Full && good == 0).then(|| fill(address));
        let accept = Accept { address, manner, good, publishes, filler, hub: Arc::clone(&hub) };
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = stopped.cancelled() => {}
                    () = accept.run(socket) => {}
                }
            });
        });
        Self { address, hub, stop, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/graphql", self.address)
    }

    /// Publishes that have arrived, probes among them.
    pub(crate) fn published(&self) -> u64 {
        self.hub.published.load(Relaxed)
    }

    /// Subscriptions ever made.
    pub(crate) fn subscribed(&self) -> u64 {
        self.hub.subscribed.load(Relaxed)
    }

    /// The highest epoch of any event that has arrived.
    pub(crate) fn epoch(&self) -> u64 {
        self.hub.epoch.load(Relaxed)
    }

    /// Pings that have arrived, and pongs said in answer to them.
    pub(crate) fn pings_and_pongs(&self) -> (u64, u64) {
        (self.hub.pings.load(Relaxed), self.hub.pongs.load(Relaxed))
    }

    /// Subscriptions whose operation id another one had had before.
    pub(crate) fn reused_ids(&self) -> u64 {
        self.hub.reused_ids.load(Relaxed)
    }

    /// From now on, acknowledges publishes and delivers nothing.
    pub(crate) fn mute(&self) {
        self.hub.mute.store(true, Relaxed);
    }

    /// A `[targets.bad]` table for it.
    pub(crate) fn target(&self) -> String {
        format!(
            r#"
[targets.bad]
url = "{}"
protocol = "graphql-transport-ws"
contract = "at-most-once"
ordered = true

[targets.bad.subscribe]
query = "subscription ($c: String!) {{ event(channel: $c) {{ payload }} }}"
variables = {{ c = "${{channel}}" }}
payload-at = "/data/event/payload"

[targets.bad.publish]
query = "mutation ($c: String!, $p: String!) {{ publish(channel: $c, payload: $p) {{ id }} }}"
variables = {{ c = "${{channel}}", p = "${{payload}}" }}
"#,
            self.url()
        )
    }

    /// The same, with events posted over HTTP.
    pub(crate) fn http_target(&self) -> String {
        format!("{}\n[targets.bad.publish.http]\nurl = \"http://{}/graphql\"\n", self.target(), self.address)
    }

    /// The same, with the server's statistics.
    pub(crate) fn counted_target(&self) -> String {
        format!(
            r#"{}
[targets.bad.statistics]
url = "http://{}/stats"
format = "json"
connections = "/connections"
subscriptions = "/subscriptions"
published = "/published"
delivered = "/delivered"
"#,
            self.target(),
            self.address
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; a second one here would only hide the test's own.
            let _ = thread.join();
        }
    }
}

fn bind(backlog: i32, deaf: bool) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a free port");
    if !deaf {
        socket.listen(backlog).expect("it can listen");
    }
    socket.set_nonblocking(true).expect("it can be polled");
    socket
}

/// Takes the one place that a queue of no length has; it is never accepted.
fn fill(address: SocketAddr) -> StdTcpStream {
    StdTcpStream::connect_timeout(&address, Duration::from_secs(2)).expect("the queue has room for one")
}

/// Takes connections and decides how each is served.
struct Accept {
    address: SocketAddr,
    manner: Manner,
    good: u64,
    publishes: u64,
    /// Keeps the queue full.
    filler: Option<StdTcpStream>,
    hub: Arc<Hub>,
}

impl Accept {
    async fn run(mut self, socket: Socket) {
        if self.manner == Manner::Refuses && self.good == 0 {
            return std::future::pending().await;
        }
        let mut listener = Some(TcpListener::from_std(socket.into()).expect("a listening socket"));
        let mut connections = JoinSet::new();
        for number in 0.. {
            let bad = number >= self.good;
            if bad && self.manner == Manner::Refuses {
                listener = None;
            }
            if bad && self.manner == Manner::Full {
                self.filler.get_or_insert_with(|| fill(self.address));
            }
            let stream = match &listener {
                Some(listener) if self.filler.is_none() => tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection").0,
                    () = self.overfed() => return,
                },
                _ => return self.outlive(connections).await,
            };
            let manner = if bad { self.manner } else { Manner::Good };
            let session = Session { hub: Arc::clone(&self.hub), manner, connection: number };
            // What follows is decided before this one is answered, so that no later connect can slip in.
            connections.spawn(serve(stream, session));
        }
    }

    /// Nothing more is accepted; those that are served stay.
    async fn outlive(&self, mut connections: JoinSet<()>) {
        while connections.join_next().await.is_some() {}
        std::future::pending::<()>().await;
    }

    async fn overfed(&self) {
        while self.hub.published.load(Relaxed) < self.publishes {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn serve(mut stream: TcpStream, session: Session) {
    if session.manner != Manner::Silent && begins_with(&stream, b"GET /stats ").await {
        read_head(&mut stream).await;
        let body = session.statistics();
        let length = body.len();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
        // The client may be gone by now, which is its right.
        let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        return finish(&mut stream).await;
    }
    if session.manner != Manner::Silent && begins_with(&stream, b"POST ").await {
        return session.serve_posts(stream).await;
    }
    let manner = if session.is_shut_out() { Manner::Status(503) } else { session.manner };
    match manner {
        Manner::Silent => drain(&mut stream).await,
        Manner::ClosesUpgrade => {
            read_head(&mut stream).await;
            finish(&mut stream).await;
        }
        Manner::Status(status) => {
            read_head(&mut stream).await;
            let body = "this is not the server you are looking for\n";
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status} No\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
            // The client may be gone by now, which is its right.
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
            finish(&mut stream).await;
        }
        manner => {
            let subprotocol = match manner {
                Manner::Subprotocol(name) => name,
                _ => Some("graphql-transport-ws"),
            };
            if let Some(socket) = upgrade(stream, subprotocol).await {
                session.serve(socket).await;
            }
        }
    }
}

async fn upgrade(
    stream: TcpStream,
    subprotocol: Option<&'static str>,
) -> Option<tokio_tungstenite::WebSocketStream<TcpStream>> {
    #[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
    let choose = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        if let Some(name) = subprotocol {
            let name = name.parse().expect("a header value");
            response.headers_mut().insert("sec-websocket-protocol", name);
        }
        Ok(response)
    };
    accept_hdr_async(stream, choose).await.ok()
}

/// Looks at the first bytes without taking them.
async fn begins_with(stream: &TcpStream, beginning: &[u8]) -> bool {
    let mut seen = [0; 16];
    // A request shorter than this is none of ours; one in pieces does not occur on loopback.
    stream.peek(&mut seen).await.is_ok_and(|n| seen[..n].starts_with(beginning))
}

/// Reads to the end of the request's head: an answer to unread data would arrive as a reset.
pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).to_lowercase()
}

async fn finish(stream: &mut TcpStream) {
    if stream.shutdown().await.is_ok() {
        drain(stream).await;
    }
}

async fn drain(stream: &mut TcpStream) {
    let mut buffer = [0; 1024];
    while let Ok(1..) = stream.read(&mut buffer).await {}
}
