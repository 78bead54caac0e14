//! One run of a stage: from its rows to a scenario and to the server's arguments, by the way every user's run goes, and
//! back with the report and the server's own account of what it did.

use std::fmt::Write as _;
use std::sync::Arc;

use super::rows::{OLD_RUN, PUBLISHERS, Row, Stage};
use super::truth::{self, Truth, TruthError};
use crate::ledger::{Kind, Token};
use crate::report::model::Report;
use crate::report::progress::Progress;
use crate::run::reference::{Reference, ReferenceError};
use crate::run::session::{self, RunError, Settings};
use crate::run::stop::Stop;
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::Plan;
use crate::scenarios::problem::Problems;

/// Whether a run has the defects of its stage, or is its honest counterpart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Every row's defect is planted.
    Planted,
    /// None is.
    Honest,
}

/// What came of one run.
#[derive(Debug)]
pub struct Ran {
    /// The report, as any run has one.
    pub report: Report,
    /// What each defect did, in the order of the rows that have one; empty if the server was not asked.
    pub truths: Vec<Truth>,
}

/// Why a stage could not be run.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// Its scenario is not valid, which is a bug in stressctl.
    #[error("the scenario of a stage is wrong: {0}")]
    Scenario(Problems),
    /// The server did not start.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// There was no run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The server did not say what it did.
    #[error(transparent)]
    Truth(#[from] TruthError),
}

impl Stage {
    /// The rows that have a defect.
    pub fn planted(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.kind.is_some())
    }

    /// How many channels all groups have together.
    #[must_use]
    pub fn channels(&self) -> u32 {
        if self.one_channel { 1 } else { self.subscriptions() }
    }

    /// Subscriptions of all groups.
    #[must_use]
    pub fn subscriptions(&self) -> u32 {
        self.rows.iter().filter_map(|row| row.group).map(|group| group.subscriptions).sum()
    }

    /// The channels of a row, which are numbered as the subscriptions are; `None`: all of them.
    #[must_use]
    pub fn channels_of(&self, row: &Row) -> Option<std::ops::RangeInclusive<u32>> {
        let own = row.group?.subscriptions;
        if self.one_channel {
            return None;
        }
        let before = self.rows.iter().take_while(|other| other.name != row.name);
        let first = before.filter_map(|row| row.group).map(|group| group.subscriptions).sum();
        Some(first..=first + own - 1)
    }

    /// What each subscription is owed in the whole run, if it lives as long.
    #[must_use]
    pub fn owed_each(&self) -> u64 {
        self.each * self.phases.len() as u64
    }

    /// The scenario, as a user would write it.
    #[must_use]
    pub fn scenario(&self, name: &str) -> String {
        let mut text = String::new();
        let mut line = |line: std::fmt::Arguments<'_>| {
            text.write_fmt(line).expect("writing to a string does not fail");
            text.push('\n');
        };
        line(format_args!("[scenarios.{name}]"));
        line(format_args!("about = \"{}\"", self.about));
        match self.one_channel {
            true => line(format_args!("channels = 1")),
            false => line(format_args!("channels = \"own\"")),
        }
        let phases: Vec<String> =
            self.phases.iter().map(|phase| format!("{{ name = \"{phase}\" }}")).collect();
        line(format_args!("phases = [{}]", phases.join(", ")));
        let (rate, payload, events) = (self.rate, self.payload, self.each * u64::from(self.channels()));
        line(format_args!(
            "publishers.{PUBLISHERS} = {{ rate = \"{rate}\", events = {events}, payload = \"{payload}\" }}"
        ));
        for row in &self.rows {
            if let Some(group) = row.group {
                let (connections, subscriptions) = (group.connections, group.subscriptions);
                let keys = if group.keys.is_empty() { String::new() } else { format!(", {}", group.keys) };
                line(format_args!(
                    "subscribers.{} = {{ connections = {connections}, subscriptions = {subscriptions}{keys} }}",
                    row.name
                ));
            }
            line(format_args!("expect.{} = \"{}\"", row.name, row.expect));
        }
        line(format_args!("{}", self.more.trim()));
        text
    }

    /// What is planted for a row, as `--defect` takes it.
    #[must_use]
    pub fn defect(&self, row: &Row, seed: u64) -> Option<String> {
        let kind = row.kind?;
        let mut parameters = Vec::new();
        if let Some(channels) = self.channels_of(row) {
            parameters.push(format!("channels={}-{}", channels.start(), channels.end()));
        }
        if !row.parameters.is_empty() {
            parameters.push(row.parameters.replace(OLD_RUN, &old_event()));
        }
        if row.takes_seed() {
            parameters.push(format!("seed={seed}"));
        }
        let parameters = parameters.join(",");
        Some(if parameters.is_empty() { kind.to_owned() } else { format!("{kind}={parameters}") })
    }

    /// What the server is started with.
    #[must_use]
    pub fn arguments(&self, server: Server, seed: u64) -> Vec<String> {
        let defects = self.planted().filter(|_| server == Server::Planted);
        defects
            .filter_map(|row| self.defect(row, seed))
            .flat_map(|text| ["--defect".to_owned(), text])
            .collect()
    }

    /// The plan, made of the scenario's text as any other.
    ///
    /// # Errors
    /// If the scenario is not valid, which is a bug.
    pub fn plan(&self, server: Server, seed: u64) -> Result<Plan, StageError> {
        let name = self.run_name(server, seed);
        let text = self.scenario(&name);
        let catalogue = Catalogue::from_text(Some(("selftest", &text))).map_err(StageError::Scenario)?;
        let options = Options { seed: Some(seed), ..Options::default() };
        let planned = catalogue.plan(&[&name], &options).map_err(StageError::Scenario)?;
        Ok(planned.plans.into_iter().next().expect("one scenario was planned"))
    }

    /// What a run of the stage is called, in progress and reports.
    #[must_use]
    pub fn run_name(&self, server: Server, seed: u64) -> String {
        match server {
            Server::Planted => format!("selftest-{}", self.name),
            Server::Honest => format!("selftest-{}-honest-{seed}", self.name),
        }
    }

    /// Runs the stage once; `None`: stopped before it had begun.
    ///
    /// # Errors
    /// If it could not be run, or the server did not say what it did.
    pub async fn run(
        &self,
        server: Server,
        seed: u64,
        stop: &Stop,
        progress: &mut Progress,
    ) -> Result<Option<Ran>, StageError> {
        let plan = Arc::new(self.plan(server, seed)?);
        let arguments = self.arguments(server, seed);
        let starting = Reference::of_this_program(&arguments);
        let Some(reference) = stop.run_until_cancelled(starting).await else { return Ok(None) };
        let reference = reference?;
        let settings = Settings::default();
        let report = session::run_on(&reference, plan, &settings, stop, progress).await;
        let ran = match report {
            Ok(report) => match truths(&reference, server).await {
                Ok(truths) => Ok(Some(Ran { report, truths })),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error.into()),
        };
        if let Err(error) = reference.stop().await {
            tracing::warn!("the reference server did not end cleanly: {error}");
        }
        ran
    }
}

