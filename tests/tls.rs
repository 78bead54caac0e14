//! Over TLS: a server whose certificate is trusted, and one whose is not.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use common::bad::Server;
use common::binary::Stressctl;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

const DOZEN: &str = r#"
[scenarios.dozen]
about = "twelve clients, a hundred events"
channels = "own"
subscribers.clients = { connections = 12 }
publishers.feed = { connections = 2, rate = "200/s", events = 100 }
timeouts = { quiet = "200ms", cool-down = "100ms" }
expect.all-delivered = "ledger.delivered / predicted == 100%"
"#;

/// A good server behind TLS.
struct Secured {
    server: Server,
    address: SocketAddr,
    certificate: String,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Secured {
    fn start() -> Self {
        let server = Server::good();
        let CertifiedKey { cert, signing_key } = certified();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the usual versions")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .expect("the key belongs to the certificate");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("it can be polled");
        let address = listener.local_addr().expect("it is bound");
        let (stop, behind) = (CancellationToken::new(), server.address());
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                stopped.run_until_cancelled(accept(listener, acceptor, behind)).await;
            });
        });
        Self { server, address, certificate: cert.pem(), stop, thread: Some(thread) }
    }

    /// The scenario and the server as target, by a name that its certificate is for.
    fn scenarios(&self) -> String {
        let url = format!("wss://localhost:{}/graphql", self.address.port());
        DOZEN.to_owned() + &self.server.target().replace(&self.server.url(), &url)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // A panic of it has been printed; a second one here would only hide the test's own.
            let _ = thread.join();
        }
    }
}

fn certified() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            // How a connection ends is for the client to judge.
            let Ok(mut outside) = acceptor.accept(stream).await else { return };
            let Ok(mut inside) = TcpStream::connect(behind).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}

#[test]
fn all_is_delivered_to_who_trusts_the_certificate() {
    let secured = Secured::start();
    let run = Stressctl::run(&["--target", "bad", "--scenario", "dozen"]).scenarios(&secured.scenarios());
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
    let secured = Secured::start();
    let run = Stressctl::run(&["--target", "bad", "--scenario", "dozen"]).scenarios(&secured.scenarios());
    // Of the same name, by somebody else.
    let other = run.file("other.pem", &certified().cert.pem());
    let run = run.env("SSL_CERT_FILE", other.to_str().expect("a temporary path is text"));
    run.finish().exits(4).says("tls.tls");
    assert_eq!(secured.server.subscribed(), 0);
}
