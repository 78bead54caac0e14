//! Against graphql-ws on Node: a server that shares no code and no author with us.
//!
//! SKIPPED where Node.js or its packages are missing; `tests/interop/install.sh` installs the latter.

mod common;
#[path = "interop/pressure.rs"]
mod pressure;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use common::binary::{Stressctl, wait_until};
use common::optional;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop");
const SOON: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let tests: [optional::Test; 10] = [
        ("the_server_delivers_and_counts", the_server_delivers_and_counts),
        ("the_server_leaves_with_its_test", the_server_leaves_with_its_test),
        ("published_over_websocket", published_over_websocket),
        ("published_over_http", published_over_http),
        ("it_keeps_everything_for_slow_readers", pressure::it_keeps_everything_for_slow_readers),
        ("it_says_what_is_too_large_for_it", pressure::it_says_what_is_too_large_for_it),
        ("it_takes_payloads_up_to_the_cap", pressure::it_takes_payloads_up_to_the_cap),
        ("nothing_is_left_over_of_who_comes_and_goes", pressure::nothing_is_left_over_of_who_comes_and_goes),
        ("one_event_that_it_drops_is_proven_lost", one_event_that_it_drops_is_proven_lost),
        ("one_event_that_it_delivers_twice_is_duplicated", one_event_that_it_delivers_twice_is_duplicated),
    ];
    optional::run(&tests, &means(), "STRESSCTL_REQUIRE_INTEROP")
}

fn means() -> Result<(), String> {
    let version = Command::new("node").arg("--version").output().map_err(|_| "node is missing".to_owned())?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    let major = version.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major < Some(18) {
        return Err(format!("node {version} is older than 18"));
    }
    if !Path::new(FOLDER).join("node_modules/graphql-ws").exists() {
        return Err("run tests/interop/install.sh first".into());
    }
    Ok(())
}

/// The server on Node; it leaves when its standard input is closed.
struct Node {
    process: Child,
    stdin: Option<ChildStdin>,
    address: SocketAddr,
}

impl Node {
    fn start() -> Self {
        Self::with(&[])
    }

    fn with(fault: &[&str]) -> Self {
        let mut process = Command::new("node")
            .args([&format!("{FOLDER}/server.mjs"), "0"])
            .args(fault)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let stdin = process.stdin.take();
        let stdout = process.stdout.take().expect("stdout is piped");
        let (sender, receiver) = sync_channel(1);
        thread::spawn(move || sender.send(BufReader::new(stdout).lines().next()));
        let said = receiver.recv_timeout(SOON);
        let address =
            said.ok().flatten().and_then(Result::ok).and_then(|line| {
                line.strip_prefix("listening on ws://")?.strip_suffix("/graphql")?.parse().ok()
            });
        let Some(address) = address else {
            // A failure to kill it means that it has ended already.
            let _ = process.kill();
            panic!("the server did not say where it listens");
        };
        Self { process, stdin, address }
    }

    /// The committed scenario file with this server's port in it.
    fn scenarios(&self) -> String {
        let file = fs::read_to_string(format!("{FOLDER}/scenarios.toml")).expect("it is in the repository");
        file.replace("127.0.0.1:4000", &self.address.to_string())
    }

    fn request(&self, request: &str) -> Value {
        let mut stream = TcpStream::connect_timeout(&self.address, SOON).expect("it listens");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP response");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        serde_json::from_str(body).expect("JSON")
    }

