//! Each class of failure appears when it was observed, and not otherwise.

use serde_json::{Value, json};

use super::document::render;
use super::{Origin, observed};
use crate::report::model::*;
use crate::report::sample::{inconclusive, sample};
use crate::report::sample_broken::broken;
use crate::report::sample_herd::{cascade, herd};

/// A report in which nothing happened at all.
fn nothing() -> Report {
    Report {
        scenario: ScenarioInfo { name: "quiet".to_owned(), scale: 1.0, ..ScenarioInfo::default() },
        target: TargetInfo { contract: "at-most-once".to_owned(), ordered: true, ..TargetInfo::default() },
        verdict: Verdict::Pass,
        ..Report::default()
    }
}

fn causes(report: &Report) -> Vec<(Origin, String)> {
    observed(std::slice::from_ref(report)).into_iter().map(|mode| (mode.origin, mode.cause)).collect()
}

/// A kind of failure: the causes it must appear under, and what makes a report show it.
type Kind = (&'static [(Origin, &'static str)], fn(&mut Report));

const KINDS: &[Kind] = &[
    (&[(Origin::Server, "lost_proven")], |r| r.ledger.lost_proven = 1),
    (&[(Origin::Server, "lost_presumed")], |r| r.ledger.lost_presumed = 1),
    (&[(Origin::Server, "damaged")], |r| r.ledger.damaged = 1),
    (&[(Origin::Server, "corrupted")], |r| r.ledger.corrupted = 1),
    (&[(Origin::Server, "phantom")], |r| r.ledger.phantom = 1),
    (&[(Origin::Server, "misrouted")], |r| r.ledger.misrouted = 1),
    (&[(Origin::Server, "after_unsubscribe")], |r| r.ledger.after_unsubscribe = 1),
    (&[(Origin::Server, "duplicated")], |r| r.ledger.duplicated = 1),
    (&[(Origin::Server, "reordered")], |r| r.ledger.reordered = 1),
    (&[(Origin::Server, "late")], |r| r.ledger.late = 1),
    (&[(Origin::Server, "recovered")], |r| r.ledger.recovered = 1),
    (&[(Origin::Server, "unknown_publish")], |r| r.ledger.unknown_publish = 1),
    (&[(Origin::Open, "missed_disconnected")], |r| r.ledger.missed_disconnected = 1),
    (&[(Origin::Open, "indeterminate")], |r| r.ledger.indeterminate = 1),
    (&[(Origin::Ours, "indeterminate")], |r| {
        (r.ledger.indeterminate, r.ledger.indeterminate_by_faults) = (1, 1);
    }),
    (&[(Origin::Run, "unverified")], |r| r.ledger.unverified = 1),
    (&[(Origin::Ours, "suppressed")], |r| r.ledger.suppressed = 1),
    (&[(Origin::Server, "publish-unknown")], |r| r.published.unknown = 1),
    (&[(Origin::Server, "publish-failed")], |r| r.published.failed = 1),
    (&[(Origin::Open, "publish-unsent")], |r| r.published.attempted = 1),
    (&[(Origin::Server, "upgrade.http-503")], |r| fail(r, "upgrade.http-503")),
    (&[(Origin::Run, "tcp.emfile")], |r| fail(r, "tcp.emfile")),
    (&[(Origin::Ours, "init.injected")], |r| fail(r, "init.injected")),
    (&[(Origin::Server, "open.close-1011")], |r| {
        fail(r, "open.close-1011");
        r.connections.dropped_unexpectedly = 1;
    }),
    (&[(Origin::Server, "publish.error")], |r| {
        let mut feed = Slice::default();
        feed.connections.failed.insert("publish.error".to_owned(), 1);
        r.groups.insert("feed".to_owned(), feed);
    }),
    (&[(Origin::Server, "dropped")], |r| r.connections.dropped_unexpectedly = 1),
    (&[(Origin::Server, "errors")], |r| r.errors.unexplained = 1),
    (&[(Origin::Open, "unconfirmed")], |r| r.subscriptions.requested = 1),
    (&[(Origin::Server, "not-back")], |r| (r.connections.absences, r.reconnects.attempts) = (1, 1)),
    (&[(Origin::Server, "probes-missed")], |r| r.subscriptions.probes.missed_after_first = 1),
    (&[(Origin::Server, "server-gone")], |r| r.run.stop_reason = "target-lost".to_owned()),
    (&[(Origin::Server, "server-gone")], |r| r.server.alive = Some(false)),
    (&[(Origin::Answer, "slow-readers disconnect")], |r| {
        let policy = SlowPolicy::Disconnect;
        r.slow_consumers = Some(SlowConsumers { readers: 1, policy, ..SlowConsumers::default() });
    }),
    (&[(Origin::Server, "server-counts")], |r| {
        let check =
            StatCheck { name: "delivered".to_owned(), verdict: Verdict::Fail, ..StatCheck::default() };
        r.server_stats = Some(ServerStats { checks: vec![check], ..ServerStats::default() });
    }),
    (&[(Origin::Server, "left-over")], |r| {
        let subscriptions = GaugeError { left_over: Some(1.0), ..GaugeError::default() };
        r.server_stats = Some(ServerStats { subscriptions, ..ServerStats::default() });
    }),
    (&[(Origin::Server, "rate-not-held")], |r| r.published.slowed = Some(slowed("server"))),
    (&[(Origin::Run, "rate-not-held")], |r| r.published.slowed = Some(slowed("generator"))),
    (&[(Origin::Open, "rate-not-held")], |r| r.published.slowed = Some(slowed("machine"))),
    (&[(Origin::Answer, "cycles-failed")], |r| {
        let cycles = Some(CycleReport { failed: 1, ..CycleReport::default() });
        r.faults.insert("churn".to_owned(), FaultReport { cycles, ..FaultReport::default() });
    }),
    (&[(Origin::Server, "growth of server memory")], |r| {
        let grows = MemoryTrend { word: TrendWord::Grows, ..MemoryTrend::default() };
        r.trend = Some(Trends { server_memory: Some(grows), ..Trends::default() });
    }),
    (&[(Origin::Run, "growth of our own memory")], |r| {
        let grows = MemoryTrend { word: TrendWord::Grows, ..MemoryTrend::default() };
        r.trend = Some(Trends { client_memory: Some(grows), ..Trends::default() });
    }),
    (&[(Origin::Server, "limit fast")], |r| {
        r.expectations = vec![fails("fast", "latency.deliver.p99 < 1ms")];
    }),
    (&[(Origin::Answer, "limit back")], |r| {
        r.expectations = vec![fails("back", "victims.latency.reconnect.max < 1s")];
    }),
    (&[(Origin::Run, "unreached all-cut")], |r| r.reached = vec![fails("all-cut", "faults.cut.applied > 0")]),
    (&[(Origin::Run, "interrupted")], |r| r.run.interrupted = true),
    (&[(Origin::Run, "stopped")], |r| r.run.stop_reason = "abort-if memory".to_owned()),
    (&[(Origin::Open, "wait drain")], |r| r.run.timed_out = vec!["drain".to_owned()]),
    (&[(Origin::Run, "generator-limited")], |r| r.generator.health = Health::Limited),
    (&[(Origin::Run, "generator-invalid")], |r| r.generator.health = Health::Invalid),
    (&[(Origin::Answer, "breaker-open")], |r| r.breaker.open_at_end = 1),
    (&[(Origin::Ours, "fault stall")], |r| {
        let fault = FaultReport { kind: "stall".to_owned(), applied: 1, ..FaultReport::default() };
        r.faults.insert("silent".to_owned(), fault);
    }),
];

