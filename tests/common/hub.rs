//! A tiny server for graphql-transport-ws with channels, correct but for the one [`Manner`] it is given.
//!
//! Misbehaviour after the handshake starts at a subscribe, so that publishing connections stay unharmed.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};

use stressctl::ledger::{Found, Kind, Token, find};

use super::bad::{Instead, Manner, read_head};

/// Deliveries that wait for one connection before its publishers have to wait.
const OUTBOX: usize = 4096;

/// Length that the oversized frame declares.
const OVERSIZED: u64 = 64 << 20;

type Socket = WebSocketStream<TcpStream>;

/// Channels and counts, shared by all connections.
#[derive(Default)]
pub(crate) struct Hub {
    subscriptions: Mutex<HashMap<String, Vec<Subscription>>>,
    pub(crate) published: AtomicU64,
    pub(crate) subscribed: AtomicU64,
    /// Operation ids of subscriptions so far, and how often one came again.
    ids: Mutex<HashSet<String>>,
    pub(crate) reused_ids: AtomicU64,
    /// Pings read, and pongs said in answer.
    pub(crate) pings: AtomicU64,
    pub(crate) pongs: AtomicU64,
    connections: AtomicU64,
    delivered: AtomicU64,
    /// Deliveries of events, wanted or done.
    events: AtomicU64,
    /// Publishes of events.
    asked: AtomicU64,
    /// The highest epoch of an event.
    pub(crate) epoch: AtomicU64,
    /// No connection is accepted any more.
    shut: AtomicBool,
    /// Connections with subscriptions stand still.
    frozen: AtomicBool,
    /// Accept and acknowledge publishes and deliver none.
    pub(crate) mute: AtomicBool,
}

#[derive(Clone)]
struct Subscription {
    connection: u64,
    id: String,
    outbox: Sender<String>,
}

impl Hub {
    fn subscriptions(&self) -> MutexGuard<'_, HashMap<String, Vec<Subscription>>> {
        self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first `deaf` subscriptions of all are counted and forgotten.
    fn subscribe(&self, channel: String, subscription: Subscription, deaf: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        self.reused_ids.fetch_add(u64::from(!ids.insert(subscription.id.clone())), Relaxed);
        drop(ids);
        if self.subscribed.fetch_add(1, Relaxed) >= deaf {
            self.subscriptions().entry(channel).or_default().push(subscription);
        }
    }

    fn has_subscribed(&self, connection: u64) -> bool {
        self.subscriptions().values().flatten().any(|s| s.connection == connection)
    }

    fn unsubscribe(&self, connection: u64, id: Option<&str>) {
        for members in self.subscriptions().values_mut() {
            members.retain(|s| s.connection != connection || id.is_some_and(|id| s.id != id));
        }
    }

    async fn publish(&self, channel: &str, payload: &Value, manner: Manner) {
        self.published.fetch_add(1, Relaxed);
        if self.mute.load(Relaxed) {
            return;
        }
        let members = self.subscriptions().get(channel).cloned().unwrap_or_default();
        let is_event = is_event(payload);
        let length = payload.as_str().map_or(0, str::len);
        for member in members {
            if let Manner::Declines(from, instead) = manner
                && is_event
                && length >= from
            {
                self.decline(&member, instead).await;
                continue;
            }
            let mut payload = payload.clone();
            let number = if is_event { self.events.fetch_add(1, Relaxed) } else { u64::MAX };
            let times = match manner {
                Manner::Drops(first) if number < first => 0,
                Manner::Repeats(first) if number < first => 2,
                Manner::Corrupts(first) if number < first => {
                    corrupt(&mut payload);
                    1
                }
                _ => 1,
            };
            let data = json!({ "data": { "event": { "payload": payload } } });
            let message = json!({ "id": member.id, "type": "next", "payload": data }).to_string();
            for _ in 0..times {
                // A subscriber that is gone is owed nothing.
                let _ = member.outbox.send(message.clone()).await;
                self.delivered.fetch_add(1, Relaxed);
            }
        }
    }

    async fn decline(&self, member: &Subscription, instead: Instead) {
        let errors = json!([{ "message": "too large for me" }]);
        let message = match instead {
            Instead::Error => json!({ "id": member.id, "type": "error", "payload": errors }),
            Instead::Complete => json!({ "id": member.id, "type": "complete" }),
            Instead::Result => {
                json!({ "id": member.id, "type": "next", "payload": { "data": null, "errors": errors } })
            }
        };
        if instead != Instead::Result {
            self.unsubscribe(member.connection, Some(&member.id));
        }
        // A subscriber that is gone is told nothing.
        let _ = member.outbox.send(message.to_string()).await;
    }
}

/// Whether a payload is an event of the load, and no probe.
fn is_event(payload: &Value) -> bool {
    event(payload).is_some()
}

