//! Each class of failure appears when it was observed, and not otherwise.

use serde_json::{Value, json};

use super::{Origin, document, observed};
use crate::report::closing::Ending;
use crate::report::documents::Scope;
use crate::report::model::*;
use crate::report::sample::{inconclusive, sample};
use crate::report::sample_broken::broken;
use crate::report::sample_herd::{cascade, herd};
use crate::verdict::Outcome;

mod kinds;

/// A report in which nothing happened at all.
fn nothing() -> Report {
    Report {
        scenario: ScenarioInfo { name: "quiet".to_owned(), scale: 1.0, ..ScenarioInfo::default() },
        target: TargetInfo { contract: "at-most-once".to_owned(), ordered: true, ..TargetInfo::default() },
        verdict: Verdict::Pass,
        ..Report::default()
    }
}

fn render(reports: &[Report]) -> String {
    document::render(&Scope::of(reports))
}

fn causes(report: &Report) -> Vec<(Origin, String)> {
    observed(std::slice::from_ref(report)).into_iter().map(|mode| (mode.origin, mode.cause)).collect()
}

fn fail(report: &mut Report, name: &str) {
    report.connections.failed.insert(name.to_owned(), 1);
}

fn slowed(limited_by: &str) -> Slowed {
    Slowed { slips: 1, limited_by: limited_by.to_owned(), ..Slowed::default() }
}

/// Deliveries that took longer all along.
fn slower() -> Trends {
    let grows = RatioTrend { word: TrendWord::Grows, ..RatioTrend::default() };
    Trends { deliver_p99: Some(grows), ..Trends::default() }
}

/// A server that was 40 % off at one moment.
fn wrong_meanwhile() -> ServerStats {
    let check = DuringCheck {
        name: "connections".to_owned(),
        at_s: 12.5,
        server: 60.0,
        low: 100.0,
        high: Some(110.0),
        error_ratio: 0.4,
        ..DuringCheck::default()
    };
    ServerStats {
        worst_during: StatError { error_ratio: Some(0.4) },
        during: Some(StatsDuring { samples: 30, failed: 0, checks: vec![check] }),
        ..ServerStats::default()
    }
}

