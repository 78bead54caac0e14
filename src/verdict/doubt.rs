//! When a decision must be withdrawn, although the number was there.

use super::judge::Evidence;
use super::{hollow, lookup, undecided};
use crate::report::human;
use crate::report::model::{Health, Judgement, Observed, RunInfo, Verdict};
use crate::scenarios::condition::{Condition, Dimension, Op, Over, Quantity, Term, Test};

/// How much of an observed delivery latency may be our own processing.
const OWN_SHARE: f64 = 0.1;
/// How much of the delivery p99 it may be where that does not grow.
const OWN_SHARE_OF_GROWTH: f64 = 0.5;

/// Why the judgement cannot stand; `None`: it stands.
pub(crate) fn doubt(condition: &Condition, judged: &Judgement, evidence: &Evidence) -> Option<String> {
    let reasons = || {
        if evidence.generator.reasons.is_empty() {
            "no reason was given".to_owned()
        } else {
            evidence.generator.reasons.join("; ")
        }
    };
    if evidence.generator.health == Health::Invalid {
        return Some(format!("the generator's own bookkeeping failed: {}", reasons()));
    }
    if judged.verdict == Verdict::Inconclusive {
        return None;
    }
    let terms = condition.terms();
    // What the plan predicted it predicted of a generator that keeps to the plan.
    let short_of_plan = judged.verdict == Verdict::Fail && is_of_the_plan(&condition.test);
    let relies_on_us = short_of_plan || terms.iter().any(|term| is_timing(term));
    if evidence.generator.health == Health::Limited && relies_on_us {
        return Some(format!("the generator was limited: {}", reasons()));
    }
    if let Some(why) = terms.iter().filter(|_| short_of_plan).find_map(|term| not_the_servers(term, evidence))
    {
        return Some(why);
    }
    if let Some(why) =
        lengthened(condition, judged).into_iter().find_map(|term| own_processing(term, evidence))
    {
        return Some(why);
    }
    if let Some(why) = terms.iter().find_map(|term| own_growth(term, judged.verdict, evidence)) {
        return Some(why);
    }
    if let Some(why) =
        terms.iter().filter(|_| judged.verdict == Verdict::Fail).find_map(|term| kept(term, evidence))
    {
        return Some(why);
    }
    match judged.verdict {
        Verdict::Fail if !is_proven(condition, judged) => ended_early(&evidence.run)
            .or_else(|| terms.iter().find_map(|term| undecided::failure(term, evidence))),
        Verdict::Pass => terms.iter().find_map(|term| hollow::pass(term, evidence)).or_else(|| {
            terms.iter().find_map(|term| undecided::pass(term, evidence)).filter(|_| !rises(condition))
        }),
        _ => None,
    }
}

/// Why the run did not get to the end of its plan. A target that died is not among the reasons: it is judged.
fn ended_early(run: &RunInfo) -> Option<String> {
    let how = match run.stop_reason.strip_prefix("abort-if") {
        _ if run.interrupted => "interrupted",
        Some(_) => "stopped early",
        None => return None,
    };
    Some(format!("the run was {how} before this could be decided"))
}

/// Terms that may have decided by being longer than they should: our own processing can only make a delivery look
/// later, so what passes below an upper limit, or fails below a lower one, does so all the more without it. Of a
/// quotient it is the other way round with what is divided by.
fn lengthened<'a>(condition: &'a Condition, judged: &Judgement) -> Vec<&'a Term> {
    let (Test::Compare { left, .. } | Test::Within { left, .. }) = &condition.test else {
        return condition.terms();
    };
    let below = match (&condition.test, &judged.observed) {
        (Test::Compare { op: Op::Less | Op::LessOrEqual, .. }, _) => judged.verdict == Verdict::Pass,
        (Test::Compare { op: Op::Greater | Op::GreaterOrEqual, .. }, _) => judged.verdict == Verdict::Fail,
        (Test::Within { low, .. }, Some(Observed::Number(number))) if judged.verdict == Verdict::Fail => {
            *number < low.number
        }
        _ => return condition.terms(),
    };
    match &left.over {
        Some(Over::Term(over)) if below => vec![over],
        _ if below => Vec::new(),
        _ => vec![&left.term],
    }
}

/// Whether the observed value can only have exceeded its limit by more: what was left undecided takes nothing away.
fn rises(condition: &Condition) -> bool {
    matches!(
        condition.test,
        Test::Compare { left: Quantity { over: None, .. }, op: Op::Greater | Op::GreaterOrEqual, .. }
    )
}

