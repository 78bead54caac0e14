//! What the server counts, and how it tells: JSON for `/stats`, Prometheus text for `/metrics`.
//!
//! While nothing is being published, every event owed to a live subscription is in exactly one of `delivered`
//! (handed to the kernel whole), `queued` and `dropped`.

use std::cell::Cell;
use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;

/// A counter or gauge of the server's one thread.
#[derive(Debug, Default)]
pub(crate) struct Count(Cell<u64>);

impl Count {
    pub(crate) fn get(&self) -> u64 {
        self.0.get()
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    pub(crate) fn sub(&self, n: u64) {
        debug_assert!(n <= self.0.get(), "a gauge below zero");
        self.0.set(self.0.get().saturating_sub(n));
    }

    pub(crate) fn raise_to(&self, n: u64) {
        self.0.set(self.0.get().max(n));
    }
}

/// The server's own counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// WebSockets open now.
    pub(crate) connections: Count,
    /// Most WebSockets open at one moment.
    pub(crate) peak_connections: Count,
    /// WebSockets ever opened.
    pub(crate) connections_total: Count,
    /// Subscriptions active now.
    pub(crate) subscriptions: Count,
    /// Most subscriptions active at one moment.
    pub(crate) peak_subscriptions: Count,
    /// Subscriptions ever opened.
    pub(crate) subscriptions_total: Count,
    /// Of those, the ones that their clients ended.
    pub(crate) unsubscribed_total: Count,
    /// Events accepted from publishers.
    pub(crate) published: Count,
    /// Deliveries handed to the kernel whole.
    pub(crate) delivered: Count,
    /// Deliveries waiting for a socket to take them.
    pub(crate) queued: Count,
    /// Deliveries given up: refused by a full queue, or queued when the connection ended.
    pub(crate) dropped: Count,
    /// Connections cut because their queue was full.
    pub(crate) disconnected_slow: Count,
}

/// One reading of everything.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) connections: u64,
    peak_connections: u64,
    connections_total: u64,
    pub(crate) subscriptions: u64,
    peak_subscriptions: u64,
    subscriptions_total: u64,
    unsubscribed_total: u64,
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    queued: u64,
    dropped: u64,
    disconnected_slow: u64,
    memory_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    uptime_s: f64,
}

impl Snapshot {
    pub(crate) fn take(counters: &Counters, uptime: Duration) -> Self {
        let memory = Memory::read();
        Self {
            connections: counters.connections.get(),
            peak_connections: counters.peak_connections.get(),
            connections_total: counters.connections_total.get(),
            subscriptions: counters.subscriptions.get(),
            peak_subscriptions: counters.peak_subscriptions.get(),
            subscriptions_total: counters.subscriptions_total.get(),
            unsubscribed_total: counters.unsubscribed_total.get(),
            published: counters.published.get(),
            delivered: counters.delivered.get(),
            queued: counters.queued.get(),
            dropped: counters.dropped.get(),
            disconnected_slow: counters.disconnected_slow.get(),
            memory_bytes: memory.resident,
            memory_peak_bytes: memory.peak,
            uptime_s: uptime.as_secs_f64(),
        }
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("a snapshot is plain numbers")
    }

    pub(crate) fn prometheus(&self) -> String {
        let mut out = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
            write!(
                out,
                "# HELP stressctl_{name} {help}\n# TYPE stressctl_{name} {kind}\nstressctl_{name} {value}\n"
            )
            .expect("writing to a string does not fail");
        };
        let mut count = |name, kind, help, value: u64| metric(name, kind, help, value as f64);
        count("connections", "gauge", "WebSockets open.", self.connections);
        count("connections_peak", "gauge", "Most WebSockets open at one moment.", self.peak_connections);
        count("connections_total", "counter", "WebSockets ever opened.", self.connections_total);
        count("subscriptions", "gauge", "Subscriptions active.", self.subscriptions);
        count(
            "subscriptions_peak",
            "gauge",
            "Most subscriptions active at one moment.",
            self.peak_subscriptions,
        );
        count("subscriptions_total", "counter", "Subscriptions ever opened.", self.subscriptions_total);
        count(
            "unsubscribed_total",
            "counter",
            "Subscriptions that their clients ended.",
            self.unsubscribed_total,
        );
        count("published_total", "counter", "Events accepted from publishers.", self.published);
        count("delivered_total", "counter", "Deliveries handed to the kernel whole.", self.delivered);
        count("queued", "gauge", "Deliveries waiting for a socket to take them.", self.queued);
        count("dropped_total", "counter", "Deliveries given up.", self.dropped);
        count(
            "disconnected_slow_total",
            "counter",
            "Connections cut because their queue was full.",
            self.disconnected_slow,
        );
        if let Some(bytes) = self.memory_bytes {
            count("memory_bytes", "gauge", "Resident memory.", bytes);
        }
        if let Some(bytes) = self.memory_peak_bytes {
            count("memory_peak_bytes", "gauge", "Most resident memory at one moment.", bytes);
        }
        metric("uptime_seconds", "gauge", "Seconds since the server started to listen.", self.uptime_s);
        out
    }
}

/// Memory of this process.
#[derive(Debug, Default)]
struct Memory {
    resident: Option<u64>,
    peak: Option<u64>,
}

impl Memory {
    fn read() -> Self {
        match std::fs::read_to_string("/proc/self/status") {
            Ok(status) => Self::parse(&status),
            Err(_) => Self { resident: resident_elsewhere(), peak: None },
        }
    }

    fn parse(status: &str) -> Self {
        let kib = |key| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        Self { resident: kib("VmRSS:"), peak: kib("VmHWM:") }
    }
}

/// The same where there is no /proc; no peak.
fn resident_elsewhere() -> Option<u64> {
    use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};
    let pid = sysinfo::get_current_pid().ok()?;
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, what);
    system.process(pid).map(sysinfo::Process::memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_file() {
        let memory = Memory::parse("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n");
        assert_eq!((memory.resident, memory.peak), (Some(1 << 20), Some(2 << 20)));
        let unknown = Memory::parse("Name:\tx\n");
        assert_eq!((unknown.resident, unknown.peak), (None, None));
        assert!(resident_elsewhere().is_some_and(|bytes| bytes > 0));
    }

    #[test]
    fn both_formats_tell_the_same() {
        let counters = Counters::default();
        counters.delivered.add(12);
        counters.connections.add(3);
        counters.connections.sub(1);
        let snapshot = Snapshot::take(&counters, Duration::from_millis(1500));
        let json: serde_json::Value = serde_json::from_str(&snapshot.json()).unwrap();
        assert_eq!(
            (&json["delivered"], &json["connections"], &json["uptime_s"]),
            (&12.into(), &2.into(), &1.5.into())
        );
        let lines = snapshot.prometheus().lines().map(|line| Ok(line.to_owned())).collect::<Vec<_>>();
        let scrape = prometheus_parse::Scrape::parse(lines.into_iter()).unwrap();
        let value = |name: &str| {
            let sample = scrape.samples.iter().find(|s| s.metric == name).unwrap();
            match sample.value {
                prometheus_parse::Value::Counter(v) | prometheus_parse::Value::Gauge(v) => v,
                ref other => panic!("{other:?}"),
            }
        };
        assert_eq!(value("stressctl_delivered_total"), 12.0);
        assert_eq!(value("stressctl_connections"), 2.0);
        assert_eq!(value("stressctl_uptime_seconds"), 1.5);
    }
}
