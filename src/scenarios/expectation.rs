//! The grammar of conditions: `latency.deliver.p99 in load < 100ms` → [`Test`].
//!
//! ```text
//! condition = quantity op value [ "at" ratio ] | quantity "within" value ".." value | term "is" word { "or" word }
//! quantity  = term [ "/" ( term | when | "predicted" ) ]
//! term      = [ subject "." ] metric [ when ]
//! when      = "in" PHASE | ("before" | "during" | "after") [ PHASE | FAULT ]
//! ```
//!
//! Every mistake is found with its place inside the text, so that the caret points into the condition.

use std::ops::Range;

use super::condition::{Dimension, Op, Over, Quantity, Term, Test, Value, When};
use super::not_yet;
use super::plan::Part;
use super::problem::{Finding, nearest};
use super::units::parse_value;
use crate::report::metrics::{self, Metric};
use crate::verdict::rising;

/// The names a condition may use.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// Groups of both kinds.
    pub(crate) groups: Vec<String>,
    /// Phases.
    pub(crate) phases: Vec<String>,
    /// Faults.
    pub(crate) faults: Vec<String>,
    /// The parts of the run that each of them begins in; as long as the faults, or empty where that is not known.
    pub(crate) acting: Vec<Vec<Part>>,
}

/// Parses a condition. Spans count from the start of `text`; warnings come beside the result.
pub(crate) fn parse(text: &str, names: &Names) -> Result<(Test, Vec<Finding>), Finding> {
    let mut parser = Parser { text, tokens: tokens(text), next: 0, names, warnings: Vec::new() };
    let test = parser.condition()?;
    if let Some(token) = parser.tokens.get(parser.next) {
        let found = &text[token.clone()];
        return Err(Finding::error(
            token.clone(),
            format!("unexpected `{found}` after the end of the condition"),
        ));
    }
    Ok((test, parser.warnings))
}

/// Splits into operators, slashes, `..` and everything else.
fn tokens(text: &str) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let sign =
            [r"<=", ">=", "==", "!=", "..", "<", ">", "=", "/"].iter().find(|sign| rest.starts_with(**sign));
        if c.is_whitespace() || sign.is_some() {
            tokens.extend(start.take().map(|from| from..at));
        } else if start.is_none() {
            start = Some(at);
        }
        if let Some(sign) = sign {
            tokens.push(at..at + sign.len());
            at += sign.len();
        } else {
            at += c.len_utf8();
        }
    }
    tokens.extend(start.map(|from| from..text.len()));
    tokens
}

const TREND_LIMIT: &str = "growth over a run can only be limited from above, by `<` or `<=`";
const TREND_EXAMPLE: &str = "such as `trend.server_memory.growth < 64MiB`";

