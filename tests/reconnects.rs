//! Clients that are cut, and that come back: what they count, against what others saw of it.

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::bad::{Manner, Server};
use common::relay::{End, Relay};
use common::rig::{HALF, Reference, Rig};
use common::secured::Secured;
use stressctl::clients::fleet::FleetResult;
use stressctl::clients::shard::Course;
use stressctl::clients::tally::GroupTally;
use stressctl::clock;
use stressctl::inject::cohort;
use stressctl::scenarios::plan::{Aim, Connect, Crew, FaultKind, How, Part, Reconnect, Terminate};

const CLIENTS: u64 = 40;
const VICTIMS: u64 = 20;
/// Connections that do not subscribe: the publisher and the prober.
const OTHERS: u64 = 2;

fn set_up(relay: &Relay, how: How, reconnect: Reconnect) -> Rig {
    Rig::set_up(HALF, relay.address(), |plan, _| {
        plan.faults[0].kind = FaultKind::Terminate(Terminate { how, at: Vec::new() });
        plan.subscribers[0].reconnect = reconnect;
    })
}

fn victims(result: &FleetResult) -> &GroupTally {
    &result.groups[cohort(0, true)]
}

fn bystanders(result: &FleetResult) -> &GroupTally {
    &result.groups[cohort(0, false)]
}

/// Waits until the server has seen so many connections in all and every subscription is proved. What the shards count
/// may be 20 ms old; the gauge is not.
#[track_caller]
fn all_back(rig: &Rig, server: &Reference, connections: u64) {
    let subscriptions = rig.plan.subscriptions();
    rig.wait("return", |c, board| {
        server.count("connections_total") == connections
            && board.active.get() == subscriptions
            && c.shards.away == 0
    });
}

/// Cuts half of the clients and lets them come back; everything that can be counted is counted.
fn cut_and_come_back(server: &Reference, relay: &Relay, rig: Rig, seen: End) {
    assert_eq!(relay.accepted(), CLIENTS + OTHERS);
    rig.begin(0);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(relay.ends(), [], "nobody is cut before the phase of the cut");
    rig.begin(1);
    rig.wait("cuts", |_, _| relay.ends().len() as u64 == VICTIMS);
    rig.wait("return", |c, board| c.shards.away == 0 && u64::from(board.active.get()) == 2 * CLIENTS);
    assert_eq!(relay.ends(), vec![seen; VICTIMS as usize]);
    assert_eq!(relay.accepted(), CLIENTS + VICTIMS + OTHERS);
    assert_eq!(server.count("connections_total"), CLIENTS + VICTIMS + OTHERS);
    assert_eq!(server.count("connections"), CLIENTS + OTHERS);
    assert_eq!(server.count("subscriptions"), 2 * CLIENTS);
    let counts = rig.fleet.counts().shards;
    assert_eq!((counts.resolved, counts.established), (CLIENTS, CLIENTS), "by first lives alone");
    assert_eq!((counts.settled, counts.confirmed), (2 * CLIENTS, 2 * CLIENTS));
    let result = rig.finish();
    let (hit, spared) = (victims(&result), bystanders(&result));
    assert_eq!((hit.attempted, hit.established, hit.requested, hit.confirmed), (20, 20, 40, 40));
    assert_eq!((hit.cut, hit.reconnected, hit.recovered), (VICTIMS, VICTIMS, VICTIMS));
    assert_eq!((hit.dropped_by_plan, hit.dropped_unexpectedly, hit.failures.total()), (40, 0, 0));
    assert_eq!((spared.established, spared.cut, spared.reconnected, spared.recovered), (20, 0, 0, 0));
    assert_eq!((spared.dropped_by_plan, spared.dropped_unexpectedly), (20, 0));
    assert_eq!((result.faults[0].applied, result.faults[0].not_applied), (VICTIMS, 0));
    assert_eq!(result.latency.reconnect[cohort(0, true)].count(), VICTIMS);
    assert_eq!(result.latency.reconnect[cohort(0, false)].count(), 0);
    assert_eq!(result.board.waiting.iter().map(|w| w.load(Relaxed)).sum::<u32>(), 0);
    assert_eq!(result.board.open.get(), 0);
}

