//! Predicted delays: by hand where they are simple, else against a simulation that moves messages one by one.

use std::collections::VecDeque;

use super::*;
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{Aim, Fault, How, LinkDelay, Stagger, Terminate};

const MS: u64 = 1_000_000;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn uniform(low: u64, high: u64) -> Delay {
    Delay::Uniform { low: ms(low), high: ms(high) }
}

fn plan(publishers: &str) -> Plan {
    let file = format!(
        r#"[scenarios.a]
        about = "x"
        channels = 3
        phases = [{{ name = "control" }}, {{ name = "slow" }}]
        subscribers.clients = {{ connections = 7, subscriptions = 14 }}
        subscribers.others = {{ connections = 3 }}
        publishers.feed = {publishers}
        "#
    );
    let catalogue = Catalogue::from_text(Some(("a.toml", &file))).expect("a good file");
    catalogue.plan(&["a"], &Options::default()).expect("a good plan").plans.remove(0)
}

/// A fault in the second phase on so many connections of a group.
fn fault(name: &str, group: Crew, count: u32, kind: FaultKind) -> Fault {
    Fault {
        name: name.to_owned(),
        on: vec![Aim::Group { group, count }],
        parts: vec![Part::Phase(1)],
        start: Duration::ZERO,
        length: None,
        stagger: Stagger::Together,
        kind,
        operations: None,
    }
}

const FEED: Crew = Crew::Publishers(0);
const CLIENTS: Crew = Crew::Subscribers(0);
const OTHERS: Crew = Crew::Subscribers(1);

fn up(delay: Delay) -> FaultKind {
    FaultKind::LinkDelay(LinkDelay { up: Some(delay), down: None, buffer: 1 << 20 })
}

fn down(delay: Delay) -> FaultKind {
    FaultKind::LinkDelay(LinkDelay { up: None, down: Some(delay), buffer: 1 << 20 })
}

fn with(publishers: &str, faults: Vec<Fault>) -> Plan {
    Plan { faults, ..plan(publishers) }
}

fn near(predicted: &BTreeMap<String, f64>, key: &str, expected: f64) {
    let value = predicted.get(key).copied();
    assert!(value.is_some_and(|v| (v - expected).abs() < 1e-6), "{key}: {value:?}, expected {expected}");
}

/// A conveyor: what was put on first leaves first.
#[derive(Default)]
struct Belt {
    waiting: VecDeque<(u64, usize)>,
    number: u64,
}

impl Belt {
    fn put(&mut self, now: u64, message: usize, delays: &[(Draws, Delay)]) {
        let delay: u64 =
            delays.iter().map(|(draws, delay)| draws.delay(*delay, self.number).as_nanos() as u64).sum();
        self.number += 1;
        self.waiting.push_back((now + delay, message));
    }

    fn take(&mut self, now: u64) -> Option<usize> {
        self.waiting.front().filter(|(ready, _)| *ready <= now)?;
        self.waiting.pop_front().map(|(_, message)| message)
    }

    fn next(&self) -> Option<u64> {
        self.waiting.front().map(|(ready, _)| *ready)
    }
}

/// One publishing connection of the simulation.
#[derive(Default)]
struct Seat {
    queue: VecDeque<usize>,
    up: Belt,
    acks: Belt,
    /// When the event that it thinks about is sent.
    thinking: Option<(u64, usize)>,
    thoughts: u64,
    /// Since when it may begin with the next event; `None`: it waits for an acknowledgement.
    free_at: Option<u64>,
    last_sent: u64,
}

/// The second phase, walked through from moment to moment.
struct World<'a> {
    plan: &'a Plan,
    /// Number of the first event among those of its group.
    first: usize,
    /// ns between two events that are due; `None`: a closed loop.
    every: Option<u64>,
    seats: Vec<Seat>,
    downs: Vec<Belt>,
    due: Vec<u64>,
    sent: Vec<u64>,
    /// `(connection, due to received, sent to received)`, ns.
    taken: Vec<(u32, u64, u64)>,
    now: u64,
}

