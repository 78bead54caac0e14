//! What one event costs the receive loop: finding its token, entering it, decoding its message.

use std::hint::black_box;
use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use stressctl::ledger::audit::Config;
use stressctl::ledger::book::{Book, Room};
use stressctl::ledger::{
    End, Found, GroupShape, Kind, Roster, ShardLedger, StreamId, Streams, SubscriptionShape, Token, find,
};
use stressctl::protocol::graphql_transport_ws::{Dialect, Message};
use stressctl::scenarios::target::Operation;

/// Events per iteration.
const EVENTS: u64 = 100_000;

fn main() {
    report_memory();
    divan::main();
}

/// Fixed noise, the same in every run.
fn noise(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    }
}

/// The seqs that arrive when this many in a thousand are lost.
fn lossy(per_mille: u64) -> Vec<u64> {
    let mut random = noise(42);
    (0..EVENTS).filter(|_| random(1_000) >= per_mille).collect()
}

/// All seqs, this many in a thousand up to eight places late.
fn shuffled(per_mille: u64) -> Vec<u64> {
    let mut random = noise(43);
    let mut seqs: Vec<u64> = (0..EVENTS).collect();
    for at in 0..seqs.len() - 8 {
        if random(1_000) < per_mille {
            seqs[at..=at + random(8) as usize].rotate_left(1);
        }
    }
    seqs
}

fn record(bencher: Bencher<'_, '_>, seqs: &[u64]) {
    bencher.counter(ItemsCount::new(seqs.len())).bench(|| {
        let (mut book, mut room) = (Book::default(), Room::new(1 << 24));
        for seq in black_box(seqs) {
            black_box(book.record(*seq, &mut room));
        }
        book
    });
}

#[divan::bench(args = [0, 1, 50, 500])]
fn book_losing_per_mille(bencher: Bencher<'_, '_>, per_mille: u64) {
    record(bencher, &lossy(per_mille));
}

#[divan::bench]
fn book_reordering_50_per_mille(bencher: Bencher<'_, '_>) {
    record(bencher, &shuffled(50));
}

/// A book whose list of gaps turns into a bitmap with the next seq, and that seq: a million events of which one in 200
/// was lost, then every other one.
fn before_the_turn() -> (Book, Room, u64) {
    let (mut book, mut room) = (Book::default(), Room::new(1 << 24));
    (0..1_000_000).filter(|seq| seq % 200 != 7).for_each(|seq| _ = book.record(seq, &mut room));
    for seq in (1_000_001..).step_by(2) {
        let (earlier, left) = (book.clone(), room.left());
        book.record(seq, &mut room);
        if room.left() > left {
            // The room of the list has been given back.
            return (earlier, Room::new(left), seq);
        }
    }
    unreachable!("gaps this dense are smaller as a bitmap")
}

#[divan::bench]
fn book_list_turns_into_bitmap(bencher: Bencher<'_, '_>) {
    let (book, room, seq) = before_the_turn();
    bencher.with_inputs(|| (book.clone(), room)).bench_values(|(mut book, mut room)| {
        black_box(book.record(black_box(seq), &mut room));
        book
    });
}

fn token(seq: u64) -> Token {
    token_of(0, 0, seq)
}

fn token_of(channel: u32, epoch: u32, seq: u64) -> Token {
    Token { run: 1, channel, publisher: 0, epoch, kind: Kind::Event, seq, due_ns: seq, sent_ns: seq }
}

fn ledger(subscriptions: usize, channels: u32) -> (ShardLedger, Arc<Roster>) {
    let streams = Arc::new(Streams::new(channels, &[GroupShape { connections: 1 }]));
    let roster = Arc::new(Roster::new(&streams));
    let config = Config {
        run: 1,
        streams,
        roster: Arc::clone(&roster),
        deadline_ns: 1_000,
        groups: 1,
        phases: 1,
        gaps_max_bytes: 1 << 24,
        first_subscription: 0,
    };
    let shape = |sub: usize| SubscriptionShape { channel: sub as u32 % channels, group: 0 };
    let mut ledger = ShardLedger::new(config, &(0..subscriptions).map(shape).collect::<Vec<_>>());
    (0..subscriptions).for_each(|sub| ledger.confirm(sub));
    (ledger, roster)
}

