//! The screen at the end of a run, laid out for the width of the terminal.

use std::io::{self, Write};
use std::path::Path;

use super::human;
use super::model::{Judgement, Report, Verdict};
use super::style::{Style, chars, mark, pad, word, wrap};
use super::{climbing, coming_back, disturbed, slow, trends, words};

/// Column at which values start.
const LABEL: usize = 15;

/// Below this, the percentile that is needed least is left out.
const ROOMY: usize = 90;

/// Deliveries to follow, of each class.
const EXAMPLES: usize = 2;

/// Writes one report, `width` columns wide; `path` is where its JSON is.
///
/// # Errors
/// When the writer fails.
pub fn render(
    report: &Report,
    path: Option<&Path>,
    style: Style,
    width: usize,
    w: &mut impl Write,
) -> io::Result<()> {
    let mut screen = Screen { style, width, w };
    screen.heading(report)?;
    screen.blank()?;
    screen.judgements("Expectations", &report.expectations)?;
    screen.judgements("Reached", &report.reached)?;
    if !(report.expectations.is_empty() && report.reached.is_empty()) {
        screen.blank()?;
    }
    for (label, text) in words::facts(report) {
        screen.labelled(label, &text)?;
    }
    screen.disturbed(report)?;
    screen.climbed(report)?;
    screen.blank()?;
    screen.latency(report)?;
    screen.table(&words::RESOURCE_HEADER, &words::resource_rows(&report.resources))?;
    screen.rounds(report)?;
    screen.trends(report)?;
    screen.blank()?;
    screen.server_counts(report)?;
    screen.blank()?;
    screen.labelled("Generator", &words::generator(&report.generator))?;
    if !report.generator.reasons.is_empty() {
        screen.labelled("", &human::clean(&report.generator.reasons.join("; ")))?;
    }
    screen.claims(&report.claims)?;
    screen.examples(report)?;
    if let Some(path) = path {
        screen.labelled("Report", &path.display().to_string())?;
    }
    Ok(())
}

fn badge(verdict: Verdict) -> String {
    word(verdict).to_uppercase()
}

struct Screen<'a, W: Write> {
    style: Style,
    width: usize,
    w: &'a mut W,
}

