//! What a run raises until something gives.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What was raised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Escalation {
    /// Payloads.
    pub payload: PayloadClimb,
}

/// Payloads that grew step by step until one step was not fully delivered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PayloadClimb {
    /// The largest payload of which everything was delivered intact, in the climb or in a phase before it.
    pub largest_ok_bytes: Option<u64>,
    /// How the first step that failed did: `damaged`, `close-NNNN` (the server closed with that code), `error` (it
    /// refused a publish, or told a subscriber of an error or the end of the subscription), `disconnect` (a connection
    /// ended without a word), `silence` (no answer, or a delivery missing), `dropped-with-reason` (deliveries missing
    /// that its statistics count as dropped); `none`: all steps were delivered; null: it was not found out.
    pub failure: Option<String>,
    /// Where it showed first: `publisher` or `subscribers`.
    pub failed_at: Option<String>,
    /// What the server said about it, made harmless.
    pub failure_text: Option<String>,
    /// Every step that began.
    pub steps: Vec<PayloadStep>,
}

/// One step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PayloadStep {
    /// Bytes of each event.
    pub payload_bytes: u64,
    /// Events handed to the socket.
    pub published: u64,
    /// Events acknowledged.
    pub acked: u64,
    /// Deliveries owed.
    pub owed: u64,
    /// Deliveries received intact.
    pub delivered: u64,
    /// Messages received damaged.
    pub corrupted: u64,
    /// From its first event sent to the last sign of it.
    pub duration_s: f64,
    /// Highest memory of this process among the samples of the step.
    pub client_memory_peak_bytes: Option<u64>,
    /// The same of the server's process, where its pid is known.
    pub server_memory_peak_bytes: Option<u64>,
    /// `delivered`, the word of the failure, or `unfinished`.
    pub outcome: String,
}
