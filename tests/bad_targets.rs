//! Against servers that misbehave: what stressctl calls it, that it ends in time, and that nothing they say gets out raw.

mod common;

use std::time::Duration;

use common::bad::{Instead, Manner, Server};
use common::binary::{Finished, Stressctl};
use serde_json::json;

/// Five clients and ten events, with waits that are short because most of these servers make us wait them out.
const SMALL: &str = r#"
[scenarios.small]
about = "five clients, ten events"
channels = "own"
subscribers.clients = { connections = 5 }
publishers.feed = { connections = 1, rate = "50/s", events = 10 }
timeouts = { connect = "500ms", upgrade = "500ms", init = "500ms", confirm = "1s", operation = "500ms", settle = "1s", drain = "1s", quiet = "200ms", cool-down = "100ms" }

[scenarios.small.expect]
established = "connections.established_ratio == 100%"
all-proved = "subscriptions.confirmed / subscriptions.requested == 100%"
no-surprise-drops = "connections.dropped_unexpectedly == 0"
"#;

/// A title, a cleared screen, a new line, text from right to left, an isolate, a C1 introducer and a bell.
const HOSTILE: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\n# owned | \u{202e}gpj.exe\u{2066} \u{9b}31m \u{7f}";

fn load(server: &Server) -> Finished {
    let file = server.target() + SMALL;
    let run = Stressctl::run(&["--target", "bad", "--scenario", "small"]).scenarios(&file);
    run.limit(Duration::from_secs(30)).finish()
}

/// Each of the five clients of the load must end as `name`, for nothing else to be wrong.
#[track_caller]
fn load_fails_as(manner: Manner, name: &str) {
    let server = Server::bad_after_preflight(manner);
    let report = load(&server).exits(1).report("small");
    assert_eq!(report["connections"]["failed"], json!({ name: 5 }));
    assert_eq!(report["verdict"], "fail");
    let established = name.starts_with("open.") || name.starts_with("confirm.");
    assert_eq!(report["connections"]["established"], if established { 5 } else { 0 });
    assert_eq!(report["errors"]["unexplained"], 0);
    // The publisher and the prober are no subscribers: what became of them is said apart.
    let aside = if established { json!({}) } else { json!({ name: 1 }) };
    assert_eq!(report["groups"]["feed"]["connections"]["failed"], aside);
    // The prober tries again until the run is over.
    let prober = &report["groups"]["prober"]["connections"]["failed"];
    if established {
        assert_eq!(*prober, json!(null));
    } else {
        let prober = prober.as_object().expect("named failures");
        assert!(prober.len() == 1 && prober[name].as_u64() >= Some(1), "{prober:?}");
    }
}

/// The one connection before the load must be refused, with these words for stage and reason.
#[track_caller]
fn preflight_fails(manner: Manner, stage: &str, reason: &str) {
    let server = Server::bad(manner);
    let finished = load(&server).exits(4).says(stage).says(reason);
    assert!(finished.elapsed < Duration::from_secs(5), "{:?}", finished.elapsed);
}

