//! The end of a round: from the last publish to the last close, in the order in which each step proves something.
//!
//! Who is away may come back; a barrier says that nothing more follows; what is still owed is waited for; then it must
//! stay quiet; and what arrives after the unsubscribes were answered should not. Every wait has a limit.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::preflight::preflight;
use super::round::{Conductor, SLACK};
use super::stop::StopReason;
use super::watch::Waited;
use crate::clients::board::Board;
use crate::clients::fleet::FleetCounts;
use crate::clients::handshake::Endpoint;
use crate::clients::shard::Course;
use crate::clock::{self, Instant};
use crate::metrics::server_stats::{Moment, ServerCounts};

/// After an interruption everything in flight has this long to arrive, and who is away to come back.
const INTERRUPTED_DRAIN: Duration = Duration::from_secs(10);
/// How long the last census may take to be acknowledged, beside a millisecond for each channel.
const WATCH_WITHIN: Duration = Duration::from_secs(10);
/// What each step of the way out has at least, even when those ten seconds are over.
const GRACE: Duration = Duration::from_secs(1);
/// How long all connections together may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);
/// How long is watched for what must not arrive, once the last census is acknowledged.
const WATCH: Duration = Duration::from_millis(500);
/// What the threads count is looked at every 20 ms; something that must not have been so for one look only must have
/// been so for this long.
const STEADY: Duration = Duration::from_millis(60);

/// What the end of a round came to.
pub(super) struct Ending {
    /// Whether every barrier that was waited for arrived; `None`: there was nothing to prove.
    pub(super) barriers_complete: Option<bool>,
    /// When everything owed had arrived or was proved lost, ns on the run's axis.
    pub(super) drained_ns: Option<u64>,
    /// Whether the quiet period passed with everything open.
    pub(super) quiet_passed: bool,
    /// Whether it was watched, after every unsubscribe, what still arrives.
    pub(super) watched: bool,
    /// The server's counters before the last close.
    pub(super) server: Option<ServerCounts>,
}

impl Conductor<'_, '_> {
    /// Publishes no more and goes through all of it, up to the end of the threads.
    pub(super) async fn end(&mut self) -> Ending {
        self.settle().await;
        // Nothing may be presumed lost before it is later than any delivery may be.
        let longest = self.plan.deadline.max(self.plan.timeouts.quiet).min(self.plan.timeouts.drain);
        let mut silence = Silence::of(longest, self.fleet.counts().shards.receipts);
        let limit = clock::now() + self.plan.timeouts.drain;
        let barriers_complete = self.barriers(limit, &mut silence).await;
        let drained = self.drain(limit, &mut silence, barriers_complete == Some(true)).await;
        let drained_ns = drained.arrived.then(|| self.watch.clock.now_ns());
        let quiet_passed = drained.is_over && self.quiet().await;
        self.unsubscribe().await;
        let watched = self.watch_for_strays().await;
        let server = self.scrape().await;
        self.close().await;
        Ending { barriers_complete, drained_ns, quiet_passed, watched, server }
    }

    /// A wait for what is on its way. A run that is stopping has ten seconds for all of these together.
    async fn patiently(&mut self, limit: Duration, mut done: impl FnMut(&FleetCounts) -> bool) -> Waited {
        let stop = self.watch.stop.clone();
        let stopping_since = &mut self.stopping_since;
        let mut spent = false;
        let waited = self.watch.until_even_stopping(&self.fleet, limit, |counts| {
            if done(counts) {
                return true;
            }
            if stop.is_stopping() {
                spent = stopping_since.get_or_insert_with(clock::now).elapsed() >= INTERRUPTED_DRAIN;
            }
            spent
        });
        let waited = waited.await;
        if spent { Waited::TimedOut } else { waited }
    }

    /// Lets everyone who is away come back; who has not by then does not any more.
    async fn settle(&mut self) {
        let hurry = self.watch.stop.is_stopping();
        self.fleet.publish(|o| (o.stop, o.hurry) = (true, hurry));
        self.fleet.order(|o| (o.healed, o.hurry) = (true, hurry));
        let away = |c: &FleetCounts| c.shards.away + u64::from(c.publisher.away);
        if away(&self.fleet.counts()) > 0 {
            self.watch.stage("reconnecting", &self.fleet);
        }
        let mut all_back = Steady::default();
        let waited = self.patiently(self.plan.timeouts.settle, |c| all_back.holds(away(c) == 0)).await;
        // Without time to settle nothing is waited for, and nothing was given up.
        if waited == Waited::TimedOut && away(&self.fleet.counts()) > 0 {
            self.watch.give_up("settle");
        }
        self.fleet.order(|o| o.settled = true);
        // Who is away has left with that, and only then it shows whether anybody is there.
        let limit = self.hurried(SLACK);
        self.watch.until_even_stopping(&self.fleet, limit, |c| c.shards.away == 0).await;
        if self.is_target_lost().await {
            self.watch.stop.stop(StopReason::TargetLost);
        }
    }

