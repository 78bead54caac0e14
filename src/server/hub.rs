//! What all connections of the server share.

use std::cell::RefCell;
use std::rc::Rc;

use super::closings::{Closings, How};
use super::conn::{Conn, Fate, Stage};
use super::defects::Defects;
use super::event::Event;
use super::fanout::{self, Channels};
use super::options::ServeOptions;
use super::stats::{Counters, Snapshot};
use crate::clock::{self, Instant};

/// The shared state; one thread, so no locks.
#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) options: ServeOptions,
    pub(crate) counters: Counters,
    pub(crate) channels: Channels,
    pub(crate) closings: Closings,
    /// Scratch space of the publish in progress.
    pub(crate) event: RefCell<Event>,
    /// Scratch space for short texts.
    pub(crate) scratch: RefCell<Vec<u8>>,
    /// `None` in an honest server.
    pub(crate) defects: Option<Box<Defects>>,
    register: RefCell<Vec<Rc<Conn>>>,
    started: Instant,
}

impl Hub {
    pub(crate) fn new(options: ServeOptions) -> Self {
        Self {
            defects: Defects::plant(&options.defects),
            options,
            counters: Counters::default(),
            channels: Channels::default(),
            closings: Closings::default(),
            event: RefCell::default(),
            scratch: RefCell::default(),
            register: RefCell::default(),
            started: clock::now(),
        }
    }

    /// Registers a connection for as long as the guest lives.
    pub(crate) fn welcome(self: &Rc<Self>, conn: Rc<Conn>) -> Guest {
        let mut register = self.register.borrow_mut();
        conn.place.set(register.len());
        register.push(Rc::clone(&conn));
        Guest { hub: Rc::clone(self), conn }
    }

    /// Calls `f` for every connection.
    pub(crate) fn for_each(&self, f: impl Fn(&Conn)) {
        for conn in &*self.register.borrow() {
            f(conn);
        }
    }

    /// Counts a connection that has become a WebSocket.
    pub(crate) fn count_open(&self, conn: &Conn) {
        conn.enter(Stage::Greeting);
        let counters = &self.counters;
        counters.connections.add(1);
        counters.connections_total.add(1);
        counters.peak_connections.raise_to(counters.connections.get());
        if let Some(defects) = &self.defects {
            defects.opened();
        }
    }

    /// Ends everything a connection holds but the socket itself, and notes how that came about.
    pub(crate) fn begin_closing(&self, conn: &Conn) {
        conn.life.ended(How::Server);
        let subscriptions = fanout::unsubscribe_all(self, conn);
        self.closings.note(conn, subscriptions, self.started);
        if let Some(defects) = &self.defects {
            defects.closing(conn);
        }
        if matches!(conn.stage(), Stage::Greeting | Stage::Ready) {
            self.counters.connections.sub(1);
        }
        conn.enter(Stage::Closing);
    }

    /// Forgets what waits for a connection and counts the events among it as dropped.
    pub(crate) fn discard(&self, conn: &Conn) {
        let events = conn.discard();
        self.counters.queued.sub(events);
        self.counters.dropped.add(events);
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        if let Some(defects) = &self.defects {
            defects.expire(self);
        }
        let mut snapshot = Snapshot::take(&self.counters, clock::now() - self.started);
        if let Some(defects) = &self.defects {
            defects.falsify(&mut snapshot);
        }
        snapshot
    }
}

/// A registered connection; dropping it, whatever the reason, leaves no trace of the connection.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) hub: Rc<Hub>,
    pub(crate) conn: Rc<Conn>,
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Before anything else: nobody may write to it any more.
        self.conn.end(Fate::Abort);
        self.hub.begin_closing(&self.conn);
        self.hub.discard(&self.conn);
        if let Some(defects) = &self.hub.defects {
            defects.gone(&self.conn);
        }
        let mut register = self.hub.register.borrow_mut();
        let place = self.conn.place.get();
        register.swap_remove(place);
        if let Some(moved) = register.get(place) {
            moved.place.set(place);
        }
        if register.len() < register.capacity() / 4 {
            let keep = 2 * register.len();
            register.shrink_to(keep);
        }
    }
}
