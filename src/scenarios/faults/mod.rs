//! Faults and reconnects in the scenario language: as written, with every default, checked, and planned.
//!
//! Who is hit and when is not decided here: see [`crate::inject::Schedule`].

pub(crate) mod aims;
pub(crate) mod build;
pub(crate) mod check;
mod cycles;
mod delays;
pub(crate) mod file;
pub(crate) mod full;
mod kinds;
mod loads;
mod overlaps;
pub(crate) mod policies;
pub(crate) mod resolved;
mod slow;
mod suits;
mod times;
pub(crate) mod words;
