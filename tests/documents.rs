//! The documents over several scenarios, and the end of a run of several: from the outside.

mod common;
#[allow(dead_code, reason = "the scene of other tests")]
#[path = "scenarios/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use common::binary::{Finished, Stressctl};
use rustix::process::Signal;
use scene::Server;

/// Eight clients, each on a channel of its own, with events long enough for every defect.
const PLANTED: &str = r#"
[scenarios.planted]
about = "eight clients, eighty events each"
channels = "own"
subscribers.clients = { connections = 8 }
publishers.feed = { rate = "800/s", events = 640, payload = "200B" }
timeouts = { quiet = "300ms", cool-down = "100ms" }
"#;

fn document(finished: &Finished, name: &str) -> String {
    fs::read_to_string(finished.out.join(name)).unwrap_or_else(|e| panic!("no {name}: {e}"))
}

/// Causes in the table at the beginning of `failure_modes.md`, and how often each was seen.
fn causes(document: &str) -> BTreeMap<String, String> {
    let rows = document.lines().skip_while(|line| !line.starts_with("| What |")).skip(2);
    let cells =
        rows.take_while(|line| line.starts_with('|')).map(|line| line.split(" | ").collect::<Vec<_>>());
    cells.map(|row| (row[1].trim_matches('`').to_owned(), row[4].trim_end_matches(" |").to_owned())).collect()
}

/// Plants a defect and compares what the document names with the causes that it must have; `N` stands for as often as the
/// server says that the defect struck.
#[track_caller]
fn names(defect: &str, wanted: &[(&str, &str)]) {
    let server = if defect.is_empty() { Server::honest() } else { Server::with(defect) };
    let file = server.target(&server.url()) + PLANTED;
    let finished = Stressctl::run(&["--target", "here", "--scenario", "planted"]).scenarios(&file).finish();
    let planted = if defect.is_empty() { 0 } else { server.planted() };
    assert!(defect.is_empty() || planted > 0, "{defect} never struck");
    let text = document(&finished, "failure_modes.md");
    let wanted: BTreeMap<_, _> = wanted
        .iter()
        .map(|(cause, times)| ((*cause).to_owned(), times.replace('N', &planted.to_string())))
        .collect();
    // A machine that is too busy says so, and that is nobody's defect.
    let mut found = causes(&text);
    found.remove("generator-limited");
    assert_eq!(found, wanted, "{defect}: {text}");
    assert_eq!(text.contains("No failure was observed"), causes(&text).is_empty(), "{text}");
}

#[test]
fn an_honest_server_failed_in_nothing() {
    names("", &[]);
}

#[test]
fn what_was_planted_is_named_and_nothing_else() {
    names("drop=times=2,channels=0-2", &[("lost_proven", "N")]);
    names("duplicate=times=3,channels=1", &[("duplicated", "N")]);
    names("reorder=times=1,channels=2-3", &[("reordered", "N")]);
    names("corrupt-filler=times=2,channels=4", &[("corrupted", "N"), ("damaged", "N")]);
    names("corrupt-header=times=2,channels=4", &[("corrupted", "N"), ("lost_proven", "N")]);
    names("after-unsubscribe=channels=5", &[("after_unsubscribe", "N")]);
}

#[test]
fn a_loss_can_be_followed() {
    let server = Server::with("drop=times=1,skip=9,channels=6");
    let file = server.target(&server.url()) + PLANTED;
    let finished = Stressctl::run(&["--target", "here", "--scenario", "planted"]).scenarios(&file).finish();
    let report = finished.report("planted");
    let lost = &report["ledger"]["examples"][0];
    let text = document(&finished, "failure_modes.md");
    let followed = format!(
        "{}, publisher {}, epoch 0, seq {}",
        lost["channel_name"].as_str().expect("a name"),
        lost["publisher"],
        lost["seq"]
    );
    assert!(text.contains(&followed), "no {followed}: {text}");
    assert!(text.contains("1 of 640 deliveries owed"), "{text}");
    assert!(text.contains("to whom: clients: 1 of 640"), "{text}");
    // It is the first thing to improve, with the command that shows it.
    let targets = document(&finished, "optimization_targets.md");
    assert!(targets.contains("| 1 | nothing-lost | limit"), "{targets}");
    assert!(targets.contains("count: 1 where none is allowed"), "{targets}");
    assert!(targets.contains("stressctl run --scenario planted"), "{targets}");
    // All of it comes from the JSON report.
    for name in ["stress_results.md", "failure_modes.md", "optimization_targets.md"] {
        let written = document(&finished, name);
        fs::remove_file(finished.out.join(name)).expect("it was there");
        Stressctl::new(&["report", finished.out.to_str().expect("text")]).finish().exits(0);
        assert_eq!(document(&finished, name), written, "{name}");
    }
}

#[test]
fn a_connection_that_ended_has_its_time_and_its_number() {
    let server = Server::with("close-without-frame=times=1,after=20,channels=3");
    let file = server.target(&server.url()) + PLANTED;
    let finished = Stressctl::run(&["--target", "here", "--scenario", "planted"]).scenarios(&file).finish();
    let spans = finished.report("planted")["connections"]["failed_spans"].clone();
    let spans = spans.as_object().expect("an object");
    let (name, span) = spans.iter().find(|(name, _)| name.starts_with("open.")).expect("it ended");
    // Client 3 is the one on channel 3.
    assert_eq!((&span["group"], &span["connection"]), (&"clients".into(), &3.into()), "{span}");
    assert_eq!(span["first_s"], span["last_s"], "{span}");
    let text = document(&finished, "failure_modes.md");
    let (_, of_it) = text.split_once(&format!("(`{name}`)\n")).expect("it has a section");
    let of_it = of_it.split("\n###").next().expect("its text");
    assert!(
        of_it.contains("when: after the connection was established; at ") && of_it.contains(" of the run\n"),
        "{of_it}"
    );
    assert!(of_it.contains("to follow: connection 3 of clients, at "), "{of_it}");
}

