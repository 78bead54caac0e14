//! The scraper against servers that behave and servers that do not.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::read::statistics;
use super::*;
use crate::care::Secret;
use crate::scenarios::target::StatisticsFormat;

const NAMES: [Option<&str>; 6] = [Some("open"), None, None, None, None, None];

/// Gives one answer to one request, and the request to the test.
struct Fake {
    url: Uri,
    tasks: JoinSet<String>,
}

impl Fake {
    async fn answering(answer: impl Into<Vec<u8>>, linger: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url =
            format!("ws://127.0.0.1:{}/graphql", listener.local_addr().unwrap().port()).parse().unwrap();
        let answer = answer.into();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            // A client that has heard enough hangs up.
            let _ = stream.write_all(&answer).await;
            tokio::time::sleep(linger).await;
            String::from_utf8(request).unwrap()
        });
        Self { url, tasks }
    }

    async fn scrape(&self, change: impl FnOnce(&mut Statistics)) -> Result<ServerCounts, ScrapeError> {
        let mut statistics = statistics(StatisticsFormat::Prometheus, NAMES);
        change(&mut statistics);
        let mut secrets = Secrets::none();
        secrets.add("hunter2");
        Scraper::new(&statistics, &self.url, secrets)?.scrape().await
    }

    fn stats_url(&self) -> String {
        format!("http://127.0.0.1:{}/stats", self.url.port_u16().unwrap())
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_good_answer_is_read_and_the_request_is_complete() {
    let mut fake = Fake::answering(ok("open 3\n"), Duration::ZERO).await;
    let header = Secret::new("Bearer ${env:T}", "Bearer hunter2");
    let counts = fake.scrape(|s| drop(s.headers.insert("authorization".into(), header))).await.unwrap();
    assert_eq!(counts, ServerCounts { connections: Some(3.0), ..ServerCounts::default() });
    let request = fake.tasks.join_next().await.unwrap().unwrap();
    assert!(request.starts_with("GET /stats HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: 127.0.0.1:{}\r\n", fake.url.port_u16().unwrap())), "{request}");
    assert!(request.contains("authorization: Bearer hunter2\r\n"), "{request}");
    assert!(request.contains("connection: close\r\n"), "{request}");
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_read() {
    let fake = Fake::answering("HTTP/1.1 200 OK\r\n\r\nopen 4\n", Duration::ZERO).await;
    assert_eq!(fake.scrape(|_| {}).await.unwrap().connections, Some(4.0));
}

#[tokio::test]
async fn a_refusal_shows_its_words_without_the_secret() {
    let refusal = "HTTP/1.1 500 Oops\r\ncontent-length: 19\r\n\r\n\x1b[2Jno hunter2 here";
    let fake = Fake::answering(refusal, Duration::ZERO).await;
    assert_eq!(
        fake.scrape(|_| {}).await.unwrap_err().to_string(),
        format!(
            "{} answered 500 Internal Server Error to a request for statistics: \\u{{1b}}[2Jno [redacted] here",
            fake.stats_url()
        )
    );
}

#[tokio::test]
async fn garbage_is_an_error_in_every_layer() {
    let fake = Fake::answering("\x00\x01 not HTTP\r\n\r\n", Duration::ZERO).await;
    assert!(matches!(fake.scrape(|_| {}).await, Err(ScrapeError::Broken { .. })));
    let fake = Fake::answering(ok("<html>"), Duration::ZERO).await;
    assert!(matches!(fake.scrape(|_| {}).await, Err(ScrapeError::Unreadable { .. })));
    let fake = Fake::answering("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nopen 3\n", Duration::ZERO).await;
    assert!(matches!(fake.scrape(|_| {}).await, Err(ScrapeError::Broken { .. })), "cut short");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let announced = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nopen 3\n", BODY_MAX + 1);
    let fake = Fake::answering(announced, Duration::from_secs(60)).await;
    assert!(matches!(fake.scrape(|_| {}).await, Err(ScrapeError::Broken { .. })));
    let huge = format!("HTTP/1.1 200 OK\r\n\r\n{}", "open 3\n".repeat(BODY_MAX / 7 + 1));
    let fake = Fake::answering(huge, Duration::from_secs(60)).await;
    let error = fake.scrape(|s| s.timeout = Duration::from_secs(20)).await.unwrap_err();
    assert!(matches!(error, ScrapeError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_slow_server_is_waited_for_once_only() {
    let fake = Fake::answering("HTTP/1.1 200 OK\r\n", Duration::from_secs(60)).await;
    let error = fake.scrape(|s| s.timeout = Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.to_string(), format!("{} did not give its statistics within 50ms", fake.stats_url()));
}

#[tokio::test]
async fn nobody_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Uri = format!("ws://{}/", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let scraper =
        Scraper::new(&statistics(StatisticsFormat::Prometheus, NAMES), &url, Secrets::none()).unwrap();
    assert!(matches!(scraper.scrape().await, Err(ScrapeError::Connect { .. })));
}

#[tokio::test]
async fn pinned_addresses_are_the_only_ones_connected_to() {
    let fake = Fake::answering(ok("open 3\n"), Duration::ZERO).await;
    let mut statistics = statistics(StatisticsFormat::Prometheus, NAMES);
    statistics.url = Some("http://name-without-address.invalid/metrics".parse().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], fake.url.port_u16().unwrap()));
    let scraper = Scraper::new(&statistics, &fake.url, Secrets::none()).unwrap().pinned(vec![address]);
    assert_eq!(scraper.scrape().await.unwrap().connections, Some(3.0));
}

#[test]
fn what_cannot_be_asked_is_refused_before_anything_is_sent() {
    let base: Uri = "wss://user:pass@example.com/graphql?token=abc".parse().unwrap();
    let with = |change: fn(&mut Statistics)| {
        let mut statistics = statistics(StatisticsFormat::Prometheus, NAMES);
        change(&mut statistics);
        Scraper::new(&statistics, &base, Secrets::none()).map(|scraper| scraper.source().to_owned())
    };
    assert_eq!(with(|_| {}).unwrap(), "https://example.com/stats");
    let error = with(|s| s.url = Some("ftp://example.com/".parse().unwrap())).unwrap_err();
    assert!(matches!(error, ScrapeError::Url { .. }), "{error}");
    let error = with(|s| s.connections = Some("open{".into())).unwrap_err();
    assert!(matches!(error, ScrapeError::Selector(_)), "{error}");
    let newline = |s: &mut Statistics| drop(s.headers.insert("x".into(), Secret::new("a\nb", "a\nb")));
    assert_eq!(with(newline).unwrap_err().to_string(), "the statistics header `x` cannot be sent");
}

/// Speaks TLS as `localhost` with a certificate of its own; returns its port and what trusts it.
async fn secure(answer: String) -> (u16, TlsConnector, JoinSet<()>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        // A client that does not trust us hangs up.
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut heard = [0; 1024];
        let _ = stream.read(&mut heard).await;
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
    });
    (port, TlsConnector::from(Arc::new(client)), tasks)
}

#[tokio::test]
async fn https_is_spoken_to_who_is_trusted_and_to_nobody_else() {
    for trusted in [true, false] {
        let (port, connector, _tasks) = secure(ok("open 5\n")).await;
        let url = format!("wss://localhost:{port}/graphql").parse().unwrap();
        let mut scraper =
            Scraper::new(&statistics(StatisticsFormat::Prometheus, NAMES), &url, Secrets::none())
                .unwrap()
                .pinned(vec![SocketAddr::from(([127, 0, 0, 1], port))]);
        if trusted {
            scraper.tls = Some(connector);
            assert_eq!(scraper.scrape().await.unwrap().connections, Some(5.0));
        } else {
            let error = scraper.scrape().await.unwrap_err();
            assert!(matches!(error, ScrapeError::Broken { .. }), "{error}");
        }
    }
}
