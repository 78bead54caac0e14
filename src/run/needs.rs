//! What a plan will take: files, ports, memory, time and bytes, reckoned before anything is opened.
//!
//! Counts are exact; memory and time are estimates from figures measured on two cores, and are called so. A
//! reader that is held slow costs kernel memory that is not in them. Next to read: [`super::limits`], which
//! holds them against the machine.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use bytesize::ByteSize;

use crate::clients::turnstile::AT_A_TIME;
use crate::scenarios::plan::{Connect, DropPoint, Pace, Plan, PublisherGroup};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// Files beside connections: runtimes, pipes, reports, scrapes, sockets on their way out.
const SPARE_FILES: u64 = 128;
/// Connections of the prober.
const PROBERS: u64 = 1;
/// Buckets, code and stacks of one process.
const PROCESS_BYTES: u64 = 64 * MIB;
/// One connection beside its read buffer.
const CONNECTION_BYTES: u64 = 4 * KIB;
/// One subscription and its book.
const SUBSCRIPTION_BYTES: u64 = 512;
/// A payload from which on the threads of subscribers let only [`AT_A_TIME`] of messages in.
const LARGE: u64 = 352 * KIB;
/// What a large message takes while it is put together and looked at, as a multiple of its length: its buffer doubles,
/// and an allocator keeps some of what was freed. With `large-payload` it was 3 to 4 times.
const PUT_TOGETHER: u64 = 4;
/// The same of a large event that is sent: as it is, as an operation, and as a frame.
const SENT: u64 = 3;
/// Handshakes finished per second, the server on the same machine.
const HANDSHAKES_PER_S: f64 = 2_500.0;
/// Subscriptions confirmed per second.
const CONFIRMED_PER_S: f64 = 15_000.0;
/// Deliveries per second when nothing holds the publishers back.
const DELIVERIES_PER_S: f64 = 100_000.0;
/// Bytes per second in the same case.
const BYTES_PER_S: f64 = 500e6;
/// One publish and its acknowledgement.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// What one plan will take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Needs {
    /// Whether our own server runs beside the load.
    pub reference: bool,
    /// Connections open at once: subscribers, publishers, prober.
    pub connections: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Events over all phases and rounds.
    pub events: u64,
    /// Deliveries they are owed on average.
    pub deliveries: u64,
    /// Payload bytes sent and received.
    pub traffic_bytes: u64,
    /// Files open at once in each of the processes.
    pub files: u64,
    /// Ephemeral ports from one source address to one target port.
    pub ports: u64,
    /// Memory of all our processes, an estimate.
    pub memory_bytes: u64,
    /// From the first connect to the last sample, an estimate.
    pub duration: Duration,
}

impl Needs {
    /// Reckons what `plan` will take with so many threads of subscribers; `reference`: our own server runs on this
    /// machine too.
    #[must_use]
    pub fn of(plan: &Plan, reference: bool, threads: u32) -> Self {
        let subscribers = u64::from(plan.subscriber_connections());
        let connections = subscribers + u64::from(plan.publisher_connections()) + PROBERS;
        let subscriptions = u64::from(plan.subscriptions());
        let load = Load::of(plan);
        let rounds = f64::from(plan.rounds.max(1));
        let once = setup(plan) + load.duration + plan.timeouts.quiet + plan.timeouts.cool_down;
        Self {
            reference,
            connections,
            subscriptions,
            events: (load.events * rounds) as u64,
            deliveries: (load.events * rounds * fan_out(plan)) as u64,
            traffic_bytes: (load.bytes * rounds * (1.0 + fan_out(plan))) as u64,
            files: connections + SPARE_FILES,
            ports: connections,
            memory_bytes: memory(plan, connections, subscriptions, reference, threads),
            duration: seconds(once.as_secs_f64() * rounds),
        }
    }

    /// One line, for the head of a run.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} connections, {} subscriptions, {} events, about {}, {} memory, {} {}",
            count(self.connections),
            count(self.subscriptions),
            count(self.events),
            time(self.duration),
            bytes(self.memory_bytes),
            bytes(self.traffic_bytes),
            self.way(),
        )
    }

    /// One figure per line, for `stressctl plan`.
    #[must_use]
    pub fn text(&self) -> String {
        let both = if self.reference { ", and as many in the reference server" } else { "" };
        let lines = [
            ("connections", count(self.connections)),
            ("subscriptions", count(self.subscriptions)),
            ("events", count(self.events)),
            ("deliveries", format!("about {}", count(self.deliveries))),
            ("traffic", format!("about {} {}", bytes(self.traffic_bytes), self.way())),
            ("duration", format!("about {}", time(self.duration))),
            ("open files", format!("{}{both}", count(self.files))),
            ("ports", count(self.ports)),
            ("memory", format!("about {}", bytes(self.memory_bytes))),
        ];
        let mut text = String::new();
        for (name, value) in lines {
            let _ = writeln!(text, "{name:<14}{value}");
        }
        text
    }

    const fn way(&self) -> &'static str {
        if self.reference { "through loopback" } else { "to and from the target" }
    }
}

