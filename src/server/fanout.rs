//! Channels, who subscribes to them, and how an event reaches each of them.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use super::conn::{Conn, Fate, Offered};
use super::defects::{self, Left};
use super::event::Event;
use super::hub::Hub;
use super::message;
use super::options::WhenFull;

/// One subscribed operation of one connection.
#[derive(Debug)]
pub(crate) struct Subscription {
    conn: Rc<Conn>,
    channel: Rc<Channel>,
    /// Its place among the channel's subscribers.
    place: Cell<usize>,
    /// `{"id":"…"`, the beginning of every message it gets; also its key.
    prefix: Box<[u8]>,
}

/// A channel with at least one subscriber.
#[derive(Debug)]
pub(crate) struct Channel {
    name: Rc<str>,
    seq: Cell<u64>,
    subscribers: RefCell<Vec<Rc<Subscription>>>,
}

/// All channels that somebody subscribes to.
#[derive(Debug, Default)]
pub(crate) struct Channels(RefCell<HashMap<Rc<str>, Rc<Channel>>>);

/// The subscriptions of one connection.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(RefCell<HashSet<ByPrefix>>);

impl Subscriptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Calls `f` for every one of them, in no order.
    pub(crate) fn each(&self, mut f: impl FnMut(&Subscription)) {
        self.0.borrow().iter().for_each(|ByPrefix(subscription)| f(subscription));
    }
}

#[derive(Debug)]
struct ByPrefix(Rc<Subscription>);

impl std::borrow::Borrow<[u8]> for ByPrefix {
    fn borrow(&self) -> &[u8] {
        &self.0.prefix
    }
}

impl Hash for ByPrefix {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.prefix.hash(state);
    }
}

impl PartialEq for ByPrefix {
    fn eq(&self, other: &Self) -> bool {
        self.0.prefix == other.0.prefix
    }
}

impl Eq for ByPrefix {}

/// Why a subscription was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The connection already has one of this id.
    Duplicate,
    /// The connection has as many as it may have.
    TooMany,
}

/// Subscribes `conn` to a channel under the operation id encoded in `prefix`.
pub(crate) fn subscribe(hub: &Hub, conn: &Rc<Conn>, prefix: &[u8], channel: &str) -> Result<(), Refused> {
    let mut own = conn.subscriptions.0.borrow_mut();
    if own.contains(prefix) {
        return Err(Refused::Duplicate);
    }
    if hub.options.max_subscriptions_per_connection.is_some_and(|most| own.len() >= most) {
        return Err(Refused::TooMany);
    }
    if hub.defects.as_ref().is_some_and(|defects| defects.forgoes(channel)) {
        return Ok(());
    }
    let channel = hub.channels.open(channel, hub.counters.published.get());
    let mut subscribers = channel.subscribers.borrow_mut();
    let subscription = Rc::new(Subscription {
        conn: Rc::clone(conn),
        channel: Rc::clone(&channel),
        place: Cell::new(subscribers.len()),
        prefix: prefix.into(),
    });
    subscribers.push(Rc::clone(&subscription));
    own.insert(ByPrefix(Rc::clone(&subscription)));
    hub.counters.subscriptions.add(1);
    hub.counters.subscriptions_total.add(1);
    hub.counters.peak_subscriptions.raise_to(hub.counters.subscriptions.get());
    if let Some(defects) = &hub.defects {
        defects.subscribed(hub, &subscription);
    }
    Ok(())
}

/// Ends the subscription of `conn` under `prefix`; there may be none.
pub(crate) fn unsubscribe(hub: &Hub, conn: &Conn, prefix: &[u8]) {
    let ended = conn.subscriptions.0.borrow_mut().take(prefix);
    if let Some(ByPrefix(subscription)) = ended {
        hub.counters.unsubscribed_total.add(1);
        remove(hub, &subscription, Left::Completed);
    }
}

/// Ends all subscriptions of `conn`; returns how many there were.
pub(crate) fn unsubscribe_all(hub: &Hub, conn: &Conn) -> usize {
    let mut ended = 0;
    for ByPrefix(subscription) in conn.subscriptions.0.take() {
        remove(hub, &subscription, Left::Disconnected);
        ended += 1;
    }
    ended
}

/// Removes a subscription that its connection no longer has.
fn remove(hub: &Hub, subscription: &Rc<Subscription>, left: Left) {
    hub.channels.remove(subscription);
    hub.counters.subscriptions.sub(1);
    if let Some(defects) = &hub.defects {
        defects.ended(hub, subscription, left);
    }
}

impl Subscription {
    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(crate) fn channel_name(&self) -> &str {
        &self.channel.name
    }
}

impl Channel {
    /// A copy of the list of its subscribers: going through it, subscriptions may end.
    pub(crate) fn subscribers(&self) -> Vec<Rc<Subscription>> {
        self.subscribers.borrow().clone()
    }
}

