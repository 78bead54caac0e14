//! Faults, and what clients do about them, in the scenario language.

use std::collections::HashSet;
use std::time::Duration;

use stressctl::scenarios::catalogue::{Catalogue, Options};
use stressctl::scenarios::plan::{Aim, Crew, Fault, Part, Plan, SubscriberGroup};
use stressctl::scenarios::problem::Problems;

use super::{check, places};

/// A scenario with a group, two phases, and these lines.
pub(super) fn with(lines: &str) -> String {
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
    let (shown, plan) = shown_and_read_again(&text).unwrap();
    insta::assert_snapshot!("show_faults", shown);
    let on: Vec<Vec<(usize, u32)>> = plan.faults.iter().map(aims).collect();
    // A third of 90 is 29.9997; 7 % are 6.3, 14.5 % are 13.05; groups in the order of the file.
    assert_eq!(on, [&[(0, 90)][..], &[(1, 30), (2, 30)], &[(1, 6), (2, 6), (3, 6)], &[(4, 13)]]);
}

/// What `show` prints of a scenario called `mine`, from its first group on, and the plan that both make.
fn shown_and_read_again(text: &str) -> Result<(String, Plan), Problems> {
    assert_eq!(check(text), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(Some(("my.toml", text)))?;
    let shown = catalogue.show("mine")?;
    let again = Catalogue::from_text(Some(("shown.toml", &shown)))?;
    assert_eq!(again.show("mine")?, shown);
    let plan = |c: &Catalogue| Ok::<_, Problems>(c.plan(&["mine"], &Options::default())?.plans.remove(0));
    let (plan, again) = (plan(&catalogue)?, plan(&again)?);
    assert_eq!((&plan.faults, &plan.hash), (&again.faults, &again.hash));
    for (one, other) in plan.subscribers.iter().zip(&again.subscribers) {
        let policies = |g: &SubscriberGroup| (g.reconnect, g.retry_budget, g.breaker, g.keepalive);
        assert_eq!(policies(one), policies(other));
    }
    let from = shown.find("[scenarios.mine.subscribers.a]").unwrap_or_default();
    Ok((shown[from..].to_owned(), plan))
}

/// Every kind of fault with every shape of its value, and every policy of clients.
const KINDS: &str = r#"
subscribers.a = { connections = 100, reconnect = { exponential = { first = "100ms", cap = "5s", jitter = "full" } }, retry-budget = { attempts = 20, per = "10s" }, circuit-breaker = { opens-after = 5, stays-open = "2s" }, keepalive = { every = "1s", dead-after = "4s" } }
subscribers.b = { connections = 50, reconnect = "immediate", keepalive = { every = "500ms", dead-after = "2s" } }
reached.all = "faults.t1.applied / predicted == 100%"

[scenarios.mine.faults]
t1 = { on = ["a", "feed"], phase = ["setup", "two"], think-time = "500us" }
t2 = { on = "b", phase = "setup", for = "1s", think-time = { uniform = ["50ms", "500ms"] } }
t3 = { on = "b", phase = ["one", "setup"], start = "1s", think-time = { normal = { mean = "100ms", deviation = "20ms" } } }
l1 = { on = "feed", link-delay = { up = "1ms" } }
l2 = { on = "a", phase = "two", start = "1s", link-delay = { down = { uniform = ["0s", "50ms"] } } }
l3 = { on = "b", fraction = "50%", phase = "one", for = "2s", stagger = { poisson = "3s" }, link-delay = { up = "10ms", down = { normal = { mean = "10ms", deviation = "1ms" } }, buffer = "64KiB" } }
h1 = { on = "a", phase = "one", for = "1s", hold = "both" }
h2 = { on = "feed", fraction = "20%", phase = "one", for = "1s", stall = "up" }
h3 = { on = "b", phase = "two", start = "1s", stagger = { linear = "1s" }, stall = "down" }
p1 = { on = "a", fraction = "25%", phase = "two", for = "3s", partition = {} }
p2 = { on = "cut", fraction = "50%", phase = "two", for = "3s", partition = { otherwise = "stall" } }
c1 = { on = ["cut", "p1"], phase = "two", for = "3s", handshake-abort = "connect" }
c2 = { on = ["c1", "b"], fraction = "10%", phase = "two", start = "3s", for = "1s", handshake-abort = "upgrade" }
c3 = { on = "feed", phase = "one", handshake-abort = "init" }
c4 = { on = "b", phase = "setup", for = "1s", handshake-abort = "init" }
cut = { on = "a", fraction = "25%", phase = "two", terminate = { how = "half-close", at = "receive" } }
end = { on = "b", fraction = "40%", phase = "two", terminate = { how = "reset", at = ["connect", "init", "subscribe-sent", "publish-sent", "receive", "receive-partial", "unsubscribe-sent"] } }
own = { on = "feed", fraction = "20%", phase = "one", terminate = { how = "ws-close", code = 1001, at = ["publish-sent", "receive-partial"] } }
"#;

/// [`KINDS`] on ten connections that publish.
fn kinds() -> String {
    with(KINDS).replace("feed = { rate", "feed = { connections = 10, rate")
}

#[test]
fn every_kind_of_fault_can_be_shown_and_read_again() {
    let (shown, plan) = shown_and_read_again(&kinds()).unwrap();
    insta::assert_snapshot!("show_kinds", shown);
    let fault = |name: &str| plan.faults.iter().find(|fault| fault.name == name).unwrap();
    let index = |name: &str| plan.faults.iter().position(|fault| fault.name == name).unwrap();
    let all = |crew, count| Aim::Group { group: crew, count };
    assert_eq!(fault("t1").on, [all(Crew::Subscribers(0), 100), all(Crew::Publishers(0), 10)]);
    assert_eq!(fault("t3").parts, [Part::Setup, Part::Phase(0)]);
    assert_eq!(fault("h2").on, [all(Crew::Publishers(0), 2)]);
    // Half of 25, rounded up, though `cut` stands further down.
    assert_eq!(fault("p2").on, [Aim::Victims { of: index("cut"), count: 13 }]);
    let both = ["cut", "p1"].map(|name| Aim::Victims { of: index(name), count: 25 });
    assert_eq!(fault("c1").on, both);
    let some = [all(Crew::Subscribers(1), 5), Aim::Victims { of: index("c1"), count: 5 }];
    assert_eq!(fault("c2").on, some);
    assert_eq!(fault("p2").length, Some(Duration::from_secs(3)));
}

/// Slow consumers, who must be owed a lot.
const SLOW: &str = r#"
[scenarios.mine]
about = "x"
channels = 1
phases = [{ name = "one", for = "10s" }, { name = "two", for = "10s" }]
subscribers.a = { connections = 20 }
publishers.feed = { rate = "1000/s", payload = "2KiB" }
reached.all = "faults.r.applied / predicted == 100%"

[scenarios.mine.faults]
r = { on = "a", fraction = "25%", phase = "one", slow-consumer = { reads = "64KiB/s" } }
b = { on = "a", fraction = "25%", phase = "one", slow-consumer = { reads = "100KB/s", receive-buffer = "8KiB" } }
p = { on = "a", fraction = "50%", slow-consumer = { pause = "6s", every = "7s" } }
c = { on = ["r", "b"], phase = "two", slow-consumer = { reads = "1MiB/s", pause = "1s", every = "1.5s", receive-buffer = "1MiB" } }
"#;

#[test]
fn slow_consumers_can_be_shown_read_again_and_told_in_words() {
    let (shown, plan) = shown_and_read_again(SLOW).unwrap();
    let told: String = plan.fault_details().into_iter().map(|(fault, _)| format!("{fault}\n")).collect();
    insta::assert_snapshot!("show_slow_consumers", format!("{shown}\n{told}"));
}

/// A server feels a slow reader only when the kernels are full. Of a whole scenario that is an error; of a reduced one its
/// conditions are not applicable, and that is said beforehand.
#[test]
fn who_is_owed_too_little_is_not_felt() {
    let text = |events: u32| {
        format!(
            "[scenarios.mine]\nabout = \"x\"\nchannels = 1\nsubscribers.a = {{ connections = 20 }}\n\
             publishers.feed = {{ rate = \"1000/s\", events = {events}, payload = \"2KiB\" }}\n\
             faults.s = {{ on = \"a\", fraction = \"50%\", slow-consumer = {{ reads = \"64KiB/s\" }} }}\n\
             reached.felt = \"slow_consumers.felt_ratio == 100%\"\nreached.hit = \"faults.s.applied > 0\"\n"
        )
    };
    // 8 MiB / (2,048 - 65.536) bytes that each event leaves unread.
    assert_eq!(check(&text(4_233)), Ok(Vec::new()));
    let problems = check(&text(4_220)).unwrap_err();
    assert_eq!(problems.0.len(), 1);
    assert_eq!(
        problems.0[0].message,
        "a slow reader of `s` is owed 7.98MiB beyond what it reads, and 8MiB are hidden from the server by the kernels"
    );
    let file = text(10_000);
    let catalogue = Catalogue::from_text(Some(("my.toml", &file))).unwrap();
    let reasons = |scale: f64| {
        let options = Options { scale, ..Options::default() };
        let plan = catalogue.plan(&["mine"], &options).unwrap().plans.remove(0);
        plan.reached.into_iter().filter_map(|c| Some((c.id, c.not_applicable?))).collect::<Vec<_>>()
    };
    assert_eq!(reasons(0.5), []);
    let hidden = "slow readers are owed 1.89MiB beyond what they read, and the kernels hide 8MiB".to_owned();
    assert_eq!(reasons(0.1), [("felt".to_owned(), hidden)]);
}

#[test]
fn every_fault_is_told_in_words() {
    let plan = Catalogue::from_text(Some(("my.toml", &kinds())))
        .unwrap()
        .plan(&["mine"], &Options::default())
        .unwrap()
        .plans
        .remove(0);
    let told = plan.fault_details().into_iter().map(|(fault, victims)| {
        let victims = victims.iter().map(|line| format!("\n    {line}"));
        format!("{fault}{}\n", victims.collect::<String>())
    });
    insta::assert_snapshot!("outline_of_kinds", told.collect::<String>());
}

#[test]
fn every_key_of_a_fault_or_policy_makes_another_plan() {
    let catalogue = Catalogue::from_text(Some(("my.toml", &kinds()))).unwrap();
    let hash = |set: &[&str]| {
        let set = set.iter().map(ToString::to_string).collect();
        let planned = catalogue.plan(&["mine"], &Options { set, ..Options::default() });
        planned.map_or_else(|problems| problems.to_string(), |planned| planned.plans[0].resolved.to_string())
    };
    let sets = [
        "faults.t1.think-time=600us",
        "faults.t2.think-time={ uniform = [\"50ms\", \"501ms\"] }",
        "faults.t3.think-time={ normal = { mean = \"100ms\", deviation = \"21ms\" } }",
        "faults.t3.phase=one",
        "faults.l1.link-delay.up=2ms",
        "faults.l1.link-delay.down=1ms",
        "faults.l1.link-delay.buffer=2MiB",
        "faults.l3.for=1s",
        "faults.h1.hold=up",
        "faults.h3.stall=both",
        "faults.p1.partition.otherwise=stall",
        "faults.c1.on=cut",
        "faults.c1.handshake-abort=init",
        "faults.cut.terminate.at=receive-partial",
        "subscribers.a.retry-budget.attempts=21",
        "subscribers.a.circuit-breaker.stays-open=3s",
        "subscribers.a.keepalive.dead-after=5s",
        "subscribers.b.retry-budget={ attempts = 5, per = \"1s\" }",
    ];
    let mut plans: Vec<String> = sets.iter().map(|set| hash(&[set])).collect();
    plans.push(hash(&[]));
    assert!(plans.iter().all(|plan| plan.starts_with('{')), "{plans:#?}");
    let different: HashSet<&String> = plans.iter().collect();
    assert_eq!(different.len(), sets.len() + 1);
}

#[test]
fn what_depends_on_the_size_of_a_run_is_checked_at_that_size() {
    let text = with(
        r#"subscribers.a = { connections = 100, reconnect = "immediate", circuit-breaker = { opens-after = 5, stays-open = "1s" } }
publishers.bulk = { connections = 2, rate = "100/s", payload = "10KB", phase = "two" }
reached.all = "faults.end.applied / predicted == 100%"

[scenarios.mine.faults]
end = { on = "a", fraction = "4%", phase = "one", terminate = { how = "reset", at = ["receive", "publish-sent", "init", "subscribe-sent"] } }
far = { on = "a", phase = "two", link-delay = { down = "500ms", buffer = "64KiB" } }
near = { on = "bulk", phase = "two", link-delay = { up = { uniform = ["1ms", "10ms"] }, buffer = "64KiB" } }
"#,
    );
    let never =
        "the circuit breakers of `a` never open: `end` cuts connections, and the next attempt succeeds";
    assert_eq!(places(&check(&text).unwrap()), [format!("6:81 {never}")]);
    // Whoever cannot connect for a while opens it.
    let barred = format!("{text}bar = {{ on = \"end\", phase = \"one\", handshake-abort = \"connect\" }}\n");
    assert_eq!(check(&barred), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(Some(("my.toml", &barred))).unwrap();
    let refused = |set: &str, scale: f64| {
        let options = Options { set: vec![set.to_owned()], scale, ..Options::default() };
        let problems = catalogue.plan(&["mine"], &options).unwrap_err().0;
        places(&problems)
    };
    // Of half as many connections on half as many channels, at the same rate.
    assert_eq!(
        refused("seed=1", 0.5),
        [
            "11:121 `end` has 2 victims at this size, too few for its 4 points",
            "12:74 105KiB that `a` gets in 500ms do not fit into a buffer of 64KiB",
        ]
    );
    // 10 channels, and 2,000 events of 10 KB per second: 200 to each connection of `a`, 1,000 from each of `bulk`.
    assert_eq!(
        refused("publishers.bulk.rate=2000/s", 1.0),
        [
            "12:74 1004KiB that `a` gets in 500ms do not fit into a buffer of 64KiB",
            "13:98 100KiB that `bulk` sends in 10ms do not fit into a buffer of 64KiB",
        ]
    );
    let endless = refused("publishers.bulk.rate=1000000000000/s", 1.0);
    assert!(endless[0].ends_with("do not fit into a buffer of 64KiB"), "{endless:?}");
    // Events at 20 ms from each other are kept apart by 9 ms of jitter, at 5 ms they are not.
    let denser =
        barred.replace("rate = \"100/s\", payload = \"10KB\"", "rate = \"400/s\", payload = \"1KB\"");
    let crowded = "each connection of `bulk` sends a message every 5ms, and delays differ by 9ms: in order, the longest delay rules";
    assert_eq!(places(&check(&denser).unwrap()), [format!("13:38 {crowded}")]);
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
fn attempts_to_connect_are_ended_where_there_are_any() {
    let text = with(
        r#"subscribers.a = { connections = 10 }
subscribers.b = { connections = 10, reconnect = "immediate" }
faults.bar = { on = ["a", "b"], phase = "two", handshake-abort = "connect" }
reached.all = "faults.bar.applied / predicted == 100%"
"#,
    );
    let message =
        "`a` does not reconnect, so after set-up there are no attempts to connect that could be ended";
    assert_eq!(places(&check(&text).unwrap()), [format!("8:48 {message}")]);
    let sound = text.replace("phase = \"two\"", "phase = [\"setup\", \"two\"]");
    assert_eq!(check(&sound), Ok(Vec::new()));
}

#[test]
fn a_victim_publishes_over_the_websocket_only() {
    let text = with(
        r#"subscribers.a = { connections = 10 }
faults.cut = { on = "a", phase = "one", terminate = { how = "reset", at = ["receive", "publish-sent"] } }
reached.all = "faults.cut.applied / predicted == 100%"

[targets.web]
url = "ws://localhost:1/"
publish = { query = "mutation ($p: String!) { p(p: $p) }", variables = { p = "${payload}" }, http = {} }
"#,
    );
    assert_eq!(check(&text), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(Some(("my.toml", &text))).unwrap();
    let options = Options { target: Some("web".to_owned()), ..Options::default() };
    let problems = catalogue.plan(&["mine"], &options).unwrap_err().0;
    let message = "this target is published to by HTTP: no WebSocket is ever at `publish-sent`";
    assert_eq!(places(&problems), [format!("7:87 {message}")]);
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
        ("faults.cut.stall=both", "a fault has one kind, and this one has `terminate` and `stall`"),
        ("faults.cut.phase=hurd", "there is no phase `hurd`"),
        ("faults.cut.start=6s", "the fault `cut` acts 6s after the begin of `herd`, which ends after 6s"),
        (
            "subscribers.clients.reconnect=none",
            "nobody reconnects, so `latency.reconnect.max` would have no samples",
        ),
    ];
    for (set, message) in refused {
        assert_eq!(plan(set, None).unwrap_err(), message, "{set}");
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
