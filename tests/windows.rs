//! Conditions on parts of a run, and on a run that still goes on: whole runs, as a user would make them.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::binary::Stressctl;
use serde_json::Value;

const THREE: &str = r#"
[scenarios.three]
about = "a fifth of fifty clients cut in the middle of three phases, never to come back"
channels = 5
phases = [{ name = "calm", for = "600ms" }, { name = "storm", for = "600ms" }, { name = "end", for = "600ms" }]
subscribers.clients = { connections = 50, reconnect = "none" }
publishers.feed = { connections = 2, rate = "500/s" }
faults.cut = { on = "clients", fraction = "20%", phase = "storm", terminate = { how = "reset" } }
reached.all = "faults.cut.applied / faults.cut.planned == 100%"
timeouts = { quiet = "200ms", cool-down = "100ms" }

[scenarios.three.expect]
before = "ledger.delivered before / predicted == 100%"
others = "bystanders.ledger.delivered after / predicted == 100%"
all-along = "bystanders.latency.deliver.p50 during / before < 100"
later = "latency.deliver.p50 after calm < 1s"
counts = "server_stats.gauges.error_ratio in end == 0%"
counts-after = "server_stats.connections.error_ratio after cut == 0%"
nothing-left = "server_stats.gauges.error_ratio in closed == 0%"
all-there = "server_stats.subscriptions.error_ratio in setup == 0%"
no-stall = "flow.longest_silence in calm < 500ms"
"#;

fn judged<'a>(report: &'a Value, id: &str) -> &'a Value {
    let all = report["expectations"].as_array().expect("a list");
    all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("no {id}"))
}

#[test]
fn parts_of_a_run_are_judged_by_themselves() {
    let report =
        Stressctl::run(&["--scenario", "three"]).scenarios(THREE).finish().holds(&["three"]).report("three");
    for id in ["before", "others", "later", "counts", "counts-after", "nothing-left", "all-there", "no-stall"]
    {
        assert_eq!(judged(&report, id)["verdict"], "pass", "{}", judged(&report, id));
    }
    assert_eq!(report["faults"]["cut"]["parts"], serde_json::json!(["storm"]));
    // 300 events before and after, to ten clients each; afterwards to those that are left.
    let observed = |name: &str| judged(&report, name)["observed"].as_f64().expect("a number");
    assert!(
        (observed("before") - 1.0).abs() < 1e-9 && observed("later") > 0.0 && observed("all-along") > 0.0
    );
    let checks = report["server_stats"]["checks"].as_array().expect("a list");
    let at_end: Vec<&Value> = checks
        .iter()
        .filter(|check| check["name"].as_str().is_some_and(|n| n.contains("at the end of")))
        .collect();
    // 40 clients that are left, two publishers and the prober; nobody asked about other phases.
    assert_eq!(at_end.len(), 2, "{checks:?}");
    assert_eq!(
        (at_end[0]["name"].as_str(), at_end[0]["client"].as_f64()),
        (Some("connections at the end of end"), Some(43.0))
    );
    assert_eq!(at_end[1]["client"].as_f64(), Some(40.0));
    assert!(report["phases"][0]["server_stats"].is_null());
    let silence = report["flow"]["longest_silence_s"].as_f64().expect("something was received");
    assert!(silence < 1.0, "{silence} s");
}

/// `stressctl serve` with a subscription too many among its counts from the first event on; leaves with the test.
struct Miscounting(Child, String);

impl Miscounting {
    fn start() -> Self {
        let defect = ["--defect", "miscount=counter=subscriptions,by=1"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_stressctl"))
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .args(defect)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let out = child.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where");
        let url = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Self(child, url)
    }
}

impl Drop for Miscounting {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A count that is wrong at the end of a phase fails the condition on it, and only the figures of that moment.
#[test]
fn a_wrong_count_at_the_end_of_a_phase_is_found() {
    let server = Miscounting::start();
    let host = server.1.trim_start_matches("ws://").split('/').next().expect("a host").to_owned();
    let target = format!(
        r#"
        [targets.bad]
        url = "{}"
        [targets.bad.statistics]
        url = "http://{host}/stats"
        format = "json"
        connections = "/connections"
        subscriptions = "/subscriptions"
        "#,
        server.1
    );
    let file = format!("{target}{THREE}");
    let run = Stressctl::run(&["--scenario", "three", "--target", "bad"]).scenarios(&file).finish();
    let report = run.report("three");
    let verdicts = ["counts", "counts-after", "all-there"].map(|id| judged(&report, id)["verdict"].clone());
    assert_eq!(verdicts, ["fail", "pass", "pass"], "{}", report["server_stats"]);
    // 41 of 40 subscriptions that are left.
    assert_eq!(judged(&report, "counts")["observed"].as_f64(), Some(1.0 / 40.0));
    assert_eq!(report["phases"][2]["server_stats"]["connections"]["error_ratio"].as_f64(), Some(0.0));
}

/// A count that the conductor sees while the run goes on ends it, long before its time.
#[test]
fn a_run_stops_when_a_count_passes_its_limit() {
    let file = r#"
        [scenarios.long]
        about = "an hour, unless it is stopped"
        channels = 1
        phases = [{ name = "load", for = "1h" }]
        subscribers.clients = { connections = 4 }
        publishers.feed = { rate = "200/s" }
        abort-if.enough = "ledger.receipts >= 1200"
        timeouts = { quiet = "200ms", cool-down = "100ms" }
    "#;
    let finished = Stressctl::run(&["--scenario", "long"]).scenarios(file).finish();
    let report = finished.report("long");
    assert_eq!(report["run"]["stop_reason"], "abort-if enough", "{}", report["why"]);
    assert_eq!(report["verdict"], "inconclusive");
    let receipts = report["ledger"]["receipts"].as_u64().expect("a count");
    assert!(receipts >= 1_200, "{receipts}");
}