#[divan::bench(args = [1, 10_000])]
fn ledger_receive_in_order(bencher: Bencher<'_, '_>, fan_out: usize) {
    let rounds = EVENTS / fan_out as u64;
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| {
            let (ledger, roster) = ledger(fan_out, 1);
            (0..rounds).for_each(|_| _ = roster.publish(StreamId(0)));
            ledger
        })
        .bench_values(|mut ledger| {
            for seq in 0..rounds {
                let found = black_box(Found::Intact(token(seq)));
                for sub in 0..fan_out {
                    ledger.count_receipt(sub, 0);
                    black_box(ledger.receive(sub, &found, seq + 9, 0));
                }
            }
            ledger
        });
}

/// The same once the publisher has connected again, which every receipt then looks at.
#[divan::bench]
fn ledger_receive_in_order_in_a_second_epoch(bencher: Bencher<'_, '_>) {
    let streams = Streams::new(1, &[GroupShape { connections: 1 }]);
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| {
            let (ledger, roster) = ledger(1, 1);
            _ = roster.begin_epoch(&streams, 0);
            (0..EVENTS).for_each(|_| _ = roster.publish(StreamId(0)));
            ledger
        })
        .bench_values(|mut ledger| {
            for seq in 0..EVENTS {
                ledger.count_receipt(0, 0);
                black_box(ledger.receive(0, &black_box(Found::Intact(token_of(0, 1, seq))), seq + 9, 0));
            }
            ledger
        });
}

/// What a subscriber does with each delivery of 200 bytes, the socket left out: decode, find the token, and enter it in
/// the ledger or not.
#[divan::bench(args = [true, false])]
fn delivery_with_the_ledger(bencher: Bencher<'_, '_>, with: bool) {
    const SUBSCRIPTIONS: usize = 10_000;
    let dialect = dialect();
    let texts: Vec<String> = (0..EVENTS / SUBSCRIPTIONS as u64).map(message).collect();
    bencher
        .counter(ItemsCount::new(EVENTS))
        .with_inputs(|| {
            let (ledger, roster) = ledger(SUBSCRIPTIONS, 1);
            texts.iter().for_each(|_| _ = roster.publish(StreamId(0)));
            ledger
        })
        .bench_values(|mut ledger| {
            for (text, now) in texts.iter().zip(9..) {
                for sub in 0..SUBSCRIPTIONS {
                    let Ok(Message::Next { payload, .. }) = dialect.decode(black_box(text)) else { continue };
                    for found in find(payload) {
                        black_box(&found);
                        if with {
                            ledger.count_receipt(sub, 0);
                            black_box(ledger.receive(sub, &found, now, 0));
                        }
                    }
                }
            }
            ledger
        });
}

fn message(seq: u64) -> String {
    let mut bytes = Vec::new();
    token(seq).write(200, &mut bytes);
    let payload = String::from_utf8(bytes).expect("tokens are ASCII");
    format!(r#"{{"id":"7","type":"next","payload":{{"data":{{"event":{{"payload":"{payload}"}}}}}}}}"#)
}

const SIZES: [usize; 3] = [200, 100_000, 16_000_000];

fn payload(size: usize) -> String {
    let mut bytes = Vec::new();
    token(7).write(size, &mut bytes);
    String::from_utf8(bytes).expect("tokens are ASCII")
}

#[divan::bench(args = SIZES)]
fn token_find(bencher: Bencher<'_, '_>, size: usize) {
    let text = format!("{{\"a\":\"{}\"}}", payload(size));
    bencher.counter(BytesCount::new(size)).bench(|| find(black_box(&text)).count());
}

#[divan::bench(args = SIZES)]
fn token_write(bencher: Bencher<'_, '_>, size: usize) {
    let mut out = Vec::with_capacity(size);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        black_box(token(7)).write(size, &mut out);
        out.len()
    });
}

