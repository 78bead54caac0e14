//! Publishing by HTTP POST to a server that ends connections which are silent for long.

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

#[test]
fn a_connection_that_was_idle_for_too_long_is_opened_again() {
    let options = ServeOptions {
        listen: "127.0.0.1:0".parse().expect("an address"),
        idle_timeout: Duration::from_millis(700),
        ..ServeOptions::default()
    };
    let (done, stop) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    let server = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let server = Server::bind(&options).await.expect("a free port");
            tell.send(server.local_addr()).expect("the test listens");
            server.run(async { drop(stop.await) }).await;
        });
    });
    let address = told.recv().expect("the server starts");
    let run = Stressctl::run(&["--target", "http", "--scenario", "pauses"])
        .scenarios(&(PAUSES.to_owned() + &target(address)));
    let report = run.finish().exits(0).report("pauses");
    let published = &report["published"];
    assert_eq!((&published["sent"], &published["acked"]), (&json!(40), &json!(40)));
    assert_eq!(report["ledger"]["delivered"], 40);
    assert_eq!(report["groups"]["feed"]["connections"]["dropped_unexpectedly"], 0);
    drop(done);
    server.join().expect("the server ends");
}
