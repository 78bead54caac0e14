//! Text → tables: every mistake of a text in one go, each at its exact place.
//!
//! serde stops at its first error. So: read a copy of the parsed tree, note the error, cut the smallest entry that
//! holds it, read again. What was cut is remembered, so that nobody calls it missing.

use std::collections::HashSet;
use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::problem::Finding;

/// A parsed tree whose spans count from the start of all sources.
pub(crate) type Tree<'t> = Spanned<DeValue<'t>>;

/// Most mistakes that are looked for in one text.
const MOST: usize = 50;

/// What reading a tree gave.
#[derive(Debug)]
pub(crate) struct Read<T> {
    /// The tables, without what was cut; `None`: too broken to go on.
    pub(crate) value: Option<T>,
    /// What was wrong.
    pub(crate) findings: Vec<Finding>,
    /// Paths that were cut, joined with dots.
    pub(crate) cuts: HashSet<String>,
}

/// A text moved to its offset among all sources: the spans of what is parsed from it count from there.
pub(crate) fn padded(text: &str, start: usize) -> String {
    format!("{}{text}", " ".repeat(start))
}

/// Parses a padded text; with syntax errors there is no tree.
pub(crate) fn parse(padded: &str) -> (Option<Tree<'_>>, Vec<Finding>) {
    let (table, errors) = DeTable::parse_recoverable(padded);
    if errors.is_empty() {
        let span = table.span();
        return (Some(Spanned::new(span, DeValue::Table(table.into_inner()))), Vec::new());
    }
    let mut findings: Vec<Finding> = Vec::new();
    for error in errors.iter().take(MOST) {
        let span = error.span().unwrap_or(0..0);
        // One slip makes the parser complain twice about the same line; the first is the cause.
        let line_of =
            |at: usize| padded.as_bytes()[..at.min(padded.len())].iter().filter(|b| **b == b'\n').count();
        let known = |f: &Finding| f.span.as_ref().is_some_and(|s| line_of(s.start) == line_of(span.start));
        if !findings.iter().any(known) {
            findings.push(Finding::error(span.clone(), error.message()));
        }
    }
    (None, findings)
}

/// Reads a tree into tables, with every mistake in it.
pub(crate) fn read<T: DeserializeOwned>(tree: &Tree<'_>) -> Read<T> {
    let mut tree = tree.clone();
    let mut read = Read { value: None, findings: Vec::new(), cuts: HashSet::new() };
    for _ in 0..MOST {
        let error = match T::deserialize(ValueDeserializer::from(tree.clone())) {
            Ok(value) => {
                read.value = Some(value);
                break;
            }
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| tree.span());
        let encloses =
            |f: &Finding| f.span.as_ref().is_some_and(|s| span.start <= s.start && s.end <= span.end);
        if !read.findings.iter().any(encloses) {
            read.findings.push(explain(error.message(), span.clone()));
        }
        let mut path = Vec::new();
        if !cut(&mut tree, &span, &mut path) {
            break;
        }
        path.reverse();
        read.cuts.insert(path.join("."));
    }
    read
}

/// Removes the smallest entry that holds `span`; collects its path from the inside out.
fn cut<'t>(value: &mut Tree<'t>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    let holds = |outer: &Range<usize>| outer.start <= span.start && span.end <= outer.end;
    match value.get_mut() {
        DeValue::Table(table) => {
            let mut hit = None;
            for (key, child) in table.iter_mut() {
                if cut(child, span, path) {
                    path.push(key.get_ref().to_string());
                    return true;
                }
                if hit.is_none() && (holds(&key.span()) || holds(&child.span())) {
                    hit = Some(key.get_ref().to_string());
                }
            }
            let Some(key) = hit else { return false };
            table.remove(key.as_str());
            path.push(key);
            true
        }
        DeValue::Array(array) => {
            let mut elements: Vec<Tree<'t>> = std::mem::replace(array, DeArray::new()).into_iter().collect();
            let inner = elements.iter_mut().any(|element| cut(element, span, path));
            let before = elements.len();
            if !inner {
                elements.retain(|element| !holds(&element.span()));
            }
            let removed = inner || elements.len() < before;
            *array = elements.into_iter().collect();
            removed
        }
        _ => false,
    }
}

/// Rust's words for kinds of values in the file's words.
fn plain(kind: &str) -> &str {
    match kind {
        "map" | "a map" => "a table",
        "sequence" | "a sequence" => "a list",
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        // A word that takes a value, written without one, and the other way round.
        "newtype variant" => "a table with this word as its key: { word = … }",
        "unit variant" => "the word alone",
        _ if kind.starts_with("struct ") => "a table",
        _ => kind,
    }
}

/// Puts serde's message into our words: what was found, what is allowed, what was meant.
fn explain(message: &str, span: Range<usize>) -> Finding {
    for (start, what) in [("unknown field `", "key"), ("unknown variant `", "word")] {
        let Some(rest) = message.strip_prefix(start) else { continue };
        let (found, allowed) = match rest.rfind("`, expected ") {
            Some(at) => (&rest[..at], &rest[at + 3..]),
            None => (rest.split('`').next().unwrap_or(rest), ""),
        };
        let found: String = found.chars().take(80).collect();
        let allowed: Vec<&str> = allowed.split('`').skip(1).step_by(2).collect();
        return Finding::error(span, format!("unknown {what} `{}`", found.escape_debug()))
            .allowed(&found, allowed);
    }
    if let Some((found, expected)) = message.split_once(", expected ") {
        let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
        let found: String = plain(found).chars().take(120).collect();
        return Finding::error(span, format!("expected {}", plain(expected))).note(format!("found: {found}"));
    }
    if let Some(name) = message.strip_prefix("missing field `") {
        return Finding::error(span, format!("the key `{}` is missing", name.trim_end_matches('`')));
    }
    let message = if message == "wanted string or table" { "expected a word in quotes" } else { message };
    Finding::error(span, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::file::FileTable;

    #[test]
    fn one_mistake_hides_no_other() {
        let text = "[scenarios.a]\nseed = -1\nrounds = 0\nsubscribers.x = 5\nphases = { a = 1 }\n\
                    publishers.y.when-behind = 3\nsubscribers.z.reconnect = \"soon\"\nphase = 1\n";
        let read = read::<FileTable>(&parse(text).0.unwrap());
        let found: Vec<(usize, &str)> =
            read.findings.iter().map(|f| (f.span.as_ref().unwrap().start, f.message.as_str())).collect();
        assert_eq!(
            found,
            [
                (21, "expected a whole number without quotes, from 0 to 9,223,372,036,854,775,807"),
                (33, "expected a whole number without quotes, from 1 to 10,000,000"),
                (51, "expected a table"),
                (127, "unknown word `soon`"),
                (62, "expected a list"),
                (99, "expected a word in quotes"),
                (134, "unknown key `phase`"),
            ]
        );
        let mut cuts: Vec<&str> = read.cuts.iter().map(String::as_str).collect();
        cuts.sort_unstable();
        assert_eq!(cuts[0], "scenarios.a.phase");
        assert_eq!(cuts.len(), 7);
    }
}
