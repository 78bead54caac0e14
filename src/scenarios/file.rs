//! The scenario file as it is written: a strict mirror in serde, nothing merged, nothing judged.
//!
//! Unknown keys are refused everywhere, the order of the file is kept, and what a cross-check may have to point
//! at is `Spanned`. Keys that must be present are `Option` all the same: `check` asks for them, so that a value
//! that was already reported as bad is not reported as missing too.

use std::fmt;

use indexmap::IndexMap;
use serde::Deserialize;
use serde::de::{Error, SeqAccess, Unexpected, value::SeqAccessDeserializer};
use serde_json::{Map, Value};
use toml::Spanned;

use super::faults::file::FaultTable;
use super::faults::policies::{CircuitBreakerTable, KeepaliveTable, ReconnectWord, RetryBudgetTable};
use super::plan::WhenBehind;
use super::target::{Contract, StatisticsFormat};
use super::units::{Count, Events, Rate, Seed, Size, Span};

/// A name in the file; groups, phases, conditions, scenarios, targets.
pub(crate) type Name = Spanned<String>;

/// Tables by name, in file order.
pub(crate) type Named<T> = IndexMap<Name, T>;

/// A whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct FileTable {
    pub(crate) defaults: DefaultsTable,
    pub(crate) targets: Named<TargetTable>,
    pub(crate) scenarios: Named<ScenarioTable>,
}

/// What holds for every scenario of a file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct DefaultsTable {
    pub(crate) seed: Option<Spanned<Seed>>,
    pub(crate) deadline: Option<Spanned<Span>>,
    pub(crate) timeouts: TimeoutsTable,
    pub(crate) expect: Named<Spanned<String>>,
    pub(crate) reached: Named<Spanned<String>>,
    pub(crate) abort_if: Named<Spanned<String>>,
}

/// One scenario.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ScenarioTable {
    pub(crate) about: Option<Spanned<String>>,
    pub(crate) seed: Option<Spanned<Seed>>,
    pub(crate) deadline: Option<Spanned<Span>>,
    pub(crate) channels: Option<Spanned<Channels>>,
    pub(crate) phases: Option<Spanned<Vec<PhaseTable>>>,
    pub(crate) time_scale: Option<Spanned<TimeScale>>,
    pub(crate) rounds: Option<Spanned<Count>>,
    pub(crate) at_least: AtLeastTable,
    pub(crate) timeouts: TimeoutsTable,
    pub(crate) subscribers: Named<SubscriberTable>,
    pub(crate) publishers: Named<PublisherTable>,
    pub(crate) faults: Named<FaultTable>,
    pub(crate) expect: Named<Spanned<String>>,
    pub(crate) reached: Named<Spanned<String>>,
    pub(crate) abort_if: Named<Spanned<String>>,
}

/// One phase.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct PhaseTable {
    pub(crate) name: Name,
    #[serde(rename = "for")]
    pub(crate) length: Option<Spanned<Span>>,
}

/// Floors under `--scale`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct AtLeastTable {
    pub(crate) connections: Option<Count>,
    pub(crate) events: Option<Events>,
    pub(crate) cycles: Option<Count>,
}

/// Bounds on waits.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct TimeoutsTable {
    pub(crate) connect: Option<Wait>,
    pub(crate) upgrade: Option<Wait>,
    pub(crate) init: Option<Wait>,
    pub(crate) confirm: Option<Wait>,
    pub(crate) operation: Option<Wait>,
    pub(crate) settle: Option<Span>,
    pub(crate) drain: Option<Wait>,
    pub(crate) quiet: Option<Span>,
    pub(crate) cool_down: Option<Span>,
}

/// A limit on a wait; with none at all, everything would be given up at once.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Span")]
pub(crate) struct Wait(pub(crate) Span);

impl TryFrom<Span> for Wait {
    type Error = &'static str;

