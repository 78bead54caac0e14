//! The defects there are, each with its own parameters.

use std::time::Duration;

use super::choice::{Channels, Rule};

/// One defect as it was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Defect {
    pub(super) kind: Kind,
    /// The kind's name.
    pub(super) name: &'static str,
    /// The parameters as they were written.
    pub(super) parameters: String,
    /// Where it strikes.
    pub(super) channels: Channels,
    /// How often.
    pub(super) rule: Rule,
    /// Messages of each channel that are left alone at the beginning, of those long enough.
    pub(super) skip: u64,
    /// Shorter payloads are left alone: they are probes and barriers rather than events.
    pub(super) min_bytes: usize,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// A delivery is not made.
    Drop,
    /// The events after the first `after` of a channel reach nobody; `times` says how many.
    DropTail { after: u64 },
    /// A delivery is not made while something waits for the connection.
    DropWhenSlow,
    /// The first message of a subscription is not delivered.
    DropFirst,
    /// Whenever a client comes back, everyone who was there loses the next delivery.
    DropOnReconnect,
    /// A delivery is made twice.
    Duplicate,
    /// What an ended connection got last, but for the newest `lag`, is sent to the channel's next subscription.
    DuplicateOnReconnect { events: usize, lag: usize },
    /// A delivery is made only after `by` later ones.
    Reorder { by: u64 },
    /// The byte at this distance from the payload's end is another one.
    CorruptFiller { from_end: usize },
    /// A byte near the payload's beginning is another one: this one, or one chosen for each delivery.
    CorruptHeader { at: Option<usize> },
    /// An invalid frame follows a delivery.
    BreakFrame(Breakage),
    /// A delivery has only this share of its payload.
    Truncate { share: f64 },
    /// A delivery is made under the operation id of another channel.
    Misroute,
    /// A completed subscription gets the next `events`.
    AfterUnsubscribe { events: u64 },
    /// A delivery is followed by this text.
    ReplayOldRun { payload: String },
    /// A publish is acknowledged and delivered to nobody.
    AckAndForget,
    /// A publish is delivered and never acknowledged.
    NoAck,
    /// A subscription is dropped without a word after `after` deliveries.
    ForgetSubscription { after: u64 },
    /// A client that comes back gets no subscription, without a word.
    NotRestored,
    /// What a connection held that its client did not close is counted on for so long, or for ever.
    StaleCount { lasting: Option<Duration> },
    /// A subscription that ended is counted on, and keeps this much memory.
    KeepSubscriptions { bytes: usize },
    /// A counter of `/stats` is off by this much, from the event `from` up to `until`.
    Miscount { counter: Counter, by: i64, from: u64, until: u64 },
    /// Each WebSocket costs memory that is never given back.
    LeakPerConnection { bytes: usize },
    /// Each event does.
    LeakPerEvent { bytes: usize },
    /// A connection is never written to again after `after` deliveries.
    Stall { after: u64 },
    /// A connection's pings are not answered, but for the first `after`.
    NoPong { after: u64 },
    /// A connection is closed without a close frame after `after` deliveries.
    CloseWithoutFrame { after: u64 },
    /// After the first `after` connections, each is taken in only `pause` after the one before.
    StarveAccepts { after: u64, pause: Duration },
    /// While a socket does not take what waits for it, deliveries to all other connections wait.
    Serialise,
    /// A publish takes `per`, in which nothing else is done.
    SlowPublish { per: Duration },
    /// Each event is later than the one before by `step`, up to `max`.
    SlowDown { step: Duration, max: Duration },
}

/// How a frame is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breakage {
    /// A reserved bit is set.
    Reserved,
    /// The opcode does not exist.
    Opcode,
    /// It is masked, which only a client may do.
    Masked,
    /// Its text is not UTF-8.
    Utf8,
}

/// Which counter of `/stats` is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counter {
    /// `delivered`
    Delivered,
    /// `published`
    Published,
    /// `connections`
    Connections,
    /// `subscriptions`
    Subscriptions,
}
