//! The lives of every subscription of a shard: what each was owed, and where its edges are.
//!
//! Edges are seqs, not times, so that no guard time has to be guessed. What is live now is one [`Edge`] per stream;
//! lives that have ended are kept aside, newest first by a chain of indices, so that the usual case of one life
//! costs nothing but the edge.

use std::collections::HashMap;
use std::ops::Range;

use super::audit::End;

/// No such seq.
pub(super) const NEVER: u64 = u64::MAX;

const NO_LIFE: u32 = u32::MAX;

/// Where a subscription stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not a member: nothing is owed to it.
    Outside,
    /// A member that is there.
    Live,
    /// A member that is expected to come back.
    Away,
}

/// Two seqs of one stream; which ones depends on the standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    /// Live: from here on an event may have been published while it lived. Away: the same of the life to come, or
    /// [`NEVER`] before its subscribe was sent. Outside: from here on nothing may arrive, or [`NEVER`].
    pub(super) soft: u64,
    /// Live: from here on it lived for certain. Outside: where the last membership ended.
    pub(super) hard: u64,
}

#[derive(Debug, Clone, Copy)]
struct Now {
    /// Newest life that has ended, or [`NO_LIFE`].
    past: u32,
    standing: Standing,
    /// The life that is live now is the first of its membership.
    joined: bool,
    /// It has lived through the quiet period.
    lived_on: bool,
    /// The subscribe of the next life has been flushed: what arrives, arrives there.
    renewing: bool,
}

/// A life that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    /// The one before it, or [`NO_LIFE`].
    previous: u32,
    pub(super) how: End,
    /// It is the first of its membership: nothing is owed for what came before it.
    pub(super) joined: bool,
    /// It lived through the quiet period.
    pub(super) lived_on: bool,
    /// After its unsubscribe its connection still answered: it was alive to the end.
    pub(super) answered: bool,
    /// When the subscribe of the life after it was flushed; [`NEVER`]: not yet, or unknown.
    flushed_ns: u64,
}

/// What a life that has ended was owed of one stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    /// From here on an event may have been published while it lived.
    pub(super) from: u64,
    /// From here on it lived for certain.
    pub(super) first: u64,
    /// From here on it was dead.
    pub(super) end: u64,
    /// Everything before this was acknowledged when it ended.
    pub(super) acked_end: u64,
    /// Everything before this had been acknowledged well before it ended.
    pub(super) long_acked: u64,
    /// End of what arrived in it of the last epoch.
    pub(super) high: u64,
    /// Where the membership ended with it; [`NEVER`]: it went on, or the subscription's edge says so.
    pub(super) left: u64,
    /// Its barrier was given up.
    pub(super) given_up: bool,
}

/// An ended life as one stream sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Past<'a> {
    pub(super) life: &'a Life,
    pub(super) mark: &'a Mark,
    older: Option<&'a OlderEpochs>,
}

impl Past<'_> {
    /// Whether a later seq of the same epoch arrived in this life.
    pub(super) fn later_arrived(&self, seq: u64) -> bool {
        let older = self.older.into_iter().flatten().find(|(epoch, _)| epoch.contains(&seq));
        seq < older.map_or(self.mark.high, |(_, high)| *high)
    }
}

const BLANK: Mark =
    Mark { from: 0, first: 0, end: 0, acked_end: 0, long_acked: 0, high: 0, left: NEVER, given_up: false };

const NO_ONE: Life = Life {
    previous: NO_LIFE,
    how: End::Died,
    joined: false,
    lived_on: false,
    answered: false,
    flushed_ns: NEVER,
};

/// Earlier epochs of a stream, and the end of what arrived of each.
pub(super) type OlderEpochs = Vec<(Range<u64>, u64)>;

/// All lives of a shard.
#[derive(Debug)]
pub(super) struct Lives {
    slots: usize,
    now: Vec<Now>,
    /// One row of `slots` per subscription.
    edges: Vec<Edge>,
    past: Vec<Life>,
    /// Places in `past` of lives that were taken out.
    free: Vec<u32>,
    /// One row of `slots` per ended life.
    marks: Vec<Mark>,
    /// Of the few marks over more than one epoch, by their index.
    older: HashMap<usize, OlderEpochs>,
}

impl Lives {
    pub(super) fn new(subscriptions: usize, slots: usize) -> Self {
        let now = Now {
            past: NO_LIFE,
            standing: Standing::Outside,
            joined: false,
            lived_on: false,
            renewing: false,
        };
        Self {
            slots,
            now: vec![now; subscriptions],
            edges: vec![Edge { soft: NEVER, hard: 0 }; subscriptions * slots],
            past: Vec::new(),
            free: Vec::new(),
            marks: Vec::new(),
            older: HashMap::new(),
        }
    }

    pub(super) fn standing(&self, sub: usize) -> Standing {
        self.now[sub].standing
    }

    pub(super) fn edge(&self, sub: usize, slot: usize) -> Edge {
        self.edges[sub * self.slots + slot]
    }

