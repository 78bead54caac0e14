//! What `--defect` plants, as a plain client sees it: exactly the wrong thing, exactly as often as `GET /defects`
//! says, and nothing on the channels beside.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

mod common;

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::binary::Stressctl;
use common::reference::{
    Client, PATIENCE, get, http, operation, options, post, stats, stats_become, with_server,
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use stressctl::server::{ServeError, ServeOptions, Server};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

/// The channel that defects are planted on, and the one beside it.
const WRONG: &str = "stress-0a1b2c3d-17";
const HONEST: &str = "stress-0a1b2c3d-18";

fn defective(defects: &[&str]) -> ServeOptions {
    let defects = defects.iter().map(|text| text.parse().unwrap()).collect();
    ServeOptions { defects, ..options() }
}

/// The n-th event's payload; long enough to be taken for an event, and different everywhere from its neighbours.
fn payload(n: usize) -> String {
    format!("{n:04}") + &char::from(b'a' + (n % 26) as u8).to_string().repeat(196)
}

fn payloads(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(payload).collect()
}

/// A subscriber of both channels and a publisher.
struct Scene {
    addr: SocketAddr,
    subscriber: Client,
    publisher: Client,
}

impl Scene {
    async fn new(addr: SocketAddr) -> Self {
        let (mut subscriber, publisher) = (subscriber(addr).await, Client::new(addr).await);
        subscriber.settle().await;
        Self { addr, subscriber, publisher }
    }

    /// Publishes these events on both channels.
    async fn publish(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for n in numbers {
            self.publisher.publish(WRONG, &payload(n)).await;
            self.publisher.publish(HONEST, &payload(n)).await;
        }
    }

    /// What has arrived: payloads under the wrong channel's id; the honest one's must be `honest`.
    async fn received(&mut self, honest: impl IntoIterator<Item = usize>) -> Vec<String> {
        received(&mut self.subscriber, honest).await
    }

    /// How often the only defect struck, and how many deliveries that touched; all of it on the wrong channel.
    async fn truth(&self) -> (u64, u64) {
        let truth = truths(self.addr).await.remove(0);
        let planted = truth["planted"].as_u64().unwrap();
        let channels = if planted == 0 { json!({}) } else { json!({ "17": planted }) };
        assert_eq!(truth["channels"], channels);
        (planted, truth["deliveries"].as_u64().unwrap())
    }
}

async fn subscriber(addr: SocketAddr) -> Client {
    let mut client = Client::new(addr).await;
    client.subscribe("wrong", WRONG).await;
    client.subscribe("honest", HONEST).await;
    client
}

async fn received(client: &mut Client, honest: impl IntoIterator<Item = usize>) -> Vec<String> {
    let (mut wrong, mut beside) = (Vec::new(), Vec::new());
    client.send(json!({ "type": "ping" })).await;
    loop {
        let message = client.next().await;
        if message == json!({ "type": "pong" }) {
            assert_eq!(beside, payloads(honest));
            return wrong;
        }
        let payload = message["payload"]["data"]["event"]["payload"].as_str().unwrap().to_owned();
        match message["id"].as_str().unwrap() {
            "wrong" => wrong.push(payload),
            "honest" => beside.push(payload),
            other => panic!("{other}"),
        }
    }
}

async fn truths(addr: SocketAddr) -> Vec<Value> {
    let (status, body) = get(addr, "/defects").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

/// Publishes these events with this defect on the wrong channel; what arrived there, planted, deliveries.
fn play(defect: &str, events: usize) -> (Vec<String>, u64, u64) {
    let mut seen = None;
    with_server(&defective(&[defect]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..events).await;
        let received = scene.received(0..events).await;
        let (planted, deliveries) = scene.truth().await;
        seen = Some((received, planted, deliveries));
    });
    seen.unwrap()
}

#[test]
fn an_honest_server_has_planted_nothing() {
    with_server(&options(), async |addr| {
        assert_eq!(get(addr, "/defects").await, (200, "[]".into()));
        assert_eq!(http(addr, "PUT /defects HTTP/1.0\r\n\r\n").await.0, 405);
    });
}

#[test]
fn the_truth_names_what_was_asked_for() {
    with_server(&defective(&["drop=every=3,channels=17", "duplicate"]), async |addr| {
        let fresh = |kind: &str, parameters: &str| json!({ "kind": kind, "parameters": parameters, "planted": 0, "deliveries": 0, "channels": {} });
        assert_eq!(truths(addr).await, [fresh("drop", "every=3,channels=17"), fresh("duplicate", "")]);
    });
}

#[test]
fn drop_loses_one_in_n_from_a_seed() {
    let lost = |defect: &str| {
        let (received, planted, deliveries) = play(defect, 40);
        let lost = (0..40).filter(|&n| !received.contains(&payload(n))).collect::<Vec<_>>();
        assert_eq!(received, payloads((0..40).filter(|n| !lost.contains(n))));
        assert_eq!((planted, deliveries), (lost.len() as u64, lost.len() as u64));
        lost
    };
    let first = lost("drop=every=8,channels=17");
    assert_eq!(first.iter().map(|n| n / 8).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(lost("drop=every=8,channels=10-17,seed=0"), first);
    assert_ne!(lost("drop=every=8,channels=17,seed=1"), first);
    assert_eq!(lost("drop=every=8,times=2,channels=17"), first[..2]);
    assert_eq!(lost("drop=channels=17"), [0]);
    assert_eq!(lost("drop=channels=17,times=3,skip=5"), [5, 6, 7]);
    assert_eq!(lost("drop=channels=17,min-bytes=201"), [0; 0]);
    assert_eq!(lost("drop=channels=1-16+19"), [0; 0]);
}

#[test]
fn short_messages_are_left_alone() {
    with_server(&defective(&["drop=times=2,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publisher.publish(WRONG, &"p".repeat(99)).await;
        scene.publish(0..1).await;
        scene.publisher.publish(WRONG, &"p".repeat(99)).await;
        assert_eq!(scene.received(0..1).await, ["p".repeat(99), "p".repeat(99)]);
        assert_eq!(scene.truth().await, (1, 1));
    });
}

#[test]
fn drop_tail_loses_the_last_events_for_everyone_and_lets_what_follows_pass() {
    with_server(&defective(&["drop-tail=after=7,times=3,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut second = subscriber(addr).await;
        second.settle().await;
        scene.publish(0..10).await;
        scene.publisher.publish(WRONG, "barrier").await;
        scene.publish(10..11).await;
        let expected = [payloads(0..7), vec!["barrier".into()], payloads(10..11)].concat();
        assert_eq!(scene.received(0..11).await, expected);
        assert_eq!(received(&mut second, 0..11).await, expected);
        assert_eq!(scene.truth().await, (6, 6));
    });
}

#[test]
fn drop_when_slow_loses_what_meets_a_queue_and_counts_it_nowhere() {
    with_server(&defective(&["drop-when-slow=channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..3).await;
        assert_eq!(scene.received(0..3).await, payloads(0..3));
        // More than the kernel takes for a client that does not read.
        let large = "x".repeat(8 << 20);
        scene.publisher.publish(HONEST, &large).await;
        scene.publish(3..6).await;
        assert_eq!(scene.truth().await, (3, 3));
        let counts = stats(addr).await;
        assert_eq!((&counts["dropped"], &counts["published"]), (&json!(0), &json!(13)));
        assert_eq!(counts["delivered"].as_u64().unwrap() + counts["queued"].as_u64().unwrap(), 10);
    });
}

#[test]
fn drop_first_loses_what_comes_first_however_short() {
    with_server(&defective(&["drop-first=channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publisher.publish(WRONG, "probe").await;
        scene.publish(0..2).await;
        assert_eq!(scene.received(0..2).await, payloads(0..2));
        assert_eq!(scene.truth().await, (1, 1));
    });
}

#[test]
fn duplicate_delivers_twice() {
    let (received, planted, deliveries) = play("duplicate=times=3,every=4,channels=17", 20);
    let twice = (0..20).filter(|&n| received.iter().filter(|got| **got == payload(n)).count() == 2);
    let twice = twice.collect::<Vec<_>>();
    assert_eq!(twice.iter().map(|n| n / 4).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((received.len(), planted, deliveries), (23, 3, 3));
}

#[test]
fn duplicate_on_reconnect_sends_again_what_the_ended_connection_had() {
    let defect = "duplicate-on-reconnect=events=3,lag=2,times=1,channels=17";
    with_server(&defective(&[defect]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..10).await;
        assert_eq!(scene.received(0..10).await, payloads(0..10));
        // Somebody new is no reconnect.
        assert!(received(&mut subscriber(addr).await, []).await.is_empty());
        stats_become(addr, json!({ "connections": 2 })).await;
        scene.subscriber.0.close(None).await.unwrap();
        stats_become(addr, json!({ "connections": 1 })).await;
        scene.publish(10..11).await;
        scene.subscriber = subscriber(addr).await;
        assert_eq!(scene.received([]).await, payloads(5..8));
        scene.publish(11..12).await;
        assert_eq!(scene.received(11..12).await, payloads(11..12));
        assert_eq!(scene.truth().await, (3, 3));
    });
}

#[test]
fn reorder_holds_back_until_later_ones_were_delivered() {
    let (received, planted, _) = play("reorder=by=2,times=1,skip=3,channels=17", 8);
    assert_eq!(received, payloads([0, 1, 2, 4, 5, 3, 6, 7]));
    assert_eq!(planted, 1);
    let (received, planted, _) = play("reorder=by=1,times=2,channels=17", 4);
    assert_eq!(received, payloads([2, 0, 1, 3]));
    assert_eq!(planted, 2);
}

#[test]
fn what_is_held_back_comes_before_a_short_message() {
    with_server(&defective(&["reorder=by=5,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..3).await;
        scene.publisher.publish(WRONG, "barrier").await;
        let expected = [payloads([1, 2, 0]), vec!["barrier".into()]].concat();
        assert_eq!(scene.received(0..3).await, expected);
        assert_eq!(scene.truth().await, (1, 1));
    });
    // Nothing came between: it is not out of order, and not counted.
    with_server(&defective(&["reorder=by=5,times=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        scene.publish(0..1).await;
        scene.publisher.publish(WRONG, "barrier").await;
        assert_eq!(scene.received(0..1).await, [payload(0), "barrier".into()]);
        assert_eq!(scene.truth().await, (0, 0));
    });
}

/// Where two texts of one length differ.
fn differences(one: &str, other: &str) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    (0..one.len()).filter(|&at| one.as_bytes()[at] != other.as_bytes()[at]).collect()
}

#[test]
fn corruption_changes_one_byte_where_it_says() {
    let places = |defect: &str| {
        let (received, planted, _) = play(defect, 6);
        let places = received.iter().enumerate().map(|(n, got)| differences(got, &payload(n)));
        let places = places.collect::<Vec<_>>();
        assert_eq!(planted, places.iter().filter(|places| !places.is_empty()).count() as u64);
        places
    };
    let filler = places("corrupt-filler=times=2,channels=17");
    assert_eq!(filler, [vec![180], vec![180], vec![], vec![], vec![], vec![]]);
    assert_eq!(places("corrupt-filler=times=1,from-end=1,channels=17")[0], [199]);
    let header = places("corrupt-header=times=3,channels=17");
    assert_eq!(header.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1, 0, 0, 0]);
    assert!(header.iter().flatten().all(|place| (10..70).contains(place)), "{header:?}");
    assert_eq!(places("corrupt-header=times=1,at=12,channels=17")[0], [12]);
    // There is no such byte: nothing is planted.
    assert_eq!(places("corrupt-filler=times=1,from-end=201,channels=17")[0], [0; 0]);
}

#[test]
fn truncate_cuts_and_leaves_the_rest() {
    let (received, planted, _) = play("truncate=share=0.5,times=1,skip=1,channels=17", 3);
    assert_eq!(received, [payload(0), payload(1)[..100].to_owned(), payload(2)]);
    assert_eq!(planted, 1);
}

#[test]
fn misroute_uses_the_id_of_another_channel_that_may_be_struck() {
    with_server(&defective(&["misroute=times=1,channels=17+19"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        // Only the honest channel is there beside it, and that is to be left alone.
        scene.publish(0..1).await;
        assert_eq!(scene.received(0..1).await, payloads(0..1));
        assert_eq!(scene.truth().await, (0, 0));
        scene.subscriber.subscribe("other", "c-19").await;
        scene.subscriber.settle().await;
        scene.publisher.publish(WRONG, &payload(1)).await;
        assert_eq!(scene.subscriber.next().await, common::reference::event("other", &payload(1)));
        scene.publish(2..3).await;
        assert_eq!(scene.received(2..3).await, payloads(2..3));
        assert_eq!(scene.truth().await, (1, 1));
    });
}

#[test]
fn replay_delivers_a_text_that_nobody_published() {
    let (received, planted, _) = play("replay-old-run=payload=~old~token,times=1,skip=1,channels=17", 3);
    assert_eq!(received, [payload(0), payload(1), "~old~token".into(), payload(2)]);
    assert_eq!(planted, 1);
}

#[test]
fn a_broken_frame_ends_the_connection() {
    let protocol = |expected: ProtocolError| {
        move |error: Error| assert!(matches!(&error, Error::Protocol(e) if *e == expected), "{error:?}")
    };
    type Check = Box<dyn Fn(Error)>;
    let ways: [(&str, Check); 4] = [
        ("reserved", Box::new(protocol(ProtocolError::NonZeroReservedBits))),
        ("opcode", Box::new(protocol(ProtocolError::InvalidOpcode(3)))),
        ("masked", Box::new(protocol(ProtocolError::MaskedFrameFromServer))),
        ("utf8", Box::new(|error| assert!(matches!(error, Error::Utf8(_)), "{error:?}"))),
    ];
    for (how, check) in ways {
        let defect = format!("break-frame=how={how},skip=1,channels=17");
        with_server(&defective(&[&defect]), async |addr| {
            let mut scene = Scene::new(addr).await;
            scene.publish(0..1).await;
            assert_eq!(scene.received(0..1).await, payloads(0..1));
            scene.publisher.publish(WRONG, &payload(1)).await;
            assert_eq!(scene.subscriber.next().await["id"], "wrong");
            check(scene.subscriber.message().await.unwrap_err());
            assert_eq!(scene.truth().await, (1, 1));
        });
    }
}

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

/// The same with a server in a process of its own: its memory is nobody else's.
fn with_process<F: Future<Output = ()>>(defects: &[&str], test: impl FnOnce(SocketAddr) -> F) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stressctl"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"]);
    defects.iter().for_each(|defect| drop(command.args(["--defect", defect])));
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let addr = line.trim().strip_prefix("listening on ws://").and_then(|rest| rest.strip_suffix("/graphql"));
    let addr = addr.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(3 * PATIENCE, test(addr)).await.unwrap() });
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}

async fn memory(addr: SocketAddr) -> u64 {
    stats(addr).await["memory_bytes"].as_u64().unwrap()
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

#[test]
fn slow_down_makes_each_event_later_and_keeps_the_order() {
    with_server(&defective(&["slow-down=step=60ms,max=150ms,skip=1,channels=17"]), async |addr| {
        let mut scene = Scene::new(addr).await;
        let mut delays = Vec::new();
        for n in 0..5 {
            #[allow(clippy::disallowed_methods, reason = "the delay is the server's, on the real clock")]
            let published = Instant::now();
            scene.publisher.publish(WRONG, &payload(n)).await;
            if n == 4 {
                scene.publisher.publish(WRONG, "barrier").await;
            }
            assert_eq!(scene.subscriber.next().await["payload"]["data"]["event"]["payload"], payload(n));
            delays.push(published.elapsed());
        }
        assert_eq!(scene.subscriber.next().await["payload"]["data"]["event"]["payload"], "barrier");
        for (delay, least) in delays.iter().zip([0, 60, 120, 150, 150]) {
            assert!(*delay >= Duration::from_millis(least), "{delays:?}");
        }
        assert!(delays[0] < Duration::from_millis(60), "{delays:?}");
        assert_eq!(scene.truth().await, (4, 4));
    });
}

#[test]
fn many_defects_each_strike_on_their_own_channels() {
    let defects = ["drop=times=2,channels=1", "duplicate=times=3,channels=2", "corrupt-filler=channels=3-4"];
    with_server(&defective(&defects), async |addr| {
        let mut client = Client::new(addr).await;
        for channel in 1..=5 {
            client.subscribe(&format!("{channel}"), &format!("c-{channel}")).await;
        }
        client.settle().await;
        let mut publisher = Client::new(addr).await;
        for n in 0..10 {
            for channel in 1..=5 {
                publisher.publish(&format!("c-{channel}"), &payload(n)).await;
            }
        }
        let mut counts = [0; 6];
        for _ in 0..51 {
            let id = client.next().await["id"].as_str().unwrap().parse::<usize>().unwrap();
            counts[id] += 1;
        }
        client.settle().await;
        assert_eq!(counts, [0, 8, 13, 10, 10, 10]);
        let channels = truths(addr).await.into_iter().map(|truth| truth["channels"].clone());
        let expected = [json!({ "1": 2 }), json!({ "2": 3 }), json!({ "3": 1, "4": 1 })];
        assert_eq!(channels.collect::<Vec<_>>(), expected);
    });
}

#[test]
fn defects_never_leave_this_machine() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (listen, allow_remote) in [("0.0.0.0:0", false), ("0.0.0.0:0", true), ("[::]:0", true)] {
            let listen = listen.parse().unwrap();
            let options = ServeOptions { listen, allow_remote, ..defective(&["drop"]) };
            let refused = Server::bind(&options).await.unwrap_err();
            assert!(matches!(refused, ServeError::Defective { .. }), "{refused}");
        }
    });
    let remote = ["serve", "--listen", "0.0.0.0:0", "--allow-remote", "--defect", "drop"];
    Stressctl::new(&remote).finish().exits(2).says("a loopback address only");
    let unknown = ["serve", "--listen", "127.0.0.1:0", "--defect", "dorp=times=1"];
    Stressctl::new(&unknown).finish().exits(2).says("did you mean `drop`?");
}
