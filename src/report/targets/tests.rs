//! The ranking, and that nothing is in it without a measurement.

use super::document::render;
use super::{Ground, ranked};
use crate::report::model::*;
use crate::report::sample::{inconclusive, judgement, sample};
use crate::report::sample_broken::broken;
use crate::report::sample_herd::herd;

fn of(expectations: Vec<Judgement>) -> Report {
    Report { expectations, ..Report::default() }
}

fn titles(reports: &[Report]) -> Vec<String> {
    ranked(reports).into_iter().map(|target| target.title).collect()
}

#[test]
fn the_rule() {
    use Verdict::{Fail, Inconclusive, NotApplicable, Pass};
    let one = |id: &str, condition: &str, observed, verdict| {
        judgement(id, condition, observed, ["seen", "wanted"], verdict)
    };
    let report = of(vec![
        one("roomy", "latency.deliver.p99 < 100ms", 0.02, Pass),
        one("close", "latency.deliver.p99 < 100ms", 0.06, Pass),
        one("closer", "latency.deliver.p99 < 100ms", 0.09, Pass),
        one("exact", "victims.recovered_ratio == 100%", 1.0, Pass),
        one("twice", "latency.deliver.p99 < 100ms", 0.2, Fail),
        one("thrice", "setup.duration < 1s", 3.0, Fail),
        one("two-lost", "ledger.lost == 0", 2.0, Fail),
        one("nine-lost", "ledger.lost == 0", 9.0, Fail),
        one("doubtful", "latency.deliver.p99 < 100ms", 9.0, Inconclusive),
        one("elsewhere", "latency.deliver.p99 < 100ms", 9.0, NotApplicable),
    ]);
    assert_eq!(
        titles(&[report]),
        ["nine-lost", "two-lost", "thrice", "twice", "closer", "close", "doubtful"]
    );
}

#[test]
fn where_nothing_was_measured_there_is_nothing() {
    assert_eq!(titles(&[]), [""; 0]);
    assert_eq!(titles(&[Report::default(), inconclusive()]), [""; 0]);
    assert!(render(&[inconclusive()]).contains("No figure was measured"));
}

#[test]
fn what_a_limited_generator_measured_stands_below() {
    let mut limited = sample();
    limited.scenario.name = "limited".to_owned();
    limited.generator.health = Health::Limited;
    limited.phases.iter_mut().for_each(|phase| phase.latency.deliver.as_mut().unwrap().p99_us = 90_000_000);
    let alone = ranked(std::slice::from_ref(&limited));
    let deliver = alone.iter().find(|target| target.title.starts_with("Delivery latency")).unwrap();
    assert_eq!(deliver.ground, Ground::Cost);
    assert!(deliver.doubts[0].starts_with("the generator was limited"), "{:?}", deliver.doubts);
    let first_doubt = alone.iter().position(|target| !target.doubts.is_empty()).unwrap();
    assert!(alone[first_doubt..].iter().all(|target| !target.doubts.is_empty()), "all of them below");
    // Beside a run that kept up, the slower figure does not stand for both.
    let mut sound = sample();
    sound.generator.drain_p99_us = Some(1);
    let both = ranked(&[limited, sound]);
    let deliver = both.iter().find(|target| target.title.starts_with("Delivery latency")).unwrap();
    assert_eq!((deliver.scenario.as_str(), deliver.doubts.len()), ("10k-concurrent", 0));
    assert_eq!(deliver.also, ["limited: 90 s, not to be relied upon"]);
}

#[test]
fn figures_are_what_the_report_has() {
    let targets = ranked(&[sample()]);
    let cpu = targets.iter().find(|target| target.title.starts_with("CPU time")).unwrap();
    // 3.7 s for 9,996 receipts.
    assert_eq!(cpu.cost, "CPU time per delivery: 370 µs");
    assert!(
        cpu.doubts[0].contains("connections and subscriptions"),
        "it had 10,000 connections to make: {cpu:?}"
    );
    let memory = targets.iter().find(|target| target.title.ends_with("per connection")).unwrap();
    assert_eq!(memory.cost, "memory per connection: 7.37 KiB");
    assert!(memory.doubts.is_empty());
}

/// CPU time is that of all rounds, and so are the deliveries it is divided by; what a phase without a rate made of latency
/// is not the server's.
#[test]
fn costs_are_of_what_they_are_divided_by() {
    let mut report = sample();
    report.subscriptions.confirmed = 100;
    report.connections.established = 100;
    let round = |receipts| Round { ledger: Ledger { receipts, ..Ledger::default() }, ..Round::default() };
    let each = vec![round(9_996), round(27_004)];
    report.rounds = Some(Rounds { each, ..Rounds::default() });
    report.server_stats = None;
    let cpu = |report: &Report| {
        let targets = ranked(std::slice::from_ref(report));
        targets.into_iter().find(|target| target.title.starts_with("CPU time")).unwrap()
    };
    assert_eq!((cpu(&report).cost.as_str(), cpu(&report).doubts.len()), ("CPU time per delivery: 100 µs", 0));
    report.published.volume_bytes = report.published.sent * 100_000;
    assert!(cpu(&report).doubts[0].contains("messages are of 100 KB"), "{:?}", cpu(&report).doubts);

    let deliver = |report: &Report| {
        let targets = ranked(std::slice::from_ref(report));
        targets.into_iter().any(|target| target.title.starts_with("Delivery latency"))
    };
    assert!(deliver(&report));
    let phase: Vec<&str> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
    report.scenario.resolved =
        serde_json::json!({ "publishers": { "fast": { "rate": "unlimited", "phase": phase } } });
    assert!(!deliver(&report));
}

/// The p99 of twenty is the slowest of them.
#[test]
fn times_of_few_are_doubtful() {
    let doubts = |title: &str, report: &Report| {
        let targets = ranked(std::slice::from_ref(report));
        targets.into_iter().find(|target| target.title.starts_with(title)).unwrap().doubts
    };
    let mut report = sample();
    report.generator.drain_p99_us = None;
    report.generator.setup_lag_p99_us = None;
    for phase in &mut report.phases {
        phase.latency.deliver.as_mut().unwrap().count = 1_000;
    }
    report.latency.connect.as_mut().unwrap().count = 1_000;
    assert_eq!(doubts("Delivery latency", &report), [""; 0]);
    assert_eq!(doubts("Time to connect", &report), [""; 0]);
    for phase in &mut report.phases {
        phase.latency.deliver.as_mut().unwrap().count = 20;
    }
    report.latency.connect.as_mut().unwrap().count = 999;
    let of_few = doubts("Delivery latency", &report);
    assert!(of_few[0].starts_with("there were only 20 deliveries in "), "{of_few:?}");
    assert_eq!(doubts("Time to connect", &report), ["there were only 999 connects"]);

    let mut report = herd();
    report.reconnects.aborted_by_plan = 0;
    report.latency.reconnect.as_mut().unwrap().count = 1_000;
    assert_eq!(doubts("Time until a client", &report), [""; 0]);
    report.latency.reconnect.as_mut().unwrap().count = 500;
    assert_eq!(doubts("Time until a client", &report), ["there were only 500 that came back"]);
}

#[test]
fn the_document() {
    insta::assert_snapshot!(render(&[sample(), herd()]));
}

#[test]
fn a_run_in_which_much_failed() {
    insta::assert_snapshot!(render(&[broken()]));
}
