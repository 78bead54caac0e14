//! The judgement against made-up reports: each way in which a selftest must fail.

use super::super::matrix::{Honest, Matrix, Planted};
use super::super::stages::stages;
use super::*;
use crate::report::model::{ServerStats, StatCheck};
use crate::verdict::{Outcome, exit_code};

/// The first stage, with what a server would tell of it and the report that would be exact.
fn exact() -> (Stage, Vec<Truth>, Report) {
    let stage = stages().into_iter().next().expect("a stage");
    let truths: Vec<Truth> = stage.planted().map(|row| truth(&stage, row)).collect();
    let mut report = untouched(&stage);
    let mut told = truths.iter();
    for row in &stage.rows {
        let truth = row.kind.and_then(|_| told.next());
        for found in &row.found {
            let planted = truth.expect("whatever is found was planted").planted;
            match *found {
                Found::Ledger(class) => set(&mut report, row.name, class, planted),
                Found::Surplus(name) => check(&mut report, name).server = Some(planted as f64),
                other => panic!("{other:?} is not in this stage"),
            }
        }
        judgement(&mut report, row.name).verdict = row.verdict;
    }
    report.verdict = Verdict::Fail;
    (stage, truths, report)
}

/// The report of an honest server.
fn untouched(stage: &Stage) -> Report {
    let mut report = Report { verdict: Verdict::Pass, ..Report::default() };
    for row in &stage.rows {
        if let Some(group) = row.group {
            let owed = u64::from(group.subscriptions) * stage.owed_each();
            let ledger = Ledger { obligations: owed, delivered: owed, ..Ledger::default() };
            report.groups.insert(row.name.to_owned(), Slice { ledger, ..Slice::default() });
        }
        let id = row.name.to_owned();
        report.expectations.push(Judgement { id, verdict: Verdict::Pass, ..Judgement::default() });
    }
    let agrees = |name: &str| StatCheck {
        name: name.to_owned(),
        server: Some(0.0),
        verdict: Verdict::Pass,
        ..StatCheck::default()
    };
    let checks = ["subscriptions after close", "published"].map(agrees).into();
    report.server_stats = Some(ServerStats { checks, ..ServerStats::default() });
    report
}

fn truth(stage: &Stage, row: &Row) -> Truth {
    let channels = stage.channels_of(row).expect("channels of its own");
    let Asked::OnEach(times) = row.asked else { panic!("{} is asked on each channel", row.name) };
    Truth {
        kind: row.kind.unwrap_or_default().to_owned(),
        parameters: String::new(),
        planted: times * u64::from(channels.end() - channels.start() + 1),
        deliveries: 0,
        channels: channels.map(|channel| (channel.to_string(), times)).collect(),
    }
}

fn set(report: &mut Report, group: &str, class: &str, to: u64) {
    let ledger = &mut report.groups[group].ledger;
    let mut figures = serde_json::to_value(&*ledger).expect("plain data");
    figures[class] = to.into();
    *ledger = serde_json::from_value(figures).expect("plain data");
}

fn check<'a>(report: &'a mut Report, name: &str) -> &'a mut StatCheck {
    let stats = report.server_stats.as_mut().expect("figures");
    stats.checks.iter_mut().find(|check| check.name == name).expect("a figure of this name")
}

fn judgement<'a>(report: &'a mut Report, id: &str) -> &'a mut Judgement {
    report.expectations.iter_mut().find(|judged| judged.id == id).expect("a condition of this name")
}

/// The matrix of one planted run, or what is wrong with it.
fn matrix(stage: &Stage, report: &Report, truths: &[Truth]) -> Matrix {
    let (lines, strays) = planted(stage, report, truths);
    let mut matrix = Matrix::new(1);
    matrix.stages.push(Planted {
        stage: stage.name.to_owned(),
        about: stage.about.to_owned(),
        duration_s: 1.0,
        lines,
        strays,
        invalid: false,
    });
    matrix
}

/// Changes what was exact; the selftest must end with 1 and say this, and nothing else.
#[track_caller]
fn is_wrong(change: impl FnOnce(&mut Vec<Truth>, &mut Report), says: &[&str]) {
    let (stage, mut truths, mut report) = exact();
    change(&mut truths, &mut report);
    let matrix = matrix(&stage, &report, &truths);
    assert_eq!(exit_code(&[matrix.outcome()]), 1, "{matrix:?}");
    let stage = &matrix.stages[0];
    let said = stage.lines.iter().flat_map(|line| &line.wrong).chain(&stage.strays);
    assert_eq!(said.collect::<Vec<_>>(), says);
}

