//! The report: what a run found, in the shape that other people's scripts read.
//!
//! Keys are only ever added; renaming one needs a new schema number. Durations carry their unit in the name. A
//! metric without samples is `null`, never 0. Everything a document shows is in here: renderers never reckon.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod delivery;
mod escalation;
mod faults;
mod phase;
mod sides;
mod slow;
mod trend;

pub use delivery::*;
pub use escalation::*;
pub use faults::*;
pub use phase::*;
pub use sides::*;
pub use slow::*;
pub use trend::*;

/// Value of [`Report::schema`].
pub const SCHEMA: &str = "stressctl.report/1";

/// One scenario, run once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Always `stressctl.report/1`.
    pub schema: String,
    /// The program that wrote it.
    pub tool: Tool,
    /// The machine it ran on.
    pub host: Host,
    /// What was run.
    pub scenario: ScenarioInfo,
    /// Against which server.
    pub target: TargetInfo,
    /// When, how long, how it ended.
    pub run: RunInfo,
    /// The gravest of all judgements.
    pub verdict: Verdict,
    /// In plain words, why the verdict is not `pass`; empty otherwise.
    pub why: Vec<String>,
    /// Conditions that must hold.
    pub expectations: Vec<Judgement>,
    /// Situations that must have occurred.
    pub reached: Vec<Judgement>,
    /// What was shown and what was not, one sentence each.
    pub claims: Vec<String>,
    /// From the first connect to the census that proves everything active.
    pub setup: Setup,
    /// What became of every connection.
    pub connections: Connections,
    /// What became of every subscription.
    pub subscriptions: Subscriptions,
    /// Failed operations.
    pub errors: Errors,
    /// What publishers did.
    pub published: Published,
    /// Every owed delivery and every receipt, classed.
    pub ledger: Ledger,
    /// Where time went.
    pub latency: Latencies,
    /// How evenly deliveries came.
    #[serde(default)]
    pub flow: Flow,
    /// Readers that faults made slow, and what the server did about them; null: no fault did.
    #[serde(default)]
    pub slow_consumers: Option<SlowConsumers>,
    /// What remained to arrive after the last publish.
    #[serde(default)]
    pub drain: Drain,
    /// Whether the server still answered.
    #[serde(default)]
    pub server: ServerState,
    /// Coming back after a connection ended.
    #[serde(default)]
    pub reconnects: Reconnects,
    /// Circuit breakers of the clients.
    #[serde(default)]
    pub breaker: Breaker,
    /// The same per group of clients, and for `victims` and `bystanders` where faults were planned.
    pub groups: IndexMap<String, Slice>,
    /// The same per phase.
    pub phases: Vec<PhaseReport>,
    /// What was raised until something gave, where anything was.
    #[serde(default)]
    pub escalation: Option<Escalation>,
    /// Memory per wave, where connections were opened in waves.
    pub waves: Option<Waves>,
    /// Comparison of rounds, where there was more than one.
    pub rounds: Option<Rounds>,
    /// How memory and latency moved over the phases; `null`: too few points of the timeline for any of them.
    #[serde(default)]
    pub trend: Option<Trends>,
    /// Every injected fault, planned and applied.
    pub faults: IndexMap<String, FaultReport>,
    /// Memory, CPU and files of both sides.
    pub resources: Resources,
    /// The server's own counts beside ours.
    pub server_stats: Option<ServerStats>,
    /// Whether the generator kept up.
    pub generator: Generator,
    /// One point per second; wider ones in long runs, of which there are never more than 1,200, and narrower ones
    /// where a trend is to be judged in a short run.
    pub timeline: Vec<TimelinePoint>,
    /// What the plan predicted: metric path (`ledger.delivered`, or `ledger.delivered in PHASE`) → value in base units.
    pub predicted: BTreeMap<String, f64>,
}

/// The program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// Its version.
    pub version: String,
    /// The commit it was built from, where known.
    pub commit: Option<String>,
}

/// The machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Operating system.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Processors available.
    pub cpus: u64,
    /// Physical memory.
    pub memory_bytes: u64,
    /// Limit of open files of this process.
    pub nofile: u64,
    /// Ephemeral ports of one source address.
    pub ports: u64,
}

/// The scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ScenarioInfo {
    /// Its name.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// The seed of every random decision.
    pub seed: u64,
    /// `--scale`.
    pub scale: f64,
    /// By how much time was compressed: rates were multiplied by it, lengths of phases divided; `null`: not at all.
    #[serde(default)]
    pub time_scale: Option<f64>,
    /// Equal plans have equal hashes.
    pub plan_hash: String,
    /// With all defaults filled in; secrets unexpanded.
    pub resolved: serde_json::Value,
    /// The command line that reproduces the run, secrets redacted.
    #[serde(default)]
    pub command: Option<String>,
}

