//! TLS in front of a server, with a certificate of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;

/// A running terminator.
pub(crate) struct Secured {
    address: SocketAddr,
    /// In PEM.
    pub(crate) certificate: String,
    der: CertificateDer<'static>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Secured {
    /// In front of the server at `behind`.
    pub(crate) fn before(behind: SocketAddr) -> Self {
        let identity = certified();
        let (acceptor, cert) = (acceptor(&identity, 2), identity.cert);
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("it can be polled");
        let address = listener.local_addr().expect("it is bound");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listening socket");
                stopped.run_until_cancelled(accept(listener, acceptor, behind)).await;
            });
        });
        let (certificate, der) = (cert.pem(), cert.der().clone());
        Self { address, certificate, der, stop, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client needs that trusts it.
    pub(crate) fn trust(&self) -> (TlsConnector, ServerName<'static>) {
        trust(&self.der)
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

/// A new certificate for `localhost`.
pub(crate) fn certified() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate")
}

/// What a server needs that has it, and writes so many tickets at the end of a handshake.
pub(crate) fn acceptor(identity: &CertifiedKey<rcgen::KeyPair>, tickets: usize) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(identity.signing_key.serialize_der()));
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_no_client_auth()
        .with_single_cert(vec![identity.cert.der().clone()], key)
        .expect("the key belongs to the certificate");
    config.send_tls13_tickets = tickets;
    TlsAcceptor::from(Arc::new(config))
}

/// What a client needs that trusts it.
pub(crate) fn trust(certificate: &CertificateDer<'static>) -> (TlsConnector, ServerName<'static>) {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the usual versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    (TlsConnector::from(Arc::new(config)), ServerName::try_from("localhost").expect("a name"))
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