    fn statistics(&self) -> Value {
        self.request("GET /stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    }

    fn leaves_when_told(&mut self) -> bool {
        self.stdin = None;
        let deadline = stressctl::clock::now() + Duration::from_secs(2);
        while stressctl::clock::now() < deadline {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.leaves_when_told() {
            // What cannot be killed has ended.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

fn the_server_leaves_with_its_test() {
    let mut node = Node::start();
    assert!(node.leaves_when_told());
}

/// Without stressctl, so that a failure of the others can be told from a failure of the server.
fn the_server_delivers_and_counts() {
    let node = Node::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let limited = async { tokio::time::timeout(SOON, converse(&node)).await.expect("an answer in time") };
    runtime.block_on(limited);
    wait_until("nothing left over", SOON, || {
        node.statistics() == json!({ "connections": 0, "subscriptions": 0, "published": 2, "delivered": 2 })
    });
}

async fn converse(node: &Node) {
    const PUBLISH: &str = "mutation ($c: String!, $p: String!) { publish(channel: $c, payload: $p) { id } }";
    const SUBSCRIBE: &str = "subscription ($c: String!) { event(channel: $c) { payload } }";

    let mut request = format!("ws://{}/graphql", node.address).into_client_request().expect("a URL");
    let protocol = "graphql-transport-ws".parse().expect("a header value");
    request.headers_mut().insert("sec-websocket-protocol", protocol);
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
    let mut exchange = async |said: &[Value], heard: &[Value]| {
        for message in said {
            socket.send(Message::text(message.to_string())).await.expect("it reads");
        }
        let mut received = Vec::new();
        for _ in heard {
            let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("not a text") };
            received.push(serde_json::from_str::<Value>(&text).expect("JSON"));
        }
        // Between operations there is no order; within one, sorting keeps it.
        received.sort_by_key(|message| message["id"].to_string());
        assert_eq!(received, heard);
    };

    exchange(&[json!({ "type": "connection_init" })], &[json!({ "type": "connection_ack" })]).await;
    let subscribe = json!({ "query": SUBSCRIBE, "variables": { "c": "a" } });
    exchange(&[json!({ "id": "1", "type": "subscribe", "payload": subscribe })], &[]).await;
    wait_until("the subscription", SOON, || node.statistics()["subscriptions"] == 1);

    let publish = json!({ "query": PUBLISH, "variables": { "c": "a", "p": "over WebSocket" } });
    let event = |text: &str| json!({ "data": { "event": { "payload": text } } });
    exchange(
        &[json!({ "id": "2", "type": "subscribe", "payload": publish })],
        &[
            json!({ "id": "1", "type": "next", "payload": event("over WebSocket") }),
            json!({ "id": "2", "type": "next", "payload": { "data": { "publish": { "id": "1" } } } }),
            json!({ "id": "2", "type": "complete" }),
        ],
    )
    .await;

    let body = json!({ "query": PUBLISH, "variables": { "c": "a", "p": "over HTTP" } }).to_string();
    let head =
        "POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json";
    let answer = node.request(&format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(answer, json!({ "data": { "publish": { "id": "2" } } }));
    exchange(&[], &[json!({ "id": "1", "type": "next", "payload": event("over HTTP") })]).await;
    assert_eq!(
        node.statistics(),
        json!({ "connections": 1, "subscriptions": 1, "published": 2, "delivered": 2 })
    );
    exchange(&[json!({ "id": "1", "type": "complete" })], &[]).await;
}

fn published_over_websocket() {
    all_is_delivered("node");
}

fn published_over_http() {
    all_is_delivered("node-http");
}

/// A thousand clients and two thousand events, each to the one client it is for.
#[track_caller]
fn all_is_delivered(target: &str) {
    let node = Node::start();
    let run = Stressctl::run(&["--target", target, "--scenario", "interop"]).scenarios(&node.scenarios());
    let report = run.limit(Duration::from_secs(120)).finish().holds(&["interop"]).report("interop");

    assert_eq!(report["target"]["reference_server"], false);
    assert_eq!(report["connections"]["established"], 1000);
    assert_eq!(report["subscriptions"]["peak_active"], 1000);
    assert_eq!(report["published"]["sent"], 2000);
    assert_eq!(report["published"]["acked"], 2000);
    assert_eq!(report["ledger"]["obligations"], 2000);
    assert_eq!(report["ledger"]["delivered"], 2000);
    assert_eq!(report["ledger"]["strange"], 0);
    let worst = &report["server_stats"]["worst"]["error_ratio"];
    assert!(worst.as_f64().is_some_and(|ratio| ratio <= 0.01), "the server counts otherwise: {worst}");
    wait_until("nothing left over", SOON, || {
        let statistics = node.statistics();
        statistics["connections"] == 0 && statistics["subscriptions"] == 0
    });
}

fn one_event_that_it_drops_is_proven_lost() {
    // The last of the two of its stream, so that only the barrier behind it can prove it.
    let report = one_is_wrong("drop=1777", "nothing-lost");
    let ledger = &report["ledger"];
    assert_eq!((&ledger["obligations"], &ledger["delivered"]), (&json!(2000), &json!(1999)));
    assert_eq!(
        (&ledger["lost_proven"], &ledger["lost"], &ledger["strange"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let examples = ledger["examples"].as_array().expect("a list");
    let lost: Vec<_> = examples.iter().filter(|example| example["class"] == "lost_proven").collect();
    assert_eq!(lost.len(), 1, "{examples:?}");
}

fn one_event_that_it_delivers_twice_is_duplicated() {
    let report = one_is_wrong("duplicate=1777", "nothing-strange");
    let ledger = &report["ledger"];
    assert_eq!((&ledger["delivered"], &ledger["receipts"]), (&json!(2000), &json!(2001)));
    assert_eq!(
        (&ledger["duplicated"], &ledger["strange"], &ledger["lost"]),
        (&json!(1), &json!(1), &json!(0))
    );
}

/// Runs against the server with one fault; the run fails for that reason among the ledger's alone.
#[track_caller]
fn one_is_wrong(fault: &str, expectation: &str) -> Value {
    let node = Node::with(&[fault]);
    let run = Stressctl::run(&["--target", "node", "--scenario", "interop"]).scenarios(&node.scenarios());
    let report = run.limit(Duration::from_secs(120)).finish().exits(1).report("interop");
    for judged in report["expectations"].as_array().expect("a list") {
        let id = judged["id"].as_str().expect("a name");
        if id.starts_with("nothing-") {
            let verdict = if id == expectation { "fail" } else { "pass" };
            assert_eq!(judged["verdict"], verdict, "{judged}");
        }
    }
    report
}