fn fail(report: &mut Report, name: &str) {
    report.connections.failed.insert(name.to_owned(), 1);
}

fn slowed(limited_by: &str) -> Slowed {
    Slowed { slips: 1, limited_by: limited_by.to_owned(), ..Slowed::default() }
}

fn fails(id: &str, condition: &str) -> Judgement {
    let (id, condition) = (id.to_owned(), condition.to_owned());
    Judgement { id, condition, verdict: Verdict::Fail, ..Judgement::default() }
}

#[test]
fn every_kind_appears_where_it_was_observed_and_alone() {
    assert_eq!(causes(&nothing()), []);
    for (wanted, plant) in KINDS {
        let mut report = nothing();
        plant(&mut report);
        let wanted: Vec<_> = wanted.iter().map(|(origin, cause)| (*origin, (*cause).to_owned())).collect();
        assert_eq!(causes(&report), wanted);
        // The document names it, and says of everything that is not ours that it failed.
        let text = render(&[report]);
        let (origin, cause) = &wanted[0];
        assert!(text.contains(&format!("(`{cause}`)")), "{cause}: {text}");
        assert_eq!(text.contains("No failure was observed"), *origin == Origin::Ours, "{cause}");
    }
}

/// A class that is added to the ledger and forgotten here is found: every count in it is a failure, or is known not to be.
#[test]
fn no_class_of_the_ledger_is_forgotten() {
    const NO_FAILURES: [&str; 9] = [
        "obligations",
        "delivered",
        "receipts",
        "first_receipts",
        "unowed",
        // Sums, and what explains them.
        "lost",
        "lost_unexplained",
        "strange",
        "indeterminate_by_faults",
    ];
    let ledger = serde_json::to_value(Ledger::default()).unwrap();
    for (class, _) in ledger.as_object().unwrap().iter().filter(|(_, value)| !value.is_array()) {
        let mut one = ledger.clone();
        one[class] = json!(1);
        let report = Report { ledger: serde_json::from_value(one).unwrap(), ..nothing() };
        let appears = !causes(&report).is_empty();
        assert_eq!(appears, !NO_FAILURES.contains(&class.as_str()), "{class}");
    }
}

