//! Ctrl-C in the middle of a fault: what is held is let go, everybody leaves in order, and the report says so.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::scene::{Server, of_fault, those};

/// Longer than any run may take to end once it is told to.
const END: Duration = Duration::from_secs(16);

/// Interrupts it so long after it began with `phase`. It ends in time and leaves nobody behind, and its report says that
/// it was interrupted.
fn interrupted(
    server: &Server,
    scenario: &str,
    more: &[&str],
    (phase, after): (&str, Duration),
    code: i32,
) -> Value {
    let mut run = server.command(scenario, more).start();
    let stage = format!("phase {phase}");
    run.wait_until(&stage, |run| run.stderr().contains(&stage));
    std::thread::sleep(after);
    let asked = stressctl::clock::now();
    run.signal(Signal::INT);
    let finished = run.finish().exits(code);
    let took = asked.elapsed();
    assert!(took < END, "{took:?}");
    let report = finished.report(scenario);
    assert_eq!(report["run"]["interrupted"], true);
    assert_eq!(report["run"]["stop_reason"], "interrupted");
    server.is_left_alone();
    report
}

/// The same where nothing had failed, so that nothing has.
fn undecided(server: &Server, scenario: &str, more: &[&str], when: (&str, u64)) -> Value {
    let when = (when.0, Duration::from_millis(when.1));
    let report = interrupted(server, scenario, more, when, 3);
    assert_eq!(those(&report, "expectations", "fail"), Vec::<String>::new(), "{}", report["why"]);
    report
}

#[test]
fn a_partition_is_healed() {
    let server = Server::honest();
    let report = undecided(&server, "cascading-failures", &[], ("failure", 500));
    assert_eq!(of_fault(&report, "silent", "applied"), 20);
    assert_eq!(of_fault(&report, "silent", "ended"), 20);
    assert_eq!(of_fault(&report, "cut", "applied"), 20);
    // Those who were silent had not given up yet, and took their leave.
    let aborted = report["reconnects"]["aborted_by_plan"].as_u64().expect("a count");
    let closings = server.closings();
    assert_eq!(closings["asking"]["reset"].as_u64().unwrap_or(0), aborted, "{closings}");
    assert_eq!(closings["ready"]["reset"], 20, "{closings}");
}

/// What had failed by then has failed.
#[test]
fn a_loss_is_a_loss_though_the_run_was_interrupted() {
    let server = Server::with("drop=every=20");
    let when = ("failure", Duration::from_millis(500));
    let report = interrupted(&server, "cascading-failures", &[], when, 1);
    let failed = those(&report, "expectations", "fail");
    assert!(failed.contains(&"others-lose-nothing".to_owned()), "{failed:?}");
    assert_eq!(of_fault(&report, "silent", "ended"), of_fault(&report, "silent", "applied"));
}

/// After those who were silent have given up, their sockets are parked.
#[test]
fn a_partition_is_healed_that_clients_gave_up_on() {
    let server = Server::honest();
    let more = ["--set", "faults.silent.for=30s", "--set", "faults.unreachable.for=30s"];
    let more = [more.as_slice(), &["--set", "phases.failure.for=40s"]].concat();
    let report = undecided(&server, "cascading-failures", &more, ("failure", 3_000));
    assert_eq!(of_fault(&report, "silent", "ended"), of_fault(&report, "silent", "applied"));
    assert_eq!(of_fault(&report, "silent", "applied"), 20);
    // All that was held is let go first, so that everybody comes back, and then leaves in order.
    assert_eq!(report["groups"]["victims"]["connections"]["recovered"], 40);
    let closings = server.closings();
    assert_eq!(closings["ready"]["close-1000"], 80 + 5, "with publishers and the prober: {closings}");
    assert_eq!(closings["asking"]["reset"], report["reconnects"]["aborted_by_plan"], "{closings}");
}

#[test]
fn links_that_are_late_are_let_go() {
    let server = Server::honest();
    let report = undecided(&server, "jitter-50-500ms", &[], ("jitter", 1_500));
    for (fault, connections) in [("publish", 100), ("receive", 1_000)] {
        assert_eq!(of_fault(&report, fault, "applied"), connections, "{fault}");
        assert_eq!(of_fault(&report, fault, "ended"), connections, "{fault}");
    }
    assert_eq!(server.ended("ready", "close-1000"), 1_101);
    assert_eq!(report["ledger"]["lost"], 0);
}

#[test]
fn who_thinks_is_not_waited_for() {
    let server = Server::honest();
    let more = ["--set", "faults.think.think-time=1m", "--set", "faults.think.phase=delayed"];
    let report = undecided(&server, "latency-1000ms", &more, ("delayed", 700));
    assert_eq!(report["ledger"]["lost"], 0);
    assert_eq!(server.ended("ready", "close-1000"), 201);
    // All of them were on the point of publishing.
    assert_eq!(["applied", "ended"].map(|count| of_fault(&report, "think", count)), [200, 200]);
    assert_eq!(report["phases"][1]["published"]["sent"], 0);
}