impl Channels {
    fn open(&self, name: &str, published: u64) -> Rc<Channel> {
        let mut channels = self.0.borrow_mut();
        if let Some(channel) = channels.get(name) {
            return Rc::clone(channel);
        }
        let name: Rc<str> = name.into();
        // Numbers are not kept for channels nobody listens to: beginning at the number of all events, they still
        // rise for ever within a channel.
        let channel = Rc::new(Channel {
            name: Rc::clone(&name),
            seq: Cell::new(published),
            subscribers: RefCell::default(),
        });
        channels.insert(name, Rc::clone(&channel));
        channel
    }

    /// Takes a subscription out of its channel, and the channel away with its last one.
    fn remove(&self, subscription: &Subscription) {
        let channel = &subscription.channel;
        let mut subscribers = channel.subscribers.borrow_mut();
        let place = subscription.place.get();
        subscribers.swap_remove(place);
        if let Some(moved) = subscribers.get(place) {
            moved.place.set(place);
        }
        if subscribers.is_empty() {
            self.0.borrow_mut().remove(&channel.name);
        } else if subscribers.len() < subscribers.capacity() / 4 {
            let keep = 2 * subscribers.len();
            subscribers.shrink_to(keep);
        }
    }
}

/// Publishes an event; returns its number in its channel and how many subscriptions it was owed to.
pub(crate) fn publish(hub: &Hub, channel: &str, payload_json: &str) -> (u64, usize) {
    if let Some(defects) = &hub.defects {
        return defects::publish(hub, defects, channel, payload_json);
    }
    let (seq, channel) = announce(hub, channel);
    let Some(channel) = channel else { return (seq, 0) };
    let mut event = hub.event.borrow_mut();
    event.encode(payload_json);
    let subscribers = channel.subscribers.borrow();
    for subscription in &*subscribers {
        deliver(hub, subscription, &mut event);
    }
    event.finish();
    (seq, subscribers.len())
}

/// Counts an event and numbers it in its channel, if that has subscribers.
pub(crate) fn announce(hub: &Hub, channel: &str) -> (u64, Option<Rc<Channel>>) {
    hub.counters.published.add(1);
    let found = hub.channels.0.borrow().get(channel).cloned();
    let Some(channel) = found else { return (hub.counters.published.get(), None) };
    let seq = channel.seq.get() + 1;
    channel.seq.set(seq);
    (seq, Some(channel))
}

/// Gives an event to a subscription.
pub(crate) fn deliver(hub: &Hub, subscription: &Subscription, event: &mut Event) {
    hand_over(hub, &subscription.conn, &subscription.prefix, event);
}

/// Gives an event to a connection, under the operation id in `prefix`: the one place where that happens.
pub(crate) fn hand_over(hub: &Hub, conn: &Conn, prefix: &[u8], event: &mut Event) {
    let limit = match hub.options.when_full {
        WhenFull::Disconnect | WhenFull::Drop => hub.options.queue_limit.0,
        // Whoever published it waits afterwards.
        WhenFull::Backpressure => usize::MAX,
    };
    match conn.offer(event, prefix, limit) {
        Offered::Written => hub.counters.delivered.add(1),
        Offered::Queued => {
            hub.counters.queued.add(1);
            if let Some(defects) = &hub.defects {
                defects.blocked(conn);
            }
        }
        Offered::Full => {
            hub.counters.dropped.add(1);
            if hub.options.when_full == WhenFull::Disconnect {
                cut_off(hub, conn);
            }
        }
        Offered::Gone => {}
    }
}

/// A subscriber of a channel whose queue is full, where publishers have to wait for that.
pub(crate) fn awaited(hub: &Hub, channel: &str) -> Option<Rc<Conn>> {
    if hub.options.when_full != WhenFull::Backpressure {
        return None;
    }
    let channel = hub.channels.0.borrow().get(channel).cloned()?;
    let subscribers = channel.subscribers.borrow();
    let full = subscribers.iter().find(|one| one.conn.exceeds(hub.options.queue_limit.0));
    full.map(|one| Rc::clone(&one.conn))
}

/// Ends a connection whose queue is full, and gives its memory back at once.
pub(crate) fn cut_off(hub: &Hub, conn: &Conn) {
    if conn.fate() == Fate::Live {
        hub.counters.disconnected_slow.add(1);
        hub.discard(conn);
        conn.end(Fate::CutOff);
    }
}

/// Encodes an operation id as a subscription's prefix; `None` if it is too long.
pub(crate) fn with_prefix<T>(hub: &Hub, id: &str, then: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut scratch = hub.scratch.borrow_mut();
    scratch.clear();
    message::write_prefix(&mut scratch, id);
    (scratch.len() <= super::event::MAX_PREFIX).then(|| then(&scratch))
}
