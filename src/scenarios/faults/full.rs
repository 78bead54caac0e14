//! A fault and a reconnect policy with every default filled in, at full size.

use std::ops::Range;
use std::time::Duration;

use serde_json::{Map, Value, json};
use toml::Spanned;

use super::file::{Code, FaultTable, How, Kind, ReconnectWord, StaggerWord, TerminateTable, kinds};
use crate::scenarios::file::{Name, OneOrMany};
use crate::scenarios::full::{At, Cuts, missing};
use crate::scenarios::plan::{self, FaultKind, Reconnect, Stagger, Terminate};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{exact_duration, exact_ratio};

/// Code of a close frame unless told: a normal closure.
const NORMAL: u16 = 1_000;

/// A fault.
#[derive(Debug, Clone)]
pub(crate) struct FullFault {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    /// Names of what it aims at; `None`: missing, and reported.
    pub(crate) on: Option<Vec<(String, Range<usize>)>>,
    pub(crate) fraction: At<f64>,
    /// Names of its phases; `None`: all.
    pub(crate) phases: Option<Vec<(String, Range<usize>)>>,
    pub(crate) start: At<Duration>,
    pub(crate) stagger: At<Stagger>,
    /// `None`: there is no single kind that this version has, which is reported.
    pub(crate) kind: Option<FaultKind>,
}

impl FullFault {
    /// Whether victims are drawn: whoever hits all draws nobody.
    pub(crate) fn draws(&self) -> bool {
        self.fraction.value < 1.0
    }

    /// Whether it aims at a group.
    pub(crate) fn aims_at(&self, group: &str) -> bool {
        self.on.iter().flatten().any(|(name, _)| name == group)
    }

    /// How it is written in a file; `phases`: those that it acts in.
    pub(crate) fn resolved(&self, phases: &[&str]) -> Value {
        let mut table = Map::new();
        let on: Vec<&str> = self.on.iter().flatten().map(|(name, _)| name.as_str()).collect();
        table.insert("on".to_owned(), json!(on));
        table.insert("fraction".to_owned(), json!(exact_ratio(self.fraction.value)));
        table.insert("of".to_owned(), json!("connections"));
        table.insert("phase".to_owned(), json!(phases));
        table.insert("start".to_owned(), json!(exact_duration(self.start.value)));
        let stagger = match self.stagger.value {
            Stagger::Together => json!("together"),
            Stagger::Linear(over) => json!({"linear": exact_duration(over)}),
            Stagger::Poisson(over) => json!({"poisson": exact_duration(over)}),
        };
        table.insert("stagger".to_owned(), stagger);
        if let Some(FaultKind::Terminate(end)) = &self.kind {
            let terminate = match end.how {
                plan::How::Reset => json!({"how": "reset"}),
                plan::How::Fin => json!({"how": "fin"}),
                plan::How::HalfClose => json!({"how": "half-close"}),
                plan::How::WsClose(code) => json!({"how": "ws-close", "code": code}),
            };
            table.insert("terminate".to_owned(), terminate);
        }
        Value::Object(table)
    }
}

