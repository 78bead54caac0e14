//! stressctl puts a WebSocket subscriptions server under extreme load and proves what it delivered.
//!
//! Data flows one way: [`scenarios`] → plan → clients and faults → ledger and metrics → verdict → [`report`].
//! ARCHITECTURE.md is the map.

pub mod care;
pub mod clock;
pub mod report;
pub mod scenarios;
pub mod verdict;
