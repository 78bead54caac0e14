//! `stressctl selftest`: plants every known defect in the reference server and shows that each is found, exactly.
//!
//! Whoever reads "nothing lost" in a report has to take our word for it, unless they have seen the same program, on
//! the same machine, report a loss of seven where a server lost seven, and none where it lost none. Nothing is
//! special about these runs: scenario text, plan, session, report and verdict are those of any user's run. How often
//! a defect struck is asked of the server itself, never taken from the plan or from the ledger.
//!
//! `stages` is the table of defects, in the words of `rows`; `stage` runs one scenario of them; `truth` asks the
//! server; `judge` compares; `matrix` prints; `run` goes through all of it.

mod judge;
mod matrix;
pub mod rows;
mod run;
pub mod stage;
pub mod stages;
mod truth;

pub use judge::{Finding, Line};
pub use matrix::{Honest, Matrix, Planted};
pub use run::{SelftestError, Wish, run};