impl<'a> World<'a> {
    fn new(plan: &'a Plan, first: usize, count: usize, every: Option<u64>) -> Self {
        let publishers = plan.publishers[0].connections as usize;
        let of = |p: usize| {
            (0..count).filter(move |n| (first + n) % publishers.max(3) % publishers == p).collect()
        };
        let seat = |p| Seat { queue: of(p), free_at: Some(0), ..Seat::default() };
        Self {
            plan,
            first,
            every,
            seats: (0..publishers).map(seat).collect(),
            downs: (0..10).map(|_| Belt::default()).collect(),
            due: vec![0; count],
            sent: vec![0; count],
            taken: Vec::new(),
            now: 0,
        }
    }

    fn lane(&self, connection: usize, lane: Lane) -> Vec<(Draws, Delay)> {
        let schedule = self.plan.schedule();
        let of = |act: &Act| {
            let delay = match (&self.plan.faults[act.fault].kind, lane) {
                (FaultKind::ThinkTime(delay), Lane::Think) => Some(*delay),
                (FaultKind::LinkDelay(link), Lane::Up) => link.up,
                (FaultKind::LinkDelay(link), Lane::Down) => link.down,
                _ => None,
            };
            delay.map(|delay| (schedule.delays(act.fault, act.connection, lane), delay))
        };
        schedule.acts_of(connection as u32).iter().filter_map(of).collect()
    }

    fn run(mut self) -> (Vec<(u32, u64, u64)>, Vec<u64>) {
        loop {
            while (0..self.seats.len())
                .any(|p| self.begin(p) || self.send(p) || self.arrive(p) || self.ack(p))
            {}
            self.receive();
            let seats = || self.seats.iter();
            let belts =
                seats().flat_map(|seat| [&seat.up, &seat.acks]).chain(&self.downs).filter_map(Belt::next);
            let thoughts = seats().filter_map(|seat| Some(seat.thinking?.0));
            let dues = seats().filter_map(|seat| Some(*seat.queue.front()? as u64 * self.every?));
            match belts.chain(thoughts).chain(dues).filter(|at| *at > self.now).min() {
                Some(next) => self.now = next,
                None => return (self.taken, self.sent),
            }
        }
    }

    /// It begins to think about its next event; so with each: whether anything happened.
    fn begin(&mut self, p: usize) -> bool {
        let think = self.lane(10 + p, Lane::Think);
        let seat = &mut self.seats[p];
        let (Some(n), Some(free_at), None) = (seat.queue.front().copied(), seat.free_at, seat.thinking)
        else {
            return false;
        };
        let due = self.every.map_or(free_at, |every| n as u64 * every);
        if due > self.now {
            return false;
        }
        seat.queue.pop_front();
        let thought = |(draws, delay): &(Draws, Delay)| draws.delay(*delay, seat.thoughts).as_nanos() as u64;
        let thought: u64 = think.iter().map(thought).sum();
        seat.thoughts += 1;
        seat.thinking = Some((due.max(seat.last_sent) + thought, n));
        self.due[n] = due;
        true
    }

    fn send(&mut self, p: usize) -> bool {
        let up = self.lane(10 + p, Lane::Up);
        let (now, seat) = (self.now, &mut self.seats[p]);
        let Some((at, n)) = seat.thinking.filter(|(at, _)| *at <= now) else { return false };
        seat.thinking = None;
        (self.sent[n], seat.last_sent) = (now, at);
        seat.up.put(now, n, &up);
        // In a closed loop only the acknowledgement frees it.
        seat.free_at = self.every.map(|_| now);
        true
    }

    /// The server passes it on to everyone, and acknowledges it.
    fn arrive(&mut self, p: usize) -> bool {
        let Some(n) = self.seats[p].up.take(self.now) else { return false };
        let down = self.lane(10 + p, Lane::Down);
        self.seats[p].acks.put(self.now, n, &down);
        let channel = (self.first + n) % self.seats.len().max(3) % 3;
        for subscription in (0..17).filter(|s| s % 3 == channel) {
            let connection = if subscription < 14 { subscription / 2 } else { subscription - 7 };
            let down = self.lane(connection, Lane::Down);
            self.downs[connection].put(self.now, n, &down);
        }
        true
    }

