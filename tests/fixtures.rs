//! The servers that stressctl is tested against, tested: each is bad in the way it says and in no other.

mod common;

use std::time::Duration;

use common::bad::{Manner, Server};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const SOON: Duration = Duration::from_secs(2);
const NEVER: Duration = Duration::from_millis(300);

async fn connect(server: &Server) -> Result<Socket, Error> {
    let mut request = server.url().into_client_request()?;
    let protocol = "graphql-transport-ws".parse().expect("a header value");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    timeout(SOON, connect_async(request)).await.expect("an answer in time").map(|(socket, _)| socket)
}

async fn say(socket: &mut Socket, message: Value) {
    socket.send(Message::text(message.to_string())).await.expect("the server reads");
}

async fn hear(socket: &mut Socket) -> Option<Result<Message, Error>> {
    timeout(SOON, socket.next()).await.expect("an answer in time")
}

async fn hear_json(socket: &mut Socket) -> Value {
    match hear(socket).await {
        Some(Ok(Message::Text(text))) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("not a text: {other:?}"),
    }
}

async fn acknowledged(server: &Server) -> Socket {
    let mut socket = connect(server).await.expect("an upgrade");
    say(&mut socket, json!({ "type": "connection_init" })).await;
    assert_eq!(hear_json(&mut socket).await, json!({ "type": "connection_ack" }));
    socket
}

async fn subscribe(socket: &mut Socket, channel: &str) {
    let payload = json!({ "query": "subscription …", "variables": { "c": channel } });
    say(socket, json!({ "id": "s", "type": "subscribe", "payload": payload })).await;
}

async fn publish(socket: &mut Socket, channel: &str, text: &str) {
    let payload = json!({ "query": "mutation …", "variables": { "c": channel, "p": text } });
    say(socket, json!({ "id": "m", "type": "subscribe", "payload": payload })).await;
    let data = json!({ "data": { "publish": { "id": "1" } } });
    assert_eq!(hear_json(socket).await, json!({ "id": "m", "type": "next", "payload": data }));
    assert_eq!(hear_json(socket).await, json!({ "id": "m", "type": "complete" }));
}

/// What a client sees after its subscribe, on a connection whose handshake went well.
async fn after_subscribe(manner: Manner) -> Option<Result<Message, Error>> {
    let server = Server::bad_after_preflight(manner);
    drop(acknowledged(&server).await);
    let mut socket = acknowledged(&server).await;
    subscribe(&mut socket, "a").await;
    hear(&mut socket).await
}

/// What a client sees after `connection_init`.
async fn after_init(manner: Manner) -> Option<Result<Message, Error>> {
    let server = Server::bad(manner);
    let mut socket = connect(&server).await.expect("an upgrade");
    say(&mut socket, json!({ "type": "connection_init" })).await;
    hear(&mut socket).await
}

#[tokio::test]
async fn the_good_one_delivers_to_those_who_subscribed_and_to_no_other() {
    let server = Server::good();
    let (mut a, mut b, mut publisher) =
        (acknowledged(&server).await, acknowledged(&server).await, acknowledged(&server).await);
    subscribe(&mut a, "a").await;
    subscribe(&mut b, "b").await;
    common::binary::wait_until("both subscribed", SOON, || server.subscribed() == 2);
    publish(&mut publisher, "a", "hello").await;

    let data = json!({ "data": { "event": { "payload": "hello" } } });
    assert_eq!(hear_json(&mut a).await, json!({ "id": "s", "type": "next", "payload": data }));
    assert!(timeout(NEVER, b.next()).await.is_err());

    say(&mut a, json!({ "id": "s", "type": "complete" })).await;
    say(&mut a, json!({ "type": "ping" })).await;
    assert_eq!(hear_json(&mut a).await, json!({ "type": "pong" }));
    server.mute();
    publish(&mut publisher, "b", "unheard").await;
    assert!(timeout(NEVER, b.next()).await.is_err());
    assert_eq!(server.published(), 2);
}

#[tokio::test]
async fn the_mortal_one_is_gone_after_its_last_publish() {
    let server = Server::mortal(2);
    let mut socket = acknowledged(&server).await;
    publish(&mut socket, "a", "first").await;
    let payload = json!({ "query": "mutation …", "variables": { "c": "a", "p": "last" } });
    say(&mut socket, json!({ "id": "m", "type": "subscribe", "payload": payload })).await;
    while let Some(Ok(_)) = hear(&mut socket).await {}
    assert!(matches!(connect(&server).await, Err(Error::Io(_))));
}

