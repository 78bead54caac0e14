//! The end of a run of several scenarios on the screen: a line for each, one verdict over all, and why the exit code is
//! what it is.

use std::io::{self, Write};

use super::model::{Report, Verdict};
use super::style::{Style, chars, pad, shorten, word, wrap};
use super::{human, words};
use crate::verdict::{Outcome, exit_code, gravest};

/// Width of the column of verdicts.
const BADGE: usize = 12;

/// How one of several scenarios ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// Its name.
    pub name: String,
    /// What it contributes to the exit code.
    pub outcome: Outcome,
    /// What was judged; `None`: it was not run, or not to its end.
    pub judged: Option<Judged>,
    /// Why that outcome, the first reason.
    pub why: Option<String>,
}

/// A report in a few figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Its verdict.
    pub verdict: Verdict,
    /// Expectations that held.
    pub held: usize,
    /// Expectations that apply.
    pub apply: usize,
    /// How long it took.
    pub duration_s: f64,
}

impl Ending {
    /// The ending that a report shows.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let count = |verdict| report.expectations.iter().filter(|j| j.verdict == verdict).count();
        Self {
            name: report.scenario.name.clone(),
            outcome: Outcome::from(report),
            judged: Some(Judged {
                verdict: report.verdict,
                held: count(Verdict::Pass),
                apply: report.expectations.len() - count(Verdict::NotApplicable),
                duration_s: report.run.duration_s,
            }),
            why: report.why.first().cloned(),
        }
    }

    /// Why it ended so, all of it, on one line.
    #[must_use]
    pub fn whole_reason(&self) -> Option<String> {
        let lines: Vec<&str> = self.why.as_deref()?.lines().map(str::trim).collect();
        Some(words::reason(&lines.join(" ")))
    }

    /// The same for a narrow screen: an error may have several lines, and the rest of it was told when it happened.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let first = self.why.as_deref()?.lines().next().unwrap_or_default();
        Some(words::reason(first.trim_end_matches(':')))
    }

    /// Whether it ended as its report says: one that was not run has none, and one that could not be written is graver.
    #[must_use]
    pub fn is_as_judged(&self) -> bool {
        self.judged.is_some_and(|judged| self.outcome == Outcome::from(judged.verdict))
    }
}

/// Writes one line per scenario, then the verdict over all and the exit code with its reason.
///
/// # Errors
/// When the writer fails.
pub fn summary(endings: &[Ending], style: Style, width: usize, w: &mut impl Write) -> io::Result<()> {
    let names = endings.iter().map(|ending| chars(&human::clean(&ending.name))).max().unwrap_or(0);
    for ending in endings {
        let verdict = ending.judged.map_or(Verdict::Inconclusive, |judged| judged.verdict);
        let badge = ending.judged.map_or("NOT RUN".to_owned(), |judged| word(judged.verdict).to_uppercase());
        let figures = ending.judged.map_or_else(
            || " ".repeat(25),
            |Judged { held, apply, duration_s, .. }| {
                format!("{held:>2} of {apply:>2} held  {:>10}", human::seconds(duration_s))
            },
        );
        let why = ending.reason().map(|why| format!(" · {why}")).unwrap_or_default();
        let line = format!("{}  {figures}{why}", pad(&human::clean(&ending.name), names));
        let badge = style.verdict(verdict, &pad(&badge, BADGE));
        writeln!(w, "{badge}  {}", shorten(line.trim_end(), width - BADGE - 2))?;
    }
    let (verdict, text) = overall(endings);
    writeln!(w)?;
    let mut lines = wrap(&text, width - BADGE - 2).into_iter();
    let badge = style.verdict(verdict, &pad(&word(verdict).to_uppercase(), BADGE));
    writeln!(w, "{badge}  {}", lines.next().unwrap_or_default())?;
    lines.try_for_each(|line| writeln!(w, "{}{line}", " ".repeat(BADGE + 2)))
}

/// How many have a verdict.
fn count(endings: &[Ending], verdict: Verdict) -> usize {
    endings.iter().filter(|ending| ending.judged.is_some_and(|judged| judged.verdict == verdict)).count()
}

/// The verdict over all: that of the exit code, where it is one of a verdict; a failure is one beside any error.
#[must_use]
pub fn verdict(endings: &[Ending]) -> Verdict {
    let outcomes: Vec<Outcome> = endings.iter().map(|ending| ending.outcome).collect();
    match gravest(&outcomes) {
        Outcome::Passed => Verdict::Pass,
        Outcome::Failed => Verdict::Fail,
        _ if count(endings, Verdict::Fail) > 0 => Verdict::Fail,
        _ => Verdict::Inconclusive,
    }
}

