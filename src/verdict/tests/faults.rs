//! What faults, waits that were given up and undecided deliveries take away from a judgement.

use super::*;

/// Two of ten connections were cut and came back; two deliveries to them cannot be decided.
fn herd() -> Report {
    let slice = |established, recovered_ratio: Option<f64>, indeterminate| Slice {
        connections: Connections { planned: established, established, ..Connections::default() },
        subscriptions: Subscriptions { requested: established, ..Subscriptions::default() },
        ledger: Ledger {
            obligations: 100,
            delivered: 100 - indeterminate,
            receipts: 100 - indeterminate,
            indeterminate,
            indeterminate_by_faults: indeterminate,
            ..Ledger::default()
        },
        latency: Latencies {
            reconnect: recovered_ratio.map(|_| Latency { count: 2, max_us: 90_000, ..Latency::default() }),
            ..deliver(50_000)
        },
        recovered_ratio,
        ..Slice::default()
    };
    let mut report = healthy();
    report.target.contract = "at-most-once".to_owned();
    report.ledger.indeterminate = 2;
    report.ledger.indeterminate_by_faults = 2;
    report.groups.insert("clients".to_owned(), slice(10, Some(1.0), 2));
    report.groups.insert("victims".to_owned(), slice(2, Some(1.0), 2));
    report.groups.insert("bystanders".to_owned(), slice(8, None, 0));
    let cut = FaultReport { planned: 2, applied: 2, ..FaultReport::default() };
    report.faults.insert("cut".to_owned(), cut);
    report
}

fn with(change: impl FnOnce(&mut Report)) -> Report {
    let mut report = herd();
    change(&mut report);
    report
}

fn zero(path: &str) -> Condition {
    condition("x == 0", term(path, Dimension::Count), Op::Equal, 0.0)
}

fn of_group(subject: &str, mut condition: Condition) -> Condition {
    if let Test::Compare { left, .. } = &mut condition.test {
        left.term.subject = Some(subject.to_owned());
    }
    condition
}

fn all_back() -> Condition {
    let ratio = term("recovered_ratio", Dimension::Ratio);
    of_group("victims", condition("victims.recovered_ratio == 100%", ratio, Op::Equal, 1.0))
}

fn back_within() -> Condition {
    let longest = term("latency.reconnect.max_us", Dimension::Duration);
    of_group("victims", condition("victims.latency.reconnect.max < 5s", longest, Op::Less, 5.0))
}

fn why(condition: &Condition, report: &Report) -> Option<String> {
    let (judged, why) = verdict(condition, report);
    (judged == Verdict::Inconclusive).then_some(why)
}

const SCOPES: [Option<&str>; 4] = [None, Some("clients"), Some("victims"), Some("bystanders")];

/// Why `lost == 0` is withdrawn, per scope.
fn lost_by_scope(report: &Report) -> [Option<String>; 4] {
    SCOPES.map(|scope| {
        let condition = scope.map_or_else(lost, |scope| of_group(scope, lost()));
        why(&condition, report)
    })
}

#[test]
fn what_our_own_cuts_leave_undecided_about_victims_withdraws_nothing() {
    assert_eq!(lost_by_scope(&herd()), [None, None, None, None]);
}

#[test]
fn what_is_undecided_about_bystanders_withdraws_a_pass() {
    let report = with(|r| {
        r.ledger.indeterminate = 5;
        r.groups["clients"].ledger.indeterminate = 5;
        r.groups["bystanders"].ledger.indeterminate = 3;
    });
    let three = "whether 3 owed deliveries were lost cannot be decided, and no cut of ours explains it";
    let three = Some(three.to_owned());
    assert_eq!(lost_by_scope(&report), [three.clone(), three.clone(), None, three]);
}

/// What was on its way to a slow reader when the server cut it off is explained by that; whatever else is open is not.
#[test]
fn a_slow_reader_that_was_cut_off_leaves_no_doubt_about_unexplained_losses() {
    let unexplained = zero("ledger.lost_unexplained");
    let open_but = |cut_short| {
        with(|r| {
            r.ledger.lost_unexplained = Some(0);
            r.ledger.indeterminate = 7;
            r.ledger.indeterminate_by_faults = 2;
            r.slow_consumers = Some(SlowConsumers { cut_short, ..SlowConsumers::default() });
        })
    };
    assert_eq!(why(&unexplained, &open_but(5)), None);
    assert_eq!(verdict(&unexplained, &open_but(5)).0, Verdict::Pass);
    let one = "whether 1 owed delivery was lost cannot be decided, and no cut of ours explains it";
    assert_eq!(why(&unexplained, &open_but(4)).as_deref(), Some(one));
    assert!(why(&lost(), &open_but(5)).is_some(), "of losses as such it says nothing");
    let unknown = with(|r| r.ledger.lost_unexplained = None);
    let silent = "slow readers lost deliveries, and the target does not say how many it dropped";
    assert_eq!(why(&unexplained, &unknown).as_deref(), Some(silent));
}

