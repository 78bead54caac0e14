//! What was published, owed and received, and how long it took.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Bytes of the messages that carried them, as they were handed over: their payloads, and what is around those.
    #[serde(default)]
    pub volume_bytes: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Sent and never acknowledged.
    pub unknown: u64,
    /// Refused by the server.
    pub failed: u64,
    /// Sent per second of publishing.
    pub rate: Option<f64>,
    /// By how much the schedule slipped; `null`: no publisher slows down when it is behind.
    #[serde(default)]
    pub slowed: Option<Slowed>,
}

/// What became of a schedule that may slip when events cannot be sent when they are due.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slowed {
    /// How often it slipped: each time, all later events of the phase were due later.
    pub slips: u64,
    /// By how much altogether.
    pub slipped_s: f64,
    /// Of that, because the server did not answer or deliver in time, or its socket took nothing.
    pub by_server_s: f64,
    /// Of that, because stressctl was not on time itself.
    pub by_generator_s: f64,
    /// `none`; `server`; `generator`; `machine`: the server waited for a processor so long that it cannot be told.
    pub limited_by: String,
    /// The rate that held: sent per second of publishing, where it slipped.
    pub held_rate: Option<f64>,
    /// How much of the time the server's busiest thread was on a processor, where that is known.
    pub server_cpu_share: Option<f64>,
    /// How much of the time it was ready and there was no processor for it.
    pub server_wait_share: Option<f64>,
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
    /// Of those, the ones that what the server does about slow readers does not explain: losses of others, and those of
    /// slow readers beyond what the server says it dropped. Known of the whole run only; null: slow readers lost
    /// deliveries, and the server does not say what it dropped.
    #[serde(default)]
    pub lost_unexplained: Option<u64>,
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

/// How evenly deliveries came.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Flow {
    /// The longest time in which nothing was received, from the first event sent in the run or phase until the last
    /// was sent or received, whichever is later; by the time of receipts, to 10 ms. null: nothing was received.
    pub longest_silence_s: Option<f64>,
}
