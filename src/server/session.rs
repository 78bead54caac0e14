//! A WebSocket's life: reads its messages and does what they ask, until one side ends it.

use std::io::{self, Read, Write};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, WebSocket};

use super::closings::How;
use super::conn::{Conn, Fate, Stage};
use super::fanout::{self, Refused};
use super::farewell::continue_later;
use super::hub::Hub;
use super::message::{self, ClientMessage, Operation, Request};
use super::options::WhenFull;

/// What one connection may do before others get their turn, in messages, deliveries and [`PORTION`]s of bytes.
const BUDGET: usize = 256;

/// Bytes that count as much as a message: a subscriber's task must get to write before a burst of large events
/// has filled its queue.
const PORTION: usize = 4 << 10;

/// Replies are flushed before the input is exhausted when they exceed this.
const FLUSH_AT: usize = 64 << 10;

/// tungstenite's default of 128 KiB would be zeroed before every read; measured, 4 KiB halves the cost of a
/// message and is most of what an idle connection costs in memory.
const READ_BUFFER: usize = 4 << 10;

/// How a WebSocket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// We close it, with this code and reason.
    Close(u16, &'static str),
    /// The client closed it and was answered, or we stopped writing to it: write what waits, hang up.
    HangUp,
    /// The connection is gone.
    Gone,
}

/// The reading side of a WebSocket.
pub(crate) struct Session {
    hub: Rc<Hub>,
    conn: Rc<Conn>,
    socket: WebSocket<Pipe>,
    budget: usize,
    /// The subscriber whose full queue it waits for before it reads on.
    waits_for: Option<Rc<Conn>>,
}

impl Session {
    /// Takes over a connection after its upgrade; `tail` is what the client sent behind its request.
    pub(crate) fn new(hub: Rc<Hub>, conn: Rc<Conn>, tail: Vec<u8>) -> Self {
        let limit = Some(hub.options.max_message.0);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_frame_size(limit)
            .max_message_size(limit);
        let pipe = Pipe { hub: Rc::clone(&hub), conn: Rc::clone(&conn), source: Source::Socket };
        let socket = if tail.is_empty() {
            WebSocket::from_raw_socket(pipe, Role::Server, Some(config))
        } else {
            WebSocket::from_partially_read(pipe, tail, Role::Server, Some(config))
        };
        Self { hub, conn, socket, budget: BUDGET, waits_for: None }
    }