    /// Has every stream say that its last event was its last. Whether everyone heard it of every stream; `None`:
    /// nobody who is there was owed anything, so there is nothing to be proved.
    async fn barriers(&mut self, limit: Instant, silence: &mut Silence) -> Option<bool> {
        if self.fleet.board().obligations.load(Relaxed) == 0 {
            return None;
        }
        self.watch.stage("barrier", &self.fleet);
        self.fleet.order(|o| o.barrier = true);
        let noted = u64::from(self.shards);
        let mut waited = self.patiently(SLACK, |c| c.shards.barriers_noted >= noted).await;
        if waited == Waited::Met {
            let board = self.fleet.board_shared();
            if board.barriers.total() == 0 {
                return None;
            }
            self.fleet.publish(|o| o.barrier = true);
            let awaited = || board.barriers.total();
            let done = |c: &FleetCounts| awaited() == 0 || silence.lasts(c.shards.receipts, awaited());
            waited = self.patiently(limit.saturating_duration_since(clock::now()), done).await;
            self.fleet.publish(|o| o.barrier = false);
        }
        let complete = waited == Waited::Met && self.fleet.board().barriers.total() == 0;
        if !complete {
            self.watch.give_up("barrier");
        }
        Some(complete)
    }

    /// Waits until everything owed has arrived, or nothing arrives any more.
    async fn drain(&mut self, limit: Instant, silence: &mut Silence, barriers_complete: bool) -> Drained {
        self.watch.stage("draining", &self.fleet);
        // Behind a barrier nothing can follow, if order is kept: what is missing now is not waited for.
        let proved = barriers_complete && self.plan.target.ordered && !self.has_later_epochs();
        let noted = u64::from(self.shards);
        let board = self.fleet.board_shared();
        let (mut silent, mut all_there) = (false, false);
        let done = |c: &FleetCounts| {
            let arrived = proved
                || c.shards.satisfied >= board.obligations.load(Relaxed)
                || (c.shards.barriers_noted >= noted && c.shards.outstanding == 0);
            silent = silence.lasts(c.shards.receipts, board.barriers.total()) || board.open.get() == 0;
            all_there = arrived && board.unacked.load(Relaxed) == 0;
            all_there || silent
        };
        let waited = self.patiently(limit.saturating_duration_since(clock::now()), done).await;
        self.fleet.board().measuring.store(false, Relaxed);
        if waited == Waited::TimedOut {
            self.watch.give_up("drain");
        }
        let is_over = waited == Waited::Met && !(silent && self.watch.stop.is_stopping());
        Drained { is_over, arrived: is_over && all_there }
    }

    /// Whether a publisher has connected again: its barriers prove nothing of what it had sent before.
    fn has_later_epochs(&self) -> bool {
        let Board { streams, roster, .. } = self.fleet.board();
        streams.all().any(|stream| roster.epoch_of(stream, roster.published(stream)) > 0)
    }

    /// Whether the quiet period passed with everything open.
    async fn quiet(&mut self) -> bool {
        self.watch.stage("quiet", &self.fleet);
        let stopping = self.watch.stop.is_stopping();
        let quiet = if stopping { Duration::ZERO } else { self.plan.timeouts.quiet };
        if self.watch.until_even_stopping(&self.fleet, quiet, |_| false).await == Waited::Stopped {
            return false;
        }
        self.fleet.order(|o| o.quiet_passed = true);
        if !stopping {
            self.read_gauges(Moment::Quiet).await;
        }
        true
    }

    /// Ends every subscription, and waits until the server has read that.
    async fn unsubscribe(&mut self) {
        self.watch.stage("unsubscribing", &self.fleet);
        self.fleet.order(|o| o.course = Course::Unsubscribe);
        let board = self.fleet.board_shared();
        let mut answered = Steady::default();
        let mut done = |c: &FleetCounts| answered.holds(board.active.get() == 0 && c.shards.unanswered == 0);
        let limit = self.hurried(self.plan.timeouts.operation);
        if self.watch.until_even_stopping(&self.fleet, limit, &mut done).await == Waited::TimedOut {
            self.watch.give_up("unsubscribe");
            // The shards give up as well, and book for each connection that it did not answer.
            let limit = self.hurried(SLACK);
            self.watch.until_even_stopping(&self.fleet, limit, done).await;
        }
    }

    /// A limit of the way out: a run that is stopping has little left of its ten seconds, and a second of grace.
    fn hurried(&mut self, usual: Duration) -> Duration {
        if !self.watch.stop.is_stopping() {
            return usual;
        }
        let since = self.stopping_since.get_or_insert_with(clock::now);
        usual.min(INTERRUPTED_DRAIN.saturating_sub(since.elapsed()).max(GRACE))
    }

