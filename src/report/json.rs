//! The report as JSON: one file per scenario in a directory, the previous ones in its `history`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file;
use super::model::{Report, SCHEMA};

/// Why a report cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// The directory for reports cannot be used.
    #[error("cannot write reports to {}: choose another directory with --out", dir.display())]
    Prepare {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write report {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A directory or file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is not JSON, or a report with a value missing or of the wrong kind.
    #[error("{} is not a readable report", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found, and where.
        #[source]
        source: serde_json::Error,
    },
    /// A file is JSON, but no report of this schema.
    #[error("{} is not a report of this version: expected schema {SCHEMA}, found {found}", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What its `schema` says.
        found: String,
    },
    /// There is nothing to load.
    #[error("no reports in {}: `stressctl run --out {}` writes them", dir.display(), dir.display())]
    Empty {
        /// The directory.
        dir: PathBuf,
    },
}

/// What a directory held.
#[derive(Debug)]
pub struct Loaded {
    /// The reports by file name, with their files.
    pub reports: Vec<(PathBuf, Report)>,
    /// Files that end in `.json` and are no readable report.
    pub problems: Vec<JsonError>,
}

/// Makes the directory and tries it, so that a bad path fails before the run and not after it.
///
/// # Errors
/// When the directory cannot be made or written to.
pub fn prepare(dir: &Path) -> Result<(), JsonError> {
    let probe = dir.join(format!(".probe.{}.tmp", std::process::id()));
    let tried = fs::create_dir_all(dir.join("history"))
        .and_then(|()| fs::write(&probe, b"probe"))
        .and_then(|()| fs::remove_file(&probe));
    tried.map_err(|source| JsonError::Prepare { dir: dir.to_owned(), source })
}

/// Writes `DIR/<scenario>.json` in one step and keeps the one before in `DIR/history/<scenario>-<time>.json`.
///
/// # Errors
/// When a file cannot be written; the previous report is then still there.
pub fn write(dir: &Path, report: &Report) -> Result<PathBuf, JsonError> {
    let path = file_of(dir, &report.scenario.name);
    let failed = |source| JsonError::Write { path: path.clone(), source };
    fs::create_dir_all(dir).map_err(failed)?;
    keep_previous(dir, &path).map_err(failed)?;
    let mut content = serde_json::to_vec_pretty(report).map_err(|e| failed(e.into()))?;
    content.push(b'\n');
    file::replace(&path, &content).map_err(failed)?;
    Ok(path)
}

/// Names of the files in a directory that would be read as reports and are not of these, in their order.
///
/// # Errors
/// When the directory cannot be read.
pub fn others(dir: &Path, reports: &[Report]) -> Result<Vec<String>, JsonError> {
    let own = |path: &Path| reports.iter().any(|report| path == file_of(dir, &report.scenario.name));
    let others = files(dir)?.into_iter().filter(|path| !own(path));
    Ok(others.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect())
}

/// The report on one line, for `--output json`.
///
/// # Errors
/// Never for a report made by this program.
pub fn line(report: &Report) -> Result<String, serde_json::Error> {
    serde_json::to_string(report)
}

/// Reads one report.
///
/// # Errors
/// When the file cannot be read or is no report of this schema.
pub fn load(path: &Path) -> Result<Report, JsonError> {
    let text = fs::read(path).map_err(|source| JsonError::Read { path: path.to_owned(), source })?;
    let malformed = |source| JsonError::Malformed { path: path.to_owned(), source };
    let value: Value = serde_json::from_slice(&text).map_err(malformed)?;
    let found = match value.get("schema") {
        Some(Value::String(schema)) if schema == SCHEMA => {
            // Read again from the text: only then does a mistake carry its line and column.
            return serde_json::from_slice(&text).map_err(malformed);
        }
        Some(Value::String(schema)) => super::human::clean(schema),
        Some(_) => "something that is not text".to_owned(),
        None => "no `schema`".to_owned(),
    };
    Err(JsonError::Foreign { path: path.to_owned(), found })
}

/// Reads every report of a directory, not its history. One bad file does not hide the others.
///
/// # Errors
/// When the directory cannot be read, or holds no JSON at all.
pub fn load_all(dir: &Path) -> Result<Loaded, JsonError> {
    let paths = files(dir)?;
    if paths.is_empty() {
        return Err(JsonError::Empty { dir: dir.to_owned() });
    }
    let mut loaded = Loaded { reports: Vec::new(), problems: Vec::new() };
    for path in paths {
        match load(&path) {
            Ok(report) => loaded.reports.push((path, report)),
            Err(problem) => loaded.problems.push(problem),
        }
    }
    Ok(loaded)
}

