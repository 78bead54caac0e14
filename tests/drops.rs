//! Connections that end in the middle of something: what we say against what the server saw.

mod common;

use common::rig::{Reference, Rig};
use serde_json::json;
use stressctl::inject::cohort;
use stressctl::scenarios::plan::{DropPoint, FaultKind, How, Reconnect, Terminate};

const CLIENTS: u64 = 40;
const VICTIMS: u64 = 20;
/// Connections that do not subscribe: the publisher and the prober.
const OTHERS: u64 = 2;

const HALF: &str = r#"
[scenarios.test]
about = "forty clients with two subscriptions each, half of them dropped"
channels = 10
phases = [{ name = "before", for = "1s" }, { name = "drops", for = "20s" }]
subscribers.clients = { connections = 40, subscriptions = 80, connect = "together" }
publishers.feed = { rate = "200/s" }
faults.drop = { on = "clients", fraction = "50%", phase = "drops", terminate = { how = "reset" } }
reached.all-dropped = "faults.drop.applied / predicted == 100%"
"#;

/// Drops twenty at these points, and waits until the server has seen all of it.
fn drop_at(server: &Reference, how: How, at: &[DropPoint], reconnect: Reconnect) -> Rig {
    let rig = Rig::set_up(HALF, server.address(), |plan, _| {
        plan.faults[0].kind = FaultKind::Terminate(Terminate { how, at: at.to_vec() });
        plan.subscribers[0].reconnect = reconnect;
    });
    rig.begin(0);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(server.count("connections"), CLIENTS + OTHERS, "nobody is dropped before their phase");
    rig.begin(1);
    let left = if reconnect == Reconnect::None { CLIENTS - VICTIMS } else { CLIENTS };
    rig.wait("drops", |_, _| ended(server) >= VICTIMS && server.count("connections") == left + OTHERS);
    rig
}

/// Connections that have ended, however.
fn ended(server: &Reference) -> u64 {
    let (counts, _) = server.closings();
    counts["ready"].as_object().map_or(0, |ways| ways.values().filter_map(serde_json::Value::as_u64).sum())
}

/// Each victim ends as planned and where planned, and nobody else does.
#[test]
fn every_point_is_hit_by_everyone_whom_it_is_planned_for() {
    for point in [
        DropPoint::SubscribeSent,
        DropPoint::PublishSent,
        DropPoint::Receive,
        DropPoint::ReceivePartial,
        DropPoint::UnsubscribeSent,
    ] {
        let server = Reference::start();
        let rig = drop_at(&server, How::Reset, &[point], Reconnect::None);
        let (counts, _) = server.closings();
        assert_eq!(counts["ready"], json!({ "reset": VICTIMS }), "{point:?}");
        assert_eq!(server.count("subscriptions"), 2 * (CLIENTS - VICTIMS), "{point:?}");
        let result = rig.finish();
        let fault = &result.faults[0];
        assert_eq!((fault.applied, fault.not_applied), (VICTIMS, 0), "{point:?}");
        assert_eq!(fault.points, [(point, VICTIMS)].into(), "{point:?}");
        let [spared, hit] = [false, true].map(|victim| &result.groups[cohort(0, victim)]);
        assert_eq!((hit.cut, hit.dropped_unexpectedly, hit.failures.total()), (VICTIMS, 0, 0), "{point:?}");
        assert_eq!((spared.cut, spared.dropped_unexpectedly), (0, 0), "{point:?}");
    }
}

