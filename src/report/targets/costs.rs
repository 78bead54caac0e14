//! What a server pays for its work, where no limit says how much it may: per delivery, per connection, in time.

use super::{Ground, Target, generator_doubt, turned_away};
use crate::report::human::{bytes, count, micros, ratio, seconds};
use crate::report::model::{Latency, PhaseReport, Report, ServerResources};

/// CPU time below which the kernel's ticks of 10 ms say little.
const CPU_MIN_S: f64 = 0.1;

/// Deliveries, connections or subscriptions below which a figure for each of them says little, and times below which
/// their p99 is that of hardly more than the slowest ten.
const FEW: u64 = 1_000;

/// Deliveries for each connection and subscription that was made, below which those are most of the work.
const OTHER_WORK: u64 = 10;

/// Bytes of a message on average beyond which its size is most of the work.
const LARGE: u64 = 10_000;

/// Our own part of a latency, beyond which it is not the server's.
const OWN_SHARE: f64 = 0.1;

/// One figure of one report.
struct Figure {
    value: f64,
    measured: String,
    doubts: Vec<String>,
}

/// A cost: what it is, how it is shown, where it is in the JSON report, and how it is read from one.
struct Cost {
    title: &'static str,
    unit: &'static str,
    keys: &'static str,
    show: fn(f64) -> String,
    read: fn(&Report) -> Option<Figure>,
}

impl Cost {
    /// What to look at, in a sentence.
    fn place(&self) -> String {
        // What is said in words says itself whose they are.
        if self.keys.ends_with(',') {
            self.keys.to_owned()
        } else {
            format!("{} of the JSON report", self.keys)
        }
    }
}

/// The dearest first.
const COSTS: [Cost; 9] = [
    Cost {
        title: "CPU time of the server per message delivered",
        unit: "CPU time per delivery",
        keys: "resources.server.cpu_s of the JSON report, divided by all deliveries of all rounds, probes included,",
        show: seconds,
        read: cpu_per_delivery,
    },
    Cost {
        title: "Memory of the server per connection",
        unit: "memory per connection",
        keys: "resources.server.memory_per_connection_bytes",
        show: bytes,
        read: memory_per_connection,
    },
    Cost {
        title: "Memory of the server per subscription",
        unit: "memory per subscription",
        keys: "waves.each[-1].server_memory_per_subscription_bytes",
        show: bytes,
        read: memory_per_subscription,
    },
    Cost {
        title: "Memory that the server keeps after everything was closed",
        unit: "memory per connection",
        keys: "(resources.server.memory_end_bytes - resources.server.memory_start_bytes) / connections.peak_open",
        show: bytes,
        read: memory_kept,
    },
    Cost {
        title: "Memory that the server takes for slow readers",
        unit: "memory per slow reader",
        keys: "slow_consumers.server_memory_rise_bytes / slow_consumers.readers",
        show: bytes,
        read: memory_for_slow_readers,
    },
    Cost {
        title: "Delivery latency, 99th percentile",
        unit: "latency",
        keys: "phases[].latency.deliver.p99_us",
        show: seconds,
        read: deliver,
    },
    Cost {
        title: "Delivery latency beside faults of ours, 99th percentile",
        unit: "latency of bystanders",
        keys: "phases[].groups.bystanders.latency.deliver.p99_us",
        show: seconds,
        read: deliver_to_bystanders,
    },
    Cost {
        title: "Time to connect, 99th percentile",
        unit: "latency",
        keys: "latency.connect.p99_us",
        show: seconds,
        read: connect,
    },
    Cost {
        title: "Time until a client whose connection ended was back, the longest",
        unit: "time to recover",
        keys: "latency.reconnect.max_us",
        show: seconds,
        read: recover,
    },
];

/// One target for each cost that any report shows; the scenario in which it is highest stands for it.
pub(super) fn targets(reports: &[Report]) -> Vec<Target> {
    COSTS.iter().enumerate().filter_map(|(i, cost)| target(i, cost, reports)).collect()
}

