//! Several scenarios in one go: one that cannot start does not take the others with it, Ctrl-C ends them all, and the
//! document that is left has one verdict over all of them and nothing of the machine that it need not have.

mod common;

use std::fs;
use std::time::Duration;

use common::binary::{Finished, Stressctl};
use rustix::process::Signal;
use serde_json::Value;

/// One that holds, one that needs more files than it will be given, one that does not hold, one that never gets into its
/// situation.
const FOUR: &str = r#"
[scenarios.a-holds]
about = "five clients, ten events, all delivered"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"

[scenarios.b-too-large]
about = "more clients than there are files"
channels = "own"
subscribers.clients = { connections = 500 }
publishers.feed = { rate = "50/s", events = 10 }

[scenarios.c-fails]
about = "wants <b>what</b> cannot | be"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.nothing-delivered = "ledger.delivered == 0"

[scenarios.d-misses]
about = "the same, for a situation that does not occur"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
reached.nothing-delivered = "ledger.delivered == 0"
"#;

fn document(finished: &Finished) -> String {
    fs::read_to_string(finished.out.join("stress_results.md")).expect("the document was written")
}

#[test]
fn one_that_cannot_start_does_not_stop_the_others_and_the_gravest_decides() {
    let finished = Stressctl::run(&["--all"]).scenarios(FOUR).files(200).finish();
    // 1 is graver than the 3 of the one that does not fit and of the one that misses its situation.
    let finished = finished.exits(1).says("b-too-large").says("too small");
    assert!(!finished.out.join("b-too-large.json").exists(), "it was not run");
    let document = document(&finished);
    let verdict = document.lines().find(|line| line.starts_with("**")).expect("a verdict");
    assert_eq!(verdict, "**✗ FAIL** — 4 scenarios: ✗ 1 fail · ? 1 inconclusive · ✓ 1 pass · ? 1 not run");
    let reasons: Vec<_> =
        document.lines().filter(|line| line.starts_with("- ✗ [") || line.starts_with("- ? [")).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons[0].starts_with("- ✗ [c-fails](#c-fails): nothing-delivered failed: "), "{reasons:?}");
    assert!(
        reasons[1].starts_with("- ? [d-misses](#d-misses): nothing-delivered was not reached: "),
        "{reasons:?}"
    );
    assert!(document.contains("wants &lt;b&gt;what&lt;/b&gt; cannot &#124; be"), "{document}");
    // The same without the one that fails, and without the one that misses.
    let few = |names: &[&str]| {
        let args: Vec<_> = names.iter().flat_map(|name| ["--scenario", name]).collect();
        Stressctl::run(&args).scenarios(FOUR).files(200).finish()
    };
    few(&["a-holds", "b-too-large"]).exits(3);
    few(&["a-holds", "d-misses"]).exits(3);
}

#[test]
fn one_interrupt_ends_all_and_the_rest_is_said_not_to_have_been_run() {
    let long = [
        "--all",
        "--set",
        "publishers.feed.events=1000",
        "--set",
        "b-too-large.subscribers.clients.connections=5",
    ];
    let mut run = Stressctl::run(&long).scenarios(FOUR).limit(Duration::from_secs(40)).start();
    run.wait_until("it publishes", |run| run.stderr().contains("phase main"));
    run.signal(Signal::INT);
    let finished = run.finish().exits(3);
    assert_eq!(finished.report("a-holds")["run"]["interrupted"], true);
    for name in ["b-too-large", "c-fails", "d-misses"] {
        assert!(finished.stderr.contains(&format!("{name}: not started")), "{}", finished.stderr);
        assert!(!finished.out.join(format!("{name}.json")).exists(), "{name}");
    }
    let document = document(&finished);
    assert!(
        document.contains("**? INCONCLUSIVE** — 4 scenarios: ? 1 inconclusive · ? 3 not run"),
        "{document}"
    );
    assert!(document.contains("the run was interrupted"), "{document}");
}

#[test]
fn the_document_comes_from_the_reports_alone_and_from_older_ones_too() {
    let finished = Stressctl::run(&["--scenario", "a-holds"]).scenarios(FOUR).finish().exits(0);
    let written = document(&finished);
    let again = |finished: &Finished| {
        fs::remove_file(finished.out.join("stress_results.md")).expect("it is there");
        let dir = finished.out.to_str().expect("a path in UTF-8");
        Stressctl::new(&["report", dir]).finish().exits(0);
        document(finished)
    };
    assert_eq!(again(&finished), written);
    // A report as an older version wrote it: without the keys that have been added since.
    let path = finished.out.join("a-holds.json");
    let mut report = finished.report("a-holds");
    let keys = report.as_object_mut().expect("an object");
    for key in ["flow", "reconnects", "breaker", "slow_consumers", "drain", "server", "trend"] {
        keys.remove(key);
    }
    fs::write(&path, report.to_string()).expect("it can be written");
    assert!(again(&finished).contains("**✓ PASS** — 1 scenario: ✓ 1 pass"));
}

#[test]
fn reports_have_nothing_of_the_machine_that_they_need_not_have() {
    // The scenario file lies in a temporary directory, and is named by its whole path.
    let finished = Stressctl::run(&["--scenario", "a-holds"])
        .scenarios(FOUR)
        .env("HOME", "/home/some-user")
        .env("USER", "some-user")
        .env("HOSTNAME", "some-host")
        .finish()
        .exits(0);
    let dir = finished.out.parent().expect("it is in the temporary directory").display().to_string();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = format!("\"{}\"", host.trim());
    for (name, text) in finished.everything().iter().filter(|(name, _)| name.starts_with('/')) {
        for private in [dir.as_str(), "some-user", "some-host", host.as_str()] {
            assert!(!text.contains(private), "{private} in {name}");
        }
    }
    let command = finished.report("a-holds")["scenario"]["command"].clone();
    assert_eq!(
        command,
        Value::from("stressctl run --scenario a-holds --scenarios own-scenarios.toml --seed 1")
    );
}
