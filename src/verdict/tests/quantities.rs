//! Finding a quantity in a report and comparing it.

use super::*;

#[test]
fn a_whole_judgement() {
    let report = healthy();
    let judgement = judge(&established(), &Evidence::of(&report));
    let interval = judgement.interval;
    let expected = Judgement {
        id: "id".to_owned(),
        condition: "connections.established_ratio >= 99%".to_owned(),
        observed: Some(Observed::Number(0.995)),
        observed_text: "99.5 % (995 of 1,000)".to_owned(),
        limit: "≥ 99 %".to_owned(),
        interval,
        verdict: Verdict::Pass,
        why: None,
    };
    assert_eq!(judgement, expected);
    let [low, high] = interval.unwrap();
    assert!(low > 0.988 && low < 0.989 && high > 0.998 && high < 0.999, "{low} {high}");
}

#[test]
fn counts_and_durations_hold_or_not() {
    let mut report = healthy();
    assert_eq!(verdict(&lost(), &report), pass());
    assert_eq!(verdict(&p99(), &report), pass());
    report.ledger.lost = 3;
    report.latency = deliver(100_400);
    assert_eq!(verdict(&lost(), &report), fail("observed 3, wanted = 0"));
    assert_eq!(verdict(&p99(), &report), fail("observed 100.4 ms, wanted < 100 ms"));
}

#[test]
fn every_comparison() {
    use Op::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
    let table = [
        (Less, [true, false, false]),
        (LessOrEqual, [true, true, false]),
        (Equal, [false, true, false]),
        (NotEqual, [true, false, true]),
        (GreaterOrEqual, [false, true, true]),
        (Greater, [false, false, true]),
    ];
    for (op, expected) in table {
        assert_eq!([1.0, 2.0, 3.0].map(|number| judge::holds(number, op, 2.0)), expected, "{op:?}");
    }
}

#[test]
fn subjects_are_groups_or_phases() {
    let mut report = healthy();
    let mut slice = Slice { ledger: report.ledger.clone(), ..Slice::default() };
    report.groups.insert("bystanders".to_owned(), slice.clone());
    slice.ledger.lost = 2;
    report.groups.insert("victims".to_owned(), slice);
    let of = |name| condition("lost == 0", of(name, term("ledger.lost", Dimension::Count)), Op::Equal, 0.0);
    assert_eq!(verdict(&of("bystanders"), &report), pass());
    assert_eq!(verdict(&of("victims"), &report).0, Verdict::Fail);
    assert_eq!(verdict(&of("nobody"), &report), inconclusive("nothing was recorded for nobody"));

    report.phases = vec![PhaseReport { name: "load".to_owned(), duration_s: 9.0, ..PhaseReport::default() }];
    let duration = Term { subject: Some("load".to_owned()), ..term("duration_s", Dimension::Duration) };
    assert_eq!(verdict(&condition("load.duration < 10s", duration, Op::Less, 10.0), &report), pass());
}

/// Three phases of ten seconds; a fault in the middle one.
pub(super) fn phased() -> Report {
    let phase = |name: &str, start_s: f64, lost, p99_us| PhaseReport {
        name: name.to_owned(),
        start_s,
        end_s: start_s + 10.0,
        ledger: Ledger { obligations: 100, lost, ..Ledger::default() },
        latency: deliver(p99_us),
        ..PhaseReport::default()
    };
    let fault = FaultReport { parts: vec!["b".to_owned()], planned: 2, applied: 2, ..FaultReport::default() };
    Report {
        phases: vec![phase("a", 0.0, 1, 10_000), phase("b", 10.0, 20, 40_000), phase("c", 20.0, 300, 12_000)],
        faults: [("cut".to_owned(), fault)].into_iter().collect(),
        ..healthy()
    }
}

#[test]
fn windows_are_phases() {
    let observed = |when| {
        let condition = condition("x", during(when, term("ledger.lost", Dimension::Count)), Op::Equal, -1.0);
        let judgement = judge(&condition, &Evidence::of(&phased()));
        judgement.observed.ok_or(judgement.why)
    };
    let name = |name: &str| Some(name.to_owned());
    let table = [
        (When::In("b".to_owned()), 20.0),
        (When::During(name("b")), 20.0),
        (When::During(name("cut")), 20.0),
        (When::During(None), 20.0),
        (When::Before(name("b")), 1.0),
        (When::Before(name("cut")), 1.0),
        (When::Before(None), 1.0),
        (When::Before(name("c")), 21.0),
        (When::After(name("a")), 320.0),
        (When::After(None), 300.0),
    ];
    for (when, lost) in table {
        assert_eq!(observed(when.clone()), Ok(Observed::Number(lost)), "{when:?}");
    }
    assert_eq!(observed(When::In("z".to_owned())), Err(Some("nothing was recorded in z".to_owned())));
    assert_eq!(observed(When::Before(name("a"))), Err(Some("nothing was recorded before a".to_owned())));
}