async fn truths(reference: &Reference, server: Server) -> Result<Vec<Truth>, TruthError> {
    match server {
        Server::Planted => truth::ask(reference.url()).await,
        Server::Honest => Ok(Vec::new()),
    }
}

impl Row {
    /// Whether its kind draws anything.
    fn takes_seed(&self) -> bool {
        !matches!(self.kind, None | Some("drop-tail" | "miscount" | "slow-down" | "starve-accepts"))
    }
}

/// An event like those of a run, but of none that ever was.
fn old_event() -> String {
    let token = Token {
        run: 0x01D_0DA7A,
        channel: 0,
        publisher: 0,
        epoch: 0,
        kind: Kind::Event,
        seq: 7,
        due_ns: 1_000_000,
        sent_ns: 1_000_000,
    };
    let mut text = Vec::new();
    token.write(200, &mut text);
    String::from_utf8(text).expect("a token is ASCII")
}

#[cfg(test)]
mod tests {
    use super::super::stages::stages;
    use super::*;

    #[test]
    fn channels_lie_side_by_side() {
        let stages = stages();
        let stage = &stages[0];
        let mut next = 0;
        for row in stage.rows.iter().filter(|row| row.group.is_some()) {
            let channels = stage.channels_of(row).expect("channels of its own");
            assert_eq!(*channels.start(), next, "{}", row.name);
            next = channels.end() + 1;
        }
        assert_eq!(next, stage.channels());
    }

    #[test]
    fn every_scenario_is_valid_and_its_groups_are_where_the_defects_are() {
        for stage in stages() {
            let plan =
                stage.plan(Server::Planted, 3).unwrap_or_else(|error| panic!("{}: {error}", stage.name));
            assert_eq!(plan.seed, 3, "{}", stage.name);
            for group in &plan.subscribers {
                let row = stage.rows.iter().find(|row| row.name == group.name).expect("a row for each group");
                if let Some(channels) = stage.channels_of(row) {
                    assert_eq!(group.first_subscription, *channels.start(), "{}", row.name);
                }
            }
            for row in &stage.rows {
                let condition = plan.expect.iter().find(|condition| condition.id == row.name);
                assert!(condition.is_some_and(|c| c.not_applicable.is_none()), "{}", row.name);
            }
        }
    }

    #[test]
    fn honest_and_planted_runs_differ_in_nothing_but_the_defects() {
        for stage in stages() {
            let planted = stage.plan(Server::Planted, 1).expect("valid");
            let honest = stage.plan(Server::Honest, 1).expect("valid");
            assert_eq!(planted.resolved, honest.resolved, "{}", stage.name);
            assert!(stage.arguments(Server::Honest, 1).is_empty());
            let arguments = stage.arguments(Server::Planted, 1);
            assert_eq!(arguments.len(), 2 * stage.planted().count());
        }
    }

    #[test]
    fn the_old_event_is_one_argument() {
        let event = old_event();
        assert_eq!(event.len(), 200);
        assert!(!event.contains(','));
    }
}