#[test]
fn what_no_cut_explains_withdraws_a_pass_of_victims_too() {
    let two = |explained: &str| {
        let all = Some(format!("whether 2 owed deliveries were lost cannot be decided{explained}"));
        [all.clone(), all.clone(), all, None]
    };
    let by_another_end = ", and no cut of ours explains it";
    let unexplained = |r: &mut Report| {
        r.ledger.indeterminate_by_faults = 0;
        r.groups["clients"].ledger.indeterminate_by_faults = 0;
        r.groups["victims"].ledger.indeterminate_by_faults = 0;
    };
    assert_eq!(lost_by_scope(&with(unexplained)), two(by_another_end));
    // Whoever promises resume owes what was in flight as well.
    for contract in ["at-least-once", "exactly-once"] {
        let promised = with(|r| r.target.contract = contract.to_owned());
        assert_eq!(lost_by_scope(&promised), two(by_another_end), "{contract}");
    }
    let held_back = |contract: &str| {
        with(|r| {
            (r.ledger.indeterminate, r.ledger.indeterminate_by_faults) = (0, 0);
            r.ledger.suppressed = 4;
            r.target.contract = contract.to_owned();
        })
    };
    assert_eq!(why(&lost(), &held_back("at-most-once")), None);
    assert!(why(&lost(), &held_back("at-least-once")).is_some_and(|why| why.starts_with("whether 4 owed")));
    let without_faults = with(|r| {
        unexplained(r);
        r.faults.clear();
    });
    let undecided = Some("whether 2 owed deliveries were lost cannot be decided".to_owned());
    assert_eq!(why(&lost(), &without_faults), undecided);
}

#[test]
fn undecided_deliveries_count_within_their_phase() {
    let mut report = herd();
    let in_phase = |indeterminate| {
        let slice = |indeterminate, indeterminate_by_faults| Slice {
            ledger: Ledger {
                obligations: 10,
                receipts: 10,
                indeterminate,
                indeterminate_by_faults,
                ..Ledger::default()
            },
            ..Slice::default()
        };
        let groups =
            [("victims".to_owned(), slice(2, 2)), ("bystanders".to_owned(), slice(indeterminate, 0))];
        let ledger = slice(2 + indeterminate, 2).ledger;
        PhaseReport { ledger, groups: groups.into_iter().collect(), ..PhaseReport::default() }
    };
    report.phases = vec![
        PhaseReport { name: "calm".to_owned(), ..in_phase(0) },
        PhaseReport { name: "herd".to_owned(), ..in_phase(1) },
    ];
    let lost_in = |phase: &str| {
        let term = during(When::In(phase.to_owned()), term("ledger.lost", Dimension::Count));
        condition("lost in phase == 0", term, Op::Equal, 0.0)
    };
    assert_eq!(verdict(&lost_in("calm"), &report), pass());
    assert!(why(&lost_in("herd"), &report).is_some_and(|why| why.starts_with("whether 1 owed")));
}

#[test]
fn a_failure_and_a_count_that_only_rises_stand_whatever_is_undecided() {
    let report = with(|r| {
        r.groups["bystanders"].ledger.indeterminate = 3;
        r.groups["victims"].ledger.missed_disconnected = 4;
        r.run.timed_out = vec!["settle".to_owned(), "barrier".to_owned()];
        r.ledger.lost = 1;
    });
    assert_eq!(verdict(&lost(), &report), fail("observed 1, wanted = 0"));
    let missed = term("ledger.missed_disconnected", Dimension::Count);
    let some = of_group("victims", condition("missed > 0", missed, Op::Greater, 0.0));
    assert_eq!(verdict(&some, &report), pass());
}

#[test]
fn a_barrier_that_was_given_up_proves_no_absence_of_loss() {
    let report = with(|r| r.run.timed_out = vec!["barrier".to_owned()]);
    let expected = Some("the barrier deadline passed, so the end of some streams was not proved".to_owned());
    assert_eq!(lost_by_scope(&report), std::array::from_fn(|_| expected.clone()));
    assert_eq!(verdict(&zero("ledger.duplicated"), &report), pass());
    assert_eq!(verdict(&all_back(), &report), pass());
}

