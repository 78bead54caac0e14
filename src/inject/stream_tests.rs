//! What links do to bytes, to the millisecond.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::clock::Instant;
use crate::inject::{Lane, Schedule};
use crate::scenarios::plan::{Delay, Direction, Pauses, SlowConsumer};

#[path = "stream_random_tests.rs"]
mod random;
#[path = "stream_scene.rs"]
mod scene;

use scene::{ROOMY, ms_since, play};

const MS: fn(u64) -> Duration = Duration::from_millis;

#[test]
fn a_fixed_delay_is_exact_both_ways() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 70);
        scene.fixed(Lane::Down, 100);
        scene.owner(&[(0, "one"), (25, "two")]);
        scene.peer(&[(0, "a"), (30, "b"), (1_000, "c")], false);
        scene.until(2_000).await;
        scene.ours.is(&[(100, "a"), (130, "b"), (1_100, "c")]);
        scene.theirs.is(&[(70, "one"), (95, "two")]);
        let tally = scene.tally.borrow();
        for moments in [tally.drawn, tally.realised] {
            assert_eq!((moments.count, moments.min, moments.max), (5, 0.07, 0.1), "{moments:?}");
        }
    });
}

/// Every chunk takes the draw of its number, and never overtakes.
#[test]
fn uniform_and_normal_delays_are_the_plans_draws() {
    let shapes =
        [Delay::Uniform { low: MS(20), high: MS(200) }, Delay::Normal { mean: MS(100), deviation: MS(30) }];
    for (delay, lane) in shapes.into_iter().zip([Lane::Down, Lane::Up]) {
        let says: Vec<(u64, String)> = (0..60).map(|n| (n * 7, "x".to_owned())).collect();
        let says: Vec<(u64, &str)> = says.iter().map(|(at, what)| (*at, what.as_str())).collect();
        let draws = Schedule::default().delays(0, 0, lane);
        let mut last = Duration::ZERO;
        let expected: Vec<u64> = (0..60)
            .map(|n| {
                last = last.max(MS(n * 7) + draws.delay(delay, n));
                // The runtime's timer, which drives the alarm here, goes by whole milliseconds.
                last.as_nanos().div_ceil(1_000_000) as u64
            })
            .collect();
        play(ROOMY, async |scene| {
            scene.delay(lane, delay, ROOMY);
            let ours = lane == Lane::Up;
            scene.owner(if ours { &says } else { &[] });
            scene.peer(if ours { &[] } else { &says }, false);
            scene.until(3_000).await;
            let heard = if ours { &scene.theirs } else { &scene.ours };
            assert_eq!(heard.times(), expected);
            let tally = scene.tally.borrow();
            assert_eq!((tally.drawn.count, tally.realised.count), (60, 60));
            // What the order of the stream adds shows beside what was drawn.
            let mean = |seconds: &dyn Fn(u64) -> f64| (0..60).map(seconds).sum::<f64>() / 60.0;
            let drawn = mean(&|n| draws.delay(delay, n).as_secs_f64());
            let took = mean(&|n| (expected[n as usize] - n * 7) as f64 / 1e3);
            assert!((tally.drawn.mean - drawn).abs() < 1e-9, "{} {drawn}", tally.drawn.mean);
            assert!((tally.realised.mean - took).abs() < 0.001, "{} {took}", tally.realised.mean);
        });
    }
}

#[test]
fn a_short_delay_behind_a_long_one_waits_for_it() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Down, 500);
        scene.owner(&[]);
        scene.peer(&[(0, "long"), (20, "short"), (450, "later")], false);
        scene.until(10).await;
        scene.fixed(Lane::Down, 100);
        scene.until(1_000).await;
        scene.ours.is(&[(500, "longshort"), (550, "later")]);
    });
}

#[test]
fn a_second_of_delay_on_ten_chunks_is_a_second() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 1_000);
        scene.fixed(Lane::Down, 1_000);
        scene.owner(&[(0, "x"); 10]);
        let says: Vec<(u64, &str)> = (0..10).map(|n| (n, "y")).collect();
        scene.peer(&says, false);
        scene.until(5_000).await;
        assert_eq!(scene.theirs.times(), [1_000; 10]);
        assert_eq!(scene.ours.times(), (1_000..1_010).collect::<Vec<_>>());
        assert_eq!(scene.tally.borrow().drawn.count, 20, "each was a chunk of its own");
    });
}

