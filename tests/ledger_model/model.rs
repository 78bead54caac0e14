//! Everything that happened, one entry for each, and the rules read off the design.

use std::collections::HashMap;

use stressctl::ledger::{Class, End, Found, Kind, ReceiptClass, StreamId, Token};

use super::{RUN, SUBSCRIPTIONS, channel_of, group_of, phase_of, streams};

/// One published event.
#[derive(Debug)]
pub(super) struct Event {
    stream: StreamId,
    seq: u64,
    pub(super) epoch: u32,
    pub(super) sent_at: u64,
    /// It will be acknowledged.
    ackable: bool,
    /// When it was acknowledged or, if it is never to be, given up.
    settled_at: Option<u64>,
}

impl Event {
    pub(super) fn is_acked(&self) -> bool {
        self.ackable && self.settled_at.is_some()
    }
}

/// One subscribe, from its flush (or, unnoticed, its confirmation) until something newer takes its place.
#[derive(Debug, Default)]
struct Operation {
    /// When the flush was noted, and when it had been.
    flushed: Option<(u64, u64)>,
    confirmed_at: Option<u64>,
    ended: Option<(u64, End)>,
    lived_on: bool,
    /// With this one the subscription became a member.
    joined: bool,
    /// The subscription left before this one was confirmed.
    abandoned: bool,
    awaited: Vec<StreamId>,
    given_up: Vec<StreamId>,
    /// Its connection answered after the unsubscribe.
    answered: bool,
    /// Barriers that arrived: stream and epoch.
    barriers: Vec<(StreamId, u32)>,
}

/// One intact event that arrived for the first time.
#[derive(Debug)]
struct Arrival {
    sub: usize,
    stream: StreamId,
    seq: u64,
    /// Under which operation; `None`: before the first.
    operation: Option<usize>,
    /// Whether that operation might have been given it, late or in time.
    here: bool,
    late: bool,
    owed: bool,
}

/// One delivery that is owed.
#[derive(Debug)]
pub(super) struct Owed {
    sub: usize,
    stream: StreamId,
    seq: u64,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) ordered: bool,
    pub(super) now: u64,
    events: Vec<Event>,
    /// Begun epochs: publisher.
    epochs: Vec<u32>,
    operations: [Vec<Operation>; SUBSCRIPTIONS],
    members: [bool; SUBSCRIPTIONS],
    /// When the answer to an unsubscribe came, until something new is subscribed.
    answered_at: [Option<u64>; SUBSCRIPTIONS],
    pub(super) owed: Vec<Owed>,
    arrivals: Vec<Arrival>,
    damaged: Vec<(usize, StreamId, u64)>,
    pub(super) receipts: HashMap<ReceiptClass, u64>,
    pub(super) reordered: u64,
}

impl Model {
    pub(super) fn new(ordered: bool) -> Self {
        Self { ordered, ..Self::default() }
    }

    pub(super) fn event(&self, stream: StreamId, seq: u64) -> Option<&Event> {
        self.events.iter().find(|event| (event.stream, event.seq) == (stream, seq))
    }

    /// The epoch that a stream is in.
    pub(super) fn epoch(&self, stream: StreamId) -> u32 {
        let publisher = streams().publisher(stream);
        self.epochs.iter().filter(|one| **one == publisher).count() as u32
    }

    /// When nothing was awaited any more about an event and all earlier ones of its stream.
    fn known_at(&self, event: &Event) -> u64 {
        let earlier = self.events.iter().filter(|e| e.stream == event.stream && e.seq <= event.seq);
        earlier.map(|e| e.settled_at.unwrap_or(u64::MAX)).max().expect("it is among them")
    }

    pub(super) fn is_live(&self, sub: usize) -> bool {
        self.operations[sub].last().is_some_and(|op| op.confirmed_at.is_some() && op.ended.is_none())
    }

    pub(super) fn begin_epoch(&mut self, publisher: u32) -> u32 {
        self.epochs.push(publisher);
        self.epochs.iter().filter(|one| **one == publisher).count() as u32
    }

