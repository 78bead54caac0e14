//! What `GET /closings` says of connections that ended in every way, a known number of times.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use stressctl::server::ServeOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::common::reference::{Client, event, get, operation, options, stats, stats_become, with_server};

async fn closings(addr: SocketAddr) -> Value {
    let (status, body) = get(addr, "/closings").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

/// Waits until these are the counts; returns the log, which must have as many entries.
async fn closings_become(addr: SocketAddr, expected: Value) -> Vec<Value> {
    let mut last = Value::Null;
    for _ in 0..200 {
        last = closings(addr).await;
        if last["counts"] == expected {
            let ways =
                expected.as_object().unwrap().values().flat_map(|ways| ways.as_object().unwrap().values());
            let log = last["log"].as_array().unwrap();
            assert_eq!(log.len() as u64, ways.map(|n| n.as_u64().unwrap()).sum::<u64>());
            return log.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("expected {expected}, have {}", last["counts"]);
}

async fn subscriber(addr: SocketAddr, channels: usize) -> Client {
    let mut client = Client::new(addr).await;
    for n in 0..channels {
        client.subscribe(&format!("{n}"), "a").await;
    }
    client.settle().await;
    client
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}

fn close(code: u16) -> Message {
    Message::Close(Some(CloseFrame { code: code.into(), reason: "".into() }))
}

#[test]
fn every_end_is_told_with_how_far_it_had_come() {
    with_server(&options(), async |addr| {
        let mut asking = Vec::new();
        for bytes in ["", "GET /graphql HTTP/1.1\r\nupgr", "", "GET / HT", ""] {
            let mut stream = TcpStream::connect(addr).await.unwrap();
            stream.write_all(bytes.as_bytes()).await.unwrap();
            asking.push(stream);
        }
        asking[..3].iter().for_each(reset);
        for _ in 0..2 {
            reset(Client::silent(addr).await.0.get_ref());
            drop(Client::silent(addr).await);
        }
        let mut greeting = Client::silent(addr).await;
        greeting.send(operation("s", "subscription", json!({ "channel": "a" }))).await;
        assert_eq!(greeting.closed().await.0, 4401);
        drop(asking);
        for n in 1..=3 {
            let client = subscriber(addr, n).await;
            reset(client.0.get_ref());
            drop(client);
            subscriber(addr, 0).await.0.send(close(4000)).await.unwrap();
        }
        drop(subscriber(addr, 4).await);
        let mut half = subscriber(addr, 5).await;
        half.0.get_mut().shutdown().await.unwrap();
        subscriber(addr, 1).await.0.close(None).await.unwrap();
        subscriber(addr, 1).await.0.send(close(1000)).await.unwrap();
        let mut wrong = subscriber(addr, 6).await;
        wrong.send(json!({ "type": "no such type" })).await;
        assert_eq!(wrong.closed().await.0, 4400);
        let counts = json!({
            "asking": { "reset": 3, "eof": 2 },
            "greeting": { "reset": 2, "eof": 2, "server": 1 },
            "ready": { "reset": 3, "close-4000": 3, "eof": 2, "close-none": 1, "close-1000": 1, "server": 1 },
        });
        let log = closings_become(addr, counts).await;
        assert!(log.iter().all(|entry| entry["in_frame"] == false), "{log:?}");
        let mut held = log.iter().filter(|entry| entry["stage"] == "ready").collect::<Vec<_>>();
        held.sort_by_key(|entry| (entry["how"].to_string(), entry["subscriptions"].as_u64()));
        let held = held.iter().map(|entry| entry["subscriptions"].as_u64().unwrap());
        // By how it ended: close-1000, close-4000, close-none, eof, reset, server.
        assert_eq!(held.collect::<Vec<_>>(), [1, 0, 0, 0, 1, 4, 5, 1, 2, 3, 6]);
    });
}

#[test]
fn silence_is_told_with_its_length() {
    let limit = Duration::from_millis(400);
    let hasty = ServeOptions { init_timeout: limit, idle_timeout: limit, ..options() };
    with_server(&hasty, async |addr| {
        let begun = stressctl::clock::now();
        let mut mute = Vec::new();
        for _ in 0..2 {
            mute.push(TcpStream::connect(addr).await.unwrap());
        }
        let mut slow = TcpStream::connect(addr).await.unwrap();
        let (mut greeting, mut ready) = (Client::silent(addr).await, Client::new(addr).await);
        let subscribed = subscriber(addr, 1).await;
        // Half a request does not give it more time.
        tokio::time::sleep(Duration::from_millis(200)).await;
        slow.write_all(b"GET /").await.unwrap();
        assert_eq!(greeting.closed().await.0, 4408);
        assert_eq!(ready.closed().await.0, 1000);
        let counts =
            json!({ "asking": { "silence": 3 }, "greeting": { "silence": 1 }, "ready": { "silence": 1 } });
        let log = closings_become(addr, counts).await;
        let passed = begun.elapsed().as_secs_f64();
        for entry in &log {
            let times = ["silent_s", "open_s", "at_s"].map(|key| entry[key].as_f64().unwrap());
            assert!(times.is_sorted() && times[1] > 0.4 && times[1] <= passed, "{entry}");
        }
        let silent = log.iter().map(|entry| entry["silent_s"].as_f64().unwrap());
        assert_eq!(silent.clone().filter(|silent| *silent > 0.4).count(), 4, "{log:?}");
        assert!(silent.fold(f64::MAX, f64::min) <= 0.4, "{log:?}");
        drop(subscribed);
    });
}

/// Ends `times` subscribers while events are on their way to them, so that a write of the server's meets the end.
async fn end_in_midst(addr: SocketAddr, times: u64, end: impl AsyncFn(&mut Client)) {
    let mut publisher = Client::new(addr).await;
    let publish = operation("p", "mutation", json!({ "channel": "a", "payload": "x" }));
    for _ in 0..times {
        let mut ended = subscriber(addr, 1).await;
        for _ in 0..3 {
            publisher.0.feed(Message::text(publish.to_string())).await.unwrap();
        }
        publisher.0.flush().await.unwrap();
        end(&mut ended).await;
        drop(ended);
        stats_become(addr, json!({ "subscriptions": 0 })).await;
        for _ in 0..6 {
            publisher.next().await;
        }
    }
    publisher.0.send(close(4999)).await.unwrap();
    stats_become(addr, json!({ "connections": 0 })).await;
}

#[test]
fn what_a_write_met_first_is_told_as_it_was() {
    with_server(&options(), async |addr| {
        end_in_midst(addr, 10, async |client| reset(client.0.get_ref())).await;
        let counts = json!({ "ready": { "reset": 10, "close-4999": 1 } });
        closings_become(addr, counts).await;
        end_in_midst(addr, 10, async |_| ()).await;
        let counts = json!({ "ready": { "reset": 10, "eof": 10, "close-4999": 2 } });
        closings_become(addr, counts).await;
        end_in_midst(addr, 10, async |client| client.0.send(close(4001)).await.unwrap()).await;
        let counts = json!({ "ready": { "reset": 10, "eof": 10, "close-4001": 10, "close-4999": 3 } });
        closings_become(addr, counts).await;
    });
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_told() {
    // A masked text of five bytes that is not the last fragment, and the beginning of another one.
    let fragment = b"\x01\x85\0\0\0\0hello";
    let ping = b"\x89\x81\0\0\0\0x";
    let cases: &[(&[u8], bool)] = &[
        (b"", false),
        (ping, false),
        (fragment, false),
        (&[&fragment[..], &ping[..]].concat(), false),
        (&ping[..1], true),
        (&ping[..4], true),
        (&ping[..6], true),
        (&fragment[..8], true),
        (&[&fragment[..], &fragment[..1]].concat(), true),
        (b"\x81\xFE\x80\0\0\0\0\0 much more is to follow", true),
    ];
    with_server(&options(), async |addr| {
        for (count, &(bytes, in_frame)) in (1..).zip(cases) {
            let mut client = subscriber(addr, 2).await;
            client.0.get_mut().write_all(bytes).await.unwrap();
            client.0.get_mut().shutdown().await.unwrap();
            let log = closings_become(addr, json!({ "ready": { "eof": count } })).await;
            let last = log.last().unwrap();
            assert_eq!(
                (&last["in_frame"], &last["subscriptions"]),
                (&json!(in_frame), &json!(2)),
                "{bytes:?}"
            );
        }
        let mut client = subscriber(addr, 1).await;
        client.0.get_mut().write_all(&fragment[..8]).await.unwrap();
        reset(client.0.get_ref());
        drop(client);
        let counts = json!({ "ready": { "eof": cases.len(), "reset": 1 } });
        assert_eq!(closings_become(addr, counts).await.last().unwrap()["in_frame"], true);
    });
}

#[test]
fn requests_leave_no_trace_and_an_upgrade_after_one_does() {
    with_server(&options(), async |addr| {
        for _ in 0..5 {
            stats(addr).await;
        }
        let mut kept_alive = TcpStream::connect(addr).await.unwrap();
        kept_alive.write_all(b"GET /stats HTTP/1.1\r\n\r\n").await.unwrap();
        kept_alive.readable().await.unwrap();
        reset(&kept_alive);
        drop(kept_alive);
        let mut client = Client::new(addr).await;
        client.subscribe("s", "a").await;
        client.publish("b", "x").await;
        let body =
            json!({ "query": "mutation", "variables": { "channel": "a", "payload": "y" } }).to_string();
        let (status, _) = crate::http(addr, &crate::post(&body, "close")).await;
        assert_eq!((status, client.next().await), (200, event("s", "y")));
        assert_eq!(closings(addr).await, json!({ "counts": {}, "log": [] }));
        drop(client);
        closings_become(addr, json!({ "ready": { "eof": 1 } })).await;
    });
}
