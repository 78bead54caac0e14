//! The scenario with every default filled in, in the shape of the file: for `show`, for reports, for the hash.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::faults::full::{FullFault, SETUP};
use super::faults::{self as faulty, policies};
use super::file::Channels;
use super::full::{Full, FullCondition};
use super::plan::WhenBehind;
use super::target::{self, Operation, Publish, Statistics, StatisticsFormat, Target};
use super::units::{exact_duration, exact_size};

fn time(duration: Duration) -> Value {
    Value::String(exact_duration(duration))
}

/// A scenario's table.
pub(crate) fn scenario(full: &Full) -> Map<String, Value> {
    let timeouts = &full.timeouts;
    let mut table = Map::new();
    let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
    put("about", json!(full.about));
    put("seed", json!(full.seed.value));
    put("deadline", time(full.deadline));
    put(
        "channels",
        match full.channels.value {
            Channels::Own => json!("own"),
            Channels::Shared(count) => json!(count),
        },
    );
    put("time-scale", json!(full.time_scale.value));
    put("rounds", json!(full.rounds.value));
    let phases = full.phases.iter().map(|phase| {
        let mut entry = Map::new();
        entry.insert("name".to_owned(), json!(phase.name));
        if let Some(length) = &phase.length {
            entry.insert("for".to_owned(), time(length.value));
        }
        Value::Object(entry)
    });
    put("phases", phases.collect());
    put(
        "at-least",
        json!({
            "connections": full.at_least_connections,
            "events": full.at_least_events,
            "cycles": full.at_least_cycles,
        }),
    );
    put(
        "timeouts",
        json!({
            "connect": time(timeouts.connect),
            "upgrade": time(timeouts.upgrade),
            "init": time(timeouts.init),
            "confirm": time(timeouts.confirm),
            "operation": time(timeouts.operation),
            "settle": time(timeouts.settle),
            "drain": time(timeouts.drain),
            "quiet": time(timeouts.quiet),
            "cool-down": time(timeouts.cool_down),
        }),
    );
    put("subscribers", groups(full));
    put("publishers", publishers(full));
    if !full.faults.is_empty() {
        put("faults", faults(full));
    }
    for (key, conditions) in
        [("expect", &full.expect), ("reached", &full.reached), ("abort-if", &full.abort_if)]
    {
        if !conditions.is_empty() {
            put(key, texts(conditions));
        }
    }
    table
}

fn texts(conditions: &[FullCondition]) -> Value {
    conditions.iter().map(|c| (c.id.clone(), Value::String(c.text.clone()))).collect::<Map<_, _>>().into()
}

fn groups(full: &Full) -> Value {
    let group = |g: &super::full::FullSubscribers| {
        let mut table = json!({
            "connections": g.connections.value,
            "subscriptions": g.subscriptions.value,
            "connect": g.connect.to_string(),
            "waves": g.waves.value,
            "wave-pause": time(g.wave_pause.value),
            "reconnect": policies::resolved_reconnect(g.reconnect.value),
        });
        if let Some(budget) = &g.retry_budget {
            table["retry-budget"] = policies::resolved_budget(budget.value);
        }
        if let Some(breaker) = &g.breaker {
            table["circuit-breaker"] = policies::resolved_breaker(breaker.value);
        }
        if let Some(keepalive) = &g.keepalive {
            table["keepalive"] = policies::resolved_keepalive(keepalive.value);
        }
        table
    };
    full.subscribers.iter().map(|g| (g.name.clone(), group(g))).collect::<Map<_, _>>().into()
}

fn publishers(full: &Full) -> Value {
    let mut all = Map::new();
    for group in &full.publishers {
        let mut table = Map::new();
        table.insert("connections".to_owned(), json!(group.connections.value));
        table.insert("rate".to_owned(), json!(group.rate.value.to_string()));
        if let Some(events) = &group.events {
            table.insert("events".to_owned(), json!(events.value));
        }
        let payload = match group.climb {
            None => json!(exact_size(group.payload.value)),
            Some((times, up_to)) => json!({
                "from": exact_size(group.payload.value),
                "times": times,
                "up-to": exact_size(up_to),
            }),
        };
        table.insert("payload".to_owned(), payload);
        table.insert("batch".to_owned(), json!(group.batch));
        let phases: Vec<&str> = full.phases_of(group).map(|p| p.name.as_str()).collect();
        table.insert("phase".to_owned(), json!(phases));
        let when_behind = match group.when_behind.value {
            WhenBehind::CatchUp => "catch-up",
            WhenBehind::SlowDown => "slow-down",
        };
        table.insert("when-behind".to_owned(), json!(when_behind));
        all.insert(group.name.clone(), Value::Object(table));
    }
    Value::Object(all)
}

