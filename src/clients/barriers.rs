//! Which barrier one connection publishes next: rounds over its streams, for as long as somebody waits.
//!
//! Pure: knows neither clock nor connection.

use super::pace::Share;

/// The pause after the first round, once it is answered; it doubles up to the longest.
const FIRST_PAUSE_NS: u64 = 100_000_000;
/// The longest pause. A round that is not answered is repeated after it, too.
const LAST_PAUSE_NS: u64 = 1_000_000_000;
/// Barriers that may be unanswered; beyond it the connection waits for the server.
const IN_FLIGHT: u32 = 512;

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Publish the barrier of stream `k` of the group.
    Publish(u64),
    /// Nothing before this time on the run's axis.
    At(u64),
    /// Nothing before an answer.
    Wait,
}

/// The barriers of the streams that one connection of a group publishes.
#[derive(Debug)]
pub(super) struct BarrierRounds {
    share: Share,
    streams: u64,
    /// Where the present round has come to; `None`: between two rounds.
    round: Option<Share>,
    next_round_ns: u64,
    pause_ns: u64,
    unanswered: u32,
}

impl BarrierRounds {
    /// For the connection whose share of a group with `streams` streams is `share`, at its first event.
    pub(super) fn new(share: Share, streams: u64) -> Self {
        Self { share, streams, round: None, next_round_ns: 0, pause_ns: FIRST_PAUSE_NS, unanswered: 0 }
    }

    /// A new connection: nobody answers what was said on the old one, and somebody may have missed it.
    pub(super) fn connected(&mut self) {
        self.unanswered = 0;
        self.round = None;
        self.next_round_ns = 0;
    }

    /// One barrier was answered, or its answer was given up.
    pub(super) fn answered(&mut self, now_ns: u64) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if self.unanswered == 0 && self.round.is_none() {
            self.next_round_ns = self.next_round_ns.min(now_ns + self.pause_ns);
        }
    }

    /// The next barrier of a stream that `is_awaited`.
    pub(super) fn next(&mut self, now_ns: u64, is_awaited: impl Fn(u64) -> bool) -> Turn {
        if self.round.is_none() && now_ns < self.next_round_ns {
            return Turn::At(self.next_round_ns);
        }
        if self.unanswered >= IN_FLIGHT {
            return Turn::Wait;
        }
        let mut round = self.round.take().unwrap_or_else(|| self.begin());
        while round.peek() < self.streams {
            let stream = round.peek();
            round.advance();
            if is_awaited(stream) {
                self.round = Some(round);
                self.unanswered += 1;
                return Turn::Publish(stream);
            }
        }
        let pause_ns = if self.unanswered > 0 { LAST_PAUSE_NS } else { self.pause_ns };
        self.next_round_ns = now_ns + pause_ns;
        Turn::At(self.next_round_ns)
    }

    fn begin(&mut self) -> Share {
        self.pause_ns =
            if self.next_round_ns > 0 { (self.pause_ns * 2).min(LAST_PAUSE_NS) } else { FIRST_PAUSE_NS };
        self.share.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Connection 1 of 2 in a group of five streams: streams 1 and 3.
    fn rounds() -> BarrierRounds {
        BarrierRounds::new(Share::new(1, 2, 5), 5)
    }

    fn at(ms: u64) -> Turn {
        Turn::At(ms * MS)
    }

    #[test]
    fn a_round_is_every_stream_of_its_own_that_is_awaited() {
        let mut rounds = rounds();
        assert_eq!(rounds.next(0, |_| true), Turn::Publish(1));
        assert_eq!(rounds.next(0, |_| true), Turn::Publish(3));
        assert_eq!(rounds.next(0, |_| true), at(1_000));
        rounds.answered(10 * MS);
        assert_eq!(rounds.next(10 * MS, |_| true), at(1_000), "one is on its way still");
        rounds.answered(20 * MS);
        assert_eq!(rounds.next(20 * MS, |_| true), at(120));
        assert_eq!(rounds.next(120 * MS, |k| k == 3), Turn::Publish(3));
    }

    #[test]
    fn rounds_back_off_and_never_spin() {
        let mut rounds = rounds();
        let mut now = 0;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            assert_eq!(rounds.next(now, |k| k == 1), Turn::Publish(1));
            rounds.answered(now);
            let Turn::At(next) = rounds.next(now, |k| k == 1) else { panic!("nothing but a pause is left") };
            pauses.push((next - now) / MS);
            now = next;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        // Nobody waits: looked at rarely.
        assert_eq!(rounds.next(now, |_| false), Turn::At(now + 1_000 * MS));
    }

    #[test]
    fn a_round_without_an_answer_is_repeated_all_the_same() {
        let mut rounds = rounds();
        assert_eq!(rounds.next(0, |k| k == 1), Turn::Publish(1));
        assert_eq!(rounds.next(0, |k| k == 1), at(1_000));
        assert_eq!(rounds.next(1_000 * MS, |k| k == 1), Turn::Publish(1));
    }

    #[test]
    fn what_is_unanswered_is_bounded() {
        let mut rounds = BarrierRounds::new(Share::new(0, 1, 10_000), 10_000);
        let published = std::iter::from_fn(|| match rounds.next(0, |_| true) {
            Turn::Publish(k) => Some(k),
            _ => None,
        });
        assert_eq!(published.count(), IN_FLIGHT as usize);
        assert_eq!(rounds.next(0, |_| true), Turn::Wait);
        rounds.answered(0);
        assert_eq!(rounds.next(0, |_| true), Turn::Publish(IN_FLIGHT.into()));
    }

    #[test]
    fn a_new_connection_begins_a_new_round_at_once() {
        let mut rounds = rounds();
        assert_eq!(rounds.next(0, |_| true), Turn::Publish(1));
        rounds.connected();
        assert_eq!(rounds.next(0, |_| true), Turn::Publish(1));
    }
}
