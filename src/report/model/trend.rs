//! How memory and latency moved over the phases.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trends over the phases, warm-up left out; each `null` without samples enough for it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trends {
    /// Resident memory of the server's process.
    pub server_memory: Option<MemoryTrend>,
    /// Resident memory of this process.
    pub client_memory: Option<MemoryTrend>,
    /// The 99th percentile of the delivery latency, of points of the timeline with at least 100 deliveries.
    pub deliver_p99: Option<RatioTrend>,
}

/// The trend of a size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryTrend {
    /// At the median slope, over all phases.
    pub growth_bytes: f64,
    /// Its 95 % interval; `null`: neighbouring samples are so alike that no growth can be excluded.
    pub interval_bytes: Option<[f64; 2]>,
    /// Growth that would matter: the limit of the condition on it, or 64 MiB.
    pub floor_bytes: f64,
    /// What may be said beside that floor.
    pub word: TrendWord,
    /// Why that.
    pub why: String,
    /// At the median slope of the first and of the second half, over all phases.
    pub halves_bytes: [f64; 2],
    /// How much higher the level is on which it ends, if it had not been reached before the second half; else 0.
    pub last_step_bytes: f64,
    /// What it rests on.
    pub evidence: TrendEvidence,
}

/// The trend of a latency, as shares of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RatioTrend {
    /// At the median slope, over all phases, as a share of where that begins; 0.1: a tenth higher at the end than at the beginning.
    pub growth: f64,
    /// Its 95 % interval; `null`: neighbouring samples are so alike that no growth can be excluded.
    pub interval: Option<[f64; 2]>,
    /// Growth that would matter: the limit of the condition on it, or 10 %.
    pub floor_ratio: f64,
    /// What may be said beside that floor.
    pub word: TrendWord,
    /// Why that.
    pub why: String,
    /// At the median slope of the first and of the second half, over all phases.
    pub halves: [f64; 2],
    /// How much higher the level is on which it ends, if it had not been reached before the second half; else 0.
    pub last_step_ratio: f64,
    /// What it rests on.
    pub evidence: TrendEvidence,
}

/// What a trend rests on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TrendEvidence {
    /// Points of the timeline after the warm-up.
    pub samples: u64,
    /// Blocks they were put into; the medians of these are judged.
    pub blocks: u64,
    /// Kendall's tau: from -1 (falls throughout) to 1 (rises throughout).
    pub tau: f64,
    /// Probability of a tau so far from 0 without a trend, corrected for autocorrelation.
    pub p_value: f64,
    /// By how much autocorrelation widened the variance, at least 1.
    pub inflation: f64,
    /// Whether it rises from each quarter to the next, and in the second half not far less than in the first.
    pub all_along: bool,
}

/// What may be said of a trend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TrendWord {
    /// By more than the floor, all along.
    Grows,
    /// By less than the floor, if at all.
    Steady,
    /// The samples do not tell.
    #[default]
    Undecided,
}
