//! Scenario → plan: the language, its checks, the built-in catalogue.

mod build;
pub mod catalogue;
mod check;
pub mod condition;
mod expectation;
mod faults;
mod file;
mod full;
mod not_yet;
mod outline;
mod overrides;
pub mod pacing;
mod parse;
pub mod plan;
mod predict;
mod predict_latency;
pub mod problem;
mod resolved;
pub mod sampling;
pub mod target;
mod targets;
pub mod units;
mod windows;
