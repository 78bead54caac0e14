//! Cycles of subscribing and unsubscribing on one connection: does what [`Churner`] says, and shows it what came of it.
//!
//! The subscriptions are those of the client, asked for anew in each cycle under ids that nothing in the run has had
//! before. What still arrives under those of an earlier cycle is told apart by when it was sent.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep_until};

use super::churn::{Churner, Move, Seen, Shown};
use super::failure::{Failure, Reason, Stage};
use super::live::Live;
use super::receive::Under;
use super::shard::Shard;
use super::subs::SubState;
use super::weather::Doom;
use crate::ledger::End;

/// How often a client that waits for others looks again: for what they give up, nobody wakes it.
const LOOK: Duration = Duration::from_millis(50);

/// The present connection of a client that churns.
pub(super) struct Cycling {
    churner: Rc<RefCell<Churner>>,
    sleep: Pin<Box<Sleep>>,
    question: Question,
    /// The subscriptions of this cycle were seen to be proved.
    proved: bool,
    /// An event has arrived since then.
    received: bool,
    /// The first id of this connection.
    of_life: u64,
    /// When the server answered behind the unsubscribe of the present ids, of those before, and of those before that.
    answered: [Option<u64>; 3],
}

/// Something that the server answers once everything it was told before has been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    None,
    Owed,
    /// Handed to the socket at this time.
    Awaited(u64),
    /// Answered at this time.
    Came(u64),
}

impl Cycling {
    pub(super) fn of(shard: &Shard, seat: usize) -> Option<Box<Self>> {
        let churner = Rc::clone(shard.churners.get(&seat)?);
        let sleep = Box::pin(sleep_until(shard.plan.board.clock.at(0)));
        let (question, answered) = (Question::None, [None; 3]);
        Some(Box::new(Self {
            churner,
            sleep,
            question,
            proved: false,
            received: false,
            of_life: 0,
            answered,
        }))
    }

    /// Cycles that have begun on this connection and those before it.
    pub(super) fn started(&self) -> u32 {
        self.churner.borrow().started()
    }

    /// What the first id of this connection is.
    pub(super) fn begins_with(&mut self, id: u64) {
        self.of_life = id;
    }

    /// Whether the subscriptions may be asked for.
    pub(super) fn may_subscribe(&self) -> bool {
        self.churner.borrow().may_subscribe()
    }

    /// Whether they are being ended.
    pub(super) fn is_leaving(&self) -> bool {
        self.churner.borrow().is_leaving()
    }

    /// Whether there is something to be asked that the server answers.
    pub(super) fn owes_question(&self) -> bool {
        self.question == Question::Owed
    }

    /// Whether an answer is awaited.
    pub(super) fn awaits(&self) -> bool {
        matches!(self.question, Question::Awaited(_))
    }

    /// It was asked.
    pub(super) fn asked(&mut self, now: u64) {
        self.question = Question::Awaited(now);
    }

    /// An event has arrived. What comes before the proof does not count: the cycle is not held yet.
    pub(super) fn received(&mut self) {
        self.received |= self.proved;
    }

    /// When the server had done the unsubscribe of ids that were in use `before` cycles ago.
    pub(super) fn answered(&self, before: u64) -> Option<u64> {
        // What came before all that is remembered was over long before.
        self.answered[usize::try_from(before).unwrap_or(usize::MAX).min(2)]
    }
}