fn fails(id: &str, condition: &str) -> Judgement {
    let (id, condition) = (id.to_owned(), condition.to_owned());
    Judgement { id, condition, verdict: Verdict::Fail, ..Judgement::default() }
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

/// As [`fails`], with what was observed and, of another round than the shown one, its number.
fn failed(id: &str, condition: &str, observed: f64, round: Option<u64>) -> Judgement {
    let why = round.map(|round| format!("in round {round}: observed {observed}, wanted less"));
    Judgement { observed: Some(Observed::Number(observed)), why, ..fails(id, condition) }
}

fn of_server(causes: &[&str]) -> Vec<(Origin, String)> {
    causes.iter().map(|cause| (Origin::Server, (*cause).to_owned())).collect()
}

#[test]
fn a_schedule_that_slipped_is_told_with_what_the_servers_busiest_thread_did() {
    let mut report = nothing();
    let waited = Slowed { server_cpu_share: Some(0.6), server_wait_share: Some(0.35), ..slowed("machine") };
    report.published.slowed = Some(waited);
    let text = render(&[report.clone()]);
    let busiest = "limited by: machine; the server's busiest thread ran 60 % of the time and waited 35 % for a processor";
    assert!(text.contains(busiest), "{text}");
    report.published.slowed = Some(slowed("machine"));
    assert!(!render(&[report]).contains("busiest"), "not known");
}

#[test]
fn an_unrelated_failure_does_not_hide_another() {
    let mut report = nothing();
    report.published.slowed = Some(slowed("server"));
    report.expectations =
        vec![failed("counts-all-along", "server_stats.worst_during.error_ratio <= 1%", 0.4, None)];
    assert_eq!(causes(&report), of_server(&["rate-not-held", "limit counts-all-along"]));
    // Where the moments are known they tell it.
    report.server_stats = Some(wrong_meanwhile());
    assert_eq!(causes(&report), of_server(&["server-counts-during", "rate-not-held"]));
    let text = render(&[report]);
    let moment = "connections: at 12.5 s of the run the server said 60 where between 100 and 110 was true";
    assert!(text.contains(moment) && text.contains("off by 40 % at the worst, in 30 answers"), "{text}");
}

#[test]
fn what_failed_in_another_round_is_listed_beside_what_failed_in_the_shown_one() {
    let mut report = nothing();
    report.rounds = Some(Rounds { completed: 2, shown: 2, ..Rounds::default() });
    report.ledger.late = 7;
    report.expectations = vec![
        failed("nothing-lost", "ledger.lost == 0", 3.0, Some(1)),
        failed("nothing-late", "ledger.late == 0", 7.0, None),
    ];
    assert_eq!(causes(&report), of_server(&["late", "limit nothing-lost"]));
    // Even where the shown round lost something too: it is not what was judged.
    (report.ledger.lost, report.ledger.lost_proven) = (3, 3);
    assert_eq!(causes(&report), of_server(&["lost_proven", "late", "limit nothing-lost"]));
    assert!(render(&[report]).contains("when: in round 1"));
}

/// A condition, what it observed, what was counted beside it, and whether that tells it.
type Told = (&'static str, f64, fn(&mut Report), bool);

#[test]
fn a_condition_is_told_by_its_own_causes_and_only_if_they_are_as_many() {
    const TABLE: &[Told] = &[
        ("ledger.lost == 0", 5.0, |r| r.ledger.lost_presumed = 5, true),
        ("victims.ledger.lost == 0", 5.0, |r| r.ledger.lost_presumed = 9, true),
        ("ledger.lost in load == 0", 5.0, |r| r.ledger.lost_presumed = 5, true),
        ("ledger.lost == 0", 5.0, |r| r.ledger.lost_presumed = 4, false),
        ("ledger.lost == 0", 5.0, |r| r.ledger.late = 5, false),
        ("ledger.lost / ledger.obligations == 0%", 0.5, |r| r.ledger.lost_presumed = 5, false),
        ("ledger.corrupted == 0", 1.0, |r| r.ledger.corrupted = 1, true),
        ("ledger.strange == 0", 2.0, |r| (r.ledger.phantom, r.ledger.duplicated) = (1, 1), true),
        ("ledger.suppressed == 0", 1.0, |r| r.ledger.suppressed = 1, false),
        ("ledger.delivered / predicted == 100%", 0.9, |r| r.ledger.lost_proven = 10, true),
        ("ledger.delivered / predicted == 100%", 0.9, |r| r.ledger.lost_proven = 9, false),
        ("connections.dropped_unexpectedly == 0", 2.0, |r| fail_times(r, "open.closed", 2), true),
        ("connections.dropped_unexpectedly == 0", 2.0, |r| fail_times(r, "upgrade.http-503", 2), false),
        ("connections.established_ratio >= 99%", 0.9, |r| fail_times(r, "upgrade.http-503", 10), true),
        ("connections.established_ratio >= 99%", 0.9, |r| fail_times(r, "upgrade.http-503", 9), false),
        ("connections.established_ratio >= 99%", 0.9, |r| fail_times(r, "open.closed", 10), false),
        ("errors.unexplained == 0", 1.0, |r| fail_times(r, "tcp.io", 1), true),
        ("errors.unexplained == 0", 1.0, |r| fail_times(r, "tcp.refused", 1), false),
        ("errors.ratio < 0.5%", 0.1, |r| fail_times(r, "publish.error", 19), true),
        ("errors.ratio < 0.5%", 0.1, |r| fail_times(r, "publish.error", 18), false),
        ("victims.recovered_ratio == 100%", 0.5, |r| r.reconnects.attempts = 8, true),
        ("server.alive is yes", 0.0, |r| r.server.alive = Some(false), true),
        ("server.alive is yes", 0.0, |r| r.ledger.late = 1, false),
        ("server_stats.worst.error_ratio <= 1%", 0.1, |r| wrong(r, "delivered"), true),
        ("server_stats.gauges.error_ratio == 0%", 0.1, |r| wrong(r, "subscriptions after close"), true),
        ("server_stats.gauges.error_ratio == 0%", 0.1, |r| wrong(r, "delivered"), false),
        ("server_stats.gauges.error_ratio in load == 0%", 0.1, |r| wrong(r, "connections"), false),
        ("setup.duration < 30s", 40.0, |r| r.ledger.late = 1, false),
        ("published.rate / predicted >= 99%", 0.5, |r| r.published.slowed = Some(slowed("server")), true),
    ];
    for (condition, observed, plant, told) in TABLE {
        let mut report = nothing();
        report.predicted.insert("ledger.delivered".to_owned(), 100.0);
        (report.connections.attempted, report.connections.established) = (100, 90);
        (report.published.sent, report.published.attempted, report.ledger.obligations) = (100, 100, 100);
        (report.connections.absences, report.connections.recovered) = (8, 4);
        plant(&mut report);
        report.expectations = vec![failed("it", condition, *observed, None)];
        let listed = causes(&report).iter().any(|(_, cause)| cause == "limit it");
        assert_eq!(!listed, *told, "{condition} at {observed}: {:?}", causes(&report));
    }
}

fn fail_times(report: &mut Report, name: &str, n: u64) {
    report.connections.failed.insert(name.to_owned(), n);
}

fn wrong(report: &mut Report, name: &str) {
    let check = StatCheck { name: name.to_owned(), verdict: Verdict::Fail, ..StatCheck::default() };
    report.server_stats = Some(ServerStats { checks: vec![check], ..ServerStats::default() });
}

#[test]
fn what_could_not_be_decided_is_there_with_its_reason() {
    let mut report = nothing();
    assert!(!render(&[report.clone()]).contains("ndecided"));
    let open = |why: &str| Judgement {
        verdict: Verdict::Inconclusive,
        observed_text: "246 %".to_owned(),
        limit: "< 10 %".to_owned(),
        why: Some(why.to_owned()),
        ..fails("no-degradation", "trend.deliver_p99.growth < 10%")
    };
    report.verdict = Verdict::Inconclusive;
    report.expectations = vec![open("it rose in a part of the run only")];
    report.reached = vec![failed("all-cut", "faults.cut.applied > 0", 0.0, Some(2))];
    report.why = [
        "no-degradation could not be judged: it rose in a part of the run only",
        "all-cut was not reached: in round 2: observed 0, wanted > 0",
        "only 9 of 10 planned events were published",
    ]
    .map(str::to_owned)
    .to_vec();
    assert_eq!(causes(&report), [], "nothing failed");
    let text = render(&[report]);
    assert!(text.contains("**No failure was observed**"), "{text}");
    assert!(text.contains("**3 things could not be decided**: [Undecided](#undecided)."), "{text}");
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `quiet` | ")).take(3).collect();
    assert_eq!(
        rows,
        [
            "| `quiet` | **`no-degradation`**<br>`trend.deliver_p99.growth < 10%` | 246 %, wanted &lt; 10 % | it rose in a \
             part of the run only |",
            "| `quiet` | **`all-cut`**<br>`faults.cut.applied > 0` | , wanted  | the situation had to occur and did not: in \
             round 2 |",
            "| `quiet` | the whole run | – | only 9 of 10 planned events were published |",
        ]
    );
}

#[test]
fn a_scenario_that_was_not_run_is_undecided() {
    let reports = [nothing()];
    let mut endings = vec![Ending::of(&reports[0])];
    endings.push(Ending {
        name: "too-large".to_owned(),
        outcome: Outcome::Inconclusive,
        judged: None,
        why: Some("this machine is too small:\n- it needs more files".to_owned()),
    });
    let text = document::render(&Scope { endings, ..Scope::of(&reports) });
    let row =
        "| `too-large` | the whole run | – | not run: this machine is too small: - it needs more files |";
    assert!(text.contains("**1 thing could not be decided**") && text.contains(row), "{text}");
    assert!(render(&[]).contains("**Nothing was run to its end, so nothing was observed.**"));
}

#[test]
fn tries_that_we_ended_are_told_apart_from_those_that_failed() {
    let mut report = cascade();
    report.reconnects.failed = report.reconnects.aborted_by_plan;
    let told = |report: &Report| super::circumstances::came_back(report).expect("some came back");
    let none = "by 1,740 tries, 1,180 of which a fault of ours ended and none failed otherwise; after";
    assert!(told(&report).contains(none), "{}", told(&report));
    report.reconnects.failed += 60;
    assert!(told(&report).contains("ended and 60 failed otherwise"), "{}", told(&report));
}

#[test]
fn ends_that_the_plan_spread_do_not_look_like_slow_recovery() {
    let mut report = herd();
    report.reconnects = Reconnects {
        ended: 500,
        attempts: 500,
        restored_50_s: Some(9.74),
        restored_95_s: Some(19.9),
        restored_100_s: Some(21.7),
        ..Reconnects::default()
    };
    let told = |report: &Report| super::circumstances::came_back(report).expect("some came back");
    assert!(told(&report).contains("after the first end 50 % were back after 9.74 s"), "{}", told(&report));
    report.faults["cut"].last_s = report.faults["cut"].first_s.map(|first| first + 21.7);
    let each = "the ends were spread over 21.7 s by the plan, and half of them were back within 90 ms each, the slowest within 206 ms";
    assert!(told(&report).ends_with(each), "{}", told(&report));
}

#[test]
fn who_else_was_there_is_told_of_our_own_faults_too_and_nobody_where_there_was_nobody() {
    let text = render(&[herd()]);
    let missed = text.split("(`missed_disconnected`)").nth(1).expect("it was observed");
    let (missed, _) = missed.split_once("### ").expect("a fault follows");
    assert!(missed.contains("others meanwhile: bystanders: 0 of 500"), "{missed}");
    assert!(missed.contains("to whom: clients: 412 of 20,000; of them victims: 412 of 10,000"), "{missed}");
    let mut everybody = herd();
    everybody.groups.shift_remove("bystanders");
    let text = render(&[everybody]);
    assert!(text.contains("others meanwhile: nobody was spared by the plan\n"), "{text}");
    assert!(!text.contains("of all deliveries"), "{text}");
}

#[test]
fn each_fault_names_its_own_victims() {
    let mut report = herd();
    assert!(render(&[report.clone()]).contains("to whom: victims of all faults together: 500 connections\n"));
    report.faults["cut"].victims = 130;
    report.faults["cut"].groups =
        [("clients".to_owned(), 100), ("feed".to_owned(), 30)].into_iter().collect();
    let text = render(&[report]);
    assert!(text.contains("to whom: 130 connections: 100 of the 1,000 clients, 30 of feed\n"), "{text}");
}

#[test]
fn when_connections_ended_and_one_of_them_is_told_where_it_is_known() {
    let mut report = nothing();
    fail(&mut report, "open.closed");
    let unknown = "when: after the connection was established; the report does not say at what time\n";
    assert!(render(&[report.clone()]).contains(unknown));
    let span = FailedSpan { first_s: 3.5, last_s: 9.0, group: "clients".to_owned(), connection: 17 };
    report.connections.failed_spans.insert("open.closed".to_owned(), span);
    let text = render(&[report]);
    let when = "when: after the connection was established; the first at 3.5 s, the last at 9 s of the run\n";
    assert!(text.contains(when), "{text}");
    assert!(text.contains("to follow: connection 17 of clients, at 3.5 s of the run\n"), "{text}");
}

#[test]
fn a_late_delivery_can_be_followed() {
    let mut report = nothing();
    report.ledger.late = 1;
    report.ledger.examples = vec![Example { class: "late".to_owned(), seq: 4, ..Example::default() }];
    assert!(render(&[report]).contains("to follow: late: channel 0, publisher 0, epoch 0, seq 4"));
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
