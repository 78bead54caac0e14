//! `--scale`, `--set`, targets and secrets.

use super::*;
use crate::scenarios::plan::Change;
use crate::scenarios::target::Publish;

const FILE: &str = r#"
[targets.staging]
url = "wss://user:password@staging.example.com/graphql?key=abc"
headers = { authorization = "Bearer ${env:TOKEN}", x-literal = "sesame" }
init = { tenant = "t", token = "${env:TOKEN}" }
limits = { connections = 50, publish-rate = "100/s", subscriptions-per-connection = 2 }
publish = { query = "mutation ($p: String!) { p(p: $p) }", variables = { p = "${payload}" }, http = { headers = { x-a = "${env:TOKEN}" } } }

[scenarios.small]
about = "four channels, two phases"
channels = 4
time-scale = 2
phases = [{ name = "calm", for = "10s" }, { name = "load" }]
subscribers.clients = { connections = 20, subscriptions = 40, waves = 3 }
subscribers.others = { connections = 10 }
publishers.feed = { connections = 2, rate = "10/s", phase = "calm" }
publishers.burst = { rate = "unlimited", events = 1_000, phase = "load" }
at-least = { connections = 5, events = 100 }
expect.few-errors = "off"
expect.p99 = "latency.deliver.p99 in calm < 1s"
expect.memory = "resources.server.memory_peak < 1GiB"
"#;

fn catalogue() -> Catalogue {
    Catalogue::from_text(Some(("my.toml", FILE))).unwrap()
}

fn options(set: &[&str]) -> Options {
    Options { set: set.iter().map(|s| (*s).to_owned()).collect(), ..Options::default() }
}

fn plan(options: &Options) -> Plan {
    catalogue().plan(&["small"], options).unwrap().plans.remove(0)
}

fn refusal(options: &Options) -> String {
    catalogue().plan(&["small"], options).unwrap_err().0[0].message.clone()
}

#[test]
fn scale_shrinks_with_floors() {
    let change = |key: &str, from, to, at_least| Change { key: key.to_owned(), from, to, at_least };
    let plan = plan(&Options { scale: 0.1, ..Options::default() });
    assert_eq!(
        plan.changes,
        [
            change("subscribers.clients.connections", 20, 5, true),
            change("subscribers.clients.subscriptions", 40, 10, false),
            change("subscribers.others.connections", 10, 5, true),
            change("subscribers.others.subscriptions", 10, 5, false),
            change("channels", 4, 2, false),
            change("publishers.burst.events", 1_000, 100, false),
        ]
    );
    assert_eq!((plan.channels, plan.subscribers[1].first_subscription), (2, 10));
    assert_eq!(plan.publishers[0].connections, 2);
    assert_eq!(plan.phases[0].length, Some(std::time::Duration::from_secs(5)));
    let reasons: Vec<_> =
        plan.expect.iter().filter_map(|c| Some((c.id.as_str(), c.not_applicable.as_deref()?))).collect();
    assert_eq!(
        reasons,
        [
            ("p99", "`latency.deliver.p99` needs 1,000 samples, and 750 are planned"),
            ("memory", "`resources.server.memory_peak` is limited for full size"),
        ]
    );
    assert!(plan.expect.iter().all(|c| c.id != "few-errors"));
}

#[test]
fn scale_tables() {
    let catalogue = Catalogue::from_text(None).unwrap();
    let sizes = |name: &str, scale: f64| {
        let plan = catalogue.plan(&[name], &Options { scale, ..Options::default() }).unwrap().plans.remove(0);
        let group = &plan.subscribers[0];
        (group.connections, group.subscriptions, plan.channels, group.waves, plan.publishers[0].events)
    };
    assert_eq!(sizes("10k-concurrent", 1.0), (10_000, 10_000, 10_000, 1, Some(10_000)));
    assert_eq!(sizes("10k-concurrent", 0.07), (700, 700, 700, 1, Some(700)));
    assert_eq!(sizes("10k-concurrent", 0.02), (200, 200, 200, 1, Some(200)));
    assert_eq!(sizes("10k-concurrent", 0.001), (100, 100, 100, 1, Some(100)));
    assert_eq!(sizes("50k-cascade", 0.02), (10, 1_000, 1_000, 5, Some(1_000)));
    for scale in [0.0, -1.0, 1.5, f64::NAN] {
        assert!(catalogue.plan(&["50k-cascade"], &Options { scale, ..Options::default() }).is_err());
    }
}

