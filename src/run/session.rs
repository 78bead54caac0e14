//! One scenario, from its plan to its judged report.

use std::net::SocketAddr;
use std::sync::Arc;

use super::assemble;
use super::date::rfc3339;
use super::limits::{self, Shortage};
use super::machine::Machine;
use super::needs::Needs;
use super::preflight::preflight;
use super::preflight_address::{Consent, pin, system_resolver};
use super::reference::{Reference, ReferenceError};
use super::round::{Conductor, Round};
use super::stop::{Stop, StopReason};
use super::target::{self, TargetError};
use super::watch::Watch;
use crate::care::{Secrets, redact_url};
use crate::clients::fleet::{FleetError, Paths};
use crate::clients::handshake::Refusal;
use crate::clock::{self, RunClock};
use crate::metrics::resources::Monitor;
use crate::metrics::server_stats::{Scraper, compare};
use crate::report::model::{self, Health, Judgement, Report, SCHEMA, Verdict};
use crate::report::progress::Progress;
use crate::scenarios::condition::{Condition, Over, Quantity, Term, Test};
use crate::scenarios::plan::Plan;
use crate::verdict::{conclude, judge_all};

/// What the user said beside the scenario.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// `--confirm HOST`.
    pub confirm: Option<String>,
    /// `--server-pid`.
    pub server_pid: Option<u32>,
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

/// Runs `plan` and judges it. A run that is stopped still returns its report.
///
/// # Errors
/// If nothing could be run; see [`RunError`].
pub async fn run(
    plan: Arc<Plan>,
    settings: &Settings,
    stop: &Stop,
    progress: &mut Progress,
) -> Result<Report, RunError> {
    let machine = Machine::read().map_err(|e| RunError::Machine(e.to_string()))?;
    let needs = Needs::of(&plan, plan.target.url.is_none());
    limits::check(&needs, &machine).map_err(RunError::TooSmall)?;
    let started_at = rfc3339(clock::wall());
    let reference = match plan.target.url {
        Some(_) => None,
        None => match stop.run_until_cancelled(Reference::of_this_program(&[])).await {
            Some(started) => Some(started?),
            None => {
                let url = http::Uri::from_static("ws://127.0.0.1/graphql");
                return Ok(Session { plan, settings, stop, machine, url }.not_begun(started_at));
            }
        },
    };
    let url = reference.as_ref().map(Reference::url).or(plan.target.url.as_ref()).cloned();
    let url = url.expect("a target has a url, or else the reference server gives one");
    let session = Session { plan, settings, stop, machine, url };
    let result = session.judged(reference.as_ref().map(Reference::pid), started_at, progress).await;
    progress.finish();
    if let Some(reference) = reference
        && let Err(e) = reference.stop().await
    {
        tracing::warn!("the reference server did not end cleanly: {e}");
    }
    result
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
        reference: Option<u32>,
        started_at: String,
        progress: &mut Progress,
    ) -> Result<Report, RunError> {
        let server = reference.or(self.settings.server_pid);
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
        let mut report = self.head(started_at);
        self.rounds(&mut report, &paths, scraper.as_ref(), &mut watch).await?;
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
        let shards = shards(self.machine.host.cpus);
        let paths = target::paths(&self.plan, &self.url, confirm, &secrets, shards).await?;
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
                plan_hash: plan.hash.clone(),
                resolved: plan.resolved.clone(),
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
        report: &mut Report,
        paths: &Paths,
        scraper: Option<&Scraper>,
        watch: &mut Watch<'_>,
    ) -> Result<(), RunError> {
        let mut earlier: Vec<Judgement> = Vec::new();
        let mut rounds = model::Rounds::default();
        let mut waves = None;
        for number in 1..=self.plan.rounds {
            let conductor = Conductor::start(&self.plan, paths, scraper, watch, run_id(number))?;
            let round = conductor.run().await?;
            self.round_report(report, round, scraper, watch);
            waves = waves.or_else(|| report.waves.take());
            report.waves.clone_from(&waves);
            rounds.each.push(summary(report, watch));
            rounds.completed += u64::from(!watch.stop.is_stopping());
            if number == self.plan.rounds || watch.stop.is_stopping() {
                break;
            }
            let alone: Vec<Condition> =
                self.plan.expect.iter().filter(|c| !compares_rounds(c)).cloned().collect();
            judge_all(report, &alone, &[]);
            earlier.extend(report.expectations.drain(..).map(|j| in_round(j, number)));
            watch.note(&format!("round {number} of {} done", self.plan.rounds));
        }
        if self.plan.rounds > 1 {
            rounds.server_memory_end.bytes =
                rounds.each.iter().filter_map(|r| r.server_memory_end_bytes).collect();
            rounds.server_memory_end.growth = growth(&rounds.server_memory_end.bytes);
            report.rounds = Some(rounds);
        }
        judge_all(report, &self.plan.expect, &self.plan.reached);
        keep_gravest(&mut report.expectations, earlier);
        conclude(report);
        Ok(())
    }

    fn round_report(
        &self,
        report: &mut Report,
        round: Round,
        scraper: Option<&Scraper>,
        watch: &mut Watch<'_>,
    ) {
        report.server_stats = scraper
            .map(|s| compare(s.source(), |count| s.names(count), &round.gauges, round.counters.as_ref()));
        let peak_open = u64::from(round.fleet.board.open.peak());
        report.timeline.clone_from(&watch.timeline);
        report.resources = model::Resources {
            client: watch.monitor.client(peak_open),
            server: watch.monitor.server(peak_open),
        };
        if let Err(e) = assemble::fill(report, &self.plan, round) {
            report.generator.health = Health::Invalid;
            report.generator.reasons.push(e.to_string());
            watch.stop.stop(StopReason::Internal(e.to_string()));
        }
        watch.timeline.clone_from(&report.timeline);
        self.note_end(report);
        report.run.timed_out.clone_from(&watch.timed_out);
    }

    fn note_end(&self, report: &mut Report) {
        let reason = self.stop.reason().cloned().unwrap_or(StopReason::Completed);
        report.run.interrupted = reason == StopReason::Interrupted;
        report.run.stop_reason = reason.to_string();
    }
}

