//! One subscribing connection, from its connect call to its end.
//!
//! After the handshake the connection is one poll function that reads, hands messages over and writes in the same
//! poll. Awaiting a write on its own would stop for good with a server that answers everything it is sent.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream as _};
use tokio::sync::OwnedSemaphorePermit;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::failure::{Failure, Reason, Stage};
use super::handshake::{Refusal, Socket, Stages};
use super::seats::Seat;
use super::shard::{Course, Shard, State, Sub, SubState};
use crate::ledger::{End, Found, Kind, Receipt, Token, find};
use crate::protocol::graphql_transport_ws::Message as Said;
use crate::protocol::refusal;

/// Messages handled in one poll before other connections get their turn.
const BUDGET: usize = 64;

/// Pongs that may wait for room in the socket; a server that floods us with pings gets no more answers than that.
const REPLIES: usize = 64;

/// Opens the connection, lives it, and books its end.
pub(super) async fn connection(shard: Rc<Shard>, seat: Seat, permit: Option<OwnedSemaphorePermit>) {
    // Boxed: the handshake's state is several KiB and is needed only once.
    let opened = shard.handshakes.clone().run_until_cancelled_owned(Box::pin(open(&shard, seat))).await;
    drop(permit);
    let socket = match opened {
        Some(Ok((socket, stages))) => {
            shard.established(seat, &stages);
            socket
        }
        Some(Err(refusal)) => return shard.refused(seat, &refusal),
        None => return shard.cancelled(seat),
    };
    let mut live = Live::new(Rc::clone(&shard), seat, socket);
    let end = poll_fn(|cx| live.poll(cx)).await;
    live.book(&end);
}

async fn open(shard: &Shard, seat: Seat) -> Result<(Socket, Stages), Refusal> {
    let board = &shard.plan.board;
    let at = board.clock.now_ns();
    {
        let group = &mut shard.state.borrow_mut().groups[usize::from(seat.group)];
        group.attempted += 1;
        group.requested += u64::from(seat.subs);
        group.offer(usize::from(seat.wave), at);
    }
    let _handshaking = Handshaking::of(shard);
    shard.plan.endpoint.open().await
}

/// Counts a connection as handshaking for as long as it lives, however it ends.
struct Handshaking<'a>(&'a Shard);

impl<'a> Handshaking<'a> {
    fn of(shard: &'a Shard) -> Self {
        shard.plan.board.handshaking.up();
        Self(shard)
    }
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.plan.board.handshaking.down();
    }
}

impl Drop for Live {
    /// A connection that is dropped because the run is over has ended by plan, though without its goodbyes.
    fn drop(&mut self) {
        if !self.booked && !std::thread::panicking() {
            self.book(&Ended::ByPlan);
        }
    }
}

/// How an established connection ended.
enum Ended {
    /// As ordered.
    ByPlan,
    /// Otherwise, with what the server said about it.
    Unexpectedly(Refusal),
}

impl Shard {
    fn established(&self, seat: Seat, stages: &Stages) {
        self.plan.board.open.up();
        let mut state = self.state.borrow_mut();
        state.resolved += 1;
        state.groups[usize::from(seat.group)].established += 1;
        state.latency.connect.record(stages.total());
        state.latency.tcp.record(stages.tcp);
        if let Some(tls) = stages.tls {
            state.latency.tls.record(tls);
        }
        state.latency.upgrade.record(stages.upgrade);
        state.latency.init.record(stages.init);
    }

    fn refused(&self, seat: Seat, refusal: &Refusal) {
        {
            let mut state = self.state.borrow_mut();
            state.resolved += 1;
            state.groups[usize::from(seat.group)].failures.add(refusal.failure, &refusal.text);
        }
        self.end_subscriptions(seat.range(), End::Died);
    }

    fn cancelled(&self, seat: Seat) {
        {
            let mut state = self.state.borrow_mut();
            state.resolved += 1;
            state.groups[usize::from(seat.group)].cancelled += 1;
        }
        self.end_subscriptions(seat.range(), End::Died);
    }

    fn ended(&self, seat: Seat, end: &Ended) {
        self.plan.board.open.down();
        self.end_subscriptions(seat.range(), End::Died);
        let mut state = self.state.borrow_mut();
        state.wakers[seat.local] = None;
        let group = &mut state.groups[usize::from(seat.group)];
        match end {
            Ended::ByPlan => group.dropped_by_plan += 1,
            Ended::Unexpectedly(refusal) => {
                group.dropped_unexpectedly += 1;
                group.failures.add(refusal.failure, &refusal.text);
            }
        }
    }
}

