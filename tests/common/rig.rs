//! Clients without a conductor: a fleet that a test gives its orders to, against the reference server behind a relay.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use stressctl::care::Secrets;
use stressctl::clients::board::Board;
use stressctl::clients::fleet::{Fleet, FleetCounts, FleetResult, Paths};
use stressctl::clients::shard::Course;
use stressctl::clock::{self, RunClock};
use stressctl::run::target::paths;
use stressctl::scenarios::catalogue::{Catalogue, Options};
use stressctl::scenarios::plan::Plan;
use stressctl::server::{ServeOptions, Server};
use tokio_util::sync::CancellationToken;

/// Half of the clients cut at one instant.
pub(crate) const HALF: &str = r#"
[scenarios.test]
about = "forty clients with two subscriptions each, half of them cut"
channels = 10
phases = [{ name = "before", for = "1s" }, { name = "herd", for = "20s" }]
subscribers.clients = { connections = 40, subscriptions = 80, connect = "together", reconnect = "immediate" }
publishers.feed = { rate = "100/s" }
faults.cut = { on = "clients", fraction = "50%", phase = "herd", terminate = { how = "reset" } }
reached.all-cut = "faults.cut.applied / predicted == 100%"
"#;

/// A longer wait than any of these tests needs.
const LONG: Duration = Duration::from_secs(20);

/// The reference server, in this process.
pub(crate) struct Reference {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Reference {
    pub(crate) fn start() -> Self {
        let stop = CancellationToken::new();
        let (stopped, (tell, told)) = (stop.clone(), std::sync::mpsc::sync_channel(1));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let options = ServeOptions { listen, ..ServeOptions::default() };
                let server = Server::bind(&options).await.expect("a free port");
                tell.send(server.local_addr()).expect("the test waits for it");
                server.run(stopped.cancelled()).await;
            });
        });
        let address = told.recv().expect("it says where it listens");
        Self { address, stop, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// One of the server's own counts.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.told("/stats")[name].as_u64().expect("a count")
    }

    /// How established connections have ended so far, as the server saw it: how often in which way, and the
    /// subscriptions that each still held.
    pub(crate) fn closings(&self) -> (Value, Vec<u64>) {
        let told = self.told("/closings");
        let log = told["log"].as_array().expect("a log").iter();
        let ready = log.filter(|one| one["stage"] == "ready");
        let held = ready.map(|one| one["subscriptions"].as_u64().expect("a count")).collect();
        (told["counts"].clone(), held)
    }

    fn told(&self, path: &str) -> Value {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(self.address).expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        serde_json::from_str(body).expect("JSON")
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; a second one here would only hide the test's own.
            let _ = thread.join();
        }
    }
}

/// A fleet, and everything it needs.
pub(crate) struct Rig {
    pub(crate) plan: Arc<Plan>,
    pub(crate) fleet: Fleet,
    clock: RunClock,
}

impl Rig {
    /// The clients of the one scenario in `text`, which `change` may change, connected and confirmed.
    pub(crate) fn set_up(
        text: &str,
        address: SocketAddr,
        change: impl FnOnce(&mut Plan, &mut Paths),
    ) -> Self {
        let catalogue = Catalogue::from_text(Some(("test", text))).expect("a good file");
        let target = text.contains("[targets.bad]").then(|| "bad".to_owned());
        let options = Options { target, ..Options::default() };
        let mut plan = catalogue.plan(&["test"], &options).expect("a good plan").plans.remove(0);
        let url = format!("ws://{address}/graphql").parse().expect("a url");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let secrets = Arc::new(Secrets::of(&plan.target));
        let reached = runtime.block_on(paths(&plan, &url, None, &secrets, 2));
        let mut paths = reached.expect("it is on loopback");
        change(&mut plan, &mut paths);
        let plan = Arc::new(plan);
        let clock = RunClock::start();
        let fleet = Fleet::start(&plan, &paths, clock, 0x5eed).expect("threads");
        let rig = Self { plan, fleet, clock };
        let publishers = rig.plan.publisher_connections() + 1;
        rig.wait("publishers", |c, _| c.publisher.ready == publishers);
        rig.fleet.order(|o| o.waves = 1);
        let subscriptions = u64::from(rig.plan.subscriptions());
        rig.wait("confirmations", |c, _| c.shards.settled == subscriptions);
        rig
    }

    pub(crate) fn board(&self) -> &Board {
        self.fleet.board()
    }

    /// Begins a phase, for subscribers and publishers.
    pub(crate) fn begin(&self, phase: usize) {
        let start_ns = self.clock.now_ns();
        self.board().phase_starts[phase].store(start_ns, Relaxed);
        self.fleet.publish(|o| o.phase = Some((phase, start_ns)));
        self.fleet.order(|o| o.phase = Some((phase, start_ns)));
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, mut so: impl FnMut(&FleetCounts, &Board) -> bool) {
        let deadline = clock::now() + LONG;
        loop {
            let counts = self.fleet.counts();
            if so(&counts, self.board()) {
                return;
            }
            assert!(!self.fleet.is_broken(), "a thread ended while waiting for {what}");
            assert!(clock::now() < deadline, "no {what}: {:?}", counts.shards);
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Publishes no more and cuts no more, and lets who is away leave.
    pub(crate) fn settle(&self) {
        self.fleet.publish(|o| o.stop = true);
        self.fleet.order(|o| o.healed = true);
        self.fleet.order(|o| o.settled = true);
    }

    /// Unsubscribes and waits for the answers.
    #[track_caller]
    pub(crate) fn unsubscribe(&self) {
        self.fleet.order(|o| o.course = Course::Unsubscribe);
        self.wait("unsubscribes", |_, board| board.active.get() == 0);
        self.wait("answers", |c, _| c.shards.unanswered == 0);
    }

    /// Ends the run in order; what is left of it.
    #[track_caller]
    pub(crate) fn finish(self) -> FleetResult {
        self.settle();
        self.unsubscribe();
        self.close()
    }

    /// Closes everything; it must not take long.
    #[track_caller]
    pub(crate) fn close(self) -> FleetResult {
        self.fleet.order(|o| o.course = Course::Close);
        self.fleet.publish(|o| o.close = true);
        let deadline = clock::now() + Duration::from_secs(5);
        while !self.fleet.has_stopped() {
            assert!(clock::now() < deadline, "the threads do not end: {:?}", self.fleet.counts().shards);
            thread::sleep(Duration::from_millis(2));
        }
        self.fleet.finish().expect("no thread panicked")
    }
}
