//! From an answer to counts: which figure of it is which count, in either format.

use serde_json::Value;

use super::selector::{BadSelector, Selector};
use crate::scenarios::target::{Statistics, StatisticsFormat};

/// What a server may count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerCount {
    /// Open connections, a gauge.
    Connections,
    /// Active subscriptions, a gauge.
    Subscriptions,
    /// Accepted publishes, a counter.
    Published,
    /// Deliveries, a counter.
    Delivered,
    /// Dropped deliveries, a counter.
    Dropped,
    /// Memory in bytes, a gauge.
    Memory,
}

impl ServerCount {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Connections,
        Self::Subscriptions,
        Self::Published,
        Self::Delivered,
        Self::Dropped,
        Self::Memory,
    ];

    /// Its name in a target's table and in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Subscriptions => "subscriptions",
            Self::Published => "published",
            Self::Delivered => "delivered",
            Self::Dropped => "dropped",
            Self::Memory => "memory",
        }
    }

    fn written(self, statistics: &Statistics) -> Option<&str> {
        match self {
            Self::Connections => statistics.connections.as_deref(),
            Self::Subscriptions => statistics.subscriptions.as_deref(),
            Self::Published => statistics.published.as_deref(),
            Self::Delivered => statistics.delivered.as_deref(),
            Self::Dropped => statistics.dropped.as_deref(),
            Self::Memory => statistics.memory.as_deref(),
        }
    }
}

/// One answer; `None`: not asked for, or not in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerCounts {
    /// Open connections.
    pub connections: Option<f64>,
    /// Active subscriptions.
    pub subscriptions: Option<f64>,
    /// Accepted publishes since the server began.
    pub published: Option<f64>,
    /// Deliveries since the server began.
    pub delivered: Option<f64>,
    /// Dropped deliveries since the server began.
    pub dropped: Option<f64>,
    /// Memory in bytes.
    pub memory: Option<f64>,
}

impl ServerCounts {
    /// One of them.
    #[must_use]
    pub const fn get(&self, count: ServerCount) -> Option<f64> {
        match count {
            ServerCount::Connections => self.connections,
            ServerCount::Subscriptions => self.subscriptions,
            ServerCount::Published => self.published,
            ServerCount::Delivered => self.delivered,
            ServerCount::Dropped => self.dropped,
            ServerCount::Memory => self.memory,
        }
    }

    fn collect(mut find: impl FnMut(ServerCount) -> Option<f64>) -> Self {
        Self {
            connections: find(ServerCount::Connections),
            subscriptions: find(ServerCount::Subscriptions),
            published: find(ServerCount::Published),
            delivered: find(ServerCount::Delivered),
            dropped: find(ServerCount::Dropped),
            memory: find(ServerCount::Memory),
        }
    }
}

/// How to read an answer, fixed before the first one arrives.
#[derive(Debug, Clone)]
pub(super) enum Reading {
    Prometheus(Vec<(ServerCount, Selector)>),
    Json(Vec<(ServerCount, String)>),
}

impl Reading {
    pub(super) fn of(statistics: &Statistics) -> Result<Self, BadSelector> {
        let written = ServerCount::ALL.into_iter().filter_map(|c| Some((c, c.written(statistics)?)));
        Ok(match statistics.format {
            StatisticsFormat::Prometheus => Self::Prometheus(
                written.map(|(c, text)| Ok((c, Selector::parse(text)?))).collect::<Result<_, _>>()?,
            ),
            StatisticsFormat::Json => Self::Json(written.map(|(c, text)| (c, text.to_owned())).collect()),
        })
    }

    pub(super) fn names(&self, count: ServerCount) -> bool {
        match self {
            Self::Prometheus(selectors) => selectors.iter().any(|(named, _)| *named == count),
            Self::Json(pointers) => pointers.iter().any(|(named, _)| *named == count),
        }
    }

    /// Reads an answer; `None` if it is not of the expected format, or holds nothing that was asked for.
    pub(super) fn read(&self, body: &[u8]) -> Option<ServerCounts> {
        let counts = match self {
            Self::Prometheus(selectors) => {
                let text = std::str::from_utf8(body).ok()?;
                ServerCounts::collect(|c| selectors.iter().find(|(named, _)| *named == c)?.1.sum(text))
            }
            Self::Json(pointers) => {
                let json: Value = serde_json::from_slice(body).ok()?;
                ServerCounts::collect(|c| {
                    json.pointer(&pointers.iter().find(|(named, _)| *named == c)?.1)?.as_f64()
                })
            }
        };
        (counts != ServerCounts::default()).then_some(counts)
    }
}

#[cfg(test)]
pub(super) fn statistics(format: StatisticsFormat, names: [Option<&str>; 6]) -> Statistics {
    let [connections, subscriptions, published, delivered, dropped, memory] =
        names.map(|name| name.map(str::to_owned));
    Statistics {
        url: None,
        format,
        headers: indexmap::IndexMap::new(),
        connections,
        subscriptions,
        published,
        delivered,
        dropped,
        memory,
        timeout: std::time::Duration::from_secs(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_by_pointers() {
        let names =
            [Some("/ws/open"), Some("/ws/subs"), None, Some("/out/0"), Some("/absent"), Some("/text")];
        let reading = Reading::of(&statistics(StatisticsFormat::Json, names)).unwrap();
        let body = br#"{"ws": {"open": 3, "subs": 2.0}, "out": [41, 42], "text": "12"}"#;
        assert_eq!(
            reading.read(body),
            Some(ServerCounts {
                connections: Some(3.0),
                subscriptions: Some(2.0),
                delivered: Some(41.0),
                ..ServerCounts::default()
            })
        );
        assert!(reading.names(ServerCount::Memory) && !reading.names(ServerCount::Published));
    }

    #[test]
    fn prometheus_is_read_by_selectors() {
        let names = [Some("open"), None, Some("in_total{ok=\"true\"}"), None, None, None];
        let reading = Reading::of(&statistics(StatisticsFormat::Prometheus, names)).unwrap();
        let body = b"open 3\nin_total{ok=\"true\"} 7\nin_total{ok=\"false\"} 1\n";
        assert_eq!(
            reading.read(body),
            Some(ServerCounts { connections: Some(3.0), published: Some(7.0), ..ServerCounts::default() })
        );
    }

    #[test]
    fn garbage_is_not_read_as_nothing_wrong() {
        let names = [Some("open"), None, None, None, None, None];
        let reading = Reading::of(&statistics(StatisticsFormat::Prometheus, names)).unwrap();
        assert_eq!(reading.read(b"<html>not here</html>"), None);
        assert_eq!(reading.read(b"\xff\xfe"), None);
        let reading = Reading::of(&statistics(StatisticsFormat::Json, names)).unwrap();
        assert_eq!(reading.read(b"{\"open\": 3"), None);
    }

    #[test]
    fn a_bad_selector_is_found_before_the_first_scrape() {
        let names = [Some("open{"), None, None, None, None, None];
        let refused = Reading::of(&statistics(StatisticsFormat::Prometheus, names)).unwrap_err();
        assert_eq!(refused, BadSelector { text: "open{".into() });
    }
}