#[test]
fn who_is_planned_is_cut_as_planned_and_comes_back() {
    for (how, seen) in
        [(How::Reset, End::Reset), (How::Fin, End::Fin), (How::WsClose(4001), End::Close(4001))]
    {
        let server = Reference::start();
        let relay = Relay::to(server.address());
        let rig = set_up(&relay, how, Reconnect::Immediate);
        cut_and_come_back(&server, &relay, rig, seen);
    }
}

/// Under TLS a close frame cannot be seen from outside, but a reset and the end of the stream can.
#[test]
fn so_it_is_under_tls() {
    for (how, seen) in [(How::Reset, End::Reset), (How::Fin, End::Fin)] {
        let server = Reference::start();
        let secured = Secured::before(server.address());
        let relay = Relay::to(secured.address());
        let rig = Rig::set_up(HALF, relay.address(), |plan, paths| {
            plan.faults[0].kind = FaultKind::Terminate(Terminate { how, at: Vec::new() });
            let url = format!("wss://localhost:{}/graphql", relay.address().port());
            paths.endpoint.url = url.parse().expect("a url");
            paths.endpoint.tls = Some(secured.trust());
        });
        cut_and_come_back(&server, &relay, rig, seen);
    }
}

#[test]
fn five_hundred_are_cut_at_one_instant() {
    let server = Reference::start();
    let rig = Rig::set_up(HALF, server.address(), |plan, _| {
        let group = &mut plan.subscribers[0];
        (group.connections, group.subscriptions) = (1_000, 1_000);
        plan.faults[0].on = vec![Aim::Group { group: Crew::Subscribers(0), count: 500 }];
    });
    rig.begin(1);
    all_back(&rig, &server, 1_000 + 500 + OTHERS);
    let result = rig.finish();
    let fault = &result.faults[0];
    assert_eq!(fault.applied, 500);
    let (first, last) = fault.span_ns.expect("they were cut");
    let spread = Duration::from_nanos(last - first);
    println!("500 cuts within {spread:?}, {:?} us late", fault.late.quantile_us(0.99));
    // The kernel takes most of it; a busy machine may take the processor in between.
    assert!(spread < Duration::from_millis(100), "{spread:?}");
    assert_eq!(victims(&result).recovered, 500);
}

#[test]
fn a_cut_comes_at_its_time_in_its_phase() {
    let server = Reference::start();
    let rig = Rig::set_up(HALF, server.address(), |plan, _| {
        plan.faults[0].start = Duration::from_millis(200);
        plan.faults[0].stagger = stressctl::scenarios::plan::Stagger::Linear(Duration::from_millis(400));
    });
    rig.begin(0);
    rig.begin(1);
    let began = rig.board().phase_starts[1].load(Relaxed);
    all_back(&rig, &server, CLIENTS + VICTIMS + OTHERS);
    let result = rig.finish();
    let (first, last) = result.faults[0].span_ns.expect("they were cut");
    let after = |ns: u64| Duration::from_nanos(ns - began);
    assert_eq!(result.faults[0].applied, VICTIMS);
    assert!(after(first) >= Duration::from_millis(200), "{:?}", after(first));
    // The last of twenty is due one step before the end.
    assert!(after(last) >= Duration::from_millis(580), "{:?}", after(last));
    assert!(after(last) < Duration::from_millis(2_000), "{:?}", after(last));
}

#[test]
fn refused_returns_are_named_and_tried_again() {
    const REFUSED: u64 = 30;
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = set_up(&relay, How::Reset, Reconnect::Fixed(Duration::from_millis(50)));
    relay.refuse(REFUSED as i64);
    rig.begin(1);
    rig.wait("refusals", |_, _| relay.refused() == REFUSED);
    rig.wait("return", |c, board| c.shards.away == 0 && u64::from(board.active.get()) == 2 * CLIENTS);
    let result = rig.finish();
    let hit = victims(&result);
    assert_eq!((hit.reconnected, hit.recovered), (VICTIMS, VICTIMS));
    assert_eq!(
        (hit.attempted, hit.established),
        (VICTIMS, VICTIMS),
        "attempts to come back are not among them"
    );
    assert_eq!(hit.failures.total(), 0, "{:?}", hit.failures);
    let names = hit.reconnect_failures.by_name();
    assert_eq!(names.values().sum::<u64>(), REFUSED, "{names:?}");
    let early = |name: &String| name.starts_with("tcp.") || name.starts_with("upgrade.");
    assert!(names.keys().all(early), "{names:?}");
    assert_eq!(hit.dropped_unexpectedly, 0);
}

