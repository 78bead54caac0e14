//! One pass over a message's text, borrowing from it.
//!
//! The payload of a result is walked down to `payload_at` while it is parsed. The keys of a message come in any
//! order; only for a message that is not a result and puts its payload before its type is the text read twice.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{DecodeError, Message};
use crate::protocol::reply;

/// Reads one message; see [`super::Dialect::decode`].
pub(super) fn decode<'a>(text: &'a str, payload_at: &[String]) -> Result<Message<'a>, DecodeError> {
    let mut envelope = read(text, Envelope { payload_at, raw: false })?;
    if matches!(envelope.payload, Some(Payload::Walked(_))) && envelope.kind != Some(Kind::Next) {
        envelope = read(text, Envelope { payload_at, raw: true })?;
    }
    let id = || match envelope.id {
        None => Err(DecodeError::NoId),
        Some(Id::Foreign) => Err(DecodeError::ForeignId),
        Some(Id::Ours(id)) => Ok(id),
    };
    let raw = match envelope.payload {
        Some(Payload::Raw(raw)) if raw != "null" => Some(raw),
        _ => None,
    };
    match (envelope.kind.ok_or(DecodeError::NoType)?, envelope.payload) {
        (Kind::Ack, _) => Ok(Message::Ack),
        (Kind::Ping, _) => Ok(Message::Ping { payload: raw }),
        (Kind::Pong, _) => Ok(Message::Pong { payload: raw }),
        (Kind::Complete, _) => Ok(Message::Complete { id: id()? }),
        (Kind::Unknown, _) => Err(DecodeError::UnknownType),
        (Kind::Error, _) => Ok(Message::Error { id: id()?, errors: raw.ok_or(DecodeError::NoPayload)? }),
        (Kind::Next, Some(Payload::Walked(Walked { at, errors }))) => {
            Ok(Message::Next { id: id()?, payload: at.unwrap_or(""), errors, at_missing: at.is_none() })
        }
        (Kind::Next, _) => Err(DecodeError::NoPayload),
    }
}

fn read<'a, S: DeserializeSeed<'a>>(text: &'a str, seed: S) -> Result<S::Value, DecodeError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    // An error of serde may quote the text, at any length.
    value.map_err(|error| DecodeError::Json(reply::cut(&error.to_string()).to_owned()))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ack,
    Ping,
    Pong,
    Next,
    Error,
    Complete,
    Unknown,
}

#[derive(Debug, Clone, Copy)]
enum Id {
    Ours(u64),
    Foreign,
}

#[derive(Debug, Clone, Copy)]
enum Payload<'a> {
    Raw(&'a str),
    Walked(Walked<'a>),
}

#[derive(Debug, Clone, Copy, Default)]
struct Walked<'a> {
    /// The value at the end of the path, unless it is null.
    at: Option<&'a str>,
    /// The payload has errors.
    errors: bool,
}

/// The outer object.
#[derive(Debug, Default)]
struct Parts<'a> {
    kind: Option<Kind>,
    id: Option<Id>,
    payload: Option<Payload<'a>>,
}

struct Envelope<'p> {
    payload_at: &'p [String],
    /// Take the payload as it is, whatever the type.
    raw: bool,
}

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = Parts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Parts<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Parts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parts<'de>, A::Error> {
        let mut parts = Parts::default();
        while let Some(field) = map.next_key_seed(Text(field))? {
            let repeated = match field {
                Field::Type => parts.kind.replace(map.next_value_seed(Text(kind))?).is_some(),
                Field::Id => parts.id.replace(map.next_value_seed(Text(id))?).is_some(),
                Field::Payload => {
                    let walk = !self.raw && matches!(parts.kind, None | Some(Kind::Next));
                    let payload = if walk {
                        Payload::Walked(walk_payload(&mut map, self.payload_at)?)
                    } else {
                        Payload::Raw(map.next_value::<&'de RawValue>()?.get())
                    };
                    parts.payload.replace(payload).is_some()
                }
                Field::Other => {
                    map.next_value::<IgnoredAny>()?;
                    false
                }
            };
            if repeated {
                return Err(de::Error::custom("a key is repeated"));
            }
        }
        Ok(parts)
    }
}

enum Field {
    Type,
    Id,
    Payload,
    Other,
}

fn field(key: &str) -> Field {
    match key {
        "type" => Field::Type,
        "id" => Field::Id,
        "payload" => Field::Payload,
        _ => Field::Other,
    }
}

