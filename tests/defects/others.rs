//! What is wrong when others are there: those who wait to be let in, and those who read slowly.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt;
use serde_json::{Value, json};
use stressctl::server::{ServeOptions, Size};
use tokio_tungstenite::tungstenite::Message;

use crate::common::reference::{Client, event, options, stats, stats_become, with_server};
use crate::scene::{HONEST, WRONG, defective, payload, truths};

/// How long four clients take to be let in after two others, and how often one of those was answered meanwhile.
async fn crowd(addr: SocketAddr) -> (Duration, u32) {
    let (mut early, _second) = (Client::new(addr).await, Client::new(addr).await);
    let begun = stressctl::clock::now();
    let mut crowd = std::pin::pin!(futures_util::future::join_all((0..4).map(|_| Client::new(addr))));
    let mut answered = 0;
    loop {
        tokio::select! {
            _ = &mut crowd => return (begun.elapsed(), answered),
            () = early.settle() => answered += 1,
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn accepts_are_starved_and_who_is_in_is_served() {
    with_server(&defective(&["starve-accepts=after=2,pause=300ms"]), async |addr| {
        let (took, answered) = crowd(addr).await;
        assert!(took >= Duration::from_millis(1200), "{took:?}");
        assert!(answered > 4, "{answered}");
        // The question is a connection, too.
        let truth = truths(addr).await.remove(0);
        let expected = json!({ "kind": "starve-accepts", "parameters": "after=2,pause=300ms",
            "planted": 5, "deliveries": 0, "channels": {} });
        assert_eq!(truth, expected);
    });
    with_server(&options(), async |addr| {
        let (took, _) = crowd(addr).await;
        assert!(took < Duration::from_millis(1200), "{took:?}");
    });
}

/// A server with one client that does not read, whose socket is full by now, and how many events it was sent.
struct Jam {
    addr: SocketAddr,
    slow: Client,
    publisher: Client,
    sent: usize,
}

impl Jam {
    async fn new(addr: SocketAddr) -> Self {
        let (mut slow, publisher) = (Client::new(addr).await, Client::new(addr).await);
        slow.subscribe("slow", WRONG).await;
        slow.settle().await;
        let mut jam = Self { addr, slow, publisher, sent: 0 };
        while stats(addr).await["queued"] == 0 {
            jam.publisher.publish(WRONG, &large()).await;
            jam.sent += 1;
            assert!(jam.sent < 5000, "the kernel takes everything");
        }
        jam
    }

    /// Reads what has been waiting.
    async fn dissolve(&mut self) {
        for _ in 0..self.sent {
            assert_eq!(self.slow.next().await, event("slow", &large()));
        }
    }

    async fn truth(&self) -> Value {
        truths(self.addr).await.remove(0)
    }
}

fn large() -> String {
    "x".repeat(10_000)
}

async fn beside(addr: SocketAddr) -> Client {
    let mut client = Client::new(addr).await;
    client.subscribe("beside", HONEST).await;
    client.settle().await;
    client
}

async fn is_silent(client: &mut Client) {
    let silence = tokio::time::timeout(Duration::from_millis(300), client.message()).await;
    assert!(silence.is_err(), "{silence:?}");
}

/// Fifteen events of 2 KB are more than this, and less than any socket takes.
fn tight(options: ServeOptions) -> ServeOptions {
    ServeOptions { queue_limit: Size(20_000), ..options }
}

fn small(n: usize) -> String {
    payload(n).repeat(10)
}

#[test]
fn one_slow_reader_holds_up_everybody_and_nothing_is_lost() {
    with_server(&tight(defective(&["serialise"])), async |addr| {
        let (mut bystander, mut leaving) = (beside(addr).await, beside(addr).await);
        let mut jam = Jam::new(addr).await;
        for n in 0..15 {
            assert_eq!(jam.publisher.publish(HONEST, &small(n)).await, n as u64 + 1);
        }
        // Its pong does not overtake what is owed to it.
        bystander.send(json!({ "type": "ping" })).await;
        is_silent(&mut bystander).await;
        leaving.0.send(Message::Close(None)).await.unwrap();
        for n in 0..15 {
            assert_eq!(leaving.next().await, event("beside", &small(n)));
        }
        assert_eq!(leaving.message().await.unwrap(), Message::Close(None));
        is_silent(&mut bystander).await;
        jam.dissolve().await;
        for n in 0..15 {
            assert_eq!(bystander.next().await, event("beside", &small(n)));
        }
        assert_eq!(bystander.next().await, json!({ "type": "pong" }));
        jam.publisher.publish(HONEST, "at once").await;
        assert_eq!(bystander.next().await, event("beside", "at once"));
        let expected = json!({ "kind": "serialise", "parameters": "", "planted": 1, "deliveries": 30,
            "channels": {} });
        assert_eq!(jam.truth().await, expected);
        let delivered = jam.sent + 31;
        stats_become(
            addr,
            json!({ "dropped": 0, "queued": 0, "disconnected_slow": 0, "delivered": delivered, "connections": 3 }),
        )
        .await;
    });
}

#[test]
fn a_slow_reader_that_ends_or_is_cut_holds_up_nobody_any_more() {
    for cut in [false, true] {
        with_server(&tight(defective(&["serialise"])), async |addr| {
            let mut bystander = beside(addr).await;
            let mut jam = Jam::new(addr).await;
            jam.publisher.publish(HONEST, &small(0)).await;
            is_silent(&mut bystander).await;
            if cut {
                for _ in 0..3 {
                    jam.publisher.publish(WRONG, &large()).await;
                }
                stats_become(addr, json!({ "disconnected_slow": 1 })).await;
            } else {
                drop(jam.slow);
            }
            assert_eq!(bystander.next().await, event("beside", &small(0)));
            assert_eq!(truths(addr).await[0]["deliveries"], 1);
        });
    }
}

#[test]
fn an_honest_server_lets_nobody_wait_for_a_slow_reader() {
    with_server(&tight(options()), async |addr| {
        let mut bystander = beside(addr).await;
        let mut jam = Jam::new(addr).await;
        for n in 0..15 {
            jam.publisher.publish(HONEST, &small(n)).await;
            assert_eq!(bystander.next().await, event("beside", &small(n)));
        }
        assert_eq!(stats(addr).await["queued"], 1);
        jam.dissolve().await;
    });
}

/// How long it takes to publish these events one after the other on a channel.
async fn publishing(addr: SocketAddr, channel: &str, events: usize) -> Duration {
    let mut publisher = Client::new(addr).await;
    let begun = stressctl::clock::now();
    for n in 0..events {
        publisher.publish(channel, &payload(n)).await;
    }
    begun.elapsed()
}

#[test]
fn so_many_publishes_are_taken_per_second_and_no_more() {
    with_server(&defective(&["slow-publish=per=2500us,channels=17"]), async |addr| {
        assert!(publishing(addr, WRONG, 200).await >= Duration::from_millis(498));
        let truth = truths(addr).await.remove(0);
        let expected = json!({ "kind": "slow-publish", "parameters": "per=2500us,channels=17",
            "planted": 200, "deliveries": 0, "channels": { "17": 200 } });
        assert_eq!(truth, expected);
        publishing(addr, HONEST, 200).await;
        assert_eq!(truths(addr).await.remove(0)["planted"], 200, "the other channel costs nothing");
    });
    // Shorter than a sleep can be.
    with_server(&defective(&["slow-publish=per=100us"]), async |addr| {
        assert!(publishing(addr, WRONG, 2_000).await >= Duration::from_millis(198));
    });
    with_server(&options(), async |addr| {
        assert!(publishing(addr, WRONG, 200).await < Duration::from_millis(498));
    });
}