macro_rules! load {
    ($($test:ident: $manner:expr => $name:literal;)*) => {
        mod load {
            use super::*;
            $(#[test] fn $test() { load_fails_as($manner, $name); })*
        }
    };
}

macro_rules! preflight {
    ($($test:ident: $manner:expr => $stage:literal $reason:literal;)*) => {
        mod preflight {
            use super::*;
            $(#[test] fn $test() { preflight_fails($manner, $stage, $reason); })*
        }
    };
}

load! {
    refused: Manner::Refuses => "tcp.refused";
    ignored: Manner::Full => "tcp.timeout";
    not_found: Manner::Status(404) => "upgrade.http-404";
    too_many: Manner::Status(429) => "upgrade.http-429";
    unavailable: Manner::Status(503) => "upgrade.http-503";
    no_subprotocol: Manner::Subprotocol(None) => "upgrade.subprotocol";
    other_subprotocol: Manner::Subprotocol(Some("graphql-ws")) => "upgrade.subprotocol";
    silent: Manner::Silent => "upgrade.timeout";
    closed_in_upgrade: Manner::ClosesUpgrade => "upgrade.closed";
    no_ack: Manner::NeverAcks => "init.timeout";
    closed_for_ack: Manner::ClosesInit { code: 4400, reason: "bad request" } => "init.close-4400";
    dropped_for_ack: Manner::DropsInit => "init.closed";
    garbage_for_ack: Manner::GarbageForAck => "init.invalid-message";
    closed_when_open: Manner::ClosesOpen { code: 4403, reason: "forbidden" } => "open.close-4403";
    closed_without_an_end: Manner::KeepsTcp(1001) => "open.close-1001";
    reset_when_open: Manner::ResetsOpen => "open.reset";
    dropped_when_open: Manner::DropsOpen => "open.closed";
    oversized: Manner::Oversized => "open.oversized";
    invalid_utf8: Manner::InvalidUtf8 => "open.invalid-utf8";
    garbage: Manner::GarbageMessage => "open.invalid-message";
    undelivered: Manner::NeverDelivers => "confirm.timeout";
}

preflight! {
    refused: Manner::Refuses => "tcp" "refused";
    ignored: Manner::Full => "tcp" "time";
    not_found: Manner::Status(404) => "upgrade" "404";
    too_many: Manner::Status(429) => "upgrade" "429";
    redirected: Manner::Status(302) => "upgrade" "302";
    no_subprotocol: Manner::Subprotocol(None) => "upgrade" "subprotocol";
    other_subprotocol: Manner::Subprotocol(Some("graphql-ws")) => "upgrade" "subprotocol";
    silent: Manner::Silent => "upgrade" "time";
    closed_in_upgrade: Manner::ClosesUpgrade => "upgrade" "closed";
    no_ack: Manner::NeverAcks => "init" "time";
    closed_for_ack: Manner::ClosesInit { code: 4400, reason: "bad request" } => "init" "4400";
    dropped_for_ack: Manner::DropsInit => "init" "closed";
    garbage_for_ack: Manner::GarbageForAck => "init" "invalid";
}

#[test]
fn timeouts_can_be_set() {
    let server = Server::bad(Manner::Silent);
    let long = server.target() + &SMALL.replace("upgrade = \"500ms\"", "upgrade = \"30s\"");
    let set = ["--target", "bad", "--scenario", "small", "--set", "timeouts.upgrade=300ms"];
    let finished = Stressctl::run(&set).scenarios(&long).finish().exits(4);
    assert!(finished.elapsed < Duration::from_secs(5), "{:?}", finished.elapsed);
}

#[test]
fn a_target_that_dies_in_mid_run_is_judged_and_fails() {
    let server = Server::mortal(200);
    let more = SMALL.replace("events = 10", "events = 2_000").replace("\"50/s\"", "\"200/s\"");
    let file = server.target() + &more;
    let run = Stressctl::run(&["--target", "bad", "--scenario", "small"]).scenarios(&file);
    let report = run.limit(Duration::from_secs(30)).finish().exits(1).report("small");
    assert_eq!(report["verdict"], "fail");
    assert_eq!(report["run"]["stop_reason"], "target-lost");
    assert_eq!(report["run"]["interrupted"], false);
    assert_eq!(report["connections"]["established"], 5);
    assert_eq!(report["connections"]["dropped_unexpectedly"], 5);
    assert_eq!(report["subscriptions"]["peak_active"], 5);
    assert!(report["published"]["sent"].as_u64() < Some(2_000), "{}", report["published"]);
}

/// A server that says so to subscribers instead of sending them what is too large for it has named its limit.
#[track_caller]
fn climb_ends_in_an_error(instead: Instead, text: &serde_json::Value) {
    let server = Server::bad(Manner::Declines(3_000_000, instead));
    let args = ["--target", "bad", "--scenario", "large-payload", "--scale", "0.02"];
    let up_to = ["--set", "publishers.climb.payload.up-to=4MB"];
    let run = Stressctl::run(&[&args[..], &up_to].concat()).scenarios(&server.target());
    let report = run.limit(Duration::from_secs(120)).finish().report("large-payload");
    let climb = &report["escalation"]["payload"];
    let end = ["largest_ok_bytes", "failure", "failed_at", "failure_text"].map(|key| &climb[key]);
    assert_eq!(end, [&json!(2_000_000), &json!("error"), &json!("subscribers"), text], "{climb}");
    let all = report["expectations"].as_array().expect("a list");
    let explained = all.iter().find(|one| one["id"] == "limit-explained").expect("it is asked");
    assert_eq!((&explained["verdict"], &report["run"]["timed_out"]), (&json!("pass"), &json!([])));
}

#[test]
fn a_subscription_refused_for_a_large_event_is_no_silence() {
    climb_ends_in_an_error(Instead::Error, &json!("too large for me"));
}

#[test]
fn a_subscription_ended_for_a_large_event_is_no_silence() {
    climb_ends_in_an_error(Instead::Complete, &json!(null));
}

#[test]
fn errors_instead_of_a_large_event_are_no_silence() {
    climb_ends_in_an_error(Instead::Result, &json!("too large for me"));
}

#[test]
fn hostile_text_is_escaped_wherever_it_is_shown() {
    let in_load = Server::bad_after_preflight(Manner::ClosesOpen { code: 4403, reason: HOSTILE });
    let finished = load(&in_load).exits(1);
    assert_eq!(finished.report("small")["connections"]["failed"], json!({ "open.close-4403": 5 }));
    nothing_raw(&finished);

    let in_preflight = Server::bad(Manner::ClosesInit { code: 4400, reason: HOSTILE });
    let finished = load(&in_preflight).exits(4).says("owned");
    nothing_raw(&finished);
}

#[track_caller]
fn nothing_raw(finished: &Finished) {
    for (name, text) in finished.everything() {
        // Escapes of JSON are resolved again by whoever reads it.
        let text = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => strings(&value).join("\n"),
            Err(_) => text,
        };
        let raw = text.chars().find(|&c| c != '\n' && (c.is_control() || is_bidi(c)));
        assert_eq!(raw, None, "in {name}:\n{}", text.escape_debug());
        assert!(!text.lines().any(|line| line.starts_with("# owned")), "a new line in {name}:\n{text}");
    }
}

fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn strings(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::String(text) => vec![text.clone()],
        serde_json::Value::Array(items) => items.iter().flat_map(strings).collect(),
        serde_json::Value::Object(map) => {
            map.iter().flat_map(|(key, value)| [vec![key.clone()], strings(value)].concat()).collect()
        }
        _ => Vec::new(),
    }
}
