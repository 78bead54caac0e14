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
fn what_took_longer_than_a_schedule_slipped_is_the_doing_of_one_that_cannot() {
    // 10 s of publishing at 1,000/s that took so long, of which a schedule slipped by so much.
    let with = |took: f64, slipped_s: f64| {
        let mut report = healthy();
        report.predicted.insert("published.rate in main".to_owned(), 1_000.0);
        let slowed = Some(Slowed { slips: u64::from(slipped_s > 0.0), slipped_s, ..Slowed::default() });
        let (sent, rate) = (10_001, Some(10_000.0 / took));
        let published = Published { attempted: sent, sent, rate, slowed, ..Published::default() };
        report.phases = vec![PhaseReport { name: "main".to_owned(), published, ..PhaseReport::default() }];
        concluded(report, &[lost()], &[])
    };
    let why = |rate| format!("the planned load was not reached in main: {rate}/s of 1,000/s published");
    assert_eq!(with(30.0, 0.0), (Verdict::Inconclusive, vec![why(333)]));
    assert_eq!(with(30.0, 2.0), (Verdict::Inconclusive, vec![why(333)]));
    // What slipped is said and judged as what it is, however much it was.
    assert_eq!(with(30.0, 20.0), (Verdict::Pass, vec![]));
    assert_eq!(with(300.0, 290.0), (Verdict::Pass, vec![]));
    assert_eq!(with(300.0, 270.0), (Verdict::Inconclusive, vec![why(33)]));
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
            "not shown: whether 4 owed deliveries were lost (indeterminate: the examples say why)",
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

#[test]
fn what_was_missed_while_away_counts_as_the_contract_says() {
    let away = |contract: &str, of_victims: u64| {
        let mut report = healthy();
        report.target.contract = contract.to_owned();
        report.ledger.missed_disconnected = 4_120;
        let mut victims = Slice::default();
        victims.ledger.missed_disconnected = of_victims;
        report.groups.insert("victims".to_owned(), victims);
        claims(&report).remove(0)
    };
    let shown = "0 of 1,000 owed deliveries lost on continuously connected subscriptions: at most 3 % with 95 % \
                 confidence, counted as 100 events; 4,120 more were published while";
    assert_eq!(
        away("at-most-once", 4_120),
        format!("{shown} victims were away and are not counted as losses")
    );
    let resume = "their subscriptions were away and count as losses, because the contract promises resume";
    for contract in ["at-least-once", "exactly-once"] {
        assert_eq!(away(contract, 4_119), format!("{shown} {resume}"));
    }
}

#[test]
fn what_the_contract_allows_is_said_to_be_allowed() {
    let said = |contract: &str, ordered| {
        let mut report = healthy();
        report.target.contract = contract.to_owned();
        report.target.ordered = ordered;
        (report.ledger.duplicated, report.ledger.reordered) = (2, 3);
        claims(&report).remove(1)
    };
    let start = "0 of 1,000 receipts corrupted, 2 duplicated";
    let end = ", 0 of another channel, run or time";
    assert_eq!(said("at-most-once", true), format!("{start}, 3 reordered{end}"));
    assert_eq!(said("exactly-once", true), format!("{start}, 3 reordered{end}"));
    let allowed = format!("{start} (which the contract allows), 3 reordered (no order is promised){end}");
    assert_eq!(said("at-least-once", false), allowed);
}

#[test]
fn barriers_and_reconnects_are_claimed_as_far_as_they_went() {
    let mut report = healthy();
    report.target.ordered = true;
    report.subscriptions.barriers = Barriers { delivered: 1_000, complete: Some(true) };
    report.ledger.recovered = 7;
    (report.connections.cut, report.connections.recovered) = (500, 500);
    report.latency.reconnect = Some(Latency { max_us: 1_250_000, ..Latency::default() });
    let said = |report: &Report| claims(report).join("\n");
    for claim in [
        "7 owed deliveries arrived only after their client had come back",
        "the end of every stream was proved by a barrier behind its last event, to every subscription that was \
         there at the end: 1,000 arrived",
        "500 of 500 connections that ended during the run came back with every subscription proved, the slowest \
         after 1.25 s",
    ] {
        assert!(said(&report).contains(claim), "{}", said(&report));
    }
    report.target.ordered = false;
    assert!(said(&report).contains("and a quiet period after it, as no order is promised, to every"));

    report.run.timed_out = ["settle", "barrier", "unsubscribe", "watch"].map(str::to_owned).to_vec();
    report.subscriptions.barriers.complete = Some(false);
    report.generator.health = Health::Limited;
    (report.connections.recovered, report.connections.dropped_unexpectedly) = (498, 1);
    let said = said(&report);
    assert!(said.contains("498 of 501 connections that ended") && !said.contains("slowest"), "{said}");
    assert!(!said.contains("proved by a barrier"), "{said}");
    for open in [
        "not shown: whether every client would have come back (the settle deadline passed)",
        "not shown: the end of every stream (the barrier deadline passed)",
        "not shown: whether anything arrives after an unsubscribe (its deadline passed)",
        "not shown: whether anything arrives after an unsubscribe (the watch was cut short)",
    ] {
        assert!(said.contains(open), "{said}");
    }
}