    pub(super) fn publish(&mut self, stream: StreamId, ackable: bool) -> u64 {
        let seq = self.events.iter().filter(|event| event.stream == stream).count() as u64;
        let epoch = self.epoch(stream);
        self.events.push(Event { stream, seq, epoch, sent_at: self.now, ackable, settled_at: None });
        let channel = streams().channel(stream);
        let members = (0..SUBSCRIPTIONS).filter(|sub| self.members[*sub] && channel_of(*sub) == channel);
        let before = self.owed.len();
        self.owed.extend(members.map(|sub| Owed { sub, stream, seq }));
        (self.owed.len() - before) as u64
    }

    /// Settles events of a stream that wait for it, but the oldest so many of them; returns their seqs.
    pub(super) fn settle(&mut self, stream: StreamId, passed_over: usize, count: usize) -> Vec<u64> {
        let now = self.now;
        let open = self.events.iter_mut().filter(|e| e.stream == stream && e.settled_at.is_none());
        let settled = open.skip(passed_over).take(count).map(|event| {
            event.settled_at = Some(now);
            event.seq
        });
        settled.collect()
    }

    pub(super) fn subscribed(&mut self, sub: usize, flushed: u64) {
        if self.is_live(sub) {
            return;
        }
        self.answered_at[sub] = None;
        let flushed = Some((self.now, flushed));
        self.operations[sub].push(Operation { flushed, ..Operation::default() });
    }

    pub(super) fn confirm(&mut self, sub: usize) {
        let waits = self.operations[sub]
            .last()
            .is_some_and(|op| op.flushed.is_some() && op.confirmed_at.is_none() && !op.abandoned);
        if !waits {
            self.operations[sub].push(Operation::default());
        }
        let op = self.operations[sub].last_mut().expect("there is one now");
        op.confirmed_at = Some(self.now);
        op.joined = !self.members[sub];
        self.members[sub] = true;
        self.answered_at[sub] = None;
    }

    pub(super) fn end(&mut self, sub: usize, how: End) {
        if self.is_live(sub) {
            let now = self.now;
            let op = self.operations[sub].last_mut().expect("it is live");
            op.ended = Some((now, how));
            // In vain.
            op.given_up.extend(op.awaited.iter().copied());
            self.members[sub] = !how.leaves();
        } else if how.leaves() && self.members[sub] {
            self.leave(sub);
        }
    }

    pub(super) fn leave(&mut self, sub: usize) {
        self.end(sub, End::Died);
        if std::mem::take(&mut self.members[sub]) {
            // What had been asked for is of no interest any more.
            let open = self.operations[sub].iter_mut().filter(|op| op.confirmed_at.is_none());
            open.for_each(|op| op.abandoned = true);
        }
    }

    pub(super) fn cut_behind(&mut self, sub: usize) {
        if let Some(op) = self.operations[sub].last_mut().filter(|op| !op.answered)
            && let Some((at, End::Left)) = op.ended
        {
            op.ended = Some((at, End::Cut));
        }
    }

    pub(super) fn answered(&mut self, sub: usize) {
        if !self.members[sub] {
            self.answered_at[sub].get_or_insert(self.now);
            let last = self.operations[sub].iter_mut().rfind(|op| op.confirmed_at.is_some());
            if let Some(op) = last.filter(|op| op.ended.is_some_and(|(_, how)| how.leaves())) {
                op.answered = true;
            }
        }
    }

    pub(super) fn quiet(&mut self) {
        for sub in 0..SUBSCRIPTIONS {
            if self.is_live(sub) {
                self.operations[sub].last_mut().expect("it is live").lived_on = true;
            }
        }
    }

    /// The last of a subscription's operations that was ever confirmed.
    fn newest_life(&mut self, sub: usize) -> Option<&mut Operation> {
        self.operations[sub].iter_mut().rfind(|op| op.confirmed_at.is_some())
    }

    pub(super) fn await_barriers(&mut self, sub: usize) -> Vec<StreamId> {
        if !self.is_live(sub) {
            return Vec::new();
        }
        let streams = streams();
        let since = self.operations[sub].last().and_then(|op| op.confirmed_at).expect("it is live");
        let owes = |stream: &StreamId| {
            self.events.iter().any(|event| event.stream == *stream && event.sent_at > since)
        };
        let awaited: Vec<_> = streams.streams_of_channel(channel_of(sub)).filter(owes).collect();
        self.operations[sub].last_mut().expect("it is live").awaited.clone_from(&awaited);
        awaited
    }

