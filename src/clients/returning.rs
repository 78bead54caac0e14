//! One client on its way to a connection that is not its first attempt: how long it waits, how often it tries, and what
//! is counted.
//!
//! It waits as long as the longest of three says: its backoff, its circuit breaker and its retry budget. An attempt that
//! a fault of ours ended is to the client a failure like any other, and says nothing about the server.

use std::time::Duration;

use super::backoff::wait_before;
use super::breaker::Breaker;
use super::budget::Budget;
use super::handshake::Refusal;
use super::seats::Seat;
use super::shard::Shard;
use super::tally::GroupTally;
use crate::scenarios::plan::SubscriberGroup;

/// What a client remembers from one life to the next.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Connections it has had.
    pub lives: u32,
    /// Attempts to connect that were not its first, over the whole run: every one draws its own jitter.
    attempts: u32,
    /// A fault of ours has ended every attempt so far.
    excused: bool,
    /// Boxed, because most clients never need them.
    limits: Option<Box<Limits>>,
}

/// What else keeps a client from trying.
#[derive(Debug)]
struct Limits {
    breaker: Option<Breaker>,
    budget: Option<Budget>,
}

impl Limits {
    fn of(group: &SubscriberGroup) -> Option<Box<Self>> {
        let (breaker, budget) = (group.breaker.map(Breaker::new), group.retry_budget.map(Budget::new));
        (breaker.is_some() || budget.is_some()).then(|| Box::new(Self { breaker, budget }))
    }
}

impl Way {
    /// Of a client whose first attempt a fault of ours ended.
    pub(super) fn excused() -> Self {
        Self { excused: true, ..Self::default() }
    }

    fn breaker(&mut self) -> Option<&mut Breaker> {
        self.limits.as_mut()?.breaker.as_mut()
    }

    fn budget(&mut self) -> Option<&mut Budget> {
        self.limits.as_mut()?.budget.as_mut()
    }
}

/// A client that tries until it is connected, or until it is dropped because nobody may come back any more.
pub(super) struct Returning<'a> {
    shard: &'a Shard,
    seat: &'a Seat,
    way: &'a mut Way,
}

impl<'a> Returning<'a> {
    pub(super) fn of(shard: &'a Shard, seat: &'a Seat, way: &'a mut Way) -> Self {
        if way.limits.is_none() {
            way.limits = Limits::of(&shard.plan.groups[usize::from(seat.group)]);
        }
        Self { shard, seat, way }
    }

    /// Waits and tries, until `open` succeeds; `None`: it had to try once, and has no policy to try again.
    pub(super) async fn until_open<T>(
        &mut self,
        mut open: impl AsyncFnMut() -> Result<T, Refusal>,
    ) -> Option<T> {
        loop {
            let wait = self.wait()?;
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let permit = self.shard.gates[usize::from(self.seat.group)].pass().await;
            self.begin();
            let opened = open().await;
            drop(permit);
            match opened {
                Ok(opened) => {
                    self.succeed();
                    return Some(opened);
                }
                Err(refusal) => self.fail(&refusal),
            }
        }
    }

    /// How long it waits before its next attempt.
    fn wait(&mut self) -> Option<Duration> {
        // An attempt that is made only to fail in it asks for no policy, and knows no wait.
        if self.shard.climate.has_doomed_attempt(self.seat.local) {
            return Some(Duration::ZERO);
        }
        let n = self.shard.attempt(self.seat);
        let policy = self.shard.plan.groups[usize::from(self.seat.group)].reconnect;
        let jitter = || self.shard.plan.schedule.jitter(self.seat.connection, self.way.attempts);
        let backoff = wait_before(policy, n, jitter)?;
        let now = self.now();
        let breaker = self.way.breaker().map_or(Duration::ZERO, |breaker| breaker.wait(now));
        let budget = self.way.budget().map_or(Duration::ZERO, |budget| budget.wait(now));
        let others = backoff.max(breaker);
        if budget > others {
            self.tally(|tally| tally.returns.budget_waits += 1);
        }
        Some(others.max(budget))
    }

    fn begin(&mut self) {
        let now = self.now();
        self.way.attempts += 1;
        if let Some(budget) = self.way.budget() {
            budget.take(now);
        }
        let half_open = self.way.breaker().is_some_and(Breaker::begin);
        self.tally(|tally| {
            tally.returns.attempts.add(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
            tally.returns.half_open_attempts += u64::from(half_open);
        });
    }

    fn succeed(&mut self) {
        let closes = self.way.breaker().is_some_and(Breaker::succeed);
        self.tally(|tally| tally.returns.closed += u64::from(closes));
        self.count_in();
    }

    fn fail(&mut self, refusal: &Refusal) {
        let now = self.now();
        let opens = self.way.breaker().is_some_and(|breaker| breaker.fail(now));
        let by_plan = refusal.failure.is_injected();
        let sight = self.shard.sight(self.seat);
        self.tally(|tally| {
            tally.returns.opened += u64::from(opens);
            if by_plan {
                tally.returns.aborted_by_plan += 1;
            } else {
                tally.reconnect_failures.add(refusal.failure, &refusal.text, sight);
            }
        });
        if !by_plan {
            self.count_in();
        }
    }

    /// From here on it shows how the server takes this client.
    fn count_in(&mut self) {
        if std::mem::take(&mut self.way.excused) {
            self.tally(|tally| tally.aborted_by_plan -= 1);
        }
    }

    /// Since the run's epoch.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.shard.plan.board.clock.now_ns())
    }

    fn tally(&self, count: impl FnOnce(&mut GroupTally)) {
        count(&mut self.shard.state.borrow_mut().cohorts[usize::from(self.seat.cohort)]);
    }
}

impl Drop for Returning<'_> {
    /// Who is connected has a closed breaker; with any other the client was given up.
    fn drop(&mut self) {
        let is_open = self.way.breaker().is_some_and(|breaker| !breaker.is_closed());
        if is_open && !std::thread::panicking() {
            self.tally(|tally| tally.returns.open_at_end += 1);
        }
    }
}