    fn ack(&mut self, p: usize) -> bool {
        let acked = self.seats[p].acks.take(self.now).is_some();
        if acked {
            self.seats[p].free_at = Some(self.now);
        }
        acked
    }

    fn receive(&mut self) {
        for (connection, belt) in self.downs.iter_mut().enumerate() {
            while let Some(n) = belt.take(self.now) {
                self.taken.push((connection as u32, self.now - self.due[n], self.now - self.sent[n]));
            }
        }
    }
}

/// Every figure of every subject, counted out of the simulated deliveries.
fn agrees(plan: &Plan, first: usize, count: usize, every: Option<u64>) {
    let predicted = plan.predict();
    let schedule = plan.schedule();
    let (taken, sent) = World::new(plan, first, count, every).run();
    let subjects: [(&str, &dyn Fn(u32) -> bool); 5] = [
        ("", &|_| true),
        ("clients.", &|connection| connection < 7),
        ("others.", &|connection| connection >= 7),
        ("victims.", &|connection| schedule.is_victim(connection)),
        ("bystanders.", &|connection| !schedule.is_victim(connection)),
    ];
    for (subject, of) in subjects {
        for (metric, from_due) in [("deliver", true), ("deliver_from_sent", false)] {
            let values: Vec<u64> = taken
                .iter()
                .filter(|(connection, ..)| of(*connection))
                .map(|(_, due, sent)| if from_due { *due } else { *sent })
                .collect();
            if values.is_empty() {
                assert!(!predicted.keys().any(|key| key.starts_with(&format!("{subject}latency."))));
                continue;
            }
            let rank = |share: f64| {
                let enough =
                    |v: &u64| values.iter().filter(|o| *o <= v).count() as f64 >= share * values.len() as f64;
                values.iter().copied().filter(enough).min().unwrap() as f64 / 1e9
            };
            let key = |figure: &str| format!("{subject}latency.{metric}.{figure} in slow");
            if rank(1.0) == 0.0 {
                assert_eq!(predicted.get(&key("max")), None, "{subject}{metric} is not delayed");
                continue;
            }
            near(&predicted, &key("p50"), rank(0.5));
            near(&predicted, &key("p90"), rank(0.9));
            near(&predicted, &key("p99"), rank(0.99));
            near(&predicted, &key("max"), rank(1.0));
            near(&predicted, &key("iqr"), rank(0.75) - rank(0.25));
            near(&predicted, &key("mean"), values.iter().sum::<u64>() as f64 / 1e9 / values.len() as f64);
        }
    }
    let (first, last) = (*sent.iter().min().unwrap(), *sent.iter().max().unwrap());
    near(&predicted, "published.rate in slow", (count - 1) as f64 / ((last - first) as f64 / 1e9));
}

/// 40 events per second of two connections.
const OPEN: &str = r#"{ connections = 2, rate = "40/s", events = 60 }"#;
/// Five connections, four events each in a phase.
const CLOSED: &str = r#"{ connections = 5, rate = "one-by-one", events = 20 }"#;

#[test]
fn delays_on_both_ways_agree_with_a_simulation() {
    let faults = vec![
        fault("publish", FEED, 2, up(uniform(50, 500))),
        fault("receive", CLIENTS, 4, down(uniform(50, 500))),
        fault("twice", CLIENTS, 7, down(Delay::Normal { mean: ms(30), deviation: ms(20) })),
    ];
    agrees(&with(OPEN, faults.clone()), 60, 60, Some(25 * MS));
    // Part of the publishers only.
    let some = vec![fault("publish", FEED, 1, up(uniform(50, 500))), faults[1].clone()];
    agrees(&with(OPEN, some), 60, 60, Some(25 * MS));
}

