//! A shard without event loop of its own: its clients come back to a server that a test makes up, on paused time.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::board::Board;
use super::client::come_back;
use super::climb::Climb;
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Endpoint, Refusal, Stages, config_for};
use super::returning::{Returning, Way};
use super::returns::{Buckets, ReturnTally};
use super::shard::{Shard, ShardPlan, subscriptions};
use super::subs::Away;
use super::tally::GroupTally;
use crate::care::Secrets;
use crate::clock::{self, RunClock};
use crate::inject::{Schedule, cohort};
use crate::ledger::{Config, ShardLedger, Streams, SubscriptionShape};
use crate::protocol::graphql_transport_ws::Dialect;
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{CircuitBreaker, Plan, Reconnect, RetryBudget, SubscriberGroup};
use crate::scenarios::target::Publish;
use crate::server::{ServeOptions, Server};

const MS: fn(u64) -> Duration = Duration::from_millis;

const TEN: &str = r#"
    [scenarios.test]
    about = "ten clients"
    channels = 2
    phases = [{ name = "only", for = "1s" }]
    subscribers.clients = { connections = 10, subscriptions = 20 }
    publishers.feed = { rate = "10/s" }
"#;

fn endpoint(plan: &Plan) -> Endpoint {
    let Publish::WebSocket(publish) = &plan.target.publish else { panic!("the reference server's") };
    let dialect = Dialect::new(&plan.target.subscribe, publish, None).expect("a good target");
    Endpoint {
        url: "ws://localhost/graphql".parse().expect("a url"),
        addresses: Vec::new(),
        headers: Vec::new(),
        dialect: Arc::new(dialect),
        config: config_for(plan.largest_payload()),
        tls: None,
        timeouts: plan.timeouts,
        secrets: Arc::new(Secrets::of(&plan.target)),
    }
}

/// A shard whose ten clients, with two subscriptions each, come back as `change` says.
fn shard(change: impl FnOnce(&mut SubscriberGroup)) -> Shard {
    shard_of(TEN, change)
}

/// A shard with the clients of a scenario that is called `test` and has two channels.
pub(super) fn shard_of(text: &str, change: impl FnOnce(&mut SubscriberGroup)) -> Shard {
    let catalogue = Catalogue::from_text(Some(("test", text))).expect("a good file");
    let mut plan = catalogue.plan(&["test"], &Options::default()).expect("a good plan").plans.remove(0);
    change(&mut plan.subscribers[0]);
    let streams = Arc::new(Streams::new(2, &[]));
    let board = Board::new(RunClock::start(), 7, Arc::clone(&streams), 2, 1);
    let board = Arc::new(Board { climb: Climb::of(&plan), ..board });
    let config = Config {
        run: 7,
        streams,
        roster: Arc::clone(&board.roster),
        deadline_ns: u64::MAX,
        groups: 2,
        phases: 1,
        gaps_max_bytes: 1 << 20,
        first_subscription: 0,
    };
    let shard_plan = ShardPlan {
        index: 0,
        shards: 1,
        endpoint: endpoint(&plan),
        board,
        groups: plan.subscribers.clone(),
        channels: 2,
        phases: 1,
        kinds: plan.faults.iter().map(|fault| fault.kind.clone()).collect(),
        payloads: Vec::new(),
        schedule: Arc::new(Schedule::of(&plan)),
    };
    let shapes: Vec<_> = subscriptions(&shard_plan)
        .into_iter()
        .map(|(channel, group)| SubscriptionShape { channel, group })
        .collect();
    Shard::new(shard_plan, ShardLedger::new(config, &shapes))
}

fn refusal(reason: Reason) -> Refusal {
    Refusal { failure: Failure::new(Stage::Init, reason), text: String::new() }
}

fn tally(shard: &Shard) -> GroupTally {
    shard.state.borrow().cohorts[cohort(0, false)].clone()
}

