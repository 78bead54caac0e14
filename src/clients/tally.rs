//! What one thread counts about its connections, subscriptions and publishes; merged by the fleet, never shared.

use std::collections::BTreeMap;
use std::ops::AddAssign;

use super::failure::Failure;
use super::returns::ReturnTally;
use super::slips::Slips;

/// When something failed, and on which connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sight {
    /// On the run's axis.
    pub at_ns: u64,
    /// Index among all subscribing connections of the plan, or among all publishing ones.
    pub connection: u32,
}

/// All times that something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: Sight,
    /// When the last was.
    pub last_ns: u64,
}

impl Span {
    fn join(self, other: Self) -> Self {
        let first = if other.first.at_ns < self.first.at_ns { other.first } else { self.first };
        Self { first, last_ns: self.last_ns.max(other.last_ns) }
    }
}

/// Failures by name, each with the first text that came with it, and when it was seen.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    counts: BTreeMap<Failure, u64>,
    texts: BTreeMap<Failure, String>,
    spans: BTreeMap<Failure, Span>,
}

impl Failures {
    /// Counts one; `text` has been made harmless and is kept if it is the first.
    pub fn add(&mut self, failure: Failure, text: &str, sight: Sight) {
        *self.counts.entry(failure).or_default() += 1;
        self.note(failure, Span { first: sight, last_ns: sight.at_ns });
        if !text.is_empty() {
            self.texts.entry(failure).or_insert_with(|| text.to_owned());
        }
    }

    /// Name → count. Two failures may share a name.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let mut named = BTreeMap::new();
        for (failure, count) in &self.counts {
            *named.entry(failure.to_string()).or_default() += count;
        }
        named
    }

    /// Name → first text.
    #[must_use]
    pub fn texts(&self) -> BTreeMap<String, String> {
        self.texts.iter().map(|(f, t)| (f.to_string(), t.clone())).collect()
    }

    /// Name → when.
    #[must_use]
    pub fn spans(&self) -> BTreeMap<String, Span> {
        let mut named: BTreeMap<String, Span> = BTreeMap::new();
        for (failure, span) in &self.spans {
            named.entry(failure.to_string()).and_modify(|known| *known = known.join(*span)).or_insert(*span);
        }
        named
    }

    fn note(&mut self, failure: Failure, span: Span) {
        self.spans.entry(failure).and_modify(|known| *known = known.join(span)).or_insert(span);
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Those that `keep` accepts.
    #[must_use]
    pub fn count(&self, keep: impl Fn(Failure) -> bool) -> u64 {
        self.counts.iter().filter(|(f, _)| keep(**f)).map(|(_, n)| n).sum()
    }
}

impl AddAssign<&Self> for Failures {
    fn add_assign(&mut self, other: &Self) {
        for (failure, count) in &other.counts {
            *self.counts.entry(*failure).or_default() += count;
        }
        for (failure, text) in &other.texts {
            self.texts.entry(*failure).or_insert_with(|| text.clone());
        }
        other.spans.iter().for_each(|(failure, span)| self.note(*failure, *span));
    }
}

/// Counts of one group in one phase.
#[derive(Debug, Clone, Default)]
pub struct PublishTally {
    /// Handed to the socket.
    pub sent: u64,
    /// Bytes of the messages that carried them.
    pub bytes: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Never acknowledged.
    pub unknown: u64,
    /// Of those, given up after the operation timeout.
    pub timed_out: u64,
    /// Of the unknown, those that a fault of ours cut off from their answer.
    pub unknown_by_plan: u64,
    /// Refused by the server.
    pub failed: u64,
    /// First and last time an event was handed to the socket, ns on the run's axis.
    pub span_ns: Option<(u64, u64)>,
    /// By how much the schedule slipped; `None`: it may not.
    pub slips: Option<Slips>,
}

/// What one publishing group's connections did.
#[derive(Debug, Clone, Default)]
pub struct LinkTally {
    /// Connections started, those not counted that were to replace one that had been established.
    pub attempted: u64,
    /// Of those, the ones that became ready.
    pub established: u64,
    /// Connections that became ready in place of one that was lost.
    pub reconnected: u64,
    /// Connections that a fault of ours ended.
    pub cut: u64,
    /// Attempts to connect that a fault of ours ended.
    pub aborted_by_plan: u64,
    /// Connections that ended before they were told to.
    pub lost: u64,
    /// Failures by name.
    pub failures: Failures,
    /// Probes and censuses that were acknowledged.
    pub probes_acked: u64,
    /// Barriers that were acknowledged.
    pub barriers_acked: u64,
}

