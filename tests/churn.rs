//! Cycles of subscribing and unsubscribing: what we say against what the server saw.

mod common;

use std::collections::HashSet;

use common::rig::{Reference, Rig};
use stressctl::clients::fleet::FleetResult;
use stressctl::inject::cohort;
use stressctl::scenarios::plan::{DropPoint, FaultKind, How, Terminate};

const CHURNERS: u64 = 20;
const CYCLES: u64 = 10;
/// Connections that do not subscribe: the publisher and the prober.
const OTHERS: u64 = 2;

const FILE: &str = r#"
[scenarios.test]
about = "twenty clients with two subscriptions each that come and go, and ten that stay"
channels = 10
phases = [{ name = "before", for = "1s" }, { name = "cycles", for = "20s" }]
subscribers.steady = { connections = 10 }
subscribers.churners = { connections = 20, subscriptions = 40, connect = "together", reconnect = "immediate" }
publishers.feed = { rate = "400/s" }
faults.churn = { on = "churners", phase = "cycles", churn = { cycles = 10, hold = "30ms", pause = "10ms" } }
reached.all-done = "faults.churn.applied / predicted == 100%"

[scenarios.test.faults.fail]
on = "churners"
fraction = "10%"
of = "operations"
terminate = { how = "reset", at = ["subscribe-sent", "receive", "unsubscribe-sent"] }
"#;

/// Runs all cycles; `fails` says how those end that fail.
fn churn(server: &Reference, fails: Option<Terminate>) -> (Rig, u64) {
    let rig = Rig::set_up(FILE, server.address(), |plan, _| match fails {
        Some(end) => plan.faults[1].kind = FaultKind::Terminate(end),
        None => _ = plan.faults.pop(),
    });
    let set_up = server.count("subscriptions");
    rig.begin(0);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(server.count("subscriptions"), set_up, "nobody unsubscribes before their phase");
    rig.begin(1);
    rig.wait("cycles", |counts, _| counts.shards.cycles_over == CHURNERS * CYCLES);
    rig.wait("the last of them", |counts, board| counts.shards.away == 0 && board.active.get() == 10);
    (rig, set_up)
}

fn figures(result: &FleetResult) -> (u64, u64, u64, u64) {
    let cycles = result.faults[0].cycles.as_ref().expect("there were cycles");
    (result.faults[0].applied, cycles.completed, cycles.failed_by_plan, cycles.failed)
}

#[test]
fn every_cycle_is_one_on_the_server_too() {
    let server = Reference::start();
    let (rig, set_up) = churn(&server, None);
    assert_eq!(set_up, 50);
    rig.wait("unsubscribes", |_, _| server.count("subscriptions") == 10);
    assert_eq!(server.count("connections"), CHURNERS + 10 + OTHERS, "nobody connects anew for a cycle");
    assert_eq!(server.count("connections_total"), CHURNERS + 10 + OTHERS);
    let subscribed = 2 * (CHURNERS + CHURNERS * CYCLES);
    assert_eq!(server.count("subscriptions_total"), 10 + subscribed);
    assert_eq!(server.count("unsubscribed_total"), subscribed);
    let result = rig.finish();
    assert_eq!(figures(&result), (200, 200, 0, 0));
    let cycles = result.faults[0].cycles.as_ref().expect("there were cycles");
    assert_eq!((cycles.confirm.count(), cycles.unsubscribe.count()), (200, 200));
    for group in &result.groups {
        assert_eq!((group.cut, group.dropped_unexpectedly, group.failures.total()), (0, 0, 0));
    }
    let hit = &result.groups[cohort(1, true)];
    assert_eq!((hit.requested, hit.confirmed), (40, 40), "each subscription counts once");
}

#[test]
fn exactly_a_tenth_fails_where_it_is_planned_and_the_rest_goes_on() {
    let server = Reference::start();
    let at = vec![DropPoint::SubscribeSent, DropPoint::Receive, DropPoint::UnsubscribeSent];
    let (rig, _) = churn(&server, Some(Terminate { how: How::Reset, at: at.clone() }));
    rig.wait("resets", |_, _| server.closings().0["ready"]["reset"] == 20);
    rig.wait("unsubscribes", |_, _| server.count("subscriptions") == 10);
    assert_eq!(server.count("connections_total"), CHURNERS + 10 + OTHERS + 20);
    let result = rig.finish();
    assert_eq!(figures(&result), (200, 180, 20, 0));
    let fail = &result.faults[1];
    assert_eq!((fail.applied, fail.not_applied), (20, 0));
    let mut points: Vec<u64> = at.iter().map(|point| fail.points[point]).collect();
    points.sort_unstable();
    assert_eq!(points, [6, 7, 7]);
    let hit = &result.groups[cohort(1, true)];
    assert_eq!((hit.cut, hit.reconnected, hit.dropped_unexpectedly), (20, 20, 0));
    assert_eq!((hit.failures.total(), hit.reconnect_failures.total()), (0, 0));
}

/// What a connection held when it ended tells at which point that was.
#[test]
fn the_operation_that_fails_reaches_the_server() {
    for (point, held) in
        [(DropPoint::SubscribeSent, 2), (DropPoint::Receive, 2), (DropPoint::UnsubscribeSent, 0)]
    {
        let server = Reference::start();
        let (rig, _) = churn(&server, Some(Terminate { how: How::Fin, at: vec![point] }));
        rig.wait("ends", |_, _| server.closings().1.len() == 20);
        let (_, subscriptions) = server.closings();
        assert_eq!(subscriptions, vec![held; 20], "{point:?}");
        let subscribed = server.count("subscriptions_total");
        assert_eq!(subscribed, 50 + 2 * CHURNERS * CYCLES, "{point:?}");
        let result = rig.finish();
        assert_eq!((figures(&result), result.faults[1].applied), ((200, 180, 20, 0), 20), "{point:?}");
    }
}

/// The ids that the server was told, by connection and life.
#[test]
fn plans_of_equal_seeds_have_equal_victims() {
    let cycles = |seed: u64| {
        let options = stressctl::scenarios::catalogue::Options { seed: Some(seed), ..Default::default() };
        let catalogue = stressctl::scenarios::catalogue::Catalogue::from_text(Some(("test", FILE)));
        let plan = catalogue.expect("a good file").plan(&["test"], &options).expect("a plan").plans.remove(0);
        let schedule = plan.schedule();
        let acts = schedule.acts().iter().filter_map(|act| Some((act.connection, act.cycle?)));
        acts.collect::<HashSet<(u32, u32)>>()
    };
    assert_eq!(cycles(1).len(), 20);
    assert_eq!(cycles(1), cycles(1));
    assert_ne!(cycles(1), cycles(2));
}
