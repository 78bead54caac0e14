//! The screen at the end of a run, at most 100 columns wide.

use std::io::{self, Write};
use std::path::Path;

use super::human;
use super::model::{Judgement, Report, Verdict};
use super::style::{Style, mark, word};
use super::words;

/// Width that long sentences are broken at.
const WIDTH: usize = 98;

/// Column at which values start.
const LABEL: usize = 15;

/// Writes one report; `path` is where its JSON is.
///
/// # Errors
/// When the writer fails.
pub fn render(report: &Report, path: Option<&Path>, style: Style, w: &mut impl Write) -> io::Result<()> {
    heading(report, style, w)?;
    writeln!(w)?;
    judgements("Expectations", &report.expectations, style, w)?;
    judgements("Reached", &report.reached, style, w)?;
    writeln!(w)?;
    for (label, text) in words::facts(report) {
        labelled(label, &text, style, w)?;
    }
    writeln!(w)?;
    table(
        &words::LATENCY_HEADER,
        &words::latency_rows(&report.latency, report.generator.drain_p99_us),
        style,
        w,
    )?;
    table(&words::RESOURCE_HEADER, &words::resource_rows(&report.resources), style, w)?;
    writeln!(w)?;
    server_counts(report, style, w)?;
    labelled("Generator", &words::generator(&report.generator), style, w)?;
    if !report.generator.reasons.is_empty() {
        labelled("", &human::clean(&report.generator.reasons.join("; ")), style, w)?;
    }
    for (i, claim) in report.claims.iter().enumerate() {
        for (j, line) in wrap(&human::clean(claim), WIDTH - LABEL - 2).iter().enumerate() {
            let label = if (i, j) == (0, 0) { "Shown" } else { "" };
            let bullet = if j == 0 { "•" } else { " " };
            writeln!(w, "{}{bullet} {line}", style.bold(&pad(label, LABEL)))?;
        }
    }
    if let Some(path) = path {
        labelled("Report", &path.display().to_string(), style, w)?;
    }
    Ok(())
}

/// Writes one line per report, for the end of a run of several.
///
/// # Errors
/// When the writer fails.
pub fn summary(reports: &[Report], style: Style, w: &mut impl Write) -> io::Result<()> {
    let width = reports.iter().map(|r| chars(&human::clean(&r.scenario.name))).max().unwrap_or(0);
    for report in reports {
        let held = |verdict| report.expectations.iter().filter(|j| j.verdict == verdict).count();
        let judged = report.expectations.len() - held(Verdict::NotApplicable);
        let name = pad(&human::clean(&report.scenario.name), width);
        let verdict = style.verdict(report.verdict, &pad(&badge(report.verdict), 12));
        let first = report.why.first().map(|why| format!(" · {}", human::clean(why))).unwrap_or_default();
        let time = human::seconds(report.run.duration_s);
        let line = format!("{name}  {:>2} of {judged:>2} held  {time:>9}{first}", held(Verdict::Pass));
        writeln!(w, "{verdict}  {}", shorten(&line, WIDTH - 14))?;
    }
    Ok(())
}

fn heading(report: &Report, style: Style, w: &mut impl Write) -> io::Result<()> {
    let badge = style.verdict(report.verdict, &badge(report.verdict));
    writeln!(w, "{badge}  {}", style.bold(&human::clean(&report.scenario.name)))?;
    for line in [human::clean(&report.scenario.about), words::subject(report), words::run(report)] {
        paragraph("  ", &line, style, w)?;
    }
    // What a condition has to say stands beside it, below.
    let judgements = || report.expectations.iter().chain(&report.reached);
    let is_below =
        |why: &str| judgements().any(|j| why.strip_prefix(&j.id).is_some_and(|w| w.starts_with(' ')));
    for why in report.why.iter().filter(|why| !is_below(why)) {
        let mark = style.verdict(report.verdict, "▸");
        for (i, line) in wrap(&human::clean(why), WIDTH - 4).iter().enumerate() {
            writeln!(w, "  {} {line}", if i == 0 { mark.as_str() } else { " " })?;
        }
    }
    Ok(())
}

fn badge(verdict: Verdict) -> String {
    word(verdict).to_uppercase()
}

