//! Who is owed what: one atomic word per stream, shared by the publisher and the subscriber shards.
//!
//! A word packs how many events were published and how many subscriptions are enrolled: members, whether they are
//! live or away. Publishing, enrolling and releasing are each one atomic addition to that word, so they have one
//! order that all threads agree on: the obligations that publishers count equal the sum of `end - first` over all
//! memberships exactly, whatever the interleaving.
//!
//! The seqs of a stream run on when its publisher reconnects. An epoch is a range of them; all but the newest of a
//! stream are behind a lock, which nobody takes before somebody has reconnected.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::streams::{StreamId, Streams};

const ENROLLED_BITS: u32 = 24;
const ONE_PUBLISHED: u64 = 1 << ENROLLED_BITS;
const ENROLLED: u64 = ONE_PUBLISHED - 1;

/// Most subscriptions that can be enrolled in one stream.
pub const MAX_ENROLLED: u64 = ENROLLED;

/// What one publish created.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// The seq of the event.
    pub seq: u64,
    /// Deliveries that are owed for it.
    pub obligations: u64,
}

/// Published events and enrolled subscriptions of every stream.
#[derive(Debug)]
pub struct Roster {
    words: Box<[AtomicU64]>,
    /// The end of the settled prefix of each stream.
    settled: Box<[AtomicU64]>,
    /// Some stream has settled events beyond its prefix.
    any_ahead: AtomicBool,
    /// Those, of servers that answer out of order.
    ahead: Mutex<HashMap<StreamId, BTreeSet<u64>>>,
    /// What `settled` was when it was last remembered, and the time before that.
    recently: Box<[AtomicU64]>,
    before: Box<[AtomicU64]>,
    /// Some publisher has begun a second epoch.
    renewed: AtomicBool,
    /// First seq and, in the lower bits, number of the newest epoch of each stream.
    newest: Box<[AtomicU64]>,
    /// First seqs of epochs 1, 2, … of the streams that have them.
    epochs: RwLock<HashMap<StreamId, Vec<u64>>>,
}

impl Roster {
    /// Nothing published, nobody enrolled.
    #[must_use]
    pub fn new(streams: &Streams) -> Self {
        let zeros = || (0..streams.len()).map(|_| AtomicU64::new(0)).collect();
        Self {
            words: zeros(),
            settled: zeros(),
            any_ahead: AtomicBool::new(false),
            ahead: Mutex::default(),
            recently: zeros(),
            before: zeros(),
            renewed: AtomicBool::new(false),
            newest: zeros(),
            epochs: RwLock::default(),
        }
    }

    /// Notes that nothing more is awaited about an event: it was acknowledged, refused, or given up. Called by the
    /// thread that publishes the stream; what it says of an event for the second time changes nothing.
    pub fn settle(&self, stream: StreamId, seq: u64) {
        let prefix = &self.settled[stream.index()];
        let end = prefix.load(Ordering::Relaxed);
        if seq == end && !self.any_ahead.load(Ordering::Relaxed) {
            prefix.store(end + 1, Ordering::Release);
        } else if seq >= end {
            self.settle_out_of_order(stream, seq, end);
        }
    }

    /// Remembers what is acknowledged now; called at even intervals, by one thread.
    pub fn remember(&self) {
        for ((settled, recently), before) in self.settled.iter().zip(&self.recently).zip(&self.before) {
            before.store(recently.load(Ordering::Relaxed), Ordering::Relaxed);
            recently.store(settled.load(Ordering::Acquire), Ordering::Relaxed);
        }
    }

    /// What [`Self::acked_through`] was one to two intervals of [`Self::remember`] ago.
    #[must_use]
    pub fn acked_long_ago(&self, stream: StreamId) -> u64 {
        self.before[stream.index()].load(Ordering::Relaxed)
    }

