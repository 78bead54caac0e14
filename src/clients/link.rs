//! Publishing over a WebSocket: one connection, one poll function that reads acknowledgements and writes events.

mod writing;

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Sink, Stream as _};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error as WsError, Message, Utf8Bytes};

use super::desk::{Desk, PublisherSeat, Unanswered};
use super::errand::Errand;
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Refusal, Socket};
use super::in_flight::InFlight;
use super::presence::Lost;
use super::sabotage::Order;
use super::source::{Line, Next, Outgoing, Source, What};
use super::timer::PreciseTimer;
use super::weather::Doom;
use crate::inject::{Control, partition};
use crate::protocol::graphql_transport_ws::Message as Said;
use crate::protocol::refusal;
use crate::scenarios::plan::{DropPoint, How};

/// Messages read or written in one poll before others get their turn. The set of tasks polls one that wakes itself up
/// to 61 times before it looks at sockets and timers again, so this is less than it seems.
const BUDGET: usize = 32;

/// Pongs that may wait for room in the socket; a server that floods us with pings gets no more answers than that.
const REPLIES: usize = 64;

/// After so much silence of ours a ping says that we are there: servers close what says nothing for minutes.
const SILENCE_NS: u64 = 60_000_000_000;

/// How long the server may take to answer our close.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// Publishes what the source says until closing is ordered. A connection that is lost is made again, and what came due
/// meanwhile is sent late.
pub(super) async fn run(desk: Rc<Desk>, seat: PublisherSeat, mut source: Source) {
    let mut first_id = seat.first_id;
    while let Err(lost) = life(&desk, seat, &mut source, &mut first_id).await {
        desk.forget_orders(seat.index);
        let again = match lost {
            Lost::Refused(refusal) => desk.comes_back(seat, &source, &refusal).await,
            Lost::Cut => desk.comes_back_after_cut(seat, &source).await,
            Lost::Aborted => desk.comes_back_after_abort(seat, &source).await,
        };
        if !again {
            return;
        }
    }
}

/// One connection, from its connect call until closing is ordered.
async fn life(
    desk: &Rc<Desk>,
    seat: PublisherSeat,
    source: &mut Source,
    first_id: &mut u64,
) -> Result<(), Lost> {
    desk.attempted(seat);
    let timer = PreciseTimer::new().map_err(|e| {
        Lost::Refused(Refusal { failure: Failure::from_io(Stage::Tcp, &e), text: e.to_string() })
    })?;
    let opening = desk.climate.opening(seat.index);
    let opened = desk.meanwhile(seat, source, desk.endpoint.open_as(&opening)).await;
    let (socket, _) = match opened {
        None => return Ok(()),
        Some(Ok(opened)) => opened,
        Some(Err(refusal)) => return Err(desk.refused_connection(seat, refusal)),
    };
    desk.ready(seat);
    source.connected();
    let mut link = Link {
        desk: Rc::clone(desk),
        seat,
        source,
        socket: Some(socket),
        in_flight: InFlight::new(*first_id),
        timer,
        unflushed: 0,
        dirty: false,
        blocked: false,
        // What came due before there was this connection is not late because of us.
        unblocked_ns: desk.board.clock.now_ns(),
        said_ns: desk.board.clock.now_ns(),
        replies: Vec::new(),
        closing: false,
        said: None,
        text: String::new(),
        payload: Vec::new(),
        wound_up: false,
        doomed: None,
    };
    let end = poll_fn(|cx| link.poll(cx)).await;
    // Ids are not used again on another connection either.
    *first_id = link.in_flight.next_id();
    // What a fault of ours holds or cuts has no answer because of it.
    let by_plan = matches!(end, Err(End::Cut(_))) || desk.climate.is_our_doing(seat.index);
    link.wind_up(if by_plan { Unanswered::ByPlan } else { Unanswered::Gone });
    let end = match end {
        Ok(()) => Ok(()),
        Err(End::Cut(how)) => {
            let socket = link.socket.take().expect("it is taken here alone");
            desk.see_off(seat, socket, how);
            return Err(Lost::Cut);
        }
        Err(End::Lost(_)) if by_plan => return Err(Lost::Cut),
        Err(End::Lost(refusal)) => Err(Lost::Refused(refusal)),
    };
    if end.is_ok() {
        drop(tokio::time::timeout(CLOSE_WAIT, poll_fn(|cx| link.poll_closed(cx))).await);
    }
    end
}

/// How a connection ends before closing is ordered.
enum End {
    Lost(Refusal),
    Cut(How),
}

/// A publish that waits for its acknowledgement.
struct Sent {
    what: What,
    sent_ns: u64,
}

