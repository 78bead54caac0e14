//! Publishing by HTTP POST: one connection at a time, one request at a time, so that order per publisher is kept.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use http::{HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::desk::{Desk, PublisherSeat, Unanswered};
use super::failure::{Failure, Reason, Stage};
use super::handshake::{Endpoint, Refusal, Stages};
use super::source::{Line, Next, Outgoing, Source, What};
use super::timer::PreciseTimer;
use crate::care::Secret;
use crate::protocol::http_reply;

/// The most of an answer that is read.
const ANSWER_LIMIT: usize = 64 << 10;

/// Where events are posted.
#[derive(Clone)]
pub struct HttpEndpoint {
    /// Reached like the WebSocket side: address, TLS, timeouts.
    pub endpoint: Endpoint,
    /// Request headers beside `host` and `content-type`.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// Publishes what the source says until closing is ordered, over one connection after the other if need be.
pub(super) async fn run(desk: Rc<Desk>, seat: PublisherSeat, mut source: Source, http: HttpEndpoint) {
    let mut drivers = JoinSet::new();
    let Ok(mut timer) = PreciseTimer::new() else {
        desk.attempted(seat);
        desk.lost(seat, &refusal(Stage::Tcp, Reason::NoFile, String::new()), false);
        return;
    };
    let Some(mut sender) = open(&desk, seat, &source, &http, &mut drivers).await else { return };
    source.connected();
    // Until its last answer came, what was due is late because of the target.
    let mut free_ns = desk.board.clock.now_ns();
    while let Some(mut outgoing) = next(&desk, seat, &mut source, &mut timer, free_ns).await {
        // A server may end a connection that was idle, or every one after its answer. Nothing of this request has
        // been sent yet and everything before it was answered: nothing is in doubt, and order is kept.
        if sender.ready().await.is_err() {
            let Some(again) = open(&desk, seat, &source, &http, &mut drivers).await else {
                desk.sent(outgoing.what, desk.board.clock.now_ns());
                return desk.unknown(seat, outgoing.what, Unanswered::Gone);
            };
            sender = again;
            outgoing.token.sent_ns = desk.board.clock.now_ns();
        }
        let sent_ns = desk.board.clock.now_ns();
        desk.sent(outgoing.what, sent_ns);
        let asked = Asked { desk: &desk, seat, what: Some(outgoing.what) };
        let answer = post(&http, &mut sender, &outgoing, &desk);
        let answer = timeout(http.endpoint.timeouts.operation, answer).await;
        let what = asked.answered();
        free_ns = desk.board.clock.now_ns();
        source.answered(what, free_ns);
        match answer {
            Ok(Ok(())) => {
                desk.acked(seat, what, sent_ns, free_ns);
                continue;
            }
            Ok(Err(Answer::Refused(why))) => {
                desk.refused(seat, what, &why);
                continue;
            }
            Ok(Err(Answer::Broken(why))) => {
                desk.unknown(seat, what, Unanswered::Gone);
                desk.failed(seat, &why);
            }
            Err(_) => desk.unknown(seat, what, desk.timed_out(seat)),
        }
        // An answer that comes after all must not be taken for the next one's; and what is not answered may be
        // processed after what comes next.
        let Some(again) = open(&desk, seat, &source, &http, &mut drivers).await else { return };
        sender = again;
        source.connected();
        free_ns = desk.board.clock.now_ns();
    }
    drivers.shutdown().await;
}

/// Connects, at once and then again and again; `None`: closing is ordered, or it was given up.
async fn open(
    desk: &Desk,
    seat: PublisherSeat,
    source: &Source,
    http: &HttpEndpoint,
    drivers: &mut JoinSet<()>,
) -> Option<SendRequest<Full<Bytes>>> {
    loop {
        desk.attempted(seat);
        match desk.meanwhile(seat, source, connect(desk, seat, http, drivers)).await? {
            Ok(sender) => {
                desk.ready(seat);
                return Some(sender);
            }
            Err(refusal) if desk.comes_back(seat, source, &refusal).await => {}
            Err(_) => return None,
        }
    }
}

/// A request that waits for its answer; given up in the middle, it is booked as one without.
struct Asked<'a> {
    desk: &'a Desk,
    seat: PublisherSeat,
    what: Option<What>,
}