/// A client whose connection ended tries until it has failed so often; every attempt takes 7 ms. When each began, in ms
/// since the end.
async fn attempts(shard: &Shard, way: &mut Way, failures: usize, reason: Reason) -> Vec<u64> {
    let began = clock::now();
    let made = RefCell::new(Vec::new());
    shard.state.borrow_mut().away.insert(0, Away::since(0));
    let open = async || {
        made.borrow_mut().push(began.elapsed().as_millis() as u64);
        sleep(MS(7)).await;
        if made.borrow().len() > failures { Ok(()) } else { Err(refusal(reason)) }
    };
    Returning::of(shard, &shard.seats[0], way).until_open(open).await;
    shard.state.borrow_mut().away.clear();
    made.into_inner()
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_keeps_a_client_waiting_and_adds_nothing_to_its_backoff() {
    let shard = shard(|group| {
        group.reconnect = Reconnect::Fixed(MS(100));
        group.breaker = Some(CircuitBreaker { opens_after: 3, stays_open: MS(1_000) });
    });
    let mut way = Way::default();
    let made = attempts(&shard, &mut way, 5, Reason::Refused).await;
    // Three at the pace of the backoff; then each a pause after the end of the one before.
    assert_eq!(made, [100, 207, 314, 1_321, 2_328, 3_335]);
    let returns = tally(&shard).returns;
    assert_eq!((returns.opened, returns.half_open_attempts, returns.closed), (3, 3, 1));
    assert_eq!((returns.attempts.total(), returns.budget_waits, returns.open_at_end), (6, 0, 0));
    assert_eq!(tally(&shard).reconnect_failures.total(), 5);

    // It closed, and counts from nothing; what it has seen does not follow it into its next life.
    let made = attempts(&shard, &mut way, 2, Reason::Refused).await;
    assert_eq!(made, [100, 207, 314]);
    assert_eq!(tally(&shard).returns.opened, 3);
}

#[tokio::test(start_paused = true)]
async fn the_longest_of_backoff_breaker_and_budget_is_waited() {
    let shard = shard(|group| {
        group.reconnect = Reconnect::Exponential { first: MS(100), cap: MS(10_000), jitter: false };
        group.breaker = Some(CircuitBreaker { opens_after: 2, stays_open: MS(500) });
        group.retry_budget = Some(RetryBudget { attempts: 4, per: MS(20_000) });
    });
    let made = attempts(&shard, &mut Way::default(), 5, Reason::Refused).await;
    let expected = [
        100,             // backoff
        107 + 200,       // backoff
        314 + 500,       // breaker, though the backoff says 400
        821 + 800,       // backoff, though the breaker says 500
        100 + 5_000,     // the first of four attempts is back after 5 s
        100 + 2 * 5_000, // and so is the second
    ];
    assert_eq!(made, expected);
    let returns = tally(&shard).returns;
    assert_eq!((returns.budget_waits, returns.opened, returns.half_open_attempts), (2, 4, 4));
}

#[tokio::test(start_paused = true)]
async fn a_budget_lasts_over_all_lives_of_a_client() {
    let shard = shard(|group| {
        group.reconnect = Reconnect::Immediate;
        group.retry_budget = Some(RetryBudget { attempts: 2, per: MS(2_000) });
    });
    let mut way = Way::default();
    assert_eq!(attempts(&shard, &mut way, 1, Reason::Refused).await, [0, 107]);
    // 114 ms later nothing is left of it.
    assert_eq!(attempts(&shard, &mut way, 0, Reason::Refused).await, [1_000 - 114]);
    assert_eq!(tally(&shard).returns.budget_waits, 1);
}

#[tokio::test(start_paused = true)]
async fn what_we_ended_is_a_failure_to_the_client_and_to_nobody_else() {
    let shard = shard(|group| {
        group.reconnect = Reconnect::Fixed(MS(100));
        group.breaker = Some(CircuitBreaker { opens_after: 2, stays_open: MS(1_000) });
    });
    let made = attempts(&shard, &mut Way::default(), 2, Reason::Injected).await;
    assert_eq!(made, [100, 207, 1_214]);
    let tally = tally(&shard);
    assert_eq!((tally.reconnect_failures.total(), tally.failures.total()), (0, 0));
    let mut attempts = Buckets::default();
    made.iter().for_each(|ms| attempts.add(ms * 1_000_000));
    let expected = ReturnTally {
        attempts,
        aborted_by_plan: 2,
        opened: 1,
        closed: 1,
        half_open_attempts: 1,
        ..ReturnTally::default()
    };
    assert_eq!(tally.returns, expected);
}

#[tokio::test(start_paused = true)]
async fn who_is_given_up_leaves_its_breaker_as_it_is() {
    for (until_ms, open_at_end) in [(150, 0), (250, 1), (1_250, 1), (1_500, 1)] {
        let shard = shard(|group| {
            group.reconnect = Reconnect::Fixed(MS(100));
            group.breaker = Some(CircuitBreaker { opens_after: 2, stays_open: MS(1_000) });
        });
        let mut way = Way::default();
        let all = attempts(&shard, &mut way, usize::MAX, Reason::Refused);
        assert!(timeout(MS(until_ms), all).await.is_err());
        assert_eq!(tally(&shard).returns.open_at_end, open_at_end, "at {until_ms} ms");
    }
}

/// A client whose first attempt a fault of ours ended just now.
fn newcomer(shard: &Shard) -> Way {
    tally_first(shard);
    assert!(shard.aborted(&shard.seats[3], 0));
    Way::excused()
}

fn tally_first(shard: &Shard) {
    shard.state.borrow_mut().cohorts[cohort(0, false)].attempted += 1;
}

/// Connections resolved, subscriptions settled, clients away.
fn progress(shard: &Shard) -> (u64, u64, usize) {
    let state = shard.state.borrow();
    (state.resolved, state.settled, state.away.len())
}

/// It gets its first connection, and both of its subscriptions are proved.
fn arrive(shard: &Shard) {
    let seat = &shard.seats[3];
    shard.resolve_newcomer(seat.local);
    shard.established(seat, &Stages::default());
    shard.reconnected(seat);
    shard.flushed(seat.range());
    for index in seat.range() {
        shard.proved(&mut shard.state.borrow_mut(), index as usize, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn set_up_waits_for_a_newcomer_that_arrives_and_counts_it_once() {
    let shard = shard(|group| group.reconnect = Reconnect::Immediate);
    newcomer(&shard);
    shard.expire_newcomers();
    assert_eq!(progress(&shard), (0, 0, 1), "it is waited for");
    assert_eq!(tally(&shard).aborted_by_plan, 1);
    arrive(&shard);
    assert_eq!(progress(&shard), (1, 2, 0));
    let tally = tally(&shard);
    assert_eq!((tally.established, tally.confirmed), (1, 2));
    assert_eq!((tally.reconnected, tally.recovered), (0, 0), "there was nothing to come back to");
    assert_eq!(tally.returns.first_end_ns, None);
    assert_eq!(shard.plan.board.open.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn set_up_does_not_wait_longer_for_a_newcomer_than_for_a_handshake() {
    let shard = shard(|group| group.reconnect = Reconnect::Immediate);
    newcomer(&shard);
    let timeouts = &shard.plan.endpoint.timeouts;
    let patience = timeouts.connect + timeouts.upgrade + timeouts.init;
    sleep(patience - MS(5)).await;
    shard.expire_newcomers();
    assert_eq!(progress(&shard), (0, 0, 1));
    sleep(MS(10)).await;
    shard.expire_newcomers();
    assert_eq!(progress(&shard), (1, 2, 1), "it goes on trying");
    arrive(&shard);
    assert_eq!(progress(&shard), (1, 2, 0), "nothing counts twice");
    assert_eq!((tally(&shard).established, tally(&shard).confirmed), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_loses_its_first_connection_comes_back_like_anybody() {
    let shard = shard(|group| group.reconnect = Reconnect::Immediate);
    newcomer(&shard);
    arrive(&shard);
    sleep(MS(500)).await;
    shard.book_cut(3);
    assert_eq!(tally(&shard).returns.first_end_ns, Some(500_000_000));
    sleep(MS(30)).await;
    let seat = &shard.seats[3];
    shard.reconnected(seat);
    shard.flushed(seat.range());
    for index in seat.range() {
        shard.proved(&mut shard.state.borrow_mut(), index as usize, 0);
    }
    let tally = tally(&shard);
    assert_eq!((tally.established, tally.confirmed), (1, 2));
    assert_eq!((tally.cut, tally.reconnected, tally.recovered), (1, 1, 1));
    assert_eq!(tally.returns.recovered.end_of_nth(1), Some(540_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_is_excused_until_an_attempt_is_left_to_the_server() {
    for (reason, excused) in [(Reason::Injected, 1), (Reason::Refused, 0)] {
        let shard = shard(|group| group.reconnect = Reconnect::Fixed(MS(100)));
        let mut way = newcomer(&shard);
        let all = attempts(&shard, &mut way, usize::MAX, reason);
        assert!(timeout(MS(500), all).await.is_err());
        assert_eq!(tally(&shard).aborted_by_plan, excused, "{reason:?}");
    }
    let shard = shard(|group| group.reconnect = Reconnect::Fixed(MS(100)));
    let mut way = newcomer(&shard);
    attempts(&shard, &mut way, 2, Reason::Injected).await;
    assert_eq!((tally(&shard).aborted_by_plan, tally(&shard).returns.aborted_by_plan), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_that_nobody_lets_try_again_holds_nothing_up() {
    // It has no policy.
    let without = shard(|_| {});
    tally_first(&without);
    assert!(!without.aborted(&without.seats[3], 0));
    assert_eq!(progress(&without), (1, 2, 0));
    assert_eq!((tally(&without).aborted_by_plan, tally(&without).failures.total()), (1, 0));
    // It is given up on its way.
    let shard = shard(|group| group.reconnect = Reconnect::Immediate);
    newcomer(&shard);
    shard.give_up_newcomer(&shard.seats[3]);
    assert_eq!(progress(&shard), (1, 2, 0));
}

#[tokio::test]
async fn a_newcomer_gets_its_first_connection() {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::bind(&ServeOptions { listen, ..ServeOptions::default() }).await.expect("a port");
    let mut shard = shard(|group| group.reconnect = Reconnect::Immediate);
    shard.plan.endpoint.addresses = vec![server.local_addr()];
    let mut way = newcomer(&shard);
    tokio::select! {
        () = server.run(std::future::pending()) => panic!("the server ended"),
        connected = come_back(&shard, 3, &mut way) => assert!(connected),
    }
    assert_eq!((way.lives, shard.plan.board.open.get()), (1, 1));
    assert!(shard.lives.borrow()[3].is_some());
    let tally = tally(&shard);
    assert_eq!((tally.established, tally.reconnected, tally.aborted_by_plan), (1, 0, 0));
    assert_eq!(tally.returns.attempts.total(), 1);
    assert_eq!((progress(&shard).0, shard.state.borrow().latency.connect.count()), (1, 1));
}