/// Four scenarios, the second of which needs more files than there are.
fn four() -> String {
    let one = |name: &str, connections: usize, wanted: &str| {
        format!(
            r#"
[scenarios.{name}]
about = "a few clients"
channels = "own"
subscribers.clients = {{ connections = {connections} }}
publishers.feed = {{ rate = "50/s", events = 10 }}
timeouts = {{ quiet = "200ms", cool-down = "100ms" }}
expect.all = "ledger.delivered / predicted == {wanted}"
"#
        )
    };
    [one("first", 5, "100%"), one("too-large", 500, "100%"), one("third", 5, "50%"), one("last", 5, "100%")]
        .concat()
}

#[test]
fn a_scenario_that_does_not_fit_does_not_stop_the_others() {
    let finished = Stressctl::run(&["--all"]).scenarios(&four()).files(200).finish().exits(1);
    let begins: Vec<String> = finished
        .stdout
        .lines()
        .rev()
        .take(6)
        .map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect();
    let wanted =
        ["FAIL 4 scenarios:", "", "PASS last 9", "FAIL third 8", "NOT RUN too-large", "PASS first 9"];
    assert_eq!(begins, wanted, "{}", finished.stdout);
    let last = finished.stdout.lines().last().expect("a line");
    assert!(last.ends_with("2 passed, 1 failed, 1 not run · exit code 1: third failed"), "{last}");
    // The document has those that were run, in order, and the verdict over all first.
    let text = document(&finished, "stress_results.md");
    let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(sections, ["first", "third", "last"]);
    assert!(text.contains("**✗ FAIL** — 4 scenarios: ✗ 1 fail · ✓ 2 pass · ? 1 not run"), "{text}");
    let why = text.lines().find(|line| line.starts_with("- ? too-large: not run: ")).expect("a reason");
    assert!(why.contains("too small"), "{why}");
    let failures = document(&finished, "failure_modes.md");
    assert!(failures.contains("| `too-large` | the whole run | – | not run: "), "{failures}");
}

#[test]
fn a_run_speaks_of_itself_and_names_what_earlier_ones_left() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().to_str().expect("a temporary path is text");
    let run = |names: &[&str], files: u32, code: i32| {
        let names = names.iter().flat_map(|name| ["--scenario", name]);
        let args: Vec<&str> = ["run", "--out", out].into_iter().chain(names).collect();
        let small = four().replace("connections = 500", "connections = 190");
        Stressctl::new(&args).scenarios(&small).files(files).finish().exits(code);
        fs::read_to_string(dir.path().join("stress_results.md")).expect("it is written")
    };
    run(&["too-large", "third"], 600, 1);
    fs::write(dir.path().join("notes.json"), "{}").expect("it can be written");
    // What passed before is not what was run now, and neither is what failed before.
    let text = run(&["first", "too-large"], 200, 3);
    assert!(text.contains("**? INCONCLUSIVE** — 2 scenarios: ✓ 1 pass · ? 1 not run"), "{text}");
    let others = "Not of this run, and not in here: `notes.json`, `third.json`, `too-large.json`.";
    assert!(text.contains(others), "{text}");
    assert!(!text.contains("## third") && !text.contains("## too-large"), "{text}");
    // Nothing at all was run: the document does not go on saying what it said.
    let text = run(&["too-large"], 200, 3);
    assert!(text.contains("**? INCONCLUSIVE** — 1 scenario: ? 1 not run"), "{text}");
    // All that is there is rendered when that is what is asked for, each with the time of its run.
    fs::remove_file(dir.path().join("notes.json")).expect("it was there");
    Stressctl::new(&["report", out]).finish().exits(0);
    let text = fs::read_to_string(dir.path().join("stress_results.md")).expect("it is written");
    assert!(text.contains("**✗ FAIL** — 3 scenarios: ✗ 1 fail · ✓ 2 pass"), "{text}");
    let rows = text.lines().filter(|line| line.starts_with("| [") && line.ends_with("Z |")).count();
    assert_eq!(rows, 3, "{text}");
}

#[test]
fn ctrl_c_ends_all_and_says_what_was_not_run() {
    let long = four().replace("events = 10", "events = 3000").replace("connections = 500", "connections = 6");
    let mut running = Stressctl::run(&["--all"]).scenarios(&long).limit(Duration::from_secs(40)).start();
    running.wait_until("its load", |running| running.stderr().contains("phase main"));
    running.signal_group(Signal::INT);
    let finished = running.finish().exits(3);
    let is_not_run =
        |name: &str| finished.stdout.lines().any(|line| line.starts_with("NOT RUN") && line.contains(name));
    assert!(["too-large", "third", "last"].into_iter().all(is_not_run), "{}", finished.stdout);
    assert!(
        finished.stdout.lines().any(|line| line.starts_with("INCONCLUSIVE  first")),
        "{}",
        finished.stdout
    );
    let last = finished.stdout.lines().last().expect("a line");
    assert!(last.contains("exit code 3: first and 3 others could not be judged"), "{last}");
    let text = document(&finished, "failure_modes.md");
    assert!(causes(&text).contains_key("interrupted"), "{text}");
    assert!(!finished.out.join("last.json").exists());
}