struct Link<'a> {
    desk: Rc<Desk>,
    seat: PublisherSeat,
    source: &'a mut Source,
    /// There until the connection is cut.
    socket: Option<Socket>,
    in_flight: InFlight<Sent>,
    timer: PreciseTimer,
    /// Messages handed over since the last flush began.
    unflushed: u32,
    dirty: bool,
    /// The socket does not take what it was given.
    blocked: bool,
    /// When it took everything again: until then what was due is late because of the target, from then on because
    /// of us.
    unblocked_ns: u64,
    /// When something was said last.
    said_ns: u64,
    replies: Vec<String>,
    closing: bool,
    said: Option<Refusal>,
    text: String,
    payload: Vec<u8>,
    /// What is left over has been booked.
    wound_up: bool,
    /// It is to end at a point, and whether it has said what it will end in.
    doomed: Option<(Errand, How)>,
}

/// A connection that is given up in the middle of a write leaves publishes without an answer, too.
impl Drop for Link<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.wind_up(Unanswered::Gone);
        }
    }
}

impl Link<'_> {
    /// Books what was sent and never answered.
    fn wind_up(&mut self, why: Unanswered) {
        if std::mem::replace(&mut self.wound_up, true) {
            return;
        }
        for entry in self.in_flight.drain() {
            self.desk.unknown(self.seat, entry.what, why);
        }
    }

    /// Runs until the connection ends or everything is said and closing was ordered.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        if self.desk.orders.get().stop && self.doomed.take().is_some() {
            // Every fault has been taken back: whoever has not come to its point is spared.
            self.control().inspect(|control| control.spare());
        }
        if let Some(how) = self.obey() {
            return Poll::Ready(Err(End::Cut(how)));
        }
        if let Some(refusal) = self.read(cx) {
            return Poll::Ready(Err(End::Lost(refusal)));
        }
        if let Err(e) = self.write(cx) {
            let said = self.last_words(cx);
            let lost = said.unwrap_or_else(|| self.desk.endpoint.refuse_ws(Stage::Open, &e));
            return Poll::Ready(Err(End::Lost(lost)));
        }
        if let Some(how) = self.is_at_its_point() {
            return Poll::Ready(Err(End::Cut(how)));
        }
        let is_done = !self.dirty && self.source.is_done(&self.desk.orders.get());
        self.desk.follow(self.seat, is_done, cx.waker());
        if self.closing && !self.dirty { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn socket(&mut self) -> Pin<&mut Socket> {
        Pin::new(self.socket.as_mut().expect("a connection that was cut is not polled again"))
    }

    /// Does what a fault orders; how the connection is to be ended, if at once.
    fn obey(&mut self) -> Option<How> {
        while let Some(order) = self.desk.next_order(self.seat.index) {
            match order {
                Order::Cut { fault, due_ns, how } => {
                    self.desk.note_cut(fault, due_ns, None);
                    return Some(how);
                }
                Order::Doom(Doom { point: DropPoint::Connect | DropPoint::Init, .. }, how) => {
                    // The attempt that follows is the one that is counted.
                    return Some(how);
                }
                Order::Doom(doom, how) => {
                    if self.doomed.is_none() && doom.point == DropPoint::ReceivePartial {
                        self.control().inspect(|control| control.cut_short());
                    }
                    self.doomed.get_or_insert((Errand::of(doom), how));
                }
                Order::Partition(on) => {
                    let tcp = self.socket().get_mut().get_ref().tcp();
                    // It was found out before the run that it is allowed; what blocks writing is set already.
                    let _ = if on { partition::attach(tcp) } else { partition::detach(tcp) };
                }
            }
        }
        None
    }

    fn control(&self) -> Option<Rc<Control>> {
        self.socket.as_ref()?.get_ref().control().cloned()
    }

    /// How the connection is to be ended now that it is in the middle of what was chosen.
    fn is_at_its_point(&mut self) -> Option<How> {
        let (errand, how) = self.doomed?;
        let partial = errand.doom.point == DropPoint::ReceivePartial;
        let cut_short = partial && self.control().is_some_and(|control| control.was_cut_short());
        // What it ends in the middle of has to be under way, or it would end before that.
        let has_sent = self.socket.as_ref().is_none_or(|socket| socket.get_ref().has_sent());
        let is_there = cut_short || (errand.is_over && (!errand.said || has_sent));
        is_there.then(|| {
            self.desk.note_cut(errand.doom.fault, errand.doom.due_ns, Some(errand.doom.point));
            how
        })
    }

    /// After our close frame: reads until the server has closed.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.socket().poll_next(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Option<Refusal> {
        let mut now_ns = 0;
        for _ in 0..BUDGET {
            let message = match self.socket().poll_next(cx) {
                Poll::Pending => return self.said.take_if(|s| s.failure.reason == Reason::InvalidMessage),
                Poll::Ready(None) => return Some(self.said.take().unwrap_or_else(|| open(Reason::Closed))),
                Poll::Ready(Some(Err(e))) => {
                    let other = self.desk.endpoint.refuse_ws(Stage::Open, &e);
                    return Some(self.said.take().unwrap_or(other));
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            if now_ns == 0 {
                now_ns = self.desk.board.clock.now_ns();
            }
            self.on_message(&message, now_ns);
        }
        cx.waker().wake_by_ref();
        None
    }

    /// After a write that failed: what the server gave as its reason, if it did. It may have closed in the middle of a
    /// large message, and then its close frame waits behind the error.
    fn last_words(&mut self, cx: &mut Context<'_>) -> Option<Refusal> {
        for _ in 0..BUDGET {
            if self.said.is_some() {
                break;
            }
            let Poll::Ready(Some(Ok(message))) = self.socket().poll_next(cx) else { break };
            self.on_message(&message, self.desk.board.clock.now_ns());
        }
        self.said.take()
    }

    fn on_message(&mut self, message: &Message, now_ns: u64) {
        match message {
            Message::Text(text) => self.on_text(text, now_ns),
            Message::Ping(_) => self.dirty = true,
            Message::Close(frame) => {
                self.dirty = true;
                self.said = Some(self.desk.endpoint.refuse_close(Stage::Open, frame.as_ref()));
            }
            Message::Binary(_) => self.said = Some(open(Reason::InvalidMessage)),
            Message::Pong(_) | Message::Frame(_) => {}
        }
    }

    fn on_text(&mut self, text: &str, now_ns: u64) {
        let desk = Rc::clone(&self.desk);
        match desk.endpoint.dialect.decode(text) {
            // The result of a mutation; `complete` follows and says nothing new.
            Ok(Said::Next { id, errors: false, .. }) => {
                self.doomed.iter_mut().for_each(|(errand, _)| errand.received());
                if let Some(sent) = self.settle(id, now_ns) {
                    desk.acked(self.seat, sent.what, sent.sent_ns, now_ns);
                }
            }
            Ok(Said::Next { id, errors: true, payload, .. }) => self.refused(id, payload, now_ns),
            Ok(Said::Error { id, errors }) => self.refused(id, &refusal(errors), now_ns),
            Ok(Said::Complete { id }) => {
                if self.in_flight.get_mut(id).is_some() {
                    self.refused(id, "complete without a result", now_ns);
                }
            }
            Ok(Said::Ping { payload }) => self.reply(payload),
            Ok(Said::Pong { .. } | Said::Ack) => {}
            Err(_) => {
                let text = desk.endpoint.foreign(text);
                let failure = Failure::new(Stage::Open, Reason::InvalidMessage);
                self.said = Some(Refusal { failure, text });
            }
        }
    }

    fn ping(&mut self, now_ns: u64) {
        self.said_ns = now_ns;
        let mut ping = String::new();
        self.desk.endpoint.dialect.ping("{}", &mut ping);
        self.replies.push(ping);
    }

    fn reply(&mut self, payload: Option<&str>) {
        if self.replies.len() < REPLIES {
            let mut pong = String::new();
            self.desk.endpoint.dialect.pong(payload, &mut pong);
            self.replies.push(pong);
        }
    }

    /// Takes out what was answered, and tells the source; `None`: its answer had been given up.
    fn settle(&mut self, id: u64, now_ns: u64) -> Option<Sent> {
        let sent = self.in_flight.settle(id)?;
        self.source.answered(sent.what, now_ns);
        Some(sent)
    }

    fn refused(&mut self, id: u64, text: &str, now_ns: u64) {
        if let Some(sent) = self.settle(id, now_ns) {
            let failure = Failure::new(Stage::Publish, Reason::Error);
            let text = self.desk.endpoint.foreign(text);
            self.desk.refused(self.seat, sent.what, &Refusal { failure, text });
        }
    }

    fn operation_ns(&self) -> u64 {
        u64::try_from(self.desk.endpoint.timeouts.operation.as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the oldest unanswered publish is given up.
    fn next_expiry_ns(&self) -> Option<u64> {
        let oldest = self.in_flight.oldest()?;
        Some(oldest.sent_ns.saturating_add(self.operation_ns()).saturating_add(1))
    }

    fn expire(&mut self) {
        let limit = self.operation_ns();
        let now = self.desk.board.clock.now_ns();
        while let Some(sent) = self.in_flight.expire(|s| now.saturating_sub(s.sent_ns) > limit) {
            self.source.answered(sent.what, now);
            self.desk.unknown(self.seat, sent.what, self.desk.timed_out(self.seat));
        }
    }
}

fn open(reason: Reason) -> Refusal {
    Refusal { failure: Failure::new(Stage::Open, reason), text: String::new() }
}