/// An established connection.
struct Live {
    shard: Rc<Shard>,
    seat: Seat,
    socket: Socket,
    /// Subscriptions whose subscribe was handed to the socket.
    asked: u32,
    /// Of those, flushed.
    flushed: u32,
    /// Subscriptions whose unsubscribe was handed to the socket.
    unasked: u32,
    /// Something was handed to the socket and not flushed.
    dirty: bool,
    /// Replies (pongs) that wait for room in the socket.
    replies: Vec<String>,
    closing: bool,
    /// The server's close frame has arrived.
    closed_by_server: bool,
    booked: bool,
    /// The server's close frame, or a violation of ours to report.
    verdict: Option<Refusal>,
}

impl Live {
    fn new(shard: Rc<Shard>, seat: Seat, socket: Socket) -> Self {
        Self {
            shard,
            seat,
            socket,
            asked: 0,
            flushed: 0,
            unasked: 0,
            dirty: false,
            replies: Vec::new(),
            closing: false,
            closed_by_server: false,
            booked: false,
            verdict: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if let Some(end) = self.read(cx) {
            return Poll::Ready(end);
        }
        if let Some(refusal) = self.verdict.take_if(|_| !self.closing) {
            return Poll::Ready(self.end(refusal));
        }
        if let Err(e) = self.write(cx) {
            let refusal = self.shard.plan.endpoint.refuse_ws(Stage::Open, &e);
            return Poll::Ready(self.end(refusal));
        }
        if self.closed_by_server && !self.dirty && !self.is_ending() {
            // Our answer is out; a server that keeps the TCP connection all the same is not waited for.
            let refusal = self.verdict.take().expect("a close frame leaves its meaning");
            return Poll::Ready(self.end(refusal));
        }
        self.remember_waker(cx);
        Poll::Pending
    }

    fn is_ending(&self) -> bool {
        self.shard.course.get() >= Course::Close
    }

    fn book(&mut self, end: &Ended) {
        self.booked = true;
        self.shard.ended(self.seat, end);
    }

    fn end(&self, refusal: Refusal) -> Ended {
        // A server may say goodbye to a connection that has nothing subscribed any more.
        let goodbye = matches!(refusal.failure.reason, Reason::CloseCode(1000 | 1001));
        let unsubscribed = self.shard.course.get() >= Course::Unsubscribe;
        if self.is_ending() || (unsubscribed && goodbye) {
            Ended::ByPlan
        } else {
            Ended::Unexpectedly(refusal)
        }
    }

    fn remember_waker(&self, cx: &Context<'_>) {
        let slot = &mut self.shard.state.borrow_mut().wakers[self.seat.local];
        if !slot.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
    }

    /// Reads until nothing is left or the budget is spent.
    fn read(&mut self, cx: &mut Context<'_>) -> Option<Ended> {
        let mut now_ns = 0;
        for _ in 0..BUDGET {
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(None) => {
                    let closed = Refusal { failure: self.failure(Reason::Closed), text: String::new() };
                    let refusal = self.verdict.take().unwrap_or(closed);
                    return Some(self.end(refusal));
                }
                Poll::Ready(Some(Err(e))) => {
                    let said = self.shard.plan.endpoint.refuse_ws(Stage::Open, &e);
                    let refusal = self.verdict.take().unwrap_or(said);
                    return Some(self.end(refusal));
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            // One clock read per readiness batch: reading it costs more than recording a latency.
            if now_ns == 0 {
                now_ns = self.shard.plan.board.clock.now_ns();
            }
            self.on_message(message, now_ns);
        }
        cx.waker().wake_by_ref();
        None
    }

    fn failure(&self, reason: Reason) -> Failure {
        Failure::new(Stage::Open, reason)
    }

    fn on_message(&mut self, message: Message, now_ns: u64) {
        match message {
            Message::Text(text) => self.on_text(&text, now_ns),
            // The library has queued the answer; it goes out with the next flush.
            Message::Ping(_) => self.dirty = true,
            Message::Close(frame) => {
                self.dirty = true;
                self.closing = true;
                self.closed_by_server = true;
                if !self.is_ending() {
                    // From here on nothing can be owed to it.
                    self.shard.end_subscriptions(self.seat.range(), End::Died);
                }
                let endpoint = &self.shard.plan.endpoint;
                self.verdict = Some(endpoint.refuse_close(Stage::Open, frame.as_ref()));
            }
            Message::Binary(_) => self.violation(""),
            Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    fn reply(&mut self, payload: Option<&str>) {
        if self.replies.len() < REPLIES {
            let mut pong = String::new();
            self.shard.plan.endpoint.dialect.pong(payload, &mut pong);
            self.replies.push(pong);
        }
    }

    fn violation(&mut self, text: &str) {
        let text = self.shard.plan.endpoint.foreign(text);
        self.verdict
            .get_or_insert(Refusal { failure: Failure::new(Stage::Open, Reason::InvalidMessage), text });
    }

    fn on_text(&mut self, text: &str, now_ns: u64) {
        let shard = Rc::clone(&self.shard);
        let decoded = shard.plan.endpoint.dialect.decode(text);
        match decoded {
            Ok(Said::Next { id, payload, errors, .. }) => match self.sub_of(id) {
                Some(sub) => shard.received(sub, payload, errors, now_ns),
                None => self.violation(text),
            },
            Ok(Said::Error { id, errors }) => self.refused_subscription(id, Reason::Error, &refusal(errors)),
            Ok(Said::Complete { id }) => self.refused_subscription(id, Reason::Complete, ""),
            Ok(Said::Ping { payload }) => self.reply(payload),
            Ok(Said::Pong { .. }) => {}
            Ok(Said::Ack) | Err(_) => self.violation(text),
        }
    }

    /// Operation ids are the plan's subscription numbers plus one, so they are never reused in a run.
    fn sub_of(&self, id: u64) -> Option<u32> {
        let k = id.checked_sub(u64::from(self.seat.first_global) + 1)?;
        (k < u64::from(self.seat.subs)).then(|| self.seat.first_sub + k as u32)
    }

    fn refused_subscription(&mut self, id: u64, reason: Reason, text: &str) {
        let Some(index) = self.sub_of(id) else { return self.violation(text) };
        let sub = self.shard.state.borrow().subs[index as usize];
        let stage = match sub.state {
            // Asked for in a write that is not flushed to its end yet.
            SubState::Idle if index < self.seat.first_sub + self.asked => Stage::Confirm,
            SubState::Waiting => Stage::Confirm,
            SubState::Active => Stage::Open,
            // The answer to our own unsubscribe, or to one that was given up.
            SubState::Idle | SubState::Failed | SubState::Ended => return,
        };
        let text = self.shard.plan.endpoint.foreign(text);
        self.shard.end_subscriptions(index..index + 1, End::Died);
        let mut state = self.shard.state.borrow_mut();
        state.groups[usize::from(sub.group)].failures.add(Failure::new(stage, reason), &text);
    }

    /// Hands over everything the orders ask for, as far as the socket takes it, and flushes once.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        while self.pending_write() && Pin::new(&mut self.socket).poll_ready(cx)?.is_ready() {
            let message = self.next_write();
            Pin::new(&mut self.socket).start_send(message)?;
            self.dirty = true;
        }
        if self.dirty && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.dirty = false;
            self.on_flushed();
        }
        Ok(())
    }

    fn pending_write(&self) -> bool {
        if self.closing {
            return false;
        }
        let course = self.shard.course.get();
        !self.replies.is_empty()
            || (course == Course::Run && self.asked < self.seat.subs)
            || (course >= Course::Unsubscribe && self.unasked < self.asked)
            || course >= Course::Close
    }

    fn next_write(&mut self) -> Message {
        let dialect = &self.shard.plan.endpoint.dialect;
        let board = &self.shard.plan.board;
        let course = self.shard.course.get();
        let id = |k: u32| u64::from(self.seat.first_global) + 1 + u64::from(k);
        let mut text = String::new();
        if let Some(reply) = self.replies.pop() {
            text = reply;
        } else if course == Course::Run {
            let sub = self.shard.state.borrow().subs[(self.seat.first_sub + self.asked) as usize];
            let channel = board.channel_name(sub.channel);
            dialect.subscribe(id(self.asked), &channel, self.seat.connection, &mut text);
            self.asked += 1;
        } else if self.unasked < self.asked {
            let index = self.seat.first_sub + self.unasked;
            dialect.complete(id(self.unasked), &mut text);
            self.unasked += 1;
            self.shard.end_subscriptions(index..index + 1, End::Unsubscribed);
        } else {
            self.closing = true;
            return Message::Close(Some(CloseFrame {
                code: CloseCode::Normal,
                reason: Utf8Bytes::default(),
            }));
        }
        Message::text(text)
    }

    /// From here on a probe proves the subscriptions that were just flushed.
    fn on_flushed(&mut self) {
        if self.flushed == self.asked {
            return;
        }
        let board = &self.shard.plan.board;
        let now = board.clock.now_ns();
        let mut state = self.shard.state.borrow_mut();
        for k in self.flushed..self.asked {
            let sub = &mut state.subs[(self.seat.first_sub + k) as usize];
            if sub.state == SubState::Idle {
                sub.state = SubState::Waiting;
                sub.flushed_ns = now;
                board.waiting[sub.channel as usize].fetch_add(1, Relaxed);
            }
        }
        self.flushed = self.asked;
    }
}

impl Shard {
    /// Books what one `next` message carried.
    fn received(&self, index: u32, payload: &str, errors: bool, now_ns: u64) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if errors {
            let group = usize::from(state.subs[index as usize].group);
            state.groups[group].errors_in_next += 1;
        }
        let mut empty = true;
        for found in find(payload) {
            empty = false;
            match found {
                Found::Intact(token) if matches!(token.kind, Kind::Probe | Kind::Census) => {
                    self.on_probe(state, index, &token, now_ns);
                }
                // A damaged probe has no obligation to be held against, but damage it is.
                Found::Damaged(token) if token.kind != Kind::Event => {
                    self.on_event(state, index, &Found::Broken, now_ns);
                }
                found => self.on_event(state, index, &found, now_ns),
            }
        }
        if empty && !errors {
            // A message that should carry an event and carries nothing recognisable.
            self.on_event(state, index, &Found::Broken, now_ns);
        }
    }

