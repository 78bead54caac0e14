//! `stress_results.md`: every report of a directory as one document that reads well on GitHub.
//!
//! Rendered from the reports alone, so that it can be rendered again. Text that came from elsewhere is escaped:
//! no name, reason or close text can break a table or become markup.

use std::fmt::Write as _;

use super::documents::Scope;
use super::human::{self, NOTHING, count, ratio, seconds};
use super::markup::{code, escape, indented, line, list, named, table, unbroken};
use super::model::{Example, Judgement, Report, Slice, Wave};
use super::style::{mark, word};
use super::{climbing, coming_back, disturbed, glance, reproduce, slow, trends, words};

/// Name of the document within the directory of reports.
pub const FILE: &str = "stress_results.md";

/// Deliveries to follow, of each class.
const EXAMPLES: usize = 5;

/// The document.
#[must_use]
pub fn render(scope: &Scope<'_>) -> String {
    let mut out = String::from("# Stress results\n\n");
    glance::render(&mut out, scope);
    for report in scope.reports {
        section(&mut out, report);
    }
    out
}

fn section(out: &mut String, report: &Report) {
    line(out, &format!("## {}", escape(&report.scenario.name)));
    line(
        out,
        &format!(
            "{} **{}** — {}",
            mark(report.verdict),
            word(report.verdict),
            escape(&report.scenario.about)
        ),
    );
    line(out, &format!("{}<br>\n{}", escape(&words::subject(report)), escape(&words::run(report))));
    let why: Vec<_> = report.why.iter().map(|why| words::reason(why)).collect();
    list(out, why.iter().map(String::as_str));
    judgements(out, "Expectations", &report.expectations);
    judgements(out, "Situations that had to occur", &report.reached);
    figures(out, report);
    faults(out, report);
    slices(out, report);
    resources(out, report);
    growth(out, report);
    examples(out, report);
    shown(out, report);
    how_to_reproduce(out, report);
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
                words::interval(j).map(|t| format!("<br>{}", unbroken(&escape(&t)))).unwrap_or_default();
            let observed = format!("{}{interval}", unbroken(&escape(&j.observed_text)));
            // One above the other, so that neither is broken for want of room.
            let condition = format!("**{}**<br>{}", code(&j.id), code(&j.condition));
            [mark(j.verdict).to_owned(), condition, observed, unbroken(&escape(&j.limit))]
        })
        .collect();
    table(out, &["", "Condition", "Observed", "Limit"], "clll", &rows);
    let why = |j: &Judgement| words::why(j).map(|why| format!("{}: {}", code(&j.id), escape(&why)));
    let remarks: Vec<_> = all.iter().filter_map(why).collect();
    for remark in &remarks {
        let _ = writeln!(out, "- {remark}");
    }
    if !remarks.is_empty() {
        out.push('\n');
    }
}

fn figures(out: &mut String, report: &Report) {
    line(out, "### Key figures");
    let mut rows: Vec<[String; 2]> = Vec::new();
    for (label, text) in words::facts(report).into_iter().filter(|(label, _)| *label != "Failures") {
        match rows.last_mut() {
            Some([_, above]) if label.is_empty() => *above = format!("{above}<br>{}", escape(&text)),
            _ => rows.push([label.to_owned(), escape(&text)]),
        }
    }
    table(out, &["What", "Figures"], "ll", &rows);

    line(out, "### Latency");
    let rows = words::latency_rows(&report.latency, report.generator.drain_p99_us);
    if rows.is_empty() {
        line(out, "None was measured.");
    } else {
        let rows: Vec<_> = rows.into_iter().map(indented).collect();
        table(out, &titled("Operation", words::LATENCY_HEADER), "lrrrrrr", &rows);
    }

    line(out, "### Failures by reason");
    let publishing = report.groups.iter().filter(|(name, group)| words::publishes(name, group));
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

/// The header of a table that stands under a heading of its own.
fn titled<const N: usize>(first: &'static str, mut header: [&'static str; N]) -> [&'static str; N] {
    header[0] = first;
    header
}

