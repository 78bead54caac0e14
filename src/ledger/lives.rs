//! The incarnations of every subscription of a shard: when each was owed what.
//!
//! Kept in two arrays for all subscriptions together, newest incarnation first by a chain of indices, so that
//! the usual case of one incarnation costs no allocation of its own.

use std::ops::Range;

use super::audit::End;

const NONE: u32 = u32::MAX;

/// The end of an incarnation that is live.
const LIVE: u64 = u64::MAX;

/// One incarnation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// The one before it, or [`NONE`].
    previous: u32,
    /// Index of its first mark.
    marks: usize,
    /// How it ended; `None`: it is live.
    pub(super) ended: Option<End>,
    /// It lived through the quiet period.
    pub(super) lived_on: bool,
}

/// What an incarnation is owed of one stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    first: u64,
    end: u64,
    /// End of the book's window when the incarnation was followed by another one.
    high: u64,
}

impl Mark {
    /// The seqs owed.
    pub(super) fn owed(&self) -> Range<u64> {
        self.first..self.end
    }

    /// End of what arrived in this incarnation, given the end of the book's window now.
    pub(super) fn high(&self, now: u64) -> u64 {
        self.high.min(now)
    }
}

/// All incarnations of a shard.
#[derive(Debug)]
pub(super) struct Lives {
    slots: usize,
    /// Newest incarnation of each subscription, or [`NONE`].
    newest: Vec<u32>,
    lives: Vec<Life>,
    marks: Vec<Mark>,
}

impl Lives {
    pub(super) fn new(subscriptions: usize, slots: usize) -> Self {
        Self {
            slots,
            newest: vec![NONE; subscriptions],
            lives: Vec::with_capacity(subscriptions),
            marks: Vec::with_capacity(subscriptions * slots),
        }
    }

    /// Whether the subscription has a live incarnation.
    pub(super) fn is_live(&self, sub: usize) -> bool {
        self.newest(sub).is_some_and(|life| life.ended.is_none())
    }

    /// The newest incarnation.
    pub(super) fn newest(&self, sub: usize) -> Option<&Life> {
        self.lives.get(self.newest[sub] as usize)
    }

    /// Starts an incarnation that is owed nothing yet. `high` tells the end of the window of a slot's book.
    pub(super) fn begin(&mut self, sub: usize, high: impl Fn(usize) -> u64) {
        let previous = self.newest[sub];
        if let Some(life) = self.lives.get(previous as usize) {
            let marks = &mut self.marks[life.marks..life.marks + self.slots];
            marks.iter_mut().enumerate().for_each(|(slot, mark)| mark.high = high(slot));
        }
        self.newest[sub] = u32::try_from(self.lives.len()).expect("fewer than 2^32 incarnations");
        self.lives.push(Life { previous, marks: self.marks.len(), ended: None, lived_on: false });
        self.marks.extend(std::iter::repeat_n(Mark { first: 0, end: 0, high: LIVE }, self.slots));
    }

    /// Notes the first seq that the newest incarnation is owed of a slot.
    pub(super) fn owe_from(&mut self, sub: usize, slot: usize, first: u64) {
        let mark = self.newest_mark_mut(sub, slot);
        (mark.first, mark.end) = (first, LIVE);
    }

    /// Notes the first seq that the newest incarnation is no longer owed of a slot.
    pub(super) fn owe_until(&mut self, sub: usize, slot: usize, end: u64) {
        self.newest_mark_mut(sub, slot).end = end;
    }

    /// Ends the newest incarnation; `how` is `None` when the run closed on it.
    pub(super) fn finish(&mut self, sub: usize, how: End) {
        self.lives[self.newest[sub] as usize].ended = Some(how);
    }

    /// Notes that every live incarnation has lived through the quiet period.
    pub(super) fn quiet_passed(&mut self) {
        self.lives.iter_mut().filter(|life| life.ended.is_none()).for_each(|life| life.lived_on = true);
    }

    /// The incarnations of a subscription with their marks for one slot, newest first.
    pub(super) fn of(&self, sub: usize, slot: usize) -> impl Iterator<Item = (&Life, &Mark)> {
        let at = |index: u32| self.lives.get(index as usize);
        std::iter::successors(at(self.newest[sub]), move |life| at(life.previous))
            .map(move |life| (life, &self.marks[life.marks + slot]))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.newest.capacity() * size_of::<u32>()
            + self.lives.capacity() * size_of::<Life>()
            + self.marks.capacity() * size_of::<Mark>()
    }

    fn newest_mark_mut(&mut self, sub: usize, slot: usize) -> &mut Mark {
        let life = &self.lives[self.newest[sub] as usize];
        &mut self.marks[life.marks + slot]
    }
}
