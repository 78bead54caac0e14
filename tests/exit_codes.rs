//! Each exit code, from the outside. 70 is a bug in stressctl and cannot be had by asking for it.

mod common;

use std::time::Duration;

use common::bad::{Manner, Server};
use common::binary::{Finished, Stressctl};
use rustix::process::Signal;
use serde_json::Value;

/// Three scenarios over the same small load: one holds, one does not, one never gets into its situation.
const THREE: &str = r#"
[defaults]
seed = 1

[scenarios.holds]
about = "five clients, ten events, all delivered"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"

[scenarios.fails]
about = "the same, wanting what cannot be"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.nothing-delivered = "ledger.delivered == 0"

[scenarios.misses]
about = "the same, for a situation that does not occur"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
reached.nothing-delivered = "ledger.delivered == 0"
"#;

/// Against the reference server.
fn run(args: &[&str]) -> Finished {
    Stressctl::run(args).scenarios(THREE).finish()
}

/// The judgements with this verdict.
fn judged(judgements: &Value, verdict: &str) -> Vec<Value> {
    let all = judgements.as_array().expect("a list");
    all.iter().filter(|judgement| judgement["verdict"] == verdict).cloned().collect()
}

/// Against a server of the tests.
fn run_at(server: &Server, args: &[&str]) -> Finished {
    Stressctl::run(&[&["--target", "bad"], args].concat())
        .scenarios(&(THREE.to_owned() + &server.target()))
        .finish()
}

#[test]
fn zero_when_everything_judged_has_passed() {
    let report = run(&["--scenario", "holds"]).exits(0).report("holds");
    assert_eq!(report["schema"], "stressctl.report/1");
    assert_eq!(report["verdict"], "pass");
    assert_eq!(report["target"]["reference_server"], true);
    assert_eq!(report["connections"]["established_ratio"], 1.0);
    assert_eq!(report["subscriptions"]["peak_active"], 5);
    assert_eq!(report["ledger"]["obligations"], 10);
    assert_eq!(report["ledger"]["delivered"], 10);
    assert_eq!(report["ledger"]["lost"], 0);
    assert_eq!(report["latency"]["tls"], serde_json::Value::Null, "no samples is null");
}

#[test]
fn zero_against_a_server_that_is_not_ours() {
    let server = Server::good();
    let report = run_at(&server, &["--scenario", "holds"]).exits(0).report("holds");
    assert_eq!(report["target"]["reference_server"], false);
    assert_eq!(report["target"]["url"], server.url());
    assert_eq!(report["ledger"]["delivered"], 10);
}

#[test]
fn zero_when_every_round_holds_what_one_round_promises() {
    let report = run(&["--scenario", "holds", "--set", "rounds=2"]).exits(0).report("holds");
    assert_eq!(report["rounds"]["completed"], 2);
    assert_eq!(report["ledger"]["delivered"], 10, "of the last round");
}

#[test]
fn one_when_an_expectation_does_not_hold() {
    let report = run(&["--scenario", "fails"]).exits(1).report("fails");
    assert_eq!(report["verdict"], "fail");
    // The built-in defaults are judged as well, and hold.
    let failed: Vec<_> = judged(&report["expectations"], "fail");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["id"], "nothing-delivered");
    assert_eq!(failed[0]["observed"], 10.0);
}

#[test]
fn two_for_bad_usage() {
    Stressctl::new(&["run", "--no-such-flag"]).finish().exits(2).says("--no-such-flag");
    Stressctl::new(&["no-such-command"]).finish().exits(2).says("no-such-command");
    run(&["--scenario", "holds", "--scale", "0"]).exits(2).says("scale");
    run(&["--scenario", "holds", "--all"]).exits(2);
    run(&["--scenario", "holds", "--target", "ftp://127.0.0.1/"]).exits(2).says("ftp");
    run(&["--scenario", "holds", "--target", "nobody"]).exits(2).says("nobody");
}

#[test]
fn two_for_an_unknown_scenario_with_the_nearest_name() {
    run(&["--scenario", "hold"]).exits(2).says("holds");
    run(&["--scenario", "10k-concurent"]).exits(2).says("10k-concurrent");
}

#[test]
fn two_for_an_unknown_key_with_the_nearest_name() {
    run(&["--scenario", "holds", "--set", "publishers.fed.rate=5/s"]).exits(2).says("`feed`");
    run(&["--scenario", "holds", "--set", "timeouts.quite=1s"]).exits(2).says("quiet");
    run(&["--scenario", "holds", "--set", "timeouts.quiet=soon"]).exits(2).says("soon");
    run(&["--scenario", "holds", "--set", "timeouts.quiet"]).exits(2);
}

