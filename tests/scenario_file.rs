//! Scenario files as a user meets them: what is accepted, and how mistakes are shown.

use proptest::prelude::*;
use stressctl::scenarios::catalogue::{BUILT_IN, Catalogue, Options};
use stressctl::scenarios::plan::{Aim, Crew, Fault};
use stressctl::scenarios::problem::{Problem, Problems};

const LANGUAGE: &str = include_str!("fixtures/language.toml");
const MISTAKES: &str = include_str!("fixtures/mistakes.toml");

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
}

#[test]
fn mistakes_are_shown_with_a_caret_and_a_suggestion() {
    insta::assert_snapshot!("rendering_of_mistakes", check(MISTAKES).unwrap_err());
}

#[test]
fn syntax_errors_are_reported_alone() {
    let problems = check("[scenarios.x\nabout = \"x\"\nseed = = 1\nroundz = 2\n").unwrap_err();
    assert_eq!(problems.0.iter().map(|p| (p.line, p.column)).collect::<Vec<_>>(), [(1, 13), (3, 8)]);
}

#[test]
fn the_whole_language_is_understood() {
    let problems = check(LANGUAGE).unwrap_err();
    let expected =
        ["this version cannot ", "unknown metric ", "a group has no metric ", " is not known per phase"];
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
    assert_eq!(listed, ["10k-concurrent", "50k-cascade", "thundering-herd"]);
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

/// A scenario with a group, two phases, and these lines.
fn with(lines: &str) -> String {
    format!(
        "[scenarios.mine]\nabout = \"x\"\nchannels = 10\n\
         phases = [{{ name = \"one\", for = \"5s\" }}, {{ name = \"two\", for = \"5s\" }}]\n\
         publishers.feed = {{ rate = \"100/s\" }}\n{lines}"
    )
}

#[test]
fn every_way_to_hit_and_to_return_can_be_shown_and_read_again() {
    let text = with(
        r#"
subscribers.a = { connections = 90, reconnect = "none" }
subscribers.b = { connections = 90, reconnect = "immediate" }
subscribers.c = { connections = 90, reconnect = { fixed = { wait = "1.5s" } } }
subscribers.d = { connections = 90, reconnect = { exponential = { first = "100ms", cap = "5s" } } }
subscribers.e = { connections = 90, reconnect = { exponential = { first = "1ms", cap = "1ms", jitter = false } } }
reached.all = "faults.u.applied / predicted == 100%"

[scenarios.mine.faults]
u = { on = "a", phase = "one", terminate = { how = "reset" } }
v = { on = ["b", "c"], fraction = "33.333%", phase = ["two"], start = "1s", stagger = { linear = "2s" }, terminate = { how = "fin" } }
w = { on = ["c", "b", "d"], fraction = "7%", stagger = { poisson = "5s" }, terminate = { how = "ws-close" } }
x = { on = "e", fraction = "14.5%", start = "4.9s", terminate = { how = "ws-close", code = 4000 } }
"#,
    );
    assert_eq!(check(&text), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(Some(("my.toml", &text))).unwrap();
    let shown = catalogue.show("mine").unwrap();
    insta::assert_snapshot!("show_faults", shown.split_once("[scenarios.mine.subscribers.a]").unwrap().1);
    let again = Catalogue::from_text(Some(("shown.toml", &shown))).unwrap();
    assert_eq!(again.show("mine").unwrap(), shown);
    let plan = |c: &Catalogue| c.plan(&["mine"], &Options::default()).unwrap().plans.remove(0);
    let (plan, again) = (plan(&catalogue), plan(&again));
    assert_eq!((&plan.faults, &plan.hash), (&again.faults, &again.hash));
    let on: Vec<Vec<(usize, u32)>> = plan.faults.iter().map(aims).collect();
    // A third of 90 is 29.9997; 7 % are 6.3, 14.5 % are 13.05; groups in the order of the file.
    assert_eq!(on, [&[(0, 90)][..], &[(1, 30), (2, 30)], &[(1, 6), (2, 6), (3, 6)], &[(4, 13)]]);
}

#[test]
fn what_a_plan_with_faults_cannot_decide_is_refused_at_its_place() {
    let text = with(
        r#"subscribers.a = { connections = 1_000 }
faults.cut = { on = "a", phase = "two", terminate = { how = "reset" } }
reached.all = "faults.cut.applied / predicted == 100%"

[scenarios.mine.expect]
nobody = "bystanders.ledger.lost in one == 0"
ahead = "ledger.delivered / predicted == 100%"
early = "ledger.delivered in one / predicted == 100%"
enough = "latency.deliver.p99 in two < 1s"
"#,
    );
    insta::assert_snapshot!("what_faults_leave_undecided", check(&text).unwrap_err());
}

#[test]
fn doubts_about_faults_draw_a_warning() {
    let text = with(
        r#"subscribers.herd = { connections = 1_000, reconnect = "immediate" }
subscribers.gone = { connections = 10 }
faults.cut = { on = "herd", fraction = "50%", phase = "two", terminate = { how = "reset" } }
faults.twice = { on = "gone", terminate = { how = "fin" } }
reached.all = "faults.cut.applied / predicted == 100%"
"#,
    );
    assert_eq!(
        places(&check(&text).unwrap()),
        [
            "6:55 500 connections come back 100 at a time: this is a queue, not a herd",
            "9:8 `gone` does not reconnect: what is cut in `one` is not there to be cut in `two`",
        ]
    );
    // A hundred fit into the handshakes in flight.
    let few = text.replace("50%", "10%").replace("faults.twice", "# ");
    assert_eq!(check(&few), Ok(Vec::new()));
}

#[test]
fn fractions_are_exact_at_every_size() {
    let text = with(
        r#"subscribers.a = { connections = 200, reconnect = "immediate" }
faults.x = { on = "a", fraction = "25%", phase = "one", terminate = { how = "reset" } }
faults.y = { on = "a", fraction = "50%", phase = "one", terminate = { how = "reset" } }
faults.z = { on = "a", fraction = "25%", phase = "one", terminate = { how = "reset" } }
reached.all = "faults.x.applied / predicted == 100%"
"#,
    );
    let catalogue = Catalogue::from_text(Some(("my.toml", &text))).unwrap();
    let counts = |scale: f64| {
        let options = Options { scale, ..Options::default() };
        let plan = catalogue.plan(&["mine"], &options).map_err(|p| p.0[0].message.clone())?.plans.remove(0);
        Ok(plan.faults.iter().map(|fault| aims(fault)[0].1).collect::<Vec<u32>>())
    };
    assert_eq!(counts(1.0), Ok(vec![50, 100, 50]));
    assert_eq!(counts(0.05), Ok(vec![3, 5, 2])); // of 10: halves round up, and nobody is hit twice
    assert_eq!(counts(0.02), Ok(vec![1, 2, 1]));
    let refused = "of the 3 connections of `a` at this size none is left for `z`";
    assert_eq!(counts(0.015), Err(refused.to_owned()));
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
fn faults_are_overridden_like_everything_else() {
    let catalogue = Catalogue::from_text(None).unwrap();
    let plan = |set: &str, seed: Option<u64>| {
        let set = if set.is_empty() { Vec::new() } else { vec![set.to_owned()] };
        let options = Options { set, seed, ..Options::default() };
        Ok(catalogue
            .plan(&["thundering-herd"], &options)
            .map_err(|p| p.0[0].message.clone())?
            .plans
            .remove(0))
    };
    let hash =
        |set: &str, seed: Option<u64>| plan(set, seed).map_or_else(|message: String| message, |p| p.hash);
    let base = hash("", None);
    assert_eq!(hash("", Some(1)), base);
    let others = [
        hash("", Some(2)),
        hash("faults.cut.fraction=25%", None),
        hash("faults.cut.terminate.how=fin", None),
        hash("faults.cut.stagger={ linear = \"1s\" }", None),
        hash("subscribers.clients.reconnect={ fixed = { wait = \"1s\" } }", None),
    ];
    assert!(others.iter().all(|hash| *hash != base && hash.len() == 16), "{others:?}");
    assert_eq!(
        plan("faults.cut.fraction=25%", None).unwrap().faults[0].on,
        [Aim::Group { group: Crew::Subscribers(0), count: 250 }]
    );
    let refused = [
        ("faults.cat.fraction=25%", "there is no fault `cat` in `faults`"),
        ("faults.cut.fractoin=25%", "unknown key `fractoin`"),
        ("faults.cut.fraction=0.25", "expected a ratio in quotes, such as \"20%\""),
        ("faults.cut.stall=true", "a fault has one kind, and this one has `terminate` and `stall`"),
        ("faults.cut.phase=hurd", "there is no phase `hurd`"),
        ("faults.cut.start=8s", "the fault `cut` acts 8s after the begin of `herd`, which ends after 8s"),
        (
            "subscribers.clients.reconnect=none",
            "nobody reconnects, so `latency.reconnect.max` would have no samples",
        ),
    ];
    for (set, message) in refused {
        assert_eq!(plan(set, None).unwrap_err(), message, "{set}");
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
    fn no_mutation_of_a_file_panics(cut in 0..3_000_usize, length in 0..60_usize, put in "[\\[\\]{}=\"a-z0-9.\n%/ ä]{0,12}") {
        let text: Vec<char> = MISTAKES.chars().collect();
        let (from, to) = (cut.min(text.len()), (cut + length).min(text.len()));
        let mutated: String = text[..from].iter().copied().chain(put.chars()).chain(text[to..].iter().copied()).collect();
        if let Err(problems) = check(&mutated) {
            prop_assert!(!problems.to_string().is_empty());
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

/// Groups of subscribers that a fault aims at, and how many of each.
fn aims(fault: &Fault) -> Vec<(usize, u32)> {
    let one = |aim: &Aim| match *aim {
        Aim::Group { group: Crew::Subscribers(group), count } => (group, count),
        other => panic!("{other:?}"),
    };
    fault.on.iter().map(one).collect()
}
