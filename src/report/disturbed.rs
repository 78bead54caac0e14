//! What faults did, and to whom: rows and sentences that the screen and the Markdown document share.

use super::human::{NOTHING, bytes, clean, count, micros, rough_micros, seconds};
use super::model::{
    Example, FaultReport, Latencies, Latency, Ledger, PhaseReport, PointReport, Report, Slice,
};
use super::words::{Row, publishes};

/// Header of [`fault_rows`].
pub(super) const FAULT_HEADER: [&str; 7] =
    ["Faults", "planned", "applied", "ended", "first", "within", "p99 late"];

/// Width of a fault and its kind beyond which the kind stands below, so that the figures fit a narrow screen.
pub(super) const FAULT_NAME: usize = 24;

/// Header of [`client_rows`].
pub(super) const CLIENT_HEADER: [&str; 9] =
    ["Clients", "conns", "cut", "back", "owed", "delivered", "lost", "missed", "p99"];

/// Header of [`phase_rows`].
pub(super) const PHASE_HEADER: [&str; 7] = ["Phases", "owed", "delivered", "lost", "missed", "p50", "p99"];

/// Names that stand for clients of several groups.
pub(super) const COMPUTED: [&str; 2] = ["victims", "bystanders"];

/// One line per fault, plan and deed, and below it one for each point that connections were ended at. Where a fault and
/// its kind are wider than `name_width`, the kind has a line of its own.
pub(super) fn fault_rows(report: &Report, name_width: usize) -> Vec<Row<7>> {
    let time = |s: Option<f64>| s.map_or_else(|| NOTHING.to_owned(), seconds);
    let rows = |(name, fault): (&String, &FaultReport)| {
        let told = clean(&format!("{name} ({})", fault.kind));
        let is_short = told.chars().count() <= name_width;
        // What happens at one moment does not end.
        let ended = if fault.kind == "terminate" { NOTHING.to_owned() } else { count(fault.ended) };
        let whole = [
            if is_short { told } else { clean(name) },
            count(fault.planned),
            count(fault.applied),
            ended,
            time(fault.first_s),
            time(fault.spread_s),
            fault.applied_late_p99_us.map_or_else(|| NOTHING.to_owned(), micros),
        ];
        let below = |text: String| -> Row<7> {
            let mut row = std::array::from_fn(|_| String::new());
            row[0] = text;
            row
        };
        let point = |(name, point): (&String, &PointReport)| {
            let mut row = below(clean(&format!("  {name}")));
            [row[1], row[2]] = [point.planned, point.applied].map(count);
            row
        };
        let kind = (!is_short).then(|| below(clean(&format!("  ({})", fault.kind))));
        let points = fault.points.iter().map(point);
        std::iter::once(whole).chain(kind).chain(points).collect::<Vec<_>>()
    };
    report.faults.iter().flat_map(rows).collect()
}

/// What the rows of faults do not say: what ran instead, and how long delays were.
pub(super) fn fault_notes(report: &Report) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, fault) in &report.faults {
        if let Some(planned) = &fault.planned_kind {
            notes.push(clean(&format!(
                "{name}: this machine does not allow the {planned} of the plan, a {} ran in its place",
                fault.kind
            )));
        }
        notes.extend(reads_note(name, fault));
        if let Some(cycles) = &fault.cycles {
            let took = |latency: &Option<Latency>| {
                let p99 = latency.as_ref().map(|latency| micros(latency.p99_us));
                p99.unwrap_or_else(|| NOTHING.to_owned())
            };
            notes.push(clean(&format!(
                "{name}: of {} cycles {} were completed, {} ended by a fault of ours, {} failed otherwise; proved within {}, \
                 unsubscribed within {} (p99)",
                count(fault.planned),
                count(cycles.completed),
                count(cycles.failed_by_plan),
                count(cycles.failed),
                took(&cycles.confirm),
                took(&cycles.unsubscribe)
            )));
        }
        if let Some(delays) = &fault.delays {
            let time = |us: f64| seconds(us / 1e6);
            notes.push(clean(&format!(
                "{name}: {} delays, drawn {} ± {}, in fact {} ± {} ({} to {})",
                count(delays.count),
                time(delays.drawn_mean_us),
                time(delays.drawn_deviation_us),
                time(delays.mean_us),
                time(delays.deviation_us),
                time(delays.min_us),
                time(delays.max_us)
            )));
        }
    }
    notes
}

