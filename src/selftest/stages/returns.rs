//! Stages of those who lose their connection and come back, or try to come in together.

use super::super::rows::{Asked, Found, Row, Stage};

/// What a client that was cut leads to, beside the defect.
const CUT: &[&str] = &["missed_disconnected", "suppressed", "indeterminate"];

/// What becomes of clients that come back, and of what those left who do not; each on channels of its own.
pub(super) fn returns() -> Stage {
    let rows = vec![
        Row::of("not-restored", "")
            .clients(4, 4, "reconnect = \"immediate\"")
            .asked(Asked::OnEach(1))
            .found([Found::Failed("confirm.timeout")])
            .usual(CUT)
            .by("not-restored.recovered_ratio == 100%"),
        Row::of("stale-count", "")
            .clients(4, 4, "reconnect = \"immediate\"")
            .asked(Asked::OnEach(1))
            .found([Found::Surplus("subscriptions when quiet"), Found::Surplus("subscriptions after close")])
            .usual(CUT)
            .by("server_stats.gauges.error_ratio == 0%"),
        // They are cut as well, and nothing happens to them that a cut does not explain.
        Row::honest("honest.ledger.lost == 0").clients(8, 8, "reconnect = \"immediate\"").usual(CUT),
    ];
    Stage {
        name: "returns",
        about: "what becomes of clients that are cut, each on channels of its own",
        phases: &["before", "after"],
        rate: "400/s",
        more: r#"
timeouts = { confirm = "2s", quiet = "1s", cool-down = "500ms" }
faults.cut = { on = ["not-restored", "stale-count", "honest"], phase = "after", start = "300ms", terminate = { how = "reset" } }
reached.cut = "faults.cut.applied / faults.cut.planned == 100%"
"#,
        ..stage(rows)
    }
}

/// Who stays pays for those who come back; all of them on one channel.
pub(super) fn crowd() -> Stage {
    let rows = vec![
        // Eight clients, of which two come back one after the other: each time the seven others lose a delivery.
        Row::of("drop-on-reconnect", "")
            .clients(8, 8, "reconnect = \"immediate\"")
            .asked(Asked::Times(2))
            .found([Found::LedgerByDelivery("lost_proven")])
            .usual(CUT)
            .by("bystanders.ledger.lost == 0"),
    ];
    Stage {
        name: "crowd",
        about: "clients of one channel, of which some are cut and come back one by one",
        one_channel: true,
        phases: &["before", "after"],
        each: 1_000,
        rate: "500/s",
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
reached.cut = "faults.cut.applied / faults.cut.planned == 100%"
faults.cut = { on = "drop-on-reconnect", fraction = "25%", phase = "after", start = "200ms", stagger = { linear = "1s" }, terminate = { how = "reset" } }
"#,
        ..stage(rows)
    }
}

/// A server that takes its connections in one after the other.
pub(super) fn starved() -> Stage {
    let rows = vec![
        Row::of("starve-accepts", "after=10,pause=250ms")
            .of_the_server()
            .asked(Asked::Some)
            .by("latency.connect.max < 2s"),
        Row::honest("honest.ledger.lost == 0").clients(30, 30, "connect = \"together\""),
    ];
    Stage {
        name: "starve-accepts",
        about: "a server that takes its connections in one after the other",
        long: true,
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
"#,
        ..stage(rows)
    }
}

/// Twenty events of 200 bytes on each channel of each row.
fn stage(rows: Vec<Row>) -> Stage {
    Stage {
        name: "",
        about: "",
        long: false,
        one_channel: false,
        phases: &["main"],
        each: 20,
        rate: "1000/s",
        payload: "200B",
        more: "",
        waits: &[],
        rows,
    }
}
