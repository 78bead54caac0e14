//! Publishes that wait for their acknowledgement on one connection, in the order of their ids.

use std::collections::VecDeque;

/// Entries by consecutive id; an entry is 40 bytes and lives until it is settled and is the oldest.
#[derive(Debug)]
pub(super) struct InFlight<T> {
    first_id: u64,
    entries: VecDeque<Option<T>>,
    open: usize,
}

impl<T> InFlight<T> {
    /// Ids will start at `first_id` and never repeat.
    pub(super) fn new(first_id: u64) -> Self {
        Self { first_id, entries: VecDeque::new(), open: 0 }
    }

    /// Adds an entry and returns its id.
    pub(super) fn open(&mut self, entry: T) -> u64 {
        self.entries.push_back(Some(entry));
        self.open += 1;
        self.first_id + self.entries.len() as u64 - 1
    }

    /// The id that the next `open` will return.
    pub(super) fn next_id(&self) -> u64 {
        self.first_id + self.entries.len() as u64
    }

    /// Looks at an open entry.
    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        let index = usize::try_from(id.checked_sub(self.first_id)?).ok()?;
        self.entries.get_mut(index)?.as_mut()
    }

    /// Takes an entry out; `None`: never opened, or settled before.
    pub(super) fn settle(&mut self, id: u64) -> Option<T> {
        let index = usize::try_from(id.checked_sub(self.first_id)?).ok()?;
        let entry = self.entries.get_mut(index)?.take()?;
        self.open -= 1;
        while let Some(None) = self.entries.front() {
            self.entries.pop_front();
            self.first_id += 1;
        }
        Some(entry)
    }

    /// The open entry that was opened first.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.entries.iter().flatten().next()
    }

    /// Takes out the oldest entry if `expired` says so.
    pub(super) fn expire(&mut self, expired: impl Fn(&T) -> bool) -> Option<T> {
        if !expired(self.oldest()?) {
            return None;
        }
        self.settle(self.first_id)
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open
    }

    /// Takes out all that are open.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.open = 0;
        self.first_id += self.entries.len() as u64;
        self.entries.drain(..).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_settled_once_in_any_order() {
        let mut flight = InFlight::new(10);
        let ids: Vec<u64> = "abc".chars().map(|c| flight.open(c)).collect();
        assert_eq!(ids, [10, 11, 12]);
        assert_eq!(flight.settle(11), Some('b'));
        assert_eq!(flight.settle(11), None);
        assert_eq!(flight.settle(9), None);
        assert_eq!(flight.settle(13), None);
        assert_eq!(flight.len(), 2);
        assert_eq!(flight.settle(10), Some('a'));
        assert_eq!(flight.open('d'), 13);
        assert_eq!(flight.expire(|c| *c == 'c'), Some('c'));
        assert_eq!(flight.expire(|c| *c == 'c'), None);
        assert_eq!(flight.drain().collect::<String>(), "d");
        assert_eq!((flight.len(), flight.next_id()), (0, 14));
    }
}