#[test]
fn groups_within_phases() {
    let quotient = || {
        let p99 = |when| of("bystanders", during(when, term("latency.deliver.p99_us", Dimension::Duration)));
        let below = Over::Term(p99(When::Before(None)));
        over(condition("during / before < 1.25", p99(When::During(None)), Op::Less, 1.25), below)
    };
    let mut report = phased();
    assert_eq!(verdict(&quotient(), &report), inconclusive("bystanders was not recorded per phase"));
    for (phase, p99_us) in report.phases.iter_mut().zip([10_000, 12_000, 10_000]) {
        let slice = Slice { latency: deliver(p99_us), ..Slice::default() };
        phase.groups.insert("bystanders".to_owned(), slice);
    }
    assert_eq!(verdict(&quotient(), &report), pass());
    report.phases[1].groups["bystanders"].latency = deliver(13_000);
    assert_eq!(verdict(&quotient(), &report), fail("observed 1.3, wanted < 1.25"));
}

#[test]
fn predictions() {
    let delivered = |when: Option<When>| {
        let term = Term { when, ..term("ledger.delivered", Dimension::Count) };
        over(condition("delivered / predicted == 100%", term, Op::Equal, 1.0), Over::Predicted)
    };
    let mut report = healthy();
    assert_eq!(
        verdict(&delivered(None), &report),
        inconclusive("the plan predicts nothing for ledger.delivered")
    );
    report.predicted.insert("ledger.delivered".to_owned(), 1_000.0);
    assert_eq!(verdict(&delivered(None), &report), pass());
    report.predicted.insert("ledger.delivered".to_owned(), 1_001.0);
    assert_eq!(verdict(&delivered(None), &report), fail("observed 99.9 %, wanted = 100 %"));
    // A generator that did not keep to the plan has no plan to hold against the server, unless it was kept anyway.
    report.generator.health = Health::Limited;
    assert_eq!(
        verdict(&delivered(None), &report),
        inconclusive("the generator was limited: no reason was given")
    );
    report.predicted.insert("ledger.delivered".to_owned(), 1_000.0);
    assert_eq!(verdict(&delivered(None), &report), pass());
    report.generator.health = Health::Ok;
    report.predicted.insert("ledger.delivered".to_owned(), 0.0);
    assert_eq!(verdict(&delivered(None), &report), inconclusive("there is nothing to divide by: 1,000 / 0"));

    let mut report = phased();
    report.phases[1].ledger.delivered = 7;
    report.predicted.insert("ledger.delivered in b".to_owned(), 7.0);
    assert_eq!(verdict(&delivered(Some(When::In("b".to_owned()))), &report), pass());
}

#[test]
fn nothing_by_nothing_is_inconclusive() {
    let whole = Over::Term(term("connections.established", Dimension::Count));
    let open = term("connections.peak_open", Dimension::Count);
    let condition = over(condition("peak_open / established == 100%", open, Op::Equal, 1.0), whole);
    let mut report = Report::default();
    assert_eq!(verdict(&condition, &report), inconclusive("connections.peak_open has no samples"));
    report.connections.peak_open = Some(0);
    assert_eq!(verdict(&condition, &report), inconclusive("there is nothing to divide by: 0 / 0"));
}

#[test]
fn within_includes_both_ends() {
    let within = |low, high| {
        let left = Quantity { term: term("latency.deliver.p99_us", Dimension::Duration), over: None };
        let value = |number| Value { number, dimension: Dimension::Duration };
        let test = Test::Within { left, low: value(low), high: value(high) };
        Condition { test, ..p99() }
    };
    assert_eq!(verdict(&within(0.05, 0.06), &healthy()), pass());
    assert_eq!(verdict(&within(0.04, 0.05), &healthy()), pass());
    assert_eq!(verdict(&within(0.06, 0.07), &healthy()), fail("observed 50 ms, wanted 60 ms to 70 ms"));
}

#[test]
fn words_are_compared_as_words() {
    let is = |path, words: &[&str]| {
        let words = words.iter().map(ToString::to_string).collect();
        Condition { test: Test::Is { left: term(path, Dimension::Word), words }, ..lost() }
    };
    let report = healthy();
    assert_eq!(verdict(&is("run.stop_reason", &["completed", "other"]), &report), pass());
    assert_eq!(
        verdict(&is("run.stop_reason", &["a", "b"]), &report),
        fail("observed completed, wanted a or b")
    );
    assert_eq!(verdict(&is("run.interrupted", &["no"]), &report), pass());
}