#[tokio::test]
async fn connects_are_refused_or_ignored() {
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    let server = Server::bad(Manner::Refuses);
    assert!(matches!(connect(&server).await, Err(Error::Io(error)) if refused(&error)));
    let server = Server::bad(Manner::Full);
    let ignored = std::net::TcpStream::connect_timeout(&server.address(), NEVER);
    assert!(matches!(ignored, Err(error) if error.kind() == std::io::ErrorKind::TimedOut));

    for manner in [Manner::Refuses, Manner::Full] {
        let server = Server::bad_after_preflight(manner);
        let mut preflight = acknowledged(&server).await;
        let second = timeout(NEVER, TcpStream::connect(server.address())).await;
        match manner {
            Manner::Refuses => assert!(matches!(second, Ok(Err(error)) if refused(&error))),
            _ => assert!(second.is_err()),
        }
        say(&mut preflight, json!({ "type": "ping" })).await;
        assert_eq!(hear_json(&mut preflight).await, json!({ "type": "pong" }));
    }
}

#[tokio::test]
async fn upgrades_are_answered_otherwise() {
    for status in [404, 429, 503] {
        let server = Server::bad(Manner::Status(status));
        let answer = connect(&server).await;
        assert!(matches!(answer, Err(Error::Http(response)) if response.status() == status));
    }
    let silent = Server::bad(Manner::Silent);
    let request = silent.url().into_client_request().expect("a URL");
    assert!(timeout(NEVER, connect_async(request)).await.is_err());

    let closing = Server::bad(Manner::ClosesUpgrade);
    assert!(matches!(connect(&closing).await, Err(Error::Protocol(ProtocolError::HandshakeIncomplete))));
    for name in [None, Some("graphql-ws")] {
        let server = Server::bad(Manner::Subprotocol(name));
        assert!(matches!(
            connect(&server).await,
            Err(Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)))
        ));
    }
}

#[tokio::test]
async fn init_is_answered_otherwise() {
    let server = Server::bad(Manner::NeverAcks);
    let mut socket = connect(&server).await.expect("an upgrade");
    say(&mut socket, json!({ "type": "connection_init" })).await;
    assert!(timeout(NEVER, socket.next()).await.is_err());

    let garbage = after_init(Manner::GarbageForAck).await;
    assert!(
        matches!(garbage, Some(Ok(Message::Text(text))) if serde_json::from_str::<Value>(&text).is_err())
    );
    let closed = after_init(Manner::ClosesInit { code: 4400, reason: "no" }).await;
    assert!(matches!(closed, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4400));
    let dropped = after_init(Manner::DropsInit).await;
    assert!(matches!(dropped, Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))));
}

#[tokio::test]
async fn subscribe_is_answered_otherwise() {
    let closed = after_subscribe(Manner::ClosesOpen { code: 4403, reason: "no" }).await;
    assert!(matches!(closed, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 4403));
    let dropped = after_subscribe(Manner::DropsOpen).await;
    assert!(matches!(dropped, Some(Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)))));
    let reset = after_subscribe(Manner::ResetsOpen).await;
    assert!(
        matches!(&reset, Some(Err(Error::Io(error))) if error.kind() == std::io::ErrorKind::ConnectionReset),
        "{reset:?}"
    );
    let oversized = after_subscribe(Manner::Oversized).await;
    assert!(
        matches!(oversized, Some(Err(Error::Capacity(CapacityError::MessageTooLong { .. })))),
        "{oversized:?}"
    );
    let invalid = after_subscribe(Manner::InvalidUtf8).await;
    assert!(matches!(invalid, Some(Err(Error::Utf8(_)))), "{invalid:?}");
    let garbage = after_subscribe(Manner::GarbageMessage).await;
    assert!(
        matches!(garbage, Some(Ok(Message::Text(text))) if serde_json::from_str::<Value>(&text).is_err())
    );
}

#[tokio::test]
async fn the_one_that_never_delivers_acknowledges_publishes() {
    let server = Server::bad(Manner::NeverDelivers);
    let mut socket = acknowledged(&server).await;
    subscribe(&mut socket, "a").await;
    publish(&mut socket, "a", "unheard").await;
    assert!(timeout(NEVER, socket.next()).await.is_err());
}
