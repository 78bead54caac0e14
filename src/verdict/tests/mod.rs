//! Each rule of judging in both directions, on small reports. Here: what the tests share.

mod conclusions;
mod doubts;
mod faults;
mod quantities;
mod trends;
mod windows;

use super::*;
use crate::report::model::*;
use crate::scenarios::condition::{Condition, Dimension, Op, Over, Quantity, Term, Test, Value, When};

fn term(path: &str, dimension: Dimension) -> Term {
    let keys: Vec<String> = path.split('.').map(ToOwned::to_owned).collect();
    let metric = path.trim_end_matches("_us").trim_end_matches("_bytes").to_owned();
    Term { subject: None, metric, keys, dimension, when: None }
}

fn of(subject: &str, term: Term) -> Term {
    Term { subject: Some(subject.to_owned()), ..term }
}

fn during(when: When, term: Term) -> Term {
    Term { when: Some(when), ..term }
}

fn condition(text: &str, term: Term, op: Op, limit: f64) -> Condition {
    let dimension = term.dimension;
    let left = Quantity { term, over: None };
    let test = Test::Compare { left, op, right: Value { number: limit, dimension }, at: None };
    Condition { id: "id".to_owned(), text: text.to_owned(), test, not_applicable: None }
}

fn over(mut condition: Condition, below: Over) -> Condition {
    if let Test::Compare { left, right, .. } = &mut condition.test {
        left.over = Some(below);
        right.dimension = Dimension::Ratio;
    }
    condition
}

fn at(mut condition: Condition, confidence: f64) -> Condition {
    if let Test::Compare { at, .. } = &mut condition.test {
        *at = Some(confidence);
    }
    condition
}

fn lost() -> Condition {
    condition("ledger.lost == 0", term("ledger.lost", Dimension::Count), Op::Equal, 0.0)
}

fn p99() -> Condition {
    condition(
        "latency.deliver.p99 < 100ms",
        term("latency.deliver.p99_us", Dimension::Duration),
        Op::Less,
        0.1,
    )
}

fn established() -> Condition {
    let term = term("connections.established_ratio", Dimension::Ratio);
    condition("connections.established_ratio >= 99%", term, Op::GreaterOrEqual, 0.99)
}

fn deliver(p99_us: u64) -> Latencies {
    Latencies { deliver: Some(Latency { count: 100, p99_us, ..Latency::default() }), ..Latencies::default() }
}

/// Everything went well.
fn healthy() -> Report {
    Report {
        run: RunInfo { stop_reason: "completed".to_owned(), ..RunInfo::default() },
        connections: Connections {
            attempted: 1_000,
            established: 995,
            established_ratio: Some(0.995),
            ..Connections::default()
        },
        published: Published { sent: 100, ..Published::default() },
        ledger: Ledger { obligations: 1_000, delivered: 1_000, receipts: 1_000, ..Ledger::default() },
        latency: deliver(50_000),
        ..Report::default()
    }
}

fn verdict(condition: &Condition, report: &Report) -> (Verdict, String) {
    let judgement = judge(condition, &Evidence::of(report));
    (judgement.verdict, judgement.why.unwrap_or_default())
}

fn pass() -> (Verdict, String) {
    (Verdict::Pass, String::new())
}

fn fail(why: &str) -> (Verdict, String) {
    (Verdict::Fail, why.to_owned())
}

fn inconclusive(why: &str) -> (Verdict, String) {
    (Verdict::Inconclusive, why.to_owned())
}
