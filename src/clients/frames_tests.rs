//! What a WebSocket sees through them is what was sent, whatever it was and however it came.

use std::future::poll_fn;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::*;

/// A stream that is cut.
struct Cutting {
    inner: DuplexStream,
    frames: Frames,
}

impl AsyncRead for Cutting {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { inner, frames } = self.get_mut();
        frames.poll_read(inner, cx, buf)
    }
}

impl AsyncWrite for Cutting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

fn cutting(inner: DuplexStream, before: &[u8]) -> Cutting {
    Cutting { inner, frames: Frames::new(turnstile(u64::MAX), before.to_vec()) }
}

fn turnstile(largest: u64) -> Rc<Turnstile> {
    Rc::new(Turnstile::new(largest))
}

/// A connection on which these bytes have come.
async fn connection(turnstile: &Rc<Turnstile>, bytes: &[u8]) -> (Cutting, DuplexStream) {
    let (near, mut far) = duplex(1 << 20);
    far.write_all(bytes).await.unwrap();
    (Cutting { inner: near, frames: Frames::new(Rc::clone(turnstile), Vec::new()) }, far)
}

/// The header of a frame of so many bytes.
fn head(first: u8, length: u64) -> Vec<u8> {
    [&[first, 127][..], &length.to_be_bytes()].concat()
}

fn config(max: usize) -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(max)).max_frame_size(Some(max))
}

async fn client(inner: DuplexStream, before: &[u8], max: usize) -> WebSocketStream<Cutting> {
    WebSocketStream::from_raw_socket(cutting(inner, before), Role::Client, Some(config(max))).await
}

/// Letters that differ everywhere.
fn text(length: usize, seed: u64) -> String {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    (0..length).map(|_| char::from(b'a' + (random.next_u32() % 26) as u8)).collect()
}

#[tokio::test]
async fn messages_of_all_sizes_pass_unchanged_through_pipes_of_all_sizes() {
    let around = |n: u64| [n - 1, n, n + 1];
    let lengths: Vec<u64> = [
        vec![0, 1, 125, 126, 127],
        around(FRAGMENT).into(),
        around(LARGE).into(),
        vec![1_000_000, 65_535, 65_536],
    ]
    .concat();
    for pipe in [1 << 10, 100_000, 1 << 22] {
        let (near, far) = duplex(pipe);
        let sent: Vec<String> = lengths.iter().map(|n| text(*n as usize, *n)).collect();
        let expected = sent.clone();
        let send = async move {
            let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
            for text in sent {
                server.send(Message::text(text)).await.unwrap();
                server.send(Message::Ping("x".into())).await.unwrap();
            }
            server.close(None).await.unwrap();
            // Until the last answer is here: a pipe that is gone takes none.
            while server.next().await.is_some() {}
        };
        let receive = async move {
            let mut client = client(near, b"", 2_000_000).await;
            let mut received = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                if let Message::Text(text) = message {
                    received.push(text.to_string());
                }
            }
            assert!(received == expected, "through a pipe of {pipe}");
        };
        tokio::join!(send, receive);
    }
}

/// What comes out behind these bytes, to the end.
async fn through(bytes: &[u8], before: usize) -> Vec<u8> {
    let (near, mut far) = duplex(bytes.len().max(1));
    far.write_all(&bytes[before..]).await.unwrap();
    drop(far);
    let mut out = Vec::new();
    cutting(near, &bytes[..before]).read_to_end(&mut out).await.unwrap();
    out
}

fn large(first: u8, length: usize) -> Vec<u8> {
    let mut frame = head(first, length as u64);
    frame.extend(text(length, 1).into_bytes());
    frame
}

#[tokio::test]
async fn what_is_small_or_wrong_passes_as_it_is() {
    let mut masked = large(0x81, LARGE as usize + 5);
    masked[1] |= MASKED;
    masked.splice(10..10, [1, 2, 3, 4]);
    let table: [&[u8]; 7] =
        [b"", b"\x81", b"\x81\x7e\x01", b"\x81\x03abc\x89\x01x", b"\x81\x05abc", b"\xf3\x02ab", &masked];
    for bytes in table {
        for before in [0, bytes.len() / 2, bytes.len()] {
            assert_eq!(through(bytes, before).await, bytes);
        }
    }
}