    /// Handles what has arrived and writes what waits; ready when the WebSocket has ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        let ending = ready!(self.poll_messages(cx));
        if ending == Ending::Gone && self.conn.life.how().is_some_and(How::is_of_the_socket) {
            self.hear_out();
        }
        Poll::Ready(ending)
    }

    fn poll_messages(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        self.conn.watch(cx);
        self.budget = BUDGET;
        loop {
            match self.conn.fate() {
                Fate::Live => {}
                Fate::Close(code, reason) => return Poll::Ready(Ending::Close(code, reason)),
                Fate::CutOff => return Poll::Ready(Ending::HangUp),
                Fate::Abort => return Poll::Ready(Ending::Gone),
            }
            if self.budget == 0 {
                // Let others run; the flush leaves nothing of ours for them to wait behind.
                if let Poll::Ready(Err(_)) = self.conn.poll_flush(cx, &self.hub) {
                    return Poll::Ready(Ending::Gone);
                }
                continue_later(cx);
                return Poll::Pending;
            }
            if self.poll_room(cx).is_pending() {
                return Poll::Pending;
            }
            self.budget -= 1;
            let ended = match self.socket.read() {
                Ok(Message::Text(text)) => self.text(&text).err(),
                Ok(Message::Binary(_)) => Some(Ending::Close(4400, "binary message")),
                // tungstenite answers pings and closes by itself with its next read.
                Ok(Message::Close(frame)) => {
                    self.conn.life.closed(frame.map(|frame| frame.code.into()));
                    None
                }
                Ok(_) => None,
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_input(cx)).err()
                }
                Err(error) => Some(ending_of(&error)),
            };
            if let Some(ending) = ended {
                return Poll::Ready(ending);
            }
            if self.conn.waiting() > FLUSH_AT {
                self.flush_early(cx);
            }
        }
    }

    /// The input is exhausted: flushes the replies and waits for more.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        if let Poll::Ready(Err(_)) = self.conn.poll_flush(cx, &self.hub) {
            return Poll::Ready(Err(Ending::Gone));
        }
        let ready = ready!(self.conn.poll_readable(cx));
        Poll::Ready(ready.map_err(|_| Ending::Gone))
    }

    /// Whether it may read on: who publishes may have to wait for a subscriber. Meanwhile its own replies are written.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(full) = &self.waits_for {
            // An error shows again with the next read or write.
            let _ = self.conn.poll_flush(cx, &self.hub);
            ready!(full.poll_room(cx, self.hub.options.queue_limit.0));
            self.waits_for = None;
        }
        Poll::Ready(())
    }

    /// Writes replies that have piled up, and cuts the connection off if the client does not read them.
    fn flush_early(&mut self, cx: &mut Context<'_>) {
        let flushed = self.conn.poll_flush(cx, &self.hub);
        let waits = self.hub.options.when_full == WhenFull::Backpressure;
        if flushed.is_pending() && !waits && self.conn.exceeds(self.hub.options.queue_limit.0) {
            fanout::cut_off(&self.hub, &self.conn);
        }
    }

    /// Of a connection that is gone, notes the close frame that nobody has read, and whether its bytes ended in the
    /// middle of a frame.
    ///
    /// A write meets the end before the reads have come that far.
    fn hear_out(&mut self) {
        self.socket.get_mut().source = Source::Remains;
        for _ in 0..BUDGET {
            match self.socket.read() {
                Ok(Message::Close(frame)) => {
                    return self.conn.life.closed(frame.map(|frame| frame.code.into()));
                }
                Ok(_) => {}
                Err(Error::Io(_)) => {
                    if !self.is_between_frames() {
                        self.conn.life.ended_in_frame();
                    }
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Whether tungstenite holds no part of a frame.
    ///
    /// It does not tell; but a frame of ours put behind the client's bytes is recognised only at a frame's beginning.
    /// This costs nothing until a connection ends. Nothing can be read afterwards.
    fn is_between_frames(&mut self) -> bool {
        self.socket.get_mut().source = Source::Boundary(BOUNDARY);
        matches!(self.socket.read(), Ok(Message::Ping(payload)) if payload == BOUNDARY[BOUNDARY_HEADER..])
    }

    fn text(&mut self, text: &str) -> Result<(), Ending> {
        let message = message::parse(text).map_err(|reason| Ending::Close(4400, reason))?;
        match message {
            ClientMessage::Subscribe { id, request } => self.operation(&id, &request),
            ClientMessage::Complete { id } => {
                fanout::with_prefix(&self.hub, &id, |prefix| {
                    fanout::unsubscribe(&self.hub, &self.conn, prefix);
                });
                Ok(())
            }
            ClientMessage::Ping(_) if self.withholds_pong() => Ok(()),
            ClientMessage::Ping(payload) => {
                self.reply(|out| message::write_pong(out, payload));
                Ok(())
            }
            ClientMessage::Pong => Ok(()),
            ClientMessage::Init if self.conn.stage() == Stage::Greeting => {
                self.conn.enter(Stage::Ready);
                self.conn.queue_text(message::ACK);
                Ok(())
            }
            ClientMessage::Init => Err(Ending::Close(4429, "Too many initialisation requests")),
        }
    }

    fn operation(&mut self, id: &str, request: &Request<'_>) -> Result<(), Ending> {
        if self.conn.stage() != Stage::Ready {
            return Err(Ending::Close(4401, "Unauthorized"));
        }
        match message::operation(request) {
            Ok(Operation::Publish { channel, payload }) => {
                let (seq, deliveries) = fanout::publish(&self.hub, &channel, payload);
                self.budget = self.budget.saturating_sub(deliveries * (1 + payload.len() / PORTION));
                self.waits_for = fanout::awaited(&self.hub, &channel);
                if self.hub.defects.as_ref().is_some_and(|defects| defects.withholds_ack()) {
                    return Ok(());
                }
                self.reply(|out| message::write_published(out, id, seq));
                self.reply(|out| message::write_complete(out, id));
            }
            Ok(Operation::Subscribe { channel }) => {
                let subscribed = fanout::with_prefix(&self.hub, id, |prefix| {
                    fanout::subscribe(&self.hub, &self.conn, prefix, &channel)
                });
                match subscribed {
                    Some(Ok(())) => {}
                    // The protocol wants the id in the reason; ours is from a fixed set, and the client knows it.
                    Some(Err(Refused::Duplicate)) => {
                        return Err(Ending::Close(4409, "Subscriber already exists"));
                    }
                    Some(Err(Refused::TooMany)) => {
                        self.refuse(id, "too many subscriptions on this connection");
                    }
                    None => return Err(Ending::Close(4400, "operation id is too long")),
                }
            }
            Err(reason) => self.refuse(id, reason),
        }
        Ok(())
    }

    fn withholds_pong(&self) -> bool {
        self.hub.defects.as_ref().is_some_and(|defects| defects.withholds_pong(&self.conn))
    }

    fn refuse(&self, id: &str, reason: &str) {
        self.reply(|out| message::write_error(out, id, reason));
    }

    fn reply(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = self.hub.scratch.borrow_mut();
        scratch.clear();
        write(&mut scratch);
        self.conn.queue_text(&scratch);
        scratch.shrink_to(FLUSH_AT);
    }
}

/// The answer to what tungstenite found wrong.
fn ending_of(error: &Error) -> Ending {
    match error {
        Error::ConnectionClosed => Ending::HangUp,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Ending::Close(1009, "message too large"),
        Error::Utf8(_) => Ending::Close(1007, "text is not UTF-8"),
        Error::Io(_) => Ending::Gone,
        _ => Ending::Close(1002, "WebSocket protocol error"),
    }
}

/// A masked ping; the mask changes nothing.
const BOUNDARY: &[u8] = b"\x89\x88\0\0\0\0boundary";

/// Its bytes before the payload.
const BOUNDARY_HEADER: usize = 6;

/// Where tungstenite's bytes come from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Socket,
    /// What a connection that is gone has left in the socket.
    Remains,
    /// These.
    Boundary(&'static [u8]),
}

/// The connection as tungstenite sees it: it writes to the outbox and never blocks.
#[derive(Debug)]
struct Pipe {
    hub: Rc<Hub>,
    conn: Rc<Conn>,
    source: Source,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.source {
            Source::Socket => self.conn.read(buf),
            Source::Remains => self.conn.read_remains(buf),
            Source::Boundary(left) => left.read(buf),
        };
        match read {
            // Told of the end, tungstenite would not say any more what it holds of a frame.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            other => other,
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.hub.defects.as_ref().is_none_or(|defects| !defects.withholds_frame(&self.conn, buf)) {
            self.conn.queue(buf);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::super::event::Event;
    use super::super::options::ServeOptions;
    use super::*;

    /// A client that says `bytes` and resets, which a write meets before the driver has told of either.
    async fn met_by_a_write(bytes: &[u8]) -> How {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let conn = Rc::new(Conn::new(listener.accept().await.unwrap().0));
        let hub = Rc::new(Hub::new(ServeOptions::default()));
        let mut session = Session::new(hub, Rc::clone(&conn), Vec::new());
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // Twice, with a turn of the driver's between: after that it has nothing to tell.
        for _ in 0..2 {
            assert!(session.poll(&mut cx).is_pending());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        client.write_all(bytes).unwrap();
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let mut event = Event::default();
        event.encode("\"x\"");
        conn.offer(&mut event, br#"{"id":"1""#, 1000);
        assert_eq!(session.poll(&mut cx), Poll::Ready(Ending::Gone));
        conn.life.how().unwrap()
    }

    #[tokio::test]
    async fn a_close_frame_is_heard_after_a_write_has_met_the_end() {
        assert_eq!(met_by_a_write(b"").await, How::Reset);
        assert_eq!(met_by_a_write(b"\x89\x81\0\0\0\0x").await, How::Reset);
        assert_eq!(met_by_a_write(b"\x88\x82\0\0\0\0\x03\xE9").await, How::Close(Some(1001)));
    }
}