#[test]
fn what_set_gives_is_not_scaled() {
    let set = [
        "subscribers.clients.connections=10",
        "publishers.burst.events=900",
        "expect.memory=resources.server.memory_peak < 1MiB",
    ];
    let plan = plan(&Options { scale: 0.1, ..options(&set) });
    assert_eq!((plan.subscribers[0].connections, plan.publishers[1].events), (10, Some(900)));
    let memory = plan.expect.iter().find(|c| c.id == "memory").unwrap();
    assert_eq!(
        (memory.text.as_str(), &memory.not_applicable),
        ("resources.server.memory_peak < 1MiB", &None)
    );
}

#[test]
fn overrides_are_typed() {
    let set = [
        "publishers.feed.rate=200/s",
        "phases.calm.for=20s",
        "small.seed=7",
        "subscribers.others={ connections = 3 }",
        "channels=own",
        "timeouts.drain=\"2min\"",
        "expect.nothing-lost=off",
        "about=12",
    ];
    let plan = plan(&options(&set));
    assert_eq!(plan.publishers[0].pace, crate::scenarios::plan::Pace::Open(400.0));
    assert_eq!(plan.phases[0].length, Some(std::time::Duration::from_secs(10)));
    assert_eq!((plan.seed, plan.channels, plan.about.as_str()), (7, 43, "12"));
    assert_eq!(plan.timeouts.drain, std::time::Duration::from_secs(120));
    assert!(plan.expect.iter().all(|c| c.id != "nothing-lost"));
}

#[test]
fn wrong_overrides_are_refused() {
    let table = [
        ("publishers.feed", "an override is written PATH=VALUE"),
        ("publishers.fed.rate=1/s", "there is no group `fed` in `publishers`"),
        ("publishers.feed.rat=1/s", "unknown key `rat`"),
        ("phases.lod.for=1s", "there is no phase `lod` in `phases`"),
        ("expect.p9=ledger.lost == 0", "there is no condition `p9` in `expect`"),
        ("seeds=1", "unknown key `seeds`"),
        ("50k-cascade.seed=1", "names a scenario that is not selected"),
        (
            "publishers.burst.payload=100B",
            "a payload has at least 128 bytes: the token that proves delivery is in it",
        ),
        ("rounds=two", "expected a whole number without quotes, from 1 to 10,000,000"),
        ("subscribers.clients.subscriptions=7", "7 subscriptions do not divide evenly among 20 connections"),
        ("expect.p99=latency.p99 < 1s", "unknown metric `latency.p99`"),
        ("about.x=1", "there is nothing below, so no `x`"),
        ("=1", "an empty key in the path"),
    ];
    for (set, message) in table {
        assert_eq!(refusal(&options(&[set])), message, "{set}");
    }
}

#[test]
fn an_override_needs_one_of_the_scenarios() {
    let planned = |set| catalogue().plan(&["small", "50k-cascade"], &options(&[set]));
    assert_eq!(planned("rounds=3").unwrap().plans.iter().map(|p| p.rounds).collect::<Vec<_>>(), [3, 3]);
    let plans = planned("publishers.burst.events=900").unwrap().plans;
    assert_eq!(plans[0].publishers[1].events, Some(900));
    assert_eq!(
        planned("50k-cascade.rounds=3").unwrap().plans.iter().map(|p| p.rounds).collect::<Vec<_>>(),
        [1, 3]
    );
    let shown = planned("publishers.brst.events=900").unwrap_err().to_string();
    assert!(
        shown.starts_with(
            "error: there is no group `brst` in `publishers`\n--> --set publishers.brst.events=900\n |\n \
         | publishers.brst.events=900\n |            ^^^^\n = did you mean `burst`?\n"
        ),
        "{shown}"
    );
}

