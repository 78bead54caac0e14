//! What was due and what was published.

use std::time::Duration;

use crate::clients::publisher::PublishTally;
use crate::clients::source::{spans, timetable};
use crate::report::model::Published;
use crate::scenarios::plan::{Plan, PublisherGroup};

/// Events of each publisher group that were due in each phase, `[group][phase]`: all that were planned, or those due by
/// the moment the phase was stopped. Without a rate an event is due when it can be sent, so all of them are.
pub(super) fn due(plan: &Plan, phases: &[(u64, u64)]) -> Vec<Vec<u64>> {
    let one = |group: &PublisherGroup| {
        let table = timetable(group);
        let in_phase = |(phase, span): (usize, Option<(u64, u64)>)| {
            let (Some((_, count)), Some((start, end))) = (span, phases.get(phase)) else { return 0 };
            let lasted = Duration::from_nanos(end - start);
            table.count_within(lasted).map_or(count, |due| due.min(count))
        };
        spans(plan, group).into_iter().enumerate().map(in_phase).collect()
    };
    plan.publishers.iter().map(one).collect()
}

/// What publishers did, each tally with the events that were due.
pub(super) fn published<'a>(tallies: impl Iterator<Item = (&'a PublishTally, u64)>) -> Published {
    let mut all = Published::default();
    let mut span: Option<(u64, u64)> = None;
    for (tally, attempted) in tallies {
        all.attempted += attempted;
        all.sent += tally.sent;
        all.acked += tally.acked;
        all.unknown += tally.unknown;
        all.failed += tally.failed;
        if let Some((first, last)) = tally.span_ns {
            span = Some(span.map_or((first, last), |(f, l)| (f.min(first), l.max(last))));
        }
    }
    // n events span n - 1 intervals.
    all.rate = span
        .filter(|(first, last)| last > first && all.sent > 1)
        .map(|(first, last)| (all.sent - 1) as f64 / ((last - first) as f64 / 1e9));
    all
}
