//! stressctl puts a WebSocket subscriptions server under extreme load and proves what it delivered.
//!
//! Data flows one way: [`scenarios`] → plan → clients and faults → ledger and metrics → verdict → [`report`].
//! ARCHITECTURE.md is the map.

pub mod care;
pub mod cli;
pub mod clients;
pub mod clock;
pub mod commands;
pub mod inject;
pub mod ledger;
pub mod metrics;
pub mod protocol;
pub mod report;
pub mod run;
pub mod scenarios;
pub mod selftest;
pub mod server;
pub mod verdict;