#[test]
fn a_hash_follows_everything_that_decides() {
    let hash = |options: &Options| plan(options).hash;
    let base = hash(&Options::default());
    assert_eq!(base.len(), 16);
    assert_eq!(base, hash(&Options::default()));
    let others = [
        Options { seed: Some(2), ..Options::default() },
        Options { scale: 0.5, ..Options::default() },
        options(&["publishers.feed.rate=11/s"]),
        options(&["publishers.feed.rate=10/s"]),
        Options { target: Some("ws://127.0.0.1:1".to_owned()), ..Options::default() },
    ];
    for other in others {
        assert_ne!(hash(&other), base, "{other:?}");
    }
}

#[test]
fn targets_by_name_and_by_url() {
    let at = |target: &str| Options { target: Some(target.to_owned()), ..Options::default() };
    let url = plan(&at("ws://127.0.0.1:4000/graphql"));
    assert_eq!(url.target.shown_url(), "ws://127.0.0.1:4000/graphql");
    let reason = |id: &str| url.expect.iter().find(|c| c.id == id).and_then(|c| c.not_applicable.clone());
    assert_eq!(reason("memory").as_deref(), Some("the target's table has no statistics.memory"));
    assert_eq!(
        reason("server-gauges-exact").as_deref(),
        Some("the target's table has no statistics.connections")
    );
    assert_eq!(reason("server-counts-agree").as_deref(), Some("the target's table has no statistics"));
    assert_eq!(reason("nothing-lost"), None);
    for wrong in ["http://x", "ws://", "x://y"] {
        assert!(refusal(&at(wrong)).starts_with("not a URL"), "{wrong}");
    }
    let problems = catalogue().plan(&["small"], &at("stagin")).unwrap_err();
    assert_eq!(problems.0[0].message, "`stagin` is neither a URL nor a target");
    assert_eq!(problems.0[0].notes[1], "did you mean `staging`?");
    let protocol = Options { protocol: Some("graphql-ws".to_owned()), ..Options::default() };
    assert_eq!(refusal(&protocol), "unknown protocol `graphql-ws`");
}

