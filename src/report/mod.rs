//! The report and the documents rendered from it.

mod file;
pub mod human;
pub mod json;
pub mod latency;
pub mod markdown;
mod markup;
pub mod model;
#[cfg(test)]
pub(crate) mod sample;
pub mod schema;
pub mod style;
pub mod text;
mod words;
