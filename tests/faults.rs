//! Whole runs with faults, as a user would make them.

mod common;

use std::time::Duration;

use common::binary::Stressctl;
use rustix::process::Signal;
use serde_json::Value;

const HERD: &str = r#"
[scenarios.herd]
about = "half of a hundred clients cut at one instant, all reconnecting at once"
channels = 20
phases = [{ name = "before", for = "500ms" }, { name = "herd", for = "1500ms" }]
subscribers.clients = { connections = 100, connect = "together", reconnect = "immediate" }
publishers.feed = { connections = 2, rate = "400/s" }
faults.cut = { on = "clients", fraction = "50%", phase = "herd", terminate = { how = "reset" } }
reached.missed = "ledger.missed_disconnected > 0"
timeouts = { quiet = "200ms", cool-down = "100ms" }
"#;

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// What victims missed is told apart from what was lost, which is nothing, and both the server's counts and our own
/// sums agree.
#[test]
fn half_are_cut_and_come_back_and_nothing_is_lost() {
    let report =
        Stressctl::run(&["--scenario", "herd"]).scenarios(HERD).finish().holds(&["herd"]).report("herd");
    let ledger = |name: &str| number(&report, &format!("/ledger/{name}"));
    // 800 events to five clients each, missed or not.
    assert_eq!(ledger("obligations"), 4_000);
    let rest = ledger("missed_disconnected") + ledger("indeterminate") + ledger("suppressed");
    assert_eq!(ledger("delivered") + ledger("late") + rest, 4_000);
    assert_eq!((ledger("lost"), ledger("strange"), ledger("unverified")), (0, 0, 0));
    let connections = |name: &str| number(&report, &format!("/connections/{name}"));
    assert_eq!((connections("established"), connections("dropped_by_plan")), (100, 150));
    assert_eq!(connections("dropped_unexpectedly"), 0);
    assert_eq!(number(&report, "/subscriptions/confirmed"), 100);
    assert_eq!(number(&report, "/latency/reconnect/count"), 50);
}

#[test]
fn a_run_that_is_interrupted_while_clients_are_away_ends_in_time() {
    let file = HERD.replace("\"immediate\"", "{ fixed = { wait = \"1h\" } }").replace("1500ms", "30s");
    let mut run = Stressctl::run(&["--scenario", "herd"]).scenarios(&file).start();
    run.wait_until("phase", |run| run.stderr().contains("phase herd"));
    std::thread::sleep(Duration::from_millis(500));
    run.signal(Signal::INT);
    let finished = run.finish();
    assert!(finished.elapsed < Duration::from_secs(16), "{:?}", finished.elapsed);
    assert_eq!(finished.report("herd")["run"]["interrupted"], true);
}
