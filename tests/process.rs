//! stressctl as a process: what signals do to it, and that it never leaves its reference server behind.

mod common;

use std::thread;
use std::time::Duration;

use common::bad::{Manner, Server};
use common::binary::{Finished, Running, Stressctl, wait_until};
use common::proc::{Process, descendants};
use rustix::process::Signal;

const CONNECTIONS: usize = 20;

/// Long enough that nothing in these tests reaches its end by itself.
const LONG: &str = r#"
[scenarios.long]
about = "twenty clients, a minute of events"
channels = "own"
subscribers.clients = { connections = 20 }
publishers.feed = { connections = 2, rate = "100/s" }
phases = [{ name = "load", for = "60s" }]
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.nothing-lost = "ledger.lost == 0"
expect.no-surprise-drops = "connections.dropped_unexpectedly == 0"
"#;

/// A run in the middle of its load, and the reference server it started.
fn in_mid_run() -> (Running, Process) {
    let mut running = Stressctl::run(&["--scenario", "long"]).scenarios(LONG).start();
    let mut server = None;
    running.wait_until("reference server", |running| {
        server = descendants(running.id()).into_iter().find(|process| process.command.contains(" serve"));
        server.is_some()
    });
    let server = server.expect("it was waited for");
    // One file for each connection; then time for the census and for the first events.
    running.wait_until("connections", |_| server.open_files() >= CONNECTIONS);
    thread::sleep(Duration::from_millis(1500));
    assert!(server.runs());
    (running, server)
}

/// What must be true of every run that was asked to stop.
#[track_caller]
fn stopped_properly(finished: Finished, server: &Process) {
    let finished = finished.exits(3);
    let report = finished.report("long");
    assert_eq!(report["run"]["interrupted"], true);
    assert_eq!(report["run"]["stop_reason"], "interrupted");
    assert_eq!(report["verdict"], "inconclusive");
    assert_eq!(report["connections"]["established"], CONNECTIONS);
    assert_eq!(report["connections"]["dropped_unexpectedly"], 0);
    assert_eq!(report["ledger"]["lost"], 0);
    assert!(report["ledger"]["delivered"].as_u64() > Some(0), "{}", report["ledger"]);
    assert!(finished.out.join("stress_results.md").exists());
    wait_until("no reference server", Duration::from_secs(1), || !server.runs());
}

#[test]
fn killed_it_leaves_no_reference_server() {
    let (running, server) = in_mid_run();
    running.signal(Signal::KILL);
    wait_until("no reference server", Duration::from_secs(1), || !server.runs());
    assert_eq!(running.finish().killed_by(), Some(Signal::KILL.as_raw()));
}

#[test]
fn ctrl_c_reaches_the_whole_group_and_the_run_is_still_judged() {
    let (running, server) = in_mid_run();
    running.signal_group(Signal::INT);
    stopped_properly(running.finish(), &server);
}

#[test]
fn sigterm_stops_it_likewise() {
    let (running, server) = in_mid_run();
    running.signal(Signal::TERM);
    stopped_properly(running.finish(), &server);

    let (running, server) = in_mid_run();
    running.signal_group(Signal::TERM);
    stopped_properly(running.finish(), &server);
}

#[test]
fn the_first_signal_is_answered_at_once_and_the_second_ends_it() {
    let server = Server::good();
    let file = LONG.to_owned() + &server.target();
    let mut running = Stressctl::run(&["--target", "bad", "--scenario", "long"]).scenarios(&file).start();
    running.wait_until("events", |_| server.published() > 20 * CONNECTIONS as u64);

    // What is owed from now on never comes, so that the drain has something to wait for.
    server.mute();
    thread::sleep(Duration::from_millis(500));
    let said = running.stderr().len();
    running.signal_group(Signal::INT);
    wait_until("a word on stderr", Duration::from_secs(1), || running.stderr().len() > said);
    thread::sleep(Duration::from_millis(500));
    assert!(Process::read(running.id()).is_some_and(|process| process.runs()), "it drains");

    running.signal_group(Signal::INT);
    let second = stressctl::clock::now();
    let finished = running.finish();
    assert!(second.elapsed() < Duration::from_secs(1), "{:?}", second.elapsed());
    assert_ne!(finished.code(), Some(0));
    // In a hurry, but not without a word about what has been seen.
    let report = finished.report("long");
    assert_eq!(report["run"]["interrupted"], true);
    assert_eq!(report["connections"]["established"], CONNECTIONS);
    assert_eq!(report["connections"]["dropped_unexpectedly"], 0);
}

/// Nothing is owed yet, so there is nothing to drain.
#[test]
fn a_signal_while_connecting_ends_it() {
    let server = Server::bad_after_preflight(Manner::Silent);
    let file = LONG.to_owned() + &server.target();
    let mut running = Stressctl::run(&["--target", "bad", "--scenario", "long"]).scenarios(&file).start();
    running.wait_until("connecting", |running| running.stderr().contains("connecting"));
    running.signal_group(Signal::INT);
    let first = stressctl::clock::now();
    let finished = running.finish().exits(3);
    assert!(first.elapsed() < Duration::from_secs(5), "{:?}", first.elapsed());
    let report = finished.report("long");
    assert_eq!(report["run"]["stop_reason"], "interrupted");
    assert_eq!(report["verdict"], "inconclusive");
}

#[test]
fn a_drain_after_a_signal_is_bounded() {
    let server = Server::good();
    let file = LONG.to_owned() + &server.target();
    let mut running = Stressctl::run(&["--target", "bad", "--scenario", "long"]).scenarios(&file).start();
    running.wait_until("events", |_| server.published() > 20 * CONNECTIONS as u64);
    server.mute();
    thread::sleep(Duration::from_millis(500));

    running.signal_group(Signal::INT);
    let first = stressctl::clock::now();
    let finished = running.finish();
    // Ten seconds of drain, and what it takes to close and to write.
    assert!(first.elapsed() < Duration::from_secs(15), "{:?}", first.elapsed());
    assert_eq!(finished.report("long")["run"]["interrupted"], true);
}

#[test]
fn a_reference_server_that_is_killed_is_a_target_that_died() {
    let (running, server) = in_mid_run();
    let pid = rustix::process::Pid::from_raw(server.id.cast_signed()).expect("an id is not 0");
    rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
    let report = running.finish().exits(1).report("long");
    assert_eq!(report["run"]["stop_reason"], "target-lost");
    assert_eq!(report["connections"]["dropped_unexpectedly"], CONNECTIONS);
}
