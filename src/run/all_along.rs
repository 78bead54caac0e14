//! Asks the server for its counts again and again while the phases run, beside the conductor's own waiting.

use std::convert::Infallible;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clients::fleet::Fleet;
use crate::clock::{self, Instant, RunClock};
use crate::metrics::server_stats::{During, Held, Moments, Scraper, ServerCounts, Totals, Window};
use crate::scenarios::plan::{Crew, FaultKind, Part, Plan};
use crate::scenarios::target::Publish;

/// Between two scrapes at most.
const SELDOM: Duration = Duration::from_secs(1);
/// Between two scrapes at least.
const OFTEN: Duration = Duration::from_millis(100);
/// Scrapes that a round should come to.
const SCRAPES: f64 = 25.0;
/// Between two looks at our own gauges; the threads pass their counts on as often.
const LOOK: Duration = Duration::from_millis(20);
/// What a thread has counted is known after so long.
const PASSED_ON: Duration = Duration::from_millis(45);
/// For so long either side may not know yet what the other has ended or made.
const IN_TRANSIT: f64 = 1.0;

/// The comparison of one round.
pub(super) struct AllAlong {
    clock: RunClock,
    every: Duration,
    /// Connections of publishers and of the prober, where they are WebSockets.
    publishers: u64,
    /// Most subscriptions that one publish reaches.
    reach: u64,
    /// `[phase]`: connections and subscriptions of which a fault in it may leave it open whether the server has them.
    shaky: Vec<[u64; 2]>,
    window: Window,
    base: Option<(ServerCounts, [Totals; 2])>,
    next: Option<Instant>,
    during: During,
}

impl AllAlong {
    pub(super) fn new(plan: &Plan, clock: RunClock) -> Self {
        let publishers = match plan.target.publish {
            Publish::WebSocket(_) => u64::from(plan.publisher_connections() + 1),
            Publish::Http { .. } => 0,
        };
        let every = plan.measured().unwrap_or_default().div_f64(SCRAPES).clamp(OFTEN, SELDOM);
        Self {
            clock,
            every,
            publishers,
            reach: u64::from(plan.subscriptions().div_ceil(plan.channels.max(1))),
            shaky: (0..plan.phases.len()).map(|phase| shaky(plan, phase)).collect(),
            window: Window::default(),
            base: None,
            next: None,
            during: During::default(),
        }
    }

    /// Remembers how both sides counted before the first phase, when nothing moves: `server` has just been told.
    pub(super) async fn begin(&mut self, fleet: &Fleet, server: Option<ServerCounts>) {
        let before = self.totals(fleet);
        tokio::time::sleep(PASSED_ON).await;
        self.base = server.map(|server| (server, [before, self.totals(fleet)]));
    }

    /// What it has come to.
    pub(super) fn end(self) -> During {
        self.during
    }

