//! The report and the documents rendered from it.
//!
//! [`model`] is the truth; [`json`] stores it, [`text`] and [`markdown`] render it and never reckon. [`progress`]
//! is what is seen before there is a report.

mod climbing;
pub mod closing;
mod coming_back;
mod disturbed;
pub mod documents;
pub mod failure_modes;
mod file;
mod glance;
pub mod human;
pub mod json;
pub mod latency;
pub mod markdown;
mod markup;
pub mod metrics;
pub mod model;
pub mod pacing;
pub mod progress;
mod reproduce;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
pub(crate) mod sample_broken;
#[cfg(test)]
pub(crate) mod sample_herd;
pub mod schema;
mod slow;
pub mod style;
pub mod targets;
pub mod text;
mod trends;
mod words;
