//! Conditions, right and wrong.

use super::*;

fn names() -> Names {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    Names {
        groups: list(&["clients", "feed"]),
        phases: list(&["load", "1MB"]),
        faults: Vec::new(),
        acting: Vec::new(),
    }
}

fn term(subject: Option<&str>, metric: &str, when: Option<When>) -> Term {
    let found = metrics::find(metric).unwrap();
    Term {
        subject: subject.map(ToOwned::to_owned),
        metric: found.path,
        keys: found.keys,
        dimension: found.dimension,
        when,
    }
}

fn ok(text: &str) -> Test {
    parse(text, &names()).unwrap_or_else(|e| panic!("{text}: {e:?}")).0
}

#[test]
fn comparisons() {
    let value = |number, dimension| Value { number, dimension };
    assert_eq!(
        ok("latency.deliver.p99 in load < 100ms at 95%"),
        Test::Compare {
            left: Quantity {
                term: term(None, "latency.deliver.p99", Some(When::In("load".into()))),
                over: None
            },
            op: Op::Less,
            right: value(0.1, Dimension::Duration),
            at: Some(0.95),
        }
    );
    assert_eq!(
        ok("clients.ledger.lost==0"),
        Test::Compare {
            left: Quantity { term: term(Some("clients"), "ledger.lost", None), over: None },
            op: Op::Equal,
            right: value(0.0, Dimension::Count),
            at: None,
        }
    );
    assert_eq!(
        ok("published.rate >= 5000/s"),
        Test::Compare {
            left: Quantity { term: term(None, "published.rate", None), over: None },
            op: Op::GreaterOrEqual,
            right: value(5_000.0, Dimension::Rate),
            at: None,
        }
    );
}

#[test]
fn quotients() {
    let left = |text| match ok(text) {
        Test::Compare { left, .. } | Test::Within { left, .. } => left,
        Test::Is { .. } => panic!("{text}"),
    };
    assert_eq!(left("ledger.delivered in 1MB / predicted == 100%").over, Some(Over::Predicted));
    assert_eq!(
        left("latency.deliver.p99 in load / in 1MB < 1.5").over,
        Some(Over::Term(term(None, "latency.deliver.p99", Some(When::In("1MB".into())))))
    );
    assert_eq!(
        left("connections.peak_open / connections.established within 90%..110%").over,
        Some(Over::Term(term(None, "connections.established", None)))
    );
}

#[test]
fn victims_bystanders_and_faults() {
    let names = Names { faults: vec!["cut".into()], ..names() };
    let left = |text| match parse(text, &names) {
        Ok((Test::Compare { left, .. }, warnings)) if warnings.is_empty() => left,
        other => panic!("{text}: {other:?}"),
    };
    let within = |metric, phase: &str| term(Some("bystanders"), metric, Some(When::In(phase.into())));
    let p99 = left("bystanders.latency.deliver.p99 in load / in 1MB < 1.5");
    assert_eq!(p99.term, within("latency.deliver.p99", "load"));
    assert_eq!(p99.over, Some(Over::Term(within("latency.deliver.p99", "1MB"))));
    assert_eq!(left("victims.recovered_ratio == 100%").term, term(Some("victims"), "recovered_ratio", None));
    assert_eq!(
        left("clients.latency.reconnect.max < 5s").term,
        term(Some("clients"), "latency.reconnect.max", None)
    );
    assert_eq!(
        left("victims.ledger.missed_disconnected in load > 0").term.key(),
        "victims.ledger.missed_disconnected in load"
    );
    let applied = left("faults.cut.applied / faults.cut.planned == 100%");
    assert_eq!(applied.term.keys, ["faults", "cut", "applied"]);
    let refused = |text| parse(text, &names).unwrap_err();
    assert_eq!(refused("faults.cat.applied > 0").message, "there is no fault `cat`");
    assert_eq!(
        refused("faults.cut.applied in load > 0").message,
        "`faults.cut.applied` is not known per phase"
    );
    assert_eq!(
        refused("victims.recovered_ratio in load > 0%").message,
        "this version cannot tell `recovered_ratio` of `victims` within one phase yet"
    );
}

#[test]
fn windows_hold_at_least_one_phase() {
    let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect();
    let names = |acting: &[&[Part]]| Names {
        phases: list(&["calm", "storm", "end"]),
        faults: list(&["cut", "think"])[..acting.len()].to_vec(),
        acting: acting.iter().map(|parts| parts.to_vec()).collect(),
        ..names()
    };
    let storm: &[Part] = &[Part::Phase(1)];
    let good = names(&[storm, &[Part::Phase(1)]]);
    for text in [
        "bystanders.latency.deliver.p99 during / before < 1.25",
        "ledger.lost before storm == 0",
        "victims.ledger.lost after cut == 0",
        "server_stats.gauges.error_ratio after == 0%",
        "server_stats.subscriptions.error_ratio in closed == 0%",
        "server_stats.connections.error_ratio in setup == 0%",
        "flow.longest_silence in calm < 2s",
        "victims.errors.unexpected == 0",
        "victims.breaker.open_at_end == 0",
        "victims.reconnects.amplification <= 15",
        "victims.reconnects.restored_95 < 8s",
        "faults.cut.points_hit == 1",
        "faults.think.delays.mean within 900ms..1100ms",
    ] {
        assert_eq!(parse(text, &good).map(|(_, warnings)| warnings), Ok(Vec::new()), "{text}");
    }
    let table: [(&[&[Part]], &str, &str); 4] = [
        (
            &[&[Part::Phase(0)], storm],
            "ledger.lost before == 0",
            "no phase is before the first fault: windows are whole phases",
        ),
        (
            &[storm, &[Part::Setup]],
            "ledger.lost before == 0",
            "no phase is before the first fault: windows are whole phases",
        ),
        (
            &[storm, &[Part::Phase(2)]],
            "ledger.lost after == 0",
            "no phase is after the last fault: windows are whole phases",
        ),
        (
            &[&[Part::Setup]],
            "ledger.lost during cut == 0",
            "no fault acts in a phase: windows are whole phases",
        ),
    ];
    for (acting, text, message) in table {
        assert_eq!(parse(text, &names(acting)).unwrap_err().message, message, "{text}");
    }
    // Where it is not known when faults act, nothing is said about it.
    let unknown = Names { acting: Vec::new(), ..good };
    assert!(parse("ledger.lost before cut == 0", &unknown).is_ok());
}

