//! One life of a subscribing connection, from `connection_ack` to its end.
//!
//! It is one poll function that reads, hands messages over and writes in the same poll. Awaiting a write on its own
//! would stop for good with a server that answers everything it is sent. Who opens it again is in `client`.

mod writing;

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures_util::{Sink, Stream as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::cycling::Cycling;
use super::errand::{Errand, Thinking};
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Refusal, Socket};
use super::keepalive::{Beat, PAYLOAD, Pulse};
use super::receive::{Arrival, Under};
use super::seats::Seat;
use super::shard::{Course, Shard};
use super::subs::SubState;
use super::weather::Doom;
use crate::inject::Control;
use crate::ledger::End;
use crate::protocol::graphql_transport_ws::Message as Said;
use crate::protocol::refusal;
use crate::scenarios::plan::DropPoint;

/// A message longer than this has a look at the clock of its own, bytes.
const LONG: usize = 4 << 10;

/// Messages handled in one poll before other connections get their turn.
const BUDGET: usize = 64;

/// Pongs that may wait for room in the socket; a server that floods us with pings gets no more answers than that.
const REPLIES: usize = 64;

/// Set in the ids of operations in the middle of which a connection ends.
const PARTING: u64 = 1 << 60;

/// How an established connection ended.
pub(super) enum Ended {
    /// As ordered.
    ByPlan,
    /// It was taken away, by a fault of ours or because it is dead; who did it has booked it.
    Cut,
    /// It is at the point that a fault of ours has chosen.
    Doomed(Doom),
    /// Otherwise, with what the server said about it.
    Unexpectedly(Refusal),
}

/// How far the answer to what is sent after the last unsubscribe has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not asked for, or given up.
    None,
    /// To be asked for once the last unsubscribe is out.
    Owed,
    /// Asked for.
    Awaited,
    /// It came at this time, ns on the run's axis.
    Came(u64),
}

/// Whose close frame there has been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goodbye {
    Unsaid,
    Ours,
    /// Theirs has arrived, whether or not there was one of ours.
    Theirs,
}

/// An established connection.
pub(super) struct Live {
    seat: Seat,
    socket: Socket,
    waker: Option<Waker>,
    /// Operation id of its first subscription in this life.
    first_id: u64,
    /// Subscriptions whose subscribe was handed to the socket, or which are asked for no more.
    asked: u32,
    /// Of those, flushed.
    flushed: u32,
    /// Subscriptions whose unsubscribe was handed to the socket.
    unasked: u32,
    /// Replies (pongs) that wait for room in the socket.
    replies: Vec<String>,
    answer: Answer,
    /// The server sends pongs that nobody asked for, so that none of them answers anything.
    chatty: bool,
    /// Its own pings, where its group sends any.
    pulse: Option<Box<Pulse>>,
    /// Something was handed to the socket and not flushed.
    dirty: bool,
    goodbye: Goodbye,
    /// The server's close frame, or a violation of ours to report.
    verdict: Option<Box<Refusal>>,
    /// It thinks before its next subscribe.
    thinking: Option<Box<Thinking>>,
    /// What it has thought about, so that it does not think again.
    thought: bool,
    /// It will end in the middle of something.
    errand: Option<Box<Errand>>,
    /// It goes through cycles, now or later.
    pub(super) cycling: Option<Box<Cycling>>,
}

impl Live {
    /// The `life`-th connection of a client, from 0.
    pub(super) fn new(shard: &Shard, seat: Seat, life: u32, socket: Socket) -> Self {
        let mut cycling = Cycling::of(shard, seat.local);
        // Operation ids are never used twice in a run, not even by the next life of the same subscription: each life and
        // each cycle has those of the whole plan once more.
        let cycles = cycling.as_ref().map_or(0, |cycling| cycling.started());
        let incarnation = u64::from(life) + u64::from(cycles);
        let first_id = incarnation * shard.subscriptions + u64::from(seat.first_global) + 1;
        if let Some(cycling) = &mut cycling {
            cycling.begins_with(first_id);
        }
        let keepalive = shard.plan.groups[usize::from(seat.group)].keepalive;
        let pulse = keepalive.map(|policy| Box::new(Pulse::new(policy, shard.plan.board.clock.now_ns())));
        Self {
            seat,
            socket,
            waker: None,
            first_id,
            asked: 0,
            flushed: 0,
            unasked: 0,
            replies: Vec::new(),
            answer: Answer::None,
            chatty: false,
            pulse,
            dirty: false,
            goodbye: Goodbye::Unsaid,
            verdict: None,
            thinking: None,
            thought: false,
            errand: None,
            cycling,
        }
    }

