//! What faults make of one client for a while: how it thinks, what its link does to bytes, how far it gets when it
//! connects. The same for subscribers and publishers; kept only for those that some fault will hit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::handshake::Opening;
use crate::clock::{self, Instant};
use crate::inject::{Alarm, Control, Draws, FaultTally, Lane, LaneDelay, Schedule};
use crate::scenarios::plan::{Delay, Direction, DropPoint, FaultKind, HandshakePoint, SlowConsumer};

/// How long at least what was held may be on its way before anything arrives. After a partition the peer sends again only
/// after as long as it has waited before.
const STILL_ON_ITS_WAY: Duration = Duration::from_secs(10);
/// How long what was held keeps arriving once it has begun to.
const BACKLOG: Duration = Duration::from_secs(1);

/// What a fault did, shared by everybody on a thread who applies it.
pub(super) type Tally = Rc<RefCell<FaultTally>>;

/// A client's thinking before each operation, while it thinks at all.
pub(super) type ThinkSlot = Rc<RefCell<Option<Think>>>;

/// Thinking, as one fault has it.
pub(super) struct Think {
    fault: usize,
    delay: Delay,
    draws: Draws,
    drawn: u64,
    tally: Tally,
}

impl Think {
    /// How long to think before the next operation.
    pub(super) fn draw(&mut self) -> Duration {
        self.drawn += 1;
        self.draws.delay(self.delay, self.drawn - 1)
    }

    /// Where to note how long it really was.
    pub(super) fn tally(&self) -> Tally {
        Rc::clone(&self.tally)
    }
}

/// A connection that is to end in the middle of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Doom {
    /// Index of the fault in the plan.
    pub fault: usize,
    /// When it was due, ns on the run's axis; `None`: when the operation comes that it ends.
    pub due_ns: Option<u64>,
    /// In the middle of what.
    pub point: DropPoint,
}

/// What is being done to one client.
#[derive(Default)]
pub(super) struct Weather {
    /// Some fault will act on its bytes, so that its connections need a control.
    on_bytes: bool,
    /// Attempts to connect so far.
    attempts: u32,
    /// That of its present connection, or of the one that it is opening.
    control: Option<Rc<Control>>,
    /// By direction, with the fault that makes it.
    up: Option<(usize, LaneDelay)>,
    down: Option<(usize, LaneDelay)>,
    think: ThinkSlot,
    /// Attempts to connect end here.
    abort: Option<(usize, HandshakePoint)>,
    /// The next attempt to connect ends, and that is the end of a connection as planned.
    doomed_attempt: Option<Doom>,
    /// It does not keep up.
    slow: Option<(usize, SlowConsumer, Tally)>,
    /// What is asked for its sockets' receive buffers, from its first connection on: a buffer is a connection's.
    receive_buffer: Option<u32>,
    /// The fault that holds, stalls or partitions its present connection, and since when.
    blocked: Option<(usize, Instant)>,
    /// Its present connection was let go a moment ago.
    freed: Option<Freed>,
}

/// A connection that was let go, and what it had received by then.
struct Freed {
    received: u64,
    at: Instant,
    /// How long what was held may be on its way if nothing arrives.
    limit: Duration,
    /// When something had begun to arrive.
    heard: Option<Instant>,
}

impl Freed {
    /// Whether what happens to the connection may still be our doing.
    fn is_fresh(&self) -> bool {
        self.heard.map_or(self.at.elapsed() < self.limit, |heard| heard.elapsed() < BACKLOG)
    }
}

/// All weather of a thread, by seat.
#[derive(Default)]
pub(super) struct Climate {
    seats: RefCell<BTreeMap<usize, Weather>>,
    alarm: Rc<Alarm>,
}

impl Climate {
    /// Room for every connection of a thread that a fault will hit; their places by their indices in the plan.
    pub(super) fn of(
        schedule: &Schedule,
        kinds: &[FaultKind],
        seat_of: impl Fn(u32) -> Option<usize>,
    ) -> Self {
        let mut seats: BTreeMap<usize, Weather> = BTreeMap::new();
        for act in schedule.acts() {
            let Some(seat) = seat_of(act.connection) else { continue };
            let bytes = kinds[act.fault].layer() == "link" || act.point == Some(DropPoint::ReceivePartial);
            let weather = seats.entry(seat).or_default();
            weather.on_bytes |= bytes;
            if let FaultKind::SlowConsumer(slow) = &kinds[act.fault] {
                let smaller = weather.receive_buffer.into_iter().chain(slow.receive_buffer).min();
                weather.receive_buffer = smaller;
            }
        }
        Self { seats: RefCell::new(seats), alarm: Rc::default() }
    }

