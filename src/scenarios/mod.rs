//! Scenario → plan: the language, its checks, the built-in catalogue.

pub mod condition;
mod expectation;
mod file;
mod not_yet;
mod parse;
pub mod plan;
pub mod problem;
pub mod target;
pub mod units;
