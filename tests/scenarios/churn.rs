//! `churn-failures-memory`, small, but judged as at full size: an honest server is not accused, and each wrong one is
//! found for what it does.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::common::binary::Finished;
use crate::scene::{Server, all_applied, number, those};

/// Ten clients with fifteen cycles each, fifteen of which fail, and ten that stay, two of them slow.
const SIZES: [&str; 8] = [
    "channels=1",
    "subscribers.steady.connections=10",
    "subscribers.churners.connections=10",
    "publishers.feed.events=150",
    "faults.churn.churn.cycles=15",
    "timeouts.quiet=500ms",
    "timeouts.cool-down=200ms",
    "seed=1",
];

/// One round, in which memory has nothing to be compared with.
const ONCE: [&str; 2] = ["rounds=1", "expect.no-leak=server.alive is yes"];

const NAME: &str = "churn-failures-memory";

/// They load the machine, so that one follows the other.
static ONE_BY_ONE: Mutex<()> = Mutex::new(());

fn run(server: &Server, more: &[&str]) -> Finished {
    let _alone = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pid = server.id().to_string();
    let usual = ["--target", "here", "--scenario", NAME, "--server-pid", &pid];
    let sets: Vec<&str> = SIZES.iter().chain(more).flat_map(|set| ["--set", set]).collect();
    let args: Vec<&str> = usual.iter().chain(&sets).copied().collect();
    crate::common::binary::Stressctl::run(&args).scenarios(&server.target(&server.url())).finish()
}

/// The report of a run in which everything that had to happen did, and in which these failed and nothing else.
fn fails(server: &Server, more: &[&str], because: &[&str]) -> Value {
    let report = run(server, more).report(NAME);
    let why = &report["why"];
    let mut failed = those(&report, "expectations", "fail");
    failed.sort_unstable();
    assert_eq!(failed, because, "{why}");
    for verdict in ["fail", "inconclusive"] {
        assert_eq!(those(&report, "reached", verdict), Vec::<String>::new(), "{why}");
    }
    all_applied(&report, "churn", 150);
    all_applied(&report, "fail", 15);
    let cycles = &report["faults"]["churn"]["cycles"];
    let counts = ["completed", "failed_by_plan", "failed"].map(|count| cycles[count].as_u64());
    assert_eq!(counts, [Some(135), Some(15), Some(0)], "{cycles}");
    report
}

#[test]
fn an_honest_server_is_accused_of_nothing() {
    let server = Server::honest();
    let report = fails(&server, &[], &[]);
    // What was on its way at an unsubscribe is nobody's, and comes in no other life than its own.
    for count in ["recovered", "lost", "strange", "corrupted", "unverified", "missed_disconnected"] {
        assert_eq!(
            number(&report, &format!("/ledger/{count}")),
            0,
            "{count}: {}",
            report["ledger"]["examples"]
        );
    }
    assert_eq!(report["ledger"]["indeterminate"], report["ledger"]["indeterminate_by_faults"]);
    let growth = report["rounds"]["server_memory_end"]["growth"].as_f64();
    assert!(growth.is_some_and(|growth| growth < 0.1), "{growth:?}");
    // What was on its way to a connection that was reset the server has delivered, and nobody received it.
    let worst = report["server_stats"]["worst"]["error_ratio"].as_f64();
    assert!(worst.is_some_and(|worst| worst < 0.005), "{}", report["server_stats"]["checks"]);
    server.is_left_alone();
}

#[test]
fn subscriptions_that_are_not_removed_are_left_over() {
    let server = Server::with("keep-subscriptions=times=3");
    let because = ["final-state", "no-subscription-left", "server-counts-agree", "server-gauges-exact"];
    let report = fails(&server, &ONCE, &because);
    let observed = |id: &str| {
        let all = report["expectations"].as_array().expect("a list");
        all.iter().find(|one| one["id"] == id).expect("it was judged")["observed_text"].clone()
    };
    assert_eq!((observed("no-subscription-left"), observed("nothing-left-over")), ("3".into(), "0".into()));
    assert_eq!(server.planted(), 3);
}

/// What was on its way when connections were reset leaves no room for a wrong count.
#[test]
fn a_count_of_deliveries_that_is_wrong_is_not_put_down_to_the_resets() {
    let server = Server::with("miscount=counter=delivered,by=200");
    let report = fails(&server, &ONCE, &["server-counts-agree"]);
    let checks = report["server_stats"]["checks"].as_array().expect("a list");
    let wrong: Vec<_> = checks.iter().filter(|check| check["verdict"] != "pass").collect();
    assert!(wrong.len() == 1 && wrong[0]["name"] == "delivered", "{wrong:?}");
}

#[test]
fn what_comes_after_an_unsubscribe_in_mid_run_is_counted() {
    let server = Server::with("after-unsubscribe=every=3");
    let report = fails(&server, &ONCE, &["nothing-strange"]);
    let found = number(&report, "/ledger/after_unsubscribe");
    // What is published while the unsubscribe is on its way is no proof, and it strikes then too.
    assert!((1..=server.planted()).contains(&found), "{found} of {}", server.planted());
    assert_eq!(number(&report, "/ledger/strange"), found);
}

/// Each failing cycle costs the server a connection, and each connection keeps its memory.
#[test]
fn memory_that_connections_leave_behind_grows_from_round_to_round() {
    let server = Server::with("leak-per-connection=bytes=1MiB");
    let report = fails(&server, &[], &["no-leak"]);
    assert!(server.planted() >= 2 * (20 + 15), "{}", server.planted());
    let growth = report["rounds"]["server_memory_end"]["growth"].as_f64().expect("a figure");
    assert!(growth > 0.2, "{growth}");
}
