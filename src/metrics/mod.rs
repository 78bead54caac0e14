//! What is measured: how long things took, what both processes used, and what the server counted itself.
//!
//! Nothing here decides what a number means; `verdict` does. Next to read: [`latency_set`] for what a shard
//! records on its hot path, [`resources`] for what is sampled once a second.

mod base64;
pub mod cpu;
pub mod histograms;
pub mod latency_set;
pub mod peaks;
pub mod process;
pub mod resources;
pub mod server_stats;
pub mod silence;
mod threads;

pub use cpu::{CpuMark, thread_time};
pub use histograms::{Precision, Recorder};
pub use latency_set::LatencySet;
pub use threads::{Threads, Turn};
