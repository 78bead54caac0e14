//! A seed decides who is hit, and nothing about how many.

use crate::common::binary::Stressctl;
use crate::scene::{FIVE, reduced};

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
