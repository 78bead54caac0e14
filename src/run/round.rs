//! One round: the course of a run from the first connect to the last close.
//!
//! The one place that decides what happens next. Every wait has a limit; a limit that passes is remembered and
//! makes what depends on it inconclusive. Next to read: `closing`, the end of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::all_along::AllAlong;
use super::closing::{Ending, Steady};
use super::phase_limit::{cycles_by, phase_limit};
use super::stop::StopReason;
use super::watch::{Waited, Watch};
use crate::clients::board::Board;
use crate::clients::climb::Climb;
use crate::clients::fleet::{Fleet, FleetCounts, FleetError, FleetResult, Paths};
use crate::clients::handshake::Endpoint;
use crate::clients::tally::GroupTally;
use crate::clock::{self, Instant};
use crate::metrics::Turn;
use crate::metrics::peaks::Peaks;
use crate::metrics::server_stats::{Counters, During, Gauges, Moment, Scraper, ServerCount, ServerCounts};
use crate::report::model::Wave;
use crate::scenarios::plan::{Plan, SubscriberGroup};

/// After a census, for ends of connections that are on their way.
const SETTLE: Duration = Duration::from_millis(20);
/// Added to sums of timeouts, for the time it takes to start and to be scheduled.
pub(super) const SLACK: Duration = Duration::from_secs(5);
/// How long every connection must have been gone. Who is on the way back is counted a moment later than who is gone.
const GONE_FOR: Duration = Duration::from_millis(500);

/// What a round leaves behind.
pub struct Round {
    /// Everything the clients counted.
    pub fleet: FleetResult,
    /// Start and end of each phase that began, ns on the run's axis.
    pub phases: Vec<(u64, u64)>,
    /// What happened to connections, operations and memory in each of them.
    pub events: Vec<PhaseEvents>,
    /// Memory in each step of a climb.
    pub step_peaks: Vec<Peaks>,
    /// What each wave came to.
    pub waves: Vec<Wave>,
    /// From the first connect to the end of the last census, without planned pauses; `None`: not finished.
    pub setup: Option<Duration>,
    /// Most subscriptions that held one and the same census and were alive when it ended.
    pub peak_active: u64,
    /// The server's gauges beside ours.
    pub gauges: Vec<Gauges>,
    /// The server's figures beside ours while the phases ran.
    pub during: During,
    /// The server's counters beside ours.
    pub counters: Option<Counters>,
    /// Whether the barrier of every stream arrived wherever it was waited for; `None`: nothing was owed.
    pub barriers_complete: Option<bool>,
    /// Whether the quiet period passed with everything open.
    pub quiet_passed: bool,
    /// Whether it was watched, after every unsubscribe, what still arrives.
    pub watched: bool,
    /// When nothing owed was on its way any more, ns on the run's axis; `None`: that was given up.
    pub drained_ns: Option<u64>,
    /// Whether the server still answered after the last close; `None`: it was not asked.
    pub alive: Option<bool>,
    /// Resident memory of the server after the cool-down.
    pub server_memory_end: Option<u64>,
    /// CPU time of the busiest generator thread over the phases, and their length.
    pub busiest: Option<(Duration, Duration)>,
    /// The server's busiest thread over the phases; `None`: not known.
    pub server_turn: Option<Turn>,
}

/// What ended while a phase lasted, and what it was done with.
#[derive(Debug, Clone, Copy, Default)]
pub struct PhaseEvents {
    /// Connections and active subscriptions when it began.
    pub there: u64,
    /// Connections of subscribers that ended unexpectedly.
    pub dropped: u64,
    /// Connections of publishers that did.
    pub publishers_dropped: u64,
    /// Operations that the server ended.
    pub ended_operations: u64,
    /// Memory.
    pub peaks: Peaks,
    /// Deliveries that the server said it had dropped when it began; `None`: it does not say.
    pub server_dropped: Option<f64>,
}

