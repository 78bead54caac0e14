//! A fault with every default filled in, at full size.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;

use super::file::{FaultTable, Kind, Of, StaggerWord, kinds};
use super::kinds::{ChurnTable, Code, DelayWord, How, LinkDelayTable, Points, TerminateTable};
use super::slow;
use crate::scenarios::file::{Name, OneOrMany};
use crate::scenarios::full::{At, Cuts, missing, whole};
use crate::scenarios::plan::{self, Churn, DropPoint, FaultKind, LinkDelay, Stagger, Terminate};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{Span, show_size};

/// Code of a close frame unless told: a normal closure.
const NORMAL: u16 = 1_000;

/// Bytes that may be on their way in each direction unless told.
const BUFFER: u64 = 1 << 20;

/// The least of them: a few frames, and what one read may take.
const LEAST_BUFFER: u64 = 64 << 10;

/// The most, for one connection in one direction.
pub(crate) const MOST_BUFFER: u64 = 1 << 30;

/// How long a subscription is held in each cycle, and how long none is, unless told.
const CYCLE: Duration = Duration::from_millis(100);

/// The name of what is before the first phase.
pub(crate) const SETUP: &str = "setup";

/// A name and where it is written.
pub(crate) type Named = (String, Range<usize>);

/// A fault.
#[derive(Debug, Clone)]
pub(crate) struct FullFault {
    pub(crate) name: String,
    pub(crate) span: Range<usize>,
    /// Names of what it aims at; `None`: missing, and reported.
    pub(crate) on: Option<Vec<Named>>,
    pub(crate) fraction: At<f64>,
    /// What the fraction is taken of.
    pub(crate) of: At<Of>,
    /// Names of its phases, and `setup`; `None`: all phases.
    pub(crate) phases: Option<Vec<Named>>,
    pub(crate) start: At<Duration>,
    /// How long it lasts for each victim; `None`: to the end of the phase.
    pub(crate) length: Option<At<Duration>>,
    pub(crate) stagger: At<Stagger>,
    /// `None`: there is no single kind that this version has, which is reported.
    pub(crate) kind: Option<FaultKind>,
    /// Where its kind is written.
    pub(crate) kind_span: Range<usize>,
    /// The buffer of its link delay.
    pub(crate) buffer_span: Range<usize>,
    /// Where each of its drop points is written.
    pub(crate) points: Vec<(DropPoint, Range<usize>)>,
    /// Cycles of each of its victims, if it has them churn.
    pub(crate) cycles: Option<At<u32>>,
}

impl FullFault {
    /// Whether victims are drawn: whoever hits all draws nobody, and operations are drawn of everybody's.
    pub(crate) fn draws(&self) -> bool {
        self.share() < 1.0
    }

    /// The share of connections that it aims at.
    pub(crate) fn share(&self) -> f64 {
        if self.of_operations() { 1.0 } else { self.fraction.value }
    }

    /// Whether its fraction is taken of what clients do, rather than of clients.
    pub(crate) fn of_operations(&self) -> bool {
        self.of.value == Of::Operations
    }

    /// Whether it aims at a group, or at the victims of a fault, by this name.
    pub(crate) fn aims_at(&self, name: &str) -> bool {
        self.on.iter().flatten().any(|(aim, _)| aim == name)
    }

    /// Whether it acts before the first phase.
    pub(crate) fn in_setup(&self) -> bool {
        self.phases.iter().flatten().any(|(name, _)| name == SETUP)
    }

    /// Whether it acts in a phase.
    pub(crate) fn acts_in(&self, phase: &str) -> bool {
        self.phases.as_ref().is_none_or(|names| names.iter().any(|(name, _)| name == phase))
    }

    /// What it does to links, if it delays them.
    pub(crate) fn link_delay(&self) -> Option<LinkDelay> {
        if let Some(FaultKind::LinkDelay(delay)) = &self.kind { Some(*delay) } else { None }
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
        findings.push(missing(&span, "on", "on = \"clients\", a group or another fault"));
    }
    let kind_span = table.kinds.first().map_or_else(|| span.clone(), Spanned::span);
    let mut full = FullFault {
        name: name.get_ref().clone(),
        on: table.on.as_ref().map(names),
        fraction: At::or(table.fraction.as_ref(), |f| f.0, 1.0, &span),
        of: At::or(table.of.as_ref(), |of| *of, Of::Connections, &span),
        phases: table.phase.as_ref().map(names),
        start: At::or(table.start.as_ref(), |s| s.0, Duration::ZERO, &span),
        length: At::of(table.length.as_ref(), |length| length.0.0),
        stagger: At::or(table.stagger.as_ref(), stagger, Stagger::Together, &span),
        kind: None,
        buffer_span: kind_span.clone(),
        kind_span,
        points: Vec::new(),
        cycles: None,
        span,
    };
    match table.kinds.as_slice() {
        [kind] => full.kind = full.take(kind.get_ref(), cuts, &path, findings),
        [] if cuts.touch(&path) => {}
        [] => {
            let message = format!("the fault `{}` does nothing: it needs a kind", name.get_ref());
            let allowed = format!("allowed: {}", kinds().join(", "));
            let finding = Finding::error(full.span.clone(), message);
            findings.push(finding.note("write terminate = { how = \"reset\" }").note(allowed));
        }
        [.., last] => {
            let words: Vec<String> =
                table.kinds.iter().map(|k| format!("`{}`", k.get_ref().word())).collect();
            let message = format!("a fault has one kind, and this one has {}", words.join(" and "));
            findings.push(Finding::error(last.span(), message).note("write two faults with the same `on`"));
        }
    }
    full
}

