//! How connections ended, as the server saw it: what `GET /closings` tells.
//!
//! The first sign counts, wherever it shows: a reset is met by whoever writes next as often as by who reads. All of
//! it is noted when a connection ends; while it lives, its task notes once a turn that bytes have come.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::conn::{Conn, Stage};
use crate::clock::{self, Instant};

/// Ended connections that are remembered one by one: twice the ten thousand that may end at one instant.
const KEPT: usize = 20_000;

/// What ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum How {
    /// The client reset it.
    Reset,
    /// The client's bytes ended, without a close frame.
    Eof,
    /// The client's close frame, with its code.
    Close(Option<u16>),
    /// The client was silent for longer than it may be.
    Silence,
    /// We ended it for another reason.
    Server,
    /// Another error of the connection, such as one that the kernel gave up.
    Error,
}

/// What is noted of one connection's life.
#[derive(Debug)]
pub(crate) struct Life {
    accepted: Instant,
    /// When bytes last arrived.
    arrived: Cell<Instant>,
    /// Whether its task has begun a turn in which nothing has arrived yet.
    turn: Cell<bool>,
    /// Whether it was given an HTTP answer.
    answered: Cell<bool>,
    end: Cell<Option<End>>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    how: How,
    at: Instant,
    in_frame: bool,
}

impl Life {
    pub(crate) fn begin() -> Self {
        let now = clock::now();
        Self {
            accepted: now,
            arrived: Cell::new(now),
            turn: Cell::new(true),
            answered: Cell::new(false),
            end: Cell::new(None),
        }
    }

    pub(crate) fn accepted(&self) -> Instant {
        self.accepted
    }

    pub(crate) fn arrived(&self) -> Instant {
        self.arrived.get()
    }

    /// The connection's task begins a turn.
    pub(crate) fn begin_turn(&self) {
        self.turn.set(true);
    }

    /// Bytes have arrived; the clock is read once a turn.
    pub(crate) fn heard(&self) {
        if self.turn.take() {
            self.arrived.set(clock::now());
        }
    }

    /// It is given an HTTP answer.
    pub(crate) fn answered(&self) {
        self.answered.set(true);
    }

    /// It ends; of several reasons the first is kept.
    pub(crate) fn ended(&self, how: How) {
        if self.end.get().is_none() {
            self.end.set(Some(End { how, at: clock::now(), in_frame: false }));
        }
    }

    /// It ends with what reading or writing failed with.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.ended(match error.kind() {
            io::ErrorKind::ConnectionReset => How::Reset,
            // Linux says this first only where the client's end of file came before its reset; a read would have
            // said so, too.
            io::ErrorKind::BrokenPipe if cfg!(target_os = "linux") => How::Eof,
            io::ErrorKind::BrokenPipe => How::Reset,
            _ => How::Error,
        });
    }

    /// The client's close frame was read: it came before whatever a write has met since.
    pub(crate) fn closed(&self, code: Option<u16>) {
        let how = How::Close(code);
        match self.end.get() {
            Some(end) if end.how.is_of_the_socket() => self.end.set(Some(End { how, ..end })),
            _ => self.ended(how),
        }
    }

    /// Its bytes ended in the middle of a frame.
    pub(crate) fn ended_in_frame(&self) {
        self.end.set(self.end.get().map(|end| End { in_frame: true, ..end }));
    }

    /// Whether the client ended it with a close frame.
    pub(crate) fn was_closed(&self) -> bool {
        matches!(self.how(), Some(How::Close(_)))
    }

    /// What ended it, if anything has.
    pub(crate) fn how(&self) -> Option<How> {
        self.end.get().map(|end| end.how)
    }
}

impl How {
    /// Whether it is what the socket said, rather than the client or we.
    pub(crate) fn is_of_the_socket(self) -> bool {
        matches!(self, Self::Reset | Self::Eof | Self::Error)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match *self {
            Self::Reset => "reset",
            Self::Eof => "eof",
            Self::Close(Some(code)) => return write!(f, "close-{code}"),
            Self::Close(None) => "close-none",
            Self::Silence => "silence",
            Self::Server => "server",
            Self::Error => "error",
        })
    }
}