/// Runs a round of `plan`.
pub struct Conductor<'a, 'w> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) scraper: Option<&'a Scraper>,
    pub(super) watch: &'a mut Watch<'w>,
    pub(super) fleet: Fleet,
    pub(super) shards: u32,
    /// Since when the last waits of the round have known that the run is stopping.
    pub(super) stopping_since: Option<Instant>,
    phases: Vec<(u64, u64)>,
    events: Vec<PhaseEvents>,
    waves: Vec<Wave>,
    peak_active: u64,
    pub(super) gauges: Vec<Gauges>,
    all_along: AllAlong,
    /// For one more connection at the end.
    endpoint: Endpoint,
    /// Phases at whose end the gauges are read.
    pub(super) gauges_asked: Vec<usize>,
}

impl<'a, 'w> Conductor<'a, 'w> {
    /// Starts the threads of the round.
    ///
    /// # Errors
    /// If the operating system refuses a thread.
    pub fn start(
        plan: &'a Arc<Plan>,
        paths: &Paths,
        scraper: Option<&'a Scraper>,
        watch: &'a mut Watch<'w>,
        run: u32,
    ) -> Result<Self, FleetError> {
        let clock = watch.clock;
        let fleet = Fleet::start(plan, paths, clock, run)?;
        watch.new_round();
        Ok(Self {
            plan,
            scraper,
            watch,
            fleet,
            shards: paths.shards,
            endpoint: paths.endpoint.clone(),
            stopping_since: None,
            phases: Vec::new(),
            events: Vec::new(),
            waves: Vec::new(),
            peak_active: 0,
            gauges: Vec::new(),
            all_along: AllAlong::new(plan, clock),
            gauges_asked: plan.gauges_asked(),
        })
    }

    /// Runs the whole course.
    ///
    /// # Errors
    /// If a thread that makes load panicked.
    pub async fn run(mut self) -> Result<Round, FleetError> {
        let before = self.scrape().await;
        self.open_publishers().await;
        let setup = self.set_up().await;
        let cpu_before = self.fleet.counts().busiest_cpu;
        let server_before = self.watch.monitor.server_threads();
        let began = clock::now();
        if setup.is_some() {
            self.phases().await;
        }
        let busiest = Some((self.fleet.counts().busiest_cpu.saturating_sub(cpu_before), began.elapsed()));
        let server_now = self.watch.monitor.server_threads();
        let server_turn = server_now.zip(server_before).map(|(now, before)| now.busiest_since(&before));
        let Ending { barriers_complete, drained_ns, quiet_passed, watched, server: after } = self.end().await;
        let server_memory_end = self.cool_down().await;
        let endpoint = self.endpoint.clone();
        let alive = self.is_alive(&endpoint).await;
        let Self { fleet, phases, events, waves, peak_active, gauges, all_along, watch, .. } = self;
        let fleet = fleet.finish().inspect_err(|e| {
            watch.stop.stop(StopReason::Internal(e.to_string()));
        })?;
        let counters = before.map(|before| counters(&fleet, before, after));
        Ok(Round {
            fleet,
            phases,
            events,
            step_peaks: std::mem::take(&mut watch.step_peaks),
            waves,
            setup,
            peak_active,
            gauges,
            during: all_along.end(),
            counters,
            barriers_complete,
            quiet_passed,
            watched,
            drained_ns,
            alive,
            server_memory_end,
            busiest,
            server_turn,
        })
    }

    async fn open_publishers(&mut self) {
        self.watch.stage("connecting publishers", &self.fleet);
        let wanted = self.plan.publisher_connections() + 1;
        let limit = self.handshake_limit();
        let fleet = &self.fleet;
        self.watch.until(fleet, limit, |c| c.publisher.ready + c.publisher.lost >= wanted).await;
    }

    fn handshake_limit(&self) -> Duration {
        let t = &self.plan.timeouts;
        t.connect * 2 + t.upgrade + t.init + SLACK
    }