    fn with<T>(&self, seat: usize, of: impl FnOnce(&mut Weather) -> T) -> Option<T> {
        self.seats.borrow_mut().get_mut(&seat).map(of)
    }

    /// Has every link let go at once what it delays: whoever is to go on must not wait for what is still on its way.
    pub(super) fn flush(&self) {
        let seats = self.seats.borrow();
        seats.values().filter_map(|weather| weather.control.as_ref()).for_each(|control| control.flush());
    }

    /// What wakes the links that wait; to be driven by [`super::timer::drive`].
    pub(super) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    /// How a client's next connection is to be opened. It takes the place of the one before.
    pub(super) fn opening(&self, seat: usize) -> Opening {
        self.with(seat, |weather| weather.opening(&self.alarm)).unwrap_or_default()
    }

    /// The control of a client's present connection.
    pub(super) fn control(&self, seat: usize) -> Option<Rc<Control>> {
        self.with(seat, |weather| weather.control.clone()).flatten()
    }

    /// Where a client looks how to think.
    pub(super) fn think(&self, seat: usize) -> Option<ThinkSlot> {
        self.with(seat, |weather| Rc::clone(&weather.think))
    }

    /// The fault that keeps bytes of a client's present connection from travelling.
    pub(super) fn blocked_by(&self, seat: usize) -> Option<usize> {
        self.with(seat, |weather| weather.blocked.map(|(fault, _)| fault)).flatten()
    }

    /// Whether what happens to a client's present connection may be brought about by a fault of ours: it is held, or what
    /// was held may still be arriving.
    pub(super) fn is_our_doing(&self, seat: usize) -> bool {
        let doing = |weather: &mut Weather| {
            weather.blocked.is_some() || weather.freed.as_ref().is_some_and(Freed::is_fresh)
        };
        self.with(seat, doing).unwrap_or_default()
    }

    /// A client's present connection is gone, and with it what was done to it.
    pub(super) fn forget(&self, seat: usize) {
        self.with(seat, |weather| (weather.blocked, weather.freed) = (None, None));
    }

    /// Bytes of a client's present connection travel again.
    pub(super) fn let_go(&self, seat: usize) {
        self.with(seat, |weather| {
            let (Some((_, since)), Some(control)) = (weather.blocked.take(), &weather.control) else {
                return;
            };
            let limit = STILL_ON_ITS_WAY.max(since.elapsed() + BACKLOG);
            weather.freed =
                Some(Freed { received: control.received(), at: clock::now(), limit, heard: None });
        });
    }

    /// Looks at whom a fault has let go; `over` is told of each of whom nothing more that was held can be on its way.
    pub(super) fn follow_up(&self, mut over: impl FnMut(usize)) {
        let mut settled = Vec::new();
        for (seat, weather) in &mut *self.seats.borrow_mut() {
            let (Some(freed), Some(control)) = (&mut weather.freed, &weather.control) else { continue };
            if control.received() > freed.received {
                freed.heard.get_or_insert_with(clock::now);
            }
            if !freed.is_fresh() {
                weather.freed = None;
                settled.push(*seat);
            }
        }
        settled.into_iter().for_each(&mut over);
    }

    /// Nobody is to fail in an attempt any more.
    pub(super) fn forget_dooms(&self) {
        self.seats.borrow_mut().values_mut().for_each(|weather| weather.doomed_attempt = None);
    }

    /// The next attempt of a client to connect is to end as a fault has it.
    pub(super) fn doom_attempt(&self, seat: usize, doom: Doom) {
        self.with(seat, |weather| weather.doomed_attempt = Some(doom));
    }

    /// Whether a client has to make an attempt only to fail in it.
    pub(super) fn has_doomed_attempt(&self, seat: usize) -> bool {
        self.with(seat, |weather| weather.doomed_attempt.is_some()).unwrap_or_default()
    }

    /// Its attempt has ended as planned.
    pub(super) fn take_doomed_attempt(&self, seat: usize) -> Option<Doom> {
        self.with(seat, |weather| weather.doomed_attempt.take()).flatten()
    }

