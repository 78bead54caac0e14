//! One condition against one report.
//!
//! First what was observed decides, then `doubt` may withdraw the decision: a generator that was
//! the bottleneck, a run that ended early or a sum over nothing never yields a verdict that looks firm.

use serde_json::Value;

use super::doubt::doubt;
use super::proportion::Proportion;
use super::{lookup, rising, wording};
use crate::report::human;
use crate::report::model::{Generator, Judgement, Observed, Report, RunInfo, Verdict};
use crate::scenarios::condition::{Condition, Op, Over, Quantity, Test};

/// A report as conditions see it; made once, used for all of them.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub(crate) report: Value,
    pub(crate) generator: Generator,
    pub(crate) run: RunInfo,
}

impl Evidence {
    /// Reads a report.
    #[must_use]
    pub fn of(report: &Report) -> Self {
        let value = serde_json::to_value(report).expect("a report is plain data with text keys");
        Self { report: value, generator: report.generator.clone(), run: report.run.clone() }
    }

    /// How often a fault was applied, over all faults.
    pub(crate) fn applied(&self) -> u64 {
        let faults = self.report.get("faults").and_then(Value::as_object);
        faults.into_iter().flat_map(|all| all.values()).filter_map(|one| one.get("applied")?.as_u64()).sum()
    }

    /// Whether the target promises to deliver later what a client missed while it was away.
    pub(crate) fn promises_resume(&self) -> bool {
        let contract = self.report.pointer("/target/contract").and_then(Value::as_str);
        contract.is_some_and(promises_resume)
    }
}

/// Whether a contract, by its name, promises to deliver later what a client missed while it was away.
pub(crate) fn promises_resume(contract: &str) -> bool {
    matches!(contract, "at-least-once" | "exactly-once")
}

/// Judges a condition; what cannot be judged is inconclusive and says why.
#[must_use]
pub fn judge(condition: &Condition, evidence: &Evidence) -> Judgement {
    let open = Judgement {
        id: condition.id.clone(),
        condition: condition.text.clone(),
        observed_text: human::NOTHING.to_owned(),
        limit: wording::limit(condition),
        ..Judgement::default()
    };
    if let Some(why) = &condition.not_applicable {
        return Judgement { verdict: Verdict::NotApplicable, why: Some(why.clone()), ..open };
    }
    let judged = match &condition.test {
        Test::Compare { left: Quantity { term, over: None }, right, at: None, .. }
            if rising::is_trend(term) =>
        {
            rising::judge(condition, &open, &evidence.report, term, right.number)
        }
        Test::Is { left, words } => {
            lookup::find(&evidence.report, left).map(|observed| word(&open, &observed, words))
        }
        Test::Compare { left, op, right, at: Some(at) } => observe(left, &evidence.report).map(|number| {
            at_confidence(condition, &open, &evidence.report, left, number, (*op, right.number, *at))
        }),
        Test::Compare { left, op, right, at: None } => observe(left, &evidence.report).map(|number| {
            point(condition, &open, &evidence.report, left, number, holds(number, *op, right.number))
        }),
        Test::Within { left, low, high } => observe(left, &evidence.report).map(|number| {
            let inside = (low.number..=high.number).contains(&number);
            point(condition, &open, &evidence.report, left, number, inside)
        }),
    };
    let judged =
        judged.unwrap_or_else(|why| Judgement { verdict: Verdict::Inconclusive, why: Some(why), ..open });
    match doubt(condition, &judged, evidence) {
        Some(why) => Judgement { verdict: Verdict::Inconclusive, why: Some(why), ..judged },
        None => judged,
    }
}

/// The number on the left of a condition, in base units.
fn observe(quantity: &Quantity, report: &Value) -> Result<f64, String> {
    let metric = &quantity.term.metric;
    let plain =
        |observed: Observed| lookup::number(&observed).ok_or_else(|| format!("{metric} is not a number"));
    let number = plain(lookup::find(report, &quantity.term)?)?;
    let below = match &quantity.over {
        None => return Ok(number),
        Some(Over::Term(over)) => plain(lookup::find(report, over)?)?,
        Some(Over::Predicted) => lookup::predicted(report, &quantity.term)?,
    };
    if below == 0.0 {
        return Err(format!("there is nothing to divide by: {} / 0", human::number(number)));
    }
    Ok(number / below)
}

fn word(open: &Judgement, observed: &Observed, words: &[String]) -> Judgement {
    let text = match observed {
        Observed::Word(word) => word.clone(),
        Observed::Number(number) => human::number(*number),
    };
    let verdict = if words.contains(&text) { Verdict::Pass } else { Verdict::Fail };
    let observed_text = human::clean(&text);
    finish(Judgement { observed: Some(observed.clone()), observed_text, verdict, ..open.clone() })
}

fn point(
    condition: &Condition,
    open: &Judgement,
    report: &Value,
    left: &Quantity,
    number: f64,
    holds: bool,
) -> Judgement {
    let share = Proportion::of(left, report);
    finish(Judgement {
        observed: Some(Observed::Number(number)),
        observed_text: wording::observed(condition, number, share.as_ref()),
        interval: share.and_then(|share| share.interval(0.95)),
        verdict: if holds { Verdict::Pass } else { Verdict::Fail },
        ..open.clone()
    })
}

/// Decides by the interval: only a limit that lies outside of it can be judged.
fn at_confidence(
    condition: &Condition,
    open: &Judgement,
    report: &Value,
    left: &Quantity,
    number: f64,
    (op, limit, at): (Op, f64, f64),
) -> Judgement {
    let judged = point(condition, open, report, left, number, holds(number, op, limit));
    let unclear = |why| Judgement { verdict: Verdict::Inconclusive, why: Some(why), ..judged.clone() };
    let Some(interval) = Proportion::of(left, report).and_then(|share| share.interval(at)) else {
        return unclear("no interval can be given for this quantity".to_owned());
    };
    let decisive = !matches!(op, Op::Equal | Op::NotEqual) || !(interval[0]..=interval[1]).contains(&limit);
    match interval.map(|end| holds(end, op, limit)) {
        [true, true] if decisive => finish(Judgement { verdict: Verdict::Pass, ..judged }),
        [false, false] if decisive => finish(Judgement { verdict: Verdict::Fail, ..judged }),
        _ => unclear(format!(
            "too few samples: at {} confidence it is {}, and the limit lies within",
            human::ratio(at),
            wording::between(condition, interval)
        )),
    }
}

/// A fail that says what was seen and what was wanted.
fn finish(judgement: Judgement) -> Judgement {
    let failed = judgement.verdict == Verdict::Fail;
    let why = failed.then(|| format!("observed {}, wanted {}", judgement.observed_text, judgement.limit));
    Judgement { why, ..judgement }
}

pub(crate) fn holds(number: f64, op: Op, limit: f64) -> bool {
    // Quotients of counts are exact where they are whole; anything else may be off in the last bits.
    let equal = (number - limit).abs() <= 1e-12 * limit.abs();
    match op {
        Op::Less => number < limit,
        Op::LessOrEqual => number <= limit,
        Op::Equal => equal,
        Op::NotEqual => !equal,
        Op::GreaterOrEqual => number >= limit,
        Op::Greater => number > limit,
    }
}
