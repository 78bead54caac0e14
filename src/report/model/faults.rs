//! What was injected, and how clients came back from it.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Latency;

/// How clients came back, and what that cost the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reconnects {
    /// Connections that ended during the run: cut by a fault, or unexpectedly.
    pub ended: u64,
    /// Attempts to connect again, those that a fault of ours ended among them.
    pub attempts: u64,
    /// Of those, the ones that failed, for whatever reason.
    pub failed: u64,
    /// Of those, the ones that a fault of ours ended.
    pub aborted_by_plan: u64,
    /// Attempts that had to wait for the retry budget.
    pub budget_waits: u64,
    /// Attempts / connections that ended; null: none ended.
    pub amplification: Option<f64>,
    /// Most attempts within any 100 ms.
    pub peak_per_100ms: u64,
    /// From the first end until half of all absences were over, with every subscription proved; null: never.
    pub restored_50_s: Option<f64>,
    /// The same for 95 %.
    pub restored_95_s: Option<f64>,
    /// The same for all.
    pub restored_100_s: Option<f64>,
}

/// Circuit breakers of the clients, taken together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Breaker {
    /// Times that a breaker opened, from closed or half open.
    pub opened: u64,
    /// Times that one closed again.
    pub closed: u64,
    /// Attempts that were made half open.
    pub half_open_attempts: u64,
    /// Breakers that were open or half open when reconnects ended.
    pub open_at_end: u64,
}

/// One fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FaultReport {
    /// Its kind.
    pub kind: String,
    /// The kind that the plan names, where this machine does not allow it and `kind` ran in its place; null: `kind`.
    #[serde(default)]
    pub planned_kind: Option<String>,
    /// Where it acts.
    pub layer: String,
    /// Parts of the run that the plan has it act in: `setup`, or the name of a phase.
    #[serde(default)]
    pub parts: Vec<String>,
    /// Connections that the plan aims it at, of subscribers and publishers.
    #[serde(default)]
    pub victims: u64,
    /// The same by group.
    #[serde(default)]
    pub groups: IndexMap<String, u64>,
    /// Applications in the plan.
    pub planned: u64,
    /// Applications that happened.
    pub applied: u64,
    /// Applications that did not happen: the connection was not open when it was due.
    pub not_applied: u64,
    /// First application.
    pub first_s: Option<f64>,
    /// Last application.
    pub last_s: Option<f64>,
    /// Between them.
    pub spread_s: Option<f64>,
    /// How late they were.
    pub applied_late_p99_us: Option<u64>,
    /// Applications that were taken back by the end of the run; of a fault that lasts all of them should be.
    #[serde(default)]
    pub ended: u64,
    /// Different points that connections were ended at.
    #[serde(default)]
    pub points_hit: u64,
    /// Plan and deed for each of those points.
    #[serde(default)]
    pub points: IndexMap<String, PointReport>,
    /// Delays as drawn and as they were, of faults that delay.
    #[serde(default)]
    pub delays: Option<DelayReport>,
    /// What was really read, of faults that make readers slow.
    #[serde(default)]
    pub reads: Option<ReadReport>,
    /// What became of the cycles of a fault that has clients churn; `planned` and `applied` count them.
    #[serde(default)]
    pub cycles: Option<CycleReport>,
}

/// What slow readers really read while they were slow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReadReport {
    /// Bytes taken from their sockets, all readers together.
    pub total_bytes: u64,
    /// How long they were connected and slow, all readers added up.
    pub lasted_s: f64,
    /// What one of them read in a second.
    pub per_second_bytes: f64,
    /// Pauses in which one of them would have read, all readers together.
    pub pauses: u64,
}

/// Cycles of subscribing and unsubscribing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CycleReport {
    /// Proved, held, and unsubscribed, which the server answered.
    pub completed: u64,
    /// Ended by a fault of ours.
    pub failed_by_plan: u64,
    /// Not proved in time, refused, ended by the server, cut off otherwise, or an unsubscribe without an answer.
    pub failed: u64,
    /// Subscribe flushed until the proof; null: none was proved.
    pub confirm: Option<Latency>,
    /// Unsubscribe sent until what was asked behind it was answered; null: none was.
    pub unsubscribe: Option<Latency>,
}

/// One point that connections are ended at.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PointReport {
    /// Applications in the plan.
    pub planned: u64,
    /// Applications that happened.
    pub applied: u64,
}

/// Delays that were drawn, and how long they really took.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DelayReport {
    /// How many.
    pub count: u64,
    /// Mean of the drawn ones.
    pub drawn_mean_us: f64,
    /// Standard deviation of the drawn ones.
    pub drawn_deviation_us: f64,
    /// Mean of what they were.
    pub mean_us: f64,
    /// Standard deviation of what they were.
    pub deviation_us: f64,
    /// Shortest.
    pub min_us: f64,
    /// Longest.
    pub max_us: f64,
}
