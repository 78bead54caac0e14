//! Deliveries and receipts that are not as they should be, a failure mode for each class of the ledger.

use super::{Found, Origin, circumstances};
use crate::report::disturbed;
use crate::report::human::count;
use crate::report::model::{Ledger, Report};

/// One class: its name in the ledger, what it means, how many there are.
struct Class {
    name: &'static str,
    title: &'static str,
    of: fn(&Ledger) -> u64,
    /// Whether it is a share of what was owed, or of what was received.
    owed: bool,
}

/// What was owed and did not simply arrive, and what arrived and should not have; the gravest first.
#[rustfmt::skip]
const CLASSES: [Class; 17] = [
    Class { name: "lost_proven", title: "Deliveries lost: something later of the same publisher arrived", of: |l| l.lost_proven, owed: true },
    Class { name: "lost_presumed", title: "Deliveries lost: the subscription lived on, and they never arrived", of: |l| l.lost_presumed, owed: true },
    Class { name: "damaged", title: "Deliveries damaged: received, but never intact", of: |l| l.damaged, owed: true },
    Class { name: "corrupted", title: "Messages corrupted: header or filler damaged", of: |l| l.corrupted, owed: false },
    Class { name: "phantom", title: "Messages that this run never published", of: |l| l.phantom, owed: false },
    Class { name: "misrouted", title: "Messages under the operation of another channel", of: |l| l.misrouted, owed: false },
    Class { name: "after_unsubscribe", title: "Messages after the unsubscribe had been answered", of: |l| l.after_unsubscribe, owed: false },
    Class { name: "duplicated", title: "Events received more than once", of: |l| l.duplicated, owed: false },
    Class { name: "reordered", title: "Events out of order: behind a later one of the same publisher", of: |l| l.reordered, owed: false },
    Class { name: "late", title: "Deliveries late: after the deadline", of: |l| l.late, owed: true },
    Class { name: "recovered", title: "Deliveries only after the client had come back", of: |l| l.recovered, owed: true },
    Class { name: "unknown_publish", title: "Deliveries of publishes that were never acknowledged", of: |l| l.unknown_publish, owed: true },
    Class { name: "missed_disconnected", title: "Deliveries missed: published while the subscription was away", of: |l| l.missed_disconnected, owed: true },
    Class { name: "indeterminate", title: "Deliveries undecided, and no cut of ours explains it", of: |l| l.indeterminate.saturating_sub(l.indeterminate_by_faults), owed: true },
    Class { name: "indeterminate", title: "Deliveries in flight when a fault of ours ended the connection", of: |l| l.indeterminate.min(l.indeterminate_by_faults), owed: true },
    Class { name: "unverified", title: "Deliveries not accounted for: a memory cap of ours was hit", of: |l| l.unverified, owed: true },
    Class { name: "suppressed", title: "Deliveries held or cut by a fault of ours", of: |l| l.suppressed, owed: true },
];

/// Classes that occurred.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let mut found: Vec<Found> = CLASSES
        .iter()
        .filter(|class| (class.of)(&report.ledger) > 0)
        .map(|class| sighting(report, class))
        .collect();
    found.extend(publishes(report));
    found
}

fn sighting(report: &Report, class: &Class) -> Found {
    let ledger = &report.ledger;
    let n = (class.of)(ledger);
    let (all, noun) = if class.owed {
        (ledger.obligations, "deliveries owed")
    } else {
        (ledger.receipts, "messages received")
    };
    let allowance = allowed(report, class.name).map(|why| format!(", {why}")).unwrap_or_default();
    let what = format!("{} of {} {noun}{allowance}", count(n), count(all));
    let mut found = Found::new(report, origin(report, class, n), [class.name, class.title], n, what);
    let is_loss = class.name.starts_with("lost");
    let seen = &mut found.sighting;
    seen.whom = circumstances::whom(report, |slice| {
        let ledger = &slice.ledger;
        ((class.of)(ledger), Some(if class.owed { ledger.obligations } else { ledger.receipts }))
    });
    seen.when = circumstances::phases(report, class.of);
    if is_loss {
        seen.when.extend(circumstances::lost_within(report));
        seen.recovery.extend(circumstances::after_the_last_loss(report));
        seen.what.push_str(&explained(report));
    }
    if found.origin != Origin::Run {
        seen.others = circumstances::others(report);
    }
    if matches!(class.name, "missed_disconnected" | "recovered" | "suppressed" | "indeterminate") {
        seen.recovery.extend(circumstances::came_back(report));
    }
    let example = report.ledger.examples.iter().find(|example| example.class == class.name);
    seen.example = example.map(disturbed::example);
    found
}

