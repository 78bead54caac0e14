//! What a run showed and what it did not, one plain sentence each.

use super::statistics;
use crate::report::human::{self, count, micros, small_share};
use crate::report::model::{Health, Ledger, Report};

/// The claims of a report. They speak of the server under this load; never more than the samples carry.
#[must_use]
pub fn claims(report: &Report) -> Vec<String> {
    if report.generator.health == Health::Invalid {
        return vec!["nothing is shown: the generator's own bookkeeping failed".to_owned()];
    }
    let mut claims = vec![loss(&report.ledger, report.published.sent)];
    claims.extend(integrity(&report.ledger));
    claims.extend(census(report));
    claims.extend(latency(report));
    claims.extend(not_shown(report));
    claims
}

fn loss(ledger: &Ledger, events: u64) -> String {
    let lost = ledger.lost_proven + ledger.lost_presumed;
    let decided = ledger.delivered + ledger.late + ledger.damaged + lost;
    if decided == 0 {
        return "nothing is shown about loss: no delivery to a continuously connected subscription was decided".into();
    }
    // Deliveries of one event are one cluster: they are lost together or not at all more often than by chance.
    let clusters = if events == 0 { decided } else { decided.min(events) };
    let samples =
        if clusters < decided { format!(", counted as {} events", count(clusters)) } else { String::new() };
    let what = format!(
        "{} of {} owed deliveries lost on continuously connected subscriptions",
        count(lost),
        count(decided)
    );
    let successes = lost as f64 * clusters as f64 / decided as f64;
    match statistics::interval(successes, clusters as f64, 0.95) {
        Some([_, high]) if lost == 0 => {
            format!("{what}: at most {} with 95 % confidence{samples}", small_share(high))
        }
        Some([low, high]) => {
            format!("{what}: {} to {} with 95 % confidence{samples}", small_share(low), small_share(high))
        }
        None => what,
    }
}

fn integrity(ledger: &Ledger) -> Option<String> {
    (ledger.receipts > 0).then(|| {
        format!(
            "{} of {} receipts corrupted, {} duplicated, {} reordered, {} of another channel, run or time",
            count(ledger.corrupted),
            count(ledger.receipts),
            count(ledger.duplicated),
            count(ledger.reordered),
            count(ledger.phantom + ledger.misrouted + ledger.after_unsubscribe)
        )
    })
}

fn census(report: &Report) -> Option<String> {
    let active = report.subscriptions.peak_active.filter(|active| *active > 0)?;
    Some(format!(
        "{} subscriptions received one and the same census; the most connections open at one moment were {}",
        count(active),
        report.connections.peak_open.map_or_else(|| human::NOTHING.to_owned(), count)
    ))
}

fn latency(report: &Report) -> Option<String> {
    let deliver = report.latency.deliver.as_ref()?;
    if report.generator.health == Health::Limited {
        return Some("no latency is shown: the generator was limited".to_owned());
    }
    let own = report
        .generator
        .drain_p99_us
        .map(|drain| format!("; our own processing adds up to {}", micros(drain)));
    Some(format!(
        "99 % of {} deliveries took at most {} from when their event was due{}",
        count(deliver.count),
        micros(deliver.p99_us),
        own.unwrap_or_default()
    ))
}

fn not_shown(report: &Report) -> Vec<String> {
    let ledger = &report.ledger;
    let counted = [
        (
            ledger.indeterminate,
            "whether {} owed deliveries were lost (indeterminate: too close to a boundary to decide)",
        ),
        (
            ledger.unknown_publish,
            "whether {} owed deliveries were lost (their publish was never acknowledged)",
        ),
        (
            ledger.suppressed,
            "whether {} deliveries would have arrived (a fault of ours held or cut their stream)",
        ),
        (ledger.unverified, "whether {} owed deliveries arrived (unverified: a memory cap was hit)"),
        (ledger.missed_disconnected, "anything about {} events published while their subscription was away"),
    ];
    let mut open: Vec<String> =
        counted.iter().filter(|(n, _)| *n > 0).map(|(n, text)| text.replace("{}", &count(*n))).collect();
    if report.server_stats.is_none() {
        open.push("whether the server's own counts agree (they were not available)".to_owned());
    }
    if report.resources.server.is_none() {
        open.push("what the server needs (its process could not be observed)".to_owned());
    }
    if report.scenario.scale < 1.0 {
        open.push(format!("anything about full size: this was scale {}", report.scenario.scale));
    }
    open.into_iter().map(|what| format!("not shown: {what}")).collect()
}
