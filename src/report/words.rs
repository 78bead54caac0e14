//! The pieces of a report in words and rows, without layout: what the screen and the Markdown document share.

use super::coming_back;
use super::disturbed::COMPUTED;
use super::human::{self, NOTHING, bytes, count, micros, ratio, seconds};
use super::metrics;
use super::model::*;
use super::pacing;
use crate::scenarios::condition::Dimension;

/// A label and what there is to say under it.
pub(super) type Fact = (&'static str, String);

/// One row of a table of figures; the first cell names it.
pub(super) type Row<const N: usize> = [String; N];

/// Header of [`latency_rows`].
pub(super) const LATENCY_HEADER: [&str; 7] = ["Latency", "p50", "p90", "p99", "p99.9", "max", "count"];

/// The column of [`latency_rows`] that a narrow screen can do without.
pub(super) const LATENCY_SPARE: usize = 4;

/// Header of [`resource_rows`].
pub(super) const RESOURCE_HEADER: [&str; 7] =
    ["Resources", "mem start", "peak", "end", "per conn", "cpu", "files"];

/// Header of [`round_rows`].
pub(super) const ROUND_HEADER: [&str; 9] =
    ["Rounds", "set-up", "connected", "census", "owed", "delivered", "lost", "other", "memory"];

/// The target, the guarantee it claims and what makes the run repeatable, on one line.
pub(super) fn subject(report: &Report) -> String {
    let target = &report.target;
    if target.url.is_empty() {
        return "no target was reached".to_owned();
    }
    let whose = if target.reference_server { " (reference server)" } else { "" };
    let order = if target.ordered { ", ordered" } else { "" };
    human::clean(&format!("{}{whose} · {} · {}{order}", target.url, target.protocol, target.contract))
}

/// Seed, scale and times.
pub(super) fn run(report: &Report) -> String {
    let RunInfo { started_at, duration_s, stop_reason, .. } = &report.run;
    let setup = report.setup.duration_s.map_or_else(|| "not finished".to_owned(), seconds);
    let (seed, scale) = (report.scenario.seed, report.scenario.scale);
    let compressed = report.scenario.time_scale.map_or_else(String::new, |by| {
        let what = pacing::event_volume(report).map(|what| format!(": {what}")).unwrap_or_default();
        format!("time-scale {by}{what} · ")
    });
    human::clean(&format!(
        "seed {seed} · scale {scale} · {compressed}{started_at} · {} · set-up {setup} · {stop_reason}",
        seconds(*duration_s)
    ))
}

/// Connections, subscriptions, publishing, deliveries and errors.
pub(super) fn facts(report: &Report) -> Vec<Fact> {
    let mut facts = connections(&report.connections);
    facts.extend(subscriptions(&report.subscriptions));
    facts.push(("Published", published(&report.published)));
    facts.extend(pacing::held(report).map(|text| ("", text)));
    facts.push(("Owed", owed(&report.ledger)));
    facts.push(("Received", received(&report.ledger)));
    let silence = report.flow.longest_silence_s.filter(|_| !report.faults.is_empty());
    facts.extend(silence.map(|s| ("", format!("longest silence while events were sent {}", seconds(s)))));
    facts.extend(coming_back::breakers(&report.breaker).map(|text| ("Breakers", text)));
    facts.push(("Errors", errors(&report.errors)));
    facts.push(("Failures", failures(&report.connections.failed)));
    let others = report
        .groups
        .iter()
        .filter(|(name, group)| publishes(name, group) && !group.connections.failed.is_empty());
    facts.extend(others.map(|(name, group)| {
        ("Failures", format!("of {}: {}", human::clean(name), failures(&group.connections.failed)))
    }));
    facts
}

/// Whether a group's failures are not among those of the whole, which are about subscribing clients.
pub(super) fn publishes(name: &str, group: &Slice) -> bool {
    group.subscriptions.requested == 0 && !COMPUTED.contains(&name)
}

fn connections(c: &Connections) -> Vec<Fact> {
    let spread = c.offered_spread_s.map(|s| format!(" · offered within {}", seconds(s))).unwrap_or_default();
    let share = c.established_ratio.map(|r| format!(" ({})", ratio(r))).unwrap_or_default();
    let mut facts = vec![(
        "Connections",
        format!(
            "{} planned · {} attempted · {} established{share}",
            count(c.planned),
            count(c.attempted),
            count(c.established)
        ),
    )];
    facts.push((
        "",
        format!("peak {} open, {} handshaking{spread}", known(c.peak_open), known(c.peak_handshaking)),
    ));
    if c.cut + c.dropped_unexpectedly + c.reconnected > 0 {
        facts.push((
            "",
            format!(
                "{} cut by faults · {} ended unexpectedly · {} reconnected, {} of them proved again",
                count(c.cut),
                count(c.dropped_unexpectedly),
                count(c.reconnected),
                count(c.recovered)
            ),
        ));
    }
    facts
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| NOTHING.to_owned(), count)
}

