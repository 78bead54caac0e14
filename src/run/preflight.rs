//! One connection before all others: can the target be reached, does it speak the protocol, how far away is it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::clients::handshake::{Endpoint, Refusal};
use crate::clock;
use crate::protocol::graphql_transport_ws::Message as Said;

/// How long the answer to a ping is waited for; servers need not answer before they are idle.
const PONG_WAIT: Duration = Duration::from_secs(2);

/// What the preflight found out.
#[derive(Debug, Clone, Copy)]
pub struct Preflight {
    /// The round trip of a protocol ping; `None`: it was not answered in time.
    pub round_trip: Option<Duration>,
}

/// Opens one connection as a client would, pings, and closes it.
///
/// # Errors
/// The stage at which the target refused, and why.
pub async fn preflight(endpoint: &Endpoint) -> Result<Preflight, Refusal> {
    let (mut socket, _) = endpoint.open().await?;
    let mut ping = String::new();
    endpoint.dialect.ping("{}", &mut ping);
    let began = clock::now();
    let answered = async {
        socket.send(Message::text(ping)).await.ok()?;
        while let Some(Ok(message)) = socket.next().await {
            if let Message::Text(text) = &message
                && let Ok(Said::Pong { .. }) = endpoint.dialect.decode(text)
            {
                return Some(began.elapsed());
            }
        }
        None
    };
    let round_trip = timeout(PONG_WAIT, answered).await.ok().flatten();
    drop(timeout(PONG_WAIT, socket.close(None)).await);
    Ok(Preflight { round_trip })
}