/// One thread of subscribers, two where there are processors to spare for the publishers and the server.
fn shards(cpus: u64) -> u32 {
    if cpus >= 4 { 2 } else { 1 }
}

/// Names a run in tokens and channels; two runs against one server must not meet.
fn run_id(round: u32) -> u32 {
    let since = clock::wall().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let mut seed = since.as_nanos().to_le_bytes().to_vec();
    seed.extend(std::process::id().to_le_bytes());
    seed.extend(round.to_le_bytes());
    xxhash_rust::xxh3::xxh3_64(&seed) as u32
}

fn summary(report: &Report, watch: &Watch<'_>) -> model::Round {
    model::Round {
        setup_duration_s: report.setup.duration_s,
        connections: report.connections.clone(),
        subscriptions: report.subscriptions.clone(),
        published: report.published.clone(),
        ledger: model::Ledger { examples: Vec::new(), ..report.ledger.clone() },
        server_memory_end_bytes: watch.timeline.last().and_then(|point| point.server_rss_bytes),
    }
}

/// Last / first - 1.
fn growth(bytes: &[u64]) -> Option<f64> {
    let (first, rest) = bytes.split_first()?;
    let last = rest.last()?;
    (*first > 0).then(|| *last as f64 / *first as f64 - 1.0)
}

/// Whether a condition needs all rounds, or speaks of waves, which only the first round can show.
fn compares_rounds(condition: &Condition) -> bool {
    let of_all = |term: &Term| term.metric.starts_with("rounds.") || term.metric.starts_with("waves.");
    let quantity = |q: &Quantity| of_all(&q.term) || matches!(&q.over, Some(Over::Term(t)) if of_all(t));
    match &condition.test {
        Test::Compare { left, .. } | Test::Within { left, .. } => quantity(left),
        Test::Is { left, .. } => of_all(left),
    }
}

fn in_round(judgement: Judgement, number: u32) -> Judgement {
    let why = judgement.why.map(|why| format!("in round {number}: {why}"));
    Judgement { why, ..judgement }
}

/// An expectation that failed in any round has failed.
fn keep_gravest(last: &mut [Judgement], earlier: Vec<Judgement>) {
    for judgement in earlier {
        let same = last.iter_mut().find(|j| j.id == judgement.id);
        if let Some(mine) = same.filter(|mine| judgement.verdict > mine.verdict) {
            *mine = judgement;
        }
    }
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
mod tests {
    use super::*;
    use crate::verdict::{Outcome, exit_code};

    fn judged(id: &str, verdict: Verdict) -> Judgement {
        Judgement { id: id.to_owned(), verdict, why: Some("because".to_owned()), ..Judgement::default() }
    }

    #[test]
    fn a_failure_in_an_earlier_round_is_kept() {
        let mut last = vec![judged("a", Verdict::Pass), judged("b", Verdict::Inconclusive)];
        let earlier = vec![
            in_round(judged("a", Verdict::Fail), 1),
            in_round(judged("b", Verdict::Pass), 1),
            in_round(judged("a", Verdict::Inconclusive), 2),
        ];
        keep_gravest(&mut last, earlier);
        assert_eq!((last[0].verdict, last[1].verdict), (Verdict::Fail, Verdict::Inconclusive));
        assert_eq!(last[0].why.as_deref(), Some("in round 1: because"));
    }

    #[test]
    fn figures_that_contradict_each_other_are_a_bug_whatever_stopped_the_run() {
        let code = |report: &Report| exit_code(&[Outcome::from(report)]);
        let mut report = Report { verdict: Verdict::Pass, ..Report::default() };
        assert_eq!(code(&report), 0);
        for reason in [StopReason::Completed, StopReason::Interrupted, StopReason::TargetLost] {
            report.run.stop_reason = reason.to_string();
            for (verdict, expected) in [(Verdict::Fail, 1), (Verdict::Inconclusive, 3)] {
                report.verdict = verdict;
                report.generator.health = Health::Limited;
                assert_eq!(code(&report), expected);
                report.generator.health = Health::Invalid;
                assert_eq!(code(&report), 70);
            }
        }
        report.generator.health = Health::Ok;
        report.run.stop_reason = StopReason::Internal("a load thread panicked".into()).to_string();
        assert_eq!(code(&report), 70);
    }

    #[test]
    fn growth_needs_two_rounds() {
        assert_eq!(growth(&[100]), None);
        assert_eq!(growth(&[100, 150]), Some(0.5));
        assert_eq!(growth(&[0, 150]), None);
    }
}
