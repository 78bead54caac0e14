//! What the generator costs: memory per connection, CPU per connection, per delivery and per publish.

use anyhow::ensure;
use stressctl::metrics::thread_time;

use crate::Size;
use crate::bare::{self, Schedule, Subscribers};
use crate::children::{Load, Server, run};
use crate::scratch;
use crate::table::Target::AtMost;
use crate::table::{Figure, short};

const KIB: f64 = 1024.0;

/// Memory per idle connection, and what it would be with tungstenite's own buffer size.
pub(crate) fn memory(size: Size) -> anyhow::Result<Vec<Figure>> {
    let connections = size.of(10_000, 2_000);
    let mut figures = Vec::new();
    for (together, name, most) in [(false, "bounded handshakes", 8.0), (true, "all opened at once", 12.0)] {
        let server = Server::start()?;
        let load = Load { connections, subscriptions: connections, together, ..Load::default() };
        let ran = run(&server, &load)?;
        let each = ran.number("/resources/client/memory_per_connection_bytes") / KIB;
        ensure!(
            ran.number("/connections/peak_open") == f64::from(connections),
            "not all connections were open"
        );
        let verdict = ran.word("/verdict");
        figures.push(
            Figure::new(format!("client memory per idle connection, {connections} {name}"), each, "KiB")
                .target(AtMost(most))
                .note(format!("(peak - start) / connections; the run's verdict: {verdict}")),
        );
    }
    let each = scratch::measure(size.of(500, 100))? / KIB;
    figures.push(
        Figure::new("the same with the WebSocket library's default buffers", each, "KiB")
            .note("a scratch client with nothing but tokio-tungstenite as it comes"),
    );
    Ok(figures)
}

/// CPU from the connect call to `connection_ack`.
pub(crate) fn connect(size: Size) -> anyhow::Result<Vec<Figure>> {
    let (many, few) = (size.of(10_000, 2_000), size.of(1_000, 200));
    let set_up = |connections| -> anyhow::Result<(f64, f64)> {
        let server = Server::start()?;
        let load = Load { connections, subscriptions: many, ..Load::default() };
        let ran = run(&server, &load)?;
        let before = ran.at("connecting")?;
        let after = ran.at("phase main")?;
        let micros = |d: std::time::Duration| d.as_secs_f64() * 1e6;
        Ok((micros(after.subscribers - before.subscribers), micros(after.server - before.server)))
    };
    let (with, server_with) = set_up(many)?;
    let (without, server_without) = set_up(few)?;
    let difference = f64::from(many - few);
    let floor = bare_connect(few)?;
    let note = format!(
        "{many} against {few} connections with {many} subscriptions each time; a bare blocking client {} us",
        short(floor)
    );
    Ok(vec![
        Figure::new(
            "client CPU per connection, connect to acknowledged",
            (with - without) / difference,
            "us",
        )
        .target(AtMost(50.0))
        .note(note),
        Figure::new("the same with its subscribe, its probes and the census", with / f64::from(many), "us"),
        Figure::new("server CPU per connection", (server_with - server_without) / difference, "us")
            .note("the same difference"),
    ])
}

/// The kernel's part: CPU of a thread that connects, upgrades and is acknowledged by fixed bytes, one by one.
fn bare_connect(connections: u32) -> anyhow::Result<f64> {
    let server = Server::start()?;
    let before = thread_time();
    let open = (0..connections).map(|_| bare::connect(server.addr)).collect::<anyhow::Result<Vec<_>>>()?;
    let used = thread_time() - before;
    drop(open);
    Ok(used.as_secs_f64() * 1e6 / f64::from(connections))
}

/// Enough that one wake seldom finds much to read on one of them.
const CONNECTIONS: u32 = 1_000;

/// Deliveries per second, at a fan-out, published in batches.
struct Flow {
    rate: u32,
    fan_out: u32,
    batch: u32,
}

const FLOWS: [Flow; 5] = [
    Flow { rate: 20_000, fan_out: 1, batch: 1 },
    Flow { rate: 20_000, fan_out: 1, batch: 10 },
    Flow { rate: 20_000, fan_out: 10, batch: 1 },
    Flow { rate: 100_000, fan_out: 10, batch: 10 },
    Flow { rate: 100_000, fan_out: 100, batch: 1 },
];

