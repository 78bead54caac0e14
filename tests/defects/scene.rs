//! Two channels, one of them with defects; who subscribes to both and who publishes on both.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stressctl::server::ServeOptions;

use crate::common::reference::{Client, PATIENCE, get, options, stats, with_server};

/// The channel that defects are planted on, and the one beside it.
pub(crate) const WRONG: &str = "stress-0a1b2c3d-17";
pub(crate) const HONEST: &str = "stress-0a1b2c3d-18";

pub(crate) fn defective(defects: &[&str]) -> ServeOptions {
    let defects = defects.iter().map(|text| text.parse().unwrap()).collect();
    ServeOptions { defects, ..options() }
}

/// The n-th event's payload; long enough to be taken for an event, and different everywhere from its neighbours.
pub(crate) fn payload(n: usize) -> String {
    format!("{n:04}") + &char::from(b'a' + (n % 26) as u8).to_string().repeat(196)
}

pub(crate) fn payloads(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(payload).collect()
}

/// A subscriber of both channels and a publisher.
pub(crate) struct Scene {
    pub(crate) addr: SocketAddr,
    pub(crate) subscriber: Client,
    pub(crate) publisher: Client,
}

impl Scene {
    pub(crate) async fn new(addr: SocketAddr) -> Self {
        let (mut subscriber, publisher) = (subscriber(addr).await, Client::new(addr).await);
        subscriber.settle().await;
        Self { addr, subscriber, publisher }
    }

    /// Publishes these events on both channels.
    pub(crate) async fn publish(&mut self, numbers: impl IntoIterator<Item = usize>) {
        for n in numbers {
            self.publisher.publish(WRONG, &payload(n)).await;
            self.publisher.publish(HONEST, &payload(n)).await;
        }
    }

    /// What has arrived: payloads under the wrong channel's id; the honest one's must be `honest`.
    pub(crate) async fn received(&mut self, honest: impl IntoIterator<Item = usize>) -> Vec<String> {
        received(&mut self.subscriber, honest).await
    }

    /// How often the only defect struck, and how many deliveries that touched; all of it on the wrong channel.
    pub(crate) async fn truth(&self) -> (u64, u64) {
        let truth = truths(self.addr).await.remove(0);
        let planted = truth["planted"].as_u64().unwrap();
        let channels = if planted == 0 { json!({}) } else { json!({ "17": planted }) };
        assert_eq!(truth["channels"], channels);
        (planted, truth["deliveries"].as_u64().unwrap())
    }
}

pub(crate) async fn subscriber(addr: SocketAddr) -> Client {
    let mut client = Client::new(addr).await;
    client.subscribe("wrong", WRONG).await;
    client.subscribe("honest", HONEST).await;
    client
}

pub(crate) async fn received(client: &mut Client, honest: impl IntoIterator<Item = usize>) -> Vec<String> {
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

pub(crate) async fn truths(addr: SocketAddr) -> Vec<Value> {
    let (status, body) = get(addr, "/defects").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}

/// Publishes these events with this defect on the wrong channel; what arrived there, planted, deliveries.
pub(crate) fn play(defect: &str, events: usize) -> (Vec<String>, u64, u64) {
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

/// The same with a server in a process of its own: its memory is nobody else's.
pub(crate) fn with_process<F: Future<Output = ()>>(defects: &[&str], test: impl FnOnce(SocketAddr) -> F) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stressctl"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"]);
    command.args(defects.iter().map(|defect| format!("--defect={defect}")));
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

pub(crate) async fn memory(addr: SocketAddr) -> u64 {
    stats(addr).await["memory_bytes"].as_u64().unwrap()
}
