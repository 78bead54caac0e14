//! Leaks and slow-downs by degrees, and counts that are wrong for a while: whole runs against the reference server with
//! exactly that defect, and without any.

mod common;
#[path = "scenarios/scene.rs"]
#[allow(dead_code, reason = "shared with the tests of the catalogue, which need more of it")]
mod scene;

use common::binary::Stressctl;
use scene::Server;
use serde_json::Value;

/// Twelve seconds of 4,800 events, sampled every 50 ms; the floors are as small as the run.
const SHORT: &str = r#"
[scenarios.short]
about = "a short soak"
channels = 10
phases = [{ name = "load", for = "12s" }]
subscribers.clients = { connections = 20, subscriptions = 200 }
publishers.feed = { connections = 2, rate = "400/s" }
timeouts = { quiet = "300ms", cool-down = "200ms" }

[scenarios.short.expect]
no-leak = "trend.server_memory.growth < 4MiB"
no-leak-of-ours = "trend.client_memory.growth < 4MiB"
no-degradation = "trend.deliver_p99.growth < 100%"
counts-all-along = "server_stats.worst_during.error_ratio <= 1%"
"#;

const COUNTS: &str = r#"
[scenarios.counts]
about = "three seconds of counting"
channels = 10
phases = [{ name = "load", for = "3s" }]
subscribers.clients = { connections = 20, subscriptions = 200 }
publishers.feed = { connections = 2, rate = "400/s" }
timeouts = { quiet = "300ms", cool-down = "200ms" }
expect.counts-all-along = "server_stats.worst_during.error_ratio <= 1%"
"#;

fn run(server: &Server, scenario: &str, file: &str) -> Value {
    run_at(server, &server.target(&server.url()), scenario, file)
}

/// The same where the target's table is another one.
fn run_at(server: &Server, target: &str, scenario: &str, file: &str) -> Value {
    let file = format!("{file}{target}");
    let pid = server.id().to_string();
    let args = ["--scenario", scenario, "--target", "here", "--server-pid", &pid];
    Stressctl::run(&args).scenarios(&file).finish().report(scenario)
}

