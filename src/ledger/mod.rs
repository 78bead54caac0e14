//! Remembers every delivery that was owed and judges what became of it.
//!
//! Knows nothing of sockets and reads no clock. Read in this order: [`token`] (what travels), [`streams`] (which
//! event has which name), [`roster`] (who is owed what), [`book`] (what arrived), [`classes`] (the rules),
//! [`audit`] (the shard's ledger and its closing), [`mod@sums`] (the proof that nothing was forgotten).

pub mod audit;
mod barriers;
pub mod book;
pub mod classes;
mod close;
pub mod counts;
mod lives;
mod receive;
pub mod roster;
mod settled;
#[cfg(test)]
mod slip;
pub mod streams;
pub mod sums;
#[cfg(test)]
mod tests;
pub mod token;

pub use audit::{Config, End, Receipt, ShardLedger, SubscriptionShape};
pub use classes::{Class, Facts, classify};
pub use close::CloseFacts;
pub use counts::{Counts, ReceiptClass, Totals};
pub use roster::{Published, Roster};
pub use streams::{GroupShape, StreamId, Streams};
pub use sums::{SumError, sums};
pub use token::{Found, Kind, MAX_HEADER, Token, find};
