//! From nothing to `connection_ack`, stage by stage, each timed and bounded.
//!
//! Used by the preflight, by subscribers and by publishers. It knows nothing about subscriptions.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::failure::{Failure, Reason, Stage};
use super::stream::Stream;
use super::turnstile::Turnstile;
use super::upgrade::{request_upgrade, upgrade};
use crate::care::Secret;
use crate::clock;
use crate::inject::{Control, Link};
use crate::protocol::graphql_transport_ws::{Dialect, Message as Said, SUBPROTOCOL, close_code_name};
use crate::scenarios::plan::{HandshakePoint, Timeouts};

/// A WebSocket over one of our streams.
pub type Socket = WebSocketStream<Stream>;

/// Where and how to connect; shared by every connection of a run.
#[derive(Clone)]
pub struct Endpoint {
    /// The target's URL.
    pub url: http::Uri,
    /// The resolved and permitted addresses; the first is used.
    pub addresses: Vec<SocketAddr>,
    /// Headers of the upgrade request.
    pub headers: Vec<(http::HeaderName, Secret)>,
    /// How to speak.
    pub dialect: Arc<Dialect>,
    /// Library limits.
    pub config: WebSocketConfig,
    /// For `wss`.
    pub tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Bounds.
    pub timeouts: Timeouts,
    /// Secrets that must not appear in any text.
    pub secrets: Arc<crate::care::Secrets>,
}

/// How long each stage took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// TCP handshake.
    pub tcp: Duration,
    /// TLS handshake, where there was one.
    pub tls: Option<Duration>,
    /// HTTP upgrade.
    pub upgrade: Duration,
    /// `connection_init` to `connection_ack`.
    pub init: Duration,
}

impl Stages {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.tcp + self.tls.unwrap_or_default() + self.upgrade + self.init
    }
}

/// A failure with what the server said, made harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its name.
    pub failure: Failure,
    /// The server's own words, or the operating system's; may be empty.
    pub text: String,
}

/// Library limits by expected payload; the sizes are measured: at the default of 128 KiB, 10,000 idle connections
/// take 1.3 GB and every message zeroes the whole buffer before it is read.
#[must_use]
pub fn config_for(largest_payload: usize) -> WebSocketConfig {
    let read = match largest_payload {
        0..=4_096 => 4 << 10,
        4_097..=65_536 => 16 << 10,
        _ => 128 << 10,
    };
    let limit = largest_payload * 2 + (64 << 10);
    WebSocketConfig::default()
        .read_buffer_size(read)
        .write_buffer_size(16 << 10)
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit))
}

/// What faults make of one attempt to connect.
#[derive(Debug, Default)]
pub struct Opening {
    /// What the link is told to do, if a fault may ever act on it.
    pub control: Option<Rc<Control>>,
    /// Where the attempt ends.
    pub abort: Option<HandshakePoint>,
    /// What is asked for the socket's receive buffer, in bytes; `None`: what the system gives.
    pub receive_buffer: Option<u32>,
    /// Where large messages may come: how many of them are read at a time.
    pub turnstile: Option<Rc<Turnstile>>,
}

impl Endpoint {
    /// Opens one TCP (or TLS) connection.
    ///
    /// # Errors
    /// `tcp.*`, `tls.*` or `local.*`.
    pub async fn dial(&self, opening: &Opening, stages: &mut Stages) -> Result<Stream, Refusal> {
        let began = clock::now();
        let tcp =
            match timeout(self.timeouts.connect, connect(self.addresses[0], opening.receive_buffer)).await {
                Err(_) => return Err(refuse(Stage::Tcp, Reason::Timeout)),
                Ok(Err(e)) => return Err(self.refuse_io(Stage::Tcp, &e)),
                Ok(Ok(tcp)) => tcp,
            };
        // On loopback a connect to a free ephemeral port can meet itself.
        if tcp.local_addr().ok() == Some(self.addresses[0]) {
            return Err(refuse(Stage::Tcp, Reason::SelfConnect));
        }
        stages.tcp = began.elapsed();
        if opening.abort == Some(HandshakePoint::Connect) {
            return Err(abort(&tcp, Stage::Tcp));
        }
        let link = match &opening.control {
            None => Link::plain(tcp),
            Some(control) => Link::under(tcp, Rc::clone(control)),
        };
        let Some((connector, name)) = &self.tls else { return Ok(Stream::Plain(link)) };
        let began = clock::now();
        match timeout(self.timeouts.connect, Box::pin(connector.connect(name.clone(), link))).await {
            Err(_) => Err(refuse(Stage::Tls, Reason::Timeout)),
            Ok(Err(e)) => Err(self.refuse_io(Stage::Tls, &e)),
            Ok(Ok(tls)) => {
                stages.tls = Some(began.elapsed());
                Ok(Stream::Tls(Box::new(tls)))
            }
        }
    }

    /// Goes all the way to `connection_ack`.
    ///
    /// # Errors
    /// The stage that failed, and why.
    pub async fn open(&self) -> Result<(Socket, Stages), Refusal> {
        self.open_as(&Opening::default()).await
    }