#[test]
fn who_does_not_reconnect_stays_gone() {
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = set_up(&relay, How::Fin, Reconnect::None);
    rig.begin(1);
    rig.wait("cuts", |_, _| relay.ends().len() as u64 == VICTIMS);
    std::thread::sleep(Duration::from_millis(300));
    let counts = rig.fleet.counts().shards;
    assert_eq!((counts.away, rig.board().open.get(), rig.board().active.get()), (0, 20, 40));
    assert_eq!(relay.accepted(), CLIENTS + OTHERS);
    let result = rig.finish();
    let hit = victims(&result);
    assert_eq!((hit.cut, hit.reconnected, hit.recovered, hit.failures.total()), (VICTIMS, 0, 0, 0));
}

/// They wait an hour between attempts, or for their turn.
#[test]
fn a_run_ends_although_clients_are_away() {
    let hour = Reconnect::Fixed(Duration::from_secs(3_600));
    for (reconnect, connect, settled, course) in [
        (hour, Connect::Together, true, Course::Unsubscribe),
        (hour, Connect::Together, false, Course::Unsubscribe),
        (hour, Connect::Together, false, Course::Close),
        (hour, Connect::Together, false, Course::Abort),
        (Reconnect::Immediate, Connect::Rate(50.0), true, Course::Close),
        (Reconnect::Immediate, Connect::Rate(50.0), false, Course::Unsubscribe),
    ] {
        let server = Reference::start();
        let relay = Relay::to(server.address());
        let rig = Rig::set_up(HALF, relay.address(), |plan, _| {
            (plan.subscribers[0].reconnect, plan.subscribers[0].connect) = (reconnect, connect);
        });
        rig.begin(1);
        rig.wait("cuts", |c, _| relay.ends().len() as u64 == VICTIMS && c.shards.away > VICTIMS / 2);
        let began = clock::now();
        if settled {
            rig.settle();
            rig.wait("leave", |c, _| c.shards.away == 0);
        }
        rig.fleet.order(|o| o.course = course);
        let result = rig.close();
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(victims(&result).cut, VICTIMS);
        assert!(victims(&result).recovered < VICTIMS);
        assert_eq!(result.board.open.get(), 0);
        assert_eq!(result.board.active.get(), 0);
    }
}

#[test]
fn what_is_healed_before_it_is_due_is_not_applied() {
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = Rig::set_up(HALF, relay.address(), |plan, _| {
        plan.faults[0].start = Duration::from_millis(300);
    });
    rig.begin(1);
    rig.fleet.order(|o| o.healed = true);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(relay.ends(), []);
    let result = rig.finish();
    assert_eq!((result.faults[0].applied, result.faults[0].not_applied), (0, VICTIMS));
    assert_eq!(victims(&result).cut, 0);
}

/// The second fault hits all, at the same moment; those of the first are not open any more.
#[test]
fn nobody_is_cut_twice_at_once() {
    let server = Reference::start();
    let rig = Rig::set_up(HALF, server.address(), |plan, _| {
        let mut all = plan.faults[0].clone();
        all.name = "all".to_owned();
        all.on = vec![Aim::Group { group: Crew::Subscribers(0), count: 40 }];
        plan.faults.push(all);
        plan.subscribers[0].reconnect = Reconnect::Fixed(Duration::from_millis(100));
    });
    rig.begin(1);
    all_back(&rig, &server, 2 * CLIENTS + OTHERS);
    let result = rig.finish();
    let faults: Vec<_> = result.faults.iter().map(|f| (f.applied, f.not_applied)).collect();
    assert_eq!(faults.iter().map(|(applied, _)| applied).sum::<u64>(), 40, "{faults:?}");
    assert_eq!(faults.iter().map(|(_, not)| not).sum::<u64>(), 20, "{faults:?}");
    assert_eq!(victims(&result).reconnected, 40);
}

