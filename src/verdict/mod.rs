//! Conditions × report → judgements → verdict → exit code: pure functions, no clock, no I/O.
//!
//! Nothing here measures. What was not observed is never a pass. Next to read: [`judge()`], then [`conclude()`].

pub mod claims;
pub mod conclude;
mod doubt;
pub mod exit;
mod hollow;
pub mod judge;
mod lookup;
mod proportion;
pub(crate) mod rising;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod trend;
mod undecided;
mod window;
mod wording;

pub use claims::claims;
pub use conclude::{conclude, judge_all};
pub use exit::{Outcome, exit_code, gravest};
pub use judge::{Evidence, judge};
pub(crate) use proportion::is_share;
