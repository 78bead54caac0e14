//! Ends what is overdue: one look at every connection in a while is cheaper than a timer in each of ten thousand.

use std::time::Duration;

use super::closings::How;
use super::conn::{Conn, Fate, Stage};
use super::hub::Hub;
use super::options::ServeOptions;
use crate::clock::{self, Instant};

/// How long a closing connection may take for its last bytes.
pub(crate) const CLOSING: Duration = Duration::from_secs(2);

/// How often to look: a tenth of the shortest limit, within reason.
fn interval(options: &ServeOptions) -> Duration {
    let shortest = options.init_timeout.min(options.idle_timeout).min(CLOSING);
    (shortest / 10).clamp(Duration::from_millis(10), Duration::from_millis(500))
}

/// Looks at all connections for ever.
pub(crate) async fn sweep(hub: &Hub) {
    let interval = interval(&hub.options);
    loop {
        tokio::time::sleep(interval).await;
        let now = clock::now();
        hub.for_each(|conn| {
            if conn.fate() == Fate::Abort {
                return;
            }
            if let Some(fate) = overdue(&hub.options, conn, now) {
                conn.life.ended(How::Silence);
                conn.end(fate);
            }
        });
    }
}

fn overdue(options: &ServeOptions, conn: &Conn, now: Instant) -> Option<Fate> {
    let (limit, fate) = match conn.stage() {
        Stage::Asking => (options.init_timeout, Fate::Abort),
        Stage::KeptAlive => (options.idle_timeout, Fate::Abort),
        Stage::Greeting => (options.init_timeout, Fate::Close(4408, "Connection initialisation timeout")),
        Stage::Ready if conn.subscriptions.is_empty() => {
            (options.idle_timeout, Fate::Close(1000, "idle for too long"))
        }
        Stage::Ready => return None,
        Stage::Closing => (CLOSING, Fate::Abort),
    };
    (now.saturating_duration_since(conn.since()) > limit).then_some(fate)
}