/// Words of the grammar, which cannot follow `before` as a name.
const KEYWORDS: [&str; 14] =
    ["<=", ">=", "==", "!=", "<", ">", "=", "/", "..", "within", "is", "at", "or", "predicted"];

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Range<usize>>,
    next: usize,
    names: &'a Names,
    warnings: Vec<Finding>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.get(self.next).map(|token| &self.text[token.clone()])
    }

    /// Where the next token is, or the end of the text.
    fn here(&self) -> Range<usize> {
        self.tokens.get(self.next).cloned().unwrap_or(self.text.len()..self.text.len())
    }

    fn take(&mut self, word: &str) -> bool {
        let hit = self.peek() == Some(word);
        self.next += usize::from(hit);
        hit
    }

    fn found(&self) -> String {
        self.peek().map_or("the end of the condition".to_owned(), |word| format!("`{word}`"))
    }

    fn condition(&mut self) -> Result<Test, Finding> {
        let (left, dimension) = self.quantity()?;
        if self.take("is") {
            return self.words(left, dimension);
        }
        let comparing = self.here();
        if dimension == Dimension::Word {
            let metric = &left.term.metric;
            return Err(Finding::error(comparing, format!("`{metric}` is a word: compare it with `is`")));
        }
        if self.take("within") {
            if rising::is_trend(&left.term) {
                return Err(Finding::error(comparing, TREND_LIMIT).note(TREND_EXAMPLE));
            }
            let low = self.value(dimension)?;
            if !self.take("..") {
                return Err(Finding::error(self.here(), format!("expected `..`, found {}", self.found())));
            }
            let at = self.here();
            let high = self.value(dimension)?;
            if high.number < low.number {
                return Err(Finding::error(at, "the upper limit is below the lower one"));
            }
            return Ok(Test::Within { left, low, high });
        }
        let op = match self.peek() {
            Some("<") => Op::Less,
            Some("<=") => Op::LessOrEqual,
            Some("==") => Op::Equal,
            Some("!=") => Op::NotEqual,
            Some(">=") => Op::GreaterOrEqual,
            Some(">") => Op::Greater,
            Some("=") => return Err(Finding::error(comparing, "equality is written `==`")),
            _ => {
                let message = format!("expected a comparison, found {}", self.found());
                return Err(
                    Finding::error(comparing, message).note("allowed: <, <=, ==, !=, >=, >, within, is")
                );
            }
        };
        self.next += 1;
        if rising::is_trend(&left.term) && !(matches!(op, Op::Less | Op::LessOrEqual) && left.over.is_none())
        {
            return Err(Finding::error(comparing, TREND_LIMIT).note(TREND_EXAMPLE));
        }
        let right = self.value(dimension)?;
        let at = match self.peek() {
            Some("at") if rising::is_trend(&left.term) => {
                return Err(Finding::error(self.here(), "a trend is always judged by its 95 % interval"));
            }
            Some("at") => {
                self.next += 1;
                Some(self.confidence()?)
            }
            _ => None,
        };
        Ok(Test::Compare { left, op, right, at })
    }

    fn words(&mut self, left: Quantity, dimension: Dimension) -> Result<Test, Finding> {
        if dimension != Dimension::Word || left.over.is_some() {
            let message =
                format!("`{}` is not a word: compare it with <, <=, ==, !=, >=, >", left.term.metric);
            return Err(Finding::error(self.here(), message));
        }
        let mut words = Vec::new();
        loop {
            match self.peek().filter(|word| !KEYWORDS.contains(word)) {
                Some(word) => words.push(word.to_owned()),
                None => {
                    return Err(Finding::error(
                        self.here(),
                        format!("expected a word, found {}", self.found()),
                    ));
                }
            }
            self.next += 1;
            if !self.take("or") {
                return Ok(Test::Is { left: left.term, words });
            }
        }
    }

    fn quantity(&mut self) -> Result<(Quantity, Dimension), Finding> {
        let term = self.term()?;
        let dimension = term.dimension;
        if !self.take("/") {
            return Ok((Quantity { term, over: None }, dimension));
        }
        let at = self.here();
        if dimension == Dimension::Word {
            return Err(Finding::error(at, format!("`{}` is a word and cannot be divided", term.metric)));
        }
        if self.take("predicted") {
            return Ok((Quantity { term, over: Some(Over::Predicted) }, Dimension::Ratio));
        }
        let other = if matches!(self.peek(), Some("in" | "before" | "during" | "after")) {
            let when = self.when()?;
            let other = Term { when, ..term.clone() };
            self.check_scope(&other, &at)?;
            other
        } else {
            self.term()?
        };
        if other.dimension != dimension {
            let message = format!(
                "`{}` is {}, and `{}` is {}: only equal kinds can be divided",
                term.metric,
                name_of(dimension),
                other.metric,
                name_of(other.dimension)
            );
            return Err(Finding::error(at, message));
        }
        Ok((Quantity { term, over: Some(Over::Term(other)) }, Dimension::Ratio))
    }

    fn term(&mut self) -> Result<Term, Finding> {
        let at = self.here();
        let Some(path) = self.peek().filter(|word| !KEYWORDS.contains(word)) else {
            return Err(Finding::error(at, format!("expected a metric, found {}", self.found()))
                .note("such as `latency.deliver.p99` or `ledger.lost`"));
        };
        self.next += 1;
        let (subject, metric) = self.resolve(path, &at)?;
        let when = self.when()?;
        let term =
            Term { subject, metric: metric.path, keys: metric.keys, dimension: metric.dimension, when };
        self.check_scope(&term, &at)?;
        Ok(term)
    }

    /// Tells the subject from the metric.
    fn resolve(&self, path: &str, at: &Range<usize>) -> Result<(Option<String>, Metric), Finding> {
        if let Some(metric) = metrics::find(path) {
            let fault = path.strip_prefix("faults.").and_then(|rest| rest.split('.').next());
            if let Some(fault) = fault.filter(|name| !self.names.faults.iter().any(|f| f == name)) {
                let span = at.start + 7..at.start + 7 + fault.len();
                let known = self.names.faults.iter().map(String::as_str);
                return Err(
                    Finding::error(span, format!("there is no fault `{fault}`")).allowed(fault, known)
                );
            }
            return Ok((None, metric));
        }
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        let is_group = self.names.groups.iter().any(|group| group == first);
        let computed = matches!(first, "victims" | "bystanders");
        if computed && self.names.faults.is_empty() {
            let message = format!("this scenario has no faults, so there are no {first}");
            return Err(Finding::error(at.start..at.start + first.len(), message));
        }
        if is_group || computed {
            let within = at.end - rest.len()..at.end;
            let known = metrics::all().iter().filter(|m| m.in_group).map(|m| m.path.as_str());
            return match metrics::find(rest).filter(|metric| metric.in_group) {
                Some(metric) => Ok((Some(first.to_owned()), metric)),
                None => {
                    Err(Finding::error(within, format!("a group has no metric `{rest}`"))
                        .allowed(rest, known))
                }
            };
        }
        if metrics::find(rest).is_some_and(|metric| metric.in_group) {
            let groups = self.names.groups.iter().map(String::as_str);
            let span = at.start..at.start + first.len();
            return Err(Finding::error(span, format!("there is no group `{first}`")).allowed(first, groups));
        }
        let known = || metrics::all().iter().map(|m| m.path.as_str()).filter(|known| !known.contains('*'));
        let unknown = Finding::error(at.clone(), format!("unknown metric `{path}`"));
        // All metrics are too many to list; those of the same part of the report are not.
        let siblings: Vec<&str> = known().filter(|metric| metric.split('.').next() == Some(first)).collect();
        Err(match (siblings.is_empty(), nearest(path, siblings.iter().copied())) {
            (false, Some(_)) => unknown.allowed(path, siblings),
            (false, None) => match nearest(path, known()) {
                Some(near) => unknown.note(format!("did you mean `{near}`?")),
                None => unknown.allowed(path, siblings),
            },
            (true, _) => unknown.allowed(path, known()),
        })
    }

    fn when(&mut self) -> Result<Option<When>, Finding> {
        let Some(word @ ("in" | "before" | "during" | "after")) = self.peek() else { return Ok(None) };
        let word_at = self.here();
        self.next += 1;
        let at = self.here();
        let name = self.peek().filter(|name| !KEYWORDS.contains(name)).map(ToOwned::to_owned);
        self.next += usize::from(name.is_some());
        let names = self.names;
        let known = |name: &str| {
            let spans: Vec<&str> = names
                .phases
                .iter()
                .chain(names.faults.iter().filter(|_| word != "in"))
                .map(String::as_str)
                .collect();
            if spans.contains(&name) || (word == "in" && not_yet::STAGES.contains(&name)) {
                return Ok(());
            }
            Err(Finding::error(at.clone(), format!("there is no phase `{name}`")).allowed(name, spans))
        };
        if let Some(name) = &name {
            known(name)?;
        } else if word == "in" {
            return Err(Finding::error(at, format!("expected a phase after `in`, found {}", self.found()))
                .allowed("", names.phases.iter().map(String::as_str)));
        } else if names.faults.is_empty() {
            let message = format!("this scenario has no faults, so nothing is `{word}` one");
            return Err(Finding::error(at, message));
        }
        let when = match (word, name) {
            ("before", name) => When::Before(name),
            ("during", name) => When::During(name),
            ("after", name) => When::After(name),
            (_, name) => When::In(name.unwrap_or_default()),
        };
        match self.without_phase(&when) {
            Some(message) => Err(Finding::error(word_at.start..at.end, message)),
            None => Ok(Some(when)),
        }
    }

    /// Why a window would never hold anything.
    fn without_phase(&self, when: &When) -> Option<String> {
        if matches!(when, When::In(_)) || self.names.acting.is_empty() && !self.names.faults.is_empty() {
            return None;
        }
        let phases: Vec<&str> = self.names.phases.iter().map(String::as_str).collect();
        let faults = self.names.faults.iter().map(String::as_str).zip(self.names.acting.iter().cloned());
        let covered = when.covers(&phases, &faults.collect::<Vec<_>>());
        let which =
            |of: &Option<String>| of.as_ref().map_or("the first fault".to_owned(), |of| format!("`{of}`"));
        covered.is_empty().then(|| match when {
            When::Before(of) => format!("no phase is before {}: windows are whole phases", which(of)),
            When::After(Some(of)) => format!("no phase is after `{of}`: windows are whole phases"),
            When::After(None) => "no phase is after the last fault: windows are whole phases".to_owned(),
            _ => "no fault acts in a phase: windows are whole phases".to_owned(),
        })
    }

    /// Whether the report has this metric for this subject in this window.
    fn check_scope(&self, term: &Term, at: &Range<usize>) -> Result<(), Finding> {
        if let Some(message) = not_yet::in_condition(term).or_else(|| in_stage(term)) {
            return Err(Finding::error(at.clone(), message));
        }
        if matches!(&term.when, Some(When::In(stage)) if not_yet::STAGES.contains(&stage.as_str())) {
            return Ok(());
        }
        let Some(metric) = metrics::find(&term.metric) else { return Ok(()) };
        let message = match (&term.subject, &term.when) {
            (None, _) if !metric.in_run && !metric.in_phase => {
                format!("`{0}` is known per group only: `victims.{0}`", term.metric)
            }
            (None, None) if !metric.in_run => {
                format!("`{0}` is known per phase only: `{0} in PHASE`", term.metric)
            }
            (None, Some(_)) if !metric.in_phase => format!("`{}` is not known per phase", term.metric),
            _ => return Ok(()),
        };
        Err(Finding::error(at.clone(), message))
    }

    fn value(&mut self, dimension: Dimension) -> Result<Value, Finding> {
        let mut at = self.here();
        // `100/s` was split at its slash; what touches belongs together.
        if let [_, slash, unit, ..] = &self.tokens[self.next.min(self.tokens.len())..] {
            let touching = slash.start == at.end && slash.end == unit.start;
            if touching && &self.text[slash.clone()] == "/" && &self.text[unit.clone()] == "s" {
                at.end = unit.end;
                self.next += 2;
            }
        }
        let text = &self.text[at.clone()];
        let Some(value) = parse_value(text) else {
            let found =
                if text.is_empty() { "the end of the condition".to_owned() } else { format!("`{text}`") };
            let message = format!("expected {}, found {found}", name_of(dimension));
            let hint = nearest(text, ["predicted"].into_iter());
            let finding = Finding::error(at, message);
            return Err(if hint.is_some() {
                finding.note("write `metric / predicted == 100%`")
            } else {
                finding
            });
        };
        self.next += 1;
        let bare = value.dimension == Dimension::Count;
        let fits = value.dimension == dimension
            || (bare && dimension == Dimension::Ratio)
            || (bare && value.number == 0.0);
        if !fits {
            let message = format!("expected {}, found {}", name_of(dimension), name_of(value.dimension));
            return Err(Finding::error(at, message));
        }
        if dimension == Dimension::Count && value.number != 0.0 && value.number != 1.0 {
            let message = "a bare count does not shrink with --scale";
            self.warnings
                .push(Finding::warning(at, message).note("compare with a ratio, or with `/ predicted`"));
        }
        Ok(Value { number: value.number, dimension })
    }

    fn confidence(&mut self) -> Result<f64, Finding> {
        let at = self.here();
        let value = self.value(Dimension::Ratio)?;
        if value.number > 0.5 && value.number < 1.0 {
            return Ok(value.number);
        }
        Err(Finding::error(at, "a confidence is between 50% and 100%, such as `at 95%`"))
    }
}

