//! Reports that the tests of every document share: one that fails a little, one that shows nothing. One with faults is
//! in `sample_herd`.

use indexmap::IndexMap;
use serde_json::json;

use super::model::*;

pub(super) fn latency(count: u64, [min, p50, p90, p99, p999, max]: [u64; 6]) -> Latency {
    Latency {
        count,
        min_us: min,
        mean_us: p50 as f64 * 1.1,
        p50_us: p50,
        p90_us: p90,
        p99_us: p99,
        p999_us: p999,
        max_us: max,
        iqr_us: p50 / 2,
        hdr: "HISTFAAAA".to_owned(),
    }
}

pub(super) fn judgement(
    id: &str,
    condition: &str,
    observed: f64,
    texts: [&str; 2],
    verdict: Verdict,
) -> Judgement {
    let [observed_text, limit] = texts;
    Judgement {
        id: id.to_owned(),
        condition: condition.to_owned(),
        observed: Some(Observed::Number(observed)),
        observed_text: observed_text.to_owned(),
        limit: limit.to_owned(),
        interval: None,
        verdict,
        why: (verdict == Verdict::Fail).then(|| format!("observed {observed_text}, wanted {limit}")),
    }
}

/// `10k-concurrent` with two lost deliveries, one condition that could not be judged and one that does not apply.
#[allow(clippy::too_many_lines, reason = "one literal, to be read as one")]
pub(crate) fn sample() -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        tool: Tool { version: "0.1.0".to_owned(), commit: Some("692bea2".to_owned()) },
        host: Host {
            os: "Linux".to_owned(),
            kernel: "6.18.0".to_owned(),
            cpus: 2,
            memory_bytes: 8_589_934_592,
            nofile: 1_048_576,
            ports: 28_232,
        },
        scenario: ScenarioInfo {
            command: Some("stressctl run --scenario 10k-concurrent --set publishers.feed.rate=5000/s --seed 1".to_owned()),
            name: "10k-concurrent".to_owned(),
            about: "10,000 clients connect together, each to its own channel".to_owned(),
            seed: 1,
            scale: 1.0,
            time_scale: None,
            plan_hash: "8c1f0e62a1b4d35e".to_owned(),
            resolved: json!({ "channels": "own" }),
        },
        target: TargetInfo {
            url: "ws://127.0.0.1:4000/graphql".to_owned(),
            protocol: "graphql-transport-ws".to_owned(),
            contract: "at-most-once".to_owned(),
            ordered: true,
            reference_server: true,
        },
        run: RunInfo {
            started_at: "2026-03-01T12:00:00Z".to_owned(),
            duration_s: 24.13,
            interrupted: false,
            stop_reason: "completed".to_owned(),
            timed_out: Vec::new(),
        },
        verdict: Verdict::Fail,
        why: vec![
            "nothing-lost failed: observed 2, wanted = 0".to_owned(),
            "delay-is-ours could not be judged: our own processing (drain p99 1.1 ms) is more than 10 % of the \
             observed 3.8 ms"
                .to_owned(),
        ],
        expectations: expectations(),
        reached: vec![judgement(
            "together",
            "connections.offered_spread < 1s",
            0.41,
            ["410 ms", "< 1 s"],
            Verdict::Pass,
        )],
        claims: vec![
            "2 of 10,000 owed deliveries lost on continuously connected subscriptions: 0.0024 % (2.4e-5) to 0.072 % (7.2e-4) with 95 % \
             confidence"
                .to_owned(),
            "9,998 subscriptions received one and the same census; the most connections open at one moment were \
             9,998"
                .to_owned(),
            "not shown: whether 3 owed deliveries were lost (indeterminate: the examples say why)"
                .to_owned(),
        ],
        setup: Setup { duration_s: Some(6.2) },
        connections: Connections {
            planned: 10_000,
            attempted: 10_000,
            established: 9_998,
            established_ratio: Some(0.9998),
            peak_open: Some(9_998),
            peak_handshaking: Some(9_990),
            offered_spread_s: Some(0.41),
            failed: [("upgrade.http-429".to_owned(), 1), ("tcp.timeout".to_owned(), 1)].into(),
            ..Connections::default()
        },
        subscriptions: Subscriptions {
            requested: 9_998,
            confirmed: 9_998,
            peak_active: Some(9_998),
            probes: Probes { sent: 20_012, delivered: 19_996, missed_after_first: 0 },
            barriers: Barriers { delivered: 9_998, complete: Some(true) },
        },
        errors: Errors { ratio: Some(0.0), ..Errors::default() },
        published: Published {
            attempted: 10_000,
            sent: 10_000,
            acked: 10_000,
            rate: Some(4_998.7),
            ..Published::default()
        },
        ledger: ledger(),
        latency: Latencies {
            connect: Some(latency(9_998, [900, 812_000, 1_900_000, 2_400_000, 2_500_000, 2_612_000])),
            tcp: Some(latency(9_999, [200, 310_000, 720_000, 980_000, 1_000_000, 1_010_000])),
            upgrade: Some(latency(9_998, [300, 320_000, 800_000, 1_100_000, 1_200_000, 1_210_000])),
            init: Some(latency(9_998, [90, 150_000, 400_000, 610_000, 640_000, 655_000])),
            subscribe: Some(latency(9_998, [130, 4_100, 21_000, 88_000, 120_000, 131_000])),
            publish_ack: Some(latency(10_000, [60, 180, 390, 1_400, 3_300, 5_000])),
            deliver: Some(latency(9_995, [70, 240, 610, 3_800, 6_200, 11_020])),
            deliver_from_sent: Some(latency(9_995, [60, 220, 590, 3_700, 6_100, 10_900])),
            send_lag: Some(latency(10_000, [1, 18, 25, 61, 180, 420])),
            ..Latencies::default()
        },
        groups: groups(),
        faults: IndexMap::new(),
        resources: resources(),
        server_stats: Some(server_stats()),
        generator: Generator {
            health: Health::Ok,
            send_lag_p99_us: Some(61),
            loop_lag_p99_us: Some(950),
            setup_lag_p99_us: Some(21_000),
            drain_p99_us: Some(1_100),
            cpu_share: Some(0.71),
            ..Generator::default()
        },
        timeline: vec![TimelinePoint { t_s: 1.0, open: 4_000, client_rss_bytes: 41_000_000, ..TimelinePoint::default() }],
        predicted: [("ledger.delivered".to_owned(), 10_000.0)].into(),
        phases: vec![PhaseReport {
            name: "main".to_owned(),
            start_s: 7.0,
            end_s: 9.0,
            duration_s: 2.0,
            published: Published { attempted: 10_000, sent: 10_000, acked: 10_000, rate: Some(4_998.7), ..Published::default() },
            ledger: ledger(),
            latency: Latencies { deliver: Some(latency(9_995, [70, 240, 610, 3_800, 6_200, 11_020])), ..Latencies::default() },
            groups: IndexMap::new(),
            ..PhaseReport::default()
        }],
        waves: Some(waves()),
        rounds: Some(Rounds {
            completed: 2,
            shown: 2,
            each: vec![round(10_000, 0, 15_728_640), round(9_990, 2, 16_000_000)],
            server_memory_end: RoundMemory {
                bytes: vec![15_728_640, 16_000_000],
                growth: Some(0.017),
                held_bytes: Some(31_457_280),
            },
        }),
        ..Report::default()
    }
}