/// What slow readers really read.
fn reads_note(name: &str, fault: &FaultReport) -> Option<String> {
    let reads = fault.reads.as_ref()?;
    let pauses = match reads.pauses {
        0 => String::new(),
        pauses => format!(", with {} pauses", count(pauses)),
    };
    Some(clean(&format!(
        "{name}: each read {} per second in fact, over {} in all{pauses}",
        bytes(reads.per_second_bytes),
        seconds(reads.lasted_s)
    )))
}

/// One line per group of subscribers, victims and bystanders last; nothing where there were no faults.
pub(super) fn client_rows(report: &Report) -> Vec<Row<9>> {
    let row = |(name, group): (&String, &Slice)| {
        let connections = &group.connections;
        let [owed, delivered, lost, missed] = deliveries(&group.ledger);
        let [_, p99] = delays(&group.latency);
        [
            clean(name),
            count(connections.planned),
            count(connections.cut),
            count(connections.recovered),
            owed,
            delivered,
            lost,
            missed,
            p99,
        ]
    };
    let received = report.groups.iter().filter(|(name, group)| !publishes(name, group));
    received.filter(|(name, group)| !report.faults.is_empty() && !is_nobody(name, group)).map(row).collect()
}

/// Whether a fault hits everyone, or none of those who subscribe: of nobody there is nothing to tell.
fn is_nobody(name: &str, group: &Slice) -> bool {
    COMPUTED.contains(&name) && group.connections.planned == 0
}

/// What the rows of clients and phases do not say: why they need not add up.
pub(super) fn delivery_note(report: &Report) -> Option<&'static str> {
    let rest = |l: &Ledger| l.delivered + l.lost + l.missed_disconnected < l.obligations;
    (!report.faults.is_empty() && rest(&report.ledger))
        .then_some("what is in none of these columns was late, undecided or kept back by a fault: see Owed")
}

/// One line per phase, and below it one for victims and bystanders where there were faults.
pub(super) fn phase_rows(report: &Report) -> Vec<Row<7>> {
    let is_absent = |name: &str| report.groups.get(name).is_some_and(|group| is_nobody(name, group));
    let rows = |phase: &PhaseReport| {
        let whole = figures(clean(&phase.name), &phase.ledger, &phase.latency);
        let parts = COMPUTED.iter().filter(|name| !is_absent(name)).filter_map(|name| {
            phase.groups.get(*name).map(|part| figures(format!("  {name}"), &part.ledger, &part.latency))
        });
        std::iter::once(whole).chain(parts).collect::<Vec<_>>()
    };
    report.phases.iter().flat_map(rows).collect()
}

/// Deliveries as somebody saw them, and how long they took.
pub(super) fn figures(name: String, ledger: &Ledger, latency: &Latencies) -> Row<7> {
    let [owed, delivered, lost, missed] = deliveries(ledger);
    let [p50, p99] = delays(latency);
    [name, owed, delivered, lost, missed, p50, p99]
}

fn deliveries(ledger: &Ledger) -> [String; 4] {
    [ledger.obligations, ledger.delivered, ledger.lost, ledger.missed_disconnected].map(count)
}

/// Median and 99th percentile of deliveries.
fn delays(latency: &Latencies) -> [String; 2] {
    let deliver = latency.deliver.as_ref();
    [deliver.map(|l| l.p50_us), deliver.map(|l| l.p99_us)]
        .map(|us| us.map_or_else(|| NOTHING.to_owned(), rough_micros))
}

/// The first few examples of each class that `wanted` accepts, and how many there are beside them.
pub(super) fn examples(
    report: &Report,
    each: usize,
    wanted: impl Fn(&str) -> bool,
) -> (Vec<&Example>, usize) {
    let all: Vec<&Example> = report.ledger.examples.iter().filter(|e| wanted(&e.class)).collect();
    let mut shown: Vec<&Example> = Vec::new();
    for &example in &all {
        if shown.iter().filter(|one| one.class == example.class).count() < each {
            shown.push(example);
        }
    }
    let more = all.len() - shown.len();
    (shown, more)
}

