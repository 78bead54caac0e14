//! A scenario must not pass without its fault: runs in which the faults were switched off behind the plan's back.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::report::model::{Health, Judgement};
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{Delay, FaultKind, LinkDelay};
use crate::server::{Defect, ServeOptions, Server};

/// The reference server in this process, for as long as the test.
struct Beside {
    url: http::Uri,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Beside {
    fn start() -> Self {
        Self::run(Vec::new())
    }

    /// With a defect.
    fn with(defect: &str) -> Self {
        Self::run(vec![defect.parse().expect("a defect")])
    }

    fn run(defects: Vec<Defect>) -> Self {
        let stop = CancellationToken::new();
        let (stopped, (tell, told)) = (stop.clone(), std::sync::mpsc::sync_channel(1));
        let thread = thread::spawn(move || {
            one_thread().block_on(async {
                let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let options = ServeOptions { listen, defects, ..ServeOptions::default() };
                let server = Server::bind(&options).await.expect("a free port");
                tell.send(server.local_addr()).expect("the test waits for it");
                server.run(stopped.cancelled()).await;
            });
        });
        let address = told.recv().expect("it says where it listens");
        let url = format!("ws://{address}/graphql").parse().expect("a url");
        Self { url, stop, thread: Some(thread) }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; a second one here would only hide the test's own.
            let _ = thread.join();
        }
    }
}

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The report of a scenario of the catalogue, reduced, whose predictions are those of its plan, and whose faults are
/// what `switch` makes of them.
fn report(name: &str, scale: f64, sets: &[&str], switch: impl FnOnce(&mut Plan)) -> Report {
    report_of(&Beside::start(), name, scale, sets, switch)
}

/// The same of this server.
fn report_of(
    server: &Beside,
    name: &str,
    scale: f64,
    sets: &[&str],
    switch: impl FnOnce(&mut Plan),
) -> Report {
    let catalogue = Catalogue::from_text(None).expect("it is built in");
    let waits = ["timeouts.quiet=500ms", "timeouts.cool-down=200ms"];
    let set = sets.iter().chain(&waits).map(|set| (*set).to_owned()).collect();
    let options = Options { scale, set, ..Options::default() };
    let plan = catalogue.plan(&[name], &options).expect("a good plan").plans.remove(0);
    let mut switched = plan.clone();
    switch(&mut switched);
    let (stop, settings) = (Stop::new(), Settings::default());
    let session = |plan: Plan| {
        let (plan, machine) = fitting(Arc::new(plan)).expect("a machine that is large enough");
        Session { plan, settings: &settings, stop: &stop, machine, url: server.url.clone() }
    };
    let head = session(plan).head(rfc3339(clock::wall()));
    let session = session(switched);
    one_thread().block_on(async {
        let (paths, scraper) = session.prepare().await.expect("a server that can be reached");
        let monitor = Monitor::new(std::process::id(), None).expect("a system that shows its processes");
        let mut progress = Progress::plain(Box::new(std::io::sink()), Progress::EVERY);
        let mut watch = Watch::new(&session.plan, RunClock::start(), stop.clone(), monitor, &mut progress);
        session.rounds(&head, &paths, scraper.as_ref(), &mut watch).await.expect("a run")
    })
}

/// What a generator that was limited says nothing about is tried again, at most twice.
fn undisturbed(run: impl Fn() -> Report) -> Report {
    let mut report = run();
    for _ in 0..2 {
        if report.generator.health == Health::Limited {
            report = run();
        }
    }
    report
}

fn verdict_of(list: &[Judgement], id: &str) -> Verdict {
    list.iter().find(|one| one.id == id).unwrap_or_else(|| panic!("no {id}")).verdict
}

/// All links are as fast as they are, and everybody publishes without a thought.
fn without_delays(plan: &mut Plan) {
    for fault in &mut plan.faults {
        match &mut fault.kind {
            FaultKind::ThinkTime(delay) => *delay = Delay::Fixed(Duration::ZERO),
            FaultKind::LinkDelay(delay) => {
                let none = |delay: Option<Delay>| delay.map(|_| Delay::Fixed(Duration::ZERO));
                (delay.up, delay.down) = (none(delay.up), none(delay.down));
            }
            _ => panic!("{} is no delay", fault.name),
        }
    }
}

