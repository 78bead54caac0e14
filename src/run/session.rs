//! One scenario, from its plan to its judged report.

use std::net::SocketAddr;
use std::sync::Arc;

use super::assemble;
use super::date::rfc3339;
use super::limits::{self, Partitions, Shortage};
use super::machine::{Machine, subscriber_threads};
use super::needs::Needs;
use super::preflight::preflight;
use super::preflight_address::{Consent, pin, system_resolver};
use super::reference::{Reference, ReferenceError};
use super::round::{Conductor, Round};
use super::rounds;
use super::stop::{Stop, StopReason};
use super::target::{self, TargetError};
use super::watch::Watch;
use crate::care::{Secrets, redact_url};
use crate::clients::fleet::{FleetError, Paths};
use crate::clients::handshake::Refusal;
use crate::clock::{self, RunClock};
use crate::inject::partition;
use crate::metrics::resources::Monitor;
use crate::metrics::server_stats::{Scraper, at_end_of, compare};
use crate::report::model::{self, Health, Report, SCHEMA, Verdict};
use crate::report::progress::Progress;
use crate::scenarios::plan::Plan;
use crate::verdict::judge_all;

/// What the user said beside the scenario.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `--confirm HOST`.
    pub confirm: Option<String>,
    /// `--server-pid`.
    pub server_pid: Option<u32>,
    /// The command line that reproduces the run, secrets redacted.
    pub command: Option<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The target may not be used or cannot be found.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The preflight connection failed.
    #[error("cannot reach {url}: {} at the preflight connection{}", .refusal.failure, said(.refusal))]
    Unreachable {
        /// The target, redacted.
        url: String,
        /// Stage, reason and the server's own words.
        refusal: Refusal,
    },
    /// What is needed does not fit on this machine.
    #[error("this machine is too small for this run:\n{}", lines(.0))]
    TooSmall(Vec<Shortage>),
    /// A partition is asked for, and this kernel does not let us make one.
    #[error("{}", limits::NO_PARTITION)]
    NoPartition,
    /// The reference server did not start.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A load thread failed.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The machine does not show what has to be known.
    #[error("cannot look at this machine: {0}")]
    Machine(String),
}

fn said(refusal: &Refusal) -> String {
    if refusal.text.is_empty() { String::new() } else { format!(" ({})", refusal.text) }
}

fn lines(shortages: &[Shortage]) -> String {
    shortages.iter().map(|s| format!("  {s}")).collect::<Vec<_>>().join("\n")
}