/// Every connection ends as soon as it has subscribed, and every client comes back at once.
#[test]
fn a_server_that_drops_everyone_does_not_hold_up_the_set_up() {
    let server = Server::bad(Manner::DropsOpen);
    let rig = Rig::set_up(&(HALF.to_owned() + &server.target()), server.address(), |_, _| {});
    let counts = rig.fleet.counts().shards;
    assert_eq!((counts.resolved, counts.settled, counts.confirmed), (40, 80, 0));
    let result = rig.finish();
    let all = || result.groups.iter();
    assert_eq!(all().map(|g| g.established).sum::<u64>(), 40);
    assert!(all().map(|g| g.dropped_unexpectedly).sum::<u64>() >= 40);
    assert_eq!(all().map(|g| g.recovered).sum::<u64>(), 0);
}

#[test]
fn unsubscribes_that_are_not_answered_are_given_up() {
    let server = Server::bad(Manner::NeverPongs);
    let rig = Rig::set_up(&(HALF.to_owned() + &server.target()), server.address(), |plan, paths| {
        plan.timeouts.operation = Duration::from_millis(300);
        paths.endpoint.timeouts.operation = Duration::from_millis(300);
    });
    rig.settle();
    rig.fleet.order(|o| o.course = Course::Unsubscribe);
    rig.wait("unsubscribes", |c, board| board.active.get() == 0 && c.shards.unanswered == 40);
    rig.wait("end of patience", |c, _| c.shards.unanswered == 0);
    let result = rig.close();
    let mut names = bystanders(&result).failures.clone();
    names += &victims(&result).failures;
    assert_eq!(names.by_name().into_iter().collect::<Vec<_>>(), [("unsubscribe.timeout".to_owned(), 40)]);
}

/// The server acknowledges their subscribes' publishes and delivers nothing any more.
#[test]
fn who_is_connected_and_not_proved_again_has_not_recovered() {
    let server = Server::good();
    let rig = Rig::set_up(&(HALF.to_owned() + &server.target()), server.address(), |_, paths| {
        paths.endpoint.timeouts.confirm = Duration::from_millis(500);
    });
    server.mute();
    rig.begin(1);
    rig.wait("reconnects", |c, board| c.shards.away == VICTIMS && board.open.get() == 40);
    assert_eq!(rig.board().active.get(), 40);
    // They are on their way back until nothing of them is awaited any more.
    rig.wait("end of patience", |c, _| c.shards.away == 0);
    let counts = rig.fleet.counts().shards;
    assert_eq!((counts.settled, counts.confirmed), (80, 80), "by first lives alone");
    let result = rig.finish();
    let hit = victims(&result);
    assert_eq!((hit.reconnected, hit.recovered), (VICTIMS, 0));
    assert_eq!(hit.failures.by_name().into_iter().collect::<Vec<_>>(), [("confirm.timeout".to_owned(), 40)]);
    assert_eq!(result.latency.reconnect[cohort(0, true)].count(), 0);
}

#[test]
fn no_life_uses_the_operation_ids_of_another() {
    let server = Server::good();
    let rig = Rig::set_up(&(HALF.to_owned() + &server.target()), server.address(), |plan, _| {
        plan.faults[0].on = vec![Aim::Group { group: Crew::Subscribers(0), count: 40 }];
        plan.faults[0].parts = vec![Part::Phase(0), Part::Phase(1)];
    });
    for phase in [0, 1] {
        rig.begin(phase);
        let subscribed = 80 * (phase as u64 + 2);
        rig.wait("return", |c, board| {
            server.subscribed() == subscribed && board.active.get() == 80 && c.shards.away == 0
        });
    }
    assert_eq!(server.reused_ids(), 0);
    let result = rig.finish();
    assert_eq!((victims(&result).cut, victims(&result).recovered), (80, 80));
    assert_eq!(victims(&result).failures.total(), 0);
}

#[test]
fn a_census_is_held_by_who_received_it_and_has_lived_since() {
    let server = Reference::start();
    let rig = Rig::set_up(HALF, server.address(), |plan, _| {
        plan.faults[0].parts = vec![Part::Phase(0), Part::Phase(1)];
    });
    rig.board().census.begin(1);
    rig.fleet.publish(|o| o.census = 1);
    rig.wait("census", |_, board| u64::from(board.census.held()) == 2 * CLIENTS);
    for phase in [0, 1] {
        rig.begin(phase);
        all_back(&rig, &server, CLIENTS + OTHERS + VICTIMS * (phase as u64 + 1));
        let census = &rig.board().census;
        assert_eq!((census.number(), u64::from(census.held())), (1, 2 * (CLIENTS - VICTIMS)));
    }
    rig.finish();
}
