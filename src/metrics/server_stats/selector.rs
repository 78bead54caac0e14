//! Prometheus series: `name{label="value",…}`, as a selector in a scenario file and as a line of an answer.
//!
//! Both are the same grammar, so one parser reads both; it takes commas, braces and escapes inside quotes for
//! what they are. A line that was passed over because of them would make a sum too small without a word.

use std::borrow::Cow;

use thiserror::Error;

/// A text that names no series.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a metric selector; write it as `name` or `name{{label=\"value\"}}`")]
pub struct BadSelector {
    /// As written.
    pub text: String,
}

/// Picks the series of one name that carry all the given labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// If the text is not of the form `name{label="value",…}`.
    pub fn parse(text: &str) -> Result<Self, BadSelector> {
        let bad = || BadSelector { text: text.to_owned() };
        let (series, rest) = Series::parse(text.trim()).ok_or_else(bad)?;
        if !rest.trim().is_empty() {
            return Err(bad());
        }
        let owned = |(key, value): (&str, Cow<'_, str>)| (key.to_owned(), value.into_owned());
        Ok(Self { name: series.name.to_owned(), labels: series.labels.into_iter().map(owned).collect() })
    }

    /// The sum over all matching series of an answer; `None` if there is none, or if one is not a number.
    #[must_use]
    pub fn sum(&self, answer: &str) -> Option<f64> {
        let mut sum = None;
        for line in answer.lines().map(str::trim_start).filter(|line| line.starts_with(&self.name)) {
            let Some((series, rest)) = Series::parse(line) else { continue };
            if self.matches(&series) {
                let value: f64 = rest.split_whitespace().next()?.parse().ok()?;
                *sum.get_or_insert(0.0) += Some(value).filter(|value| value.is_finite())?;
            }
        }
        sum
    }

    fn matches(&self, series: &Series<'_>) -> bool {
        let carried = |(key, value): &(String, String)| {
            series.labels.iter().any(|(their_key, their_value)| key == their_key && value == their_value)
        };
        self.name == series.name && self.labels.iter().all(carried)
    }
}

struct Series<'a> {
    name: &'a str,
    labels: Vec<(&'a str, Cow<'a, str>)>,
}

impl<'a> Series<'a> {
    /// A series at the start of `text`, and what follows it.
    fn parse(text: &'a str) -> Option<(Self, &'a str)> {
        let (name, mut rest) = word(text, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))?;
        let mut labels = Vec::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside.trim_start();
            while !rest.starts_with('}') {
                let (key, after) = word(rest, |c| c.is_ascii_alphanumeric() || c == '_')?;
                let quoted = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
                let (value, after) = quoted_end(quoted)?;
                labels.push((key, value));
                let after = after.trim_start();
                // The exposition format allows a comma after the last label.
                rest = match after.strip_prefix(',') {
                    Some(next) => next.trim_start(),
                    None if after.starts_with('}') => after,
                    None => return None,
                };
            }
            rest = &rest[1..];
        }
        Some((Self { name, labels }, rest))
    }
}

fn word(text: &str, of: impl Fn(char) -> bool) -> Option<(&str, &str)> {
    let end = text.find(|c| !of(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// The text up to the closing quote, with `\\`, `\"` and `\n` resolved, and what follows the quote.
fn quoted_end(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let mut unescaped: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = unescaped.map_or(Cow::Borrowed(&text[..at]), Cow::Owned);
                return Some((value, &text[at + 1..]));
            }
            '\\' => {
                let (_, escaped) = chars.next()?;
                let so_far = unescaped.get_or_insert_with(|| text[..at].to_owned());
                so_far.push(if escaped == 'n' { '\n' } else { escaped });
            }
            c => {
                if let Some(so_far) = &mut unescaped {
                    so_far.push(c);
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = r#"# HELP dropped_total Dropped.
# TYPE dropped_total counter
dropped_total{reason="slow",shard="0"} 3
dropped_total{reason="slow",shard="1"} 4 1700000000000
dropped_total{reason="gone, {odd} \"quoted\"",} 5
dropped_total_created 1.7e9
open 12
broken 1x
limit +Inf
job:rate:sum 0.5
"#;

    fn sum(selector: &str) -> Option<f64> {
        Selector::parse(selector).unwrap().sum(ANSWER)
    }

    #[test]
    fn matching_series_are_summed() {
        assert_eq!(sum("dropped_total"), Some(12.0));
        assert_eq!(sum(r#"dropped_total{reason="slow"}"#), Some(7.0));
        assert_eq!(sum(r#"dropped_total{ shard = "1" , reason="slow" }"#), Some(4.0));
        assert_eq!(sum(r#"dropped_total{reason="gone, {odd} \"quoted\""}"#), Some(5.0));
        assert_eq!(sum("open"), Some(12.0));
        assert_eq!(sum("job:rate:sum"), Some(0.5));
    }

    #[test]
    fn what_is_not_there_or_not_a_number_is_unknown() {
        assert_eq!(sum(r#"dropped_total{reason="other"}"#), None);
        assert_eq!(sum("absent"), None);
        assert_eq!(sum("broken"), None);
        assert_eq!(sum("limit"), None);
    }

    #[test]
    fn bad_selectors_are_refused() {
        for text in ["", "{}", "a b", "a{", "a{b}", "a{b=c}", r#"a{b="c}"#, r#"a{b="c" d="e"}"#, "a}"] {
            assert_eq!(Selector::parse(text), Err(BadSelector { text: text.to_owned() }), "{text}");
        }
        assert_eq!(
            Selector::parse("a b").unwrap_err().to_string(),
            "`a b` is not a metric selector; write it as `name` or `name{label=\"value\"}`"
        );
    }

    proptest! {
        #[test]
        fn any_label_value_is_found_again(value in ".{0,20}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let selector = Selector::parse(&format!("m{{l=\"{escaped}\"}}")).unwrap();
            // A line cannot hold a bare carriage return or the like unless the format escapes it.
            prop_assume!(!escaped.contains(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']));
            prop_assert_eq!(selector.sum(&format!("m{{a=\"x\",l=\"{escaped}\"}} 2\n")), Some(2.0));
        }

        #[test]
        fn no_answer_makes_it_panic(answer in ".{0,200}") {
            let _ = Selector::parse("m{l=\"v\"}").unwrap().sum(&format!("m{{{answer}"));
        }
    }
}