/// Plan and deed of each fault, and how clients came back.
fn faults(out: &mut String, report: &Report) {
    let rows: Vec<_> = disturbed::fault_rows(report, usize::MAX).into_iter().map(indented).collect();
    if !rows.is_empty() {
        line(out, "### Faults");
        let header = ["Fault", "Planned", "Applied", "Ended", "First at", "All within", "p99 late"];
        table(out, &header, "lrrrrrr", &rows);
        list(out, disturbed::fault_notes(report).iter().map(String::as_str));
    }
    if let Some((lines, evidence)) = slow::told(report) {
        line(out, "### Slow readers");
        list(out, lines.iter().chain(&evidence).map(String::as_str));
    }
    let rows: Vec<_> = coming_back::rows(report).into_iter().map(named).collect();
    if !rows.is_empty() {
        line(out, "### Reconnects");
        let header = [
            "Group",
            "Ended",
            "Tries",
            "Failed",
            "Tries per end",
            "Most in 100 ms",
            "50 % back after",
            "95 %",
            "100 %",
        ];
        table(out, &header, "lrrrrrrrr", &rows);
        list(out, coming_back::notes(report).iter().map(String::as_str));
    }
}

/// Groups and phases side by side, where there is more than the whole.
fn slices(out: &mut String, report: &Report) {
    let (publishing, receiving): (Vec<_>, Vec<_>) =
        report.groups.iter().partition(|(name, group)| words::publishes(name, group));
    let clients: Vec<_> = disturbed::client_rows(report).into_iter().map(named).collect();
    if !clients.is_empty() {
        line(out, "### Groups");
        let header = [
            "Group",
            "Connections",
            "Cut",
            "Back",
            "Owed",
            "Delivered",
            "Lost",
            "Missed while away",
            "Deliver p99",
        ];
        table(out, &header, "lrrrrrrrr", &clients);
    } else if !receiving.is_empty() {
        line(out, "### Groups");
        let rows: Vec<_> = receiving
            .iter()
            .map(|(name, g)| named(disturbed::figures(human::clean(name), &g.ledger, &g.latency)))
            .collect();
        table(out, &figures_of("Group"), "lrrrrrr", &rows);
    }
    publishers(out, &publishing);
    let phases: Vec<_> = disturbed::phase_rows(report).into_iter().map(named).collect();
    if !phases.is_empty() {
        line(out, "### Phases");
        table(out, &figures_of("Phase"), "lrrrrrr", &phases);
        list(out, disturbed::delivery_note(report).into_iter());
    }
}

fn figures_of(what: &'static str) -> [&'static str; 7] {
    [what, "Owed", "Delivered", "Lost", "Missed while away", "Deliver p50", "Deliver p99"]
}

/// Groups that publish and receive nothing.
fn publishers(out: &mut String, groups: &[(&String, &Slice)]) {
    let row = |(name, group): &(&String, &Slice)| {
        let published = &group.published;
        let rate = published.rate.map_or_else(|| NOTHING.to_owned(), human::rate);
        let counts = [published.attempted, published.sent, published.acked].map(count);
        let [due, sent, acked] = counts;
        [code(name), due, sent, acked, rate]
    };
    if !groups.is_empty() {
        line(out, "### Publishers");
        let rows: Vec<_> = groups.iter().map(row).collect();
        table(out, &["Group", "Due", "Sent", "Acknowledged", "Rate"], "lrrrr", &rows);
    }
}

fn resources(out: &mut String, report: &Report) {
    line(out, "### Resources");
    let rows: Vec<_> = words::resource_rows(&report.resources).into_iter().map(indented).collect();
    table(out, &titled("Process", words::RESOURCE_HEADER), "lrrrrrr", &rows);
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
            let [name, server, ours] = words::stat_check(check);
            let error = check.error_ratio.map_or_else(|| NOTHING.to_owned(), ratio);
            [mark(check.verdict).to_owned(), escape(&name), server, ours, unbroken(&error)]
        })
        .collect();
    let note = words::stat_note(stats).map(|note| format!(" ({note})")).unwrap_or_default();
    line(out, &format!("**Server's own counts**, from {}{note}:", code(&stats.source)));
    table(out, &["", "Count", "Server", "Ours", "Difference"], "clrrr", &rows);
    if let Some(said) = words::all_along(stats) {
        line(out, &format!("{}.", escape(&said)));
    }
}

