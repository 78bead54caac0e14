//! `stress_results.md`: every report of a directory as one document that reads well on GitHub.
//!
//! Rendered from the reports alone, so that it can be rendered again. Text that came from elsewhere is escaped:
//! no name, reason or close text can break a table or become markup.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::human::{self, NOTHING, count, micros, ratio, seconds};
use super::markup::{bold, code, emoji, escape, indented, line, list, quoted, table};
use super::model::{Example, Judgement, Latencies, Ledger, Report, Verdict, Wave};
use super::style::word;
use super::{file, words};

/// Name of the document within the directory of reports.
pub const FILE: &str = "stress_results.md";

/// Writes the document beside the reports, in one step, and returns its path.
///
/// # Errors
/// When the file cannot be written.
pub fn write(dir: &Path, reports: &[Report]) -> io::Result<PathBuf> {
    let path = dir.join(FILE);
    file::replace(&path, render(reports).as_bytes())?;
    Ok(path)
}

/// The document.
#[must_use]
pub fn render(reports: &[Report]) -> String {
    let mut out = String::from("# Stress results\n\n");
    out.push_str(&glance(reports));
    for report in reports {
        section(&mut out, report);
    }
    out
}

fn glance(reports: &[Report]) -> String {
    let mut out = String::new();
    let several = if reports.len() == 1 { "" } else { "s" };
    let counted = [Verdict::Fail, Verdict::Inconclusive, Verdict::Pass, Verdict::NotApplicable]
        .map(|verdict| (verdict, reports.iter().filter(|r| r.verdict == verdict).count()));
    let counted: Vec<_> = counted
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(v, n)| format!("{} {n} {}", emoji(*v), word(*v)))
        .collect();
    line(&mut out, &format!("{} scenario{several}: {}.", reports.len(), counted.join(" · ")));
    let rows: Vec<_> = reports.iter().map(at_a_glance).collect();
    let header = ["Scenario", "Verdict", "Held", "Established", "Owed", "Lost", "deliver p99", "Took"];
    table(&mut out, &header, "lllrrrrr", &rows);
    out
}

fn at_a_glance(report: &Report) -> [String; 8] {
    let held = report.expectations.iter().filter(|j| j.verdict == Verdict::Pass).count();
    let judged = report.expectations.iter().filter(|j| j.verdict != Verdict::NotApplicable).count();
    let name = &report.scenario.name;
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    let link = if plain { format!("[{name}](#{})", name.to_lowercase()) } else { escape(name) };
    let deliver = report.latency.deliver.as_ref().map_or_else(|| NOTHING.to_owned(), |l| micros(l.p99_us));
    [
        link,
        format!("{} {}", emoji(report.verdict), word(report.verdict)),
        format!("{held} of {judged}"),
        format!("{} of {}", count(report.connections.established), count(report.connections.attempted)),
        count(report.ledger.obligations),
        count(report.ledger.lost),
        deliver,
        seconds(report.run.duration_s),
    ]
}

fn section(out: &mut String, report: &Report) {
    line(out, &format!("## {}", escape(&report.scenario.name)));
    line(
        out,
        &format!(
            "{} **{}** — {}",
            emoji(report.verdict),
            word(report.verdict),
            escape(&report.scenario.about)
        ),
    );
    line(out, &format!("{}<br>\n{}", escape(&words::subject(report)), escape(&words::run(report))));
    list(out, report.why.iter().map(String::as_str));
    judgements(out, "Expectations", &report.expectations);
    judgements(out, "Situations that had to occur", &report.reached);
    figures(out, report);
    slices(out, report);
    resources(out, report);
    growth(out, report);
    examples(out, report);
    shown(out, report);
    reproduce(out, report);
}

fn judgements(out: &mut String, title: &str, all: &[Judgement]) {
    if all.is_empty() {
        return;
    }
    line(out, &format!("### {title}"));
    let rows: Vec<_> = all
        .iter()
        .map(|j| {
            let interval =
                words::interval(j).map(|text| format!("<br>{}", escape(&text))).unwrap_or_default();
            let why = words::why(j).map(|why| escape(&why)).unwrap_or_default();
            let observed = format!("{}{interval}", escape(&j.observed_text));
            [emoji(j.verdict).to_owned(), escape(&j.id), code(&j.condition), observed, escape(&j.limit), why]
        })
        .collect();
    table(out, &["", "Id", "Condition", "Observed", "Limit", "Remark"], "clllll", &rows);
}