fn faults(full: &Full) -> Value {
    let table = |fault: &FullFault| {
        let phases = full.phases_named(fault.phases.as_ref()).map(|phase| phase.name.as_str());
        let parts: Vec<&str> = fault.in_setup().then_some(SETUP).into_iter().chain(phases).collect();
        faulty::resolved::fault(fault, &parts)
    };
    full.faults.iter().map(|f| (f.name.clone(), table(f))).collect::<Map<_, _>>().into()
}

/// What may be shown of a secret: a reference to the environment, never a literal.
fn unsecret(secret: &crate::care::Secret) -> &str {
    if secret.template().contains("${env:") { secret.template() } else { "[redacted]" }
}

/// The payload of `connection_init`, where every value may be a secret of its own.
fn unsecret_json(secret: &crate::care::Secret) -> String {
    let hidden = |mut value: Value| {
        redact(&mut value);
        value.to_string()
    };
    serde_json::from_str(secret.template()).map_or_else(|_| "[redacted]".to_owned(), hidden)
}

fn redact(value: &mut Value) {
    match value {
        Value::String(text) if text.contains("${env:") => {}
        Value::String(_) | Value::Number(_) => *value = json!("[redacted]"),
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Object(map) => map.values_mut().for_each(redact),
        Value::Null | Value::Bool(_) => {}
    }
}

/// A target's table; secrets as written, URLs without what may be secret in them.
pub(crate) fn target(target: &Target) -> Value {
    let headers = |headers: &indexmap::IndexMap<String, crate::care::Secret>| -> Value {
        headers.iter().map(|(k, v)| (k.clone(), json!(unsecret(v)))).collect::<Map<_, _>>().into()
    };
    let url = |url: &Option<http::Uri>| url.as_ref().map(target::shown);
    let publish = match &target.publish {
        Publish::WebSocket(publish) => operation(publish),
        Publish::Http { url: to, headers: with, operation: publish } => {
            let mut table = operation(publish);
            table.insert("http".to_owned(), json!({"url": url(to), "headers": headers(with)}));
            table
        }
    };
    json!({
        "name": target.name,
        "url": url(&target.url),
        "protocol": target.protocol.name(),
        "contract": target.contract.name(),
        "ordered": target.ordered,
        "headers": headers(&target.headers),
        "init": target.init.as_ref().map(unsecret_json),
        "subscribe": operation(&target.subscribe),
        "publish": publish,
        "statistics": target.statistics.as_ref().map(|s| statistics(s, url(&s.url).as_deref(), &headers(&s.headers))),
    })
}

/// How an operation is written in a file.
fn operation(operation: &Operation) -> Map<String, Value> {
    let mut table = Map::new();
    table.insert("query".to_owned(), json!(operation.query));
    if let Some(name) = &operation.operation_name {
        table.insert("operation-name".to_owned(), json!(name));
    }
    table.insert("variables".to_owned(), Value::Object(operation.variables.clone()));
    if !operation.payload_at.is_empty() {
        let keys = operation.payload_at.iter().map(|key| key.replace('~', "~0").replace('/', "~1"));
        table.insert("payload-at".to_owned(), json!(keys.map(|key| format!("/{key}")).collect::<String>()));
    }
    table
}

fn statistics(statistics: &Statistics, url: Option<&str>, headers: &Value) -> Value {
    json!({
        "url": url,
        "format": match statistics.format {
            StatisticsFormat::Prometheus => "prometheus",
            StatisticsFormat::Json => "json",
        },
        "headers": headers,
        "timeout": time(statistics.timeout),
        "connections": statistics.connections,
        "subscriptions": statistics.subscriptions,
        "published": statistics.published,
        "delivered": statistics.delivered,
        "dropped": statistics.dropped,
        "memory": statistics.memory,
    })
}