#[test]
fn thinking_agrees_with_a_simulation() {
    let think = |delay| fault("think", FEED, 2, FaultKind::ThinkTime(delay));
    agrees(&with(OPEN, vec![think(uniform(10, 90))]), 60, 60, Some(25 * MS));
    let all = fault("think", FEED, 5, FaultKind::ThinkTime(uniform(100, 900)));
    agrees(&with(CLOSED, vec![all.clone()]), 20, 20, None);
    let both_ways = LinkDelay { up: Some(uniform(20, 80)), down: Some(uniform(5, 300)), buffer: 1 << 20 };
    let link = fault("link", FEED, 5, FaultKind::LinkDelay(both_ways));
    agrees(
        &with(CLOSED, vec![all, link.clone(), fault("receive", OTHERS, 3, down(uniform(1, 9)))]),
        20,
        20,
        None,
    );
    agrees(&with(CLOSED, vec![link]), 20, 20, None);
}

#[test]
fn fixed_delays_add_up() {
    let faults = vec![
        fault("publish", FEED, 2, up(Delay::Fixed(ms(100)))),
        fault("receive", CLIENTS, 7, down(Delay::Fixed(ms(200)))),
    ];
    let predicted = with(OPEN, faults).predict();
    near(&predicted, "clients.latency.deliver.p50 in slow", 0.3);
    near(&predicted, "clients.latency.deliver_from_sent.max in slow", 0.3);
    near(&predicted, "bystanders.latency.deliver.min in slow", 0.1);
    near(&predicted, "victims.latency.deliver.mean in slow", 0.3);
    // 14 of 17 subscriptions are delayed twice.
    near(&predicted, "latency.deliver.p50 in slow", 0.3);
    near(&predicted, "published.rate in slow", 40.0);
    for absent in
        ["latency.deliver.p50 in control", "clients.latency.deliver.iqr in slow", "latency.deliver.p50"]
    {
        assert_eq!(predicted.get(absent), None, "{absent}");
    }
    // A fault that takes nothing away leaves every delivery known.
    near(&predicted, "ledger.delivered in slow", predicted["ledger.obligations in slow"]);
    near(&predicted, "victims.ledger.delivered in slow", 14.0 * 60.0 / 3.0);
    near(&predicted, "bystanders.ledger.delivered in slow", 3.0 * 60.0 / 3.0);
}

#[test]
fn a_closed_loop_is_as_fast_as_it_thinks() {
    // Each of five connections publishes at 1 s, 2 s, 3 s and 4 s: 19 intervals between 20 events in 3 s.
    let think = fault("think", FEED, 5, FaultKind::ThinkTime(Delay::Fixed(ms(1_000))));
    let predicted = with(CLOSED, vec![think.clone()]).predict();
    near(&predicted, "published.rate in slow", 19.0 / 3.0);
    near(&predicted, "latency.deliver.p50 in slow", 1.0);
    assert_eq!(predicted.get("latency.deliver_from_sent.p50 in slow"), None, "the server takes no time");
    near(&predicted, "duration in slow", 4.0);
    assert_eq!(predicted.get("duration in control"), None, "as fast as the server");
    assert_eq!(predicted.get("published.rate in control"), None, "as fast as the server");
    // One that does not think publishes as fast as the server lets it, and with it the group.
    let some = Fault { on: vec![Aim::Group { group: FEED, count: 4 }], ..think };
    let predicted = with(CLOSED, vec![some]).predict();
    assert!(!predicted.keys().any(|key| key.contains("latency.") || key.starts_with("published.rate")));
}

#[test]
fn what_is_behind_is_not_released_before_what_is_in_front() {
    let mut plan = with(OPEN, vec![fault("publish", FEED, 2, up(uniform(0, 2_000)))]);
    plan.publishers[0].connections = 1;
    plan.publishers[0].events = Some(3);
    plan.faults[0].on = vec![Aim::Group { group: FEED, count: 1 }];
    plan.subscribers[1].connections = 1;
    plan.subscribers[1].subscriptions = 1;
    let schedule = plan.schedule();
    let draws = schedule.delays(0, schedule.first_of(FEED), Lane::Up);
    let drawn: Vec<f64> = (0..3).map(|n| draws.delay(uniform(0, 2_000), n).as_secs_f64()).collect();
    let first = drawn[0];
    let second = (0.025 + drawn[1]).max(first);
    let third = (0.05 + drawn[2]).max(second);
    let slowest = [first, second - 0.025, third - 0.05].into_iter().fold(0.0, f64::max);
    near(&plan.predict(), "latency.deliver.max in slow", slowest);
    let quickest = [first, second - 0.025, third - 0.05].into_iter().fold(f64::MAX, f64::min);
    near(&plan.predict(), "latency.deliver.min in slow", quickest);
}

