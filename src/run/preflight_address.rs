//! The one place that resolves a target's name: asked once, judged, and then pinned.
//!
//! What is returned is all that may be connected to. A name resolved a second time could answer differently,
//! and then the address that was permitted would not be the one that is loaded.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use thiserror::Error;

use crate::care::{Refused, host_of, permit};

/// The addresses that a target may be reached at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The host, for the upgrade request and for TLS.
    pub host: String,
    /// Where it is, at least one, in the resolver's order.
    pub addresses: Vec<SocketAddr>,
}

/// Why a target is not connected to; nothing has been sent to it.
#[derive(Debug, Error)]
pub enum AddressError {
    /// Its URL has no host.
    #[error("the target's url has no host; write it as ws://host:port/path")]
    NoHost,
    /// Its host is not known.
    #[error("cannot resolve {host}; check the host in the target's url")]
    Resolve {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The resolver did not answer.
    #[error("no answer for {host} from the resolver within {timeout:?}")]
    Timeout {
        /// The host.
        host: String,
        /// The time allowed.
        timeout: Duration,
    },
    /// It may not be loaded.
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl AddressError {
    /// 2 where the user has to say something else, 4 where the target cannot be found.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoHost | Self::Refused(Refused::Unconfirmed { .. } | Refused::OtherHost { .. }) => 2,
            Self::Resolve { .. } | Self::Timeout { .. } | Self::Refused(Refused::NoAddress { .. }) => 4,
        }
    }
}

/// What the user said about a target that is not this machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consent<'a> {
    /// `--confirm HOST`.
    pub confirm: Option<&'a str>,
    /// `confirmed = true` in its table.
    pub confirmed: bool,
}

/// Resolves the host of `url` once and pins what it resolves to, if it may be loaded.
///
/// # Errors
/// If there is no address in time, or it may not be loaded; see [`AddressError::exit_code`].
pub async fn pin(
    url: &http::Uri,
    consent: Consent<'_>,
    timeout: Duration,
    resolve: impl AsyncFnOnce(&str, u16) -> io::Result<Vec<SocketAddr>>,
) -> Result<Pinned, AddressError> {
    let host = host_of(url).ok_or(AddressError::NoHost)?;
    let answer = tokio::time::timeout(timeout, resolve(host, port_of(url))).await;
    let addresses = answer
        .map_err(|_| AddressError::Timeout { host: host.to_owned(), timeout })?
        .map_err(|source| AddressError::Resolve { host: host.to_owned(), source })?;
    let ips: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    permit(host, &ips, consent.confirm, consent.confirmed)?;
    Ok(Pinned { host: host.to_owned(), addresses })
}

/// Asks the system's resolver.
///
/// # Errors
/// If it does not know the host.
pub async fn system_resolver(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

fn port_of(url: &http::Uri) -> u16 {
    let secure = matches!(url.scheme_str(), Some("wss" | "https"));
    url.port_u16().unwrap_or(if secure { 443 } else { 80 })
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn pinned(url: &str, consent: Consent<'_>, answer: &[&str]) -> Result<Pinned, AddressError> {
        let ips: Vec<IpAddr> = answer.iter().map(|text| text.parse().unwrap()).collect();
        let resolve = async |_: &str, port| Ok(ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
        pin(&url.parse().unwrap(), consent, SECOND, resolve).await
    }

    #[tokio::test]
    async fn what_was_judged_is_what_is_pinned() {
        let pinned = pinned("ws://localhost:4000/graphql", Consent::default(), &["::1", "127.0.0.1"]).await;
        assert_eq!(
            pinned.unwrap(),
            Pinned {
                host: "localhost".into(),
                addresses: vec!["[::1]:4000".parse().unwrap(), "127.0.0.1:4000".parse().unwrap()],
            }
        );
    }

    #[tokio::test]
    async fn a_rebinding_answer_is_refused_with_exit_code_2() {
        let refused = pinned("ws://rebind.test/", Consent::default(), &["127.0.0.1", "10.0.0.1"]).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("--confirm rebind.test"), "{refused}");
    }

    #[tokio::test]
    async fn a_confirmed_host_is_pinned_at_its_scheme_s_port() {
        let consent = Consent { confirm: Some("staging.test"), confirmed: false };
        let found = pinned("wss://staging.test/ws", consent, &["10.0.0.1"]).await.unwrap();
        assert_eq!(found.addresses, ["10.0.0.1:443".parse().unwrap()]);
        let consent = Consent { confirm: Some("prod.test"), confirmed: true };
        assert_eq!(pinned("wss://staging.test/ws", consent, &["10.0.0.1"]).await.unwrap_err().exit_code(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn no_answer_is_an_unreachable_target() {
        let url = "ws://nowhere.test/".parse().unwrap();
        let failing = async |_: &str, _| Err(io::Error::other("no such host"));
        let error = pin(&url, Consent::default(), SECOND, failing).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("cannot resolve nowhere.test; check the host in the target's url", 4)
        );
        let silent = async |_: &str, _| pending().await;
        let error = pin(&url, Consent::default(), SECOND, silent).await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("no answer for nowhere.test from the resolver within 1s", 4)
        );
        assert_eq!(pinned("ws://nowhere.test/", Consent::default(), &[]).await.unwrap_err().exit_code(), 4);
    }

    #[tokio::test]
    async fn a_url_without_a_host_is_bad_usage() {
        assert_eq!(pinned("/graphql", Consent::default(), &["::1"]).await.unwrap_err().exit_code(), 2);
    }

    #[tokio::test]
    async fn the_system_knows_itself() {
        assert_eq!(system_resolver("127.0.0.1", 80).await.unwrap(), ["127.0.0.1:80".parse().unwrap()]);
        assert_eq!(system_resolver("::1", 80).await.unwrap(), ["[::1]:80".parse().unwrap()]);
    }
}
