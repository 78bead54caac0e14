//! The circuit breaker of one client: when it stops trying for a while. No clock inside: it is told the time, as it
//! has passed since any moment that stays the same.

use std::time::Duration;

use crate::scenarios::plan::CircuitBreaker;

/// Closed, open or half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breaker {
    policy: CircuitBreaker,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Attempts are made; so many in a row have failed.
    Closed { failed: u32 },
    /// None is made until then.
    Open { until: Duration },
    /// One is being made, and decides.
    HalfOpen,
}

impl Breaker {
    /// Closed, with nothing failed.
    pub(super) fn new(policy: CircuitBreaker) -> Self {
        Self { policy, state: State::Closed { failed: 0 } }
    }

    /// Whether it is neither open nor half open.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// How long no attempt may be made from `now` on.
    pub(super) fn wait(&self, now: Duration) -> Duration {
        match self.state {
            State::Open { until } => until.saturating_sub(now),
            State::Closed { .. } | State::HalfOpen => Duration::ZERO,
        }
    }

    /// An attempt begins, once [`Self::wait`] is over; whether it is made half open.
    pub(super) fn begin(&mut self) -> bool {
        let half_open = !self.is_closed();
        if half_open {
            self.state = State::HalfOpen;
        }
        half_open
    }

    /// The attempt led to a connection; whether the breaker has closed with it.
    pub(super) fn succeed(&mut self) -> bool {
        let closes = !self.is_closed();
        self.state = State::Closed { failed: 0 };
        closes
    }

    /// The attempt failed; whether the breaker has opened with it.
    pub(super) fn fail(&mut self, now: Duration) -> bool {
        let failed = match self.state {
            State::Closed { failed } => failed.saturating_add(1),
            State::Open { .. } | State::HalfOpen => u32::MAX,
        };
        let opens = failed >= self.policy.opens_after;
        self.state = if opens {
            State::Open { until: now.saturating_add(self.policy.stays_open) }
        } else {
            State::Closed { failed }
        };
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    const POLICY: CircuitBreaker = CircuitBreaker { opens_after: 3, stays_open: Duration::from_millis(100) };

    fn in_state(state: State) -> Breaker {
        Breaker { policy: POLICY, state }
    }

    /// Every state under everything that can happen to it at 1,000 ms: what it becomes, and what is said of it.
    #[test]
    fn every_state_by_its_table() {
        use State::{Closed, HalfOpen, Open};
        let now = MS(1_000);
        let opened = Open { until: MS(1_100) };
        let waiting = Open { until: MS(1_040) };
        let over = Open { until: MS(900) };
        let closed = |failed| Closed { failed };
        // State, wait, begin, succeed, fail.
        let table = [
            (closed(0), 0, (closed(0), false), (closed(0), false), (closed(1), false)),
            (closed(1), 0, (closed(1), false), (closed(0), false), (closed(2), false)),
            (closed(2), 0, (closed(2), false), (closed(0), false), (opened, true)),
            (waiting, 40, (HalfOpen, true), (closed(0), true), (opened, true)),
            (over, 0, (HalfOpen, true), (closed(0), true), (opened, true)),
            (HalfOpen, 0, (HalfOpen, true), (closed(0), true), (opened, true)),
        ];
        let after = |state, what: &dyn Fn(&mut Breaker) -> bool| {
            let mut breaker = in_state(state);
            let said = what(&mut breaker);
            (breaker.state, said)
        };
        for (state, wait, begin, succeed, fail) in table {
            assert_eq!(in_state(state).wait(now), MS(wait), "{state:?}");
            assert_eq!(after(state, &|b| b.begin()), begin, "{state:?} begins");
            assert_eq!(after(state, &|b| b.succeed()), succeed, "{state:?} succeeds");
            assert_eq!(after(state, &|b| b.fail(now)), fail, "{state:?} fails");
            assert_eq!(in_state(state).is_closed(), matches!(state, Closed { .. }));
        }
    }

    #[test]
    fn one_that_opens_after_one_opens_with_the_first() {
        let mut breaker = Breaker::new(CircuitBreaker { opens_after: 1, ..POLICY });
        assert!(!breaker.begin());
        assert!(breaker.fail(MS(5)));
        assert_eq!(breaker.wait(MS(5)), MS(100));
    }

    /// Attempts that fail in no time, made as soon as the breaker lets them: when each is made.
    #[test]
    fn a_server_that_stays_away_is_tried_once_in_each_pause() {
        let mut breaker = Breaker::new(POLICY);
        let (mut now, mut made, mut half_open) = (MS(0), Vec::new(), 0);
        for _ in 0..6 {
            now += breaker.wait(now);
            half_open += u32::from(breaker.begin());
            made.push(now);
            breaker.fail(now);
        }
        assert_eq!(made, [0, 0, 0, 100, 200, 300].map(MS));
        assert_eq!(half_open, 3);
        now += breaker.wait(now);
        assert!(breaker.begin() && breaker.succeed());
        assert_eq!(breaker, Breaker::new(POLICY), "as if nothing had been");
    }
}
