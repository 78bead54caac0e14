//! What is planted, and what each defect remembers of channels, subscriptions and connections.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;

use super::super::conn::Conn;
use super::super::fanout::Subscription;
use super::choice::{Choice, label};
use super::delay::{Delays, YEAR};
use super::kind::{Defect, Kind};
use super::serial::Serial;
use super::truth::Truth;
use crate::clock::{self, Instant};

/// The kernel's timers are good for this.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// All defects of a server.
#[derive(Debug)]
pub(crate) struct Defects {
    pub(super) planted: Vec<Rc<Planted>>,
    /// Every channel that was published or subscribed to, for ever: their counts must not start again.
    lanes: RefCell<HashMap<Box<str>, Rc<Lane>>>,
    pub(super) delays: Delays,
    pub(super) serial: Serial,
    /// Whether the publish just made is to stay without its answer.
    pub(super) withheld_ack: Cell<bool>,
}

/// One defect and what it did.
#[derive(Debug)]
pub(super) struct Planted {
    pub(super) defect: Defect,
    pub(super) truth: RefCell<Truth>,
    pub(super) connections: RefCell<Connections>,
    /// Memory that is never given back.
    leaked: RefCell<Vec<Vec<u8>>>,
    /// When what is counted too long ends to be, if ever, in that order.
    pub(super) stale: RefCell<VecDeque<Instant>>,
    /// Connections accepted so far.
    pub(super) accepted: Cell<u64>,
    /// Until when the thread is taken up by what it was given, if it ever was.
    occupied: Cell<Option<Instant>>,
    /// Events so far that a miscount was to have seen.
    pub(super) events: Cell<u64>,
}

/// The connections a defect has met.
#[derive(Debug, Default)]
pub(super) struct Connections {
    pub(super) choice: Choice,
    /// By their address; removed before it can be another's.
    pub(super) known: HashMap<*const Conn, Met>,
}

/// What a defect knows of one connection.
#[derive(Debug)]
pub(super) struct Met {
    /// Whether it was chosen.
    pub(super) hit: bool,
    /// Messages or pings of it so far.
    pub(super) seen: u64,
    /// Whether it was struck.
    pub(super) struck: bool,
    /// The channel it was met on.
    pub(super) channel: Rc<str>,
}

/// One channel as its defects see it.
#[derive(Debug)]
pub(super) struct Lane {
    /// What the truth calls it.
    pub(super) label: Rc<str>,
    pub(super) spots: Vec<Spot>,
}

/// One defect on one channel.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) planted: Rc<Planted>,
    pub(super) state: RefCell<SpotState>,
}

#[derive(Debug, Default)]
pub(super) struct SpotState {
    pub(super) choice: Choice,
    /// Messages long enough so far.
    events: u64,
    /// By their address; removed when they end.
    pub(super) subscriptions: HashMap<*const Subscription, Known>,
    /// What subscriptions that ended got last, oldest first.
    pub(super) orphans: VecDeque<Vec<Rc<str>>>,
    /// Subscriptions that ended for one side only.
    pub(super) ghosts: Vec<Ghost>,
    /// Whether a subscription has ended with its connection.
    pub(super) left: bool,
    /// Clients that came back after that.
    pub(super) returns: u64,
    /// How many of them, the latest one included, have cost somebody a delivery.
    pub(super) harmful: u64,
    /// How late the channel is by now.
    pub(super) delay: Duration,
}

/// What a defect knows of one subscription.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) seen: u64,
    pub(super) recent: VecDeque<Rc<str>>,
    pub(super) held: Vec<Held>,
    /// Clients that had come back when it was made, or got its last message.
    pub(super) returns: u64,
}

/// A delivery that waits for later ones.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) payload: Rc<str>,
    pub(super) overtaken: u64,
}

/// A subscription that one side believes to exist.
#[derive(Debug)]
pub(super) struct Ghost {
    pub(super) conn: Weak<Conn>,
    pub(super) prefix: Box<[u8]>,
    /// Deliveries it will still get, or be owed.
    pub(super) left: u64,
}

/// A message on its way through a lane.
#[derive(Debug)]
pub(super) struct Message {
    /// As the publisher wrote it.
    pub(super) payload: Rc<str>,
    /// For each spot, the message's number among those it may strike; `None` if it may not strike this one.
    pub(super) numbers: Box<[Option<u64>]>,
}

