//! The report and the documents rendered from it.

pub mod metrics;
pub mod model;
