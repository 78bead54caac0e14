//! A seed decides who is hit, and nothing about how many.

use serde_json::Value;

use crate::common::binary::Stressctl;
use crate::scene::{FIVE, Server, reduced};

/// What `plan` prints of a scenario with this seed.
fn planned(scenario: &str, seed: &str) -> String {
    let reduced = reduced(scenario);
    let args: Vec<&str> = ["plan", scenario, "--seed", seed].into_iter().chain(reduced).collect();
    Stressctl::new(&args).finish().exits(0).stdout
}

/// The words behind each `label` in a text.
fn behind<'a>(text: &'a str, label: &str) -> Vec<&'a str> {
    let words =
        |rest: &'a str| rest.split_whitespace().next().map(|word| word.trim_end_matches(['.', ')', ';']));
    text.split(label).skip(1).filter_map(words).collect()
}

/// The words of a text without those that may differ: the seed, hashes, digests and who is hit. `1,` is one of those
/// who are hit, `1,000` a count.
fn counts(text: &str) -> Vec<&str> {
    let is_victim = |word: &&str| word.strip_suffix(',').is_some_and(|number| number.parse::<u32>().is_ok());
    let mut before = "";
    let mut may_differ =
        move |word| ["seed", "hash", "(digest"].contains(&std::mem::replace(&mut before, word));
    text.split_whitespace().filter(|word| !may_differ(word) && !is_victim(word)).collect()
}

#[test]
fn the_same_seed_is_the_same_plan_and_another_hits_others() {
    for scenario in FIVE {
        let [first, again, other] = ["1", "1", "2"].map(|seed| planned(scenario, seed));
        assert_eq!(first, again, "{scenario}");
        let digests =
            |text: &str| behind(text, "(digest ").into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert!(!digests(&first).is_empty(), "{scenario}: {first}");
        assert_ne!(behind(&first, "plan hash "), behind(&other, "plan hash "), "{scenario}");
        assert_eq!(counts(&first), counts(&other), "{scenario}");
        // Where everybody is hit there are no others.
        let all_are_hit = matches!(scenario, "latency-1000ms" | "jitter-50-500ms");
        let (mine, theirs) = (digests(&first), digests(&other));
        let differing = mine.iter().zip(&theirs).filter(|(mine, theirs)| mine != theirs).count();
        assert_eq!(differing, if all_are_hit { 0 } else { mine.len() }, "{scenario}");
    }
}

/// Whom a herd really cut: how many on each channel, as told by a server that goes on counting the subscriptions of
/// connections that were reset.
fn cut(seed: &str) -> Value {
    let server = Server::with("stale-count");
    server.run("thundering-herd", &["--seed", seed]).exits(1);
    assert_eq!(server.ended("ready", "reset"), 20);
    assert_eq!(server.planted(), 20);
    server.told("/defects")[0]["channels"].clone()
}

#[test]
fn the_server_sees_the_same_clients_cut_with_the_same_seed() {
    let [first, again, other] = ["1", "1", "2"].map(cut);
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn a_run_has_the_hash_of_its_plan() {
    let server = Server::honest();
    let scenario = "thundering-herd";
    let report = server.run(scenario, &[]).holds(&[scenario]).report(scenario);
    let args: Vec<&str> =
        ["plan", scenario, "--target", "here"].into_iter().chain(reduced(scenario)).collect();
    let plan = Stressctl::new(&args).scenarios(&server.target(&server.url())).finish().exits(0).stdout;
    assert_eq!(behind(&plan, "plan hash "), [report["scenario"]["plan_hash"].as_str().expect("a hash")]);
}