/// With a polite end the server reads what was sent before it.
#[test]
fn the_operation_in_the_middle_of_which_it_ends_reaches_the_server() {
    for (point, held, published) in [
        (DropPoint::SubscribeSent, 3, 0),
        (DropPoint::UnsubscribeSent, 1, 0),
        (DropPoint::PublishSent, 2, VICTIMS),
        (DropPoint::Receive, 2, 0),
    ] {
        let server = Reference::start();
        let rig = drop_at(&server, How::Fin, &[point], Reconnect::None);
        let (counts, subscriptions) = server.closings();
        assert_eq!(counts["ready"], json!({ "eof": VICTIMS }), "{point:?}");
        assert_eq!(subscriptions, vec![held; VICTIMS as usize], "{point:?}: what it held when it ended");
        let result = rig.finish();
        let partings: u64 = result.groups.iter().map(|group| group.partings_sent).sum();
        assert_eq!(partings, published, "{point:?}");
        // Each went to a channel that eight are subscribed to, of whom some are victims themselves.
        let arrived: u64 = result.groups.iter().map(|group| group.partings_delivered).sum();
        assert_eq!(arrived > 0, published > 0, "{point:?}: {arrived}");
    }
}

#[test]
fn who_dies_connecting_ends_twice_and_never_gets_through() {
    for (point, asking, ready) in [(DropPoint::Connect, VICTIMS, VICTIMS), (DropPoint::Init, 0, 2 * VICTIMS)]
    {
        let server = Reference::start();
        let rig = Rig::set_up(HALF, server.address(), |plan, _| {
            plan.faults[0].kind = FaultKind::Terminate(Terminate { how: How::Reset, at: vec![point] });
        });
        rig.begin(1);
        let resets = |stage: &str| server.closings().0[stage]["reset"].as_u64().unwrap_or_default();
        // What is sent and reset at once is read by the server all the same.
        rig.wait("attempts", |_, _| (resets("asking"), resets("ready")) == (asking, ready));
        let (_, mut held) = server.closings();
        held.sort_unstable();
        assert_eq!(held, [vec![0; (ready - VICTIMS) as usize], vec![2; VICTIMS as usize]].concat());
        rig.wait("leaving", |c, _| c.shards.away == 0);
        let result = rig.finish();
        let hit = &result.groups[cohort(0, true)];
        assert_eq!(result.faults[0].points, [(point, VICTIMS)].into());
        assert_eq!((hit.cut, hit.reconnected), (VICTIMS, 0));
        assert_eq!((hit.returns.attempts.total(), hit.returns.aborted_by_plan), (VICTIMS, VICTIMS));
        assert_eq!((hit.failures.total(), hit.reconnect_failures.total()), (0, 0));
    }
}

#[test]
fn victims_are_shared_out_to_all_points_and_come_back_where_they_may() {
    let server = Reference::start();
    let at = [
        DropPoint::Connect,
        DropPoint::SubscribeSent,
        DropPoint::PublishSent,
        DropPoint::Receive,
        DropPoint::UnsubscribeSent,
    ];
    let rig = drop_at(&server, How::Reset, &at, Reconnect::Immediate);
    rig.wait("return", |c, board| c.shards.away == 0 && u64::from(board.active.get()) == 2 * CLIENTS);
    assert_eq!(server.count("subscriptions"), 2 * CLIENTS);
    let result = rig.finish();
    let points: Vec<u64> = at.iter().map(|point| result.faults[0].points[point]).collect();
    assert_eq!(points, [4; 5]);
    let hit = &result.groups[cohort(0, true)];
    assert_eq!((hit.cut, hit.reconnected, hit.recovered), (VICTIMS, VICTIMS, VICTIMS));
    assert_eq!(hit.returns.aborted_by_plan, 4);
}

/// The server has an end of file, and the connection until it ends its own side.
#[test]
fn a_half_closed_connection_goes_on_being_read() {
    let server = Reference::start();
    let rig = drop_at(&server, How::HalfClose, &[], Reconnect::None);
    let (counts, _) = server.closings();
    assert_eq!(counts["ready"], json!({ "eof": VICTIMS }));
    let result = rig.finish();
    assert_eq!((result.faults[0].applied, result.groups[cohort(0, true)].cut), (VICTIMS, VICTIMS));
}