/// The token of an event of the load.
fn event(payload: &Value) -> Option<Token> {
    let intact = |found| match found {
        Found::Intact(token) => Some(token),
        _ => None,
    };
    find(payload.as_str()?).filter_map(intact).find(|token| token.kind == Kind::Event)
}

/// Changes the last byte, which belongs to the filler.
fn corrupt(payload: &mut Value) {
    let text = payload.as_str().unwrap_or_default();
    let (rest, last) = text.split_at(text.len() - 1);
    *payload = json!(format!("{rest}{}", if last == "x" { "y" } else { "x" }));
}

/// Whether a connection goes on after a message.
enum Next {
    Go,
    End,
}

/// What becomes of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Delivered and acknowledged.
    Delivered,
    /// Delivered.
    Unanswered,
    /// Acknowledged.
    Lost,
    /// Neither, and its connection ends.
    Cut,
}

/// One connection, from `connection_init` to its end.
pub(crate) struct Session {
    pub(crate) hub: Arc<Hub>,
    pub(crate) manner: Manner,
    pub(crate) connection: u64,
}

impl Session {
    /// Serves the connection to its end, proper or not.
    pub(crate) async fn serve(self, mut socket: Socket) {
        let (outbox, inbox) = channel(OUTBOX);
        self.hub.connections.fetch_add(1, Relaxed);
        // How a connection ends is for the client to judge.
        let _ = self.exchange(&mut socket, &outbox, inbox).await;
        self.hub.unsubscribe(self.connection, None);
        self.hub.connections.fetch_sub(1, Relaxed);
    }