/// Every JSON file of a directory, by name.
fn files(dir: &Path) -> Result<Vec<PathBuf>, JsonError> {
    let unreadable = |source| JsonError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn file_of(dir: &Path, scenario: &str) -> PathBuf {
    dir.join(format!("{}.json", stem(scenario)))
}

/// Puts the previous report into the history without ever taking it from its place: until the new one is renamed
/// over it, it is under both names.
fn keep_previous(dir: &Path, path: &Path) -> io::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let history = dir.join("history");
    fs::create_dir_all(&history)?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let time = previous_time(path);
    let name =
        |n: u32| if n == 1 { format!("{stem}-{time}.json") } else { format!("{stem}-{time}-{n}.json") };
    for kept in (1..1000).map(|n| history.join(name(n))) {
        match fs::hard_link(path, &kept) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            // A file system without hard links.
            Err(_) => return fs::copy(path, &kept).map(drop),
        }
    }
    Err(io::Error::other(format!("history is full of reports of {time}")))
}

/// When the previous report's run started, as it may stand in a file name; of a file that is no report, that.
fn previous_time(path: &Path) -> String {
    let started = load(path).map(|report| report.run.started_at).unwrap_or_default();
    let time: String = started.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    if time.is_empty() { "unknown".to_owned() } else { time }
}

/// A scenario's name as the stem of a file that stays in its directory.
fn stem(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let stem: String = name.chars().map(safe).collect();
    let stem = stem.trim_start_matches('.');
    if stem.is_empty() { "scenario".to_owned() } else { stem.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::sample;

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path()).unwrap();
        let path = write(dir.path(), &sample()).unwrap();
        assert_eq!(path, dir.path().join("10k-concurrent.json"));
        assert_eq!(load(&path).unwrap(), sample());
        assert_eq!(names(dir.path()), ["10k-concurrent.json", "history"]);
    }

    #[test]
    fn previous_reports_move_to_the_history() {
        let dir = tempfile::tempdir().unwrap();
        for seed in 1..=3 {
            let mut report = sample();
            report.scenario.seed = seed;
            write(dir.path(), &report).unwrap();
        }
        assert_eq!(load(&dir.path().join("10k-concurrent.json")).unwrap().scenario.seed, 3);
        let history = dir.path().join("history");
        let kept = ["10k-concurrent-20260301T120000Z-2.json", "10k-concurrent-20260301T120000Z.json"];
        assert_eq!(names(&history), kept);
        assert_eq!(load(&history.join(kept[1])).unwrap().scenario.seed, 1);
    }

    #[test]
    fn a_directory_that_cannot_be_written_fails_early() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("file");
        fs::write(&in_the_way, "").unwrap();
        let error = prepare(&in_the_way).unwrap_err().to_string();
        assert!(error.starts_with("cannot write reports to "), "{error}");
    }

    #[test]
    fn bad_files_are_named_with_what_was_found() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &sample()).unwrap();
        fs::write(dir.path().join("a.json"), "{\n  \"schema\": oops").unwrap();
        fs::write(dir.path().join("b.json"), "{\"schema\": \"other/7\"}").unwrap();
        fs::write(dir.path().join("c.json"), "[]").unwrap();
        fs::write(dir.path().join("d.json"), "{\"schema\": \"stressctl.report/1\"}").unwrap();
        fs::write(dir.path().join("notes.txt"), "not looked at").unwrap();
        let loaded = load_all(dir.path()).unwrap();
        assert_eq!(loaded.reports.len(), 1);
        let said = |e: &JsonError| {
            let source = std::error::Error::source(e).map(|s| format!(": {s}")).unwrap_or_default();
            format!("{e}{source}").replace(&format!("{}/", dir.path().display()), "")
        };
        let problems: Vec<_> = loaded.problems.iter().map(said).collect();
        assert_eq!(
            problems,
            [
                "a.json is not a readable report: expected value at line 2 column 13",
                "b.json is not a report of this version: expected schema stressctl.report/1, found other/7",
                "c.json is not a report of this version: expected schema stressctl.report/1, found no `schema`",
                "d.json is not a readable report: missing field `tool` at line 1 column 32",
            ]
        );
    }

    #[test]
    fn others_are_the_files_of_no_report_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let mut earlier = sample();
        earlier.scenario.name = "a b".to_owned();
        write(dir.path(), &earlier).unwrap();
        write(dir.path(), &sample()).unwrap();
        fs::write(dir.path().join("broken.json"), "{").unwrap();
        assert_eq!(others(dir.path(), &[sample()]).unwrap(), ["a-b.json", "broken.json"]);
        assert_eq!(others(dir.path(), &[sample(), earlier]).unwrap(), ["broken.json"]);
    }

    #[test]
    fn an_empty_directory_says_how_to_fill_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(load_all(dir.path()), Err(JsonError::Empty { .. })));
    }

    #[test]
    fn names_cannot_leave_the_directory() {
        assert_eq!(
            ["10k-concurrent", "../../etc/x", "a b/c", "..."].map(stem),
            ["10k-concurrent", "-..-etc-x", "a-b-c", "scenario"]
        );
    }

    #[test]
    fn one_report_is_one_line() {
        let line = line(&sample()).unwrap();
        assert!(line.starts_with("{\"schema\":\"stressctl.report/1\",") && !line.contains('\n'));
    }
}