/// What the publishers of one round do.
struct Load {
    events: f64,
    bytes: f64,
    duration: Duration,
}

impl Load {
    fn of(plan: &Plan) -> Self {
        let mut load = Self { events: 0.0, bytes: 0.0, duration: Duration::ZERO };
        for (index, phase) in plan.phases.iter().enumerate() {
            let mut longest = Duration::ZERO;
            for group in plan.publishers.iter().filter(|group| group.phases.contains(&index)) {
                let rate = rate(group, fan_out(plan));
                let length = phase.length.map(|length| length.as_secs_f64());
                let events = match (group.events, length) {
                    (Some(events), _) => events as f64,
                    (None, length) => rate * length.unwrap_or(0.0),
                };
                let steps = group.payloads();
                load.bytes += events * steps.iter().map(|bytes| *bytes as f64).sum::<f64>();
                let events = events * steps.len() as f64;
                load.events += events;
                longest = longest.max(seconds(events / rate));
            }
            load.duration += phase.length.unwrap_or(longest);
        }
        load
    }
}

/// Events per second of a group, asked for or expected.
fn rate(group: &PublisherGroup, fan_out: f64) -> f64 {
    let rate = match group.pace {
        Pace::Open(rate) => rate,
        Pace::Unlimited => {
            let by_bytes = BYTES_PER_S / (group.payload.max(1) as f64 * (1.0 + fan_out));
            by_bytes.min(DELIVERIES_PER_S / fan_out.max(1.0))
        }
        Pace::OneByOne => f64::from(group.connections) / ROUND_TRIP.as_secs_f64(),
    };
    rate.max(f64::MIN_POSITIVE)
}

/// Subscriptions per channel, on average.
fn fan_out(plan: &Plan) -> f64 {
    f64::from(plan.subscriptions()) / f64::from(plan.channels.max(1))
}

fn setup(plan: &Plan) -> Duration {
    let groups = plan.subscribers.iter().map(|group| {
        let connections = f64::from(group.connections);
        let connect = match group.connect {
            Connect::Rate(rate) => connections / rate.max(f64::MIN_POSITIVE),
            Connect::Bounded(_) | Connect::Together => connections / HANDSHAKES_PER_S,
        };
        let confirm = f64::from(group.subscriptions) / CONFIRMED_PER_S;
        seconds(connect + confirm) + group.wave_pause * group.waves.saturating_sub(1)
    });
    groups.sum()
}

fn memory(plan: &Plan, connections: u64, subscriptions: u64, reference: bool, threads: u32) -> u64 {
    let payload = plan.largest_payload() as u64;
    let read_buffer = match payload {
        0..=4_000 => 4 * KIB,
        4_001..=64_000 => 16 * KIB,
        _ => 128 * KIB,
    };
    let each = CONNECTION_BYTES + read_buffer;
    // Open handshakes hold as much again.
    let together = plan.subscribers.iter().filter(|group| group.connect == Connect::Together);
    let handshakes = together.map(|group| u64::from(group.connections) * each / 2).sum::<u64>();
    let client = PROCESS_BYTES
        + connections * each
        + handshakes
        + subscriptions * SUBSCRIPTION_BYTES
        + under_way(plan, payload, threads);
    // Only publishers send it anything long.
    let publishers = u64::from(plan.publisher_connections()) * (read_buffer + payload);
    let server =
        PROCESS_BYTES + connections * 2 * CONNECTION_BYTES + subscriptions * SUBSCRIPTION_BYTES + publishers;
    client + if reference { server } else { 0 }
}

/// Every message under way is put together at its receiver: what one event per publisher fans out to. Of large ones only
/// so many are read at a time, and one by each connection that nobody else may wait for.
fn under_way(plan: &Plan, payload: u64, threads: u32) -> u64 {
    let receivers = (fan_out(plan).ceil() as u64).saturating_mul(u64::from(plan.publisher_connections()));
    let all = payload.saturating_mul(receivers.min(u64::from(plan.subscriber_connections())));
    if payload <= LARGE {
        return all;
    }
    let let_in = u64::from(threads) * AT_A_TIME.max(payload) + apart(plan) * payload;
    all.min(let_in) * PUT_TOGETHER + payload * SENT
}

/// Subscribing connections on whose bytes a fault acts: each reads on its own.
fn apart(plan: &Plan) -> u64 {
    if plan.faults.is_empty() {
        return 0;
    }
    let schedule = plan.schedule();
    let on_bytes = schedule.acts().iter().filter(|act| {
        plan.faults[act.fault].kind.layer() == "link" || act.point == Some(DropPoint::ReceivePartial)
    });
    let connections: BTreeSet<u32> = on_bytes.map(|act| act.connection).collect();
    connections.range(..plan.subscriber_connections()).count() as u64
}

/// Seconds as a duration; a plan that would never end is one that takes a long time.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
}

pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn bytes(number: u64) -> String {
    ByteSize::b(number).display().iec().to_string()
}

fn time(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs_f64().ceil() as u64)).to_string()
}

#[cfg(test)]
#[path = "needs_tests.rs"]
pub(super) mod tests;
