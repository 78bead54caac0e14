//! Scenario files as a user meets them: what is accepted, and how mistakes are shown.

use proptest::prelude::*;
use stressctl::scenarios::catalogue::{BUILT_IN, Catalogue, Options};
use stressctl::scenarios::problem::{Problem, Problems};

#[path = "scenario_file/clashes.rs"]
mod clashes;
#[path = "scenario_file/climbs.rs"]
mod climbs;
#[path = "scenario_file/faults.rs"]
mod faults;
#[path = "scenario_file/pacing.rs"]
mod pacing;

const LANGUAGE: &str = include_str!("fixtures/language.toml");
const MISTAKES: &str = include_str!("fixtures/mistakes.toml");
const MISTAKES_OF_FAULTS: &str = include_str!("fixtures/mistakes-of-faults.toml");

/// Errors of a text, or its warnings.
fn check(text: &str) -> Result<Vec<Problem>, Problems> {
    Catalogue::from_text(Some(("my.toml", text)))?.check()
}

/// `line:column message` of every problem.
fn places(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.message)).collect()
}

#[test]
fn all_mistakes_are_found_at_once_and_at_their_places() {
    let problems = check(MISTAKES).unwrap_err();
    insta::assert_snapshot!("places_of_mistakes", places(&problems.0).join("\n"));
    let problems = check(MISTAKES_OF_FAULTS).unwrap_err();
    insta::assert_snapshot!("places_of_mistakes_of_faults", places(&problems.0).join("\n"));
}

#[test]
fn mistakes_are_shown_with_a_caret_and_a_suggestion() {
    insta::assert_snapshot!("rendering_of_mistakes", check(MISTAKES).unwrap_err());
    insta::assert_snapshot!("rendering_of_mistakes_of_faults", check(MISTAKES_OF_FAULTS).unwrap_err());
}

#[test]
fn syntax_errors_are_reported_alone() {
    let problems = check("[scenarios.x\nabout = \"x\"\nseed = = 1\nroundz = 2\n").unwrap_err();
    assert_eq!(problems.0.iter().map(|p| (p.line, p.column)).collect::<Vec<_>>(), [(1, 13), (3, 8)]);
}

#[test]
fn the_whole_language_is_understood() {
    let problems = check(LANGUAGE).unwrap_err();
    let expected = [
        "this version cannot ",
        "unknown metric ",
        "a group has no metric ",
        " is not known per phase",
        "the plan does not predict ",
    ];
    for problem in &problems.0 {
        assert!(
            expected.iter().any(|text| problem.message.contains(text)),
            "{}",
            places(std::slice::from_ref(problem))[0]
        );
    }
}

#[test]
fn the_built_in_catalogue_is_right() {
    assert_eq!(check(BUILT_IN), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(None).unwrap();
    let listed: Vec<String> = catalogue.list().into_iter().map(|l| l.name).collect();
    assert_eq!(
        listed,
        [
            "10k-concurrent",
            "50k-cascade",
            "latency-1000ms",
            "jitter-50-500ms",
            "random-drops",
            "cascading-failures",
            "queue-saturation",
            "large-payload",
            "soak-24h",
            "thundering-herd",
            "latency-payload-fanout",
            "churn-failures-memory"
        ]
    );
}

#[test]
fn the_example_target_in_the_catalogue_is_right() {
    let section = BUILT_IN.split("# ----").nth(1).unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("# ")).skip(1);
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(text.contains("[targets.staging.statistics]"));
    assert_eq!(check(&text), Ok(Vec::new()));
}

#[test]
fn what_show_prints_can_be_read_again() {
    let catalogue = Catalogue::from_text(None).unwrap();
    for name in ["10k-concurrent", "50k-cascade", "thundering-herd"] {
        let shown = catalogue.show(name).unwrap();
        let again = Catalogue::from_text(Some(("shown.toml", &shown))).unwrap();
        assert_eq!(again.show(name).unwrap(), shown);
        let hash = |c: &Catalogue| c.plan(&[name], &Options::default()).unwrap().plans[0].hash.clone();
        assert_eq!(hash(&again), hash(&catalogue));
    }
    insta::assert_snapshot!("show_50k_cascade", catalogue.show("50k-cascade").unwrap());
    insta::assert_snapshot!("show_thundering_herd", catalogue.show("thundering-herd").unwrap());
}

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let problems = Catalogue::load(Some(std::path::Path::new("no/such/file.toml"))).unwrap_err();
    assert!(
        problems
            .to_string()
            .starts_with("error: cannot read the scenario file no/such/file.toml: No such file")
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), [0xff, 0xfe]).unwrap();
    let problems = Catalogue::load(Some(file.path())).unwrap_err();
    assert!(problems.to_string().contains("it is not UTF-8 text"));
}

