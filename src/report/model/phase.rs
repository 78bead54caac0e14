//! What the report says of one phase of a run.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Flow, GaugeError, Latencies, Ledger, Published, Slice, StatError};

/// One phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseReport {
    /// Its name.
    pub name: String,
    /// Start on the run's time axis.
    pub start_s: f64,
    /// End on the run's time axis.
    pub end_s: f64,
    /// `end_s - start_s`.
    pub duration_s: f64,
    /// Publishing in it.
    pub published: Published,
    /// Deliveries of events that were due in it.
    pub ledger: Ledger,
    /// Latencies of events that were due in it.
    pub latency: Latencies,
    /// The same per group of clients, where it was recorded.
    #[serde(default)]
    pub groups: IndexMap<String, Slice>,
    /// How evenly deliveries came.
    #[serde(default)]
    pub flow: Flow,
    /// The server's gauges beside ours at the end of the phase.
    #[serde(default)]
    pub server_stats: Option<PhaseStats>,
    /// Failed operations within it.
    #[serde(default)]
    pub errors: PhaseErrors,
    /// Connections that ended within it.
    #[serde(default)]
    pub connections: PhaseConnections,
    /// Memory of both sides while it lasted.
    #[serde(default)]
    pub resources: PhaseResources,
}

/// Errors within a phase: of the events published in it, and of what ended while it lasted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseErrors {
    /// `failed / operations`; over several phases the sums of both.
    pub ratio: Option<f64>,
    /// Publishes without success, subscriptions that the server ended or refused, results with errors, and connections
    /// that ended unexpectedly.
    pub failed: u64,
    /// Events sent in it, and the connections and subscriptions that were there when it began.
    pub operations: u64,
}

/// Connections within a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseConnections {
    /// Connections of subscribers that ended in it without being told to.
    pub dropped_unexpectedly: u64,
}

/// Memory within a phase, sampled ten times a second and at its ends; null: it was never seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseResources {
    /// This process.
    pub client: Option<PhaseMemory>,
    /// The server's process, where its pid is known.
    pub server: Option<PhaseMemory>,
}

/// Memory of one process within a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseMemory {
    /// Highest resident memory among the samples.
    pub memory_peak_bytes: u64,
}

/// The server's gauges at the end of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseStats {
    /// The worse of both.
    pub gauges: StatError,
    /// Open connections.
    pub connections: GaugeError,
    /// Active subscriptions.
    pub subscriptions: GaugeError,
}