    /// Begins something that lasts and needs no connection: thinking, delays, aborts. Whether it was one of these.
    pub(super) fn begin(
        &self,
        seat: usize,
        fault: usize,
        kind: &FaultKind,
        draws: impl Fn(Lane) -> Draws,
        tally: &Tally,
    ) -> bool {
        let lane = |lane: Lane, delay: Delay, buffer: usize| {
            (fault, LaneDelay { delay, draws: draws(lane), buffer, tally: Rc::clone(tally) })
        };
        self.with(seat, |weather| match kind {
            FaultKind::ThinkTime(delay) => {
                let (draws, tally) = (draws(Lane::Think), Rc::clone(tally));
                let think = Think { fault, delay: *delay, draws, drawn: 0, tally };
                *weather.think.borrow_mut() = Some(think);
                true
            }
            FaultKind::LinkDelay(link) => {
                if let Some(delay) = link.up {
                    weather.set(Lane::Up, Some(lane(Lane::Up, delay, link.buffer)));
                }
                if let Some(delay) = link.down {
                    weather.set(Lane::Down, Some(lane(Lane::Down, delay, link.buffer)));
                }
                true
            }
            FaultKind::SlowConsumer(slow) => {
                weather.slow_down(Some((fault, *slow, Rc::clone(tally))));
                true
            }
            FaultKind::HandshakeAbort(point) => {
                weather.abort = Some((fault, *point));
                true
            }
            _ => false,
        })
        .unwrap_or_default()
    }

    /// Ends one of those.
    pub(super) fn end(&self, seat: usize, fault: usize) {
        self.with(seat, |weather| {
            let mut think = weather.think.borrow_mut();
            think.take_if(|think| think.fault == fault);
            drop(think);
            weather.abort.take_if(|(by, _)| *by == fault);
            if weather.slow.as_ref().is_some_and(|(by, ..)| *by == fault) {
                weather.slow_down(None);
            }
            if weather.up.as_ref().is_some_and(|(by, _)| *by == fault) {
                weather.set(Lane::Up, None);
            }
            if weather.down.as_ref().is_some_and(|(by, _)| *by == fault) {
                weather.set(Lane::Down, None);
            }
        });
    }

    /// Keeps bytes of a client's present connection from travelling; its control. A partition does it in the kernel,
    /// and besides nothing may be written: see [`block`].
    pub(super) fn block(&self, seat: usize, fault: usize, kind: &FaultKind) -> Option<Rc<Control>> {
        self.with(seat, |weather| {
            let control = weather.control.clone()?;
            block(&control, kind, true);
            (weather.blocked, weather.freed) = (Some((fault, clock::now())), None);
            Some(control)
        })
        .flatten()
    }
}

/// Keeps bytes from travelling, or lets them travel again.
pub(super) fn block(control: &Control, kind: &FaultKind, on: bool) {
    match kind {
        FaultKind::Hold(direction) => control.hold(*direction, on),
        FaultKind::Stall(direction) => control.stall(*direction, on),
        // What comes in is dropped by the kernel; what goes out must not be sent, or it would acknowledge.
        FaultKind::Partition { .. } => control.stall(Direction::Both, on),
        _ => {}
    }
}

impl Weather {
    fn opening(&mut self, alarm: &Rc<Alarm>) -> Opening {
        (self.blocked, self.freed) = (None, None);
        self.attempts += 1;
        self.control = self.on_bytes.then(|| {
            let control = Control::new(alarm);
            for (lane, delay) in [(Lane::Up, &self.up), (Lane::Down, &self.down)] {
                control.delay(lane, self.of_this_attempt(delay.as_ref()));
            }
            control.slow_down(self.slow.as_ref().map(|(_, slow, tally)| (*slow, Rc::clone(tally))));
            control
        });
        let doomed = self.doomed_attempt.and_then(|doom| match doom.point {
            DropPoint::Connect => Some(HandshakePoint::Connect),
            DropPoint::Init => Some(HandshakePoint::Init),
            _ => None,
        });
        Opening {
            control: self.control.clone(),
            abort: doomed.or(self.abort.map(|(_, point)| point)),
            receive_buffer: self.receive_buffer,
            turnstile: None,
        }
    }

    fn slow_down(&mut self, slow: Option<(usize, SlowConsumer, Tally)>) {
        if let Some(control) = &self.control {
            control.slow_down(slow.as_ref().map(|(_, slow, tally)| (*slow, Rc::clone(tally))));
        }
        self.slow = slow;
    }

    /// Each attempt to connect, and the connection that it gives, has draws of its own.
    fn of_this_attempt(&self, delay: Option<&(usize, LaneDelay)>) -> Option<LaneDelay> {
        let (_, delay) = delay?;
        let draws = delay.draws.of_attempt(self.attempts.saturating_sub(1));
        Some(LaneDelay { draws, ..delay.clone() })
    }

    fn set(&mut self, lane: Lane, delay: Option<(usize, LaneDelay)>) {
        if let Some(control) = &self.control {
            control.delay(lane, self.of_this_attempt(delay.as_ref()));
        }
        match lane {
            Lane::Up => self.up = delay,
            Lane::Down => self.down = delay,
            Lane::Think => {}
        }
    }
}
