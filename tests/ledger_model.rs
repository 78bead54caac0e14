//! The shard's ledger against a model that remembers every single delivery in plain maps and sets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use stressctl::ledger::audit::Config;
use stressctl::ledger::{
    Class, CloseFacts, Counts, End, Found, GroupShape, Kind, Receipt, ReceiptClass, Roster, ShardLedger,
    StreamId, Streams, SubscriptionShape, Token, Totals, sums,
};
use stressctl::scenarios::target::Contract;

const RUN: u32 = 9;
const DEADLINE_NS: u64 = 50;
const CHANNELS: u32 = 2;
const SUBSCRIPTIONS: usize = 4;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A publisher publishes; whether it is acknowledged.
    Publish {
        stream: usize,
        acked: bool,
    },
    /// A subscription receives something about an event of a stream, counted back from the newest.
    Receive {
        sub: usize,
        stream: usize,
        back: u64,
        how: How,
        delay_ns: u64,
    },
    Confirm {
        sub: usize,
    },
    End {
        sub: usize,
        how: End,
    },
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Intact,
    Damaged,
    Broken,
    OtherRun,
    Unpublished,
    UnknownPublisher,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (subs, streams) = (0..SUBSCRIPTIONS, 0..streams().len());
    let how = prop_oneof![
        40 => Just(How::Intact),
        2 => Just(How::Damaged),
        1 => Just(How::Broken),
        1 => Just(How::OtherRun),
        1 => Just(How::Unpublished),
        1 => Just(How::UnknownPublisher),
    ];
    let back = prop_oneof![6 => Just(0_u64), 2 => 0..4_u64, 1 => 0..60_u64];
    let end = prop_oneof![Just(End::Died), Just(End::Unsubscribed)];
    let step = prop_oneof![
        30 => (streams.clone(), prop::bool::weighted(0.9)).prop_map(|(stream, acked)| Step::Publish { stream, acked }),
        60 => (subs.clone(), streams, back, how, 0..100_u64).prop_map(|(sub, stream, back, how, delay_ns)| {
            Step::Receive { sub, stream, back, how, delay_ns }
        }),
        4 => subs.clone().prop_map(|sub| Step::Confirm { sub }),
        1 => (subs, end).prop_map(|(sub, how)| Step::End { sub, how }),
        1 => Just(Step::Quiet),
    ];
    prop::collection::vec(step, 0..600)
}

/// Two channels; three streams on channel 0 and two on channel 1.
fn streams() -> Streams {
    Streams::new(CHANNELS, &[GroupShape { connections: 1 }, GroupShape { connections: 3 }])
}

/// One incarnation in the model: what it was owed, and what it received of it.
#[derive(Debug, Default)]
struct Life {
    owed: HashSet<(StreamId, u64)>,
    highest: HashMap<StreamId, u64>,
    ended: Option<End>,
    /// What was published when it ended.
    ended_at: HashMap<StreamId, u64>,
    lived_on: bool,
}

/// Everything that happened, one entry for each.
struct Model {
    streams: Arc<Streams>,
    ordered: bool,
    acked: HashMap<StreamId, Vec<bool>>,
    lives: Vec<Vec<Life>>,
    /// Intact first receipts: (subscription, stream, seq) → (incarnation, late).
    received: HashMap<(usize, StreamId, u64), (usize, bool)>,
    damaged: HashSet<(usize, StreamId, u64)>,
    receipts: HashMap<ReceiptClass, u64>,
    reordered: u64,
    obligations: u64,
}

fn channel_of(sub: usize) -> u32 {
    sub as u32 % CHANNELS
}

impl Model {
    fn is_live(&self, sub: usize) -> bool {
        self.lives[sub].last().is_some_and(|life| life.ended.is_none())
    }

    fn publish(&mut self, stream: StreamId, acked: bool) -> u64 {
        let all = self.acked.entry(stream).or_default();
        all.push(acked);
        let seq = all.len() as u64 - 1;
        let mut obligations = 0;
        for sub in 0..SUBSCRIPTIONS {
            if self.is_live(sub) && channel_of(sub) == self.streams.channel(stream) {
                self.lives[sub].last_mut().expect("it is live").owed.insert((stream, seq));
                obligations += 1;
            }
        }
        self.obligations += obligations;
        obligations
    }

    fn receive(&mut self, sub: usize, found: &Found, recv_ns: u64) -> ReceiptClass {
        let class = self.class_of(sub, found, recv_ns);
        *self.receipts.entry(class).or_default() += 1;
        class
    }