/// CPU per verified delivery beside a client that only reads; both read the same flow of the same server within
/// seconds of each other, and only the threads that read are counted.
pub(crate) fn delivery(size: Size) -> anyhow::Result<Vec<Figure>> {
    FLOWS.iter().map(|flow| ratio(flow, size)).collect()
}

/// One measurement of both.
struct Pair {
    ours: f64,
    bare: f64,
    our_sleeps: f64,
    bare_sleeps: f64,
}

/// Deliveries that are read together cost less each, and a reader that others keep from running finds more of them
/// together: a pair in which one reader woke this many times as often per delivery as the other says nothing.
const COMPARABLE: f64 = 3.0;

impl Pair {
    fn ratio(&self) -> f64 {
        self.ours / self.bare
    }

    fn is_comparable(&self) -> bool {
        let sleeps = self.our_sleeps / self.bare_sleeps;
        (1.0 / COMPARABLE..=COMPARABLE).contains(&sleeps)
    }
}

/// The median of three pairs: on a shared machine neighbours come and go, but seldom within a pair.
fn ratio(flow: &Flow, size: Size) -> anyhow::Result<Figure> {
    let Flow { rate, fan_out, batch } = flow;
    let mut pairs: Vec<Pair> = Vec::new();
    for _ in 0..size.of(3, 1) {
        pairs.push(pair(flow, size)?);
    }
    let all = pairs.len();
    let judged = pairs.iter().any(Pair::is_comparable);
    if judged {
        pairs.retain(Pair::is_comparable);
    }
    pairs.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
    let middle = &pairs[pairs.len() / 2];
    let comparable = if judged { pairs.len() } else { 0 };
    let note = format!(
        "{} us against {} us; {} and {} deliveries each time it wakes; {comparable} of {all} pairs comparable, {} to {}",
        short(middle.ours),
        short(middle.bare),
        short(middle.our_sleeps),
        short(middle.bare_sleeps),
        short(pairs[0].ratio()),
        short(pairs[pairs.len() - 1].ratio()),
    );
    let name = format!(
        "client CPU per delivery / bare reader, {} per second, fan-out {fan_out}, batch {batch}",
        short((*rate).into())
    );
    let figure = Figure::new(name, middle.ratio(), "x").target(AtMost(1.5)).note(note);
    Ok(if judged { figure } else { figure.unclear() })
}

fn pair(flow: &Flow, size: Size) -> anyhow::Result<Pair> {
    let channels = CONNECTIONS / flow.fan_out;
    let rate = flow.rate / flow.fan_out;
    let events = rate * size.of(4, 2);
    let server = Server::start()?;
    let load = Load {
        connections: CONNECTIONS,
        subscriptions: CONNECTIONS,
        channels: Some(channels),
        rate,
        events,
        batch: flow.batch,
        ..Load::default()
    };
    let ran = run(&server, &load)?;
    ensure!(ran.number("/ledger/lost") == 0.0, "something was lost");
    let window = ran.window(u64::from(events * flow.fan_out))?;
    let server = Server::start()?;
    let mut subscribers = Subscribers::open(server.addr, CONNECTIONS, channels)?;
    let schedule =
        Schedule { channels, events: events.into(), batch: flow.batch.into(), rate: Some(rate.into()) };
    let reading = bare::load(server.addr, &mut subscribers, schedule)?;
    Ok(Pair {
        ours: window.subscriber_us(),
        bare: reading.us_per_message,
        our_sleeps: window.per_wait(),
        bare_sleeps: reading.per_wait,
    })
}

/// CPU of the publishers' thread per event.
pub(crate) fn publish(size: Size) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for batch in [1, 10, 100] {
        let (rate, seconds) = (10_000, size.of(5, 2));
        let server = Server::start()?;
        let load = Load {
            connections: 100,
            subscriptions: 100,
            rate,
            events: rate * seconds,
            batch,
            ..Load::default()
        };
        let ran = run(&server, &load)?;
        let window = ran.window(u64::from(load.events))?;
        figures.push(
            Figure::new(format!("client CPU per publish, batch {batch}"), window.publisher_us(), "us")
                .note("with pacing, its token and its acknowledgement; 10,000/s on one connection"),
        );
    }
    Ok(figures)
}

pub(crate) fn median(of: &mut [f64]) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