    /// Connects, confirms and takes a census, wave by wave; `None`: not finished.
    async fn set_up(&mut self) -> Option<Duration> {
        let began = clock::now();
        let mut paused = Duration::ZERO;
        let waves = self.plan.subscribers.iter().map(|g| g.waves).max().unwrap_or(1);
        let mut memory_before = None;
        for wave in 0..waves {
            let wave_began = clock::now();
            self.connect_and_confirm(wave).await?;
            let active = self.census(wave + 1).await?;
            let duration_s = wave_began.elapsed().as_secs_f64();
            let memory = self.watch.sample(&self.fleet).server.memory_bytes();
            let requested: u64 = self.plan.subscribers.iter().map(|g| wave_subscriptions(g, wave)).sum();
            let growth =
                memory.zip(memory_before).map(|(now, before): (u64, u64)| now as f64 - before as f64);
            self.waves.push(Wave {
                requested,
                active,
                duration_s,
                server_memory_bytes: memory,
                server_memory_per_subscription_bytes: growth.map(|g| g / requested.max(1) as f64),
            });
            memory_before = memory;
            if wave + 1 < waves {
                let pause = self.plan.subscribers.iter().map(|g| g.wave_pause).max().unwrap_or_default();
                paused += self.pause(pause).await?;
            }
        }
        let setup = began.elapsed().saturating_sub(paused);
        self.read_gauges(Moment::Census).await;
        Some(setup)
    }

    async fn pause(&mut self, pause: Duration) -> Option<Duration> {
        let began = clock::now();
        self.watch.stage("pausing between waves", &self.fleet);
        let waited = self.watch.until(&self.fleet, pause, |_| false).await;
        (waited != Waited::Stopped).then(|| began.elapsed())
    }

    async fn connect_and_confirm(&mut self, wave: u32) -> Option<()> {
        let groups = &self.plan.subscribers;
        let up_to = |of: fn(&SubscriberGroup, u32) -> u64| -> u64 {
            groups.iter().flat_map(|g| (0..=wave).map(move |w| of(g, w))).sum()
        };
        let connections = up_to(|g, w| g.wave(w).len() as u64);
        let subscriptions = up_to(wave_subscriptions);
        let limit = self.connect_limit(wave);
        self.fleet.order(|o| o.waves = wave + 1);
        self.watch.stage(format!("connecting{}", self.wave_name(wave)), &self.fleet);
        let resolved = move |c: &FleetCounts| c.shards.resolved >= connections;
        self.waited("connect", limit, resolved).await?;
        self.watch.stage(format!("confirming{}", self.wave_name(wave)), &self.fleet);
        // The shards give up on every subscription by themselves; this limit only guards against a bug in that.
        // A client thinks before each of its subscribes.
        let most = groups.iter().map(SubscriberGroup::per_connection).max().unwrap_or(1);
        let limit = self.plan.timeouts.confirm * 2 + self.plan.longest_think() * most + SLACK;
        self.waited("confirm", limit, move |c| c.shards.settled >= subscriptions).await?;
        if self.is_target_lost().await {
            self.watch.stop.stop(StopReason::TargetLost);
        }
        (!self.watch.stop.is_stopping()).then_some(())
    }

    fn wave_name(&self, wave: u32) -> String {
        let waves = self.plan.subscribers.iter().map(|g| g.waves).max().unwrap_or(1);
        if waves > 1 { format!(" wave {} of {waves}", wave + 1) } else { String::new() }
    }

    /// The longest that opening a wave can take if every handshake takes as long as it may.
    fn connect_limit(&self, wave: u32) -> Duration {
        use crate::scenarios::plan::Connect;
        let each = self.handshake_limit();
        let longest = |g: &SubscriberGroup| {
            let connections = g.wave(wave).len() as u32;
            match g.connect {
                Connect::Together => each,
                Connect::Bounded(limit) => each * connections.div_ceil(limit.max(1)).max(1),
                Connect::Rate(rate) => each + Duration::from_secs_f64(f64::from(connections) / rate),
            }
        };
        self.plan.subscribers.iter().map(longest).max().unwrap_or(each)
    }