    fn class_of(&mut self, sub: usize, found: &Found, recv_ns: u64) -> ReceiptClass {
        let (token, intact) = match found {
            Found::Intact(token) => (token, true),
            Found::Damaged(token) => (token, false),
            Found::Broken => return ReceiptClass::Corrupted,
        };
        let stream = self.streams.all().find(|s| {
            self.streams.channel(*s) == token.channel && self.streams.publisher(*s) == token.publisher
        });
        let published = |stream: &StreamId| {
            token.run == RUN && self.acked.get(stream).is_some_and(|all| token.seq < all.len() as u64)
        };
        let stream = stream.filter(published);
        if !intact {
            if let Some(stream) = stream.filter(|_| token.channel == channel_of(sub)) {
                self.damaged.insert((sub, stream, token.seq));
            }
            return ReceiptClass::Corrupted;
        }
        let Some(stream) = stream else { return ReceiptClass::Phantom };
        if token.channel != channel_of(sub) {
            return ReceiptClass::Misrouted;
        }
        let ended = self.lives[sub].last().filter(|life| life.ended == Some(End::Unsubscribed));
        if ended.is_some_and(|life| token.seq >= life.ended_at.get(&stream).copied().unwrap_or(0)) {
            return ReceiptClass::AfterUnsubscribe;
        }
        let key = (sub, stream, token.seq);
        if self.received.contains_key(&key) {
            return ReceiptClass::Duplicated;
        }
        let late = recv_ns - token.due_ns > DEADLINE_NS;
        let later = self.received.keys().any(|(s, t, seq)| (*s, *t) == (sub, stream) && *seq > token.seq);
        self.reordered += u64::from(later);
        self.received.insert(key, (self.lives[sub].len(), late));
        if let Some(life) = self.lives[sub].last_mut().filter(|life| life.owed.contains(&(stream, token.seq)))
        {
            let highest = life.highest.entry(stream).or_default();
            *highest = (*highest).max(token.seq);
        }
        ReceiptClass::First
    }

    fn confirm(&mut self, sub: usize) {
        self.lives[sub].push(Life::default());
    }

    fn end(&mut self, sub: usize, how: End) {
        if self.is_live(sub) {
            let ended_at = self.acked.iter().map(|(stream, all)| (*stream, all.len() as u64)).collect();
            let life = self.lives[sub].last_mut().expect("it is live");
            (life.ended, life.ended_at) = (Some(how), ended_at);
        }
    }

    fn quiet(&mut self) {
        let live = self.lives.iter_mut().flatten().filter(|life| life.ended.is_none());
        live.for_each(|life| life.lived_on = true);
    }

    /// Every obligation with its group, phase and class.
    fn close(&mut self) -> HashMap<(usize, usize, Class), u64> {
        self.quiet();
        let mut classes = HashMap::new();
        for (sub, lives) in self.lives.iter().enumerate() {
            for (index, life) in lives.iter().enumerate() {
                for &(stream, seq) in &life.owed {
                    let later = life.highest.get(&stream).is_some_and(|highest| *highest > seq);
                    let class = match self.received.get(&(sub, stream, seq)) {
                        Some(&(lives, late)) if lives == index + 1 && late => Class::Late,
                        Some(&(lives, _)) if lives == index + 1 => Class::Delivered,
                        Some(_) => Class::Recovered,
                        None if self.damaged.contains(&(sub, stream, seq)) => Class::Damaged,
                        None if !self.acked[&stream][seq as usize] => Class::UnknownPublish,
                        None if later && self.ordered => Class::LostProven,
                        None if life.lived_on => Class::LostPresumed,
                        None => Class::Indeterminate,
                    };
                    *classes.entry((group_of(sub), phase_of(seq), class)).or_default() += 1;
                }
            }
        }
        classes
    }
}

fn group_of(sub: usize) -> usize {
    sub / 2
}

fn phase_of(seq: u64) -> usize {
    (seq / 5 % 3) as usize
}

fn due_ns(seq: u64) -> u64 {
    1_000 + seq
}

impl CloseFacts for Model {
    fn ordered(&self) -> bool {
        self.ordered
    }

    fn contract(&self) -> Contract {
        Contract::AtMostOnce
    }

    fn acknowledged(&self, stream: StreamId, seq: u64) -> bool {
        self.acked[&stream][seq as usize]
    }

    fn phase_of(&self, _: StreamId, seq: u64) -> usize {
        phase_of(seq)
    }

    fn due_ns(&self, _: StreamId, seq: u64) -> Option<u64> {
        Some(due_ns(seq))
    }
}

/// The ledger and the model, told the same.
struct Both {
    ledger: ShardLedger,
    model: Model,
    roster: Arc<Roster>,
    obligations: u64,
}

