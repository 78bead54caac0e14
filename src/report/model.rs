//! The report: what a run found, in the shape that other people's scripts read.
//!
//! Keys are only ever added; renaming one needs a new schema number. Durations carry their unit in the name. A
//! metric without samples is `null`, never 0. Everything a document shows is in here: renderers never reckon.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Memory per wave, where connections were opened in waves.
    pub waves: Option<Waves>,
    /// Comparison of rounds, where there was more than one.
    pub rounds: Option<Rounds>,
    /// Every injected fault, planned and applied.
    pub faults: IndexMap<String, FaultReport>,
    /// Memory, CPU and files of both sides.
    pub resources: Resources,
    /// The server's own counts beside ours.
    pub server_stats: Option<ServerStats>,
    /// Whether the generator kept up.
    pub generator: Generator,
    /// One point per second.
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

/// Errors among established connections and operations on them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Errors {
    /// Failed operations and unexpected drops / operations and established connections.
    pub ratio: Option<f64>,
    /// Operations that timed out.
    pub timeout: u64,
    /// Errors no fault in the plan explains.
    pub unexpected: u64,
    /// Errors without a named cause.
    pub unexplained: u64,
}

/// Publishing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Published {
    /// Events that were due.
    pub attempted: u64,
    /// Handed to the socket.
    pub sent: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Sent and never acknowledged.
    pub unknown: u64,
    /// Refused by the server.
    pub failed: u64,
    /// Sent per second of publishing.
    pub rate: Option<f64>,
}

/// Obligations and receipts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger {
    /// Deliveries that were owed, counted when each event was published.
    pub obligations: u64,
    /// Received intact in time.
    pub delivered: u64,
    /// Received intact after the deadline.
    pub late: u64,
    /// Received intact only in a later incarnation.
    pub recovered: u64,
    /// Received only damaged.
    pub damaged: u64,
    /// Published while the subscription had no live incarnation.
    pub missed_disconnected: u64,
    /// Cannot be decided: in flight when a subscription ended or came back, or its barrier was given
    /// up and its connection silent.
    pub indeterminate: u64,
    /// Of those, in flight when a fault of ours ended the connection, or when it was renewed after that.
    #[serde(default)]
    pub indeterminate_by_faults: u64,
    /// The publish was never acknowledged.
    pub unknown_publish: u64,
    /// A fault of ours held or cut the stream.
    pub suppressed: u64,
    /// Lost: something later of the same publisher arrived on an ordered target.
    pub lost_proven: u64,
    /// Lost: never arrived although the subscription lived on.
    pub lost_presumed: u64,
    /// A memory cap was hit.
    pub unverified: u64,
    /// `lost_proven + lost_presumed`, and `missed_disconnected` unless the contract is `at-most-once`.
    pub lost: u64,
    /// Event messages received, counted by the decoder.
    pub receipts: u64,
    /// First receipts of an event.
    pub first_receipts: u64,
    /// First receipts that were not owed (published before confirmation or after unsubscribing).
    pub unowed: u64,
    /// Further receipts of an event.
    pub duplicated: u64,
    /// First receipts behind a later one of the same publisher.
    pub reordered: u64,
    /// Header or filler damaged.
    pub corrupted: u64,
    /// Never published by this run.
    pub phantom: u64,
    /// Arrived under the operation of another channel.
    pub misrouted: u64,
    /// Arrived after the unsubscribe was answered or drained.
    pub after_unsubscribe: u64,
    /// `phantom + misrouted + after_unsubscribe`, `duplicated` unless the contract is `at-least-once`, and `reordered` if
    /// order is promised.
    pub strange: u64,
    /// A few of each class, to follow.
    pub examples: Vec<Example>,
}

/// One delivery to follow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Example {
    /// The class.
    pub class: String,
    /// Channel index.
    pub channel: u64,
    /// The channel's name on the wire, as the server's log has it.
    #[serde(default)]
    pub channel_name: String,
    /// Publisher connection index.
    pub publisher: u64,
    /// Epoch of the publisher.
    pub epoch: u64,
    /// Sequence number.
    pub seq: u64,
    /// Subscription index.
    pub subscription: u64,
    /// When it was due, on the run's time axis.
    pub due_s: Option<f64>,
    /// When it was sent; known only of what arrived, because nothing is kept for each event: later than `due_s` by no
    /// more than the generator's `send_lag`.
    pub sent_s: Option<f64>,
    /// When it was received.
    pub received_s: Option<f64>,
    /// The rule that decided.
    pub rule: String,
}

/// Latencies; `null` without samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latencies {
    /// Start of TCP connect to `connection_ack`.
    pub connect: Option<Latency>,
    /// TCP handshake.
    pub tcp: Option<Latency>,
    /// TLS handshake.
    pub tls: Option<Latency>,
    /// HTTP upgrade.
    pub upgrade: Option<Latency>,
    /// `connection_init` to `connection_ack`.
    pub init: Option<Latency>,
    /// Subscribe flushed to first probe received.
    pub subscribe: Option<Latency>,
    /// Publish sent to acknowledgement.
    pub publish_ack: Option<Latency>,
    /// Due to received.
    pub deliver: Option<Latency>,
    /// Sent to received.
    pub deliver_from_sent: Option<Latency>,
    /// Cut to confirmed again.
    pub reconnect: Option<Latency>,
    /// Due to sent, where the connection could be written: the generator's own lateness.
    pub send_lag: Option<Latency>,
}

/// A distribution, in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Smallest.
    pub min_us: u64,
    /// Mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90th percentile.
    pub p90_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
    /// Interquartile range.
    pub iqr_us: u64,
    /// HdrHistogram V2 deflate, base64, values in microseconds.
    pub hdr: String,
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

/// How evenly deliveries came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The longest time in which nothing was received, from the first event sent in the run or phase until the last
    /// was sent or received, whichever is later; by the time of receipts, to 10 ms. null: nothing was received.
    pub longest_silence_s: Option<f64>,
}

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
}

/// The server's gauges at the end of a phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PhaseStats {
    /// The worse of both.
    pub gauges: StatError,
    /// Open connections.
    pub connections: StatError,
    /// Active subscriptions.
    pub subscriptions: StatError,
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
    /// The round, from 1, whose figures the report shows: the last of those with the gravest verdict. Resources and
    /// the timeline are of the whole run, and a condition shows its gravest judgement over all rounds.
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
}

/// A memory figure over rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoundMemory {
    /// One per round.
    pub bytes: Vec<u64>,
    /// Last / first - 1, a share.
    pub growth: Option<f64>,
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
    pub connections: StatError,
    /// Active subscriptions at the last census.
    pub subscriptions: StatError,
    /// Accepted publishes.
    pub published: StatError,
    /// Deliveries.
    pub delivered: StatError,
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
    /// How long the last message of a readiness batch waited for our own processing.
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

/// One second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelinePoint {
    /// End of the second on the run's time axis.
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
    /// Median latency of deliveries received in it.
    pub deliver_p50_us: Option<u64>,
    /// 99th percentile of the same.
    pub deliver_p99_us: Option<u64>,
    /// Memory of this process.
    pub client_rss_bytes: u64,
    /// Memory of the server's process.
    pub server_rss_bytes: Option<u64>,
}
