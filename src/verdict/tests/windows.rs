//! Windows over several phases, over faults, and over stages that are no phases.

use super::quantities::phased;
use super::*;
use crate::metrics::{Precision, Recorder};

fn name(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// What a term comes to, or why it comes to nothing.
fn observed(report: &Report, term: Term) -> Result<f64, String> {
    let judgement = judge(&condition("x == -1", term, Op::Equal, -1.0), &Evidence::of(report));
    match judgement.observed {
        Some(Observed::Number(number)) => Ok(number),
        _ => Err(judgement.why.unwrap_or_default()),
    }
}

fn distribution(values: &[u64]) -> Latencies {
    let mut recorder = Recorder::new(Precision::Coarse);
    values.iter().for_each(|us| recorder.record_us(*us));
    Latencies { deliver: recorder.latency(), ..Latencies::default() }
}

#[test]
fn percentiles_over_several_phases_are_those_of_all_deliveries() {
    let mut report = phased();
    // The median of the two medians would be 2 ms; that of all nine is 3 ms.
    report.phases[0].latency = distribution(&[1_000]);
    report.phases[1].latency = distribution(&[2_000, 3_000, 3_000, 3_000, 3_000, 3_000, 4_000, 100_000]);
    let before = |figure: &str, dimension| {
        during(When::Before(name("c")), term(&format!("latency.deliver.{figure}"), dimension))
    };
    let near = |figure, expected: f64| {
        let number = observed(&report, before(figure, Dimension::Duration)).unwrap();
        assert!((number - expected).abs() < 0.01 * expected, "{figure}: {number}");
    };
    near("p50_us", 0.003);
    near("min_us", 0.001);
    near("max_us", 0.1);
    assert_eq!(observed(&report, before("count", Dimension::Count)), Ok(9.0));
    // A phase in which nothing was delivered takes nothing away.
    report.phases[0].latency = Latencies::default();
    assert_eq!(observed(&report, before("count", Dimension::Count)), Ok(8.0));
    report.phases[1].latency = Latencies::default();
    assert_eq!(observed(&report, before("p50_us", Dimension::Duration)), Err("no samples".to_owned()));
    // Figures without their histogram cannot be put together.
    report.phases[1].latency = deliver(40_000);
    let unreadable = Err("deliver of one phase cannot be read".to_owned());
    assert_eq!(observed(&report, before("p99_us", Dimension::Duration)), unreadable);
}

#[test]
fn rates_and_silences_of_several_phases_are_not_made_up() {
    let before = |path: &str, dimension| during(When::Before(name("c")), term(path, dimension));
    let why = |metric: &str| Err(format!("{metric} was not recorded over several phases together"));
    let mut report = phased();
    report.phases.iter_mut().for_each(|phase| {
        phase.published.rate = Some(10.0);
        phase.flow.longest_silence_s = Some(0.5);
        phase.duration_s = 10.0;
    });
    assert_eq!(observed(&report, before("published.rate", Dimension::Rate)), why("published.rate"));
    let silence = before("flow.longest_silence_s", Dimension::Duration);
    assert!(observed(&report, silence).is_err());
    let one = during(When::In("b".to_owned()), term("flow.longest_silence_s", Dimension::Duration));
    assert_eq!(observed(&report, one), Ok(0.5));
    assert_eq!(observed(&report, before("duration_s", Dimension::Duration)), Ok(20.0));
}

#[test]
fn nothing_is_during_or_after_a_fault_that_never_was() {
    let mut report = phased();
    let lost = |when| during(when, term("ledger.lost", Dimension::Count));
    report.faults["cut"].applied = 0;
    for (when, why) in [
        (When::During(None), "no fault was applied, so nothing was recorded during the faults"),
        (When::After(name("cut")), "cut was never applied, so nothing was recorded after cut"),
    ] {
        assert_eq!(observed(&report, lost(when)), Err(why.to_owned()));
    }
    assert_eq!(observed(&report, lost(When::Before(None))), Ok(1.0), "before it nothing had to happen");
    assert_eq!(observed(&report, lost(When::During(name("b")))), Ok(20.0), "a phase needs no fault");
}

#[test]
fn a_fault_of_a_phase_that_never_began_is_later_than_all_that_did() {
    let mut report = phased();
    report.phases.truncate(1);
    let lost = |when| during(when, term("ledger.lost", Dimension::Count));
    assert_eq!(observed(&report, lost(When::Before(name("cut")))), Ok(1.0));
    let nothing = Err("nothing was recorded during cut".to_owned());
    assert_eq!(observed(&report, lost(When::During(name("cut")))), nothing);
}

#[test]
fn predictions_of_counts_add_up() {
    let mut report = phased();
    for (key, value) in [("ledger.lost in a", 2.0), ("ledger.lost in b", 10.0), ("published.rate in b", 5.0)]
    {
        report.predicted.insert(key.to_owned(), value);
    }
    report.phases[1].published.rate = Some(4.0);
    let ratio = |when, path, dimension| {
        let test = condition("x == -1", during(when, term(path, dimension)), Op::Equal, -1.0);
        let judgement = judge(&over(test, Over::Predicted), &Evidence::of(&report));
        judgement.observed.ok_or(judgement.why.unwrap_or_default())
    };
    let number = |n| Ok(Observed::Number(n));
    assert_eq!(ratio(When::Before(name("c")), "ledger.lost", Dimension::Count), number(21.0 / 12.0));
    assert_eq!(ratio(When::During(name("cut")), "published.rate", Dimension::Rate), number(0.8));
    let nothing = "the plan predicts nothing for ledger.lost after cut";
    assert_eq!(ratio(When::After(name("cut")), "ledger.lost", Dimension::Count), Err(nothing.to_owned()));
}

#[test]
fn latencies_are_judged_by_what_was_drawn() {
    let mut report = phased();
    report.predicted.insert("latency.deliver.p50 in b".to_owned(), 0.55);
    report.generator.drain_p99_us = Some(2_000);
    let p50 = during(When::In("b".to_owned()), term("latency.deliver.p50_us", Dimension::Duration));
    let quantity = Quantity { term: p50, over: Some(Over::Predicted) };
    let ratio = |number| Value { number, dimension: Dimension::Ratio };
    let test = Test::Within { left: quantity, low: ratio(0.95), high: ratio(1.05) };
    let centred = Condition { test, text: "p50 / predicted within 95%..105%".to_owned(), ..lost() };
    let mut at = |p50_us| {
        let slow = Latency { count: 100, p50_us, ..Latency::default() };
        report.phases[1].latency.deliver = Some(slow);
        verdict(&centred, &report)
    };
    assert_eq!(at(556_000), pass());
    assert_eq!(at(600_000), fail("observed 109.1 %, wanted 95 % to 105 %"));
    // Without its delays nothing is left of the latency but our own processing, which made it no shorter.
    assert_eq!(at(1_500).0, Verdict::Fail);
    // Beyond the upper limit our own processing may be to blame.
    report.generator.drain_p99_us = Some(80_000);
    report.phases[1].latency.deliver = Some(Latency { count: 100, p50_us: 600_000, ..Latency::default() });
    assert_eq!(verdict(&centred, &report).0, Verdict::Inconclusive);
}

#[test]
fn our_own_processing_decides_no_quotient_of_two_phases() {
    let mut report = phased();
    report.generator.drain_p99_us = Some(2_000);
    let p99 =
        |phase: &str| during(When::In(phase.to_owned()), term("latency.deliver.p99_us", Dimension::Duration));
    let mut ratio = |calm_us, slow_us, op, limit| {
        report.phases[0].latency = deliver(calm_us);
        report.phases[1].latency = deliver(slow_us);
        let quotient = over(condition("x", p99("a"), op, limit), Over::Term(p99("b")));
        verdict(&quotient, &report).0
    };
    // Far below what was injected: without our share it would be further below.
    assert_eq!(ratio(3_000, 900_000, Op::Less, 0.1), Verdict::Pass);
    assert_eq!(ratio(900_000, 3_000, Op::Less, 400.0), Verdict::Inconclusive, "the divisor is ours");
    assert_eq!(ratio(900_000, 3_000, Op::Less, 100.0), Verdict::Fail, "a smaller divisor fails more");
    assert_eq!(ratio(3_000, 10_000, Op::Less, 0.1), Verdict::Inconclusive, "the part is ours");
    assert_eq!(ratio(3_000, 900_000, Op::Greater, 0.1), Verdict::Fail);
    assert_eq!(ratio(3_000, 900_000, Op::Greater, 0.001), Verdict::Inconclusive);
}

#[test]
fn gauges_are_known_in_set_up_when_closed_and_at_the_end_of_phases() {
    let check =
        |name: &str, error_ratio| StatCheck { name: name.to_owned(), error_ratio, ..StatCheck::default() };
    let mut report = phased();
    let gauge = |when: When, which: &str| {
        during(when, term(&format!("server_stats.{which}.error_ratio"), Dimension::Ratio))
    };
    let stage = |stage: &str| When::In(stage.to_owned());
    let unread = Err("the server's statistics were not read after the last close".to_owned());
    assert_eq!(observed(&report, gauge(stage("closed"), "gauges")), unread);
    report.server_stats = Some(ServerStats {
        checks: vec![
            check("connections at census", Some(0.5)),
            check("connections at census", Some(0.0)),
            check("subscriptions at census", Some(0.25)),
            check("connections after close", Some(0.0)),
            check("subscriptions after close", Some(3.0)),
        ],
        ..ServerStats::default()
    });
    assert_eq!(observed(&report, gauge(stage("setup"), "connections")), Ok(0.0), "the last census counts");
    assert_eq!(observed(&report, gauge(stage("setup"), "gauges")), Ok(0.5));
    assert_eq!(observed(&report, gauge(stage("closed"), "connections")), Ok(0.0));
    assert_eq!(observed(&report, gauge(stage("closed"), "gauges")), Ok(3.0));
    // One reading that failed makes the worst of all unknown.
    report.server_stats.as_mut().unwrap().checks[4].error_ratio = None;
    assert_eq!(observed(&report, gauge(stage("closed"), "gauges")), unread);

    let checks = &mut report.server_stats.as_mut().unwrap().checks;
    (checks[3].server, checks[3].client) = (Some(0.0), 0.0);
    (checks[4].server, checks[4].client) = (Some(3.0), 1.0);
    let left_over = |which: &str| {
        let metric = term(&format!("server_stats.{which}.left_over"), Dimension::Count);
        observed(&report, during(stage("closed"), metric))
    };
    assert_eq!((left_over("connections"), left_over("subscriptions")), (Ok(0.0), Ok(2.0)));

    let error = |error_ratio| StatError { error_ratio: Some(error_ratio) };
    for (phase, worst) in report.phases.iter_mut().zip([0.1, 0.3, 0.2]) {
        phase.server_stats = Some(PhaseStats { gauges: error(worst), ..PhaseStats::default() });
    }
    assert_eq!(observed(&report, gauge(When::After(name("cut")), "gauges")), Ok(0.2));
    assert_eq!(observed(&report, gauge(When::Before(name("c")), "gauges")), Ok(0.3), "the worst counts");
}

#[test]
fn errors_of_several_phases_are_shares_of_all_that_was_done_in_them() {
    let mut report = phased();
    let before = |path: &str, dimension| during(When::Before(name("c")), term(path, dimension));
    let ratio = || before("errors.ratio", Dimension::Ratio);
    assert_eq!(observed(&report, ratio()), Err("nothing was done".to_owned()));
    let errors = |failed, operations| PhaseErrors { ratio: None, failed, operations };
    report.phases[0].errors = errors(1, 10);
    report.phases[1].errors = errors(0, 90);
    report.phases[2].errors = errors(500, 500);
    assert_eq!(observed(&report, ratio()), Ok(0.01), "not the mean of 10 % and nothing");
    for (phase, dropped_unexpectedly) in [(0, 2), (1, 3), (2, 70)] {
        report.phases[phase].connections = PhaseConnections { dropped_unexpectedly };
    }
    let dropped = before("connections.dropped_unexpectedly", Dimension::Count);
    assert_eq!(observed(&report, dropped), Ok(5.0));
}

#[test]
fn memory_of_several_phases_is_that_of_the_highest() {
    let mut report = phased();
    for (phase, memory_peak_bytes) in [(0, 70), (1, 50), (2, 900)] {
        report.phases[phase].resources.server = Some(PhaseMemory { memory_peak_bytes });
    }
    let server = "resources.server.memory_peak_bytes";
    let before = |path: &str| during(When::Before(name("c")), term(path, Dimension::Size));
    assert_eq!(observed(&report, before(server)), Ok(70.0));
    let in_c = during(When::In("c".to_owned()), term(server, Dimension::Size));
    assert_eq!(observed(&report, in_c), Ok(900.0));
    assert!(observed(&report, before("resources.client.memory_peak_bytes")).is_err(), "it was never seen");
}
