//! The highest rate at which everything arrives, generator and server on the same processors.

use crate::Size;
use crate::children::{Load, Ran, Server, eprintln, run};
use crate::table::Figure;
use crate::table::Target::AtLeast;

const RATES: [u32; 8] = [20_000, 40_000, 60_000, 80_000, 100_000, 120_000, 140_000, 160_000];

/// Climbs until a rate is not held.
pub(crate) fn deliveries(size: Size) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (fan_out, batch) in [(1, 10), (10, 1), (100, 1)] {
        let (mut best, mut why) = (0, String::new());
        for rate in RATES {
            match held(size, fan_out, batch, rate)? {
                None => best = rate,
                Some(reason) => {
                    why = format!("at {rate}/s: {reason}");
                    break;
                }
            }
        }
        figures.push(
            Figure::new(format!("verified deliveries/s, nothing lost, fan-out {fan_out}"), best.into(), "/s")
                .target(AtLeast(100_000.0))
                .note(why),
        );
    }
    Ok(figures)
}

/// Why a rate is not held; a second try is allowed, because others use the machine as well.
fn held(size: Size, fan_out: u32, batch: u32, rate: u32) -> anyhow::Result<Option<String>> {
    let mut last = None;
    for _ in 0..2 {
        let connections = 1_000;
        let publish_rate = rate / fan_out;
        let load = Load {
            connections,
            subscriptions: connections,
            channels: Some(connections / fan_out),
            publishers: 4,
            rate: publish_rate,
            events: publish_rate * size.of(5, 2),
            batch,
            ..Load::default()
        };
        let server = Server::start()?;
        let ran = run(&server, &load)?;
        last = objection(&ran);
        let said = last.as_deref().unwrap_or("held");
        let window = ran.window(u64::from(load.events) * u64::from(fan_out));
        let cost = window.map_or_else(
            |e| e.to_string(),
            |w| {
                format!(
                    "client {:.2} us, server {:.2} us per delivery, publisher {:.2} us per event",
                    w.subscriber_us(),
                    w.server_us(),
                    w.publisher_us()
                )
            },
        );
        eprintln(&format!("  {rate}/s at fan-out {fan_out}: {said}; {cost}"));
        if last.is_none() {
            break;
        }
    }
    Ok(last)
}

fn objection(ran: &Ran) -> Option<String> {
    let lost = ran.number("/ledger/lost");
    if lost != 0.0 {
        return Some(format!("{lost} lost"));
    }
    let share = ran.number("/published/rate") / ran.number("/predicted/published.rate");
    if share.is_nan() || share < 0.99 {
        return Some(format!("published {:.1} % of the rate", share * 100.0));
    }
    let health = ran.word("/generator/health");
    if health != "ok" {
        return Some(format!("generator {health}: {}", ran.word("/generator/reasons/0")));
    }
    let verdict = ran.word("/verdict");
    (verdict != "pass").then(|| format!("{verdict}: {}", ran.word("/why/0")))
}
