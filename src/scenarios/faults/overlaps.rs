//! Faults that would do the same to one connection at the same time.

use std::collections::HashSet;

use crate::inject::{Act, Schedule};
use crate::scenarios::full::Full;
use crate::scenarios::plan::{FaultKind, Plan};
use crate::scenarios::problem::Finding;

/// What two faults would do with the same thing of a client at once: only one of them could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Grip {
    Thinking,
    Up,
    Down,
    Bytes,
    Reading,
    Attempts,
    Cycles,
}

impl Grip {
    fn of(kind: &FaultKind) -> Vec<Self> {
        match kind {
            FaultKind::ThinkTime(_) => vec![Self::Thinking],
            FaultKind::LinkDelay(link) => {
                let up = link.up.map(|_| Self::Up);
                up.into_iter().chain(link.down.map(|_| Self::Down)).collect()
            }
            FaultKind::Hold(_) | FaultKind::Stall(_) | FaultKind::Partition { .. } => vec![Self::Bytes],
            FaultKind::SlowConsumer(_) => vec![Self::Reading, Self::Bytes],
            FaultKind::HandshakeAbort(_) => vec![Self::Attempts],
            FaultKind::Churn(_) => vec![Self::Cycles],
            FaultKind::Terminate(_) => Vec::new(),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Thinking => "have it think",
            Self::Up => "delay what it sends",
            Self::Down => "delay what it gets",
            Self::Reading => "decide how it reads",
            Self::Bytes => "keep its bytes from travelling",
            Self::Attempts => "end its attempts to connect",
            Self::Cycles => "have it subscribe and unsubscribe",
        }
    }
}

/// Pairs of faults that would do the same to one connection at the same time; each once, at the later in the file.
pub(super) fn check(full: &Full, plan: &Plan, schedule: &Schedule) -> Vec<Finding> {
    let mut pairs: HashSet<(usize, usize)> = HashSet::new();
    let mut findings = Vec::new();
    // What ends a cycle has no time of its own, and there may be very many of them.
    let timed: Vec<&Act> = schedule.acts().iter().filter(|act| act.cycle.is_none()).collect();
    let same = |one: &Act, other: &Act| {
        let ends = |act: &Act| act.length.map(|length| act.after + length);
        one.part == other.part
            && ends(one).is_none_or(|end| other.after < end)
            && ends(other).is_none_or(|end| one.after < end)
    };
    for acts in timed.chunk_by(|one, other| one.connection == other.connection) {
        for (place, one) in acts.iter().enumerate() {
            for other in acts[..place].iter().filter(|other| other.fault != one.fault && same(one, other)) {
                let pair = (one.fault.min(other.fault), one.fault.max(other.fault));
                let theirs = Grip::of(&plan.faults[pair.0].kind);
                let both = Grip::of(&plan.faults[pair.1].kind).into_iter().find(|grip| theirs.contains(grip));
                let Some(grip) = both.filter(|_| pairs.insert(pair)) else { continue };
                let (first, second) = (&plan.faults[pair.0].name, &plan.faults[pair.1].name);
                let message = format!(
                    "`{second}` and `{first}` both {} at the same time, and only one of them could",
                    grip.word()
                );
                let note = "aim them at different clients, or let one end before the other begins";
                findings.push(Finding::error(full.faults[pair.1].kind_span.clone(), message).note(note));
            }
        }
    }
    findings
}
