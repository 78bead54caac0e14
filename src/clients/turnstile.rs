//! How much of large messages the connections of one thread read at a time.
//!
//! A message is whole only when its last byte is here, and a server sends to all of its subscribers at once: without a
//! bound a hundred clients would hold a hundred halves of 16 MB. Who has to wait leaves what it is sent in the kernel.
//! Since one thread reads for all, nothing takes longer because of that.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::frames::LARGE;

/// Bytes of large frames that may be under way at a time; one alone may be larger.
const AT_A_TIME: u64 = 64 << 20;
/// Ticks without a byte after which somebody else may read: a server may have turned to another client, whom it waits
/// for.
const PATIENCE: u32 = 5;

/// The turnstile of one thread.
#[derive(Debug, Default)]
pub struct Turnstile {
    in_use: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
    /// Whether a byte came since the last tick.
    progress: Cell<bool>,
    idle: Cell<u32>,
    /// So many may pass although there is no room.
    overdue: Cell<u32>,
}

/// The right to read one large frame; dropped at its end.
#[derive(Debug)]
pub struct Pass {
    turnstile: Rc<Turnstile>,
    bytes: u64,
}

impl Turnstile {
    /// One for messages of at most so many bytes, if any of them can be large.
    pub(super) fn for_messages(largest: Option<usize>) -> Option<Rc<Self>> {
        largest.is_none_or(|bytes| bytes as u64 > 3 * LARGE).then(Rc::default)
    }

    /// Waits for room for a frame of so many bytes.
    pub(super) fn poll_pass(self: &Rc<Self>, cx: &Context<'_>, bytes: u64) -> Poll<Pass> {
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

    /// Bytes of a large frame have come.
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
