//! The head of `stress_results.md`: one verdict over all scenarios, why it is that, each scenario on one line, and the
//! machines they ran on.

use std::fmt::Write as _;

use super::human::{self, NOTHING, count, micros, seconds};
use super::markup::{escape, line, table, unbroken};
use super::model::{Judgement, Report, Verdict};
use super::style::{mark, word};
use super::words;

const HEADER: [&str; 10] =
    ["Scenario", "Verdict", "Held", "Failed", "Undecided", "N/a", "Owed", "Lost", "Deliver p99", "Took"];

/// Verdict, reasons, table and machines.
pub(super) fn render(out: &mut String, reports: &[Report]) {
    verdict(out, reports);
    reasons(out, reports);
    table(out, &HEADER, "llrrrrrrrr", &reports.iter().map(row).collect::<Vec<_>>());
    line(
        out,
        "Held, failed, undecided and n/a: expectations that held, did not, could not be judged, and do not apply at this \
         size. A situation that had to occur and did not leaves a scenario inconclusive.",
    );
    line(
        out,
        "What failed, by cause: [failure_modes.md](failure_modes.md). What to improve first: \
         [optimization_targets.md](optimization_targets.md).",
    );
    machines(out, reports);
}

/// One verdict, and how many scenarios have which.
fn verdict(out: &mut String, reports: &[Report]) {
    let overall = Verdict::of(reports.iter().map(|report| report.verdict));
    let several = if reports.len() == 1 { "" } else { "s" };
    let counted = [Verdict::Fail, Verdict::Inconclusive, Verdict::Pass, Verdict::NotApplicable]
        .map(|verdict| (verdict, reports.iter().filter(|r| r.verdict == verdict).count()));
    let counted: Vec<_> = counted
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(v, n)| format!("{} {n} {}", mark(*v), word(*v)))
        .collect();
    let all = format!("{} scenario{several}: {}", reports.len(), counted.join(" · "));
    line(out, &format!("**{} {}** — {all}", mark(overall), word(overall).to_uppercase()));
}

/// For each scenario that did not pass, the gravest reason, and how many more its section has.
fn reasons(out: &mut String, reports: &[Report]) {
    let told = |verdict| reports.iter().filter(move |report| report.verdict == verdict);
    let mut any = false;
    for report in told(Verdict::Fail).chain(told(Verdict::Inconclusive)) {
        let (first, others) =
            report.why.split_first().map_or(("no reason given", 0), |(why, rest)| (why.as_str(), rest.len()));
        let more = if others == 0 { String::new() } else { format!(" (and {} more)", count(others as u64)) };
        let why = escape(&words::reason(first));
        let _ = writeln!(out, "- {} {}: {why}{more}", mark(report.verdict), link(&report.scenario.name));
        any = true;
    }
    if any {
        out.push('\n');
    }
}

fn row(report: &Report) -> [String; 10] {
    let judged = |verdict| {
        let n = report.expectations.iter().filter(|j: &&Judgement| j.verdict == verdict).count();
        count(n as u64)
    };
    let deliver = report.latency.deliver.as_ref().map_or_else(|| NOTHING.to_owned(), |l| micros(l.p99_us));
    let lost = count(report.ledger.lost);
    [
        link(&report.scenario.name),
        unbroken(&format!("{} {}", mark(report.verdict), word(report.verdict))),
        judged(Verdict::Pass),
        judged(Verdict::Fail),
        judged(Verdict::Inconclusive),
        judged(Verdict::NotApplicable),
        count(report.ledger.obligations),
        if report.ledger.lost > 0 { format!("**{lost}**") } else { lost },
        unbroken(&deliver),
        unbroken(&seconds(report.run.duration_s)),
    ]
}

/// A link to the scenario's section, where its name makes an anchor that is known.
fn link(name: &str) -> String {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if plain { format!("[{name}](#{})", name.to_lowercase()) } else { escape(name) }
}

/// Where all scenarios ran, and how large; each once, with the scenarios it is true of where there are several.
fn machines(out: &mut String, reports: &[Report]) {
    let mut known: Vec<(String, Vec<&str>)> = Vec::new();
    for report in reports {
        let told = circumstances(report);
        let name = report.scenario.name.as_str();
        match known.iter_mut().find(|(text, _)| *text == told) {
            Some((_, names)) => names.push(name),
            None => known.push((told, vec![name])),
        }
    }
    match known.as_slice() {
        [(text, _)] => line(out, &format!("{}.", escape(text))),
        several => {
            for (text, names) in several {
                let names: Vec<_> = names.iter().map(|name| link(name)).collect();
                let _ = writeln!(out, "- {}: {}", escape(text), names.join(", "));
            }
            out.push('\n');
        }
    }
}