    /// Waits, and remembers a deadline that passed; `None`: the run is stopping.
    async fn waited(
        &mut self,
        what: &str,
        limit: Duration,
        done: impl FnMut(&FleetCounts) -> bool,
    ) -> Option<Waited> {
        match self.watch.until(&self.fleet, limit, done).await {
            Waited::Stopped => None,
            Waited::TimedOut => {
                self.watch.give_up(what);
                Some(Waited::TimedOut)
            }
            Waited::Met => Some(Waited::Met),
        }
    }

    /// One probe to every channel at one moment; what received it and is still alive when the census ends was
    /// active together.
    async fn census(&mut self, number: u32) -> Option<u64> {
        self.watch.stage("census", &self.fleet);
        self.fleet.board().census.begin(number);
        self.fleet.publish(|o| o.census = number);
        let limit = self.plan.timeouts.confirm;
        let board = self.fleet.board();
        let complete = |_: &FleetCounts| board.census.held() >= board.active.get();
        let mut waited = self.watch.until(&self.fleet, limit, complete).await;
        if waited == Waited::Met {
            // An end that arrived together with the last answer is seen a moment later.
            self.watch.until(&self.fleet, SETTLE, |_| false).await;
            waited = self.watch.until(&self.fleet, limit, complete).await;
        }
        if waited == Waited::TimedOut {
            self.watch.note(&format!("census {number} was not received by every active subscription"));
        }
        let held = u64::from(board.census.held());
        self.peak_active = self.peak_active.max(held);
        (waited != Waited::Stopped).then_some(held)
    }

    async fn phases(&mut self) {
        let plan = Arc::clone(self.plan);
        let schedule = plan.schedule();
        if self.scraper.is_some() {
            let at_rest = self.gauges.last().and_then(|gauges| gauges.server);
            self.all_along.begin(&self.fleet, at_rest).await;
        }
        for (index, phase) in plan.phases.iter().enumerate() {
            let before = self.begin_phase();
            let server_dropped = self.dropped_so_far(index).await;
            let start_ns = self.watch.clock.now_ns();
            let began = clock::now();
            self.fleet.board().phase_starts[index].store(start_ns, Relaxed);
            // Whoever reads a message of many megabytes does nothing else meanwhile; a climb has no schedule to be late for.
            let climbs = plan.publishers.iter().any(|g| g.climb.is_some() && g.phases.contains(&index));
            self.fleet.board().measuring.store(!climbs, Relaxed);
            self.watch.stage(format!("phase {}", phase.name), &self.fleet);
            self.fleet.order(|o| o.phase = Some((index, start_ns)));
            self.fleet.publish(|o| o.phase = Some((index, start_ns)));
            let limit = phase_limit(&plan, index);
            let cycles = cycles_by(&plan, &schedule, index);
            let board = self.fleet.board_shared();
            let mut gone = Steady::default();
            let over = |c: &FleetCounts| {
                // A phase of events is over when the server has them: until then their way there is part of it.
                let long_enough = match phase.length {
                    Some(length) => began.elapsed() >= length,
                    None => board.unacked.load(Relaxed) == 0,
                };
                let said = long_enough && all_said(c, index, &plan) && c.shards.cycles_over >= cycles;
                said || gone.holds_for(are_gone(c, &board), GONE_FOR)
            };
            let until = self.watch.until(&self.fleet, limit, over);
            let waited = match self.scraper {
                None => until.await,
                Some(scraper) => tokio::select! {
                    waited = until => waited,
                    never = self.all_along.watch(scraper, &self.fleet, index) => match never {},
                },
            };
            let lost = self.is_target_lost().await;
            self.phases.push((start_ns, self.watch.clock.now_ns()));
            self.end_phase(&before, server_dropped);
            if lost {
                self.watch.stop.stop(StopReason::TargetLost);
            }
            match waited {
                Waited::TimedOut => self.watch.give_up(&format!("phase {}", phase.name)),
                Waited::Stopped => return,
                Waited::Met => {}
            }
            if lost {
                return;
            }
            self.read_at_end_of(index).await;
        }
    }

