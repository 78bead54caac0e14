//! The catalogue's `queue-saturation`, `large-payload` and `churn-failures-memory` against graphql-ws: fewer clients and
//! events by `--set`, every condition as in the catalogue and judged as at full size.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::binary::{Finished, Stressctl, wait_until};
use crate::{Node, SOON};

const SATURATION: &str = "queue-saturation";
const PAYLOAD: &str = "large-payload";
const CHURN: &str = "churn-failures-memory";

/// What every scenario expects.
const ALWAYS: [&str; 8] = [
    "few-errors",
    "no-surprise-drops",
    "no-unexplained-errors",
    "nothing-corrupted",
    "nothing-lost",
    "nothing-strange",
    "server-counts-agree",
    "server-gauges-exact",
];

/// A scenario of the catalogue with these sizes; the server's memory is watched.
fn run(node: &Node, scenario: &str, sizes: &[&str]) -> Finished {
    let pid = node.process.id().to_string();
    let usual = ["--target", "node", "--scenario", scenario, "--server-pid", &pid];
    let waits = ["timeouts.quiet=500ms", "timeouts.cool-down=200ms"];
    let sets = sizes.iter().chain(&waits).flat_map(|set| ["--set", set]);
    let args: Vec<&str> = usual.into_iter().chain(sets).collect();
    Stressctl::run(&args).scenarios(&node.scenarios()).limit(Duration::from_secs(240)).finish()
}

/// The ids of a list that got a verdict, sorted.
fn those<'a>(report: &'a Value, list: &str, verdict: &str) -> Vec<&'a str> {
    let all = report[list].as_array().expect("a list").iter();
    let mut ids: Vec<_> =
        all.filter(|one| one["verdict"] == verdict).map(|one| one["id"].as_str().expect("a name")).collect();
    ids.sort_unstable();
    ids
}

/// Everything passed that always has to and these, which are all there are but for `open`; and so did these of `reached`.
#[track_caller]
fn passes(report: &Value, expected: &[&str], open: &[&str], reached: &[&str]) {
    let mut all: Vec<_> = ALWAYS.iter().chain(expected).copied().collect();
    all.sort_unstable();
    let mut passed = those(report, "expectations", "pass");
    passed.retain(|id| !open.contains(id));
    assert_eq!(passed, all, "{}", report["why"]);
    let count = |list: &str| report[list].as_array().map(Vec::len);
    assert_eq!(count("expectations"), Some(all.len() + open.len()));
    assert_eq!((those(report, "reached", "pass"), count("reached")), (reached.to_vec(), Some(reached.len())));
}

/// It counts for itself, and what it counts is what we do, whenever the two are compared. `about`: the one that can be
/// told only within the usual limit.
#[track_caller]
fn counts_as_we_do(node: &Node, report: &Value, about: Option<&str>) {
    let checks = report["server_stats"]["checks"].as_array().expect("a list");
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().expect("a name")).collect();
    let expected = [
        "connections at census",
        "subscriptions at census",
        "connections when quiet",
        "subscriptions when quiet",
        "connections after close",
        "subscriptions after close",
        "published",
        "delivered",
    ];
    assert_eq!(names, expected);
    for check in checks {
        assert_eq!(check["verdict"], "pass", "{check}");
        assert!(check["error_ratio"] == 0.0 || check["name"].as_str() == about, "{check}");
    }
    wait_until("nothing left over", SOON, || {
        let told = node.statistics();
        told["connections"] == 0 && told["subscriptions"] == 0
    });
}

/// Its memory at the end of each round was compared. What that shows is open: what Node's garbage collector leaves of some
/// 115 MiB differs between two rounds by more than the limit of a tenth, in either direction.
#[track_caller]
fn memory_was_compared(report: &Value, rounds: usize) {
    let memory = &report["rounds"]["server_memory_end"];
    assert_eq!(memory["bytes"].as_array().map(Vec::len), Some(rounds), "{memory}");
    assert!(memory["growth"].is_number() && memory["held_bytes"].as_u64() > Some(40 << 20), "{memory}");
}

/// It has no limit: what a reader does not take waits in its memory for as long as that takes. It tells no count of what
/// it drops, which is no matter where nothing is lost.
///
/// How long it takes is not judged here: a machine that is busy otherwise decides that.
pub(crate) fn it_keeps_everything_for_slow_readers() {
    let node = Node::start();
    let sizes = [
        "rounds=2",
        "subscribers.clients.connections=10",
        "publishers.calm.events=500",
        "publishers.steady.events=2000",
        "publishers.fast.events=2000",
    ];
    let report = run(&node, SATURATION, &sizes).report(SATURATION);
    let expected = ["losses-admitted", "memory-bounded", "no-crash", "policy-named"];
    let open = ["backlog-drains", "memory-stabilises", "others-keep-p99"];
    passes(&report, &expected, &open, &["all-slow", "really-slow", "server-felt-it"]);
    memory_was_compared(&report, 2);
    assert!(!those(&report, "expectations", "fail").contains(&"backlog-drains"), "{}", report["why"]);

    let rounds = report["rounds"]["each"].as_array().expect("a list");
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        let ledger = ["obligations", "delivered", "receipts"].map(|count| round["ledger"][count].as_u64());
        assert_eq!(ledger, [Some(10 * 4_500); 3]);
        let slow = &round["slow_consumers"];
        for count in ["lost", "cut_short", "missed", "disconnected", "passed_over"] {
            assert_eq!(slow[count], 0, "{count}");
        }
        assert_eq!((&slow["readers"], &slow["felt_ratio"]), (&json!(5), &json!(1.0)), "{slow}");
        assert_eq!(slow["admitted"], Value::Null);
        // 2,000 events of 8 KiB, of which they read an eighth; the one who is least behind.
        assert!(slow["backlog_bytes"].as_u64() > Some(8 << 20), "{slow}");
    }
    // Later rounds find the memory of this one.
    let rise = rounds[0]["slow_consumers"]["server_memory_rise_bytes"].as_u64();
    assert!(rise > Some(8 << 20), "{}", rounds[0]["slow_consumers"]);
    buffers(&report);
    counts_as_we_do(&node, &report, None);
}

