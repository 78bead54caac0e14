//! What the plan and the publishers know about events that did not arrive, as the ledger asks for it.

use std::collections::HashSet;

use crate::clients::publisher::{PublishTally, PublisherResult};
use crate::clients::slowdown::{Slipped, Slips};
use crate::clients::source::{spans, timetable};
use crate::ledger::{CloseFacts, StreamId, Streams};
use crate::scenarios::plan::{Pace, Plan};
use crate::scenarios::target::Contract;

/// What the plan and the publishers know about events that did not arrive.
pub(super) struct Facts<'a> {
    plan: &'a Plan,
    streams: &'a Streams,
    /// `[group][phase]`: first event and count.
    spans: Vec<Vec<Option<(u64, u64)>>>,
    starts: Vec<u64>,
    /// `[group][phase]`, where schedules may slip.
    slipped: Vec<Vec<Slipped>>,
    unacked: HashSet<(StreamId, u64)>,
    /// Not all of them could be remembered.
    unacked_capped: bool,
}

impl<'a> Facts<'a> {
    /// What is known of a round whose phases started at these times.
    pub(super) fn new(
        plan: &'a Plan,
        streams: &'a Streams,
        phases: &[(u64, u64)],
        publisher: &PublisherResult,
    ) -> Self {
        Self {
            plan,
            streams,
            spans: plan.publishers.iter().map(|g| spans(plan, g)).collect(),
            starts: phases.iter().map(|(start, _)| *start).collect(),
            slipped: publisher.groups.iter().map(|phases| phases.iter().map(slipped).collect()).collect(),
            unacked: publisher.unacked.iter().copied().collect(),
            unacked_capped: publisher.unacked_capped,
        }
    }

    /// Group, phase and number within the phase.
    fn place(&self, stream: StreamId, seq: u64) -> (usize, usize, u64) {
        let (group, n) = self.streams.number(stream, seq);
        let place = self.spans[group].iter().enumerate().find_map(|(phase, span)| {
            let (first, count) = (*span)?;
            (first..first + count).contains(&n).then(|| (group, phase, n - first))
        });
        place.expect("a published event belongs to a phase of its group")
    }
}

fn slipped(tally: &PublishTally) -> Slipped {
    tally.slips.as_ref().map(Slips::timetable).unwrap_or_default()
}

impl CloseFacts for Facts<'_> {
    fn ordered(&self) -> bool {
        self.plan.target.ordered
    }

    fn contract(&self) -> Contract {
        self.plan.target.contract
    }

    fn accounted(&self, stream: StreamId, seq: u64) -> bool {
        !self.unacked_capped || self.unacked.contains(&(stream, seq))
    }

    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool {
        !self.unacked.contains(&(stream, seq))
    }

    fn phase_of(&self, stream: StreamId, seq: u64) -> usize {
        self.place(stream, seq).1
    }

    fn due_ns(&self, stream: StreamId, seq: u64) -> Option<u64> {
        let (group, phase, n) = self.place(stream, seq);
        let publishers = &self.plan.publishers[group];
        if !matches!(publishers.pace, Pace::Open(_)) {
            return None;
        }
        let planned_ns = self.starts.get(phase)? + timetable(publishers).due(n).as_nanos() as u64;
        let slipped = self.slipped.get(group).and_then(|phases| phases.get(phase));
        Some(slipped.map_or(planned_ns, |slipped| slipped.due_ns(planned_ns)))
    }
}
