//! The server's gauges set beside ours, at moments at which nothing should change.

use std::time::Duration;

use super::round::Conductor;
use super::watch::Waited;
use crate::clock;
use crate::metrics::server_stats::{Gauges, Moment, ServerCount, ServerCounts};

/// At the end of a phase both sides may be read again for so long, until they agree: an end may be on its way.
const AGREE_WITHIN: Duration = Duration::from_secs(1);
/// How long after each other.
const AGAIN: Duration = Duration::from_millis(50);

impl Conductor<'_, '_> {
    pub(super) async fn scrape(&self) -> Option<ServerCounts> {
        self.scraper?.scrape().await.ok()
    }

    /// Sets the server's gauges beside ours while nothing changes.
    pub(super) async fn read_gauges(&mut self, moment: Moment) {
        if self.scraper.is_some() {
            let gauges = self.gauges_now(moment).await;
            self.gauges.push(gauges);
        }
    }

    /// The same when a phase is over and the next has not begun, if a condition asks for it. Clients may still be on
    /// their way, so both sides are read again for a while.
    pub(super) async fn read_at_end_of(&mut self, phase: usize) {
        if self.scraper.is_none() || !self.gauges_asked.contains(&phase) {
            return;
        }
        let began = clock::now();
        loop {
            let gauges = self.gauges_now(Moment::EndOf(phase)).await;
            let enough = agree(&gauges) || began.elapsed() >= AGREE_WITHIN;
            if enough || self.watch.until(&self.fleet, AGAIN, |_| false).await == Waited::Stopped {
                self.gauges.push(gauges);
                return;
            }
        }
    }

    async fn gauges_now(&self, moment: Moment) -> Gauges {
        let publishers = match self.plan.target.publish {
            crate::scenarios::target::Publish::WebSocket(_) => self.fleet.counts().publisher.ready,
            crate::scenarios::target::Publish::Http { .. } => 0,
        };
        let server = self.scrape().await;
        let board = self.fleet.board();
        let (connections, subscriptions) = match moment {
            Moment::AfterClose => (0, 0),
            // What we have parked the server still holds.
            _ => (
                board.open.get() + publishers + board.parked.get(),
                board.active.get() + board.parked_subscriptions.get(),
            ),
        };
        Gauges { moment, server, connections: connections.into(), subscriptions: subscriptions.into() }
    }
}

/// Whether every gauge that the server tells is ours.
fn agree(gauges: &Gauges) -> bool {
    let Some(server) = &gauges.server else { return false };
    let same = |count, ours: u64| server.get(count).is_none_or(|theirs| theirs == ours as f64);
    same(ServerCount::Connections, gauges.connections)
        && same(ServerCount::Subscriptions, gauges.subscriptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_is_on_everything_that_the_server_tells() {
        let gauges = |connections, subscriptions| Gauges {
            moment: Moment::EndOf(0),
            server: Some(ServerCounts { connections, subscriptions, ..ServerCounts::default() }),
            connections: 5,
            subscriptions: 4,
        };
        assert!(agree(&gauges(Some(5.0), Some(4.0))) && agree(&gauges(Some(5.0), None)));
        assert!(!agree(&gauges(Some(5.0), Some(5.0))) && !agree(&gauges(Some(6.0), None)));
        assert!(!agree(&Gauges { server: None, ..gauges(None, None) }), "nobody answered");
    }
}