/// Why a term cannot be judged in a stage of the run that is no phase.
fn in_stage(term: &Term) -> Option<String> {
    let Some(When::In(stage)) = &term.when else { return None };
    if !not_yet::STAGES.contains(&stage.as_str()) {
        return None;
    }
    let metric = &term.metric;
    if stage == "drain" {
        return Some(format!(
            "`{metric}` has no figure of its own in `drain`: what arrives then belongs to the phase of its event"
        ));
    }
    let gauge = matches!(
        metric.as_str(),
        "server_stats.gauges.error_ratio"
            | "server_stats.connections.error_ratio"
            | "server_stats.subscriptions.error_ratio"
            | "server_stats.connections.left_over"
            | "server_stats.subscriptions.left_over"
    );
    (!gauge || term.subject.is_some()).then(|| {
        let moment = if stage == "setup" { "at its last census" } else { "after the last close" };
        format!("in `{stage}` only the server's gauges are known, {moment}, not `{metric}`")
    })
}

/// A dimension with its article and an example.
fn name_of(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Count => "a count (such as 0)",
        Dimension::Ratio => "a ratio (such as 99% or 1.5)",
        Dimension::Duration => "a duration (such as 100ms)",
        Dimension::Size => "a size (such as 2GiB)",
        Dimension::Rate => "a rate (such as 100/s)",
        Dimension::Word => "a word",
    }
}

#[cfg(test)]
#[path = "expectation_tests.rs"]
mod tests;