    /// Publishes to every channel once more, when nobody is subscribed any longer; whether all of it was acknowledged
    /// and had its time to arrive.
    async fn watch_for_strays(&mut self) -> bool {
        if self.watch.stop.is_stopping() || self.fleet.counts().shards.confirmed == 0 {
            return false;
        }
        self.watch.stage("watching", &self.fleet);
        let number = self.plan.subscribers.iter().map(|g| g.waves).max().unwrap_or(1) + 1;
        self.fleet.publish(|o| o.census = number);
        let board = self.fleet.board_shared();
        // Over HTTP one probe follows the other.
        let limit = WATCH_WITHIN + Duration::from_millis(self.plan.channels.into());
        let acked = |_: &FleetCounts| board.census_acked.load(Relaxed) >= number;
        match self.watch.until(&self.fleet, limit, acked).await {
            Waited::Met => self.watch.until(&self.fleet, WATCH, |_| false).await == Waited::TimedOut,
            Waited::Stopped => false,
            Waited::TimedOut => {
                self.watch.give_up("watch");
                false
            }
        }
    }

    /// Closes, and ends the threads.
    async fn close(&mut self) {
        self.watch.stage("closing", &self.fleet);
        self.fleet.order(|o| o.course = Course::Close);
        self.fleet.publish(|o| o.close = true);
        let (began, limit) = (clock::now(), self.hurried(CLOSE_WITHIN));
        while !self.fleet.has_stopped() && began.elapsed() < limit && !self.watch.stop.is_hurrying() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.fleet.order(|o| o.course = Course::Abort);
        self.fleet.publish(|o| o.abort = true);
    }

    /// Lets the server come to rest, then looks at it one last time.
    pub(super) async fn cool_down(&mut self) -> Option<u64> {
        let wait = if self.watch.stop.is_stopping() { Duration::ZERO } else { self.plan.timeouts.cool_down };
        self.watch.stage("cooling down", &self.fleet);
        self.watch.stop.run_until_hurried(tokio::time::sleep(wait)).await;
        if !self.watch.stop.is_stopping() {
            self.read_gauges(Moment::AfterClose).await;
        }
        self.watch.sample(&self.fleet).server.memory_bytes()
    }

    /// Whether the server still answers, now that everything is closed: with its statistics, or on a fresh connection.
    pub(super) async fn is_alive(&mut self, endpoint: &Endpoint) -> Option<bool> {
        if self.watch.stop.reason() == Some(&StopReason::TargetLost) {
            return Some(false);
        }
        if self.watch.stop.is_stopping() {
            return None;
        }
        let told = self.gauges.iter().rfind(|gauges| gauges.moment == Moment::AfterClose);
        if told.is_some_and(|gauges| gauges.server.is_some()) {
            return Some(true);
        }
        Some(preflight(endpoint).await.is_ok())
    }
}

/// What the wait for what is owed came to.
#[derive(Debug, Clone, Copy)]
struct Drained {
    /// It needs not go on.
    is_over: bool,
    /// Everything owed has arrived, or is proved lost.
    arrived: bool,
}

/// Something that has been so at every look for a while.
#[derive(Debug, Default)]
pub(super) struct Steady {
    since: Option<Instant>,
}

impl Steady {
    fn holds(&mut self, now: bool) -> bool {
        self.holds_for(now, STEADY)
    }

    /// Whether it has been so for this long; `now`: whether it is so at this look.
    pub(super) fn holds_for(&mut self, now: bool, long: Duration) -> bool {
        self.since = now.then(|| *self.since.get_or_insert_with(clock::now));
        self.since.is_some_and(|since| since.elapsed() >= long)
    }
}

/// How long nothing has arrived.
#[derive(Debug)]
struct Silence {
    longest: Duration,
    since: Instant,
    receipts: u64,
    barriers_awaited: u64,
}

impl Silence {
    /// Begins now, with so many events received.
    fn of(longest: Duration, receipts: u64) -> Self {
        Self { longest, since: clock::now(), receipts, barriers_awaited: 0 }
    }

    /// Whether neither events nor barriers have arrived for the longest time that is waited for them.
    fn lasts(&mut self, receipts: u64, barriers_awaited: u64) -> bool {
        if receipts != self.receipts || barriers_awaited < self.barriers_awaited {
            self.since = clock::now();
        }
        (self.receipts, self.barriers_awaited) = (receipts, barriers_awaited);
        self.since.elapsed() >= self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_flickers_is_not_steady() {
        let mut steady = Steady::default();
        let mut looks = Vec::new();
        for so in [true, true, false, true, true, true, true] {
            looks.push(steady.holds(so));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(looks, [false, false, false, false, false, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_begins_again_with_everything_that_arrives() {
        let second = Duration::from_secs(1);
        let mut silence = Silence::of(2 * second, 7);
        tokio::time::sleep(second).await;
        assert!(!silence.lasts(7, 3), "to be awaited is not to arrive");
        tokio::time::sleep(second).await;
        assert!(silence.lasts(7, 3));
        assert!(!silence.lasts(7, 2), "a barrier");
        tokio::time::sleep(second).await;
        assert!(!silence.lasts(8, 2), "an event");
        tokio::time::sleep(second).await;
        assert!(!silence.lasts(8, 2));
        tokio::time::sleep(second).await;
        assert!(silence.lasts(8, 2));
    }
}
