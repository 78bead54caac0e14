//! What each kind of fault is written as: the part of the mirror that is below a fault's own keys.
//!
//! Shorthands (`"1s"` for a delay, one point for a list of them) are read by hand, so that every mistake keeps its
//! place; see `file` for the keys themselves.

use std::time::Duration;

use serde::Deserialize;
use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Unexpected};
use toml::Spanned;

use crate::scenarios::file::Wait;
use crate::scenarios::file::read;
use crate::scenarios::plan::{self, Delay};
use crate::scenarios::units::{ByteRate, Count, Size, Span, Whole};

/// A delay: a duration, or a distribution of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DelayWord(pub(crate) Delay);

/// Words of distributions.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "kebab-case")]
enum Distribution {
    Uniform,
    Normal,
}

read! { DelayWord, "a duration in quotes, such as \"500ms\", or { uniform = [\"50ms\", \"500ms\"] }, or { normal = { mean = \"100ms\", deviation = \"20ms\" } }",
    fn visit_str<E: Error>(self, text: &str) -> Result<DelayWord, E> {
        let span = Span::parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))?;
        some_time(Delay::Fixed(span.0), span.0)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<DelayWord, A::Error> {
        let delay = match map.next_key()? {
            Some(Distribution::Uniform) => {
                let Bounds(low, high) = map.next_value()?;
                some_time(Delay::Uniform { low, high }, high)?
            }
            Some(Distribution::Normal) => {
                let NormalTable { mean, deviation } = map.next_value()?;
                some_time(Delay::Normal { mean: mean.0, deviation: deviation.0 }, mean.0 + deviation.0)?
            }
            None => return Err(A::Error::invalid_value(Unexpected::Map, &self)),
        };
        if map.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom("a delay has one distribution, and this one has two"));
        }
        Ok(delay)
    }
}

fn some_time<E: Error>(delay: Delay, longest: Duration) -> Result<DelayWord, E> {
    if longest.is_zero() {
        return Err(E::custom("a delay needs some time, such as \"500ms\""));
    }
    Ok(DelayWord(delay))
}

/// The ends of an even distribution.
#[derive(Debug, Clone, Copy)]
struct Bounds(Duration, Duration);

read! { Bounds, "the shortest and the longest duration, such as [\"50ms\", \"500ms\"]",
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bounds, A::Error> {
        let mut ends: Vec<Span> = Vec::new();
        while let Some(end) = seq.next_element()? {
            ends.push(end);
        }
        match ends.as_slice() {
            [low, high] if low.0 <= high.0 => Ok(Bounds(low.0, high.0)),
            [_, _] => Err(A::Error::custom("the shortest delay comes first, then the longest")),
            _ => Err(A::Error::invalid_value(Unexpected::Other(&format!("{} of them", ends.len())), &self)),
        }
    }
}

/// A normal distribution.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct NormalTable {
    mean: Span,
    deviation: Span,
}

/// How much longer bytes travel.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct LinkDelayTable {
    pub(crate) up: Option<DelayWord>,
    pub(crate) down: Option<DelayWord>,
    pub(crate) buffer: Option<Spanned<Size>>,
}

/// Directions of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirectionWord(pub(crate) plan::Direction);

/// Their words.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    Both,
    Up,
    Down,
}

read! { DirectionWord, "\"both\", \"up\" (from us to the server) or \"down\"",
    fn visit_str<E: Error>(self, text: &str) -> Result<DirectionWord, E> {
        Ok(DirectionWord(match Way::deserialize(StrDeserializer::new(text))? {
            Way::Both => plan::Direction::Both,
            Way::Up => plan::Direction::Up,
            Way::Down => plan::Direction::Down,
        }))
    }
}

/// Silence in both directions, kernel included.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct PartitionTable {
    pub(crate) otherwise: Option<Otherwise>,
}

/// What is done where a partition is not allowed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Otherwise {
    Stall,
}

/// A client that does not keep up.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct SlowConsumerTable {
    pub(crate) reads: Option<ByteRate>,
    pub(crate) pause: Option<Wait>,
    pub(crate) every: Option<Wait>,
    pub(crate) receive_buffer: Option<Size>,
}

/// How far an attempt to connect comes.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HandshakeWord {
    Connect,
    Upgrade,
    Init,
}

impl From<HandshakeWord> for plan::HandshakePoint {
    fn from(word: HandshakeWord) -> Self {
        match word {
            HandshakeWord::Connect => Self::Connect,
            HandshakeWord::Upgrade => Self::Upgrade,
            HandshakeWord::Init => Self::Init,
        }
    }
}

/// Cycles of subscribing and unsubscribing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct ChurnTable {
    pub(crate) cycles: Option<Spanned<Count>>,
    pub(crate) hold: Option<Span>,
    pub(crate) pause: Option<Span>,
}

/// The end of a connection.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct TerminateTable {
    pub(crate) how: Option<Spanned<How>>,
    pub(crate) at: Option<Spanned<Points>>,
    pub(crate) code: Option<Spanned<Code>>,
}

/// In which way a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    Reset,
    Fin,
    WsClose,
    HalfClose,
}

/// One point of a connection's life, or a list of them.
#[derive(Debug, Clone)]
pub(crate) enum Points {
    One(PointWord),
    Many(Vec<Spanned<PointWord>>),
}

read! { Points, "a point in quotes, such as \"receive\", or a list of points",
    fn visit_str<E: Error>(self, text: &str) -> Result<Points, E> {
        PointWord::deserialize(StrDeserializer::new(text)).map(Points::One)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Points, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(seq)).map(Points::Many)
    }
}

/// What a connection is in the middle of.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PointWord {
    Connect,
    Init,
    SubscribeSent,
    PublishSent,
    Receive,
    ReceivePartial,
    UnsubscribeSent,
}

impl From<PointWord> for plan::DropPoint {
    fn from(word: PointWord) -> Self {
        match word {
            PointWord::Connect => Self::Connect,
            PointWord::Init => Self::Init,
            PointWord::SubscribeSent => Self::SubscribeSent,
            PointWord::PublishSent => Self::PublishSent,
            PointWord::Receive => Self::Receive,
            PointWord::ReceivePartial => Self::ReceivePartial,
            PointWord::UnsubscribeSent => Self::UnsubscribeSent,
        }
    }
}

/// A code that a close frame may carry (RFC 6455, section 7.4, and the registry it opens).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Whole<0, 65_535>")]
pub(crate) struct Code(pub(crate) u16);

impl TryFrom<Whole<0, 65_535>> for Code {
    type Error = &'static str;

    fn try_from(Whole(code): Whole<0, 65_535>) -> Result<Self, Self::Error> {
        match u16::try_from(code) {
            Ok(code @ (1_000..=1_003 | 1_007..=1_014 | 3_000..=4_999)) => Ok(Self(code)),
            Ok(1_005 | 1_006 | 1_015) => {
                Err("1005, 1006 and 1015 stand for what had no close frame: none may carry them")
            }
            _ => Err("a close frame carries 1000-1003, 1007-1014 or 3000-4999"),
        }
    }
}