/// Fills in what was left out of a fault; says what is missing or does not fit together.
pub(crate) fn fault(
    name: &Name,
    table: &FaultTable,
    cuts: Cuts<'_>,
    findings: &mut Vec<Finding>,
) -> FullFault {
    let span = name.span();
    let path = format!("faults.{}", name.get_ref());
    if table.on.is_none() && !cuts.touch(&path) {
        findings.push(missing(&span, "on", "on = \"clients\", a group of subscribers"));
    }
    let kind = match table.kinds.as_slice() {
        [kind] => match kind.get_ref() {
            Kind::Terminate(terminate) => terminated(table, terminate, &kind.span(), cuts, &path, findings),
            Kind::NotYet(_) => None,
        },
        [] => {
            if !cuts.touch(&path) {
                let message = format!("the fault `{}` does nothing: it needs a kind", name.get_ref());
                let allowed = format!("allowed: {}", kinds().join(", "));
                findings.push(
                    Finding::error(span.clone(), message)
                        .note("write terminate = { how = \"reset\" }")
                        .note(allowed),
                );
            }
            None
        }
        [.., last] => {
            let words: Vec<String> =
                table.kinds.iter().map(|k| format!("`{}`", k.get_ref().word())).collect();
            let message = format!("a fault has one kind, and this one has {}", words.join(" and "));
            findings.push(Finding::error(last.span(), message).note("write two faults with the same `on`"));
            None
        }
    };
    let stagger = |word: &StaggerWord| match word {
        StaggerWord::Together => Stagger::Together,
        StaggerWord::Linear(over) => Stagger::Linear(over.0.0),
        StaggerWord::Poisson(over) => Stagger::Poisson(over.0.0),
    };
    FullFault {
        name: name.get_ref().clone(),
        on: table.on.as_ref().map(names),
        fraction: At::or(table.fraction.as_ref(), |f| f.0, 1.0, &span),
        phases: table.phase.as_ref().map(names),
        start: At::or(table.start.as_ref(), |s| s.0, Duration::ZERO, &span),
        stagger: At::or(table.stagger.as_ref(), stagger, Stagger::Together, &span),
        kind,
        span,
    }
}

/// One name or many, each at its place.
pub(crate) fn names(names: &Spanned<OneOrMany>) -> Vec<(String, Range<usize>)> {
    match names.get_ref() {
        OneOrMany::One(name) => vec![(name.clone(), names.span())],
        OneOrMany::Many(many) => many.iter().map(|name| (name.get_ref().clone(), name.span())).collect(),
    }
}

impl Kind {
    /// How it is written.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Terminate(_) => "terminate",
            Self::NotYet(key) => key.word(),
        }
    }
}

fn terminated(
    fault: &FaultTable,
    table: &TerminateTable,
    span: &Range<usize>,
    cuts: Cuts<'_>,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Option<FaultKind> {
    if let Some(length) = &fault.length {
        let message = "`for` means nothing to `terminate`: a connection ends at one moment";
        findings.push(
            Finding::error(length.span(), message)
                .note("to spread the ends, write stagger = { linear = \"3s\" }"),
        );
    }
    let Some(how) = &table.how else {
        if !cuts.touch(&format!("{path}.terminate")) {
            findings.push(missing(span, "how", "how = \"reset\", \"fin\" or \"ws-close\""));
        }
        return None;
    };
    if let Some(code) = table.code.as_ref().filter(|_| *how.get_ref() != How::WsClose) {
        let message = "only a close frame has a code";
        findings.push(Finding::error(code.span(), message).note("write how = \"ws-close\""));
    }
    let how = match how.get_ref() {
        How::Reset => plan::How::Reset,
        How::Fin => plan::How::Fin,
        How::WsClose => {
            let Code(code) = table.code.as_ref().map_or(Code(NORMAL), |code| *code.get_ref());
            plan::How::WsClose(code)
        }
        How::HalfClose => return None,
    };
    Some(FaultKind::Terminate(Terminate { how, at: Vec::new() }))
}

/// The policy that a word stands for.
pub(crate) fn reconnect(word: &ReconnectWord) -> Reconnect {
    match word {
        ReconnectWord::None => Reconnect::None,
        ReconnectWord::Immediate => Reconnect::Immediate,
        ReconnectWord::Fixed(fixed) => Reconnect::Fixed(fixed.wait.0.0),
        ReconnectWord::Exponential(e) => {
            Reconnect::Exponential { first: e.first.0.0, cap: e.cap.0.0, jitter: e.jitter }
        }
    }
}

/// How a policy is written in a file.
pub(crate) fn resolved_reconnect(reconnect: Reconnect) -> Value {
    match reconnect {
        Reconnect::None => json!("none"),
        Reconnect::Immediate => json!("immediate"),
        Reconnect::Fixed(wait) => json!({"fixed": {"wait": exact_duration(wait)}}),
        Reconnect::Exponential { first, cap, jitter } => json!({
            "exponential": {"first": exact_duration(first), "cap": exact_duration(cap), "jitter": jitter}
        }),
    }
}
