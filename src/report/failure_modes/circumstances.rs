//! Where, when and under which load something failed, whom else it touched and how it got well again.

use crate::report::coming_back::ends_spread;
use crate::report::disturbed::COMPUTED;
use crate::report::human::{count, micros, number, rate, rough_micros, seconds};
use crate::report::model::{Health, Latencies, Ledger, PhaseReport, Reconnects, Report, Slice};

/// What the server was under, in one line; for every failure, and for a run without any.
pub(super) fn load(report: &Report) -> String {
    let mut parts = vec![
        format!("{} connections", count(report.connections.established)),
        format!("{} subscriptions", count(report.subscriptions.confirmed)),
        format!("{} events published", count(report.published.sent)),
    ];
    parts.extend(report.published.rate.map(rate));
    parts.push(format!("{} deliveries owed", count(report.ledger.obligations)));
    parts.push(format!("scale {}", number(report.scenario.scale)));
    parts.join(" · ")
}

/// An entry for each group of clients of which `of` is not 0: `clients: 412 of 20,000`. Where faults were planned, the same
/// clients once more, by whether one was aimed at them.
pub(super) fn whom(report: &Report, of: impl Fn(&Slice) -> (u64, Option<u64>)) -> Vec<String> {
    let line = |name: &str, slice: &Slice| match of(slice) {
        (0, _) => None,
        (n, Some(all)) => Some(format!("{name}: {} of {}", count(n), count(all))),
        (n, None) => Some(format!("{name}: {}", count(n))),
    };
    let is_aim = |name: &String| !report.faults.is_empty() && COMPUTED.contains(&name.as_str());
    let groups = report.groups.iter().filter(|(name, _)| !is_aim(name));
    let mut whom: Vec<String> = groups.filter_map(|(name, slice)| line(name, slice)).collect();
    let aims = report.groups.iter().filter(|(name, _)| is_aim(name));
    let aims: Vec<String> = aims.filter_map(|(name, slice)| line(name, slice)).collect();
    match (aims.is_empty(), whom.is_empty()) {
        (true, _) => {}
        (false, true) => whom = aims,
        (false, false) => whom.push(format!("of them {}", aims.join(", "))),
    }
    whom
}

/// Whether all `n` of something befell clients that a fault was aimed at.
pub(super) fn is_of_victims(report: &Report, n: u64, of: impl Fn(&Slice) -> u64) -> bool {
    !report.faults.is_empty() && report.groups.get("victims").is_some_and(|victims| of(victims) >= n)
}

/// Phases in which a class of the ledger occurred, with their times.
pub(super) fn phases(report: &Report, of: impl Fn(&Ledger) -> u64) -> Vec<String> {
    let line = |phase: &PhaseReport| match of(&phase.ledger) {
        0 => None,
        n => Some(format!("{}: {} of {}", span(phase), count(n), count(phase.ledger.obligations))),
    };
    report.phases.iter().filter_map(line).collect()
}

/// `phase herd (12 s to 20 s)`
fn span(phase: &PhaseReport) -> String {
    format!("phase {} ({} to {})", phase.name, seconds(phase.start_s), seconds(phase.end_s))
}

/// From when to when deliveries were lost, by the second that their events were due in.
pub(super) fn lost_within(report: &Report) -> Option<String> {
    let mut hit = report.timeline.iter().filter(|point| point.lost > 0).map(|point| point.t_s);
    let first = hit.next()?;
    let last = hit.next_back().unwrap_or(first);
    Some(if (last - first).abs() < f64::EPSILON {
        format!("all of them due up to {} of the run, within one point of its timeline", seconds(first))
    } else {
        format!("the first due up to {}, the last up to {} of the run", seconds(first), seconds(last))
    })
}

/// What still arrived after the last loss.
pub(super) fn after_the_last_loss(report: &Report) -> Option<String> {
    let last = report.timeline.iter().rposition(|point| point.lost > 0)?;
    let after = report.timeline.get(last + 1..)?.iter().map(|point| point.delivered).sum::<u64>();
    let at = seconds(report.timeline[last].t_s);
    Some(match after {
        0 => format!("not observed: nothing was delivered after {at}"),
        n => format!("after {at} {} more were delivered and none of what was due then was lost", count(n)),
    })
}

