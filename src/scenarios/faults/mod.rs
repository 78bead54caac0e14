//! Faults and reconnects in the scenario language: as written, with every default, and checked.
//!
//! Who is hit and when is not decided here: see [`crate::inject::Schedule`].

pub(crate) mod check;
pub(crate) mod file;
pub(crate) mod full;
