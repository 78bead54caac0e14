//! A connection that is cut off in the kernel: nothing arrives, nothing is acknowledged, and nothing is lost.
//!
//! SKIPPED where the kernel lets nobody without privileges attach a filter to a socket.

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use common::optional;
use stressctl::inject::partition::{attach, detach, is_allowed};

/// How long nothing arrives; what is not kept back is there in microseconds.
const SILENCE: Duration = Duration::from_millis(300);
/// The longest wait: the kernel sends again after twice the time each time.
const LONG: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let tests: [optional::Test; 3] = [
        ("what_is_kept_back_arrives_later_and_whole", what_is_kept_back_arrives_later_and_whole),
        ("a_peer_that_is_not_acknowledged_comes_to_a_stop", a_peer_that_is_not_acknowledged_comes_to_a_stop),
        ("what_we_send_still_goes_out", what_we_send_still_goes_out),
    ];
    let means = if is_allowed() { Ok(()) } else { Err("no filter may be attached to a socket".to_owned()) };
    optional::run(&tests, &means, "STRESSCTL_REQUIRE_PARTITION")
}

/// A connection that can be cut off, and its peer.
struct Pair {
    ours: tokio::net::TcpStream,
    peer: TcpStream,
    runtime: tokio::runtime::Runtime,
}

impl Pair {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let ours = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it listens");
        let (peer, _) = listener.accept().expect("a connection");
        ours.set_nonblocking(true).expect("it can be polled");
        for socket in [&ours, &peer] {
            socket.set_nodelay(true).expect("it is a socket");
        }
        peer.set_read_timeout(Some(LONG)).expect("it is not zero");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ours = {
            let _entered = runtime.enter();
            tokio::net::TcpStream::from_std(ours).expect("it can be polled")
        };
        Self { ours, peer, runtime }
    }

    /// How much the peer can write until its kernel takes no more.
    fn peer_fills(&mut self) -> usize {
        socket2::SockRef::from(&self.peer).set_send_buffer_size(64 << 10).expect("a size");
        self.peer.set_nonblocking(true).expect("it can be polled");
        let mut taken = 0;
        // Acknowledgements, if there are any, take microseconds.
        for _ in 0..10 {
            while let Ok(count) = self.peer.write(&[b'.'; 4_096]) {
                taken += count;
            }
            thread::sleep(Duration::from_millis(20));
        }
        taken
    }

    /// What arrives within that time, up to so many bytes.
    fn arrives(&self, most: usize, within: Duration) -> Vec<u8> {
        let mut bytes = Vec::new();
        let reads = async {
            while bytes.len() < most {
                self.ours.readable().await.expect("a socket");
                let mut part = vec![0; most - bytes.len()];
                match self.ours.try_read(&mut part) {
                    Ok(0) => return,
                    Ok(count) => bytes.extend_from_slice(&part[..count]),
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
                }
            }
        };
        let _ = self.runtime.block_on(async { tokio::time::timeout(within, reads).await });
        bytes
    }
}

fn what_is_kept_back_arrives_later_and_whole() {
    let mut pair = Pair::new();
    pair.peer.write_all(b"before ").expect("it is open");
    assert_eq!(pair.arrives(7, LONG), b"before ");
    for round in 0..2 {
        attach(&pair.ours).expect("it is allowed");
        pair.peer.write_all(b"meanwhile ").expect("its kernel takes it");
        pair.peer.write_all(b"and more").expect("its kernel takes it");
        assert_eq!(pair.arrives(1, SILENCE), b"", "in round {round}");
        detach(&pair.ours).expect("there is one");
        assert_eq!(pair.arrives(18, LONG), b"meanwhile and more");
    }
    detach(&pair.ours).expect_err("there is none any more");
}

/// A peer that is merely not read is acknowledged until the reader's buffer is full, too.
fn a_peer_that_is_not_acknowledged_comes_to_a_stop() {
    let mut unread = Pair::new();
    let acknowledged = unread.peer_fills();
    let mut cut_off = Pair::new();
    attach(&cut_off.ours).expect("it is allowed");
    let taken = cut_off.peer_fills();
    // What the kernel takes for a buffer of this size may be a segment more.
    let size = socket2::SockRef::from(&cut_off.peer).send_buffer_size().expect("it has one");
    assert!(taken <= 2 * size, "{taken} bytes were taken by a buffer of {size}");
    assert!(acknowledged > taken, "{acknowledged} bytes without a filter, {taken} with one");
    assert_eq!(cut_off.arrives(1, SILENCE), b"");
    detach(&cut_off.ours).expect("there is one");
    assert_eq!(cut_off.arrives(taken, LONG).len(), taken, "nothing is lost");
}

fn what_we_send_still_goes_out() {
    let mut pair = Pair::new();
    attach(&pair.ours).expect("it is allowed");
    pair.runtime.block_on(pair.ours.writable()).expect("a socket");
    assert_eq!(pair.ours.try_write(b"hello").expect("there is room"), 5);
    let mut bytes = [0; 5];
    pair.peer.read_exact(&mut bytes).expect("it arrives");
    assert_eq!(&bytes, b"hello");
}