#[test]
fn a_full_buffer_makes_the_writer_wait_and_all_arrives() {
    play(ROOMY, async |scene| {
        scene.delay(Lane::Up, Delay::Fixed(MS(100)), 4);
        scene.owner(&[(0, "abcdefghij"), (0, "END")]);
        scene.peer(&[], false);
        scene.until(2_000).await;
        scene.theirs.is(&[(100, "abcd"), (200, "efgh"), (300, "ij"), (300, "<end>")]);
        scene.ours.is(&[(300, "<shut>")]);
    });
}

#[test]
fn a_full_buffer_makes_the_peer_wait_and_all_arrives() {
    play(4, async |scene| {
        scene.delay(Lane::Down, Delay::Fixed(MS(100)), 4);
        scene.owner(&[]);
        let (mut peer, began, log) = (scene.peer.take().expect("there"), scene.began, scene.theirs.clone());
        scene.tasks.spawn_local(async move {
            // Four are on their way and four in the wire: the next wait for those to be let go.
            for part in ["abcd", "efgh", "ijkl", "mnop"] {
                peer.write_all(part.as_bytes()).await.expect("it is read");
                log.add(ms_since(began), part);
            }
            peer.shutdown().await.expect("it is open");
        });
        scene.until(2_000).await;
        scene.theirs.is(&[(0, "abcd"), (0, "efgh"), (100, "ijkl"), (200, "mnop")]);
        // The end is read when there is room for bytes, and takes its own time.
        scene.ours.is(&[(100, "abcd"), (200, "efgh"), (300, "ijkl"), (400, "mnop"), (500, "<end>")]);
    });
}

#[test]
fn a_hold_keeps_and_lets_go_and_the_peer_does_not_notice() {
    play(4, async |scene| {
        scene.control.hold(Direction::Both, true);
        scene.owner(&[(0, "up"), (5, "wards")]);
        scene.peer(&[(0, "twelve bytes"), (1, "END")], false);
        scene.until(40).await;
        assert!(scene.control.is_blocked());
        assert_eq!(scene.control.received(), 12, "the socket was read all the time");
        scene.ours.is(&[]);
        scene.theirs.is(&[]);
        scene.until(50).await;
        scene.control.hold(Direction::Up, false);
        scene.until(60).await;
        scene.theirs.is(&[(50, "upwa"), (50, "rds")]);
        assert!(scene.control.is_blocked());
        scene.control.hold(Direction::Down, false);
        scene.until(70).await;
        scene.ours.is(&[(60, "twelve bytes"), (60, "<end>")]);
        assert!(!scene.control.is_blocked());
    });
}

#[test]
fn a_stall_leaves_the_socket_alone_and_the_peer_notices() {
    play(4, async |scene| {
        scene.control.stall(Direction::Both, true);
        scene.owner(&[(0, "up"), (10, "END")]);
        scene.peer(&[(0, "abcdef")], false);
        scene.until(50).await;
        assert_eq!(scene.control.received(), 0);
        scene.theirs.is(&[]);
        scene.control.stall(Direction::Both, false);
        scene.until(60).await;
        scene.ours.is(&[(50, "<shut>"), (50, "abcd"), (50, "ef")]);
        scene.theirs.is(&[(50, "up"), (50, "<end>")]);
    });
}

/// What had been taken before a stall waits for its end, and so does what is due in it.
#[test]
fn a_stall_over_a_delay_keeps_what_is_due() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 20);
        scene.owner(&[(0, "due at 20"), (90, "due at 110")]);
        scene.peer(&[], false);
        scene.until(10).await;
        scene.control.stall(Direction::Up, true);
        scene.until(100).await;
        scene.control.stall(Direction::Up, false);
        scene.until(200).await;
        scene.theirs.is(&[(100, "due at 20"), (110, "due at 110")]);
    });
}

