//! `stressctl selftest`, the real binary: it finds everything, forgets no defect, and can be stopped.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::binary::Stressctl;
use rustix::process::Signal;
use serde_json::Value;
use stressctl::selftest::rows::Stage;
use stressctl::selftest::stages::stages;

#[test]
fn every_planted_defect_is_found_exactly_and_an_honest_server_raises_no_alarm() {
    let finished = Stressctl::new(&["selftest", "--output", "json"]).limit(Duration::from_secs(300)).finish();
    let matrix: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", finished.stdout, finished.stderr));
    let finished = finished.exits(0);
    assert_eq!(finished.stdout.lines().count(), 1);
    assert_eq!(matrix["schema"], "stressctl.selftest/1");
    assert_eq!((&matrix["exact"], &matrix["interrupted"]), (&Value::Bool(true), &Value::Bool(false)));
    let list = |of: &Value, key: &str| of[key].as_array().expect("a list").clone();
    let stages = list(&matrix, "stages");
    let lines: Vec<Value> = stages.iter().flat_map(|stage| list(stage, "lines")).collect();
    // Not by its own word alone: what was planted, and what was found of it.
    for line in lines.iter().filter(|line| line["defect"] != "honest") {
        assert!(line["planted"].as_u64() > Some(0), "{line}");
        assert_eq!(line["verdict"], line["expected_verdict"], "{line}");
        for found in list(line, "found") {
            assert_eq!(found["found"], found["expected"], "{line}");
            assert!(found["found"].as_u64() > Some(0), "{line}");
        }
        assert_eq!(list(line, "found").is_empty(), line["not_applicable"].is_string(), "{line}");
    }
    assert_eq!(list(&matrix, "honest").len(), stages.len());
    assert!(list(&matrix, "honest").iter().all(|run| list(run, "alarms").is_empty()));
    assert!(matrix["duration_s"].as_f64() < Some(120.0), "{}", matrix["duration_s"]);
}

/// They need clients that do not read, or a rate that is not held: `tests/scenarios` has each found by a whole scenario.
const BY_SCENARIOS: [&str; 2] = ["serialise", "slow-publish"];

/// The server knows what can be planted; a kind that nobody plants would never be looked for.
#[test]
fn no_kind_of_defect_is_forgotten() {
    let refused = Stressctl::new(&["serve", "--defect", "none-of-them"]).finish().exits(2).stderr;
    let (_, known) = refused.split_once("(there are: ").expect("it says what there is");
    let (known, _) = known.split_once(')').expect("a list in parentheses");
    let known: BTreeSet<String> = known.split(',').map(|name| name.trim().to_owned()).collect();
    let stages = stages();
    let planted: BTreeSet<String> =
        stages.iter().flat_map(Stage::planted).filter_map(|row| row.kind).map(str::to_owned).collect();
    let by_scenarios = BY_SCENARIOS.map(str::to_owned).into();
    assert_eq!(&known - &planted, by_scenarios);
    assert_eq!(&planted - &known, BTreeSet::new());
}

#[test]
fn what_was_found_so_far_is_printed_when_it_is_stopped() {
    let mut running = Stressctl::new(&["selftest"]).limit(Duration::from_secs(60)).start();
    running.wait_until("second stage", |running| running.stderr().contains("selftest-lives"));
    running.signal(Signal::INT);
    let finished = running.finish().exits(3).says("stopping");
    assert!(finished.stdout.contains("Stopped before the end."), "{}", finished.stdout);
    assert!(finished.stdout.contains("lost_proven"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("WRONG"), "{}", finished.stdout);
}

#[test]
fn an_honest_server_is_run_at_least_once() {
    Stressctl::new(&["selftest", "--seeds", "0"]).finish().exits(2).says("--seeds");
}
