//! The end of a run as subscribers see it: barriers, unsubscribes that are answered, and what comes after them.

mod common;

use std::time::Duration;

use common::bad::{Manner, Server};
use common::rig::{Reference, Rig};
use stressctl::clients::fleet::FleetResult;
use stressctl::clients::shard::Course;
use stressctl::ledger::{CloseFacts, ReceiptClass, StreamId, Totals};

const CLIENTS: u64 = 20;

const FANOUT: &str = r#"
[scenarios.test]
about = "twenty clients on five channels, fifty events"
channels = 5
subscribers.clients = { connections = 20 }
publishers.feed = { rate = "1000/s", events = 50 }
"#;

/// Fifty events to four clients each.
const OWED: u64 = 200;

fn set_up(server: &Server) -> Rig {
    Rig::set_up(&(FANOUT.to_owned() + &server.target()), server.address(), |_, _| {})
}

/// Publishes everything.
fn publish(rig: &Rig) {
    rig.begin(0);
    rig.wait("publishes", |_, board| {
        let sent = board.events_sent.load(std::sync::atomic::Ordering::Relaxed);
        sent == 50 && board.unacked.load(std::sync::atomic::Ordering::Relaxed) == 0
    });
    rig.settle();
}

struct Facts;

impl CloseFacts for Facts {
    fn ordered(&self) -> bool {
        true
    }

    fn contract(&self) -> stressctl::scenarios::target::Contract {
        stressctl::scenarios::target::Contract::AtMostOnce
    }

    fn acknowledged(&self, _: StreamId, _: u64) -> bool {
        true
    }

    fn phase_of(&self, _: StreamId, _: u64) -> usize {
        0
    }

    fn due_ns(&self, _: StreamId, _: u64) -> Option<u64> {
        None
    }
}

/// Receipts of a class, after the books are closed.
fn receipts(result: FleetResult, class: ReceiptClass) -> u64 {
    let mut totals = Totals::new(2, 1);
    for ledger in result.ledgers {
        totals += ledger.close(&Facts);
    }
    totals.all().receipts_of(class)
}

#[test]
fn barriers_are_awaited_by_everyone_and_arrive() {
    let server = Reference::start();
    let rig = Rig::set_up(FANOUT, server.address(), |_, _| {});
    publish(&rig);
    rig.wait("deliveries", |c, _| c.shards.receipts == OWED);
    assert_eq!(rig.fleet.counts().shards.barriers_noted, 0);
    rig.fleet.order(|o| o.barrier = true);
    rig.wait("note of all shards", |c, _| c.shards.barriers_noted == 2);
    assert_eq!(rig.board().barriers.total(), CLIENTS);
    assert_eq!(rig.fleet.counts().shards.outstanding, 0);
    rig.fleet.publish(|o| o.barrier = true);
    rig.wait("barriers", |_, board| board.barriers.total() == 0);
    let result = rig.finish();
    assert!(result.groups.iter().map(|g| g.barriers_delivered).sum::<u64>() >= CLIENTS);
    assert_eq!(result.receipts, OWED, "barriers are no receipts");
}

#[test]
fn barriers_are_not_awaited_from_who_is_gone() {
    let server = Reference::start();
    let rig = Rig::set_up(FANOUT, server.address(), |_, _| {});
    publish(&rig);
    rig.fleet.order(|o| o.barrier = true);
    rig.wait("note of all shards", |c, _| c.shards.barriers_noted == 2);
    assert_eq!(rig.board().barriers.total(), CLIENTS);
    let result = rig.finish();
    assert_eq!(result.board.barriers.total(), 0);
}

#[test]
fn what_is_outstanding_is_counted() {
    let server = Server::bad(Manner::Drops(7));
    let rig = set_up(&server);
    publish(&rig);
    rig.wait("deliveries", |c, _| c.shards.receipts == OWED - 7);
    assert_eq!(rig.fleet.counts().shards.outstanding, 0, "nobody has asked for it yet");
    rig.fleet.order(|o| o.barrier = true);
    rig.wait("note of all shards", |c, _| c.shards.barriers_noted == 2);
    assert_eq!(rig.fleet.counts().shards.outstanding, 7);
    rig.finish();
}

/// A census that is sent once the unsubscribes have been answered must reach nobody.
#[test]
fn who_still_delivers_after_the_unsubscribe_is_found_out() {
    for (manner, found) in [(Manner::KeepsDelivering, CLIENTS), (Manner::Good, 0)] {
        let server = Server::bad(manner);
        let rig = set_up(&server);
        let confirmed = rig.fleet.counts().shards;
        assert_eq!(confirmed.confirmed, CLIENTS);
        rig.settle();
        rig.unsubscribe();
        let published = server.published();
        rig.board().census.begin(1);
        rig.fleet.publish(|o| o.census = 1);
        rig.wait("census", |c, _| server.published() == published + 5 && c.shards.receipts == found);
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(rig.board().census.held(), 0);
        let result = rig.close();
        assert_eq!(receipts(result, ReceiptClass::AfterUnsubscribe), found);
    }
}

/// It answers nothing, so nothing is sure: neither is it waited for without end, nor is it accused.
#[test]
fn without_an_answer_nobody_is_accused() {
    nothing_is_sure_of(Manner::DeafToTheEnd);
}

/// Where pongs come unasked, one that does not repeat what was asked need not answer it.
#[test]
fn where_pongs_come_unasked_one_without_the_question_answers_nothing() {
    nothing_is_sure_of(Manner::Chatty);
}

fn nothing_is_sure_of(manner: Manner) {
    let server = Server::bad(manner);
    let rig = Rig::set_up(&(FANOUT.to_owned() + &server.target()), server.address(), |_, paths| {
        paths.endpoint.timeouts.operation = Duration::from_millis(300);
    });
    rig.settle();
    rig.fleet.order(|o| o.course = Course::Unsubscribe);
    rig.wait("end of patience", |c, board| board.active.get() == 0 && c.shards.unanswered == 0);
    let published = server.published();
    rig.board().census.begin(1);
    rig.fleet.publish(|o| o.census = 1);
    rig.wait("census", |_, _| server.published() == published + 5);
    std::thread::sleep(Duration::from_millis(50));
    let result = rig.close();
    let failed: u64 = result.groups.iter().map(|g| g.failures.total()).sum();
    assert_eq!((failed, result.receipts), (CLIENTS, 0));
    assert_eq!(receipts(result, ReceiptClass::AfterUnsubscribe), 0);
}

/// The run goes straight on to its close, as after an interruption.
#[test]
fn answers_are_not_waited_for_once_everything_closes() {
    let server = Server::bad(Manner::NeverPongs);
    let rig = set_up(&server);
    rig.settle();
    rig.fleet.order(|o| o.course = Course::Unsubscribe);
    rig.wait("unsubscribes", |c, board| board.active.get() == 0 && c.shards.unanswered == CLIENTS);
    let result = rig.close();
    assert_eq!(result.groups.iter().map(|g| g.failures.total()).sum::<u64>(), 0);
    assert_eq!(result.groups.iter().map(|g| g.dropped_by_plan).sum::<u64>(), CLIENTS);
}
