//! What a server does wrong is found, exactly as often as it did it.

mod common;

use common::bad::{Manner, Server};
use common::binary::Stressctl;
use serde_json::{Value, json};

/// Twenty clients on five channels and fifty events, each owed to four of them.
const FANOUT: &str = r#"
[scenarios.fanout]
about = "twenty clients on five channels, fifty events"
channels = 5
deadline = "3s"
subscribers.clients = { connections = 20 }
publishers.feed = { rate = "100/s", events = 50 }
timeouts = { confirm = "2s", drain = "8s", quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

const OWED: u64 = 200;

fn judged(server: &Server, code: i32) -> Value {
    let file = FANOUT.to_owned() + &server.counted_target();
    let run = Stressctl::run(&["--target", "bad", "--scenario", "fanout"]).scenarios(&file);
    run.finish().exits(code).report("fanout")
}

/// What is not 0 of all that a delivery or a receipt can be.
fn classes(report: &Value) -> Value {
    let counted = report["ledger"].as_object().expect("an object").iter();
    let found = counted.filter(|(_, value)| value.as_u64().is_some_and(|n| n > 0));
    found.map(|(name, value)| (name.clone(), value.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// The ids of what failed, in the order of the report.
fn failed(report: &Value) -> Vec<&str> {
    let all = report["expectations"].as_array().expect("a list").iter();
    all.filter(|judgement| judgement["verdict"] == "fail")
        .filter_map(|judgement| judgement["id"].as_str())
        .collect()
}

#[test]
fn an_honest_server_gives_nothing_to_find() {
    let report = judged(&Server::good(), 0);
    assert_eq!(failed(&report), [""; 0]);
    let all = json!({ "obligations": OWED, "delivered": OWED, "receipts": OWED, "first_receipts": OWED });
    assert_eq!(classes(&report), all);
    assert_eq!(report["server_stats"]["worst"]["error_ratio"], 0.0);
}

#[test]
fn lost_deliveries_are_counted_exactly() {
    for lost in [1, 7] {
        let report = judged(&Server::bad(Manner::Drops(lost)), 1);
        let got = OWED - lost;
        assert_eq!(
            classes(&report),
            json!({
                "obligations": OWED, "delivered": got, "receipts": got, "first_receipts": got,
                "lost": lost, "lost_proven": lost, "lost_unexplained": lost,
            })
        );
        assert_eq!(failed(&report), ["nothing-lost", "all-delivered"]);
        let examples = report["ledger"]["examples"].as_array().expect("a list");
        assert!(!examples.is_empty(), "what was lost is named");
    }
}

/// No later event arrives that would prove it. Where order is promised the barriers do; elsewhere the quiet period and
/// the open connection.
#[test]
fn losing_everything_is_found_too() {
    for (ordered, class) in [("ordered = true", "lost_proven"), ("ordered = false", "lost_presumed")] {
        let server = Server::bad(Manner::Drops(u64::MAX));
        let file = FANOUT.to_owned() + &server.counted_target().replace("ordered = true", ordered);
        let run = Stressctl::run(&["--target", "bad", "--scenario", "fanout"]).scenarios(&file);
        let report = run.finish().exits(1).report("fanout");
        assert_eq!(
            classes(&report),
            json!({ "obligations": OWED, "lost": OWED, class: OWED, "lost_unexplained": OWED })
        );
        assert!(failed(&report).contains(&"nothing-lost"), "{:?}", failed(&report));
    }
}

#[test]
fn duplicates_are_counted_exactly() {
    for twice in [1, 7] {
        let report = judged(&Server::bad(Manner::Repeats(twice)), 1);
        assert_eq!(
            classes(&report),
            json!({
                "obligations": OWED, "delivered": OWED, "receipts": OWED + twice, "first_receipts": OWED,
                "duplicated": twice, "strange": twice,
            })
        );
        assert_eq!(failed(&report), ["nothing-strange"]);
    }
}

#[test]
fn corrupted_deliveries_are_counted_exactly() {
    for corrupted in [1, 7] {
        let report = judged(&Server::bad(Manner::Corrupts(corrupted)), 1);
        let got = OWED - corrupted;
        assert_eq!(
            classes(&report),
            json!({
                "obligations": OWED, "delivered": got, "damaged": corrupted, "receipts": OWED,
                "first_receipts": got, "corrupted": corrupted,
            })
        );
        assert_eq!(failed(&report), ["nothing-corrupted", "all-delivered"]);
    }
}

#[test]
fn subscriptions_that_never_deliver_are_not_confirmed_and_owe_nothing() {
    let report = judged(&Server::bad(Manner::Deaf(3)), 1);
    assert_eq!(report["connections"]["failed"], json!({ "confirm.timeout": 3 }));
    assert_eq!(report["connections"]["established"], 20);
    assert_eq!(report["subscriptions"]["requested"], 20);
    assert_eq!(report["subscriptions"]["confirmed"], 17);
    assert_eq!(report["subscriptions"]["peak_active"], 17);
    let owed = report["ledger"]["obligations"].clone();
    assert!(owed.as_u64() < Some(OWED), "nothing is owed to who was never confirmed: {owed}");
    assert_eq!(report["ledger"]["delivered"], owed);
    assert_eq!(report["ledger"]["lost"], 0);
}

#[test]
fn a_server_that_miscounts_is_found_out() {
    let report = judged(&Server::bad(Manner::Miscounts), 1);
    assert_eq!(failed(&report), ["server-counts-agree", "server-gauges-exact"]);
    let checks = report["server_stats"]["checks"].as_array().expect("a list").iter();
    let wrong: Vec<_> = checks.filter(|check| check["verdict"] == "fail").collect();
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    // Twenty clients, a publisher and the prober; then nobody.
    let moments = [("at census", 22.0), ("when quiet", 22.0), ("after close", 0.0)];
    for (check, (moment, ours)) in wrong.into_iter().zip(moments) {
        let name = format!("connections {moment}");
        assert_eq!(check["name"], name);
        assert_eq!((&check["client"], &check["server"]), (&json!(ours), &json!(ours + 1.0)));
    }
}

/// Whoever publishes one by one waits for each answer, but not for ever.
#[test]
fn answers_that_never_come_are_given_up_and_the_next_event_is_sent() {
    let server = Server::bad(Manner::Unanswering(2));
    let one_by_one = FANOUT
        .replace("rate = \"100/s\"", "rate = \"one-by-one\"")
        .replace("confirm = \"2s\"", "confirm = \"2s\", operation = \"300ms\"");
    let run = Stressctl::run(&["--target", "bad", "--scenario", "fanout"])
        .scenarios(&(one_by_one + &server.target()));
    let report = run.finish().exits(1).report("fanout");
    let published = &report["published"];
    assert_eq!((&published["sent"], &published["acked"]), (&json!(50), &json!(48)));
    assert_eq!((&published["unknown"], &report["errors"]["timeout"]), (&json!(2), &json!(2)));
    assert_eq!(report["ledger"]["delivered"], OWED);
    assert_eq!(report["run"]["timed_out"], json!([]));
}
