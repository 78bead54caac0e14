//! Nothing is sent to an address outside without `--confirm`, as counted by the kernel.
//!
//! Each run is in a network namespace of its own, which has no way out: the addresses outside are its own, on its
//! loopback device. What it sent is what the kernel counted in there. SKIPPED where no namespace can be made.

mod common;

use std::fs;
use std::process::{Command, ExitCode, Output};

use common::optional;
use tempfile::TempDir;

/// Makes the addresses, lets names lead to them, runs what it is given and prints what the kernel counted.
const INSIDE: &str = r#"
set -eu
mount --bind "$1" /etc/hosts
shift
ip link set lo up
ip address add 192.0.2.1/32 dev lo
ip address add 2001:db8::1/128 dev lo nodad
code=0
timeout --kill-after=1 20 "$@" >&2 || code=$?
echo "exit $code"
cat /proc/net/snmp
"#;

const HOSTS: &str = "127.0.0.1 localhost\n\
    192.0.2.1 outside.test outside-not-loopback.test\n\
    127.0.0.1 both.test\n\
    192.0.2.1 both.test\n\
    127.0.0.1 inside.test\n";

const SCENARIO: &str = r#"
[scenarios.tiny]
about = "one client"
channels = "own"
subscribers.clients = { connections = 1 }
publishers.feed = { rate = "10/s", events = 1 }
timeouts = { connect = "500ms" }
expect.nothing-lost = "ledger.lost == 0"
"#;

/// A target by name, so that a scenario file can say what a command line cannot.
fn target(name: &str, url: &str, more: &str) -> String {
    format!(
        r#"
[targets.{name}]
url = "{url}"
{more}
[targets.{name}.subscribe]
query = "subscription ($c: String!) {{ event(channel: $c) {{ payload }} }}"
variables = {{ c = "${{channel}}" }}
payload-at = "/data/event/payload"

[targets.{name}.publish]
query = "mutation ($c: String!, $p: String!) {{ publish(channel: $c, payload: $p) {{ id }} }}"
variables = {{ c = "${{channel}}", p = "${{payload}}" }}
"#
    )
}

fn scenarios() -> String {
    const INSIDE: &str = "ws://127.0.0.1:9/graphql";
    const OUTSIDE: &str = "ws://192.0.2.1:9/graphql";
    let statistics =
        "statistics = { url = \"http://192.0.2.1:9/stats\", format = \"json\", connections = \"/open\" }";
    [
        SCENARIO,
        &target("table", OUTSIDE, ""),
        &target("table-confirmed", OUTSIDE, "confirmed = true"),
        &target("counts-outside", INSIDE, statistics),
        &target("publishes-outside", INSIDE, ""),
        "[targets.publishes-outside.publish.http]\nurl = \"http://192.0.2.1:9/graphql\"\n",
    ]
    .concat()
}

fn main() -> ExitCode {
    let tests: [optional::Test; 6] = [
        ("the_counter_sees_what_is_sent", the_counter_sees_what_is_sent),
        ("an_address_outside_needs_to_be_confirmed", an_address_outside_needs_to_be_confirmed),
        ("a_name_is_judged_by_where_it_leads", a_name_is_judged_by_where_it_leads),
        ("the_confirmation_must_be_of_that_host", the_confirmation_must_be_of_that_host),
        ("a_table_of_the_scenario_file_is_no_confirmation", a_table_of_the_scenario_file_is_no_confirmation),
        ("what_goes_beside_the_websocket_is_judged_too", what_goes_beside_the_websocket_is_judged_too),
    ];
    optional::run(&tests, &means(), "STRESSCTL_REQUIRE_NETNS")
}

/// Whether this machine lets us do all that the tests do.
fn means() -> Result<(), String> {
    let dir = Dir::new();
    match dir.inside(&["true"]) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            let line = stderr.lines().next().unwrap_or("no network namespace").to_owned();
            Err(line)
        }
        Err(error) => Err(format!("unshare: {error}")),
    }
}

/// Files that a run in a namespace needs.
struct Dir(TempDir);

impl Dir {
    fn new() -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        fs::write(dir.path().join("hosts"), HOSTS).expect("it can be written");
        fs::write(dir.path().join("tiny.toml"), scenarios()).expect("it can be written");
        Self(dir)
    }

    fn inside(&self, command: &[&str]) -> std::io::Result<Output> {
        let mut unshare = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            unshare.arg("--map-root-user");
        }
        unshare
            .args(["--net", "--mount", "--", "sh", "-c", INSIDE, "inside"])
            .arg(self.0.path().join("hosts"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STRESSCTL_"))
        {
            unshare.env_remove(name);
        }
        unshare.args(command).current_dir(self.0.path()).env("NO_COLOR", "1").output()
    }
}

