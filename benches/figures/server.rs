//! What the reference server costs: CPU per delivery and memory per connection.

use std::time::Duration;

use crate::Size;
use crate::bare::{self, Schedule, Subscribers};
use crate::children::Server;
use crate::client::median;
use crate::proc;
use crate::table::Target::AtMost;
use crate::table::{Figure, short};

/// One way of loading it.
struct Case {
    fan_out: u32,
    channels: u32,
    batch: u64,
    /// `None`: a batch as soon as the one before is acknowledged.
    rate: Option<f64>,
    most: Option<f64>,
}

const CASES: [Case; 6] = [
    Case { fan_out: 1, channels: 100, batch: 1, rate: None, most: None },
    Case { fan_out: 1, channels: 100, batch: 1, rate: Some(20_000.0), most: Some(12.0) },
    Case { fan_out: 1, channels: 100, batch: 10, rate: Some(20_000.0), most: Some(12.0) },
    Case { fan_out: 10, channels: 10, batch: 1, rate: Some(2_000.0), most: Some(11.0) },
    Case { fan_out: 100, channels: 1, batch: 1, rate: Some(500.0), most: Some(11.0) },
    Case { fan_out: 10_000, channels: 1, batch: 1, rate: Some(5.0), most: Some(11.0) },
];

/// CPU of the whole server process per delivery, the publish and its acknowledgement included.
pub(crate) fn delivery(size: Size) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for case in &CASES {
        let fan_out = if case.fan_out == 10_000 { size.of(10_000, 2_000) } else { case.fan_out };
        let events = size.of(100_000, 40_000).div_ceil(fan_out).max(10);
        let mut each = Vec::new();
        for _ in 0..size.of(3, 1) {
            each.push(once(case, fan_out, events)?);
        }
        let note = format!("{} to {}", short(lowest(&each)), short(highest(&each)));
        let pace = case.rate.map_or_else(
            || "one by one".to_owned(),
            |rate| format!("{} publishes/s in batches of {}", short(rate), case.batch),
        );
        let name = format!("server CPU per delivery, fan-out {fan_out}, {pace}");
        let figure = Figure::new(name, median(&mut each), "us").note(note);
        figures.push(match case.most {
            Some(most) => figure.target(AtMost(most)),
            None => figure,
        });
    }
    Ok(figures)
}

fn once(case: &Case, fan_out: u32, events: u32) -> anyhow::Result<f64> {
    let server = Server::start()?;
    let mut subscribers = Subscribers::open(server.addr, fan_out * case.channels, case.channels)?;
    let schedule =
        Schedule { channels: case.channels, events: events.into(), batch: case.batch, rate: case.rate };
    let before = server.cpu();
    bare::load(server.addr, &mut subscribers, schedule)?;
    let used = server.cpu() - before;
    Ok(used.as_secs_f64() * 1e6 / (f64::from(events) * f64::from(fan_out)))
}

fn lowest(of: &[f64]) -> f64 {
    of.iter().copied().fold(f64::INFINITY, f64::min)
}

fn highest(of: &[f64]) -> f64 {
    of.iter().copied().fold(0.0, f64::max)
}

/// Memory per connection with one subscription on a channel of its own.
pub(crate) fn memory(size: Size) -> anyhow::Result<Vec<Figure>> {
    let connections = size.of(10_000, 2_000);
    let server = Server::start()?;
    let before = proc::resident(server.pid());
    let subscribers = Subscribers::open(server.addr, connections, connections)?;
    std::thread::sleep(Duration::from_millis(100));
    let grown = proc::resident(server.pid()).saturating_sub(before) as f64;
    drop(subscribers);
    let name = format!("server memory per connection, {connections} with a subscription each");
    Ok(vec![Figure::new(name, grown / 1024.0 / f64::from(connections), "KiB").target(AtMost(8.0))])
}
