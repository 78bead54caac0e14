//! The server under test as data: how to reach it, how to speak to it, what it promises, what it may be given.

use std::fmt;
use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;

use crate::care::Secret;

/// A resolved target.
#[derive(Clone)]
pub struct Target {
    /// Name of its table, if it has one.
    pub name: Option<String>,
    /// Where it listens; `None`: the reference server, started in a child process.
    pub url: Option<http::Uri>,
    /// The protocol it speaks.
    pub protocol: Protocol,
    /// What it promises about delivery.
    pub contract: Contract,
    /// Whether it promises order per publisher.
    pub ordered: bool,
    /// Whether its table allows it to be loaded without `--confirm`.
    pub confirmed: bool,
    /// Headers of the upgrade request.
    pub headers: IndexMap<String, Secret>,
    /// Payload of `connection_init`; string values may be secrets.
    pub init: Option<Secret>,
    /// Hard caps that a scenario cannot raise.
    pub limits: Limits,
    /// How to subscribe.
    pub subscribe: Operation,
    /// How to publish.
    pub publish: Publish,
    /// The server's own counts.
    pub statistics: Option<Statistics>,
}

impl Target {
    /// The URL for reports: without userinfo, query values replaced; empty for the reference server.
    #[must_use]
    pub fn shown_url(&self) -> String {
        self.url.as_ref().map(shown).unwrap_or_default()
    }
}

// Written by hand, because a URL may hold a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("url", &self.shown_url())
            .field("publish", &self.publish)
            .field("statistics", &self.statistics)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WebSocket(operation) => f.debug_tuple("WebSocket").field(operation).finish(),
            Self::Http { url, operation, .. } => f
                .debug_struct("Http")
                .field("url", &url.as_ref().map(shown))
                .field("operation", operation)
                .finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statistics")
            .field("url", &self.url.as_ref().map(shown))
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// A URL without what may be secret in it.
#[must_use]
pub fn shown(url: &http::Uri) -> String {
    let scheme = url.scheme_str().map(|scheme| format!("{scheme}://")).unwrap_or_default();
    let host = url.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or_default());
    let keys: Vec<String> = url
        .query()
        .into_iter()
        .flat_map(|query| query.split('&'))
        .map(|pair| pair.split_once('=').map_or_else(|| "…".to_owned(), |(key, _)| format!("{key}=…")))
        .collect();
    let query = if keys.is_empty() { String::new() } else { format!("?{}", keys.join("&")) };
    format!("{scheme}{host}{}{query}", url.path())
}

/// Protocols stressctl can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>
    GraphqlTransportWs,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::GraphqlTransportWs];

    /// Its name in files, on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GraphqlTransportWs => "graphql-transport-ws",
        }
    }
}

/// A delivery guarantee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contract {
    /// Events may be missed, never repeated.
    AtMostOnce,
    /// Events may be repeated, never missed.
    AtLeastOnce,
    /// Neither.
    ExactlyOnce,
}

impl Contract {
    /// Its name in files and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::AtLeastOnce => "at-least-once",
            Self::ExactlyOnce => "exactly-once",
        }
    }
}

/// Hard caps of a target.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Limits {
    /// Connections open at once, publishers included.
    pub connections: Option<u32>,
    /// Events per second over all publishers.
    pub publish_rate: Option<f64>,
    /// Subscriptions on one connection.
    pub subscriptions_per_connection: Option<u32>,
}

/// A GraphQL operation with templates in its variables: `${channel}`, `${payload}`, `${connection}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// The document.
    pub query: String,
    /// `operationName`, left out when `None`.
    pub operation_name: Option<String>,
    /// Variables; left out when empty.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// Keys from the message's payload down to the event's payload, as in `["data", "event", "payload"]`;
    /// empty: the token is searched in the whole payload.
    pub payload_at: Vec<String>,
}

/// How events are published.
#[derive(Clone)]
pub enum Publish {
    /// A mutation over the WebSocket.
    WebSocket(Operation),
    /// HTTP POST of a GraphQL mutation.
    Http {
        /// The endpoint; default: the target's URL with http(s) for ws(s).
        url: Option<http::Uri>,
        /// Request headers beside `content-type`.
        headers: IndexMap<String, Secret>,
        /// The mutation.
        operation: Operation,
    },
}

/// Where the server's own counts are and what they are called there.
#[derive(Clone)]
pub struct Statistics {
    /// The endpoint; `None`: `/stats` of the reference server.
    pub url: Option<http::Uri>,
    /// Format of the answer.
    pub format: StatisticsFormat,
    /// Request headers.
    pub headers: IndexMap<String, Secret>,
    /// Gauge of open connections (metric selector or JSON pointer).
    pub connections: Option<String>,
    /// Gauge of active subscriptions.
    pub subscriptions: Option<String>,
    /// Counter of accepted publishes.
    pub published: Option<String>,
    /// Counter of deliveries.
    pub delivered: Option<String>,
    /// Counter of dropped deliveries.
    pub dropped: Option<String>,
    /// Gauge of memory in bytes.
    pub memory: Option<String>,
    /// How long one scrape may take.
    pub timeout: Duration,
}

/// Formats of server statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StatisticsFormat {
    /// Prometheus text exposition.
    Prometheus,
    /// JSON, values addressed by JSON pointers (RFC 6901).
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_url_keeps_secrets() {
        let show = |text: &str| shown(&text.parse().unwrap());
        assert_eq!(
            show("wss://me:pw@host.example:8443/graphql?token=abc&x"),
            "wss://host.example:8443/graphql?token=…&…"
        );
        assert_eq!(show("ws://127.0.0.1:4000"), "ws://127.0.0.1:4000/");
    }
}