    pub(super) fn barrier(&mut self, sub: usize, token: &Token) -> Option<StreamId> {
        let stream = self.stream_of(token)?;
        let count = self.events.iter().filter(|event| event.stream == stream).count() as u64;
        let good = token.kind == Kind::Barrier
            && token.channel == channel_of(sub)
            && token.seq == count
            && token.epoch == self.epoch(stream);
        if !good || !self.is_live(sub) {
            return None;
        }
        let op = self.operations[sub].last_mut().expect("it is live");
        op.barriers.push((stream, token.epoch));
        let at = op.awaited.iter().position(|one| *one == stream)?;
        Some(op.awaited.remove(at))
    }

    pub(super) fn give_up(&mut self, sub: usize) -> Vec<StreamId> {
        let Some(op) = self.newest_life(sub) else { return Vec::new() };
        let given_up = std::mem::take(&mut op.awaited);
        op.given_up.extend(given_up.iter().copied());
        given_up
    }

    pub(super) fn count_outstanding(&self) -> u64 {
        let open = |owed: &&Owed| {
            let Some(op) = self.operations[owed.sub].last().filter(|_| self.is_live(owed.sub)) else {
                return false;
            };
            let event = self.event(owed.stream, owed.seq).expect("it was published");
            event.sent_at > op.confirmed_at.expect("it is live") && self.arrival(owed).is_none()
        };
        self.owed.iter().filter(open).count() as u64
    }

    fn arrival(&self, owed: &Owed) -> Option<&Arrival> {
        self.arrivals.iter().find(|a| (a.sub, a.stream, a.seq) == (owed.sub, owed.stream, owed.seq))
    }

    fn stream_of(&self, token: &Token) -> Option<StreamId> {
        let streams = streams();
        let is_it = |stream: &StreamId| {
            token.run == RUN
                && streams.channel(*stream) == token.channel
                && streams.publisher(*stream) == token.publisher
        };
        streams.all().find(is_it)
    }

    pub(super) fn is_owed(&self, sub: usize, token: &Token) -> bool {
        let stream = self.stream_of(token);
        self.owed.iter().any(|owed| owed.sub == sub && Some(owed.stream) == stream && owed.seq == token.seq)
    }

    /// `earlier`: under an operation that was ended before the present one was asked for.
    pub(super) fn receive(&mut self, sub: usize, found: &Found, late: bool, earlier: bool) -> ReceiptClass {
        let class = self.class_of(sub, found, late, earlier);
        *self.receipts.entry(class).or_default() += 1;
        class
    }

    fn class_of(&mut self, sub: usize, found: &Found, late: bool, earlier: bool) -> ReceiptClass {
        let (token, intact) = match found {
            Found::Intact(token) => (token, true),
            Found::Damaged(token) => (token, false),
            Found::Broken => return ReceiptClass::Corrupted,
        };
        let event = self.stream_of(token).and_then(|stream| self.event(stream, token.seq));
        let event = event.filter(|event| event.epoch == token.epoch);
        if !intact {
            if let Some(event) = event.filter(|_| token.channel == channel_of(sub)) {
                let damaged = (sub, event.stream, event.seq);
                self.damaged.push(damaged);
            }
            return ReceiptClass::Corrupted;
        }
        let Some(event) = event else { return ReceiptClass::Phantom };
        if token.channel != channel_of(sub) {
            return ReceiptClass::Misrouted;
        }
        if self.answered_at[sub].is_some_and(|answered| !self.members[sub] && event.sent_at > answered) {
            return ReceiptClass::AfterUnsubscribe;
        }
        let (stream, seq, epoch) = (event.stream, event.seq, event.epoch);
        let same = |a: &&Arrival| a.sub == sub && a.stream == stream;
        if self.arrivals.iter().filter(same).any(|a| a.seq == seq) {
            return ReceiptClass::Duplicated;
        }
        let epoch_of = |seq| self.event(stream, seq).expect("it arrived").epoch;
        let reordered = self.arrivals.iter().filter(same).any(|a| a.seq > seq && epoch_of(a.seq) == epoch);
        let present = self.operations[sub].iter().rposition(|op| !op.abandoned);
        let ended = |index: &usize| {
            let op = &self.operations[sub][*index];
            op.ended.is_some() && op.confirmed_at.is_some() && self.might_be_given(sub, *index, event)
        };
        // An earlier one has it, if it might be that one's.
        let before = (0..self.operations[sub].len()).rfind(ended).filter(|_| earlier);
        let operation = before.or(present);
        let here = operation.is_some_and(|op| self.might_be_given(sub, op, event));
        let owed = self.is_owed(sub, token);
        self.reordered += u64::from(reordered);
        self.arrivals.push(Arrival { sub, stream, seq, operation, here, late, owed });
        ReceiptClass::First
    }