/// Counts of one cohort: the victims of a group of subscribers, or its bystanders.
///
/// Connections and subscriptions of the plan count once each, however often their clients come back: `attempted` and
/// `established` count first connections, `requested` and `confirmed` subscriptions that were asked for and proved at
/// least once. So established / attempted and confirmed / requested are shares of the plan. Returns have counts of
/// their own; how a connection ends is counted for every one.
#[derive(Debug, Clone, Default)]
pub struct GroupTally {
    /// First connections started.
    pub attempted: u64,
    /// Of those, the ones that got `connection_ack`.
    pub established: u64,
    /// Closed because the run was over, or cut by a fault of ours.
    pub dropped_by_plan: u64,
    /// Ended otherwise after they were established.
    pub dropped_unexpectedly: u64,
    /// Connections of slow readers that the server ended, by name; among no other count of ends or failures, because
    /// it is a policy of the server's to do so.
    pub disconnected_slow: Failures,
    /// First attempts, connections and operations that failed, by name.
    pub failures: Failures,
    /// Attempts to connect again that failed, by name; not among `failures`, because what a fault of ours brings about
    /// is no error rate of the server.
    pub reconnect_failures: Failures,
    /// Connections that a fault of ours ended; they are among those closed by plan.
    pub cut: u64,
    /// Connections established again.
    pub reconnected: u64,
    /// Of those, the ones whose subscriptions were all proved again.
    pub recovered: u64,
    /// How clients came back.
    pub returns: ReturnTally,
    /// First attempts given up because the run was stopped.
    pub cancelled: u64,
    /// Clients of which a fault of ours has ended every attempt so far: the first, and all that followed. Nothing can be
    /// said of how the server takes them.
    pub aborted_by_plan: u64,
    /// Subscriptions asked for.
    pub requested: u64,
    /// Subscriptions proved at least once.
    pub confirmed: u64,
    /// Probes and censuses received.
    pub probes_delivered: u64,
    /// Barriers received.
    pub barriers_delivered: u64,
    /// Published by victims in their last moment; never acknowledged.
    pub partings_sent: u64,
    /// What arrived of those.
    pub partings_delivered: u64,
    /// Messages that the server may have delivered and nobody received: to connections that a fault of ours held, and on
    /// their way, without being owed, when one was reset.
    pub withheld: u64,
    /// Times that a client was without its connection: a connection that ends before everything was well again is no
    /// further absence.
    pub absences: u64,
    /// Not received although an earlier one was.
    pub probes_missed: u64,
    /// `next` messages that carried GraphQL errors.
    pub errors_in_next: u64,
    /// First and last connect call of each wave, ns on the run's axis.
    pub offers: Vec<Option<(u64, u64)>>,
}

impl GroupTally {
    /// Notes a connect call of wave `wave` at `at_ns`.
    pub fn offer(&mut self, wave: usize, at_ns: u64) {
        if self.offers.len() <= wave {
            self.offers.resize(wave + 1, None);
        }
        self.offers[wave] = Some(widen(self.offers[wave], (at_ns, at_ns)));
    }

    /// Subscriptions that the server refused, or ended although their connection lives, and results with errors.
    #[must_use]
    pub fn ended_operations(&self) -> u64 {
        self.failures.count(|failure| !failure.is_injected() && failure.ends_operation())
            + self.errors_in_next
    }

    /// Messages received that were no events.
    #[must_use]
    pub fn aside_delivered(&self) -> u64 {
        self.probes_delivered + self.barriers_delivered + self.partings_delivered
    }

    /// The widest spread of a wave, in ns.
    #[must_use]
    pub fn offered_spread_ns(&self) -> Option<u64> {
        self.offers.iter().flatten().map(|(first, last)| last - first).max()
    }
}

fn widen(spread: Option<(u64, u64)>, by: (u64, u64)) -> (u64, u64) {
    spread.map_or(by, |(first, last)| (first.min(by.0), last.max(by.1)))
}

impl AddAssign<&Self> for GroupTally {
    fn add_assign(&mut self, other: &Self) {
        self.attempted += other.attempted;
        self.established += other.established;
        self.dropped_by_plan += other.dropped_by_plan;
        self.dropped_unexpectedly += other.dropped_unexpectedly;
        self.disconnected_slow += &other.disconnected_slow;
        self.failures += &other.failures;
        self.reconnect_failures += &other.reconnect_failures;
        self.cut += other.cut;
        self.reconnected += other.reconnected;
        self.recovered += other.recovered;
        self.returns += &other.returns;
        self.cancelled += other.cancelled;
        self.aborted_by_plan += other.aborted_by_plan;
        self.requested += other.requested;
        self.confirmed += other.confirmed;
        self.probes_delivered += other.probes_delivered;
        self.barriers_delivered += other.barriers_delivered;
        self.partings_sent += other.partings_sent;
        self.partings_delivered += other.partings_delivered;
        self.withheld += other.withheld;
        self.absences += other.absences;
        self.probes_missed += other.probes_missed;
        self.errors_in_next += other.errors_in_next;
        for (wave, spread) in other.offers.iter().enumerate() {
            if let Some((first, last)) = spread {
                self.offer(wave, *first);
                self.offer(wave, *last);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::{Reason, Stage};
    use super::*;

    #[test]
    fn the_widest_wave_is_the_spread() {
        let mut a = GroupTally::default();
        a.offer(0, 100);
        a.offer(0, 400);
        a.offer(1, 10_000);
        let mut b = GroupTally::default();
        b.offer(1, 10_450);
        a += &b;
        assert_eq!(a.offered_spread_ns(), Some(450));
        assert_eq!(GroupTally::default().offered_spread_ns(), None);
    }

    #[test]
    fn failures_are_counted_by_name_with_the_first_text() {
        let refused = Failure::new(Stage::Tcp, Reason::Refused);
        let mut failures = Failures::default();
        failures.add(refused, "first", Sight { at_ns: 7, connection: 3 });
        failures.add(refused, "second", Sight { at_ns: 9, connection: 4 });
        failures.add(Failure::new(Stage::Upgrade, Reason::Http(429)), "", Sight::default());
        assert_eq!(
            failures.by_name(),
            BTreeMap::from([("tcp.refused".into(), 2), ("upgrade.http-429".into(), 1)])
        );
        assert_eq!(failures.texts(), BTreeMap::from([("tcp.refused".into(), "first".into())]));
        let span = |at_ns, connection, last_ns| Span { first: Sight { at_ns, connection }, last_ns };
        assert_eq!(failures.spans()["tcp.refused"], span(7, 3, 9));
        // Another thread saw it sooner.
        let mut other = Failures::default();
        other.add(refused, "", Sight { at_ns: 5, connection: 8 });
        failures += &other;
        assert_eq!(failures.spans()["tcp.refused"], span(5, 8, 9));
    }
}
