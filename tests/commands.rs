//! The commands that run no load: they print to stdout what was asked for and to stderr nothing.

mod common;

use common::binary::{Finished, Stressctl};

const CATALOGUE: [&str; 3] = ["10k-concurrent", "50k-cascade", "thundering-herd"];

#[track_caller]
fn prints(args: &[&str]) -> Finished {
    let finished = Stressctl::new(args).finish().exits(0);
    assert!(!finished.stdout.is_empty());
    assert_eq!(finished.stderr, "");
    finished
}

#[test]
fn list_has_every_scenario_of_the_catalogue() {
    let listed = prints(&["list"]).stdout;
    for name in CATALOGUE {
        assert!(listed.lines().any(|line| line.trim_start().starts_with(name)), "no {name} in:\n{listed}");
    }
}

#[test]
fn show_prints_a_scenario_that_can_be_run_again() {
    for name in CATALOGUE {
        let shown = prints(&["show", name]).stdout;
        assert!(shown.contains("connections"), "{shown}");
        let stressctl = Stressctl::new(&["check", "shown.toml"]);
        stressctl.file("shown.toml", &shown);
        stressctl.finish().exits(0);
    }
    Stressctl::new(&["show", "10k-concurent"]).finish().exits(2).says("10k-concurrent");
}

#[test]
fn plan_says_what_a_run_would_do_and_does_not() {
    for name in CATALOGUE {
        let planned = prints(&["plan", name]).stdout;
        assert!(planned.contains("seed"), "{planned}");
    }
    let scaled = prints(&["plan", "10k-concurrent", "--scale", "0.02"]).stdout;
    assert!(scaled.contains("10,000") && scaled.contains("200"), "{scaled}");
    let stressctl = Stressctl::new(&["plan", "nope"]).finish();
    assert_eq!(stressctl.code(), Some(2));
}

#[test]
fn plan_names_the_victims_before_anything_starts() {
    let planned = |seed: &str| prints(&["plan", "thundering-herd", "--seed", seed]).stdout;
    let one = planned("1");
    for words in ["500 of 1,000 connections of clients are reset", "phase before, 0s to 3s", "reconnect"] {
        assert!(one.contains(words), "no {words} in:\n{one}");
    }
    assert_eq!(one, planned("1"));
    let digest = |text: &str| {
        let from = text.find("digest ").expect("a digest of the victims");
        text[from..].split_once(')').map(|(digest, _)| digest.to_owned())
    };
    assert_ne!(digest(&one), digest(&planned("2")));
    let small = prints(&["plan", "thundering-herd", "--scale", "0.02"]).stdout;
    assert!(small.contains("20 of 40 connections of clients"), "{small}");
}

#[test]
fn plan_is_the_same_for_the_same_seed() {
    let planned = || prints(&["plan", "50k-cascade", "--scale", "0.1"]).stdout;
    let hash = |text: &str| text.lines().find(|line| line.contains("hash")).map(str::to_owned);
    let (first, second) = (planned(), planned());
    assert!(hash(&first).is_some(), "{first}");
    assert_eq!(hash(&first), hash(&second));
}

#[test]
fn check_accepts_the_catalogue_and_the_examples() {
    let root = env!("CARGO_MANIFEST_DIR");
    for file in ["scenarios.toml", "tests/interop/scenarios.toml"] {
        Stressctl::new(&["check", &format!("{root}/{file}")]).finish().exits(0);
    }
}

#[test]
fn check_names_file_and_line_of_every_mistake() {
    let stressctl = Stressctl::new(&["check", "broken.toml"]);
    stressctl.file(
        "broken.toml",
        r#"[scenarios.mine]
about = "two mistakes in values, one in a name, one in a condition"
channels = 10
subscribers.clients = { conections = 1_000 }
publishers.feed = { rate = 50 }
phases = [{ name = "load", for = 60 }]
expect.p99 = "latency.delivr.p99 < 100ms"
"#,
    );
    let finished = stressctl.finish().exits(2);
    for line in [4, 5, 6] {
        let place = format!("broken.toml:{line}");
        assert!(finished.stderr.contains(&place), "no {place} in:\n{}", finished.stderr);
    }

    // A condition can only be checked once the rest makes sense.
    let stressctl = Stressctl::new(&["check", "broken.toml"]);
    stressctl.file(
        "broken.toml",
        r#"[scenarios.mine]
about = "a metric that is not in the report"
channels = 10
subscribers.clients = { connections = 1_000 }
publishers.feed = { rate = "50/s", events = 10 }
expect.p99 = "latency.delivr.p99 < 100ms"
"#,
    );
    stressctl.finish().exits(2).says("broken.toml:6").says("latency.deliver");
}

#[test]
fn check_reports_bad_toml_and_a_missing_file() {
    let stressctl = Stressctl::new(&["check", "broken.toml"]);
    stressctl.file("broken.toml", "[scenarios.mine\nabout = \"no bracket\"\n");
    stressctl.finish().exits(2).says("broken.toml:1");
    Stressctl::new(&["check", "nowhere.toml"]).finish().exits(2).says("nowhere.toml");
}

#[test]
fn completions_are_for_the_shell_that_was_named() {
    let bash = prints(&["completions", "bash"]).stdout;
    assert!(bash.contains("complete") && bash.contains("stressctl") && bash.contains("--scenario"));
    Stressctl::new(&["completions", "no-such-shell"]).finish().exits(2);
}

#[test]
fn help_and_version_are_results() {
    assert!(prints(&["--help"]).stdout.contains("run"));
    assert!(prints(&["--version"]).stdout.starts_with("stressctl "));
    // Every option of the contract.
    let help = prints(&["run", "--help"]).stdout;
    for option in [
        "--scenario",
        "--all",
        "--scenarios",
        "--target",
        "--protocol",
        "--scale",
        "--set",
        "--seed",
        "--confirm",
        "--out",
        "--output",
    ] {
        assert!(help.contains(option), "no {option} in:\n{help}");
    }
}