/// A calm server memory, and a latency of which too little is known.
pub(crate) fn trends() -> Trends {
    Trends {
        server_memory: Some(MemoryTrend {
            growth_bytes: 3_250_585.0,
            interval_bytes: Some([-1_048_576.0, 7_549_747.0]),
            floor_bytes: 67_108_864.0,
            word: TrendWord::Steady,
            why: "the whole interval is below the floor".to_owned(),
            ..MemoryTrend::default()
        }),
        client_memory: None,
        deliver_p99: Some(RatioTrend {
            growth: -0.02,
            interval: Some([-0.15, 0.13]),
            floor_ratio: 0.1,
            why: "the floor lies within the interval".to_owned(),
            ..RatioTrend::default()
        }),
    }
}

/// A run that was interrupted before anything arrived: every optional value is `null`.
pub(crate) fn inconclusive() -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        scenario: ScenarioInfo {
            name: "soak|<24h>".to_owned(),
            about: "hostile `names`\n| stay <b>text</b>".to_owned(),
            seed: 7,
            scale: 0.02,
            ..ScenarioInfo::default()
        },
        run: RunInfo {
            started_at: "2026-03-01T12:05:00Z".to_owned(),
            interrupted: true,
            stop_reason: "interrupted".to_owned(),
            timed_out: vec!["drain".to_owned()],
            ..RunInfo::default()
        },
        verdict: Verdict::Inconclusive,
        why: vec!["the run was interrupted".to_owned()],
        generator: Generator {
            health: Health::Limited,
            reasons: vec!["a thread was busy all the time".to_owned()],
            ..Generator::default()
        },
        ..Report::default()
    }
}

fn expectations() -> Vec<Judgement> {
    use Verdict::{Fail, Pass};
    let established = Judgement {
        interval: Some([0.999_28, 0.999_98]),
        ..judgement(
            "established",
            "connections.established_ratio >= 99%",
            0.9998,
            ["99.98 % (9,998 of 10,000)", "≥ 99 %"],
            Pass,
        )
    };
    let delay = Judgement {
        why: Some(
            "our own processing (drain p99 1.1 ms) is more than 10 % of the observed 3.8 ms".to_owned(),
        ),
        ..judgement(
            "delay-is-ours",
            "latency.deliver.p99 < 250ms",
            0.0038,
            ["3.8 ms", "< 250 ms"],
            Verdict::Inconclusive,
        )
    };
    let leak = Judgement {
        observed: None,
        observed_text: "–".to_owned(),
        why: Some("a trend needs at least 24 blocks".to_owned()),
        ..judgement(
            "no-leak",
            "trend.server_memory.growth < 64MiB",
            0.0,
            ["–", "< 64 MiB"],
            Verdict::NotApplicable,
        )
    };
    vec![
        judgement("nothing-lost", "ledger.lost == 0", 2.0, ["2", "= 0"], Fail),
        established,
        judgement("set-up", "setup.duration < 30s", 6.2, ["6.2 s", "< 30 s"], Pass),
        delay,
        leak,
    ]
}