    fn try_from(span: Span) -> Result<Self, Self::Error> {
        if span.0.is_zero() {
            Err("a wait needs some time, such as \"500ms\" or \"30s\"")
        } else {
            Ok(Self(span))
        }
    }
}

/// One group of subscribing clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct SubscriberTable {
    pub(crate) connections: Option<Spanned<Count>>,
    pub(crate) subscriptions: Option<Spanned<Count>>,
    pub(crate) connect: Option<ConnectWord>,
    pub(crate) waves: Option<Spanned<Count>>,
    pub(crate) wave_pause: Option<Spanned<Span>>,
    pub(crate) reconnect: Option<Spanned<ReconnectWord>>,
    pub(crate) retry_budget: Option<Spanned<RetryBudgetTable>>,
    pub(crate) circuit_breaker: Option<Spanned<CircuitBreakerTable>>,
    pub(crate) keepalive: Option<Spanned<KeepaliveTable>>,
}

/// One group of publishing clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct PublisherTable {
    pub(crate) connections: Option<Spanned<Count>>,
    pub(crate) rate: Option<Spanned<PaceWord>>,
    pub(crate) events: Option<Spanned<Events>>,
    pub(crate) payload: Option<Spanned<Payload>>,
    pub(crate) batch: Option<Spanned<Count>>,
    pub(crate) phase: Option<Spanned<OneOrMany>>,
    pub(crate) when_behind: Option<Spanned<WhenBehindWord>>,
}

/// What an open publisher does when it is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenBehindWord {
    CatchUp,
    SlowDown,
}

impl From<WhenBehindWord> for WhenBehind {
    fn from(word: WhenBehindWord) -> Self {
        match word {
            WhenBehindWord::CatchUp => Self::CatchUp,
            WhenBehindWord::SlowDown => Self::SlowDown,
        }
    }
}

/// One server under test.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct TargetTable {
    pub(crate) url: Option<Spanned<String>>,
    pub(crate) protocol: Option<Spanned<String>>,
    pub(crate) contract: Option<Contract>,
    pub(crate) ordered: Option<bool>,
    pub(crate) confirmed: Option<bool>,
    pub(crate) headers: IndexMap<Name, Spanned<String>>,
    pub(crate) init: Option<Spanned<Map<String, Value>>>,
    pub(crate) limits: LimitsTable,
    pub(crate) subscribe: Option<Spanned<OperationTable>>,
    pub(crate) publish: Option<Spanned<PublishTable>>,
    pub(crate) statistics: Option<Spanned<StatisticsTable>>,
}

/// Hard caps.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct LimitsTable {
    pub(crate) connections: Option<Count>,
    pub(crate) publish_rate: Option<Rate>,
    pub(crate) subscriptions_per_connection: Option<Count>,
}

/// How to subscribe.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct OperationTable {
    pub(crate) query: Option<String>,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: Option<Spanned<Map<String, Value>>>,
    pub(crate) payload_at: Option<Spanned<String>>,
}

/// How to publish: over the WebSocket, or over HTTP where there is an `http` key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct PublishTable {
    pub(crate) query: Option<String>,
    pub(crate) operation_name: Option<String>,
    pub(crate) variables: Option<Spanned<Map<String, Value>>>,
    pub(crate) http: Option<HttpTable>,
}

/// Where HTTP publishes go.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct HttpTable {
    pub(crate) url: Option<Spanned<String>>,
    pub(crate) headers: IndexMap<Name, Spanned<String>>,
}

/// The server's own counts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct StatisticsTable {
    pub(crate) url: Option<Spanned<String>>,
    pub(crate) format: Option<StatisticsFormat>,
    pub(crate) headers: IndexMap<Name, Spanned<String>>,
    pub(crate) timeout: Option<Span>,
    pub(crate) connections: Option<Spanned<String>>,
    pub(crate) subscriptions: Option<Spanned<String>>,
    pub(crate) published: Option<Spanned<String>>,
    pub(crate) delivered: Option<Spanned<String>>,
    pub(crate) dropped: Option<Spanned<String>>,
    pub(crate) memory: Option<Spanned<String>>,
}

