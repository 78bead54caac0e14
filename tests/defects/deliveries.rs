//! What is wrong with single deliveries.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;

use crate::common::reference::{event, stats, stats_become, with_server};
use crate::scene::{HONEST, Scene, WRONG, defective, payload, payloads, play, received, subscriber};

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
        assert_eq!(scene.subscriber.next().await, event("other", &payload(1)));
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

/// Where two texts of one length differ.
fn differences(one: &str, other: &str) -> Vec<usize> {
    assert_eq!(one.len(), other.len());
    (0..one.len()).filter(|&at| one.as_bytes()[at] != other.as_bytes()[at]).collect()
}
