//! The yardstick: clients that speak by fixed bytes and do nothing with what they read but count it.
//!
//! One thread, one epoll, one read per readiness; a publisher beside it on a thread of its own, as in stressctl.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use stressctl::clock;
use stressctl::metrics::thread_time;

use crate::proc;

const PATIENCE: Duration = Duration::from_secs(20);

/// A masked text frame, as a client must send it.
fn frame(text: &str, out: &mut Vec<u8>) {
    const MASK: [u8; 4] = [1, 2, 3, 4];
    out.push(0x81);
    match u16::try_from(text.len()) {
        Ok(len @ 0..126) => out.push(0x80 | len as u8),
        Ok(len) => {
            out.push(0x80 | 126);
            out.extend(len.to_be_bytes());
        }
        Err(_) => unreachable!("the bench says nothing that long"),
    }
    out.extend(MASK);
    out.extend(text.bytes().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
}

fn send(socket: &mut TcpStream, text: &str) -> anyhow::Result<()> {
    let mut out = Vec::new();
    frame(text, &mut out);
    Ok(socket.write_all(&out)?)
}

/// From nothing to `connection_ack`.
pub(crate) fn connect(addr: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(
        b"GET /graphql HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
          Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n",
    )?;
    let (mut head, mut len) = ([0; 1024], 0);
    while !head[..len].ends_with(b"\r\n\r\n") {
        let n = socket.read(&mut head[len..])?;
        ensure!(n > 0, "the server closed during the upgrade");
        len += n;
    }
    ensure!(head.starts_with(b"HTTP/1.1 101"), "the server refused the upgrade");
    send(&mut socket, r#"{"type":"connection_init"}"#)?;
    await_frames(&mut socket, 1)?;
    Ok(socket)
}

fn await_frames(socket: &mut TcpStream, count: u64) -> anyhow::Result<()> {
    let (mut frames, mut buffer) = (Frames::default(), [0; 4096]);
    while frames.count < count {
        let n = socket.read(&mut buffer)?;
        ensure!(n > 0, "the server closed");
        frames.feed(&buffer[..n]);
    }
    Ok(())
}

/// Counts unmasked frames in a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    header: [u8; 10],
    held: usize,
    need: usize,
    pub count: u64,
}

impl Frames {
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.need > 0 {
                let taken = self.need.min(bytes.len());
                self.need -= taken;
                bytes = &bytes[taken..];
                self.count += u64::from(self.need == 0);
                continue;
            }
            self.header[self.held] = bytes[0];
            self.held += 1;
            bytes = &bytes[1..];
            let h = self.header;
            let len = match (self.held, h[1] & 127) {
                (2, 126 | 127) | (0..2, _) => continue,
                (2, len) => usize::from(len),
                (4, 126) => usize::from(u16::from_be_bytes([h[2], h[3]])),
                (10, 127) => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]) as usize,
                _ => continue,
            };
            self.held = 0;
            self.need = len;
            self.count += u64::from(len == 0);
        }
    }
}

/// Subscribers on round-robin channels.
pub(crate) struct Subscribers {
    sockets: Vec<(TcpStream, Frames)>,
}

impl Subscribers {
    /// Connects and subscribes them; all are active when this returns, because the server answered a ping sent
    /// behind each subscribe.
    pub(crate) fn open(addr: SocketAddr, connections: u32, channels: u32) -> anyhow::Result<Self> {
        let sockets = (0..connections).map(|n| {
            let mut socket = connect(addr)?;
            let (id, channel) = (n + 1, n % channels);
            send(
                &mut socket,
                &format!(
                    r#"{{"id":"{id}","type":"subscribe","payload":{{"query":"subscription($channel:String!){{event(channel:$channel){{payload}}}}","variables":{{"channel":"{}"}}}}}}"#,
                    name(channel)
                ),
            )?;
            send(&mut socket, r#"{"type":"ping"}"#)?;
            await_frames(&mut socket, 1)?;
            socket.set_nonblocking(true)?;
            Ok((socket, Frames::default()))
        });
        Ok(Self { sockets: sockets.collect::<anyhow::Result<_>>()? })
    }

    /// Reads on this thread until `expected` messages have come, and says what that took between a tenth and nine
    /// tenths of them.
    pub(crate) fn read(&mut self, expected: u64) -> anyhow::Result<Reading> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, (socket, _)) in self.sockets.iter().enumerate() {
            epoll::add(&epoll, socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        }
        let mut events = Vec::with_capacity(1024);
        let mut buffer = vec![0; 64 << 10];
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let mut read = 0;
        let (mut first, mut last) = (None, None);
        while read < expected {
            events.clear();
            let ready = epoll::wait(&epoll, spare_capacity(&mut events), Some(&patience))?;
            ensure!(ready > 0, "nothing arrived for {patience:?} after {read} of {expected}");
            for event in &events {
                let (socket, frames) = &mut self.sockets[event.data.u64() as usize];
                let before = frames.count;
                let n = socket.read(&mut buffer)?;
                ensure!(n > 0, "the server closed a subscriber");
                frames.feed(&buffer[..n]);
                read += frames.count - before;
            }
            if first.is_none() && read >= expected / 10 {
                first = Some((thread_time(), read, proc::own_waits()));
            }
            if last.is_none() && read >= expected / 10 * 9 {
                last = Some((thread_time(), read, proc::own_waits()));
            }
        }
        let (first, last) = first.zip(last).context("too few messages to measure anything")?;
        let messages = (last.1 - first.1) as f64;
        Ok(Reading {
            us_per_message: (last.0 - first.0).as_secs_f64() * 1e6 / messages,
            per_wait: messages / (last.2 - first.2).max(1) as f64,
        })
    }
}

