//! Lets a test leave out one increment of one counter that a sum is made of, where the real code makes it.

use std::cell::{Cell, RefCell};

thread_local! {
    /// Increments until the one that is left out.
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
    static SLIPPED: RefCell<Option<&'static str>> = const { RefCell::new(None) };
}

/// Whether this increment is the one to leave out.
pub(super) fn happens(counter: &'static str) -> bool {
    let Some(left) = LEFT.get() else { return false };
    LEFT.set(left.checked_sub(1));
    if left == 0 {
        SLIPPED.replace(Some(counter));
    }
    left == 0
}

/// Runs a history without its increment number `n`; returns also the name of the counter, if there was such a number.
pub(super) fn without<T>(n: u64, history: impl FnOnce() -> T) -> (T, Option<&'static str>) {
    LEFT.set(Some(n));
    SLIPPED.replace(None);
    let result = history();
    LEFT.set(None);
    (result, SLIPPED.take())
}
