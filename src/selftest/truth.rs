//! What the server itself says it did: `GET /defects`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;

/// How long the server may take to answer.
const WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const LONGEST: usize = 1 << 20;

/// What one defect did, by the server's own count.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Truth {
    /// Its kind.
    pub kind: String,
    /// Its parameters as they were given.
    pub parameters: String,
    /// How often it struck.
    pub planted: u64,
    /// How many deliveries it touched.
    pub deliveries: u64,
    /// How often it struck on each channel.
    #[serde(default)]
    pub channels: BTreeMap<String, u64>,
}

/// Why the truth is not known.
#[derive(Debug, thiserror::Error)]
pub enum TruthError {
    /// The server did not answer in time.
    #[error("the reference server did not say within {WITHIN:?} what it did")]
    Late,
    /// There was no connection.
    #[error("cannot ask the reference server what it did")]
    Connect(#[from] std::io::Error),
    /// The exchange broke off.
    #[error("the reference server broke off while saying what it did")]
    Http(#[from] hyper::Error),
    /// It would not say, or at too great length.
    #[error("the reference server did not say what it did: {0}")]
    Refused(String),
    /// What it said is not understood.
    #[error("cannot read what the reference server says it did")]
    Unreadable(#[from] serde_json::Error),
}

/// Asks the server at `url` what each of its defects did, in the order they were given.
///
/// # Errors
/// If there is no answer, or none that can be read.
pub(super) async fn ask(url: &Uri) -> Result<Vec<Truth>, TruthError> {
    tokio::time::timeout(WITHIN, get(url)).await.map_err(|_| TruthError::Late)?
}

async fn get(url: &Uri) -> Result<Vec<Truth>, TruthError> {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/defects")
        .header(http::header::HOST, authority)
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .expect("an address that was connected to is a valid header");
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| TruthError::Refused(error.to_string()))?.to_bytes();
        if status != StatusCode::OK {
            return Err(TruthError::Refused(format!("it answered {status}")));
        }
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::pin!(exchange);
    // The connection is driven while the exchange goes on, and dropped with it; its end is seen by both.
    tokio::select! {
        biased;
        done = &mut exchange => done,
        _ = connection => exchange.await,
    }
}
