//! Replies that refuse: GraphQL errors in a message or in the body of an HTTP answer.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Most bytes taken from the text of an error.
const TEXT_MAX: usize = 200;

/// Reads the body of an HTTP answer to a mutation.
///
/// # Errors
/// What the server says is wrong, or what is wrong with its answer; foreign text, cut but not yet made harmless.
pub fn http_reply(body: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
        #[serde(borrow)]
        errors: Option<&'a RawValue>,
    }
    let Body { data, errors } = serde_json::from_str(body)
        .map_err(|error| format!("the answer is not a GraphQL response: {error}"))?;
    match errors.map(RawValue::get) {
        Some(errors) if !is_empty(errors) => Err(refusal(errors)),
        _ if data.is_none() => Err("the answer has neither data nor errors".to_owned()),
        _ => Ok(()),
    }
}

/// The text of the errors in the payload of a `next` message; foreign text, cut but not yet made harmless.
#[must_use]
pub fn refusal_in_next(message: &str) -> String {
    #[derive(Deserialize)]
    struct Next<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let payload = serde_json::from_str::<Next<'_>>(message).map(|next| next.payload.get());
    payload.ok().and_then(|payload| http_reply(payload).err()).unwrap_or_default()
}

/// Whether a value of `errors` says that there are none.
pub(super) fn is_empty(errors: &str) -> bool {
    serde_json::from_str::<[(); 0]>(errors).is_ok() || errors == "null"
}

/// The text of GraphQL errors given as JSON: the message of the first, or else the JSON itself, cut.
#[must_use]
pub fn refusal(errors: &str) -> String {
    #[derive(Deserialize)]
    struct Error<'a> {
        #[serde(borrow)]
        message: Cow<'a, str>,
    }
    let list = serde_json::from_str::<Vec<Error<'_>>>(errors).ok();
    let one = || serde_json::from_str::<Error<'_>>(errors).ok();
    let first = list.and_then(|list| list.into_iter().next()).or_else(one);
    cut(first.as_ref().map_or(errors, |error| &error.message)).to_owned()
}

/// The beginning of a text, at most [`TEXT_MAX`] bytes.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_replies() {
        assert_eq!(http_reply(r#"{"data":{"publish":true}}"#), Ok(()));
        assert_eq!(http_reply(r#"{"data":{"publish":true},"errors":[]}"#), Ok(()));
        assert_eq!(http_reply(r#"{"errors":null,"data":{}}"#), Ok(()));
        assert_eq!(
            http_reply(r#"{"data":null,"errors":[{"message":"no \"rights\""}]}"#),
            Err(r#"no "rights""#.into())
        );
        assert_eq!(http_reply(r#"{"errors":{"message":"single"}}"#), Err("single".into()));
        assert_eq!(http_reply(r#"{"errors":["odd"]}"#), Err("odd".into()));
        assert_eq!(http_reply(r#"{"errors":[{"odd":1}]}"#), Err(r#"[{"odd":1}]"#.into()));
        assert_eq!(http_reply("{}"), Err("the answer has neither data nor errors".into()));
        assert!(http_reply("<html>").unwrap_err().starts_with("the answer is not a GraphQL response"));
    }

    #[test]
    fn the_errors_of_a_next_message_have_a_text() {
        let next =
            |payload: &str| refusal_in_next(&format!(r#"{{"id":"3","type":"next","payload":{payload}}}"#));
        assert_eq!(next(r#"{"data":null,"errors":[{"message":"too \u006carge"}]}"#), "too large");
        assert_eq!(next(r#"{"data":{"event":null},"errors":["odd"]}"#), "odd");
        assert_eq!(next(r#"{"data":{"event":"x"}}"#), "");
        assert_eq!(refusal_in_next("no message"), "");
    }

    #[test]
    fn text_is_cut_between_characters() {
        let long = format!(r#"[{{"message":"{}"}}]"#, "é".repeat(1_000));
        assert_eq!(refusal(&long), "é".repeat(100));
    }
}
