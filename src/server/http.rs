//! What comes before (or instead of) a WebSocket: a few HTTP/1.1 requests on the same port.
//!
//! Bodies need a `content-length`; chunked ones are refused. A request from a web page (it has an `Origin`) is
//! refused, so that no page a developer happens to visit can talk to a server on that developer's machine.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::io;

use http::{HeaderValue, Method, StatusCode, header};
use tokio_tungstenite::tungstenite::handshake::server::{create_response, write_response};

use super::conn::{Conn, Fate, Stage};
use super::fanout;
use super::hub::{Guest, Hub};
use super::message::{self, Operation};
use super::request::Head;

/// The subprotocol a client has to offer.
const SUBPROTOCOL: &str = "graphql-transport-ws";

/// Longest request line and headers together.
const MAX_HEAD: usize = 16 << 10;

/// A connection that has become a WebSocket.
pub(crate) struct Upgraded {
    /// What the client sent behind its request.
    pub(crate) tail: Vec<u8>,
    /// Whether it offered our subprotocol.
    pub(crate) acceptable: bool,
}

/// An answer, ready to be written.
struct Answer {
    status: StatusCode,
    content_type: &'static str,
    body: String,
}

/// Answers requests until the connection upgrades (`Some`) or ends (`None`).
pub(crate) async fn attend(guest: &Guest) -> Option<Upgraded> {
    let (hub, conn) = (&*guest.hub, &*guest.conn);
    let mut input = Vec::with_capacity(1024);
    loop {
        let (head, size) = match read_head(conn, &mut input).await {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(status) => {
                write_answer(hub, conn, &Answer::text(status), false).await.ok()?;
                return None;
            }
        };
        input.drain(..size);
        if head.headers.contains_key(header::ORIGIN) {
            write_answer(hub, conn, &Answer::text(StatusCode::FORBIDDEN), false).await.ok()?;
            return None;
        }
        if head.headers.contains_key(header::UPGRADE) {
            return upgrade(hub, conn, &head, input).await;
        }
        let answer = match read_body(hub, conn, &head, &mut input).await {
            Ok(body) => route(hub, &head, &body),
            Err(status) => Answer::text(status),
        };
        // After a body that was not read, the next request cannot be found.
        let keep = head.keep_alive() && !answer.leaves_body();
        write_answer(hub, conn, &answer, keep).await.ok()?;
        if !keep {
            return None;
        }
        conn.enter(Stage::KeptAlive);
    }
}

