//! A condition as data: what `expect`, `reached` and `abort-if` say, parsed and checked.
//!
//! The grammar that produces it is in `scenarios::expectation`; `verdict` evaluates it against a report.

use super::plan::Part;

/// One named condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// Its key in the file.
    pub id: String,
    /// The text as written.
    pub text: String,
    /// What it says.
    pub test: Test,
    /// Why it cannot be judged at this size, known before the start; `None`: it is judged.
    pub not_applicable: Option<String>,
}

impl Condition {
    /// Every metric it speaks of.
    #[must_use]
    pub fn terms(&self) -> Vec<&Term> {
        match &self.test {
            Test::Is { left, .. } => vec![left],
            Test::Compare { left, .. } | Test::Within { left, .. } => match &left.over {
                Some(Over::Term(over)) => vec![&left.term, over],
                _ => vec![&left.term],
            },
        }
    }
}

/// The three shapes of a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Test {
    /// `quantity op value [at ratio]`
    Compare {
        /// The observed side.
        left: Quantity,
        /// The comparison.
        op: Op,
        /// The limit.
        right: Value,
        /// Confidence at which the interval decides instead of the point, for example 0.95.
        at: Option<f64>,
    },
    /// `quantity within low..high`, both ends included.
    Within {
        /// The observed side.
        left: Quantity,
        /// Lower limit.
        low: Value,
        /// Upper limit.
        high: Value,
    },
    /// `term is word or word …`
    Is {
        /// The observed side.
        left: Term,
        /// The accepted words.
        words: Vec<String>,
    },
}

/// A term, or a ratio of two.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    /// The numerator.
    pub term: Term,
    /// The denominator.
    pub over: Option<Over>,
}

/// What a term is divided by.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// Another metric (a bare `when` after the slash has been turned into one).
    Term(Term),
    /// The plan's own value for the same metric, group and phase.
    Predicted,
}

/// One metric of one subject in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// A group, `victims` or `bystanders`; `None`: the whole run.
    pub subject: Option<String>,
    /// Path as written, without unit suffix: `latency.deliver.p99`.
    pub metric: String,
    /// Path of keys in the report, with unit suffix: `["latency", "deliver", "p99_us"]`.
    pub keys: Vec<String>,
    /// What kind of number it is.
    pub dimension: Dimension,
    /// Which part of the run; `None`: all of it.
    pub when: Option<When>,
}

impl Term {
    /// Its name among the plan's predictions and in messages: `clients.ledger.delivered`, `ledger.lost in load`.
    #[must_use]
    pub fn key(&self) -> String {
        let subject = self.subject.as_ref().map(|s| format!("{s}.")).unwrap_or_default();
        let when = self.when.as_ref().map(|w| format!(" {w}")).unwrap_or_default();
        format!("{subject}{}{when}", self.metric)
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, name) = match self {
            Self::In(name) => ("in", Some(name)),
            Self::Before(name) => ("before", name.as_ref()),
            Self::During(name) => ("during", name.as_ref()),
            Self::After(name) => ("after", name.as_ref()),
        };
        match name {
            Some(name) => write!(f, "{word} {name}"),
            None => f.write_str(word),
        }
    }
}

/// Part of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// In the named phase (or `drain`, `closed`, …).
    In(String),
    /// Before the named phase or fault began, or before the first fault.
    Before(Option<String>),
    /// While it lasted.
    During(Option<String>),
    /// After it ended.
    After(Option<String>),
}

impl When {
    /// Indices of the phases it covers, whole phases always. `faults`: each with the parts of the run it acts in.
    ///
    /// A phase is *during* a fault if the fault was in effect in it at any time; *before* and *after* are what lies
    /// outside of the first and the last of those. Without a name all faults count together.
    #[must_use]
    pub fn covers(&self, phases: &[&str], faults: &[(&str, Vec<Part>)]) -> Vec<usize> {
        let all = 0..phases.len();
        let parts = |of: Option<&str>| -> Vec<Part> {
            if let Some(phase) = of.and_then(|name| phases.iter().position(|phase| *phase == name)) {
                return vec![Part::Phase(phase)];
            }
            let chosen = faults.iter().filter(|(name, _)| of.is_none_or(|wanted| wanted == *name));
            chosen.flat_map(|(_, parts)| parts.iter().copied()).collect()
        };
        match self {
            Self::In(name) => all.filter(|i| phases[*i] == name).collect(),
            Self::Before(of) => {
                let first = parts(of.as_deref()).into_iter().min();
                all.filter(|i| first.is_some_and(|first| Part::Phase(*i) < first)).collect()
            }
            Self::During(of) => {
                let acting = parts(of.as_deref());
                all.filter(|i| acting.contains(&Part::Phase(*i))).collect()
            }
            Self::After(of) => {
                let last = parts(of.as_deref()).into_iter().max();
                all.filter(|i| last.is_some_and(|last| Part::Phase(*i) > last)).collect()
            }
        }
    }
}

/// The kind of a number; both sides of a comparison must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// A plain count.
    Count,
    /// A share or a quotient; 99 % is 0.99.
    Ratio,
    /// Seconds.
    Duration,
    /// Bytes.
    Size,
    /// Per second.
    Rate,
    /// A word, only for `is`.
    Word,
}

/// A limit in base units: seconds, bytes, per second, or plain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value {
    /// The number in its base unit.
    pub number: f64,
    /// Its kind.
    pub dimension: Dimension,
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(when: &When) -> Vec<usize> {
        let faults = [
            ("think", vec![Part::Setup, Part::Phase(3)]),
            ("cut", vec![Part::Phase(1)]),
            ("silent", vec![Part::Phase(1), Part::Phase(3)]),
            ("never", Vec::new()),
        ];
        when.covers(&["a", "b", "c", "d", "e"], &faults)
    }

    #[test]
    fn windows_are_whole_phases() {
        let of = |name: &str| Some(name.to_owned());
        assert_eq!(covers(&When::In("c".to_owned())), [2]);
        assert_eq!(covers(&When::Before(of("cut"))), [0]);
        assert_eq!(covers(&When::During(of("cut"))), [1]);
        assert_eq!(covers(&When::After(of("cut"))), [2, 3, 4]);
        // What lies between two applications is neither before, nor during, nor after.
        assert_eq!(covers(&When::During(of("silent"))), [1, 3]);
        assert_eq!(covers(&When::After(of("silent"))), [4]);
        // Nothing is before what begins in set-up.
        assert_eq!(covers(&When::Before(of("think"))), [0; 0]);
        assert_eq!(covers(&When::Before(None)), [0; 0]);
        assert_eq!(covers(&When::During(None)), [1, 3]);
        assert_eq!(covers(&When::After(None)), [4]);
        assert_eq!(covers(&When::Before(of("c"))), [0, 1]);
        assert_eq!(covers(&When::After(of("c"))), [3, 4]);
        for when in [When::Before(of("never")), When::During(of("never")), When::After(of("never"))] {
            assert_eq!(covers(&when), [0; 0]);
        }
    }
}