/// Whose doing a class is. A loss is the server's whoever had it: what a fault of ours held or cut is another class.
fn origin(report: &Report, class: &Class, n: u64) -> Origin {
    let of_victims = || circumstances::is_of_victims(report, n, |slice| (class.of)(&slice.ledger));
    match class.name {
        "suppressed" => Origin::Ours,
        "indeterminate" if class.title.contains("of ours ended") => Origin::Ours,
        "indeterminate" => Origin::Open,
        "unverified" => Origin::Run,
        "missed_disconnected" if report.target.contract != "at-most-once" => Origin::Server,
        "missed_disconnected" if report.connections.dropped_unexpectedly > 0 => Origin::Open,
        "missed_disconnected" if of_victims() => Origin::Ours,
        "missed_disconnected" => Origin::Open,
        "late" | "recovered" | "unknown_publish" if of_victims() => Origin::Answer,
        _ => Origin::Server,
    }
}

/// What the target claims about a class.
fn allowed(report: &Report, class: &str) -> Option<String> {
    let target = &report.target;
    match class {
        "duplicated" if target.contract == "at-least-once" => {
            Some("which the contract at-least-once allows".to_owned())
        }
        "reordered" if !target.ordered => {
            Some("which is no breach, as the target promises no order".to_owned())
        }
        "missed_disconnected" if target.contract == "at-most-once" => {
            Some("which the contract at-most-once allows".to_owned())
        }
        "missed_disconnected" => Some(format!("although the contract {} promises resume", target.contract)),
        _ => None,
    }
}

/// How much of the losses the server's way with slow readers explains.
fn explained(report: &Report) -> String {
    let Some(slow) = &report.slow_consumers else { return String::new() };
    match report.ledger.lost_unexplained {
        _ if slow.lost == 0 => String::new(),
        Some(rest) => format!(
            "; slow readers lost {}, and {} of all losses are not explained by what the server says it dropped",
            count(slow.lost),
            count(rest)
        ),
        None => {
            format!("; slow readers lost {}, and the server does not say what it dropped", count(slow.lost))
        }
    }
}

/// Publishes without an answer, and events that were due and never sent.
fn publishes(report: &Report) -> Vec<Found> {
    let published = &report.published;
    let mut found = Vec::new();
    // Where deliveries were owed for them, those are told above.
    if published.unknown > 0 && report.ledger.unknown_publish == 0 {
        let what = format!("{} of {} publishes", count(published.unknown), count(published.sent));
        let names = ["publish-unknown", "Publishes that were never acknowledged"];
        let mut one = Found::new(report, Origin::Server, names, published.unknown, what);
        one.sighting.whom =
            circumstances::whom(report, |slice| (slice.published.unknown, Some(slice.published.sent)));
        found.push(one);
    }
    if published.failed > 0 {
        let what = format!("{} of {} publishes", count(published.failed), count(published.sent));
        let names = ["publish-failed", "Publishes that the server refused"];
        let mut one = Found::new(report, Origin::Server, names, published.failed, what);
        one.sighting.whom =
            circumstances::whom(report, |slice| (slice.published.failed, Some(slice.published.sent)));
        found.push(one);
    }
    let unsent = published.attempted.saturating_sub(published.sent);
    if unsent > 0 {
        let what = format!("{} of {} events that were due", count(unsent), count(published.attempted));
        let names = ["publish-unsent", "Events that were due and never sent"];
        let origin = if report.run.interrupted { Origin::Run } else { Origin::Open };
        found.push(Found::new(report, origin, names, unsent, what));
    }
    found
}
