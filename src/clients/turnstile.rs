//! How much of large messages the connections of one thread read at a time.
//!
//! A message is whole only when its last byte is here, and a server sends to all of its subscribers at once: without a
//! bound a hundred clients would hold a hundred halves of 16 MB. Who has to wait leaves what it is sent in the kernel.
//! Since one thread reads for all, little takes longer because of that, and how long somebody waited is noted. Whom a
//! fault may slow down has a turnstile of its own: nobody is to wait for the victim of a fault of ours.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::frames::LARGE;
use crate::clock::Instant;

/// Bytes of large messages that may be under way at a time; one alone may be larger.
pub const AT_A_TIME: u64 = 64 << 20;
/// Ticks without a byte after which somebody else may read: a server may have turned to another client, whom it waits
/// for.
const PATIENCE: u32 = 5;

/// How many waits are kept from one look at them to the next.
const WAITS: usize = 1 << 10;

/// The turnstile of one thread.
#[derive(Debug)]
pub struct Turnstile {
    /// The longest message that the library takes, in bytes.
    largest: u64,
    in_use: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
    /// How long those waited who have passed since somebody last asked.
    waits: RefCell<Vec<Duration>>,
    /// Whether a byte came since the last tick.
    progress: Cell<bool>,
    idle: Cell<u32>,
    /// So many may pass although there is no room.
    overdue: Cell<u32>,
}

/// The right to read one large message; dropped at its end.
#[derive(Debug)]
pub struct Pass {
    turnstile: Rc<Turnstile>,
    bytes: u64,
}

impl Turnstile {
    /// One for messages of at most so many bytes, if any of them can be large.
    pub(super) fn for_messages(largest: Option<usize>) -> Option<Rc<Self>> {
        let largest = largest.map_or(u64::MAX, |bytes| bytes as u64);
        (largest > 3 * LARGE).then(|| Rc::new(Self::new(largest)))
    }

    pub(super) fn new(largest: u64) -> Self {
        Self {
            largest,
            in_use: Cell::default(),
            waiting: RefCell::default(),
            waits: RefCell::default(),
            progress: Cell::default(),
            idle: Cell::default(),
            overdue: Cell::default(),
        }
    }

    /// One like it for somebody who shall neither wait for the others nor have them wait.
    pub(super) fn apart(&self) -> Rc<Self> {
        Rc::new(Self::new(self.largest))
    }

    /// The longest message that the library takes, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    /// Waits for room for a message of so many bytes.
    pub(super) fn poll_pass(self: &Rc<Self>, cx: &Context<'_>, bytes: u64) -> Poll<Pass> {
        // What is longer than all the room takes all of it. The length comes from the wire, and sums of it must not
        // overflow.
        let bytes = bytes.min(AT_A_TIME);
        let is_room = self.in_use.get() == 0 || self.in_use.get() + bytes <= AT_A_TIME;
        if !is_room {
            if self.overdue.get() == 0 {
                let mut waiting = self.waiting.borrow_mut();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            self.overdue.set(self.overdue.get() - 1);
        }
        self.in_use.set(self.in_use.get() + bytes);
        Poll::Ready(Pass { turnstile: Rc::clone(self), bytes })
    }

    /// Somebody passes who has waited since then.
    pub(super) fn waited(&self, since: Instant) {
        let mut waits = self.waits.borrow_mut();
        if waits.len() < WAITS {
            waits.push(since.elapsed());
        }
    }

    /// How long those waited who have passed since this was last asked.
    pub(super) fn take_waits(&self) -> Vec<Duration> {
        self.waits.take()
    }

    /// Bytes of a large message have come.
    pub(super) fn progress(&self) {
        self.progress.set(true);
    }

    /// Looks whether those who may read get anything; called every few milliseconds.
    pub(super) fn tick(&self) {
        if self.progress.take() || self.waiting.borrow().is_empty() {
            self.idle.set(0);
            return;
        }
        self.idle.set(self.idle.get() + 1);
        if self.idle.get() >= PATIENCE {
            self.idle.set(0);
            self.overdue.set(1);
            self.wake();
        }
    }

    fn wake(&self) {
        // Woken outside the borrow: a waker may run arbitrary code.
        self.waiting.take().into_iter().for_each(Waker::wake);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.turnstile.in_use.set(self.turnstile.in_use.get() - self.bytes);
        self.turnstile.wake();
    }
}