#[test]
fn a_run_of_one_phase_is_that_phase() {
    let mut plan = with(OPEN, vec![fault("publish", FEED, 2, up(uniform(50, 500)))]);
    plan.phases.remove(0);
    plan.publishers[0].phases = vec![0];
    plan.faults[0].parts = vec![Part::Phase(0)];
    let predicted = plan.predict();
    for key in ["latency.deliver.p50", "bystanders.latency.deliver_from_sent.iqr"] {
        assert_eq!(predicted[key], predicted[&format!("{key} in slow")], "{key}");
    }
}

#[test]
fn what_does_not_decide_a_whole_phase_is_not_predicted() {
    let whole = fault("receive", CLIENTS, 4, down(uniform(50, 500)));
    let latencies = |plan: &Plan| plan.predict().keys().filter(|key| key.contains("latency.")).count();
    let with_fault = |fault: Fault| latencies(&with(OPEN, vec![fault]));
    assert!(with_fault(whole.clone()) > 0);
    let late = Fault { start: ms(1), ..whole.clone() };
    let short = Fault { length: Some(ms(500)), ..whole.clone() };
    let one_by_one = Fault { stagger: Stagger::Linear(ms(100)), ..whole.clone() };
    for fault in [late, short, one_by_one] {
        assert_eq!(with_fault(fault.clone()), 0, "{fault:?}");
    }
    let long = Fault { length: Some(ms(500)), ..whole.clone() };
    let mut plan = with(OPEN, vec![long]);
    plan.phases[1].length = Some(ms(500));
    assert!(latencies(&plan) > 0, "as long as the phase");
    // Whoever is cut misses what the others get, in that phase and from then on.
    let cut = |phase| Fault {
        parts: vec![Part::Phase(phase)],
        ..fault("cut", OTHERS, 1, FaultKind::Terminate(Terminate { how: How::Reset, at: Vec::new() }))
    };
    assert_eq!(latencies(&with(OPEN, vec![whole.clone(), cut(0)])), 0);
    assert_eq!(latencies(&with(OPEN, vec![whole.clone(), cut(1)])), 0);
    let batched = r#"{ connections = 2, rate = "40/s", events = 60, batch = 5 }"#;
    assert!(latencies(&with(batched, vec![whole.clone()])) > 0);
    assert_eq!(
        latencies(&with(batched, vec![fault("publish", FEED, 2, up(uniform(1, 9)))])),
        0,
        "flushed together"
    );
    let mut many = with(r#"{ rate = "1000000/s", events = 400_000 }"#, vec![whole]);
    assert_eq!(latencies(&many), 0, "too many to work out");
    many.publishers[0].events = Some(100);
    assert!(latencies(&many) > 0);
}

#[test]
fn faults_on_publishers_leave_open_what_is_accepted() {
    let cut = FaultKind::Terminate(Terminate { how: How::Reset, at: Vec::new() });
    let predicted = with(OPEN, vec![fault("cut", FEED, 1, cut)]).predict();
    for known in [
        "published.sent in slow",
        "ledger.obligations in slow",
        "published.acked in control",
        "ledger.delivered in control",
    ] {
        assert!(predicted.contains_key(known), "{known}");
    }
    for open in [
        "published.acked in slow",
        "published.acked",
        "ledger.delivered in slow",
        "clients.ledger.delivered",
        "bystanders.ledger.delivered in slow",
    ] {
        assert_eq!(predicted.get(open), None, "{open}");
    }
}
