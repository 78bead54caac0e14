//! The shard's ledger against a model that remembers every single thing that happened, with the step at which it did,
//! and decides by looking through those lists. No books, no marks, no words of atomics.

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;
use stressctl::ledger::audit::Config;
use stressctl::ledger::{
    Class, CloseFacts, Counts, End, Found, GroupShape, Kind, Receipt, ReceiptClass, Roster, ShardLedger,
    StreamId, Streams, SubscriptionShape, Token, Totals, sums,
};
use stressctl::scenarios::target::Contract;

#[path = "ledger_model/model.rs"]
mod model;

use model::Model;

const RUN: u32 = 9;
const DEADLINE_NS: u64 = 50;
const CHANNELS: u32 = 2;
const SUBSCRIPTIONS: usize = 4;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A publisher publishes; whether it will ever be acknowledged.
    Publish {
        stream: usize,
        acked: bool,
    },
    /// So many publishes of a stream are acknowledged or given up, after some older ones that still wait.
    Settle {
        stream: usize,
        passed_over: usize,
        count: usize,
    },
    /// A publisher connects again.
    Epoch {
        publisher: u32,
    },
    /// A subscription receives something about an event of a stream, counted back from the newest.
    Receive {
        sub: usize,
        stream: usize,
        back: u64,
        how: How,
        delay_ns: u64,
        /// Under the operation of an earlier cycle.
        earlier: bool,
    },
    /// A subscription receives a barrier.
    Barrier {
        sub: usize,
        stream: usize,
        how: How,
    },
    /// A subscribe was flushed, that many steps before it is noted.
    Subscribed {
        sub: usize,
        ago: u64,
    },
    Confirm {
        sub: usize,
    },
    End {
        sub: usize,
        how: End,
    },
    Leave {
        sub: usize,
    },
    /// The connection is cut after an unsubscribe that nothing answered.
    CutBehind {
        sub: usize,
    },
    Answered {
        sub: usize,
    },
    /// Barriers are no longer waited for.
    GiveUp {
        sub: usize,
    },
    Quiet,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum How {
    Intact,
    Damaged,
    Broken,
    OtherRun,
    OtherEpoch,
    Unpublished,
    UnknownPublisher,
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        40 => Just(How::Intact),
        2 => Just(How::Damaged),
        1 => Just(How::Broken),
        1 => Just(How::OtherRun),
        1 => Just(How::OtherEpoch),
        1 => Just(How::Unpublished),
        1 => Just(How::UnknownPublisher),
    ]
}

fn receive() -> impl Strategy<Value = Step> {
    let back = prop_oneof![6 => Just(0_u64), 2 => 0..4_u64, 1 => 0..60_u64];
    let earlier = prop::bool::weighted(0.2);
    (0..SUBSCRIPTIONS, 0..streams().len(), back, how(), 0..100_u64, earlier).prop_map(
        |(sub, stream, back, how, delay_ns, earlier)| Step::Receive {
            sub,
            stream,
            back,
            how,
            delay_ns,
            earlier,
        },
    )
}

fn life() -> impl Strategy<Value = Step> {
    let subs = || 0..SUBSCRIPTIONS;
    let end = prop_oneof![3 => Just(End::Died), 3 => Just(End::Cut), 1 => Just(End::Unsubscribed), 3 => Just(End::Left)];
    prop_oneof![
        6 => (subs(), prop_oneof![Just(0), 0..9_u64]).prop_map(|(sub, ago)| Step::Subscribed { sub, ago }),
        8 => subs().prop_map(|sub| Step::Confirm { sub }),
        5 => (subs(), end).prop_map(|(sub, how)| Step::End { sub, how }),
        1 => subs().prop_map(|sub| Step::Leave { sub }),
        2 => subs().prop_map(|sub| Step::CutBehind { sub }),
        1 => subs().prop_map(|sub| Step::Answered { sub }),
    ]
}

/// What happens while there is load.
fn load() -> impl Strategy<Value = Vec<Step>> {
    let stream = || 0..streams().len();
    let passed_over = prop_oneof![3 => Just(0_usize), 1 => 1..4_usize];
    let step = prop_oneof![
        30 => (stream(), prop::bool::weighted(0.9)).prop_map(|(stream, acked)| Step::Publish { stream, acked }),
        15 => (stream(), passed_over, 0..6_usize)
            .prop_map(|(stream, passed_over, count)| Step::Settle { stream, passed_over, count }),
        60 => receive(),
        8 => life(),
        1 => (0..4_u32).prop_map(|publisher| Step::Epoch { publisher }),
        1 => Just(Step::Quiet),
    ];
    prop::collection::vec(step, 0..400)
}