fn subscriptions(s: &Subscriptions) -> Vec<Fact> {
    let missed = match s.probes.missed_after_first {
        0 => String::new(),
        n => format!(" · {} probes missed after the first", count(n)),
    };
    vec![(
        "Subscriptions",
        format!(
            "{} requested · {} confirmed · {} in one census{missed}",
            count(s.requested),
            count(s.confirmed),
            known(s.peak_active)
        ),
    )]
}

fn published(p: &Published) -> String {
    let rate = p.rate.map(|r| format!(" · {}", human::rate(r))).unwrap_or_default();
    let rest = nonzero(&[(p.unknown, "unknown"), (p.failed, "failed")])
        .map(|t| format!(" · {t}"))
        .unwrap_or_default();
    format!(
        "{} due · {} sent · {} acknowledged{rest}{rate}",
        count(p.attempted),
        count(p.sent),
        count(p.acked)
    )
}

/// The first sum of the ledger, classes that are zero left out.
pub(super) fn owed(l: &Ledger) -> String {
    let classes = [
        (l.delivered, "delivered"),
        (l.late, "late"),
        (l.recovered, "recovered"),
        (l.damaged, "damaged"),
        (l.missed_disconnected, "missed while away"),
        (l.indeterminate, "indeterminate"),
        (l.unknown_publish, "of unknown publishes"),
        (l.suppressed, "suppressed by a fault"),
        (l.unverified, "unverified"),
        (l.lost_proven, "proven lost"),
        (l.lost_presumed, "presumed lost"),
    ];
    sum(l.obligations, &classes)
}

/// The second sum of the ledger.
pub(super) fn received(l: &Ledger) -> String {
    let classes = [
        (l.first_receipts, "first"),
        (l.duplicated, "duplicated"),
        (l.corrupted, "corrupted"),
        (l.phantom, "phantom"),
        (l.misrouted, "misrouted"),
        (l.after_unsubscribe, "after unsubscribing"),
    ];
    let aside = nonzero(&[(l.reordered, "of them reordered"), (l.unowed, "of them not owed")]);
    format!("{}{}", sum(l.receipts, &classes), aside.map(|t| format!(" ({t})")).unwrap_or_default())
}

fn sum(total: u64, classes: &[(u64, &str)]) -> String {
    let parts: Vec<_> =
        classes.iter().filter(|(n, _)| *n > 0).map(|(n, class)| format!("{} {class}", count(*n))).collect();
    if parts.is_empty() { count(total) } else { format!("{} = {}", count(total), parts.join(" + ")) }
}

fn nonzero(parts: &[(u64, &str)]) -> Option<String> {
    let parts: Vec<_> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, t)| format!("{} {t}", count(*n))).collect();
    (!parts.is_empty()).then(|| parts.join(" · "))
}

fn errors(e: &Errors) -> String {
    let share = e.ratio.map_or_else(|| NOTHING.to_owned(), ratio);
    format!(
        "{share} of operations and connections · {} timed out · {} unexpected · {} unexplained",
        count(e.timeout),
        count(e.unexpected),
        count(e.unexplained)
    )
}

fn failures(failed: &std::collections::BTreeMap<String, u64>) -> String {
    if failed.is_empty() {
        return "none".to_owned();
    }
    let mut reasons: Vec<_> = failed.iter().collect();
    reasons.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let texts: Vec<_> =
        reasons.iter().map(|(why, n)| format!("{} {}", count(**n), human::clean(why))).collect();
    texts.join(" · ")
}