/// Memory over waves and rounds, where there were any, and trends over the phases.
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
        line(out, "### Rounds");
        let rows: Vec<_> =
            words::round_rows(rounds).into_iter().map(|row| row.map(|c| unbroken(&c))).collect();
        if !rows.is_empty() {
            let header = [
                "Round",
                "Set-up",
                "Established",
                "In one census",
                "Owed",
                "Delivered",
                "Lost",
                "Other",
                "Server memory after",
            ];
            table(out, &header, "rrrrrrrrr", &rows);
        }
        line(out, &format!("{}.", escape(&words::round_note(rounds))));
    }
    if let Some(sentence) = climbing::sentence(report) {
        line(out, "### How far a payload climbed");
        let header = [
            "Payload",
            "Sent",
            "Owed",
            "Delivered",
            "Damaged",
            "Took",
            "Generator's memory",
            "Server's memory",
            "Outcome",
        ];
        table(out, &header, "rrrrrrrrl", &climbing::rows(report));
        line(out, &format!("{}.", escape(&sentence)));
    }
    let trends = trends::sentences(report);
    if !trends.is_empty() {
        line(out, "### Trends");
        list(out, trends.iter().map(String::as_str));
    }
}

/// A few deliveries to follow through the logs of the server.
fn examples(out: &mut String, report: &Report) {
    let row = |e: &Example| {
        let at = |s: Option<f64>| s.map_or_else(|| NOTHING.to_owned(), |s| format!("{s:.3} s"));
        let event = format!(
            "channel {}, publisher {}, epoch {}, seq {}",
            disturbed::channel(e),
            e.publisher,
            e.epoch,
            e.seq
        );
        let times = [at(e.due_s), at(e.sent_s), at(e.received_s)];
        let [due, sent, received] = times;
        [code(&e.class), escape(&event), e.subscription.to_string(), due, sent, received, escape(&e.rule)]
    };
    let (shown, more) = disturbed::examples(report, EXAMPLES, |_| true);
    if !shown.is_empty() {
        line(out, "### Deliveries to follow");
        let rows: Vec<_> = shown.into_iter().map(row).collect();
        let header = ["Class", "Event", "Subscription", "Due", "Sent", "Received", "Rule"];
        table(out, &header, "llrrrrl", &rows);
    }
    if more > 0 {
        line(out, &format!("{} more are in the JSON report.", count(more as u64)));
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

fn how_to_reproduce(out: &mut String, report: &Report) {
    let scenario = &report.scenario;
    line(out, "### How to reproduce");
    line(out, &reproduce::fenced(report));
    let plan = "The plan is the same if its hash is";
    let set = if scenario.command.is_none() { "; `--set` changes it" } else { "" };
    line(out, &format!("{plan} {}{set}.", code(&scenario.plan_hash)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(reports: &[Report]) -> String {
        render(&Scope::of(reports))
    }
    use crate::report::sample::{inconclusive, sample};
    use crate::report::sample_herd::{cascade, herd};

    #[test]
    fn trends_have_a_section() {
        let report = Report { trend: Some(crate::report::sample::trends()), ..sample() };
        let text = rendered(&[report]);
        assert!(text.contains("### Trends\n\n- server memory grew by 3.1 MiB (95 %: "), "{text}");
    }

    #[test]
    fn the_document() {
        insta::assert_snapshot!(rendered(&[sample(), inconclusive()]));
    }

    #[test]
    fn a_scenario_with_faults() {
        insta::assert_snapshot!(rendered(&[herd()]));
    }

    #[test]
    fn a_scenario_with_many_kinds_of_faults() {
        insta::assert_snapshot!(rendered(&[cascade()]));
    }

    #[test]
    fn every_row_has_as_many_cells_as_its_header() {
        let document = rendered(&[sample(), inconclusive(), herd()]);
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
}
