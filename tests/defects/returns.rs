//! What is wrong when clients come back.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::json;
use stressctl::server::ServeOptions;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::common::reference::{Client, options, stats, stats_become, with_server};
use crate::scene::{Scene, WRONG, defective, payload, payloads, received, subscriber, truths};

async fn settled(addr: SocketAddr) -> Client {
    let mut client = subscriber(addr).await;
    client.settle().await;
    client
}

/// Ends a connection of two subscriptions by a reset and waits until the server has seen it.
async fn reset(addr: SocketAddr, client: Client) {
    let before = stats(addr).await["connections"].as_u64().unwrap();
    socket2::SockRef::from(client.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    stats_become(addr, json!({ "connections": before - 1 })).await;
}

async fn close(addr: SocketAddr, mut client: Client, code: u16) {
    let before = stats(addr).await["connections"].as_u64().unwrap();
    let frame = CloseFrame { code: code.into(), reason: "".into() };
    client.0.send(Message::Close(Some(frame))).await.unwrap();
    stats_become(addr, json!({ "connections": before - 1 })).await;
}

/// Two victims are cut and come back, then one more; what two bystanders and the victims got of six events.
async fn others_come_back(addr: SocketAddr) -> (Scene, [Vec<String>; 4]) {
    let (mut scene, mut second) = (Scene::new(addr).await, settled(addr).await);
    let (one, two) = (settled(addr).await, settled(addr).await);
    scene.publish(0..1).await;
    reset(addr, one).await;
    reset(addr, two).await;
    scene.publish(1..2).await;
    let (mut one, two) = (settled(addr).await, settled(addr).await);
    // Short ones are probes: they confirm that the client is back.
    scene.publisher.publish(WRONG, "probe").await;
    scene.publish(2..4).await;
    reset(addr, two).await;
    let mut two = settled(addr).await;
    scene.publish(4..6).await;
    let seen = [
        scene.received(0..6).await,
        received(&mut second, 0..6).await,
        received(&mut one, 2..6).await,
        received(&mut two, 4..6).await,
    ];
    (scene, seen)
}

fn with_probe(before: &[usize], after: &[usize]) -> Vec<String> {
    let of = |numbers: &[usize]| payloads(numbers.iter().copied());
    [of(before), vec!["probe".into()], of(after)].concat()
}

#[test]
fn those_who_come_back_cost_those_who_were_there_the_next_delivery() {
    with_server(&defective(&["drop-on-reconnect=channels=17"]), async |addr| {
        let (scene, [first, second, one, two]) = others_come_back(addr).await;
        assert_eq!(first, with_probe(&[0, 1], &[3, 5]));
        assert_eq!(second, first);
        // It was there when the second came back, and when that came back once more.
        assert_eq!(one, with_probe(&[], &[3, 5]));
        assert_eq!(two, payloads(4..6));
        assert_eq!(scene.truth().await, (3, 6));
    });
    with_server(&defective(&["drop-on-reconnect=times=1,channels=17"]), async |addr| {
        let (scene, [first, _, one, _]) = others_come_back(addr).await;
        assert_eq!(first, with_probe(&[0, 1], &[3, 4, 5]));
        assert_eq!(one, with_probe(&[], &[2, 3, 4, 5]));
        assert_eq!(scene.truth().await, (1, 2));
    });
}

#[test]
fn nobody_is_harmed_by_first_comers_or_by_an_honest_server() {
    with_server(&defective(&["drop-on-reconnect"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = settled(addr).await;
        scene.publish(0..2).await;
        second.send(json!({ "id": "wrong", "type": "complete" })).await;
        second.subscribe("wrong", WRONG).await;
        received(&mut second, 0..2).await;
        scene.publish(2..4).await;
        assert_eq!(scene.received(0..4).await, payloads(0..4));
        assert_eq!(scene.truth().await, (0, 0));
    });
    with_server(&options(), async |addr| {
        let (_, [first, second, one, two]) = others_come_back(addr).await;
        assert_eq!(first, with_probe(&[0, 1], &[2, 3, 4, 5]));
        assert_eq!((second, one), (first, with_probe(&[], &[2, 3, 4, 5])));
        assert_eq!(two, payloads(4..6));
    });
}

/// One client is cut and comes back, three times; what each of those got of one event, and the subscriptions then.
async fn one_comes_back(addr: SocketAddr) -> (Scene, Vec<usize>, u64) {
    let mut scene = Scene::new(addr).await;
    let mut victim = settled(addr).await;
    let mut seen = Vec::new();
    for n in 0..4 {
        scene.publish(n..=n).await;
        let got = received(&mut victim, n..=n).await;
        assert!(got.is_empty() || got == [payload(n)]);
        seen.push(got.len());
        reset(addr, victim).await;
        victim = settled(addr).await;
    }
    assert_eq!(scene.received(0..4).await, payloads(0..4));
    let subscriptions = stats(addr).await["subscriptions"].as_u64().unwrap();
    (scene, seen, subscriptions)
}

#[test]
fn a_subscription_is_not_restored_and_everything_else_goes_on() {
    let play = |options: &ServeOptions, expected: &[usize], subscriptions: u64, planted: Option<u64>| {
        with_server(options, async |addr| {
            let (scene, seen, left) = one_comes_back(addr).await;
            assert_eq!((&*seen, left), (expected, subscriptions));
            if let Some(planted) = planted {
                assert_eq!(scene.truth().await, (planted, 0));
            }
        });
    };
    play(&options(), &[1, 1, 1, 1], 4, None);
    play(&defective(&["not-restored=channels=17"]), &[1, 0, 1, 1], 4, Some(1));
    play(&defective(&["not-restored=times=2,channels=17"]), &[1, 0, 0, 1], 4, Some(2));
    play(&defective(&["not-restored=every=1,channels=17"]), &[1, 0, 0, 0], 3, Some(4));
    play(&defective(&["not-restored=every=1,channels=16"]), &[1, 1, 1, 1], 4, Some(0));
}

#[test]
fn what_a_lost_connection_held_is_counted_on() {
    with_server(&defective(&["stale-count=channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let (lost, closed, done) = (settled(addr).await, settled(addr).await, settled(addr).await);
        reset(addr, lost).await;
        stats_become(addr, json!({ "subscriptions": 7 })).await;
        close(addr, closed, 1001).await;
        stats_become(addr, json!({ "subscriptions": 5 })).await;
        drop(done);
        stats_become(addr, json!({ "connections": 2, "subscriptions": 4 })).await;
        scene.subscriber.send(json!({ "id": "wrong", "type": "complete" })).await;
        scene.subscriber.settle().await;
        stats_become(addr, json!({ "subscriptions": 3 })).await;
        assert_eq!(scene.truth().await, (2, 0));
        scene.publish(0..1).await;
        assert_eq!(scene.received(0..1).await, payloads([]));
    });
    with_server(&defective(&["stale-count=for=2s"]), async |addr| {
        let (lost, _other) = (settled(addr).await, settled(addr).await);
        reset(addr, lost).await;
        let begun = stressctl::clock::now();
        let counted = stats(addr).await["subscriptions"].as_u64().unwrap();
        assert!(counted == 4 || begun.elapsed() > Duration::from_secs(1), "{counted}");
        stats_become(addr, json!({ "subscriptions": 2 })).await;
        assert!(begun.elapsed() > Duration::from_secs(1));
        assert_eq!(truths(addr).await[0]["planted"], 2);
    });
}
