//! `stressctl serve` as a target that can be asked afterwards, and the five scenarios in a size for tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::common::binary::{Finished, Stressctl, wait_until};

/// The server's own side of a run; it leaves with the test.
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    pub(crate) fn honest() -> Self {
        Self::start(&[])
    }

    pub(crate) fn with(defect: &str) -> Self {
        Self::start(&["--defect", defect])
    }

    pub(crate) fn start(extra: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_stressctl"))
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .args(extra)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        let out = process.stdout.take().expect("it is piped");
        BufReader::new(out).read_line(&mut line).expect("it says where");
        let place = line.trim().strip_prefix("listening on ws://").expect("it listens");
        let address = place.trim_end_matches("/graphql").parse().expect("an address");
        Self { process, address }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    #[allow(dead_code, reason = "only some tests watch its process")]
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/graphql", self.address)
    }

    /// A scenario file with this server as the target `here`, reached at `url`, and nothing else: scenarios are those
    /// of the catalogue.
    pub(crate) fn target(&self, url: &str) -> String {
        format!(
            r#"
            [targets.here]
            url = "{url}"
            ordered = true
            [targets.here.statistics]
            url = "http://{}/stats"
            format = "json"
            connections = "/connections"
            subscriptions = "/subscriptions"
            published = "/published"
            delivered = "/delivered"
            dropped = "/dropped"
            "#,
            self.address
        )
    }

    /// A run of a scenario of [`reduced`] against it, with more arguments behind the usual ones.
    pub(crate) fn command(&self, scenario: &str, more: &[&str]) -> Stressctl {
        self.command_at(&self.url(), scenario, more)
    }

    /// The same by another way to it.
    pub(crate) fn command_at(&self, url: &str, scenario: &str, more: &[&str]) -> Stressctl {
        let usual = ["--target", "here", "--scenario", scenario];
        let sizes = reduced(scenario);
        let args: Vec<&str> = usual.iter().chain(&sizes).chain(more).copied().collect();
        Stressctl::run(&args).scenarios(&self.target(url))
    }

    pub(crate) fn run(&self, scenario: &str, more: &[&str]) -> Finished {
        self.command(scenario, more).finish()
    }

    /// What it answers to `GET path`.
    pub(crate) fn told(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout may be set");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).expect("JSON")
    }

    /// One of its own counts.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.told("/stats")[name].as_u64().expect("a count")
    }

    /// How often its connections have ended in one way.
    pub(crate) fn ended(&self, stage: &str, how: &str) -> u64 {
        self.told("/closings")["counts"][stage][how].as_u64().unwrap_or(0)
    }

    /// Every connection that has ended, by stage and how; the one of the preflight is not among them.
    pub(crate) fn closings(&self) -> Value {
        let mut counts = self.told("/closings")["counts"].clone();
        let ready = counts["ready"].as_object_mut().expect("some were acknowledged");
        assert_eq!(ready.remove("close-none"), Some(1.into()), "the preflight, and nobody else");
        counts
    }

    /// How often its defect struck.
    pub(crate) fn planted(&self) -> u64 {
        self.told("/defects")[0]["planted"].as_u64().expect("it has one")
    }

    /// Nobody and nothing of a run is left on it.
    #[track_caller]
    pub(crate) fn is_left_alone(&self) {
        wait_until("all connections have ended", Duration::from_secs(5), || self.count("connections") == 0);
        assert_eq!(self.count("subscriptions"), 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

pub(crate) const FIVE: [&str; 5] =
    ["latency-1000ms", "jitter-50-500ms", "random-drops", "cascading-failures", "thundering-herd"];

/// What makes a scenario small enough: fewer clients, shorter phases. No condition is touched.
pub(crate) fn reduced(scenario: &str) -> Vec<&'static str> {
    let (scale, changes): (&str, &[&str]) = match scenario {
        "latency-1000ms" | "jitter-50-500ms" => ("0.1", &[]),
        "random-drops" => (
            "0.1",
            &[
                "phases.before.for=500ms",
                "phases.drops.for=3s",
                "phases.after.for=1s",
                "faults.drop.stagger.poisson=2s",
            ],
        ),
        // Its proportions are kept: silence is noticed in the middle of it, and breakers open while it lasts.
        "cascading-failures" => (
            "0.01",
            &[
                "phases.before.for=500ms",
                "phases.failure.for=4s",
                "phases.recovery.for=2s",
                "faults.silent.for=3s",
                "faults.unreachable.for=3s",
                "subscribers.clients.keepalive.every=400ms",
                "subscribers.clients.keepalive.dead-after=1500ms",
                "subscribers.clients.circuit-breaker.stays-open=500ms",
                "subscribers.clients.reconnect.exponential.cap=1s",
            ],
        ),
        "thundering-herd" => {
            ("0.01", &["phases.before.for=500ms", "phases.herd.for=2s", "publishers.feed.rate=600/s"])
        }
        // Four clients, and five events of each size before the climb.
        "large-payload" => ("0.02", &["publishers.climb.payload.up-to=8MB", "timeouts.operation=4s"]),
        "latency-payload-fanout" => ("0.02", &[]),
        other => panic!("{other} is none of those here"),
    };
    let waits = ["timeouts.quiet=500ms", "timeouts.cool-down=200ms"];
    let sets = changes.iter().copied().chain(waits).flat_map(|change| ["--set", change]);
    ["--scale", scale].into_iter().chain(sets).collect()
}

/// A whole number of a report.
#[track_caller]
pub(crate) fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// A count of one fault.
#[track_caller]
pub(crate) fn of_fault(report: &Value, fault: &str, count: &str) -> u64 {
    number(report, &format!("/faults/{fault}/{count}"))
}

/// Everybody whom a fault was planned for had it.
#[track_caller]
pub(crate) fn all_applied(report: &Value, fault: &str, planned: u64) {
    let counts = ["planned", "applied", "not_applied"].map(|count| of_fault(report, fault, count));
    assert_eq!(counts, [planned, planned, 0], "{fault}");
}

/// The conditions with this verdict, of `expectations` or `reached`.
pub(crate) fn those(report: &Value, list: &str, verdict: &str) -> Vec<String> {
    let all = report[list].as_array().expect("a list").iter();
    let id = |one: &Value| one["id"].as_str().expect("a name").to_owned();
    all.filter(|one| one["verdict"] == verdict).map(id).collect()
}

/// Held by runs that load the machine, so that one follows the other.
#[allow(dead_code, reason = "only some tests are that large")]
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a machine that was too busy is among the reasons.
#[allow(dead_code, reason = "only some tests are about times")]
pub(crate) fn is_limited(why: &Value) -> bool {
    let mut why = why.as_array().expect("a list").iter().filter_map(Value::as_str);
    why.any(|why| why.contains("the generator was limited"))
}
