//! Slow readers, against servers that each do something else about them: what is done is named, and what is lost is
//! explained by it or held against the server.

use serde_json::{Value, json};

use crate::common::binary::{Finished, Stressctl};
use crate::scene::{Server, all_applied, number, those};

/// A round of the catalogue's `queue-saturation` without its flood, with four readers of which two are slow: 6,000 events
/// of 2 KiB in six seconds, of which they read an eighth.
const SATURATION: &str = r#"
[scenarios.saturation]
about = "half of the readers do not keep up"
channels = 1
deadline = "2min"
phases = [{ name = "control" }, { name = "slow" }]
subscribers.clients = { connections = 4 }
publishers.calm = { phase = "control", rate = "1000/s", events = 500, payload = "2KiB" }
publishers.steady = { phase = "slow", rate = "1000/s", events = 6_000, payload = "2KiB" }
timeouts = { drain = "1min", operation = "1min", quiet = "500ms", cool-down = "200ms" }

[scenarios.saturation.faults.stuck]
on = "clients"
fraction = "50%"
phase = "slow"
slow-consumer = { reads = "256KiB/s", receive-buffer = "8KiB" }

[scenarios.saturation.expect]
nothing-lost = "bystanders.ledger.lost == 0"
no-crash = "server.alive is yes"
losses-admitted = "ledger.lost_unexplained == 0"
others-keep-p99 = "bystanders.latency.deliver.p99 in slow < 500ms"
no-surprise-drops = "bystanders.connections.dropped_unexpectedly == 0"

[scenarios.saturation.reached]
all-slow = "faults.stuck.applied / predicted == 100%"
really-slow = "faults.stuck.reads.per_second <= 300KiB"
server-felt-it = "slow_consumers.felt_ratio == 100%"
"#;

fn run(server: &Server, scenario: &str) -> Finished {
    let args = ["--target", "here", "--scenario", "saturation"];
    Stressctl::run(&args).scenarios(&format!("{}\n{scenario}", server.target(&server.url()))).finish()
}

/// What a server did that was started like this; nothing failed but these, times of a busy machine aside.
fn done_by(server: &Server, failed: &[&str]) -> Value {
    done_in(SATURATION, server, failed)
}

fn done_in(scenario: &str, server: &Server, failed: &[&str]) -> Value {
    let report = run(server, scenario).report("saturation");
    all_applied(&report, "stuck", 2);
    let mut fails = those(&report, "expectations", "fail");
    fails.retain(|id| failed.contains(&id.as_str()) || id != "others-keep-p99");
    assert_eq!(fails, failed, "{}", report["why"]);
    assert_eq!(those(&report, "reached", "pass"), ["all-slow", "really-slow", "server-felt-it"]);
    assert_eq!((&report["server"]["alive"], number(&report, "/slow_consumers/readers")), (&true.into(), 2));
    let drain = report["drain"]["duration_s"].as_f64();
    assert!(drain.is_some_and(|seconds| seconds < 60.0), "{drain:?}");
    report
}

const MIB: u64 = 1 << 20;

#[test]
fn a_server_that_keeps_everything_buffers() {
    let server = Server::start(&["--queue-limit", "1GiB"]);
    let report = done_by(&server, &[]);
    let slow = &report["slow_consumers"];
    assert_eq!((&slow["policy"], &slow["also"]), (&"buffer".into(), &json!([])), "{slow}");
    for count in ["lost", "cut_short", "missed", "disconnected", "passed_over", "admitted"] {
        assert_eq!(slow[count], 0, "{count}");
    }
    // 6,000 events of 2 KiB, less what is read in the six seconds that they take: never more than it may.
    let behind = number(&report, "/slow_consumers/backlog_max_bytes");
    assert!((9 * MIB..=6_000 * 2_048).contains(&behind), "{behind}");
    assert_eq!(number(&report, "/ledger/delivered"), number(&report, "/ledger/obligations"));
}