#[test]
fn what_is_doubtful_draws_a_warning() {
    let text = r#"
[scenarios.mine]
about = "legal and odd"
channels = 50
time-scale = 10
subscribers.clients = { connections = 10, wave-pause = "1s" }
publishers.feed = { rate = "one-by-one", events = 100 }
expect.all = "ledger.delivered >= 100"
"#;
    assert_eq!(
        places(&check(text).unwrap()),
        [
            "4:12 50 channels for 10 subscriptions: some would have no subscriber",
            "5:14 `time-scale` does nothing: there is no rate and no phase length",
            "6:56 `wave-pause` does nothing with a single wave",
            "8:35 a bare count does not shrink with --scale",
        ]
    );
}

#[test]
fn every_example_in_the_documentation_is_right() {
    let documentation = include_str!("../docs/scenario-file.md");
    let examples: Vec<&str> =
        documentation.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        assert_eq!(check(example), Ok(Vec::new()), "{example}");
    }
}

#[test]
fn the_smallest_useful_scenario() {
    let text = r#"
        [scenarios.mine]
        about = "1,000 clients on 10 channels, 50 events/s for a minute"
        channels = 10
        subscribers.clients = { connections = 1_000 }
        publishers.feed = { rate = "50/s" }
        phases = [{ name = "load", for = "60s" }]
        expect.p99 = "latency.deliver.p99 < 100ms"
    "#;
    assert_eq!(check(text), Ok(Vec::new()));
    let planned =
        Catalogue::from_text(Some(("my.toml", text))).unwrap().plan(&["mine"], &Options::default()).unwrap();
    let predicted = planned.plans[0].predict();
    assert_eq!(predicted["published.attempted"], 3_000.0);
    assert_eq!(predicted["ledger.delivered in load"], 300_000.0);
    assert_eq!(predicted["published.rate"], 50.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_mutation_of_a_file_panics(cut in 0..6_000_usize, length in 0..60_usize, put in "[\\[\\]{}=\"a-z0-9.\n%/ ä]{0,12}") {
        for text in [MISTAKES, MISTAKES_OF_FAULTS] {
            let text: Vec<char> = text.chars().collect();
            let (from, to) = (cut.min(text.len()), (cut + length).min(text.len()));
            let mutated: String = text[..from].iter().copied().chain(put.chars()).chain(text[to..].iter().copied()).collect();
            if let Err(problems) = check(&mutated) {
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }

    #[test]
    fn no_override_panics(path in "[a-z0-9.=-]{0,30}", value in ".{0,20}") {
        let catalogue = Catalogue::from_text(None).unwrap();
        let faults = format!("faults.cut.{path}={value}");
        for set in [format!("{path}={value}"), path, format!("expect.set-up={value}"), format!("phases={value}"), faults] {
            let options = Options { set: vec![set], ..Options::default() };
            let _ = catalogue.plan(&["10k-concurrent", "50k-cascade", "thundering-herd"], &options);
        }
    }

    #[test]
    fn every_scale_gives_a_plan(scale in 0.0001..=1.0_f64) {
        let catalogue = Catalogue::from_text(None).unwrap();
        let options = Options { scale, ..Options::default() };
        let planned = catalogue.plan(&["10k-concurrent", "50k-cascade", "thundering-herd"], &options).unwrap();
        for plan in planned.plans {
            prop_assert!(plan.subscribers.iter().all(|g| g.waves <= g.connections && g.subscriptions % g.connections == 0));
            prop_assert!(plan.channels >= 1 && plan.channels <= plan.subscriptions());
        }
    }
}
