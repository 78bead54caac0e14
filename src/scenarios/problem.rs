//! Problems: what is wrong in a scenario file, where, and what would be right.
//!
//! Every text that scenarios come from (the user's file, the built-in catalogue, `--set` arguments) is one part of
//! `Sources`, and all parts share one line of byte offsets; so a span alone says in which text it lies.

use std::fmt;
use std::ops::Range;

/// Most characters of a source line that are shown.
const WIDTH: usize = 160;

/// One thing that is wrong, or doubtful, at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub message: String,
    /// The file's name as given, or `--set PATH=VALUE`; empty: no place at all.
    pub file: String,
    /// Line, from 1; 0 where there are no lines (`--set`).
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The line itself, harmless to print.
    pub source: String,
    /// First character of `source` to point at, from 0.
    pub mark: usize,
    /// How many characters to point at, at least 1.
    pub length: usize,
    /// What is allowed, and what was probably meant.
    pub notes: Vec<String>,
}

impl Problem {
    /// A problem without a place.
    #[must_use]
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            file: String::new(),
            line: 0,
            column: 0,
            source: String::new(),
            mark: 0,
            length: 1,
            notes: Vec::new(),
        }
    }

    /// Writes it with a caret, headed by `word`: `error` or `warning`.
    ///
    /// # Errors
    /// Only those of the formatter.
    pub fn render(&self, word: &str, f: &mut impl fmt::Write) -> fmt::Result {
        writeln!(f, "{word}: {}", self.message)?;
        let number = if self.line == 0 { String::new() } else { self.line.to_string() };
        let gutter = " ".repeat(number.len());
        if !self.file.is_empty() {
            let place =
                if self.line == 0 { String::new() } else { format!(":{}:{}", self.line, self.column) };
            writeln!(f, "{gutter}--> {}{place}", self.file)?;
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {}", self.source)?;
            writeln!(f, "{gutter} | {}{}", " ".repeat(self.mark), "^".repeat(self.length))?;
        }
        for note in &self.notes {
            writeln!(f, "{gutter} = {note}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong, in the order of the text; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            problem.render("error", f)?;
            writeln!(f)?;
        }
        match self.0.len() {
            1 => write!(f, "1 problem"),
            n => write!(f, "{n} problems"),
        }
    }
}

impl std::error::Error for Problems {}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

/// A problem that still carries its place as a span; [`Sources::locate`] turns it into lines and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where; `None`: nowhere.
    pub(crate) span: Option<Range<usize>>,
    /// What.
    pub(crate) message: String,
    /// What would be right.
    pub(crate) notes: Vec<String>,
    /// Only doubtful.
    pub(crate) warning: bool,
}

impl Finding {
    /// An error at a span.
    pub(crate) fn error(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span: Some(span), message: message.into(), notes: Vec::new(), warning: false }
    }

    /// A warning at a span.
    pub(crate) fn warning(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::error(span, message) }
    }

    /// An error without a place in any text.
    pub(crate) fn nowhere(message: impl Into<String>) -> Self {
        Self { span: None, ..Self::error(0..0, message) }
    }

    /// Adds a note.
    #[must_use]
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds "did you mean" where something allowed is near what was found, else the list of what is allowed.
    #[must_use]
    pub(crate) fn allowed<'a>(self, found: &str, allowed: impl IntoIterator<Item = &'a str>) -> Self {
        let allowed: Vec<&str> = allowed.into_iter().collect();
        let named = match nearest(found, allowed.iter().copied()) {
            Some(near) => self.note(format!("did you mean `{near}`?")),
            None => self,
        };
        match allowed.len() {
            0 => named.note("there are none"),
            1..=24 => named.note(format!("allowed: {}", allowed.join(", "))),
            _ => named,
        }
    }
}

