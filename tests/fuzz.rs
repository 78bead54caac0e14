//! Bytes that no honest server sends: frames and tokens under random damage.
//!
//! Whatever arrives, nothing panics, memory stays bounded by what the scenario's payload asks for, and nothing is taken
//! for an event that was not written byte for byte as one. `PROPTEST_CASES=100000` looks longer.

use std::collections::HashSet;
use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;
use proptest::collection::vec;
use proptest::prelude::*;
use stressctl::clients::handshake::config_for;
use stressctl::ledger::{Found, Kind, Token, find};
use stressctl::protocol::graphql_transport_ws::{Dialect, Message};
use stressctl::scenarios::target::Operation;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, WebSocket};

/// Bytes of payload that the scenario expects.
const PAYLOAD: usize = 200;
/// What reading one connection may hold at any moment: the largest message allowed, while it is put together, and what a
/// buffer that doubles needs while it grows. It depends on the scenario, never on what arrives.
const MOST_BYTES: usize = 512 << 10;

#[global_allocator]
static HELD: PeakAlloc = PeakAlloc;

/// What is counted is the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the server is recorded to have sent; what we say goes nowhere.
struct Tape<'a>(&'a [u8]);

impl Read for Tape<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tape<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dialect() -> Dialect {
    let operation = |payload_at: &[&str]| Operation {
        query: "subscription { event }".to_owned(),
        operation_name: None,
        variables: serde_json::Map::new(),
        payload_at: payload_at.iter().map(ToString::to_string).collect(),
    };
    Dialect::new(&operation(&["data", "event", "payload"]), &operation(&[]), None)
        .expect("an init payload is not given")
}

fn token(seq: u64) -> Token {
    Token {
        run: 7,
        channel: 3,
        publisher: 1,
        epoch: 0,
        kind: Kind::Event,
        seq,
        due_ns: 1_000,
        sent_ns: 1_200,
    }
}

fn text_of(seq: u64) -> String {
    let mut text = Vec::new();
    token(seq).write(PAYLOAD, &mut text);
    String::from_utf8(text).expect("a token is ASCII")
}

/// One unmasked frame as a server sends it.
fn frame(opcode: u8, finished: bool, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![opcode | u8::from(finished) << 7];
    match body.len() {
        short @ 0..=125 => bytes.push(short as u8),
        middle @ 126..=65_535 => {
            bytes.push(126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(body);
    bytes
}

fn event(seq: u64) -> Vec<u8> {
    let payload = text_of(seq);
    let text =
        format!(r#"{{"id":"5","type":"next","payload":{{"data":{{"event":{{"payload":"{payload}"}}}}}}}}"#);
    frame(1, true, text.as_bytes())
}

/// Reads a connection to its end as a subscriber does; what it found, and the most memory it held meanwhile.
fn read_all(bytes: &[u8]) -> (Vec<Found>, usize) {
    let dialect = dialect();
    let mut found = Vec::new();
    HELD.reset_peak_usage();
    let before = HELD.current_usage();
    let mut socket = WebSocket::from_raw_socket(Tape(bytes), Role::Client, Some(config_for(PAYLOAD)));
    loop {
        match socket.read() {
            Ok(tungstenite::Message::Text(text)) => {
                if let Ok(Message::Next { payload, .. }) = dialect.decode(&text) {
                    found.extend(find(payload));
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    (found, HELD.peak_usage().saturating_sub(before))
}

/// Nothing but what was written is taken for an event.
fn nothing_foreign(found: &[Found], written: u64) -> Result<(), TestCaseError> {
    let ours: HashSet<Token> = (0..written).map(token).collect();
    for one in found {
        if let Found::Intact(token) | Found::Damaged(token) = one {
            prop_assert!(ours.contains(token), "{token:?} was never written");
        }
    }
    Ok(())
}

/// One change to a stream of bytes.
#[derive(Debug, Clone)]
enum Damage {
    Change(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// A piece of the stream once more, somewhere else.
    Repeat(prop::sample::Index, prop::sample::Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    use prop::sample::Index;
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (any::<Index>(), 1_usize..400).prop_map(|(at, len)| Damage::Remove(at, len)),
        (any::<Index>(), any::<Index>(), 1_usize..400).prop_map(|(a, b, len)| Damage::Repeat(a, b, len)),
    ]
}

fn apply(damage: &Damage, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    let piece = |at: usize, long: usize| at..(at + long).min(len);
    match damage {
        Damage::Change(at, byte) => bytes[at.index(len)] = *byte,
        Damage::Insert(at, more) => drop(bytes.splice(at.index(len)..at.index(len), more.iter().copied())),
        Damage::Remove(at, long) => drop(bytes.drain(piece(at.index(len), *long))),
        Damage::Repeat(from, to, long) => {
            let copy = bytes[piece(from.index(len), *long)].to_vec();
            bytes.splice(to.index(len)..to.index(len), copy);
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..4_000)) {
        let _alone = alone();
        let (found, peak) = read_all(&bytes);
        nothing_foreign(&found, 0)?;
        prop_assert!(peak < MOST_BYTES, "{peak} bytes");
    }

    #[test]
    fn a_damaged_stream_yields_nothing_foreign(
        events in 1_u64..40,
        damages in vec(damage(), 0..6),
    ) {
        let _alone = alone();
        let mut bytes: Vec<u8> = (0..events).flat_map(event).collect();
        damages.iter().for_each(|one| apply(one, &mut bytes));
        let (found, peak) = read_all(&bytes);
        nothing_foreign(&found, events)?;
        prop_assert!(peak < MOST_BYTES, "{peak} bytes");
        if damages.is_empty() {
            prop_assert_eq!(found, (0..events).map(|seq| Found::Intact(token(seq))).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_damaged_payload_in_a_good_frame_yields_nothing_foreign(
        damages in vec(damage(), 1..4),
        repeats in 1_usize..4,
    ) {
        let _alone = alone();
        let mut bytes = text_of(0).repeat(repeats).into_bytes();
        damages.iter().for_each(|one| apply(one, &mut bytes));
        let text = String::from_utf8_lossy(&bytes);
        nothing_foreign(&find(&text).collect::<Vec<_>>(), 1)?;
    }

    /// A frame may claim any length, and a message may go on for ever.
    #[test]
    fn what_is_claimed_is_not_what_is_allocated(claimed in any::<u64>(), pieces in 1_usize..600) {
        let _alone = alone();
        let mut endless = vec![0x81, 127];
        endless.extend(claimed.to_be_bytes());
        endless.extend([b'~'; 5_000]);
        let (found, peak) = read_all(&endless);
        prop_assert!(found.is_empty() && peak < MOST_BYTES, "{peak} bytes for a claim of {claimed}");

        let mut fragments = frame(1, false, b"~sct1~");
        (0..pieces).for_each(|_| fragments.extend(frame(0, false, &[b'~'; 4_000])));
        let (found, peak) = read_all(&fragments);
        prop_assert!(found.is_empty() && peak < MOST_BYTES, "{peak} bytes for {pieces} fragments");
    }
}

/// The counter counts: without it no limit above would mean anything.
#[test]
fn held_memory_is_seen() {
    let _alone = alone();
    HELD.reset_peak_usage();
    let before = HELD.current_usage();
    drop(std::hint::black_box(vec![0_u8; 4 << 20]));
    // Tests that wait for their turn may let go of a little meanwhile.
    assert!(HELD.peak_usage() > before + (3 << 20));
}
