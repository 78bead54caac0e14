//! Slow consumers: what is written of them, whom they suit, and whether they owe enough for a server to feel it.

use std::ops::Range;
use std::time::Duration;

use super::aims::{Hits, name_of};
use super::full::{FullFault, SETUP};
use super::kinds::SlowConsumerTable;
use crate::clients::source::{spans, timetable};
use crate::inject::{Act, Schedule};
use crate::scenarios::full::{Cuts, Full};
use crate::scenarios::plan::{Crew, FELT, FaultKind, Part, Pauses, Plan, SlowConsumer};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::show_size;

/// Sizes of a receive buffer that make sense. Linux doubles what it is asked for, gives no less than some 2.3 KiB and
/// no more than twice `net.core.rmem_max`.
const BUFFERS: Range<u64> = (1 << 10)..(4 << 20) + 1;

/// What a table says; `None`: something is wrong with it, and reported.
pub(super) fn consumer(
    table: &SlowConsumerTable,
    span: &Range<usize>,
    cuts: Cuts<'_>,
    path: &str,
    findings: &mut Vec<Finding>,
) -> Option<SlowConsumer> {
    let before = findings.len();
    let mut error = |message: &str, note: &str| {
        findings.push(Finding::error(span.clone(), message).note(note));
    };
    let pauses = match (table.pause, table.every) {
        (Some(pause), Some(every)) => Some(Pauses { pause: pause.0.0, every: every.0.0 }),
        (None, None) => None,
        _ if cuts.touch(&format!("{path}.slow-consumer")) => None,
        (Some(_), None) => {
            error("a `pause` of reading needs an `every`", "write pause = \"1s\", every = \"4s\"");
            None
        }
        (None, Some(_)) => {
            error(
                "`every` needs a `pause`: how long nothing is read",
                "write pause = \"1s\", every = \"4s\"",
            );
            None
        }
    };
    if pauses.is_some_and(|pauses| pauses.pause >= pauses.every) {
        let note = "to read nothing at all, write stall = \"down\"";
        error("a `pause` as long as `every`: it would never read", note);
    }
    let says = table.reads.is_some() || table.pause.is_some() || table.every.is_some();
    if !says && !cuts.touch(&format!("{path}.slow-consumer")) {
        error(
            "a slow consumer needs `reads`, or `pause` and `every`",
            "write slow-consumer = { reads = \"64KiB/s\" }",
        );
    }
    let receive_buffer = table.receive_buffer.map(|size| size.0);
    if receive_buffer.is_some_and(|size| !BUFFERS.contains(&size)) {
        let (least, most) = (show_size(BUFFERS.start as f64), show_size((BUFFERS.end - 1) as f64));
        let message = format!("a receive buffer has from {least} to {most}");
        error(&message, "leave it out for what the system gives");
    }
    (says && findings.len() == before).then(|| SlowConsumer {
        reads: table.reads.map(|rate| rate.0),
        pauses,
        receive_buffer: receive_buffer.and_then(|size| u32::try_from(size).ok()),
    })
}

/// Whom it cannot hit, and when.
pub(super) fn suits(full: &Full, fault: &FullFault, hits: &Hits) -> Option<Finding> {
    let Some(FaultKind::SlowConsumer(_)) = &fault.kind else { return None };
    let error = |message: String| Some(Finding::error(fault.kind_span.clone(), message));
    let publishers = hits.iter().map(|(crew, _)| *crew).find(|crew| matches!(crew, Crew::Publishers(_)));
    if let Some(crew) = publishers {
        let message = format!(
            "`{}` publishes, and is sent acknowledgements only: no queue fills because it reads slowly",
            name_of(full, crew)
        );
        return error(message)
            .map(|e| e.note("for late acknowledgements, write link-delay = { down = \"1s\" }"));
    }
    if fault.in_setup() {
        let message = format!("nothing is published in `{SETUP}` that a slow consumer could leave unread");
        return error(message).map(|e| e.note("name phases instead"));
    }
    None
}