    /// Goes on for ever; whoever waits for the end of the phase drops it.
    pub(super) async fn watch(&mut self, scraper: &Scraper, fleet: &Fleet, phase: usize) -> Infallible {
        loop {
            let now = clock::now();
            self.look(fleet, phase);
            if self.next.is_none_or(|next| now >= next) {
                self.next = Some(now + self.every);
                self.ask(scraper, fleet, phase).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn ask(&mut self, scraper: &Scraper, fleet: &Fleet, phase: usize) {
        let asked_s = self.now_s();
        let asked = self.totals(fleet);
        let mut answer = std::pin::pin!(scraper.scrape());
        let answer = loop {
            match tokio::time::timeout(LOOK, &mut answer).await {
                Ok(answer) => break answer,
                Err(_) => self.look(fleet, phase),
            }
        };
        let (told_s, mut told, strange) = (self.now_s(), self.totals(fleet), strange(fleet));
        let Ok(server) = answer else { return self.during.failed() };
        tokio::time::sleep(PASSED_ON).await;
        told.deliverable = told.deliverable.map(|most| most + self::strange(fleet).saturating_sub(strange));
        self.look(fleet, phase);
        let gauges = self.window.since(asked_s - IN_TRANSIT);
        let moments = Moments { base: self.base, asked, told, gauges };
        self.during.answered(told_s, &server, &moments, |count| scraper.names(count));
    }

    fn now_s(&self) -> f64 {
        self.clock.now_ns() as f64 / 1e9
    }

    fn look(&mut self, fleet: &Fleet, phase: usize) {
        let board = fleet.board();
        let ready = if self.publishers > 0 { fleet.counts().publisher.ready } else { 0 };
        let [connections, subscriptions] = self.shaky.get(phase).copied().unwrap_or_default();
        let (open, active) = (u64::from(board.open.get()), u64::from(board.active.get()));
        let on_the_way = u64::from(board.handshaking.get()) + u64::from(board.parked.get());
        let waiting: u64 = board.waiting.iter().map(|waiting| u64::from(waiting.load(Relaxed))).sum();
        let waiting = waiting + u64::from(board.parked_subscriptions.get());
        let held = Held {
            connections: [
                (open + u64::from(ready)).saturating_sub(connections),
                open + on_the_way + self.publishers,
            ],
            subscriptions: [active.saturating_sub(subscriptions), active + waiting],
        };
        self.window.note(self.now_s(), held);
    }

    fn totals(&self, fleet: &Fleet) -> Totals {
        let (board, counts) = (fleet.board(), fleet.counts().shards);
        let events = board.events_sent.load(Relaxed);
        let handed = board.handed.load(Relaxed);
        // Everything that is no event reaches whoever is subscribed, owed or not.
        let aside = handed.saturating_sub(events) * self.reach;
        let most = board.obligations.load(Relaxed) + aside + strange(fleet) + counts.withheld;
        Totals {
            answered: board.answered.load(Relaxed),
            handed,
            received: counts.received,
            deliverable: (board.parked.get() == 0).then_some(most),
        }
    }
}

/// Events received that nobody was owed: again, damaged, or before a subscription was confirmed.
fn strange(fleet: &Fleet) -> u64 {
    let counts = fleet.counts().shards;
    counts.receipts.saturating_sub(counts.satisfied)
}

/// Victims of a phase that the server may give up, or keep, without our knowing.
fn shaky(plan: &Plan, phase: usize) -> [u64; 2] {
    let schedule = plan.schedule();
    let unsure = |kind: &FaultKind| !matches!(kind, FaultKind::ThinkTime(_) | FaultKind::LinkDelay(_));
    let mut victims: Vec<u32> = schedule
        .acts()
        .iter()
        .filter(|act| act.part == Part::Phase(phase) && unsure(&plan.faults[act.fault].kind))
        .map(|act| act.connection)
        .collect();
    victims.sort_unstable();
    victims.dedup();
    let subscriptions = |connection: &u32| {
        let mine = plan.subscribers.iter().enumerate().find(|(index, group)| {
            let first = schedule.first_of(Crew::Subscribers(*index));
            (first..first + group.connections).contains(connection)
        });
        mine.map_or(0, |(_, group)| u64::from(group.per_connection()))
    };
    [victims.len() as u64, victims.iter().map(subscriptions).sum()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::catalogue::{Catalogue, Options};

    /// A link that is slow leaves nothing open; a cut does, for its phase and for as many as it cuts.
    #[test]
    fn only_victims_of_a_phase_that_the_server_may_give_up_are_unsure() {
        let text = r#"
            [scenarios.it]
            about = "three phases"
            phases = [{ name = "calm", for = "1s" }, { name = "ends", for = "1s" }, { name = "far", for = "1s" }]
            subscribers.clients = { connections = 10, subscriptions = 30 }
            publishers.feed = { rate = "10/s" }
            faults.cut = { on = "clients", fraction = "20%", phase = "ends", terminate = { how = "reset" } }
            faults.slow = { on = "clients", fraction = "50%", phase = "far", link-delay = { down = "10ms" } }
            reached.all-hit = "faults.cut.applied / predicted == 100%"
        "#;
        let catalogue = Catalogue::from_text(Some(("test", text))).expect("a good file");
        let plan = catalogue.plan(&["it"], &Options::default()).expect("a good plan").plans.remove(0);
        assert_eq!([0, 1, 2].map(|phase| shaky(&plan, phase)), [[0, 0], [2, 6], [0, 0]]);
    }
}