/// Everything goes on as if it were to happen, and it never begins.
fn without_beginning(plan: &mut Plan) {
    for fault in &mut plan.faults {
        fault.start = Duration::from_secs(3_600);
    }
}

/// Every fault reports that it acted, and none did more than to look at the bytes.
fn without_effect(plan: &mut Plan) {
    let none = Some(Delay::Fixed(Duration::ZERO));
    for fault in &mut plan.faults {
        fault.kind = FaultKind::LinkDelay(LinkDelay { up: none, down: none, buffer: 1 << 20 });
    }
}

/// Nothing failed; what a busy machine leaves in doubt aside.
fn held(report: &Report) {
    assert!(matches!(report.verdict, Verdict::Pass | Verdict::Inconclusive), "{:?}", report.why);
    let limited =
        |why: &String| why.contains("the generator was limited") || why.contains("our own processing");
    assert!(report.why.iter().all(limited), "{:?}", report.why);
}

#[test]
fn latency_fails_when_nobody_thinks() {
    let run = |switch: fn(&mut Plan)| undisturbed(|| report("latency-1000ms", 0.1, &[], switch));
    held(&run(|_| {}));
    let hollow = run(without_delays);
    assert_eq!(hollow.verdict, Verdict::Fail, "{:?}", hollow.why);
    assert_eq!(verdict_of(&hollow.expectations, "in-proportion"), Verdict::Fail);
    // It says itself that it did everything.
    assert_eq!(verdict_of(&hollow.reached, "all-think"), Verdict::Pass);
}

#[test]
fn jitter_fails_when_no_link_is_late() {
    let run = |switch: fn(&mut Plan)| undisturbed(|| report("jitter-50-500ms", 0.1, &[], switch));
    held(&run(|_| {}));
    let hollow = run(without_delays);
    assert_eq!(hollow.verdict, Verdict::Fail, "{:?}", hollow.why);
    for id in ["varies-as-injected", "centred-as-injected"] {
        assert_eq!(verdict_of(&hollow.expectations, id), Verdict::Fail, "{id}");
    }
    for id in ["all-late", "all-held-up"] {
        assert_eq!(verdict_of(&hollow.reached, id), Verdict::Pass, "{id}");
    }
}

#[test]
fn the_combination_fails_when_nobody_thinks_and_no_link_is_late() {
    let run = |switch: fn(&mut Plan)| report("latency-payload-fanout", 0.02, &[], switch);
    held(&run(|_| {}));
    // A machine that cannot keep up with payloads of 100 KB leaves it in doubt, which is no pass either.
    let says = |report: &Report, verdict: Verdict| {
        let doubt = report.generator.health == Health::Limited && verdict == Verdict::Inconclusive;
        assert!(verdict == Verdict::Fail || doubt, "{verdict:?}: {:?}", report.why);
    };
    let hollow = run(without_delays);
    says(&hollow, hollow.verdict);
    for id in ["time-in-proportion", "delay-as-injected"] {
        says(&hollow, verdict_of(&hollow.expectations, id));
    }
    says(&hollow, verdict_of(&hollow.reached, "really-waited"));
    let never = run(without_beginning);
    for id in ["all-think", "all-distant"] {
        says(&never, verdict_of(&never.reached, id));
    }
}

/// The three that end connections, short: name, scale, changes.
fn short() -> [(&'static str, f64, Vec<&'static str>); 3] {
    let drops = [
        "phases.before.for=500ms",
        "phases.drops.for=2s",
        "phases.after.for=500ms",
        "faults.drop.stagger.poisson=1s",
    ];
    let cascade = [
        "phases.before.for=500ms",
        "phases.failure.for=2s",
        "phases.recovery.for=500ms",
        "faults.silent.for=1s",
        "faults.unreachable.for=1s",
    ];
    let herd = ["phases.before.for=500ms", "phases.herd.for=1s", "publishers.feed.rate=600/s"];
    [
        ("random-drops", 0.1, drops.to_vec()),
        ("cascading-failures", 0.01, cascade.to_vec()),
        ("thundering-herd", 0.01, herd.to_vec()),
    ]
}