#[test]
fn secrets_are_expanded_and_never_shown() {
    let environment = |name: &str| (name == "TOKEN").then(|| "s3cr\"t".to_owned());
    let options = Options {
        target: Some("staging".to_owned()),
        scale: 0.3,
        ..options(&["publishers.burst.rate=20/s"])
    };
    let plan = catalogue().plan_in(&["small"], &options, &environment).unwrap().plans.remove(0);
    assert_eq!(plan.target.headers["authorization"].reveal(), "Bearer s3cr\"t");
    assert_eq!(plan.target.init.as_ref().unwrap().reveal(), r#"{"tenant":"t","token":"s3cr\"t"}"#);
    let Publish::Http { headers, .. } = &plan.target.publish else { panic!("not HTTP") };
    assert_eq!(headers["x-a"].reveal(), "s3cr\"t");
    let shown = format!("{} {:?}", plan.resolved, plan);
    for secret in ["s3cr", "sesame", "password", "abc"] {
        assert!(!shown.contains(secret), "{secret}");
    }
    assert!(
        shown.contains("Bearer ${env:TOKEN}") && shown.contains("wss://staging.example.com/graphql?key=…")
    );
    let problems = catalogue().plan_in(&["small"], &options, &|_| None).unwrap_err();
    assert_eq!(problems.0[0].message, "the environment variable TOKEN is not set");
}

#[test]
fn a_target_is_not_given_more_than_it_may_get() {
    let environment = |_: &str| Some("x".to_owned());
    let refused = |set: &[&str], scale: f64| {
        let options = Options { target: Some("staging".to_owned()), scale, ..options(set) };
        catalogue().plan_in(&["small"], &options, &environment).unwrap_err().0[0].message.clone()
    };
    assert_eq!(refused(&[], 1.0), "`load` publishes without a limit, and `staging` may be given 100/s");
    let calm = ["publishers.burst.rate=20/s"];
    assert_eq!(
        refused(&[calm[0], "subscribers.clients.connections=40"], 1.0),
        "53 connections, publishers included, and `staging` may be given 50"
    );
    assert_eq!(
        refused(&[calm[0], "subscribers.clients.subscriptions=60"], 1.0),
        "3 subscriptions on each connection, and `staging` takes 2"
    );
}

#[test]
fn predictions_follow_the_streams() {
    // Against the definition, event by event.
    let plan = plan(&options(&["rounds=2", "publishers.feed.connections=6"]));
    let mut expected = [0_u64; 2];
    for (group, range) in [(6_u64, 0..100_u64), (1, 0..1_000)] {
        let streams = group.max(4);
        for event in range {
            let channel = event % streams % 4;
            for (i, subscribers) in plan.subscribers.iter().enumerate() {
                let first = u64::from(subscribers.first_subscription);
                let on = |s: &u64| s % 4 == channel;
                expected[i] +=
                    (first..first + u64::from(subscribers.subscriptions)).filter(on).count() as u64;
            }
        }
    }
    let predicted = plan.predict();
    assert_eq!(predicted["published.attempted"], 1_100.0);
    assert_eq!(predicted["clients.ledger.delivered"], expected[0] as f64);
    assert_eq!(predicted["others.ledger.delivered"], expected[1] as f64);
    assert_eq!(predicted["ledger.delivered"], expected.iter().sum::<u64>() as f64);
    assert_eq!(predicted["published.rate in calm"], 20.0);
    assert_eq!(predicted.get("published.rate in load"), None);
    assert_eq!(predicted.get("published.rate"), None);
}

#[test]
fn names_fall_back_to_the_built_in_ones() {
    let listed: Vec<_> = catalogue().list().into_iter().map(|l| (l.name, l.built_in)).collect();
    let built_in = [
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
        "churn-failures-memory",
    ];
    let expected = std::iter::once(("small", false)).chain(built_in.map(|name| (name, true)));
    let expected: Vec<_> = expected.map(|(name, built_in)| (name.to_owned(), built_in)).collect();
    assert_eq!(listed, expected);
    assert!(catalogue().list_text().starts_with(
        "* small                   four channels, two phases\n  10k-concurrent          10,000 clients connect together"
    ));
    let problems = catalogue().plan(&["10k-concurent"], &Options::default()).unwrap_err();
    assert_eq!(problems.0[0].message, "unknown scenario `10k-concurent`");
    assert_eq!(problems.0[0].notes[0], "did you mean `10k-concurrent`?");
}

/// What is wrong with a scenario that has these lines beside the least.
fn wrong(lines: &str) -> Vec<String> {
    let text = format!(
        "[scenarios.a]\nabout = \"x\"\nsubscribers.clients = {{ connections = 4 }}\n\
         publishers.feed = {{ rate = \"10/s\", events = 20 }}\n{lines}"
    );
    let found = Catalogue::from_text(Some(("a.toml", &text))).and_then(|catalogue| catalogue.check());
    found.err().map_or_else(Vec::new, |problems| problems.0.into_iter().map(|p| p.message).collect())
}

#[test]
fn a_condition_that_could_never_be_judged_is_refused() {
    let table = [
        ("expect.x = \"clients.connections.peak_open == 4\"", "alone yet"),
        ("expect.x = \"clients.connections.peak_handshaking <= 1\"", "alone yet"),
        ("expect.x = \"clients.subscriptions.peak_active == 0\"", "alone yet"),
        ("expect.x = \"feed.latency.connect.max < 1s\"", "alone yet"),
        ("expect.x = \"ledger.lost == 0 at 95%\"", "is no share"),
        ("expect.x = \"latency.deliver.p50 < 1s at 95%\"", "is no share"),
        ("expect.x = \"ledger.lost / ledger.obligations == 0% at 95%\"", "no number of samples"),
        ("abort-if.x = \"connections.established == 0\"", "begins at 0 and only grows"),
        ("abort-if.x = \"published.sent < 10/s\"", "expected a count"),
        ("abort-if.x = \"ledger.lost > 0\"", "can be watched, not `ledger.lost`"),
        ("abort-if.x = \"clients.ledger.receipts > 0\"", "known of the whole run only"),
        ("abort-if.x = \"published.sent in main > 0\"", "known of the whole run only"),
        ("abort-if.x = \"published.sent / predicted > 50%\"", "nothing is compared with what is predicted"),
    ];
    for (line, expected) in table {
        let found = wrong(line);
        assert!(found.len() == 1 && found[0].contains(expected), "{line}: {found:?}");
    }
    for line in [
        "expect.x = \"connections.peak_open == 100%\"",
        "expect.x = \"clients.latency.deliver.max < 1s\"",
        "expect.x = \"connections.established_ratio >= 99% at 95%\"",
        "expect.x = \"ledger.lost / ledger.obligations < 1% at 95%\"",
        "abort-if.x = \"resources.client.memory_peak > 1GiB\"",
        "abort-if.x = \"connections.dropped_unexpectedly > 0\"",
        "abort-if.x = \"connections.dropped_unexpectedly / connections.established >= 10%\"",
    ] {
        let found = wrong(line);
        assert!(found.iter().all(|message| message.starts_with("expected a count")), "{line}: {found:?}");
    }
}

#[test]
fn a_port_that_is_none_is_not_taken_for_the_default_one() {
    for url in ["ws://127.0.0.1:99999/", "ws://[::1]:0/", "ws://user:pass@127.0.0.1:123456", "ws://h:/x:y"] {
        let fine = targets::from_url(url).is_ok();
        assert_eq!(fine, url == "ws://h:/x:y", "{url}");
    }
    for url in ["ws://user:99999@127.0.0.1/", "ws://[::1]/", "ws://127.0.0.1:65535"] {
        assert!(targets::from_url(url).is_ok(), "{url}");
    }
}

#[test]
fn secrets_may_stand_in_urls_and_show_nowhere() {
    let text = "[targets.t]\nurl = \"ws://u:${env:A}@127.0.0.1:4000/x?token=${env:B}\"\n\
                init = { a = \"${env:A}\", literal = \"hunter2\", pin = 12345, deep = [{ b = \"sesame\" }] }\n";
    let catalogue = Catalogue::from_text(Some(("t.toml", text))).unwrap();
    catalogue.check().unwrap();
    let options = Options { target: Some("t".into()), scale: 0.02, ..Options::default() };
    let environment = |name: &str| Some(format!("secret-{name}"));
    let plan = catalogue.plan_in(&["10k-concurrent"], &options, &environment).unwrap().plans.remove(0);
    assert_eq!(
        plan.target.url.as_ref().unwrap().to_string(),
        "ws://u:secret-A@127.0.0.1:4000/x?token=secret-B"
    );
    let shown = plan.resolved.to_string();
    for secret in ["secret-A", "secret-B", "hunter2", "12345", "sesame"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert!(shown.contains("${env:A}"), "{shown}");
}

#[test]
fn a_seed_given_by_set_goes_before_one_from_elsewhere() {
    let seed = |set: &[&str]| plan(&Options { seed: Some(8), ..options(set) }).seed;
    assert_eq!((seed(&[]), seed(&["seed=5"])), (8, 5));
}

#[test]
fn a_file_without_a_length_is_not_read_without_end() {
    let error = Catalogue::load(Some(Path::new("/dev/zero"))).unwrap_err().to_string();
    assert!(error.contains("it has more than 4194304 bytes"), "{error}");
}

#[test]
fn the_memory_of_a_process_that_is_watched_is_judged() {
    let memory = |server_pid| {
        let target = Some("ws://127.0.0.1:4000/".to_owned());
        let plan = plan(&Options { target, server_pid, ..Options::default() });
        plan.expect.into_iter().find(|c| c.id == "memory").unwrap().not_applicable
    };
    assert_eq!(memory(false).as_deref(), Some("the target's table has no statistics.memory"));
    assert_eq!(memory(true), None);
}

#[test]
fn a_wait_without_time_is_refused_where_it_stands() {
    let text = "[scenarios.a]\nabout = \"x\"\nsubscribers.c = { connections = 2 }\n\
                publishers.f = { rate = \"10/s\", events = 20 }\ntimeouts = { connect = \"0s\", quiet = \"0s\" }\n";
    let problems = Catalogue::from_text(Some(("a.toml", text))).unwrap_err();
    let places: Vec<_> = problems.0.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
    assert_eq!(places, [(5, 24, "a wait needs some time, such as \"500ms\" or \"30s\"")]);
}
