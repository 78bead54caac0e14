//! All judgements of a report → its verdict, and why.

use super::{Evidence, claims, judge};
use crate::report::human;
use crate::report::model::{Health, PhaseReport, Report, Verdict};
use crate::scenarios::condition::Condition;

impl Verdict {
    /// The gravest of several verdicts. What does not apply has no say; nothing judged is inconclusive.
    #[must_use]
    pub fn of(verdicts: impl IntoIterator<Item = Self>) -> Self {
        verdicts
            .into_iter()
            .filter(|verdict| *verdict != Self::NotApplicable)
            .max()
            .unwrap_or(Self::Inconclusive)
    }
}

/// Judges every condition, states the claims and concludes; the last thing that happens to a report.
pub fn judge_all(report: &mut Report, expect: &[Condition], reached: &[Condition]) {
    let evidence = Evidence::of(report);
    report.expectations = expect.iter().map(|condition| judge(condition, &evidence)).collect();
    report.reached = reached.iter().map(|condition| judge(condition, &evidence)).collect();
    report.claims = claims(report);
    conclude(report);
}

/// Sets the verdict and the reasons for it from judgements that are already in the report.
///
/// Fail: an expectation does not hold, or the target died. Inconclusive: anything could not be judged, a situation
/// was not reached, the generator was not well, a wait ran out, or the run ended early.
pub fn conclude(report: &mut Report) {
    let invalid = report.generator.health == Health::Invalid;
    let mut findings: Vec<(Verdict, String)> = Vec::new();
    if report.run.stop_reason == "target-lost" && !invalid {
        findings.push((Verdict::Fail, "the target died in mid-run".to_owned()));
    }
    findings.extend(report.expectations.iter().filter_map(|judgement| {
        let told = |word| {
            format!("{} {word}: {}", judgement.id, judgement.why.as_deref().unwrap_or("no reason given"))
        };
        match judgement.verdict {
            Verdict::Fail => Some((Verdict::Fail, told("failed"))),
            Verdict::Inconclusive => Some((Verdict::Inconclusive, told("could not be judged"))),
            Verdict::Pass | Verdict::NotApplicable => None,
        }
    }));
    findings.extend(report.reached.iter().filter_map(|judgement| {
        let told = |word| {
            format!("{} {word}: {}", judgement.id, judgement.why.as_deref().unwrap_or("no reason given"))
        };
        match judgement.verdict {
            Verdict::Fail => Some((Verdict::Inconclusive, told("was not reached"))),
            Verdict::Inconclusive => Some((Verdict::Inconclusive, told("may not have been reached"))),
            Verdict::Pass | Verdict::NotApplicable => None,
        }
    }));
    findings.extend(circumstances(report).into_iter().map(|why| (Verdict::Inconclusive, why)));

    // The gravest first; a stable sort keeps the order of the file within each.
    findings.sort_by_key(|(verdict, _)| std::cmp::Reverse(*verdict));
    let judged = Verdict::of(report.expectations.iter().map(|judgement| judgement.verdict));
    let judged = if invalid { Verdict::Inconclusive } else { judged };
    report.verdict =
        findings.iter().map(|(verdict, _)| *verdict).max().map_or(judged, |found| found.max(judged));
    report.why = findings.into_iter().map(|(_, why)| why).collect();
}

/// What makes a whole run doubtful, whatever its conditions say.
fn circumstances(report: &Report) -> Vec<String> {
    let mut found = Vec::new();
    match report.generator.health {
        Health::Ok => {}
        Health::Limited => found.push(with_reasons("the generator was limited", &report.generator.reasons)),
        Health::Invalid => {
            found.push(with_reasons("the generator's own bookkeeping failed", &report.generator.reasons));
        }
    }
    if report.run.interrupted {
        found.push("the run was interrupted".to_owned());
    } else if !matches!(report.run.stop_reason.as_str(), "" | "completed" | "target-lost") {
        found.push(format!("the run was stopped early: {}", report.run.stop_reason));
    }
    found.extend(report.phases.iter().filter_map(|phase| slow_publishing(report, phase)));
    found.extend(unpublished(report));
    found.extend(report.run.timed_out.iter().map(|wait| format!("the {wait} deadline passed")));
    if report.expectations.iter().all(|judgement| judgement.verdict == Verdict::NotApplicable) {
        found.push("nothing was judged: no expectation applies".to_owned());
    }
    found
}

/// Whether events of the plan were never published: publishers were lost, or the run ended early.
fn unpublished(report: &Report) -> Option<String> {
    let planned = *report.predicted.get("published.attempted")?;
    let sent = report.published.sent;
    ((sent as f64) < planned).then(|| {
        let (sent, planned) = (human::count(sent), human::number(planned));
        format!("only {sent} of {planned} planned events were published")
    })
}

/// Whether a phase's events took far longer to publish than they should: more than twice as long and a second. Be it
/// the generator or the target that would not take them, the load that was planned has not occurred.
///
/// By how much schedules slipped is no part of that: it is said, and an expectation judges it. A group without such a
/// schedule that takes longer than that beside one is found all the same.
fn slow_publishing(report: &Report, phase: &PhaseReport) -> Option<String> {
    let planned = *report.predicted.get(&format!("published.rate in {}", phase.name))?;
    let reached = phase.published.rate?;
    let seconds = |rate: f64| phase.published.sent.saturating_sub(1) as f64 / rate;
    let slipped = phase.published.slowed.as_ref().map_or(0.0, |slowed| slowed.slipped_s);
    let too_slow = seconds(reached) > 2.0 * seconds(planned) + slipped + 1.0;
    too_slow.then(|| {
        let (reached, planned) = (human::number(reached.round()), human::number(planned.round()));
        format!("the planned load was not reached in {}: {reached}/s of {planned}/s published", phase.name)
    })
}

fn with_reasons(what: &str, reasons: &[String]) -> String {
    if reasons.is_empty() { what.to_owned() } else { format!("{what}: {}", reasons.join("; ")) }
}