    /// Whose connection it is.
    pub(super) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// Its waker, once it was polled.
    pub(super) fn waker(&self) -> Option<&Waker> {
        self.waker.as_ref()
    }

    /// Whether it can still be cut: neither side has said goodbye.
    pub(super) fn is_open(&self) -> bool {
        self.goodbye == Goodbye::Unsaid
    }

    /// It is to end in the middle of something; whether it takes that on, which it does once.
    pub(super) fn doom(&mut self, doom: Doom) -> bool {
        let takes = self.errand.is_none();
        self.errand.get_or_insert_with(|| Box::new(Errand::of(doom)));
        takes
    }

    /// Every fault has been taken back: whoever has not come to its point is spared.
    fn spare(&mut self) {
        if self.errand.take().is_some() {
            self.control().inspect(|control| control.spare());
        }
    }

    /// What its link is told to do, if a fault may ever act on it.
    pub(super) fn control(&self) -> Option<Rc<Control>> {
        self.socket.get_ref().control().cloned()
    }

    /// The TCP socket underneath.
    pub(super) fn tcp(&self) -> &TcpStream {
        self.socket.get_ref().tcp()
    }

    /// Looks at its pulse, if it has one and neither side has said goodbye.
    pub(super) fn beat(&mut self, now_ns: u64) -> Beat {
        let is_open = self.is_open();
        self.pulse.as_mut().filter(|_| is_open).map_or(Beat::Rest, |pulse| pulse.beat(now_ns))
    }

    /// Gives the socket away.
    pub(super) fn into_socket(self) -> Socket {
        self.socket
    }

    /// Reads, then writes; ready once the connection has ended.
    pub(super) fn poll(&mut self, shard: &Shard, cx: &mut Context<'_>) -> Poll<Ended> {
        if shard.orders.get().healed {
            self.spare();
        }
        if let Some(end) = self.read(shard, cx) {
            return Poll::Ready(end);
        }
        let is_open = self.is_open();
        if let Some(refusal) = self.verdict.take_if(|_| is_open) {
            return Poll::Ready(end(shard, *refusal));
        }
        if let Some(doom) = self.cycle(shard, cx, false) {
            return Poll::Ready(Ended::Doomed(doom));
        }
        if let Err(e) = self.write(shard, cx) {
            let refusal = shard.plan.endpoint.refuse_ws(Stage::Open, &e);
            return Poll::Ready(end(shard, refusal));
        }
        if let Some(doom) = self.at_its_point().or_else(|| self.cycle(shard, cx, true)) {
            return Poll::Ready(Ended::Doomed(doom));
        }
        let is_out = !self.dirty && self.socket.get_ref().has_sent();
        if self.goodbye == Goodbye::Theirs && is_out && !is_ending(shard) {
            // Our answer is out; a server that keeps the TCP connection all the same is not waited for.
            let refusal = self.verdict.take().expect("a close frame leaves its meaning");
            return Poll::Ready(end(shard, *refusal));
        }
        self.remember_waker(cx);
        Poll::Pending
    }

    /// The end that has been planned, once it is time for it.
    fn at_its_point(&self) -> Option<Doom> {
        let errand = self.errand.as_ref().filter(|_| self.is_open())?;
        let cut_short = errand.doom.point == DropPoint::ReceivePartial
            && self.socket.get_ref().control().is_some_and(|control| control.was_cut_short());
        // What it ends in the middle of has to be under way, or it would end before that.
        let is_over = errand.is_over && (!errand.said || self.socket.get_ref().has_sent());
        (is_over || cut_short).then_some(errand.doom)
    }

    fn remember_waker(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }

    /// Reads until nothing is left or the budget is spent.
    fn read(&mut self, shard: &Shard, cx: &mut Context<'_>) -> Option<Ended> {
        let mut now_ns = 0;
        for _ in 0..BUDGET {
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(None) => {
                    let failure = Failure::new(Stage::Open, Reason::Closed);
                    return Some(self.end_of_stream(shard, Refusal { failure, text: String::new() }));
                }
                Poll::Ready(Some(Err(e))) => {
                    let said = shard.plan.endpoint.refuse_ws(Stage::Open, &e);
                    return Some(self.end_of_stream(shard, said));
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            // One clock read per readiness batch: reading it costs more than recording a latency. A long message takes
            // longer than both, and the next would seem to have come before it did.
            if now_ns == 0 || message.len() > LONG {
                now_ns = shard.plan.board.clock.now_ns();
                if let Some(pulse) = &mut self.pulse {
                    pulse.heard(now_ns);
                }
            }
            self.on_message(shard, message, now_ns);
        }
        cx.waker().wake_by_ref();
        None
    }

    fn end_of_stream(&mut self, shard: &Shard, said: Refusal) -> Ended {
        end(shard, self.verdict.take().map_or(said, |verdict| *verdict))
    }

    fn on_message(&mut self, shard: &Shard, message: Message, now_ns: u64) {
        match message {
            Message::Text(text) => self.on_text(shard, &text, now_ns),
            // The library has queued the answer; it goes out with the next flush.
            Message::Ping(_) => self.dirty = true,
            Message::Close(frame) => {
                self.dirty = true;
                self.goodbye = Goodbye::Theirs;
                if !is_ending(shard) {
                    // From here on nothing can be owed to it.
                    shard.notice_end(&self.seat);
                    let ours = shard.climate.is_our_doing(self.seat.local);
                    shard.end_life(self.seat.range(), if ours { End::Cut } else { End::Died });
                }
                let refusal = shard.plan.endpoint.refuse_close(Stage::Open, frame.as_ref());
                self.verdict = Some(Box::new(refusal));
            }
            Message::Binary(_) => self.violation(shard, ""),
            Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    fn reply(&mut self, shard: &Shard, payload: Option<&str>) {
        if self.replies.len() < REPLIES {
            let mut pong = String::new();
            shard.plan.endpoint.dialect.pong(payload, &mut pong);
            self.replies.push(pong);
        }
    }

    fn violation(&mut self, shard: &Shard, text: &str) {
        let text = shard.plan.endpoint.foreign(text);
        let failure = Failure::new(Stage::Open, Reason::InvalidMessage);
        self.verdict.get_or_insert_with(|| Box::new(Refusal { failure, text }));
    }

    fn on_text(&mut self, shard: &Shard, text: &str, now_ns: u64) {
        let decoded = shard.plan.endpoint.dialect.decode(text);
        match decoded {
            Ok(Said::Next { id, payload, errors, .. }) => match self.under(shard, id) {
                Some((k, under)) => {
                    let arrival = self.arrival(k, under, now_ns);
                    let events = shard.received(arrival, payload, errors.then_some(text));
                    self.errand.iter_mut().filter(|_| events).for_each(|errand| errand.received());
                    if events && under == Under::Present {
                        self.cycling.iter_mut().for_each(|cycling| cycling.received());
                    }
                }
                // The victim of a fault subscribed once more, in its last moment.
                None if self.is_parting(id) => {}
                None => self.violation(shard, text),
            },
            Ok(Said::Error { id, errors }) => {
                self.refused_subscription(shard, id, Reason::Error, &refusal(errors));
            }
            Ok(Said::Complete { id }) => self.refused_subscription(shard, id, Reason::Complete, ""),
            Ok(Said::Ping { payload }) => self.reply(shard, payload),
            Ok(Said::Pong { payload }) => self.on_pong(shard, payload, now_ns),
            Ok(Said::Ack) | Err(_) => self.violation(shard, text),
        }
    }

    fn arrival(&self, k: u32, under: Under, at_ns: u64) -> Arrival {
        let of_cycle = || self.cycling.as_ref().and_then(|cycling| cycling.answered(0));
        let answered_ns = if let Answer::Came(at) = self.answer { Some(at) } else { of_cycle() };
        Arrival { sub: self.seat.first_sub + k, under, at_ns, answered_ns }
    }

    /// Whether all subscribes and unsubscribes that there are to be have left.
    pub(super) fn has_said_all(&self) -> bool {
        let unsubscribes = self.cycling.as_ref().is_some_and(|cycling| cycling.is_leaving());
        let asked = if unsubscribes { self.unasked >= self.asked } else { self.asked >= self.seat.subs };
        asked && !self.dirty && self.socket.get_ref().has_sent()
    }

    /// How many of its subscriptions were asked for under the present ids.
    pub(super) fn asked_for(&self) -> usize {
        self.asked as usize
    }

    /// The next ids, under which nothing has been asked for; `apart`: as far as those of one incarnation reach.
    pub(super) fn renew_ids(&mut self, apart: u64) {
        self.first_id += apart;
        (self.asked, self.flushed, self.unasked) = (0, 0, 0);
    }

    /// The first of the present ids, and how many there are.
    pub(super) fn ids_in_use(&self) -> (u64, u64) {
        (self.first_id, self.seat.subs.into())
    }

    fn state_of(&self, shard: &Shard, k: u32) -> SubState {
        shard.state.borrow().subs[(self.seat.first_sub + k) as usize].state
    }

    fn refused_subscription(&mut self, shard: &Shard, id: u64, reason: Reason, text: &str) {
        if self.is_parting(id) {
            return;
        }
        let index = match self.under(shard, id) {
            Some((k, Under::Present)) => self.seat.first_sub + k,
            // The answer to an unsubscribe of ours.
            Some((_, Under::Earlier { .. })) => return,
            None => return self.violation(shard, text),
        };
        let sub = shard.state.borrow().subs[index as usize];
        let stage = match sub.state {
            // Asked for in a write that is not flushed to its end yet.
            SubState::Idle if index < self.seat.first_sub + self.asked => Stage::Confirm,
            SubState::Waiting => Stage::Confirm,
            SubState::Active => Stage::Open,
            // The answer to our own unsubscribe, or to one that was given up.
            SubState::Idle | SubState::Failed | SubState::Unsubscribed | SubState::Ended => return,
        };
        shard.refused_delivery(reason, text);
        let text = shard.plan.endpoint.foreign(text);
        shard.end_subscription(index, End::Died);
        let (failure, sight) = (Failure::new(stage, reason), shard.sight(&self.seat));
        let mut state = shard.state.borrow_mut();
        state.cohorts[usize::from(sub.cohort)].failures.add(failure, &text, sight);
    }

    /// Id of the operation in the middle of which it ends; above all of the plan, and another one in each life.
    fn parting_id(&self) -> u64 {
        PARTING | self.first_id
    }

    fn is_parting(&self, id: u64) -> bool {
        self.errand.is_some() && id == self.parting_id()
    }

    /// The server must answer once everything it was told before has been done.
    pub(super) fn expect_answer(&mut self, shard: &Shard) {
        if self.is_open() && self.answer == Answer::None {
            self.answer = Answer::Owed;
            shard.state.borrow_mut().unanswered += 1;
        }
    }

    /// Expects no answer any more; whether one was owed.
    pub(super) fn forgo_answer(&mut self, shard: &Shard) -> bool {
        let owed = matches!(self.answer, Answer::Owed | Answer::Awaited);
        if owed {
            self.answer = Answer::None;
            shard.state.borrow_mut().unanswered -= 1;
        }
        owed
    }

    /// The payload of our ping, which no other ping has: one at most for the present ids, and one at the end of the run.
    fn question(&self) -> String {
        let last = if self.answer == Answer::None { "" } else { r#","last":1"# };
        format!(r#"{{"stressctl":{}{last}}}"#, self.first_id)
    }

    fn on_pong(&mut self, shard: &Shard, payload: Option<&str>, now_ns: u64) {
        let question = self.question();
        if self.pulse.as_mut().is_some_and(|pulse| pulse.takes(payload, &question)) {
            return;
        }
        let of_cycle = self.cycling.as_ref().is_some_and(|cycling| cycling.awaits());
        if self.answer != Answer::Awaited && !of_cycle {
            self.chatty = true;
            return;
        }
        // Pongs need not repeat what they answer. From a server that sends them unasked, one that does not proves
        // nothing, and the answer is still waited for.
        if self.chatty && payload != Some(question.as_str()) {
            return;
        }
        if of_cycle && self.answer != Answer::Awaited {
            return self.cycle_answered(shard, now_ns);
        }
        self.forgo_answer(shard);
        self.answer = Answer::Came(now_ns);
        let state = &mut *shard.state.borrow_mut();
        let mine = self.seat.range().map(|index| index as usize);
        for index in mine.filter(|index| state.subs[*index].state == SubState::Unsubscribed) {
            state.ledger.unsubscribe_answered(index);
        }
    }
}

fn is_ending(shard: &Shard) -> bool {
    shard.course() >= Course::Close
}

fn end(shard: &Shard, refusal: Refusal) -> Ended {
    // A server may say goodbye to a connection that has nothing subscribed any more.
    let goodbye = matches!(refusal.failure.reason, Reason::CloseCode(1000 | 1001));
    let unsubscribed = shard.course() >= Course::Unsubscribe;
    if is_ending(shard) || (unsubscribed && goodbye) { Ended::ByPlan } else { Ended::Unexpectedly(refusal) }
}

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;