impl Asked<'_> {
    fn answered(mut self) -> What {
        self.what.take().expect("taken once, here or when it is dropped")
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(what) = self.what.take().filter(|_| !std::thread::panicking()) {
            self.desk.unknown(self.seat, what, Unanswered::Gone);
        }
    }
}

/// The next message once it is due; `None` when closing was ordered.
async fn next(
    desk: &Desk,
    seat: PublisherSeat,
    source: &mut Source,
    timer: &mut PreciseTimer,
    free_ns: u64,
) -> Option<Outgoing> {
    poll_fn(|cx| {
        loop {
            let orders = desk.orders.get();
            let now_ns = desk.board.clock.now_ns();
            let next = source.next(&orders, Line { in_flight: 0, free_ns }, now_ns);
            if let Next::Send(outgoing) = next {
                if matches!(outgoing.what, What::Event { .. }) {
                    desk.send_lag(now_ns.saturating_sub(outgoing.ready_ns.max(free_ns)));
                }
                return Poll::Ready(Some(outgoing));
            }
            if orders.close {
                return Poll::Ready(None);
            }
            desk.follow(seat, source.is_done(&orders), cx.waker());
            match next {
                Next::At(at_ns) if timer.poll_until(cx, desk.board.clock.at(at_ns)).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    })
    .await
}

async fn connect(
    desk: &Desk,
    seat: PublisherSeat,
    http: &HttpEndpoint,
    drivers: &mut JoinSet<()>,
) -> Result<SendRequest<Full<Bytes>>, Refusal> {
    let opening = desk.climate.opening(seat.index);
    let stream = http.endpoint.dial(&opening, &mut Stages::default()).await?;
    let (sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|e| refusal(Stage::Upgrade, Reason::Handshake, http.endpoint.foreign(&e.to_string())))?;
    // Those of earlier connections have ended; nothing else takes them out.
    while drivers.try_join_next().is_some() {}
    drivers.spawn_local(async move {
        // Its end shows in the next request.
        drop(connection.await);
    });
    Ok(sender)
}

/// What became of a request that did not succeed.
enum Answer {
    /// The server said no.
    Refused(Refusal),
    /// The connection is of no use any more.
    Broken(Refusal),
}

async fn post(
    http: &HttpEndpoint,
    sender: &mut SendRequest<Full<Bytes>>,
    outgoing: &Outgoing,
    desk: &Desk,
) -> Result<(), Answer> {
    let broken = |e: &hyper::Error| {
        Answer::Broken(refusal(Stage::Publish, Reason::Closed, http.endpoint.foreign(&e.to_string())))
    };
    let request = request(http, outgoing, desk).map_err(Answer::Refused)?;
    sender.ready().await.map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    let body = body.map_err(|e| {
        Answer::Broken(refusal(Stage::Publish, Reason::InvalidMessage, http.endpoint.foreign(&e.to_string())))
    })?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status != StatusCode::OK {
        let reason = Reason::Http(status.as_u16());
        return Err(Answer::Refused(refusal(Stage::Publish, reason, http.endpoint.foreign(&text))));
    }
    http_reply(&text)
        .map_err(|e| Answer::Refused(refusal(Stage::Publish, Reason::Error, http.endpoint.foreign(&e))))
}

fn request(http: &HttpEndpoint, outgoing: &Outgoing, desk: &Desk) -> Result<Request<Full<Bytes>>, Refusal> {
    let mut payload = Vec::new();
    outgoing.token.write(outgoing.payload, &mut payload);
    let payload = std::str::from_utf8(&payload).expect("a token is ASCII");
    let channel = desk.board.channel_name(outgoing.token.channel);
    let mut body = String::new();
    http.endpoint.dialect.http_body(&channel, payload, &mut body);
    desk.carried(outgoing.what, body.len());
    let url = &http.endpoint.url;
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let host = url.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or_default());
    let mut request = Request::post(path)
        .header(http::header::HOST, host)
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::ACCEPT, "application/graphql-response+json, application/json");
    for (name, value) in &http.headers {
        if let Ok(value) = HeaderValue::from_str(value.reveal()) {
            request = request.header(name, value);
        }
    }
    request
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| refusal(Stage::Publish, Reason::Handshake, e.to_string()))
}

fn refusal(stage: Stage, reason: Reason, text: String) -> Refusal {
    Refusal { failure: Failure::new(stage, reason), text }
}
