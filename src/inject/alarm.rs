//! One alarm clock for all links of a thread: wakes each task at its time, and knows when the next one is.
//!
//! It keeps no time itself. Whoever drives it has a timer as exact as the run needs, and tests have a paused clock:
//! runtime timers are 1 ms coarse, which on a delay of 20 ms is more than the injector may be off.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::task::Waker;

use crate::clock::Instant;

/// When an entry is due, and its number among those of the same moment.
type Key = (Instant, u64);

/// Tasks to be woken, by their times.
#[derive(Debug, Default)]
pub struct Alarm {
    entries: RefCell<BTreeMap<Key, Waker>>,
    numbers: Cell<u64>,
    /// Whoever drives it: woken when the first entry becomes another one.
    driver: RefCell<Option<Waker>>,
}

/// A place for one entry; empty at first.
#[derive(Debug, Default)]
pub(super) struct Ticket(Option<Key>);

impl Alarm {
    /// Has a task woken at a time, in place of what the ticket was for before.
    pub(super) fn set(&self, ticket: &mut Ticket, at: Instant, waker: &Waker) {
        if let Some(known) = ticket.0.filter(|(time, _)| *time == at)
            && self.entries.borrow().get(&known).is_some_and(|w| w.will_wake(waker))
        {
            return;
        }
        self.cancel(ticket);
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        let is_first = self.first().is_none_or(|first| at < first);
        self.entries.borrow_mut().insert((at, number), waker.clone());
        ticket.0 = Some((at, number));
        let driver = self.driver.borrow().clone();
        driver.filter(|_| is_first).into_iter().for_each(Waker::wake);
    }

    /// Forgets what a ticket was for.
    pub(super) fn cancel(&self, ticket: &mut Ticket) {
        if let Some(key) = ticket.0.take() {
            // Dropped after the borrow: a waker may be the last that holds a task, and the task a link with a ticket.
            let waker = self.entries.borrow_mut().remove(&key);
            drop(waker);
        }
    }

    /// Remembers who drives it.
    pub fn watch(&self, driver: &Waker) {
        let mut known = self.driver.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(driver)) {
            *known = Some(driver.clone());
        }
    }

    /// Wakes everyone whose time has come.
    pub fn fire(&self, now: Instant) {
        loop {
            // Taken out before it is woken: a waker may run arbitrary code.
            let due = self
                .entries
                .borrow_mut()
                .first_entry()
                .filter(|e| e.key().0 <= now)
                .map(OccupiedEntry::remove);
            let Some(waker) = due else { return };
            waker.wake();
        }
    }

    /// When the next one is due.
    #[must_use]
    pub fn first(&self) -> Option<Instant> {
        self.entries.borrow().first_key_value().map(|((at, _), _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn each_is_woken_once_at_its_time() {
        let alarm = Alarm::default();
        let (one, two, driver) =
            (Arc::new(Count::default()), Arc::new(Count::default()), Arc::new(Count::default()));
        let woken = |count: &Arc<Count>| count.0.load(Relaxed);
        alarm.watch(&driver.clone().into());
        let begin = clock::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let (mut first, mut second) = (Ticket::default(), Ticket::default());
        alarm.set(&mut first, at(20), &one.clone().into());
        alarm.set(&mut second, at(10), &two.clone().into());
        assert_eq!((alarm.first(), woken(&driver)), (Some(at(10)), 2), "twice there was a new first");
        alarm.set(&mut second, at(30), &two.clone().into());
        alarm.set(&mut first, at(20), &one.clone().into());
        assert_eq!((alarm.first(), woken(&driver)), (Some(at(20)), 2));
        alarm.fire(at(19));
        assert_eq!((woken(&one), woken(&two)), (0, 0));
        alarm.fire(at(20));
        alarm.fire(at(21));
        assert_eq!((woken(&one), woken(&two)), (1, 0));
        alarm.cancel(&mut second);
        alarm.fire(at(100));
        assert_eq!((woken(&two), alarm.first()), (0, None));
    }
}