/// Tool, machine, kind of target and size of a run, on one line.
fn circumstances(report: &Report) -> String {
    let whose = if report.target.reference_server {
        "the reference server".to_owned()
    } else if report.target.url.is_empty() {
        "no target".to_owned()
    } else {
        report.target.url.clone()
    };
    human::clean(&format!("{} · against {whose} · scale {}", machine(report), report.scenario.scale))
}

/// The tool and the machine it ran on.
fn machine(report: &Report) -> String {
    let commit = report.tool.commit.as_ref().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let host = &report.host;
    format!(
        "stressctl {}{commit} on {} {}, {} CPUs, {} of memory, {} open files, {} ports",
        report.tool.version,
        host.os,
        host.kernel,
        host.cpus,
        human::bytes(host.memory_bytes as f64),
        count(host.nofile),
        count(host.ports)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Example;
    use crate::report::sample::{inconclusive, sample};
    use crate::report::sample_herd::herd;

    fn rendered(reports: &[Report]) -> String {
        let mut out = String::new();
        render(&mut out, reports);
        out
    }

    #[test]
    fn the_gravest_verdict_comes_first_whatever_the_order() {
        let passed = Report { verdict: Verdict::Pass, why: Vec::new(), ..sample() };
        let table: [(&[Report], &str); 5] = [
            (std::slice::from_ref(&passed), "**✓ PASS** — 1 scenario: ✓ 1 pass"),
            (
                &[passed.clone(), inconclusive()],
                "**? INCONCLUSIVE** — 2 scenarios: ? 1 inconclusive · ✓ 1 pass",
            ),
            (
                &[passed.clone(), inconclusive(), sample()],
                "**✗ FAIL** — 3 scenarios: ✗ 1 fail · ? 1 inconclusive · ✓ 1 pass",
            ),
            (&[sample(), passed.clone()], "**✗ FAIL** — 2 scenarios: ✗ 1 fail · ✓ 1 pass"),
            (&[], "**? INCONCLUSIVE** — 0 scenarios: "),
        ];
        for (reports, first) in table {
            assert_eq!(rendered(reports).lines().next(), Some(first));
        }
    }

    #[test]
    fn only_what_did_not_pass_has_a_reason() {
        let passes = herd();
        assert_eq!(passes.verdict, Verdict::Pass);
        assert!(!rendered(std::slice::from_ref(&passes)).contains("\n- "), "nothing to explain");
        let mut fails = Report { verdict: Verdict::Fail, ..passes };
        fails.why = ["first", "second", "third"].map(str::to_owned).to_vec();
        let text = rendered(&[fails]);
        assert!(text.contains("- ✗ [thundering-herd](#thundering-herd): first (and 2 more)\n"), "{text}");
    }

    #[test]
    fn one_machine_is_named_once_and_several_with_their_scenarios() {
        let one = rendered(&[sample(), herd()]);
        assert_eq!(one.matches("stressctl 0.1.0").count(), 1, "{one}");
        let mut elsewhere = herd();
        elsewhere.host.cpus = 64;
        let two = rendered(&[sample(), elsewhere]);
        assert!(
            two.contains("2 CPUs") && two.contains("scale 1: [10k-concurrent](#10k-concurrent)\n"),
            "{two}"
        );
        assert!(
            two.contains("64 CPUs") && two.contains("scale 1: [thundering-herd](#thundering-herd)\n"),
            "{two}"
        );
    }

    #[test]
    fn foreign_text_cannot_break_the_head() {
        let mut report = inconclusive();
        let evil = "x\n| a | <b>y</b> | `c` [d](javascript:e) \u{1b}[2J ![f](g) \u{202e}";
        report.why = vec![evil.to_owned()];
        report.scenario.name = evil.to_owned();
        report.host.kernel = evil.to_owned();
        report.target.url = evil.to_owned();
        report.ledger.examples.push(Example { class: evil.to_owned(), ..Example::default() });
        let text = rendered(&[report, sample()]);
        for bad in ["<b>", "[d](", "![f]", "\u{1b}", "\u{202e}", "`c`"] {
            assert!(!text.contains(bad), "{bad:?} in {text}");
        }
        let rows: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
        assert!(rows.len() == 4 && rows.iter().all(|row| row.matches('|').count() == 11), "{rows:#?}");
    }
}