    /// The same under faults.
    ///
    /// # Errors
    /// The stage that failed, and why; `*.injected` where it was ended as planned.
    pub async fn open_as(&self, opening: &Opening) -> Result<(Socket, Stages), Refusal> {
        let mut stages = Stages::default();
        let stream = self.dial(opening, &mut stages).await?;
        let began = clock::now();
        let ends = opening.abort == Some(HandshakePoint::Upgrade);
        let mut socket =
            match timeout(self.timeouts.upgrade, self.upgrade(stream, opening.turnstile.clone(), ends)).await
            {
                Err(_) => return Err(refuse(Stage::Upgrade, Reason::Timeout)),
                Ok(upgraded) => upgraded?,
            };
        stages.upgrade = began.elapsed();
        let began = clock::now();
        let ends = opening.abort == Some(HandshakePoint::Init);
        match timeout(self.timeouts.init, self.init(&mut socket, ends)).await {
            Err(_) => return Err(refuse(Stage::Init, Reason::Timeout)),
            Ok(acknowledged) => acknowledged?,
        }
        stages.init = began.elapsed();
        Ok((socket, stages))
    }

    async fn upgrade(
        &self,
        mut stream: Stream,
        turnstile: Option<Rc<Turnstile>>,
        ends: bool,
    ) -> Result<Socket, Refusal> {
        let failed = |e: &WsError| self.refuse_ws(Stage::Upgrade, e);
        let mut request = (&self.url).into_client_request().map_err(|e| failed(&e))?;
        let headers = request.headers_mut();
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        for (name, value) in &self.headers {
            let value = HeaderValue::from_str(value.reveal()).map_err(|e| failed(&e.into()))?;
            headers.insert(name.clone(), value);
        }
        if ends {
            request_upgrade(&mut stream, request).await.map_err(|e| failed(&e))?;
            // A reset takes along what a link still keeps, and then it would have ended before it began.
            stream.sent().await.map_err(|e| failed(&e.into()))?;
            return Err(abort(stream.tcp(), Stage::Upgrade));
        }
        let (socket, headers) =
            upgrade(stream, request, self.config, turnstile).await.map_err(|e| failed(&e))?;
        let chosen = headers.get(http::header::SEC_WEBSOCKET_PROTOCOL);
        if chosen.map(HeaderValue::as_bytes) == Some(SUBPROTOCOL.as_bytes()) {
            Ok(socket)
        } else {
            Err(refuse(Stage::Upgrade, Reason::Subprotocol))
        }
    }

    async fn init(&self, socket: &mut Socket, ends: bool) -> Result<(), Refusal> {
        let failed = |e: &WsError| self.refuse_ws(Stage::Init, e);
        let mut text = String::new();
        self.dialect.connection_init(&mut text);
        socket.send(Message::text(text)).await.map_err(|e| failed(&e))?;
        if ends {
            socket.get_mut().sent().await.map_err(|e| failed(&e.into()))?;
            return Err(abort(socket.get_ref().tcp(), Stage::Init));
        }
        loop {
            match socket.next().await {
                None => return Err(refuse(Stage::Init, Reason::Closed)),
                Some(Err(e)) => return Err(failed(&e)),
                Some(Ok(Message::Close(frame))) => {
                    return Err(self.refuse_close(Stage::Init, frame.as_ref()));
                }
                Some(Ok(Message::Text(text))) => match self.dialect.decode(&text) {
                    Ok(Said::Ack) => return Ok(()),
                    Ok(Said::Ping { payload }) => {
                        let mut reply = String::new();
                        self.dialect.pong(payload, &mut reply);
                        socket.send(Message::text(reply)).await.map_err(|e| failed(&e))?;
                    }
                    Ok(Said::Pong { .. }) => {}
                    Ok(_) | Err(_) => {
                        return Err(Refusal {
                            failure: Failure::new(Stage::Init, Reason::InvalidMessage),
                            text: self.foreign(&text),
                        });
                    }
                },
                Some(Ok(Message::Binary(_))) => return Err(refuse(Stage::Init, Reason::InvalidMessage)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            }
        }
    }

    /// What a close frame means, and what the server said in it or else what its code stands for.
    #[must_use]
    pub fn refuse_close(&self, stage: Stage, frame: Option<&CloseFrame>) -> Refusal {
        let Some(frame) = frame else { return refuse(stage, Reason::Closed) };
        let code = u16::from(frame.code);
        let said = if frame.reason.is_empty() { close_code_name(code) } else { frame.reason.as_str() };
        Refusal { failure: Failure::new(stage, Reason::CloseCode(code)), text: self.foreign(said) }
    }

    /// Text that somebody else wrote, made harmless.
    #[must_use]
    pub fn foreign(&self, text: &str) -> String {
        crate::care::foreign(text, &self.secrets)
    }

    fn refuse_io(&self, stage: Stage, error: &std::io::Error) -> Refusal {
        Refusal { failure: Failure::from_io(stage, error), text: self.foreign(&error.to_string()) }
    }

    /// Names a library error at a stage, with its text made harmless.
    #[must_use]
    pub fn refuse_ws(&self, stage: Stage, error: &WsError) -> Refusal {
        let text = match error {
            WsError::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                format!("{} {}", response.status(), String::from_utf8_lossy(&body[..body.len().min(400)]))
            }
            other => other.to_string(),
        };
        Refusal { failure: Failure::from_ws(stage, error), text: self.foreign(&text) }
    }
}

/// Has a connection end in a reset once it is dropped, as a fault of ours wants it.
fn abort(tcp: &TcpStream, stage: Stage) -> Refusal {
    let lingers = SockRef::from(tcp).set_linger(Some(Duration::ZERO));
    debug_assert!(lingers.is_ok(), "{lingers:?}");
    refuse(stage, Reason::Injected)
}

fn refuse(stage: Stage, reason: Reason) -> Refusal {
    Refusal { failure: Failure::new(stage, reason), text: String::new() }
}

async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(bytes) = receive_buffer {
        // Before connect: what the peer may send is agreed upon in the handshake.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect(address).await
}
