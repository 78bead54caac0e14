//! How a judgement reads: the observed value and the limit, with their units.

use super::proportion::Proportion;
use crate::report::human;
use crate::scenarios::condition::{Condition, Dimension, Op, Quantity, Test, Value};

/// The limit of a condition: `≥ 99 %`, `90 % to 110 %`, `drop or buffer`.
pub(crate) fn limit(condition: &Condition) -> String {
    let percent = percent(condition);
    let show = |value: &Value| human::quantity(value.number, shown_as(value, percent), percent, 3);
    match &condition.test {
        Test::Compare { op, right, at: None, .. } => format!("{} {}", sign(*op), show(right)),
        Test::Compare { op, right, at: Some(at), .. } => {
            format!("{} {} at {}", sign(*op), show(right), human::ratio(*at))
        }
        Test::Within { low, high, .. } => format!("{} to {}", show(low), show(high)),
        Test::Is { words, .. } => words.join(" or "),
    }
}

/// What was observed, with as many digits as it takes to tell it from a limit it is not equal to.
pub(crate) fn observed(condition: &Condition, number: f64, share: Option<&Proportion>) -> String {
    let percent = percent(condition);
    let (dimension, limits) = match &condition.test {
        Test::Compare { left, right, .. } => (kind(left), vec![*right]),
        Test::Within { left, low, high } => (kind(left), vec![*low, *high]),
        Test::Is { left, .. } => (left.dimension, Vec::new()),
    };
    let text = |digits| human::quantity(number, dimension, percent, digits);
    let told_apart = |text: &String, digits| {
        limits.iter().all(|limit| {
            limit.number == number || human::quantity(limit.number, dimension, percent, digits) != *text
        })
    };
    let text =
        (3..15).map(|d| (d, text(d))).find(|(d, t)| told_apart(t, *d)).map_or_else(|| text(15), |(_, t)| t);
    match share {
        Some(share) => format!("{text} ({} of {})", human::number(share.part), human::number(share.whole)),
        None => text,
    }
}

/// Two ends of an interval, shown like the condition.
pub(crate) fn between(condition: &Condition, [low, high]: [f64; 2]) -> String {
    let percent = percent(condition);
    let dimension = match &condition.test {
        Test::Compare { left, .. } | Test::Within { left, .. } => kind(left),
        Test::Is { left, .. } => left.dimension,
    };
    // Only shares have intervals where they are counts of a whole.
    let dimension = if dimension == Dimension::Size { dimension } else { Dimension::Ratio };
    let show = |number| human::quantity(number, dimension, percent, 3);
    format!("{} to {}", show(low), show(high))
}

/// A quotient is a plain number whatever it is a quotient of.
fn kind(quantity: &Quantity) -> Dimension {
    if quantity.over.is_some() { Dimension::Ratio } else { quantity.term.dimension }
}

/// A bare number beside a quotient may be parsed as a count; it is shown the same.
fn shown_as(value: &Value, percent: bool) -> Dimension {
    if percent && value.dimension == Dimension::Count { Dimension::Ratio } else { value.dimension }
}

/// Shares are shown as percentages unless the author wrote a plain quotient such as `< 1.25`.
fn percent(condition: &Condition) -> bool {
    condition.text.contains('%')
}

fn sign(op: Op) -> &'static str {
    match op {
        Op::Less => "<",
        Op::LessOrEqual => "≤",
        Op::Equal => "=",
        Op::NotEqual => "≠",
        Op::GreaterOrEqual => "≥",
        Op::Greater => ">",
    }
}
