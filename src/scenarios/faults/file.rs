//! `faults.NAME` as it is written: the part of the mirror that is about what goes wrong.
//!
//! A fault has one kind, *written as its key*. Kinds that cannot be injected yet are known by name, so that they are
//! refused as what they are.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use toml::Spanned;

use super::kinds::{
    ChurnTable, DelayWord, DirectionWord, HandshakeWord, LinkDelayTable, PartitionTable, SlowConsumerTable,
    TerminateTable,
};
use crate::scenarios::file::{OneOrMany, Wait};
use crate::scenarios::units::{Ratio, Span};

/// One fault.
#[derive(Debug, Clone, Default)]
pub(crate) struct FaultTable {
    pub(crate) on: Option<Spanned<OneOrMany>>,
    pub(crate) fraction: Option<Spanned<Fraction>>,
    pub(crate) of: Option<Spanned<Of>>,
    pub(crate) phase: Option<Spanned<OneOrMany>>,
    pub(crate) start: Option<Spanned<Span>>,
    pub(crate) length: Option<Spanned<Wait>>,
    pub(crate) stagger: Option<Spanned<StaggerWord>>,
    /// What it does, at the place of its key; exactly one is right.
    pub(crate) kinds: Vec<Spanned<Kind>>,
}

/// What a fault does.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Terminate(TerminateTable),
    ThinkTime(DelayWord),
    LinkDelay(LinkDelayTable),
    Hold(DirectionWord),
    Stall(DirectionWord),
    Partition(PartitionTable),
    HandshakeAbort(HandshakeWord),
    SlowConsumer(SlowConsumerTable),
    Churn(ChurnTable),
    /// Known by name only.
    NotYet(Key),
}

/// The keys of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
pub(crate) enum Key {
    On,
    Fraction,
    Of,
    Phase,
    Start,
    For,
    Stagger,
    Terminate,
    ThinkTime,
    LinkDelay,
    Bandwidth,
    Hold,
    Stall,
    Partition,
    HandshakeAbort,
    Trickle,
    Corrupt,
    Protocol,
    SlowConsumer,
    Churn,
}

/// The words of [`Key`], in its order.
const KEYS: [&str; 20] = [
    "on",
    "fraction",
    "of",
    "phase",
    "start",
    "for",
    "stagger",
    "terminate",
    "think-time",
    "link-delay",
    "bandwidth",
    "hold",
    "stall",
    "partition",
    "handshake-abort",
    "trickle",
    "corrupt",
    "protocol",
    "slow-consumer",
    "churn",
];

/// The words of all kinds, for those who wrote none.
pub(crate) fn kinds() -> &'static [&'static str] {
    &KEYS[Key::Terminate as usize..]
}

impl Key {
    /// How it is written.
    pub(crate) fn word(self) -> &'static str {
        KEYS[self as usize]
    }
}

impl Kind {
    /// Reads the value of the key that names a kind.
    fn read<'de, A: MapAccess<'de>>(key: Key, map: &mut A) -> Result<Self, A::Error> {
        Ok(match key {
            Key::Terminate => Self::Terminate(map.next_value()?),
            Key::ThinkTime => Self::ThinkTime(map.next_value()?),
            Key::LinkDelay => Self::LinkDelay(map.next_value()?),
            Key::Hold => Self::Hold(map.next_value()?),
            Key::Stall => Self::Stall(map.next_value()?),
            Key::Partition => Self::Partition(map.next_value()?),
            Key::HandshakeAbort => Self::HandshakeAbort(map.next_value()?),
            Key::SlowConsumer => Self::SlowConsumer(map.next_value()?),
            Key::Churn => Self::Churn(map.next_value()?),
            other => {
                map.next_value::<IgnoredAny>()?;
                Self::NotYet(other)
            }
        })
    }

    /// How it is written.
    pub(crate) fn word(&self) -> &'static str {
        let key = match self {
            Self::Terminate(_) => Key::Terminate,
            Self::ThinkTime(_) => Key::ThinkTime,
            Self::LinkDelay(_) => Key::LinkDelay,
            Self::Hold(_) => Key::Hold,
            Self::Stall(_) => Key::Stall,
            Self::Partition(_) => Key::Partition,
            Self::HandshakeAbort(_) => Key::HandshakeAbort,
            Self::SlowConsumer(_) => Key::SlowConsumer,
            Self::Churn(_) => Key::Churn,
            Self::NotYet(key) => *key,
        };
        key.word()
    }
}

/// By hand, because only here the place of a key is at hand, and that is where a kind is pointed at.
impl<'de> Deserialize<'de> for FaultTable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = FaultTable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FaultTable, A::Error> {
                let mut table = FaultTable::default();
                while let Some(key) = map.next_key::<Spanned<Key>>()? {
                    match *key.get_ref() {
                        Key::On => table.on = Some(map.next_value()?),
                        Key::Fraction => table.fraction = Some(map.next_value()?),
                        Key::Of => table.of = Some(map.next_value()?),
                        Key::Phase => table.phase = Some(map.next_value()?),
                        Key::Start => table.start = Some(map.next_value()?),
                        Key::For => table.length = Some(map.next_value()?),
                        Key::Stagger => table.stagger = Some(map.next_value()?),
                        kind => {
                            let kind = Kind::read(kind, &mut map)?;
                            table.kinds.push(Spanned::new(key.span(), kind));
                        }
                    }
                }
                Ok(table)
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// The share of a group that is hit.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Ratio")]
pub(crate) struct Fraction(pub(crate) f64);

impl TryFrom<Ratio> for Fraction {
    type Error = &'static str;

    fn try_from(Ratio(share): Ratio) -> Result<Self, Self::Error> {
        if share > 0.0 && share <= 1.0 {
            Ok(Self(share))
        } else {
            Err("a fraction is above 0% and at most 100%")
        }
    }
}

/// What a fraction is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Of {
    Connections,
    Operations,
}

/// How the applications of a fault are spread.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StaggerWord {
    Together,
    Linear(Wait),
    Poisson(Wait),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_as_they_are_read() {
        let all = KEYS.map(|key| format!("{key} = 0\n")).concat();
        let read: indexmap::IndexMap<Key, u8> = match toml::from_str(&all) {
            Ok(read) => read,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(read.keys().map(|key| key.word()).collect::<Vec<_>>(), KEYS);
        assert_eq!(kinds()[0], "terminate");
    }
}
