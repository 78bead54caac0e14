//! The client's side of the WebSocket opening handshake (RFC 6455 §4.1), small enough to have 10,000 in flight.
//!
//! The library's own handshake holds two buffers of 4 KiB and 2 KiB of state while it waits for the answer, which
//! alone would take more than an established connection does. The request and the key are still the library's.

use std::rc::Rc;

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_request};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::stream::Stream;
use super::turnstile::Turnstile;

/// The longest head of an answer.
const HEAD_MAX: usize = 16 << 10;
/// The most headers in it.
const HEADERS_MAX: usize = 64;
/// How much is read at a time; an ordinary answer has 150 bytes.
const READ: usize = 512;

/// Sends the request and waits for the answer; returns the WebSocket and the answer's headers.
///
/// # Errors
/// The library's own errors: [`Error::Http`] with the beginning of the body if the server says no.
pub(super) async fn upgrade(
    mut stream: Stream,
    request: Request,
    config: WebSocketConfig,
    turnstile: Option<Rc<Turnstile>>,
) -> Result<(WebSocketStream<Stream>, HeaderMap), Error> {
    let key = request_upgrade(&mut stream, request).await?;
    let mut received = Vec::with_capacity(READ);
    let (answer, head) = loop {
        if received.len() > HEAD_MAX {
            let (size, max_size) = (received.len(), HEAD_MAX);
            return Err(Error::Capacity(CapacityError::MessageTooLong { size, max_size }));
        }
        received.reserve(READ);
        if stream.read_buf(&mut received).await? == 0 {
            return Err(Error::Protocol(ProtocolError::HandshakeIncomplete));
        }
        if let Some(parsed) = parse(&received)? {
            break parsed;
        }
    };
    let mut tail = received.split_off(head);
    let headers = accepted(answer, &key, &tail)?;
    if let Some(turnstile) = turnstile {
        stream = stream.cut_frames(turnstile, std::mem::take(&mut tail));
    }
    let socket = WebSocketStream::from_partially_read(stream, tail, Role::Client, Some(config)).await;
    Ok((socket, headers))
}

/// Sends the request; returns its key.
///
/// # Errors
/// If the request is none, or cannot be sent.
pub(super) async fn request_upgrade(stream: &mut Stream, request: Request) -> Result<String, Error> {
    let (bytes, key) = generate_request(request)?;
    stream.write_all(&bytes).await?;
    // TLS may still hold some of it.
    stream.flush().await?;
    Ok(key)
}

/// The answer's head and its length; `None`: there is more to come.
fn parse(received: &[u8]) -> Result<Option<(Response<()>, usize)>, Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = parsed.parse(received)? else { return Ok(None) };
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::from_u16(parsed.code.unwrap_or_default())?;
    for header in parsed.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes())?;
        answer.headers_mut().append(name, HeaderValue::from_bytes(header.value)?);
    }
    Ok(Some((answer, length)))
}

/// The checks of RFC 6455 §4.1; that of the subprotocol is the caller's.
fn accepted(answer: Response<()>, key: &str, tail: &[u8]) -> Result<HeaderMap, Error> {
    let (parts, ()) = answer.into_parts();
    if parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(Error::Http(Box::new(Response::from_parts(parts, Some(tail.to_vec())))));
    }
    let headers = parts.headers;
    let refused = |what| Err(Error::Protocol(what));
    if !has_token(&headers, &UPGRADE, "websocket") {
        return refused(ProtocolError::MissingUpgradeWebSocketHeader);
    }
    if !has_token(&headers, &CONNECTION, "upgrade") {
        return refused(ProtocolError::MissingConnectionUpgradeHeader);
    }
    if headers.get(SEC_WEBSOCKET_ACCEPT).map(HeaderValue::as_bytes)
        != Some(derive_accept_key(key.as_bytes()).as_bytes())
    {
        return refused(ProtocolError::SecWebSocketAcceptKeyMismatch);
    }
    if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        // None was offered.
        return refused(ProtocolError::InvalidHeader(Box::new(SEC_WEBSOCKET_EXTENSIONS)));
    }
    Ok(headers)
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    /// The example of RFC 6455 §1.3.
    const GOOD: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
                        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

    fn judged(head: &str, tail: &[u8]) -> Result<HeaderMap, String> {
        let (answer, length) = parse(head.as_bytes()).map_err(|e| e.to_string())?.expect("a whole head");
        assert_eq!(length, head.len());
        accepted(answer, KEY, tail).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert!(judged(GOOD, b"").is_ok());
    }

    #[test]
    fn every_check_refuses_what_it_is_for() {
        let without = |part: &str, other: &str| judged(&GOOD.replace(part, other), b"").expect_err(part);
        assert!(without("Upgrade: WebSocket", "Upgrade: h2c").contains("Upgrade: websocket"));
        assert!(without("keep-alive, Upgrade", "close").contains("Connection: upgrade"));
        assert!(without("s3pP", "s3pq").contains("Sec-WebSocket-Accept"));
        let extension = "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
        assert!(without("\r\n\r\n", extension).contains("sec-websocket-extensions"));
    }

    #[test]
    fn a_refusal_keeps_status_and_words() {
        let (answer, _) = parse(b"HTTP/1.1 429 Too Many Requests\r\n\r\n").expect("valid").expect("whole");
        let Err(Error::Http(response)) = accepted(answer, KEY, b"slow down") else { panic!("accepted") };
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.body().as_deref(), Some(b"slow down".as_slice()));
    }

    #[test]
    fn a_head_in_pieces_is_waited_for_and_garbage_is_not() {
        for cut in 0..GOOD.len() {
            assert!(matches!(parse(&GOOD.as_bytes()[..cut]), Ok(None)), "cut at {cut}");
        }
        assert!(parse(b"SSH-2.0-OpenSSH_9.2\r\n").is_err());
    }
}
