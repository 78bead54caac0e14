//! How clients try to come back while they are turned away, and how they find out that nobody is there: counted beside
//! what a relay and servers saw of it.

mod common;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::bad::{Manner, Server};
use common::relay::{End, Relay};
use common::rig::{HALF, Reference, Rig};
use stressctl::clients::fleet::FleetResult;
use stressctl::clients::shard::Course;
use stressctl::clients::tally::GroupTally;
use stressctl::clock;
use stressctl::inject::cohort;
use stressctl::scenarios::plan::{
    Aim, CircuitBreaker, Crew, Keepalive, Reconnect, RetryBudget, SubscriberGroup,
};

const CLIENTS: u64 = 40;
const VICTIMS: u64 = 20;
/// Connections that do not subscribe: the publisher and the prober. They are the first to connect.
const OTHERS: u64 = 2;
/// More often than any of these tests is patient.
const ALWAYS: i64 = 1 << 40;

const MS: fn(u64) -> Duration = Duration::from_millis;
const HOUR: Duration = Duration::from_secs(3_600);

fn set_up(relay: &Relay, victims: u64, change: impl FnOnce(&mut SubscriberGroup)) -> Rig {
    Rig::set_up(HALF, relay.address(), |plan, _| {
        plan.faults[0].on = vec![Aim::Group { group: Crew::Subscribers(0), count: victims as u32 }];
        change(&mut plan.subscribers[0]);
    })
}

fn victims(result: &FleetResult) -> &GroupTally {
    &result.groups[cohort(0, true)]
}

fn all(result: &FleetResult) -> GroupTally {
    let mut all = GroupTally::default();
    result.groups.iter().for_each(|group| all += group);
    all
}

/// Unexpected drops and failures by name.
fn unexpected(tally: &GroupTally) -> (u64, Vec<(String, u64)>) {
    (tally.dropped_unexpectedly, tally.failures.by_name().into_iter().collect())
}

#[test]
fn breakers_open_when_they_must_and_keep_quiet_then() {
    for ends in [Course::Unsubscribe, Course::Abort] {
        let server = Reference::start();
        let relay = Relay::to(server.address());
        let rig = set_up(&relay, VICTIMS, |group| {
            group.reconnect = Reconnect::Fixed(MS(20));
            group.breaker = Some(CircuitBreaker { opens_after: 3, stays_open: HOUR });
        });
        relay.refuse(ALWAYS);
        rig.begin(1);
        rig.wait("refusals", |_, _| relay.refused() == 3 * VICTIMS);
        std::thread::sleep(MS(400));
        assert_eq!(relay.refused(), 3 * VICTIMS, "open is open");
        let result = if ends == Course::Abort {
            rig.fleet.order(|o| o.course = Course::Abort);
            rig.close()
        } else {
            rig.finish()
        };
        let returns = &victims(&result).returns;
        assert_eq!((returns.attempts.total(), returns.opened), (3 * VICTIMS, VICTIMS));
        assert_eq!((returns.closed, returns.half_open_attempts, returns.open_at_end), (0, 0, VICTIMS));
        assert_eq!(victims(&result).reconnect_failures.total(), 3 * VICTIMS);
    }
}

#[test]
fn a_breaker_tries_once_in_each_pause_until_it_closes() {
    const REFUSED: u64 = 7;
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = set_up(&relay, 1, |group| {
        group.reconnect = Reconnect::Fixed(MS(10));
        group.breaker = Some(CircuitBreaker { opens_after: 2, stays_open: MS(150) });
    });
    relay.refuse(REFUSED as i64);
    let began = clock::now();
    rig.begin(1);
    for refused in 3..=REFUSED {
        rig.wait("refusal", |_, _| relay.refused() >= refused);
        // Machines that are busy make it later, never earlier.
        let pauses = refused as u32 - 2;
        assert!(began.elapsed() >= MS(150) * pauses, "{refused} after {:?}", began.elapsed());
    }
    rig.wait("return", |c, board| c.shards.away == 0 && u64::from(board.active.get()) == 2 * CLIENTS);
    let result = rig.finish();
    let hit = victims(&result);
    let returns = &hit.returns;
    assert_eq!((hit.cut, hit.reconnected, hit.recovered), (1, 1, 1));
    assert_eq!((returns.attempts.total(), hit.reconnect_failures.total()), (REFUSED + 1, REFUSED));
    // It opened after two, and again after each of the five that followed.
    assert_eq!((returns.opened, returns.half_open_attempts), (6, 6));
    assert_eq!((returns.closed, returns.open_at_end), (1, 0));
    let back = returns.recovered.end_of_nth(1).zip(returns.first_end_ns).expect("it is back");
    assert!(Duration::from_nanos(back.0 - back.1) >= MS(6 * 150));
    assert_eq!(result.groups[cohort(0, false)].returns.attempts.total(), 0);
}