fn those(report: &Value, verdict: &str) -> Vec<String> {
    let all = report["expectations"].as_array().expect("a list").iter();
    let mut ids: Vec<String> = all
        .filter(|one| one["verdict"] == verdict)
        .filter_map(|one| one["id"].as_str().map(str::to_owned))
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn an_honest_server_neither_leaks_nor_fails() {
    let report = run(&Server::honest(), "short", SHORT);
    assert_eq!(those(&report, "fail"), [""; 0], "{}", report["why"]);
    for id in ["no-leak", "no-leak-of-ours", "counts-all-along"] {
        assert!(those(&report, "pass").contains(&id.to_owned()), "{id}: {}", report["why"]);
    }
    assert_eq!(report["trend"]["server_memory"]["word"], "steady");
    let points = report["timeline"].as_array().map(Vec::len);
    assert!(points.is_some_and(|points| (150..=1_200).contains(&points)), "{points:?} points");
    let samples = report["server_stats"]["during"]["samples"].as_u64();
    assert!(samples.is_some_and(|samples| samples >= 15), "{samples:?} scrapes");
}

#[test]
fn a_leak_per_event_is_found_and_nothing_else() {
    let server = Server::with("leak-per-event=bytes=4KiB");
    let report = run(&server, "short", SHORT);
    assert_eq!(those(&report, "fail"), ["no-leak"], "{}", report["why"]);
    let trend = &report["trend"]["server_memory"];
    // 4,800 events of 4 KiB are 18.75 MiB, and each of them costs a little more.
    let growth = trend["growth_bytes"].as_f64().expect("a number") / 1024.0 / 1024.0;
    assert!((17.0..26.0).contains(&growth), "{trend}");
    assert_eq!((&trend["word"], &trend["evidence"]["all_along"]), (&"grows".into(), &true.into()));
    assert!(server.planted() > 4_000);
}

/// Every event is a little later than the one before on its channel: half a millisecond more each, 240 ms at the end.
#[test]
fn a_server_that_slows_down_by_degrees_is_found_and_nothing_else() {
    let report = run(&Server::with("slow-down=step=500us"), "short", SHORT);
    // On a busy machine it may be ours what takes long.
    let ours = those(&report, "inconclusive").contains(&"no-degradation".to_owned());
    let failed = those(&report, "fail");
    if ours {
        let why = report["why"].to_string();
        assert!(why.contains("the generator was limited") || why.contains("our own processing"), "{why}");
        assert_eq!(failed, [""; 0], "nothing is said of times: {}", report["why"]);
    } else {
        assert_eq!(failed, ["no-degradation"], "{}", report["why"]);
    }
    assert_eq!(report["trend"]["deliver_p99"]["word"], "grows", "{}", report["trend"]);
}

#[test]
fn a_count_that_is_wrong_for_a_while_is_only_found_all_along() {
    for (defect, name) in [
        ("miscount=counter=delivered,by=5000,from=300,until=800", "delivered"),
        ("miscount=counter=published,by=-100,from=300,until=800", "published"),
        ("miscount=counter=subscriptions,by=3,from=300,until=800", "subscriptions"),
        ("miscount=counter=connections,by=-1,from=300,until=800", "connections"),
    ] {
        let report = run(&Server::with(defect), "counts", COUNTS);
        assert_eq!(those(&report, "fail"), ["counts-all-along"], "{defect}: {}", report["why"]);
        assert_eq!(wrong_during(&report), [name], "{defect}");
    }
}

/// The counts that were wrong at some moment.
fn wrong_during(report: &Value) -> Vec<&str> {
    let checks = report["server_stats"]["during"]["checks"].as_array().expect("a list").iter();
    let wrong = checks.filter(|check| check["error_ratio"].as_f64() > Some(0.01));
    wrong.map(|check| check["name"].as_str().expect("a name")).collect()
}

/// The same server, asked for its counts as Prometheus text.
fn prometheus(server: &Server) -> String {
    format!(
        r#"
        [targets.here]
        url = "{}"
        ordered = true
        [targets.here.statistics]
        url = "http://{}/metrics"
        format = "prometheus"
        connections = "stressctl_connections"
        subscriptions = "stressctl_subscriptions"
        published = "stressctl_published_total"
        delivered = "stressctl_delivered_total"
        dropped = "stressctl_dropped_total"
        "#,
        server.url(),
        server.address()
    )
}

#[test]
fn counts_are_read_all_along_from_prometheus_text_too() {
    let server = Server::honest();
    let report = run_at(&server, &prometheus(&server), "counts", COUNTS);
    assert_eq!(those(&report, "fail"), [""; 0], "{}", report["why"]);
    assert!(those(&report, "pass").contains(&"counts-all-along".to_owned()), "{}", report["why"]);
    let during = &report["server_stats"]["during"];
    let samples = during["samples"].as_u64();
    assert!(samples.is_some_and(|samples| samples >= 10), "{samples:?} scrapes");
    let checks = during["checks"].as_array().expect("a list").iter();
    let mut names: Vec<_> = checks.map(|check| check["name"].as_str().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(names, ["connections", "delivered", "published", "subscriptions"]);
}

#[test]
fn a_count_in_prometheus_text_that_is_wrong_for_a_while_is_found() {
    for (defect, name) in [
        ("miscount=counter=delivered,by=5000,from=300,until=800", "delivered"),
        ("miscount=counter=subscriptions,by=3,from=300,until=800", "subscriptions"),
    ] {
        let server = Server::with(defect);
        let report = run_at(&server, &prometheus(&server), "counts", COUNTS);
        assert_eq!(those(&report, "fail"), ["counts-all-along"], "{defect}: {}", report["why"]);
        assert_eq!(wrong_during(&report), [name], "{defect}");
    }
}

#[test]
fn a_count_that_is_wrong_to_the_end_is_found_all_along_and_at_the_end() {
    let report = run(&Server::with("miscount=counter=published,by=-100"), "counts", COUNTS);
    assert_eq!(those(&report, "fail"), ["counts-all-along", "server-counts-agree"], "{}", report["why"]);
}

/// Three hundred connections each round, and nothing else that could cost memory.
const ROUNDS: &str = r#"
[scenarios.again]
about = "the same again"
channels = 10
rounds = ROUNDS
subscribers.clients = { connections = 300 }
publishers.feed = { rate = "200/s", events = 100 }
timeouts = { quiet = "200ms", cool-down = "500ms" }
expect.no-leak = "rounds.server_memory_end.growth < 10%"
"#;

#[test]
fn a_leak_per_connection_is_found_by_comparing_rounds() {
    for rounds in ["2", "3"] {
        let file = ROUNDS.replace("ROUNDS", rounds);
        let report = run(&Server::with("leak-per-connection=bytes=64KiB"), "again", &file);
        assert_eq!(those(&report, "fail"), ["no-leak"], "{}", report["why"]);
        let honest = run(&Server::honest(), "again", &file);
        let memory = &honest["rounds"]["server_memory_end"];
        assert!(those(&honest, "pass").contains(&"no-leak".to_owned()), "{memory}: {}", honest["why"]);
    }
}
