//! One GET per scrape: one connection, one deadline, a body of bounded length.
//!
//! A connection kept open between scrapes would be one that the server counts and we do not. No redirect is
//! followed: it could lead to a host that nobody confirmed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes};
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::read::{Reading, ServerCount, ServerCounts};
use super::selector::BadSelector;
use crate::care::{Secrets, foreign, host_of, redact_url};
use crate::scenarios::target::Statistics;

/// The longest answer that is read.
pub const BODY_MAX: usize = 4 * 1024 * 1024;

/// Where statistics are when the target's table does not say: the reference server's endpoint.
const DEFAULT_PATH: &str = "/stats";

/// Why there are no statistics.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// The address cannot be used.
    #[error("cannot use {url} for statistics: {why}; write an http:// or https:// address")]
    Url {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A selector cannot be used.
    #[error(transparent)]
    Selector(#[from] BadSelector),
    /// A header cannot be used.
    #[error("the statistics header `{name}` cannot be sent")]
    Header {
        /// Its name.
        name: String,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS for statistics")]
    Tls(#[source] rustls::Error),
    /// There was no connection.
    #[error("cannot reach {url} for statistics")]
    Connect {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It took too long.
    #[error("{url} did not give its statistics within {timeout:?}")]
    Timeout {
        /// The address.
        url: String,
        /// The time allowed.
        timeout: Duration,
    },
    /// The exchange broke off.
    #[error("{url} broke off while giving its statistics: {said}")]
    Broken {
        /// The address.
        url: String,
        /// What was said about it, made safe to show.
        said: String,
    },
    /// The server refused.
    #[error("{url} answered {status} to a request for statistics: {said}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: StatusCode,
        /// The beginning of its answer, made safe to show.
        said: String,
    },
    /// The answer holds none of the figures asked for.
    #[error("{url} gave an answer that holds none of the named statistics: {said}")]
    Unreadable {
        /// The address.
        url: String,
        /// Its beginning, made safe to show.
        said: String,
    },
}

/// Fetches the server's own counts.
pub struct Scraper {
    url: Uri,
    shown: String,
    headers: HeaderMap,
    reading: Reading,
    timeout: Duration,
    secrets: Secrets,
    pinned: Vec<SocketAddr>,
    tls: Option<TlsConnector>,
}

impl Scraper {
    /// Prepares scraping; `base` is the target's URL, used where the statistics have none of their own.
    ///
    /// # Errors
    /// If the address, a selector or a header cannot be used; nothing is sent yet.
    pub fn new(statistics: &Statistics, base: &Uri, secrets: Secrets) -> Result<Self, ScrapeError> {
        let url = match &statistics.url {
            Some(url) => url.clone(),
            None => beside(base)?,
        };
        let shown = redact_url(&url);
        let unusable = |why| ScrapeError::Url { url: shown.clone(), why };
        host_of(&url).ok_or_else(|| unusable("it has no host"))?;
        let tls = match url.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => None,
            Some(scheme) if *scheme == Scheme::HTTPS => Some(platform_tls().map_err(ScrapeError::Tls)?),
            _ => return Err(unusable("its scheme is neither http nor https")),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &statistics.headers {
            let bad = || ScrapeError::Header { name: name.clone() };
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
            let mut value = HeaderValue::from_str(value.reveal()).map_err(|_| bad())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let reading = Reading::of(statistics)?;
        Ok(Self {
            url,
            shown,
            headers,
            reading,
            timeout: statistics.timeout,
            secrets,
            pinned: Vec::new(),
            tls,
        })
    }

    /// Connects to these addresses only, the ones that were permitted; no name is resolved again.
    #[must_use]
    pub fn pinned(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.pinned = addresses;
        self
    }

    /// The address asked, whose host has to be permitted too where it is not the target's.
    #[must_use]
    pub const fn url(&self) -> &Uri {
        &self.url
    }

    /// The address as a report may show it.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.shown
    }

    /// Whether the target names this count.
    #[must_use]
    pub fn names(&self, count: ServerCount) -> bool {
        self.reading.names(count)
    }

    /// Asks once.
    ///
    /// # Errors
    /// If there is no answer in time, or none that holds a figure asked for.
    pub async fn scrape(&self) -> Result<ServerCounts, ScrapeError> {
        let late = || ScrapeError::Timeout { url: self.shown.clone(), timeout: self.timeout };
        tokio::time::timeout(self.timeout, self.ask()).await.map_err(|_| late())?
    }

    async fn ask(&self) -> Result<ServerCounts, ScrapeError> {
        let connect = |source| ScrapeError::Connect { url: self.shown.clone(), source };
        let stream = self.connect().await.map_err(connect)?;
        let (status, body) = match &self.tls {
            None => self.get(stream).await?,
            Some(tls) => {
                let host = host_of(&self.url).unwrap_or_default().to_owned();
                let name = host.try_into().map_err(|error| connect(io::Error::other(error)))?;
                // Its words may be those of a stranger's certificate.
                let stream = tls.connect(name, stream).await.map_err(|error| self.broken(&error))?;
                self.get(stream).await?
            }
        };
        let said = || foreign(&body, &self.secrets);
        if !status.is_success() {
            return Err(ScrapeError::Status { url: self.shown.clone(), status, said: said() });
        }
        self.reading
            .read(&body)
            .ok_or_else(|| ScrapeError::Unreadable { url: self.shown.clone(), said: said() })
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        if !self.pinned.is_empty() {
            return TcpStream::connect(&self.pinned[..]).await;
        }
        let port = self.url.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        TcpStream::connect((host_of(&self.url).unwrap_or_default(), port)).await
    }

    async fn get(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> Result<(StatusCode, Bytes), ScrapeError> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(&error))?;
        let exchange = async {
            let response = sender.send_request(self.request()).await.map_err(|error| self.broken(&error))?;
            let status = response.status();
            // A long refusal is not read to its end; only its beginning is shown.
            let known = response.body().size_hint().exact().unwrap_or(0);
            if known > BODY_MAX as u64 {
                return Err(self.broken(&format!("its answer is longer than {BODY_MAX} bytes")));
            }
            let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
            Ok((status, body.map_err(|error| self.broken(&error))?.to_bytes()))
        };
        // The connection must be driven while the exchange goes on, and dropped with it; its own end is seen by
        // the exchange as well.
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            done = &mut exchange => done,
            ended = connection => {
                let answer = exchange.await;
                match ended {
                    Err(error) if answer.is_err() => Err(self.broken(&error)),
                    _ => answer,
                }
            }
        }
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> ScrapeError {
        ScrapeError::Broken { url: self.shown.clone(), said: foreign(error.to_string(), &self.secrets) }
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        let path = self.url.path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        // The URL's authority may carry userinfo, which does not belong into this header.
        let authority = self.url.authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(http::header::HOST, host);
        }
        headers.insert(http::header::CONNECTION, HeaderValue::from_static("close"));
        headers.extend(self.headers.clone());
        request
    }
}

/// The default endpoint on the target's own host.
fn beside(base: &Uri) -> Result<Uri, ScrapeError> {
    let mut parts = base.clone().into_parts();
    let scheme = match base.scheme_str() {
        Some("wss" | "https") => Scheme::HTTPS,
        _ => Scheme::HTTP,
    };
    parts.scheme = Some(scheme);
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(DEFAULT_PATH));
    let unusable = |_| ScrapeError::Url { url: redact_url(base), why: "it has no host" };
    Uri::from_parts(parts).map_err(unusable)
}

fn platform_tls() -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_platform_verifier()?
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests;