fn judgements(title: &str, all: &[Judgement], style: Style, w: &mut impl Write) -> io::Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    writeln!(w, "{}", style.bold(title))?;
    let widest = |text: fn(&Judgement) -> &str| all.iter().map(|j| chars(text(j))).max().unwrap_or(0);
    let (ids, observed) = (widest(|j| &j.id), widest(|j| &j.observed_text));
    let limits = widest(|j| &j.limit);
    for judgement in all {
        let mark = style.verdict(judgement.verdict, mark(judgement.verdict));
        let interval =
            words::interval(judgement).map(|text| format!("  {}", style.dim(&text))).unwrap_or_default();
        let limit = if interval.is_empty() { judgement.limit.clone() } else { pad(&judgement.limit, limits) };
        let (id, seen) = (pad(&judgement.id, ids), pad(&judgement.observed_text, observed));
        let line = format!("  {mark} {id}  {seen}  {limit}{interval}");
        let Some(why) = words::why(judgement) else {
            writeln!(w, "{line}")?;
            continue;
        };
        // The coloured mark is one column whatever it takes to write it.
        let taken = 9 + ids + observed + chars(&judgement.limit);
        if interval.is_empty() && taken + chars(&why) <= WIDTH {
            writeln!(w, "{line}  {}", style.dim(&why))?;
        } else {
            writeln!(w, "{line}")?;
            paragraph("      ", &why, style, w)?;
        }
    }
    Ok(())
}

fn server_counts(report: &Report, style: Style, w: &mut impl Write) -> io::Result<()> {
    let Some(stats) = &report.server_stats else {
        return labelled("Server counts", "not available", style, w);
    };
    let checks: Vec<_> =
        stats.checks.iter().map(|c| format!("{} {}", mark(c.verdict), words::stat_check(c))).collect();
    let said = if checks.is_empty() { "nothing compared".to_owned() } else { checks.join(" · ") };
    labelled("Server counts", &format!("{said} (server / ours)"), style, w)
}

/// A table whose first column is left and whose others are right aligned.
fn table<const N: usize>(
    header: &[&str; N],
    rows: &[[String; N]],
    style: Style,
    w: &mut impl Write,
) -> io::Result<()> {
    let line = |cells: [&str; N]| {
        let mut line = pad(cells[0], LABEL);
        for cell in &cells[1..] {
            line.push_str(&format!("{}{cell}", " ".repeat(12_usize.saturating_sub(chars(cell)))));
        }
        line.trim_end().to_owned()
    };
    writeln!(w, "{}", style.bold(&line(*header)))?;
    for row in rows {
        writeln!(w, "{}", line(std::array::from_fn(|i| row[i].as_str())))?;
    }
    Ok(())
}

fn labelled(label: &str, text: &str, style: Style, w: &mut impl Write) -> io::Result<()> {
    for (i, line) in wrap(text, WIDTH - LABEL).iter().enumerate() {
        let label = if i == 0 { pad(label, LABEL) } else { " ".repeat(LABEL) };
        writeln!(w, "{}{line}", if label.trim().is_empty() { label } else { style.bold(&label) })?;
    }
    Ok(())
}

fn paragraph(indent: &str, text: &str, style: Style, w: &mut impl Write) -> io::Result<()> {
    for line in wrap(text, WIDTH - chars(indent)) {
        writeln!(w, "{indent}{}", style.dim(&line))?;
    }
    Ok(())
}

/// Breaks at spaces; a word longer than the width stays whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if chars(line) + 1 + chars(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(chars(text))))
}

fn shorten(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width - 1).collect();
    format!("{}…", kept.trim_end())
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{inconclusive, sample};

    fn rendered(report: &Report, style: Style) -> String {
        let mut out = Vec::new();
        render(report, Some(Path::new("stress-results/10k-concurrent.json")), style, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_full_report() {
        let text = rendered(&sample(), Style::default());
        assert!(text.lines().count() <= 50, "{} lines", text.lines().count());
        assert!(text.lines().all(|line| chars(line) <= 100));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_report_without_samples() {
        insta::assert_snapshot!(rendered(&inconclusive(), Style::default()));
    }

    #[test]
    fn colour_changes_no_text() {
        let colored = rendered(&sample(), Style { color: true });
        assert!(colored.starts_with("\u{1b}[31mFAIL\u{1b}[0m"));
        let mut plain = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, rendered(&sample(), Style::default()));
    }

    #[test]
    fn several_reports_are_summed_up() {
        let mut out = Vec::new();
        summary(&[sample(), inconclusive()], Style::default(), &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap());
    }
}
