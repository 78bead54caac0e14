//! From a target on paper to one that can be connected to: addresses pinned, limits set, TLS ready.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderName, Uri};
use indexmap::IndexMap;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::preflight_address::{AddressError, Consent, pin, system_resolver};
use crate::care::{Secret, Secrets};
use crate::clients::fleet::Paths;
use crate::clients::handshake::{Endpoint, config_for};
use crate::clients::http_link::HttpEndpoint;
use crate::protocol::graphql_transport_ws::{BadInit, Dialect};
use crate::scenarios::plan::Plan;
use crate::scenarios::target::{Operation, Publish};

/// Why a target cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Its address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A header's name or value.
    #[error("header `{0}` of the target is not a valid HTTP header")]
    Header(String),
    /// The payload of `connection_init`.
    #[error(transparent)]
    Init(#[from] BadInit),
    /// TLS.
    #[error("cannot prepare TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
    /// The server's statistics.
    #[error("{0}")]
    Statistics(String),
    /// The host is not a name a certificate can be for.
    #[error("`{0}` is not a name that a TLS certificate can be for")]
    Name(String),
}

impl TargetError {
    /// 2 where the user has to say something else, 4 where the target cannot be found.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Address(e) => e.exit_code(),
            _ => 2,
        }
    }
}

/// Resolves and prepares everything the fleet needs to reach the target at `url`.
///
/// # Errors
/// If the target may not be used or cannot be found; nothing has been sent then.
pub async fn paths(
    plan: &Plan,
    url: &Uri,
    confirm: Option<&str>,
    secrets: &Arc<Secrets>,
    shards: u32,
) -> Result<Paths, TargetError> {
    let target = &plan.target;
    let (publish, http) = match &target.publish {
        Publish::WebSocket(operation) => (operation, None),
        Publish::Http { url, headers, operation } => (operation, Some((url.clone(), headers))),
    };
    let reach = Reach { plan, confirm, secrets, publish };
    let endpoint = reach.endpoint(url, &target.headers).await?;
    let http = match http {
        None => None,
        Some((other, headers)) => {
            let url = other.unwrap_or_else(|| http_twin(url));
            let endpoint = reach.endpoint(&url, &IndexMap::new()).await?;
            Some(HttpEndpoint { endpoint, headers: parse_headers(headers)? })
        }
    };
    Ok(Paths { endpoint, http, shards })
}

struct Reach<'a> {
    plan: &'a Plan,
    confirm: Option<&'a str>,
    secrets: &'a Arc<Secrets>,
    publish: &'a Operation,
}

impl Reach<'_> {
    async fn endpoint(&self, url: &Uri, headers: &IndexMap<String, Secret>) -> Result<Endpoint, TargetError> {
        let target = &self.plan.target;
        let consent = Consent { confirm: self.confirm, confirmed: target.confirmed };
        let pinned = pin(url, consent, self.plan.timeouts.connect, system_resolver).await?;
        let init = target.init.as_ref().map(Secret::reveal);
        Ok(Endpoint {
            url: url.clone(),
            addresses: only_reachable_family(pinned.addresses),
            headers: parse_headers(headers)?,
            dialect: Arc::new(Dialect::new(&target.subscribe, self.publish, init)?),
            config: config_for(self.plan.largest_payload()),
            tls: tls(url, &pinned.host)?,
            timeouts: self.plan.timeouts,
            secrets: Arc::clone(self.secrets),
        })
    }
}

/// `localhost` usually resolves to ::1 and 127.0.0.1, while most servers listen on one of them: the one that
/// accepts a connection comes first, found out once so that 10,000 clients need not.
fn only_reachable_family(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if addresses.len() > 1 && addresses.iter().all(|a| a.ip().is_loopback()) {
        let first = addresses.iter().position(|a| std::net::TcpStream::connect(a).is_ok()).unwrap_or(0);
        addresses.swap(0, first);
    }
    addresses
}

fn parse_headers(headers: &IndexMap<String, Secret>) -> Result<Vec<(HeaderName, Secret)>, TargetError> {
    headers
        .iter()
        .map(|(name, value)| {
            let bad = || TargetError::Header(name.clone());
            http::HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
            Ok((name.parse().map_err(|_| bad())?, value.clone()))
        })
        .collect()
}

fn tls(url: &Uri, host: &str) -> Result<Option<(TlsConnector, ServerName<'static>)>, TargetError> {
    if !matches!(url.scheme_str(), Some("wss" | "https")) {
        return Ok(None);
    }
    let config = ClientConfig::with_platform_verifier()?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host.clone()).map_err(|_| TargetError::Name(host))?;
    Ok(Some((TlsConnector::from(Arc::new(config)), name)))
}

/// The same place over HTTP: `ws://host/graphql` → `http://host/graphql`.
fn http_twin(url: &Uri) -> Uri {
    let mut parts = url.clone().into_parts();
    let secure = parts.scheme.as_ref().is_some_and(|s| s.as_str() == "wss");
    parts.scheme = Some(if secure { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    Uri::from_parts(parts).expect("a valid URL stays valid with another scheme")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_url_has_a_twin_over_http() {
        let twin = |url: &str| http_twin(&url.parse().expect("a url")).to_string();
        assert_eq!(twin("ws://127.0.0.1:4000/graphql"), "http://127.0.0.1:4000/graphql");
        assert_eq!(twin("wss://example.com/q?a=1"), "https://example.com/q?a=1");
    }
}