    /// Publishes what is posted, one request after the other.
    pub(crate) async fn serve_posts(self, mut stream: TcpStream) {
        loop {
            let head = read_head(&mut stream).await;
            let length =
                head.split_once("content-length:").and_then(|(_, rest)| rest.split_whitespace().next());
            let Some(length) = length.and_then(|length| length.parse().ok()) else { return };
            let mut body = vec![0; length];
            if stream.read_exact(&mut body).await.is_err() {
                return;
            }
            let request: Value = serde_json::from_slice(&body).unwrap_or_default();
            let variables = &request["variables"];
            let fate = self.take(&variables["p"]);
            if fate == Fate::Cut {
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            self.hub.publish(variables["c"].as_str().unwrap_or_default(), &variables["p"], self.manner).await;
            if fate == Fate::Cut {
                return;
            }
            let body = json!({ "data": { "publish": { "id": "1" } } }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        }
    }

    /// The server's own counts, as JSON.
    pub(crate) fn statistics(&self) -> String {
        let hub = &self.hub;
        let too_many = u64::from(self.manner == Manner::Miscounts);
        json!({
            "connections": hub.connections.load(Relaxed) + too_many,
            "subscriptions": hub.subscriptions().values().map(Vec::len).sum::<usize>(),
            "published": hub.published.load(Relaxed),
            "delivered": hub.delivered.load(Relaxed),
        })
        .to_string()
    }

    async fn exchange(
        &self,
        socket: &mut Socket,
        outbox: &Sender<String>,
        mut inbox: Receiver<String>,
    ) -> Result<(), Error> {
        loop {
            if self.hub.frozen.load(Relaxed) && self.hub.has_subscribed(self.connection) {
                std::future::pending::<()>().await;
            }
            tokio::select! {
                Some(delivery) = inbox.recv() => socket.send(Message::text(delivery)).await?,
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        let message = serde_json::from_str(&text).unwrap_or_default();
                        if let Next::End = self.answer(socket, outbox, &message).await? {
                            return Ok(());
                        }
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn answer(
        &self,
        socket: &mut Socket,
        outbox: &Sender<String>,
        message: &Value,
    ) -> Result<Next, Error> {
        let id = message["id"].as_str().unwrap_or_default();
        let query = message["payload"]["query"].as_str().unwrap_or_default();
        let variables = &message["payload"]["variables"];
        if message["type"] == "ping" {
            self.hub.pings.fetch_add(1, Relaxed);
        }
        match message["type"].as_str() {
            Some("connection_init") => return self.init(socket).await,
            Some("ping") if matches!(self.manner, Manner::NeverPongs | Manner::DeafToTheEnd) => {}
            Some("complete") if self.manner.is_deaf() => {}
            Some("ping") => {
                if let Manner::PongsLate(by) = self.manner {
                    tokio::time::sleep(by).await;
                }
                self.hub.pongs.fetch_add(1, Relaxed);
                say(socket, &json!({ "type": "pong" })).await?;
            }
            Some("complete") => self.hub.unsubscribe(self.connection, Some(id)),
            Some("subscribe") if query.trim_start().starts_with("mutation") => {
                let fate = self.take(&variables["p"]);
                if matches!(fate, Fate::Delivered | Fate::Unanswered) {
                    let channel = variables["c"].as_str().unwrap_or_default();
                    self.hub.publish(channel, &variables["p"], self.manner).await;
                }
                match fate {
                    Fate::Delivered | Fate::Lost => {}
                    Fate::Unanswered => return Ok(Next::Go),
                    Fate::Cut => return Ok(Next::End),
                }
                let data = json!({ "data": { "publish": { "id": "1" } } });
                say(socket, &json!({ "id": id, "type": "next", "payload": data })).await?;
                say(socket, &json!({ "id": id, "type": "complete" })).await?;
            }
            Some("subscribe") => {
                if !matches!(self.manner, Manner::NeverDelivers) {
                    let channel = variables["c"].as_str().unwrap_or_default().to_owned();
                    let connection = self.connection;
                    let subscription = Subscription { connection, id: id.to_owned(), outbox: outbox.clone() };
                    let deaf = if let Manner::Deaf(first) = self.manner { first } else { 0 };
                    self.hub.subscribe(channel, subscription, deaf);
                }
                return self.subscribed(socket).await;
            }
            _ => {}
        }
        Ok(Next::Go)
    }

    /// Decides what becomes of a publish.
    fn take(&self, payload: &Value) -> Fate {
        let Some(token) = event(payload) else { return Fate::Delivered };
        self.hub.epoch.fetch_max(token.epoch.into(), Relaxed);
        let number = self.hub.asked.fetch_add(1, Relaxed);
        match self.manner {
            Manner::Unanswering(first) if number < first => Fate::Unanswered,
            Manner::Loses(n) if number == n => Fate::Lost,
            Manner::GoesMute(n) => {
                self.hub.mute.store(number >= n, Relaxed);
                Fate::Delivered
            }
            Manner::LosesAndCuts(n) if number + 5 == n => Fate::Lost,
            Manner::Freezes(n) => {
                self.hub.frozen.store(number >= n, Relaxed);
                Fate::Delivered
            }
            Manner::CutsPublisher(n) | Manner::LosesAndCuts(n) | Manner::Dawdles(n) if number == n => {
                Fate::Cut
            }
            Manner::ShutsOut(n) if number == n => {
                self.hub.shut.store(true, Relaxed);
                Fate::Cut
            }
            _ => Fate::Delivered,
        }
    }

    /// Whether its connection is refused because of what happened on another.
    pub(crate) fn is_shut_out(&self) -> bool {
        self.hub.shut.load(Relaxed)
    }

    /// What follows `connection_init`.
    async fn init(&self, socket: &mut Socket) -> Result<Next, Error> {
        match self.manner {
            Manner::NeverAcks => {}
            Manner::GarbageForAck => socket.send(Message::text("{\"type\":\"connection_")).await?,
            Manner::ClosesInit { code, reason } => return close(socket, code, reason).await,
            Manner::DropsInit => return drop_politely(socket).await,
            Manner::AcksLate => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                say(socket, &json!({ "type": "connection_ack" })).await?;
            }
            _ => say(socket, &json!({ "type": "connection_ack" })).await?,
        }
        Ok(Next::Go)
    }

    /// What follows a subscription.
    async fn subscribed(&self, socket: &mut Socket) -> Result<Next, Error> {
        match self.manner {
            Manner::Chatty => say(socket, &json!({ "type": "pong" })).await?,
            Manner::ClosesOpen { code, reason } => return close(socket, code, reason).await,
            Manner::KeepsTcp(code) => {
                let [high, low] = code.to_be_bytes();
                socket.get_mut().write_all(&[0x88, 2, high, low]).await?;
                tokio::time::sleep(Duration::from_secs(20)).await;
                return Ok(Next::End);
            }
            Manner::DropsOpen => return drop_politely(socket).await,
            Manner::ResetsOpen => {
                socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO))?;
                return Ok(Next::End);
            }
            Manner::Oversized => {
                let mut frame = vec![0x81, 127];
                frame.extend_from_slice(&OVERSIZED.to_be_bytes());
                frame.extend_from_slice(br#"{"id":"#);
                socket.get_mut().write_all(&frame).await?;
            }
            Manner::InvalidUtf8 => {
                socket.get_mut().write_all(b"\x81\x06{\"\xc3\x28\"}").await?;
            }
            Manner::GarbageMessage => socket.send(Message::text("\u{0}not json")).await?,
            _ => {}
        }
        Ok(Next::Go)
    }
}

async fn say(socket: &mut Socket, message: &Value) -> Result<(), Error> {
    socket.send(Message::text(message.to_string())).await
}

/// Closes as the protocol says, and waits for the answer.
async fn close(socket: &mut Socket, code: u16, reason: &str) -> Result<Next, Error> {
    socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(Next::End)
}

/// Ends the TCP stream in order, without a word on the WebSocket.
async fn drop_politely(socket: &mut Socket) -> Result<Next, Error> {
    socket.get_mut().shutdown().await?;
    while let Some(Ok(_)) = socket.next().await {}
    Ok(Next::End)
}
