//! Whether what a fault does suits those it hits, and the moment it hits them.

use std::collections::HashSet;

use super::aims::{Hits, name_of};
use super::full::{FullFault, SETUP};
use super::slow;
use crate::scenarios::full::{Full, FullSubscribers};
use crate::scenarios::plan::{Crew, DropPoint, FaultKind, How, Reconnect, Stagger, Terminate};
use crate::scenarios::problem::Finding;

/// The kind of a fault, against whom it hits and where.
pub(crate) fn check(full: &Full, fault: &FullFault, hits: &Hits, findings: &mut Vec<Finding>) {
    match &fault.kind {
        Some(FaultKind::Terminate(end)) => points(full, fault, end, hits, findings),
        Some(FaultKind::HandshakeAbort(_)) => findings.extend(nobody_connects(full, fault, hits)),
        _ => {}
    }
    findings.extend(slow::suits(full, fault, hits));
    findings.extend(nobody_publishes(full, fault, hits));
    findings.extend(nobody_is_there(fault));
}

/// The points of connections' lives that they are to be ended at.
fn points(full: &Full, fault: &FullFault, end: &Terminate, hits: &Hits, findings: &mut Vec<Finding>) {
    let publishers = hits.iter().map(|(crew, _)| *crew).find(|crew| matches!(crew, Crew::Publishers(_)));
    let mut seen = HashSet::new();
    for (point, span) in &fault.points {
        let word = point.word();
        let handshake = matches!(point, DropPoint::Connect | DropPoint::Init);
        let subscribes = matches!(point, DropPoint::SubscribeSent | DropPoint::UnsubscribeSent);
        let error = |message: String| Finding::error(span.clone(), message);
        if !seen.insert(*point) {
            findings.push(error(format!("the point `{word}` is listed twice")));
        } else if handshake && matches!(end.how, How::WsClose(_) | How::HalfClose) {
            let message =
                format!("`{word}` is in the handshake, which is ended by \"reset\" or \"fin\" only");
            findings.push(error(message));
        } else if !handshake && fault.in_setup() {
            let message = format!("nothing is subscribed yet in `{SETUP}`, so nobody can be at `{word}`");
            findings.push(error(message).note("allowed there: connect, init"));
        } else if let Some(crew) = publishers.filter(|_| subscribes) {
            let message =
                format!("`{}` publishes and never subscribes: it has no `{word}`", name_of(full, crew));
            let note = "allowed for publishers: connect, init, publish-sent, receive, receive-partial";
            findings.push(error(message).note(note));
        }
    }
}

/// Publishers connect once, before everybody else: who is kept from it publishes nothing in the whole run.
fn nobody_publishes(full: &Full, fault: &FullFault, hits: &Hits) -> Option<Finding> {
    let ends_attempts = match fault.kind.as_ref()? {
        FaultKind::HandshakeAbort(_) => true,
        FaultKind::Terminate(end) => !end.at.is_empty(),
        _ => false,
    };
    if !fault.in_setup() || !ends_attempts {
        return None;
    }
    let crew = hits.iter().map(|(crew, _)| *crew).find(|crew| matches!(crew, Crew::Publishers(_)))?;
    let message =
        format!("`{}` publishes: kept from connecting in `{SETUP}` it never would", name_of(full, crew));
    Some(Finding::error(fault.kind_span.clone(), message).note("name phases instead"))
}

/// What is done to connections at the begin of set-up is done to none.
fn nobody_is_there(fault: &FullFault) -> Option<Finding> {
    let needs_one = match fault.kind.as_ref()? {
        FaultKind::Terminate(end) => end.at.is_empty(),
        FaultKind::Hold(_) | FaultKind::Stall(_) | FaultKind::Partition { .. } => true,
        _ => false,
    };
    let at_once = fault.start.value.is_zero() && fault.stagger.value == Stagger::Together;
    (needs_one && at_once && fault.in_setup()).then(|| {
        let message = format!("nobody is connected yet at the begin of `{SETUP}`");
        Finding::error(fault.kind_span.clone(), message).note("write start = \"1s\", or name phases")
    })
}

/// Attempts to connect can be ended only where there are any.
fn nobody_connects(full: &Full, fault: &FullFault, hits: &Hits) -> Option<Finding> {
    if fault.in_setup() {
        return None;
    }
    let stays = |crew: &Crew| match crew {
        Crew::Subscribers(index) => full.subscribers[*index].reconnect.value == Reconnect::None,
        Crew::Publishers(_) => false,
    };
    let crew = hits.iter().map(|(crew, _)| *crew).find(stays)?;
    let message = format!(
        "`{}` does not reconnect, so after set-up there are no attempts to connect that could be ended",
        name_of(full, crew)
    );
    Some(Finding::warning(fault.kind_span.clone(), message).note("give the group a `reconnect`"))
}

/// What a group does about lost connections, each key against the others.
pub(crate) fn policies(group: &FullSubscribers, findings: &mut Vec<Finding>) {
    if group.reconnect.value == Reconnect::None {
        let budget = group.retry_budget.as_ref().map(|budget| ("retry-budget", &budget.span));
        let breaker = group.breaker.as_ref().map(|breaker| ("circuit-breaker", &breaker.span));
        for (key, span) in budget.into_iter().chain(breaker) {
            let message = format!("`{key}` is about attempts to reconnect, and there are none");
            let note = "write reconnect = { exponential = { first = \"100ms\", cap = \"5s\" } }";
            findings.push(Finding::error(span.clone(), message).note(note));
        }
    }
    if let Some(keepalive) = group.keepalive.as_ref().filter(|k| k.value.dead_after <= k.value.every) {
        let message =
            "`dead-after` must be longer than `every`, or a connection is dead before its first ping";
        findings.push(Finding::error(keepalive.span.clone(), message));
    }
}
