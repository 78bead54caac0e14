//! Plans and what they take.

use indexmap::IndexMap;

use super::*;
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{
    Aim, Crew, Direction, Fault, FaultKind, Part, Phase, Reconnect, Stagger, SubscriberGroup, Timeouts,
    WhenBehind,
};
use crate::scenarios::target::{Contract, Limits, Operation, Protocol, Publish, Target};

/// `connections` subscribers on as many channels, one publisher of 200-byte events.
pub(crate) fn plan(connections: u32) -> Plan {
    let operation = Operation {
        query: String::new(),
        operation_name: None,
        variables: serde_json::Map::new(),
        payload_at: Vec::new(),
    };
    let second = Duration::from_secs(1);
    Plan {
        name: "mine".into(),
        about: String::new(),
        seed: 1,
        scale: 1.0,
        hash: String::new(),
        rounds: 1,
        time_scale: 1.0,
        channels: connections,
        subscribers: vec![clients(connections, second)],
        publishers: vec![PublisherGroup {
            name: "feed".into(),
            connections: 1,
            pace: Pace::Open(100.0),
            events: None,
            climb: None,
            payload: 200,
            batch: 1,
            phases: vec![0],
            when_behind: WhenBehind::CatchUp,
        }],
        faults: Vec::new(),
        phases: vec![Phase { name: "main".into(), length: Some(second * 60) }],
        deadline: second,
        timeouts: Timeouts {
            connect: second,
            upgrade: second,
            init: second,
            confirm: second,
            operation: second,
            settle: second,
            drain: second,
            quiet: second * 2,
            cool_down: second * 2,
        },
        expect: Vec::new(),
        reached: Vec::new(),
        abort_if: Vec::new(),
        target: Target {
            name: None,
            url: None,
            protocol: Protocol::GraphqlTransportWs,
            contract: Contract::AtMostOnce,
            ordered: true,
            confirmed: false,
            headers: IndexMap::new(),
            init: None,
            limits: Limits::default(),
            subscribe: operation.clone(),
            publish: Publish::WebSocket(operation),
            statistics: None,
        },
        changes: Vec::new(),
        resolved: serde_json::Value::Null,
    }
}

#[test]
fn counts_are_exact() {
    let needs = Needs::of(&plan(10_000), true, 1);
    assert_eq!(
        (needs.connections, needs.files, needs.ports, needs.events, needs.deliveries),
        (10_002, 10_130, 10_002, 6_000, 6_000)
    );
    assert_eq!(needs.traffic_bytes, 6_000 * 200 * 2);
}

#[test]
fn fan_out_rounds_and_phases_multiply() {
    let mut plan = plan(100);
    plan.channels = 1;
    plan.rounds = 2;
    plan.phases.push(Phase { name: "more".into(), length: None });
    plan.publishers[0].phases = vec![0, 1];
    plan.publishers[0].events = Some(1_000);
    let needs = Needs::of(&plan, false, 1);
    assert_eq!((needs.events, needs.deliveries), (4_000, 400_000));
    assert_eq!(needs.traffic_bytes, 4_000 * 200 * 101);
    // Each round: 60 s of the first phase, 10 s for the events of the second, 4 s of silence, a little set-up.
    assert_eq!(needs.duration.as_secs(), 148);
}

#[test]
fn the_pace_decides_how_long_a_phase_without_a_length_takes() {
    let lasts = |pace, connections| {
        let mut plan = plan(100);
        plan.phases[0].length = None;
        plan.publishers[0].events = Some(10_000);
        plan.publishers[0].pace = pace;
        plan.publishers[0].connections = connections;
        Needs::of(&plan, true, 1).duration.as_secs() - 4
    };
    assert_eq!(lasts(Pace::Open(100.0), 1), 100);
    assert_eq!(lasts(Pace::OneByOne, 1), 10);
    assert_eq!(lasts(Pace::OneByOne, 10), 1);
    assert_eq!(lasts(Pace::Unlimited, 1), 0);
    assert!(lasts(Pace::Open(0.0), 1) > 1_000_000, "and does not overflow");
}