impl Both {
    fn new(ordered: bool) -> Self {
        let streams = Arc::new(streams());
        let roster = Arc::new(Roster::new(&streams));
        let config = Config {
            run: RUN,
            streams: Arc::clone(&streams),
            roster: Arc::clone(&roster),
            deadline_ns: DEADLINE_NS,
            groups: 2,
            phases: 3,
            gaps_max_bytes: 1 << 20,
            first_subscription: 0,
        };
        let shape = |sub| SubscriptionShape { channel: channel_of(sub), group: group_of(sub) as u16 };
        let shapes: Vec<_> = (0..SUBSCRIPTIONS).map(shape).collect();
        let model = Model {
            streams,
            ordered,
            acked: HashMap::new(),
            lives: (0..SUBSCRIPTIONS).map(|_| Vec::new()).collect(),
            received: HashMap::new(),
            damaged: HashSet::new(),
            receipts: HashMap::new(),
            reordered: 0,
            obligations: 0,
        };
        Self { ledger: ShardLedger::new(config, &shapes), model, roster, obligations: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { stream, acked } => {
                let stream = StreamId(stream as u32);
                let published = self.roster.publish(stream);
                assert_eq!(published.obligations, self.model.publish(stream, acked));
                self.obligations += published.obligations;
            }
            Step::Confirm { sub } if self.model.is_live(sub) => {}
            Step::Confirm { sub } => {
                self.ledger.confirm(sub);
                self.model.confirm(sub);
            }
            Step::End { sub, how } => {
                let live = self.ledger.is_live(sub);
                self.ledger.end(sub, how);
                self.ledger.leave(sub);
                if live && how == End::Unsubscribed {
                    self.ledger.unsubscribe_answered(sub);
                }
                self.model.end(sub, how);
            }
            Step::Quiet => {
                self.ledger.quiet_passed();
                self.model.quiet();
            }
            Step::Receive { sub, stream, back, how, delay_ns } => {
                let stream = StreamId(stream as u32);
                let published = self.roster.published(stream);
                let seq = match how {
                    How::Unpublished => published + back,
                    _ if published == 0 => return,
                    _ => (published - 1).saturating_sub(back),
                };
                self.receive(sub, stream, seq, how, delay_ns);
            }
        }
    }

    fn receive(&mut self, sub: usize, stream: StreamId, seq: u64, how: How, delay_ns: u64) {
        let streams = streams();
        let token = Token {
            run: if how == How::OtherRun { RUN + 1 } else { RUN },
            channel: streams.channel(stream),
            publisher: if how == How::UnknownPublisher { 99 } else { streams.publisher(stream) },
            epoch: 0,
            kind: Kind::Event,
            seq,
            due_ns: due_ns(seq),
            sent_ns: due_ns(seq),
        };
        let found = match how {
            How::Damaged => Found::Damaged(token),
            How::Broken => Found::Broken,
            _ => Found::Intact(token),
        };
        let recv_ns = token.due_ns + delay_ns;
        self.ledger.count_receipt(sub, phase_of(seq));
        let receipt = self.ledger.receive(sub, &found, recv_ns, phase_of(seq));
        assert_eq!(receipt.class(), self.model.receive(sub, &found, recv_ns));
        if let Receipt::First { late, .. } = receipt {
            assert_eq!(late, delay_ns > DEADLINE_NS);
        }
    }

    fn close(mut self) -> (Totals, Model, u64) {
        let classes = self.model.close();
        let totals = self.ledger.close(&self.model);
        for group in 0..2 {
            for phase in 0..3 {
                for class in Class::ALL {
                    let expected = classes.get(&(group, phase, class)).copied().unwrap_or(0);
                    assert_eq!(totals.at(group, phase).of(class), expected, "{group} {phase} {class:?}");
                }
            }
        }
        assert!(streams().all().all(|stream| self.roster.enrolled(stream) == 0));
        (totals, self.model, self.obligations)
    }
}

proptest! {
    #[test]
    fn the_ledger_remembers_what_the_model_does(steps in steps(), ordered: bool) {
        let mut both = Both::new(ordered);
        steps.iter().for_each(|step| both.step(step));
        let (totals, model, obligations) = both.close();
        let all: Counts = totals.all();
        for class in ReceiptClass::ALL {
            prop_assert_eq!(all.receipts_of(class), model.receipts.get(&class).copied().unwrap_or(0));
        }
        prop_assert_eq!(all.reordered, model.reordered);
        prop_assert_eq!(obligations, model.obligations);
        prop_assert_eq!(totals.lost_by_due.values().sum::<u64>(), all.lost(Contract::AtMostOnce));
        prop_assert_eq!(sums(&all, totals.receipts(), obligations), Ok(()));
    }
}
