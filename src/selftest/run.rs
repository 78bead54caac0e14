//! All stages, one after the other: with their defects, then without.

use std::path::PathBuf;

use super::judge;
use super::matrix::{Honest, Matrix, Planted};
use super::rows::Stage;
use super::stage::{Ran, Server, StageError};
use super::stages::stages;
use crate::clock;
use crate::report::json;
use crate::report::model::Report;
use crate::report::progress::Progress;
use crate::run::stop::Stop;
use crate::verdict::Outcome;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Also the defects that need a trend.
    pub long: bool,
    /// How often the honest server is run, with the seeds from 1 on.
    pub seeds: u64,
    /// The seed of the runs with defects.
    pub seed: u64,
    /// Where the report of each run is kept, if anywhere.
    pub out: Option<PathBuf>,
}

/// Why there is no matrix.
#[derive(Debug, thiserror::Error)]
pub enum SelftestError {
    /// A stage could not be run.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A report could not be written.
    #[error(transparent)]
    Write(#[from] json::JsonError),
}

/// Runs every stage with its defects and without, and tells what begins. A selftest that is stopped still returns what
/// it found.
///
/// # Errors
/// If a stage could not be run.
pub async fn run(
    wish: &Wish,
    stop: &Stop,
    tell: impl Fn(&str),
    progress: impl Fn() -> Progress,
) -> Result<Matrix, SelftestError> {
    let began = clock::now();
    let mut matrix = Matrix::new(wish.seed);
    let stages: Vec<Stage> = stages().into_iter().filter(|stage| wish.long || !stage.long).collect();
    for stage in stages.iter().take_while(|_| !stop.is_stopping()) {
        let run = Run { stage, server: Server::Planted, seed: wish.seed };
        tell(&run.about());
        let Some(ran) = run.once(wish, stop, &mut progress()).await? else { break };
        let (lines, strays) = judge::planted(stage, &ran.report, &ran.truths);
        matrix.stages.push(Planted {
            stage: stage.name.to_owned(),
            about: stage.about.to_owned(),
            duration_s: ran.report.run.duration_s,
            lines,
            strays,
            invalid: is_invalid(&ran.report),
        });
    }
    for seed in 1..=wish.seeds {
        for stage in stages.iter().take_while(|_| !stop.is_stopping()) {
            let run = Run { stage, server: Server::Honest, seed };
            tell(&run.about());
            let Some(ran) = run.once(wish, stop, &mut progress()).await? else { break };
            matrix.honest.push(Honest {
                stage: stage.name.to_owned(),
                seed,
                duration_s: ran.report.run.duration_s,
                alarms: judge::alarms(stage, &ran.report),
                limited: judge::limited(&ran.report),
                invalid: is_invalid(&ran.report),
            });
        }
    }
    matrix.interrupted = stop.is_stopping();
    matrix.duration_s = began.elapsed().as_secs_f64();
    Ok(matrix)
}

/// One run of a stage.
struct Run<'a> {
    stage: &'a Stage,
    server: Server,
    seed: u64,
}

impl Run<'_> {
    /// What begins, for whoever waits.
    fn about(&self) -> String {
        let defects = self.stage.planted().filter(|_| self.server == Server::Planted).count();
        let defects = match defects {
            0 => "no defect".to_owned(),
            1 => "1 defect".to_owned(),
            defects => format!("{defects} defects together"),
        };
        format!("{}: {defects}", self.stage.run_name(self.server, self.seed))
    }

    /// Runs it; `None`: the selftest is stopping, and what a run that was cut short shows is no evidence.
    async fn once(
        &self,
        wish: &Wish,
        stop: &Stop,
        progress: &mut Progress,
    ) -> Result<Option<Ran>, SelftestError> {
        // Each run has its own reasons to stop; only the user stops them all.
        let own = Stop::new();
        let ran = tokio::select! {
            biased;
            ran = self.stage.run(self.server, self.seed, &own, progress) => ran?,
            never = own.follow(stop) => match never {},
        };
        if let (Some(ran), Some(dir)) = (&ran, &wish.out) {
            json::write(dir, &ran.report)?;
        }
        Ok(ran.filter(|_| !stop.is_stopping()))
    }
}

fn is_invalid(report: &Report) -> bool {
    Outcome::from(report) == Outcome::Internal
}