impl<W: Write> Screen<'_, W> {
    fn blank(&mut self) -> io::Result<()> {
        writeln!(self.w)
    }

    fn heading(&mut self, report: &Report) -> io::Result<()> {
        let badge = self.style.verdict(report.verdict, &badge(report.verdict));
        let name = self.style.bold(&human::clean(&report.scenario.name));
        writeln!(self.w, "{badge}  {name}")?;
        for line in [human::clean(&report.scenario.about), words::subject(report), words::run(report)] {
            self.paragraph("  ", &line)?;
        }
        // What a condition has to say stands beside it, below.
        let judgements = || report.expectations.iter().chain(&report.reached);
        let is_below =
            |why: &str| judgements().any(|j| why.strip_prefix(&j.id).is_some_and(|w| w.starts_with(' ')));
        for why in report.why.iter().filter(|why| !is_below(why)) {
            let mark = self.style.verdict(report.verdict, "▸");
            self.hanging(["  ", &mark, " "].concat(), 4, &words::reason(why))?;
        }
        Ok(())
    }

    fn judgements(&mut self, title: &str, all: &[Judgement]) -> io::Result<()> {
        if all.is_empty() {
            return Ok(());
        }
        writeln!(self.w, "{}", self.style.bold(title))?;
        let rows: Vec<_> = all.iter().map(Row::of).collect();
        let columns = self.judgement_columns(&rows);
        for row in &rows {
            self.judgement(row, columns)?;
        }
        Ok(())
    }

    /// Widths of id, observed and limit; rows that would make them too wide stand out instead.
    fn judgement_columns(&self, rows: &[Row<'_>]) -> [usize; 3] {
        let mut widths: Vec<_> =
            rows.iter().map(|row| [row.id, &row.observed, row.limit].map(chars)).collect();
        widths.sort_by_key(|row| row.iter().sum::<usize>());
        loop {
            let columns = widths
                .iter()
                .fold([0; 3], |most: [usize; 3], row| std::array::from_fn(|i| most[i].max(row[i])));
            if 8 + columns.iter().sum::<usize>() <= self.width || widths.pop().is_none() {
                return columns;
            }
        }
    }

    /// One line where it fits: mark, id, observed, limit, interval and why; what does not fit goes below.
    fn judgement(&mut self, row: &Row<'_>, [ids, observed, limits]: [usize; 3]) -> io::Result<()> {
        let mark = self.style.verdict(row.verdict, mark(row.verdict));
        let line = format!("{}  {}  {}", pad(row.id, ids), pad(&row.observed, observed), row.limit);
        if 4 + chars(&line) > self.width {
            writeln!(self.w, "  {mark} {}", row.id)?;
            self.lines("      ", &format!("{} · {}", row.observed, row.limit))?;
            return row.remarks.iter().try_for_each(|remark| self.paragraph("      ", remark));
        }
        let aligned = format!("{line}{}", " ".repeat(limits.saturating_sub(chars(row.limit))));
        let room = self.width.saturating_sub(6 + chars(&aligned));
        match row.remarks.split_first() {
            Some((first, others)) if chars(first) <= room => {
                writeln!(self.w, "  {mark} {aligned}  {}", self.style.dim(first))?;
                others.iter().try_for_each(|remark| self.paragraph("      ", remark))
            }
            _ => {
                writeln!(self.w, "  {mark} {line}")?;
                row.remarks.iter().try_for_each(|remark| self.paragraph("      ", remark))
            }
        }
    }

    fn latency(&mut self, report: &Report) -> io::Result<()> {
        let mut header = words::LATENCY_HEADER.to_vec();
        let mut rows: Vec<Vec<String>> = words::latency_rows(&report.latency, report.generator.drain_p99_us)
            .into_iter()
            .map(Into::into)
            .collect();
        if rows.is_empty() {
            return self.labelled("Latency", "none was measured");
        }
        if self.width < ROOMY {
            header.remove(words::LATENCY_SPARE);
            for row in &mut rows {
                row.remove(words::LATENCY_SPARE);
            }
        }
        self.table(&header, &rows)
    }

    /// What faults did, and to whom.
    fn disturbed(&mut self, report: &Report) -> io::Result<()> {
        if report.faults.is_empty() {
            return Ok(());
        }
        self.blank()?;
        self.table(&disturbed::FAULT_HEADER, &disturbed::fault_rows(report, disturbed::FAULT_NAME))?;
        disturbed::fault_notes(report).iter().try_for_each(|note| self.paragraph("  ", note))?;
        if let Some((lines, evidence)) = slow::told(report) {
            for (i, line) in lines.iter().chain(&evidence).enumerate() {
                self.labelled(if i == 0 { "Slow readers" } else { "" }, line)?;
            }
        }
        let reconnects = coming_back::rows(report);
        if !reconnects.is_empty() {
            self.table(&coming_back::HEADER, &reconnects)?;
            coming_back::notes(report).iter().try_for_each(|note| self.paragraph("  ", note))?;
        }
        self.table(&disturbed::CLIENT_HEADER, &disturbed::client_rows(report))?;
        self.table(&disturbed::PHASE_HEADER, &disturbed::phase_rows(report))?;
        disturbed::delivery_note(report).map_or(Ok(()), |note| self.paragraph("  ", note))
    }

    /// A few deliveries to follow through the logs of the server.
    fn examples(&mut self, report: &Report) -> io::Result<()> {
        let (shown, more) =
            disturbed::examples(report, EXAMPLES, |class| disturbed::is_serious(report, class));
        for (i, example) in shown.iter().enumerate() {
            let label = self.style.bold(&pad(if i == 0 { "To follow" } else { "" }, LABEL));
            self.hanging(format!("{label}• "), LABEL + 2, &disturbed::example(example))?;
        }
        if more > 0 {
            self.labelled("", &format!("{} more in the JSON", human::count(more as u64)))?;
        }
        Ok(())
    }

    fn rounds(&mut self, report: &Report) -> io::Result<()> {
        let Some(rounds) = report.rounds.as_ref().filter(|rounds| !rounds.each.is_empty()) else {
            return Ok(());
        };
        self.blank()?;
        self.table(&words::ROUND_HEADER, &words::round_rows(rounds))?;
        self.paragraph("  ", &words::round_note(rounds))
    }

    /// How far a payload climbed, and how it failed.
    fn climbed(&mut self, report: &Report) -> io::Result<()> {
        let Some(sentence) = climbing::sentence(report) else { return Ok(()) };
        self.blank()?;
        self.table(&climbing::HEADER, &climbing::rows(report))?;
        self.paragraph("  ", &sentence)
    }

    fn trends(&mut self, report: &Report) -> io::Result<()> {
        for (i, sentence) in trends::sentences(report).into_iter().enumerate() {
            self.labelled(if i == 0 { "Trend" } else { "" }, &sentence)?;
        }
        Ok(())
    }

    /// The server's figures beside ours.
    fn server_counts(&mut self, report: &Report) -> io::Result<()> {
        let Some(stats) = report.server_stats.as_ref().filter(|stats| !stats.checks.is_empty()) else {
            return self.labelled("Server counts", "not available");
        };
        let names = stats.checks.iter().map(|c| chars(&human::clean(&c.name))).max().unwrap_or(0);
        let header = format!("{}{:>12}{:>12}", pad("Server counts", names + 4), "server", "ours");
        writeln!(self.w, "{}", self.style.bold(&header))?;
        for check in &stats.checks {
            let mark = self.style.verdict(check.verdict, mark(check.verdict));
            let [name, server, ours] = words::stat_check(check);
            writeln!(self.w, "  {mark} {}{server:>12}{ours:>12}", pad(&name, names))?;
        }
        if let Some(note) = words::stat_note(stats) {
            self.paragraph("    ", note)?;
        }
        if let Some(said) = words::all_along(stats) {
            self.paragraph("    ", &human::clean(&said))?;
        }
        Ok(())
    }

    fn claims(&mut self, claims: &[String]) -> io::Result<()> {
        for (i, claim) in claims.iter().enumerate() {
            let label = self.style.bold(&pad(if i == 0 { "Shown" } else { "" }, LABEL));
            self.hanging(format!("{label}• "), LABEL + 2, &human::clean(claim))?;
        }
        Ok(())
    }

    /// A table whose first column is left and whose others are right aligned; narrow columns share the room that
    /// there is, so that tables one below the other stand in line.
    fn table<R: AsRef<[String]>>(&mut self, header: &[&str], rows: &[R]) -> io::Result<()> {
        let widths = self.columns(header, rows);
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let mut line = String::new();
            for (i, (cell, width)) in cells.zip(&widths).enumerate() {
                let gap = " ".repeat(width.saturating_sub(chars(cell)));
                line.push_str(&if i == 0 { format!("{cell}{gap}") } else { format!("{gap}{cell}") });
            }
            line.trim_end().to_owned()
        };
        let titles = line(&mut header.iter().copied());
        writeln!(self.w, "{}", self.style.bold(&titles))?;
        for row in rows {
            writeln!(self.w, "{}", line(&mut row.as_ref().iter().map(String::as_str)))?;
        }
        Ok(())
    }

    /// Widths of a table's columns, each with the gap before it.
    fn columns<R: AsRef<[String]>>(&self, header: &[&str], rows: &[R]) -> Vec<usize> {
        let widest = |i: usize| {
            let cells = rows.iter().map(|row| chars(&row.as_ref()[i]));
            cells.chain([chars(header[i])]).max().unwrap_or(0)
        };
        let figures = header.len() - 1;
        let laid_out = |first: usize, gap: usize, least: usize| {
            let mut widths = vec![widest(0).max(first)];
            widths.extend((1..=figures).map(|i| (widest(i) + gap).max(least)));
            widths
        };
        let even = ((self.width - LABEL) / figures).min(12);
        [laid_out(LABEL, 2, even), laid_out(LABEL, 2, 0), laid_out(0, 2, 0)]
            .into_iter()
            .find(|widths| widths.iter().sum::<usize>() <= self.width)
            .unwrap_or_else(|| laid_out(0, 1, 0))
    }

    fn labelled(&mut self, label: &str, text: &str) -> io::Result<()> {
        let label = if label.is_empty() { " ".repeat(LABEL) } else { self.style.bold(&pad(label, LABEL)) };
        self.hanging(label, LABEL, text)
    }

    /// `first` takes `indent` columns whatever it takes to write it in colour.
    fn hanging(&mut self, first: String, indent: usize, text: &str) -> io::Result<()> {
        let mut before = first;
        for line in wrap(text, self.width - indent) {
            writeln!(self.w, "{before}{line}")?;
            before = " ".repeat(indent);
        }
        Ok(())
    }

    fn lines(&mut self, indent: &str, text: &str) -> io::Result<()> {
        self.hanging(indent.to_owned(), chars(indent), text)
    }

    fn paragraph(&mut self, indent: &str, text: &str) -> io::Result<()> {
        for line in wrap(text, self.width - chars(indent)) {
            writeln!(self.w, "{indent}{}", self.style.dim(&line))?;
        }
        Ok(())
    }
}