/// One row per latency that has samples; below deliveries, our own share of them.
pub(super) fn latency_rows(latency: &Latencies, drain_p99_us: Option<u64>) -> Vec<Row<7>> {
    let all = [
        ("connect", &latency.connect),
        ("  tcp", &latency.tcp),
        ("  tls", &latency.tls),
        ("  upgrade", &latency.upgrade),
        ("  init", &latency.init),
        ("subscribe", &latency.subscribe),
        ("deliver", &latency.deliver),
        ("  from sent", &latency.deliver_from_sent),
        ("publish ack", &latency.publish_ack),
        ("reconnect", &latency.reconnect),
        ("send lag", &latency.send_lag),
    ];
    let mut rows = Vec::new();
    for (name, latency) in all {
        let Some(l) = latency else { continue };
        let figures = [l.p50_us, l.p90_us, l.p99_us, l.p999_us, l.max_us].map(micros);
        let [p50, p90, p99, p999, max] = figures;
        rows.push([name.to_owned(), p50, p90, p99, p999, max, count(l.count)]);
        if name == "deliver" {
            let drain = drain_p99_us.map_or_else(|| NOTHING.to_owned(), micros);
            let empty = String::new;
            rows.push(["  our share".to_owned(), empty(), empty(), drain, empty(), empty(), empty()]);
        }
    }
    rows
}

/// Both sides: memory at start, peak and end, per connection, CPU and files.
pub(super) fn resource_rows(resources: &Resources) -> Vec<Row<7>> {
    let per = |n: Option<f64>| n.map_or_else(|| NOTHING.to_owned(), bytes);
    let client = &resources.client;
    let row = |name: &str, memory: [u64; 3], per: String, cpu_s, files| {
        let [start, peak, end] = memory.map(|n| bytes(n as f64));
        [name.to_owned(), start, peak, end, per, seconds(cpu_s), count(files)]
    };
    let memory = [client.memory_start_bytes, client.memory_peak_bytes, client.memory_end_bytes];
    let ours =
        row("generator", memory, per(client.memory_per_connection_bytes), client.cpu_s, client.fds_peak);
    let theirs = resources.server.as_ref().map_or_else(
        || std::array::from_fn(|i| if i == 0 { "server".to_owned() } else { NOTHING.to_owned() }),
        |s| {
            let memory = [s.memory_start_bytes, s.memory_peak_bytes, s.memory_end_bytes];
            row("server", memory, per(s.memory_per_connection_bytes), s.cpu_s, s.fds_peak)
        },
    );
    vec![ours, theirs]
}

/// The generator's health and what it rests on.
pub(super) fn generator(g: &Generator) -> String {
    let health = match g.health {
        Health::Ok => "ok",
        Health::Limited => "limited, timing cannot be judged",
        Health::Invalid => "invalid, nothing can be judged",
    };
    let of =
        |name: &str, us: Option<u64>| format!("{name} {}", us.map_or_else(|| NOTHING.to_owned(), micros));
    format!(
        "{health} · p99 lag: {}, {}, {}, {} · cpu {}",
        of("send", g.send_lag_p99_us),
        of("loop", g.loop_lag_p99_us),
        of("drain", g.drain_p99_us),
        of("set-up", g.setup_lag_p99_us),
        g.cpu_share.map_or_else(|| NOTHING.to_owned(), ratio)
    )
}

/// One line per round: what was set up, what became of what was owed, and the server's memory after it.
pub(super) fn round_rows(rounds: &Rounds) -> Vec<Row<9>> {
    let told = |n: Option<f64>, show: fn(f64) -> String| n.map_or_else(|| NOTHING.to_owned(), show);
    let row = |(i, round): (usize, &Round)| {
        let Ledger { obligations, delivered, lost, .. } = round.ledger;
        [
            (i + 1).to_string(),
            told(round.setup_duration_s, seconds),
            count(round.connections.established),
            known(round.subscriptions.peak_active),
            count(obligations),
            count(delivered),
            count(lost),
            count(obligations.saturating_sub(delivered + lost)),
            told(round.server_memory_end_bytes.map(|n| n as f64), bytes),
        ]
    };
    rounds.each.iter().enumerate().map(row).collect()
}

