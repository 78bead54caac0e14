//! The reference server, spoken to by a real WebSocket client in the same process.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

mod closings;
#[path = "../common/mod.rs"]
mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::reference::{
    Client, PATIENCE, event, get, http, operation, options, post, stats, stats_become, with_server,
};
use futures_util::SinkExt;
use serde_json::{Value, json};
use stressctl::server::{ServeError, ServeOptions, Server, Size, WhenFull};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Error, Message};

#[test]
fn events_reach_each_subscription_under_its_own_id() {
    with_server(&options(), async |addr| {
        let mut subscriber = Client::new(addr).await;
        subscriber.subscribe("one", "a").await;
        subscriber.subscribe("two \" \u{1}", "b").await;
        subscriber.settle().await;
        let mut publisher = Client::new(addr).await;
        assert_eq!(publisher.publish("a", "for \"one\"\n").await, 1);
        assert_eq!(publisher.publish("b", "für zwei").await, 1);
        assert_eq!(publisher.publish("a", "more").await, 2);
        assert_eq!(subscriber.next().await, event("one", "for \"one\"\n"));
        assert_eq!(subscriber.next().await, event("two \" \u{1}", "für zwei"));
        assert_eq!(subscriber.next().await, event("one", "more"));
    });
}

#[test]
fn a_publisher_gets_its_own_events() {
    with_server(&options(), async |addr| {
        let mut client = Client::new(addr).await;
        client.subscribe("s", "a").await;
        client.send(operation("p", "mutation { publish }", json!({ "channel": "a", "payload": "x" }))).await;
        assert_eq!(client.next().await, event("s", "x"));
        assert_eq!(client.next().await["payload"], json!({ "data": { "publish": { "seq": 1 } } }));
        assert_eq!(client.next().await, json!({ "id": "p", "type": "complete" }));
    });
}

#[test]
fn many_subscribers_get_every_event_in_order() {
    with_server(&options(), async |addr| {
        let mut subscribers = Vec::new();
        for _ in 0..30 {
            let mut client = Client::new(addr).await;
            client.subscribe("s", "a").await;
            client.settle().await;
            subscribers.push(client);
        }
        let mut publisher = Client::new(addr).await;
        for n in 0..20 {
            publisher.publish("a", &format!("{n}")).await;
        }
        for client in &mut subscribers {
            for n in 0..20 {
                assert_eq!(client.next().await, event("s", &format!("{n}")));
            }
        }
        stats_become(addr, json!({ "published": 20, "delivered": 600, "dropped": 0, "queued": 0 })).await;
    });
}

#[test]
fn a_publisher_that_exceeds_its_turn_is_heard_again() {
    with_server(&options(), async |addr| {
        let mut subscriber = Client::new(addr).await;
        for n in 0..600 {
            subscriber.subscribe(&format!("{n}"), "a").await;
        }
        subscriber.settle().await;
        let mut publisher = Client::new(addr).await;
        for n in 1..=50 {
            assert_eq!(publisher.publish("a", "x").await, n);
            for _ in 0..600 {
                subscriber.next().await;
            }
        }
    });
}

#[test]
fn unsubscribing_stops_delivery_and_frees_the_id() {
    with_server(&options(), async |addr| {
        let mut subscriber = Client::new(addr).await;
        subscriber.subscribe("s", "a").await;
        subscriber.subscribe("t", "a").await;
        subscriber.send(json!({ "id": "s", "type": "complete" })).await;
        subscriber.send(json!({ "id": "never", "type": "complete" })).await;
        subscriber.settle().await;
        let mut publisher = Client::new(addr).await;
        publisher.publish("a", "x").await;
        assert_eq!(subscriber.next().await, event("t", "x"));
        subscriber.settle().await;
        stats_become(addr, json!({ "subscriptions": 1, "delivered": 1 })).await;
        subscriber.subscribe("s", "b").await;
        subscriber.settle().await;
        publisher.publish("b", "y").await;
        assert_eq!(subscriber.next().await, event("s", "y"));
    });
}

#[test]
fn what_the_server_does_not_understand_is_a_graphql_error() {
    let limited = ServeOptions { max_subscriptions_per_connection: Some(1), ..options() };
    with_server(&limited, async |addr| {
        let mut client = Client::new(addr).await;
        client.send(operation("q", "query { event }", json!({}))).await;
        let error = client.next().await;
        assert_eq!((&error["id"], &error["type"]), (&json!("q"), &json!("error")));
        assert_eq!(error["payload"].as_array().map(Vec::len), Some(1));
        client.subscribe("1", "a").await;
        client.subscribe("2", "a").await;
        let error = client.next().await;
        assert_eq!(error["payload"][0]["message"], "too many subscriptions on this connection");
    });
}