impl Live {
    /// Goes through what the cycles ask for now; the end that is planned for this one, once it is time for it.
    ///
    /// `after`: what there was to be written has been; if there is more now, it is for the next time.
    pub(super) fn cycle(&mut self, shard: &Shard, cx: &mut Context<'_>, after: bool) -> Option<Doom> {
        loop {
            let seen = self.seen(shard)?;
            let churner = Rc::clone(&self.cycling.as_ref()?.churner);
            let next = churner.borrow_mut().next(&seen);
            match next {
                Move::Wait(until) => {
                    let until = until.unwrap_or_else(|| seen.now.saturating_add(LOOK.as_nanos() as u64));
                    if !self.sleeps(shard, until, cx) {
                        continue;
                    }
                    return None;
                }
                Move::Subscribe => self.begin_cycle(shard),
                Move::Unsubscribe => self.leave_cycle(shard, true),
                Move::UnsubscribeLast => self.leave_cycle(shard, false),
                Move::Ask => self.cycling.iter_mut().for_each(|cycling| cycling.question = Question::Owed),
                Move::GiveUpAnswer => {
                    self.cycling.iter_mut().for_each(|cycling| cycling.question = Question::None);
                    let failure = Failure::new(Stage::Unsubscribe, Reason::Timeout);
                    let cohort = usize::from(self.seat().cohort);
                    let sight = shard.sight(self.seat());
                    shard.state.borrow_mut().cohorts[cohort].failures.add(failure, "", sight);
                }
                Move::Die(fault, point) => {
                    return Some(Doom { fault, due_ns: None, point });
                }
            }
            if after {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Sleeps until then; false: it is then.
    fn sleeps(&mut self, shard: &Shard, until: u64, cx: &mut Context<'_>) -> bool {
        let Some(cycling) = &mut self.cycling else { return true };
        let at = shard.plan.board.clock.at(until);
        if cycling.sleep.deadline() != at {
            cycling.sleep.as_mut().reset(at);
        }
        cycling.sleep.as_mut().poll(cx).is_pending()
    }

    /// What the connection shows; `None`: there are no cycles, or it is past them.
    fn seen(&mut self, shard: &Shard) -> Option<Seen> {
        if self.cycling.is_none() || !self.is_open() {
            return None;
        }
        let (subscriptions, said_all) = (self.shown(shard), self.has_said_all());
        let cycling = self.cycling.as_mut()?;
        cycling.proved |= matches!(subscriptions, Shown::Proved(_));
        let now = shard.plan.board.clock.now_ns();
        let limit = u64::try_from(shard.plan.endpoint.timeouts.operation.as_nanos()).unwrap_or(u64::MAX);
        let (answered, overdue) = match cycling.question {
            Question::Came(at) => (Some(at), false),
            Question::Awaited(since) => (None, now.saturating_sub(since) > limit),
            Question::None | Question::Owed => (None, false),
        };
        let said = said_all && cycling.question != Question::Owed;
        Some(Seen { now, subscriptions, said, received: cycling.received, answered, overdue })
    }

    fn shown(&self, shard: &Shard) -> Shown {
        let state = shard.state.borrow();
        let mine = &state.subs[self.seat().first_sub as usize..self.seat().range().end as usize];
        let is = |of: &[SubState]| mine.iter().any(|sub| of.contains(&sub.state));
        if is(&[SubState::Idle, SubState::Waiting]) {
            Shown::Pending
        } else if mine.iter().all(|sub| sub.state == SubState::Active) {
            Shown::Proved(mine.iter().map(|sub| sub.proved_within_ns).max().unwrap_or_default())
        } else {
            Shown::Broken
        }
    }

    /// New ids, and everything is asked for again.
    fn begin_cycle(&mut self, shard: &Shard) {
        self.renew_ids(shard.subscriptions);
        let state = &mut *shard.state.borrow_mut();
        for sub in self.seat().range() {
            state.begin_anew(sub as usize);
        }
        let Some(cycling) = &mut self.cycling else { return };
        (cycling.question, cycling.proved, cycling.received) = (Question::None, false, false);
        let [last, before, _] = cycling.answered;
        cycling.answered = [None, last, before];
    }

    /// Ends what is subscribed, and asks a question behind it, if there is to be an answer.
    fn leave_cycle(&mut self, shard: &Shard, asks: bool) {
        for sub in self.seat().range().skip(self.asked_for()) {
            shard.end_subscription(sub, End::Left);
        }
        if let Some(cycling) = &mut self.cycling {
            cycling.question = if asks { Question::Owed } else { Question::None };
        }
    }

    /// The server has answered what was asked; behind an unsubscribe that means that it was done.
    pub(super) fn cycle_answered(&mut self, shard: &Shard, now: u64) {
        let Some(cycling) = &mut self.cycling else { return };
        let Question::Awaited(since) = cycling.question else { return };
        cycling.question = Question::Came(now);
        let churner = cycling.churner.borrow();
        if !churner.is_leaving() {
            return;
        }
        churner.answered_within(now.saturating_sub(since));
        drop(churner);
        cycling.answered[0] = Some(now);
        let state = &mut *shard.state.borrow_mut();
        for index in self.seat().range().map(|index| index as usize) {
            if state.subs[index].state == SubState::Unsubscribed {
                state.ledger.unsubscribe_answered(index);
                state.subs[index].mark = None;
            }
        }
    }

    /// Under which ids of this connection's cycles an operation id is; `None`: it was never used on it.
    pub(super) fn under(&self, shard: &Shard, id: u64) -> Option<(u32, Under)> {
        let (first, subs) = self.ids_in_use();
        if let Some(k) = id.checked_sub(first).filter(|k| *k < subs) {
            return Some((k as u32, Under::Present));
        }
        let cycling = self.cycling.as_ref()?;
        let back = first.checked_sub(id)?.div_ceil(shard.subscriptions);
        let k = id.checked_sub(first.checked_sub(back * shard.subscriptions)?).filter(|k| *k < subs)?;
        (id >= cycling.of_life).then(|| (k as u32, Under::Earlier { answered_ns: cycling.answered(back) }))
    }
}

impl Shard {
    /// The life of a connection has ended; whether its client churns, so that it is not a member until its next cycle.
    pub(super) fn cycle_is_cut(&self, seat: usize, how: End) -> bool {
        let Some(churner) = self.churners.get(&seat) else { return false };
        let mut churner = churner.borrow_mut();
        if !churner.is_churning() {
            return false;
        }
        churner.cut(how == End::Cut, self.plan.board.clock.now_ns());
        true
    }

    /// The client of a seat does not come back.
    pub(super) fn give_up_cycles(&self, seat: usize) {
        if let Some(churner) = self.churners.get(&seat) {
            churner.borrow_mut().give_up();
        }
    }

    /// The cycles of a client are due; whether it has any.
    pub(super) fn begin_cycles(&self, seat: usize, due_ns: u64) -> bool {
        let Some(churner) = self.churners.get(&seat) else { return false };
        churner.borrow_mut().begin(due_ns);
        if self.lives.borrow()[seat].is_none() {
            // On its way back, with nothing to ask for but its cycles.
            let state = &mut *self.state.borrow_mut();
            self.seats[seat].range().for_each(|sub| state.rest(sub as usize));
        }
        true
    }

    /// No other cycle of a client begins.
    pub(super) fn stop_cycles(&self, seat: usize) {
        if let Some(churner) = self.churners.get(&seat) {
            churner.borrow_mut().stop();
        }
    }
}
