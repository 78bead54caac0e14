//! What a run showed and what it did not, one plain sentence each.

use super::judge::promises_resume;
use super::statistics;
use crate::report::human::{self, count, micros, small_share};
use crate::report::model::{Health, Ledger, Report};
use crate::report::pacing::event_volume;

/// The claims of a report. They speak of the server under this load; never more than the samples carry.
#[must_use]
pub fn claims(report: &Report) -> Vec<String> {
    if report.generator.health == Health::Invalid {
        return vec!["nothing is shown: the generator's own bookkeeping failed".to_owned()];
    }
    let mut claims = vec![loss(report)];
    claims.extend(compressed(report));
    claims.extend(recovered(&report.ledger));
    claims.extend(ends_of_streams(report));
    claims.extend(integrity(report));
    claims.extend(reconnects(report));
    claims.extend(census(report));
    claims.extend(latency(report));
    claims.extend(not_shown(report));
    claims
}

fn loss(report: &Report) -> String {
    let ledger = &report.ledger;
    let lost = ledger.lost_proven + ledger.lost_presumed;
    let decided = ledger.delivered + ledger.late + ledger.damaged + lost;
    let away = missed(report);
    if decided == 0 {
        let nothing = "no delivery to a continuously connected subscription was decided";
        return format!("nothing is shown about loss: {nothing}{away}");
    }
    // Deliveries of one event are one cluster: they are lost together or not at all more often than by chance.
    let events = report.published.sent;
    let clusters = if events == 0 { decided } else { decided.min(events) };
    let samples =
        if clusters < decided { format!(", counted as {} events", count(clusters)) } else { String::new() };
    let what = format!(
        "{} of {} owed deliveries lost on continuously connected subscriptions",
        count(lost),
        count(decided)
    );
    let successes = lost as f64 * clusters as f64 / decided as f64;
    let claim = match statistics::interval(successes, clusters as f64, 0.95) {
        Some([_, high]) if lost == 0 => {
            format!("{what}: at most {} with 95 % confidence{samples}", small_share(high))
        }
        Some([low, high]) => {
            format!("{what}: {} to {} with 95 % confidence{samples}", small_share(low), small_share(high))
        }
        None => what,
    };
    claim + &away
}

/// What was published while somebody was away, and whose fault that is.
fn missed(report: &Report) -> String {
    let missed = report.ledger.missed_disconnected;
    if missed == 0 {
        return String::new();
    }
    let of_victims = report.groups.get("victims").map_or(0, |victims| victims.ledger.missed_disconnected);
    let who = if of_victims == missed { "victims" } else { "their subscriptions" };
    let judged = if promises_resume(&report.target.contract) {
        "count as losses, because the contract promises resume"
    } else {
        "are not counted as losses"
    };
    format!("; {} more were published while {who} were away and {judged}", count(missed))
}

/// What a compressed run is, so that nobody takes it for the time it stands for.
fn compressed(report: &Report) -> Option<String> {
    let scale = report.scenario.time_scale?;
    event_volume(report).map(|what| format!("this was a {what}: time-scale {scale}"))
}

fn recovered(ledger: &Ledger) -> Option<String> {
    (ledger.recovered > 0).then(|| {
        format!("{} owed deliveries arrived only after their client had come back", count(ledger.recovered))
    })
}

/// What proves that nothing is missing behind the last arrival of each stream.
fn ends_of_streams(report: &Report) -> Option<String> {
    let barriers = &report.subscriptions.barriers;
    if barriers.complete != Some(true) {
        return None;
    }
    let how =
        if report.target.ordered { "" } else { " and a quiet period after it, as no order is promised" };
    Some(format!(
        "the end of every stream was proved by a barrier behind its last event{how}, to every subscription that was \
         there at the end: {} arrived",
        count(barriers.delivered)
    ))
}

fn reconnects(report: &Report) -> Option<String> {
    let connections = &report.connections;
    let ended = connections.cut + connections.dropped_unexpectedly;
    let slowest = report.latency.reconnect.as_ref().filter(|_| report.generator.health == Health::Ok);
    let slowest =
        slowest.map(|all| format!(", the slowest after {}", micros(all.max_us))).unwrap_or_default();
    (ended > 0).then(|| {
        format!(
            "{} of {} connections that ended during the run came back with every subscription proved{slowest}",
            count(connections.recovered),
            count(ended)
        )
    })
}

fn gave_up(report: &Report, wait: &str) -> bool {
    report.run.timed_out.iter().any(|given_up| given_up == wait)
}

fn integrity(report: &Report) -> Option<String> {
    let ledger = &report.ledger;
    let allowed = |n: u64, allowed: bool, why: &str| {
        if n > 0 && allowed { format!(" ({why})") } else { String::new() }
    };
    let repeats = report.target.contract == "at-least-once";
    (ledger.receipts > 0).then(|| {
        format!(
            "{} of {} receipts corrupted, {} duplicated{}, {} reordered{}, {} of another channel, run or time",
            count(ledger.corrupted),
            count(ledger.receipts),
            count(ledger.duplicated),
            allowed(ledger.duplicated, repeats, "which the contract allows"),
            count(ledger.reordered),
            allowed(ledger.reordered, !report.target.ordered, "no order is promised"),
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
        (ledger.indeterminate, "whether {} owed deliveries were lost (indeterminate: the examples say why)"),
        (
            ledger.unknown_publish,
            "whether {} owed deliveries were lost (their publish was never acknowledged)",
        ),
        (
            ledger.suppressed,
            "whether {} deliveries would have arrived (a fault of ours held or cut their stream)",
        ),
        (ledger.unverified, "whether {} owed deliveries arrived (unverified: a memory cap was hit)"),
    ];
    let said = |(n, text): &(u64, &str)| human::of_deliveries(&text.replace("{}", &count(*n)), *n as f64);
    let mut open: Vec<String> = counted.iter().filter(|(n, _)| *n > 0).map(said).collect();
    let waits = [
        ("settle", "whether every client would have come back (the settle deadline passed)"),
        ("barrier", "the end of every stream (the barrier deadline passed)"),
        ("unsubscribe", "whether anything arrives after an unsubscribe (its deadline passed)"),
        ("watch", "whether anything arrives after an unsubscribe (the watch was cut short)"),
    ];
    open.extend(waits.iter().filter(|(wait, _)| gave_up(report, wait)).map(|(_, what)| (*what).to_owned()));
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