#[test]
fn what_befell_only_those_we_aimed_at_is_told_apart() {
    let mut report = herd();
    report.groups["victims"].connections.failed.insert("upgrade.http-503".to_owned(), 3);
    report.connections.failed = [("upgrade.http-503".to_owned(), 3)].into();
    let of = |report: &Report| {
        let all = causes(report);
        all.into_iter().find(|(_, cause)| cause == "upgrade.http-503").map(|(origin, _)| origin)
    };
    assert_eq!(of(&report), Some(Origin::Answer));
    report.connections.failed.insert("upgrade.http-503".to_owned(), 4);
    assert_eq!(of(&report), Some(Origin::Server), "somebody else was turned away too");
}

#[test]
fn what_was_missed_is_a_failure_where_resume_is_promised() {
    let origin = |report: &Report| {
        causes(report).into_iter().find(|(_, cause)| cause == "missed_disconnected").map(|(origin, _)| origin)
    };
    let mut report = herd();
    assert_eq!(origin(&report), Some(Origin::Ours));
    report.target.contract = "exactly-once".to_owned();
    assert_eq!(origin(&report), Some(Origin::Server));
}

#[test]
fn one_cause_in_two_scenarios_is_one_mode() {
    let mut other = sample();
    other.scenario.name = "other".to_owned();
    let modes = observed(&[sample(), other]);
    let lost = modes.iter().find(|mode| mode.cause == "lost_proven").unwrap();
    let scenarios: Vec<_> = lost.sightings.iter().map(|seen| seen.scenario.as_str()).collect();
    assert_eq!(scenarios, ["10k-concurrent", "other"]);
    let example = lost.sightings[0].example.as_deref().unwrap();
    assert!(example.contains("stress-0a1b2c3d-17, publisher 2, epoch 0, seq 0"), "{example}");
}

#[test]
fn a_failure_that_a_count_tells_is_not_told_twice() {
    let mut report = nothing();
    report.ledger.lost_proven = 2;
    report.expectations = vec![fails("nothing-lost", "ledger.lost == 0")];
    assert_eq!(causes(&report), [(Origin::Server, "lost_proven".to_owned())]);
    report.ledger.lost_proven = 0;
    assert_eq!(causes(&report), [(Origin::Server, "limit nothing-lost".to_owned())]);
}

#[test]
fn nothing_failed() {
    insta::assert_snapshot!(render(&[nothing()]));
}

#[test]
fn much_failed() {
    insta::assert_snapshot!(render(&[broken(), herd()]));
}

#[test]
fn an_interrupted_run() {
    insta::assert_snapshot!(render(&[inconclusive()]));
}

/// Reports from before the newer keys.
#[test]
fn a_report_without_the_newer_keys_is_still_read() {
    const NEWER: [&str; 10] = [
        "flow",
        "slow_consumers",
        "drain",
        "server",
        "reconnects",
        "breaker",
        "trend",
        "escalation",
        "left_over",
        "during",
    ];
    let mut old = serde_json::to_value(cascade()).unwrap();
    let keys = old.as_object_mut().unwrap();
    NEWER.iter().for_each(|key| drop(keys.remove(*key)));
    for (_, fault) in old["faults"].as_object_mut().unwrap() {
        let fault: &mut Value = fault;
        fault.as_object_mut().unwrap().remove("parts");
    }
    let old: Report = serde_json::from_value(old).unwrap();
    assert!(causes(&old).contains(&(Origin::Ours, "fault terminate".to_owned())));
    assert!(render(&[old]).contains("## Injected by us"));
}
