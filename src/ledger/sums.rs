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

#[cfg(test)]
mod tests {
    use super::*;

    /// One increment of one counter.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Increment {
        Published,
        Decoded,
        Obligation(Class),
        Receipt(ReceiptClass),
        Unowed,
    }
    use Increment::{Decoded, Obligation, Published, Receipt, Unowed};

    /// One delivery of every class, one receipt of every class, one event that was not owed.
    fn history() -> Vec<Increment> {
        let mut all = Vec::new();
        for class in Class::ALL {
            all.extend([Published, Obligation(class)]);
            if matches!(class, Class::Delivered | Class::Late | Class::Recovered) {
                all.extend([Decoded, Receipt(ReceiptClass::First)]);
            }
        }
        for class in ReceiptClass::ALL {
            all.extend([Decoded, Receipt(class)]);
        }
        all.push(Unowed);
        all
    }

    fn check(history: &[Increment]) -> Result<(), SumError> {
        let (mut counts, mut receipts, mut obligations) = (Counts::default(), 0, 0);
        for increment in history {
            match *increment {
                Published => obligations += 1,
                Decoded => receipts += 1,
                Obligation(class) => counts.add(class),
                Receipt(class) => counts.add_receipt(class),
                Unowed => counts.unowed += 1,
            }
        }
        sums(&counts, receipts, obligations)
    }

    #[test]
    fn the_whole_history_closes() {
        assert_eq!(check(&history()), Ok(()));
        assert_eq!(check(&[]), Ok(()));
    }

    #[test]
    fn any_dropped_increment_is_noticed_by_its_sum() {
        for dropped in 0..history().len() {
            let mut history = history();
            let error = match history.remove(dropped) {
                Published => SumError::Obligations { counted: 10, classed: 11 },
                Obligation(_) => SumError::Obligations { counted: 11, classed: 10 },
                Decoded => SumError::Receipts { counted: 9, classed: 10 },
                Receipt(_) => SumError::Receipts { counted: 10, classed: 9 },
                Unowed => SumError::First { first: 4, explained: 3 },
            };
            assert_eq!(check(&history), Err(error));
        }
    }

    #[test]
    fn a_first_receipt_that_met_nothing_is_noticed() {
        let without = |a: Increment, b: Increment| {
            let mut history = history();
            for one in [a, b] {
                history.remove(history.iter().position(|it| *it == one).unwrap());
            }
            check(&history)
        };
        let error = SumError::First { first: 4, explained: 3 };
        for class in [Class::Delivered, Class::Late, Class::Recovered] {
            assert_eq!(without(Published, Obligation(class)), Err(error));
        }
        let error = SumError::First { first: 3, explained: 4 };
        assert_eq!(without(Decoded, Receipt(ReceiptClass::First)), Err(error));
        assert_eq!(
            error.to_string(),
            "there were 3 first receipts, but delivered, late, recovered and unowed add up to 4"
        );
    }
}