#[test]
fn the_end_comes_behind_what_waits_and_is_told_again() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Down, 100);
        scene.peer(&[(0, "last")], true);
        let mut link = scene.link.take().expect("nobody owns it");
        let mut buf = [0; 8];
        assert_eq!(link.read(&mut buf).await.expect("bytes"), 4);
        for _ in 0..3 {
            assert_eq!(link.read(&mut buf).await.expect("the end"), 0);
            assert_eq!(ms_since(scene.began), 100);
        }
        scene.control.delay(Lane::Down, None);
        assert_eq!(link.read(&mut buf).await.expect("the end"), 0);
    });
}

#[test]
fn a_reset_comes_behind_what_waits() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Down, 100);
        scene.owner(&[]);
        scene.peer(&[(0, "last"), (30, "words")], true);
        scene.fails.set(true);
        scene.until(500).await;
        scene.ours.is(&[(100, "last"), (130, "words"), (130, "<ConnectionReset>")]);
    });
}

/// The other direction is still on its way: whoever waits for that must not spin.
#[test]
fn a_socket_that_takes_nothing_fails_the_next_write_and_wakes_nobody_for_nothing() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 50);
        scene.fixed(Lane::Down, 300);
        scene.owner(&[(0, "into the void"), (100, "more"), (110, "END")]);
        scene.peer(&[(40, "slow")], false);
        scene.fails.set(true);
        scene.until(500).await;
        scene.ours.is(&[(100, "<no more: BrokenPipe>"), (110, "<no END: BrokenPipe>"), (340, "slow")]);
    });
}

#[test]
fn shutting_down_waits_for_what_is_on_its_way_and_nothing_follows() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 100);
        scene.owner(&[(0, "bye"), (30, "END"), (200, "more")]);
        scene.peer(&[], false);
        scene.until(500).await;
        scene.theirs.is(&[(100, "bye"), (130, "<end>")]);
        scene.ours.is(&[(130, "<shut>"), (200, "<no more: BrokenPipe>")]);
    });
}

/// What was waited for to be written is handed on by whoever reads, who was the last to look.
#[test]
fn a_writer_is_woken_by_a_reader_that_is_another_task() {
    for fails in [false, true] {
        play(ROOMY, async |scene| {
            scene.delay(Lane::Up, Delay::Fixed(MS(100)), 4);
            scene.owners(&[(0, "abcdefgh"), (0, "END")]);
            scene.peer(&[(50, "look"), (150, "again"), (250, "and again")], false);
            scene.until(60).await;
            scene.fails.set(fails);
            scene.until(1_000).await;
            if fails {
                let refused = [(100, "<no abcdefgh: BrokenPipe>"), (100, "<no END: BrokenPipe>")];
                scene
                    .ours
                    .is(&[&[(50, "look")], &refused[..], &[(150, "again"), (250, "and again")]].concat());
            } else {
                scene.theirs.is(&[(100, "abcd"), (200, "efgh"), (200, "<end>")]);
                scene.ours.is(&[(50, "look"), (150, "again"), (200, "<shut>"), (250, "and again")]);
            }
        });
    }
}

#[test]
fn what_is_not_sent_yet_can_be_waited_for() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 100);
        let mut link = scene.link.take().expect("nobody owns it");
        assert_eq!(link.write(b"").await.expect("nothing is something"), 0);
        assert!(link.has_sent());
        link.write_all(b"under way").await.expect("there is room");
        link.flush().await.expect("it is taken");
        assert!(!link.has_sent());
        std::future::poll_fn(|cx| link.poll_sent(cx)).await.expect("it is sent");
        assert_eq!((ms_since(scene.began), link.has_sent()), (100, true));
    });
}

#[test]
fn what_is_flushed_goes_in_order_and_leaves_no_trace() {
    for (lane, pause) in [(Lane::Down, 0), (Lane::Up, 0), (Lane::Down, 5), (Lane::Up, 5)] {
        play(ROOMY, async |scene| {
            scene.fixed(lane, 10_000);
            let says = [(0, "a"), (10, "b"), (20, "c"), (150, "d")];
            let ours = lane == Lane::Up;
            scene.owner(if ours { &says } else { &[] });
            scene.peer(if ours { &[] } else { &says }, false);
            scene.until(100).await;
            scene.control.delay(lane, None);
            scene.control.flush();
            // Even where the next begins before anybody has looked.
            scene.until(100 + pause).await;
            scene.fixed(lane, 30);
            scene.until(20_000).await;
            let heard = if ours { &scene.theirs } else { &scene.ours };
            assert_eq!(heard.times(), [100, 100, 100, 180], "{lane:?} {pause}");
            assert_eq!(scene.tally.borrow().drawn.count, 1, "what was let go before its time is no sample");
        });
    }
}

