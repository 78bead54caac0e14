//! What a wait that was given up, or a delivery that cannot be decided, takes away from a judgement.

use serde_json::{Map, Value};

use super::judge::Evidence;
use super::lookup;
use crate::report::human;
use crate::scenarios::condition::Term;

/// Why a pass of this term cannot stand.
pub(crate) fn pass(term: &Term, evidence: &Evidence) -> Option<String> {
    let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
    match keys.as_slice() {
        // What has arrived, and what was owed, no later arrival takes back.
        ["ledger", "obligations" | "delivered"] => None,
        ["ledger", class] => given_up(class, term, evidence).or_else(|| match *class {
            "lost" | "lost_proven" | "lost_presumed" => open_deliveries(term, evidence, 0.0),
            // A server that ends the connection of a slow reader has said what became of the rest.
            "lost_unexplained" => open_deliveries(term, evidence, cut_short(evidence)),
            _ => None,
        }),
        // Who is still on the way back goes on trying, and its breaker may still close.
        ["reconnects", restored] if restored.starts_with("restored") => None,
        ["recovered_ratio"] | ["breaker" | "reconnects", _] => settled(evidence),
        ["latency", "reconnect", _] => missing_reconnects(term, evidence),
        _ => None,
    }
}

/// Why a failure of this term cannot stand: clients were still on their way back, and nothing had turned any away. A
/// server that refused them has been given the time that the plan gives.
pub(crate) fn failure(term: &Term, evidence: &Evidence) -> Option<String> {
    let refused = || lookup::object(&evidence.report, term, &["connections", "failed"]);
    let is_ratio = term.keys == ["recovered_ratio"];
    settled(evidence).filter(|_| is_ratio && refused().is_none_or(Map::is_empty))
}

/// Waits without which a class of deliveries is not complete.
fn given_up(class: &str, term: &Term, evidence: &Evidence) -> Option<String> {
    let passed = |wait: &str| evidence.run.timed_out.iter().any(|given_up| given_up == wait);
    if passed("drain") {
        return Some("the drain deadline passed before everything owed had arrived".to_owned());
    }
    if term.subject.as_deref() == Some("victims") && passed("settle") {
        return Some("the settle deadline passed before every victim was back".to_owned());
    }
    match class {
        "lost" | "lost_proven" | "lost_presumed" | "lost_unexplained" if passed("barrier") => {
            Some("the barrier deadline passed, so the end of some streams was not proved".to_owned())
        }
        "after_unsubscribe" | "strange" => unwatched(evidence).or_else(|| unanswered(term, evidence)),
        _ => None,
    }
}

/// Why it is not known whether anything arrived after the unsubscribes.
fn unwatched(evidence: &Evidence) -> Option<String> {
    let run = &evidence.run;
    if let Some(wait) = run.timed_out.iter().find(|wait| matches!(wait.as_str(), "unsubscribe" | "watch")) {
        return Some(format!(
            "the {wait} deadline passed, so what arrives after an unsubscribe was not watched to the end"
        ));
    }
    let finished = matches!(run.stop_reason.as_str(), "" | "completed");
    (!finished).then(|| "the run ended before it was watched what arrives after an unsubscribe".to_owned())
}

/// What arrives after an unsubscribe that was never answered may have been sent before the server read it.
fn unanswered(term: &Term, evidence: &Evidence) -> Option<String> {
    let failed = lookup::object(&evidence.report, term, &["connections", "failed"])?;
    let of_it = failed.iter().filter(|(name, _)| name.starts_with("unsubscribe."));
    let number: u64 = of_it.filter_map(|(_, number)| number.as_u64()).sum();
    (number > 0).then(|| {
        let number = human::count(number);
        format!(
            "on {number} connections the unsubscribe was not answered, so what arrives after it cannot be told"
        )
    })
}

/// Why it is not known who would have come back.
fn settled(evidence: &Evidence) -> Option<String> {
    let passed = evidence.run.timed_out.iter().any(|wait| wait == "settle");
    passed.then(|| "the settle deadline passed while clients were still on their way back".to_owned())
}

/// Whoever did not come back is in no latency.
fn missing_reconnects(term: &Term, evidence: &Evidence) -> Option<String> {
    let back = match &term.subject {
        Some(_) => lookup::sibling(&evidence.report, term, &["recovered_ratio"]),
        None => least_recovered(&evidence.report),
    };
    back.filter(|share| *share < 1.0).map(|share| {
        format!(
            "only {} of the connections that ended came back; the others have no time",
            human::ratio(share)
        )
    })
}

fn least_recovered(report: &Value) -> Option<f64> {
    let groups = report.get("groups")?.as_object()?;
    groups.values().filter_map(|group| group.get("recovered_ratio")?.as_f64()).reduce(f64::min)
}

/// Deliveries to slow readers that the server cut short.
fn cut_short(evidence: &Evidence) -> f64 {
    evidence.report.pointer("/slow_consumers/cut_short").and_then(Value::as_f64).unwrap_or_default()
}

/// Owed deliveries that might be losses, but for so many that are explained.
fn open_deliveries(term: &Term, evidence: &Evidence, explained: f64) -> Option<String> {
    let count = |class: &str| lookup::sibling(&evidence.report, term, &["ledger", class]).unwrap_or_default();
    let unverified = count("unverified");
    if unverified > 0.0 {
        return Some(format!("{} owed deliveries could not be verified", human::number(unverified)));
    }
    // What was in flight when we cut nobody can decide, and the server is not to blame; whoever promises resume owes it
    // all the same.
    let excused = count("indeterminate_by_faults");
    let open = count("indeterminate");
    let undecided =
        if evidence.promises_resume() { open + count("suppressed") } else { open - excused } - explained;
    (undecided > 0.0).then(|| {
        let why = if evidence.applied() > 0 { ", and no cut of ours explains it" } else { "" };
        let what =
            format!("whether {} owed deliveries were lost cannot be decided", human::number(undecided));
        format!("{}{why}", human::of_deliveries(&what, undecided))
    })
}
