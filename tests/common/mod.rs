//! Means of the tests of the real binary: run it within bounds, look at processes, offer it bad targets.
#![allow(dead_code, reason = "each test binary uses the part it needs")]

pub(crate) mod bad;
pub(crate) mod binary;
pub(crate) mod hub;
pub(crate) mod optional;
pub(crate) mod proc;
pub(crate) mod reference;
pub(crate) mod relay;
pub(crate) mod rig;
pub(crate) mod secured;