#[test]
fn a_server_that_drops_and_counts_it_drops() {
    let server = Server::start(&["--queue-limit", "512KiB", "--when-full", "drop"]);
    // It goes on when they read fast again, so that something later arrives of every stream.
    let longer = SATURATION
        .replace(r#"{ name = "slow" }]"#, r#"{ name = "slow" }, { name = "after" }]"#)
        .replace(r#"steady = { phase = "slow""#, r#"steady = { phase = ["slow", "after"]"#);
    let report = done_in(&longer, &server, &[]);
    let slow = &report["slow_consumers"];
    assert_eq!((&slow["policy"], &slow["also"]), (&"drop".into(), &json!([])), "{slow}");
    let (lost, told) = (number(&report, "/slow_consumers/lost"), server.count("dropped"));
    // Probes and barriers are dropped too, and are no events.
    assert!(lost > 100 && lost <= told && told - lost < 50, "{lost} of {told}");
    assert_eq!(number(&report, "/ledger/lost_proven"), lost);
    assert_eq!(number(&report, "/slow_consumers/admitted"), told);
    assert_eq!(number(&report, "/slow_consumers/passed_over"), 2);
}

#[test]
fn a_server_that_cuts_its_slow_readers_off_disconnects() {
    let server = Server::start(&["--queue-limit", "1MiB", "--when-full", "disconnect"]);
    let report = done_by(&server, &[]);
    let slow = &report["slow_consumers"];
    assert_eq!(slow["policy"], "disconnect", "{slow}");
    assert_eq!((&slow["disconnected"], &slow["disconnects"]), (&2.into(), &json!({ "open.closed": 2 })));
    assert_eq!(server.count("disconnected_slow"), 2);
    // What waited in the server is open to us, and the server says what it was.
    let (open, told) =
        (number(&report, "/slow_consumers/cut_short"), number(&report, "/slow_consumers/admitted"));
    assert!(told > 400 && open >= told, "{open}, of which it had {told}");
    assert_eq!(number(&report, "/ledger/indeterminate"), open);
    // It is no accident to anybody, nor an error.
    assert_eq!(number(&report, "/connections/dropped_unexpectedly"), 0);
    assert_eq!(report["connections"]["failed"], json!({}));
    assert_eq!(report["errors"]["ratio"], 0.0);
}

#[test]
fn a_server_that_makes_publishers_wait_presses_back() {
    let server = Server::start(&["--queue-limit", "512KiB", "--when-full", "backpressure"]);
    // Who listens to a publisher that has to wait waits with it.
    let report = run(&server, SATURATION).report("saturation");
    let slow = &report["slow_consumers"];
    assert_eq!(slow["policy"], "backpressure", "{slow}");
    assert_eq!(number(&report, "/ledger/delivered"), number(&report, "/ledger/obligations"));
    // On a busy machine that is in doubt.
    let failed = those(&report, "expectations", "fail");
    assert!(failed.iter().all(|id| id == "others-keep-p99"), "{failed:?}");
    assert!(!those(&report, "expectations", "pass").contains(&"others-keep-p99".to_owned()));
    let figure = |key: &str| slow[key].as_f64().expect("a figure");
    assert!(figure("published_rate") < figure("planned_rate") / 2.0, "{slow}");
    // What the kernels hold, and half a MiB; with a little more of that it would be said to buffer, too.
    assert!(number(&report, "/slow_consumers/backlog_max_bytes") < 9 * MIB, "{slow}");
    assert_eq!((slow["felt_ratio"].as_f64(), server.count("dropped")), (Some(1.0), 0));
}

/// The same losses, which the server keeps to itself: they follow from no policy that it admits to.
#[test]
fn a_server_that_drops_and_does_not_say_so_is_found_out() {
    let server = Server::start(&["--queue-limit", "1GiB", "--defect", "drop-when-slow"]);
    let report = done_by(&server, &["losses-admitted"]);
    assert_eq!((&report["verdict"], &report["slow_consumers"]["policy"]), (&"fail".into(), &"drop".into()));
    let lost = number(&report, "/slow_consumers/lost");
    assert!(lost > 100 && server.planted() >= lost, "{lost} of {}", server.planted());
    assert_eq!(number(&report, "/ledger/lost_unexplained"), lost);
    assert_eq!(number(&report, "/slow_consumers/admitted"), 0);
}

/// What a server says that it dropped of slow readers does not explain what was lost before anybody was slow.
#[test]
fn losses_before_anybody_was_slow_are_not_put_down_to_it() {
    let options = ["--queue-limit", "512KiB", "--when-full", "drop", "--defect", "drop=times=4"];
    let server = Server::start(&options);
    let report = done_by(&server, &["nothing-lost", "losses-admitted"]);
    assert_eq!(server.planted(), 4, "one event of the control phase, to each of four readers");
    assert_eq!(number(&report, "/ledger/lost_unexplained"), 4);
    let slow = number(&report, "/slow_consumers/lost");
    assert!(slow > 100 && number(&report, "/ledger/lost") == slow + 4, "{slow}");
    assert_eq!(report["slow_consumers"]["policy"], "drop");
}

/// One socket that takes nothing keeps all the others waiting: the bystanders have it in their latency, and lose nothing.
#[test]
fn bystanders_who_are_made_to_wait_for_slow_readers_are_late() {
    let server = Server::start(&["--queue-limit", "1GiB", "--defect", "serialise"]);
    let report = done_by(&server, &["others-keep-p99"]);
    assert_eq!(number(&report, "/groups/bystanders/ledger/lost"), 0);
    assert!(server.planted() > 0, "it never struck");
}

/// Where nobody is told what a server drops, that it dropped is known, and not whether it says so.
#[test]
fn losses_that_nobody_could_admit_are_in_doubt() {
    let server = Server::start(&["--queue-limit", "512KiB", "--when-full", "drop"]);
    let target = server.target(&server.url()).replace("dropped = \"/dropped\"", "");
    let args = ["--target", "here", "--scenario", "saturation"];
    let run = Stressctl::run(&args).scenarios(&format!("{target}\n{SATURATION}")).finish();
    let report = run.report("saturation");
    assert_eq!(report["ledger"]["lost_unexplained"], Value::Null);
    assert_eq!(report["slow_consumers"]["admitted"], Value::Null);
    assert!(those(&report, "expectations", "inconclusive").contains(&"losses-admitted".to_owned()));
    assert_eq!(report["slow_consumers"]["policy"], "drop");
}
