//! The report and the documents rendered from it.

pub mod human;
pub mod latency;
pub mod model;
pub mod style;
