//! What must not be decided, and what a decision rests on.

use super::*;

#[test]
fn what_does_not_apply_is_not_judged() {
    let condition = Condition { not_applicable: Some("too few samples".to_owned()), ..lost() };
    assert_eq!(verdict(&condition, &healthy()), (Verdict::NotApplicable, "too few samples".to_owned()));
}

#[test]
fn unverified_or_undrained_deliveries_prove_no_absence_of_loss() {
    let mut report = healthy();
    report.ledger.unverified = 7;
    assert_eq!(verdict(&lost(), &report), inconclusive("7 owed deliveries could not be verified"));
    report.ledger.lost = 1;
    assert_eq!(verdict(&lost(), &report).0, Verdict::Fail);
    let mut report = healthy();
    report.run.timed_out = vec!["drain".to_owned()];
    let why = "the drain deadline passed before everything owed had arrived";
    assert_eq!(verdict(&lost(), &report), inconclusive(why));
}

#[test]
fn a_pass_over_nothing_is_none() {
    let zero = |path: &str| condition("x == 0", term(path, Dimension::Count), Op::Equal, 0.0);
    let table = [
        ("ledger.corrupted", "nothing was received"),
        ("ledger.strange", "nothing was received"),
        ("connections.dropped_unexpectedly", "no connection was established"),
        ("errors.unexplained", "no connection was established"),
        ("published.failed", "nothing was published"),
    ];
    for (path, why) in table {
        assert_eq!(verdict(&zero(path), &Report::default()), inconclusive(why));
        assert_eq!(verdict(&zero(path), &healthy()), pass(), "{path}");
    }
}

#[test]
fn nothing_measured_is_inconclusive() {
    let empty = Report::default();
    let size = |path| condition("x < 2GiB", term(path, Dimension::Size), Op::Less, 2e9);
    let ratio = |path| condition("x <= 1%", term(path, Dimension::Ratio), Op::LessOrEqual, 0.01);
    let set_up =
        condition("setup.duration < 30s", term("setup.duration_s", Dimension::Duration), Op::Less, 30.0);
    let table = [
        (p99(), "no samples"),
        (size("resources.server.memory_peak_bytes"), "the server's process could not be observed"),
        (ratio("server_stats.worst.error_ratio"), "the server's statistics were not available"),
        (ratio("waves.server_memory.spread"), "there were no two waves to compare"),
        (ratio("rounds.server_memory_end.growth"), "there were no two rounds to compare"),
        (ratio("errors.ratio"), "errors.ratio has no samples"),
        (ratio("no.such.key"), "no.such.key was not recorded"),
        (set_up, "set-up was not finished"),
        (established(), "connections.established_ratio has no samples"),
        (lost(), "no delivery was owed"),
    ];
    for (condition, why) in table {
        assert_eq!(verdict(&condition, &empty), inconclusive(why));
    }
}

#[test]
fn the_interval_decides_where_asked() {
    let mut report = healthy();
    let sure = at(established(), 0.95);
    let why = "too few samples: at 95 % confidence it is 98.84 % to 99.84 %, and the limit lies within";
    assert_eq!(verdict(&sure, &report), inconclusive(why));
    report.connections = Connections {
        attempted: 10_000,
        established: 9_990,
        established_ratio: Some(0.999),
        ..Connections::default()
    };
    assert_eq!(verdict(&sure, &report), pass());
    report.connections.established = 9_700;
    report.connections.established_ratio = Some(0.97);
    let why = "observed 97 % (9,700 of 10,000), wanted ≥ 99 % at 95 %";
    assert_eq!(verdict(&sure, &report), fail(why));
    assert_eq!(
        verdict(&at(p99(), 0.95), &report),
        inconclusive("no interval can be given for this quantity")
    );
}

#[test]
fn deliveries_of_one_event_are_one_cluster() {
    let share = over(
        condition("lost / owed < 1%", term("ledger.lost", Dimension::Count), Op::Less, 0.01),
        Over::Term(term("ledger.obligations", Dimension::Count)),
    );
    let [_, high] = judge(&share, &Evidence::of(&healthy())).interval.unwrap();
    // 100 events, not 1,000 deliveries: three in a hundred.
    assert!((high - 0.0295).abs() < 1e-4, "{high}");
}

#[test]
fn a_limited_generator_leaves_timing_open() {
    let mut report = healthy();
    report.generator.health = Health::Limited;
    report.generator.reasons = vec!["a thread was busy".to_owned(), "sends were late".to_owned()];
    let why = "the generator was limited: a thread was busy; sends were late";
    assert_eq!(verdict(&p99(), &report), inconclusive(why));
    report.latency = deliver(500_000);
    assert_eq!(verdict(&p99(), &report), inconclusive(why));
    let rate = condition("rate > 1/s", term("published.rate", Dimension::Rate), Op::Greater, 1.0);
    report.published.rate = Some(50.0);
    assert_eq!(verdict(&rate, &report), inconclusive(why));
    assert_eq!(verdict(&established(), &report), pass());
    report.ledger.lost = 1;
    assert_eq!(verdict(&lost(), &report).0, Verdict::Fail);
}

#[test]
fn an_invalid_generator_leaves_everything_open() {
    let mut report = healthy();
    report.generator.health = Health::Invalid;
    report.generator.reasons = vec!["a sum does not close".to_owned()];
    report.ledger.lost = 1;
    let why = "the generator's own bookkeeping failed: a sum does not close";
    for condition in [lost(), p99(), established()] {
        assert_eq!(verdict(&condition, &report), inconclusive(why));
    }
}

#[test]
fn our_own_processing_must_stay_small() {
    let mut report = healthy();
    report.generator.drain_p99_us = Some(5_000);
    assert_eq!(verdict(&p99(), &report), pass());
    report.generator.drain_p99_us = Some(5_001);
    // Below an upper limit it could only have been better.
    assert_eq!(verdict(&p99(), &report), pass());
    let why = "our own processing (drain p99 5 ms) is more than 10 % of the observed 50 ms";
    let above =
        condition("p99 > 1ms", term("latency.deliver.p99_us", Dimension::Duration), Op::Greater, 0.001);
    assert_eq!(verdict(&above, &report), inconclusive(why));
    report.latency = deliver(200_000);
    assert_eq!(verdict(&p99(), &report), fail("observed 200 ms, wanted < 100 ms"));
    report.generator.drain_p99_us = Some(30_000);
    assert_eq!(verdict(&p99(), &report).0, Verdict::Inconclusive);
}

#[test]
fn an_interrupted_run_keeps_only_proven_failures() {
    let mut report = healthy();
    report.run.interrupted = true;
    report.ledger.lost = 1;
    report.latency = deliver(200_000);
    report.connections.established_ratio = Some(0.5);
    assert_eq!(verdict(&lost(), &report), fail("observed 1, wanted = 0"));
    let why = "the run was interrupted before this could be decided";
    assert_eq!(verdict(&p99(), &report), inconclusive(why));
    assert_eq!(verdict(&established(), &report), inconclusive(why));
}

#[test]
fn an_aborted_run_is_like_an_interrupted_one_and_a_dead_target_is_not() {
    let mut report = healthy();
    report.ledger.lost = 1;
    report.connections.established_ratio = Some(0.5);
    report.run.stop_reason = "abort-if server-memory".to_owned();
    assert_eq!(verdict(&lost(), &report).0, Verdict::Fail);
    let why = "the run was stopped early before this could be decided";
    assert_eq!(verdict(&established(), &report), inconclusive(why));
    report.run.stop_reason = "target-lost".to_owned();
    assert_eq!(verdict(&established(), &report).0, Verdict::Fail);
}
