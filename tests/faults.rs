//! Whole runs with faults, as a user would make them.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::binary::Stressctl;
use rustix::process::Signal;
use serde_json::Value;

const HERD: &str = r#"
[scenarios.herd]
about = "half of a hundred clients cut at one instant, all reconnecting at once"
channels = 20
phases = [{ name = "before", for = "500ms" }, { name = "herd", for = "1500ms" }]
subscribers.clients = { connections = 100, connect = "together", reconnect = "immediate" }
publishers.feed = { connections = 2, rate = "400/s" }
faults.cut = { on = "clients", fraction = "50%", phase = "herd", terminate = { how = "reset" } }
reached.missed = "ledger.missed_disconnected > 0"
timeouts = { quiet = "200ms", cool-down = "100ms" }
"#;

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer}"))
}

/// What victims missed is told apart from what was lost, which is nothing, and both the server's counts and our own
/// sums agree.
#[test]
fn half_are_cut_and_come_back_and_nothing_is_lost() {
    let report =
        Stressctl::run(&["--scenario", "herd"]).scenarios(HERD).finish().holds(&["herd"]).report("herd");
    let ledger = |name: &str| number(&report, &format!("/ledger/{name}"));
    // 800 events to five clients each, missed or not.
    assert_eq!(ledger("obligations"), 4_000);
    let rest = ledger("missed_disconnected") + ledger("indeterminate") + ledger("suppressed");
    assert_eq!(ledger("delivered") + ledger("late") + rest, 4_000);
    assert_eq!((ledger("lost"), ledger("strange"), ledger("unverified")), (0, 0, 0));
    let connections = |name: &str| number(&report, &format!("/connections/{name}"));
    assert_eq!((connections("established"), connections("dropped_by_plan")), (100, 150));
    assert_eq!(connections("dropped_unexpectedly"), 0);
    assert_eq!(number(&report, "/subscriptions/confirmed"), 100);
    assert_eq!(number(&report, "/latency/reconnect/count"), 50);
}

#[test]
fn a_run_that_is_interrupted_while_clients_are_away_ends_in_time() {
    let file = HERD.replace("\"immediate\"", "{ fixed = { wait = \"1h\" } }").replace("1500ms", "30s");
    let mut run = Stressctl::run(&["--scenario", "herd"]).scenarios(&file).start();
    run.wait_until("phase", |run| run.stderr().contains("phase herd"));
    std::thread::sleep(Duration::from_millis(500));
    run.signal(Signal::INT);
    let finished = run.finish();
    assert!(finished.elapsed < Duration::from_secs(16), "{:?}", finished.elapsed);
    assert_eq!(finished.report("herd")["run"]["interrupted"], true);
}

/// `stressctl serve` with a defect, which leaves with the test.
struct Defective(Child, String);

impl Defective {
    fn start(defect: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stressctl"))
            .args(["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin", "--defect", defect])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where");
        let url = line.trim().strip_prefix("listening on ").expect("it listens").to_owned();
        Self(child, url)
    }
}

impl Drop for Defective {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What a server had long failed to deliver when we cut its connections is not our cut's doing.
#[test]
fn a_cut_does_not_excuse_what_a_silent_server_had_not_delivered_before() {
    let server = Defective::start("forget-subscription=after=3");
    let file =
        HERD.replace("fraction = \"50%\"", "fraction = \"100%\"").replace("for = \"500ms\"", "for = \"4s\"");
    let file = format!("{file}expect.nothing-lost = \"ledger.lost == 0\"\n");
    let run = Stressctl::run(&["--scenario", "herd", "--target", &server.1]).scenarios(&file).finish();
    assert_ne!(run.code(), Some(0), "{}", run.stderr);
    let report = run.report("herd");
    let ledger = |name: &str| number(&report, &format!("/ledger/{name}"));
    assert!(ledger("lost") + ledger("indeterminate") - ledger("indeterminate_by_faults") > 100);
}

/// Everybody cut, and nobody comes back: that is what the plan says, and no target that died.
#[test]
fn a_target_of_which_we_cut_every_connection_is_not_lost() {
    let file = HERD
        .replace("fraction = \"50%\"", "fraction = \"100%\"")
        .replace(", reconnect = \"immediate\"", "")
        .replace("ledger.missed_disconnected > 0", "faults.cut.applied == 100");
    let report = Stressctl::run(&["--scenario", "herd"]).scenarios(&file).finish().report("herd");
    assert_eq!(report["run"]["stop_reason"], "completed");
    assert_eq!(number(&report, "/published/sent"), 800);
    assert_eq!(report["subscriptions"]["barriers"]["complete"], Value::Null);
}