impl Defects {
    /// The state of these defects; `None` without any, which is what the honest server asks about.
    pub(crate) fn plant(defects: &[Defect]) -> Option<Box<Self>> {
        let plant = |defect: &Defect| {
            Rc::new(Planted {
                defect: defect.clone(),
                truth: RefCell::default(),
                connections: RefCell::default(),
                leaked: RefCell::default(),
                stale: RefCell::default(),
                accepted: Cell::default(),
                occupied: Cell::default(),
                events: Cell::default(),
            })
        };
        (!defects.is_empty()).then(|| {
            let planted = defects.iter().map(plant).collect::<Vec<_>>();
            Box::new(Self {
                serial: Serial::plant(&planted),
                planted,
                lanes: RefCell::default(),
                delays: Delays::default(),
                withheld_ack: Cell::new(false),
            })
        })
    }

    pub(super) fn lane(&self, channel: &str) -> Rc<Lane> {
        let mut lanes = self.lanes.borrow_mut();
        if let Some(lane) = lanes.get(channel) {
            return Rc::clone(lane);
        }
        let here = self.planted.iter().filter(|planted| planted.defect.channels.contain(channel));
        let spot = |planted: &Rc<Planted>| Spot { planted: Rc::clone(planted), state: RefCell::default() };
        let lane = Rc::new(Lane { label: label(channel).into(), spots: here.map(spot).collect() });
        lanes.insert(channel.into(), Rc::clone(&lane));
        lane
    }

    /// What each defect did, as JSON.
    pub(crate) fn truth(&self) -> String {
        let truths = self.planted.iter().map(|planted| planted.truth.borrow()).collect::<Vec<_>>();
        let told = self.planted.iter().zip(&truths).map(|(planted, truth)| {
            let Defect { name, ref parameters, .. } = planted.defect;
            truth.told(name, parameters)
        });
        serde_json::to_string(&told.collect::<Vec<_>>()).expect("the truth is texts and numbers")
    }
}

impl Planted {
    /// Notes a strike on `channel` that touched one delivery.
    pub(super) fn strike(&self, channel: &Rc<str>) {
        self.truth.borrow_mut().strike(Some(channel), 1);
    }

    /// Takes up the whole thread for `time`. What is shorter than a sleep can be is added up first, so that so many
    /// fit into a second and no more.
    pub(super) fn occupy(&self, time: Duration) {
        let now = clock::now();
        let until = self.occupied.get().map_or(now, |until| until.max(now)) + time.min(YEAR);
        self.occupied.set(Some(until));
        if until - now >= SHORTEST_SLEEP {
            std::thread::sleep(until - now);
        }
    }

    /// Never gives back `bytes`; written to, so that they are resident.
    pub(super) fn leak(&self, bytes: usize) {
        self.leaked.borrow_mut().push(vec![0xA5; bytes]);
    }

    /// What it knows of a connection, deciding about it when it is met for the first time.
    pub(super) fn meet<T>(&self, conn: &Conn, channel: &Rc<str>, then: impl FnOnce(&mut Met) -> T) -> T {
        let Connections { choice, known } = &mut *self.connections.borrow_mut();
        then(known.entry(std::ptr::from_ref(conn)).or_insert_with(|| Met {
            hit: choice.next(&self.defect.rule, ""),
            seen: 0,
            struck: false,
            channel: Rc::clone(channel),
        }))
    }
}

impl Lane {
    /// Counts a message that was published.
    pub(super) fn note(&self, payload_json: &str) -> Message {
        // Less the quotes.
        let length = payload_json.len().saturating_sub(2);
        let number = |spot: &Spot| {
            let Defect { min_bytes, skip, .. } = spot.planted.defect;
            if length < min_bytes {
                return None;
            }
            let mut state = spot.state.borrow_mut();
            state.events += 1;
            state.events.checked_sub(skip).filter(|&number| number > 0)
        };
        Message { payload: payload_json.into(), numbers: self.spots.iter().map(number).collect() }
    }
}

impl Spot {
    pub(super) fn kind(&self) -> &Kind {
        &self.planted.defect.kind
    }

    /// Whether the next candidate on this channel is hit.
    pub(super) fn hits(&self, label: &str) -> bool {
        self.state.borrow_mut().choice.next(&self.planted.defect.rule, label)
    }

    /// What it knows of a subscription.
    pub(super) fn know<T>(&self, subscription: &Rc<Subscription>, then: impl FnOnce(&mut Known) -> T) -> T {
        then(self.state.borrow_mut().subscriptions.entry(Rc::as_ptr(subscription)).or_default())
    }
}
