//! The server as a whole: whether it lived, whether its own counts are right, how it takes slow readers, and what grew.

use super::{Found, Origin, circumstances};
use crate::report::human::{count, number, rate, ratio, seconds};
use crate::report::model::{DuringCheck, Health, PhaseReport, Report, SlowPolicy, Verdict};
use crate::report::{pacing, trends};

/// How far a count may be off, as in the comparisons that are made when all is quiet.
const COUNTER_ERROR: f64 = 0.01;

/// All of it.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let mut found: Vec<Found> = gone(report).into_iter().collect();
    found.extend(slow_readers(report));
    found.extend(counts(report));
    found.extend(counts_during(report));
    found.extend(slipped(report));
    found.extend(growth(report));
    found
}

fn gone(report: &Report) -> Option<Found> {
    let lost = report.run.stop_reason == "target-lost";
    let dead = report.server.alive == Some(false);
    let what = match (lost, dead) {
        (false, false) => return None,
        (true, true) => "it was lost in mid-run, and did not answer when the run was over",
        (true, false) => "it was lost in mid-run",
        (false, true) => "it did not answer when the run was over",
    };
    let mut found =
        Found::new(report, Origin::Server, ["server-gone", "The server stopped answering"], None, what);
    found.sighting.when = vec![format!("the run ended after {}", seconds(report.run.duration_s))];
    found.sighting.others = circumstances::others(report);
    found.sighting.recovery = vec!["not observed: the run ended with it".to_owned()];
    Some(found)
}

/// What the server did to somebody because readers were slow. That it felt nothing, or kept everything for them, is no
/// failure.
fn slow_readers(report: &Report) -> Option<Found> {
    let slow = report.slow_consumers.as_ref()?;
    if slow.readers == 0 || matches!(slow.policy, SlowPolicy::None | SlowPolicy::Buffer) {
        return None;
    }
    let policy = slow.policy.word();
    let names = [&format!("slow-readers {policy}"), &format!("Slow readers: {}", in_words(slow.policy))];
    let also: Vec<_> = slow.also.iter().map(|policy| policy.word()).collect();
    let also = if also.is_empty() { String::new() } else { format!(", and also {}", also.join(", ")) };
    let what = format!(
        "{} readers were made slow and the server's way with them was {policy}{also}: {} disconnected, {} passed over, {} \
         deliveries lost",
        count(slow.readers),
        count(slow.disconnected),
        count(slow.passed_over),
        count(slow.lost)
    );
    let mut found = Found::new(report, Origin::Answer, names.map(String::as_str), slow.readers, what);
    let ends = slow.disconnects.iter().map(|(name, n)| format!("{} of them ended by {name}", count(*n)));
    found.sighting.whom = ends.collect();
    found.sighting.when = slow.evidence.clone();
    found.sighting.others = circumstances::others(report);
    found.sighting.recovery.extend(circumstances::came_back(report));
    let drained = report.drain.duration_s;
    found.sighting.recovery.push(match drained {
        Some(s) => {
            format!("everything owed had arrived, or was proved lost, {} after the last publish", seconds(s))
        }
        None => "not everything owed had arrived, or was proved lost, when the run ended".to_owned(),
    });
    Some(found)
}

fn in_words(policy: SlowPolicy) -> &'static str {
    match policy {
        SlowPolicy::Disconnect => "the server ends their connections",
        SlowPolicy::Drop => "the server drops what they do not read",
        SlowPolicy::Backpressure => "the server makes publishers wait",
        SlowPolicy::Buffer => "the server keeps all that they have not read",
        SlowPolicy::None => "the server did not feel them",
        SlowPolicy::Unknown => "what the server does cannot be told",
    }
}

/// Comparisons that the server's own statistics did not stand.
fn counts(report: &Report) -> Option<Found> {
    let stats = report.server_stats.as_ref()?;
    let wrong: Vec<_> = stats.checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    let (first, rest) = wrong.split_first()?;
    let told = |server: Option<f64>| server.map_or_else(|| "nothing".to_owned(), number);
    let what = format!(
        "{} of {} comparisons, the first of {}: the server says {}, we count {}",
        count(wrong.len() as u64),
        count(stats.checks.len() as u64),
        first.name,
        told(first.server),
        number(first.client)
    );
    let names = ["server-counts", "The server's own counts are wrong"];
    let mut found = Found::new(report, Origin::Server, names, wrong.len() as u64, what);
    let line = |check: &&crate::report::model::StatCheck| {
        format!("{}: the server says {}, we count {}", check.name, told(check.server), number(check.client))
    };
    found.sighting.when = rest.iter().map(line).collect();
    Some(found)
}

