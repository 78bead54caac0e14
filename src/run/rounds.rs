//! Several rounds → one report: each round is judged on its own, and the gravest is the one that is shown.
//!
//! Pure. A loss in one round must not disappear behind a better one after it.

use crate::report::model::{Judgement, Ledger, Report, Round, Rounds, SlowPolicy};
use crate::scenarios::condition::{Condition, Term};
use crate::scenarios::plan::Plan;
use crate::verdict::{conclude, judge_all};

/// Memory is compared with this at least: a tenth of it, 4 MiB, is what an allocator may keep of a round or not. A small
/// server ends its rounds with 8 to 15 MiB, a tenth of which means nothing.
const SHARE_OF: f64 = 40.0 * 1024.0 * 1024.0;

/// Judges every round and puts them together; `done` holds at least one, in order, not judged yet.
#[must_use]
pub fn combine(mut done: Vec<Report>, plan: &Plan) -> Report {
    let of_one: Vec<Condition> = plan.expect.iter().filter(|c| !compares_rounds(c)).cloned().collect();
    for report in &mut done {
        judge_all(report, &of_one, &plan.reached);
    }
    let rounds = (plan.rounds > 1).then(|| summaries(&done));
    // Of rounds that were judged alike, the one in which the server did the gravest thing to slow readers; of those, the
    // last.
    let gravity =
        |report: &Report| (report.verdict, report.slow_consumers.as_ref().map(|slow| slow.policy.gravity()));
    let gravest = done.iter().map(gravity).max();
    let shown = done.iter().rposition(|r| Some(gravity(r)) == gravest).expect("a run has at least one round");
    let mut report = done[shown].clone();
    // What is sampled all along is only complete after the last round; memory per wave only shows in the first.
    if let (Some(first), Some(last)) = (done.first(), done.last()) {
        report.waves.clone_from(&first.waves);
        report.timeline.clone_from(&last.timeline);
        report.resources.clone_from(&last.resources);
        report.run.clone_from(&last.run);
    }
    report.rounds = rounds.map(|rounds| Rounds { shown: shown as u64 + 1, ..rounds });
    if let Some(slow) = &mut report.slow_consumers {
        slow.evidence.extend(other_policies(&done));
    }
    judge_all(&mut report, &plan.expect, &plan.reached);
    if plan.rounds > 1 {
        for (index, one) in done.iter().enumerate().filter(|(index, _)| *index != shown) {
            keep_gravest(&mut report.expectations, &one.expectations, index + 1);
            keep_gravest(&mut report.reached, &one.reached, index + 1);
        }
        conclude(&mut report);
    }
    report
}

/// What the server did about slow readers in each round, if that was not the same in all.
fn other_policies(done: &[Report]) -> Option<String> {
    let policies: Vec<SlowPolicy> =
        done.iter().filter_map(|report| report.slow_consumers.as_ref()).map(|slow| slow.policy).collect();
    let differ = policies.windows(2).any(|pair| pair[0] != pair[1]);
    differ.then(|| {
        let each = policies
            .iter()
            .enumerate()
            .map(|(index, policy)| format!("{} in round {}", policy.word(), index + 1));
        format!("its way was not the same in all rounds: {}", each.collect::<Vec<_>>().join(", "))
    })
}

fn summaries(done: &[Report]) -> Rounds {
    let mut rounds = Rounds::default();
    for report in done {
        // The last sample of a round is the one after its cool-down.
        let memory = report.resources.server.as_ref().map(|server| server.memory_end_bytes);
        rounds.completed += u64::from(report.run.stop_reason == "completed");
        rounds.server_memory_end.bytes.extend(memory);
        rounds.each.push(Round {
            setup_duration_s: report.setup.duration_s,
            connections: report.connections.clone(),
            subscriptions: report.subscriptions.clone(),
            published: report.published.clone(),
            ledger: Ledger { examples: Vec::new(), ..report.ledger.clone() },
            server_memory_end_bytes: memory,
            slow_consumers: report.slow_consumers.clone(),
        });
    }
    let first = done.first().and_then(|report| report.resources.server.as_ref());
    rounds.server_memory_end.held_bytes = first.map(|server| server.memory_peak_bytes);
    rounds.server_memory_end.growth = growth(&rounds.server_memory_end.bytes);
    rounds
}