fn dialect() -> Dialect {
    let operation = |variables: serde_json::Value| Operation {
        query: "subscription($c: String!) { event(channel: $c) { payload } }".to_owned(),
        operation_name: None,
        variables: variables.as_object().cloned().unwrap_or_default(),
        payload_at: ["data", "event", "payload"].map(str::to_owned).to_vec(),
    };
    let publish = operation(serde_json::json!({ "c": "${channel}", "p": "${payload}" }));
    Dialect::new(&operation(serde_json::json!({ "c": "${channel}" })), &publish, None).expect("no init")
}

#[divan::bench(args = SIZES)]
fn message_decode(bencher: Bencher<'_, '_>, size: usize) {
    let dialect = dialect();
    let text = format!(
        r#"{{"id":"7","type":"next","payload":{{"data":{{"event":{{"payload":"{}"}}}}}}}}"#,
        payload(size)
    );
    bencher.counter(BytesCount::new(size)).bench(|| dialect.decode(black_box(&text)).is_ok());
}

#[divan::bench(args = SIZES)]
fn publish_encode(bencher: Bencher<'_, '_>, size: usize) {
    let (dialect, payload) = (dialect(), payload(size));
    let mut out = String::with_capacity(size + 1_000);
    bencher.counter(BytesCount::new(size)).bench_local(|| {
        out.clear();
        dialect.publish(7, "channel-1", black_box(&payload), &mut out);
        out.len()
    });
}

/// What a ledger takes on the heap: for each of 1,000 subscriptions of one channel, and for the events of a whole day.
#[allow(clippy::print_stdout, reason = "a bench prints its figures")]
fn report_memory() {
    for per_mille in [0, 1, 50, 500] {
        let (mut ledger, roster) = ledger(1_000, 1);
        (0..EVENTS / 10).for_each(|_| _ = roster.publish(StreamId(0)));
        let mut random = noise(44);
        for seq in 0..EVENTS / 10 {
            for sub in 0..1_000 {
                if random(1_000) >= per_mille {
                    ledger.receive(sub, &Found::Intact(token(seq)), seq, 0);
                }
            }
        }
        let bytes = ledger.heap_bytes() / 1_000;
        println!("{bytes} bytes per subscription after 10,000 events, {per_mille} per mille lost");
    }
    report_day();
}

/// 8.64 million events, 100 a second for a day, over 10,000 channels with a subscription each.
#[allow(clippy::print_stdout, reason = "a bench prints its figures")]
fn report_day() {
    const CHANNELS: u32 = 10_000;
    let (mut ledger, roster) = ledger(CHANNELS as usize, CHANNELS);
    let clock = stressctl::clock::RunClock::start();
    for seq in 0..864 {
        for channel in 0..CHANNELS {
            roster.publish(StreamId(channel));
            ledger.count_receipt(channel as usize, 0);
            ledger.receive(channel as usize, &Found::Intact(token_of(channel, 0, seq)), seq, 0);
        }
    }
    let ns = clock.now_ns() as f64 / 8_640_000.0;
    println!("8.64 million events over 10,000 subscriptions: {} bytes, {ns:.1} ns each", ledger.heap_bytes());
    (0..CHANNELS as usize).for_each(|sub| _ = ledger.await_barriers(sub));
    (0..CHANNELS as usize).for_each(|sub| ledger.end(sub, End::Unsubscribed));
    println!("the same when all have been unsubscribed: {} bytes", ledger.heap_bytes());
}

/// What looking at both processes costs once a second, with 10,000 open files in each; both are this one here.
#[divan::bench]
fn sample_of_two_processes_with_10_000_files(bencher: divan::Bencher<'_, '_>) {
    rlimit::increase_nofile_limit(u64::MAX).expect("the limit of files can be raised");
    let _files: Vec<_> =
        (0..10_000).map(|_| std::fs::File::open("/dev/null").expect("a free file")).collect();
    let own = std::process::id();
    let mut monitor =
        stressctl::metrics::resources::Monitor::new(own, Some(own)).expect("processes can be seen");
    bencher.bench_local(|| monitor.sample());
}