/// A fault that leaves too little unread for a server to feel it; at a reduced size that is said of the conditions.
pub(super) fn unfelt(plan: &Plan, schedule: &Schedule, index: usize, written: &FullFault) -> Option<Finding> {
    let owed = owed_at_least(plan, schedule, index).filter(|_| plan.scale >= 1.0)?;
    (owed < FELT as f64).then(|| {
        let message = format!(
            "a slow reader of `{}` is owed {} beyond what it reads, and {} are hidden from the server by the kernels",
            written.name,
            show_size(owed),
            show_size(FELT as f64)
        );
        let note = "more events, larger payloads or a lower `reads` leave more unread";
        Finding::error(written.kind_span.clone(), message).note(note)
    })
}

impl Plan {
    /// Why nothing can be said of slow consumers at this size.
    pub(crate) fn hides_slow_consumers(&self) -> Option<String> {
        let schedule = self.schedule();
        let slow = |index: &usize| matches!(self.faults[*index].kind, FaultKind::SlowConsumer(_));
        let owed = (0..self.faults.len()).filter(slow).filter_map(|i| owed_at_least(self, &schedule, i));
        let owed = owed.reduce(f64::min).filter(|owed| *owed < FELT as f64)?;
        Some(format!(
            "slow readers are owed {} beyond what they read, and the kernels hide {}",
            show_size(owed),
            show_size(FELT as f64)
        ))
    }
}

/// What the reader with the least is owed at most beyond what it reads, in payload bytes; `None`: it is no slow
/// consumer, or hits nobody.
fn owed_at_least(plan: &Plan, schedule: &Schedule, index: usize) -> Option<f64> {
    let FaultKind::SlowConsumer(slow) = &plan.faults[index].kind else { return None };
    let acts: Vec<&Act> = schedule.acts().iter().filter(|act| act.fault == index).collect();
    let readers = acts.chunk_by(|one, other| one.connection == other.connection);
    readers.map(|acts| owed_to(plan, schedule, slow, acts)).reduce(f64::min)
}

/// The most that one reader is behind, over its acts. Between one act and the next part it keeps what it is behind;
/// only a part without one lets it catch up.
fn owed_to(plan: &Plan, schedule: &Schedule, slow: &SlowConsumer, acts: &[&Act]) -> f64 {
    let (mut behind, mut most, mut last) = (0.0_f64, 0.0_f64, None);
    for act in acts {
        let Part::Phase(phase) = act.part else { continue };
        if last.is_some_and(|last: usize| last + 1 < phase) {
            behind = 0.0;
        }
        last = Some(phase);
        let sent = sent_to(plan, schedule, act.connection, phase);
        let left = sent.lasts.saturating_sub(act.after);
        let acts_for = act.length.map_or(left, |length| left.min(length));
        let share =
            if sent.lasts.is_zero() { 1.0 } else { acts_for.as_secs_f64() / sent.lasts.as_secs_f64() };
        let (owed, seconds) = (sent.bytes * share, acts_for.as_secs_f64());
        let read = match (slow.most_per_second(), slow.pauses) {
            (Some(rate), _) => rate * seconds,
            // Between its pauses it catches up: it is never behind by more than one of them.
            (None, Some(pauses)) => (owed - owed * (pauses.pause.as_secs_f64() / seconds).min(1.0)).max(0.0),
            (None, None) => owed,
        };
        behind = (behind + owed - read).max(0.0);
        most = most.max(behind);
    }
    most
}

/// What is published to the channels of one connection in a phase, and how long that takes by plan.
struct Sent {
    bytes: f64,
    lasts: Duration,
}

fn sent_to(plan: &Plan, schedule: &Schedule, connection: u32, phase: usize) -> Sent {
    let own = plan.subscribers.iter().enumerate().find(|(index, group)| {
        let first = schedule.first_of(Crew::Subscribers(*index));
        (first..first + group.connections).contains(&connection)
    });
    let subscriptions = own.map_or(0, |(_, group)| group.per_connection());
    let mut sent = Sent { bytes: 0.0, lasts: plan.phases[phase].length.unwrap_or_default() };
    for group in &plan.publishers {
        let Some((_, events)) = spans(plan, group)[phase] else { continue };
        // Of channels that do not get the same, the one with the least counts.
        let on_channel = events / u64::from(plan.channels.max(1));
        sent.bytes += on_channel as f64 * group.payload as f64 * f64::from(subscriptions);
        let table = timetable(group);
        let last = if table.rate.is_some() { table.due(events) } else { Duration::ZERO };
        sent.lasts = sent.lasts.max(last);
    }
    sent
}