/// `channels = "own"` or a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Channels {
    Own,
    Shared(u32),
}

/// `connect`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ConnectWord {
    Bounded,
    Together,
    Rate(f64),
}

/// `rate`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PaceWord {
    Open(f64),
    Unlimited,
    OneByOne,
}

/// `payload`: a size, or a climb.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Payload {
    Size(u64),
    Climb(ClimbTable),
}

/// The climb of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ClimbTable {
    pub(crate) from: Size,
    pub(crate) times: Count,
    pub(crate) up_to: Size,
}

/// `time-scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct TimeScale(pub(crate) f64);

/// One name, or a list of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<Name>),
}

/// Implements `Deserialize` by a visitor with a hint and the visits given.
macro_rules! read {
    ($name:ident, $hint:expr, $($visits:tt)*) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Read;
                impl<'de> serde::de::Visitor<'de> for Read {
                    type Value = $name;
                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($hint)
                    }
                    $($visits)*
                }
                deserializer.deserialize_any(Read)
            }
        }
    };
}
pub(crate) use read;

read! { Channels, "\"own\" (one channel for each subscription) or a count such as 100",
    fn visit_str<E: Error>(self, text: &str) -> Result<Channels, E> {
        if text == "own" { Ok(Channels::Own) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Channels, E> {
        match u32::try_from(number) {
            Ok(count @ 1..=10_000_000) => Ok(Channels::Shared(count)),
            _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

read! { ConnectWord, "\"bounded\" (100 in flight), \"together\", or a rate in quotes, such as \"500/s\"",
    fn visit_str<E: Error>(self, text: &str) -> Result<ConnectWord, E> {
        match text {
            "bounded" => Ok(ConnectWord::Bounded),
            "together" => Ok(ConnectWord::Together),
            _ => Rate::parse(text)
                .map(|rate| ConnectWord::Rate(rate.0))
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

read! { PaceWord, "a rate in quotes, such as \"100/s\", or \"unlimited\", or \"one-by-one\"",
    fn visit_str<E: Error>(self, text: &str) -> Result<PaceWord, E> {
        match text {
            "unlimited" => Ok(PaceWord::Unlimited),
            "one-by-one" => Ok(PaceWord::OneByOne),
            _ => Rate::parse(text)
                .map(|rate| PaceWord::Open(rate.0))
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

read! { Payload, "a size in quotes, such as \"200B\" or \"100KB\", or { from = \"2MB\", times = 2, up-to = \"16MB\" }",
    fn visit_str<E: Error>(self, text: &str) -> Result<Payload, E> {
        Size::parse(text)
            .map(|size| Payload::Size(size.0))
            .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Payload, A::Error> {
        ClimbTable::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Payload::Climb)
    }
}

read! { TimeScale, "a number from 0.001 to 1000000, without quotes",
    fn visit_i64<E: Error>(self, number: i64) -> Result<TimeScale, E> {
        self.visit_f64(number as f64)
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<TimeScale, E> {
        if (0.001..=1e6).contains(&number) {
            Ok(TimeScale(number))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }
}

read! { OneOrMany, "a name in quotes, or a list of names",
    fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
        Ok(OneOrMany::One(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneOrMany, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(OneOrMany::Many)
    }
}

impl fmt::Display for ConnectWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bounded => f.write_str("bounded"),
            Self::Together => f.write_str("together"),
            Self::Rate(rate) => write!(f, "{rate}/s"),
        }
    }
}

impl fmt::Display for PaceWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(rate) => write!(f, "{rate}/s"),
            Self::Unlimited => f.write_str("unlimited"),
            Self::OneByOne => f.write_str("one-by-one"),
        }
    }
}
