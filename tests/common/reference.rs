//! The reference server in the test's own process, and a plain client for it that sees every message.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use stressctl::server::{ServeOptions, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn options() -> ServeOptions {
    ServeOptions { listen: "127.0.0.1:0".parse().unwrap(), ..ServeOptions::default() }
}

/// Runs `test` beside a server; the server is stopped when the test ends.
pub(crate) fn with_server<F: Future<Output = ()>>(
    options: &ServeOptions,
    test: impl FnOnce(SocketAddr) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::bind(options).await.unwrap();
        let addr = server.local_addr();
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let test = async {
            tokio::time::timeout(3 * PATIENCE, test(addr)).await.expect("the test ends in time");
            drop(done);
        };
        tokio::join!(test, server.run(async { drop(stop.await) }));
    });
}

pub(crate) struct Client(pub(crate) WebSocketStream<TcpStream>);

impl Client {
    /// Connects without saying anything.
    pub(crate) async fn silent(addr: SocketAddr) -> Self {
        Self::offering(addr, Some("graphql-transport-ws")).await.unwrap()
    }

    pub(crate) async fn offering(addr: SocketAddr, subprotocol: Option<&'static str>) -> Result<Self, Error> {
        let mut request = format!("ws://{addr}/any/path").into_client_request().unwrap();
        if let Some(subprotocol) = subprotocol {
            request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(subprotocol));
        }
        let stream = TcpStream::connect(addr).await.unwrap();
        let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
        Ok(Self(client_async_with_config(request, stream, Some(config)).await?.0))
    }

    /// Connects and is acknowledged.
    pub(crate) async fn new(addr: SocketAddr) -> Self {
        let mut client = Self::silent(addr).await;
        client.send(json!({ "type": "connection_init", "payload": {} })).await;
        assert_eq!(client.next().await, json!({ "type": "connection_ack" }));
        client
    }

    pub(crate) async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    pub(crate) async fn message(&mut self) -> Result<Message, Error> {
        let next = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("a message in time");
        next.unwrap_or(Err(Error::ConnectionClosed))
    }

    pub(crate) async fn next(&mut self) -> Value {
        match self.message().await.unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, id: &str, channel: &str) {
        self.send(operation(id, "subscription($channel: String!) { event }", json!({ "channel": channel })))
            .await;
    }

    /// Publishes and returns the event's number.
    pub(crate) async fn publish(&mut self, channel: &str, payload: &str) -> u64 {
        let variables = json!({ "channel": channel, "payload": payload });
        self.send(operation("p", "mutation { publish }", variables)).await;
        let next = self.next().await;
        assert_eq!((&next["id"], &next["type"]), (&json!("p"), &json!("next")), "{next}");
        assert_eq!(self.next().await, json!({ "id": "p", "type": "complete" }));
        next["payload"]["data"]["publish"]["seq"].as_u64().unwrap()
    }

    /// Returns once everything sent before has been handled.
    pub(crate) async fn settle(&mut self) {
        self.send(json!({ "type": "ping" })).await;
        assert_eq!(self.next().await, json!({ "type": "pong" }));
    }

    /// The close code and reason with which the server ends the connection.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.message().await.unwrap() {
                Message::Close(Some(frame)) => {
                    let code = (frame.code.into(), frame.reason.to_string());
                    assert!(matches!(self.message().await, Err(Error::ConnectionClosed)));
                    return code;
                }
                Message::Close(None) => panic!("a close without a code"),
                _ => {}
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "callers write it as a literal")]
pub(crate) fn operation(id: &str, query: &str, variables: Value) -> Value {
    json!({ "id": id, "type": "subscribe", "payload": { "query": query, "variables": variables } })
}

pub(crate) fn event(id: &str, payload: &str) -> Value {
    json!({ "id": id, "type": "next", "payload": { "data": { "event": { "payload": payload } } } })
}

/// Sends raw HTTP and reads to the end; the request has to ask for the connection to be closed.
pub(crate) async fn http(addr: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status =
        answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer}"));
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub(crate) async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    http(addr, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await
}

pub(crate) fn post(body: &str, connection: &str) -> String {
    format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) async fn stats(addr: SocketAddr) -> Value {
    let (status, body) = get(addr, "/stats").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

/// Waits until `/stats` has these values, or fails with what it has.
pub(crate) async fn stats_become(addr: SocketAddr, expected: Value) {
    let mut last = Value::Null;
    for _ in 0..200 {
        last = stats(addr).await;
        if expected.as_object().unwrap().iter().all(|(key, value)| &last[key] == value) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("expected {expected}, have {last}");
}
