//! Whether one publishing connection is there, on its way back, or lost; and whether it has anything left to say.

use std::task::Waker;
use std::time::Duration;

use super::handshake::Refusal;
use super::source::PublishOrders;
use crate::clock::{self, Instant};

/// What the publisher thread knows of one connection.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Wakes it when orders change.
    pub waker: Option<Waker>,
    ready: bool,
    lost: bool,
    /// It has been ready before.
    established: bool,
    /// Since when it has been on its way back.
    away: Option<Instant>,
    /// The orders under which it last said that it is done.
    done: Option<PublishOrders>,
}

/// What a connection is that has become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// The first.
    First,
    /// One in place of another that was lost.
    Again,
    /// One in place of another before anyone missed it.
    Replaced,
}

/// What a connection leaves that ended, or could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    /// It had been ready.
    pub was_ready: bool,
    /// It is tried again.
    pub again: bool,
}

/// Why a connection has to be made again.
pub(super) enum Lost {
    /// It ended, or could not be made.
    Refused(Refusal),
    /// A fault of ours ended it.
    Cut,
    /// A fault of ours ended the attempt to make it.
    Aborted,
}

impl Presence {
    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    pub(super) fn is_ready(&self) -> bool {
        self.ready && !self.lost
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    pub(super) fn is_away(&self) -> bool {
        self.away.is_some() && !self.lost
    }

    /// Whether something is left to send under these orders by someone who may still do so.
    pub(super) fn is_busy(&self, orders: PublishOrders) -> bool {
        !self.lost && self.done != Some(orders)
    }

    /// It has nothing left to send under these orders.
    pub(super) fn done(&mut self, orders: PublishOrders) {
        self.done = Some(orders);
    }

    /// It has a connection.
    pub(super) fn arrive(&mut self) -> Arrival {
        let arrival = match (self.ready, self.established) {
            (true, _) => Arrival::Replaced,
            (false, true) => Arrival::Again,
            (false, false) => Arrival::First,
        };
        (self.ready, self.established, self.lost, self.away) = (true, true, false, None);
        arrival
    }

    /// It has none because of us, and is tried again for as long as that lasts.
    pub(super) fn stay_away(&mut self) {
        self.ready = false;
        self.lost = false;
        self.away = Some(clock::now());
    }

    /// It has none. What was never connected is not tried again, nor what has been away for as long as reconnects may
    /// take: a target that takes no publishers would be waited for until the phase is given up. The prober is: without
    /// it every subscription that waits would seem unproved.
    pub(super) fn lose(&mut self, reconnects: Duration, never_gives_up: bool) -> Loss {
        let was_ready = std::mem::replace(&mut self.ready, false);
        let since = *self.away.get_or_insert_with(clock::now);
        let in_time = self.established && since.elapsed() < reconnects;
        // Nobody waits for the prober to come back.
        self.lost = !in_time || never_gives_up;
        Loss { was_ready, again: in_time || never_gives_up }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECONNECTS: Duration = Duration::from_secs(1);

    /// Away, lost, busy.
    fn state(presence: &Presence) -> (bool, bool, bool) {
        let phase = PublishOrders { phase: Some((0, 0)), ..PublishOrders::default() };
        (presence.is_away(), presence.is_lost(), presence.is_busy(phase))
    }

    #[test]
    fn what_was_never_connected_is_lost_and_nobody_waits_for_it() {
        let mut presence = Presence::default();
        assert_eq!(presence.lose(RECONNECTS, false), Loss { was_ready: false, again: false });
        assert_eq!(state(&presence), (false, true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_connected_comes_back_or_is_given_up() {
        let mut presence = Presence::default();
        assert_eq!(presence.arrive(), Arrival::First);
        assert_eq!(presence.lose(RECONNECTS, false), Loss { was_ready: true, again: true });
        assert_eq!(state(&presence), (true, false, true), "it still has something to say");
        tokio::time::sleep(RECONNECTS / 2).await;
        assert_eq!(presence.lose(RECONNECTS, false), Loss { was_ready: false, again: true });
        assert_eq!(presence.arrive(), Arrival::Again);
        assert_eq!(state(&presence), (false, false, true));
        assert_eq!(presence.arrive(), Arrival::Replaced);

        // Each absence has its own time.
        tokio::time::sleep(RECONNECTS).await;
        assert!(presence.lose(RECONNECTS, false).again);
        tokio::time::sleep(RECONNECTS).await;
        assert!(!presence.lose(RECONNECTS, false).again);
        assert_eq!(state(&presence), (false, true, false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_prober_never_gives_up_and_is_not_waited_for() {
        let mut presence = Presence::default();
        for _ in 0..3 {
            assert_eq!(presence.lose(RECONNECTS, true), Loss { was_ready: false, again: true });
            assert_eq!(state(&presence), (false, true, false));
            tokio::time::sleep(RECONNECTS).await;
        }
        assert_eq!(presence.arrive(), Arrival::First);
        assert!(presence.is_ready());
    }

    #[test]
    fn done_is_said_of_the_orders_it_was_said_under() {
        let mut presence = Presence::default();
        presence.arrive();
        let (first, second) =
            (PublishOrders::default(), PublishOrders { stop: true, ..PublishOrders::default() });
        presence.done(first);
        assert_eq!((presence.is_busy(first), presence.is_busy(second)), (false, true));
    }
}
