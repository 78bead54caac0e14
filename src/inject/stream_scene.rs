//! A link on the paused clock. Whoever owns it, its peer and the alarm are tasks of their own: a wake-up that is missing
//! is not made up for by somebody else's, and ends the test when an hour has gone by.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind::{BrokenPipe, ConnectionReset};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{sleep_until, timeout};

use super::super::*;
use super::MS;
use crate::clients::timer::drive_coarsely;
use crate::clock::Instant;
use crate::inject::{Alarm, FaultTally, Lane, LaneDelay, Schedule};
use crate::scenarios::plan::Delay;

/// More than any test here has on its way.
pub(super) const ROOMY: usize = 1 << 16;
/// More polls than any test here needs: who polls more often is awake for nothing.
pub(super) const POLLS: u32 = 10_000;

/// A socket that can fail.
#[derive(Debug)]
pub(super) struct Wire {
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
pub(super) struct Log(pub(super) Rc<RefCell<Vec<(u64, String)>>>);

impl Log {
    pub(super) fn add(&self, at: u64, what: impl Into<String>) {
        self.0.borrow_mut().push((at, what.into()));
    }

    /// What was heard, as literals.
    #[track_caller]
    pub(super) fn is(&self, expected: &[(u64, &str)]) {
        let heard = self.0.borrow();
        let heard: Vec<_> = heard.iter().map(|(at, what)| (*at, what.as_str())).collect();
        assert_eq!(heard, expected);
    }

    /// When each single byte was heard.
    pub(super) fn times(&self) -> Vec<u64> {
        self.0.borrow().iter().flat_map(|(at, what)| what.bytes().map(|_| *at)).collect()
    }
}

/// One link between its owner and its peer.
pub(super) struct Scene {
    pub(super) control: Rc<Control>,
    pub(super) alarm: Rc<Alarm>,
    pub(super) tally: Rc<RefCell<FaultTally>>,
    pub(super) fails: Rc<Cell<bool>>,
    pub(super) link: Option<Link<Wire>>,
    pub(super) peer: Option<DuplexStream>,
    pub(super) began: Instant,
    pub(super) tasks: JoinSet<()>,
    /// What the owner heard, and the peer.
    pub(super) ours: Log,
    pub(super) theirs: Log,
}

/// Plays a scene whose wire takes so many bytes each way.
pub(super) fn play(capacity: usize, scene: impl AsyncFnOnce(&mut Scene)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    LocalSet::new().block_on(&runtime.expect("a runtime"), async {
        let mut stage = Scene::set(capacity);
        timeout(MS(3_600_000), scene(&mut stage)).await.expect("everybody is woken");
    });
}

impl Scene {
    pub(super) fn set(capacity: usize) -> Self {
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

    pub(super) fn delay(&self, lane: Lane, delay: Delay, buffer: usize) {
        let (draws, tally) = (Schedule::default().delays(0, 0, lane), Rc::clone(&self.tally));
        self.control.delay(lane, Some(LaneDelay { delay, draws, buffer, tally }));
    }

    pub(super) fn fixed(&self, lane: Lane, ms: u64) {
        self.delay(lane, Delay::Fixed(MS(ms)), ROOMY);
    }

    /// The owner says these at their times, and hears all the while.
    pub(super) fn owner(&mut self, says: &[(u64, &str)]) {
        let (says, began, log) = (owned(says), self.began, self.ours.clone());
        let (reads, writes) = split(self.link.take().expect("nobody owns it yet"));
        self.tasks.spawn_local(async move {
            tokio::join!(hear(reads, began, log.clone()), say(writes, says, began, log, true));
        });
    }

    /// The same as two tasks.
    pub(super) fn owners(&mut self, says: &[(u64, &str)]) {
        let (says, began, log) = (owned(says), self.began, self.ours.clone());
        let (reads, writes) = split(self.link.take().expect("nobody owns it yet"));
        self.tasks.spawn_local(hear(reads, began, log.clone()));
        self.tasks.spawn_local(async move { drop(say(writes, says, began, log, true).await) });
    }

    /// The peer says these, and hears; at the end of that it leaves, if it is to.
    pub(super) fn peer(&mut self, says: &[(u64, &str)], leaves: bool) {
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
    pub(super) async fn until(&self, ms: u64) {
        sleep_until(self.began + MS(ms)).await;
    }
}

pub(super) fn owned(says: &[(u64, &str)]) -> Vec<(u64, String)> {
    says.iter().map(|(at, what)| (*at, (*what).to_owned())).collect()
}

pub(super) fn ms_since(began: Instant) -> u64 {
    (clock::now() - began).as_millis() as u64
}

/// Says each at its time. An owner's end and errors are logged; saying `END` shuts down.
pub(super) async fn say<S: AsyncWrite + Unpin>(
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

pub(super) async fn hear(mut stream: impl AsyncRead + Unpin, began: Instant, log: Log) {
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
