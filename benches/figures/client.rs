//! What the generator costs: memory per connection, CPU per connection, per delivery and per publish.

use anyhow::ensure;
use stressctl::clock;

use crate::Size;
use crate::bare::{self, Schedule, Subscribers};
use crate::children::{Load, Server, eprintln, run};
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
    let both = format!("{} us with its subscribe, its probes and the census", short(with / f64::from(many)));
    Ok(vec![
        Figure::new(
            "client CPU per connection, connect to acknowledged",
            (with - without) / difference,
            "us",
        )
        .target(AtMost(50.0))
        .note(format!("{many} against {few} connections with {many} subscriptions each time; {both}")),
        Figure::new("server CPU per connection", (server_with - server_without) / difference, "us")
            .note("the same difference"),
    ])
}

/// CPU per verified delivery beside a client that only reads.
pub(crate) fn delivery(size: Size) -> anyhow::Result<Vec<Figure>> {
    const CONNECTIONS: u32 = 1_000;
    let mut figures = Vec::new();
    for (fan_out, rate, batch) in
        [(1, 20_000, 1), (1, 20_000, 10), (10, 20_000, 1), (10, 100_000, 10), (100, 100_000, 1)]
    {
        let mut ours = Vec::new();
        let mut theirs = Vec::new();
        let mut waits = Vec::new();
        let seconds = size.of(4, 2);
        let channels = CONNECTIONS / fan_out;
        let publish_rate = rate / fan_out;
        let events = publish_rate * seconds;
        for _ in 0..size.of(3, 1) {
            let server = Server::start()?;
            let load = Load {
                connections: CONNECTIONS,
                subscriptions: CONNECTIONS,
                channels: Some(channels),
                rate: publish_rate,
                events,
                batch,
                ..Load::default()
            };
            let ran = run(&server, &load)?;
            ensure!(ran.number("/ledger/lost") == 0.0, "something was lost");
            let window = ran.window(u64::from(events * fan_out))?;
            let server = Server::start()?;
            let mut subscribers = Subscribers::open(server.addr, CONNECTIONS, channels)?;
            let schedule = Schedule {
                channels,
                events: events.into(),
                batch: batch.into(),
                rate: Some(publish_rate.into()),
            };
            let began = clock::now();
            let reading = bare::load(server.addr, &mut subscribers, schedule)?;
            let took = began.elapsed().as_secs_f64();
            eprintln(&format!(
                "  {rate}/s at fan-out {fan_out}, batch {batch}: {:.2} us ({:.1} per wait, published {:.0}/s, {}), bare {:.2} us ({:.1} per wait, {:.2} s), publisher {:.2} us, server {:.2} us",
                window.subscriber_us(),
                window.per_wait(),
                ran.number("/published/rate"),
                ran.word("/generator/health"),
                reading.us_per_message,
                reading.per_wait,
                took,
                window.publisher_us(),
                window.server_us(),
            ));
            ours.push(window.subscriber_us());
            theirs.push(reading.us_per_message);
            waits.push((window.per_wait(), reading.per_wait));
        }
        let (mine, bare) = (median(&mut ours), median(&mut theirs));
        let (our_wait, their_wait) = waits[waits.len() / 2];
        figures.push(
            Figure::new(
                format!("client CPU per delivery / bare reader, {rate}/s, fan-out {fan_out}, batch {batch}"),
                mine / bare,
                "x",
            )
            .target(AtMost(1.5))
            .note(format!(
                "{} us against {} us; deliveries per sleep {} and {}",
                short(mine),
                short(bare),
                short(our_wait),
                short(their_wait)
            )),
        );
    }
    Ok(figures)
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
