//! A schedule that may slip: against a server that holds the rate, two that do not, and where we do not hold it.

use std::thread::sleep;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::common::binary::{Finished, Stressctl};
use crate::scene::{Server, those};

const EVENTS: u64 = 6_000;

/// So many events at 3,000/s, or by another rate, on twenty channels.
fn command(server: &Server, rate: &str) -> Stressctl {
    let scenario = format!(
        r#"
        [scenarios.steady]
        about = "a rate that is to be held"
        channels = "own"
        subscribers.clients = {{ connections = 20 }}
        timeouts = {{ quiet = "300ms", cool-down = "100ms" }}
        [scenarios.steady.publishers.feed]
        connections = 2
        rate = "{rate}"
        events = {EVENTS}
        batch = 5
        when-behind = "slow-down"
        [scenarios.steady.expect]
        rate-held = "published.rate / predicted >= 97%"
        all-delivered = "ledger.delivered / predicted == 100%"
        "#
    );
    let file = server.target(&server.url()) + &scenario;
    Stressctl::run(&["--target", "here", "--scenario", "steady"]).scenarios(&file)
}

#[track_caller]
fn number(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or_else(|| panic!("no {key} in {of}"))
}

/// What slipped, after checking that everything was published, delivered and judged all the same.
#[track_caller]
fn slowed(run: &Finished) -> Value {
    let report = run.report("steady");
    assert_eq!(report["published"]["sent"], EVENTS, "{}", report["why"]);
    assert_eq!((&report["ledger"]["lost"], &report["ledger"]["delivered"]), (&json!(0), &json!(EVENTS)));
    let passed = those(&report, "expectations", "pass");
    for id in ["nothing-lost", "all-delivered", "nothing-strange", "server-counts-agree"] {
        assert!(passed.iter().any(|passed| passed == id), "{id}: {}", report["why"]);
    }
    let slowed = &report["published"]["slowed"];
    let parts = number(slowed, "by_server_s") + number(slowed, "by_generator_s");
    assert!((parts - number(slowed, "slipped_s")).abs() < 1e-6, "{slowed}");
    slowed.clone()
}

#[test]
fn a_server_that_takes_so_many_and_no_more_is_found_with_its_rate() {
    let server = Server::with("slow-publish=per=1ms");
    let run = command(&server, "3000/s").finish().exits(1);
    let slowed = slowed(&run);
    let report = run.report("steady");
    assert_eq!(those(&report, "expectations", "fail"), ["rate-held"], "{}", report["why"]);
    assert_eq!(slowed["limited_by"], "server", "{slowed}");
    let held = number(&slowed, "held_rate");
    assert!((600.0..=1_050.0).contains(&held), "it takes 1,000/s: {slowed}");
    // The planned 2 s and what slipped are the time it took.
    let took = (EVENTS - 1) as f64 / held;
    assert!((took - 2.0 - number(&slowed, "slipped_s")).abs() < 0.3, "{took} s: {slowed}");
    // The queue is short all the time, where catching up would have made it 4 s long.
    let p99_us = number(&report["latency"]["deliver"], "p99_us");
    assert!(p99_us < 2_000_000.0, "{p99_us} us");
    assert!(run.stdout.contains("the rate that held: "), "{}", run.stdout);
    assert!(run.stdout.contains("limited by the server"), "{}", run.stdout);
}

#[test]
fn a_server_that_holds_the_rate_is_not_said_to_limit_it() {
    let server = Server::honest();
    let run = command(&server, "2000/s").finish();
    let slowed = slowed(&run);
    let report = run.report("steady");
    // A machine that others use as well may keep us from it for a moment, and then we say so.
    assert_ne!(slowed["limited_by"], "server", "{slowed}");
    if slowed["slips"] == 0 {
        assert_eq!((&slowed["limited_by"], &report["verdict"]), (&"none".into(), &"pass".into()));
        assert_eq!((&slowed["held_rate"], &slowed["slipped_s"]), (&Value::Null, &json!(0.0)));
        run.exits(0);
    } else {
        run.holds(&["steady"]);
    }
}

/// Stops a process and lets it go on, four times, while events are published.
fn interrupt(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("above 0");
    for _ in 0..4 {
        sleep(Duration::from_millis(300));
        kill_process(pid, Signal::STOP).expect("it runs");
        sleep(Duration::from_millis(700));
        kill_process(pid, Signal::CONT).expect("it is stopped");
    }
}

#[test]
fn who_is_kept_from_publishing_says_that_it_was_not_the_server() {
    let server = Server::honest();
    let mut running = command(&server, "1000/s").start();
    running.wait_until("phase", |_| server.count("published") > 200);
    interrupt(running.id());
    let run = running.finish().exits(3);
    let slowed = slowed(&run);
    assert_eq!(slowed["limited_by"], "generator", "{slowed}");
    assert!(number(&slowed, "by_generator_s") > 2.0, "{slowed}");
    let report = run.report("steady");
    assert_eq!(those(&report, "expectations", "inconclusive"), ["rate-held"]);
    assert_eq!(those(&report, "expectations", "fail"), Vec::<String>::new());
}

#[test]
fn a_server_that_stands_still_now_and_then_is_what_limits() {
    let server = Server::honest();
    let mut running = command(&server, "1000/s").start();
    running.wait_until("phase", |_| server.count("published") > 200);
    interrupt(server.id());
    let run = running.finish().exits(1);
    let slowed = slowed(&run);
    assert_eq!(slowed["limited_by"], "server", "{slowed}");
    assert!(number(&slowed, "by_server_s") > 1.0, "{slowed}");
    assert_eq!(those(&run.report("steady"), "expectations", "fail"), ["rate-held"]);
}