impl Serialize for How {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Reached {
    Asking,
    Greeting,
    Ready,
}

impl Reached {
    /// `None` if it only ever spoke HTTP, or was noted already.
    fn of(conn: &Conn) -> Option<Self> {
        match conn.stage() {
            Stage::Asking => (!conn.life.answered.get()).then_some(Self::Asking),
            Stage::Greeting => Some(Self::Greeting),
            Stage::Ready => Some(Self::Ready),
            Stage::KeptAlive | Stage::Closing => None,
        }
    }
}

/// One ended connection; times in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
struct Entry {
    #[serde(rename = "at_s", serialize_with = "in_seconds")]
    at: u64,
    #[serde(rename = "open_s", serialize_with = "in_seconds")]
    open: u64,
    #[serde(rename = "silent_s", serialize_with = "in_seconds")]
    silent: u64,
    stage: Reached,
    how: How,
    in_frame: bool,
    subscriptions: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn in_seconds<S: Serializer>(microseconds: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(*microseconds as f64 / 1e6)
}

/// All connections that have ended, but for those that only spoke HTTP.
#[derive(Debug, Default)]
pub(crate) struct Closings {
    counts: RefCell<BTreeMap<(Reached, How), u64>>,
    log: RefCell<VecDeque<Entry>>,
}

impl Closings {
    /// Notes how `conn` ended, which held so many subscriptions, in a server that started then.
    pub(crate) fn note(&self, conn: &Conn, subscriptions: usize, started: Instant) {
        let (Some(stage), Some(end)) = (Reached::of(conn), conn.life.end.get()) else { return };
        let since = |earlier| {
            let passed: Duration = end.at.saturating_duration_since(earlier);
            u64::try_from(passed.as_micros()).unwrap_or(u64::MAX)
        };
        self.add(Entry {
            at: since(started),
            open: since(conn.life.accepted()),
            silent: since(conn.life.arrived()),
            stage,
            how: end.how,
            in_frame: end.in_frame,
            subscriptions: u32::try_from(subscriptions).unwrap_or(u32::MAX),
        });
    }

    fn add(&self, entry: Entry) {
        *self.counts.borrow_mut().entry((entry.stage, entry.how)).or_default() += 1;
        let mut log = self.log.borrow_mut();
        if log.len() == KEPT {
            log.pop_front();
        }
        log.push_back(entry);
    }

    /// All of it: the counts since the start, and the newest one by one, oldest first.
    pub(crate) fn json(&self) -> String {
        #[derive(Serialize)]
        struct Told<'a> {
            counts: BTreeMap<Reached, BTreeMap<String, u64>>,
            log: &'a VecDeque<Entry>,
        }
        let mut counts = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (&(stage, how), &n) in &*self.counts.borrow() {
            counts.entry(stage).or_default().insert(how.to_string(), n);
        }
        let told = Told { counts, log: &self.log.borrow() };
        serde_json::to_string(&told).expect("closings are words and numbers")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entry(at: u64, how: How) -> Entry {
        Entry { at, open: 2_000, silent: 1, stage: Reached::Ready, how, in_frame: false, subscriptions: 3 }
    }

    fn told(closings: &Closings) -> Value {
        serde_json::from_str(&closings.json()).unwrap()
    }

    #[test]
    fn the_newest_are_kept_and_all_are_counted() {
        let closings = Closings::default();
        assert_eq!(told(&closings), json!({ "counts": {}, "log": [] }));
        closings.add(Entry { stage: Reached::Asking, ..entry(500_000, How::Eof) });
        for at in 0..KEPT as u64 {
            closings.add(entry(at, How::Close(Some(4000))));
        }
        closings.add(entry(1_500_000, How::Close(None)));
        let told = told(&closings);
        let counts = json!({ "asking": { "eof": 1 }, "ready": { "close-4000": KEPT, "close-none": 1 } });
        assert_eq!(told["counts"], counts);
        let log = told["log"].as_array().unwrap();
        assert_eq!((log.len(), &log[0]["at_s"]), (KEPT, &json!(1e-6)));
        let last = json!({ "at_s": 1.5, "open_s": 0.002, "silent_s": 1e-6, "stage": "ready",
            "how": "close-none", "in_frame": false, "subscriptions": 3 });
        assert_eq!(log[KEPT - 1], last);
    }

    #[test]
    fn the_first_reason_is_kept_but_for_a_close_frame_that_a_write_overtook() {
        let how = |notes: &[How]| {
            let life = Life::begin();
            for &note in notes {
                match note {
                    How::Close(code) => life.closed(code),
                    other => life.ended(other),
                }
            }
            life.how()
        };
        let close = How::Close(Some(1000));
        assert_eq!(how(&[]), None);
        assert_eq!(how(&[How::Silence, How::Eof]), Some(How::Silence));
        assert_eq!(how(&[How::Server, close]), Some(How::Server));
        assert_eq!(how(&[How::Reset, close]), Some(close));
        assert_eq!(how(&[close, How::Reset]), Some(close));
    }

    #[test]
    fn errors_have_their_names() {
        let how = |kind: io::ErrorKind| {
            let life = Life::begin();
            life.failed(&kind.into());
            life.how().unwrap().to_string()
        };
        assert_eq!(how(io::ErrorKind::ConnectionReset), "reset");
        assert_eq!(how(io::ErrorKind::TimedOut), "error");
        #[cfg(target_os = "linux")]
        assert_eq!(how(io::ErrorKind::BrokenPipe), "eof");
    }
}