/// The verdict over all, and one sentence that counts them and gives the reason for the exit code.
fn overall(endings: &[Ending]) -> (Verdict, String) {
    let count = |verdict| count(endings, verdict);
    let counted = [
        (count(Verdict::Pass), "passed"),
        (count(Verdict::Fail), "failed"),
        (count(Verdict::Inconclusive), "inconclusive"),
        (count(Verdict::NotApplicable), "not applicable"),
        (endings.iter().filter(|ending| ending.judged.is_none()).count(), "not run"),
    ];
    let counted: Vec<_> =
        counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let outcomes: Vec<Outcome> = endings.iter().map(|ending| ending.outcome).collect();
    let decisive = gravest(&outcomes);
    let scenarios = if endings.len() == 1 { "scenario" } else { "scenarios" };
    let text = format!(
        "{} {scenarios}: {} · exit code {}: {}",
        endings.len(),
        counted.join(", "),
        exit_code(&outcomes),
        reason(endings, decisive)
    );
    (verdict(endings), text)
}

/// Who brought the exit code about.
fn reason(endings: &[Ending], decisive: Outcome) -> String {
    let did = match decisive {
        Outcome::Passed => return "everything that was judged has passed".to_owned(),
        Outcome::NotApplicable => return "nothing was judged".to_owned(),
        Outcome::Failed => "failed",
        Outcome::Inconclusive => "could not be judged",
        Outcome::Internal => "met an error of stressctl's own",
        Outcome::Usage => "could not be run, or its report not be written",
        Outcome::Unreachable => "did not reach its target",
    };
    let of: Vec<String> =
        endings.iter().filter(|e| e.outcome == decisive).map(|e| human::clean(&e.name)).collect();
    let who = match of.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [one, other] => format!("{one} and {other}"),
        [one, rest @ ..] => format!("{one} and {} others", rest.len()),
    };
    format!("{who} {did}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::{inconclusive, sample};

    fn shown(endings: &[Ending], width: usize) -> String {
        let mut out = Vec::new();
        summary(endings, Style::default(), width, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn endings() -> Vec<Ending> {
        let too_small = Ending {
            name: "50k-cascade".to_owned(),
            outcome: Outcome::Inconclusive,
            judged: None,
            why: Some("this machine is too small for this run:\nit needs 100,100 open files".to_owned()),
        };
        vec![Ending::of(&sample()), too_small, Ending::of(&inconclusive())]
    }

    #[test]
    fn several_reports_are_summed_up() {
        insta::assert_snapshot!(shown(&endings(), 100));
    }

    #[test]
    fn it_fits_the_screen() {
        for width in [72, 80, 120] {
            for line in shown(&endings(), width).lines() {
                assert!(chars(line) <= width, "{} columns of {width}: {line}", chars(line));
                assert_eq!(line, line.trim_end());
                assert!(!line.contains('\u{fffd}'), "an error of several lines is told by its first: {line}");
            }
        }
    }

    #[test]
    fn the_reason_names_who_decided() {
        let ending = |name: &str, outcome| Ending { name: name.to_owned(), outcome, judged: None, why: None };
        let text = |endings: &[Ending]| overall(endings).1;
        let (a, b, c) =
            (ending("a", Outcome::Failed), ending("b", Outcome::Failed), ending("c", Outcome::Failed));
        let away = ending("d", Outcome::Unreachable);
        let told = |endings: &[Ending]| text(endings).split("exit code ").nth(1).map(str::to_owned);
        assert_eq!(told(std::slice::from_ref(&a)).as_deref(), Some("1: a failed"));
        assert_eq!(told(&[a.clone(), b.clone()]).as_deref(), Some("1: a and b failed"));
        assert_eq!(told(&[a.clone(), b, c]).as_deref(), Some("1: a and 2 others failed"));
        assert_eq!(told(&[a, away]).as_deref(), Some("4: d did not reach its target"));
        assert_eq!(told(&[]).as_deref(), Some("3: nothing was judged"));
        let passed = ending("e", Outcome::Passed);
        assert_eq!(told(&[passed]).as_deref(), Some("0: everything that was judged has passed"));
    }
}