fn kind(text: &str) -> Kind {
    match text {
        "next" => Kind::Next,
        "complete" => Kind::Complete,
        "connection_ack" => Kind::Ack,
        "ping" => Kind::Ping,
        "pong" => Kind::Pong,
        "error" => Kind::Error,
        _ => Kind::Unknown,
    }
}

/// Our ids are numbers as `push_number` writes them: no sign, no leading zero.
fn id(text: &str) -> Id {
    let canonical = text == "0" || text.starts_with(|c: char| matches!(c, '1'..='9'));
    text.parse().ok().filter(|_| canonical).map_or(Id::Foreign, Id::Ours)
}

fn walk_payload<'de, A: MapAccess<'de>>(map: &mut A, path: &[String]) -> Result<Walked<'de>, A::Error> {
    if !path.is_empty() {
        return map.next_value_seed(Walk { path, top: true });
    }
    let raw = map.next_value::<&'de RawValue>()?.get();
    // The whole payload is wanted as it is; look for errors in a second pass, and only if there may be some.
    let nowhere = [String::new()];
    let errors = raw.contains("\"errors\"")
        && read(raw, Walk { path: &nowhere, top: true }).is_ok_and(|walked| walked.errors);
    Ok(Walked { at: (raw != "null").then_some(raw), errors })
}

/// Applies a function to a string.
struct Text<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
        from.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}

/// Follows a path through objects; whatever else is there is skipped.
struct Walk<'p> {
    path: &'p [String],
    /// At the payload itself, where `errors` is noticed.
    top: bool,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Walked<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Walked<'de>, D::Error> {
        if !self.path.is_empty() {
            return from.deserialize_any(self);
        }
        let raw = <&'de RawValue as de::Deserialize>::deserialize(from)?.get();
        Ok(Walked { at: (raw != "null").then_some(raw), errors: false })
    }
}