fn stagger(word: &StaggerWord) -> Stagger {
    match word {
        StaggerWord::Together => Stagger::Together,
        StaggerWord::Linear(over) => Stagger::Linear(over.0.0),
        StaggerWord::Poisson(over) => Stagger::Poisson(over.0.0),
    }
}

/// One name or many, each at its place.
pub(crate) fn names(names: &Spanned<OneOrMany>) -> Vec<Named> {
    match names.get_ref() {
        OneOrMany::One(name) => vec![(name.clone(), names.span())],
        OneOrMany::Many(many) => many.iter().map(|name| (name.get_ref().clone(), name.span())).collect(),
    }
}

impl FullFault {
    /// What it does, with the places that checks point at.
    fn take(
        &mut self,
        kind: &Kind,
        cuts: Cuts<'_>,
        path: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<FaultKind> {
        Some(match kind {
            Kind::ThinkTime(DelayWord(delay)) => FaultKind::ThinkTime(*delay),
            Kind::LinkDelay(table) => return self.link(table, cuts, path, findings),
            Kind::Hold(direction) => FaultKind::Hold(direction.0),
            Kind::Stall(direction) => FaultKind::Stall(direction.0),
            Kind::Partition(table) => FaultKind::Partition { or_stall: table.otherwise.is_some() },
            Kind::SlowConsumer(table) => {
                let slow = slow::consumer(table, &self.kind_span, cuts, path, findings)?;
                FaultKind::SlowConsumer(slow)
            }
            Kind::HandshakeAbort(point) => FaultKind::HandshakeAbort((*point).into()),
            Kind::Terminate(table) => return self.terminate(table, cuts, path, findings),
            Kind::Churn(table) => return self.churn(table, cuts, path, findings),
            Kind::NotYet(_) => return None,
        })
    }

    fn link(
        &mut self,
        table: &LinkDelayTable,
        cuts: Cuts<'_>,
        path: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<FaultKind> {
        if table.up.is_none() && table.down.is_none() {
            if !cuts.touch(&format!("{path}.link-delay")) {
                let message = "a link delay needs a direction: `up`, from us to the server, or `down`";
                let finding = Finding::error(self.kind_span.clone(), message);
                findings.push(finding.note("write link-delay = { down = \"100ms\" }"));
            }
            return None;
        }
        let buffer = At::or(table.buffer.as_ref(), |size| size.0, BUFFER, &self.kind_span);
        if !(LEAST_BUFFER..=MOST_BUFFER).contains(&buffer.value) {
            let (least, most) = (show_size(LEAST_BUFFER as f64), show_size(MOST_BUFFER as f64));
            let message = format!("the buffer of a link has from {least} to {most}");
            findings.push(Finding::error(buffer.span.clone(), message));
        }
        self.buffer_span = buffer.span;
        let delay = |word: Option<DelayWord>| word.map(|DelayWord(delay)| delay);
        let buffer = usize::try_from(buffer.value).unwrap_or(usize::MAX);
        Some(FaultKind::LinkDelay(LinkDelay { up: delay(table.up), down: delay(table.down), buffer }))
    }

    fn churn(
        &mut self,
        table: &ChurnTable,
        cuts: Cuts<'_>,
        path: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<FaultKind> {
        if let Some(length) = &self.length {
            let message = "`for` means nothing to `churn`: it lasts until its cycles are done";
            findings.push(Finding::error(length.span.clone(), message).note("the phase waits for them"));
        }
        let Some(cycles) = &table.cycles else {
            if !cuts.touch(&format!("{path}.churn")) {
                findings.push(missing(&self.kind_span, "cycles", "churn = { cycles = 100 }"));
            }
            return None;
        };
        let cycles = At::or(Some(cycles), whole, 1, &self.kind_span);
        let of = |time: Option<Span>| time.map_or(CYCLE, |time| time.0);
        let churn = Churn { cycles: cycles.value, hold: of(table.hold), pause: of(table.pause) };
        self.cycles = Some(cycles);
        Some(FaultKind::Churn(churn))
    }

    fn terminate(
        &mut self,
        table: &TerminateTable,
        cuts: Cuts<'_>,
        path: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<FaultKind> {
        if let Some(length) = &self.length {
            let message = "`for` means nothing to `terminate`: a connection ends at one moment";
            findings.push(
                Finding::error(length.span.clone(), message)
                    .note("to spread the ends, write stagger = { linear = \"3s\" }"),
            );
        }
        self.points = table.at.as_ref().map(points).unwrap_or_default();
        if let Some(at) = table.at.as_ref().filter(|_| self.points.is_empty()) {
            let message = "an empty `at`: leave it out to end connections whatever they are doing";
            findings.push(Finding::error(at.span(), message));
        }
        let Some(how) = &table.how else {
            if !cuts.touch(&format!("{path}.terminate")) {
                let example = "how = \"reset\", \"fin\", \"half-close\" or \"ws-close\"";
                findings.push(missing(&self.kind_span, "how", example));
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
            How::HalfClose => plan::How::HalfClose,
            How::WsClose => {
                let Code(code) = table.code.as_ref().map_or(Code(NORMAL), |code| *code.get_ref());
                plan::How::WsClose(code)
            }
        };
        let at = self.points.iter().map(|(point, _)| *point).collect();
        Some(FaultKind::Terminate(Terminate { how, at }))
    }
}

/// One point or many, each at its place.
fn points(points: &Spanned<Points>) -> Vec<(DropPoint, Range<usize>)> {
    match points.get_ref() {
        Points::One(point) => vec![((*point).into(), points.span())],
        Points::Many(many) => many.iter().map(|point| ((*point.get_ref()).into(), point.span())).collect(),
    }
}
