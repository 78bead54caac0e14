//! Several scenarios of the catalogue in one run, small, against the reference server: that they pass, and that what is
//! printed, written and counted agrees. (`.ci/run` runs the whole catalogue, optimised, as a user would.) Alone in its
//! file: it measures, so nothing runs beside it.

mod common;

use std::fs;
use std::time::Duration;

use common::binary::Stressctl;
use serde_json::Value;

const CATALOGUE: [&str; 2] = ["10k-concurrent", "latency-1000ms"];

#[test]
fn scenarios_of_the_catalogue_pass_when_small() {
    let chosen = CATALOGUE.iter().flat_map(|name| ["--scenario", name]);
    let args: Vec<&str> = ["--scale", "0.02", "--output", "json"].into_iter().chain(chosen).collect();
    let run = Stressctl::run(&args).limit(Duration::from_secs(420));
    let finished = run.finish().holds(&CATALOGUE);

    let printed: Vec<Value> = finished
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("one report per line"))
        .collect();
    let names: Vec<&str> = printed.iter().filter_map(|report| report["scenario"]["name"].as_str()).collect();
    assert_eq!(names, CATALOGUE, "in the order of the catalogue");
    for name in CATALOGUE {
        let report = finished.report(name);
        assert_eq!(report["connections"]["established_ratio"], 1.0, "{name}");
        assert_eq!(report["subscriptions"]["peak_active"], report["subscriptions"]["requested"], "{name}");
        assert_eq!(report["connections"]["dropped_unexpectedly"], 0, "{name}");
    }

    for report in &printed {
        let name = report["scenario"]["name"].as_str().expect("a name");
        assert_eq!(report, &finished.report(name), "stdout and file agree on {name}");
        assert_eq!(report["schema"], "stressctl.report/1", "{name}");
        assert_eq!(report["scenario"]["scale"], 0.02, "{name}");
        sums_close(&report["ledger"]);
    }

    let document = fs::read_to_string(finished.out.join("stress_results.md")).expect("a document");
    for name in names {
        assert!(document.contains(name), "no {name} in stress_results.md");
    }
}

/// Every owed delivery is in one class and every receipt is one thing.
#[track_caller]
fn sums_close(ledger: &Value) {
    let sum = |names: &[&str]| -> u64 {
        names.iter().map(|name| ledger[name].as_u64().unwrap_or_else(|| panic!("no {name}"))).sum()
    };
    let classes = [
        "delivered",
        "late",
        "recovered",
        "damaged",
        "missed_disconnected",
        "indeterminate",
        "unknown_publish",
        "suppressed",
        "lost_proven",
        "lost_presumed",
        "unverified",
    ];
    assert_eq!(sum(&["obligations"]), sum(&classes));
    let receipts = ["first_receipts", "duplicated", "corrupted", "phantom", "misrouted", "after_unsubscribe"];
    assert_eq!(sum(&["receipts"]), sum(&receipts));
    assert_eq!(sum(&["first_receipts"]), sum(&["delivered", "late", "recovered", "unowed"]));
}
