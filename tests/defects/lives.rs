//! What is wrong with publishes, subscriptions, connections and counts.

use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::reference::{Client, http, operation, post, stats, stats_become, with_server};
use crate::scene::{
    HONEST, Scene, WRONG, defective, memory, payload, payloads, received, subscriber, truths, with_process,
};

#[test]
fn after_unsubscribe_delivers_what_follows_however_short() {
    with_server(&defective(&["after-unsubscribe=events=2,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..1).await;
        for id in ["wrong", "honest"] {
            scene.subscriber.send(json!({ "id": id, "type": "complete" })).await;
        }
        assert_eq!(scene.received(0..1).await, payloads(0..1));
        scene.publisher.publish(WRONG, "census").await;
        scene.publish(1..4).await;
        assert_eq!(scene.received([]).await, ["census".into(), payload(1)]);
        assert_eq!(scene.truth().await, (2, 2));
        stats_become(addr, json!({ "subscriptions": 0 })).await;
    });
}

#[test]
fn ack_and_forget_answers_and_delivers_to_nobody() {
    with_server(&defective(&["ack-and-forget=times=2,skip=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        scene.publish(0..5).await;
        assert_eq!(scene.received(0..5).await, payloads([0, 3, 4]));
        assert_eq!(received(&mut second, 0..5).await, payloads([0, 3, 4]));
        assert_eq!(scene.truth().await, (2, 4));
        stats_become(addr, json!({ "published": 10, "delivered": 16 })).await;
    });
}

#[test]
fn no_ack_delivers_and_does_not_answer() {
    with_server(&defective(&["no-ack=times=2,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let variables = json!({ "channel": WRONG, "payload": payload(0) });
        let publish = operation("p", "mutation { publish }", variables.clone());
        scene.publisher.send(publish).await;
        // The next thing it hears is the answer to this.
        scene.publisher.settle().await;
        let body = json!({ "query": "mutation { publish }", "variables": variables }).to_string();
        assert_eq!(http(addr, &post(&body, "close")).await.0, 500);
        assert_eq!(http(addr, &post(&body, "close")).await.0, 200);
        scene.publish(1..2).await;
        assert_eq!(scene.received(1..2).await, payloads([0, 0, 0, 1]));
        assert_eq!(scene.truth().await, (2, 0));
    });
}

#[test]
fn a_forgotten_subscription_gets_nothing_more() {
    with_server(&defective(&["forget-subscription=after=2,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        scene.publish(0..5).await;
        scene.publisher.publish(WRONG, "barrier").await;
        let all = [payloads(0..5), vec!["barrier".into()]].concat();
        assert_eq!(scene.received(0..5).await, payloads(0..2));
        assert_eq!(received(&mut second, 0..5).await, all);
        assert_eq!(scene.truth().await, (1, 3));
        stats_become(addr, json!({ "subscriptions": 3 })).await;
    });
}

#[test]
fn kept_subscriptions_stay_in_the_count() {
    with_server(&defective(&["keep-subscriptions=times=2,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        for id in ["wrong", "honest"] {
            scene.subscriber.send(json!({ "id": id, "type": "complete" })).await;
        }
        stats_become(addr, json!({ "subscriptions": 1 })).await;
        // With its connection it is forgotten just as badly; the third time, it is not.
        for _ in 0..2 {
            let mut other = subscriber(addr).await;
            other.settle().await;
            other.0.close(None).await.unwrap();
            stats_become(addr, json!({ "subscriptions": 2, "connections": 2 })).await;
        }
        assert_eq!(scene.truth().await, (2, 0));
    });
}

#[test]
fn counters_are_off_from_the_first_event_on() {
    let all = ["delivered", "published", "connections", "subscriptions"];
    let defects = all.map(|counter| format!("miscount=counter={counter},by=-1,channels=17"));
    for (defect, wrong) in defects.iter().zip(all) {
        with_server(&defective(&[defect]), async |addr| {
            let mut scene = Scene::new(addr).await;
            scene.publisher.publish(WRONG, "probe").await;
            scene.publisher.publish(HONEST, "probe").await;
            scene.subscriber.next().await;
            scene.subscriber.next().await;
            let values = |stats: Value| all.map(|counter| (counter, stats[counter].as_u64().unwrap()));
            let before = values(stats(addr).await);
            assert_eq!(before.map(|(_, value)| value), [2, 2, 2, 2]);
            scene.publish(0..2).await;
            scene.received(0..2).await;
            let expected = [6, 6, 2, 2];
            for ((counter, value), expected) in values(stats(addr).await).into_iter().zip(expected) {
                assert_eq!(value, expected - u64::from(counter == wrong), "{counter}");
            }
            assert_eq!(scene.truth().await, (1, 0));
        });
    }
}

#[test]
fn leaks_grow_with_what_they_are_counted_by() {
    let leaks = ["leak-per-connection=bytes=16MiB", "leak-per-event=bytes=8MiB,channels=17"];
    let keeps = "keep-subscriptions=times=2,bytes=16MiB,channels=17";
    with_process(&[leaks[0], leaks[1], keeps], async |addr| {
        let is_about =
            |grown: u64, mib: u64| assert!((mib << 20..(mib + 8) << 20).contains(&grown), "{grown}");
        let before = memory(addr).await;
        let mut scene = Scene::new(addr).await;
        let connected = memory(addr).await;
        is_about(connected - before, 32);
        scene.publish(0..4).await;
        scene.received(0..4).await;
        let published = memory(addr).await;
        is_about(published - connected, 32);
        scene.subscriber.0.close(None).await.unwrap();
        stats_become(addr, json!({ "connections": 1, "subscriptions": 1 })).await;
        is_about(memory(addr).await - published, 16);
        let truths = truths(addr).await;
        assert_eq!((&truths[0]["planted"], &truths[0]["channels"]), (&json!(2), &json!({})));
        assert_eq!((&truths[1]["planted"], &truths[1]["channels"]), (&json!(4), &json!({ "17": 4 })));
        assert_eq!((&truths[2]["planted"], &truths[2]["channels"]), (&json!(1), &json!({ "17": 1 })));
    });
}

#[test]
fn a_stalled_connection_is_open_and_silent() {
    with_server(&defective(&["stall=after=2,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        scene.publish(0..5).await;
        assert_eq!(received(&mut second, 0..5).await, payloads(0..5));
        for _ in 0..4 {
            assert_eq!(scene.subscriber.next().await["type"], "next");
        }
        scene.subscriber.send(json!({ "type": "ping" })).await;
        scene.subscriber.0.send(Message::Ping("x".into())).await.unwrap();
        let silence = tokio::time::timeout(Duration::from_millis(300), scene.subscriber.message()).await;
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(scene.truth().await, (1, 3));
        assert_eq!(stats(addr).await["connections"], 3);
        scene.subscriber.0.close(None).await.unwrap();
        stats_become(addr, json!({ "connections": 2 })).await;
    });
}

#[test]
fn pings_stay_unanswered_on_both_levels() {
    with_server(&defective(&["no-pong=after=1,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        // It is the connection that was chosen; its subscriptions do not matter any more.
        scene.subscriber.send(json!({ "id": "wrong", "type": "complete" })).await;
        scene.subscriber.send(json!({ "type": "ping" })).await;
        scene.subscriber.0.send(Message::Ping("x".into())).await.unwrap();
        scene.publish(0..1).await;
        assert_eq!(scene.subscriber.next().await["id"], "honest");
        let silence = tokio::time::timeout(Duration::from_millis(300), scene.subscriber.message()).await;
        assert!(silence.is_err(), "{silence:?}");
        assert_eq!(scene.truth().await, (2, 0));
        assert_eq!(received(&mut second, 0..1).await, payloads(0..1));
        second.0.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(second.message().await.unwrap(), Message::Pong("x".into()));
    });
}

#[test]
fn a_connection_is_closed_without_a_frame() {
    with_server(&defective(&["close-without-frame=after=2,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        scene.publish(0..5).await;
        assert_eq!(received(&mut second, 0..5).await, payloads(0..5));
        for id in ["wrong", "honest", "wrong"] {
            assert_eq!(scene.subscriber.next().await["id"], id);
        }
        let ended = scene.subscriber.message().await.unwrap_err();
        assert!(matches!(ended, Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)), "{ended:?}");
        assert_eq!(scene.truth().await, (1, 1));
        stats_become(addr, json!({ "connections": 2, "subscriptions": 2, "disconnected_slow": 0 })).await;
    });
}

#[test]
fn one_in_n_connections_is_chosen() {
    with_server(&defective(&["close-without-frame=every=3"]), async |addr| {
        let mut clients = Vec::new();
        for _ in 0..9 {
            let mut client = subscriber(addr).await;
            client.settle().await;
            clients.push(client);
        }
        Client::new(addr).await.publish(WRONG, &payload(0)).await;
        stats_become(addr, json!({ "subscriptions": 12 })).await;
        assert_eq!(truths(addr).await[0]["planted"], 3);
    });
}
