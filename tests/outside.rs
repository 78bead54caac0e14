//! What stressctl says of itself, checked from outside: by the server, and by the kernel.

mod common;

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::bad::{Manner, Server};
use common::binary::{Stressctl, wait_until};
use serde_json::Value;

const CONNECTIONS: u64 = 1_000;
/// Those of the publishers, and the prober.
const OTHERS: u64 = 3;

const THOUSAND: &str = r#"
[scenarios.thousand]
about = "a thousand clients held open for some seconds"
channels = "own"
subscribers.clients = { connections = 1_000, connect = "together" }
publishers.feed = { connections = 2, rate = "500/s" }
phases = [{ name = "load", for = "4s" }]
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-at-once = "connections.peak_open / connections.established == 100%"
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

/// The reference server, started on its own; it leaves when its standard input is closed.
struct Serve {
    child: Child,
    address: SocketAddr,
}

impl Serve {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stressctl"))
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("stressctl starts");
        let mut said = Vec::new();
        let mut byte = [0];
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        while !said.ends_with(b"\n") && stdout.read(&mut byte).expect("it can be read") == 1 {
            said.push(byte[0]);
        }
        let said = String::from_utf8(said).expect("text");
        let address = said.trim().strip_prefix("listening on ws://").and_then(|rest| rest.split('/').next());
        let address = address.and_then(|address| address.parse().ok());
        Self { child, address: address.unwrap_or_else(|| panic!("not where it listens: {said}")) }
    }

    fn statistics(&self) -> Value {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let request = b"GET /stats HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        serde_json::from_str(answer.split_once("\r\n\r\n").expect("an HTTP response").1).expect("JSON")
    }

    /// Established connections that the kernel knows, on the clients' side: those to the server's port.
    fn established(&self) -> u64 {
        const ESTABLISHED: &str = "01";
        let port = format!(":{:04X}", self.address.port());
        let table = fs::read_to_string("/proc/net/tcp").expect("there is a /proc");
        let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        // A long table is read in pieces, so that a connection may be seen twice.
        let mine = lines.filter(|line| line[2].ends_with(&port) && line[3] == ESTABLISHED);
        mine.map(|line| line[1].to_owned()).collect::<HashSet<_>>().len() as u64
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // What cannot be killed has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_server_and_the_kernel_see_as_many_connections_as_are_claimed() {
    let serve = Serve::start();
    let url = format!("ws://{}/graphql", serve.address);
    let server = serve.child.id().to_string();
    let args = ["--scenario", "thousand", "--target", &url, "--server-pid", &server];
    let mut running = Stressctl::run(&args).scenarios(THOUSAND).start();
    running.wait_until("its load", |running| running.stderr().contains("phase load"));

    // In the phase everything stays open: both must say the same, at once.
    let claimed = CONNECTIONS + OTHERS;
    let statistics = serve.statistics();
    let kernel = serve.established();
    assert!(running.stderr().lines().all(|line| !line.contains("draining")), "looked at in time");
    assert_eq!(statistics["connections"], claimed, "{statistics}");
    assert_eq!(statistics["subscriptions"], CONNECTIONS, "{statistics}");
    assert_eq!(kernel, claimed, "of {statistics}");

    let report = running.finish().holds(&["thousand"]).report("thousand");
    assert_eq!(report["connections"]["peak_open"], CONNECTIONS);
    assert_eq!(report["subscriptions"]["peak_active"], CONNECTIONS);
    assert_eq!(report["ledger"]["delivered"], 2_000);
    assert_eq!(report["resources"]["server"]["pid"], serve.child.id());
    wait_until("nothing left over", Duration::from_secs(10), || {
        serve.established() == 0 && serve.statistics()["connections"] == 0
    });
}

/// Handshakes that were in flight at one moment, where each takes a second.
fn in_flight(connect: &str) -> u64 {
    let server = Server::bad(Manner::AcksLate);
    let file = format!(
        r#"
[scenarios.opening]
about = "two hundred and fifty handshakes of a second"
channels = "own"
subscribers.clients = {{ connections = 250, connect = "{connect}" }}
publishers.feed = {{ rate = "50/s", events = 10 }}
timeouts = {{ quiet = "200ms", cool-down = "100ms" }}
expect.established = "connections.established_ratio == 100%"
{}"#,
        server.target()
    );
    let run = Stressctl::run(&["--target", "bad", "--scenario", "opening"]).scenarios(&file);
    let report = run.finish().exits(0).report("opening");
    assert_eq!(report["connections"]["attempted"], 250);
    report["connections"]["peak_handshaking"].as_u64().expect("a count")
}

#[test]
fn together_means_all_handshakes_at_once() {
    let peak = in_flight("together");
    assert!((225..=250).contains(&peak), "{peak}");
}

#[test]
fn bounded_means_a_hundred_handshakes_at_most() {
    let peak = in_flight("bounded");
    assert!((90..=100).contains(&peak), "{peak}");
}