/// A judgement as the screen shows it.
struct Row<'a> {
    verdict: Verdict,
    id: &'a str,
    observed: String,
    limit: &'a str,
    /// The interval and why, as far as there is something to say.
    remarks: Vec<String>,
}

impl<'a> Row<'a> {
    fn of(judgement: &'a Judgement) -> Self {
        Self {
            verdict: judgement.verdict,
            id: &judgement.id,
            observed: human::clean(&judgement.observed_text),
            limit: &judgement.limit,
            remarks: words::interval(judgement).into_iter().chain(words::why(judgement)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{inconclusive, sample, trends as sample_trends};
    use crate::report::sample_herd::{cascade, herd};

    fn rendered(report: &Report, style: Style, width: usize) -> String {
        let mut out = Vec::new();
        render(report, Some(Path::new("stress-results/10k-concurrent.json")), style, width, &mut out)
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_full_report() {
        let text = rendered(&sample(), Style::default(), 100);
        assert!(text.lines().count() <= 60, "{} lines", text.lines().count());
        insta::assert_snapshot!(text);
    }

    #[test]
    fn trends_are_shown_below_the_memory() {
        let report = Report { trend: Some(sample_trends()), waves: None, rounds: None, ..sample() };
        let text = rendered(&report, Style::default(), 100);
        let below = text.split("Resources").nth(1).and_then(|rest| rest.split("Server counts").next());
        let shown =
            "Trend          server memory grew by 3.1 MiB (95 %: -1 MiB to 7.2 MiB), floor 64 MiB: steady\n";
        assert!(below.is_some_and(|below| below.contains(shown)), "{text}");
    }

    #[test]
    fn a_full_report_on_80_columns() {
        insta::assert_snapshot!(rendered(&sample(), Style::default(), 80));
    }

    #[test]
    fn a_report_with_faults_on_80_columns() {
        insta::assert_snapshot!(rendered(&herd(), Style::default(), 80));
    }

    #[test]
    fn faults_of_many_kinds() {
        insta::assert_snapshot!(rendered(&cascade(), Style::default(), 100));
    }

    #[test]
    fn faults_of_many_kinds_on_80_columns() {
        insta::assert_snapshot!(rendered(&cascade(), Style::default(), 80));
    }

    #[test]
    fn every_line_fits() {
        for width in [72, 80, 100, 120] {
            for report in [sample(), inconclusive(), wordy(), herd(), cascade()] {
                let text = rendered(&report, Style::default(), width);
                for line in text.lines() {
                    assert!(chars(line) <= width, "{} columns of {width}: {line}", chars(line));
                    assert_eq!(line, line.trim_end(), "nothing hangs off the end");
                }
            }
        }
    }

    /// Everything as long as it gets.
    fn wordy() -> Report {
        let mut report = sample();
        let long = "as long as a name may well be, and ".repeat(6);
        report.scenario.about.clone_from(&long);
        report.why.push(long.clone());
        report.claims.push(long.clone());
        report.generator.reasons.push(long.clone());
        for judgement in &mut report.expectations {
            judgement.id.push_str("-under-the-heaviest-load-there-is");
            judgement.observed_text = "99.999999 % (123,456,789 of 123,456,790)".to_owned();
            judgement.why = Some(long.clone());
        }
        for us in [&mut report.latency.connect, &mut report.latency.deliver].into_iter().flatten() {
            (us.p50_us, us.p99_us, us.p999_us, us.max_us) =
                (119_999_999, 119_999_999, 7_199e6 as u64, 7_199e6 as u64);
            us.count = 123_456_789;
        }
        if let Some(server) = &mut report.resources.server {
            (server.memory_peak_bytes, server.cpu_s, server.fds_peak) = (1_072_693_248, 46_799.0, 1_048_576);
        }
        for round in report.rounds.iter_mut().flat_map(|rounds| &mut rounds.each) {
            (round.ledger.obligations, round.ledger.delivered) = (12_345_678, 12_345_670);
            round.setup_duration_s = Some(119.0);
        }
        report
    }

    #[test]
    fn a_report_without_samples() {
        insta::assert_snapshot!(rendered(&inconclusive(), Style::default(), 100));
    }

    #[test]
    fn colour_changes_no_text() {
        let colored = rendered(&sample(), Style { color: true }, 100);
        assert!(colored.starts_with("\u{1b}[31mFAIL\u{1b}[0m"));
        let mut plain = String::new();
        let mut rest = colored.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, rendered(&sample(), Style::default(), 100));
    }
}