#[test]
fn pings_are_answered_on_both_levels() {
    with_server(&options(), async |addr| {
        let mut client = Client::silent(addr).await;
        client.send(json!({ "type": "ping", "payload": { "a": [1] } })).await;
        assert_eq!(client.next().await, json!({ "type": "pong", "payload": { "a": [1] } }));
        client.send(json!({ "type": "pong" })).await;
        client.0.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(client.message().await.unwrap(), Message::Pong("x".into()));
    });
}

#[test]
fn every_breach_of_the_protocol_has_its_close_code() {
    let hasty = ServeOptions { init_timeout: Duration::from_millis(300), ..options() };
    with_server(&hasty, async |addr| {
        let code = async |mut client: Client, message: Message| {
            client.0.send(message).await.unwrap();
            client.closed().await.0
        };
        let init = json!({ "type": "connection_init" }).to_string();
        let subscribe = operation("s", "subscription { a }", json!({ "channel": "a" })).to_string();
        assert_eq!(code(Client::new(addr).await, Message::text(init)).await, 4429);
        assert_eq!(code(Client::silent(addr).await, Message::text(subscribe.clone())).await, 4401);
        assert_eq!(code(Client::new(addr).await, Message::text("no JSON")).await, 4400);
        assert_eq!(code(Client::new(addr).await, Message::text(r#"{"type":"start"}"#)).await, 4400);
        assert_eq!(code(Client::new(addr).await, Message::binary(subscribe.clone())).await, 4400);
        let mut client = Client::new(addr).await;
        client.subscribe("s", "b").await;
        assert_eq!(code(client, Message::text(subscribe)).await, 4409);
        let silent = Client::silent(addr).await.closed().await;
        assert_eq!(silent, (4408, "Connection initialisation timeout".into()));
        stats_become(addr, json!({ "connections": 0, "subscriptions": 0 })).await;
    });
}

#[test]
fn another_subprotocol_is_not_acceptable() {
    with_server(&options(), async |addr| {
        let mut client = Client::offering(addr, None).await.unwrap();
        assert_eq!(client.closed().await, (4406, "Subprotocol not acceptable".into()));
        // This client gives up by itself when none of its offers is taken.
        assert!(Client::offering(addr, Some("graphql-ws")).await.is_err());
        assert!(Client::offering(addr, Some("graphql-ws, graphql-transport-ws")).await.is_ok());
    });
}

#[test]
fn a_message_over_the_limit_is_refused_and_one_at_it_is_not() {
    let small = ServeOptions { max_message: Size(100_000), ..options() };
    with_server(&small, async |addr| {
        let mut client = Client::new(addr).await;
        client.send(json!({ "type": "ping", "payload": "x".repeat(100_000 - 28) })).await;
        client.next().await;
        client.send(json!({ "type": "ping", "payload": "x".repeat(100_001) })).await;
        assert_eq!(client.closed().await.0, 1009);
    });
}

#[test]
fn large_events_arrive_intact() {
    with_server(&options(), async |addr| {
        let mut subscriber = Client::new(addr).await;
        subscriber.subscribe("s", "a").await;
        subscriber.settle().await;
        let mut publisher = Client::new(addr).await;
        let payloads = [100_000, 16 << 20].map(|size| format!("y{}", "x".repeat(size - 1)));
        for payload in &payloads {
            publisher.publish("a", payload).await;
        }
        for payload in &payloads {
            assert!(subscriber.next().await == event("s", payload), "a payload of {} bytes", payload.len());
        }
        stats_become(addr, json!({ "delivered": 2, "queued": 0, "dropped": 0 })).await;
    });
}

#[test]
fn idle_connections_are_closed_and_subscribed_ones_are_not() {
    let hasty = ServeOptions { idle_timeout: Duration::from_millis(300), ..options() };
    with_server(&hasty, async |addr| {
        let mut subscribed = Client::new(addr).await;
        subscribed.subscribe("s", "a").await;
        assert_eq!(Client::new(addr).await.closed().await.0, 1000);
        subscribed.settle().await;
    });
}

#[test]
fn a_connection_that_speaks_is_not_idle() {
    let hasty = ServeOptions { idle_timeout: Duration::from_secs(1), ..options() };
    with_server(&hasty, async |addr| {
        let mut publisher = Client::new(addr).await;
        for n in 1..=20 {
            assert_eq!(publisher.publish("a", "x").await, n);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn counts_are_exact_after_disconnects_of_every_kind() {
    with_server(&options(), async |addr| {
        let mut clients = Vec::new();
        for n in 0..9 {
            let mut client = Client::new(addr).await;
            client.subscribe("1", "a").await;
            client.subscribe("2", &format!("own {n}")).await;
            client.settle().await;
            clients.push(client);
        }
        let counts = |n: u64| json!({ "connections": n, "subscriptions": 2 * n, "peak_connections": 9 });
        stats_become(addr, counts(9)).await;
        clients.pop().unwrap().0.close(None).await.unwrap();
        stats_become(addr, counts(8)).await;
        drop(clients.pop());
        stats_become(addr, counts(7)).await;
        let reset = clients.pop().unwrap();
        socket2::SockRef::from(reset.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(reset);
        stats_become(addr, counts(6)).await;
        let mut publisher = Client::new(addr).await;
        publisher.publish("a", "x").await;
        for client in &mut clients {
            assert_eq!(client.next().await, event("1", "x"));
        }
        drop((clients, publisher));
        stats_become(addr, json!({ "connections": 0, "subscriptions": 0, "delivered": 6 })).await;
    });
}

/// Publishes 100 KB events until the unread ones exceed what the kernel buffers, with 30 of them to spare.
async fn overwhelm(addr: SocketAddr) -> (Client, u64) {
    let mut slow = Client::new(addr).await;
    slow.subscribe("s", "a").await;
    slow.settle().await;
    let mut publisher = Client::new(addr).await;
    let payload = "x".repeat(100_000);
    for n in 1..1000 {
        publisher.publish("a", &payload).await;
        if stats(addr).await["dropped"] != 0 {
            return (slow, n);
        }
    }
    panic!("a reader that does not read was never noticed");
}

#[test]
fn a_slow_reader_is_disconnected_and_every_event_accounted_for() {
    let tight = ServeOptions { queue_limit: Size(1_000_000), ..options() };
    with_server(&tight, async |addr| {
        let (mut slow, published) = overwhelm(addr).await;
        let mut received = 0;
        while slow.message().await.is_ok() {
            received += 1;
        }
        let expected = json!({ "delivered": received, "dropped": published - received, "queued": 0,
            "disconnected_slow": 1, "connections": 0, "subscriptions": 0 });
        assert!(published - received >= 10, "the queue held ten: {expected}");
        stats_become(addr, expected).await;
    });
}

#[test]
fn a_slow_reader_only_misses_events_when_they_are_dropped() {
    let tight = ServeOptions { queue_limit: Size(1_000_000), when_full: WhenFull::Drop, ..options() };
    with_server(&tight, async |addr| {
        let (mut slow, published) = overwhelm(addr).await;
        for _ in 1..published {
            slow.next().await;
        }
        slow.settle().await;
        let expected =
            json!({ "delivered": published - 1, "dropped": 1, "queued": 0, "disconnected_slow": 0 });
        stats_become(addr, expected).await;
    });
}

/// Who publishes waits until there is room again, and its acknowledgements with it: nothing is dropped, and everything
/// arrives once the reader reads.
#[test]
fn publishers_wait_for_a_slow_reader_and_nothing_is_dropped() {
    let patient =
        ServeOptions { queue_limit: Size(1_000_000), when_full: WhenFull::Backpressure, ..options() };
    with_server(&patient, async |addr| {
        let mut slow = Client::new(addr).await;
        slow.subscribe("s", "a").await;
        slow.settle().await;
        let (mut publisher, mut other) = (Client::new(addr).await, Client::new(addr).await);
        let payload = "x".repeat(100_000);
        let mut acknowledged = 0;
        let waits = loop {
            assert!(acknowledged < 1_000, "a reader that does not read was never noticed");
            let publish = publisher.publish("a", &payload);
            match tokio::time::timeout(Duration::from_millis(500), publish).await {
                Ok(_) => acknowledged += 1,
                Err(_) => break stats(addr).await,
            }
        };
        assert_eq!((&waits["dropped"], &waits["disconnected_slow"]), (&0.into(), &0.into()), "{waits}");
        assert!(waits["queued"].as_u64().unwrap() >= 10, "1 MB of them: {waits}");
        assert_eq!(waits["published"], acknowledged, "the one that waits has not been read");
        // Who publishes to somebody else does not wait.
        other.publish("b", &payload).await;
        // The one that waited too.
        for _ in 0..=acknowledged {
            slow.next().await;
        }
        let expected = json!({ "delivered": acknowledged + 1, "dropped": 0, "queued": 0, "connections": 3,
            "published": acknowledged + 2 });
        stats_become(addr, expected).await;
    });
}

#[test]
fn nothing_follows_half_a_frame() {
    let tight = ServeOptions { queue_limit: Size(1_000_000), ..options() };
    with_server(&tight, async |addr| {
        let mut client = Client::new(addr).await;
        client.subscribe("s", "a").await;
        let publish = operation("p", "mutation", json!({ "channel": "a", "payload": "x".repeat(100_000) }));
        let publish = Message::text(publish.to_string());
        while stats(addr).await["disconnected_slow"] == 0 {
            if client.0.send(publish.clone()).await.is_err() {
                break;
            }
        }
        loop {
            match client.message().await {
                Ok(Message::Text(text)) => drop(serde_json::from_str::<Value>(&text).unwrap()),
                Ok(other) => panic!("{other:?}"),
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        stats_become(addr, json!({ "disconnected_slow": 1, "connections": 0, "queued": 0 })).await;
    });
}

#[test]
fn events_are_published_over_http_too() {
    with_server(&options(), async |addr| {
        let mut subscriber = Client::new(addr).await;
        subscriber.subscribe("s", "a").await;
        subscriber.settle().await;
        let body =
            json!({ "query": "mutation { publish }", "variables": { "channel": "a", "payload": "x" } });
        let body = body.to_string();
        // Twice on one connection, sent together.
        let (status, answer) = http(addr, &(post(&body, "keep-alive") + &post(&body, "close"))).await;
        assert_eq!(status, 200);
        assert!(answer.starts_with(r#"{"data":{"publish":{"seq":1}}}HTTP/1.1 200 OK"#), "{answer}");
        assert!(answer.ends_with(r#"{"data":{"publish":{"seq":2}}}"#), "{answer}");
        assert_eq!(subscriber.next().await, event("s", "x"));
        assert_eq!(subscriber.next().await, event("s", "x"));
        let refused = http(addr, &post(r#"{"query":"query { a }"}"#, "close")).await;
        assert_eq!(refused.0, 400);
        assert!(serde_json::from_str::<Value>(&refused.1).unwrap()["errors"][0]["message"].is_string());
        let typed = post(&body, "close").replace("application/json", "text/plain");
        assert_eq!(http(addr, &typed).await.0, 415);
        let huge = "POST /graphql HTTP/1.1\r\ncontent-length: 99999999\r\n\r\n";
        assert_eq!(http(addr, huge).await.0, 413);
    });
}

#[test]
fn other_requests_get_their_status() {
    with_server(&options(), async |addr| {
        assert_eq!(get(addr, "/").await.0, 404);
        assert_eq!(get(addr, "/graphql").await.0, 426);
        assert_eq!(http(addr, "PUT /stats HTTP/1.0\r\n\r\n").await.0, 405);
        assert_eq!(http(addr, "PUT /closings HTTP/1.0\r\n\r\n").await.0, 405);
        assert_eq!(http(addr, "no HTTP at all\r\n\r\n").await.0, 400);
        assert_eq!(http(addr, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20_000))).await.0, 431);
        let (status, text) = get(addr, "/metrics").await;
        assert_eq!(status, 200);
        let scrape = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        assert!(scrape.samples.iter().any(|sample| sample.metric == "stressctl_connections"));
    });
}

#[test]
fn web_pages_are_refused_everywhere() {
    with_server(&options(), async |addr| {
        for path in ["/stats", "/metrics", "/closings", "/graphql", "/none"] {
            let request = format!("GET {path} HTTP/1.1\r\norigin: http://localhost\r\n\r\n");
            assert_eq!(http(addr, &request).await.0, 403, "{path}");
        }
        let upgrade = "GET / HTTP/1.1\r\nhost: x\r\norigin: null\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            sec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        assert_eq!(http(addr, upgrade).await.0, 403);
        assert_eq!(stats(addr).await["connections_total"], 0);
    });
}

#[test]
fn stopping_closes_every_connection_with_1001() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::bind(&options()).await.unwrap();
        let addr = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let client = async {
            let mut client = Client::new(addr).await;
            client.subscribe("s", "a").await;
            client.settle().await;
            drop(stop);
            assert_eq!(client.closed().await, (1001, "server is going away".into()));
        };
        let run = server.run(async { drop(stopped.await) });
        tokio::time::timeout(PATIENCE, async { tokio::join!(client, run) }).await.expect("it stops in time");
        assert!(TcpStream::connect(addr).await.is_err());
    });
}

#[test]
fn ipv6_loopback_works_and_remote_addresses_need_permission() {
    let six = ServeOptions { listen: "[::1]:0".parse().unwrap(), ..options() };
    with_server(&six, async |addr| {
        let mut client = Client::new(addr).await;
        assert_eq!(client.publish("a", "x").await, 1);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let open = ServeOptions { listen: "0.0.0.0:0".parse().unwrap(), ..options() };
        let refused = Server::bind(&open).await.unwrap_err();
        assert!(matches!(refused, ServeError::Remote { .. }), "{refused}");
        assert!(Server::bind(&ServeOptions { allow_remote: true, ..open }).await.is_ok());
    });
}
