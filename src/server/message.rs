//! What clients say and what they are answered, as text; no sockets, no state.
//!
//! The protocol: <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. Of GraphQL it understands as
//! much as it needs: the keyword a document begins with, and the variables.

use std::borrow::Cow;
use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message from a client.
#[derive(Debug)]
pub(crate) enum ClientMessage<'a> {
    /// `connection_init`
    Init,
    /// `ping`, with its payload
    Ping(Option<&'a RawValue>),
    /// `pong`
    Pong,
    /// `subscribe`
    Subscribe { id: Cow<'a, str>, request: Request<'a> },
    /// `complete`
    Complete { id: Cow<'a, str> },
}

/// A GraphQL request, over the WebSocket or in an HTTP body.
#[derive(Debug, Deserialize)]
pub(crate) struct Request<'a> {
    #[serde(borrow)]
    query: Text<'a>,
    #[serde(borrow, default)]
    variables: Option<Variables<'a>>,
}

/// Raw, so that a wrong type is an error of the operation and not of the message.
#[derive(Debug, Default, Deserialize)]
struct Variables<'a> {
    #[serde(borrow, default)]
    channel: Option<&'a RawValue>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// Every event of `channel` from now on.
    Subscribe { channel: Cow<'a, str> },
    /// Publish `payload`, a JSON string as the client wrote it.
    Publish { channel: Cow<'a, str>, payload: &'a str },
}

/// A string that borrows from the input, also where serde would copy it (in an `Option`).
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// Parses a message; the error is the close reason that goes with 4400.
pub(crate) fn parse(text: &str) -> Result<ClientMessage<'_>, &'static str> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| "invalid message")?;
    let id = || match envelope.id {
        Some(Text(id)) if !id.is_empty() => Ok(id),
        _ => Err("message without an id"),
    };
    match envelope.kind.0.as_ref() {
        "subscribe" => {
            let id = id()?;
            let payload = envelope.payload.ok_or("subscribe without a payload")?;
            let request = serde_json::from_str(payload.get()).map_err(|_| "invalid subscribe payload")?;
            Ok(ClientMessage::Subscribe { id, request })
        }
        "complete" => Ok(ClientMessage::Complete { id: id()? }),
        "ping" => Ok(ClientMessage::Ping(envelope.payload)),
        "pong" => Ok(ClientMessage::Pong),
        "connection_init" => match envelope.payload {
            Some(payload) if !payload.get().starts_with(['{', 'n']) => {
                Err("connection_init payload is not an object")
            }
            _ => Ok(ClientMessage::Init),
        },
        _ => Err("unknown message type"),
    }
}

/// Understands a request; the error is a GraphQL error's message.
pub(crate) fn operation<'a>(request: &Request<'a>) -> Result<Operation<'a>, &'static str> {
    let variables = request.variables.as_ref();
    let keyword = leading_keyword(&request.query.0);
    if keyword != "subscription" && keyword != "mutation" {
        return Err("this server understands documents that begin with `subscription` or `mutation`");
    }
    let channel = variables.and_then(|v| v.channel).ok_or("variable `channel` is missing")?;
    let Ok(Text(channel)) = serde_json::from_str(channel.get()) else {
        return Err("variable `channel` is not a string");
    };
    if keyword == "subscription" {
        return Ok(Operation::Subscribe { channel });
    }
    let payload = variables.and_then(|v| v.payload).ok_or("variable `payload` is missing")?.get();
    if !payload.starts_with('"') {
        return Err("variable `payload` is not a string");
    }
    Ok(Operation::Publish { channel, payload })
}

/// The name a document begins with, after whatever GraphQL ignores.
fn leading_keyword(document: &str) -> &str {
    let mut rest = document;
    loop {
        rest = rest.trim_start_matches(['\u{feff}', ' ', '\t', '\n', '\r', ',']);
        match rest.strip_prefix('#') {
            Some(comment) => rest = comment.split_once(['\n', '\r']).map_or("", |(_, after)| after),
            None => break,
        }
    }
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
    &rest[..end]
}

/// `connection_ack`
pub(crate) const ACK: &[u8] = br#"{"type":"connection_ack"}"#;

/// Writes `{"id":"…"`, the beginning of every message of one operation.
pub(crate) fn write_prefix(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"{\"id\":");
    serde_json::to_writer(&mut *out, id).expect("writing to memory does not fail");
}