#[test]
fn what_is_exact_passes() {
    let (stage, truths, report) = exact();
    let matrix = matrix(&stage, &report, &truths);
    assert_eq!(matrix.outcome(), Outcome::Passed, "{matrix:?}");
    assert_eq!(matrix.stages[0].lines[0].found[0].found, 32);
}

#[test]
fn one_too_few_is_wrong() {
    is_wrong(|_, report| set(report, "drop", "lost_proven", 31), &["31 lost_proven, not 32"]);
}

#[test]
fn one_too_many_is_wrong() {
    is_wrong(|_, report| set(report, "duplicate", "duplicated", 33), &["33 duplicated, not 32"]);
}

#[test]
fn a_figure_must_be_that_of_the_server_and_not_of_the_plan() {
    let says = ["the server struck 31 times, not 32 as asked", "32 lost_proven, not 31"];
    is_wrong(|truths, _| truths[0].planted = 31, &says);
}

#[test]
fn another_class_is_wrong() {
    let presumed = |_: &mut Vec<Truth>, report: &mut Report| {
        set(report, "drop", "lost_proven", 31);
        set(report, "drop", "lost_presumed", 1);
    };
    is_wrong(presumed, &["31 lost_proven, not 32", "1 lost_presumed that nothing was planted for"]);
    for class in WRONG.into_iter().filter(|class| *class != "lost_proven") {
        let says = format!("1 {class} that nothing was planted for");
        is_wrong(|_, report| set(report, "drop", class, 1), &[&says]);
    }
}

#[test]
fn a_loss_in_another_group_is_wrong() {
    let says = ["1 lost_proven that nothing was planted for"];
    is_wrong(|_, report| set(report, "honest", "lost_proven", 1), &says);
    is_wrong(|_, report| set(report, "drop-first", "lost_proven", 1), &says);
}

#[test]
fn what_never_happened_proves_nothing() {
    let never = |truths: &mut Vec<Truth>, report: &mut Report| {
        truths[0] = Truth { kind: "drop".to_owned(), ..Truth::default() };
        set(report, "drop", "lost_proven", 0);
    };
    is_wrong(never, &["the server struck 0 times, not 32 as asked"]);
}

#[test]
fn what_happened_elsewhere_is_wrong() {
    let elsewhere = |truths: &mut Vec<Truth>, _: &mut Report| {
        truths[0].channels.insert("119".to_owned(), 1);
    };
    is_wrong(elsewhere, &["the server struck on channel 119, which is not its own"]);
}

#[test]
fn another_verdict_is_wrong() {
    is_wrong(
        |_, report| judgement(report, "drop").verdict = Verdict::Pass,
        &["its condition is pass, not fail"],
    );
    is_wrong(
        |_, report| judgement(report, "honest").verdict = Verdict::Inconclusive,
        &["its condition is inconclusive, not pass"],
    );
    is_wrong(|_, report| report.verdict = Verdict::Pass, &["the whole run is pass, not fail"]);
}

#[test]
fn what_nobody_was_owed_is_wrong() {
    let says = ["319 deliveries owed, not 320"];
    is_wrong(|_, report| report.groups["reorder"].ledger.obligations -= 1, &says);
}

#[test]
fn connections_figures_and_waits_are_looked_at() {
    is_wrong(
        |_, report| report.groups["drop"].connections.dropped_unexpectedly = 1,
        &["1 connections dropped unexpectedly"],
    );
    is_wrong(
        |_, report| {
            report.groups["drop"].connections.failed.insert("open.reset".to_owned(), 2);
        },
        &["2 open.reset that nothing was planted for"],
    );
    is_wrong(|_, report| report.run.timed_out.push("drain".to_owned()), &["the drain deadline passed"]);
    is_wrong(|_, report| report.published.unknown = 3, &["3 events never acknowledged"]);
    let miscounted = |_: &mut Vec<Truth>, report: &mut Report| {
        *check(report, "published") =
            StatCheck { verdict: Verdict::Fail, ..check(report, "published").clone() };
    };
    is_wrong(miscounted, &["the server's `published` is 0, not 0"]);
    is_wrong(
        |_, report| check(report, "subscriptions after close").server = Some(7.0),
        &["7 subscriptions after close, not 8"],
    );
    is_wrong(
        |_, report| report.server_stats = None,
        &["0 subscriptions after close, not 8", "the server told no figures"],
    );
}

