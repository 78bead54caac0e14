//! A subscriber of a climb, and what a server may say instead of delivering to it; and one that churns.

use std::ops::Range;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::super::returning_tests::shard_of;
use super::super::stream::Stream;
use super::*;
use crate::inject::Link;

const CLIMB: &str = r#"
    [scenarios.test]
    about = "a climb"
    channels = 2
    phases = [{ name = "beyond" }]
    subscribers.clients = { connections = 1 }
    publishers.climb = { rate = "one-by-one", events = 1, payload = { from = "2MB", times = 2, up-to = "4MB" } }
"#;

async fn live(shard: &Shard) -> Live {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let tcp = TcpStream::connect(listener.local_addr().expect("it is bound")).await.expect("it listens");
    let stream = Stream::Plain(Link::plain(tcp));
    let socket = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    Live { asked: 1, ..Live::new(shard, shard.seats[0], 0, socket) }
}

/// What the climb has to say for itself after a message under the id of its subscriber's operation.
async fn after(begun: bool, message: &str) -> Option<(Reason, String)> {
    let shard = shard_of(CLIMB, |_| ());
    let climb = shard.plan.board.climb.as_ref().expect("it climbs");
    if begun {
        climb.publish(1, 1);
    }
    let mut live = live(&shard).await;
    live.on_text(&shard, &message.replace("ID", &live.first_id.to_string()), 2);
    let trouble = climb.trouble();
    assert_eq!(trouble.publisher, None);
    trouble.subscriber.map(|refusal| (refusal.failure.reason, refusal.text))
}

#[tokio::test]
async fn what_a_server_says_instead_of_delivering_is_what_a_climb_ends_with() {
    let error = r#"{"type":"error","id":"ID","payload":[{"message":"too large"}]}"#;
    let complete = r#"{"type":"complete","id":"ID"}"#;
    let next = r#"{"type":"next","id":"ID","payload":{"data":null,"errors":[{"message":"too large"}]}}"#;
    assert_eq!(after(true, error).await, Some((Reason::Error, "too large".to_owned())));
    assert_eq!(after(true, complete).await, Some((Reason::Complete, String::new())));
    assert_eq!(after(true, next).await, Some((Reason::Error, "too large".to_owned())));
    for before in [error, complete, next] {
        assert_eq!(after(false, before).await, None, "nothing has been published: {before}");
    }
}

const CHURN: &str = r#"
    [scenarios.test]
    about = "one cycle, which ends with an event"
    channels = 2
    phases = [{ name = "main", for = "10s" }]
    subscribers.clients = { connections = 1, subscriptions = 2, reconnect = "immediate" }
    publishers.feed = { rate = "10/s" }
    faults.churn = { on = "clients", churn = { cycles = 1, hold = "100ms", pause = "50ms" } }
    faults.fail = { on = "churn", of = "operations", terminate = { how = "reset", at = "receive" } }
    at-least = { connections = 1, cycles = 1 }
    reached.all = "faults.churn.applied / predicted == 100%"
    reached.fail = "faults.fail.applied / predicted == 100%"
    expect.few-errors = "off"
"#;

#[tokio::test(start_paused = true)]
async fn a_cycle_that_ends_with_an_event_waits_for_one_after_its_proof() {
    let shard = shard_of(CHURN, |_| ());
    let mut live = live(&shard).await;
    let now = || shard.plan.board.clock.now_ns();
    let goes_on = |live: &mut Live| {
        live.cycle(&shard, &mut Context::from_waker(Waker::noop()), false).map(|doom| doom.point)
    };
    let event = |live: &mut Live| live.cycling.iter_mut().for_each(|cycling| cycling.received());
    let prove = |subs: Range<usize>| {
        let state = &mut *shard.state.borrow_mut();
        subs.for_each(|sub| shard.proved(state, sub, now()));
    };
    shard.begin_cycles(0, now());
    assert_eq!(goes_on(&mut live), None, "what set-up subscribed ends");
    live.cycling.iter_mut().for_each(|cycling| cycling.asked(now()));
    live.cycle_answered(&shard, now());
    assert_eq!(goes_on(&mut live), None, "the pause");
    tokio::time::sleep(Duration::from_millis(51)).await;
    assert_eq!(goes_on(&mut live), None, "it is to subscribe");
    shard.flushed(0..2);
    prove(0..1);
    event(&mut live);
    assert_eq!(goes_on(&mut live), None, "the other subscription is not proved");
    prove(1..2);
    assert_eq!(goes_on(&mut live), None, "now it is");
    assert_eq!(goes_on(&mut live), None, "and nothing has come since");
    event(&mut live);
    assert_eq!(goes_on(&mut live), Some(DropPoint::Receive));
}