#[test]
fn waves_pause_between_each_other() {
    let mut waves = plan(100);
    let before = Needs::of(&waves, true, 1).duration;
    waves.subscribers[0].waves = 5;
    assert_eq!(Needs::of(&waves, true, 1).duration - before, Duration::from_secs(4));
}

#[test]
fn memory_grows_with_what_is_held() {
    let needs = |change: fn(&mut Plan)| {
        let mut plan = plan(10_000);
        change(&mut plan);
        Needs::of(&plan, true, 1).memory_bytes
    };
    let base = needs(|_| {});
    assert!((200 * MIB..400 * MIB).contains(&base), "{base}");
    assert!(needs(|plan| plan.subscribers[0].connect = Connect::Together) > base + 30 * MIB);
    assert!(needs(|plan| plan.publishers[0].payload = 1_000_000) > base + 1_000 * MIB, "read buffers");
    let alone = Needs::of(&plan(10_000), false, 1).memory_bytes;
    assert!(alone < base - 100 * MIB, "no server beside it");
}

/// Measured with one thread: 247 to 350 MiB in this process, and 60 in the reference server.
#[test]
fn of_large_messages_only_so_many_are_read_at_a_time() {
    let large = |change: fn(&mut Plan)| {
        let mut plan = catalogue("large-payload");
        change(&mut plan);
        plan
    };
    let memory = |plan: &Plan, reference, threads| Needs::of(plan, reference, threads).memory_bytes;
    let plan = large(|_| {});
    let [alone, both] = [false, true].map(|reference| memory(&plan, reference, 1));
    assert!((350 * MIB..400 * MIB).contains(&alone), "{alone}");
    assert!((alone + 60 * MIB..alone + 140 * MIB).contains(&both), "{both}");
    assert_eq!(memory(&plan, true, 2), both + PUT_TOGETHER * AT_A_TIME);
    // What few receive is less than may be read.
    let few = large(|plan| (plan.subscribers[0].connections, plan.subscribers[0].subscriptions) = (1, 1));
    assert!(memory(&few, false, 1) < alone - 3 * AT_A_TIME);
    // Ten readers that a fault slows down each read on their own.
    let slow = large(|plan| {
        plan.faults.push(Fault {
            name: "slow".to_owned(),
            on: vec![Aim::Group { group: Crew::Subscribers(0), count: 10 }],
            parts: vec![Part::Phase(3)],
            start: Duration::ZERO,
            length: None,
            stagger: Stagger::Together,
            operations: None,
            kind: FaultKind::Stall(Direction::Both),
        });
    });
    assert_eq!(memory(&slow, true, 1), both + PUT_TOGETHER * 10 * 16_000_000);
}

fn catalogue(name: &str) -> Plan {
    let catalogue = Catalogue::from_text(None).expect("the built-in catalogue");
    catalogue.plan(&[name], &Options::default()).expect("a good plan").plans.remove(0)
}

#[test]
fn the_line_and_the_text_say_it_in_words() {
    let needs =
        Needs { memory_bytes: 300 * MIB, traffic_bytes: 3 * MIB, ..Needs::of(&plan(10_000), true, 1) };
    assert_eq!(
        needs.line(),
        "10,002 connections, 10,000 subscriptions, 6,000 events, about 1m 9s, 300.0 MiB memory, \
         3.0 MiB through loopback"
    );
    assert_eq!(
        needs.text(),
        "connections   10,002\n\
         subscriptions 10,000\n\
         events        6,000\n\
         deliveries    about 6,000\n\
         traffic       about 3.0 MiB through loopback\n\
         duration      about 1m 9s\n\
         open files    10,130, and as many in the reference server\n\
         ports         10,002\n\
         memory        about 300.0 MiB\n"
    );
}

#[test]
fn numbers_are_grouped() {
    for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (8_640_000, "8,640,000")] {
        assert_eq!(count(number), text);
    }
}

fn clients(connections: u32, second: Duration) -> SubscriberGroup {
    SubscriberGroup {
        name: "clients".into(),
        connections,
        subscriptions: connections,
        connect: Connect::Bounded(100),
        waves: 1,
        wave_pause: second,
        first_subscription: 0,
        reconnect: Reconnect::None,
        retry_budget: None,
        breaker: None,
        keepalive: None,
    }
}