#[test]
fn two_for_a_broken_scenario_file_and_every_mistake_in_it() {
    let broken = THREE.replacen("connections = 5", "conections = 5", 1).replacen("\"50/s\"", "50", 1);
    let finished = Stressctl::run(&["--scenario", "fails"]).scenarios(&broken).finish().exits(2);
    finished.says("own-scenarios.toml:8").says("own-scenarios.toml:9").says("conections");
}

#[test]
fn two_for_an_output_directory_that_cannot_be_written() {
    let stressctl =
        Stressctl::new(&["run", "--scenario", "holds", "--out", "in-the-way/out"]).scenarios(THREE);
    stressctl.file("in-the-way", "a file");
    let finished = stressctl.finish();
    assert!(finished.code() == Some(2), "{:?}: {}", finished.code(), finished.stderr);
    assert!(finished.stderr.contains("in-the-way"), "{}", finished.stderr);
}

#[test]
fn three_when_the_situation_did_not_occur() {
    let report = run(&["--scenario", "misses"]).exits(3).report("misses");
    assert_eq!(report["verdict"], "inconclusive");
    assert_eq!(
        judged(&report["expectations"], "pass"),
        report["expectations"].as_array().expect("a list").clone()
    );
    assert_eq!(report["reached"][0]["id"], "nothing-delivered");
    assert_ne!(report["reached"][0]["verdict"], "pass");
}

#[test]
fn three_when_the_machine_is_too_small() {
    let many = ["--scenario", "holds", "--set", "subscribers.clients.connections=500"];
    let finished = Stressctl::run(&many).scenarios(THREE).files(200).finish().exits(3);
    // What is needed, what there is, and what to do; nothing was started.
    let finished =
        finished.says("too small").says("open files and may have 200").says("ulimit -Hn").says("--scale");
    assert!(!finished.out.join("holds.json").exists());
    // What fits still runs.
    Stressctl::run(&["--scenario", "holds"]).scenarios(THREE).files(200).finish().exits(0);
}

#[track_caller]
fn gives_as_reason(report: &Value, reason: &str) {
    let why = report["why"].as_array().expect("a list");
    assert!(why.iter().any(|why| why.as_str().is_some_and(|why| why.contains(reason))), "{why:?}");
}

/// All of it is due within 20 ms, which nothing can do, be it the generator or the server.
#[test]
fn three_when_the_planned_load_cannot_be_had() {
    let faster = ["publishers.feed.rate=3000000/s", "publishers.feed.events=60000"];
    let sets = ["--scenario", "holds", "--set", faster[0], "--set", faster[1]];
    let report = run(&sets).exits(3).report("holds");
    assert_eq!(report["verdict"], "inconclusive");
    gives_as_reason(&report, "the planned load was not reached in main");
    assert_eq!(report["ledger"]["delivered"], 60_000, "slow as it was, nothing was lost");
}

/// A generator that stands still for two seconds sends late what was due then.
#[test]
fn three_when_the_generator_did_not_keep_its_own_schedule() {
    let long = ["--set", "publishers.feed.rate=200/s", "--set", "publishers.feed.events=1000"];
    let mut running =
        Stressctl::run(&[&["--scenario", "holds"], &long[..]].concat()).scenarios(THREE).start();
    running.wait_until("its load", |running| running.stderr().contains("phase main"));
    running.signal(Signal::STOP);
    std::thread::sleep(Duration::from_secs(2));
    running.signal(Signal::CONT);
    let report = running.finish().exits(3).report("holds");
    assert_eq!(report["verdict"], "inconclusive");
    assert_eq!(report["generator"]["health"], "limited");
    gives_as_reason(&report, "the generator was limited: one event in a hundred was sent");
    assert_eq!(report["ledger"]["delivered"], 1_000);
}

#[test]
fn four_when_the_preflight_fails() {
    let nobody = Server::bad(Manner::Refuses);
    run_at(&nobody, &["--scenario", "holds"]).exits(4).says("refused").says(&nobody.address().to_string());
}

#[test]
fn the_gravest_wins() {
    let all = ["--scenario", "holds", "--scenario", "misses", "--scenario", "fails"];
    let finished = run(&all).exits(1);
    assert_eq!(finished.report("holds")["verdict"], "pass");
    assert_eq!(finished.report("misses")["verdict"], "inconclusive");
    assert_eq!(finished.report("fails")["verdict"], "fail");
    run(&all[..4]).exits(3);
    // Everything in the file that was named, and nothing of the catalogue.
    let finished = run(&["--all", "--output", "json"]).exits(1);
    let names = finished.stdout.lines().map(|line| {
        let report: Value = serde_json::from_str(line).expect("one report per line");
        report["scenario"]["name"].as_str().expect("a name").to_owned()
    });
    assert_eq!(names.collect::<Vec<_>>(), ["holds", "fails", "misses"]);
    // A bad name beside good ones is found before any of them is run.
    run(&["--scenario", "holds", "--scenario", "nope"]).exits(2);
}
