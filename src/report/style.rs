//! Whether and how documents for a terminal are coloured.

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
        Verdict::NotApplicable => "·",
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
}