fn target(place: usize, cost: &Cost, reports: &[Report]) -> Option<Target> {
    let read = |(i, report)| Some((i, (cost.read)(report)?));
    let mut figures: Vec<(usize, Figure)> = reports.iter().enumerate().filter_map(read).collect();
    figures.sort_by(|(_, a), (_, b)| {
        a.doubts.is_empty().cmp(&b.doubts.is_empty()).reverse().then(b.value.total_cmp(&a.value))
    });
    let also = figures.iter().skip(1).map(|(i, figure)| {
        let doubt = if figure.doubts.is_empty() { "" } else { ", not to be relied upon" };
        format!("{}: {}{doubt}", reports[*i].scenario.name, (cost.show)(figure.value))
    });
    let also = also.collect();
    let (report, worst) = figures.into_iter().next()?;
    let shown = (cost.show)(worst.value);
    Some(Target {
        ground: Ground::Cost,
        weight: -(place as f64),
        count: worst.value,
        title: cost.title.to_owned(),
        scenario: reports[report].scenario.name.clone(),
        measured: worst.measured,
        cost: format!("{}: {shown}", cost.unit),
        also,
        fixed_when: format!(
            "{} is below {shown} by more than it differs between two runs, and nothing that passed fails",
            cost.place()
        ),
        report,
        doubts: worst.doubts,
    })
}

fn server(report: &Report) -> Option<&ServerResources> {
    report.resources.server.as_ref()
}

fn few(n: u64, of: &str) -> Option<String> {
    (n < FEW).then(|| format!("there were only {} {of}", count(n)))
}

/// Of all rounds, as CPU time is. The server's own count of the round that is shown says how much more it delivered than
/// events: probes, censuses and barriers.
fn cpu_per_delivery(report: &Report) -> Option<Figure> {
    let cpu_s = server(report)?.cpu_s;
    let events = report.ledger.receipts;
    let rounds = report.rounds.iter().flat_map(|rounds| &rounds.each);
    let in_all = rounds.map(|round| round.ledger.receipts).sum::<u64>().max(events);
    let checks = report.server_stats.iter().flat_map(|stats| &stats.checks);
    let told = checks.filter(|check| check.name == "delivered").find_map(|check| check.server);
    let share = told.map_or(1.0, |told| told / events.max(1) as f64).max(1.0);
    let n = (in_all as f64 * share) as u64;
    let tick = (cpu_s < CPU_MIN_S).then(|| "CPU time is counted in steps of 10 ms".to_owned());
    let made = report.connections.established + report.subscriptions.confirmed;
    let other = (n < made * OTHER_WORK)
        .then(|| format!("it took {} connections and subscriptions, too, which cost more each", count(made)));
    let bytes_each = report.published.volume_bytes / report.published.sent.max(1);
    let large = (bytes_each > LARGE).then(|| {
        format!("its messages are of {} on average, and compare with no small ones", bytes(bytes_each as f64))
    });
    (n > 0 && cpu_s > 0.0).then(|| Figure {
        value: cpu_s / n as f64,
        measured: format!(
            "{} of CPU time for {} messages delivered, everything else that the server did included",
            seconds(cpu_s),
            count(n)
        ),
        doubts: tick.into_iter().chain(few(n, "deliveries")).chain(other).chain(large).collect(),
    })
}

fn memory_per_connection(report: &Report) -> Option<Figure> {
    let server = server(report)?;
    let value = server.memory_per_connection_bytes?;
    let n = report.connections.peak_open.unwrap_or(0);
    Some(Figure {
        value,
        measured: format!(
            "from {} to {} with {} connections",
            bytes(server.memory_start_bytes as f64),
            bytes(server.memory_peak_bytes as f64),
            count(n)
        ),
        doubts: few(n, "connections").into_iter().collect(),
    })
}

fn memory_per_subscription(report: &Report) -> Option<Figure> {
    let wave = report.waves.as_ref()?.each.last()?;
    let value = wave.server_memory_per_subscription_bytes?;
    Some(Figure {
        value,
        measured: format!("growth in the last wave, of {} subscriptions", count(wave.requested)),
        doubts: few(wave.requested, "subscriptions in it").into_iter().collect(),
    })
}