/// It does not pass, and these are among the conditions that say why.
fn is_hollow(report: &Report, unreached: &[&str]) {
    let name = &report.scenario.name;
    assert_ne!(report.verdict, Verdict::Pass, "{name}");
    for id in unreached {
        let verdict = verdict_of(&report.reached, id);
        // On a machine that is too busy nothing is said for certain.
        let doubt = report.generator.health == Health::Limited && verdict == Verdict::Inconclusive;
        assert!(verdict == Verdict::Fail || doubt, "{name}: {id}: {verdict:?}");
    }
}

#[test]
fn no_scenario_passes_whose_faults_never_begin() {
    let unreached: [&[&str]; 3] = [
        &["every-moment"],
        &["all-cut", "all-silent", "published-while-away"],
        &["all-cut", "published-while-away"],
    ];
    for ((name, scale, sets), unreached) in short().into_iter().zip(unreached) {
        is_hollow(&report(name, scale, &sets, without_beginning), unreached);
    }
    is_hollow(&report("latency-1000ms", 0.1, &[], without_beginning), &["all-think"]);
    is_hollow(&report("jitter-50-500ms", 0.1, &[], without_beginning), &["all-late", "all-held-up"]);
}

/// That everybody was hit is not enough: something must have been seen of it.
#[test]
fn no_scenario_passes_whose_faults_do_nothing() {
    let unreached: [&[&str]; 3] =
        [&["every-moment"], &["breaker-opened", "published-while-away"], &["published-while-away"]];
    for ((name, scale, sets), unreached) in short().into_iter().zip(unreached) {
        let hollow = report(name, scale, &sets, without_effect);
        assert!(hollow.faults.values().all(|fault| fault.applied == fault.planned), "{name}");
        is_hollow(&hollow, unreached);
    }
}

/// Readers who are said to be slow and keep up, or who never are: nothing is shown of what the server does about slow
/// ones, whatever else holds.
#[test]
fn saturation_shows_nothing_when_everybody_keeps_up() {
    let fast = |plan: &mut Plan| {
        for fault in &mut plan.faults {
            let FaultKind::SlowConsumer(slow) = &mut fault.kind else { panic!("{} is none", fault.name) };
            (slow.reads, slow.receive_buffer) = (Some(1 << 30), None);
        }
    };
    let shows_nothing = |switch: fn(&mut Plan), felt: Verdict| {
        let hollow = report("queue-saturation", 0.02, &["publishers.fast.events=100"], switch);
        assert_eq!(hollow.verdict, Verdict::Inconclusive, "{:?}", hollow.why);
        assert_eq!(verdict_of(&hollow.reached, "server-felt-it"), felt);
    };
    shows_nothing(fast, Verdict::Fail);
    shows_nothing(without_beginning, Verdict::Inconclusive);
}

/// Events that are said to be large and are not; whatever else holds, nothing is shown of large ones.
#[test]
fn payloads_show_nothing_when_they_are_small() {
    let shows_nothing = |switch: fn(&mut Plan), unreached: &[&str]| {
        let hollow = report("large-payload", 0.02, &["publishers.climb.payload.up-to=4MB"], switch);
        assert_eq!(hollow.verdict, Verdict::Inconclusive, "{:?}", hollow.why);
        for id in unreached {
            assert_ne!(verdict_of(&hollow.reached, id), Verdict::Pass, "{id}: {:?}", hollow.why);
        }
    };
    let small = |plan: &mut Plan| {
        for group in plan.publishers.iter_mut().filter(|group| group.climb.is_none()) {
            group.payload = 1_000;
        }
    };
    let swapped = |plan: &mut Plan| {
        (plan.publishers[0].payload, plan.publishers[2].payload) =
            (plan.publishers[2].payload, plan.publishers[0].payload);
    };
    shows_nothing(small, &["sent-100KB", "sent-500KB", "sent-1MB"]);
    shows_nothing(swapped, &["sent-100KB", "sent-1MB"]);
    for name in ["latency-payload-fanout", "churn-failures-memory"] {
        let small = |plan: &mut Plan| plan.publishers[0].payload = 1_000;
        let hollow = report(name, 0.02, &[], small);
        assert_ne!(hollow.verdict, Verdict::Pass, "{name}");
        assert_ne!(verdict_of(&hollow.reached, "sent-100KB"), Verdict::Pass, "{name}: {:?}", hollow.why);
    }
}

