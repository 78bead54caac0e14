//! Links on the paused clock. Whoever owns the link, its peer and the alarm are tasks of their own: a wake-up that is
//! missing is not made up for by somebody else's, and ends the test when an hour has gone by.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::*;
use crate::clients::timer::drive_coarsely;
use crate::inject::{Alarm, FaultTally, Lane, LaneDelay, Schedule};
use crate::scenarios::plan::{Delay, Direction};

#[path = "stream_random_tests.rs"]
mod random;

const MS: fn(u64) -> Duration = Duration::from_millis;
/// More than any test here has on its way.
const ROOMY: usize = 1 << 16;
/// More polls than any test here needs: who polls more often is awake for nothing.
const POLLS: u32 = 10_000;

/// A socket that can fail.
#[derive(Debug)]
struct Wire {
    io: DuplexStream,
    polls: u32,
    /// Writing fails, and reading does where the end would be.
    fails: Rc<Cell<bool>>,
}

impl Wire {
    fn polled(&mut self) {
        self.polls += 1;
        assert!(self.polls < POLLS, "somebody is awake for nothing");
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.polled();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        let at_end = buf.filled().len() == before && buf.remaining() > 0;
        Poll::Ready(if at_end && this.fails.get() { Err(ConnectionReset.into()) } else { Ok(()) })
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.polled();
        if this.fails.get() {
            return Poll::Ready(Err(BrokenPipe.into()));
        }
        Pin::new(&mut this.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// What somebody heard or was told, and at which millisecond.
#[derive(Debug, Clone, Default)]
struct Log(Rc<RefCell<Vec<(u64, String)>>>);

impl Log {
    fn add(&self, at: u64, what: impl Into<String>) {
        self.0.borrow_mut().push((at, what.into()));
    }

    /// What was heard, as literals.
    #[track_caller]
    fn is(&self, expected: &[(u64, &str)]) {
        let heard = self.0.borrow();
        let heard: Vec<_> = heard.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(heard, expected);
    }

    /// When each single byte was heard.
    fn times(&self) -> Vec<u64> {
        self.0.borrow().iter().flat_map(|(at, what)| what.bytes().map(|_| *at)).collect()
    }
}

/// One link between its owner and its peer.
struct Scene {
    control: Rc<Control>,
    alarm: Rc<Alarm>,
    tally: Rc<RefCell<FaultTally>>,
    fails: Rc<Cell<bool>>,
    link: Option<Link<Wire>>,
    peer: Option<DuplexStream>,
    began: Instant,
    tasks: JoinSet<()>,
    /// What the owner heard, and the peer.
    ours: Log,
    theirs: Log,
}

/// Plays a scene whose wire takes so many bytes each way.
fn play(capacity: usize, scene: impl AsyncFnOnce(&mut Scene)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let mut stage = Scene::set(capacity);
        timeout(MS(3_600_000), scene(&mut stage)).await.expect("everybody is woken");
    });
}

impl Scene {
    fn set(capacity: usize) -> Self {
        let (io, peer) = duplex(capacity);
        let (alarm, fails) = (Rc::new(Alarm::default()), Rc::default());
        let control = Control::new(&alarm);
        let wire = Wire { io, polls: 0, fails: Rc::clone(&fails) };
        let link = Some(Link::under(wire, Rc::clone(&control)));
        let mut tasks = JoinSet::new();
        let driven = Rc::clone(&alarm);
        tasks.spawn_local(async move { drive_coarsely(&driven).await });
        let (peer, began) = (Some(peer), clock::now());
        let (tally, ours, theirs) = Default::default();
        Self { control, alarm, tally, fails, link, peer, began, tasks, ours, theirs }
    }

    fn delay(&self, lane: Lane, delay: Delay, buffer: usize) {
        let (draws, tally) = (Schedule::default().delays(0, 0, lane), Rc::clone(&self.tally));
        self.control.delay(lane, Some(LaneDelay { delay, draws, buffer, tally }));
    }

    fn fixed(&self, lane: Lane, ms: u64) {
        self.delay(lane, Delay::Fixed(MS(ms)), ROOMY);
    }

    /// The owner says these at their times, and hears all the while.
    fn owner(&mut self, says: &[(u64, &str)]) {
        let (says, began, log) = (owned(says), self.began, self.ours.clone());
        let (reads, writes) = split(self.link.take().expect("nobody owns it yet"));
        self.tasks.spawn_local(async move {
            tokio::join!(hear(reads, began, log.clone()), say(writes, says, began, log, true));
        });
    }

    /// The peer says these, and hears; at the end of that it leaves, if it is to.
    fn peer(&mut self, says: &[(u64, &str)], leaves: bool) {
        let (says, began, log) = (owned(says), self.began, self.theirs.clone());
        let (mut reads, writes) = split(self.peer.take().expect("nobody is the peer yet"));
        self.tasks.spawn_local(async move {
            let said = say(writes, says, began, log.clone(), false);
            if leaves {
                drop(said.await);
                drop(reads);
            } else {
                let (_stays, ()) = tokio::join!(said, hear(&mut reads, began, log));
                std::future::pending::<()>().await;
            }
        });
    }

    /// Until so many milliseconds after the begin.
    async fn until(&self, ms: u64) {
        sleep_until(self.began + MS(ms)).await;
    }
}

fn owned(says: &[(u64, &str)]) -> Vec<(u64, String)> {
    says.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

fn ms_since(began: Instant) -> u64 {
    (clock::now() - began).as_millis() as u64
}

/// Says each at its time. An owner's end and errors are logged; saying `END` shuts down.
async fn say<S: AsyncWrite + Unpin>(
    mut stream: S,
    says: Vec<(u64, String)>,
    began: Instant,
    log: Log,
    logs: bool,
) -> S {
    for (at, what) in says {
        sleep_until(began + MS(at)).await;
        let said =
            if what == "END" { stream.shutdown().await } else { stream.write_all(what.as_bytes()).await };
        match said {
            Err(e) => log.add(ms_since(began), format!("<no {what}: {:?}>", e.kind())),
            Ok(()) if logs && what == "END" => log.add(ms_since(began), "<shut>"),
            Ok(()) => stream.flush().await.expect("what was taken is flushed"),
        }
    }
    stream
}

async fn hear(mut stream: impl AsyncRead + Unpin, began: Instant, log: Log) {
    let mut buf = [0; 64];
    loop {
        let heard = stream.read(&mut buf).await;
        let at = ms_since(began);
        match heard {
            Ok(0) => return log.add(at, "<end>"),
            Ok(n) => log.add(at, String::from_utf8_lossy(&buf[..n])),
            Err(e) => return log.add(at, format!("<{:?}>", e.kind())),
        }
    }
}

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
            let late = tally.realised.mean - tally.drawn.mean;
            assert!((0.0..0.001).contains(&late), "{late}");
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