    fn on_event(&self, state: &mut State, index: u32, found: &Found, now_ns: u64) {
        let sub = index as usize;
        let (due_ns, sent_ns) = match found {
            Found::Intact(t) | Found::Damaged(t) => (t.due_ns, t.sent_ns),
            Found::Broken => (now_ns, now_ns),
        };
        let phase = self.plan.board.phase_of(due_ns);
        state.receipts += 1;
        state.ledger.count_receipt(sub, phase);
        if let Receipt::First { owed, .. } = state.ledger.receive(sub, found, now_ns, phase) {
            state.satisfied += u64::from(owed);
            let group = usize::from(state.subs[sub].group);
            let since_us = |ns: u64| now_ns.saturating_sub(ns) / 1_000;
            state.latency.deliver(group, phase, since_us(due_ns), since_us(sent_ns));
        }
    }

    fn on_probe(&self, state: &mut State, index: u32, token: &Token, now_ns: u64) {
        let board = &self.plan.board;
        let sub: &mut Sub = &mut state.subs[index as usize];
        if token.run != board.run {
            // Another run's: the ledger names it as it would an event.
            let token = Token { kind: Kind::Event, ..*token };
            return self.on_event(state, index, &Found::Intact(token), now_ns);
        }
        if token.channel != sub.channel {
            let phase = board.phase_of(token.due_ns);
            state.receipts += 1;
            state.ledger.count_receipt(index as usize, phase);
            state.ledger.receive_stray(index as usize, token, Receipt::Misrouted, now_ns, phase);
            return;
        }
        let group = &mut state.groups[usize::from(sub.group)];
        group.probes_delivered += 1;
        if sub.first_probe == 0 {
            sub.first_probe = token.seq as u32 + 1;
        }
        sub.probes += 1;
        if sub.state == SubState::Waiting && token.sent_ns >= sub.flushed_ns {
            sub.state = SubState::Active;
            state.ledger.confirm(index as usize);
            board.active.up();
            board.waiting[sub.channel as usize].fetch_sub(1, Relaxed);
            state.settled += 1;
            group.confirmed += 1;
            let took = Duration::from_nanos(now_ns.saturating_sub(sub.flushed_ns));
            state.latency.subscribe.record(took);
        }
        let census = token.epoch;
        let fresh = token.kind == Kind::Census && sub.state == SubState::Active && sub.census != census;
        if fresh && board.census.hold(census) {
            sub.census = census;
        }
    }
}