/// The server under test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetInfo {
    /// Without userinfo and query values.
    pub url: String,
    /// Protocol spoken.
    pub protocol: String,
    /// Delivery guarantee claimed.
    pub contract: String,
    /// Whether order per publisher is claimed.
    pub ordered: bool,
    /// Whether it was stressctl's own reference server.
    pub reference_server: bool,
}

/// The run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunInfo {
    /// RFC 3339, UTC.
    pub started_at: String,
    /// From preflight to the last sample.
    pub duration_s: f64,
    /// Whether Ctrl-C or SIGTERM ended it early.
    pub interrupted: bool,
    /// `completed`, `interrupted`, `target-lost`, `abort-if ID`, …
    pub stop_reason: String,
    /// Waits whose deadline passed: `confirm`, `settle`, `drain`, …
    #[serde(default)]
    pub timed_out: Vec<String>,
}

/// The four verdicts, mildest first.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Cannot be judged at this size; known before the start.
    NotApplicable,
    /// Judged, and it held.
    Pass,
    /// Should have been judged and could not be.
    #[default]
    Inconclusive,
    /// Judged, and it did not hold.
    Fail,
}

/// One condition, judged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judgement {
    /// Its key in the scenario file.
    pub id: String,
    /// As written.
    pub condition: String,
    /// What was observed, in base units (seconds, bytes, per second, plain); a word for `is`; `null`: nothing.
    pub observed: Option<Observed>,
    /// What was observed, with its unit, for reading.
    pub observed_text: String,
    /// The limit, with its unit, for reading.
    pub limit: String,
    /// 95 % interval of what may be claimed of the server, in base units, where one can be given.
    pub interval: Option<[f64; 2]>,
    /// The judgement.
    pub verdict: Verdict,
    /// Why, unless it passed.
    pub why: Option<String>,
}

/// A number or a word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Observed {
    /// A number in base units.
    Number(f64),
    /// A word.
    Word(String),
}

/// Set-up.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Setup {
    /// Planned pauses between waves are not in it; `null`: set-up was not finished.
    pub duration_s: Option<f64>,
}

/// Connections of subscribing clients.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// In the plan.
    pub planned: u64,
    /// Started.
    pub attempted: u64,
    /// Got as far as `connection_ack`.
    pub established: u64,
    /// `established / (attempted - aborted_by_plan)`.
    pub established_ratio: Option<f64>,
    /// Of those started, the ones of which a fault of ours ended every attempt to connect.
    #[serde(default)]
    pub aborted_by_plan: u64,
    /// Most open at one moment; known of the whole run only.
    pub peak_open: Option<u64>,
    /// Most between the start of TCP connect and `connection_ack` at one moment; known of the whole run only.
    pub peak_handshaking: Option<u64>,
    /// Time between the first and the last connect call of a group (of a wave, the widest).
    pub offered_spread_s: Option<f64>,
    /// Closed because the plan said so.
    pub dropped_by_plan: u64,
    /// Closed otherwise after they were established.
    pub dropped_unexpectedly: u64,
    /// Established again after a drop.
    pub reconnected: u64,
    /// Ended by a fault of ours; they are among those closed by plan.
    #[serde(default)]
    pub cut: u64,
    /// Times that a client was without its connection: one that ends before everything was well again is no further
    /// absence.
    #[serde(default)]
    pub absences: u64,
    /// Of those established again, the ones whose subscriptions were all proved again.
    #[serde(default)]
    pub recovered: u64,
    /// `STAGE.REASON` → how many attempts, connections or operations ended that way.
    pub failed: BTreeMap<String, u64>,
    /// `STAGE.REASON` → the first text that came with it, made harmless.
    #[serde(default)]
    pub failed_texts: BTreeMap<String, String>,
    /// `STAGE.REASON` → when, and on which connection first.
    #[serde(default)]
    pub failed_spans: BTreeMap<String, FailedSpan>,
}

/// From when to when something failed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailedSpan {
    /// The first time.
    pub first_s: f64,
    /// The last time.
    pub last_s: f64,
    /// The group of the connection that it befell first.
    pub group: String,
    /// That connection's number within its group, from 0.
    pub connection: u64,
}

/// Subscriptions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subscriptions {
    /// Asked for.
    pub requested: u64,
    /// Proved by a probe sent after the subscribe.
    pub confirmed: u64,
    /// Received one and the same census and were still open when it ended; the best census counts. Known of the
    /// whole run only.
    pub peak_active: Option<u64>,
    /// The probes.
    pub probes: Probes,
    /// The barriers.
    #[serde(default)]
    pub barriers: Barriers,
}

