//! What was due and what was published.

use std::time::Duration;

use super::slowed::{Shares, slowed};
use crate::clients::publisher::PublishTally;
use crate::clients::source::{spans, timetable};
use crate::metrics::silence::Receipts;
use crate::report::model::{Flow, Published, Slowed};
use crate::scenarios::plan::{Plan, PublisherGroup};

/// Events of each publisher group that were due in each phase, `[group][phase]`: all that were planned, or those due by
/// the moment the phase was stopped. Without a rate an event is due when it can be sent, so all of them are.
///
/// An event of a climb is due when all of the one before has arrived, so those are due that were sent.
pub(super) fn due(plan: &Plan, phases: &[(u64, u64)], tallies: &[Vec<PublishTally>]) -> Vec<Vec<u64>> {
    let one = |(group, tallies): (&PublisherGroup, &Vec<PublishTally>)| {
        if group.climb.is_some() {
            return tallies.iter().map(|tally| tally.sent).collect();
        }
        let table = timetable(group);
        let in_phase = |(phase, span): (usize, Option<(u64, u64)>)| {
            let (Some((_, count)), Some((start, end))) = (span, phases.get(phase)) else { return 0 };
            let slips = tallies.get(phase).and_then(|tally| tally.slips.as_ref());
            let slipped_ns = slips.map_or(0, |slips| slips.total_ns);
            let lasted = Duration::from_nanos((end - start).saturating_sub(slipped_ns));
            table.count_within(lasted).map_or(count, |due| due.min(count))
        };
        spans(plan, group).into_iter().enumerate().map(in_phase).collect()
    };
    plan.publishers.iter().zip(tallies).map(one).collect()
}

/// What publishers did, each tally with the events that were due.
pub(super) fn published<'a>(
    tallies: impl Iterator<Item = (&'a PublishTally, u64)>,
    shares: Shares,
) -> Published {
    let mut all = Published::default();
    let mut together = None;
    let (mut slips, mut seconds) = (Vec::new(), 0.0);
    for (tally, attempted) in tallies {
        all.attempted += attempted;
        all.sent += tally.sent;
        all.volume_bytes += tally.bytes;
        all.acked += tally.acked;
        all.unknown += tally.unknown;
        all.failed += tally.failed;
        slips.extend(tally.slips.as_ref());
        seconds += tally.span_ns.filter(|_| tally.slips.is_some()).map_or(0.0, |(f, l)| (l - f) as f64 / 1e9);
        together = span(together.into_iter().chain(tally.span_ns));
    }
    // n events span n - 1 intervals.
    all.rate = together
        .filter(|(first, last)| last > first && all.sent > 1)
        .map(|(first, last)| (all.sent - 1) as f64 / ((last - first) as f64 / 1e9));
    all.slowed = (!slips.is_empty()).then(|| {
        let slowed = slowed(slips.into_iter(), seconds, shares);
        Slowed { held_rate: all.rate.filter(|_| slowed.slips > 0), ..slowed }
    });
    all
}

/// From the first of several spans to the end of the last.
fn span(spans: impl Iterator<Item = (u64, u64)>) -> Option<(u64, u64)> {
    spans.reduce(|(first, last), (f, l)| (first.min(f), last.max(l)))
}

/// How evenly deliveries came while these events were published; `end_ns`: where that ends at the latest.
pub(super) fn flow<'a>(
    receipts: &Receipts,
    tallies: impl Iterator<Item = &'a PublishTally>,
    end_ns: u64,
) -> Flow {
    let longest = span(tallies.filter_map(|tally| tally.span_ns))
        .and_then(|(first, last)| receipts.longest_silence(first, last, end_ns));
    Flow { longest_silence_s: longest.map(|longest| longest.as_secs_f64()) }
}
