//! The head of `stress_results.md`: one verdict over all scenarios, why it is that, each scenario on one line, and the
//! machines they ran on.

use std::fmt::Write as _;

use super::closing::{self, Ending};
use super::documents::Scope;
use super::human::{self, NOTHING, count, micros, seconds};
use super::markup::{code, escape, line, table, unbroken};
use super::model::{Judgement, Report, Verdict};
use super::style::{mark, word};
use super::words;

const HEADER: [&str; 11] = [
    "Scenario",
    "Verdict",
    "Held",
    "Failed",
    "Undecided",
    "N/a",
    "Owed",
    "Lost",
    "Deliver p99",
    "Took",
    "Started",
];

/// What is said of a scenario that has no report.
const NOT_RUN: &str = "not run";

/// Verdict, reasons, table and machines.
pub(super) fn render(out: &mut String, scope: &Scope<'_>) {
    let reports = scope.reports;
    verdict(out, scope);
    reasons(out, scope);
    let rows: Vec<_> = reports.iter().map(row).chain(scope.not_run().map(row_of_none)).collect();
    table(out, &HEADER, "llrrrrrrrrl", &rows);
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
    left_out(out, &scope.left_out);
    machines(out, reports);
}

/// What lies beside the document and is not in it.
fn left_out(out: &mut String, files: &[String]) {
    if files.is_empty() {
        return;
    }
    let names: Vec<_> = files.iter().map(|name| code(name)).collect();
    line(
        out,
        &format!(
            "Not of this run, and not in here: {}. `stressctl report` with this directory covers all that is in it.",
            names.join(", ")
        ),
    );
}

/// One verdict, and how many scenarios have which.
fn verdict(out: &mut String, scope: &Scope<'_>) {
    let overall = closing::verdict(&scope.endings);
    let all = scope.endings.len();
    let several = if all == 1 { "" } else { "s" };
    let counted = [Verdict::Fail, Verdict::Inconclusive, Verdict::Pass, Verdict::NotApplicable]
        .map(|verdict| (verdict, scope.reports.iter().filter(|r| r.verdict == verdict).count()));
    let mut counted: Vec<_> = counted
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(v, n)| format!("{} {n} {}", mark(*v), word(*v)))
        .collect();
    let not_run = scope.not_run().count();
    if not_run > 0 {
        counted.push(format!("{} {not_run} {NOT_RUN}", mark(Verdict::Inconclusive)));
    }
    let all = format!("{all} scenario{several}: {}", counted.join(" · "));
    line(out, &format!("**{} {}** — {all}", mark(overall), word(overall).to_uppercase()));
}

/// For each scenario that did not pass, the gravest reason, and how many more its section has; for one that was not run,
/// or whose report is not written, why.
fn reasons(out: &mut String, scope: &Scope<'_>) {
    let told = |verdict| scope.reports.iter().filter(move |report| report.verdict == verdict);
    let mut any = false;
    for report in told(Verdict::Fail).chain(told(Verdict::Inconclusive)) {
        let (first, others) =
            report.why.split_first().map_or(("no reason given", 0), |(why, rest)| (why.as_str(), rest.len()));
        let more = if others == 0 { String::new() } else { format!(" (and {} more)", count(others as u64)) };
        let why = escape(&words::reason(first));
        let _ = writeln!(out, "- {} {}: {why}{more}", mark(report.verdict), link(&report.scenario.name));
        any = true;
    }
    for ending in scope.endings.iter().filter(|ending| !ending.is_as_judged()) {
        let what = if ending.judged.is_some() { "its report was not written" } else { NOT_RUN };
        let why = ending.whole_reason().map(|why| format!(": {}", escape(&why))).unwrap_or_default();
        let _ = writeln!(out, "- {} {}: {what}{why}", mark(Verdict::Inconclusive), escape(&ending.name));
        any = true;
    }
    if any {
        out.push('\n');
    }
}

fn row(report: &Report) -> [String; 11] {
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
        unbroken(&escape(&report.run.started_at)),
    ]
}

/// The line of a scenario without a report.
fn row_of_none(ending: &Ending) -> [String; 11] {
    let mut row = std::array::from_fn(|_| NOTHING.to_owned());
    row[0] = escape(&ending.name);
    row[1] = unbroken(&format!("{} {NOT_RUN}", mark(Verdict::Inconclusive)));
    row
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
    use crate::verdict::Outcome;

    fn rendered(reports: &[Report]) -> String {
        let mut out = String::new();
        render(&mut out, &Scope::of(reports));
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
    fn what_was_not_run_or_not_written_counts_and_says_why() {
        let passed = Report { verdict: Verdict::Pass, why: Vec::new(), ..sample() };
        let reports = [passed];
        let told = |endings: Vec<Ending>, left_out: &[&str]| {
            let left_out = left_out.iter().map(|name| (*name).to_owned()).collect();
            let mut out = String::new();
            render(&mut out, &Scope { endings, left_out, ..Scope::of(&reports) });
            out
        };
        let judged = Ending::of(&reports[0]);
        let not_run = |outcome| Ending {
            name: "other".to_owned(),
            outcome,
            judged: None,
            why: Some("the target did not answer:\n- not at all".to_owned()),
        };
        let text = told(vec![judged.clone(), not_run(Outcome::Unreachable)], &[]);
        let first = "**? INCONCLUSIVE** — 2 scenarios: ✓ 1 pass · ? 1 not run";
        assert_eq!(text.lines().next(), Some(first));
        assert!(text.contains("- ? other: not run: the target did not answer: - not at all\n"), "{text}");
        let row = text.lines().find(|line| line.starts_with("| other |")).expect("a row");
        assert_eq!(row, format!("| other | ?\u{a0}not\u{a0}run |{}", " – |".repeat(9)));
        assert!(!text.contains("Not of this run"), "{text}");
        // A failure stays one beside an error.
        let failed = Ending { outcome: Outcome::Failed, ..judged.clone() };
        assert_eq!(closing::verdict(&[failed, not_run(Outcome::Inconclusive)]), Verdict::Fail);

        let unwritten = Ending { outcome: Outcome::Usage, why: Some("disk full".to_owned()), ..judged };
        let text = told(vec![unwritten], &["old.json", "older.json"]);
        assert_eq!(text.lines().next(), Some("**? INCONCLUSIVE** — 1 scenario: ✓ 1 pass"));
        assert!(text.contains("- ? 10k-concurrent: its report was not written: disk full\n"), "{text}");
        assert!(text.contains("Not of this run, and not in here: `old.json`, `older.json`. "), "{text}");
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
        assert!(rows.len() == 4 && rows.iter().all(|row| row.matches('|').count() == 12), "{rows:#?}");
    }
}