/// How many came back and when, in one line. Where the plan spread the ends, the time until so many were back is the
/// plan's; how long each of them took is not.
pub(super) fn came_back(report: &Report) -> Option<String> {
    let (back, connections) = (&report.reconnects, &report.connections);
    if back.ended == 0 {
        return None;
    }
    let all = format!(
        "{} of {} connections that ended came back with every subscription proved",
        count(connections.recovered),
        count(back.ended)
    );
    if back.attempts == 0 {
        return Some(format!("{all}; no client tried to"));
    }
    Some(format!("{all}, by {}; {}", tries(back), how_fast(report)))
}

fn tries(back: &Reconnects) -> String {
    let all = format!("{} tries", count(back.attempts));
    let others = back.failed.saturating_sub(back.aborted_by_plan);
    match (back.aborted_by_plan, others) {
        (0, n) => format!("{all} of which {} failed", count(n)),
        (ours, 0) => {
            format!("{all}, {} of which a fault of ours ended and none failed otherwise", count(ours))
        }
        (ours, n) => {
            format!("{all}, {} of which a fault of ours ended and {} failed otherwise", count(ours), count(n))
        }
    }
}

fn how_fast(report: &Report) -> String {
    let back = &report.reconnects;
    let time = |s: Option<f64>| s.map_or_else(|| "never".to_owned(), seconds);
    let of_each = report.latency.reconnect.as_ref();
    match (of_each, ends_spread(report)) {
        (Some(each), Some(spread)) => format!(
            "the ends were spread over {} by the plan, and half of them were back within {} each, the slowest within {}",
            seconds(spread),
            micros(each.p50_us),
            micros(each.max_us)
        ),
        (of_each, _) => {
            let slowest = of_each.map(|each| format!(", the slowest took {}", micros(each.max_us)));
            format!(
                "after the first end 50 % were back after {}, 95 %: {}, all: {}{}",
                time(back.restored_50_s),
                time(back.restored_95_s),
                time(back.restored_100_s),
                slowest.unwrap_or_default()
            )
        }
    }
}

/// What happened to clients that no fault was aimed at, phase by phase, in one line. Where no fault was planned at all,
/// what became of the other deliveries.
pub(super) fn others(report: &Report) -> Option<String> {
    let told = match report.groups.get("bystanders").filter(|group| group.connections.planned > 0) {
        Some(group) => bystanders(report, group),
        None if !report.faults.is_empty() => return Some("nobody was spared by the plan".to_owned()),
        None if report.ledger.obligations == 0 => return None,
        None => {
            format!("of all deliveries: {}{}", delays(&report.latency), deliveries(&report.ledger))
        }
    };
    let caution = match report.generator.health {
        Health::Ok => "",
        _ => "; the generator did not keep up, so these times are not the server's alone",
    };
    Some(told + caution)
}

fn bystanders(report: &Report, group: &Slice) -> String {
    let acts = |phase: &PhaseReport| report.faults.values().any(|fault| fault.parts.contains(&phase.name));
    let first = report.phases.iter().position(acts);
    let last = report.phases.iter().rposition(acts);
    let time = |(i, phase): (usize, &PhaseReport)| {
        let when = match i {
            _ if i < first? => "before",
            _ if i <= last? => "during",
            _ => "after",
        };
        let deliver = phase.groups.get("bystanders")?.latency.deliver.as_ref()?;
        Some(format!("{} {when} ({})", rough_micros(deliver.p99_us), phase.name))
    };
    let times: Vec<_> = report.phases.iter().enumerate().filter_map(time).collect();
    let times = if times.is_empty() { String::new() } else { format!("p99 {}; ", times.join(", ")) };
    format!(
        "bystanders: {times}{} of {} connections ended unexpectedly; {}",
        count(group.connections.dropped_unexpectedly),
        count(group.connections.planned),
        deliveries(&group.ledger)
    )
}

fn delays(latency: &Latencies) -> String {
    let Some(deliver) = &latency.deliver else { return String::new() };
    format!("p50 {}, p99 {}; ", rough_micros(deliver.p50_us), rough_micros(deliver.p99_us))
}

fn deliveries(ledger: &Ledger) -> String {
    format!(
        "{} of {} owed delivered, {} lost",
        count(ledger.delivered),
        count(ledger.obligations),
        count(ledger.lost)
    )
}
