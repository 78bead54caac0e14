//! Connections and operations that ended badly, a failure mode for each `STAGE.REASON`, and clients that did not come
//! back.

use super::{Found, Origin, circumstances};
use crate::report::human::{count, seconds};
use crate::report::model::{Connections, FailedSpan, Report};

/// Reasons that name the generator's own machine.
const LOCAL: [&str; 3] = ["emfile", "no-port", "self-connect"];

/// All of them.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let mut found = named(report);
    found.extend(unnamed(report));
    found.extend(not_back(report));
    found.extend(probes(report));
    found
}

/// Those of subscribers are in the whole; publishers have groups of their own.
fn parts(report: &Report) -> impl Iterator<Item = &Connections> {
    let publishing =
        report.groups.iter().filter(|(name, group)| crate::report::words::publishes(name, group));
    std::iter::once(&report.connections).chain(publishing.map(|(_, group)| &group.connections))
}

fn named(report: &Report) -> Vec<Found> {
    let mut names: Vec<&String> = parts(report).flat_map(|part| part.failed.keys()).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| failure(report, name)).collect()
}

fn failure(report: &Report, name: &str) -> Found {
    let of = |part: &Connections| part.failed.get(name).copied().unwrap_or(0);
    let n = parts(report).map(of).sum::<u64>();
    let (stage, reason) = name.split_once('.').unwrap_or((name, ""));
    let title = format!("{}: {}", stage_in_words(stage), reason_in_words(reason));
    let origin = if reason == "injected" {
        Origin::Ours
    } else if LOCAL.contains(&reason) {
        Origin::Run
    } else if circumstances::is_of_victims(report, n, |slice| of(&slice.connections)) {
        Origin::Answer
    } else {
        Origin::Server
    };
    let what = format!("{}, among {}", count(n), tried(report));
    let mut found = Found::new(report, origin, [name, &title], n, what);
    let seen = &mut found.sighting;
    seen.whom = circumstances::whom(report, |slice| (of(&slice.connections), None));
    seen.when = vec![when(report, stage).to_owned()];
    let spans: Vec<&FailedSpan> = parts(report).filter_map(|part| part.failed_spans.get(name)).collect();
    match within(&spans) {
        Some(time) => seen.when.push(time),
        None => seen.when.push("the report does not say at what time".to_owned()),
    }
    seen.example = spans.first().map(|span| example(span));
    seen.said = parts(report).find_map(|part| part.failed_texts.get(name)).cloned();
    seen.recovery.extend(circumstances::came_back(report));
    if origin != Origin::Run {
        seen.others = circumstances::others(report);
    }
    found
}

/// From when to when, over all parts that know it.
fn within(spans: &[&FailedSpan]) -> Option<String> {
    let first = spans.iter().map(|span| span.first_s).reduce(f64::min)?;
    let last = spans.iter().map(|span| span.last_s).reduce(f64::max)?;
    Some(if last > first {
        format!("the first at {}, the last at {} of the run", seconds(first), seconds(last))
    } else {
        format!("at {} of the run", seconds(first))
    })
}

fn example(span: &FailedSpan) -> String {
    let FailedSpan { first_s, group, connection, .. } = span;
    format!("connection {connection} of {group}, at {} of the run", seconds(*first_s))
}

fn tried(report: &Report) -> String {
    let again = match report.reconnects.attempts {
        0 => String::new(),
        n => format!(" and {} tries to come back", count(n)),
    };
    format!("{} first attempts to connect{again}", count(report.connections.attempted))
}

fn when(report: &Report, stage: &str) -> &'static str {
    match stage {
        "open" => "after the connection was established",
        "publish" => "while events were published",
        "unsubscribe" | "close" => "when the run was over and everything was closed",
        _ if report.reconnects.attempts == 0 => "while connections were set up",
        _ => "while connections were set up, or came back",
    }
}

fn stage_in_words(stage: &str) -> &str {
    match stage {
        "tcp" => "TCP connect",
        "tls" => "TLS handshake",
        "upgrade" => "HTTP upgrade",
        "init" => "connection_init",
        "confirm" => "Subscribe, until the first event",
        "open" => "Established connection",
        "publish" => "Publish",
        "unsubscribe" => "Unsubscribe",
        "close" => "Close",
        other => other,
    }
}

