//! What the conductor looks at while it waits: resources, counts, the timeline, reasons to stop.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::stop::{Stop, StopReason};
use super::timeline::{Look, Timeline};
use crate::clients::climb::Climb;
use crate::clients::fleet::{Fleet, FleetCounts};
use crate::clock::{self, Instant, RunClock};
use crate::metrics::peaks::Peaks;
use crate::metrics::resources::{Monitor, Sample, ServerSample};
use crate::report::model::{Report, TimelinePoint, Verdict};
use crate::report::progress::{Progress, ProgressView};
use crate::scenarios::condition::Condition;
use crate::scenarios::plan::Plan;
use crate::scenarios::sampling::Sampling;
use crate::verdict::{Evidence, judge};

/// How often a wait looks whether it is over.
const LOOK: Duration = Duration::from_millis(5);
/// How often progress is shown.
const SHOW: Duration = Duration::from_millis(100);
/// How often memory is looked at for the peaks of phases.
const PEEK: Duration = Duration::from_millis(100);
/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// What was waited for happened.
    Met,
    /// The deadline passed first.
    TimedOut,
    /// The run is stopping.
    Stopped,
}

/// Watches one run over all its rounds.
pub struct Watch<'a> {
    /// The time axis.
    pub clock: RunClock,
    /// The one reason to stop.
    pub stop: Stop,
    /// Both processes.
    pub monitor: Monitor,
    /// Memory since a phase began.
    pub peaks: Peaks,
    /// The same within each step of a climb.
    pub step_peaks: Vec<Peaks>,
    /// Points of the width that the plan chose.
    pub timeline: Timeline,
    /// Waits whose deadline passed.
    pub timed_out: Vec<String>,
    plan: &'a Plan,
    /// Between two samples of resources.
    every: Duration,
    progress: &'a mut Progress,
    view: ProgressView,
    last: Last,
}

/// Counters at the last point of the timeline.
#[derive(Debug, Clone, Copy)]
struct Last {
    shown: Instant,
    sampled: Instant,
    peeked: Instant,
    published: u64,
    delivered: u64,
}

impl<'a> Watch<'a> {
    /// Starts watching.
    pub fn new(
        plan: &'a Plan,
        clock: RunClock,
        stop: Stop,
        monitor: Monitor,
        progress: &'a mut Progress,
    ) -> Self {
        let now = clock::now();
        let view = ProgressView {
            scenario: plan.name.clone(),
            planned: plan.subscriber_connections().into(),
            requested: plan.subscriptions().into(),
            ..ProgressView::default()
        };
        let last = Last { shown: now, sampled: now, peeked: now, published: 0, delivered: 0 };
        let Sampling { every, width } = plan.sampling();
        let (timeline, timed_out) = (Timeline::new(width), Vec::new());
        let peaks = Peaks::default();
        Self {
            clock,
            stop,
            monitor,
            peaks,
            step_peaks: Vec::new(),
            timeline,
            timed_out,
            plan,
            every,
            progress,
            view,
            last,
        }
    }

    /// Says in one word what is going on from now on.
    pub fn stage(&mut self, stage: impl Into<String>, fleet: &Fleet) {
        self.view.stage = stage.into();
        self.show(fleet);
    }

    /// Counters start again at zero with a new round.
    pub fn new_round(&mut self) {
        self.step_peaks.clear();
        self.last.published = 0;
        self.last.delivered = 0;
    }

    /// Tells the user something between two lines of progress.
    pub fn note(&mut self, text: &str) {
        self.progress.note(text);
    }

    /// Remembers that a deadline passed.
    pub fn give_up(&mut self, wait: &str) {
        if !self.timed_out.iter().any(|w| w == wait) {
            self.timed_out.push(wait.to_owned());
        }
    }

    /// Waits until `done`, the run stops or `limit` has passed.
    pub async fn until(
        &mut self,
        fleet: &Fleet,
        limit: Duration,
        done: impl FnMut(&FleetCounts) -> bool,
    ) -> Waited {
        self.wait(fleet, limit, false, done).await
    }

    /// Waits while the run stops, too; only a second request to stop cuts it short.
    pub async fn until_even_stopping(
        &mut self,
        fleet: &Fleet,
        limit: Duration,
        done: impl FnMut(&FleetCounts) -> bool,
    ) -> Waited {
        self.wait(fleet, limit, true, done).await
    }