#[test]
fn a_defect_that_is_not_told_of_is_wrong() {
    let (stage, mut truths, report) = exact();
    truths.pop();
    let matrix = matrix(&stage, &report, &truths);
    assert_eq!(exit_code(&[matrix.outcome()]), 1);
}

#[test]
fn an_honest_run_with_one_alarm_is_wrong() {
    let (stage, truths, report) = exact();
    let exact = matrix(&stage, &report, &truths);
    let judged = |change: fn(&mut Report)| {
        let mut report = untouched(&stage);
        change(&mut report);
        let (stage_name, alarms) = (stage.name.to_owned(), alarms(&stage, &report));
        let honest =
            Honest { stage: stage_name, seed: 1, duration_s: 1.0, alarms, limited: false, invalid: false };
        Matrix { honest: vec![honest], ..exact.clone() }
    };
    assert_eq!(judged(|_| ()).outcome(), Outcome::Passed);
    let changes: [fn(&mut Report); 5] = [
        |report| set(report, "drop", "lost_proven", 1),
        |report| judgement(report, "drop").verdict = Verdict::Fail,
        |report| judgement(report, "drop").verdict = Verdict::Inconclusive,
        |report| report.run.timed_out.push("barrier".to_owned()),
        |report| report.groups["drop"].connections.dropped_unexpectedly = 1,
    ];
    for change in changes {
        let matrix = judged(change);
        assert_eq!(matrix.honest[0].alarms.len(), 1, "{matrix:?}");
        assert_eq!(exit_code(&[matrix.outcome()]), 1);
    }
}

#[test]
fn the_gravest_end_decides_the_exit_code() {
    let (stage, truths, report) = exact();
    let exact = matrix(&stage, &report, &truths);
    let interrupted = Matrix { interrupted: true, ..exact.clone() };
    assert_eq!(exit_code(&[interrupted.outcome()]), 3);
    let mut invalid = interrupted.clone();
    invalid.stages[0].invalid = true;
    assert_eq!(exit_code(&[invalid.outcome()]), 70);
    let mut wrong = interrupted;
    wrong.stages[0].strays.push("something".to_owned());
    assert_eq!(exit_code(&[wrong.outcome()]), 1);
}

#[test]
fn nothing_planted_is_nothing_proved() {
    assert_eq!(exit_code(&[Matrix::new(1).outcome()]), 3);
}

#[test]
fn the_matrix() {
    let (stage, truths, mut report) = exact();
    set(&mut report, "drop", "lost_proven", 31);
    let mut matrix = matrix(&stage, &report, &truths);
    matrix.honest = vec![
        Honest {
            stage: "deliveries".to_owned(),
            seed: 1,
            duration_s: 4.0,
            alarms: Vec::new(),
            limited: false,
            invalid: false,
        },
        Honest {
            stage: "deliveries".to_owned(),
            seed: 2,
            duration_s: 4.0,
            alarms: vec!["drop: 1 late that nothing was planted for".to_owned()],
            limited: false,
            invalid: false,
        },
    ];
    matrix.duration_s = 61.2;
    let text = matrix.text(crate::report::style::Style::default(), 100);
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn a_machine_that_is_too_busy_accuses_nobody_and_proves_nothing() {
    let (stage, _, _) = exact();
    let mut report = untouched(&stage);
    let busy = "the generator was limited: its event loop woke up late";
    let judged = judgement(&mut report, "honest");
    (judged.verdict, judged.why) = (Verdict::Inconclusive, Some(busy.to_owned()));
    let before = alarms(&stage, &untouched(&stage));
    assert_eq!((alarms(&stage, &report), limited(&report)), (before, true));
    assert!(!limited(&untouched(&stage)));
    judgement(&mut report, "honest").why =
        Some("whether 3 owed deliveries were lost cannot be decided".to_owned());
    assert!(!limited(&report) && !alarms(&stage, &report).is_empty());
}
