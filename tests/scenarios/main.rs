//! The scenarios that break things on purpose, reduced: that they hold against an honest server, as that server saw
//! it too, and fail against the defect that each exists to find.

mod churn;
#[path = "../common/mod.rs"]
mod common;
mod honest;
mod interrupted;
mod payload;
mod planted;
mod saturation;
mod scene;
mod secured;
mod seeds;
mod slow;
mod slowdown;
mod soak;