fn memory_kept(report: &Report) -> Option<Figure> {
    let server = server(report)?;
    let kept = server.memory_end_bytes.saturating_sub(server.memory_start_bytes);
    let n = report.connections.peak_open.filter(|n| *n > 0)?;
    (kept > 0).then(|| Figure {
        value: kept as f64 / n as f64,
        measured: format!(
            "{} more at the end than before the first of {} connections",
            bytes(kept as f64),
            count(n)
        ),
        doubts: few(n, "connections").into_iter().collect(),
    })
}

fn memory_for_slow_readers(report: &Report) -> Option<Figure> {
    let slow = report.slow_consumers.as_ref().filter(|slow| slow.readers > 0)?;
    let rise = slow.server_memory_rise_bytes.filter(|rise| *rise > 0)?;
    Some(Figure {
        value: rise as f64 / slow.readers as f64,
        measured: format!("{} while {} readers were slow", bytes(rise as f64), count(slow.readers)),
        doubts: Vec::new(),
    })
}

/// Where faults were injected, the times of those they were aimed at are ours.
fn deliver(report: &Report) -> Option<Figure> {
    let phases = with_rates(report).filter(|_| report.faults.is_empty());
    slowest(report, phases.filter_map(|phase| Some((phase, phase.latency.deliver.as_ref()?))), "deliveries")
}

fn deliver_to_bystanders(report: &Report) -> Option<Figure> {
    let phases = with_rates(report).filter(|_| !report.faults.is_empty());
    let to =
        phases.filter_map(|phase| Some((phase, phase.groups.get("bystanders")?.latency.deliver.as_ref()?)));
    slowest(report, to, "deliveries to bystanders")
}

/// Phases in which publishers keep a rate: where they send as fast as they can, or ever larger payloads, latency is what
/// they make of it.
fn with_rates(report: &Report) -> impl Iterator<Item = &PhaseReport> {
    let groups = report.scenario.resolved.get("publishers").and_then(serde_json::Value::as_object);
    let without = groups.into_iter().flat_map(|groups| groups.values()).filter(|group| {
        group.get("rate").is_some_and(|rate| rate == "unlimited")
            || group.get("payload").is_some_and(serde_json::Value::is_object)
    });
    let without: Vec<&str> = without
        .flat_map(|group| group.get("phase").and_then(serde_json::Value::as_array).into_iter().flatten())
        .filter_map(serde_json::Value::as_str)
        .collect();
    report.phases.iter().filter(move |phase| !without.contains(&phase.name.as_str()))
}

/// That of the phase in which it took longest.
fn slowest<'a>(
    report: &Report,
    phases: impl Iterator<Item = (&'a PhaseReport, &'a Latency)>,
    what: &str,
) -> Option<Figure> {
    let (phase, latency) = phases.max_by_key(|(_, latency)| latency.p99_us)?;
    let what = format!("{what} in {}", phase.name);
    Some(timed(report, latency, report.generator.drain_p99_us, &what))
}

fn connect(report: &Report) -> Option<Figure> {
    let own = report.generator.setup_lag_p99_us;
    report.latency.connect.as_ref().map(|latency| timed(report, latency, own, "connects"))
}

fn timed(report: &Report, latency: &Latency, own_us: Option<u64>, what: &str) -> Figure {
    let own = own_us.filter(|own| *own as f64 > OWN_SHARE * latency.p99_us as f64).map(|own| {
        format!("our own processing, p99 {}, is more than {} of it", micros(own), ratio(OWN_SHARE))
    });
    Figure {
        value: latency.p99_us as f64 / 1e6,
        measured: format!(
            "p50 {}, p99 {}, most {}, of {} {what}",
            micros(latency.p50_us),
            micros(latency.p99_us),
            micros(latency.max_us),
            count(latency.count)
        ),
        doubts: generator_doubt(report).into_iter().chain(own).chain(few(latency.count, what)).collect(),
    }
}

fn recover(report: &Report) -> Option<Figure> {
    let latency = report.latency.reconnect.as_ref()?;
    Some(Figure {
        value: latency.max_us as f64 / 1e6,
        measured: format!(
            "p50 {}, p99 {}, most {}, of {} that came back",
            micros(latency.p50_us),
            micros(latency.p99_us),
            micros(latency.max_us),
            count(latency.count)
        ),
        doubts: generator_doubt(report)
            .into_iter()
            .chain(turned_away(report))
            .chain(few(latency.count, "that came back"))
            .collect(),
    })
}