/// A network does not speed up what it has taken.
#[test]
fn what_is_on_its_way_when_a_delay_ends_arrives_when_it_was_to() {
    for lane in [Lane::Down, Lane::Up] {
        play(ROOMY, async |scene| {
            scene.fixed(lane, 200);
            let says = [(0, "a"), (90, "b"), (150, "c"), (400, "d")];
            let ours = lane == Lane::Up;
            scene.owner(if ours { &says } else { &[] });
            scene.peer(if ours { &[] } else { &says }, false);
            scene.until(100).await;
            scene.control.delay(lane, None);
            scene.until(1_000).await;
            let heard = if ours { &scene.theirs } else { &scene.ours };
            assert_eq!(heard.times(), [200, 290, 290, 400], "{lane:?}");
            assert_eq!(scene.tally.borrow().drawn.count, 2);
        });
    }
}

#[test]
fn each_series_begins_with_the_first_draw() {
    let delay = Delay::Uniform { low: MS(10), high: MS(90) };
    let draws = Schedule::default().delays(0, 0, Lane::Down);
    let at = |begin: u64, n| (MS(begin) + draws.delay(delay, n)).as_nanos().div_ceil(1_000_000) as u64;
    play(ROOMY, async |scene| {
        scene.delay(Lane::Down, delay, ROOMY);
        scene.owner(&[]);
        scene.peer(&[(0, "x"), (100, "x"), (250, "free"), (300, "x"), (400, "x")], false);
        scene.until(200).await;
        scene.control.delay(Lane::Down, None);
        scene.until(290).await;
        scene.delay(Lane::Down, delay, ROOMY);
        scene.until(1_000).await;
        let free = (250, "free");
        scene.ours.is(&[(at(0, 0), "x"), (at(100, 1), "x"), free, (at(300, 0), "x"), (at(400, 1), "x")]);
    });
}

#[test]
fn three_bytes_get_through_and_no_more() {
    for delay in [0, 40] {
        play(ROOMY, async |scene| {
            if delay > 0 {
                scene.fixed(Lane::Down, delay);
                scene.fixed(Lane::Up, 200);
            }
            scene.owner(&[(55, "still said")]);
            scene.peer(&[(0, "whole"), (60, "ab"), (70, "cdef"), (80, "ghi")], false);
            scene.until(50).await;
            scene.control.cut_short();
            scene.control.cut_short();
            scene.until(65 + delay).await;
            assert!(!scene.control.was_cut_short());
            scene.until(500).await;
            scene.ours.is(&[(delay, "whole"), (60 + delay, "ab"), (70 + delay, "c")]);
            assert!(scene.control.was_cut_short());
            let said = if delay > 0 { 255 } else { 55 };
            scene.theirs.is(&[(said, "still said")]);
        });
    }
}

#[test]
fn a_plain_link_passes_everything() {
    play(ROOMY, async |scene| {
        let (io, mut peer) = duplex(8);
        let mut link = Link::plain(io);
        assert!(link.control().is_none() && link.has_sent());
        let said = async {
            link.write_all(b"more than eight").await.expect("it is read");
            link.shutdown().await.expect("it is open");
            let mut heard = String::new();
            link.read_to_string(&mut heard).await.expect("text");
            heard
        };
        let answered = async {
            let mut heard = String::new();
            peer.read_to_string(&mut heard).await.expect("text");
            peer.write_all(heard.to_uppercase().as_bytes()).await.expect("it is read");
            drop(peer);
        };
        assert_eq!(tokio::join!(said, answered).0, "MORE THAN EIGHT");
        assert_eq!(scene.alarm.first(), None);
    });
}

