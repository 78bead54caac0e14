//! The `graphql-transport-ws` protocol: operations to text, text to messages.
//!
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>. Says nothing of sockets and time; the
//! client's life is in `clients`.

mod decode;

use serde_json::value::RawValue;

use self::decode::decode;
use super::template::{Hole, Template, Values, push_number};
use crate::scenarios::target::Operation;

/// The WebSocket subprotocol to ask for, and to insist on.
pub const SUBPROTOCOL: &str = "graphql-transport-ws";

/// What the protocol can and cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// The server answers a subscribe, so that no probe is needed.
    pub acknowledges_subscribe: bool,
    /// The server answers a publish.
    pub acknowledges_publish: bool,
}

/// Its capabilities: a subscribe is never answered, a mutation is.
pub const CAPABILITIES: Capabilities =
    Capabilities { acknowledges_subscribe: false, acknowledges_publish: true };

/// The protocol as one target speaks it. Encoders append to `out`.
#[derive(Debug, Clone)]
pub struct Dialect {
    init: String,
    subscribe: Template,
    publish: Template,
    http: Template,
    payload_at: Vec<String>,
}

/// The payload of `connection_init` is not JSON; its text may be secret and is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the payload of connection_init is not JSON")]
pub struct BadInit;

impl Dialect {
    /// Prepares the messages of a target; `init` is the JSON payload of `connection_init`.
    ///
    /// # Errors
    /// If `init` is not JSON.
    pub fn new(subscribe: &Operation, publish: &Operation, init: Option<&str>) -> Result<Self, BadInit> {
        let init = match init {
            None => r#"{"type":"connection_init"}"#.to_owned(),
            Some(payload) => {
                let payload: &RawValue = serde_json::from_str(payload).map_err(|_| BadInit)?;
                format!(r#"{{"type":"connection_init","payload":{payload}}}"#)
            }
        };
        Ok(Self {
            init,
            subscribe: operation_message(subscribe),
            publish: operation_message(publish),
            http: operation_body(publish),
            payload_at: subscribe.payload_at.clone(),
        })
    }

    /// `connection_init`, the first message.
    pub fn connection_init(&self, out: &mut String) {
        out.push_str(&self.init);
    }

    /// Starts a subscription.
    pub fn subscribe(&self, id: u64, channel: &str, connection: u32, out: &mut String) {
        self.subscribe.fill(&Values { id, channel, connection, payload: "" }, out);
    }

    /// Publishes one event by a mutation.
    pub fn publish(&self, id: u64, channel: &str, payload: &str, out: &mut String) {
        self.publish.fill(&Values { id, channel, payload, connection: 0 }, out);
    }

    /// The same mutation as the body of an HTTP POST.
    pub fn http_body(&self, channel: &str, payload: &str, out: &mut String) {
        self.http.fill(&Values { channel, payload, ..Values::default() }, out);
    }

    /// Ends an operation.
    pub fn complete(&self, id: u64, out: &mut String) {
        out.push_str(r#"{"id":""#);
        push_number(id, out);
        out.push_str(r#"","type":"complete"}"#);
    }

    /// Asks for a pong; whoever answers with the payload has answered this one.
    pub fn ping(&self, payload: &str, out: &mut String) {
        out.push_str(r#"{"type":"ping","payload":"#);
        out.push_str(payload);
        out.push('}');
    }

    /// Answers a ping, with its payload if it had one.
    pub fn pong(&self, payload: Option<&str>, out: &mut String) {
        out.push_str(r#"{"type":"pong""#);
        if let Some(payload) = payload {
            out.push_str(r#","payload":"#);
            out.push_str(payload);
        }
        out.push('}');
    }

    /// Reads one message from the server.
    ///
    /// # Errors
    /// If it is not a message that a server may send, for a short reason.
    pub fn decode<'a>(&self, text: &'a str) -> Result<Message<'a>, DecodeError> {
        decode(text, &self.payload_at)
    }
}

/// `{"id":"…","type":"subscribe","payload":…}`
fn operation_message(operation: &Operation) -> Template {
    let mut template = Template::default();
    template.text(r#"{"id":""#).hole(Hole::Id).text(r#"","type":"subscribe","payload":"#);
    append_body(operation, &mut template);
    template.text("}");
    template
}

/// `{"query":…,"operationName":…,"variables":…}`
fn operation_body(operation: &Operation) -> Template {
    let mut template = Template::default();
    append_body(operation, &mut template);
    template
}

fn append_body(operation: &Operation, template: &mut Template) {
    template.text(r#"{"query":"#).string(&operation.query);
    if let Some(name) = &operation.operation_name {
        template.text(r#","operationName":"#).string(name);
    }
    if !operation.variables.is_empty() {
        template.text(r#","variables":"#).object(&operation.variables);
    }
    template.text("}");
}

/// A message from the server. Payloads are raw JSON, borrowed from the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// The connection is accepted.
    Ack,
    /// Asks for a pong.
    Ping {
        /// To be sent back.
        payload: Option<&'a str>,
    },
    /// Answers a ping.
    Pong {
        /// As sent by us.
        payload: Option<&'a str>,
    },
    /// A result of an operation.
    Next {
        /// The operation.
        id: u64,
        /// The value at `payload_at`; the whole payload if that is empty; nothing if it is missing.
        payload: &'a str,
        /// The result carries errors.
        errors: bool,
        /// There is no value at `payload_at`, or it is null.
        at_missing: bool,
    },
    /// An operation was refused.
    Error {
        /// The operation.
        id: u64,
        /// The list of errors; [`refusal`](super::refusal) makes a text of it.
        errors: &'a str,
    },
    /// An operation has ended.
    Complete {
        /// The operation.
        id: u64,
    },
}

/// Why a text is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or not an object of the right shape.
    #[error("not a message: {0}")]
    Json(String),
    /// No `type`.
    #[error("a message without type")]
    NoType,
    /// A type that a server may not send.
    #[error("a message of an unknown type")]
    UnknownType,
    /// `id` is missing where there must be one.
    #[error("a message without id")]
    NoId,
    /// `id` is not one that we gave.
    #[error("a message with a foreign id")]
    ForeignId,
    /// `payload` is missing where there must be one.
    #[error("a message without payload")]
    NoPayload,
}

/// The name of a WebSocket close code, for reasons of failure in reports.
#[must_use]
pub fn close_code_name(code: u16) -> &'static str {
    match code {
        1000 => "normal closure",
        1001 => "going away",
        1002 => "protocol error",
        1003 => "unsupported data",
        1005 => "no status received",
        1006 => "abnormal closure",
        1007 => "invalid payload data",
        1008 => "policy violation",
        1009 => "message too big",
        1010 => "mandatory extension",
        1011 => "internal error",
        1012 => "service restart",
        1013 => "try again later",
        1014 => "bad gateway",
        1015 => "tls handshake failed",
        4400 => "bad request",
        4401 => "unauthorized",
        4403 => "forbidden",
        4404 => "not found",
        4406 => "subprotocol not acceptable",
        4408 => "connection initialisation timeout",
        4409 => "subscriber already exists",
        4429 => "too many initialisation requests",
        4499 => "terminated",
        4500 => "internal server error",
        4504 => "connection acknowledgement timeout",
        4000..=4999 => "private use",
        3000..=3999 => "registered use",
        _ => "unassigned",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn operation(query: &str, variables: &serde_json::Value, payload_at: &[&str]) -> Operation {
        Operation {
            query: query.to_owned(),
            operation_name: None,
            variables: variables.as_object().unwrap().clone(),
            payload_at: payload_at.iter().map(|&key| key.to_owned()).collect(),
        }
    }

    fn dialect(init: Option<&str>) -> Dialect {
        let subscribe = operation(
            "subscription($c: String!) { event(channel: $c) { payload } }",
            &json!({"c": "${channel}"}),
            &["data", "event", "payload"],
        );
        let publish = Operation {
            operation_name: Some("Publish".to_owned()),
            ..operation("mutation Publish { publish }", &json!({"c": "${channel}", "p": "${payload}"}), &[])
        };
        Dialect::new(&subscribe, &publish, init).unwrap()
    }

    fn encoded(encode: impl FnOnce(&Dialect, &mut String)) -> String {
        let mut out = String::new();
        encode(&dialect(None), &mut out);
        out
    }

    #[test]
    fn every_message_to_the_server() {
        assert_eq!(encoded(Dialect::connection_init), r#"{"type":"connection_init"}"#);
        let mut out = String::new();
        dialect(Some(r#"{"token":"t"}"#)).connection_init(&mut out);
        assert_eq!(out, r#"{"type":"connection_init","payload":{"token":"t"}}"#);
        assert_eq!(
            encoded(|d, out| d.subscribe(7, "c-1", 3, out)),
            concat!(
                r#"{"id":"7","type":"subscribe","payload":{"query":"subscription($c: String!) "#,
                r#"{ event(channel: $c) { payload } }","variables":{"c":"c-1"}}}"#
            )
        );
        assert_eq!(
            encoded(|d, out| d.publish(8, "c-1", "a\"b", out)),
            concat!(
                r#"{"id":"8","type":"subscribe","payload":{"query":"mutation Publish { publish }","#,
                r#""operationName":"Publish","variables":{"c":"c-1","p":"a\"b"}}}"#
            )
        );
        assert_eq!(
            encoded(|d, out| d.http_body("c", "p", out)),
            concat!(
                r#"{"query":"mutation Publish { publish }","operationName":"Publish","#,
                r#""variables":{"c":"c","p":"p"}}"#
            )
        );
        assert_eq!(encoded(|d, out| d.complete(7, out)), r#"{"id":"7","type":"complete"}"#);
        assert_eq!(encoded(|d, out| d.ping("{}", out)), r#"{"type":"ping","payload":{}}"#);
        assert_eq!(encoded(|d, out| d.pong(None, out)), r#"{"type":"pong"}"#);
        assert_eq!(encoded(|d, out| d.pong(Some(r#"{"n":1}"#), out)), r#"{"type":"pong","payload":{"n":1}}"#);
    }

    #[test]
    fn no_variables_and_bad_init() {
        let bare = operation("{ a }", &json!({}), &[]);
        let dialect = Dialect::new(&bare, &bare, None).unwrap();
        let mut out = String::new();
        dialect.subscribe(1, "c", 0, &mut out);
        assert_eq!(out, r#"{"id":"1","type":"subscribe","payload":{"query":"{ a }"}}"#);
        assert_eq!(Dialect::new(&bare, &bare, Some("{secret")).unwrap_err(), BadInit);
    }

    #[test]
    fn close_codes_have_names() {
        assert_eq!(close_code_name(4429), "too many initialisation requests");
        assert_eq!(close_code_name(4123), "private use");
        assert_eq!(close_code_name(99), "unassigned");
    }
}