#[tokio::test]
async fn what_the_server_cut_itself_passes_unchanged() {
    let sent = text(1_000_000, 1);
    let (near, mut far) = duplex(100_000);
    let send = async {
        for (i, part) in sent.as_bytes().chunks(30_000).enumerate() {
            let mut frame = vec![u8::from(i == 0), 126];
            frame.extend((part.len() as u16).to_be_bytes());
            frame.extend(part);
            // Control frames may come between them.
            frame.extend(b"\x89\x01x");
            far.write_all(&frame).await.unwrap();
        }
        far.write_all(b"\x80\x00\x81\x03abc").await.unwrap();
    };
    let receive = async {
        let mut client = client(near, b"", 2_000_000).await;
        let mut received = Vec::new();
        while received.len() < 2 {
            if let Message::Text(text) = client.next().await.unwrap().unwrap() {
                received.push(text.to_string());
            }
        }
        assert!(received == [sent.as_str(), "abc"]);
    };
    tokio::join!(send, receive);
}

#[tokio::test]
async fn a_large_frame_is_cut_and_keeps_its_bits() {
    let length = LARGE as usize + 70_000;
    for (first, begins, ends) in
        [(0x81_u8, 0x01_u8, 0x80_u8), (0x01, 0x01, 0x00), (0xC2, 0x42, 0x80), (0x80, 0x00, 0x80)]
    {
        let out = through(&large(first, length), 0).await;
        let (mut at, mut headers, mut payload) = (0, Vec::new(), Vec::new());
        while at < out.len() {
            let header = &out[at..at + wanted(&out[at..])];
            let length = super::length(header) as usize;
            headers.push(header[0]);
            at += header.len();
            payload.extend_from_slice(&out[at..at + length]);
            at += length;
        }
        let mut expected = vec![begins];
        expected.extend([0; 4]);
        expected.push(ends);
        assert_eq!(headers, expected, "{first:#x}");
        assert_eq!(payload, text(length, 1).into_bytes());
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_all_the_same() {
    let (near, mut far) = duplex(1 << 21);
    far.write_all(&large(0x81, 1_000_000)).await.unwrap();
    let mut client = client(near, b"", 500_000).await;
    let refused = client.next().await.expect("something comes");
    assert!(matches!(refused, Err(Error::Capacity(_))), "{refused:?}");
}

/// Polls once.
async fn once(stream: &mut Cutting, length: usize) -> Option<usize> {
    let mut bytes = vec![0; length];
    poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut *stream).poll_read(cx, &mut buf);
        Poll::Ready(read.is_ready().then_some(buf.filled().len()))
    })
    .await
}

#[tokio::test]
async fn only_so_much_is_read_at_a_time_and_who_gets_nothing_keeps_nobody_waiting() {
    let turnstile = turnstile(u64::MAX);
    let mut pipes = Vec::new();
    for _ in 0..3 {
        pipes.push(connection(&turnstile, &[&head(0x81, 40 << 20)[..], b"abc"].concat()).await);
    }
    let fragment_header = 10;
    assert_eq!(once(&mut pipes[0].0, 100).await, Some(fragment_header + 3), "the first has room");
    assert_eq!(once(&mut pipes[1].0, 100).await, None, "80 MiB are more than 64");
    // The first gets something: patience begins anew.
    pipes[0].1.write_all(b"d").await.unwrap();
    for _ in 0..4 {
        turnstile.tick();
    }
    assert_eq!(once(&mut pipes[0].0, 100).await, Some(1));
    for _ in 0..4 {
        turnstile.tick();
        assert_eq!(once(&mut pipes[1].0, 100).await, None);
    }
    // It gets nothing more for a while: one more may read, and only one.
    turnstile.tick();
    turnstile.tick();
    assert_eq!(once(&mut pipes[1].0, 100).await, Some(fragment_header + 3));
    assert_eq!(once(&mut pipes[2].0, 100).await, None);
    // Those who end make room.
    pipes.drain(..2);
    assert_eq!(once(&mut pipes[0].0, 100).await, Some(fragment_header + 3));
}

/// Reads all that has come.
async fn all(stream: &mut Cutting) -> usize {
    let mut count = 0;
    while let Some(read @ 1..) = once(stream, 1 << 20).await {
        count += read;
    }
    count
}