/// What happens when nothing is published any more.
fn finish() -> impl Strategy<Value = Vec<Step>> {
    let subs = || 0..SUBSCRIPTIONS;
    let barrier = (subs(), 0..streams().len(), how());
    let step = prop_oneof![
        30 => receive(),
        30 => barrier.prop_map(|(sub, stream, how)| Step::Barrier { sub, stream, how }),
        5 => life(),
        3 => subs().prop_map(|sub| Step::GiveUp { sub }),
        2 => Just(Step::Quiet),
    ];
    prop::collection::vec(step, 0..60)
}

/// Two channels; three streams on channel 0 and two on channel 1.
fn streams() -> Streams {
    Streams::new(CHANNELS, &[GroupShape { connections: 1 }, GroupShape { connections: 3 }])
}

fn channel_of(sub: usize) -> u32 {
    sub as u32 % CHANNELS
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
        self.event(stream, seq).is_some_and(model::Event::is_acked)
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
        Self { ledger: ShardLedger::new(config, &shapes), model: Model::new(ordered), roster, obligations: 0 }
    }

    fn step(&mut self, step: &Step) {
        self.model.now += 1;
        match *step {
            Step::Publish { stream, acked } => {
                let stream = StreamId(stream as u32);
                let published = self.roster.publish(stream);
                assert_eq!(published.obligations, self.model.publish(stream, acked));
                self.obligations += published.obligations;
            }
            Step::Settle { stream, passed_over, count } => {
                let stream = StreamId(stream as u32);
                let settled = self.model.settle(stream, passed_over, count);
                settled.into_iter().for_each(|seq| self.roster.settle(stream, seq));
            }
            Step::Epoch { publisher } => {
                let number = self.roster.begin_epoch(&streams(), publisher);
                assert_eq!(number, self.model.begin_epoch(publisher));
            }
            Step::Subscribed { sub, ago } => {
                let flushed = self.model.now.saturating_sub(ago);
                self.ledger.subscribed_at(sub, flushed);
                self.model.subscribed(sub, flushed);
            }
            Step::Confirm { sub } if self.model.is_live(sub) => {}
            Step::Confirm { sub } => {
                self.ledger.confirm(sub);
                self.model.confirm(sub);
            }
            Step::End { sub, how } => {
                self.ledger.end(sub, how);
                self.model.end(sub, how);
            }
            Step::Leave { sub } => {
                self.ledger.leave(sub);
                self.model.leave(sub);
            }
            Step::CutBehind { sub } => {
                self.ledger.cut_behind(sub);
                self.model.cut_behind(sub);
            }
            Step::Answered { sub } => {
                self.ledger.unsubscribe_answered(sub);
                self.model.answered(sub);
            }
            Step::Quiet => {
                self.ledger.quiet_passed();
                self.model.quiet();
            }
            Step::GiveUp { sub } => {
                assert_eq!(self.ledger.give_up_barriers(sub), self.model.give_up(sub));
            }
            Step::Receive { sub, stream, back, how, delay_ns, earlier } => {
                let stream = StreamId(stream as u32);
                let published = self.roster.published(stream);
                let seq = match how {
                    How::Unpublished => published + back,
                    _ if published == 0 => return,
                    _ => (published - 1).saturating_sub(back),
                };
                self.receive(sub, &self.token(stream, seq, how, Kind::Event), how, delay_ns, earlier);
            }
            Step::Barrier { sub, stream, how } => self.barrier(sub, stream, how),
        }
        // The model looks at everything for it.
        if self.model.now.is_multiple_of(16) {
            assert_eq!(self.ledger.count_outstanding(), self.model.count_outstanding());
        }
    }

    fn token(&self, stream: StreamId, seq: u64, how: How, kind: Kind) -> Token {
        let streams = streams();
        let epoch =
            self.model.event(stream, seq).map_or_else(|| self.model.epoch(stream), |event| event.epoch);
        Token {
            run: if how == How::OtherRun { RUN + 1 } else { RUN },
            channel: streams.channel(stream),
            publisher: if how == How::UnknownPublisher { 99 } else { streams.publisher(stream) },
            epoch: if how == How::OtherEpoch { epoch ^ 1 } else { epoch },
            kind,
            seq,
            due_ns: due_ns(seq),
            sent_ns: self.model.event(stream, seq).map_or(0, |event| event.sent_at),
        }
    }

    fn receive(&mut self, sub: usize, token: &Token, how: How, delay_ns: u64, earlier: bool) {
        let found = match how {
            How::Damaged => Found::Damaged(*token),
            How::Broken => Found::Broken,
            _ => Found::Intact(*token),
        };
        let (recv_ns, phase) = (token.due_ns + delay_ns, phase_of(token.seq));
        self.ledger.count_receipt(sub, phase);
        let receipt = self.ledger.receive_under(sub, &found, recv_ns, phase, earlier);
        let expected = self.model.receive(sub, &found, delay_ns > DEADLINE_NS, earlier);
        assert_eq!(receipt.class(), expected, "{token:?}");
        if let Receipt::First { late, owed, .. } = receipt {
            assert_eq!(late, delay_ns > DEADLINE_NS);
            assert_eq!(owed, self.model.is_owed(sub, token));
        }
    }

    fn barrier(&mut self, sub: usize, stream: usize, how: How) {
        let stream = StreamId(stream as u32);
        let token = self.token(stream, self.roster.published(stream), how, Kind::Barrier);
        let seq =
            token.seq - u64::from(how == How::Damaged).min(token.seq) + u64::from(how == How::Unpublished);
        let token = Token { seq, ..token };
        assert_eq!(self.ledger.barrier(sub, &token), self.model.barrier(sub, &token));
    }

    fn await_barriers(&mut self) {
        self.model.now += 1;
        for sub in 0..SUBSCRIPTIONS {
            assert_eq!(self.ledger.await_barriers(sub), self.model.await_barriers(sub));
        }
    }

    fn close(mut self) -> (Totals, Model, u64) {
        self.model.now += 1;
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
    fn the_ledger_remembers_what_the_model_does(load in load(), finish in finish(), ordered: bool) {
        let mut both = Both::new(ordered);
        load.iter().for_each(|step| both.step(step));
        both.await_barriers();
        finish.iter().for_each(|step| both.step(step));
        for stream in 0..streams().len() {
            both.step(&Step::Settle { stream, passed_over: 0, count: usize::MAX });
        }
        let (totals, model, obligations) = both.close();
        let all: Counts = totals.all();
        for class in ReceiptClass::ALL {
            prop_assert_eq!(all.receipts_of(class), model.receipts.get(&class).copied().unwrap_or(0));
        }
        prop_assert_eq!((all.reordered, all.unowed), (model.reordered, model.count_unowed()));
        prop_assert_eq!(obligations, model.owed.len() as u64);
        prop_assert_eq!(totals.lost_by_due.values().sum::<u64>(), all.lost(Contract::AtMostOnce));
        prop_assert_eq!(sums(&all, totals.receipts(), obligations), Ok(()));
    }
}