#[test]
fn nobody_tries_beyond_its_budget() {
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = set_up(&relay, VICTIMS, |group| {
        group.reconnect = Reconnect::Fixed(MS(20));
        group.retry_budget = Some(RetryBudget { attempts: 4, per: HOUR });
    });
    relay.refuse(ALWAYS);
    rig.begin(1);
    rig.wait("refusals", |_, _| relay.refused() == 4 * VICTIMS);
    std::thread::sleep(MS(400));
    assert_eq!(relay.refused(), 4 * VICTIMS);
    let returns = victims(&rig.finish()).returns.clone();
    assert_eq!((returns.attempts.total(), returns.budget_waits), (4 * VICTIMS, VICTIMS));
    assert_eq!((returns.opened, returns.open_at_end), (0, 0), "there is no breaker");
}

fn keepalive(every: u64, dead_after: u64) -> Option<Keepalive> {
    Some(Keepalive { every: MS(every), dead_after: MS(dead_after) })
}

#[test]
fn who_hears_nothing_any_more_drops_its_connection_and_comes_back() {
    let server = Reference::start();
    let relay = Relay::to(server.address());
    let rig = set_up(&relay, VICTIMS, |group| group.keepalive = keepalive(100, 1_000));
    relay.silence(OTHERS..OTHERS + CLIENTS);
    let began = clock::now();
    rig.wait("drops", |_, _| relay.ends().len() as u64 == CLIENTS);
    assert!(began.elapsed() >= MS(1_000) - MS(100), "not before their time: {:?}", began.elapsed());
    assert_eq!(relay.ends(), vec![End::Reset; CLIENTS as usize]);
    rig.wait("return", |c, board| c.shards.away == 0 && u64::from(board.active.get()) == 2 * CLIENTS);
    assert_eq!(server.count("connections_total"), 2 * CLIENTS + OTHERS);
    let result = rig.finish();
    let all = all(&result);
    assert_eq!(unexpected(&all), (CLIENTS, vec![("open.timeout".to_owned(), CLIENTS)]));
    assert_eq!((all.cut, all.reconnected, all.recovered), (0, CLIENTS, CLIENTS));
    assert_eq!(all.dropped_by_plan, CLIENTS, "those that they came back with");
    assert_eq!((result.board.open.get(), all.returns.attempts.total()), (0, CLIENTS));
    assert_eq!(result.board.waiting.iter().map(|w| w.load(Relaxed)).sum::<u32>(), 0);
}

#[test]
fn a_server_that_stands_still_is_found_dead() {
    let server = Server::bad(Manner::Freezes(5));
    let text = HALF.to_owned() + &server.target();
    let rig = Rig::set_up(&text, server.address(), |plan, _| {
        plan.subscribers[0].reconnect = Reconnect::None;
        plan.subscribers[0].keepalive = keepalive(100, 500);
    });
    rig.begin(0);
    rig.wait("drops", |_, board| board.open.get() == 0);
    let result = rig.finish();
    assert_eq!(unexpected(&all(&result)), (CLIENTS, vec![("open.timeout".to_owned(), CLIENTS)]));
    assert_eq!((all(&result).returns.attempts.total(), result.board.active.get()), (0, 0));
}

#[test]
fn who_answers_however_late_within_time_is_alive() {
    for (manner, dead_after) in [(Manner::Good, 1_000), (Manner::PongsLate(MS(300)), 2_000)] {
        let server = Server::bad(manner);
        let text = HALF.to_owned() + &server.target();
        let rig = Rig::set_up(&text, server.address(), |plan, _| {
            plan.subscribers[0].keepalive = keepalive(400, dead_after);
        });
        rig.wait("pings", |_, _| server.pings_and_pongs().1 >= 6 * CLIENTS);
        assert_eq!(u64::from(rig.board().open.get()), CLIENTS);
        let all = all(&rig.finish());
        assert_eq!(unexpected(&all), (0, Vec::new()), "{manner:?}");
        assert_eq!(all.dropped_by_plan, CLIENTS);
    }
}

#[test]
fn who_sends_no_pings_asks_for_no_answer() {
    let server = Server::bad(Manner::NeverPongs);
    let text = HALF.to_owned() + &server.target();
    let rig = Rig::set_up(&text, server.address(), |_, _| {});
    std::thread::sleep(MS(500));
    assert_eq!(server.pings_and_pongs(), (0, 0));
    assert_eq!(u64::from(rig.board().open.get()), CLIENTS);
    rig.fleet.order(|o| o.course = Course::Close);
    assert_eq!(all(&rig.close()).dropped_unexpectedly, 0);
}

/// The pong that is on its way when everybody unsubscribes answers a ping that was sent before. It carries nothing.
#[test]
fn a_late_pong_is_no_answer_to_the_unsubscribe() {
    let server = Server::bad(Manner::PongsLate(MS(500)));
    let text = HALF.to_owned() + &server.target();
    let rig = Rig::set_up(&text, server.address(), |plan, _| {
        plan.subscribers[0].keepalive = keepalive(3_000, 60_000);
    });
    rig.wait("pings", |_, _| server.pings_and_pongs().0 == CLIENTS);
    rig.settle();
    rig.unsubscribe();
    assert_eq!(server.pings_and_pongs(), (2 * CLIENTS, 2 * CLIENTS), "each has had both of its answers");
    let all = all(&rig.close());
    assert_eq!(unexpected(&all), (0, Vec::new()));
}
