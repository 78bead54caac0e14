//! JSON text with holes, cut once so that filling it is a few copies.

use serde_json::Value;

/// What a hole is filled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hole {
    Id,
    Channel,
    Payload,
    Connection,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Hole(Hole),
}

/// The values of one message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Values<'a> {
    pub(super) id: u64,
    pub(super) channel: &'a str,
    pub(super) payload: &'a str,
    pub(super) connection: u32,
}

/// JSON text with holes inside of its strings.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Appends text as it is.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
        self
    }

    /// Appends a hole.
    pub(super) fn hole(&mut self, hole: Hole) -> &mut Self {
        self.pieces.push(Piece::Hole(hole));
        self
    }

    /// Appends a JSON string without templates.
    pub(super) fn string(&mut self, string: &str) -> &mut Self {
        let mut text = String::from("\"");
        escape(string, &mut text);
        text.push('"');
        self.text(&text)
    }

    /// Appends a JSON value; `${channel}`, `${payload}`, `${connection}` in its strings become holes.
    pub(super) fn value(&mut self, value: &Value) -> &mut Self {
        match value {
            Value::String(string) => self.templated(string),
            Value::Array(items) => {
                self.text("[");
                for (index, item) in items.iter().enumerate() {
                    self.text(if index == 0 { "" } else { "," }).value(item);
                }
                self.text("]")
            }
            Value::Object(fields) => self.object(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.text(&value.to_string()),
        }
    }

    /// Appends a JSON object; see [`Self::value`]. Keys have no templates.
    pub(super) fn object(&mut self, fields: &serde_json::Map<String, Value>) -> &mut Self {
        self.text("{");
        for (index, (key, value)) in fields.iter().enumerate() {
            self.text(if index == 0 { "" } else { "," }).string(key).text(":").value(value);
        }
        self.text("}")
    }

    fn templated(&mut self, string: &str) -> &mut Self {
        const HOLES: [(&str, Hole); 3] = [
            ("${channel}", Hole::Channel),
            ("${payload}", Hole::Payload),
            ("${connection}", Hole::Connection),
        ];
        self.text("\"");
        let (mut from, mut at) = (0, 0);
        while let Some(found) = string[at..].find("${") {
            at += found;
            let hole = HOLES.iter().find(|(name, _)| string[at..].starts_with(name));
            let Some((name, hole)) = hole else {
                at += 2;
                continue;
            };
            self.escaped(&string[from..at]).hole(*hole);
            at += name.len();
            from = at;
        }
        self.escaped(&string[from..]).text("\"")
    }

    fn escaped(&mut self, text: &str) -> &mut Self {
        let mut out = String::new();
        escape(text, &mut out);
        if out.is_empty() { self } else { self.text(&out) }
    }

    /// Appends the filled template to `out`.
    pub(super) fn fill(&self, values: &Values<'_>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Hole(Hole::Id) => push_number(values.id, out),
                Piece::Hole(Hole::Connection) => push_number(values.connection.into(), out),
                Piece::Hole(Hole::Channel) => escape(values.channel, out),
                Piece::Hole(Hole::Payload) => escape(values.payload, out),
            }
        }
    }
}

/// Appends a number in decimal digits, without the machinery of `fmt`.
pub(super) fn push_number(mut number: u64, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend(digits[at..].iter().map(|digit| char::from(*digit)));
}

/// Appends the inside of a JSON string.
pub(super) fn escape(text: &str, out: &mut String) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\x1f' => {
                let hex = |digit: u32| char::from_digit(digit, 16).unwrap_or('0');
                out.push_str("\\u00");
                out.push(hex(c as u32 >> 4));
                out.push(hex(c as u32 & 15));
            }
            _ => out.push(c),
        }
    }
}

/// Whether nothing needs escaping; without branches inside a block, so that 16 MB pass at the speed of memory.
fn is_plain(text: &str) -> bool {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    !text.as_bytes().chunks(256).any(|block| block.iter().fold(false, |any, byte| any | special(byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn templates_at_any_depth_and_in_mixed_text() {
        let mut template = Template::default();
        template.value(&json!({
            "channel": "${channel}",
            "deep": [{"text": "a\"${payload}-${connection}${unknown}${", "n": 1.5}, null, true],
        }));
        let mut out = String::new();
        let values = Values { id: 0, channel: "c\"1", payload: "p\n\u{1}é", connection: 12 };
        template.fill(&values, &mut out);
        assert_eq!(
            out,
            r#"{"channel":"c\"1","deep":[{"text":"a\"p\n\u0001é-12${unknown}${","n":1.5},null,true]}"#
        );
    }

    #[test]
    fn numbers() {
        for number in [0, 7, 10, 4_294_967_295, u64::MAX] {
            let mut out = String::new();
            push_number(number, &mut out);
            assert_eq!(out, number.to_string());
        }
    }

    proptest! {
        #[test]
        fn escaping_is_what_json_says(text in any::<String>()) {
            let mut out = String::from("\"");
            escape(&text, &mut out);
            out.push('"');
            prop_assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
