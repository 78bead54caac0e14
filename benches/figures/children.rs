//! The programs under measurement: the reference server and `stressctl run`, as child processes that cannot
//! outlive us.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use stressctl::clock;

use crate::proc;

const STRESSCTL: &str = env!("CARGO_BIN_EXE_stressctl");

/// A run that takes longer is ended and an error.
const RUN_WITHIN: Duration = Duration::from_secs(120);

/// How often a run is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A reference server; it leaves when its stdin ends.
pub(crate) struct Server {
    child: Child,
    pub addr: SocketAddr,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(STRESSCTL)
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let addr = line.trim().strip_prefix("listening on ws://").and_then(|l| l.strip_suffix("/graphql"));
        let addr = addr.and_then(|a| a.parse().ok()).with_context(|| format!("the server said {line:?}"))?;
        Ok(Self { child, addr })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn cpu(&self) -> Duration {
        proc::process_cpu(self.pid())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Gone at once; nothing to be done if it is not.
        let _ = self.child.wait();
    }
}

fn stats(addr: SocketAddr) -> anyhow::Result<Value> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(b"GET /stats HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").context("an HTTP answer")?;
    Ok(serde_json::from_str(body)?)
}

/// A load that `stressctl run` makes, as far as the figures differ in it.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub connections: u32,
    pub subscriptions: u32,
    pub together: bool,
    /// `None`: one channel for each subscription.
    pub channels: Option<u32>,
    pub publishers: u32,
    /// Events per second of all publishers.
    pub rate: u32,
    pub events: u32,
    pub batch: u32,
    /// A line of the scenario.
    pub faults: &'static str,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            connections: 1,
            subscriptions: 1,
            together: false,
            channels: None,
            publishers: 1,
            rate: 100,
            events: 100,
            batch: 1,
            faults: "",
        }
    }
}

impl Load {
    fn scenario(&self) -> String {
        let connect = if self.together { "together" } else { "bounded" };
        let channels = self.channels.map_or_else(|| r#""own""#.to_owned(), |c| c.to_string());
        let Self { connections, subscriptions, publishers, rate, events, batch, faults, .. } = self;
        format!(
            r#"[scenarios.bench]
about = "a load of the benchmark"
channels = {channels}
timeouts = {{ quiet = "500ms", cool-down = "100ms" }}
subscribers.clients = {{ connections = {connections}, subscriptions = {subscriptions}, connect = "{connect}" }}
publishers.feed = {{ connections = {publishers}, rate = "{rate}/s", events = {events}, batch = {batch} }}
{faults}
"#
        )
    }
}

/// What both processes had used at one moment of a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    pub subscribers: Duration,
    pub publishers: Duration,
    pub server: Duration,
    /// Times the subscribers' threads went to sleep.
    pub waits: u64,
    /// The server's count; not taken at the beginning of a stage.
    pub delivered: u64,
    pub published: u64,
}

/// What is left of a run.
pub(crate) struct Ran {
    pub report: Value,
    /// The beginning of each stage, by the first word of its name.
    pub stages: Vec<(String, Used)>,
    /// Moments of the whole run.
    pub moments: Vec<Used>,
}

impl Ran {
    /// What had been used when a stage began.
    pub(crate) fn at(&self, stage: &str) -> anyhow::Result<Used> {
        let found = self.stages.iter().find(|(name, _)| name == stage);
        found.map(|(_, used)| *used).with_context(|| format!("the run never came to {stage:?}"))
    }

    pub(crate) fn number(&self, pointer: &str) -> f64 {
        self.report.pointer(pointer).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    pub(crate) fn word(&self, pointer: &str) -> &str {
        self.report.pointer(pointer).and_then(Value::as_str).unwrap_or("?")
    }

    /// Two moments in the steady middle of the publishing: a tenth and nine tenths of `deliveries` were done.
    pub(crate) fn window(&self, deliveries: u64) -> anyhow::Result<Window> {
        let before = self.moments.iter().filter(|m| m.published > 0).map(|m| m.delivered).min().unwrap_or(0);
        let last = self.moments.iter().map(|m| m.delivered).max().unwrap_or(0);
        let base = last.saturating_sub(deliveries).max(before);
        let inside =
            |m: &&Used| m.delivered >= base + deliveries / 10 && m.delivered <= base + deliveries / 10 * 9;
        let first = self.moments.iter().find(inside);
        let last = self.moments.iter().rev().find(inside);
        let (first, last) = first.zip(last).context("the run was too short to be looked at")?;
        ensure!(last.delivered > first.delivered, "the run was too short to be looked at");
        Ok(Window { first: *first, last: *last })
    }
}

/// A stretch of a run.
pub(crate) struct Window {
    first: Used,
    last: Used,
}

impl Window {
    pub(crate) fn deliveries(&self) -> f64 {
        (self.last.delivered - self.first.delivered) as f64
    }

