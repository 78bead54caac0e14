//! From judgements to verdict and claims.

use super::*;

#[test]
fn the_gravest_verdict_wins() {
    use Verdict::{Fail, Inconclusive, NotApplicable, Pass};
    let table: [(&[Verdict], Verdict); 6] = [
        (&[], Inconclusive),
        (&[NotApplicable], Inconclusive),
        (&[Pass, NotApplicable], Pass),
        (&[Pass, Pass], Pass),
        (&[Pass, Inconclusive], Inconclusive),
        (&[Inconclusive, Fail, Pass], Fail),
    ];
    for (verdicts, expected) in table {
        assert_eq!(Verdict::of(verdicts.iter().copied()), expected, "{verdicts:?}");
    }
}

fn concluded(mut report: Report, expect: &[Condition], reached: &[Condition]) -> (Verdict, Vec<String>) {
    judge_all(&mut report, expect, reached);
    (report.verdict, report.why)
}

#[test]
fn conclusions() {
    let good = || vec![lost(), established()];
    assert_eq!(concluded(healthy(), &good(), &[p99()]), (Verdict::Pass, vec![]));

    let mut failed = healthy();
    failed.ledger.lost = 1;
    let why = vec!["id failed: observed 1, wanted = 0".to_owned()];
    assert_eq!(concluded(failed.clone(), &good(), &[]), (Verdict::Fail, why.clone()));

    let mut slow = healthy();
    slow.latency = deliver(200_000);
    let not_reached = "id was not reached: observed 200 ms, wanted < 100 ms".to_owned();
    assert_eq!(concluded(slow, &good(), &[p99()]), (Verdict::Inconclusive, vec![not_reached]));

    failed.generator.health = Health::Limited;
    let why = vec![why[0].clone(), "the generator was limited".to_owned()];
    assert_eq!(concluded(failed, &good(), &[]), (Verdict::Fail, why));

    let nothing = "nothing was judged: no expectation applies".to_owned();
    assert_eq!(concluded(healthy(), &[], &[]), (Verdict::Inconclusive, vec![nothing.clone()]));
    let inapplicable = Condition { not_applicable: Some("too small".to_owned()), ..lost() };
    assert_eq!(concluded(healthy(), &[inapplicable], &[]), (Verdict::Inconclusive, vec![nothing]));
}

#[test]
fn circumstances_make_a_run_inconclusive() {
    let with = |change: fn(&mut Report)| {
        let mut report = healthy();
        change(&mut report);
        concluded(report, &[lost()], &[])
    };
    let open = |why: &str| (Verdict::Inconclusive, vec![why.to_owned()]);
    assert_eq!(with(|r| r.run.interrupted = true), open("the run was interrupted"));
    assert_eq!(with(|r| r.generator.health = Health::Limited), open("the generator was limited"));
    assert_eq!(with(|r| r.run.timed_out = vec!["settle".into()]), open("the settle deadline passed"));
    let stopped = open("the run was stopped early: abort-if server-memory");
    assert_eq!(with(|r| r.run.stop_reason = "abort-if server-memory".into()), stopped);
    let died = (Verdict::Fail, vec!["the target died in mid-run".to_owned()]);
    assert_eq!(with(|r| r.run.stop_reason = "target-lost".into()), died);
}

#[test]
fn events_that_were_never_published_leave_the_verdict_open() {
    let mut report = healthy();
    report.predicted.insert("published.attempted".to_owned(), 10_000.0);
    report.published.sent = 10_000;
    assert_eq!(concluded(report.clone(), &[lost()], &[]).0, Verdict::Pass);
    report.published.sent = 9_999;
    let why = "only 9,999 of 10,000 planned events were published".to_owned();
    assert_eq!(concluded(report, &[lost()], &[]), (Verdict::Inconclusive, vec![why]));
}

#[test]
fn a_load_that_was_planned_and_did_not_occur_is_inconclusive() {
    let with = |rate: f64, sent: u64| {
        let mut report = healthy();
        report.predicted.insert("published.rate in main".to_owned(), 3_000_000.0);
        let published = Published { attempted: sent, sent, rate: Some(rate), ..Published::default() };
        report.phases = vec![PhaseReport { name: "main".to_owned(), published, ..PhaseReport::default() }];
        concluded(report, &[lost()], &[])
    };
    let why = "the planned load was not reached in main: 12,000/s of 3,000,000/s published".to_owned();
    assert_eq!(with(12_000.0, 60_000), (Verdict::Inconclusive, vec![why]));
    // A second is what any machine may hesitate.
    assert_eq!(with(12_000.0, 6_000), (Verdict::Pass, vec![]));
    assert_eq!(with(1_600_000.0, 60_000_000), (Verdict::Pass, vec![]));
}

#[test]
fn claims_say_what_was_shown_and_what_was_not() {
    let mut report = healthy();
    report.scenario.scale = 0.02;
    report.subscriptions.peak_active = Some(990);
    report.connections.peak_open = Some(995);
    report.ledger.indeterminate = 4;
    report.ledger.unknown_publish = 2;
    report.generator.drain_p99_us = Some(900);
    assert_eq!(
        claims(&report),
        [
            "0 of 1,000 owed deliveries lost on continuously connected subscriptions: at most 3 % with 95 % \
             confidence, counted as 100 events",
            "0 of 1,000 receipts corrupted, 0 duplicated, 0 reordered, 0 of another channel, run or time",
            "990 subscriptions received one and the same census; the most connections open at one moment were 995",
            "99 % of 100 deliveries took at most 50 ms from when their event was due; our own processing adds up to \
             900 µs",
            "not shown: whether 4 owed deliveries were lost (indeterminate: too close to a boundary to decide)",
            "not shown: whether 2 owed deliveries were lost (their publish was never acknowledged)",
            "not shown: whether the server's own counts agree (they were not available)",
            "not shown: what the server needs (its process could not be observed)",
            "not shown: anything about full size: this was scale 0.02",
        ]
    );
    let mut report = healthy();
    report.ledger = Ledger::default();
    assert!(claims(&report)[0].starts_with("nothing is shown about loss"));
    report.generator.health = Health::Invalid;
    assert_eq!(claims(&report), ["nothing is shown: the generator's own bookkeeping failed"]);
}

#[test]
fn fan_out_of_one_claims_every_delivery() {
    let mut report = healthy();
    report.published.sent = 10_000;
    report.ledger.delivered = 10_000;
    let expected = "0 of 10,000 owed deliveries lost on continuously connected subscriptions: at most 0.03 % \
                    (3.0e-4) with 95 % confidence";
    assert_eq!(claims(&report)[0], expected);
    report.ledger.lost_proven = 1;
    let expected = "1 of 10,001 owed deliveries lost on continuously connected subscriptions: 0.00025 % \
                    (2.5e-6) to 0.056 % (5.6e-4) with 95 % confidence, counted as 10,000 events";
    assert_eq!(claims(&report)[0], expected);
}
