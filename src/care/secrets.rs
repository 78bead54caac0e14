//! The secrets a run knows, so that they can be taken out of whatever a server says.
//!
//! A server that refuses a token likes to quote it. Reports, logs and terminals must not.

use std::fmt;

use super::Secret;
use crate::scenarios::target::{Publish, Target};

/// Shorter texts are not redacted: taking every `no` out of a message hides the message, not a secret.
const SHORTEST: usize = 4;
/// Shortest word of a longer secret that is taken as a secret of its own, such as the token in `Bearer …`.
const SHORTEST_WORD: usize = 8;

/// Texts that must never be shown, longest first.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    texts: Vec<String>,
}

impl Secrets {
    /// Knows nothing; for the reference server and for tests.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Collects what the target's table holds: header values, the init payload, expansions of `${env:NAME}`,
    /// userinfo and query values of its URLs.
    #[must_use]
    pub fn of(target: &Target) -> Self {
        let mut found = Self::default();
        found.add_headers(target.headers.values());
        if let Some(init) = &target.init {
            found.add_secret(init);
            if let Ok(json) = serde_json::from_str(init.reveal()) {
                found.add_json(&json);
            }
        }
        if let Some(url) = &target.url {
            found.add_url(url);
        }
        if let Publish::Http { url, headers, .. } = &target.publish {
            found.add_headers(headers.values());
            if let Some(url) = url {
                found.add_url(url);
            }
        }
        if let Some(statistics) = &target.statistics {
            found.add_headers(statistics.headers.values());
            if let Some(url) = &statistics.url {
                found.add_url(url);
            }
        }
        found
    }

    /// Adds one text, unless it is trivially short.
    pub fn add(&mut self, text: &str) {
        let text = text.trim();
        if text.len() < SHORTEST || self.texts.iter().any(|known| known == text) {
            return;
        }
        let at = self.texts.partition_point(|known| known.len() >= text.len());
        self.texts.insert(at, text.to_owned());
    }

    /// The length of the longest secret that `text` begins with. A text that *ends* within a secret counts as
    /// one too: close reasons are cut at 123 bytes by their protocol, and half a token is too much of it.
    pub(super) fn starting(&self, text: &str) -> Option<usize> {
        self.texts.iter().find_map(|secret| {
            if text.starts_with(secret.as_str()) {
                Some(secret.len())
            } else if text.len() >= SHORTEST && secret.starts_with(text) {
                Some(text.len())
            } else {
                None
            }
        })
    }

    fn add_headers<'a>(&mut self, values: impl Iterator<Item = &'a Secret>) {
        for value in values {
            self.add_secret(value);
            for word in value.reveal().split_whitespace().filter(|word| word.len() >= SHORTEST_WORD) {
                self.add(word);
            }
        }
    }

    fn add_secret(&mut self, secret: &Secret) {
        self.add(secret.reveal());
        for expansion in expansions(secret.template(), secret.reveal()) {
            self.add(expansion);
        }
    }

    fn add_json(&mut self, json: &serde_json::Value) {
        match json {
            serde_json::Value::String(text) => self.add(text),
            serde_json::Value::Array(items) => items.iter().for_each(|item| self.add_json(item)),
            serde_json::Value::Object(entries) => entries.values().for_each(|entry| self.add_json(entry)),
            _ => {}
        }
    }

    fn add_url(&mut self, url: &http::Uri) {
        if let Some((userinfo, _)) = url.authority().and_then(|authority| authority.as_str().rsplit_once('@'))
        {
            self.add(userinfo);
            userinfo.split(':').for_each(|part| self.add_encoded(part));
        }
        for pair in url.query().unwrap_or_default().split('&') {
            // A pair without `=` has no key to keep: all of it may be the secret.
            self.add_encoded(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
    }

    /// Adds a part of a URL as written and as a server would quote it after decoding.
    fn add_encoded(&mut self, text: &str) {
        self.add(text);
        self.add(&percent_decoded(text));
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({} redacted)", self.texts.len())
    }
}

/// What each `${env:NAME}` of `template` stands for in `value`, found by the literal text between them.
fn expansions<'a>(template: &str, value: &'a str) -> Vec<&'a str> {
    let mut found = Vec::new();
    let Some((lead, mut rest)) = template.split_once("${env:") else { return found };
    let Some(mut value) = value.strip_prefix(lead) else { return found };
    while let Some((_, after)) = rest.split_once('}') {
        let (literal, next) = match after.split_once("${env:") {
            Some((literal, next)) => (literal, Some(next)),
            None => (after, None),
        };
        let end = match next {
            // The last literal is the end of the value, so a secret that contains it is still found whole.
            None => value.len().checked_sub(literal.len()).filter(|_| value.ends_with(literal)),
            Some(_) => value.find(literal).filter(|_| !literal.is_empty()),
        };
        let Some(end) = end else { return found };
        found.push(&value[..end]);
        value = &value[end + literal.len()..];
        let Some(next) = next else { return found };
        rest = next;
    }
    found
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(collect: impl FnOnce(&mut Secrets)) -> Vec<String> {
        let mut secrets = Secrets::none();
        collect(&mut secrets);
        secrets.texts
    }

    #[test]
    fn short_texts_are_not_secrets_and_longer_ones_come_first() {
        let found = of(|s| ["abc", "abcd", "abcdef", "abcd", "abcde"].iter().for_each(|text| s.add(text)));
        assert_eq!(found, ["abcdef", "abcde", "abcd"]);
    }

    #[test]
    fn a_header_gives_its_value_its_expansion_and_its_long_words() {
        let header = Secret::new("Bearer ${env:TOKEN}", "Bearer tok-1");
        assert_eq!(of(|s| s.add_headers([&header].into_iter())), ["Bearer tok-1", "tok-1"]);
        let header = Secret::new("Basic dXNlcjpwYXNz", "Basic dXNlcjpwYXNz");
        assert_eq!(of(|s| s.add_headers([&header].into_iter())), ["Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"]);
    }

    #[test]
    fn expansions_are_found_between_the_literals() {
        assert_eq!(expansions("${env:A}", "one"), ["one"]);
        assert_eq!(expansions("k=${env:A};v=${env:B}!", "k=one;v=two!!"), ["one", "two!"]);
        assert_eq!(expansions("no placeholder", "no placeholder"), Vec::<&str>::new());
        assert_eq!(expansions("${env:A}${env:B}", "onetwo"), Vec::<&str>::new(), "no telling where one ends");
        assert_eq!(expansions("x${env:A}", "another text"), Vec::<&str>::new());
        assert_eq!(expansions("x${env:A", "xone"), Vec::<&str>::new());
    }

    #[test]
    fn a_url_gives_userinfo_and_query_values_also_decoded() {
        let url = "wss://user:p%40ss@example.com/ws?token=s%2Fcret&plainkey".parse().unwrap();
        let mut found = of(|s| s.add_url(&url));
        found.sort();
        assert_eq!(found, ["p%40ss", "p@ss", "plainkey", "s%2Fcret", "s/cret", "user", "user:p%40ss"]);
    }

    #[test]
    fn json_gives_every_string() {
        let json = serde_json::json!({"token": "secret-1", "nested": [{"key": "secret-2"}], "n": 12345});
        assert_eq!(of(|s| s.add_json(&json)), ["secret-1", "secret-2"]);
    }

    #[test]
    fn debug_shows_a_number_only() {
        let mut secrets = Secrets::none();
        secrets.add("hunter2");
        assert_eq!(format!("{secrets:?}"), "Secrets(1 redacted)");
    }
}
