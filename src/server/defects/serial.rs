//! One slow reader holds up everybody: deliveries to others wait until its socket has taken what waits for it.
//!
//! They wait in the others' own queues, behind which nothing overtakes them: all of it is late and nothing else.

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::{Rc, Weak};

use super::super::conn::Conn;
use super::kind::Kind;
use super::planted::{Defects, Planted};

/// Who holds up whom.
#[derive(Debug, Default)]
pub(super) struct Serial {
    planted: Option<Rc<Planted>>,
    /// Connections whose sockets did not take everything, by their address; removed before it can be another's.
    ///
    /// None of them is held itself: two that waited for each other would wait for ever.
    slow: RefCell<HashSet<*const Conn>>,
    held: RefCell<Vec<Weak<Conn>>>,
}

impl Serial {
    pub(super) fn plant(planted: &[Rc<Planted>]) -> Self {
        let asked = planted.iter().find(|planted| planted.defect.kind == Kind::Serialise);
        Self { planted: asked.cloned(), ..Self::default() }
    }
}

impl Defects {
    /// Makes a delivery to `conn` wait, if there is somebody to wait for.
    pub(super) fn hold(&self, conn: &Rc<Conn>) {
        let Serial { planted: Some(planted), slow, held } = &self.serial else { return };
        let slow = slow.borrow();
        if slow.is_empty() || slow.contains(&Rc::as_ptr(conn)) {
            return;
        }
        if conn.cork() {
            held.borrow_mut().push(Rc::downgrade(conn));
        }
        planted.truth.borrow_mut().touch();
    }

    /// The socket of `conn` may have begun to refuse what it is offered, or have taken all of it.
    pub(crate) fn blocked(&self, conn: &Conn) {
        let Serial { planted: Some(planted), slow, .. } = &self.serial else { return };
        if !conn.is_blocked() {
            return self.caught_up(conn);
        }
        let mut slow = slow.borrow_mut();
        if slow.insert(std::ptr::from_ref(conn)) && slow.len() == 1 {
            planted.truth.borrow_mut().strike(None, 0);
        }
    }

    /// `conn` is about to end: nothing more is owed to it, and what waits for it is to reach it first.
    pub(crate) fn closing(&self, conn: &Conn) {
        conn.uncork();
        self.caught_up(conn);
    }

    fn caught_up(&self, conn: &Conn) {
        let mut slow = self.serial.slow.borrow_mut();
        if slow.remove(&std::ptr::from_ref(conn)) && slow.is_empty() {
            self.serial.held.take().iter().filter_map(Weak::upgrade).for_each(|held| held.uncork());
        }
    }
}
