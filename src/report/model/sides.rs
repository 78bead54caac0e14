//! What both sides used and counted, and whether our own kept up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Verdict;

/// Resources.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// This process.
    pub client: ClientResources,
    /// The server's process, where its pid is known.
    pub server: Option<ServerResources>,
}

/// This process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ClientResources {
    /// Before the first connection.
    pub memory_start_bytes: u64,
    /// Highest.
    pub memory_peak_bytes: u64,
    /// At the end.
    pub memory_end_bytes: u64,
    /// `(peak - start) / peak_open`.
    pub memory_per_connection_bytes: Option<f64>,
    /// User and system time.
    pub cpu_s: f64,
    /// Most open files.
    pub fds_peak: u64,
}

/// The server's process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerResources {
    /// Its process id.
    pub pid: u32,
    /// Latest sample (for `abort-if`).
    pub memory_bytes: u64,
    /// Before the first connection.
    pub memory_start_bytes: u64,
    /// Highest.
    pub memory_peak_bytes: u64,
    /// After the cool-down.
    pub memory_end_bytes: u64,
    /// `(peak - start) / peak_open`.
    pub memory_per_connection_bytes: Option<f64>,
    /// User and system time during the run.
    pub cpu_s: f64,
    /// Most open files.
    pub fds_peak: u64,
}

/// The server's own counts beside ours.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerStats {
    /// Where they come from.
    pub source: String,
    /// One comparison each.
    pub checks: Vec<StatCheck>,
    /// Over all checks.
    pub worst: StatError,
    /// Over the gauges (connections, subscriptions), once quiet.
    pub gauges: StatError,
    /// Open connections at the last census.
    pub connections: GaugeError,
    /// Active subscriptions at the last census.
    pub subscriptions: GaugeError,
    /// Accepted publishes.
    pub published: StatError,
    /// Deliveries.
    pub delivered: StatError,
    /// The worst while the phases ran.
    #[serde(default)]
    pub worst_during: StatError,
    /// What that is the worst of; `null`: the server was not asked while they ran.
    #[serde(default)]
    pub during: Option<StatsDuring>,
}

/// The server's figures beside ours while the phases ran.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatsDuring {
    /// How often it was asked.
    pub samples: u64,
    /// How often there was no answer.
    pub failed: u64,
    /// The worst moment of each count.
    pub checks: Vec<DuringCheck>,
}

/// The worst moment of a count: an answer tells how it was at some moment between the request and its arrival.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DuringCheck {
    /// `connections`, `subscriptions`, or `published` and `delivered` since the phases began.
    pub name: String,
    /// When the answer had come.
    pub at_s: f64,
    /// The server's figure.
    pub server: f64,
    /// The least that was true at any moment meanwhile.
    pub low: f64,
    /// The most; `null`: not known, because a fault held connections that the server goes on delivering to.
    pub high: Option<f64>,
    /// How far the server's figure is outside of both / the nearer of both.
    pub error_ratio: f64,
    /// Answers that were compared.
    #[serde(default)]
    pub samples: u64,
    /// Of those, the ones for which both the least and the most were known.
    #[serde(default)]
    pub bounded: u64,
    /// How far apart those two were / the most, on average: a smaller error may not have shown; null: never known.
    #[serde(default)]
    pub slack_ratio: Option<f64>,
}

/// One comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatCheck {
    /// `connections at census`, `subscriptions after close`, `published`, …
    pub name: String,
    /// The server's figure.
    pub server: Option<f64>,
    /// Ours.
    pub client: f64,
    /// `|server - client| / max(client, 1)`; what a server may have accepted without our hearing of it is no error.
    pub error_ratio: Option<f64>,
    /// Exact for gauges, within 1 % for counters.
    pub verdict: Verdict,
}

/// An error ratio that conditions can name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatError {
    /// The largest; `null`: not known.
    pub error_ratio: Option<f64>,
}

/// A gauge beside ours, for conditions to name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GaugeError {
    /// `|server - client| / max(client, 1)`; `null`: not known.
    pub error_ratio: Option<f64>,
    /// How many more the server has than we do, 0 if it has none; `null`: not known.
    #[serde(default)]
    pub left_over: Option<f64>,
}

/// Whether the generator kept up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// `ok`; `limited`: timing cannot be judged; `invalid`: nothing can.
    pub health: Health,
    /// Why it is not `ok`.
    pub reasons: Vec<String>,
    /// How late events were sent although the connection could be written.
    pub send_lag_p99_us: Option<u64>,
    /// How late the event loop woke up while events were published.
    pub loop_lag_p99_us: Option<u64>,
    /// The same while connections were set up: our own part of the latencies of connecting.
    #[serde(default)]
    pub setup_lag_p99_us: Option<u64>,
    /// How long the last message of a readiness batch waited for our own processing, and large messages for others to
    /// be read.
    pub drain_p99_us: Option<u64>,
    /// CPU time of the busiest phase / wall time, per generator thread; 1: a thread was busy all the time.
    pub cpu_share: Option<f64>,
}

/// Health of the generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It kept up.
    #[default]
    Ok,
    /// It was the bottleneck.
    Limited,
    /// Its own bookkeeping failed.
    Invalid,
}
