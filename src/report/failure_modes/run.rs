//! The run itself: a generator that did not keep up, waits that ran out, an end before the plan's.

use super::{Found, Origin};
use crate::report::human::seconds;
use crate::report::model::{Health, Report};

/// All of it.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let mut found: Vec<Found> = ended(report).into_iter().chain(generator(report)).collect();
    found.extend(waits(report));
    found
}

fn ended(report: &Report) -> Option<Found> {
    let reason = report.run.stop_reason.as_str();
    let at = vec![format!("after {} of the run", seconds(report.run.duration_s))];
    let mut found = if report.run.interrupted {
        let names = ["interrupted", "The run was interrupted"];
        Found::new(report, Origin::Run, names, None, "what was not observed until then is not known")
    } else if matches!(reason, "" | "completed" | "target-lost") {
        return None;
    } else {
        let names = ["stopped", "The run was stopped early"];
        Found::new(report, Origin::Run, names, None, format!("it was stopped by {reason}"))
    };
    found.sighting.when = at;
    Some(found)
}

fn generator(report: &Report) -> Option<Found> {
    let generator = &report.generator;
    let [cause, title] = match generator.health {
        Health::Ok => return None,
        Health::Limited => ["generator-limited", "The generator was the bottleneck: no time can be judged"],
        Health::Invalid => {
            ["generator-invalid", "The generator's own bookkeeping failed: nothing can be judged"]
        }
    };
    let reasons = if generator.reasons.is_empty() {
        "no reason was given".to_owned()
    } else {
        generator.reasons.join("; ")
    };
    Some(Found::new(report, Origin::Run, [cause, title], None, reasons))
}

/// What was waited for may have been the server's to do or ours.
fn waits(report: &Report) -> Vec<Found> {
    let mode = |wait: &String| {
        let names = [&format!("wait {wait}"), &format!("A wait ran out: {wait}")];
        let what = format!("its deadline passed: {}", waited_for(wait));
        Found::new(report, Origin::Open, names.map(String::as_str), None, what)
    };
    report.run.timed_out.iter().map(mode).collect()
}

fn waited_for(wait: &str) -> &str {
    match wait {
        "confirm" => "not every subscription was proved by an event",
        "settle" => "not every client had come back",
        "drain" => "not everything that was owed had arrived",
        "barrier" => "not every subscription received the end of its streams",
        "unsubscribe" => "not every unsubscribe was answered",
        "watch" => "what still arrived after the unsubscribe was not seen to its end",
        other => other,
    }
}