fn figures(out: &mut String, report: &Report) {
    line(out, "### Key figures");
    let facts = words::facts(report).into_iter().filter(|(label, _)| *label != "Failures");
    let rows: Vec<_> = facts.map(|(label, text)| [bold(label), escape(&text)]).collect();
    table(out, &["", ""], "ll", &rows);

    let rows = words::latency_rows(&report.latency, report.generator.drain_p99_us);
    if rows.is_empty() {
        line(out, "No latency was measured.");
    } else {
        let rows: Vec<_> = rows.into_iter().map(indented).collect();
        table(out, &words::LATENCY_HEADER, "lrrrrrr", &rows);
    }

    line(out, "### Failures by reason");
    let publishing = report.groups.iter().filter(|(_, group)| words::publishes(group));
    let all = std::iter::once(("subscribers", &report.connections))
        .chain(publishing.map(|(name, group)| (name.as_str(), &group.connections)));
    let mut failed: Vec<_> =
        all.flat_map(|(who, c)| c.failed.iter().map(move |(why, n)| (who, why, *n))).collect();
    failed.sort_by_key(|(_, _, n)| std::cmp::Reverse(*n));
    if failed.is_empty() {
        line(out, "None.");
    } else {
        let rows: Vec<_> =
            failed.into_iter().map(|(who, why, n)| [code(why), escape(who), count(n)]).collect();
        table(out, &["Stage and reason", "Of", "Times"], "llr", &rows);
    }
}

/// Groups and phases side by side, where there is more than the whole.
fn slices(out: &mut String, report: &Report) {
    let row = |name: &str, ledger: &Ledger, latency: &Latencies| {
        let deliver = latency.deliver.as_ref();
        let us = |value: Option<u64>| value.map_or_else(|| NOTHING.to_owned(), micros);
        [
            escape(name),
            count(ledger.obligations),
            count(ledger.delivered),
            count(ledger.lost),
            count(ledger.missed_disconnected),
            us(deliver.map(|l| l.p50_us)),
            us(deliver.map(|l| l.p99_us)),
        ]
    };
    let header =
        |first| [first, "Owed", "Delivered", "Lost", "Missed while away", "deliver p50", "deliver p99"];
    if !report.groups.is_empty() {
        line(out, "### Groups");
        let rows: Vec<_> = report.groups.iter().map(|(name, g)| row(name, &g.ledger, &g.latency)).collect();
        table(out, &header("Group"), "lrrrrrr", &rows);
    }
    if !report.phases.is_empty() {
        line(out, "### Phases");
        let rows: Vec<_> = report.phases.iter().map(|p| row(&p.name, &p.ledger, &p.latency)).collect();
        table(out, &header("Phase"), "lrrrrrr", &rows);
    }
}

fn resources(out: &mut String, report: &Report) {
    line(out, "### Resources");
    let rows: Vec<_> = words::resource_rows(&report.resources).into_iter().map(indented).collect();
    table(out, &words::RESOURCE_HEADER, "lrrrrrr", &rows);
    line(out, &format!("**Generator:** {}", escape(&words::generator(&report.generator))));
    list(out, report.generator.reasons.iter().map(String::as_str));
    let Some(stats) = &report.server_stats else {
        line(out, "The server's own counts were not available.");
        return;
    };
    let rows: Vec<_> = stats
        .checks
        .iter()
        .map(|check| {
            let server = check.server.map_or_else(|| NOTHING.to_owned(), human::number);
            let error = check.error_ratio.map_or_else(|| NOTHING.to_owned(), ratio);
            [emoji(check.verdict).to_owned(), escape(&check.name), server, human::number(check.client), error]
        })
        .collect();
    line(out, &format!("**Server's own counts**, from {}:", code(&stats.source)));
    table(out, &["", "Count", "Server", "Ours", "Difference"], "clrrr", &rows);
}

