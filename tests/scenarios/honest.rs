//! Against an honest server: they hold, and what the report says is what the server saw.

use serde_json::{Value, json};

use crate::scene::{Server, all_applied, number, of_fault};

/// Runs it, and checks what is the same for all: nothing lost, and the server's own counts are ours.
fn held(server: &Server, scenario: &str) -> Value {
    let report = server.run(scenario, &[]).holds(&[scenario]).report(scenario);
    for count in ["lost", "strange", "corrupted", "unverified"] {
        assert_eq!(number(&report, &format!("/ledger/{count}")), 0, "{count}");
    }
    let checks = report["server_stats"]["checks"].as_array().expect("a list");
    assert!(checks.len() >= 8, "{checks:?}");
    for check in checks {
        let [theirs, ours] = ["server", "client"].map(|side| check[side].as_f64().expect("a count"));
        // What was on its way to a connection when we cut it the server has delivered, and we never had.
        let cut = if check["name"] == "delivered" { number(&report, "/connections/cut") } else { 0 };
        assert!((0.0..=cut as f64).contains(&(theirs - ours)), "{check}");
    }
    server.is_left_alone();
    // All of them were on it at once; in a herd some are back before it has seen that they were gone.
    let all = number(&report, "/connections/planned") + others(&report);
    assert!(server.count("peak_connections") >= all);
    // Nor has anything been published since.
    let published = checks.iter().find(|check| check["name"] == "published").expect("it is compared");
    assert_eq!(published["server"].as_f64(), Some(server.count("published") as f64));
    report
}

/// Connections beside those of subscribers: publishers and the prober.
fn others(report: &Value) -> u64 {
    number(report, "/groups/feed/connections/planned") + 1
}

#[test]
fn thinking_delays_the_thinker_and_nothing_else() {
    let server = Server::honest();
    let report = held(&server, "latency-1000ms");
    // 100 subscribes, and 100 publishers with as many events as they have in the delayed phase.
    let thinkers = of_fault(&report, "think", "planned");
    all_applied(&report, "think", thinkers);
    let delays = &report["faults"]["think"]["delays"];
    let events = number(&report, "/phases/1/published/sent");
    assert_eq!(delays["count"].as_u64(), Some(100 + events), "{delays}");
    assert!(delays["min_us"].as_f64().expect("a time") >= 1e6, "{delays}");
    // One event after the other, a second of thought before each: four of each thinker within three seconds.
    let rate = |phase: usize| report["phases"][phase]["published"]["rate"].as_f64().expect("a rate");
    assert!(rate(1) < 134.0 && rate(0) > 2.0 * rate(1), "{} and {}", rate(0), rate(1));
    assert_eq!(server.closings(), json!({ "ready": { "close-1000": 100 + others(&report) } }));
}

#[test]
fn links_are_late_and_lose_nothing() {
    let server = Server::honest();
    let report = held(&server, "jitter-50-500ms");
    all_applied(&report, "publish", 100);
    all_applied(&report, "receive", 1_000);
    // Every event of the phase went up, and came down to ten; what catches up with the one before it comes with it.
    let delays = |fault: &str| number(&report, &format!("/faults/{fault}/delays/count"));
    let events = number(&report, "/phases/1/published/sent");
    assert!(events >= 400 && delays("publish") >= events, "{events} and {}", delays("publish"));
    assert!(delays("receive") >= 8 * events, "{}", delays("receive"));
    let p50 = |phase: usize| report["phases"][phase]["latency"]["deliver"]["p50_us"].as_f64();
    assert!(p50(1) > Some(400e3) && p50(0) < Some(100e3), "{:?} and {:?}", p50(0), p50(1));
    assert_eq!(server.closings(), json!({ "ready": { "close-1000": 1_000 + others(&report) } }));
}

#[test]
fn a_fifth_is_dropped_in_the_middle_of_everything() {
    let server = Server::honest();
    let report = held(&server, "random-drops");
    all_applied(&report, "drop", 20);
    for point in ["subscribe-sent", "publish-sent", "receive", "unsubscribe-sent"] {
        let counts = ["planned", "applied"]
            .map(|count| number(&report, &format!("/faults/drop/points/{point}/{count}")));
        assert_eq!(counts, [5, 5], "{point}");
    }
    assert_eq!(number(&report, "/connections/cut"), 20);
    assert_eq!(number(&report, "/groups/bystanders/connections/cut"), 0);
    let ready = json!({ "reset": 20, "close-1000": 80 + others(&report) });
    assert_eq!(server.closings(), json!({ "ready": ready }));
}

#[test]
fn half_fail_in_two_ways_and_all_recover() {
    let server = Server::honest();
    let report = held(&server, "cascading-failures");
    all_applied(&report, "cut", 20);
    all_applied(&report, "silent", 20);
    all_applied(&report, "unreachable", 40);
    assert_eq!(of_fault(&report, "silent", "ended"), 20);
    let victims = |name: &str| number(&report, &format!("/groups/victims/{name}"));
    assert_eq!((victims("connections/cut"), victims("connections/recovered")), (40, 40));
    let [attempts, aborted] =
        ["attempts", "aborted_by_plan"].map(|name| number(&report, &format!("/reconnects/{name}")));
    assert_eq!(attempts, aborted + 40, "nothing but the plan kept them out");
    // Who was silent gave up, and kept the socket until the network was whole again: its end is no reset.
    let closings = server.closings();
    assert_eq!(closings["asking"], json!({ "reset": aborted }));
    let ready = closings["ready"].as_object().expect("a table");
    assert_eq!(ready["close-1000"].as_u64(), Some(80 + others(&report)));
    assert!(ready["reset"].as_u64() >= Some(20), "{closings}");
    let ended: u64 = ready.values().filter_map(Value::as_u64).sum();
    assert_eq!(ended, 120 + others(&report), "{closings}");
    // The preflight and everybody once, the victims twice, and whoever was not let in.
    let log = server.told("/closings")["log"].as_array().expect("a list").len() as u64;
    assert_eq!(log, 1 + ended + aborted);
    if report["faults"]["silent"]["kind"] == "partition" {
        assert_eq!(closings["ready"]["eof"], 20, "{closings}");
        the_server_heard_nothing(&server);
    }
}

/// The partitioned have said nothing for as long as the partition lasted, though they ping all the time.
fn the_server_heard_nothing(server: &Server) {
    let told = server.told("/closings");
    let log = told["log"].as_array().expect("a list").iter();
    let silences: Vec<f64> =
        log.filter(|one| one["how"] == "eof").map(|one| one["silent_s"].as_f64().expect("a time")).collect();
    assert!(silences.len() == 20 && silences.iter().all(|silent| *silent > 2.5), "{silences:?}");
}

#[test]
fn a_herd_is_back_at_once() {
    let server = Server::honest();
    let report = held(&server, "thundering-herd");
    all_applied(&report, "cut", 20);
    let victims = |name: &str| number(&report, &format!("/groups/victims/connections/{name}"));
    assert_eq!((victims("cut"), victims("recovered")), (20, 20));
    assert_eq!(number(&report, "/reconnects/attempts"), 20);
    assert!(number(&report, "/groups/victims/ledger/missed_disconnected") > 0);
    let ready = json!({ "reset": 20, "close-1000": 40 + others(&report) });
    assert_eq!(server.closings(), json!({ "ready": ready }));
    // Everybody once, the victims twice, the preflight.
    assert_eq!(server.count("connections_total"), 40 + others(&report) + 20 + 1);
}