/// Writes the result of a publish.
pub(crate) fn write_published(out: &mut Vec<u8>, id: &str, seq: u64) {
    write_prefix(out, id);
    write!(out, r#","type":"next","payload":{{"data":{{"publish":{{"seq":{seq}}}}}}}}}"#)
        .expect("writing to memory does not fail");
}

/// Writes the `complete` of an operation.
pub(crate) fn write_complete(out: &mut Vec<u8>, id: &str) {
    write_prefix(out, id);
    out.extend_from_slice(br#","type":"complete"}"#);
}

/// Writes an `error` that ends an operation.
pub(crate) fn write_error(out: &mut Vec<u8>, id: &str, message: &str) {
    write_prefix(out, id);
    out.extend_from_slice(br#","type":"error","payload":[{"message":"#);
    serde_json::to_writer(&mut *out, message).expect("writing to memory does not fail");
    out.extend_from_slice(b"}]}");
}

/// Writes a `pong` with the payload of its `ping`.
pub(crate) fn write_pong(out: &mut Vec<u8>, payload: Option<&RawValue>) {
    out.extend_from_slice(br#"{"type":"pong""#);
    if let Some(payload) = payload {
        out.extend_from_slice(b",\"payload\":");
        out.extend_from_slice(payload.get().as_bytes());
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribe(payload: &str) -> Result<String, String> {
        let text = format!(r#"{{"id":"7","type":"subscribe","payload":{payload}}}"#);
        match parse(&text)? {
            ClientMessage::Subscribe { request, .. } => Ok(format!("{:?}", operation(&request)?)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn operations_are_told_by_their_first_word() {
        for query in
            ["subscription($c: String!) { a }", " # mutation\\n,subscription S { a }", "subscription{a}"]
        {
            let payload = format!(r#"{{"query":"{query}","variables":{{"channel":"a\u0062"}}}}"#);
            assert_eq!(subscribe(&payload).unwrap(), r#"Subscribe { channel: "ab" }"#, "{query}");
        }
        assert_eq!(
            subscribe(r#"{"query":"mutation {a}","variables":{"payload":"p\n","channel":"c","more":1}}"#)
                .unwrap(),
            r#"Publish { channel: "c", payload: "\"p\\n\"" }"#
        );
    }

    #[test]
    fn what_is_not_understood_is_an_error_of_the_operation() {
        let message = |payload| subscribe(payload).unwrap_err();
        let other = "this server understands documents that begin with `subscription` or `mutation`";
        assert_eq!(message(r#"{"query":"query { a }"}"#), other);
        assert_eq!(message(r#"{"query":"subscriptions { a }"}"#), other);
        assert_eq!(message(r##"{"query":"# nothing"}"##), other);
        assert_eq!(message(r#"{"query":"subscription"}"#), "variable `channel` is missing");
        assert_eq!(message(r#"{"query":"subscription","variables":null}"#), "variable `channel` is missing");
        assert_eq!(
            message(r#"{"query":"subscription","variables":{"channel":1}}"#),
            "variable `channel` is not a string"
        );
        assert_eq!(
            message(r#"{"query":"mutation","variables":{"channel":"a"}}"#),
            "variable `payload` is missing"
        );
        assert_eq!(
            message(r#"{"query":"mutation","variables":{"channel":"a","payload":{}}}"#),
            "variable `payload` is not a string"
        );
    }

    #[test]
    fn malformed_messages_are_refused_with_a_reason() {
        let reason = |text| parse(text).unwrap_err();
        assert_eq!(reason("hello"), "invalid message");
        assert_eq!(reason("{}"), "invalid message");
        assert_eq!(reason(r#"{"type":"start"}"#), "unknown message type");
        assert_eq!(reason(r#"{"type":"subscribe","payload":{"query":""}}"#), "message without an id");
        assert_eq!(reason(r#"{"type":"complete","id":""}"#), "message without an id");
        assert_eq!(reason(r#"{"type":"subscribe","id":"1"}"#), "subscribe without a payload");
        assert_eq!(reason(r#"{"type":"subscribe","id":"1","payload":{}}"#), "invalid subscribe payload");
        assert_eq!(
            reason(r#"{"type":"connection_init","payload":1}"#),
            "connection_init payload is not an object"
        );
    }

    #[test]
    fn answers_are_valid_json() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            serde_json::from_slice::<serde_json::Value>(&out).unwrap().to_string()
        };
        assert_eq!(
            written(&|out| write_published(out, "a\"b", 3)),
            r#"{"id":"a\"b","type":"next","payload":{"data":{"publish":{"seq":3}}}}"#
        );
        assert_eq!(written(&|out| write_complete(out, "1")), r#"{"id":"1","type":"complete"}"#);
        assert_eq!(
            written(&|out| write_error(out, "1", "no `x`")),
            r#"{"id":"1","type":"error","payload":[{"message":"no `x`"}]}"#
        );
        assert_eq!(written(&|out| write_pong(out, None)), r#"{"type":"pong"}"#);
        let ping = r#"{"type":"ping","payload":{"a":1}}"#;
        let Ok(ClientMessage::Ping(payload)) = parse(ping) else { panic!("{ping}") };
        assert_eq!(written(&|out| write_pong(out, payload)), r#"{"type":"pong","payload":{"a":1}}"#);
    }
}
