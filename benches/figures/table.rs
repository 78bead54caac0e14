//! What was measured beside what was promised.

use std::fmt;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Figure {
    /// What it is about.
    pub name: String,
    /// What it should be; `None`: printed, not judged.
    pub target: Option<Target>,
    /// What it is.
    pub measured: f64,
    pub unit: &'static str,
    /// The machine did not let it be measured.
    unclear: bool,
    /// How it came about, if the name does not say.
    pub note: String,
}

/// A bound.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Target {
    fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtMost(most) => measured <= most,
            Self::AtLeast(least) => measured >= least,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "<= {}", short(*most)),
            Self::AtLeast(least) => write!(f, ">= {}", short(*least)),
        }
    }
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self { name: name.into(), target: None, measured, unit, unclear: false, note: String::new() }
    }

    pub(crate) fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// Printed, but neither held nor missed.
    pub(crate) fn unclear(self) -> Self {
        Self { unclear: true, ..self }
    }

    fn verdict(&self) -> &'static str {
        match self.target {
            _ if self.unclear => "unclear",
            None => "-",
            Some(target) if target.holds(self.measured) => "holds",
            Some(_) => "MISSED",
        }
    }
}

/// The whole table as Markdown, which a terminal can read as well.
pub(crate) struct Table<'a>(pub &'a [Figure]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 5]> = self.0.iter().map(row).collect();
        let head = ["figure", "target", "measured", "verdict", "note"].map(str::to_owned);
        let widths: Vec<usize> = (0..head.len() - 1)
            .map(|c| rows.iter().chain([&head]).map(|r| r[c].chars().count()).max().unwrap_or(0))
            .collect();
        let mut line = |cells: &[String; 5]| {
            write!(f, "|")?;
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, " {cell:width$} |")?;
            }
            writeln!(f, " {} |", cells[4])
        };
        line(&head)?;
        line(&["---", "---", "---", "---", "---"].map(str::to_owned))?;
        rows.iter().try_for_each(line)
    }
}

fn row(figure: &Figure) -> [String; 5] {
    let target = figure.target.map_or_else(|| "-".to_owned(), |t| t.to_string());
    let measured = format!("{} {}", short(figure.measured), figure.unit);
    [
        figure.name.clone(),
        target,
        measured.trim_end().to_owned(),
        figure.verdict().to_owned(),
        figure.note.clone(),
    ]
}

/// Three digits are all that a shared machine can vouch for.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1_000.0 => thousands(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
