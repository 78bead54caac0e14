//! What stressctl says to a user: where nobody listens, where a file tries to take over the terminal, and how it
//! tells what it was given wrongly.

use std::path::Path;
use std::process::{Command, Output, Stdio};

const QUICK: &str = r#"
[scenarios.quick]
about = "quick \u001b[31mred\u202e"
channels = 2
subscribers.clients = { connections = 4 }
publishers.feed = { rate = "200/s", events = 20 }
timeouts = { quiet = "50ms", cool-down = "0s" }
"#;

fn stressctl(dir: &Path, args: &[&str]) -> Command {
    std::fs::write(dir.join("scenarios.toml"), QUICK).expect("the directory can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stressctl"));
    command.args(args).current_dir(dir).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    stressctl(dir.path(), args).output().expect("the binary starts")
}

#[test]
fn a_stderr_that_takes_nothing_costs_neither_the_run_nor_its_report() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the system has /dev/full");
    let status = stressctl(dir.path(), &["run", "--scenario", "quick", "--output", "quiet"])
        .stderr(full)
        .env("STRESSCTL_LOG", "trace")
        .status()
        .expect("the binary starts");
    assert_eq!(status.code(), Some(0));
    assert!(dir.path().join("stress-results/quick.json").exists());
}

#[test]
fn an_error_that_nobody_reads_keeps_its_exit_code() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let full = std::fs::File::options().write(true).open("/dev/full").expect("the system has /dev/full");
    let status =
        stressctl(dir.path(), &["run", "--scenario", "nope"]).stderr(full).status().expect("it starts");
    assert_eq!(status.code(), Some(2));
}

#[test]
fn what_a_file_says_about_itself_moves_no_cursor() {
    for args in [&["list"][..], &["plan", "quick"], &["run", "--scenario", "quick"]] {
        let output = output(args);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).expect("text");
        assert!(said.contains("[31mred"), "{said}");
        assert!(!said.contains(['\u{1b}', '\u{202e}']), "{args:?}: {said:?}");
    }
}

#[test]
fn a_log_of_everything_holds_nothing_that_went_over_the_wire() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = stressctl(dir.path(), &["run", "--scenario", "quick", "--output", "quiet"])
        .env("STRESSCTL_LOG", "trace")
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    for word in ["connection_init", "Sec-WebSocket-Key", "\u{1b}"] {
        assert!(!said.contains(word), "{word}");
    }
}

#[test]
fn a_server_pid_of_no_process_is_bad_usage_and_no_dead_target() {
    let output = output(&["run", "--scenario", "quick", "--server-pid", "4194999"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--server-pid 4194999: there is no process"));
}

#[test]
fn a_bad_report_is_named_with_its_cause() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(dir.path().join("a.json"), "{oops").expect("the directory can be written");
    let output = stressctl(dir.path(), &["report", "."]).output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("a.json is not a readable report: key must be a string at line 1 column 2"),
        "{said}"
    );
}

#[test]
fn a_negative_scale_is_refused_for_what_it_is() {
    let output = output(&["plan", "quick", "--scale", "-1"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("--scale -1 is not above 0 and at most 1"), "{said}");
}