/// Whether an example of this class shows something that the server may have done wrong. What our own cuts leave
/// undecided about their victims is none of it.
pub(super) fn is_serious(report: &Report, class: &str) -> bool {
    let bystanders = report.groups.get("bystanders");
    match class {
        "late" | "recovered" | "missed_disconnected" | "suppressed" | "unknown_publish" => false,
        "indeterminate" => bystanders.is_none_or(|group| group.ledger.indeterminate > 0),
        _ => true,
    }
}

/// The channel's name, as far as it was recorded.
pub(super) fn channel(e: &Example) -> String {
    if e.channel_name.is_empty() { format!("channel {}", e.channel) } else { e.channel_name.clone() }
}

/// One delivery with all that it takes to find it in the logs of a server, and the rule that decided.
pub(super) fn example(e: &Example) -> String {
    let at = |what: &str, s: Option<f64>| s.map(|s| format!(", {what} {s:.3} s")).unwrap_or_default();
    let received = if e.received_s.is_some() { String::new() } else { ", never received".to_owned() };
    clean(&format!(
        "{}: {}, publisher {}, epoch {}, seq {} → subscription {}{}{}{}{received}: {}",
        e.class,
        channel(e),
        e.publisher,
        e.epoch,
        e.seq,
        e.subscription,
        at("due", e.due_s),
        at("sent", e.sent_s),
        at("received", e.received_s),
        e.rule
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::CycleReport;

    #[test]
    fn a_few_of_each_class_stand_for_all() {
        let mut report = Report::default();
        for (class, n) in [("lost_proven", 3), ("late", 1), ("duplicated", 2)] {
            let one = Example { class: class.to_owned(), ..Example::default() };
            report.ledger.examples.extend(std::iter::repeat_n(one, n));
        }
        let classes = |each, wanted: fn(&str) -> bool| {
            let (shown, more) = examples(&report, each, wanted);
            (shown.iter().map(|e| e.class.clone()).collect::<Vec<_>>(), more)
        };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            classes(1, |class| is_serious(&Report::default(), class)),
            (names(&["lost_proven", "duplicated"]), 3)
        );
        assert_eq!(classes(1, |_| true), (names(&["lost_proven", "late", "duplicated"]), 3));
        assert_eq!(classes(9, |_| true).1, 0);
    }

    #[test]
    fn cycles_are_told_with_what_became_of_them() {
        let confirm = Latency { p99_us: 52_000, ..Latency::default() };
        let cycles = CycleReport {
            completed: 4_499,
            failed_by_plan: 500,
            failed: 1,
            confirm: Some(confirm),
            unsubscribe: None,
        };
        let fault = FaultReport { planned: 5_000, cycles: Some(cycles), ..FaultReport::default() };
        let report = Report { faults: [("churn".to_owned(), fault)].into(), ..Report::default() };
        assert_eq!(
            fault_notes(&report),
            [
                "churn: of 5,000 cycles 4,499 were completed, 500 ended by a fault of ours, 1 failed otherwise; proved within \
              52 ms, unsubscribed within – (p99)"
            ]
        );
    }

    #[test]
    fn what_is_undecided_about_victims_alone_is_not_serious() {
        let mut report = Report::default();
        assert!(is_serious(&report, "indeterminate") && !is_serious(&report, "missed_disconnected"));
        report.groups.insert("bystanders".to_owned(), Slice::default());
        assert!(!is_serious(&report, "indeterminate"));
        report.groups["bystanders"].ledger.indeterminate = 1;
        assert!(is_serious(&report, "indeterminate"));
    }

    #[test]
    fn an_example_can_be_followed() {
        let lost = Example {
            channel_name: "stress-0a1b2c3d-17".to_owned(),
            class: "lost_proven".to_owned(),
            channel: 17,
            publisher: 2,
            epoch: 1,
            seq: 40,
            subscription: 117,
            due_s: Some(7.003),
            sent_s: Some(7.0031),
            received_s: None,
            rule: "a later seq arrived".to_owned(),
        };
        assert_eq!(
            example(&lost),
            "lost_proven: stress-0a1b2c3d-17, publisher 2, epoch 1, seq 40 → subscription 117, due 7.003 s, sent 7.003 s, never \
             received: a later seq arrived"
        );
        let twice = Example { class: "duplicated".to_owned(), sent_s: None, received_s: Some(8.25), ..lost };
        assert!(example(&twice).ends_with("due 7.003 s, received 8.250 s: a later seq arrived"));
    }
}
