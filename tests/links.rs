//! Faults on bytes of real sockets: what the other side of them sees.

mod common;

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use common::rig::Reference;
use common::secured::{Secured, acceptor, certified, trust};
use futures_util::{SinkExt, StreamExt};
use stressctl::care::Secrets;
use stressctl::clients::handshake::{Endpoint, Opening};
use stressctl::clients::timer;
use stressctl::clock;
use stressctl::inject::{Alarm, Control, FaultTally, Lane, LaneDelay, Schedule};
use stressctl::run::target::paths;
use stressctl::scenarios::catalogue::{Catalogue, Options};
use stressctl::scenarios::plan::{Delay, HandshakePoint, SlowConsumer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const UP: Duration = Duration::from_millis(40);
const DOWN: Duration = Duration::from_millis(60);

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async { timeout(LONG, test).await.expect("it is done in time") })
}

/// How to reach a server on loopback, without TLS.
async fn endpoint(address: SocketAddr) -> Endpoint {
    let text = "[scenarios.one]\nabout = \"x\"\nsubscribers.clients = { connections = 1 }\n\
                publishers.feed = { rate = \"10/s\", events = 10 }\n";
    let catalogue = Catalogue::from_text(Some(("test", text))).expect("a good file");
    let plan = catalogue.plan(&["one"], &Options::default()).expect("a good plan").plans.remove(0);
    let url = format!("ws://{address}/graphql").parse().expect("a url");
    let secrets = Arc::new(Secrets::of(&plan.target));
    paths(&plan, &url, None, &secrets, 1).await.expect("it is on loopback").endpoint
}

/// A link that delays both ways, what wakes it, and what it noted.
#[derive(Default)]
struct Delayed {
    alarm: Rc<Alarm>,
    tally: Rc<RefCell<FaultTally>>,
}

impl Delayed {
    fn control(&self) -> Rc<Control> {
        let control = Control::new(&self.alarm);
        for (lane, delay) in [(Lane::Up, UP), (Lane::Down, DOWN)] {
            let draws = Schedule::default().delays(0, 0, lane);
            let (delay, tally) = (Delay::Fixed(delay), Rc::clone(&self.tally));
            control.delay(lane, Some(LaneDelay { delay, draws, buffer: 1 << 20, tally }));
        }
        control
    }
}

/// What a server saw of one connection: all bytes, and how it ended.
async fn saw(mut stream: impl AsyncRead + Unpin) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await.err().map(|e| e.kind());
    (String::from_utf8(bytes).expect("text"), end)
}

/// The same behind the upgrade: all messages.
async fn saw_behind_the_upgrade(stream: impl AsyncRead + AsyncWrite + Unpin) -> (String, Option<ErrorKind>) {
    #[allow(clippy::result_large_err, clippy::unnecessary_wraps, reason = "the library wants it so")]
    let agree = |_: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        let protocol = "graphql-transport-ws".parse().expect("a header value");
        response.headers_mut().insert("sec-websocket-protocol", protocol);
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, agree).await.expect("an upgrade");
    let mut messages = String::new();
    loop {
        match socket.next().await {
            Some(Ok(message)) => messages += message.to_text().expect("text"),
            Some(Err(WsError::Io(e))) => return (messages, Some(e.kind())),
            other => panic!("{other:?} after {messages}"),
        }
    }
}

/// A server that takes one connection, as far as an attempt goes that ends at `point`.
async fn server(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    point: HandshakePoint,
) -> (String, Option<ErrorKind>) {
    let (tcp, _) = listener.accept().await.expect("a connection");
    match (tls, point) {
        (_, HandshakePoint::Connect) | (None, HandshakePoint::Upgrade) => saw(tcp).await,
        (None, HandshakePoint::Init) => saw_behind_the_upgrade(tcp).await,
        (Some(tls), HandshakePoint::Upgrade) => saw(tls.accept(tcp).await.expect("a handshake")).await,
        (Some(tls), HandshakePoint::Init) => {
            saw_behind_the_upgrade(tls.accept(tcp).await.expect("a handshake")).await
        }
    }
}

