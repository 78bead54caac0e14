//! How text for a terminal is laid out: its colours, its width and where lines are broken. Knows nothing of reports
//! but their verdicts.

use super::model::Verdict;

/// Colour or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether ANSI colours are written.
    pub color: bool,
}

/// What the user asked for with `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColorWish {
    /// Colour on a terminal that can show it.
    #[default]
    Auto,
    /// Colour always.
    Always,
    /// Colour never.
    Never,
}

impl Style {
    /// Decides about colour: the flag first, then `NO_COLOR` (when not empty) and `TERM=dumb`, then whether the
    /// output is a terminal.
    #[must_use]
    pub fn decide(wish: ColorWish, is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> Self {
        let color = match wish {
            ColorWish::Always => true,
            ColorWish::Never => false,
            ColorWish::Auto => is_terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb"),
        };
        Self { color }
    }

    /// Bold, for titles.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Dim, for what matters less.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// In the colour of a verdict.
    #[must_use]
    pub fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Pass => "32",
            Verdict::Fail => "31",
            Verdict::Inconclusive => "33",
            Verdict::NotApplicable => "2",
        };
        self.paint(code, text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// One character for a verdict.
#[must_use]
pub fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Fail => "✗",
        Verdict::Inconclusive => "?",
        Verdict::NotApplicable => "–",
    }
}

/// One word for a verdict.
#[must_use]
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "pass",
        Verdict::Fail => "fail",
        Verdict::Inconclusive => "inconclusive",
        Verdict::NotApplicable => "not applicable",
    }
}

/// Narrowest width that anything is laid out for; a terminal below it wraps lines by itself.
pub const NARROWEST: usize = 72;

/// Widest: longer lines are hard to follow with the eye.
pub const WIDEST: usize = 120;

/// Width where nothing says otherwise.
const USUAL: usize = 100;

/// The width to lay text out for: the terminal's, else `COLUMNS`, else 100; always from 72 to 120.
#[must_use]
pub fn width(terminal: Option<usize>, columns: Option<&str>) -> usize {
    let told = || columns.and_then(|text| text.trim().parse().ok());
    let known = |width: &usize| *width > 0;
    terminal.filter(known).or_else(|| told().filter(known)).unwrap_or(USUAL).clamp(NARROWEST, WIDEST)
}

/// Columns that a text takes.
pub(crate) fn chars(text: &str) -> usize {
    text.chars().count()
}

/// Fills up with spaces on the right.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(chars(text))))
}

/// Drops whole words from the end until the rest fits, and shows that it did.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    let whole = kept.rsplit_once(' ').map_or(kept.as_str(), |(words, _)| words);
    format!("{}…", whole.trim_end_matches([' ', '·', ',', ':', ';']))
}

/// Breaks a text into lines: between parts that ` · ` sets apart where it can, else before a ` + `, else between
/// words; never between a number and its unit. A word longer than the width stays whole, so that it can be copied.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Lines { width, done: Vec::new() };
    for part in text.split(" · ") {
        lines.add(" · ", "", part.trim(), |lines| {
            for (i, term) in part.split(" + ").enumerate() {
                let (joint, sign) = if i == 0 { (" · ", "") } else { (" + ", "+ ") };
                lines.add(joint, sign, term, |lines| {
                    for (j, word) in words(term).iter().enumerate() {
                        let (joint, sign) = if j == 0 { (joint, sign) } else { (" ", "") };
                        lines.put(joint, sign, word);
                    }
                });
            }
        });
    }
    lines.done
}

struct Lines {
    width: usize,
    done: Vec<String>,
}

impl Lines {
    /// Adds a piece whole, on this line or the next; one longer than a line is taken apart by `otherwise`.
    fn add(&mut self, joint: &str, sign: &str, piece: &str, otherwise: impl FnOnce(&mut Self)) {
        if chars(sign) + chars(piece) <= self.width {
            self.put(joint, sign, piece);
        } else {
            otherwise(self);
        }
    }

