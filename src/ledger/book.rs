//! What one subscription received of one stream: a window of seqs and the gaps in it.
//!
//! In order, an event costs one comparison and one addition, and a book is 24 bytes. Gaps are kept as a list of
//! ranges, and as a bitmap once that is smaller. Nothing here knows what was owed.

use std::ops::Range;

/// Marks a book that has received nothing.
const EMPTY: u64 = u64::MAX;

/// A list below this length never becomes a bitmap.
const SHORT_LIST: usize = 16;

/// Whether a seq was new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// Received for the first time.
    First {
        /// A later seq of the stream was there before it.
        reordered: bool,
    },
    /// Received before.
    Duplicate,
    /// Cannot be remembered: the memory for gaps is used up. The seq stays outside the window.
    Unverified,
}

/// Memory that books may still take for gaps, shared by the books of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    bytes: usize,
}

impl Room {
    /// Room for this many bytes of gaps.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { bytes }
    }

    /// Bytes left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes
    }
}

/// The record of one (subscription, stream).
#[derive(Debug, Clone)]
pub struct Book {
    /// Smallest seq received; [`EMPTY`] before the first.
    low: u64,
    /// One more than the largest seq received.
    high: u64,
    gaps: Option<Box<Gaps>>,
}

impl Default for Book {
    fn default() -> Self {
        Self { low: EMPTY, high: EMPTY, gaps: None }
    }
}

#[derive(Debug, Clone, Default)]
struct Gaps {
    missing: Missing,
    /// A gap did not fit into the room.
    capped: bool,
    /// What lies before this was forgotten.
    floor: u64,
}

/// The seqs inside the window that were not received.
#[derive(Debug, Clone)]
enum Missing {
    /// Disjoint, not empty, rising.
    List(Vec<Range<u64>>),
    /// Bit i of word w: seq `base + 64 w + i` is missing; the base is a multiple of 64. Beyond the last word nothing is.
    Bitmap { base: u64, words: Vec<u64> },
}

impl Default for Missing {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Book {
    /// Notes the arrival of a seq, taking memory for a new gap from `room`.
    #[inline]
    pub fn record(&mut self, seq: u64, room: &mut Room) -> Receipt {
        if seq == self.high {
            self.high += 1;
            return Receipt::First { reordered: false };
        }
        self.record_out_of_order(seq, room)
    }

    #[inline(never)]
    fn record_out_of_order(&mut self, seq: u64, room: &mut Room) -> Receipt {
        debug_assert!(seq < EMPTY, "seqs are far below the mark of an empty book");
        if self.low == EMPTY {
            (self.low, self.high) = (seq, seq + 1);
            return Receipt::First { reordered: false };
        }
        if seq > self.high {
            if !self.open_gap(self.high..seq, room) {
                return Receipt::Unverified;
            }
            self.high = seq + 1;
            return Receipt::First { reordered: false };
        }
        if seq < self.low {
            if self.gaps.as_ref().is_some_and(|gaps| seq < gaps.floor) {
                return Receipt::Unverified;
            }
            if seq + 1 < self.low && !self.open_gap(seq + 1..self.low, room) {
                return Receipt::Unverified;
            }
            self.low = seq;
            return Receipt::First { reordered: true };
        }
        let filled = self.gaps.as_mut().is_some_and(|gaps| gaps.missing.fill(seq, room));
        if filled { Receipt::First { reordered: true } } else { Receipt::Duplicate }
    }

    /// Remembers a gap at either end of the window; false: there is no room for it.
    fn open_gap(&mut self, gap: Range<u64>, room: &mut Room) -> bool {
        let window = self.low.min(gap.start)..self.high.max(gap.end);
        let gaps = self.gaps.get_or_insert_default();
        // Once capped, for good: outside the window there may be receipts that were refused.
        gaps.capped = gaps.capped || !gaps.missing.open(gap, &window, room);
        !gaps.capped
    }

    /// Whether the seq was received (and could be remembered).
    #[must_use]
    pub fn contains(&self, seq: u64) -> bool {
        self.low <= seq && seq < self.high && self.missing_ranges(seq..seq + 1).next().is_none()
    }

    /// The range from the smallest seq received to one more than the largest; empty if there is none.
    #[must_use]
    pub fn window(&self) -> Range<u64> {
        if self.low == EMPTY { 0..0 } else { self.low..self.high }
    }

    /// Whether a gap could not be remembered, so that nothing is known outside the window.
    #[must_use]
    pub fn is_capped(&self) -> bool {
        self.gaps.as_ref().is_some_and(|gaps| gaps.capped)
    }