/// Where our own machine is what makes publishers wait, that is named, too.
#[track_caller]
fn buffers(report: &Value) {
    let slow = &report["slow_consumers"];
    let also = slow["also"].as_array().expect("a list");
    let mut did: Vec<_> = std::iter::once(&slow["policy"]).chain(also).collect();
    if report["generator"]["health"] != "ok" {
        did.retain(|word| **word != "backpressure");
    }
    assert_eq!(did, ["buffer"], "{slow}");
}

const FEW: [&str; 4] = [
    "subscribers.clients.connections=4",
    "publishers.normal.events=5",
    "publishers.stress.events=5",
    "publishers.extreme.events=5",
];

/// Everything below the climb is delivered; how the climb ended.
#[track_caller]
fn climbs(node: &Node) -> [Value; 3] {
    let report = run(node, PAYLOAD, &FEW).holds(&[PAYLOAD]).report(PAYLOAD);
    let expected = ["all-delivered", "client-memory", "limit-explained", "limit-found", "memory-not-tenfold"];
    passes(&report, &expected, &[], &["sent-100KB", "sent-1MB", "sent-500KB"]);
    for (i, name) in ["100KB", "500KB", "1MB"].iter().enumerate() {
        let phase = &report["phases"][i];
        assert_eq!((&phase["name"], &phase["ledger"]["delivered"]), (&json!(name), &json!(20)));
    }
    assert_eq!(report["run"]["timed_out"], json!([]));
    ["largest_ok_bytes", "failure", "failed_at"].map(|key| report["escalation"]["payload"][key].clone())
}

/// The library ends a connection with 1009 on which it is sent more than it takes, and that is found behind 4 MB.
pub(crate) fn it_says_what_is_too_large_for_it() {
    let node = Node::with(&["max-payload=5000000"]);
    assert_eq!(climbs(&node), [json!(4_000_000), json!("close-1009"), json!("publisher")]);
}

/// As it comes it takes 100 MiB, which is more than we send.
pub(crate) fn it_takes_payloads_up_to_the_cap() {
    let node = Node::start();
    assert_eq!(climbs(&node), [json!(16_000_000), json!("none"), Value::Null]);
}

/// Whether its memory grows from round to round is open, as above.
pub(crate) fn nothing_is_left_over_of_who_comes_and_goes() {
    let node = Node::start();
    let sizes = [
        "rounds=2",
        "channels=1",
        "subscribers.steady.connections=10",
        "subscribers.churners.connections=10",
        "publishers.feed.events=150",
        "faults.churn.churn.cycles=15",
        // Late is no matter here: a machine that is busy otherwise decides that.
        "deadline=2min",
    ];
    let report = run(&node, CHURN, &sizes).report(CHURN);
    let expected = [
        "clean-failures",
        "final-state",
        "losses-admitted",
        "no-other-failures",
        "no-subscription-left",
        "nothing-left-over",
        "server-memory",
    ];
    let reached = [
        "a-tenth-failed",
        "all-churned",
        "all-cycles-done",
        "all-slow",
        "every-moment",
        "sent-100KB",
        "server-felt-it",
    ];
    passes(&report, &expected, &["no-leak"], &reached);
    memory_was_compared(&report, 2);

    let (cycles, fail) = (&report["faults"]["churn"]["cycles"], &report["faults"]["fail"]);
    for (count, expected) in [("completed", 135), ("failed_by_plan", 15), ("failed", 0)] {
        assert_eq!(cycles[count], expected, "{cycles}");
    }
    let each = json!({ "planned": 5, "applied": 5 });
    assert_eq!(fail["points"], json!({ "subscribe-sent": each, "receive": each, "unsubscribe-sent": each }));
    let rounds = report["rounds"]["each"].as_array().expect("a list");
    assert_eq!(rounds.len(), 2);
    for round in rounds {
        assert_eq!(round["slow_consumers"]["readers"], 2);
        comes_out_even(&round["ledger"]);
    }
    let steady = ["obligations", "delivered", "receipts"]
        .map(|count| report["groups"]["steady"]["ledger"][count].as_u64());
    assert_eq!(steady, [Some(10 * 150); 3]);
    // It counts what it hands to a socket, and some of that was on its way to the connections that were reset.
    counts_as_we_do(&node, &report, Some("delivered"));
}

/// What was published to who comes and goes has arrived, but for what was on its way when they left.
#[track_caller]
fn comes_out_even(ledger: &Value) {
    let of = |count: &str| ledger[count].as_u64().expect("a count");
    for count in
        ["lost", "late", "strange", "corrupted", "unverified", "missed_disconnected", "unknown_publish"]
    {
        assert_eq!(of(count), 0, "{count}: {ledger}");
    }
    // The event is sent on one connection, the unsubscribe and the next subscribe on another. A server that takes in
    // both of these first is right to deliver it to the new subscription, although it was owed to the old one. That
    // befalls the first event above all: it is due with the first cycle, which begins without a pause.
    let on_its_way = of("recovered") + of("indeterminate") + of("suppressed");
    assert_eq!(of("delivered") + on_its_way, of("obligations"));
    assert_eq!(of("indeterminate"), of("indeterminate_by_faults"), "{ledger}");
    assert!(of("recovered") < of("obligations") / 20, "{ledger}");
}
