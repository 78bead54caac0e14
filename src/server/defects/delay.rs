//! Messages that are late on purpose.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::super::fanout::Subscription;
use super::super::hub::Hub;
use super::planted::{Lane, Message};
use crate::clock::{self, Instant};

/// As good as for ever, and no instant overflows by it.
pub(super) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What waits, by when it is due and then by when it came.
#[derive(Debug, Default)]
pub(super) struct Delays {
    waiting: RefCell<BTreeMap<(Instant, u64), Late>>,
    came: Cell<u64>,
    changed: Notify,
}

/// A message with those it was owed to when it was published; who has ended since gets nothing.
#[derive(Debug)]
struct Late {
    lane: Rc<Lane>,
    message: Message,
    to: Vec<Weak<Subscription>>,
}

impl Delays {
    pub(super) fn add(&self, delay: Duration, lane: Rc<Lane>, message: Message, to: &[Rc<Subscription>]) {
        let due = clock::now() + delay.min(YEAR);
        let to = to.iter().map(Rc::downgrade).collect();
        self.waiting.borrow_mut().insert((due, self.came.get()), Late { lane, message, to });
        self.came.set(self.came.get() + 1);
        self.changed.notify_one();
    }

    fn take_due(&self) -> Option<Late> {
        let mut waiting = self.waiting.borrow_mut();
        let first = waiting.first_entry()?;
        (first.key().0 <= clock::now()).then(|| first.remove())
    }
}

/// Delivers late messages when they are due, for ever; without defects it only waits.
pub(crate) async fn run(hub: &Hub) {
    let Some(defects) = &hub.defects else { return std::future::pending().await };
    let delays = &defects.delays;
    loop {
        while let Some(Late { lane, message, to }) = delays.take_due() {
            let subscribers = to.iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
            lane.fan_out(hub, &subscribers, &message);
        }
        let next = delays.waiting.borrow().first_key_value().map(|((due, _), _)| *due);
        let due = async {
            match next {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = delays.changed.notified() => {}
        }
    }
}