/// Growth from the first to the last as a share of the first, of at least [`SHARE_OF`]. It has to go on: it is no more
/// than the smallest step from one round to the next, over all steps, and nothing if one of them went down.
fn growth(bytes: &[u64]) -> Option<f64> {
    let (first, rest) = bytes.split_first().filter(|(first, rest)| **first > 0 && !rest.is_empty())?;
    let steps = bytes.windows(2).map(|pair| pair[1] as f64 - pair[0] as f64);
    let smallest = steps.fold(f64::INFINITY, f64::min) * rest.len() as f64;
    let grown = *rest.last()? as f64 - *first as f64;
    let goes_on = grown.min(smallest.max(0.0));
    Some(goes_on / (*first as f64).max(SHARE_OF))
}

/// Whether a condition needs all rounds, or speaks of waves, which only the first round can show.
fn compares_rounds(condition: &Condition) -> bool {
    let of_all = |term: &Term| term.metric.starts_with("rounds.") || term.metric.starts_with("waves.");
    condition.terms().into_iter().any(of_all)
}

/// What failed in any round has failed.
fn keep_gravest(mine: &mut [Judgement], others: &[Judgement], number: usize) {
    for other in others {
        let same = mine.iter_mut().find(|j| j.id == other.id);
        if let Some(mine) = same.filter(|mine| other.verdict > mine.verdict) {
            let why = other.why.as_ref().map(|why| format!("in round {number}: {why}"));
            *mine = Judgement { why, ..other.clone() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{
        Connections, Published, Resources, RunInfo, ServerResources, SlowConsumers, Verdict,
    };
    use crate::scenarios::catalogue::{Catalogue, Options};

    const TWO_ROUNDS: &str = r#"
        [scenarios.two]
        about = "two rounds"
        rounds = 2
        subscribers.clients = { connections = 10 }
        publishers.feed = { rate = "10/s", events = 10 }
        expect.no-leak = "rounds.server_memory_end.growth < 10%"
        expect.server-counts-agree = "off"
        expect.server-gauges-exact = "off"
    "#;

    fn plan() -> Plan {
        let catalogue = Catalogue::from_text(Some(("test", TWO_ROUNDS))).expect("a good file");
        catalogue.plan(&["two"], &Options::default()).expect("a good plan").plans.remove(0)
    }

    fn round(lost: u64, memory: u64) -> Report {
        let mut report = Report {
            run: RunInfo { stop_reason: "completed".to_owned(), ..RunInfo::default() },
            connections: Connections { established: 10, ..Connections::default() },
            published: Published { sent: 10, ..Published::default() },
            resources: Resources {
                server: Some(ServerResources { memory_end_bytes: memory, ..ServerResources::default() }),
                ..Resources::default()
            },
            ..Report::default()
        };
        report.errors.ratio = Some(0.0);
        report.ledger.obligations = 10;
        report.ledger.receipts = 10;
        report.ledger.lost = lost;
        report
    }

    fn judged(report: &Report, id: &str) -> (Verdict, Option<String>) {
        let one = report.expectations.iter().find(|j| j.id == id).expect(id);
        (one.verdict, one.why.clone())
    }

    #[test]
    fn good_rounds_pass_and_the_last_is_shown() {
        let report = combine(vec![round(0, 100), round(0, 105)], &plan());
        assert_eq!((report.verdict, report.why.clone()), (Verdict::Pass, vec![]));
        let rounds = report.rounds.expect("two rounds");
        assert_eq!((rounds.shown, rounds.completed, rounds.each.len()), (2, 2, 2));
    }

    /// What the server did in one round must not disappear behind another that was judged alike.
    #[test]
    fn the_round_with_the_gravest_policy_is_shown_and_the_others_are_named() {
        let with = |policies: &[SlowPolicy]| {
            let one = |policy: &SlowPolicy| {
                let slow = SlowConsumers { policy: *policy, ..SlowConsumers::default() };
                Report { slow_consumers: Some(slow), ..round(0, 100) }
            };
            let report = combine(policies.iter().map(one).collect(), &plan());
            let slow = report.slow_consumers.expect("somebody was slow");
            let rounds = report.rounds.expect("two rounds");
            let each: Vec<_> = rounds.each.iter().filter_map(|round| round.slow_consumers.as_ref()).collect();
            assert_eq!(each.len(), policies.len());
            (rounds.shown, slow.policy, slow.evidence)
        };
        let (shown, policy, evidence) = with(&[SlowPolicy::Disconnect, SlowPolicy::Buffer]);
        assert_eq!((shown, policy), (1, SlowPolicy::Disconnect));
        assert_eq!(
            evidence,
            ["its way was not the same in all rounds: disconnect in round 1, buffer in round 2"]
        );
        let (shown, policy, evidence) = with(&[SlowPolicy::Buffer, SlowPolicy::Buffer]);
        assert_eq!((shown, policy, evidence.len()), (2, SlowPolicy::Buffer, 0));
    }

    #[test]
    fn a_loss_in_the_first_round_is_what_the_report_shows() {
        let report = combine(vec![round(3, 100), round(0, 105)], &plan());
        assert_eq!(report.verdict, Verdict::Fail);
        assert_eq!((report.ledger.lost, report.rounds.as_ref().map(|r| r.shown)), (3, Some(1)));
        assert_eq!(judged(&report, "nothing-lost").0, Verdict::Fail);
    }

    #[test]
    fn what_only_another_round_failed_is_kept_with_its_number() {
        let mut second = round(5, 105);
        second.connections.dropped_unexpectedly = 0;
        let mut first = round(0, 100);
        first.ledger.corrupted = 1;
        let report = combine(vec![first, second], &plan());
        assert_eq!(judged(&report, "nothing-lost").0, Verdict::Fail);
        let (verdict, why) = judged(&report, "nothing-corrupted");
        assert_eq!(verdict, Verdict::Fail);
        assert!(why.expect("a reason").starts_with("in round 1: "));
    }

    /// 43, 59 and 91 MiB were seen of a server that keeps nothing, and that holds 98 MiB in each of its rounds.
    #[test]
    fn what_an_allocator_may_have_kept_is_neither_a_leak_nor_none() {
        const MIB: u64 = 1024 * 1024;
        let ends = |ends: [u64; 3], peak: u64| {
            let with_peak = |(end, peak): (u64, u64)| {
                let mut report = round(0, end * MIB);
                report.resources.server.as_mut().expect("a server").memory_peak_bytes = peak * MIB;
                report
            };
            // Later rounds may hold more: of memory that leaks, too.
            let peaks = [peak, peak * 2, peak * 3];
            let report = combine(ends.into_iter().zip(peaks).map(with_peak).collect(), &plan());
            judged(&report, "no-leak")
        };
        let (verdict, why) = ends([43, 59, 91], 98);
        assert_eq!(verdict, Verdict::Inconclusive);
        let told = "it ended with 91 MiB, and had held 98 MiB in the first round";
        assert!(why.as_ref().is_some_and(|why| why.starts_with(told)), "{why:?}");
        assert_eq!(ends([43, 80, 99], 98).0, Verdict::Fail);
        assert_eq!(ends([43, 59, 45], 98).0, Verdict::Pass);
    }

    #[test]
    fn growth_is_judged_over_all_rounds() {
        const MIB: u64 = 1024 * 1024;
        let ends = |ends: &[u64]| {
            let done = ends.iter().map(|end| round(0, end * MIB)).collect();
            judged(&combine(done, &plan()), "no-leak").0
        };
        assert_eq!(ends(&[100, 111]), Verdict::Fail);
        assert_eq!(ends(&[100, 109]), Verdict::Pass);
        // What is small is not compared with itself.
        assert_eq!(ends(&[10, 13]), Verdict::Pass);
        assert_eq!(ends(&[10, 15]), Verdict::Fail);
        // One rise is none that goes on.
        assert_eq!(ends(&[100, 150, 150]), Verdict::Pass);
        assert_eq!(ends(&[100, 100, 150]), Verdict::Pass);
        assert_eq!(ends(&[100, 110, 121]), Verdict::Fail);
        assert_eq!(ends(&[100, 150, 90]), Verdict::Pass);
        assert_eq!(growth(&[45 * MIB, 90 * MIB, 40 * MIB]), Some(-5.0 / 45.0));
        assert_eq!(growth(&[90 * MIB, 40 * MIB, 99 * MIB]), Some(0.0));
        assert_eq!(growth(&[100]), None);
        assert_eq!(growth(&[0, 150]), None);
    }
}
