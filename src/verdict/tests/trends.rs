//! Conditions on growth over the run: three answers, from the interval.

use super::*;

const MIB: f64 = 1024.0 * 1024.0;

fn no_leak() -> Condition {
    let text = "trend.server_memory.growth < 64MiB";
    condition(text, term("trend.server_memory.growth_bytes", Dimension::Size), Op::Less, 64.0 * MIB)
}

fn no_degradation() -> Condition {
    let text = "trend.deliver_p99.growth < 10%";
    condition(text, term("trend.deliver_p99.growth", Dimension::Ratio), Op::Less, 0.1)
}

fn evidence() -> TrendEvidence {
    let (samples, blocks) = (200, 48);
    TrendEvidence { samples, blocks, tau: 0.9, p_value: 0.001, inflation: 1.0, all_along: true }
}

fn with_memory(trend: MemoryTrend) -> Report {
    let trends = Trends { server_memory: Some(trend), ..Trends::default() };
    Report { trend: Some(trends), ..healthy() }
}

/// Growth of so many MiB, its interval, and whether it rose all along.
fn memory(growth: f64, interval: Option<[f64; 2]>, all_along: bool) -> Report {
    with_memory(MemoryTrend {
        growth_bytes: growth * MIB,
        interval_bytes: interval.map(|ends| ends.map(|end| end * MIB)),
        evidence: TrendEvidence { all_along, ..evidence() },
        ..MemoryTrend::default()
    })
}

fn latency(growth: f64, interval: [f64; 2], drain_p99_us: Option<u64>) -> Report {
    let trend =
        RatioTrend { growth, interval: Some(interval), evidence: evidence(), ..RatioTrend::default() };
    let trends = Trends { deliver_p99: Some(trend), ..Trends::default() };
    let generator = Generator { drain_p99_us, ..Generator::default() };
    Report { trend: Some(trends), generator, latency: deliver(1_000), ..healthy() }
}

fn judged(condition: &Condition, report: &Report) -> (Verdict, String, Option<String>) {
    let one = judge(condition, &Evidence::of(report));
    (one.verdict, one.observed_text, one.why)
}

#[test]
fn below_the_floor_passes() {
    let (verdict, observed, why) = judged(&no_leak(), &memory(3.1, Some([-1.0, 7.2]), false));
    assert_eq!((verdict, observed.as_str(), why), (Verdict::Pass, "3.1 MiB", None));
}

#[test]
fn above_the_floor_fails_if_it_rose_all_along() {
    let (verdict, _, why) = judged(&no_leak(), &memory(130.0, Some([110.0, 150.0]), true));
    let reason = "observed 130 MiB (95 %: 110 MiB to 150 MiB), wanted < 64 MiB: the whole interval is above the floor, \
                  and it rose all along";
    assert_eq!((verdict, why.as_deref()), (Verdict::Fail, Some(reason)));
    let (verdict, _, why) = judged(&no_leak(), &memory(130.0, Some([110.0, 150.0]), false));
    assert_eq!(verdict, Verdict::Inconclusive);
    assert!(why.unwrap().starts_with("it rose in a part of the run only: observed 130 MiB"));
}

#[test]
fn the_limit_decides_not_the_floor_of_the_report() {
    let report = memory(20.0, Some([15.0, 25.0]), true);
    let limit = |mib: f64| {
        let left = term("trend.server_memory.growth_bytes", Dimension::Size);
        judged(&condition("trend.server_memory.growth < x", left, Op::Less, mib * MIB), &report).0
    };
    assert_eq!([10.0, 20.0, 30.0].map(limit), [Verdict::Fail, Verdict::Inconclusive, Verdict::Pass]);
}

#[test]
fn what_does_not_tell_is_inconclusive_and_says_why() {
    let cases = [
        (memory(50.0, Some([40.0, 80.0]), true), "the floor lies within the interval: observed 50 MiB"),
        (memory(50.0, None, true), "neighbouring samples are so alike that no growth can be excluded"),
        (healthy(), "there are too few points of the timeline for a trend"),
    ];
    for (report, reason) in cases {
        let (verdict, _, why) = judged(&no_leak(), &report);
        assert_eq!(verdict, Verdict::Inconclusive);
        assert!(why.as_ref().is_some_and(|why| why.starts_with(reason)), "{why:?}");
    }
    let stepped = MemoryTrend {
        interval_bytes: Some([0.0, 0.0]),
        last_step_bytes: 100.0 * MIB,
        evidence: evidence(),
        ..MemoryTrend::default()
    };
    assert_eq!(judged(&no_leak(), &with_memory(stepped)).0, Verdict::Inconclusive);
}

#[test]
fn a_rise_that_may_be_ours_is_no_failure_and_a_calm_that_hides_it_no_pass() {
    let rising = |drain| judged(&no_degradation(), &latency(0.5, [0.3, 0.7], drain)).0;
    assert_eq!(
        [None, Some(90), Some(110)].map(rising),
        [Verdict::Fail, Verdict::Fail, Verdict::Inconclusive]
    );
    let calm = |drain| judged(&no_degradation(), &latency(0.01, [-0.03, 0.05], drain)).0;
    assert_eq!([None, Some(110), Some(510)].map(calm), [Verdict::Pass, Verdict::Pass, Verdict::Inconclusive]);
}

#[test]
fn a_limited_generator_decides_on_no_latency() {
    let mut report = latency(0.01, [-0.03, 0.05], None);
    report.generator.health = Health::Limited;
    assert_eq!(judged(&no_degradation(), &report).0, Verdict::Inconclusive);
    let mut report = memory(3.1, Some([-1.0, 7.2]), false);
    report.generator.health = Health::Limited;
    assert_eq!(judged(&no_leak(), &report).0, Verdict::Pass);
}
