//! The client's own pings, and when it takes its connection for dead.
//!
//! [`Pulse`] decides and knows no clock; the shard's ticker walks all connections that have one. Where no group asks for
//! it there is neither.

use std::task::Waker;

use super::failure::{Failure, Reason, Stage};
use super::handshake::Refusal;
use super::live::Ended;
use super::shard::{Course, Shard};
use crate::scenarios::plan::Keepalive;

/// What our pings carry, so that their answers are told from those to other pings.
pub(super) const PAYLOAD: &str = r#"{"stressctl":"keepalive"}"#;

/// What of it is left however a server writes it down again.
const MARK: &str = "keepalive";

/// The pings of one connection. All times are ns on the run's axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    every: u64,
    dead_after: u64,
    /// When the next ping is due.
    next: u64,
    /// When anything was received last.
    heard: u64,
    /// When the first of the unanswered pings was due.
    asked: u64,
    /// Pings handed to the socket and not answered.
    unanswered: u32,
    /// A ping is due and not handed to the socket yet.
    owed: bool,
    /// It seemed dead the last time it was looked at.
    suspect: bool,
}

/// What is to be done about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beat {
    Rest,
    /// A ping is to be sent.
    Ping,
    /// It is dead.
    Dead,
}

impl Pulse {
    /// Of a connection that is established now.
    pub(super) fn new(policy: Keepalive, now: u64) -> Self {
        let ns = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (every, dead_after) = (ns(policy.every), ns(policy.dead_after));
        let next = now.saturating_add(every);
        Self { every, dead_after, next, heard: now, asked: 0, unanswered: 0, owed: false, suspect: false }
    }

    /// Something was received, whatever it was.
    pub(super) fn heard(&mut self, now: u64) {
        self.heard = now;
        self.suspect = false;
    }

    /// Looks at it, every few milliseconds.
    pub(super) fn beat(&mut self, now: u64) -> Beat {
        if self.is_silent(now) {
            // Once is not enough: when we ourselves come late, what has arrived in the meantime is read between one look
            // and the next.
            return if std::mem::replace(&mut self.suspect, true) { Beat::Dead } else { Beat::Rest };
        }
        if now < self.next {
            return Beat::Rest;
        }
        self.next = self.next.saturating_add(self.every);
        if self.next <= now {
            self.next = now.saturating_add(self.every);
        }
        if self.owed {
            return Beat::Rest;
        }
        if self.unanswered == 0 {
            self.asked = now;
        }
        self.owed = true;
        Beat::Ping
    }

    /// A ping that cannot even be written counts like one that is not answered.
    fn is_silent(&self, now: u64) -> bool {
        let asks = self.owed || self.unanswered > 0;
        asks && now.saturating_sub(self.heard.max(self.asked)) >= self.dead_after
    }

    /// Whether a ping is to be handed to the socket.
    pub(super) fn is_owed(&self) -> bool {
        self.owed
    }

    /// It was handed over.
    pub(super) fn sent(&mut self) {
        self.owed = false;
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Whether a pong is the answer to one of our pings; `question` is what another ping of ours carries. Pongs need not
    /// repeat what they answer; those that do not come in the order of the pings.
    pub(super) fn takes(&mut self, payload: Option<&str>, question: &str) -> bool {
        let mine = payload.is_some_and(|payload| payload.contains(MARK));
        let is_answer = mine || (self.unanswered > 0 && payload != Some(question));
        if is_answer {
            self.unanswered = self.unanswered.saturating_sub(1);
        }
        is_answer
    }
}

impl Shard {
    /// Looks at the pulse of every connection that has one, and gives up on those that are dead.
    pub(super) fn keep_alive(&self) {
        let any = self.plan.groups.iter().any(|group| group.keepalive.is_some());
        if !any || self.course() != Course::Run {
            return;
        }
        let now = self.plan.board.clock.now_ns();
        let (mut pinging, mut dead) = (Vec::new(), Vec::new());
        for (seat, live) in self.lives.borrow_mut().iter_mut().enumerate() {
            let Some(live) = live else { continue };
            match live.beat(now) {
                Beat::Rest => {}
                Beat::Ping => pinging.extend(live.waker().cloned()),
                Beat::Dead => dead.push(seat),
            }
        }
        // Woken outside the borrow: a waker may run arbitrary code.
        pinging.iter().for_each(Waker::wake_by_ref);
        dead.into_iter().for_each(|seat| self.give_up(seat));
    }