/// What the figures beside the rounds are of.
pub(super) fn round_note(rounds: &Rounds) -> String {
    let grown = rounds.server_memory_end.growth;
    let grown = grown
        .map(|share| format!(" · growth of server memory that went on: {}", ratio(share)))
        .unwrap_or_default();
    let shown = match rounds.shown {
        0 => String::new(),
        n => format!(" · all other figures are of round {n}, resources of the whole run"),
    };
    format!("{} completed{grown}{shown}", count(rounds.completed))
}

/// One comparison: its name, the server's figure and ours.
pub(super) fn stat_check(check: &StatCheck) -> Row<3> {
    let server = check.server.map_or_else(|| NOTHING.to_owned(), human::number);
    [human::clean(&check.name), server, human::number(check.client)]
}

/// Why these counts are not those of the events alone.
pub(super) fn stat_note(stats: &ServerStats) -> Option<&'static str> {
    let counted = stats.checks.iter().any(|check| matches!(check.name.as_str(), "published" | "delivered"));
    counted.then_some("published and delivered include probes, censuses and barriers")
}

/// How the counts compared while the phases ran; `None`: the server was not asked then.
pub(super) fn all_along(stats: &ServerStats) -> Option<String> {
    let during = stats.during.as_ref().filter(|during| during.samples > 0)?;
    let checks = during.checks.iter().map(|check| {
        let known = check.slack_ratio.map_or("not bounded".to_owned(), |slack| {
            let all = if check.bounded < check.samples {
                format!(", in {} of {}", human::count(check.bounded), human::count(check.samples))
            } else {
                String::new()
            };
            format!("known to {}{all}", human::ratio(slack))
        });
        format!("{} off by {} at most ({known})", check.name, human::ratio(check.error_ratio))
    });
    let failed = if during.failed > 0 {
        format!(", {} of them in vain", human::count(during.failed))
    } else {
        String::new()
    };
    Some(format!(
        "Asked {} times while the phases ran{failed}: {}",
        human::count(during.samples),
        checks.collect::<Vec<_>>().join(" · ")
    ))
}

/// The interval of a judgement, shown like its condition.
pub(super) fn interval(judgement: &Judgement) -> Option<String> {
    let [low, high] = judgement.interval?;
    let percent = judgement.condition.contains('%');
    // Shares have intervals, and sizes where they are growth over the run.
    let metric = judgement.condition.split_whitespace().next().and_then(metrics::find);
    let dimension = metric.map(|m| m.dimension).filter(|dimension| *dimension == Dimension::Size);
    let show = |value| human::quantity(value, dimension.unwrap_or(Dimension::Ratio), percent, 3);
    Some(format!("95 %: {} to {}", show(low), show(high)))
}

/// Why, where the observed value and the limit do not say it already.
pub(super) fn why(judgement: &Judgement) -> Option<String> {
    let why = judgement.why.as_deref().map(human::clean)?;
    if judgement.verdict == Verdict::Fail && judgement.observed.is_some() {
        // That it was in one round out of several is still news.
        return why.starts_with("in round ").then(|| why.split(": ").next().unwrap_or_default().to_owned());
    }
    Some(why)
}

/// A reason for the verdict, with what it is about and in which round as one phrase.
pub(super) fn reason(why: &str) -> String {
    human::clean(why).replacen(": in round ", " in round ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_named_once() {
        let told = "nothing-lost failed: in round 2: observed 2, wanted = 0";
        assert_eq!(reason(told), "nothing-lost failed in round 2: observed 2, wanted = 0");
        let failed = |why: &str| Judgement {
            verdict: Verdict::Fail,
            observed: Some(Observed::Number(2.0)),
            why: Some(why.to_owned()),
            ..Judgement::default()
        };
        assert_eq!(super::why(&failed("in round 2: observed 2, wanted = 0")).as_deref(), Some("in round 2"));
        assert_eq!(super::why(&failed("observed 2, wanted = 0")), None);
    }
}