    fn settle_out_of_order(&self, stream: StreamId, seq: u64, mut end: u64) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = ahead.entry(stream).or_default();
        beyond.insert(seq);
        while beyond.first() == Some(&end) {
            beyond.pop_first();
            end += 1;
        }
        if beyond.is_empty() {
            ahead.remove(&stream);
        }
        self.any_ahead.store(!ahead.is_empty(), Ordering::Relaxed);
        self.settled[stream.index()].store(end, Ordering::Release);
    }

    /// One more than the last seq up to which every event of a stream is settled; 0: not even the first. Of an
    /// acknowledged event beyond it an earlier one may still be on its way into the server.
    #[must_use]
    pub fn acked_through(&self, stream: StreamId) -> u64 {
        self.settled[stream.index()].load(Ordering::Acquire)
    }

    /// A publisher has connected again: what it publishes from now on belongs to a new epoch, whose number is
    /// returned. Called by the thread that publishes its streams.
    ///
    /// # Panics
    /// If it connects again for the 16,777,216th time.
    #[must_use]
    pub fn begin_epoch(&self, streams: &Streams, publisher: u32) -> u32 {
        let mut number = 0;
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        for stream in streams.all().filter(|stream| streams.publisher(*stream) == publisher) {
            let first = self.published(stream);
            let starts = epochs.entry(stream).or_default();
            starts.push(first);
            number = starts.len() as u64;
            assert!(number <= ENROLLED, "a publisher reconnects at most 16,777,215 times");
            self.newest[stream.index()].store(first << ENROLLED_BITS | number, Ordering::Release);
        }
        self.renewed.store(true, Ordering::Release);
        number as u32
    }

    /// The epoch that a seq of a stream belongs to. Whoever was told by [`Self::published`] that the seq is out sees
    /// the epoch that it was published in.
    #[must_use]
    pub fn epoch_of(&self, stream: StreamId, seq: u64) -> u32 {
        if !self.renewed.load(Ordering::Relaxed) {
            return 0;
        }
        let newest = self.newest[stream.index()].load(Ordering::Acquire);
        if seq >= newest >> ENROLLED_BITS {
            return (newest & ENROLLED) as u32;
        }
        self.older_epochs().get(&stream).map_or(0, |starts| starts.partition_point(|s| *s <= seq)) as u32
    }

    /// The first seq that is beyond the epoch of this one; `u64::MAX` in the newest.
    #[must_use]
    pub fn epoch_end(&self, stream: StreamId, seq: u64) -> u64 {
        if !self.renewed.load(Ordering::Relaxed) {
            return u64::MAX;
        }
        let next = |starts: &Vec<u64>| starts.get(starts.partition_point(|start| *start <= seq)).copied();
        self.older_epochs().get(&stream).and_then(next).unwrap_or(u64::MAX)
    }

    /// The epochs that a range of seqs of a stream touches, cut to it, by rising seq.
    #[must_use]
    pub fn epochs_within(&self, stream: StreamId, range: Range<u64>) -> Vec<Range<u64>> {
        let mut pieces = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let end = self.epoch_end(stream, start).min(range.end);
            pieces.push(start..end);
            start = end;
        }
        pieces
    }

    fn older_epochs(&self) -> RwLockReadGuard<'_, HashMap<StreamId, Vec<u64>>> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next seq of a stream, before the event is handed to the socket.
    pub fn publish(&self, stream: StreamId) -> Published {
        let old = self.word(stream).fetch_add(ONE_PUBLISHED, Ordering::AcqRel);
        let obligations = old & ENROLLED;
        #[cfg(test)]
        let obligations = obligations - u64::from(obligations > 0 && super::slip::happens("obligations"));
        Published { seq: old >> ENROLLED_BITS, obligations }
    }

    /// Enrols one subscription; returns the first seq that it is owed.
    pub fn enrol(&self, stream: StreamId) -> u64 {
        let old = self.word(stream).fetch_add(1, Ordering::AcqRel);
        assert!(old & ENROLLED < ENROLLED, "a stream holds at most 16,777,215 subscriptions");
        old >> ENROLLED_BITS
    }

    /// Releases one enrolled subscription; returns the first seq that it is no longer owed.
    pub fn release(&self, stream: StreamId) -> u64 {
        let old = self.word(stream).fetch_sub(1, Ordering::AcqRel);
        assert!(old & ENROLLED > 0, "only enrolled subscriptions are released");
        old >> ENROLLED_BITS
    }

    /// Events published so far.
    #[must_use]
    pub fn published(&self, stream: StreamId) -> u64 {
        self.word(stream).load(Ordering::Acquire) >> ENROLLED_BITS
    }

    /// Subscriptions enrolled now.
    #[must_use]
    pub fn enrolled(&self, stream: StreamId) -> u64 {
        self.word(stream).load(Ordering::Acquire) & ENROLLED
    }

    /// Events published so far over all streams of a channel.
    #[must_use]
    pub fn published_on(&self, streams: &Streams, channel: u32) -> u64 {
        streams.streams_of_channel(channel).map(|stream| self.published(stream)).sum()
    }

    fn word(&self, stream: StreamId) -> &AtomicU64 {
        &self.words[stream.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::streams::GroupShape;

    #[test]
    fn one_thread() {
        let streams = Streams::new(1, &[GroupShape { connections: 1 }]);
        let (roster, stream) = (Roster::new(&streams), StreamId(0));
        assert_eq!(roster.publish(stream), Published { seq: 0, obligations: 0 });
        assert_eq!(roster.enrol(stream), 1);
        assert_eq!(roster.publish(stream), Published { seq: 1, obligations: 1 });
        assert_eq!(roster.release(stream), 2);
        assert_eq!((roster.published(stream), roster.enrolled(stream)), (2, 0));
        assert_eq!(roster.published_on(&streams, 0), 2);
    }

    #[test]
    fn only_what_is_settled_without_a_gap_counts() {
        let streams = Streams::new(2, &[GroupShape { connections: 1 }]);
        let roster = Roster::new(&streams);
        let through = |stream, seqs: &[u64]| {
            let one = |seq: &u64| {
                roster.settle(StreamId(stream), *seq);
                roster.acked_through(StreamId(stream))
            };
            seqs.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(through(0, &[0, 1, 2]), [1, 2, 3]);
        assert_eq!(through(0, &[5, 4, 7, 3, 6, 8]), [3, 3, 3, 6, 8, 9]);
        assert_eq!(through(0, &[11]), [9]);
        assert_eq!(through(1, &[0, 2, 1, 3]), [1, 1, 3, 4], "streams do not hold each other back");
        assert_eq!(through(0, &[3, 11, 9, 10, 12]), [9, 9, 10, 12, 13], "a late answer changes nothing");
        assert!(!roster.any_ahead.load(Ordering::Relaxed));
    }

    #[test]
    fn obligations_add_up_whatever_the_interleaving() {
        let streams = Streams::new(3, &[GroupShape { connections: 1 }]);
        let roster = Roster::new(&streams);
        let (owed, expected) = std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|_| {
                    let roster = &roster;
                    scope.spawn(move || {
                        (0..60_000).map(|n| roster.publish(StreamId(n % 3)).obligations).sum::<u64>()
                    })
                })
                .collect();
            let subscribers: Vec<_> = (0..3)
                .map(|_| {
                    let roster = &roster;
                    scope.spawn(move || {
                        let mut expected = 0;
                        for round in 0..10_000 {
                            let stream = StreamId(round % 3);
                            let first = roster.enrol(stream);
                            if round % 7 == 0 {
                                std::thread::yield_now();
                            }
                            expected += roster.release(stream) - first;
                        }
                        expected
                    })
                })
                .collect();
            let sum = |all: Vec<std::thread::ScopedJoinHandle<'_, u64>>| {
                all.into_iter().map(|one| one.join().unwrap()).sum::<u64>()
            };
            (sum(publishers), sum(subscribers))
        });
        assert_eq!(owed, expected);
        assert!(streams.all().all(|s| roster.enrolled(s) == 0 && roster.published(s) == 40_000));
    }
}