#[test]
fn words() {
    assert_eq!(
        ok("generator.health is ok or limited"),
        Test::Is { left: term(None, "generator.health", None), words: vec!["ok".into(), "limited".into()] }
    );
}

#[test]
fn mistakes_have_a_place() {
    let table = [
        ("", "", "expected a metric, found the end of the condition"),
        ("latency.deliver.p98 < 1s", "latency.deliver.p98", "unknown metric `latency.deliver.p98`"),
        (
            "latency.deliver.p99 < 2GiB",
            "2GiB",
            "expected a duration (such as 100ms), found a size (such as 2GiB)",
        ),
        ("ledger.lost = 0", "=", "equality is written `==`"),
        ("ledger.lost", "", "expected a comparison, found the end of the condition"),
        ("ledger.lost == none", "none", "expected a count (such as 0), found `none`"),
        ("ledger.lost in laod == 0", "laod", "there is no phase `laod`"),
        ("client.ledger.lost == 0", "client", "there is no group `client`"),
        ("clients.setup.duration < 1s", "setup.duration", "a group has no metric `setup.duration`"),
        ("setup.duration in load < 1s", "setup.duration", "`setup.duration` is not known per phase"),
        ("duration < 1s", "duration", "`duration` is known per phase only: `duration in PHASE`"),
        ("generator.health == 1", "==", "`generator.health` is a word: compare it with `is`"),
        ("ledger.lost is none", "none", "`ledger.lost` is not a word: compare it with <, <=, ==, !=, >=, >"),
        ("ledger.lost == 0 0", "0", "unexpected `0` after the end of the condition"),
        ("errors.ratio within 2%..1%", "1%", "the upper limit is below the lower one"),
        ("errors.ratio < 1% at 5", "5", "a confidence is between 50% and 100%, such as `at 95%`"),
        ("victims.ledger.lost == 0", "victims", "this scenario has no faults, so there are no victims"),
        (
            "resources.server.memory_peak / ledger.lost < 2",
            "ledger.lost",
            "`resources.server.memory_peak` is a size (such as 2GiB), and `ledger.lost` is a count (such as 0): \
             only equal kinds can be divided",
        ),
        (
            "clients.connections.established in load == 0",
            "clients.connections.established",
            "this version cannot tell `connections.established` of `clients` within one phase yet",
        ),
        (
            "clients.latency.connect.max < 1s",
            "clients.latency.connect.max",
            "this version cannot tell `latency.connect.max` of `clients` alone yet",
        ),
        (
            "recovered_ratio == 100%",
            "recovered_ratio",
            "`recovered_ratio` is known per group only: `victims.recovered_ratio`",
        ),
        (
            "ledger.lost before load == 0",
            "before load",
            "no phase is before `load`: windows are whole phases",
        ),
        ("ledger.lost after 1MB == 0", "after 1MB", "no phase is after `1MB`: windows are whole phases"),
        (
            "ledger.lost in drain == 0",
            "ledger.lost",
            "`ledger.lost` has no figure of its own in `drain`: what arrives then belongs to the phase of its event",
        ),
        (
            "ledger.lost in closed == 0",
            "ledger.lost",
            "in `closed` only the server's gauges are known, after the last close, not `ledger.lost`",
        ),
        (
            "server_stats.worst.error_ratio in setup == 0%",
            "server_stats.worst.error_ratio",
            "in `setup` only the server's gauges are known, at its last census, not `server_stats.worst.error_ratio`",
        ),
    ];
    for (text, place, message) in table {
        let finding = parse(text, &names()).unwrap_err();
        assert_eq!(finding.message, message, "{text}");
        assert_eq!(&text[finding.span.unwrap()], place, "{text}");
    }
}

#[test]
fn bare_counts_draw_a_warning() {
    let warnings = |text| parse(text, &names()).unwrap().1.len();
    assert_eq!(warnings("ledger.delivered >= 1000"), 1);
    assert_eq!(warnings("ledger.lost == 0"), 0);
    assert_eq!(warnings("connections.dropped_unexpectedly <= 1"), 0);
    assert_eq!(warnings("waves.server_memory.spread <= 1.5"), 0);
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in ".{0,60}") {
        let _ = parse(&text, &names());
    }

    #[test]
    fn no_jumble_of_words_panics(words in proptest::collection::vec(0..12_usize, 0..9)) {
        let list = ["ledger.lost", "/", "in", "load", "before", "<", "==", "10..20", "100/s", "at", "is", "predicted"];
        let text = words.iter().map(|i| list[*i]).collect::<Vec<_>>().join(" ");
        let _ = parse(&text, &names());
        let _ = parse(&text.replace(' ', ""), &names());
    }
}