#[tokio::test]
async fn a_message_that_the_server_cut_is_read_only_as_there_is_room_for_it() {
    let turnstile = turnstile(40 << 20);
    // As much as passes without a pass, then one fragment more of as many as may follow; a ping between them.
    let part = |first| [&head(first, LARGE / 2)[..], &vec![b'x'; LARGE as usize / 2]].concat();
    let bytes = [part(0x01), b"\x89\x01x".to_vec(), part(0x00), part(0x00)].concat();
    let (mut first, mut first_far) = connection(&turnstile, &bytes).await;
    let (mut second, _far) = connection(&turnstile, &bytes).await;
    let before = bytes.len() - part(0).len();
    assert_eq!(all(&mut first).await, bytes.len());
    assert_eq!(all(&mut second).await, before, "as it is not known how long they get, two have no room");
    first_far.write_all(b"\x80\x02ab").await.unwrap();
    assert_eq!(once(&mut first, 3).await, Some(3), "one byte before its end");
    assert_eq!(all(&mut second).await, 0);
    assert_eq!(all(&mut first).await, 1);
    assert_eq!(all(&mut second).await, part(0).len(), "the end of the first makes room");
    // What is small stays free of it, in however many pieces.
    first_far.write_all(b"\x01\x02ab\x80\x02cd").await.unwrap();
    assert_eq!(all(&mut first).await, 8);
}

#[tokio::test]
async fn what_is_too_long_takes_no_room_and_is_not_cut() {
    let turnstile = turnstile(1 << 20);
    for length in [u64::MAX, u64::MAX, 1 << 62, (1 << 20) + 1] {
        let bytes = [&head(0x81, length)[..], b"abc"].concat();
        let (mut stream, _far) = connection(&turnstile, &bytes).await;
        let mut out = vec![0; 100];
        assert_eq!(stream.read(&mut out).await.unwrap(), bytes.len());
        assert_eq!(out[..bytes.len()], bytes);
        // It is held on to, and others read.
        let (mut other, _far) = connection(&turnstile, &large(0x81, 1 << 19)).await;
        assert!(all(&mut other).await > 1 << 19, "behind {length}");
    }
}

#[tokio::test]
async fn lengths_without_any_limit_do_not_overflow() {
    let turnstile = turnstile(u64::MAX);
    let bytes = [&head(0x81, u64::MAX)[..], b"abc"].concat();
    let (mut first, _far) = connection(&turnstile, &bytes).await;
    let (mut second, _far) = connection(&turnstile, &bytes).await;
    assert!(once(&mut first, 100).await.is_some());
    assert_eq!(once(&mut second, 100).await, None, "the first takes all the room");
    (0..6).for_each(|_| turnstile.tick());
    assert!(once(&mut second, 100).await.is_some(), "its turn comes all the same");
    drop((first, second));
    let (mut other, _far) = connection(&turnstile, &large(0x81, 1 << 19)).await;
    assert!(all(&mut other).await > 1 << 19, "and all of it was given back");
}

#[tokio::test]
async fn who_stands_apart_keeps_nobody_waiting_and_waits_for_nobody() {
    let shared = turnstile(u64::MAX);
    let bytes = [&head(0x81, 60 << 20)[..], b"abc"].concat();
    let mut held = Vec::new();
    for turnstile in [&shared.apart(), &shared, &shared.apart()] {
        let (mut stream, far) = connection(turnstile, &bytes).await;
        assert!(once(&mut stream, 100).await.is_some());
        held.push((stream, far));
    }
}

#[tokio::test(start_paused = true)]
async fn how_long_somebody_waited_is_noted_once() {
    let turnstile = turnstile(u64::MAX);
    let bytes = [&head(0x81, 60 << 20)[..], b"abc"].concat();
    let (mut first, _far) = connection(&turnstile, &bytes).await;
    let (mut second, _far) = connection(&turnstile, &bytes).await;
    assert!(once(&mut first, 100).await.is_some());
    assert_eq!(once(&mut second, 100).await, None);
    tokio::time::advance(Duration::from_millis(30)).await;
    assert_eq!(once(&mut second, 100).await, None);
    assert!(turnstile.take_waits().is_empty());
    tokio::time::advance(Duration::from_millis(20)).await;
    drop(first);
    assert!(once(&mut second, 100).await.is_some());
    assert_eq!(turnstile.take_waits(), [Duration::from_millis(50)]);
    assert!(turnstile.take_waits().is_empty());
}