    fn micros(&self, of: impl Fn(&Used) -> Duration) -> f64 {
        (of(&self.last) - of(&self.first)).as_secs_f64() * 1e6
    }

    pub(crate) fn subscriber_us(&self) -> f64 {
        self.micros(|u| u.subscribers) / self.deliveries()
    }

    pub(crate) fn server_us(&self) -> f64 {
        self.micros(|u| u.server) / self.deliveries()
    }

    pub(crate) fn publisher_us(&self) -> f64 {
        self.micros(|u| u.publishers) / (self.last.published - self.first.published).max(1) as f64
    }

    pub(crate) fn per_wait(&self) -> f64 {
        self.deliveries() / (self.last.waits - self.first.waits).max(1) as f64
    }
}

/// Runs `load` against `server`; says so on stderr.
pub(crate) fn run(server: &Server, load: &Load) -> anyhow::Result<Ran> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("bench.toml");
    fs::write(&file, load.scenario())?;
    let url = format!("ws://{}/graphql", server.addr);
    let mut child = Command::new(STRESSCTL)
        .args(["run", "--scenario", "bench", "--output", "quiet", "--target", &url])
        .args(["--server-pid".to_owned(), server.pid().to_string()])
        .args([PathBuf::from("--scenarios"), file, "--out".into(), dir.path().to_owned()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let lines = lines(child.stderr.take().context("a pipe")?);
    let looked = look(&mut child, server, &lines);
    if looked.is_err() {
        // It may have ended by itself meanwhile.
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stages, moments, said) = looked?;
    let report = File::open(dir.path().join("bench.json")).with_context(|| said.join("\n"))?;
    let report: Value = serde_json::from_reader(report)?;
    let ran = Ran { report, stages, moments };
    let lost = ran.number("/ledger/lost");
    if lost != 0.0 {
        eprintln(&format!("  {lost} lost: {}", said.join("\n")));
    }
    Ok(ran)
}

/// Every line a child says, read by a thread that ends with it.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (said, lines) = sync_channel(10_000);
    std::thread::spawn(move || {
        BufReader::new(from).lines().map_while(Result::ok).all(|line| said.send(line).is_ok());
    });
    lines
}

type Looked = (Vec<(String, Used)>, Vec<Used>, Vec<String>);

fn look(child: &mut Child, server: &Server, lines: &Receiver<String>) -> anyhow::Result<Looked> {
    let (mut stages, mut moments, mut said) = (Vec::new(), Vec::new(), Vec::new());
    let deadline = clock::now() + RUN_WITHIN;
    loop {
        let mut used = used(child.id(), server);
        while let Ok(line) = lines.recv_timeout(LOOK) {
            used = self::used(child.id(), server);
            if let Some(stage) = stage(&line) {
                stages.push((stage.to_owned(), used));
            }
            said.push(line);
        }
        if child.try_wait()?.is_some() {
            return Ok((stages, moments, said));
        }
        if clock::now() > deadline {
            bail!("the run took longer than {RUN_WITHIN:?}:\n{}", said.join("\n"));
        }
        let stats = stats(server.addr)?;
        used.delivered = stats["delivered"].as_u64().unwrap_or(0);
        used.published = stats["published"].as_u64().unwrap_or(0);
        moments.push(used);
    }
}

/// `00:01 census: 10,000 open …` begins the stage `census`.
fn stage(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(' ')?;
    rest.split_once(':').map(|(stage, _)| stage)
}

fn used(client: u32, server: &Server) -> Used {
    Used {
        subscribers: proc::thread_cpu(client, "subscribers"),
        publishers: proc::thread_cpu(client, "publishers"),
        server: server.cpu(),
        waits: proc::thread_waits(client, "subscribers"),
        ..Used::default()
    }
}

#[allow(clippy::print_stderr, reason = "a bench says what it is doing")]
pub(crate) fn eprintln(text: &str) {
    eprintln!("{text}");
}
