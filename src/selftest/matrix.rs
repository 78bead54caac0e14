//! What is printed: the matrix as text, and the same as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::judge::Line;
use crate::report::model::Verdict;
use crate::report::style::{Style, pad, word, wrap};
use crate::verdict::Outcome;

/// The name of the JSON's shape.
const SCHEMA: &str = "stressctl.selftest/1";

/// Everything a selftest found.
#[derive(Debug, Clone, Serialize)]
pub struct Matrix {
    /// Always `stressctl.selftest/1`.
    pub schema: &'static str,
    /// Whether every defect was found exactly, and nothing else.
    pub exact: bool,
    /// Whether it was stopped before it had run everything.
    pub interrupted: bool,
    /// The seed of the planted runs.
    pub seed: u64,
    /// How long it took.
    pub duration_s: f64,
    /// The runs with defects.
    pub stages: Vec<Planted>,
    /// The runs without.
    pub honest: Vec<Honest>,
}

/// A run whose defects were planted.
#[derive(Debug, Clone, Serialize)]
pub struct Planted {
    /// The stage.
    pub stage: String,
    /// What it is about.
    pub about: String,
    /// How long it took.
    pub duration_s: f64,
    /// Its defects.
    pub lines: Vec<Line>,
    /// What is wrong and belongs to none of them.
    pub strays: Vec<String>,
    /// Whether the report's sums do not close.
    pub invalid: bool,
}

/// A run without defects.
#[derive(Debug, Clone, Serialize)]
pub struct Honest {
    /// The stage.
    pub stage: String,
    /// Its seed.
    pub seed: u64,
    /// How long it took.
    pub duration_s: f64,
    /// What was found although there was nothing.
    pub alarms: Vec<String>,
    /// Something could not be judged because this machine was too busy.
    pub limited: bool,
    /// Whether the report's sums do not close.
    pub invalid: bool,
}

impl Matrix {
    /// One that nothing has been found for yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            schema: SCHEMA,
            exact: false,
            interrupted: false,
            seed,
            duration_s: 0.0,
            stages: Vec::new(),
            honest: Vec::new(),
        }
    }

    /// Whether everything is as it had to be.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        let found = |planted: &Planted| planted.strays.is_empty() && planted.lines.iter().all(Line::is_exact);
        self.stages.iter().all(found) && self.honest.iter().all(|honest| honest.alarms.is_empty())
    }

    /// How it ended, for the exit code.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let invalid =
            self.stages.iter().any(|stage| stage.invalid) || self.honest.iter().any(|honest| honest.invalid);
        // Nothing planted, nothing proved.
        let limited = self.honest.iter().any(|honest| honest.limited);
        let cut_short = self.interrupted || self.stages.is_empty() || limited;
        match (invalid, self.is_exact(), cut_short) {
            (true, _, _) => Outcome::Internal,
            (false, false, _) => Outcome::Failed,
            (false, true, true) => Outcome::Inconclusive,
            (false, true, false) => Outcome::Passed,
        }
    }

    /// As one line of JSON.
    ///
    /// # Errors
    /// Never, in practice: it is plain data.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(&Self { exact: self.is_exact() && !self.interrupted, ..self.clone() })
    }

    /// As text of at most `width` columns.
    #[must_use]
    pub fn text(&self, style: Style, width: usize) -> String {
        let mut page = Page { text: String::new(), style, width };
        if !self.stages.is_empty() {
            page.heading();
        }
        for planted in &self.stages {
            page.planted(planted);
        }
        if !self.honest.is_empty() {
            page.honest(&self.honest);
        }
        page.notes(self);
        page.conclusion(self);
        page.text
    }
}

impl Line {
    /// Whether the defect was found exactly.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Columns; with the spaces between them and the last one 100.
const DEFECT: usize = 23;
const NUMBER: usize = 7;
const CLASS: usize = 25;
const VERDICT: usize = 12;

struct Page {
    text: String,
    style: Style,
    width: usize,
}

impl Page {
    fn line(&mut self, line: &str) {
        writeln!(self.text, "{}", line.trim_end()).expect("writing to a string does not fail");
    }

    fn wrapped(&mut self, indent: &str, text: &str) {
        for line in wrap(text, self.width - indent.len()) {
            self.line(&format!("{indent}{line}"));
        }
    }

    fn row(&mut self, [defect, planted, found, class, expected, verdict, end]: [&str; 7]) {
        let (defect, class) = (pad(defect, DEFECT), pad(class, CLASS));
        let (expected, verdict) = (pad(expected, VERDICT), pad(verdict, VERDICT));
        self.line(&format!(
            "{defect} {planted:>NUMBER$} {found:>NUMBER$}  {class} {expected}  {verdict}  {end}"
        ));
    }

    fn heading(&mut self) {
        self.row(["defect", "planted", "found", "class", "expected", "verdict", ""]);
    }

