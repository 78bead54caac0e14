//! Faults, and what clients do about them, in plain words for `plan`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::scenarios::plan::{
    Churn, Delay, Direction, DropPoint, FaultKind, How, Reconnect, SlowConsumer, SubscriberGroup, Terminate,
};
use crate::scenarios::units::{exact_size, show_count, show_duration};

/// What happens to the victims of a fault; `victims`: how many there are.
pub(crate) fn does(kind: &FaultKind, victims: u64) -> String {
    match kind {
        FaultKind::ThinkTime(delay) => {
            let (wait, how) = delayed(*delay);
            format!("wait {wait}{how} before every subscribe and publish")
        }
        FaultKind::LinkDelay(link) => {
            let way = |does: &str, delay: Option<Delay>| {
                let (late, how) = delayed(delay?);
                Some(format!("{does} everything {late} late{how}"))
            };
            let ways: Vec<String> = way("send", link.up).into_iter().chain(way("get", link.down)).collect();
            ways.join(" and ")
        }
        FaultKind::Hold(Direction::Both) => "have held back what they get and send".to_owned(),
        FaultKind::Hold(Direction::Up) => "have held back what they send".to_owned(),
        FaultKind::Hold(Direction::Down) => "have held back what they get".to_owned(),
        FaultKind::Stall(Direction::Both) => "neither read nor write".to_owned(),
        FaultKind::Stall(Direction::Up) => "do not write".to_owned(),
        FaultKind::Stall(Direction::Down) => "do not read".to_owned(),
        FaultKind::Partition { or_stall: true } => {
            "are partitioned (or stalled where the kernel does not allow it)".to_owned()
        }
        FaultKind::Partition { or_stall: false } => "are partitioned".to_owned(),
        FaultKind::SlowConsumer(slow) => slowly(slow),
        FaultKind::HandshakeAbort(point) => format!("cannot connect (ended at {})", point.word()),
        FaultKind::Terminate(end) => ends(end, victims),
        FaultKind::Churn(Churn { cycles, hold, pause }) => format!(
            "subscribe, hold for {}, unsubscribe and pause for {}, {} times each",
            show(*hold),
            show(*pause),
            show_count((*cycles).into())
        ),
    }
}

/// How a client reads that does not keep up.
fn slowly(slow: &SlowConsumer) -> String {
    let rate = slow.reads.map(|rate| format!("read {}/s", exact_size(rate)));
    let pauses = slow.pauses.map(|p| format!("stop reading for {} every {}", show(p.pause), show(p.every)));
    let does: Vec<String> = rate.into_iter().chain(pauses).collect();
    let buffer = slow.receive_buffer.map(|bytes| format!(" into a buffer of {}", exact_size(bytes.into())));
    format!("{}{}", does.join(" and "), buffer.unwrap_or_default())
}

fn ends(end: &Terminate, victims: u64) -> String {
    let does = match end.how {
        How::Reset => "are reset".to_owned(),
        How::Fin => "are closed with FIN".to_owned(),
        How::HalfClose => "are closed on our side".to_owned(),
        How::WsClose(code) => format!("are closed with close code {code}"),
    };
    if end.at.is_empty() {
        return does;
    }
    let doing: Vec<&str> = end.at.iter().map(|point| doing(*point)).collect();
    let points = end.at.len() as u64;
    let each = match (victims / points, victims % points) {
        _ if points == 1 => String::new(),
        (each, 0) => format!(" ({} each)", show_count(each)),
        (each, _) => format!(" ({} or {} each)", show_count(each), show_count(each + 1)),
    };
    format!("{does} while they {}{each}", and(&doing))
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// A delay, and how it is distributed.
fn delayed(delay: Delay) -> (String, &'static str) {
    match delay {
        Delay::Fixed(time) => (show(time), ""),
        Delay::Uniform { low, high } => (format!("{} to {}", show(low), show(high)), " (uniform)"),
        Delay::Normal { mean, deviation } => (format!("{} ± {}", show(mean), show(deviation)), " (normal)"),
    }
}

/// What a victim does when it is ended.
fn doing(point: DropPoint) -> &'static str {
    match point {
        DropPoint::Connect => "connect",
        DropPoint::Init => "initialise",
        DropPoint::SubscribeSent => "subscribe",
        DropPoint::PublishSent => "publish",
        DropPoint::Receive => "receive",
        DropPoint::ReceivePartial => "are amid a frame",
        DropPoint::UnsubscribeSent => "unsubscribe",
    }
}

/// What the clients of a group do about lost connections.
pub(crate) fn policy(group: &SubscriberGroup) -> String {
    let mut policy = reconnects(group.reconnect);
    if let Some(budget) = group.retry_budget {
        let _ = write!(
            policy,
            ", at most {} attempts in {}",
            show_count(budget.attempts.into()),
            show(budget.per)
        );
    }
    if let Some(breaker) = group.breaker {
        let (failures, open) = (show_count(breaker.opens_after.into()), show(breaker.stays_open));
        let _ = write!(policy, ", with a circuit breaker that {failures} failures in a row open for {open}");
    }
    if let Some(keepalive) = group.keepalive {
        let (every, dead) = (show(keepalive.every), show(keepalive.dead_after));
        let _ = write!(policy, "; they ping every {every}, and {dead} of silence is a lost connection");
    }
    policy
}

fn reconnects(policy: Reconnect) -> String {
    match policy {
        Reconnect::None => "they do not reconnect".to_owned(),
        Reconnect::Immediate => "they reconnect at once".to_owned(),
        Reconnect::Fixed(wait) => format!("they wait {} and reconnect", show(wait)),
        Reconnect::Exponential { first, cap, jitter } => {
            let random = if jitter { "a random time up to " } else { "" };
            format!("they wait {random}{} and reconnect, then twice as long up to {}", show(first), show(cap))
        }
    }
}

fn show(duration: Duration) -> String {
    show_duration(duration.as_secs_f64())
}