#[test]
fn settling_that_was_given_up_leaves_victims_open() {
    let report = with(|r| r.run.timed_out = vec!["settle".to_owned()]);
    let back = "the settle deadline passed while clients were still on their way back".to_owned();
    assert_eq!(why(&all_back(), &report), Some(back.clone()));
    let victims = "the settle deadline passed before every victim was back".to_owned();
    assert_eq!(lost_by_scope(&report), [None, None, Some(victims.clone()), None]);
    assert_eq!(why(&of_group("victims", zero("ledger.unverified")), &report), Some(victims));
    // A share that was reached already can only grow.
    let ratio = term("recovered_ratio", Dimension::Ratio);
    let half = of_group("victims", condition("recovered >= 50%", ratio, Op::GreaterOrEqual, 0.5));
    assert_eq!(verdict(&half, &report), pass());

    // Half are not back: a failure if the server turned them away, undecided if they were only waiting.
    let away = |refused: bool| {
        with(|r| {
            r.run.timed_out = vec!["settle".to_owned()];
            r.groups["victims"].recovered_ratio = Some(0.5);
            if refused {
                r.groups["victims"].connections.failed.insert("tcp.refused".to_owned(), 40);
            }
        })
    };
    assert_eq!(why(&all_back(), &away(false)), Some(back));
    assert_eq!(verdict(&all_back(), &away(true)), fail("observed 50 %, wanted = 100 %"));
}

#[test]
fn what_comes_after_an_unsubscribe_must_have_been_watched() {
    for path in ["ledger.after_unsubscribe", "ledger.strange"] {
        assert_eq!(verdict(&zero(path), &herd()), pass(), "{path}");
        for wait in ["unsubscribe", "watch"] {
            let report = with(|r| r.run.timed_out = vec![wait.to_owned()]);
            let expected = format!(
                "the {wait} deadline passed, so what arrives after an unsubscribe was not watched to the end"
            );
            assert_eq!(why(&zero(path), &report), Some(expected), "{path}");
            assert_eq!(verdict(&lost(), &report), pass());
        }
        for reason in ["interrupted", "abort-if memory", "target-lost"] {
            let report = with(|r| r.run.stop_reason = reason.to_owned());
            let expected = "the run ended before it was watched what arrives after an unsubscribe";
            assert_eq!(why(&zero(path), &report).as_deref(), Some(expected), "{path} {reason}");
        }
        let silent = with(|r| {
            r.connections.failed.insert("unsubscribe.timeout".to_owned(), 2);
        });
        let expected =
            "on 2 connections the unsubscribe was not answered, so what arrives after it cannot be told";
        assert_eq!(why(&zero(path), &silent).as_deref(), Some(expected), "{path}");
        assert_eq!(verdict(&of_group("bystanders", zero(path)), &silent), pass(), "{path} of others");
    }
}

#[test]
fn nothing_is_shown_about_victims_that_nobody_hit() {
    let report = with(|r| r.faults["cut"].applied = 0);
    let expected = Some("no fault was applied, so nobody was a victim".to_owned());
    let dropped = of_group("victims", zero("connections.dropped_unexpectedly"));
    for condition in [of_group("victims", lost()), dropped.clone(), back_within(), all_back()] {
        assert_eq!(why(&condition, &report), expected, "{}", condition.text);
        assert_eq!(verdict(&condition, &herd()), pass(), "{}", condition.text);
    }
    // Whom it would have hit is known all the same.
    let planned = term("connections.planned", Dimension::Count);
    let planned = of_group("victims", condition("planned == 2", planned, Op::Equal, 2.0));
    assert_eq!(verdict(&planned, &report), pass());
}

#[test]
fn nothing_is_shown_about_bystanders_that_received_nothing() {
    let report = with(|r| {
        let ledger = &mut r.groups["bystanders"].ledger;
        (ledger.delivered, ledger.receipts, ledger.unknown_publish) = (0, 0, 100);
    });
    assert_eq!(why(&of_group("bystanders", lost()), &report).as_deref(), Some("nothing was received"));
}

#[test]
fn nothing_is_shown_about_coming_back_if_nothing_ended() {
    let report = with(|r| r.groups["victims"].recovered_ratio = None);
    assert_eq!(why(&all_back(), &report).as_deref(), Some("no connection ended during the run"));
}

