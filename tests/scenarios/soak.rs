//! `soak-24h`, small, but judged as at full size: an honest server is not accused, and each wrong one is found for what
//! only time brings to light.

use serde_json::Value;

use crate::common::binary::Stressctl;
use crate::scene::{Server, alone, number, those};

const NAME: &str = "soak-24h";

/// A fifth of a day's minutes in ten seconds: 3,000 events a second, 150 for each of 200 subscriptions.
const SIZES: [&str; 5] = [
    "time-scale=30",
    "subscribers.clients.connections=200",
    "publishers.feed.events=30000",
    "timeouts.quiet=500ms",
    "timeouts.cool-down=200ms",
];

/// Less of it, where it is not about how things go on: 105 for each subscription, in seven seconds.
const LESS: [&str; 1] = ["publishers.feed.events=21000"];

/// Every delivery takes a second: what a busy machine adds to that is less than a tenth, where it is many times the
/// latency of a server that is near.
const FAR: &str = "slow-down=step=1s,max=1s";

fn run(server: &Server, more: &[&str]) -> Value {
    let _alone = alone();
    let pid = server.id().to_string();
    let usual = ["--target", "here", "--scenario", NAME, "--server-pid", &pid];
    let sets: Vec<&str> = SIZES.iter().chain(more).flat_map(|set| ["--set", set]).collect();
    let args: Vec<&str> = usual.iter().chain(&sets).copied().collect();
    let report = Stressctl::run(&args).scenarios(&server.target(&server.url())).finish().report(NAME);
    assert_eq!(those(&report, "reached", "pass"), ["volume"], "{}", report["why"]);
    report
}

/// A server far away that is also wrong in another way.
fn far_and(defect: &str) -> Server {
    Server::start(&["--defect", defect, "--defect", FAR])
}

/// That these failed and nothing else; a machine that was busy may have kept the rate from being held.
#[track_caller]
fn failed(report: &Value, because: &[&str]) {
    let mut failed = those(report, "expectations", "fail");
    failed.retain(|id| id != "rate-held");
    assert_eq!(failed, because, "{}", report["why"]);
    let mut doubted = those(report, "expectations", "inconclusive");
    doubted.retain(|id| !["rate-held", "no-degradation"].contains(&id.as_str()));
    assert_eq!(doubted, Vec::<String>::new(), "{}", report["why"]);
}

#[test]
fn an_honest_server_is_accused_of_nothing() {
    let server = Server::honest();
    let report = run(&server, &[]);
    let mut accused = those(&report, "expectations", "fail");
    accused.extend(those(&report, "expectations", "inconclusive"));
    // Less than a millisecond rises by a tenth whenever somebody else wants the machine.
    accused.retain(|id| !["rate-held", "no-degradation"].contains(&id.as_str()));
    assert_eq!(accused, Vec::<String>::new(), "{}", report["why"]);
    assert_eq!(number(&report, "/ledger/delivered"), 30_000);
    for whose in ["server_memory", "client_memory"] {
        assert_eq!(report["trend"][whose]["word"], "steady", "{}", report["trend"]);
    }
    server.is_left_alone();
}

#[test]
fn a_server_that_is_slow_from_the_beginning_does_not_degrade() {
    let report = run(&Server::with(FAR), &[]);
    failed(&report, &[]);
    assert!(number(&report, "/latency/deliver/p50_us") >= 1_000_000);
    assert_ne!(report["trend"]["deliver_p99"]["word"], "grows", "{}", report["trend"]);
}

/// 30,000 events of 8 KiB are 234 MiB.
#[test]
fn memory_that_events_leave_behind_is_a_leak() {
    let server = far_and("leak-per-event=bytes=8KiB");
    let report = run(&server, &[]);
    failed(&report, &["no-leak"]);
    assert_eq!(server.planted(), 30_000);
    assert_eq!(report["trend"]["client_memory"]["word"], "steady", "{}", report["trend"]);
}

/// Each event on a channel is 10 ms later than the one before it: 1.5 s in the end.
#[test]
fn a_server_that_slows_down_by_degrees_degrades() {
    let report = run(&Server::with("slow-down=step=10ms"), &[]);
    assert_eq!(report["trend"]["deliver_p99"]["word"], "grows", "{}", report["trend"]);
    // Nothing is said of times where the machine was too busy for all of them.
    let limited = report["generator"]["health"] == "limited";
    failed(&report, if limited { &[] } else { &["no-degradation"] });
}

#[test]
fn a_server_that_takes_fewer_publishes_than_planned_does_not_hold_the_rate() {
    let report = run(&Server::with("slow-publish=per=500us"), &["publishers.feed.events=15000"]);
    let mut accused = those(&report, "expectations", "fail");
    // The waits of its publishers are part of its latency.
    accused.retain(|id| id != "no-degradation");
    assert_eq!(accused, ["rate-held"], "{}", report["why"]);
    let slowed = &report["published"]["slowed"];
    assert_eq!(slowed["limited_by"], "server", "{slowed}");
    let held = slowed["held_rate"].as_f64().expect("a figure");
    assert!((400.0..=2_050.0).contains(&held), "it takes 2,000/s of 3,000/s at most: {slowed}");
    assert_eq!(number(&report, "/ledger/delivered"), 15_000);
}

#[test]
fn a_count_that_is_wrong_for_a_while_is_wrong_all_along() {
    let server = far_and("miscount=counter=delivered,by=20000,from=3000,until=9000");
    let report = run(&server, &LESS);
    failed(&report, &["counts-all-along"]);
    let checks = report["server_stats"]["during"]["checks"].as_array().expect("a list").iter();
    let wrong: Vec<_> = checks.filter(|check| check["error_ratio"].as_f64() > Some(0.01)).collect();
    assert!(wrong.len() == 1 && wrong[0]["name"] == "delivered", "{wrong:?}");
}

/// Three of the 105 events on each of 200 channels.
#[test]
fn what_is_not_delivered_is_missed_one_by_one() {
    let server = far_and("drop=every=35");
    let report = run(&server, &LESS);
    failed(&report, &["nothing-lost", "all-delivered"]);
    assert_eq!(server.planted(), 600);
    let counts =
        ["lost", "lost_proven", "delivered"].map(|count| number(&report, &format!("/ledger/{count}")));
    assert_eq!(counts, [600, 600, 20_400]);
}

/// So many events, as fast as they may come; a condition on a trend would ask for a length.
const MANY: &str = r#"
[scenarios.many]
about = "nothing is kept of each event"
channels = "own"
subscribers.clients = { connections = 20 }
publishers.feed = { connections = 4, rate = "8000/s", events = EVENTS, batch = 10 }
timeouts = { quiet = "300ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

/// Client memory at its most, with so many events published, delivered and verified.
fn memory_with(events: u64) -> u64 {
    let file = MANY.replace("EVENTS", &events.to_string());
    let run = Stressctl::run(&["--scenario", "many"]).scenarios(&file).finish();
    let report = run.holds(&["many"]).report("many");
    assert_eq!(number(&report, "/ledger/delivered"), events);
    number(&report, "/resources/client/memory_peak_bytes")
}

/// A day has 8.64 million: 16 bytes for each of them would be 132 MiB, and are 2 MiB here.
#[test]
fn eight_times_as_many_events_take_no_more_memory_of_ours() {
    let _alone = alone();
    let (few, many) = (memory_with(20_000), memory_with(160_000));
    assert!(many < few + 1_024 * 1_024, "{few} bytes, and {many} with eight times as many");
}