/// Probes; they are not in the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Probes {
    /// Published.
    pub sent: u64,
    /// Received.
    pub delivered: u64,
    /// Not received by a subscription that had already received one.
    pub missed_after_first: u64,
}

/// Barriers: published behind the last event of each publisher, they prove the end of its streams. They are not in the
/// ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Barriers {
    /// Received.
    pub delivered: u64,
    /// Whether every subscription that was live at the end received the barrier of each of its streams; `null`: nothing
    /// was owed, or this is not of the whole run.
    #[serde(default)]
    pub complete: Option<bool>,
}

/// The run as one group of clients saw it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slice {
    /// Connections.
    pub connections: Connections,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Publishing.
    pub published: Published,
    /// Deliveries.
    pub ledger: Ledger,
    /// Latencies.
    pub latency: Latencies,
    /// Absences of clients that ended with every subscription proved / absences; null: there were none.
    pub recovered_ratio: Option<f64>,
    /// Failed operations.
    #[serde(default)]
    pub errors: Errors,
    /// Coming back after a connection ended.
    #[serde(default)]
    pub reconnects: Reconnects,
    /// Circuit breakers.
    #[serde(default)]
    pub breaker: Breaker,
}

/// Waves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Waves {
    /// Each wave of the first round.
    pub each: Vec<Wave>,
    /// Server memory.
    pub server_memory: WaveMemory,
}

/// One wave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Wave {
    /// Subscriptions asked for in it.
    pub requested: u64,
    /// Subscriptions proved active by the census after it, over all waves so far.
    pub active: u64,
    /// From its first connect to the end of its census.
    pub duration_s: f64,
    /// Server memory after its census.
    pub server_memory_bytes: Option<u64>,
    /// Growth of server memory since the wave before, per subscription of this wave.
    pub server_memory_per_subscription_bytes: Option<f64>,
}

/// Server memory over waves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WaveMemory {
    /// Largest / smallest growth per subscription among waves 2 and later of the first round.
    pub spread: Option<f64>,
}

/// Rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rounds {
    /// How many were completed.
    pub completed: u64,
    /// The round, from 1, whose figures the report shows: the one with the gravest verdict; among equals the one with
    /// the gravest policy of `slow_consumers`, then the last. Resources and the timeline are of the whole run, and a
    /// condition shows its gravest judgement over all rounds.
    #[serde(default)]
    pub shown: u64,
    /// Key figures of each.
    #[serde(default)]
    pub each: Vec<Round>,
    /// Server memory after each round's cool-down.
    pub server_memory_end: RoundMemory,
}

/// Key figures of one round.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Round {
    /// Set-up, without planned pauses.
    pub setup_duration_s: Option<f64>,
    /// Connections.
    pub connections: Connections,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Publishing.
    pub published: Published,
    /// Deliveries; examples are in the report's own ledger.
    pub ledger: Ledger,
    /// Server memory after the cool-down.
    pub server_memory_end_bytes: Option<u64>,
    /// Slow readers, and what the server did about them; null: nobody was slow.
    #[serde(default)]
    pub slow_consumers: Option<SlowConsumers>,
}

/// A memory figure over rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundMemory {
    /// One per round.
    pub bytes: Vec<u64>,
    /// (Last - first) / first, of at least 40 MiB; with three rounds or more no greater than the smallest step from one
    /// to the next, over all steps, and no more than 0 if one of them went down.
    pub growth: Option<f64>,
    /// Most that the server held during the first round. What an allocator keeps of freed memory is no more than that,
    /// so growth beyond a limit is a failure only where the last round ends with more.
    #[serde(default)]
    pub held_bytes: Option<u64>,
}

/// One stretch of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelinePoint {
    /// Its end on the run's time axis.
    pub t_s: f64,
    /// Connections open.
    pub open: u64,
    /// Subscriptions active.
    pub active: u64,
    /// Events sent in it.
    pub published: u64,
    /// Deliveries received in it.
    pub delivered: u64,
    /// Deliveries lost of events due in it, filled in at close.
    pub lost: u64,
    /// Median latency of deliveries received in it. Of stretches that were put together later, the mean, by deliveries.
    pub deliver_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub deliver_p99_us: Option<u64>,
    /// Memory of this process: the highest that was sampled in it.
    pub client_rss_bytes: u64,
    /// The same of the server's process.
    pub server_rss_bytes: Option<u64>,
}