fn reason_in_words(reason: &str) -> String {
    let words = match reason {
        "timeout" => "no answer in time",
        "refused" => "refused",
        "reset" => "reset by the peer",
        "closed" => "ended by the peer without a reason",
        "unreachable" => "host or network cannot be reached",
        "subprotocol" => "no subprotocol, or another one, was chosen",
        "handshake" => "the handshake is not valid",
        "oversized" => "a message larger than the scenario can need",
        "invalid-utf8" => "a text message that is not UTF-8",
        "invalid-frame" => "a frame that RFC 6455 does not allow",
        "invalid-message" => "a message that the protocol does not have",
        "error" => "answered with errors",
        "complete" => "the server ended an operation that should have gone on",
        "tls" => "TLS failed, or the certificate was not accepted",
        "emfile" => "no file descriptor was free on our side",
        "no-port" => "no source port was free on our side",
        "self-connect" => "the socket was connected to itself",
        "injected" => "ended by a fault of ours",
        "io" => "something that the operating system said and that has no name",
        other => {
            let code =
                other.strip_prefix("close-").map(|code| format!("closed by the peer with code {code}"));
            let status = || other.strip_prefix("http-").map(|status| format!("answered with HTTP {status}"));
            return code.or_else(status).unwrap_or_else(|| other.to_owned());
        }
    };
    words.to_owned()
}

/// Counts that no name stands for.
fn unnamed(report: &Report) -> Vec<Found> {
    let connections = &report.connections;
    let named = |stages: &[&str]| {
        let is_of = |name: &str| name.split_once('.').is_some_and(|(stage, _)| stages.contains(&stage));
        connections.failed.iter().filter(|(name, _)| is_of(name)).map(|(_, n)| n).sum::<u64>()
    };
    let mut found = Vec::new();
    let dropped = connections.dropped_unexpectedly.saturating_sub(named(&["open", "confirm"]));
    if dropped > 0 {
        let names = ["dropped", "Established connections that ended unexpectedly, without a name"];
        let what = format!("{} of {} connections", count(dropped), count(connections.established));
        let mut one = Found::new(report, Origin::Server, names, dropped, what);
        one.sighting.whom = circumstances::whom(report, |slice| {
            (slice.connections.dropped_unexpectedly, Some(slice.connections.established))
        });
        one.sighting.recovery.extend(circumstances::came_back(report));
        one.sighting.others = circumstances::others(report);
        found.push(one);
    }
    let errors = &report.errors;
    let errors = errors.timeout.max(errors.unexpected).max(errors.unexplained);
    if errors > 0 && connections.dropped_unexpectedly == 0 && named_at_all(report) == 0 {
        let names = ["errors", "Operations that failed, without a name"];
        found.push(Found::new(
            report,
            Origin::Server,
            names,
            errors,
            format!("{} operations", count(errors)),
        ));
    }
    let unproved = report.subscriptions.requested.saturating_sub(report.subscriptions.confirmed);
    if unproved > 0 && named_at_all(report) == 0 && !report.run.interrupted {
        let names = ["unconfirmed", "Subscriptions that were never proved by an event"];
        let what = format!("{} of {} subscriptions", count(unproved), count(report.subscriptions.requested));
        let mut one = Found::new(report, Origin::Open, names, unproved, what);
        one.sighting.whom = circumstances::whom(report, |slice| {
            let subscriptions = &slice.subscriptions;
            (subscriptions.requested.saturating_sub(subscriptions.confirmed), Some(subscriptions.requested))
        });
        found.push(one);
    }
    found
}

fn named_at_all(report: &Report) -> u64 {
    parts(report).flat_map(|part| part.failed.values()).sum()
}

/// Clients that tried to come back and were not well again when the run ended.
fn not_back(report: &Report) -> Option<Found> {
    let connections = &report.connections;
    let missing = connections.absences.saturating_sub(connections.recovered);
    if missing == 0 || report.reconnects.attempts == 0 {
        return None;
    }
    let gave_up = report.run.interrupted || report.run.timed_out.iter().any(|wait| wait == "settle");
    let origin = if gave_up { Origin::Open } else { Origin::Server };
    let names = ["not-back", "Clients that did not come back with every subscription proved"];
    let what = format!("{} of {} absences were not over", count(missing), count(connections.absences));
    let mut found = Found::new(report, origin, names, missing, what);
    found.sighting.whom = circumstances::whom(report, |slice| {
        let c = &slice.connections;
        (c.absences.saturating_sub(c.recovered), Some(c.absences))
    });
    found.sighting.recovery.extend(circumstances::came_back(report));
    found.sighting.others = circumstances::others(report);
    Some(found)
}

/// Probes that a working subscription did not receive.
fn probes(report: &Report) -> Option<Found> {
    let missed = report.subscriptions.probes.missed_after_first;
    let names = ["probes-missed", "Probes that a subscription missed after it had received one"];
    (missed > 0).then(|| {
        let what = format!("{} of {} probes", count(missed), count(report.subscriptions.probes.sent));
        Found::new(report, Origin::Server, names, missed, what)
    })
}