fn is_of_the_plan(test: &Test) -> bool {
    let (Test::Compare { left, .. } | Test::Within { left, .. }) = test else { return false };
    matches!(left.over, Some(Over::Predicted))
}

/// Why a rate that was not held says nothing of the server.
fn not_the_servers(term: &Term, evidence: &Evidence) -> Option<String> {
    let slowed = (term.keys == ["published", "rate"])
        .then(|| lookup::object(&evidence.report, term, &["published", "slowed"]))??;
    let word = slowed.get("limited_by")?.as_str()?;
    match word {
        "generator" => Some("the schedule slipped because of the generator, not of the server".to_owned()),
        "machine" => {
            let share =
                slowed.get("server_wait_share").and_then(serde_json::Value::as_f64).unwrap_or_default();
            Some(format!(
                "the server waited for a processor {} of the time: on a machine of its own it might have held the rate",
                human::ratio(share)
            ))
        }
        _ => None,
    }
}

fn is_timing(term: &Term) -> bool {
    matches!(term.dimension, Dimension::Duration | Dimension::Rate)
        || term.keys.first().is_some_and(|section| section == "latency")
        || term.metric.starts_with("trend.deliver_p99")
}

/// Our own processing is part of every delivery latency; too large a part of it, and we would judge ourselves.
fn own_processing(term: &Term, evidence: &Evidence) -> Option<String> {
    let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
    let ["latency", "deliver" | "deliver_from_sent", figure] = keys.as_slice() else { return None };
    let drain_us = evidence.generator.drain_p99_us?;
    let observed = lookup::number(&lookup::find(&evidence.report, term).ok()?)?;
    let too_much = *figure != "count" && drain_us as f64 / 1e6 > OWN_SHARE * observed;
    too_much.then(|| {
        format!(
            "our own processing (drain p99 {}) is more than {} of the observed {}",
            human::micros(drain_us),
            human::ratio(OWN_SHARE),
            human::seconds(observed)
        )
    })
}

/// A rise of the delivery p99 may be that of our own processing, where that is much of it; and where it is most of it,
/// a server that slows down does not show.
fn own_growth(term: &Term, verdict: Verdict, evidence: &Evidence) -> Option<String> {
    if !term.metric.starts_with("trend.deliver_p99") {
        return None;
    }
    let drain_us = evidence.generator.drain_p99_us?;
    let p99_us = evidence.report.pointer("/latency/deliver/p99_us")?.as_u64()?;
    let most = if verdict == Verdict::Fail { OWN_SHARE } else { OWN_SHARE_OF_GROWTH };
    (drain_us as f64 > most * p99_us as f64).then(|| {
        format!(
            "our own processing (drain p99 {}) is more than {} of the delivery p99 of {}",
            human::micros(drain_us),
            human::ratio(most),
            human::micros(p99_us)
        )
    })
}

/// An allocator gives memory back or not, as what is left in it happens to lie: a server without a leak may end each of
/// three rounds with more than the one before. What it keeps is of what it once held, so that growth up to there shows
/// nothing.
fn kept(term: &Term, evidence: &Evidence) -> Option<String> {
    if term.metric != "rounds.server_memory_end.growth" {
        return None;
    }
    let memory = evidence.report.pointer("/rounds/server_memory_end")?;
    let last = memory.get("bytes")?.as_array()?.last()?.as_u64()?;
    let held = memory.get("held_bytes")?.as_u64()?;
    (last <= held).then(|| {
        format!(
            "it ended with {}, and had held {} in the first round: what an allocator keeps of that is no leak, and \
             only more rounds can tell",
            human::bytes(last as f64),
            human::bytes(held as f64)
        )
    })
}

/// Whether more time could not have undone a failure: a count, or a peak of memory, beyond its limit.
fn is_proven(condition: &Condition, judged: &Judgement) -> bool {
    let Test::Compare { left: Quantity { term, over: None }, op, right, .. } = &condition.test else {
        return false;
    };
    // Breakers that are open may still close.
    let counts =
        term.dimension == Dimension::Count && term.keys.last().is_none_or(|key| key != "open_at_end");
    let only_rises = counts || term.keys.last().is_some_and(|key| key == "memory_peak_bytes");
    let above = matches!(judged.observed, Some(Observed::Number(number)) if number > right.number);
    only_rises && above && matches!(op, Op::Less | Op::LessOrEqual | Op::Equal)
}
