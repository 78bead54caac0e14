//! Links that are held, stalled or partitioned for a while, and publishers to whom faults happen: whole runs, and what the
//! server saw of them.

mod common;

use common::binary::Stressctl;
use serde_json::Value;

const SILENT: &str = r#"
[scenarios.silent]
about = "half of forty clients hear nothing for a second"
channels = 10
phases = [{ name = "before", for = "500ms" }, { name = "silent", for = "2s" }, { name = "after", for = "1s" }]
subscribers.clients = { connections = 40 }
publishers.feed = { rate = "200/s" }
faults.silence = { on = "clients", fraction = "50%", phase = "silent", start = "200ms", for = "1s", KIND }
timeouts = { quiet = "200ms", cool-down = "100ms" }

[scenarios.silent.expect]
delivered = "ledger.delivered / ledger.obligations == 100%"
late-to-victims = "victims.latency.deliver.max in silent > 700ms"
in-time-to-others = "bystanders.latency.deliver.p90 in silent < 250ms"
others-stay = "connections.dropped_unexpectedly == 0"

[scenarios.silent.reached]
all-silent = "faults.silence.applied / predicted == 100%"
all-healed = "faults.silence.ended / faults.silence.applied == 100%"
"#;

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}: {report}"))
}

/// What is kept from somebody for a while reaches them, late and whole.
#[test]
fn silence_ends_and_nothing_is_lost() {
    for (kind, ran) in [
        ("stall = \"both\"", "stall"),
        ("stall = \"down\"", "stall"),
        ("hold = \"both\"", "hold"),
        ("hold = \"down\"", "hold"),
        ("partition = { otherwise = \"stall\" }", "partition"),
    ] {
        let file = SILENT.replace("KIND", kind);
        let report = Stressctl::run(&["--scenario", "silent"])
            .scenarios(&file)
            .finish()
            .holds(&["silent"])
            .report("silent");
        let fault = &report["faults"]["silence"];
        // Where the kernel allows no partition it runs as a stall, and says so.
        let kind = fault["kind"].as_str().expect("a kind");
        assert!(kind == ran || (ran == "partition" && kind == "stall"), "{fault}");
        assert_eq!((number(fault, "/applied"), number(fault, "/ended")), (20, 20), "{kind}");
        let gauges = report["server_stats"]["gauges"]["error_ratio"].as_f64();
        assert_eq!(gauges, Some(0.0), "{kind}: the server never noticed");
        assert_eq!(number(&report, "/connections/cut"), 0, "{kind}");
    }
}

/// Nothing that would have gone up reaches the server while it is held or stalled: it publishes late.
#[test]
fn a_publisher_that_is_silent_publishes_late_and_all_of_it() {
    for kind in
        ["stall = \"up\"", "hold = \"up\"", "hold = \"both\"", "partition = { otherwise = \"stall\" }"]
    {
        let file = SILENT
            .replace("on = \"clients\", fraction = \"50%\"", "on = \"feed\"")
            .replace("victims.latency.deliver.max", "clients.latency.deliver.max")
            .replace("in-time-to-others = \"bystanders.latency.deliver.p90 in silent < 250ms\"\n", "")
            .replace("KIND", kind);
        let report = Stressctl::run(&["--scenario", "silent"])
            .scenarios(&file)
            .finish()
            .holds(&["silent"])
            .report("silent");
        assert_eq!(number(&report, "/faults/silence/applied"), 1, "{kind}");
        assert_eq!(number(&report, "/published/acked"), 700, "{kind}");
        assert_eq!(number(&report, "/errors/unexpected"), 0, "{kind}");
    }
}

const CUT: &str = r#"
[scenarios.cut]
about = "four publishers end in the middle of what they do, and go on"
channels = 8
phases = [{ name = "before", for = "500ms" }, { name = "cuts", for = "3s" }]
subscribers.clients = { connections = 16 }
publishers.feed = { connections = 4, rate = "200/s" }
faults.cut = { on = "feed", phase = "cuts", stagger = { linear = "1s" }, terminate = TERMINATE }
timeouts = { quiet = "200ms", cool-down = "100ms" }

[scenarios.cut.expect]
nothing-lost = "ledger.lost == 0"
back = "feed.connections.reconnected / faults.cut.planned == 100%"
no-error = "errors.unexpected == 0"
few-errors = "errors.ratio == 0%"

[scenarios.cut.reached]
all-cut = "faults.cut.applied / predicted == 100%"
"#;

#[test]
fn publishers_are_cut_at_every_point_that_they_have_and_go_on() {
    for terminate in [
        r#"{ how = "reset" }"#,
        r#"{ how = "fin" }"#,
        r#"{ how = "half-close" }"#,
        r#"{ how = "ws-close", code = 1001 }"#,
        r#"{ how = "reset", at = "connect" }"#,
        r#"{ how = "reset", at = "init" }"#,
        r#"{ how = "reset", at = "publish-sent" }"#,
        r#"{ how = "reset", at = ["receive", "receive-partial"] }"#,
    ] {
        let file = CUT.replace("TERMINATE", terminate);
        let report =
            Stressctl::run(&["--scenario", "cut"]).scenarios(&file).finish().holds(&["cut"]).report("cut");
        let published = |name: &str| number(&report, &format!("/published/{name}"));
        assert_eq!(published("sent"), 700, "{terminate}");
        assert_eq!(published("acked") + published("unknown"), 700, "{terminate}");
        assert_eq!(number(&report, "/faults/cut/applied"), 4, "{terminate}");
    }
}

/// For three seconds nobody gets through, and the budget says how often that is tried.
#[test]
fn whoever_cannot_connect_keeps_trying_within_budget_and_gets_through_in_the_end() {
    let file = r#"
[scenarios.shut]
about = "half of twenty clients are cut and cannot connect for two seconds"
channels = 5
phases = [{ name = "shut", for = "3s" }, { name = "open", for = "2s" }]
publishers.feed = { rate = "100/s" }
faults.cut = { on = "clients", fraction = "50%", phase = "shut", terminate = { how = "reset" } }
faults.barred = { on = "cut", phase = "shut", for = "2s", handshake-abort = "POINT" }
timeouts = { quiet = "200ms", cool-down = "100ms" }

[scenarios.shut.subscribers.clients]
connections = 20
reconnect = { fixed = { wait = "50ms" } }
retry-budget = { attempts = 4, per = "1s" }

[scenarios.shut.expect]
all-back = "victims.recovered_ratio == 100%"
bounded = "victims.reconnects.amplification <= 14"
as-expected = "victims.errors.unexpected == 0"
others-lose-nothing = "bystanders.ledger.lost == 0"

[scenarios.shut.reached]
missed = "victims.ledger.missed_disconnected > 0"
waited = "victims.reconnects.budget_waits > 0"
"#;
    for point in ["connect", "upgrade", "init"] {
        let report = Stressctl::run(&["--scenario", "shut"])
            .scenarios(&file.replace("POINT", point))
            .finish()
            .holds(&["shut"])
            .report("shut");
        let of = |name: &str| number(&report["groups"]["victims"]["reconnects"], name);
        // Four at once, and four in each second after that.
        assert!((90..=130).contains(&of("/aborted_by_plan")), "{point}: {}", of("/aborted_by_plan"));
        assert_eq!(of("/attempts"), of("/failed") + 10, "{point}");
        assert_eq!(of("/failed"), of("/aborted_by_plan"), "{point}");
    }
}
