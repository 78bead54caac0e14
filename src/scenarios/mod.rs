//! Scenario → plan: the language, its checks, the built-in catalogue.

pub mod condition;
pub mod plan;
pub mod target;