/// Memory over waves and rounds, where there were any.
fn growth(out: &mut String, report: &Report) {
    if let Some(waves) = &report.waves {
        let known = |n: Option<f64>| n.map_or_else(|| NOTHING.to_owned(), human::bytes);
        let row = |(i, w): (usize, &Wave)| {
            let memory = known(w.server_memory_bytes.map(|n| n as f64));
            let per = known(w.server_memory_per_subscription_bytes);
            [(i + 1).to_string(), count(w.requested), count(w.active), seconds(w.duration_s), memory, per]
        };
        let rows: Vec<_> = waves.each.iter().enumerate().map(row).collect();
        line(out, "### Waves");
        let header = ["Wave", "Asked for", "Active after it", "Took", "Server memory", "Per subscription"];
        table(out, &header, "rrrrrr", &rows);
    }
    if let Some(rounds) = &report.rounds {
        let memory: Vec<_> = rounds.server_memory_end.bytes.iter().map(|n| human::bytes(*n as f64)).collect();
        let grown = rounds.server_memory_end.growth.map_or_else(|| NOTHING.to_owned(), ratio);
        let memory = if memory.is_empty() { NOTHING.to_owned() } else { memory.join(" → ") };
        line(
            out,
            &format!(
                "**Rounds:** {} · server memory after each: {memory} · growth {grown}",
                rounds.completed
            ),
        );
    }
}

/// A few deliveries to follow through the logs of the server.
fn examples(out: &mut String, report: &Report) {
    let row = |e: &Example| {
        let at = |s: Option<f64>| s.map_or_else(|| NOTHING.to_owned(), |s| format!("{s:.3} s"));
        let event = format!("channel {}, publisher {}.{}, seq {}", e.channel, e.publisher, e.epoch, e.seq);
        let times = [at(e.due_s), at(e.sent_s), at(e.received_s)];
        let [due, sent, received] = times;
        [code(&e.class), event, e.subscription.to_string(), due, sent, received, escape(&e.rule)]
    };
    if !report.ledger.examples.is_empty() {
        line(out, "### Deliveries to follow");
        let rows: Vec<_> = report.ledger.examples.iter().map(row).collect();
        let header = ["Class", "Event", "Subscription", "Due", "Sent", "Received", "Rule"];
        table(out, &header, "llrrrrl", &rows);
    }
}

fn shown(out: &mut String, report: &Report) {
    const NOT: &str = "not shown: ";
    let (not, yes): (Vec<_>, Vec<_>) = report.claims.iter().partition(|claim| claim.starts_with(NOT));
    if !yes.is_empty() {
        line(out, "### What was shown");
        list(out, yes.iter().map(|claim| claim.as_str()));
    }
    if !not.is_empty() {
        line(out, "### What was not shown");
        list(out, not.iter().map(|claim| claim.trim_start_matches(NOT)));
    }
}

fn reproduce(out: &mut String, report: &Report) {
    let scenario = &report.scenario;
    let mut command = format!("stressctl run --scenario {} --seed {}", quoted(&scenario.name), scenario.seed);
    if (scenario.scale - 1.0).abs() > f64::EPSILON {
        let _ = write!(command, " --scale {}", scenario.scale);
    }
    if !report.target.reference_server && !report.target.url.is_empty() {
        let _ = write!(command, " --target {}", quoted(&report.target.url));
    }
    line(out, "### How to reproduce");
    line(out, &format!("```sh\n{command}\n```"));
    let commit = report.tool.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let host = &report.host;
    let machine = format!(
        "stressctl {}{commit} on {} {}, {} CPUs, {} of memory, {} open files, {} ports.",
        report.tool.version,
        host.os,
        host.kernel,
        host.cpus,
        human::bytes(host.memory_bytes as f64),
        count(host.nofile),
        count(host.ports)
    );
    let plan = "The plan is the same if its hash is";
    line(out, &format!("{plan} {}; `--set` changes it. {}", code(&scenario.plan_hash), escape(&machine)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{inconclusive, sample};

    #[test]
    fn the_document() {
        insta::assert_snapshot!(render(&[sample(), inconclusive()]));
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_header() {
        let document = render(&[sample(), inconclusive()]);
        let mut cells = None;
        for line in document.lines() {
            if !line.starts_with('|') {
                cells = None;
                continue;
            }
            let n = line.replace("\\|", "").matches('|').count();
            assert_eq!(*cells.get_or_insert(n), n, "{line}");
        }
    }

    #[test]
    fn it_is_written_beside_the_reports() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), &[sample()]).unwrap();
        assert_eq!(path, dir.path().join("stress_results.md"));
        assert_eq!(std::fs::read_to_string(path).unwrap(), render(&[sample()]));
    }
}
