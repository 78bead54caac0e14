//! What a link is told to do. Whoever orders and the link share it; both are on one thread.

use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use super::alarm::Alarm;
use super::gate::{Allowed, Gate};
use super::schedule::Lane;
use super::{Draws, FaultTally};
use crate::clock;
use crate::scenarios::plan::{Delay, Direction, SlowConsumer};

/// Bytes that a hold without a delay keeps per direction.
const HELD_MAX: usize = 1 << 20;

/// Bytes of the next frame that get through before a connection is cut in the middle of it: fewer than any event has.
pub(super) const CUT_SHORT_AT: u8 = 3;

/// How the bytes of one direction are delayed.
#[derive(Debug, Clone)]
pub struct LaneDelay {
    /// The distribution.
    pub delay: Delay,
    /// The plan's draws from it.
    pub draws: Draws,
    /// Bytes that may be on their way.
    pub buffer: usize,
    /// Where each delay is noted, as drawn and as it was.
    pub tally: Rc<RefCell<FaultTally>>,
}

/// Orders for one direction.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) delay: Option<LaneDelay>,
    /// Rises with every delay: draws are counted from there.
    pub(super) series: u32,
    /// What was delayed in this series or before has no time to wait for any more.
    pub(super) freed: u32,
    pub(super) hold: bool,
    pub(super) stall: bool,
}

impl Orders {
    fn set_delay(&mut self, delay: Option<LaneDelay>) {
        self.series += u32::from(delay.is_some());
        self.delay = delay;
    }

    /// Whether bytes have to wait on our side.
    pub(super) fn queues(&self) -> bool {
        self.hold || self.delay.is_some()
    }

    /// Bytes that may wait; never none, or nothing would ever go.
    pub(super) fn room(&self) -> usize {
        self.delay.as_ref().map_or(HELD_MAX, |delay| delay.buffer.max(1))
    }
}

/// What one link is told to do.
#[derive(Debug)]
pub struct Control {
    alarm: Rc<Alarm>,
    up: RefCell<Orders>,
    down: RefCell<Orders>,
    /// Bytes that still get through before it is cut short; `None`: it is not to be.
    short: Cell<Option<u8>>,
    received: Cell<u64>,
    /// It does not keep up.
    slow: RefCell<Option<Gate>>,
    reader: RefCell<Option<Waker>>,
    writer: RefCell<Option<Waker>>,
}

impl Control {
    /// A link that does nothing to its bytes yet; `alarm` is its thread's.
    #[must_use]
    pub fn new(alarm: &Rc<Alarm>) -> Rc<Self> {
        Rc::new(Self {
            alarm: Rc::clone(alarm),
            up: RefCell::default(),
            down: RefCell::default(),
            short: Cell::new(None),
            received: Cell::new(0),
            slow: RefCell::default(),
            reader: RefCell::default(),
            writer: RefCell::default(),
        })
    }

    /// Delays one direction from now on; `None`: no more. What is on its way arrives when it was to, and what comes after
    /// it behind it.
    pub fn delay(&self, lane: Lane, delay: Option<LaneDelay>) {
        let orders = match lane {
            Lane::Up => &self.up,
            Lane::Down => &self.down,
            // No matter of a link.
            Lane::Think => return,
        };
        orders.borrow_mut().set_delay(delay);
        self.wake();
    }

    /// Lets go at once, in order, what waits for its time in either direction.
    pub fn flush(&self) {
        self.change(Direction::Both, |orders| orders.freed = orders.series);
    }

    /// Keeps bytes on our side, or lets them go: the socket is read, and takes what is given to it as far as there is
    /// room.
    pub fn hold(&self, direction: Direction, on: bool) {
        self.change(direction, |orders| orders.hold = on);
    }

    /// Leaves the socket alone: it is neither read nor written, or is again.
    pub fn stall(&self, direction: Direction, on: bool) {
        self.change(direction, |orders| orders.stall = on);
    }

    /// Reads no more than a slow consumer would from now on, and notes what that comes to; `None`: as fast as it can.
    pub fn slow_down(&self, slow: Option<(SlowConsumer, Rc<RefCell<FaultTally>>)>) {
        let gate = slow.map(|(slow, tally)| Gate::new(slow, tally, clock::now()));
        // The one before notes what it did, after the borrow.
        let before = self.slow.replace(gate);
        drop(before);
        self.wake();
    }

    /// Whether it holds or stalls.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        let blocks = |orders: Ref<'_, Orders>| orders.hold || orders.stall;
        blocks(self.up.borrow()) || blocks(self.down.borrow())
    }

    /// Of what arrives next, three bytes get through and then nothing more.
    pub fn cut_short(&self) {
        self.short.set(Some(self.short.get().unwrap_or(CUT_SHORT_AT)));
        self.wake();
    }

    /// Nothing is to be cut short any more.
    pub fn spare(&self) {
        self.short.set(None);
        self.wake();
    }

    /// Whether they have.
    #[must_use]
    pub fn was_cut_short(&self) -> bool {
        self.short.get() == Some(0)
    }

    /// Bytes read from the socket so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.get()
    }

    fn change(&self, direction: Direction, change: impl Fn(&mut Orders)) {
        if direction.is_up() {
            change(&mut self.up.borrow_mut());
        }
        if direction.is_down() {
            change(&mut self.down.borrow_mut());
        }
        self.wake();
    }

    fn wake(&self) {
        let wakers = [self.reader.borrow().clone(), self.writer.borrow().clone()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    pub(super) fn alarm(&self) -> &Alarm {
        &self.alarm
    }

    pub(super) fn up(&self) -> Ref<'_, Orders> {
        self.up.borrow()
    }

    pub(super) fn down(&self) -> Ref<'_, Orders> {
        self.down.borrow()
    }

    /// Bytes that may still get through.
    pub(super) fn short(&self) -> Option<u8> {
        self.short.get()
    }

    pub(super) fn let_through(&self, bytes: u8) {
        self.short.set(self.short.get().map(|left| left.saturating_sub(bytes)));
    }

    /// What may be read from the socket now; `None`: whatever there is.
    pub(super) fn may_read(&self) -> Option<Allowed> {
        self.slow.borrow_mut().as_mut().map(|gate| gate.allow(clock::now()))
    }

    pub(super) fn note_received(&self, bytes: usize) {
        self.received.set(self.received.get() + bytes as u64);
        if let Some(gate) = &mut *self.slow.borrow_mut() {
            gate.took(bytes);
        }
    }

    /// Remembers whom to wake when orders for reading change.
    pub(super) fn watch_reader(&self, cx: &Context<'_>) {
        watch(&self.reader, cx);
    }

    /// The same for writing.
    pub(super) fn watch_writer(&self, cx: &Context<'_>) {
        watch(&self.writer, cx);
    }

    /// There is room again for what is to be written, or all of it has gone.
    pub(super) fn wake_writer(&self) {
        let waker = self.writer.borrow().clone();
        waker.into_iter().for_each(Waker::wake);
    }
}

fn watch(slot: &RefCell<Option<Waker>>, cx: &Context<'_>) {
    if !slot.borrow().as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
        // The one before is dropped after the borrow.
        let before = slot.replace(Some(cx.waker().clone()));
        drop(before);
    }
}