/// Runs `plan` and judges it, with a reference server of its own where the plan names no target. A run that is stopped
/// still returns its report.
///
/// # Errors
/// If nothing could be run; see [`RunError`].
pub async fn run(
    plan: Arc<Plan>,
    settings: &Settings,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Report, RunError> {
    let (plan, machine) = fitting(plan)?;
    if let Some(url) = plan.target.url.clone() {
        let session = Session { plan, settings, stop, machine, url };
        return session.judged(None, progress).await;
    }
    let started_at = rfc3339(clock::wall());
    let reference = match stop.run_until_cancelled(Reference::of_this_program(&[])).await {
        Some(started) => started?,
        None => {
            let url = http::Uri::from_static("ws://127.0.0.1/graphql");
            return Ok(Session { plan, settings, stop, machine, url }.not_begun(started_at));
        }
    };
    let session = Session { plan, settings, stop, machine, url: reference.url().clone() };
    let result = session.judged(Some(&reference), progress).await;
    if let Err(e) = reference.stop().await {
        tracing::warn!("the reference server did not end cleanly: {e}");
    }
    result
}

/// The same against a reference server that the caller started and will stop, so that it can be asked afterwards what
/// it did. The plan must name no other target.
///
/// # Errors
/// If nothing could be run; see [`RunError`].
pub async fn run_on(
    reference: &Reference,
    plan: Arc<Plan>,
    settings: &Settings,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Report, RunError> {
    let (plan, machine) = fitting(plan)?;
    let session = Session { plan, settings, stop, machine, url: reference.url().clone() };
    session.judged(Some(reference), progress).await
}

/// The plan as this machine can run it, and the machine, if it fits.
fn fitting(plan: Arc<Plan>) -> Result<(Arc<Plan>, Machine), RunError> {
    let machine = Machine::read().map_err(|e| RunError::Machine(e.to_string()))?;
    let needs = Needs::of(&plan, plan.target.url.is_none(), subscriber_threads());
    limits::check(&needs, &machine).map_err(RunError::TooSmall)?;
    match limits::partitions(&plan, partition::is_allowed) {
        Partitions::None | Partitions::Allowed => Ok((plan, machine)),
        Partitions::AsStalls => {
            let mut stalling = Plan::clone(&plan);
            stalling.stall_instead_of_partition();
            Ok((Arc::new(stalling), machine))
        }
        Partitions::Refused => Err(RunError::NoPartition),
    }
}

struct Session<'a> {
    plan: Arc<Plan>,
    settings: &'a Settings,
    stop: &'a Stop,
    machine: Machine,
    url: http::Uri,
}

impl Session<'_> {
    async fn judged(
        &self,
        reference: Option<&Reference>,
        progress: &mut Progress,
    ) -> Result<Report, RunError> {
        let result = self.measured(reference, progress).await;
        progress.finish();
        result
    }

    async fn measured(
        &self,
        reference: Option<&Reference>,
        progress: &mut Progress,
    ) -> Result<Report, RunError> {
        let started_at = rfc3339(clock::wall());
        let server = reference.map(Reference::pid).or(self.settings.server_pid);
        let Some(ready) = self.stop.run_until_cancelled(self.prepare()).await else {
            return Ok(self.not_begun(started_at));
        };
        let (paths, scraper) = ready?;
        let monitor =
            Monitor::new(std::process::id(), server).map_err(|e| RunError::Machine(e.to_string()))?;
        let clock = RunClock::start();
        let plan = Arc::clone(&self.plan);
        let mut watch = Watch::new(&plan, clock, self.stop.clone(), monitor, progress);
        watch.monitor.sample();
        let head = self.head(started_at);
        let mut report = self.rounds(&head, &paths, scraper.as_ref(), &mut watch).await?;
        report.run.duration_s = clock.now_ns() as f64 / 1e9;
        Ok(report)
    }

    /// The report of a run that was stopped before its first connection.
    fn not_begun(&self, started_at: String) -> Report {
        let mut report = self.head(started_at);
        self.note_end(&mut report);
        judge_all(&mut report, &self.plan.expect, &self.plan.reached);
        report
    }

    /// Everything that comes before the load: addresses, statistics, the preflight connection.
    async fn prepare(&self) -> Result<(Paths, Option<Scraper>), RunError> {
        let mut secrets = Secrets::of(&self.plan.target);
        secrets.add(self.url.authority().map_or("", |a| a.as_str().rsplit_once('@').map_or("", |(u, _)| u)));
        let secrets = Arc::new(secrets);
        let confirm = self.settings.confirm.as_deref();
        let threads = subscriber_threads();
        let paths = target::paths(&self.plan, &self.url, confirm, &secrets, threads).await?;
        let scraper = self.scraper(&secrets).await?;
        preflight(&paths.endpoint)
            .await
            .map_err(|refusal| RunError::Unreachable { url: redact_url(&self.url), refusal })?;
        Ok((paths, scraper))
    }

    /// The server's statistics; their host has to be permitted as well.
    async fn scraper(&self, secrets: &Secrets) -> Result<Option<Scraper>, RunError> {
        let Some(statistics) = &self.plan.target.statistics else { return Ok(None) };
        let scraper = Scraper::new(statistics, &self.url, secrets.clone())
            .map_err(|e| RunError::Target(TargetError::Statistics(e.to_string())))?;
        let consent =
            Consent { confirm: self.settings.confirm.as_deref(), confirmed: self.plan.target.confirmed };
        let pinned = pin(scraper.url(), consent, self.plan.timeouts.connect, system_resolver)
            .await
            .map_err(TargetError::Address)?;
        let addresses: Vec<SocketAddr> = pinned.addresses;
        Ok(Some(scraper.pinned(addresses)))
    }

    fn head(&self, started_at: String) -> Report {
        let plan = &self.plan;
        Report {
            schema: SCHEMA.to_owned(),
            tool: model::Tool {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: option_env!("STRESSCTL_COMMIT").map(str::to_owned),
            },
            host: self.machine.host.clone(),
            scenario: model::ScenarioInfo {
                name: plan.name.clone(),
                about: plan.about.clone(),
                seed: plan.seed,
                scale: plan.scale,
                time_scale: plan.is_compressed().then_some(plan.time_scale),
                plan_hash: plan.hash.clone(),
                resolved: plan.resolved.clone(),
                command: self.settings.command.clone(),
            },
            target: model::TargetInfo {
                url: redact_url(&self.url),
                protocol: plan.target.protocol.name().to_owned(),
                contract: plan.target.contract.name().to_owned(),
                ordered: plan.target.ordered,
                reference_server: plan.target.url.is_none(),
            },
            run: model::RunInfo { started_at, ..model::RunInfo::default() },
            predicted: plan.predict(),
            ..Report::default()
        }
    }

    async fn rounds(
        &self,
        head: &Report,
        paths: &Paths,
        scraper: Option<&Scraper>,
        watch: &mut Watch<'_>,
    ) -> Result<Report, RunError> {
        let mut done = Vec::new();
        for number in 1..=self.plan.rounds {
            let conductor = Conductor::start(&self.plan, paths, scraper, watch, run_id(number))?;
            let round = conductor.run().await?;
            let mut report = head.clone();
            self.round_report(&mut report, round, scraper, watch);
            done.push(report);
            if watch.stop.is_stopping() {
                break;
            }
            if self.plan.rounds > 1 {
                watch.note(&format!("round {number} of {} done", self.plan.rounds));
            }
        }
        Ok(rounds::combine(done, &self.plan))
    }

    fn round_report(
        &self,
        report: &mut Report,
        round: Round,
        scraper: Option<&Scraper>,
        watch: &mut Watch<'_>,
    ) {
        let names: Vec<&str> = self.plan.phases.iter().map(|phase| phase.name.as_str()).collect();
        let (gauges, mut counters) = (round.gauges.clone(), round.counters);
        let during = round.during.clone();
        let peak_open = u64::from(round.fleet.board.open.peak());
        report.timeline.clone_from(watch.timeline.points());
        report.resources = model::Resources {
            client: watch.monitor.client(peak_open),
            server: watch.monitor.server(peak_open),
        };
        if let Err(e) = assemble::fill(report, &self.plan, round) {
            report.generator.health = Health::Invalid;
            report.generator.reasons.push(e.to_string());
            watch.stop.stop(StopReason::Internal(e.to_string()));
        }
        if let Some(counters) = &mut counters {
            // What a fault of ours kept from arriving the kernel may have taken from the server all the same.
            counters.withheld += report.ledger.suppressed + report.ledger.indeterminate_by_faults;
        }
        report.server_stats =
            scraper.map(|s| compare(s.source(), |count| s.names(count), &names, &gauges, counters.as_ref()));
        if let (Some(stats), Some((worst, during))) = (&mut report.server_stats, during.report()) {
            (stats.worst_during, stats.during) = (worst, Some(during));
        }
        for (index, phase) in report.phases.iter_mut().enumerate() {
            phase.server_stats = scraper.and_then(|s| at_end_of(index, |count| s.names(count), &gauges));
        }
        watch.timeline.points().clone_from(&report.timeline);
        report.trend = assemble::trends(&self.plan, &report.timeline, &report.phases);
        self.note_end(report);
        report.run.timed_out.clone_from(&watch.timed_out);
    }

    fn note_end(&self, report: &mut Report) {
        let reason = self.stop.reason().cloned().unwrap_or(StopReason::Completed);
        report.run.interrupted = reason == StopReason::Interrupted;
        report.run.stop_reason = reason.to_string();
    }
}

/// Names a run in tokens and channels; two runs against one server must not meet.
fn run_id(round: u32) -> u32 {
    let since = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut seed = since.as_nanos().to_le_bytes().to_vec();
    seed.extend(std::process::id().to_le_bytes());
    seed.extend(round.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&seed) as u32
}

impl From<&Report> for crate::verdict::Outcome {
    fn from(report: &Report) -> Self {
        // Whatever stopped the run: figures that contradict each other are a bug of ours.
        let invalid = report.generator.health == Health::Invalid;
        if invalid || report.run.stop_reason.starts_with("internal") {
            return Self::Internal;
        }
        match report.verdict {
            Verdict::Pass => Self::Passed,
            Verdict::Fail => Self::Failed,
            Verdict::Inconclusive => Self::Inconclusive,
            Verdict::NotApplicable => Self::NotApplicable,
        }
    }
}

#[cfg(test)]
#[path = "hollow_tests.rs"]
mod hollow_tests;