fn ledger() -> Ledger {
    Ledger {
        obligations: 10_000,
        delivered: 9_990,
        late: 5,
        indeterminate: 3,
        lost_proven: 1,
        lost_presumed: 1,
        lost: 2,
        receipts: 9_996,
        first_receipts: 9_995,
        duplicated: 1,
        strange: 1,
        examples: vec![Example {
            channel_name: "stress-0a1b2c3d-17".to_owned(),
            class: "lost_proven".to_owned(),
            channel: 17,
            publisher: 2,
            epoch: 0,
            seq: 0,
            subscription: 17,
            due_s: Some(7.003),
            sent_s: Some(7.0031),
            received_s: None,
            rule: "a later seq of the same publisher arrived".to_owned(),
        }],
        ..Ledger::default()
    }
}

fn round(delivered: u64, lost: u64, memory: u64) -> Round {
    Round {
        setup_duration_s: Some(6.2),
        connections: Connections { established: 9_998, ..Connections::default() },
        subscriptions: Subscriptions { peak_active: Some(9_998), ..Subscriptions::default() },
        ledger: Ledger { obligations: 10_000, delivered, lost, ..Ledger::default() },
        server_memory_end_bytes: Some(memory),
        ..Round::default()
    }
}

fn waves() -> Waves {
    let wave = |active, memory, per| Wave {
        requested: 5_000,
        active,
        duration_s: 3.1,
        server_memory_bytes: Some(memory),
        server_memory_per_subscription_bytes: per,
    };
    Waves {
        each: vec![wave(5_000, 45_088_768, None), wave(9_998, 82_837_504, Some(7_551.0))],
        server_memory: WaveMemory { spread: None },
    }
}

fn groups() -> IndexMap<String, Slice> {
    let readers = Slice {
        connections: Connections {
            planned: 5_000,
            attempted: 5_000,
            established: 5_000,
            ..Connections::default()
        },
        subscriptions: Subscriptions { requested: 5_000, confirmed: 5_000, ..Subscriptions::default() },
        ledger: Ledger {
            obligations: 5_000,
            delivered: 5_000,
            receipts: 5_000,
            first_receipts: 5_000,
            ..Ledger::default()
        },
        latency: Latencies {
            deliver: Some(latency(5_000, [70, 240, 610, 2_100, 3_000, 4_000])),
            ..Latencies::default()
        },
        ..Slice::default()
    };
    let feed = Slice {
        published: Published {
            attempted: 10_000,
            sent: 10_000,
            acked: 10_000,
            rate: Some(4_998.7),
            ..Published::default()
        },
        latency: Latencies {
            publish_ack: Some(latency(10_000, [60, 180, 390, 1_400, 3_300, 5_000])),
            ..Latencies::default()
        },
        ..Slice::default()
    };
    [("readers".to_owned(), readers), ("feed".to_owned(), feed)].into_iter().collect()
}

fn resources() -> Resources {
    Resources {
        client: ClientResources {
            memory_start_bytes: 9_437_184,
            memory_peak_bytes: 127_926_272,
            memory_end_bytes: 31_457_280,
            memory_per_connection_bytes: Some(11_851.0),
            cpu_s: 4.13,
            fds_peak: 10_014,
        },
        server: Some(ServerResources {
            pid: 4_711,
            memory_bytes: 15_728_640,
            memory_start_bytes: 7_340_032,
            memory_peak_bytes: 82_837_504,
            memory_end_bytes: 15_728_640,
            memory_per_connection_bytes: Some(7_551.0),
            cpu_s: 3.7,
            fds_peak: 10_020,
        }),
    }
}

fn server_stats() -> ServerStats {
    let check = |name: &str, server, client, verdict| StatCheck {
        name: name.to_owned(),
        server: Some(server),
        client,
        error_ratio: Some((server - client).abs() / f64::max(client, 1.0)),
        verdict,
    };
    ServerStats {
        source: "/stats".to_owned(),
        checks: vec![
            check("connections at census", 9_998.0, 9_998.0, Verdict::Pass),
            check("delivered", 9_990.0, 9_996.0, Verdict::Pass),
        ],
        worst: StatError { error_ratio: Some(6.0 / 9_996.0) },
        gauges: StatError { error_ratio: Some(0.0) },
        ..ServerStats::default()
    }
}