    /// The seqs of `range` that were not received, as rising, disjoint ranges that are not empty.
    pub fn missing_ranges(&self, range: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let window = self.window();
        let below = range.start..range.end.min(window.start);
        let inside = range.start.max(window.start)..range.end.min(window.end);
        let above = range.start.max(window.end)..range.end;
        let gaps = self.gaps.as_deref().filter(|_| inside.start < inside.end);
        let gaps = gaps.into_iter().flat_map(move |gaps| gaps.missing.within(inside.clone()));
        // An empty window is 0..0, so that everything lies above it.
        std::iter::once(below).chain(gaps).chain(std::iter::once(above)).filter(|r| r.start < r.end)
    }

    /// The seqs of `range` that were not received.
    pub fn missing(&self, range: Range<u64>) -> impl Iterator<Item = u64> + '_ {
        self.missing_ranges(range).flatten()
    }

    /// How many seqs of `range` were not received.
    #[must_use]
    pub fn count_missing(&self, range: Range<u64>) -> u64 {
        self.missing_ranges(range).map(|r| r.end - r.start).sum()
    }

    /// One more than the largest seq of `range` that was received; its start if there is none.
    #[must_use]
    pub fn end_within(&self, range: Range<u64>) -> u64 {
        let end = range.end.min(self.window().end).max(range.start);
        // Ranges of missing seqs never touch each other.
        self.missing_ranges(range.start..end).last().filter(|gap| gap.end == end).map_or(end, |gap| gap.start)
    }

    /// Forgets what lies below `floor`: whatever arrives of it from now on cannot be told from what had arrived, and no
    /// question about it is answered. Memory of gaps is given back to `room`.
    pub fn forget_below(&mut self, floor: u64, room: &mut Room) {
        let floor = floor.min(self.window().end);
        if self.low == EMPTY || floor <= self.low {
            return;
        }
        self.low = floor;
        let gaps = self.gaps.get_or_insert_default();
        gaps.floor = floor;
        gaps.missing.forget_below(floor, room);
    }

    /// How many gaps there are, or as many as would take the memory of this book.
    #[must_use]
    pub fn gaps(&self) -> usize {
        self.gaps.as_ref().map_or(0, |gaps| gaps.missing.heap_bytes() / size_of::<Range<u64>>())
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.gaps.as_ref().map_or(0, |gaps| size_of::<Gaps>() + gaps.missing.heap_bytes())
    }
}