    pub(super) fn edge_mut(&mut self, sub: usize, slot: usize) -> &mut Edge {
        &mut self.edges[sub * self.slots + slot]
    }

    /// Starts a life; `first` tells for each slot from where on it lives. The soft edges of a member were set when its
    /// subscribe was flushed.
    pub(super) fn begin(&mut self, sub: usize, first: impl IntoIterator<Item = (usize, u64)>) {
        let joined = self.now[sub].standing == Standing::Outside;
        for (slot, first) in first {
            let edge = self.edges[sub * self.slots + slot];
            if joined && let Some(mark) = self.newest_mark_mut(sub, slot) {
                mark.left = edge.hard;
            }
            let soft = if joined { first } else { edge.soft.min(first) };
            *self.edge_mut(sub, slot) = Edge { soft, hard: first };
        }
        let now = &mut self.now[sub];
        if joined && let Some(life) = self.past.get_mut(now.past as usize) {
            // The first life of a membership is owed nothing from before it, however it was asked for.
            life.flushed_ns = NEVER;
        }
        *now = Now { past: now.past, standing: Standing::Live, joined, lived_on: false, renewing: false };
    }

    /// Ends the live life. The marks take the place of the edges, which then say where the membership ended, if so.
    pub(super) fn finish(
        &mut self,
        sub: usize,
        how: End,
        marks: impl IntoIterator<Item = (usize, Mark, OlderEpochs)>,
    ) {
        let leaves = how.leaves();
        let place = self.free.pop().unwrap_or_else(|| self.add_place());
        let row = place as usize * self.slots;
        for (slot, mark, older) in marks {
            self.marks[row + slot] = mark;
            if !older.is_empty() {
                self.older.insert(row + slot, older);
            }
            *self.edge_mut(sub, slot) = Edge { soft: NEVER, hard: if leaves { mark.end } else { 0 } };
        }
        let now = &mut self.now[sub];
        let life = Life {
            previous: now.past,
            how,
            joined: now.joined,
            lived_on: now.lived_on,
            answered: false,
            flushed_ns: NEVER,
        };
        now.past = place;
        now.standing = if leaves { Standing::Outside } else { Standing::Away };
        self.past[place as usize] = life;
    }

    /// A member that is away will not come back; its hard edges say from where on it is owed nothing.
    pub(super) fn leave(&mut self, sub: usize) {
        (self.now[sub].standing, self.now[sub].renewing) = (Standing::Outside, false);
    }

    /// Notes when the subscribe of the next life was flushed.
    pub(super) fn renewing(&mut self, sub: usize, flushed_ns: u64) {
        let now = &mut self.now[sub];
        now.renewing = true;
        if let Some(life) = self.past.get_mut(now.past as usize) {
            life.flushed_ns = flushed_ns;
        }
    }

    /// Whether what arrives now still belongs to the newest of the lives that have ended.
    pub(super) fn is_behind(&self, sub: usize) -> bool {
        self.standing(sub) != Standing::Live && !self.now[sub].renewing
    }

    /// When the subscribe of the life that is live, or comes next, was flushed; [`NEVER`] for the first.
    pub(super) fn flushed_ns(&self, sub: usize) -> u64 {
        self.past.get(self.now[sub].past as usize).map_or(NEVER, |life| life.flushed_ns)
    }

    /// Notes that every live life has lived through the quiet period.
    pub(super) fn quiet_passed(&mut self) {
        let live = self.now.iter_mut().filter(|now| now.standing == Standing::Live);
        live.for_each(|now| now.lived_on = true);
    }

    /// Notes that the connection of the newest ended life answered what was sent after its unsubscribe.
    pub(super) fn answer(&mut self, sub: usize) {
        let newest = self.past.get_mut(self.now[sub].past as usize);
        if let Some(life) = newest.filter(|life| life.how.leaves()) {
            life.answered = true;
        }
    }

    /// Notes that it was a cut that ended the newest life: it had left, and nothing had answered that.
    pub(super) fn cut_behind(&mut self, sub: usize) {
        let newest = self.past.get_mut(self.now[sub].past as usize);
        if let Some(life) = newest.filter(|life| life.how == End::Left && !life.answered) {
            life.how = End::Cut;
        }
    }