/// What the server said of itself while the phases ran, where it was further off than a counter may be.
fn counts_during(report: &Report) -> Option<Found> {
    let stats = report.server_stats.as_ref()?;
    let (during, worst) = (stats.during.as_ref()?, stats.worst_during.error_ratio?);
    if worst <= COUNTER_ERROR {
        return None;
    }
    let line = |check: &DuringCheck| {
        let true_then = match check.high {
            Some(high) => format!("between {} and {} was true", number(check.low), number(high)),
            None => format!("{} or more was true", number(check.low)),
        };
        let (at, server) = (seconds(check.at_s), number(check.server));
        format!("{}: at {at} of the run the server said {server} where {true_then}", check.name)
    };
    let names = ["server-counts-during", "The server's own counts were wrong while the phases ran"];
    let what = format!("off by {} at the worst, in {} answers", ratio(worst), count(during.samples));
    let mut found = Found::new(report, Origin::Server, names, None, what);
    let wrong = during.checks.iter().filter(|check| check.error_ratio > COUNTER_ERROR);
    found.sighting.when = wrong.map(line).collect();
    Some(found)
}

/// A schedule that slipped, by whose doing it was.
fn slipped(report: &Report) -> Option<Found> {
    let slowed = report.published.slowed.as_ref().filter(|slowed| slowed.slips > 0)?;
    let origin = match slowed.limited_by.as_str() {
        "server" => Origin::Server,
        "generator" => Origin::Run,
        _ => Origin::Open,
    };
    let held = slowed.held_rate.map_or_else(String::new, |held| format!("; {} held", rate(held)));
    let busiest = pacing::busiest(slowed).map_or_else(String::new, |busiest| format!("; {busiest}"));
    let what = format!(
        "it slipped by {} altogether, {} of that because of the server and {} because of stressctl; limited by: {}{held}{busiest}",
        seconds(slowed.slipped_s),
        seconds(slowed.by_server_s),
        seconds(slowed.by_generator_s),
        slowed.limited_by
    );
    let names = ["rate-not-held", "The planned rate of events was not held"];
    let mut found = Found::new(report, origin, names, slowed.slips, what);
    let of = |phase: &PhaseReport| {
        let slowed = phase.published.slowed.as_ref().filter(|slowed| slowed.slips > 0)?;
        Some(format!("phase {}: {} times, by {}", phase.name, count(slowed.slips), seconds(slowed.slipped_s)))
    };
    found.sighting.when = report.phases.iter().filter_map(of).collect();
    Some(found)
}

/// Whether what deliveries took may be our own doing, or that of a machine that had no processor for both sides.
fn is_shared(report: &Report) -> bool {
    let p99 = report.latency.deliver.as_ref().map_or(0, |deliver| deliver.p99_us);
    let own = report.generator.drain_p99_us.is_some_and(|own| own * 10 > p99);
    let limited = report.published.slowed.as_ref().map_or("none", |slowed| slowed.limited_by.as_str());
    report.generator.health != Health::Ok || own || !["none", "server"].contains(&limited)
}

/// Memory and latencies that rose all along.
fn growth(report: &Report) -> Vec<Found> {
    let mode = |(name, sentence): (&'static str, String)| {
        let origin = match name {
            trends::OUR_MEMORY => Origin::Run,
            trends::DELIVER_P99 if is_shared(report) => Origin::Open,
            _ => Origin::Server,
        };
        let names = [&format!("growth of {name}"), &format!("Growth all along: {name}")];
        let mut found = Found::new(report, origin, names.map(String::as_str), None, sentence);
        found.sighting.when = vec!["over all phases of the run".to_owned()];
        found.sighting.recovery = vec!["not observed: it still rose in the second half".to_owned()];
        found
    };
    trends::growing(report).into_iter().map(mode).collect()
}