impl Missing {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::List(list) => list.capacity() * size_of::<Range<u64>>(),
            Self::Bitmap { words, .. } => words.capacity() * size_of::<u64>(),
        }
    }

    fn forget_below(&mut self, floor: u64, room: &mut Room) {
        let before = self.heap_bytes();
        match self {
            Self::List(list) => {
                list.drain(..list.partition_point(|gap| gap.end <= floor));
                if let Some(first) = list.first_mut() {
                    first.start = first.start.max(floor);
                }
                list.shrink_to(list.len() + list.len() / 2);
            }
            Self::Bitmap { base, words } => {
                let whole = (floor.saturating_sub(*base) / 64).min(words.len() as u64);
                words.drain(..whole as usize);
                *base += whole * 64;
                let part = floor.saturating_sub(*base);
                if let Some(first) = words.first_mut().filter(|_| part < 64) {
                    *first &= u64::MAX << part;
                }
                words.shrink_to(words.len() + words.len() / 2);
            }
        }
        room.bytes += before.saturating_sub(self.heap_bytes());
    }

    /// Adds a gap before or behind all others; false: no room, and nothing changed.
    fn open(&mut self, gap: Range<u64>, window: &Range<u64>, room: &mut Room) -> bool {
        if let Self::List(list) = self {
            let span = window.end - window.start;
            if list.len() < SHORT_LIST || list.len() as u64 * 128 < span {
                if !make_room(list, 1, room) {
                    return false;
                }
                let at =
                    if list.first().is_some_and(|first| gap.end <= first.start) { 0 } else { list.len() };
                list.insert(at, gap);
                return true;
            }
            let Some(bitmap) = Self::bitmap_of(list, room) else { return false };
            *self = bitmap;
        }
        let Self::Bitmap { base, words } = self else { unreachable!("lists were dealt with above") };
        if gap.start < *base {
            let more = ((*base - gap.start).div_ceil(64)) as usize;
            if !make_room(words, more, room) {
                return false;
            }
            words.splice(0..0, std::iter::repeat_n(0, more));
            // The base is a multiple of 64 above the gap, so this stays above zero.
            *base -= more as u64 * 64;
        }
        set(words, gap.start - *base..gap.end - *base, room)
    }

    /// The same gaps as a bitmap, in room of its own; the list's room is given back.
    fn bitmap_of(list: &Vec<Range<u64>>, room: &mut Room) -> Option<Self> {
        let base = list.first()?.start & !63;
        let mut words = Vec::new();
        let span = list.last()?.end - base;
        if !make_room(&mut words, span.div_ceil(64) as usize, room) {
            return None;
        }
        for gap in list {
            set(&mut words, gap.start - base..gap.end - base, room);
        }
        room.bytes += list.capacity() * size_of::<Range<u64>>();
        Some(Self::Bitmap { base, words })
    }

    /// Takes a seq out of the gaps; false: it was in none.
    fn fill(&mut self, seq: u64, room: &mut Room) -> bool {
        match self {
            Self::List(list) => {
                let at = list.partition_point(|gap| gap.end <= seq);
                let Some(gap) = list.get_mut(at).filter(|gap| gap.start <= seq) else { return false };
                match (gap.start == seq, gap.end == seq + 1) {
                    (true, true) => _ = list.remove(at),
                    (true, false) => gap.start += 1,
                    (false, true) => gap.end -= 1,
                    (false, false) => {
                        let left = gap.start..seq;
                        gap.start = seq + 1;
                        // A split takes its room even if there is none: the cap may be passed by as much as
                        // arrives out of order inside gaps, never by what is lost.
                        let before = list.capacity();
                        list.reserve(1);
                        let extra = (list.capacity() - before) * size_of::<Range<u64>>();
                        room.bytes = room.bytes.saturating_sub(extra);
                        list.insert(at, left);
                    }
                }
                true
            }
            Self::Bitmap { base, words } => {
                let Some(bit) = seq.checked_sub(*base) else { return false };
                let Some(word) = words.get_mut((bit / 64) as usize) else { return false };
                let mask = 1 << (bit % 64);
                let was_missing = *word & mask != 0;
                *word &= !mask;
                was_missing
            }
        }
    }

    /// The gaps, cut to `range`.
    fn within(&self, range: Range<u64>) -> Box<dyn Iterator<Item = Range<u64>> + '_> {
        match self {
            Self::List(list) => {
                let from = list.partition_point(|gap| gap.end <= range.start);
                let cut = move |gap: &Range<u64>| gap.start.max(range.start)..gap.end.min(range.end);
                Box::new(list[from..].iter().map(cut).take_while(|gap| gap.start < gap.end))
            }
            Self::Bitmap { base, words } => Box::new(Runs {
                words,
                base: *base,
                at: range.start.saturating_sub(*base),
                end: range.end.saturating_sub(*base).min(words.len() as u64 * 64),
            }),
        }
    }
}

/// Reserves `more` elements, half as much again in advance, and takes them from the room.
fn make_room<T>(items: &mut Vec<T>, more: usize, room: &mut Room) -> bool {
    if items.capacity() - items.len() >= more {
        return true;
    }
    let before = items.capacity();
    let wanted = (items.len() + more).max(items.len() + items.len() / 2).max(4);
    let extra = (wanted - before) * size_of::<T>();
    if extra > room.bytes {
        return false;
    }
    items.reserve_exact(wanted - items.len());
    room.bytes -= extra;
    true
}

/// Sets a range of bits, growing the bitmap; false: no room.
fn set(words: &mut Vec<u64>, bits: Range<u64>, room: &mut Room) -> bool {
    let needed = bits.end.div_ceil(64) as usize;
    if needed > words.len() {
        if !make_room(words, needed - words.len(), room) {
            return false;
        }
        words.resize(needed, 0);
    }
    for (index, word) in words.iter_mut().enumerate().take(needed).skip((bits.start / 64) as usize) {
        let first = index as u64 * 64;
        let from = bits.start.saturating_sub(first);
        let to = (bits.end - first).min(64);
        *word |= (u64::MAX << from) & (u64::MAX >> (64 - to));
    }
    true
}

/// Runs of set bits as ranges of seqs.
struct Runs<'a> {
    words: &'a [u64],
    base: u64,
    at: u64,
    end: u64,
}

impl Runs<'_> {
    /// The first bit from `at` on that is set (or clear), or the end.
    fn seek(&self, mut at: u64, set: bool) -> u64 {
        while at < self.end {
            let word = self.words[(at / 64) as usize];
            let found = (if set { word } else { !word }) >> (at % 64);
            if found != 0 {
                return (at + u64::from(found.trailing_zeros())).min(self.end);
            }
            at = (at / 64 + 1) * 64;
        }
        self.end
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<u64>;

    fn next(&mut self) -> Option<Range<u64>> {
        if self.at >= self.end {
            return None;
        }
        let start = self.seek(self.at, true);
        self.at = self.seek(start, false);
        (start < self.end).then(|| self.base + start..self.base + self.at)
    }
}

#[cfg(test)]
mod tests;
