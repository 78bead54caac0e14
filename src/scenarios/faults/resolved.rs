//! How a fault is written in a file, with every default.

use serde_json::{Map, Value, json};

use super::full::FullFault;
use crate::scenarios::plan::{Churn, Delay, FaultKind, How, LinkDelay, SlowConsumer, Stagger, Terminate};
use crate::scenarios::units::{exact_duration, exact_ratio, exact_size};

/// The table of a fault; `parts`: the names of those that it acts in.
pub(crate) fn fault(fault: &FullFault, parts: &[&str]) -> Value {
    let mut table = Map::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    let on: Vec<&str> = fault.on.iter().flatten().map(|(name, _)| name.as_str()).collect();
    put("on", json!(on));
    put("fraction", json!(exact_ratio(fault.fraction.value)));
    put("of", json!(if fault.of_operations() { "operations" } else { "connections" }));
    put("phase", json!(parts));
    put("start", json!(exact_duration(fault.start.value)));
    if let Some(length) = &fault.length {
        put("for", json!(exact_duration(length.value)));
    }
    let stagger = match fault.stagger.value {
        Stagger::Together => json!("together"),
        Stagger::Linear(over) => json!({"linear": exact_duration(over)}),
        Stagger::Poisson(over) => json!({"poisson": exact_duration(over)}),
    };
    put("stagger", stagger);
    if let Some(kind) = &fault.kind {
        put(kind.name(), value(kind));
    }
    Value::Object(table)
}

/// What is after the key of a kind.
fn value(kind: &FaultKind) -> Value {
    match kind {
        FaultKind::ThinkTime(think) => delay(*think),
        FaultKind::LinkDelay(LinkDelay { up, down, buffer }) => {
            let mut table = Map::new();
            for (key, direction) in [("up", up), ("down", down)] {
                table.extend(direction.map(|direction| (key.to_owned(), delay(direction))));
            }
            table.insert("buffer".to_owned(), json!(exact_size(*buffer as u64)));
            Value::Object(table)
        }
        FaultKind::Hold(direction) | FaultKind::Stall(direction) => json!(direction.word()),
        FaultKind::Partition { or_stall: true } => json!({"otherwise": "stall"}),
        FaultKind::Partition { or_stall: false } => json!({}),
        FaultKind::SlowConsumer(slow) => slow_consumer(slow),
        FaultKind::HandshakeAbort(point) => json!(point.word()),
        FaultKind::Terminate(end) => terminate(end),
        FaultKind::Churn(Churn { cycles, hold, pause }) => {
            json!({"cycles": cycles, "hold": exact_duration(*hold), "pause": exact_duration(*pause)})
        }
    }
}

fn slow_consumer(slow: &SlowConsumer) -> Value {
    let mut table = Map::new();
    let mut put = |key: &str, value: String| table.insert(key.to_owned(), json!(value));
    if let Some(reads) = slow.reads {
        put("reads", format!("{}/s", exact_size(reads)));
    }
    if let Some(pauses) = slow.pauses {
        put("pause", exact_duration(pauses.pause));
        put("every", exact_duration(pauses.every));
    }
    if let Some(bytes) = slow.receive_buffer {
        put("receive-buffer", exact_size(bytes.into()));
    }
    Value::Object(table)
}

fn delay(delay: Delay) -> Value {
    match delay {
        Delay::Fixed(time) => json!(exact_duration(time)),
        Delay::Uniform { low, high } => json!({"uniform": [exact_duration(low), exact_duration(high)]}),
        Delay::Normal { mean, deviation } => {
            json!({"normal": {"mean": exact_duration(mean), "deviation": exact_duration(deviation)}})
        }
    }
}

fn terminate(end: &Terminate) -> Value {
    let mut table = Map::new();
    let how = match end.how {
        How::Reset => "reset",
        How::Fin => "fin",
        How::HalfClose => "half-close",
        How::WsClose(_) => "ws-close",
    };
    table.insert("how".to_owned(), json!(how));
    if let How::WsClose(code) = end.how {
        table.insert("code".to_owned(), json!(code));
    }
    if !end.at.is_empty() {
        let at: Vec<&str> = end.at.iter().map(|point| point.word()).collect();
        table.insert("at".to_owned(), json!(at));
    }
    Value::Object(table)
}