/// A day's events that were not sent are no soak.
#[test]
fn a_soak_shows_nothing_with_a_part_of_its_events() {
    let sets = ["at-least.events=20000", "publishers.feed.events=20000"];
    let hollow = report("soak-24h", 0.02, &sets, |plan| {
        plan.publishers[0].events = plan.publishers[0].events.map(|events| events / 4);
    });
    is_hollow(&hollow, &["volume"]);
}

/// Churn, failing cycles and slow readers, each of them switched off by itself: whatever else holds, it shows nothing.
#[test]
fn churn_shows_nothing_without_any_one_of_its_stressors() {
    let shows_nothing = |switch: fn(&mut Plan), unreached: &[&str]| {
        let hollow = report("churn-failures-memory", 0.02, &["publishers.feed.events=200"], switch);
        for id in unreached {
            assert_ne!(verdict_of(&hollow.reached, id), Verdict::Pass, "{id}: {:?}", hollow.why);
        }
        assert_eq!(
            hollow.verdict,
            Verdict::Inconclusive,
            "{:?}: {:?}",
            hollow.reached,
            hollow.slow_consumers
        );
    };
    let stay = |plan: &mut Plan| {
        let none = Some(Delay::Fixed(Duration::ZERO));
        let churn = plan.faults.iter_mut().find(|fault| fault.name == "churn").expect("it has one");
        churn.kind = FaultKind::LinkDelay(LinkDelay { up: none, down: none, buffer: 1 << 20 });
    };
    let never_fail = |plan: &mut Plan| plan.faults.retain(|fault| fault.name != "fail");
    let keep_up = |plan: &mut Plan| {
        let slow = plan.faults.iter_mut().find(|fault| fault.name == "slow").expect("it has one");
        let FaultKind::SlowConsumer(slow) = &mut slow.kind else { panic!("it is none") };
        (slow.reads, slow.receive_buffer) = (Some(1 << 30), None);
    };
    shows_nothing(stay, &["all-cycles-done", "all-churned", "a-tenth-failed", "every-moment"]);
    shows_nothing(never_fail, &["all-churned", "a-tenth-failed", "every-moment"]);
    shows_nothing(keep_up, &["server-felt-it"]);
}

/// Connections that the server ends are put down to slowness only where a reader was behind; and who is gone before is
/// made slow no more.
#[test]
fn ends_of_readers_who_keep_up_are_no_policy() {
    let fast = |plan: &mut Plan| {
        for fault in &mut plan.faults {
            let FaultKind::SlowConsumer(slow) = &mut fault.kind else { panic!("{} is none", fault.name) };
            (slow.reads, slow.receive_buffer) = (Some(1 << 30), None);
        }
    };
    // At this rate a reader that keeps up is behind by little even on a busy machine.
    let sets = [
        "publishers.steady.rate=100/s",
        "publishers.steady.payload=6KiB",
        "at-least.events=200",
        "publishers.fast.events=100",
        "rounds=1",
        "expect.memory-stabilises=server.alive is yes",
    ];
    // The first event of 6 KiB that each of three connections gets, in the phase in which readers are said to be slow.
    let during = report_of(
        &Beside::with("close-without-frame=min-bytes=5000,times=3"),
        "queue-saturation",
        0.02,
        &sets,
        fast,
    );
    let slow = during.slow_consumers.as_ref().expect("somebody was said to be slow");
    assert_eq!((slow.disconnected, during.connections.dropped_unexpectedly), (0, 3), "{slow:?}");
    let before =
        report_of(&Beside::with("close-without-frame=times=10"), "queue-saturation", 0.02, &sets, fast);
    let stuck = &before.faults["stuck"];
    assert_eq!((stuck.applied, stuck.not_applied, stuck.planned), (0, 5, 5));
}