#[test]
fn coming_back_is_a_share_of_what_ended() {
    let report = with(|r| {
        let victims = &mut r.groups["victims"];
        (victims.connections.cut, victims.connections.recovered) = (30, 30);
        victims.connections.dropped_unexpectedly = 10;
        victims.recovered_ratio = Some(0.75);
    });
    let judgement = judge(&all_back(), &Evidence::of(&report));
    assert_eq!(judgement.observed_text, "75 % (30 of 40)");
    let [low, high] = judgement.interval.expect("a share of counted trials");
    assert!(low > 0.58 && low < 0.6 && high > 0.87 && high < 0.88, "{low} {high}");
}

#[test]
fn whoever_did_not_come_back_is_missing_from_the_times() {
    assert_eq!(verdict(&back_within(), &herd()), pass());
    let mut report = with(|r| r.groups["victims"].recovered_ratio = Some(0.5));
    let expected = "only 50 % of the connections that ended came back; the others have no time";
    assert_eq!(why(&back_within(), &report).as_deref(), Some(expected));
    report.latency.reconnect = Some(Latency { count: 2, max_us: 90_000, ..Latency::default() });
    let longest = term("latency.reconnect.max_us", Dimension::Duration);
    let of_all = condition("latency.reconnect.max < 5s", longest, Op::Less, 5.0);
    assert_eq!(why(&of_all, &report).as_deref(), Some(expected));
    // Too slow is too slow, whoever is missing.
    report.groups["victims"].latency.reconnect.as_mut().expect("times").max_us = 6_000_000;
    assert_eq!(verdict(&back_within(), &report).0, Verdict::Fail);
}

#[test]
fn breakers_and_reconnects_need_that_something_went_wrong() {
    let victims = |path| of_group("victims", zero(path));
    let opened = |opened, open_at_end| Breaker { opened, open_at_end, ..Breaker::default() };
    let tried = |ended, attempts| Reconnects { ended, attempts, ..Reconnects::default() };
    let report = |breaker: Breaker, reconnects: Reconnects| {
        with(|r| {
            let group = &mut r.groups["victims"];
            (group.breaker, group.reconnects) = (breaker, reconnects);
        })
    };
    let open_at_end = victims("breaker.open_at_end");
    let never = report(opened(0, 0), tried(2, 9));
    assert_eq!(why(&open_at_end, &never).as_deref(), Some("no breaker ever opened"));
    assert_eq!(verdict(&open_at_end, &report(opened(2, 0), tried(2, 9))), pass());
    assert_eq!(verdict(&open_at_end, &report(opened(2, 1), tried(2, 9))).0, Verdict::Fail);
    assert_eq!(verdict(&victims("breaker.opened"), &never), pass());
    let idle = report(opened(0, 0), tried(2, 0));
    let nobody = Some("nobody tried to connect again");
    assert_eq!(why(&victims("breaker.opened"), &idle).as_deref(), nobody);
    assert_eq!(why(&victims("reconnects.failed"), &idle).as_deref(), nobody);
    let quiet = report(opened(0, 0), tried(0, 0));
    assert_eq!(why(&victims("reconnects.attempts"), &quiet).as_deref(), Some("no connection ended"));
    assert_eq!(verdict(&victims("reconnects.ended"), &quiet), pass());
    // Who is still waiting would have gone on.
    let mut waiting = report(opened(2, 0), tried(2, 9));
    waiting.run.timed_out = vec!["settle".to_owned()];
    let on_the_way = Some("the settle deadline passed while clients were still on their way back");
    assert_eq!(why(&open_at_end, &waiting).as_deref(), on_the_way);
}

#[test]
fn what_was_never_restored_has_no_time() {
    let restored = term("reconnects.restored_95_s", Dimension::Duration);
    let within = of_group("victims", condition("restored_95 < 8s", restored, Op::Less, 8.0));
    let report = |restored_95_s| {
        with(|r| {
            r.groups["victims"].reconnects = Reconnects { ended: 2, restored_95_s, ..Reconnects::default() };
        })
    };
    assert_eq!(verdict(&within, &report(Some(3.0))), pass());
    assert_eq!(why(&within, &report(None)).as_deref(), Some("so many connections did not come back"));
    let amplification = term("reconnects.amplification", Dimension::Ratio);
    let bounded = of_group("victims", condition("amplification <= 15", amplification, Op::LessOrEqual, 15.0));
    assert_eq!(why(&bounded, &report(None)).as_deref(), Some("no connection ended during the run"));
}

#[test]
fn errors_of_victims_need_victims() {
    let unexpected = of_group("victims", zero("errors.unexpected"));
    assert_eq!(verdict(&unexpected, &herd()), pass());
    let nobody = with(|r| r.groups["victims"].connections = Connections::default());
    assert_eq!(why(&unexpected, &nobody).as_deref(), Some("no connection was established"));
}
