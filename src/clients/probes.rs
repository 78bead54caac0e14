//! Probes for whoever waits for the proof of a subscription, and censuses over all channels.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::board::Board;
use super::source::{Next, Outgoing, PublishOrders, What};
use crate::ledger::{Kind, Token};

/// How often the waiting channels are looked through.
const SCAN: Duration = Duration::from_millis(5);
/// The shortest pause before a channel is probed again; a server that is busy accepting 10,000 connections
/// answers late, and probes sent every fraction of a millisecond would only make it later.
const FIRST_BACKOFF_MS: u32 = 50;
/// The longest.
const LAST_BACKOFF_MS: u32 = 1_000;
/// Probes that may be unacknowledged; beyond it the prober waits for the server.
const PROBES_IN_FLIGHT: usize = 512;

/// Probes for channels on which somebody waits, and censuses over all channels.
pub(super) struct Probes {
    board: Arc<Board>,
    publisher: u32,
    channels: u32,
    cursor: u32,
    next_scan_ns: u64,
    census: u32,
    census_cursor: u32,
    /// Of the probes of the present census, those that were handed over and not answered yet.
    census_unanswered: u32,
    /// When each channel may be probed again (ms on the run's axis) and the pause after that.
    rounds: Vec<(u32, u32)>,
}

impl Probes {
    pub(super) fn new(board: Arc<Board>, publisher: u32, channels: u32) -> Self {
        let rounds = vec![(0, FIRST_BACKOFF_MS); channels as usize];
        Self {
            board,
            publisher,
            channels,
            cursor: 0,
            next_scan_ns: 0,
            census: 0,
            census_cursor: channels,
            census_unanswered: 0,
            rounds,
        }
    }

    /// A new connection: a census that was under way is taken from its begin, because nobody knows how far it came.
    pub(super) fn connected(&mut self) {
        self.census_unanswered = 0;
        if self.census > self.board.census_acked.load(Relaxed) {
            self.census_cursor = 0;
        }
    }

    /// A probe was answered, or its answer was given up.
    pub(super) fn answered(&mut self, what: What) {
        if what != What::Census(self.census) {
            return;
        }
        self.census_unanswered = self.census_unanswered.saturating_sub(1);
        if self.census_unanswered == 0 && self.census_cursor == self.channels {
            self.board.census_acked.store(self.census, Relaxed);
        }
    }

    pub(super) fn next(&mut self, orders: &PublishOrders, in_flight: usize, now_ns: u64) -> Next {
        if in_flight >= PROBES_IN_FLIGHT {
            return Next::Wait;
        }
        if orders.census > self.census {
            self.census = orders.census;
            self.census_cursor = 0;
            self.census_unanswered = 0;
        }
        if self.census_cursor < self.channels {
            self.census_cursor += 1;
            self.census_unanswered += 1;
            return Next::Send(self.probe(self.census_cursor - 1, Kind::Census, now_ns));
        }
        if now_ns < self.next_scan_ns {
            return Next::At(self.next_scan_ns);
        }
        while self.cursor < self.channels {
            let channel = self.cursor;
            self.cursor += 1;
            if self.is_due(channel, now_ns) {
                return Next::Send(self.probe(channel, Kind::Probe, now_ns));
            }
        }
        self.cursor = 0;
        self.next_scan_ns = now_ns + SCAN.as_nanos() as u64;
        Next::At(self.next_scan_ns)
    }

    /// One round for everyone who waits on the channel; rounds back off.
    fn is_due(&mut self, channel: u32, now_ns: u64) -> bool {
        let now_ms = (now_ns / 1_000_000) as u32;
        let (next_ms, pause_ms) = &mut self.rounds[channel as usize];
        if self.board.waiting[channel as usize].load(Relaxed) == 0 {
            *pause_ms = FIRST_BACKOFF_MS;
            return false;
        }
        if now_ms < *next_ms {
            return false;
        }
        *next_ms = now_ms + *pause_ms;
        *pause_ms = (*pause_ms * 2).min(LAST_BACKOFF_MS);
        true
    }

    fn probe(&self, channel: u32, kind: Kind, now_ns: u64) -> Outgoing {
        let seq = self.board.probes_sent[channel as usize].fetch_add(1, Relaxed);
        let census = if kind == Kind::Census { self.census } else { 0 };
        Outgoing {
            token: Token {
                run: self.board.run,
                channel,
                publisher: self.publisher,
                epoch: census,
                kind,
                seq: u64::from(seq),
                due_ns: now_ns,
                sent_ns: now_ns,
            },
            payload: 0,
            ready_ns: now_ns,
            what: if kind == Kind::Census { What::Census(census) } else { What::Probe },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::RunClock;
    use crate::ledger::Streams;

    fn probes(channels: u32) -> (Arc<Board>, Probes) {
        let streams = Arc::new(Streams::new(channels, &[]));
        let board = Arc::new(Board::new(RunClock::start(), 1, streams, channels, 1));
        (Arc::clone(&board), Probes::new(board, 0, channels))
    }

    /// Channels of the census probes that are sent now.
    fn census(probes: &mut Probes, number: u32) -> Vec<u32> {
        let orders = PublishOrders { census: number, ..PublishOrders::default() };
        std::iter::from_fn(|| match probes.next(&orders, 0, 0) {
            Next::Send(sent) if sent.what == What::Census(number) => Some(sent.token.channel),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_census_is_acknowledged_once_every_probe_of_it_is() {
        let (board, mut probes) = probes(3);
        let acked = || board.census_acked.load(Relaxed);
        assert_eq!(census(&mut probes, 1), [0, 1, 2]);
        probes.answered(What::Census(1));
        probes.answered(What::Probe);
        probes.answered(What::Census(1));
        assert_eq!(acked(), 0);
        probes.answered(What::Census(1));
        assert_eq!(acked(), 1);
        assert_eq!(census(&mut probes, 2), [0, 1, 2]);
        (0..2).for_each(|_| probes.answered(What::Census(2)));
        probes.answered(What::Census(1));
        assert_eq!(acked(), 1, "a late answer to an older census is none to this one");
    }

    #[test]
    fn a_census_that_lost_its_connection_is_taken_again() {
        let (board, mut probes) = probes(2);
        assert_eq!(census(&mut probes, 1), [0, 1]);
        probes.answered(What::Census(1));
        probes.connected();
        assert_eq!(census(&mut probes, 1), [0, 1]);
        (0..2).for_each(|_| probes.answered(What::Census(1)));
        assert_eq!(board.census_acked.load(Relaxed), 1);
        probes.connected();
        assert_eq!(census(&mut probes, 1), [0; 0], "a finished one is not");
    }
}
