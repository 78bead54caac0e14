//! A climb: payloads that grow step by step until one step is not fully delivered.
//!
//! The next event is published when everything of the one before has arrived, so that no more than one large message is
//! under way to anybody. What publisher and subscribers see of it stands on one board; [`decide`] says what follows.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::failure::{Failure, Reason, Stage};
use super::handshake::Refusal;
use crate::ledger::{Streams, Token};
use crate::scenarios::plan::Plan;

/// How long nothing may arrive once something has gone wrong, until the others are taken to have all they get.
const GRACE: Duration = Duration::from_secs(1);
/// How often is looked whether everything has arrived.
const LOOK_NS: u64 = 2_000_000;

/// The climb of a run, as all threads see it.
#[derive(Debug)]
pub struct Climb {
    /// Index of the group that climbs.
    group: usize,
    /// Its only connection, counted over all groups.
    publisher: u32,
    /// Events of each step.
    each: u64,
    /// How long an event may stay without any sign of it.
    patience_ns: u64,
    steps: Box<[Step]>,
    /// Events published.
    sent: AtomicU64,
    /// When something of it was last sent, acknowledged or received, ns on the run's axis.
    last_ns: AtomicU64,
    over: AtomicBool,
    /// Its last step was not fully delivered.
    failed: AtomicBool,
    /// Deliveries of that step that had not arrived when nobody waited for them any longer.
    missing: AtomicU64,
    trouble: Mutex<Trouble>,
    troubled: AtomicBool,
}

/// One step.
#[derive(Debug, Default)]
pub struct Step {
    /// Bytes of payload.
    pub payload: usize,
    /// Events handed to the socket.
    pub published: AtomicU64,
    /// Events acknowledged.
    pub acked: AtomicU64,
    /// Deliveries owed.
    pub owed: AtomicU64,
    /// Deliveries received intact.
    pub delivered: AtomicU64,
    /// Messages received damaged.
    pub damaged: AtomicU64,
    /// When its first event was sent, ns on the run's axis.
    began_ns: AtomicU64,
    /// When the last of it was received or acknowledged.
    ended_ns: AtomicU64,
}

impl Step {
    /// From the first event sent to the last sign of it.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.ended_ns.load(Relaxed).saturating_sub(self.began_ns.load(Relaxed)))
    }
}

/// The first thing that went wrong on each side.
#[derive(Debug, Clone, Default)]
pub struct Trouble {
    /// To the publisher.
    pub publisher: Option<Refusal>,
    /// To a subscriber.
    pub subscriber: Option<Refusal>,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// The next event.
    Send,
    /// Something is still to come.
    Wait,
    /// Nothing.
    Over,
}

/// What has been seen of the events so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    sent: u64,
    of: u64,
    /// An event is not answered.
    in_flight: bool,
    /// Deliveries that have not arrived.
    missing: u64,
    damaged: bool,
    troubled: bool,
    quiet: Duration,
}

/// Goes on only from what is whole; waits `patience` for what is missing, and less once it is clear that it fails.
fn decide(seen: Seen, patience: Duration) -> Ahead {
    let failed = seen.damaged || seen.troubled;
    if seen.sent == 0 {
        return Ahead::Send;
    }
    if !failed && !seen.in_flight && seen.missing == 0 {
        return if seen.sent == seen.of { Ahead::Over } else { Ahead::Send };
    }
    // A publish without an answer is given up by its link.
    let waits = seen.in_flight && !failed;
    let long_enough = seen.quiet >= if failed { GRACE } else { patience };
    if !waits && (long_enough || (failed && seen.missing == 0)) { Ahead::Over } else { Ahead::Wait }
}

impl Climb {
    /// The climb of a plan, if it has one.
    #[must_use]
    pub fn of(plan: &Plan) -> Option<Self> {
        let group = plan.publishers.iter().position(|group| group.climb.is_some())?;
        let before = plan.publishers[..group].iter().map(|group| group.connections).sum();
        let step = |payload| Step { payload, ..Step::default() };
        Some(Self {
            group,
            publisher: before,
            each: plan.publishers[group].events.unwrap_or(1).max(1),
            patience_ns: u64::try_from(plan.timeouts.operation.as_nanos()).unwrap_or(u64::MAX),
            steps: plan.publishers[group].payloads().into_iter().map(step).collect(),
            sent: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            missing: AtomicU64::new(0),
            trouble: Mutex::default(),
            troubled: AtomicBool::new(false),
        })
    }

    /// Its steps, and how many of them began.
    #[must_use]
    pub fn steps(&self) -> (&[Step], usize) {
        (&self.steps, self.sent.load(Relaxed).div_ceil(self.each) as usize)
    }