/// Reads until `input` begins with a whole head; `None` when the client has gone.
async fn read_head(conn: &Conn, input: &mut Vec<u8>) -> Result<Option<(Head, usize)>, StatusCode> {
    loop {
        if let Some(found) = Head::parse(input)? {
            return Ok(Some(found));
        }
        if input.len() >= MAX_HEAD {
            return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        match read_more(conn, input, MAX_HEAD).await {
            Ok(n) if n > 0 => {}
            _ => return Ok(None),
        }
    }
}

/// Takes the body of a request off `input`, reading what is missing of it.
async fn read_body(hub: &Hub, conn: &Conn, head: &Head, input: &mut Vec<u8>) -> Result<Vec<u8>, StatusCode> {
    if head.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(StatusCode::LENGTH_REQUIRED);
    }
    let length = match head.headers.get(header::CONTENT_LENGTH) {
        None => return Ok(Vec::new()),
        Some(value) => value.to_str().ok().and_then(|text| text.parse::<usize>().ok()),
    };
    let length = length.ok_or(StatusCode::BAD_REQUEST)?;
    if length > hub.options.max_message.0 {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    if head.has(header::EXPECT, "100-continue") && input.len() < length {
        conn.queue(b"HTTP/1.1 100 Continue\r\n\r\n");
        flush(hub, conn).await.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
    }
    while input.len() < length {
        match read_more(conn, input, length).await {
            Ok(n) if n > 0 => conn.renew(),
            _ => return Err(StatusCode::REQUEST_TIMEOUT),
        }
    }
    let rest = input.split_off(length);
    Ok(std::mem::replace(input, rest))
}

/// Reads once, up to a total of `most` bytes; 0 is the end.
async fn read_more(conn: &Conn, input: &mut Vec<u8>, most: usize) -> io::Result<usize> {
    let before = input.len();
    let room = (most - before).clamp(1, before.max(1024));
    input.resize(before + room, 0);
    let result = poll_fn(|cx| {
        conn.watch(cx);
        loop {
            if conn.fate() != Fate::Live {
                return std::task::Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            match conn.read(&mut input[before..]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::task::ready!(conn.poll_readable(cx))?;
                }
                result => return std::task::Poll::Ready(result),
            }
        }
    })
    .await;
    input.truncate(before + result.as_ref().copied().unwrap_or(0));
    result
}

async fn flush(hub: &Hub, conn: &Conn) -> io::Result<()> {
    poll_fn(|cx| {
        conn.watch(cx);
        if conn.fate() != Fate::Live {
            return std::task::Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        conn.poll_flush(cx, hub)
    })
    .await
}

async fn upgrade(hub: &Hub, conn: &Conn, head: &Head, tail: Vec<u8>) -> Option<Upgraded> {
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.headers_mut() = head.headers.clone();
    if head.old {
        *request.version_mut() = http::Version::HTTP_10;
    }
    let Ok(mut response) = create_response(&request) else {
        write_answer(hub, conn, &Answer::text(StatusCode::BAD_REQUEST), false).await.ok()?;
        return None;
    };
    let acceptable = head.has(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL);
    if acceptable {
        let value = HeaderValue::from_static(SUBPROTOCOL);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let mut bytes = Vec::with_capacity(256);
    write_response(&mut bytes, &response).ok()?;
    conn.queue(&bytes);
    flush(hub, conn).await.ok()?;
    Some(Upgraded { tail, acceptable })
}

fn route(hub: &Hub, head: &Head, body: &[u8]) -> Answer {
    match (head.uri.path(), &head.method) {
        ("/stats", &Method::GET) => Answer::json(StatusCode::OK, hub.snapshot().json()),
        ("/closings", &Method::GET) => Answer::json(StatusCode::OK, hub.closings.json()),
        ("/defects", &Method::GET) => Answer::json(StatusCode::OK, defects(hub)),
        ("/metrics", &Method::GET) => Answer {
            status: StatusCode::OK,
            content_type: "text/plain; version=0.0.4; charset=utf-8",
            body: hub.snapshot().prometheus(),
        },
        ("/graphql", &Method::POST) => publish(hub, head, body),
        ("/graphql", &Method::GET) => Answer::text(StatusCode::UPGRADE_REQUIRED),
        ("/stats" | "/closings" | "/defects" | "/metrics" | "/graphql", _) => {
            Answer::text(StatusCode::METHOD_NOT_ALLOWED)
        }
        _ => Answer::text(StatusCode::NOT_FOUND),
    }
}

/// What was done wrong on purpose.
fn defects(hub: &Hub) -> String {
    hub.defects.as_ref().map_or_else(|| "[]".into(), |defects| defects.truth())
}

fn publish(hub: &Hub, head: &Head, body: &[u8]) -> Answer {
    // Anything else can be sent by a form in a web page without being asked about first.
    if !head.has(header::CONTENT_TYPE, "application/json") {
        return Answer::text(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    let Ok(request) = serde_json::from_slice::<message::Request<'_>>(body) else {
        return Answer::error("the body is not a GraphQL request in JSON");
    };
    match message::operation(&request) {
        Ok(Operation::Publish { channel, payload }) => {
            let (seq, _) = fanout::publish(hub, &channel, payload);
            if hub.defects.as_ref().is_some_and(|defects| defects.withholds_ack()) {
                return Answer::text(StatusCode::INTERNAL_SERVER_ERROR);
            }
            Answer::json(StatusCode::OK, format!(r#"{{"data":{{"publish":{{"seq":{seq}}}}}}}"#))
        }
        Ok(Operation::Subscribe { .. }) => Answer::error("subscriptions need a WebSocket"),
        Err(reason) => Answer::error(reason),
    }
}

async fn write_answer(hub: &Hub, conn: &Conn, answer: &Answer, keep: bool) -> io::Result<()> {
    conn.life.answered();
    let Answer { status, content_type, body } = answer;
    let connection = if keep { "keep-alive" } else { "close" };
    let mut head = String::with_capacity(256);
    let written = write!(
        head,
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: {connection}\r\n\r\n",
        body.len()
    );
    written.expect("writing to a string does not fail");
    conn.queue(head.as_bytes());
    conn.queue(body.as_bytes());
    flush(hub, conn).await
}

impl Answer {
    fn text(status: StatusCode) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: format!("{status}\n") }
    }

    fn json(status: StatusCode, body: String) -> Self {
        Self { status, content_type: "application/json", body }
    }

    fn error(message: &str) -> Self {
        let body = serde_json::json!({ "errors": [{ "message": message }] }).to_string();
        Self::json(StatusCode::BAD_REQUEST, body)
    }

    /// Whether it was given without reading the request's body.
    fn leaves_body(&self) -> bool {
        matches!(
            self.status,
            StatusCode::LENGTH_REQUIRED | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) || (self.status == StatusCode::BAD_REQUEST && self.content_type.starts_with("text"))
    }
}