/// How stressctl ended in a namespace, and what was sent there meanwhile.
struct Seen {
    code: i32,
    connects: u64,
    tcp_segments: u64,
    udp_datagrams: u64,
    stderr: String,
}

fn stressctl(args: &[&str]) -> Seen {
    let run = [env!("CARGO_BIN_EXE_stressctl"), "run", "--scenarios", "tiny.toml", "--scenario", "tiny"];
    let output = Dir::new().inside(&[&run, args].concat()).expect("unshare starts");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = stdout.lines().find_map(|line| line.strip_prefix("exit ")?.parse().ok());
    Seen {
        code: code.unwrap_or_else(|| panic!("stressctl was not run: {stderr}")),
        connects: counter(&stdout, "Tcp:", "ActiveOpens"),
        tcp_segments: counter(&stdout, "Tcp:", "OutSegs"),
        udp_datagrams: counter(&stdout, "Udp:", "OutDatagrams"),
        stderr,
    }
}

/// One figure of /proc/net/snmp, which has a line of names and a line of values for each protocol.
fn counter(snmp: &str, protocol: &str, name: &str) -> u64 {
    let mut lines = snmp.lines().filter(|line| line.starts_with(protocol));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let found = names.split(' ').zip(values.split(' ')).find(|(found, _)| *found == name);
    found.and_then(|(_, value)| value.parse().ok()).expect("the kernel counts it")
}

#[track_caller]
fn refused_and_silent(args: &[&str]) {
    let seen = stressctl(args);
    assert_eq!(seen.code, 2, "{args:?}:\n{}", seen.stderr);
    assert_eq!(
        (seen.connects, seen.tcp_segments, seen.udp_datagrams),
        (0, 0, 0),
        "{args:?}:\n{}",
        seen.stderr
    );
    assert!(seen.stderr.contains("--confirm"), "{args:?}: the fix is named:\n{}", seen.stderr);
}

/// Nobody listens in there: what is allowed to connect is refused, and exits with 4.
#[track_caller]
fn allowed(args: &[&str]) {
    let seen = stressctl(args);
    assert_eq!(seen.code, 4, "{args:?}:\n{}", seen.stderr);
    assert!(seen.connects > 0 && seen.tcp_segments > 0, "{args:?}:\n{}", seen.stderr);
}

fn the_counter_sees_what_is_sent() {
    allowed(&["--target", "ws://127.0.0.1:9/graphql"]);
    allowed(&["--target", "ws://[::1]:9/graphql"]);
    allowed(&["--target", "ws://192.0.2.1:9/graphql", "--confirm", "192.0.2.1"]);
}

fn an_address_outside_needs_to_be_confirmed() {
    for url in [
        "ws://192.0.2.1:9/graphql",
        "wss://192.0.2.1:9/graphql",
        "ws://[2001:db8::1]:9/graphql",
        "ws://[::ffff:192.0.2.1]:9/graphql",
        "ws://localhost@192.0.2.1:9/graphql",
    ] {
        refused_and_silent(&["--target", url]);
    }
}

fn a_name_is_judged_by_where_it_leads() {
    refused_and_silent(&["--target", "ws://outside.test:9/graphql"]);
    refused_and_silent(&["--target", "ws://both.test:9/graphql"]);
    allowed(&["--target", "ws://inside.test:9/graphql"]);
    allowed(&["--target", "ws://outside.test:9/graphql", "--confirm", "outside.test"]);
}

fn the_confirmation_must_be_of_that_host() {
    for confirmed in ["192.0.2.2", "192.0.2", "192.0.2.1:9", "localhost", "outside.test", "*", ""] {
        refused_and_silent(&["--target", "ws://192.0.2.1:9/graphql", "--confirm", confirmed]);
    }
    refused_and_silent(&[
        "--target",
        "ws://outside.test:9/graphql",
        "--confirm",
        "outside-not-loopback.test",
    ]);
}

fn a_table_of_the_scenario_file_is_no_confirmation() {
    refused_and_silent(&["--target", "table"]);
    allowed(&["--target", "table", "--confirm", "192.0.2.1"]);
    allowed(&["--target", "table-confirmed"]);
}

fn what_goes_beside_the_websocket_is_judged_too() {
    refused_and_silent(&["--target", "publishes-outside"]);
    refused_and_silent(&["--target", "counts-outside"]);
}
