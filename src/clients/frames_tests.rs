//! What a WebSocket sees through them is what was sent, whatever it was and however it came.

use std::future::poll_fn;

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
    Cutting { inner, frames: Frames::new(Rc::default(), before.to_vec()) }
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
    let mut frame = vec![first, 127];
    frame.extend((length as u64).to_be_bytes());
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
    let turnstile = Rc::<Turnstile>::default();
    let mut pipes = Vec::new();
    let mut frame = vec![0x81, 127];
    frame.extend((40_u64 << 20).to_be_bytes());
    for _ in 0..3 {
        let (near, mut far) = duplex(1 << 20);
        far.write_all(&frame).await.unwrap();
        far.write_all(b"abc").await.unwrap();
        pipes.push((Cutting { inner: near, frames: Frames::new(Rc::clone(&turnstile), Vec::new()) }, far));
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