/// The allowed word that was probably meant.
pub(crate) fn nearest<'a>(found: &str, allowed: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Bounded: the distance is quadratic in the length of a key that may be any text.
    let found: String = found.chars().take(80).collect::<String>().to_lowercase().replace('_', "-");
    allowed
        .map(|word| (strsim::damerau_levenshtein(&found, &word.replace('_', "-")), word))
        .filter(|(distance, word)| *distance <= 1.max(word.chars().count().max(found.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// All texts, on one line of byte offsets.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    label: String,
    start: usize,
    text: String,
    lines: bool,
}

impl Sources {
    /// Adds a text and returns the offset of its first byte; `lines`: whether places in it are told by line.
    pub(crate) fn add(&mut self, label: impl Into<String>, text: impl Into<String>, lines: bool) -> usize {
        let start = self.parts.last().map_or(0, |part| part.start + part.text.len() + 1);
        self.parts.push(Part { label: label.into(), start, text: text.into(), lines });
        start
    }

    /// The text under a span.
    pub(crate) fn slice(&self, span: &Range<usize>) -> Option<&str> {
        let part = self.part(span.start)?;
        part.text.get(span.start - part.start..span.end.checked_sub(part.start)?)
    }

    /// Whether a value was given by `--set`.
    pub(crate) fn is_override(&self, span: &Range<usize>) -> bool {
        self.part(span.start).is_some_and(|part| !part.lines)
    }

    fn part(&self, offset: usize) -> Option<&Part> {
        self.parts.iter().rev().find(|part| part.start <= offset)
    }

    /// Turns findings into problems, in the order of the text.
    pub(crate) fn locate_all<'a>(&self, findings: impl IntoIterator<Item = &'a Finding>) -> Vec<Problem> {
        let mut found: Vec<&Finding> = findings.into_iter().collect();
        found.sort_by_key(|finding| finding.span.as_ref().map_or(0, |span| span.start));
        let mut problems: Vec<Problem> = found.into_iter().map(|finding| self.locate(finding)).collect();
        problems.dedup();
        problems
    }

    fn locate(&self, finding: &Finding) -> Problem {
        let mut problem = Problem::nowhere(harmless_text(&finding.message));
        problem.notes = finding.notes.iter().map(|note| harmless_text(note)).collect();
        let Some((span, part)) = finding.span.as_ref().and_then(|s| Some((s, self.part(s.start)?))) else {
            return problem;
        };
        let bytes = part.text.as_bytes();
        let at = floor_char(&part.text, span.start - part.start);
        let end = floor_char(&part.text, span.end.saturating_sub(part.start)).max(at);
        let line_start = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let line_end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |i| at + i);
        let before = part.text[line_start..at].chars().count();
        problem.file = harmless_text(&part.label);
        problem.line =
            if part.lines { 1 + bytes[..line_start].iter().filter(|b| **b == b'\n').count() } else { 0 };
        problem.column = before + 1;
        problem.length = part.text[at..end.min(line_end).max(at)].chars().count().clamp(1, WIDTH);
        let skip = if before > WIDTH / 2 { before - WIDTH / 4 } else { 0 };
        let line = part.text[line_start..line_end].trim_end_matches('\r');
        problem.source = line.chars().skip(skip).take(WIDTH).map(harmless).collect();
        problem.mark = before - skip;
        problem.length = problem.length.min(WIDTH - problem.mark.min(WIDTH - 1));
        problem
    }
}

fn floor_char(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// A text of a file, fit for a terminal: harmless, on one line, and not without end.
pub(crate) fn harmless_text(text: &str) -> String {
    text.chars().take(1_000).map(|c| if c == '\n' { ' ' } else { harmless(c) }).collect()
}

/// A file may be anyone's: nothing in it may move a cursor or turn the direction of text.
fn harmless(c: char) -> char {
    let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    match c {
        '\t' => ' ',
        c if c.is_control() || bidi => '\u{fffd}',
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_says_in_which_text_it_lies() {
        let mut sources = Sources::default();
        sources.add("a.toml", "one\ntwo = ä3\n", true);
        let start = sources.add("--set x=4", "x = 4", false);
        let problems = sources.locate_all(&[
            Finding::error(start + 4..start + 5, "bad four"),
            Finding::error(12..13, "bad three").note("use 4"),
        ]);
        assert_eq!(
            Problems(problems).to_string(),
            "error: bad three\n --> a.toml:2:8\n  |\n2 | two = ä3\n  |        ^\n  = use 4\n\n\
             error: bad four\n--> --set x=4\n |\n | x = 4\n |     ^\n\n2 problems"
        );
    }

    #[test]
    fn nothing_in_a_file_reaches_the_terminal_raw() {
        let mut sources = Sources::default();
        sources.add("a\u{1b}.toml", "x\u{1b}[2J\u{202e} = 1\r\n", true);
        let shown = Problems(sources.locate_all(&[Finding::error(0..9, "no key `x\u{1b}[2J`")])).to_string();
        assert!(!shown.contains(['\u{1b}', '\u{202e}', '\r']), "{shown:?}");
    }

    #[test]
    fn the_nearest_word_is_near() {
        let words = ["connections", "subscriptions", "connect"];
        assert_eq!(nearest("conections", words.into_iter()), Some("connections"));
        assert_eq!(nearest("Connections", words.into_iter()), Some("connections"));
        assert_eq!(nearest("colour", words.into_iter()), None);
    }
}
