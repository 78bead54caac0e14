//! The same over TLS.

use serde_json::Value;

use crate::common::secured::Secured;
use crate::scene::{Server, all_applied, alone, number};

/// Runs it over `wss`; nothing else is different.
fn held(server: &Server, scenario: &str) -> Value {
    let secured = Secured::before(server.address());
    let url = format!("wss://localhost:{}/graphql", secured.address().port());
    let run = server.command_at(&url, scenario, &[]);
    let trusted = run.file("trusted.pem", &secured.certificate);
    let run = run.env("SSL_CERT_FILE", trusted.to_str().expect("a temporary path is text"));
    let report = run.finish().holds(&[scenario]).report(scenario);
    assert!(report["target"]["url"].as_str().is_some_and(|url| url.starts_with("wss://")));
    let connections = number(&report, "/connections/established");
    assert!(number(&report, "/latency/tls/count") >= connections, "each has shaken hands");
    assert_eq!(number(&report, "/ledger/lost"), 0);
    server.is_left_alone();
    report
}

#[test]
fn thinking() {
    let server = Server::honest();
    let _alone = alone();
    let report = held(&server, "latency-1000ms");
    assert_eq!(report["faults"]["think"]["not_applied"], 0);
}

#[test]
fn late_links() {
    let server = Server::honest();
    let report = held(&server, "jitter-50-500ms");
    all_applied(&report, "publish", 100);
    all_applied(&report, "receive", 1_000);
}

#[test]
fn drops() {
    let server = Server::honest();
    let report = held(&server, "random-drops");
    all_applied(&report, "drop", 20);
    assert_eq!(number(&report, "/connections/cut"), 20);
}

#[test]
fn a_cascade() {
    let server = Server::honest();
    let report = held(&server, "cascading-failures");
    all_applied(&report, "cut", 20);
    all_applied(&report, "silent", 20);
    assert_eq!(number(&report, "/faults/silent/ended"), 20);
    assert_eq!(number(&report, "/groups/victims/connections/recovered"), 40);
}

#[test]
fn a_herd() {
    let server = Server::honest();
    let report = held(&server, "thundering-herd");
    all_applied(&report, "cut", 20);
    assert_eq!(number(&report, "/groups/victims/connections/recovered"), 20);
}