/// A model that never comes to a class would agree about it with anything.
#[test]
fn the_histories_reach_every_class() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let (mut classes, mut receipts) = (HashMap::<Class, u64>::new(), HashMap::<ReceiptClass, u64>::new());
    for case in 0..200 {
        let mut tree = |strategy: &dyn Fn(&mut TestRunner) -> Vec<Step>| strategy(&mut runner);
        let load = tree(&|runner| load().new_tree(runner).expect("nothing is refused").current());
        let finish = tree(&|runner| finish().new_tree(runner).expect("nothing is refused").current());
        let mut both = Both::new(case % 2 == 0);
        load.iter().for_each(|step| both.step(step));
        both.await_barriers();
        finish.iter().for_each(|step| both.step(step));
        (0..streams().len())
            .for_each(|stream| both.step(&Step::Settle { stream, passed_over: 0, count: usize::MAX }));
        let (totals, ..) = both.close();
        Class::ALL.iter().for_each(|class| *classes.entry(*class).or_default() += totals.all().of(*class));
        for class in ReceiptClass::ALL {
            *receipts.entry(class).or_default() += totals.all().receipts_of(class);
        }
    }
    // Memory is ample here; the tests of the book take it away.
    for class in Class::ALL.into_iter().filter(|class| *class != Class::Unverified) {
        assert!(classes[&class] >= 20, "{class:?} {}", classes[&class]);
    }
    for class in ReceiptClass::ALL.into_iter().filter(|class| *class != ReceiptClass::Unverified) {
        assert!(receipts[&class] >= 20, "{class:?} {}", receipts[&class]);
    }
}
