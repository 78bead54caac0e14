//! What counts as an error, of the whole run or of any selection of clients.

use super::clients::share;
use crate::clients::failure::{Failure, Reason};
use crate::clients::publisher::{LinkTally, PublishTally};
use crate::clients::tally::GroupTally;
use crate::report::model::{Connections, Errors, PhaseErrors, Published, Subscriptions};
use crate::run::round::PhaseEvents;

/// Whose errors are meant, and what they did.
#[derive(Clone, Copy, Default)]
pub(super) struct Deeds<'a> {
    pub(super) connections: Option<&'a Connections>,
    pub(super) subscriptions: Option<&'a Subscriptions>,
    pub(super) published: Option<&'a Published>,
    /// Connections that publish.
    pub(super) links: &'a [LinkTally],
    /// What was published over them, by group and phase.
    pub(super) publishes: &'a [Vec<PublishTally>],
}

/// Failed operations and unexpected drops among established connections; failed connects are in
/// `established_ratio` alone, failed reconnects among the failures by name. What a fault of ours did is no error.
pub(super) fn errors(deeds: Deeds<'_>, groups: &[&GroupTally]) -> Errors {
    let Deeds { connections, subscriptions, published, links, publishes } = deeds;
    let all = || groups.iter().map(|g| &g.failures).chain(links.iter().map(|l| &l.failures));
    let count = |keep: &dyn Fn(Failure) -> bool| -> u64 {
        all().map(|f| f.count(|failure| !failure.is_injected() && keep(failure))).sum()
    };
    let each = |of: fn(&GroupTally) -> u64| -> u64 { groups.iter().map(|g| of(g)).sum() };
    let timed_out: u64 = publishes.iter().flatten().map(|t| t.timed_out).sum();
    let in_next = each(|g| g.errors_in_next);
    let ended = each(GroupTally::ended_operations);
    // What a fault of ours cut off from its answer is no error of the server.
    let by_plan: u64 = publishes.iter().flatten().map(|t| t.unknown_by_plan).sum();
    let (sent, refused_publishes, unknown) =
        published.map_or((0, 0, 0), |p| (p.sent, p.failed, p.unknown.saturating_sub(by_plan)));
    let not_published = refused_publishes + unknown;
    let failed = not_published + ended;
    let (established, dropped) = connections.map_or((0, 0), |c| (c.established, c.dropped_unexpectedly));
    let drops = dropped + links.iter().map(|l| l.lost).sum::<u64>();
    let of = sent + subscriptions.map_or(0, |s| s.requested) + established;
    Errors {
        ratio: share(failed + drops, of),
        timeout: count(&|f| f.reason == Reason::Timeout),
        // A publish that timed out is among the failures by name already.
        unexpected: count(&|_| true) + in_next + unknown - timed_out,
        // A cause without a name is worth looking for wherever it shows.
        unexplained: count(&Failure::is_unexplained)
            + each(|g| g.reconnect_failures.count(Failure::is_unexplained)),
    }
}

/// Of the events of one phase, and of what ended while it lasted.
pub(super) fn phase_errors<'a>(
    events: &PhaseEvents,
    publishes: impl Iterator<Item = &'a PublishTally>,
) -> PhaseErrors {
    let ended = events.dropped + events.publishers_dropped + events.ended_operations;
    let (failed, operations) = publishes.fold((ended, events.there), |(failed, operations), tally| {
        let unpublished = tally.failed + tally.unknown - tally.unknown_by_plan;
        (failed + unpublished, operations + tally.sent)
    });
    PhaseErrors { ratio: share(failed, operations), failed, operations }
}
