//! From what a round left behind to the figures of its report. Pure: no clock, no socket, no decision.
//!
//! Clients, ledger and latencies are kept per cohort; [`fill()`] adds cohorts up to groups, victims and bystanders.

mod clients;
mod cohorts;
mod errors;
mod escalation;
mod facts;
mod faults;
mod fill;
mod generator;
mod policy;
mod publishing;
mod returns;
mod slow;
mod slowed;
#[cfg(test)]
mod tests;
mod trends;

pub(crate) use fill::fill;
pub(crate) use trends::trends;