/// What a value that is no object leads to.
macro_rules! leads_nowhere {
    ($($visit:ident($($kind:ty)?)),*) => {
        $(fn $visit<E: de::Error>(self $(, _: $kind)?) -> Result<Self::Value, E> { Ok(Self::Value::default()) })*
    };
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Walked<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    leads_nowhere!(
        visit_unit(),
        visit_bool(bool),
        visit_i64(i64),
        visit_u64(u64),
        visit_f64(f64),
        visit_str(&str)
    );

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Walked<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Walked::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Walked<'de>, A::Error> {
        let mut walked = Walked::default();
        let step = |key: &str| match key {
            _ if key == self.path[0] => Step::Down,
            "errors" if self.top => Step::Errors,
            _ => Step::Over,
        };
        while let Some(next) = map.next_key_seed(Text(step))? {
            match next {
                Step::Down => walked.at = map.next_value_seed(Walk { path: &self.path[1..], top: false })?.at,
                Step::Errors => walked.errors |= map.next_value_seed(HasSome)?,
                Step::Over => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(walked)
    }
}

enum Step {
    Down,
    Errors,
    Over,
}

/// Whether there are errors: anything but null and an empty list.
struct HasSome;

impl<'de> DeserializeSeed<'de> for HasSome {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        let raw = <&'de RawValue as de::Deserialize>::deserialize(from)?.get();
        Ok(!reply::is_empty(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Result<Message<'_>, DecodeError> {
        decode(text, &["data".to_owned(), "event".to_owned()])
    }

    #[test]
    fn every_message_from_the_server() {
        let cases = [
            (r#"{"type":"connection_ack"}"#, Message::Ack),
            (r#"{"type":"connection_ack","payload":{"a":1}}"#, Message::Ack),
            (r#"{"type":"ping"}"#, Message::Ping { payload: None }),
            (r#"{"payload":{"n":1},"type":"ping"}"#, Message::Ping { payload: Some(r#"{"n":1}"#) }),
            (r#"{"type":"pong","payload":null}"#, Message::Pong { payload: None }),
            (r#" {"type":"complete","id":"12"} "#, Message::Complete { id: 12 }),
            (
                r#"{"id":"3","type":"error","payload":[{"message":"m"}]}"#,
                Message::Error { id: 3, errors: r#"[{"message":"m"}]"# },
            ),
            (r#"{"payload":[],"id":"3","type":"error"}"#, Message::Error { id: 3, errors: "[]" }),
        ];
        for (text, message) in cases {
            assert_eq!(at(text), Ok(message), "{text}");
        }
    }

    fn next(payload: &str, errors: bool) -> Result<Message<'_>, DecodeError> {
        Ok(Message::Next { id: 5, payload, errors, at_missing: payload.is_empty() })
    }

    #[test]
    fn results_in_any_order_of_keys() {
        assert_eq!(
            at(r#"{"id":"5","type":"next","payload":{"data":{"event":"~x"}}}"#),
            next("\"~x\"", false)
        );
        assert_eq!(
            at(r#"{"id":"5","payload":{"data":{"event":"~x"}},"type":"next"}"#),
            next("\"~x\"", false)
        );
        assert_eq!(
            at(
                r#"{"x":[{}],"\u0069d":"5","type":"n\u0065xt","payload":{"x":1,"data":{"y":2,"event":{"z":[]}}}}"#
            ),
            next(r#"{"z":[]}"#, false)
        );
    }

    #[test]
    fn errors_and_missing_values_are_noticed() {
        let of = |payload: &str| format!(r#"{{"id":"5","type":"next","payload":{payload}}}"#);
        let cases = [
            (r#"{"data":null,"errors":[{"message":"m"}]}"#, "", true),
            (r#"{"errors":[],"data":{"event":7}}"#, "7", false),
            (r#"{"errors":null,"data":{"event":7}}"#, "7", false),
            (r#"{"errors":"odd","data":{"event":7,"errors":[1]}}"#, "7", true),
            (r#"{"data":{"errors":[1]}}"#, "", false),
            (r#"{"data":{"event":null}}"#, "", false),
            (r#"{"data":["event"]}"#, "", false),
            ("1", "", false),
            ("null", "", false),
        ];
        for (payload, found, errors) in cases {
            assert_eq!(at(&of(payload)), next(found, errors), "{payload}");
        }
    }

    #[test]
    fn whole_payload_when_there_is_no_path() {
        let of = |text| decode(text, &[]);
        assert_eq!(of(r#"{"id":"5","type":"next","payload":{"data": 1}}"#), next(r#"{"data": 1}"#, false));
        assert_eq!(
            of(r#"{"id":"5","type":"next","payload":{"errors":[1]}}"#),
            next(r#"{"errors":[1]}"#, true)
        );
        assert_eq!(
            of(r#"{"id":"5","type":"next","payload":{"a":{"errors":[1]}}}"#),
            next(r#"{"a":{"errors":[1]}}"#, false)
        );
    }

    #[test]
    fn what_is_not_a_message_is_refused() {
        let cases = [
            (r#"{"id":"1"}"#, DecodeError::NoType),
            (r#"{"type":"subscribe","id":"1"}"#, DecodeError::UnknownType),
            (r#"{"type":"complete"}"#, DecodeError::NoId),
            (r#"{"type":"next","id":"x","payload":{}}"#, DecodeError::ForeignId),
            (r#"{"type":"next","id":"+1","payload":{}}"#, DecodeError::ForeignId),
            (r#"{"type":"next","id":"01","payload":{}}"#, DecodeError::ForeignId),
            (r#"{"type":"next","id":"18446744073709551616","payload":{}}"#, DecodeError::ForeignId),
            (r#"{"type":"next","id":"1"}"#, DecodeError::NoPayload),
            (r#"{"type":"error","id":"1","payload":null}"#, DecodeError::NoPayload),
        ];
        for (text, error) in cases {
            assert_eq!(at(text), Err(error), "{text}");
        }
        for text in [
            "",
            "null",
            "[]",
            "{",
            r#"{"type":"ping"}{}"#,
            r#"{"type":7}"#,
            r#"{"type":"complete","id":7}"#,
            r#"{"type":"ping","type":"ping"}"#,
            r#"{"id":"1","type":"next","payload":{"data":{"#,
        ] {
            assert!(matches!(at(text), Err(DecodeError::Json(_))), "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!(r#"{{"type":"next","id":"1","payload":{}"#, "[".repeat(1_000_000));
        assert!(at(&deep).is_err());
        let deep = format!(r#"{{"type":"next","id":"1","payload":{}"#, r#"{"data":"#.repeat(1_000_000));
        assert!(at(&deep).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in ".{0,100}", cut in 0_usize..80) {
            let _ = at(&text);
            let message = r#"{"id":"5","type":"next","payload":{"errors":[1],"data":{"event":"~x"}}}"#;
            let _ = at(&format!("{}{text}{}", &message[..cut.min(message.len())], &message[cut.min(message.len())..]));
        }
    }
}