    /// Looks at memory, so that a phase has its own peak however short it is; who is there, and what is counted so far.
    fn begin_phase(&mut self) -> (u64, FleetCounts) {
        self.watch.peaks = Peaks::default();
        self.watch.peek(&self.fleet);
        let board = self.fleet.board();
        (u64::from(board.open.get()) + u64::from(board.active.get()), self.fleet.counts())
    }

    /// What the server says it has dropped so far; before the first phase it has just been asked.
    async fn dropped_so_far(&self, phase: usize) -> Option<f64> {
        self.scraper.filter(|scraper| scraper.names(ServerCount::Dropped))?;
        let server = match phase {
            0 => self.gauges.last().and_then(|gauges| gauges.server),
            _ => self.scrape().await,
        };
        server?.get(ServerCount::Dropped)
    }

    fn end_phase(&mut self, (there, before): &(u64, FleetCounts), server_dropped: Option<f64>) {
        self.watch.peek(&self.fleet);
        let counts = self.fleet.counts();
        self.events.push(PhaseEvents {
            there: *there,
            dropped: counts.shards.dropped - before.shards.dropped,
            publishers_dropped: counts.publisher.dropped - before.publisher.dropped,
            ended_operations: counts.shards.ended_operations - before.shards.ended_operations,
            peaks: self.watch.peaks,
            server_dropped,
        });
    }

    /// Whether every connection is gone and nobody is on the way back.
    pub(super) async fn is_target_lost(&mut self) -> bool {
        let board = self.fleet.board_shared();
        let back = |c: &FleetCounts| !are_gone(c, &board);
        self.watch.until_even_stopping(&self.fleet, GONE_FOR, back).await == Waited::TimedOut
    }
}

/// Whether no connection is left, and it was not a fault of ours alone that ended them.
fn are_gone(counts: &FleetCounts, board: &Board) -> bool {
    counts.shards.established > 0
        && counts.shards.turned_away > 0
        && board.open.get() == 0
        && counts.shards.away == 0
        // That subscribers are closed is what a climb is to find out; a server that is gone takes publishers as well.
        && (counts.publisher.ready == 0 || !board.climb.as_ref().is_some_and(Climb::has_begun))
}

fn wave_subscriptions(group: &SubscriberGroup, wave: u32) -> u64 {
    group.wave(wave).len() as u64 * u64::from(group.per_connection())
}

/// Whether every publisher has said what it had to say in this phase.
fn all_said(counts: &FleetCounts, phase: usize, plan: &Plan) -> bool {
    let seen = counts.publisher.orders.phase.is_some_and(|(p, _)| p == phase);
    seen && (plan.publishers.is_empty() || counts.publisher.busy == 0)
}

/// What the server must have counted since `before`.
fn counters(fleet: &FleetResult, before: ServerCounts, after: Option<ServerCounts>) -> Counters {
    let events: u64 = fleet.publisher.groups.iter().flatten().map(|t| t.acked).sum();
    let unanswered: u64 = fleet.publisher.groups.iter().flatten().map(|t| t.unknown).sum();
    let unknown = unanswered + fleet.groups.iter().map(|g| g.partings_sent).sum::<u64>();
    let aside: u64 = fleet.publisher.links.iter().map(|l| l.probes_acked + l.barriers_acked).sum();
    let received: u64 = fleet.groups.iter().map(GroupTally::aside_delivered).sum();
    let (published, delivered) = (events + aside, received + fleet.receipts);
    let withheld = fleet.groups.iter().map(|g| g.withheld).sum();
    Counters { before: Some(before), after, published, unknown, delivered, withheld }
}