    async fn wait(
        &mut self,
        fleet: &Fleet,
        limit: Duration,
        even_stopping: bool,
        mut done: impl FnMut(&FleetCounts) -> bool,
    ) -> Waited {
        let deadline = clock::now() + limit;
        loop {
            if done(&fleet.counts()) {
                return Waited::Met;
            }
            let stopped = if even_stopping { self.stop.is_hurrying() } else { self.stop.is_stopping() };
            if stopped {
                return Waited::Stopped;
            }
            let now = clock::now();
            if now >= deadline {
                return Waited::TimedOut;
            }
            if fleet.is_broken() && !even_stopping {
                self.stop.stop(StopReason::Internal("a load thread ended too early".to_owned()));
            }
            if now - self.last.shown >= SHOW {
                self.show(fleet);
            }
            if now - self.last.sampled >= self.every {
                self.sample(fleet);
            }
            if now - self.last.peeked >= PEEK {
                self.peek(fleet);
            }
            let sleep = LOOK.min(deadline - now);
            let token = if even_stopping { self.stop.hurry_token() } else { self.stop.token() };
            token.run_until_cancelled(tokio::time::sleep(sleep)).await;
        }
    }

    /// Looks at the memory of both processes, between two points of the timeline.
    pub fn peek(&mut self, fleet: &Fleet) {
        let sample = self.monitor.sample();
        self.see(fleet, &sample);
        self.last.peeked = clock::now();
    }

    fn see(&mut self, fleet: &Fleet, sample: &Sample) {
        self.peaks.see(sample);
        if let Some(step) = fleet.board().climb.as_ref().and_then(Climb::step) {
            if self.step_peaks.len() <= step {
                self.step_peaks.resize(step + 1, Peaks::default());
            }
            self.step_peaks[step].see(sample);
        }
    }

    /// Adds to the timeline, and stops the run if an `abort-if` says so or the server is gone.
    pub fn sample(&mut self, fleet: &Fleet) -> Sample {
        let sample = self.monitor.sample();
        self.see(fleet, &sample);
        let counts = fleet.counts();
        let latency = fleet.take_interval();
        let published = fleet.board().events_sent.load(Relaxed);
        let point = TimelinePoint {
            t_s: self.clock.now_ns() as f64 / 1e9,
            open: fleet.board().open.get().into(),
            active: fleet.board().active.get().into(),
            published: published.saturating_sub(self.last.published),
            delivered: counts.shards.receipts.saturating_sub(self.last.delivered),
            client_rss_bytes: sample.client.memory_bytes,
            server_rss_bytes: sample.server.memory_bytes(),
            ..TimelinePoint::default()
        };
        self.timeline.add(Look { point, latency });
        self.last = Last { sampled: clock::now(), published, delivered: counts.shards.receipts, ..self.last };
        if sample.server == ServerSample::Gone {
            self.stop.stop(StopReason::TargetLost);
        }
        if let Some(id) = self.abort_condition(fleet, &counts) {
            self.stop.stop(StopReason::AbortIf(id));
        }
        sample
    }

    /// The first condition of `abort-if` that holds; no condition may ask for more than is filled in here.
    fn abort_condition(&self, fleet: &Fleet, counts: &FleetCounts) -> Option<String> {
        if self.plan.abort_if.is_empty() {
            return None;
        }
        let board = fleet.board();
        let mut report = Report::default();
        report.resources.client = self.monitor.client(0);
        report.resources.server = self.monitor.server(0);
        report.connections.established = counts.shards.established;
        report.connections.dropped_unexpectedly = counts.shards.dropped;
        report.connections.peak_open = Some(board.open.peak().into());
        report.connections.peak_handshaking = Some(board.handshaking.peak().into());
        report.subscriptions.confirmed = counts.shards.confirmed;
        report.published.sent = board.events_sent.load(Relaxed);
        report.ledger.obligations = board.obligations.load(Relaxed);
        report.ledger.receipts = counts.shards.receipts;
        let evidence = Evidence::of(&report);
        let holds = |c: &&Condition| judge(c, &evidence).verdict == Verdict::Pass;
        self.plan.abort_if.iter().find(holds).map(|c| c.id.clone())
    }

    fn show(&mut self, fleet: &Fleet) {
        let board = fleet.board();
        let counts = fleet.counts();
        self.last.shown = clock::now();
        let view = &mut self.view;
        view.elapsed = Duration::from_nanos(self.clock.now_ns());
        view.open = board.open.get().into();
        view.handshaking = board.handshaking.get().into();
        view.established = counts.shards.established;
        view.failed = counts.shards.failed;
        view.away = counts.shards.away;
        view.confirmed = counts.shards.confirmed;
        view.active = board.active.get().into();
        view.published = board.events_sent.load(Relaxed);
        view.expected = board.obligations.load(Relaxed);
        view.delivered = counts.shards.receipts;
        self.progress.update(&self.view);
    }
}
