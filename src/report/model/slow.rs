//! Readers that were made slow, and what the server did about them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a server does when a reader does not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SlowPolicy {
    /// It ends the connection.
    Disconnect,
    /// It gives up deliveries to the reader, whose connection lives on.
    Drop,
    /// It makes publishers wait.
    Backpressure,
    /// It keeps everything until it is read.
    Buffer,
    /// It did nothing, because it did not feel the reader: the kernels held all of it.
    None,
    /// What it did cannot be told.
    #[default]
    Unknown,
}

impl SlowPolicy {
    /// How much it takes from the reader, and then from others; what cannot be told may be anything but a cut.
    #[must_use]
    pub fn gravity(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Buffer => 1,
            Self::Backpressure => 2,
            Self::Drop => 3,
            Self::Unknown => 4,
            Self::Disconnect => 5,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Disconnect => "disconnect",
            Self::Drop => "drop",
            Self::Backpressure => "backpressure",
            Self::Buffer => "buffer",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Slow readers, and what the server did about them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SlowConsumers {
    /// Readers that a fault made slow.
    pub readers: u64,
    /// Of those, the share that the server felt: it was behind by more than the kernels hold, or the server did something
    /// about it. Where publishers were made to wait, it felt all that were behind by more than 2 MiB.
    pub felt_ratio: f64,
    /// How far a reader was behind: payload bytes published to it and not read yet. The smallest of the readers' peaks.
    pub backlog_bytes: u64,
    /// The largest of the readers' peaks.
    pub backlog_max_bytes: u64,
    /// What the server did, the gravest where it did more than one thing.
    pub policy: SlowPolicy,
    /// What else it did.
    pub also: Vec<SlowPolicy>,
    /// By what that was recognised, one sentence each.
    pub evidence: Vec<String>,
    /// Readers whose connections the server ended while they were slow, or before they had caught up.
    pub disconnected: u64,
    /// `STAGE.REASON` → how many of their connections ended that way.
    pub disconnects: BTreeMap<String, u64>,
    /// Readers that were passed over: later events arrived, and earlier ones never did.
    pub passed_over: u64,
    /// Deliveries that slow readers lost in the first phase in which one was slow, and after that.
    pub lost: u64,
    /// Deliveries to slow readers whose fate is open, because the server ended their connections before they came.
    pub cut_short: u64,
    /// Deliveries to slow readers that were published while the server had them disconnected.
    pub missed: u64,
    /// Deliveries that the server says it dropped since that phase began, to whomever; null: it does not say.
    pub admitted: Option<u64>,
    /// Events published per second while readers were slow.
    pub published_rate: Option<f64>,
    /// What the plan had to be published per second meanwhile.
    pub planned_rate: Option<f64>,
    /// The same two in the phases before, where there were any.
    #[serde(default)]
    pub published_rate_before: Option<f64>,
    /// What the plan had to be published per second in those.
    #[serde(default)]
    pub planned_rate_before: Option<f64>,
    /// Median time that a publish waited for its acknowledgement before readers were slow.
    pub publish_ack_before_us: Option<u64>,
    /// The same while they were.
    pub publish_ack_during_us: Option<u64>,
    /// Growth of the server's memory while readers were slow: most within that time, less the least before it in the run.
    pub server_memory_rise_bytes: Option<u64>,
}

/// Whether the server still answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerState {
    /// It still answered when the run was over, with its statistics or on a fresh connection; null: it was not asked.
    pub alive: Option<bool>,
}

/// What remained to arrive after the last publish.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Drain {
    /// From the last publish until everything owed had arrived or was proved lost; null: that did not come to pass.
    pub duration_s: Option<f64>,
}