    fn planted(&mut self, planted: &Planted) {
        self.line("");
        let title = format!("{} ({:.1} s): {}", planted.stage, planted.duration_s, planted.about);
        let title = wrap(&title, self.width).join("\n");
        self.line(&self.style.bold(&title));
        for line in &planted.lines {
            self.defect(line);
        }
        let end = self.ending(planted.strays.is_empty());
        self.row(["anything else", "", &planted.strays.len().to_string(), "", "", "", &end]);
        for stray in &planted.strays {
            self.wrapped("    ", stray);
        }
    }

    fn defect(&mut self, line: &Line) {
        let planted = line.planted.to_string();
        let end = match (&line.not_applicable, line.is_exact()) {
            (Some(_), true) => self.style.verdict(Verdict::NotApplicable, "–"),
            (_, exact) => self.ending(exact),
        };
        let unseen = line.not_applicable.is_some();
        let expected = if unseen { "not appl." } else { word(line.expected_verdict) };
        let verdict = word(line.verdict);
        match line.found.split_first() {
            None => {
                let told_by_verdict = !unseen && line.planted > 0;
                let (found, class) = if told_by_verdict { ("–", "its condition") } else { ("0", "–") };
                self.row([&line.defect, &planted, found, class, expected, verdict, &end]);
            }
            Some((first, more)) => {
                let found = first.found.to_string();
                self.row([&line.defect, &planted, &found, &first.class, expected, verdict, &end]);
                for other in more {
                    self.row(["", "", &other.found.to_string(), &other.class, "", "", ""]);
                }
            }
        }
        for wrong in &line.wrong {
            self.wrapped("    ", wrong);
        }
    }

    fn ending(&self, exact: bool) -> String {
        if exact {
            self.style.verdict(Verdict::Pass, "ok")
        } else {
            self.style.verdict(Verdict::Fail, "WRONG")
        }
    }

    fn honest(&mut self, honest: &[Honest]) {
        self.line("");
        self.line(&self.style.bold("the same without any defect"));
        for run in honest {
            let (alarms, seed) = (run.alarms.len().to_string(), format!("seed {}", run.seed));
            let verdict = match (run.alarms.is_empty(), run.limited) {
                (false, _) => "",
                (true, true) => "inconclusive",
                (true, false) => "pass",
            };
            let end = self.ending(run.alarms.is_empty());
            self.row([&run.stage, "0", &alarms, &seed, "pass", verdict, &end]);
            for alarm in &run.alarms {
                self.wrapped("    ", alarm);
            }
        }
    }

    fn notes(&mut self, matrix: &Matrix) {
        let lines = matrix.stages.iter().flat_map(|stage| &stage.lines);
        for (line, why) in lines.filter_map(|line| Some((line, line.not_applicable.as_ref()?))) {
            self.line("");
            self.wrapped("", &format!("{} is not applicable: {why}.", line.defect));
        }
    }

    fn conclusion(&mut self, matrix: &Matrix) {
        let lines = || matrix.stages.iter().flat_map(|stage| &stage.lines);
        let defects = |line: &&Line| line.not_applicable.is_none() && line.planted > 0;
        let planted = lines().filter(defects).count();
        let exact = lines().filter(defects).filter(|line| line.is_exact()).count();
        let alarmed = matrix.honest.iter().filter(|run| !run.alarms.is_empty()).count();
        let runs = matrix.honest.len();
        let found = match (planted, exact) {
            (0, _) => "No defect was planted".to_owned(),
            (planted, exact) if planted == exact => format!("All {planted} defects were found exactly"),
            (planted, exact) => format!("Only {exact} of {planted} defects were found exactly"),
        };
        let honest = match (runs, alarmed) {
            (0, _) => "the honest server was not run".to_owned(),
            (1, 0) => "the honest server raised no alarm".to_owned(),
            (runs, 0) => format!("the honest server raised no alarm in {runs} runs"),
            (runs, alarmed) => format!("the honest server raised an alarm in {alarmed} of {runs} runs"),
        };
        let strays: usize = matrix.stages.iter().map(|stage| stage.strays.len()).sum();
        let strays = match strays {
            0 => String::new(),
            n => format!(", but {n} more findings that nothing was planted for"),
        };
        let stopped = if matrix.interrupted { "Stopped before the end. " } else { "" };
        let conclusion = match matrix.outcome() {
            Outcome::Passed => " On this machine, a pass means something.",
            Outcome::Failed => " Until that is understood, do not trust a pass.",
            Outcome::Internal => " A sum of the ledger does not close: this is a bug in stressctl.",
            _ if matrix.honest.iter().any(|run| run.limited) => {
                " This machine was too busy to judge all of it: repeat it on a quieter one."
            }
            _ => "",
        };
        self.line("");
        let text =
            format!("{stopped}{found}{strays}, and {honest} ({:.0} s).{conclusion}", matrix.duration_s);
        self.wrapped("", &text);
    }
}