    /// `joint` comes before the piece within a line, `sign` where it begins one.
    fn put(&mut self, joint: &str, sign: &str, piece: &str) {
        match self.done.last_mut() {
            Some(line) if chars(line) + chars(joint) + chars(piece) <= self.width => {
                line.push_str(joint);
                line.push_str(piece);
            }
            Some(_) => self.done.push(format!("{sign}{piece}")),
            None => self.done.push(piece.to_owned()),
        }
    }
}

/// Words, a number and its unit being one.
fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 14] =
        ["%", "B", "KiB", "MiB", "GiB", "TiB", "ns", "µs", "ms", "s", "min", "h", "d", "×"];
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = UNITS.contains(&word.trim_end_matches([',', '.', ';', ':', ')']));
        match words.last_mut() {
            Some(before) if unit && before.ends_with(|c: char| c.is_ascii_digit()) => {
                before.push(' ');
                before.push_str(word);
            }
            Some(before) if matches!(before.as_str(), "<" | "≤" | "=" | "≠" | "≥" | ">") => {
                before.push(' ');
                before.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_decided_in_order() {
        use ColorWish::{Always, Auto, Never};
        let table = [
            ((Auto, true, None, Some("xterm")), true),
            ((Auto, false, None, Some("xterm")), false),
            ((Auto, true, Some("1"), Some("xterm")), false),
            ((Auto, true, Some(""), Some("xterm")), true),
            ((Auto, true, None, Some("dumb")), false),
            ((Always, false, Some("1"), Some("dumb")), true),
            ((Never, true, None, None), false),
        ];
        for ((wish, is_terminal, no_color, term), color) in table {
            assert_eq!(
                Style::decide(wish, is_terminal, no_color, term),
                Style { color },
                "{wish:?} {term:?}"
            );
        }
    }

    #[test]
    fn without_colour_text_is_plain() {
        assert_eq!(Style { color: false }.verdict(Verdict::Fail, "FAIL"), "FAIL");
        assert_eq!(Style { color: true }.verdict(Verdict::Fail, "FAIL"), "\u{1b}[31mFAIL\u{1b}[0m");
    }

    #[test]
    fn the_width_is_the_terminals_within_reason() {
        let table = [
            ((Some(80), Some("200")), 80),
            ((Some(40), None), 72),
            ((Some(300), None), 120),
            ((Some(0), Some("90")), 90),
            ((None, Some("90")), 90),
            ((None, Some("wide")), 100),
            ((None, Some("0")), 100),
            ((None, None), 100),
        ];
        for ((terminal, columns), expected) in table {
            assert_eq!(width(terminal, columns), expected, "{terminal:?} {columns:?}");
        }
    }

    #[test]
    fn lines_break_between_parts_then_terms_then_words() {
        assert_eq!(wrap("3 open · 4 failed · 5 kept", 20), ["3 open · 4 failed", "5 kept"]);
        assert_eq!(wrap("12 = 9 first + 3 torn apart", 15), ["12 = 9 first", "+ 3 torn apart"]);
        assert_eq!(wrap("it took 3.8 ms at most", 11), ["it took", "3.8 ms at", "most"]);
        assert_eq!(wrap("wanted ≥ 99 % of it", 10), ["wanted", "≥ 99 % of", "it"]);
        assert_eq!(wrap("see /a/long/path there", 8), ["see", "/a/long/path", "there"]);
        assert_eq!(wrap("a · bb cc dd + ee", 6), ["a · bb", "cc dd", "+ ee"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn what_is_too_long_loses_whole_words() {
        assert_eq!(shorten("observed 2, wanted = 0", 22), "observed 2, wanted = 0");
        assert_eq!(shorten("observed 2, wanted = 0", 14), "observed 2…");
        assert_eq!(shorten("unbroken", 4), "unb…");
    }
}
