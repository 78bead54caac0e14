//! What failed: everything that the reports show to have gone wrong, grouped by cause, and nothing else.
//!
//! [`observed`] is pure: reports in, failure modes out. Each file beside this one looks at one part of a report;
//! `circumstances` says where, when, under which load and to whom. [`document`] renders and never reckons.

mod circumstances;
mod connections;
mod deliveries;
pub mod document;
mod faults;
mod limits;
mod run;
mod server;
#[cfg(test)]
mod tests;
mod told;
mod undecided;

use super::model::Report;

/// Whose doing a failure is, the server's first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No fault of ours explains it: the server, or what is between it and us.
    Server,
    /// Seen only of clients that a fault of ours was aimed at: how the server took it.
    Answer,
    /// What was observed does not tell whose doing it is.
    Open,
    /// The run itself: the generator, its machine, or whoever stopped it.
    Run,
    /// We injected it, because the plan says so.
    Ours,
}

/// One cause, and every scenario in which it was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct FailureMode {
    /// Whose doing.
    pub origin: Origin,
    /// A short name that stays the same from run to run: a class of the ledger, `STAGE.REASON`, …
    pub cause: String,
    /// The same for reading.
    pub title: String,
    /// In which scenarios, in their order.
    pub sightings: Vec<Sighting>,
}

/// One cause in one scenario. All texts are plain; those that came from elsewhere have not been made harmless.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sighting {
    /// The scenario.
    pub scenario: String,
    /// How often, or how many; `None`: it is not a matter of counts.
    pub times: Option<u64>,
    /// What was observed, one sentence.
    pub what: String,
    /// To which groups of clients.
    pub whom: Vec<String>,
    /// In which phases, at what times.
    pub when: Vec<String>,
    /// Under which load.
    pub load: String,
    /// What happened meanwhile to those whom no fault of ours was aimed at.
    pub others: Option<String>,
    /// How, and after how long, it was well again.
    pub recovery: Vec<String>,
    /// What the server said, its own words.
    pub said: Option<String>,
    /// One occurrence that can be followed in the logs of the server.
    pub example: Option<String>,
}

/// A cause in one report, before it is grouped.
struct Found {
    origin: Origin,
    cause: String,
    title: String,
    sighting: Sighting,
}

impl Found {
    fn new(
        report: &Report,
        origin: Origin,
        [cause, title]: [&str; 2],
        times: impl Into<Option<u64>>,
        what: impl Into<String>,
    ) -> Self {
        let sighting = Sighting {
            scenario: report.scenario.name.clone(),
            times: times.into(),
            what: what.into(),
            load: circumstances::load(report),
            ..Sighting::default()
        };
        Self { origin, cause: cause.to_owned(), title: title.to_owned(), sighting }
    }
}

/// Looks at one part of a report.
type Source = fn(&Report) -> Vec<Found>;

/// All of them, the gravest first.
const SOURCES: [Source; 6] =
    [server::found, deliveries::found, connections::found, limits::found, run::found, faults::found];

/// Every failure that the reports show, by whose doing it is and then the gravest first; each cause once, with its
/// scenarios in the order of the reports.
#[must_use]
pub fn observed(reports: &[Report]) -> Vec<FailureMode> {
    let mut modes: Vec<FailureMode> = Vec::new();
    for found in SOURCES.iter().flat_map(|source| reports.iter().flat_map(source)) {
        let Found { origin, cause, title, sighting } = found;
        match modes.iter_mut().find(|mode| mode.origin == origin && mode.cause == cause) {
            Some(mode) => mode.sightings.push(sighting),
            None => modes.push(FailureMode { origin, cause, title, sightings: vec![sighting] }),
        }
    }
    modes.sort_by_key(|mode| mode.origin);
    modes
}