    /// The ended lives of a subscription with their marks for one slot, newest first.
    pub(super) fn past(&self, sub: usize, slot: usize) -> impl Iterator<Item = Past<'_>> {
        self.chain(sub).map(move |index| self.as_past(index, slot))
    }

    /// The ended lives of a subscription, newest first.
    fn chain(&self, sub: usize) -> impl Iterator<Item = u32> + '_ {
        let at = |index: u32| (index != NO_LIFE).then_some(index);
        std::iter::successors(at(self.now[sub].past), move |index| at(self.past[*index as usize].previous))
    }

    /// An ended life as one stream sees it.
    pub(super) fn as_past(&self, index: u32, slot: usize) -> Past<'_> {
        let row = index as usize * self.slots + slot;
        Past { life: &self.past[index as usize], mark: &self.marks[row], older: self.older.get(&row) }
    }

    /// What an ended life was owed of one stream.
    pub(super) fn mark(&self, index: u32, slot: usize) -> &Mark {
        &self.marks[index as usize * self.slots + slot]
    }

    /// The memberships that are over of a subscription whose present one has just begun, newest first; each is its lives,
    /// newest first.
    pub(super) fn memberships(&self, sub: usize) -> impl Iterator<Item = Vec<u32>> + '_ {
        let mut lives = self.chain(sub).peekable();
        std::iter::from_fn(move || {
            lives.peek()?;
            let mut membership = Vec::new();
            for index in lives.by_ref() {
                membership.push(index);
                if self.past[index as usize].joined {
                    break;
                }
            }
            Some(membership)
        })
    }

    /// Takes a membership out that comes before the life `newer`, if there is one.
    pub(super) fn take_out(&mut self, sub: usize, newer: Option<u32>, membership: &[u32]) {
        let Some(oldest) = membership.last() else { return };
        let before = self.past[*oldest as usize].previous;
        match newer {
            Some(newer) => self.past[newer as usize].previous = before,
            None => self.now[sub].past = before,
        }
        for &index in membership {
            let row = index as usize * self.slots;
            if !self.older.is_empty() {
                (row..row + self.slots).for_each(|row| _ = self.older.remove(&row));
            }
            self.marks[row..row + self.slots].fill(BLANK);
            self.free.push(index);
        }
    }

    /// Place for one more life.
    fn add_place(&mut self) -> u32 {
        let place = u32::try_from(self.past.len()).expect("fewer than 2^32 lives");
        self.past.push(NO_ONE);
        self.marks.resize(self.marks.len() + self.slots, BLANK);
        place
    }

    /// First seq owed to the membership that a member is in.
    pub(super) fn member_since(&self, sub: usize, slot: usize) -> u64 {
        if self.standing(sub) == Standing::Live && self.now[sub].joined {
            return self.edge(sub, slot).hard;
        }
        self.past(sub, slot).find(|past| past.life.joined).map_or(NEVER, |past| past.mark.first)
    }

    /// Whether a seq that was published is owed to the subscription; asked only of what lies before the live life.
    pub(super) fn is_owed(&self, sub: usize, slot: usize, seq: u64) -> bool {
        let edge = self.edge(sub, slot);
        let mut until = match self.standing(sub) {
            Standing::Outside => edge.hard,
            Standing::Live if self.now[sub].joined => 0,
            Standing::Live | Standing::Away => NEVER,
        };
        for Past { life, mark, .. } in self.past(sub, slot) {
            until = until.max(if mark.left == NEVER { 0 } else { mark.left });
            if life.joined {
                if (mark.first..until).contains(&seq) {
                    return true;
                }
                until = 0;
            }
        }
        false
    }

    /// Notes that a seq arrived under the operation of the newest life although that has ended.
    pub(super) fn raise(&mut self, sub: usize, slot: usize, seq: u64) {
        self.raise_in(self.now[sub].past, slot, seq);
    }

    /// The newest of the lives that have ended which may have been given an event.
    pub(super) fn holder(&self, sub: usize, slot: usize, seq: u64, sent_ns: u64) -> Option<u32> {
        let mut lives = self.chain(sub).peekable();
        while let Some(index) = lives.next() {
            let (life, mark) = (&self.past[index as usize], self.mark(index, slot));
            let before = lives.peek().filter(|_| !life.joined).map(|before| &self.past[*before as usize]);
            let is_later = before.is_some_and(|before| sent_ns > before.flushed_ns);
            if seq < mark.end && (seq >= mark.from || is_later) {
                return Some(index);
            }
            if life.joined && seq >= mark.first {
                return None;
            }
        }
        None
    }

    /// Notes that a seq arrived under the operation of a life that has ended.
    pub(super) fn raise_in(&mut self, life: u32, slot: usize, seq: u64) {
        let index = life as usize * self.slots + slot;
        let Some(mark) = self.marks.get_mut(index).filter(|mark| seq < mark.end) else { return };
        let older = self.older.get_mut(&index).into_iter().flatten();
        let high = older.into_iter().find(|(epoch, _)| epoch.contains(&seq)).map(|(_, high)| high);
        let high = high.unwrap_or(&mut mark.high);
        *high = (*high).max(seq + 1);
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let older = self.older.values().map(|epochs| epochs.capacity() * size_of::<(Range<u64>, u64)>());
        self.now.capacity() * size_of::<Now>()
            + self.edges.capacity() * size_of::<Edge>()
            + self.past.capacity() * size_of::<Life>()
            + self.free.capacity() * size_of::<u32>()
            + self.marks.capacity() * size_of::<Mark>()
            + self.older.capacity() * size_of::<(usize, OlderEpochs)>()
            + older.sum::<usize>()
    }

    fn newest_mark_mut(&mut self, sub: usize, slot: usize) -> Option<&mut Mark> {
        self.marks.get_mut(self.now[sub].past as usize * self.slots + slot)
    }
}
