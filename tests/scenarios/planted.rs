//! Against the defects that they exist to find: they fail, for that reason and no other.

use serde_json::Value;

use crate::scene::{Server, is_limited, number, those};

/// Conditions on times: a busy machine can make them fail, or leave them in doubt.
const TIMED: [&str; 10] = [
    "others-keep-p99",
    "recovery-time",
    "back-within",
    "at-one-instant",
    "in-proportion",
    "delay-is-ours",
    "varies-as-injected",
    "centred-as-injected",
    "control-is-steady",
    "no-stall",
];

/// Who comes back may be harmed by those who come back after it: a matter of microseconds.
const BY_CHANCE: [&str; 1] = ["only-the-gap-missed"];

/// Runs it and checks that exactly these conditions failed, and that everything happened that had to.
fn fails(server: &Server, scenario: &str, more: &[&str], because: &[&str]) -> Value {
    let run = server.run(scenario, more);
    let report = run.report(scenario);
    let why = &report["why"];
    // What the defect makes of a time is in doubt where the machine was too busy to tell, and then nothing passes.
    let only_timed = because.iter().all(|id| TIMED.contains(id));
    let in_doubt = only_timed && report["verdict"] == "inconclusive" && is_limited(why);
    if !in_doubt {
        assert_eq!((&report["verdict"], run.code()), (&"fail".into(), Some(1)), "{why}");
        let mut failed = those(&report, "expectations", "fail");
        let by_chance = |id: &str| TIMED.contains(&id) || BY_CHANCE.contains(&id);
        failed.retain(|id| because.contains(&id.as_str()) || !by_chance(id));
        failed.sort_unstable();
        let mut because = because.to_vec();
        because.sort_unstable();
        assert_eq!(failed, because, "{why}");
    }
    let mut others = those(&report, "expectations", "inconclusive");
    others.extend(["fail", "inconclusive"].iter().flat_map(|verdict| those(&report, "reached", verdict)));
    others.retain(|id| !TIMED.contains(&id.as_str()));
    assert_eq!(others, Vec::<String>::new(), "{why}");
    assert!(server.planted() > 0, "the defect never struck");
    report
}

/// Others lose what those who come back cost them.
fn harmed_by_others(scenario: &str) {
    let server = Server::with("drop-on-reconnect");
    let because = ["nothing-lost", "others-lose-nothing"];
    let report = fails(&server, scenario, &[], &because);
    // What it cost those who were back but not confirmed yet was not owed to them.
    let missing = server.told("/defects")[0]["deliveries"].as_u64().expect("a count");
    let lost = number(&report, "/ledger/lost");
    assert!(lost <= missing && lost >= server.planted() / 2, "{lost} of {missing}");
    let others = number(&report, "/groups/bystanders/ledger/lost");
    assert_eq!(others + number(&report, "/groups/victims/ledger/lost"), lost);
    assert_eq!(number(&report, "/ledger/lost_proven"), lost);
}

#[test]
fn bystanders_of_a_cascade_are_harmed_by_reconnects() {
    harmed_by_others("cascading-failures");
}

#[test]
fn bystanders_of_a_herd_are_harmed_by_reconnects() {
    harmed_by_others("thundering-herd");
}

/// The server takes a second subscription as it took the first, and never delivers on it.
fn not_restored(scenario: &str, because: &[&str], victims: u64) {
    let server = Server::with("not-restored");
    let report = fails(&server, scenario, &["--set", "timeouts.confirm=4s"], because);
    let count = |name: &str| number(&report, &format!("/groups/victims/connections/{name}"));
    assert_eq!((count("cut"), count("recovered")), (victims, victims - server.planted()));
    assert_eq!(number(&report, "/groups/bystanders/ledger/lost"), 0);
}

#[test]
fn a_subscription_is_not_restored_after_a_cascade() {
    // Each is an operation that never worked, too: eight of 1,460.
    not_restored("cascading-failures", &["recovery-automatic", "few-errors"], 40);
}

#[test]
fn a_subscription_is_not_restored_after_a_herd() {
    not_restored("thundering-herd", &["all-back"], 20);
}

#[test]
fn the_count_of_subscriptions_is_stale_after_drops() {
    let server = Server::with("stale-count");
    fails(&server, "random-drops", &[], &["server-counts-agree", "server-gauges-exact"]);
    assert_eq!(server.count("subscriptions"), 20, "one for each that was dropped");
}

#[test]
fn the_count_of_subscriptions_is_stale_after_a_cascade() {
    let server = Server::with("stale-count");
    let because = ["server-counts-agree", "server-gauges-exact", "counts-after"];
    fails(&server, "cascading-failures", &[], &because);
    assert_eq!(server.count("subscriptions"), 40, "one for each victim");
}

#[test]
fn the_count_of_subscriptions_is_stale_after_a_herd() {
    let server = Server::with("stale-count");
    fails(&server, "thundering-herd", &[], &["server-counts-agree", "server-gauges-exact"]);
    assert_eq!(server.count("subscriptions"), 20, "one for each that was cut");
}

#[test]
fn the_count_of_connections_is_wrong_after_drops() {
    let server = Server::with("miscount=counter=connections,by=1");
    let because = ["server-counts-agree", "server-gauges-exact", "server-count-after"];
    fails(&server, "random-drops", &[], &because);
}

#[test]
fn deliveries_are_missing_among_drops() {
    let server = Server::with("drop=every=50");
    let because = ["nothing-lost", "others-lose-nothing", "only-the-gap-missed"];
    let report = fails(&server, "random-drops", &[], &because);
    // One that the cut of its own connection explains is not proved.
    let lost = number(&report, "/ledger/lost");
    assert!(lost <= server.planted() && lost + 20 >= server.planted(), "{lost} of {}", server.planted());
}

/// The set-up fits among the accepts that are quick; the herd does not.
#[test]
fn accepts_are_starved_in_a_herd() {
    let server = Server::with("starve-accepts=after=50,pause=400ms");
    let report = fails(&server, "thundering-herd", &[], &["back-within"]);
    assert_eq!(number(&report, "/groups/victims/connections/recovered"), 20);
}

/// Those who are silent take nothing, and the server lets everybody wait for them. Fewer clients with more for each,
/// so that what is sent to the silent fills their sockets; and nobody calls the server dead meanwhile.
#[test]
fn a_server_delivers_to_nobody_while_some_are_silent() {
    let server = Server::with("serialise");
    let more = [
        "at-least.connections=12",
        "publishers.feed.payload=64KB",
        "publishers.feed.rate=100/s",
        "subscribers.clients.keepalive.every=1s",
        "subscribers.clients.keepalive.dead-after=6s",
    ];
    let more: Vec<&str> = more.into_iter().flat_map(|change| ["--set", change]).collect();
    let report = fails(&server, "cascading-failures", &more, &["others-keep-p99"]);
    assert_eq!(number(&report, "/ledger/lost"), 0);
}

#[test]
fn the_server_is_slow_where_only_thought_was_to_be() {
    let server = Server::with("slow-down=step=1s,max=1s");
    let report = fails(&server, "latency-1000ms", &[], &["delay-is-ours"]);
    assert_eq!(number(&report, "/ledger/lost"), 0);
}

#[test]
fn the_server_adds_to_the_delays_of_the_links() {
    let server = Server::with("slow-down=step=100ms,max=100ms");
    fails(&server, "jitter-50-500ms", &[], &["centred-as-injected"]);
}
