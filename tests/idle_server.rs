//! A server that ends connections which are silent for long: what needs a connection again opens another.

mod common;

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use common::binary::Stressctl;
use serde_json::json;
use stressctl::server::{ServeOptions, Server};

/// Longer than the server waits for the next request of a connection.
const PAUSES: &str = r#"
[scenarios.pauses]
about = "ten clients; events before and after a pause"
channels = "own"
subscribers.clients = { connections = 10 }
publishers.feed = { connections = 2, rate = "100/s", events = 20, phase = ["before", "after"] }
phases = [{ name = "before" }, { name = "pause", for = "2s" }, { name = "after" }]
timeouts = { quiet = "200ms", cool-down = "100ms", drain = "3s" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

fn target(address: SocketAddr) -> String {
    format!(
        r#"
[targets.http]
url = "ws://{address}/graphql"
protocol = "graphql-transport-ws"
contract = "at-most-once"
ordered = true

[targets.http.subscribe]
query = "subscription ($channel: String!) {{ event(channel: $channel) {{ payload }} }}"
variables = {{ channel = "${{channel}}" }}
payload-at = "/data/event/payload"

[targets.http.publish]
query = "mutation ($channel: String!, $payload: String!) {{ publish(channel: $channel, payload: $payload) {{ seq }} }}"
variables = {{ channel = "${{channel}}", payload = "${{payload}}" }}

[targets.http.publish.http]
url = "http://{address}/graphql"
"#
    )
}

/// The prober is silent between two waves for longer than the server allows.
const WAVES: &str = r#"
[scenarios.waves]
about = "two waves with a pause between them"
channels = "own"
subscribers.clients = { connections = 10, waves = 2, wave-pause = "2500ms" }
publishers.feed = { rate = "100/s", events = 20 }
timeouts = { confirm = "3s", quiet = "200ms", cool-down = "100ms", drain = "1s" }
expect.all-proved = "subscriptions.peak_active / subscriptions.requested == 100%"
"#;

/// The reference server in this process, with little patience.
struct Impatient {
    address: SocketAddr,
    _done: tokio::sync::oneshot::Sender<()>,
}

impl Impatient {
    fn start(idle_timeout: Duration) -> Self {
        let listen = "127.0.0.1:0".parse().expect("an address");
        let options = ServeOptions { listen, idle_timeout, ..ServeOptions::default() };
        let (done, stop) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let server = Server::bind(&options).await.expect("a free port");
                tell.send(server.local_addr()).expect("the test listens");
                server.run(async { drop(stop.await) }).await;
            });
        });
        Self { address: told.recv().expect("the server starts"), _done: done }
    }
}

#[test]
fn an_http_publisher_opens_another_connection() {
    let server = Impatient::start(Duration::from_millis(700));
    let run = Stressctl::run(&["--target", "http", "--scenario", "pauses"])
        .scenarios(&(PAUSES.to_owned() + &target(server.address)));
    let report = run.finish().exits(0).report("pauses");
    let published = &report["published"];
    assert_eq!((&published["sent"], &published["acked"]), (&json!(40), &json!(40)));
    assert_eq!(report["ledger"]["delivered"], 40);
    assert_eq!(report["groups"]["feed"]["connections"]["dropped_unexpectedly"], 0);
}

#[test]
fn the_prober_and_a_publisher_that_were_ended_come_back() {
    let server = Impatient::start(Duration::from_secs(1));
    let url = format!("ws://{}/graphql", server.address);
    let run = Stressctl::run(&["--target", &url, "--scenario", "waves"]).scenarios(WAVES);
    // Connections that the server ended count as errors; but every subscription of the second wave was proved, and
    // every event was published.
    let report = run.finish().exits(1).report("waves");
    assert_eq!(report["subscriptions"]["confirmed"], 10);
    assert_eq!(report["subscriptions"]["peak_active"], 10);
    assert!(report["groups"]["prober"]["connections"]["dropped_unexpectedly"].as_u64() >= Some(1));
    let feed = &report["groups"]["feed"]["connections"];
    let dropped = feed["dropped_unexpectedly"].as_u64().expect("a count");
    assert!(dropped >= 1, "{feed}");
    assert_eq!(feed["failed"], json!({ "open.close-1000": dropped }));
    assert_eq!(feed["established"], 1);
    assert!(feed["reconnected"].as_u64() >= Some(1), "{feed}");
    assert_eq!((&report["published"]["acked"], &report["ledger"]["delivered"]), (&json!(20), &json!(20)));
}
