//! Markdown as GitHub renders it: tables, lists, and foreign text that cannot become markup.

use std::fmt::Write as _;

use super::human::{self, NOTHING};

/// A row whose first cell may be indented under the one above.
pub(super) fn indented<const N: usize>(row: [String; N]) -> [String; N] {
    let mut first = true;
    row.map(|cell| {
        if !std::mem::take(&mut first) {
            return unbroken(&escape(&cell));
        }
        let name = cell.trim_start();
        if name.len() < cell.len() { format!("&emsp;{}", escape(name)) } else { escape(name) }
    })
}

/// The same for names out of a scenario file.
pub(super) fn named<const N: usize>(row: [String; N]) -> [String; N] {
    let first = code(row[0].trim_start());
    let first = if row[0].starts_with(' ') { format!("&emsp;{first}") } else { first };
    let mut row = row.map(|cell| unbroken(&escape(&cell)));
    row[0] = first;
    row
}

/// `alignment` has one letter per column: l, r or c.
pub(super) fn table<const N: usize>(
    out: &mut String,
    header: &[&str; N],
    alignment: &str,
    rows: &[[String; N]],
) {
    let rule: Vec<_> = alignment
        .chars()
        .map(|column| match column {
            'r' => "---:",
            'c' => ":-:",
            _ => "---",
        })
        .collect();
    let _ = writeln!(out, "| {} |", header.join(" | "));
    let _ = writeln!(out, "| {} |", rule.join(" | "));
    for row in rows {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out.push('\n');
}

pub(super) fn list<'a>(out: &mut String, items: impl Iterator<Item = &'a str>) {
    let before = out.len();
    for item in items {
        let _ = writeln!(out, "- {}", escape(item));
    }
    if out.len() > before {
        out.push('\n');
    }
}

/// A paragraph.
pub(super) fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}\n");
}

/// Keeps a short text on one line, whatever the width of its column.
pub(super) fn unbroken(text: &str) -> String {
    text.replace(' ', "\u{a0}")
}

/// Text that stays text in a paragraph, a list and a table cell.
pub(super) fn escape(foreign: &str) -> String {
    let mut out = String::with_capacity(foreign.len());
    for c in human::clean(foreign).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // As entities: a backslash before these is not enough in a table or for GitHub's formulas and mentions.
            '|' => out.push_str("&#124;"),
            '`' => out.push_str("&#96;"),
            '$' => out.push_str("&#36;"),
            '@' => out.push_str("&#64;"),
            '\\' | '*' | '_' | '[' | ']' | '~' | '#' | '!' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    // GitHub makes links of these by itself.
    out.replace("http:", "http&#58;").replace("https:", "https&#58;").replace("www.", "www&#46;")
}

/// A code span, in a table cell too.
pub(super) fn code(foreign: &str) -> String {
    if foreign.is_empty() {
        return NOTHING.to_owned();
    }
    format!("`{}`", human::clean(foreign).replace('`', "'").replace('|', "\\|"))
}

/// One word of a shell command.
pub(super) fn quoted(word: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    let word = human::clean(word);
    if !word.is_empty() && word.chars().all(safe) {
        word
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(
            escape("a|b `c` <d>\n*e* [f](g) $h$ @i"),
            "a&#124;b &#96;c&#96; &lt;d&gt;\u{fffd}\\*e\\* \\[f\\](g) &#36;h&#36; &#64;i"
        );
        assert_eq!(escape("see https://a and www.b"), "see https&#58;//a and www&#46;b");
        assert_eq!(code("a|`b`"), "`a\\|'b'`");
        assert_eq!(
            ["10k-concurrent", "a b", "it's", ""].map(quoted),
            ["10k-concurrent", "'a b'", "'it'\\''s'", "''"]
        );
    }
}
