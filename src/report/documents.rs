//! The documents of a run, or of a directory: all rendered from its reports, and from what became of the scenarios that
//! have none.

use std::io;
use std::path::{Path, PathBuf};

use super::closing::Ending;
use super::failure_modes::document as failure_modes;
use super::model::Report;
use super::targets::document as targets;
use super::{file, markdown};

/// A document: its name within the directory, and what it holds.
type Document = (&'static str, fn(&Scope<'_>) -> String);

/// All of them, in the order to read them in.
const ALL: [Document; 3] = [
    (markdown::FILE, markdown::render),
    (failure_modes::FILE, failure_modes::render),
    (targets::FILE, |scope| targets::render(scope.reports)),
];

/// What the documents are about.
#[derive(Debug, Clone)]
pub struct Scope<'a> {
    /// Reports, in the order to show them in.
    pub reports: &'a [Report],
    /// How every scenario ended, those without a report among them.
    pub endings: Vec<Ending>,
    /// Files beside the documents that look like reports, and are of no scenario of this run.
    pub left_out: Vec<String>,
}

impl<'a> Scope<'a> {
    /// Reports, whichever run they are of.
    #[must_use]
    pub fn of(reports: &'a [Report]) -> Self {
        let endings = reports.iter().map(Ending::of).collect();
        Self { reports, endings, left_out: Vec::new() }
    }

    /// Scenarios that were to be run and have no report.
    pub(super) fn not_run(&self) -> impl Iterator<Item = &Ending> {
        self.endings.iter().filter(|ending| ending.judged.is_none())
    }
}

/// Why a document was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct DocumentError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Writes every document, each in one step, and returns their paths.
///
/// # Errors
/// When a file cannot be written.
pub fn write(dir: &Path, scope: &Scope<'_>) -> Result<Vec<PathBuf>, DocumentError> {
    let write = |(name, render): &Document| {
        let path = dir.join(name);
        match file::replace(&path, render(scope).as_bytes()) {
            Ok(()) => Ok(path),
            Err(source) => Err(DocumentError { path, source }),
        }
    };
    ALL.iter().map(write).collect()
}

/// Puts reports in the order of `names`, which is that of the catalogue; those it does not know follow, in the order in
/// which they were run.
pub fn sort(names: &[&str], reports: &mut [Report]) {
    let place = |name: &str| names.iter().position(|known| *known == name).unwrap_or(names.len());
    // Times are in RFC 3339 and UTC, so their order is that of their letters.
    reports.sort_by_cached_key(|report| {
        (place(&report.scenario.name), report.run.started_at.clone(), report.scenario.name.clone())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::ScenarioInfo;
    use crate::report::sample::{inconclusive, sample};
    use crate::report::sample_broken::{HOSTILE, broken};
    use crate::report::sample_herd::{cascade, herd};
    use crate::verdict::Outcome;

    #[test]
    fn all_are_written_beside_the_reports() {
        let dir = tempfile::tempdir().unwrap();
        let reports = [sample()];
        let paths = write(dir.path(), &Scope::of(&reports)).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["stress_results.md", "failure_modes.md", "optimization_targets.md"]);
        for (path, (_, render)) in paths.iter().zip(ALL) {
            assert_eq!(std::fs::read_to_string(path).unwrap(), render(&Scope::of(&reports)));
        }
    }

    #[test]
    fn the_catalogue_decides_the_order_and_then_the_time() {
        let at = |name: &str, started_at: &str| {
            let scenario = ScenarioInfo { name: name.to_owned(), ..ScenarioInfo::default() };
            let mut report = Report { scenario, ..Report::default() };
            report.run.started_at = started_at.to_owned();
            report
        };
        let mut reports =
            [at("own-a", "T3"), at("soak", "T1"), at("own-b", "T2"), at("10k", "T4"), at("own-c", "T3")];
        sort(&["10k", "cascade", "soak"], &mut reports);
        assert_eq!(reports.map(|report| report.scenario.name), ["10k", "soak", "own-b", "own-a", "own-c"]);
    }

    /// No text from elsewhere breaks a table, becomes markup or moves a cursor, whatever is in a report.
    #[test]
    fn foreign_text_stays_text() {
        let all = [sample(), inconclusive(), herd(), cascade(), broken()];
        let mut endings: Vec<Ending> = all.iter().map(Ending::of).collect();
        let (name, why) = (HOSTILE.to_owned(), Some(HOSTILE.to_owned()));
        endings.push(Ending { name, outcome: Outcome::Usage, judged: None, why });
        for (name, render) in ALL {
            let document = render(&Scope { endings: endings.clone(), ..Scope::of(&all) });
            let (mut cells, mut in_code) = (None, false);
            for line in document.lines() {
                assert!(!line.chars().any(char::is_control), "{name}: {line:?}");
                in_code ^= line.starts_with("```");
                if in_code {
                    continue;
                }
                let markup = line.replace("<br>", "").replace("&emsp;", "");
                let outside: String = markup.split('`').step_by(2).collect();
                assert!(!outside.contains(['<', '\u{202e}']), "{name}: {line}");
                let links = outside.replace("\\]", "");
                assert!(!links.contains("](http") && !links.contains("http:"), "{name}: {line}");
                if !line.starts_with('|') {
                    cells = None;
                    continue;
                }
                let n = line.replace("\\|", "").matches('|').count();
                assert_eq!(*cells.get_or_insert(n), n, "{name}: {line}");
            }
            let headings = document.lines().filter(|line| line.starts_with("## heading")).count();
            assert_eq!(headings, 0, "{name}");
        }
    }
}
