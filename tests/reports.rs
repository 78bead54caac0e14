//! What a run leaves in its directory and on stdout, and that it can be made again.

mod common;

use std::fs;
use std::path::Path;

use common::binary::{Finished, Stressctl};
use serde_json::Value;
use tempfile::TempDir;

const TINY: &str = r#"
[scenarios.tiny]
about = "five clients, ten events"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { rate = "50/s", events = 10 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

/// A run into a directory that outlives it.
fn run_into(out: &Path, args: &[&str]) -> Finished {
    let out = out.to_str().expect("a temporary path is text");
    let args = [&["run", "--out", out, "--scenario", "tiny"], args].concat();
    Stressctl::new(&args).scenarios(TINY).finish().exits(0)
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn an_earlier_report_moves_to_history() {
    let dir = TempDir::new().expect("a temporary directory");
    let out = dir.path().join("new/out");
    run_into(&out, &["--seed", "7"]);
    run_into(&out, &["--seed", "8"]);

    assert_eq!(read(&out.join("tiny.json"))["scenario"]["seed"], 8);
    let history: Vec<_> = fs::read_dir(out.join("history"))
        .expect("a history")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let seeds: Vec<Value> = history.iter().map(|path| read(path)["scenario"]["seed"].clone()).collect();
    assert_eq!(seeds, [7]);
    // Written beside and renamed: nothing half-written stays.
    let left: Vec<_> =
        fs::read_dir(&out).expect("it is there").map(|entry| entry.expect("an entry").path()).collect();
    let known =
        |path: &Path| path.is_dir() || path.extension().is_some_and(|ext| ext == "json" || ext == "md");
    assert!(left.iter().all(|path| known(path)), "{left:?}");
}

#[test]
fn documents_are_rendered_from_the_json_alone() {
    let dir = TempDir::new().expect("a temporary directory");
    run_into(dir.path(), &[]);
    let document = dir.path().join("stress_results.md");
    let written = fs::read_to_string(&document).expect("a document");
    assert!(written.contains("tiny"), "{written}");

    fs::remove_file(&document).expect("it was there");
    Stressctl::new(&["report", dir.path().to_str().expect("text")]).finish().exits(0);
    assert_eq!(fs::read_to_string(&document).expect("it is there again"), written);
}

#[test]
fn stdout_is_what_was_asked_for() {
    let dir = TempDir::new().expect("a temporary directory");
    let quiet = run_into(dir.path(), &["--output", "quiet"]);
    assert_eq!(quiet.stdout, "");

    let json = run_into(dir.path(), &["--output", "json"]);
    assert_eq!(json.stdout.lines().count(), 1);
    let printed: Value = serde_json::from_str(&json.stdout).expect("JSON");
    assert_eq!(printed, read(&dir.path().join("tiny.json")));

    let text = run_into(dir.path(), &["--output", "text"]);
    assert!(text.stdout.contains("tiny") && text.stdout.contains("PASS"), "{}", text.stdout);
    assert!(!text.stdout.contains('\u{1b}'), "NO_COLOR is set");
}

#[test]
fn the_seed_is_printed_and_decides_the_plan() {
    let dir = TempDir::new().expect("a temporary directory");
    let plan = |args: &[&str]| {
        let finished = run_into(dir.path(), args);
        assert!((finished.stdout.clone() + &finished.stderr).contains("seed"), "{}", finished.stderr);
        read(&dir.path().join("tiny.json"))["scenario"]["plan_hash"].clone()
    };
    let first = plan(&["--seed", "7"]);
    assert_eq!(first, plan(&["--seed", "7"]));
    assert_ne!(first, plan(&["--seed", "8"]));
}

#[test]
fn secrets_and_userinfo_are_in_no_report() {
    let server = common::bad::Server::good();
    let url = format!("ws://user:hunter2@{}/graphql?token=hunter3", server.address());
    let target = server.target().replace(&server.url(), &url);
    let secret =
        "headers = { authorization = \"Bearer ${env:TEST_TOKEN}\" }\ninit = { key = \"${env:TEST_TOKEN}\" }";
    let target = target.replace("ordered = true", &format!("ordered = true\n{secret}"));
    let run =
        Stressctl::run(&["--target", "bad", "--scenario", "tiny"]).scenarios(&(TINY.to_owned() + &target));
    let finished = run.env("TEST_TOKEN", "hunter4").finish().exits(0);
    for (name, text) in finished.everything() {
        assert!(!text.contains("hunter"), "in {name}:\n{text}");
    }
}
