//! The book against a plain set.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const AMPLE: usize = 1 << 20;

fn book_of(seqs: impl IntoIterator<Item = u64>) -> (Book, Room) {
    let (mut book, mut room) = (Book::default(), Room::new(AMPLE));
    seqs.into_iter().for_each(|seq| _ = book.record(seq, &mut room));
    (book, room)
}

#[test]
fn a_book_without_gaps_is_24_bytes() {
    assert_eq!((size_of::<Book>(), book_of(5..1_000).0.heap_bytes()), (24, 0));
}

#[test]
fn receipts_and_gaps() {
    let (mut book, mut room) = book_of([5, 6, 9]);
    assert_eq!(book.missing_ranges(0..12).collect::<Vec<_>>(), [0..5, 7..9, 10..12]);
    assert_eq!(book.record(7, &mut room), Receipt::First { reordered: true });
    assert_eq!(book.record(7, &mut room), Receipt::Duplicate);
    assert_eq!(book.record(2, &mut room), Receipt::First { reordered: true });
    assert_eq!(book.record(10, &mut room), Receipt::First { reordered: false });
    assert_eq!(book.missing(0..12).collect::<Vec<_>>(), [0, 1, 3, 4, 8, 11]);
    assert_eq!((book.window(), book.count_missing(3..9)), (2..11, 3));
}

#[test]
fn nothing_received_is_all_missing() {
    let book = Book::default();
    assert!(book.missing_ranges(3..9).eq(std::iter::once(3..9)));
    assert_eq!((book.window(), book.contains(3), book.count_missing(4..4)), (0..0, false, 0));
}

#[test]
fn half_lost_takes_a_bit_per_event() {
    let (book, room) = book_of((0..80_000).step_by(2));
    assert!(book.heap_bytes() < 16_000, "{}", book.heap_bytes());
    assert!(AMPLE - room.left() <= book.heap_bytes());
    assert_eq!(book.count_missing(0..80_000), 40_000);
}

#[test]
fn a_bitmap_may_begin_behind_the_window() {
    let (book, _) = book_of((0..200).chain((200..400).step_by(2)));
    assert_eq!(book.missing(0..399).collect::<Vec<_>>(), (201..399).step_by(2).collect::<Vec<_>>());
}

#[test]
fn rare_losses_stay_a_list() {
    let (book, _) = book_of((0..1_000_000).filter(|seq| seq % 1_000 != 7));
    assert!(book.heap_bytes() < 30_000, "{}", book.heap_bytes());
    assert_eq!(book.count_missing(0..1_000_000), 1_000);
}

#[test]
fn without_room_the_window_stays_exact() {
    let (mut book, mut room) = (Book::default(), Room::new(100));
    let receipts: Vec<_> = (0..40).step_by(2).map(|seq| book.record(seq, &mut room)).collect();
    let refused = receipts.iter().position(|one| *one == Receipt::Unverified).unwrap();
    assert!(receipts[refused..].iter().all(|one| *one == Receipt::Unverified));
    assert!(book.is_capped());
    let end = book.window().end;
    assert_eq!(end, refused as u64 * 2 - 1);
    assert_eq!(book.missing(0..end).collect::<Vec<_>>(), (1..end).step_by(2).collect::<Vec<_>>());
    // What touches the window needs no room.
    assert_eq!(book.record(end, &mut room), Receipt::First { reordered: false });
    assert_eq!(book.record(1, &mut room), Receipt::First { reordered: true });
    assert_eq!(book.record(1, &mut room), Receipt::Duplicate);
}

/// Seqs of a stream with losses, duplicates and reordering, and where it starts.
fn history() -> impl Strategy<Value = Vec<u64>> {
    let start = prop_oneof![Just(0_u64), 0..500_u64, Just(1 << 39)];
    let losses = prop_oneof![Just(0.0), Just(0.001), Just(0.05), Just(0.5), Just(0.95)];
    (start, losses, 1_u64..2_000, 0..4_u64, any::<u64>()).prop_map(|(start, losses, length, mess, seed)| {
        let mut state = seed | 1;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let kept = (start..start + length).filter(|_| random(1_000) as f64 >= losses * 1_000.0);
        let mut seqs: Vec<_> = kept.collect();
        for _ in 0..seqs.len() as u64 * mess / 20 {
            let (a, b) = (random(seqs.len() as u64) as usize, random(seqs.len() as u64) as usize);
            match random(3) {
                0 => seqs.swap(a, b),
                1 if a > 0 => seqs.swap(a, a - 1),
                _ => seqs[a] = seqs[b],
            }
        }
        seqs
    })
}

proptest! {
    #[test]
    fn a_book_is_a_set(seqs in history(), ask in (0_u64..4_000, 0_u64..4_000)) {
        let (mut book, mut room) = (Book::default(), Room::new(AMPLE));
        let mut model = BTreeSet::new();
        for &seq in &seqs {
            let later = model.last().is_some_and(|last| *last > seq);
            let expected = match model.insert(seq) {
                true => Receipt::First { reordered: later },
                false => Receipt::Duplicate,
            };
            prop_assert_eq!(book.record(seq, &mut room), expected);
        }
        let low = model.first().copied().unwrap_or(0);
        for range in [low.saturating_sub(3)..low + 3_010, low + ask.0..low + ask.0 + ask.1, 0..10] {
            let missing: Vec<_> = range.clone().filter(|seq| !model.contains(seq)).collect();
            prop_assert_eq!(book.missing(range.clone()).collect::<Vec<_>>(), &missing[..]);
            prop_assert_eq!(book.count_missing(range.clone()), missing.len() as u64);
            for seq in range.take(70) {
                prop_assert_eq!(book.contains(seq), model.contains(&seq));
            }
        }
    }

    #[test]
    fn a_capped_book_never_lies(seqs in history(), bytes in 0_usize..400) {
        let (mut book, mut room) = (Book::default(), Room::new(bytes));
        let mut first = BTreeSet::new();
        let mut refused = false;
        for &seq in &seqs {
            match book.record(seq, &mut room) {
                Receipt::First { .. } => prop_assert!(first.insert(seq)),
                Receipt::Duplicate => prop_assert!(first.contains(&seq)),
                Receipt::Unverified => refused = true,
            }
        }
        prop_assert_eq!(book.is_capped(), refused);
        let window = book.window();
        let missing: Vec<_> = window.clone().filter(|seq| !first.contains(seq)).collect();
        prop_assert_eq!(book.missing(window.clone()).collect::<Vec<_>>(), missing);
        prop_assert!(first.iter().all(|seq| window.contains(seq)));
    }
}