    /// Whether an operation might have been live at the publish of an event, as far as is known now.
    fn might_be_given(&self, sub: usize, index: usize, event: &Event) -> bool {
        let (earlier, op) = (&self.operations[sub][..=index], &self.operations[sub][index]);
        // What an earlier membership was owed is not made up for by this one.
        let joined = earlier.iter().rfind(|op| op.joined).and_then(|op| op.confirmed_at);
        if joined.is_none_or(|at| event.sent_at < at) {
            return false;
        }
        let before_its_end = op.ended.is_none_or(|(at, _)| event.sent_at < at);
        let after_its_start = match (op.flushed, op.confirmed_at) {
            // It has not been a member since then.
            (_, None) if !self.members[sub] => false,
            _ if op.joined => true,
            (Some((noted, flushed)), _) => self.known_at(event) > noted || event.sent_at > flushed,
            (None, Some(confirmed)) => event.sent_at > confirmed,
            (None, None) => unreachable!("an operation begins somehow"),
        };
        before_its_end && after_its_start
    }

    pub(super) fn count_unowed(&self) -> u64 {
        self.arrivals.iter().filter(|arrival| !arrival.owed).count() as u64
    }

    /// Every obligation with its group, phase and class.
    pub(super) fn close(&mut self) -> HashMap<(usize, usize, Class), u64> {
        self.quiet();
        (0..SUBSCRIPTIONS).for_each(|sub| self.end(sub, End::Unsubscribed));
        let mut classes = HashMap::new();
        for owed in &self.owed {
            let key = (group_of(owed.sub), phase_of(owed.seq), self.class(owed));
            *classes.entry(key).or_default() += 1;
        }
        classes
    }

    fn class(&self, owed: &Owed) -> Class {
        let event = self.event(owed.stream, owed.seq).expect("it was published");
        if let Some(arrival) = self.arrival(owed) {
            return match arrival {
                Arrival { here: false, .. } => Class::Recovered,
                Arrival { late: true, .. } => Class::Late,
                _ => Class::Delivered,
            };
        }
        if self.damaged.contains(&(owed.sub, owed.stream, owed.seq)) {
            return Class::Damaged;
        }
        if !event.is_acked() {
            return Class::UnknownPublish;
        }
        let lives = self.operations[owed.sub].iter().enumerate().filter(|(_, op)| op.confirmed_at.is_some());
        for (index, op) in lives {
            let (confirmed, (ended, how)) =
                (op.confirmed_at.expect("it is a life"), op.ended.expect("all have ended"));
            if event.sent_at < confirmed {
                // The next life: the subscription was away.
                let in_flight = op.flushed.is_some_and(|(noted, _)| self.known_at(event) > noted);
                return if in_flight && !op.joined {
                    Class::Indeterminate
                } else {
                    Class::MissedDisconnected
                };
            }
            if event.sent_at < ended {
                return self.class_in_life(owed, event, index, ended, how);
            }
        }
        Class::MissedDisconnected
    }

    fn class_in_life(&self, owed: &Owed, event: &Event, index: usize, ended: u64, how: End) -> Class {
        let op = &self.operations[owed.sub][index];
        let proves = |a: &Arrival| {
            let other = self.event(a.stream, a.seq).expect("it was published");
            a.sub == owed.sub
                && a.operation == Some(index)
                && a.stream == owed.stream
                && a.seq > owed.seq
                && other.epoch == event.epoch
                && other.sent_at < ended
        };
        let later = self.arrivals.iter().any(proves) || op.barriers.contains(&(owed.stream, event.epoch));
        let newest = event.epoch == self.epoch(owed.stream);
        if later && self.ordered {
            Class::LostProven
        } else if op.lived_on && (op.answered || !(newest && op.given_up.contains(&owed.stream))) {
            Class::LostPresumed
        } else if !op.lived_on && !later && how == End::Cut && self.known_at(event) < ended {
            Class::Suppressed
        } else {
            Class::Indeterminate
        }
    }
}
