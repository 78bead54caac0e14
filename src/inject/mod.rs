//! Injected faults: who is hit, when, and with what.
//!
//! Deciding is apart from applying. [`Schedule`] is pure: from the seed alone it draws every victim and every moment
//! before the run starts, and prints them. `clients` applies what it says, and records in [`FaultTally`] what really
//! happened and when, so that plan and deed can be reconciled.

mod alarm;
mod control;
mod draws;
mod gate;
pub mod partition;
mod queue;
mod record;
mod schedule;
mod stream;

pub use alarm::Alarm;
pub use control::{Control, LaneDelay};
pub use draws::Draws;
pub use record::{FaultTally, Moments, Reads};
pub use schedule::{Act, Lane, Schedule, cohort};
pub use stream::Link;
