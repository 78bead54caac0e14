//! What a climb came to.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::slow::Dropped;
use crate::clients::climb::{Climb, Step, word};
use crate::metrics::peaks::Peaks;
use crate::report::model::{Escalation, PayloadClimb, PayloadStep, PhaseReport};
use crate::scenarios::plan::Plan;

/// The climb as the report shows it; `phases`: those that came before; `dropped`: what the server says it dropped.
pub(super) fn escalation(
    plan: &Plan,
    climb: &Climb,
    peaks: &[Peaks],
    phases: &[PhaseReport],
    dropped: &Dropped<'_>,
) -> Escalation {
    let (steps, begun) = climb.steps();
    // All steps before the last were delivered whole.
    let climbing = plan.publishers.iter().filter(|group| group.climb.is_some());
    let admitted =
        climbing.flat_map(|group| group.phases.first()).min().and_then(|phase| dropped.since(*phase));
    let last = begun.saturating_sub(1);
    let failed = steps[..begun].last().and_then(|step| failure(step, climb, admitted));
    let mut payload = PayloadClimb::default();
    for (index, step) in steps[..begun].iter().enumerate() {
        let outcome = match &failed {
            Some((word, _, _)) if index == last && climb.is_decided() => word.clone(),
            _ if index == last && !climb.is_decided() => "unfinished".to_owned(),
            _ => "delivered".to_owned(),
        };
        let peaks = peaks.get(index).copied().unwrap_or_default();
        payload.steps.push(row(step, outcome, &peaks));
    }
    let ok = payload.steps.iter().filter(|step| step.outcome == "delivered").map(|step| step.payload_bytes);
    payload.largest_ok_bytes = ok.max().or_else(|| largest_before(plan, phases));
    if begun > 0 && climb.is_decided() {
        let (word, at, text) = failed.unwrap_or_else(|| ("none".to_owned(), "", String::new()));
        payload.failure = Some(word);
        payload.failed_at = Some(at.to_owned()).filter(|at| !at.is_empty());
        payload.failure_text = Some(text).filter(|text| !text.is_empty());
    }
    Escalation { payload }
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Relaxed)
}

/// How a step failed, where, and with what words; damage first, then what the publisher met.
fn failure(step: &Step, climb: &Climb, admitted: Option<u64>) -> Option<(String, &'static str, String)> {
    let trouble = climb.trouble();
    if get(&step.damaged) > 0 {
        return Some(("damaged".to_owned(), "subscribers", String::new()));
    }
    let said = [(trouble.publisher, "publisher"), (trouble.subscriber, "subscribers")];
    let met = said.into_iter().find_map(|(refusal, at)| refusal.map(|r| (word(r.failure), at, r.text)));
    let missing = climb.missing();
    met.or_else(|| {
        (missing > 0).then(|| match admitted {
            Some(dropped) if dropped >= missing => {
                let text = format!("its statistics count {dropped} deliveries as dropped");
                ("dropped-with-reason".to_owned(), "subscribers", text)
            }
            _ => ("silence".to_owned(), "subscribers", String::new()),
        })
    })
}

fn row(step: &Step, outcome: String, peaks: &Peaks) -> PayloadStep {
    PayloadStep {
        payload_bytes: step.payload as u64,
        published: get(&step.published),
        acked: get(&step.acked),
        owed: get(&step.owed),
        delivered: get(&step.delivered),
        corrupted: get(&step.damaged),
        duration_s: step.duration().as_secs_f64(),
        client_memory_peak_bytes: peaks.client(),
        server_memory_peak_bytes: peaks.server(),
        outcome,
    }
}

/// The largest payload of the phases before, of those in which everything arrived intact.
fn largest_before(plan: &Plan, phases: &[PhaseReport]) -> Option<u64> {
    let whole = |index: &usize| {
        phases.get(*index).is_some_and(|phase| {
            let ledger = &phase.ledger;
            ledger.obligations > 0
                && ledger.delivered + ledger.late == ledger.obligations
                && ledger.corrupted == 0
        })
    };
    let groups = plan.publishers.iter().filter(|group| group.climb.is_none());
    groups.filter(|group| group.phases.iter().all(whole)).map(|group| group.payload as u64).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::catalogue::{Catalogue, Options};

    const CLIMB: &str = r#"
        [scenarios.up]
        about = "two sizes, two subscribers"
        channels = 1
        phases = [{ name = "climb" }]
        subscribers.clients = { connections = 2 }
        publishers.up = { phase = "climb", rate = "one-by-one", events = 1, payload = { from = "1MB", times = 2, up-to = "2MB" } }
        timeouts = { operation = "10s" }
    "#;

    fn found(late_s: u64) -> PayloadClimb {
        let catalogue = Catalogue::from_text(Some(("test", CLIMB))).expect("a good file");
        let plan = catalogue.plan(&["up"], &Options::default()).expect("a good plan").plans.remove(0);
        let climb = crate::clients::climb::with_a_late_delivery(&plan, late_s);
        let dropped = Dropped { counters: None, events: &[] };
        escalation(&plan, &climb, &[], &[], &dropped).payload
    }

    #[test]
    fn what_arrives_when_nobody_waits_any_longer_was_not_delivered() {
        let outcomes = |late_s| found(late_s).steps.into_iter().map(|step| step.outcome).collect::<Vec<_>>();
        assert_eq!(outcomes(5), ["delivered", "delivered"]);
        assert_eq!((found(5).failure.as_deref(), found(5).largest_ok_bytes), (Some("none"), Some(2_000_000)));
        assert_eq!(outcomes(13), ["delivered", "silence"]);
        assert_eq!(
            (found(13).failure.as_deref(), found(13).largest_ok_bytes),
            (Some("silence"), Some(1_000_000))
        );
        assert_eq!(found(13).steps[1].delivered, 1);
    }
}
