//! What clients do about lost connections: `reconnect`, `retry-budget`, `circuit-breaker` and `keepalive`, as written,
//! as planned and as shown.

use serde::Deserialize;
use serde::de::{Error, Unexpected};
use serde_json::{Value, json};

use crate::scenarios::file::{Wait, read};
use crate::scenarios::plan::{CircuitBreaker, Keepalive, Reconnect, RetryBudget};
use crate::scenarios::units::{Count, exact_duration};

/// What a client does when its connection is gone.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ReconnectWord {
    None,
    Immediate,
    Fixed(FixedTable),
    Exponential(ExponentialTable),
}

/// The same wait before every attempt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct FixedTable {
    pub(crate) wait: Wait,
}

/// Ever longer waits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ExponentialTable {
    pub(crate) first: Wait,
    pub(crate) cap: Wait,
    #[serde(default)]
    pub(crate) jitter: Jitter,
}

/// Whether a random share of a wait is waited.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jitter(bool);

impl Default for Jitter {
    fn default() -> Self {
        Self(true)
    }
}

read! { Jitter, "true (or \"full\"): a random time up to each wait, or false: all of it",
    fn visit_bool<E: Error>(self, jitter: bool) -> Result<Jitter, E> {
        Ok(Jitter(jitter))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Jitter, E> {
        if text == "full" { Ok(Jitter(true)) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
}

/// How many attempts there are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct RetryBudgetTable {
    attempts: Count,
    per: Wait,
}

/// When attempts stop for a while.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CircuitBreakerTable {
    opens_after: Count,
    stays_open: Wait,
}

/// Pings of the client's own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct KeepaliveTable {
    every: Wait,
    dead_after: Wait,
}

/// The policy that a word stands for.
pub(crate) fn reconnect(word: &ReconnectWord) -> Reconnect {
    match word {
        ReconnectWord::None => Reconnect::None,
        ReconnectWord::Immediate => Reconnect::Immediate,
        ReconnectWord::Fixed(fixed) => Reconnect::Fixed(fixed.wait.0.0),
        ReconnectWord::Exponential(e) => {
            Reconnect::Exponential { first: e.first.0.0, cap: e.cap.0.0, jitter: e.jitter.0 }
        }
    }
}

/// `Count` never exceeds ten million, so this never saturates.
fn whole(count: Count) -> u32 {
    u32::try_from(count.0).unwrap_or(u32::MAX)
}

pub(crate) fn retry_budget(table: &RetryBudgetTable) -> RetryBudget {
    RetryBudget { attempts: whole(table.attempts), per: table.per.0.0 }
}

pub(crate) fn circuit_breaker(table: &CircuitBreakerTable) -> CircuitBreaker {
    CircuitBreaker { opens_after: whole(table.opens_after), stays_open: table.stays_open.0.0 }
}

pub(crate) fn keepalive(table: &KeepaliveTable) -> Keepalive {
    Keepalive { every: table.every.0.0, dead_after: table.dead_after.0.0 }
}

/// How a policy is written in a file.
pub(crate) fn resolved_reconnect(reconnect: Reconnect) -> Value {
    match reconnect {
        Reconnect::None => json!("none"),
        Reconnect::Immediate => json!("immediate"),
        Reconnect::Fixed(wait) => json!({"fixed": {"wait": exact_duration(wait)}}),
        Reconnect::Exponential { first, cap, jitter } => json!({
            "exponential": {"first": exact_duration(first), "cap": exact_duration(cap), "jitter": jitter}
        }),
    }
}

pub(crate) fn resolved_budget(budget: RetryBudget) -> Value {
    json!({"attempts": budget.attempts, "per": exact_duration(budget.per)})
}

pub(crate) fn resolved_breaker(breaker: CircuitBreaker) -> Value {
    json!({"opens-after": breaker.opens_after, "stays-open": exact_duration(breaker.stays_open)})
}

pub(crate) fn resolved_keepalive(keepalive: Keepalive) -> Value {
    json!({"every": exact_duration(keepalive.every), "dead-after": exact_duration(keepalive.dead_after)})
}
