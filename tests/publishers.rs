//! Publishers that lose their connection, and what the last event of a stream is worth.

mod common;

use std::time::Duration;

use common::bad::{Manner, Server};
use common::binary::{Finished, Stressctl};
use serde_json::{Value, json};

/// Twenty clients on five channels and fifty events, each owed to four of them.
const FANOUT: &str = r#"
[scenarios.fanout]
about = "twenty clients on five channels, fifty events"
channels = 5
deadline = "3s"
subscribers.clients = { connections = 20 }
publishers.feed = { rate = "100/s", events = 50 }
timeouts = { confirm = "2s", drain = "8s", quiet = "200ms", cool-down = "100ms", settle = "1s" }
"#;

const OWED: u64 = 200;

fn run(server: &Server) -> Finished {
    run_with(&(FANOUT.to_owned() + &server.counted_target()))
}

fn run_with(file: &str) -> Finished {
    Stressctl::run(&["--target", "bad", "--scenario", "fanout"])
        .scenarios(file)
        .limit(Duration::from_secs(60))
        .finish()
}

/// What is not 0 of all that a delivery or a receipt can be.
fn classes(report: &Value) -> Value {
    let counted = report["ledger"].as_object().expect("an object").iter();
    let found = counted.filter(|(_, value)| value.as_u64().is_some_and(|n| n > 0));
    found.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

#[track_caller]
fn gives_as_reason(report: &Value, reason: &str) {
    let why = report["why"].as_array().expect("a list");
    assert!(why.iter().any(|why| why.as_str().is_some_and(|why| why.contains(reason))), "{why:?}");
}

#[test]
fn a_publisher_that_lost_its_connection_goes_on_in_the_next_epoch() {
    let server = Server::bad(Manner::CutsPublisher(20));
    // The drop and what it left unanswered are errors, and more than one in two hundred.
    let report = run(&server).exits(1).report("fanout");
    let published = &report["published"];
    let unknown = published["unknown"].as_u64().expect("a count");
    assert!((1..10).contains(&unknown), "what was on its way when the connection ended: {published}");
    assert_eq!((&published["sent"], &published["acked"]), (&json!(50), &json!(50 - unknown)));
    assert_eq!(server.epoch(), 1);
    let unsure = unknown * 4;
    let got = OWED - unsure;
    assert_eq!(
        classes(&report),
        json!({
            "obligations": OWED, "delivered": got, "unknown_publish": unsure,
            "receipts": got, "first_receipts": got,
        })
    );
    let connections = &report["groups"]["feed"]["connections"];
    assert_eq!(connections["established"], 1);
    assert_eq!((&connections["dropped_unexpectedly"], &connections["reconnected"]), (&json!(1), &json!(1)));
    assert_eq!(report["run"]["timed_out"], json!([]));
    assert_eq!(report["run"]["stop_reason"], "completed");
}

/// The request that is not answered is processed after the next ones: were it the same epoch, they would be out of
/// order.
#[test]
fn a_request_without_an_answer_ends_an_epoch() {
    let server = Server::bad(Manner::Dawdles(20));
    let short = FANOUT.replace("confirm = \"2s\"", "confirm = \"2s\", operation = \"300ms\"");
    let short = short.replace("quiet = \"200ms\"", "quiet = \"1500ms\"");
    let report = run_with(&(short + &server.http_target())).exits(1).report("fanout");
    let published = &report["published"];
    assert_eq!((&published["sent"], &published["acked"]), (&json!(50), &json!(49)));
    assert_eq!((&published["unknown"], &report["errors"]["timeout"]), (&json!(1), &json!(1)));
    assert_eq!(server.epoch(), 1);
    assert_eq!((&report["ledger"]["delivered"], &report["ledger"]["reordered"]), (&json!(OWED), &json!(0)));
    assert_eq!(report["run"]["timed_out"], json!([]));
}

#[test]
fn a_publisher_that_is_shut_out_is_not_waited_for_to_the_end_of_the_phase() {
    let server = Server::bad(Manner::ShutsOut(20));
    let finished = run(&server).exits(1);
    assert!(finished.elapsed < Duration::from_secs(25), "{:?}", finished.elapsed);
    let report = finished.report("fanout");
    gives_as_reason(&report, "of 50 planned events were published");
    assert_eq!(report["run"]["stop_reason"], "completed");
    assert_eq!(report["ledger"]["lost"], 0);
    let connections = &report["groups"]["feed"]["connections"];
    assert_eq!((&connections["dropped_unexpectedly"], &connections["reconnected"]), (&json!(1), &json!(0)));
    assert!(connections["failed"]["upgrade.http-503"].as_u64() >= Some(2), "{connections}");
    // Nobody is left to say that these events were the last.
    assert_eq!(report["run"]["timed_out"], json!(["barrier"]));
}

#[test]
fn a_barrier_proves_that_the_very_last_event_was_lost() {
    for n in [45, 49] {
        let report = run(&Server::bad(Manner::Loses(n))).exits(1).report("fanout");
        assert_eq!(
            classes(&report),
            json!({
                "obligations": OWED, "delivered": OWED - 4, "lost": 4, "lost_proven": 4, "lost_unexplained": 4,
                "receipts": OWED - 4, "first_receipts": OWED - 4,
            })
        );
        assert_eq!(report["run"]["timed_out"], json!([]));
    }
}

/// Its connections answer still, so nothing is stuck that might have come.
#[test]
fn a_server_that_delivers_nothing_any_more_has_lost_what_it_owes() {
    let report = run(&Server::bad(Manner::GoesMute(40))).exits(1).report("fanout");
    assert_eq!(
        classes(&report),
        json!({
            "obligations": OWED, "delivered": OWED - 40, "lost": 40, "lost_presumed": 40, "lost_unexplained": 40,
            "receipts": OWED - 40, "first_receipts": OWED - 40,
        })
    );
    assert_eq!(report["run"]["timed_out"], json!(["barrier"]));
    gives_as_reason(&report, "the barrier deadline passed");
}

/// What is stuck in a connection that says nothing any more, nobody knows.
#[test]
fn behind_connections_that_are_frozen_nothing_is_decided() {
    let server = Server::bad(Manner::Freezes(40));
    let short = FANOUT.replace("confirm = \"2s\"", "confirm = \"2s\", operation = \"1s\"");
    let report = run_with(&(short + &server.target())).exits(3).report("fanout");
    let ledger = &report["ledger"];
    assert_eq!((&ledger["lost"], &ledger["obligations"]), (&json!(0), &json!(OWED)));
    let undecided = ledger["indeterminate"].as_u64().expect("a count");
    assert!((20..=60).contains(&undecided), "{ledger}");
    assert_eq!(ledger["delivered"], OWED - undecided);
    assert_eq!(report["run"]["timed_out"], json!(["barrier", "unsubscribe"]));
    gives_as_reason(&report, "the barrier deadline passed");
    let examples = report["ledger"]["examples"].as_array().expect("a list");
    assert!(examples.iter().any(|one| one["rule"].as_str().is_some_and(|rule| rule.contains("barrier"))));
}

/// The event that was lost has no later one in its epoch, and the barrier is of the next: nothing but time can tell.
#[test]
fn a_barrier_proves_nothing_of_an_earlier_epoch() {
    let report = run(&Server::bad(Manner::LosesAndCuts(20))).exits(1).report("fanout");
    let ledger = &report["ledger"];
    assert_eq!((&ledger["lost_proven"], &ledger["lost_presumed"]), (&json!(0), &json!(4)));
    // So it was waited for until the deadline of a delivery had passed in silence.
    assert!(report["run"]["duration_s"].as_f64() > Some(3.0), "{}", report["run"]);
    assert_eq!(report["run"]["timed_out"], json!([]));
}

/// Clients that try again and again are no reason to wait for a server that is gone for ever.
#[test]
fn a_target_that_died_is_lost_although_its_clients_would_come_back() {
    let server = Server::mortal(100);
    let again = FANOUT
        .replace("connections = 20 }", "connections = 20, reconnect = { fixed = { wait = \"100ms\" } } }")
        .replace("events = 50", "events = 500");
    let finished = run_with(&(again + &server.target())).exits(1);
    assert!(finished.elapsed < Duration::from_secs(15), "{:?}", finished.elapsed);
    let report = finished.report("fanout");
    assert_eq!(report["run"]["stop_reason"], "target-lost");
    assert_eq!(report["connections"]["dropped_unexpectedly"], 20);
    assert!(report["published"]["sent"].as_u64() < Some(500), "{}", report["published"]);
}
