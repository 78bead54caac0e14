//! `queue-saturation`, small, but judged as at full size: an honest server is not accused, and each wrong one is found
//! for what it does when readers do not keep up.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::common::binary::{Stressctl, wait_until};
use crate::scene::{Server, all_applied, alone, is_limited, number, those};

const NAME: &str = "queue-saturation";

/// Ten readers, of which five are slow: 12.5 MiB for each, which is more than kernels could hold of what they leave.
const SIZES: [&str; 6] = [
    "subscribers.clients.connections=10",
    "publishers.calm.events=250",
    "publishers.steady.events=1600",
    "publishers.fast.events=1300",
    "timeouts.quiet=500ms",
    "timeouts.cool-down=200ms",
];
const EVENTS: u64 = 250 + 1_600 + 1_300;
const SLOW: u64 = 5;

/// One round, in which memory has nothing to be compared with.
const ONCE: [&str; 2] = ["rounds=1", "expect.memory-stabilises=resources.server.memory_peak < 3GiB"];

/// Times: a busy machine can leave them in doubt, and make the first one fail.
const TIMED: [&str; 2] = ["others-keep-p99", "backlog-drains"];

fn command(server: &Server, more: &[&str]) -> Stressctl {
    let pid = server.id().to_string();
    let usual = ["--target", "here", "--scenario", NAME, "--server-pid", &pid];
    let sets: Vec<&str> = SIZES.iter().chain(more).flat_map(|set| ["--set", set]).collect();
    let args: Vec<&str> = usual.iter().chain(&sets).copied().collect();
    Stressctl::run(&args).scenarios(&server.target(&server.url()))
}

/// The report of a run in which everything that had to happen did, and in which these failed and nothing else.
fn fails(server: &Server, more: &[&str], because: &[&str]) -> Value {
    let _alone = alone();
    let report = command(server, more).finish().report(NAME);
    let why = &report["why"];
    let mut failed = those(&report, "expectations", "fail");
    failed.retain(|id| id != TIMED[0] || because.contains(&TIMED[0]));
    // What the defect makes of a time is in doubt where the machine was too busy to tell.
    if !(because == [TIMED[0]] && failed.is_empty() && is_limited(why)) {
        assert_eq!(failed, because, "{why}");
    }
    let mut doubted = those(&report, "expectations", "inconclusive");
    doubted.retain(|id| !TIMED.contains(&id.as_str()));
    assert_eq!(doubted, Vec::<String>::new(), "{why}");
    assert_eq!(those(&report, "reached", "pass"), ["all-slow", "really-slow", "server-felt-it"], "{why}");
    all_applied(&report, "stuck", SLOW);
    assert_eq!(number(&report, "/published/acked"), EVENTS);
    report
}

#[test]
fn a_server_that_keeps_what_is_slow_to_be_read_is_accused_of_nothing() {
    let server = Server::honest();
    let report = fails(&server, &["rounds=2"], &[]);
    let slow = &report["slow_consumers"];
    // A generator that is late publishes less, as one does that has to wait.
    if report["generator"]["health"] == "ok" {
        assert_eq!(slow["policy"], "buffer", "{slow}");
    }
    assert_eq!(number(&report, "/rounds/completed"), 2);
    assert_eq!(number(&report, "/ledger/delivered"), 10 * EVENTS);
    server.is_left_alone();
}

#[test]
fn what_is_dropped_of_slow_readers_and_not_counted_is_not_admitted() {
    let server = Server::with("drop-when-slow");
    // It is lost on slow readers alone, so that nothing else is wrong with it.
    let report = fails(&server, &ONCE, &["losses-admitted"]);
    assert_eq!(report["slow_consumers"]["policy"], "drop", "{}", report["slow_consumers"]);
    let lost = number(&report, "/ledger/lost");
    assert!(lost > 1_000, "{lost}");
    assert_eq!((lost, number(&report, "/ledger/lost_unexplained")), (server.planted(), server.planted()));
}

/// The same losses, but for how it counts them.
#[test]
fn what_is_dropped_of_slow_readers_and_counted_is_admitted() {
    let server = Server::start(&["--queue-limit", "1MiB", "--when-full", "drop"]);
    let report = fails(&server, &ONCE, &[]);
    assert_eq!(report["slow_consumers"]["policy"], "drop", "{}", report["slow_consumers"]);
    let (lost, told) = (number(&report, "/ledger/lost"), server.count("dropped"));
    assert!(lost > 100 && lost <= told, "{lost} of {told}");
}

/// 50 MiB in each round, beside the 40 MiB that are let pass.
#[test]
fn memory_that_events_leave_behind_does_not_stabilise() {
    let server = Server::with("leak-per-event=bytes=16KiB");
    let report = fails(&server, &["rounds=3"], &["memory-stabilises"]);
    assert_eq!(server.planted(), 3 * EVENTS);
    let growth = report["rounds"]["server_memory_end"]["growth"].as_f64().expect("a figure");
    assert!(growth > 0.8, "{growth}");
}

/// Nobody's events are lost, but the bystanders have them only when the slow have read theirs.
#[test]
fn bystanders_who_wait_for_the_slow_do_not_keep_their_p99() {
    let server = Server::with("serialise");
    let report = fails(&server, &ONCE, &["others-keep-p99"]);
    assert!(server.planted() > 0, "it never struck");
    assert_eq!(number(&report, "/ledger/delivered") + number(&report, "/ledger/late"), 10 * EVENTS);
}

/// What was still to be said then cannot be judged, and is not said to hold.
#[test]
fn a_server_that_dies_of_it_has_crashed() {
    let server = Server::honest();
    let _alone = alone();
    // So many that the slow phase is far from its end when that happens.
    let running = command(&server, &[&ONCE[..], &["publishers.steady.events=5000"]].concat()).start();
    wait_until("it is saturated", Duration::from_secs(30), || server.count("published") > 1_000);
    let pid = Pid::from_raw(i32::try_from(server.id()).expect("a process id")).expect("above 0");
    kill_process(pid, Signal::KILL).expect("it runs");
    let report = running.finish().exits(1).report(NAME);
    let mut failed = those(&report, "expectations", "fail");
    // The publish that it died of is an error, too: as many as there were on their way.
    failed.retain(|id| id != "few-errors");
    assert_eq!(failed, ["no-surprise-drops", "no-crash"], "{}", report["why"]);
    let passed = those(&report, "expectations", "pass");
    for id in ["nothing-lost", "losses-admitted", "backlog-drains", "server-counts-agree"] {
        assert!(!passed.contains(&id.to_owned()), "{id}: {}", report["why"]);
    }
    assert_eq!(report["server"]["alive"], false);
}