#[test]
fn a_link_that_is_dropped_leaves_nothing_in_the_alarm() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Up, 100);
        let mut link = scene.link.take().expect("nobody owns it");
        link.write_all(b"x").await.expect("there is room");
        assert_eq!(scene.alarm.first(), Some(scene.began + MS(100)));
        drop(link);
        assert_eq!(scene.alarm.first(), None);
    });
}

#[test]
fn the_layer_is_small() {
    use std::mem::size_of;
    let tcp = size_of::<tokio::net::TcpStream>();
    assert!(size_of::<Link<tokio::net::TcpStream>>() <= tcp + 8);
    // A link that may be faulty, with one chunk on its way each way: two counts of a shared pointer, and an alarm of
    // its own for both, of which a node has room for eleven entries.
    let entry = size_of::<(Instant, u64)>() + size_of::<std::task::Waker>();
    let chunks = 2 * 4 * 96;
    let most = size_of::<Faults>() + size_of::<Control>() + 16 + 11 * entry + 16 + chunks;
    assert!(most <= 3 << 10, "{most}");
}

/// Whoever owns the link reads like this from now on.
fn slowly(scene: &scene::Scene, slow: SlowConsumer) {
    scene.control.slow_down(Some((slow, Rc::clone(&scene.tally))));
}

/// A wire of 2 KiB between a peer that says 6,000 bytes at once and a reader of 1,000 a second: the peer is held up by the
/// wire, which is what a closed window is, and everything arrives in its order.
#[test]
fn who_reads_slowly_fills_the_wire_and_holds_up_its_peer() {
    play(2_048, async |scene| {
        slowly(scene, SlowConsumer { reads: Some(1_000), ..SlowConsumer::default() });
        let text: String = (0..6_000).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
        scene.owner(&[]);
        let (mut peer, began) = (scene.peer.take().unwrap(), scene.began);
        let said = Rc::new(std::cell::Cell::new(None));
        let (tell, says) = (Rc::clone(&said), text.clone());
        scene.tasks.spawn_local(async move {
            peer.write_all(says.as_bytes()).await.unwrap();
            tell.set(Some(ms_since(began)));
            std::future::pending::<()>().await;
        });
        scene.until(3_000).await;
        assert_eq!(said.get(), None, "it waits for room");
        let read = scene.ours.times().len();
        assert!((2_400..=3_100).contains(&read), "{read} after 3 s at 1,000/s");
        // As fast as it can again.
        scene.control.slow_down(None);
        scene.until(3_010).await;
        assert!(said.get().is_some_and(|at| (3_000..=3_001).contains(&at)), "{said:?}");
        let heard: String = scene.ours.0.borrow().iter().map(|(_, what)| what.as_str()).collect();
        assert_eq!(heard, text);
        let reads = scene.tally.borrow().reads;
        assert_eq!((reads.bytes, reads.lasted), (read as u64, MS(3_000)), "what it did is known");
    });
}

#[test]
fn nothing_is_read_in_a_pause() {
    play(ROOMY, async |scene| {
        let pauses = Some(Pauses { pause: MS(300), every: MS(1_000) });
        slowly(scene, SlowConsumer { pauses, ..SlowConsumer::default() });
        scene.owner(&[]);
        scene.peer(&[(100, "a"), (400, "b"), (1_100, "c"), (1_299, "d"), (1_999, "e")], true);
        scene.until(4_000).await;
        // The end comes at 1,999 too, and the next pause begins at 2,000.
        scene.ours.is(&[(300, "a"), (400, "b"), (1_300, "cd"), (1_999, "e"), (1_999, "<end>")]);
        assert_eq!(scene.tally.borrow().reads.pauses, 2, "pauses in which there was something to read");
    });
}

#[test]
fn a_slow_reader_may_have_a_delay_too() {
    play(ROOMY, async |scene| {
        scene.fixed(Lane::Down, 500);
        slowly(scene, SlowConsumer { reads: Some(10_000), ..SlowConsumer::default() });
        scene.owner(&[]);
        scene.peer(&[(1_000, "a"), (1_001, "b")], false);
        scene.until(4_000).await;
        scene.ours.is(&[(1_500, "a"), (1_501, "b")]);
    });
}