    /// The step under way.
    #[must_use]
    pub fn step(&self) -> Option<usize> {
        let sent = self.sent.load(Relaxed);
        (sent > 0 && !self.is_over()).then(|| ((sent - 1) / self.each) as usize)
    }

    /// Whether it has begun: from then on that connections end is what is to be found out.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.sent.load(Relaxed) > 0
    }

    /// Whether nothing follows.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }

    /// Whether it was found out what it was to find out: it came to its end, or something went wrong with its publisher
    /// and that never came back.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.is_over() || self.troubled.load(Relaxed)
    }

    /// Its publisher, once a step has failed: what is missing of that is the finding, and nobody waits for it.
    #[must_use]
    pub fn failed_publisher(&self) -> Option<u32> {
        let failed = self.failed.load(Relaxed) || self.troubled.load(Relaxed);
        failed.then_some(self.publisher)
    }

    /// Deliveries of the step under way that have not arrived; once it is over, those that had not by then.
    #[must_use]
    pub fn missing(&self) -> u64 {
        if self.is_over() {
            return self.missing.load(Relaxed);
        }
        let step = self.step().map(|step| &self.steps[step]);
        step.map_or(0, |step| step.owed.load(Relaxed).saturating_sub(step.delivered.load(Relaxed)))
    }

    /// What went wrong.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is this group that climbs.
    pub(super) fn is_of(&self, group: usize) -> bool {
        self.group == group
    }

    /// What follows at this moment; `in_flight`: publishes without an answer.
    pub(super) fn turn(&self, in_flight: usize, now_ns: u64) -> Ahead {
        if self.is_over() {
            return Ahead::Over;
        }
        let sent = self.sent.load(Relaxed);
        let step = self.step().map(|step| &self.steps[step]);
        let count = |of: fn(&Step) -> &AtomicU64| step.map_or(0, |step| of(step).load(Relaxed));
        let seen = Seen {
            sent,
            of: self.each * self.steps.len() as u64,
            in_flight: in_flight > 0,
            missing: self.missing(),
            damaged: count(|step| &step.damaged) > 0,
            troubled: self.troubled.load(Relaxed),
            quiet: Duration::from_nanos(now_ns.saturating_sub(self.last_ns.load(Relaxed))),
        };
        let turn = decide(seen, Duration::from_nanos(self.patience_ns));
        if turn == Ahead::Over {
            self.failed.store(seen.damaged || seen.troubled || seen.missing > 0, Relaxed);
            self.missing.store(seen.missing, Relaxed);
            self.over.store(true, Relaxed);
        }
        turn
    }

    /// When to look again.
    pub(super) fn next_look(now_ns: u64) -> u64 {
        now_ns + LOOK_NS
    }

    /// Books the next event, to which so many deliveries are owed; its payload.
    pub(super) fn publish(&self, owed: u64, now_ns: u64) -> usize {
        let n = self.sent.fetch_add(1, Relaxed);
        let step = &self.steps[(n / self.each) as usize];
        step.began_ns.compare_exchange(0, now_ns, Relaxed, Relaxed).ok();
        step.published.fetch_add(1, Relaxed);
        step.owed.fetch_add(owed, Relaxed);
        self.sign(step, now_ns);
        step.payload
    }

    fn sign(&self, step: &Step, now_ns: u64) {
        step.ended_ns.fetch_max(now_ns, Relaxed);
        self.last_ns.fetch_max(now_ns, Relaxed);
    }

    /// Books an acknowledgement of event `n`.
    pub(super) fn acked(&self, n: u64, now_ns: u64) {
        let Some(step) = self.steps.get((n / self.each) as usize) else { return };
        step.acked.fetch_add(1, Relaxed);
        self.sign(step, now_ns);
    }

    /// Books what arrived of an event, if it is one of the climb: intact and owed, or damaged. What arrives when the climb
    /// is over was waited for in vain.
    pub(super) fn received(&self, streams: &Streams, token: &Token, intact: bool, now_ns: u64) {
        if token.publisher != self.publisher || (intact && self.is_over()) {
            return;
        }
        let Some(stream) = streams.stream_of(token.publisher, token.channel) else { return };
        let n = streams.number(stream, token.seq).1;
        let Some(step) = self.steps.get((n / self.each) as usize) else { return };
        if intact { &step.delivered } else { &step.damaged }.fetch_add(1, Relaxed);
        self.sign(step, now_ns);
    }

    /// Books a message without any token that can be read.
    pub(super) fn broken(&self, now_ns: u64) {
        if let Some(step) = self.step().map(|step| &self.steps[step]) {
            step.damaged.fetch_add(1, Relaxed);
            self.sign(step, now_ns);
        }
    }

    /// Something went wrong with the publisher.
    pub(super) fn publisher_failed(&self, refusal: &Refusal, now_ns: u64) {
        self.failed(|trouble| trouble.publisher.get_or_insert_with(|| refusal.clone()), now_ns);
    }

    /// A subscriber's connection ended.
    pub(super) fn subscriber_failed(&self, refusal: &Refusal, now_ns: u64) {
        self.failed(|trouble| trouble.subscriber.get_or_insert_with(|| refusal.clone()), now_ns);
    }

    fn failed(&self, note: impl FnOnce(&mut Trouble) -> &mut Refusal, now_ns: u64) {
        if !self.has_begun() || self.is_over() {
            return;
        }
        note(&mut self.trouble.lock().unwrap_or_else(PoisonError::into_inner));
        self.last_ns.fetch_max(now_ns, Relaxed);
        self.troubled.store(true, Relaxed);
    }
}