/// What reading cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub us_per_message: f64,
    /// Messages per time the thread went to sleep.
    pub per_wait: f64,
}

fn name(channel: u32) -> String {
    format!("stress-0123abcd-{channel}")
}

/// What a publisher does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schedule {
    pub channels: u32,
    pub events: u64,
    /// Events that are due together and written together.
    pub batch: u64,
    /// Events per second; `None`: a batch as soon as the one before is acknowledged.
    pub rate: Option<f64>,
}

/// Publishes on the calling thread; every event is acknowledged when it returns. `progress` counts events sent.
pub(crate) fn publish(addr: SocketAddr, schedule: Schedule, progress: &Progress) -> anyhow::Result<()> {
    let mut socket = connect(addr)?;
    let (mut acks, mut buffer) = (Frames::default(), vec![0; 64 << 10]);
    let payload = "x".repeat(200);
    let (mut sent, mut out) = (0, Vec::new());
    let began = clock::now();
    while sent < schedule.events && !progress.stop.load(Relaxed) {
        match schedule.rate {
            Some(rate) => {
                let due = began + Duration::from_secs_f64(sent as f64 / rate);
                std::thread::sleep(due.saturating_duration_since(clock::now()));
            }
            // Two frames for each event: its result and its end.
            None => await_acks(&mut socket, &mut acks, &mut buffer, 2 * sent)?,
        }
        out.clear();
        let end = schedule.events.min(sent + schedule.batch);
        for n in sent..end {
            let (id, channel) = ((1 << 32) + n, name((n % u64::from(schedule.channels)) as u32));
            let text = format!(
                r#"{{"id":"{id}","type":"subscribe","payload":{{"query":"mutation($channel:String!,$payload:String!){{publish(channel:$channel,payload:$payload){{seq}}}}","variables":{{"channel":"{channel}","payload":"{payload}"}}}}}}"#
            );
            frame(&text, &mut out);
        }
        socket.write_all(&out)?;
        sent = end;
        progress.sent.store(sent, Relaxed);
        loop {
            match recv(&socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => anyhow::bail!("the server closed the publisher"),
                Ok((n, _)) => acks.feed(&buffer[..n]),
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
    }
    await_acks(&mut socket, &mut acks, &mut buffer, 2 * sent)
}

fn await_acks(
    socket: &mut TcpStream,
    acks: &mut Frames,
    buffer: &mut [u8],
    count: u64,
) -> anyhow::Result<()> {
    while acks.count < count {
        let n = socket.read(buffer)?;
        ensure!(n > 0, "the server closed the publisher");
        acks.feed(&buffer[..n]);
    }
    Ok(())
}

/// How far a publisher has come, and whether it should go on.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub sent: AtomicU64,
    pub stop: AtomicBool,
}

/// Publishes on another thread while this one reads.
pub(crate) fn load(
    addr: SocketAddr,
    subscribers: &mut Subscribers,
    schedule: Schedule,
) -> anyhow::Result<Reading> {
    let fan_out = subscribers.sockets.len() as u64 / u64::from(schedule.channels);
    let progress = Arc::new(Progress::default());
    let theirs = Arc::clone(&progress);
    let publisher = std::thread::spawn(move || publish(addr, schedule, &theirs));
    let reading = subscribers.read(schedule.events * fan_out);
    progress.stop.store(reading.is_err(), Relaxed);
    publisher.join().map_err(|_| anyhow::anyhow!("the publisher panicked"))??;
    reading
}