    /// Takes a connection for dead: its life ends at this moment.
    fn give_up(&self, seat: usize) {
        let live = self.take_life(seat).expect("a connection that has a pulse");
        let waker = live.waker().cloned();
        if self.climate.is_our_doing(seat) {
            self.abandon(live);
            self.book_cut(seat);
        } else {
            self.abandon(live);
            let failure = Failure::new(Stage::Open, Reason::Timeout);
            let refusal = Refusal { failure, text: String::new() };
            self.ended(&self.seats[seat], &Ended::Unexpectedly(refusal));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: u64 = 1_000_000;

    /// A connection that is established at 0 ms.
    fn pulse(every: u64, dead_after: u64) -> Pulse {
        let policy =
            Keepalive { every: Duration::from_millis(every), dead_after: Duration::from_millis(dead_after) };
        Pulse::new(policy, 0)
    }

    /// Looks every 20 ms up to `end`; a ping goes out at once and is answered after `pong`, messages arrive at their
    /// times: when pings were sent, and when the connection was dead, in ms.
    fn live(mut pulse: Pulse, pong: Option<u64>, messages: &[u64], end: u64) -> (Vec<u64>, Option<u64>) {
        let (mut pings, mut pongs) = (Vec::new(), Vec::new());
        for now in (0..=end).step_by(20) {
            let due = |at: &u64| (now.saturating_sub(19)..=now).contains(at);
            if messages.iter().any(due) {
                pulse.heard(now * MS);
            }
            if pongs.iter().any(due) {
                pulse.heard(now * MS);
                assert!(pulse.takes(None, "question"));
            }
            match pulse.beat(now * MS) {
                Beat::Rest => {}
                Beat::Ping => {
                    assert!(pulse.is_owed());
                    pulse.sent();
                    pings.push(now);
                    pongs.extend(pong.map(|after| now + after));
                }
                Beat::Dead => return (pings, Some(now)),
            }
        }
        (pings, None)
    }

    #[test]
    fn every_life_by_its_table() {
        type Life<'a> = (Pulse, Option<u64>, &'a [u64], u64, &'a [u64], Option<u64>);
        let usual = || pulse(100, 400);
        let table: [Life<'_>; 6] = [
            // It answers; it answers slowly, but in time.
            (usual(), Some(0), &[], 450, &[100, 200, 300, 400], None),
            (usual(), Some(380), &[], 1_000, &[100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000], None),
            // It never answers: dead 400 ms after the first ping, seen twice.
            (usual(), None, &[], 1_000, &[100, 200, 300, 400], Some(520)),
            // It never answers, but speaks; and then it does not.
            (
                usual(),
                None,
                &[200, 350, 500, 640],
                1_020,
                &[100, 200, 300, 400, 500, 600, 700, 800, 900, 1_000],
                None,
            ),
            (usual(), None, &[200, 240], 700, &[100, 200, 300, 400, 500, 600], Some(660)),
            // What was quiet before the ping says nothing.
            (pulse(500, 100), None, &[], 1_000, &[500], Some(620)),
        ];
        for (pulse, pong, messages, end, pings, dead) in table {
            assert_eq!(live(pulse, pong, messages, end), (pings.to_vec(), dead), "{pong:?} {messages:?}");
        }
    }

    #[test]
    fn one_look_that_comes_late_kills_nobody() {
        let mut pulse = pulse(100, 400);
        assert_eq!(pulse.beat(100 * MS), Beat::Ping);
        pulse.sent();
        assert_eq!(pulse.beat(2_000 * MS), Beat::Rest, "we were away ourselves");
        pulse.heard(2_001 * MS);
        assert_eq!(pulse.beat(2_020 * MS), Beat::Ping);
        assert_eq!(pulse.beat(2_400 * MS), Beat::Rest);
        assert_eq!(pulse.beat(2_401 * MS), Beat::Rest);
        assert_eq!(pulse.beat(2_402 * MS), Beat::Dead);
    }

    #[test]
    fn a_ping_that_cannot_be_written_is_not_answered_either() {
        let mut pulse = pulse(100, 400);
        assert_eq!(pulse.beat(100 * MS), Beat::Ping);
        assert_eq!(pulse.beat(300 * MS), Beat::Rest, "one is owed already");
        assert_eq!(pulse.beat(500 * MS), Beat::Rest);
        assert_eq!(pulse.beat(520 * MS), Beat::Dead);
    }

    #[test]
    fn its_pongs_are_told_from_others() {
        let question = r#"{"stressctl":7}"#;
        let mut pulse = pulse(100, 400);
        assert!(!pulse.takes(None, question), "nothing was asked");
        assert!(pulse.takes(Some(PAYLOAD), question), "it never answers anything else");
        pulse.sent();
        pulse.sent();
        assert!(!pulse.takes(Some(question), question));
        assert!(pulse.takes(Some(r#"{ "stressctl": "keepalive" }"#), question));
        assert!(pulse.takes(None, question), "in the order of the pings");
        assert!(!pulse.takes(None, question), "and then it is the answer to the next one");
    }
}