/// The one word for how something ended: `close-NNNN`, `error`, `silence` or `disconnect`.
#[must_use]
pub fn word(failure: Failure) -> String {
    match failure.reason {
        Reason::CloseCode(code) => format!("close-{code}"),
        Reason::Error | Reason::Http(_) | Reason::Complete => "error".to_owned(),
        Reason::Timeout if failure.stage == Stage::Publish => "silence".to_owned(),
        _ => "disconnect".to_owned(),
    }
}

/// The climb of a plan with one event for each step, of which the first is delivered to both of two subscribers, and the
/// second to one at once and to the other after so long.
#[cfg(test)]
pub(crate) fn with_a_late_delivery(plan: &Plan, late_s: u64) -> Climb {
    const S: u64 = 1_000_000_000;
    let streams = Streams::new(1, &[crate::ledger::GroupShape { connections: 1 }]);
    let climb = Climb::of(plan).expect("it climbs");
    let receive = |seq, at_ns| {
        let kind = crate::ledger::Kind::Event;
        let token =
            Token { run: 1, channel: 0, publisher: 0, epoch: 0, kind, seq, due_ns: at_ns, sent_ns: at_ns };
        climb.received(&streams, &token, true, at_ns);
    };
    climb.publish(2, S);
    receive(0, S);
    receive(0, S);
    climb.publish(2, 2 * S);
    climb.acked(1, 2 * S);
    receive(1, 2 * S);
    (0..late_s * 10).for_each(|tenth| _ = climb.turn(0, 2 * S + tenth * S / 10));
    receive(1, (2 + late_s) * S);
    climb.turn(0, (2 + late_s) * S);
    climb
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn seen() -> Seen {
        let quiet = Duration::from_millis(5);
        Seen { sent: 3, of: 8, in_flight: false, missing: 0, damaged: false, troubled: false, quiet }
    }

    #[test]
    fn it_goes_on_only_from_what_is_whole() {
        let long = PATIENCE;
        let table = [
            (Seen { sent: 0, ..seen() }, Ahead::Send),
            (seen(), Ahead::Send),
            (Seen { sent: 8, ..seen() }, Ahead::Over),
            (Seen { in_flight: true, ..seen() }, Ahead::Wait),
            (Seen { in_flight: true, quiet: long, ..seen() }, Ahead::Wait),
            (Seen { missing: 1, ..seen() }, Ahead::Wait),
            (Seen { missing: 1, quiet: long, ..seen() }, Ahead::Over),
            (Seen { sent: 8, missing: 1, ..seen() }, Ahead::Wait),
            (Seen { damaged: true, missing: 1, ..seen() }, Ahead::Wait),
            (Seen { damaged: true, missing: 1, quiet: GRACE, ..seen() }, Ahead::Over),
            (Seen { troubled: true, in_flight: true, missing: 9, ..seen() }, Ahead::Wait),
            (Seen { troubled: true, in_flight: true, missing: 9, quiet: GRACE, ..seen() }, Ahead::Over),
            (Seen { troubled: true, ..seen() }, Ahead::Over),
        ];
        for (seen, turn) in table {
            assert_eq!(decide(seen, PATIENCE), turn, "{seen:?}");
        }
    }

    #[test]
    fn an_end_has_one_word() {
        let word = |stage, reason| word(Failure::new(stage, reason));
        assert_eq!(word(Stage::Open, Reason::CloseCode(1009)), "close-1009");
        assert_eq!(word(Stage::Publish, Reason::Error), "error");
        assert_eq!(word(Stage::Publish, Reason::Http(413)), "error");
        assert_eq!(word(Stage::Publish, Reason::Timeout), "silence");
        assert_eq!(word(Stage::Open, Reason::Reset), "disconnect");
    }
}