/// Aborts an attempt to connect; the failure's name, and what the server saw.
async fn abort(point: HandshakePoint, secure: bool, delayed: bool) -> (String, String, Option<ErrorKind>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let mut endpoint = endpoint(listener.local_addr().expect("it is bound")).await;
    let identity = certified();
    endpoint.tls = secure.then(|| trust(identity.cert.der()));
    let delays = Delayed::default();
    let opening =
        Opening { control: delayed.then(|| delays.control()), abort: Some(point), ..Opening::default() };
    let attempt = async {
        let refusal = endpoint.open_as(&opening).await.map(drop).expect_err("it is aborted");
        refusal.failure.to_string()
    };
    // Without tickets the server has nothing to write to a connection that may be gone by then.
    let tls = secure.then(|| acceptor(&identity, 0));
    let both = async { tokio::join!(attempt, server(listener, tls, point)) };
    tokio::select! {
        (failure, (bytes, end)) = both => (failure, bytes, end),
        () = timer::drive(&delays.alarm) => unreachable!("it never ends"),
    }
}

/// What an attempt that is aborted has said by then arrives, whatever is below it and however slowly; then a reset.
#[test]
fn an_aborted_handshake_is_seen_up_to_its_point_and_then_a_reset() {
    for (secure, delayed) in [(false, false), (false, true), (true, false), (true, true)] {
        block_on(async {
            let reset = Some(ErrorKind::ConnectionReset);
            let (failure, bytes, end) = abort(HandshakePoint::Connect, secure, delayed).await;
            assert_eq!((failure.as_str(), bytes.as_str(), end), ("tcp.injected", "", reset));

            let (failure, bytes, end) = abort(HandshakePoint::Upgrade, secure, delayed).await;
            assert_eq!((failure.as_str(), end), ("upgrade.injected", reset), "{secure} {delayed} {bytes}");
            assert!(bytes.starts_with("GET /graphql HTTP/1.1\r\n"), "{secure} {delayed} {bytes}");
            assert_eq!(bytes.find("\r\n\r\n"), Some(bytes.len() - 4), "all of one request: {bytes}");

            let (failure, bytes, end) = abort(HandshakePoint::Init, secure, delayed).await;
            assert_eq!((failure.as_str(), end), ("init.injected", reset), "{secure} {delayed} {bytes}");
            assert_eq!(bytes, r#"{"type":"connection_init"}"#);
        });
    }
}

/// Ten pings at once over a slow link come back as one: below TLS, too, delay is a queue.
#[test]
fn a_delayed_websocket_over_tls_takes_its_time_and_no_more() {
    let reference = Reference::start();
    let secured = Secured::before(reference.address());
    block_on(async {
        let mut endpoint = endpoint(secured.address()).await;
        endpoint.tls = Some(secured.trust());
        let delayed = Delayed::default();
        let opening = Opening { control: Some(delayed.control()), ..Opening::default() };
        let talk = async {
            let (mut socket, stages) = endpoint.open_as(&opening).await.expect("a good server");
            for stage in [stages.tls.expect("there is TLS"), stages.upgrade, stages.init] {
                assert!(stage >= UP + DOWN, "{stages:?}");
            }
            let began = clock::now();
            for n in 0..10 {
                let ping = format!(r#"{{"type":"ping","payload":{{"n":{n}}}}}"#);
                socket.send(Message::text(ping)).await.expect("it is open");
            }
            for n in 0..10 {
                let pong = socket.next().await.expect("it is open").expect("a message");
                let said: serde_json::Value =
                    serde_json::from_str(pong.to_text().expect("text")).expect("JSON");
                assert_eq!((said["type"].as_str(), said["payload"]["n"].as_u64()), (Some("pong"), Some(n)));
                assert!(began.elapsed() >= UP + DOWN);
            }
            let took = began.elapsed();
            assert!(took < (UP + DOWN) * 9, "one after the other would have been 1 s: {took:?}");
            socket.close(None).await.expect("it is open");
            while let Some(Ok(_)) = socket.next().await {}
        };
        tokio::select! {
            () = talk => {}
            () = timer::drive(&delayed.alarm) => unreachable!("it never ends"),
        }
        let tally = delayed.tally.borrow();
        assert!(tally.drawn.count >= 20, "{:?}", tally.drawn);
        assert_eq!(tally.drawn.count, tally.realised.count);
        assert!(tally.realised.min >= UP.as_secs_f64() && tally.realised.mean >= tally.drawn.mean);
    });
}

/// A server that sends as much as it can to a slow reader: what it gets rid of in these two seconds, and after them what
/// the reader has taken from the kernel and how long it was slow.
async fn sent_to(slow: Option<SlowConsumer>) -> (u64, FaultTally) {
    const MOST: u64 = 64 << 20;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let endpoint = endpoint(listener.local_addr().expect("it is bound")).await;
    let (alarm, tally) = (Rc::new(Alarm::default()), Rc::<RefCell<FaultTally>>::default());
    let control = Control::new(&alarm);
    control.slow_down(slow.map(|slow| (slow, Rc::clone(&tally))));
    let receive_buffer = slow.and_then(|slow| slow.receive_buffer);
    let opening = Opening { control: Some(Rc::clone(&control)), receive_buffer, ..Opening::default() };
    let reads = async {
        let mut stages = stressctl::clients::handshake::Stages::default();
        let mut stream = endpoint.dial(&opening, &mut stages).await.expect("a good server");
        let mut buf = vec![0; 64 << 10];
        while stream.read(&mut buf).await.is_ok_and(|n| n > 0) {}
    };
    let sends = async {
        let (mut tcp, _) = listener.accept().await.expect("a connection");
        let (block, mut sent) = (vec![7; 16 << 10], 0);
        let _ = timeout(Duration::from_secs(2), async {
            while sent < MOST {
                sent += tcp.write(&block).await.expect("it is open") as u64;
            }
        })
        .await;
        (sent, tcp)
    };
    // The server has not hung up before it is looked at.
    let (sent, _tcp) = tokio::select! {
        sent = sends => sent,
        () = reads => panic!("the server has not hung up"),
        () = timer::drive(&alarm) => unreachable!("it never ends"),
    };
    control.slow_down(None);
    let tally = tally.borrow().clone();
    (sent, tally)
}

/// What a server sees of a slow reader is that its writes come to a standstill: the kernels take some megabytes, and then
/// as much as is read. With a small buffer, asked for before the connection was made, they take less.
#[test]
fn a_server_gets_rid_of_what_a_slow_reader_reads_and_the_kernels_hold() {
    block_on(async {
        let (all, _) = sent_to(None).await;
        assert!(all >= 64 << 20, "a reader that keeps up gets everything: {all}");
        let slow = SlowConsumer { reads: Some(100_000), ..SlowConsumer::default() };
        let (sent, tally) = sent_to(Some(slow)).await;
        let reads = tally.reads;
        let (seconds, read) = (reads.lasted.as_secs_f64(), reads.bytes as f64);
        // It never reads more than it may, however busy the machine is.
        assert!(read <= 100_000.0 * seconds + 10_000.0, "{read} bytes in {seconds} s");
        assert!(read >= 50_000.0, "{read} bytes in {seconds} s");
        assert!(sent < 8 << 20, "{sent}: as much as a slow reader must be behind for its server to feel it");
        let small = SlowConsumer { receive_buffer: Some(4_096), ..slow };
        let (less, _) = sent_to(Some(small)).await;
        assert!(less < sent * 4 / 5, "{less} with a buffer of 4 KiB, {sent} with the system's");
    });
}
