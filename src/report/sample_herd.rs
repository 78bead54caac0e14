//! A report with faults, for the tests of every document.

use super::model::*;
use super::sample::{judgement, latency, sample};

/// Many kinds of faults at once: a quarter silent, others cut at points of their work, all kept from coming back.
pub(crate) fn cascade() -> Report {
    let plain = herd();
    let reconnects = Reconnects {
        ended: 500,
        attempts: 1_740,
        failed: 1_240,
        aborted_by_plan: 1_180,
        budget_waits: 3,
        amplification: Some(3.48),
        peak_per_100ms: 212,
        restored_50_s: Some(8.31),
        restored_95_s: Some(10.9),
        restored_100_s: None,
    };
    let mut groups = plain.groups.clone();
    for name in ["clients", "victims"] {
        groups[name].reconnects = reconnects.clone();
    }
    Report {
        scenario: ScenarioInfo {
            name: "cascading-failures".to_owned(),
            about: "half of the connections fail, a quarter cut and a quarter silent".to_owned(),
            ..plain.scenario.clone()
        },
        faults: cascade_faults(),
        flow: Flow { longest_silence_s: Some(0.04) },
        breaker: Breaker { opened: 212, closed: 211, half_open_attempts: 230, open_at_end: 1 },
        reconnects,
        groups,
        ..plain
    }
}

fn cascade_faults() -> indexmap::IndexMap<String, FaultReport> {
    let points = ["subscribe-sent", "receive", "unsubscribe-sent"];
    let point = |(name, applied): (&str, u64)| (name.to_owned(), PointReport { planned: 84, applied });
    let cut = FaultReport {
        points_hit: 3,
        points: points.into_iter().zip([84, 84, 83]).map(point).collect(),
        ..fault()
    };
    let lasting = |kind: &str, layer: &str, ended| FaultReport {
        kind: kind.to_owned(),
        layer: layer.to_owned(),
        planned: 250,
        applied: 250,
        not_applied: 0,
        ended,
        ..fault()
    };
    let silent = FaultReport { planned_kind: Some("partition".to_owned()), ..lasting("stall", "link", 250) };
    let delays = DelayReport {
        count: 1_000,
        drawn_mean_us: 274_100.0,
        drawn_deviation_us: 129_400.0,
        mean_us: 274_900.0,
        deviation_us: 129_500.0,
        min_us: 50_310.0,
        max_us: 501_200.0,
    };
    let far = FaultReport { delays: Some(delays), ..lasting("link-delay", "link", 249) };
    let away = lasting("handshake-abort", "connection", 250);
    [("cut", cut), ("silent", silent), ("far", far), ("unreachable", away)]
        .map(|(name, fault)| (name.to_owned(), fault))
        .into_iter()
        .collect()
}

/// Half of the clients cut at one instant and back again.
pub(crate) fn herd() -> Report {
    let plain = sample();
    let whole = part([1_000, 500, 20_000, 412], 2_300);
    let examples = (0..9).map(|seq| Example {
        class: "missed_disconnected".to_owned(),
        seq,
        rule: "no incarnation was live while it was published".to_owned(),
        ..Example::default()
    });
    Report {
        scenario: ScenarioInfo {
            name: "thundering-herd".to_owned(),
            about: "half of 1,000 subscriptions cut at the same instant, all reconnecting at once".to_owned(),
            command: None,
            ..plain.scenario
        },
        verdict: Verdict::Pass,
        why: Vec::new(),
        expectations: vec![judgement(
            "all-back",
            "victims.recovered_ratio == 100%",
            1.0,
            ["100 % (500 of 500)", "= 100 %"],
            Verdict::Pass,
        )],
        reached: Vec::new(),
        claims: Vec::new(),
        connections: Connections {
            peak_open: Some(1_000),
            peak_handshaking: Some(498),
            ..whole.connections.clone()
        },
        subscriptions: Subscriptions { peak_active: Some(1_000), ..whole.subscriptions.clone() },
        ledger: Ledger { examples: examples.collect(), ..whole.ledger.clone() },
        latency: Latencies {
            deliver: whole.latency.deliver.clone(),
            reconnect: Some(latency(500, [31_000, 90_000, 160_000, 204_000, 205_000, 206_000])),
            ..Latencies::default()
        },
        groups: [
            ("clients".to_owned(), whole),
            ("victims".to_owned(), part([500, 500, 10_000, 412], 2_200)),
            ("bystanders".to_owned(), part([500, 0, 10_000, 0], 2_100)),
        ]
        .into_iter()
        .collect(),
        faults: [("cut".to_owned(), fault())].into_iter().collect(),
        phases: vec![phase("before", 7.0, 5.0, 0), phase("herd", 12.0, 8.0, 412)],
        waves: None,
        rounds: None,
        ..plain
    }
}

fn connections(planned: u64, cut: u64) -> Connections {
    Connections {
        planned,
        attempted: planned,
        established: planned,
        established_ratio: Some(1.0),
        dropped_by_plan: planned + cut,
        reconnected: cut,
        cut,
        recovered: cut,
        ..Connections::default()
    }
}

fn part([planned, cut, owed, missed]: [u64; 4], p99_us: u64) -> Slice {
    Slice {
        connections: connections(planned, cut),
        subscriptions: Subscriptions { requested: planned, confirmed: planned, ..Subscriptions::default() },
        ledger: Ledger {
            obligations: owed,
            delivered: owed - missed,
            missed_disconnected: missed,
            receipts: owed - missed,
            first_receipts: owed - missed,
            ..Ledger::default()
        },
        latency: Latencies {
            deliver: Some(latency(owed - missed, [70, 240, 610, p99_us, p99_us * 2, p99_us * 3])),
            ..Latencies::default()
        },
        recovered_ratio: (cut > 0).then_some(1.0),
        ..Slice::default()
    }
}

fn phase(name: &str, start_s: f64, duration_s: f64, missed: u64) -> PhaseReport {
    PhaseReport {
        name: name.to_owned(),
        start_s,
        end_s: start_s + duration_s,
        duration_s,
        groups: [
            ("victims".to_owned(), part([500, 0, 5_000, missed], 2_200)),
            ("bystanders".to_owned(), part([500, 0, 5_000, 0], 2_100)),
        ]
        .into_iter()
        .collect(),
        ledger: part([1_000, 0, 10_000, missed], 2_100).ledger,
        latency: part([1_000, 0, 10_000, missed], 2_150).latency,
        ..PhaseReport::default()
    }
}

fn fault() -> FaultReport {
    FaultReport {
        kind: "terminate".to_owned(),
        layer: "connection".to_owned(),
        planned: 500,
        applied: 499,
        not_applied: 1,
        first_s: Some(12.0),
        last_s: Some(12.04),
        spread_s: Some(0.04),
        applied_late_p99_us: Some(310),
        ..FaultReport::default()
    }
}
