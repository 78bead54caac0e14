//! One published event, encoded once for all of its subscribers.
//!
//! Frames to different subscriptions differ in the operation id alone, which comes first. So everything behind the
//! id is encoded once, with room in front of it, and for each subscription only the frame header and the id are
//! written into that room: the frame is contiguous and nothing of the payload is copied.

use std::rc::Rc;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

/// Longest `{"id":"…"` that fits; `session` refuses longer operation ids.
pub(crate) const MAX_PREFIX: usize = 1024;

const MAX_HEADER: usize = 10;
const ROOM: usize = MAX_HEADER + MAX_PREFIX;

/// A buffer larger than this is not kept for the next event.
const KEEP: usize = 256 << 10;

/// The scratch space of a publish.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// `ROOM` bytes, then the tail.
    buffer: Vec<u8>,
    /// A copy of the tail that outboxes share, made when the first of them needs it.
    shared: Option<Rc<[u8]>>,
}

impl Event {
    /// Begins an event whose payload is `payload_json`, a JSON value as the publisher wrote it.
    pub(crate) fn encode(&mut self, payload_json: &str) {
        self.shared = None;
        self.buffer.resize(ROOM, 0);
        self.buffer.truncate(ROOM);
        self.buffer.extend_from_slice(br#","type":"next","payload":{"data":{"event":{"payload":"#);
        self.buffer.extend_from_slice(payload_json.as_bytes());
        self.buffer.extend_from_slice(b"}}}}");
    }

    /// The whole frame for the subscription whose encoded id is `prefix`.
    pub(crate) fn frame(&mut self, prefix: &[u8]) -> &[u8] {
        let payload = prefix.len() + self.buffer.len() - ROOM;
        let (header, header_len) = text_header(payload);
        let id_at = ROOM - prefix.len();
        let start = id_at - header_len;
        self.buffer[start..id_at].copy_from_slice(&header[..header_len]);
        self.buffer[id_at..ROOM].copy_from_slice(prefix);
        &self.buffer[start..]
    }

    /// Length of what follows the id.
    pub(crate) fn tail_len(&self) -> usize {
        self.buffer.len() - ROOM
    }

    /// What follows the id, for outboxes to share.
    pub(crate) fn shared_tail(&mut self) -> Rc<[u8]> {
        Rc::clone(self.shared.get_or_insert_with(|| Rc::from(&self.buffer[ROOM..])))
    }

    /// Ends the event; lets go of a large buffer.
    pub(crate) fn finish(&mut self) {
        self.shared = None;
        if self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
    }
}

/// The header of an unfragmented text frame from a server, and how many of its bytes count.
pub(crate) fn text_header(payload: usize) -> ([u8; MAX_HEADER], usize) {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), ..FrameHeader::default() };
    let mut bytes = [0; MAX_HEADER];
    let mut rest = &mut bytes[..];
    header.format(payload as u64, &mut rest).expect("an unmasked header is at most ten bytes");
    let left = rest.len();
    (bytes, MAX_HEADER - left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_differ_in_header_and_id_only() {
        let mut event = Event::default();
        event.encode(r#""hello""#);
        let tail = r#","type":"next","payload":{"data":{"event":{"payload":"hello"}}}}"#;
        let first = event.frame(br#"{"id":"1""#).to_vec();
        assert_eq!(first[..2], [0x81, (9 + tail.len()) as u8]);
        assert_eq!(first[2..], *format!(r#"{{"id":"1"{tail}"#).as_bytes());
        let long = format!(r#"{{"id":"{}""#, "x".repeat(200));
        let second = event.frame(long.as_bytes()).to_vec();
        let len = long.len() + tail.len();
        assert_eq!(second[..4], [0x81, 126, (len >> 8) as u8, len as u8]);
        assert_eq!(second[4..], *format!("{long}{tail}").as_bytes());
        assert_eq!(event.shared_tail().as_ref(), tail.as_bytes());
    }

    #[test]
    fn a_large_buffer_is_let_go() {
        let mut event = Event::default();
        event.encode(&format!("\"{}\"", "x".repeat(KEEP)));
        assert_eq!(event.frame(b"{\"id\":\"1\"")[..2], [0x81, 127]);
        event.finish();
        assert_eq!(event.buffer.capacity(), 0);
    }
}
