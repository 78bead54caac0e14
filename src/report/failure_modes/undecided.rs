//! What a run was to show and did not: expectations that could not be judged, situations that did not occur, what makes the
//! whole of it doubtful, and scenarios that were not run.

use crate::report::documents::Scope;
use crate::report::human::clean;
use crate::report::model::{Judgement, Report, Verdict};

/// One of them; no text has been made harmless for a document.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Undecided {
    /// The scenario.
    pub(super) scenario: String,
    /// The condition; `None`: it is about the whole run.
    pub(super) condition: Option<Condition>,
    /// Why it could not be decided.
    pub(super) why: String,
}

/// A condition that was not decided.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    /// Its key in the scenario file.
    pub(super) id: String,
    /// As written.
    pub(super) text: String,
    /// What was observed and what was wanted.
    pub(super) observed: String,
}

/// All of them, in the order of the reports, and scenarios that were not run.
pub(super) fn undecided(scope: &Scope<'_>) -> Vec<Undecided> {
    let not_run = scope.not_run().map(|ending| Undecided {
        scenario: ending.name.clone(),
        condition: None,
        why: format!("not run: {}", ending.whole_reason().as_deref().unwrap_or("no reason was given")),
    });
    scope.reports.iter().flat_map(of).chain(not_run).collect()
}

fn of(report: &Report) -> Vec<Undecided> {
    let open = |judgement: &&Judgement| judgement.verdict == Verdict::Inconclusive;
    let expectations = report.expectations.iter().filter(open).map(|judgement| {
        let why = judgement.why.as_deref().unwrap_or("no reason was given");
        entry(report, judgement, clean(why))
    });
    let missing = |judgement: &&Judgement| matches!(judgement.verdict, Verdict::Fail | Verdict::Inconclusive);
    let reached = report.reached.iter().filter(missing).map(|judgement| {
        // What was observed and what was wanted stands beside it.
        let why = crate::report::words::why(judgement).map(|why| format!(": {why}")).unwrap_or_default();
        entry(report, judgement, format!("the situation had to occur and did not{why}"))
    });
    expectations.chain(reached).chain(of_the_run(report)).collect()
}

/// Reasons for the verdict that are about no condition.
fn of_the_run(report: &Report) -> impl Iterator<Item = Undecided> + '_ {
    let judgements = || report.expectations.iter().chain(&report.reached);
    let is_of = move |why: &str| judgements().any(|judgement| why.starts_with(&format!("{} ", judgement.id)));
    // That the server was lost is a failure, and told as one.
    let others = report.why.iter().filter(move |why| !is_of(why) && !why.starts_with("the target died"));
    others.map(|why| Undecided { scenario: report.scenario.name.clone(), condition: None, why: clean(why) })
}

fn entry(report: &Report, judgement: &Judgement, why: String) -> Undecided {
    let Judgement { id, condition, observed_text, limit, .. } = judgement;
    let condition = Condition {
        id: id.clone(),
        text: condition.clone(),
        observed: format!("{observed_text}, wanted {limit}"),
    };
    Undecided { scenario: report.scenario.name.clone(), condition: Some(condition), why }
}
