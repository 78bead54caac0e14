//! When event n is due, and which events one connection publishes: pure arithmetic, no clock.

use std::time::Duration;

/// The times at which the events of one group are due in one phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timetable {
    /// Events per second over the whole group; `None`: due at once (`unlimited` and `one-by-one`).
    pub rate: Option<f64>,
    /// Events that are due together: the group's batch times its connections when batching, else 1.
    pub together: u64,
}

impl Timetable {
    /// How long after the start of the phase its event `n` (0-based) is due.
    #[must_use]
    pub fn due(&self, n: u64) -> Duration {
        match self.rate {
            None => Duration::ZERO,
            Some(rate) => Duration::from_secs_f64((n / self.together * self.together) as f64 / rate),
        }
    }

    /// How many events are due within `length`, both counted from the start of the phase; `None`: no limit.
    #[must_use]
    pub fn count_within(&self, length: Duration) -> Option<u64> {
        let rate = self.rate?;
        let groups = (length.as_secs_f64() * rate / self.together as f64).ceil();
        Some(groups as u64 * self.together)
    }
}

/// Walks the events that one connection of a group publishes, in order.
///
/// Event n of a group goes to stream n mod S, and stream k is published by connection k mod P.
#[derive(Debug, Clone)]
pub struct Share {
    streams: u64,
    connections: u64,
    first: u64,
    cycle: u64,
    stream: u64,
}

impl Share {
    /// The share of connection `connection` of `connections`, of a group with `streams` streams.
    #[must_use]
    pub fn new(connection: u32, connections: u32, streams: u64) -> Self {
        let first = u64::from(connection);
        Self { streams, connections: u64::from(connections), first, cycle: 0, stream: first }
    }

    /// The number of the next event.
    #[must_use]
    pub fn peek(&self) -> u64 {
        self.cycle * self.streams + self.stream
    }

    /// Goes on to the one after it.
    pub fn advance(&mut self) {
        self.stream += self.connections;
        if self.stream >= self.streams {
            self.stream = self.first;
            self.cycle += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_fixed_times() {
        let table = Timetable { rate: Some(200.0), together: 1 };
        let due: Vec<_> = [0, 1, 2, 200, 8_640_000].map(|n| table.due(n).as_micros()).into();
        assert_eq!(due, [0, 5_000, 10_000, 1_000_000, 43_200_000_000]);
    }

    #[test]
    fn a_batch_is_due_together_and_keeps_the_rate() {
        let table = Timetable { rate: Some(100.0), together: 10 };
        let due: Vec<_> = [0, 9, 10, 19, 20].map(|n| table.due(n).as_millis()).into();
        assert_eq!(due, [0, 0, 100, 100, 200]);
    }

    #[test]
    fn events_of_a_phase_can_be_counted_beforehand() {
        let table = Timetable { rate: Some(200.0), together: 1 };
        assert_eq!(table.count_within(Duration::from_secs(5)), Some(1_000));
        assert_eq!(table.count_within(Duration::from_millis(7)), Some(2));
        assert_eq!(Timetable { rate: None, together: 1 }.count_within(Duration::from_secs(5)), None);
        for n in [0, 1, 7, 999, 1_000] {
            let within = table.due(n) < Duration::from_secs(5);
            assert_eq!(within, n < 1_000, "event {n}");
        }
    }

    #[test]
    fn the_shares_of_all_connections_are_all_events_once() {
        for (connections, streams) in [(1, 1), (4, 10), (4, 4), (10, 10), (3, 7)] {
            let mut seen = Vec::new();
            for connection in 0..connections {
                let mut share = Share::new(connection, connections, streams);
                while share.peek() < 100 {
                    assert_eq!(share.peek() % streams % u64::from(connections), u64::from(connection));
                    seen.push(share.peek());
                    share.advance();
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..100).collect::<Vec<_>>(), "{connections} connections, {streams} streams");
        }
    }
}
