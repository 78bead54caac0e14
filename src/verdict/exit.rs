//! From outcomes to the exit code that scripts depend on.

use crate::report::model::Verdict;

/// How one scenario, or the attempt to run it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every expectation that was judged held.
    Passed,
    /// An expectation did not hold.
    Failed,
    /// Something could not be judged.
    Inconclusive,
    /// Nothing in it applies at this size.
    NotApplicable,
    /// A bug in stressctl; a sum that does not close.
    Internal,
    /// Bad usage, bad scenario file, unknown scenario, unconfirmed target.
    Usage,
    /// The preflight connection failed.
    Unreachable,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Passed,
            Verdict::Fail => Self::Failed,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::NotApplicable => Self::NotApplicable,
        }
    }
}

/// Every outcome with its exit code, the gravest first.
const GRAVEST_FIRST: [(Outcome, u8); 6] = [
    (Outcome::Internal, 70),
    (Outcome::Usage, 2),
    (Outcome::Unreachable, 4),
    (Outcome::Failed, 1),
    (Outcome::Inconclusive, 3),
    (Outcome::Passed, 0),
];

/// The exit code of a process with these outcomes: the gravest wins, in the order 70, 2, 4, 1, 3, 0. Zero means
/// that something was judged and every expectation of every scenario passed, so nothing but not-applicable is 3.
#[must_use]
pub fn exit_code(outcomes: &[Outcome]) -> u8 {
    let gravest = gravest(outcomes);
    GRAVEST_FIRST.iter().find(|(outcome, _)| *outcome == gravest).map_or(3, |(_, code)| *code)
}

/// The outcome that decides; nothing at all is as good as nothing that applies.
#[must_use]
pub fn gravest(outcomes: &[Outcome]) -> Outcome {
    let found = GRAVEST_FIRST.iter().find(|(outcome, _)| outcomes.contains(outcome));
    found.map_or(Outcome::NotApplicable, |(outcome, _)| *outcome)
}

#[cfg(test)]
mod tests {
    use super::Outcome::{Failed, Inconclusive, Internal, NotApplicable, Passed, Unreachable, Usage};
    use super::*;

    #[test]
    fn the_gravest_wins() {
        let table: [(&[Outcome], u8); 13] = [
            (&[], 3),
            (&[Passed], 0),
            (&[Passed, Passed], 0),
            (&[Passed, NotApplicable], 0),
            (&[NotApplicable], 3),
            (&[NotApplicable, NotApplicable], 3),
            (&[Passed, Inconclusive], 3),
            (&[Inconclusive, NotApplicable], 3),
            (&[Passed, Inconclusive, Failed], 1),
            (&[Failed, Unreachable], 4),
            (&[Unreachable, Usage, Failed], 2),
            (&[Usage, Internal], 70),
            (&[Internal, Passed], 70),
        ];
        for (outcomes, code) in table {
            assert_eq!(exit_code(outcomes), code, "{outcomes:?}");
        }
    }
}
