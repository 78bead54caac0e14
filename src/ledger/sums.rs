//! Three sums over counters that different code kept; one that does not close is a bug of ours.

use super::classes::Class;
use super::counts::{Counts, ReceiptClass};

/// The sum that does not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SumError {
    /// The publishers counted other obligations than the subscriptions closed.
    #[error("publishers counted {counted} obligations, but the classes add up to {classed}")]
    Obligations {
        /// Counted when the events were published.
        counted: u64,
        /// Sum of all classes.
        classed: u64,
    },
    /// The decoder counted other receipts than the ledger entered.
    #[error("the decoder counted {counted} receipts, but the ledger's classes add up to {classed}")]
    Receipts {
        /// Counted before the ledger saw them.
        counted: u64,
        /// Sum of all classes.
        classed: u64,
    },
    /// First receipts do not agree with what became of the obligations.
    #[error(
        "there were {first} first receipts, but delivered, late, recovered and unowed add up to {explained}"
    )]
    First {
        /// First receipts.
        first: u64,
        /// `delivered + late + recovered + unowed`.
        explained: u64,
    },
}

/// Checks the three sums: over everything, since obligations are counted for all groups together.
///
/// # Errors
/// The first sum that does not close.
pub fn sums(counts: &Counts, receipts: u64, obligations: u64) -> Result<(), SumError> {
    let classed = counts.obligations();
    if obligations != classed {
        return Err(SumError::Obligations { counted: obligations, classed });
    }
    let classed = counts.receipts();
    if receipts != classed {
        return Err(SumError::Receipts { counted: receipts, classed });
    }
    let first = counts.receipts_of(ReceiptClass::First);
    let met = [Class::Delivered, Class::Late, Class::Recovered];
    let explained = met.iter().map(|class| counts.of(*class)).sum::<u64>() + counts.unowed;
    if first != explained {
        return Err(SumError::First { first, explained });
    }
    Ok(())
}
