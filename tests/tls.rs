//! Over TLS: a server whose certificate is trusted, and one whose is not.

mod common;

use common::bad::Server;
use common::binary::Stressctl;
use common::secured::{Secured, certified};

const DOZEN: &str = r#"
[scenarios.dozen]
about = "twelve clients, a hundred events"
channels = "own"
subscribers.clients = { connections = 12 }
publishers.feed = { connections = 2, rate = "200/s", events = 100 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

/// A good server behind TLS, and the scenario with it as target, by a name that its certificate is for.
fn secured() -> (Server, Secured, String) {
    let server = Server::good();
    let secured = Secured::before(server.address());
    let url = format!("wss://localhost:{}/graphql", secured.address().port());
    let file = DOZEN.to_owned() + &server.target().replace(&server.url(), &url);
    (server, secured, file)
}

#[test]
fn all_is_delivered_to_who_trusts_the_certificate() {
    let (_server, secured, file) = secured();
    let run = Stressctl::run(&["--target", "bad", "--scenario", "dozen"]).scenarios(&file);
    let trusted = run.file("trusted.pem", &secured.certificate);
    let run = run.env("SSL_CERT_FILE", trusted.to_str().expect("a temporary path is text"));
    let report = run.finish().exits(0).report("dozen");
    assert_eq!(report["connections"]["established"], 12);
    assert_eq!(report["ledger"]["delivered"], 100);
    assert_eq!(report["latency"]["tls"]["count"], 12);
    assert_eq!(report["connections"]["dropped_unexpectedly"], 0);
}

#[test]
fn a_certificate_that_is_not_trusted_is_not_connected_to() {
    let (server, _secured, file) = secured();
    let run = Stressctl::run(&["--target", "bad", "--scenario", "dozen"]).scenarios(&file);
    // Of the same name, by somebody else.
    let other = run.file("other.pem", &certified().cert.pem());
    let run = run.env("SSL_CERT_FILE", other.to_str().expect("a temporary path is text"));
    run.finish().exits(4).says("tls.tls");
    assert_eq!(server.subscribed(), 0);
}
