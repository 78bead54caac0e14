//! `stressctl run`: scenarios one after the other, each with its own reference server and its own report, and one verdict
//! over all of them.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;

use super::{
    catalogue, colors, columns, event_loop, hanging, head, not_applicable, out, outcome_of, planned,
    progress, say, sort, warn,
};
use crate::care::redact_url;
use crate::cli::{Color, Output, RunArgs};
use crate::metrics::process;
use crate::report::closing::{self, Ending};
use crate::report::documents::Scope;
use crate::report::style::Style;
use crate::report::{documents, json, model::Report, text};
use crate::run::machine::{raise_open_files, subscriber_threads};
use crate::run::needs::Needs;
use crate::run::session::{self, Settings};
use crate::run::stop::{Heard, Signals, Stop};
use crate::scenarios::catalogue::Catalogue;
use crate::scenarios::plan::Plan;
use crate::scenarios::problem::{Problem, Problems};
use crate::verdict::{Outcome, exit_code, gravest};

/// Runs what was asked for; the exit code of the gravest outcome.
pub(super) fn run(args: &RunArgs, color: Color) -> anyhow::Result<u8> {
    let catalogue = catalogue(&args.what.file)?;
    let names = if args.all { every_name(&catalogue) } else { args.scenarios.clone() };
    let planned = planned(&catalogue, &names, &args.what, args.server_pid.is_some())?;
    warn(&planned.warnings);
    if let Some(pid) = args.server_pid.filter(|pid| !process::exists(*pid)) {
        return Err(Problems::from(Problem::nowhere(format!(
            "--server-pid {pid}: there is no process with this id on this machine"
        )))
        .into());
    }
    json::prepare(&args.out)?;
    if let Err(e) = raise_open_files() {
        say(&format!("warning: cannot raise the limit of open files: {e}"));
    }
    event_loop()?.block_on(run_all(args, color, planned.plans))
}

fn every_name(catalogue: &Catalogue) -> Vec<String> {
    let listed = catalogue.list();
    let own = listed.iter().any(|l| !l.built_in);
    listed.into_iter().filter(|l| !own || !l.built_in).map(|l| l.name).collect()
}

/// Runs every plan, each with its own reference server and its own report.
async fn run_all(args: &RunArgs, color: Color, plans: Vec<Plan>) -> anyhow::Result<u8> {
    let stop = Stop::new();
    let signals = Signals::listen().context("cannot listen for signals")?;
    let settings = Settings { confirm: args.confirm.clone(), server_pid: args.server_pid, command: None };
    let names: Vec<String> = plans.iter().map(|plan| plan.name.clone()).collect();
    let mut done = Done {
        args,
        style: colors(color, io::stdout().is_terminal()),
        several: plans.len() > 1,
        reports: Vec::new(),
        endings: Vec::new(),
    };
    let work = async {
        for plan in plans {
            if stop.is_stopping() && !done.endings.is_empty() {
                say(&format!("{}: not started, because the run is stopping", plan.name));
                done.not_run(plan.name, Outcome::Inconclusive, "the run was stopped before it");
                continue;
            }
            done.one(plan, &settings, &stop, color).await;
        }
    };
    let obey = signals.obey(&stop, |heard| match heard {
        Heard::Stopping => {
            say("stopping: no more events are published; the report is written within seconds");
        }
        Heard::Hurrying => say("leaving at once"),
    });
    tokio::select! {
        biased;
        () = work => {}
        () = obey => {}
    }
    // Whoever left at once has left these behind, the first of them in mid-run.
    let missing = names.iter().skip(done.endings.len());
    for (i, name) in missing.enumerate() {
        let why = if i == 0 { "left before its end" } else { "the run was left before it" };
        done.not_run(name.clone(), Outcome::Inconclusive, why);
    }
    done.finish()
}

/// The command line that runs the same plan again.
fn reproduce(args: &RunArgs, plan: &Plan) -> String {
    let mut words =
        vec!["stressctl".to_owned(), "run".to_owned(), "--scenario".to_owned(), plan.name.clone()];
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    if let Some(file) = &args.what.file.path {
        // Where a file lies is nobody's business but the user's; what it is called says which one.
        let shown = file.file_name().filter(|_| file.is_absolute()).unwrap_or(file.as_os_str());
        add("--scenarios", shown.display().to_string());
    }
    if let Some(target) = &args.what.target {
        // The name of a table, or a URL, which may hold secrets.
        let shown = target.parse().ok().filter(|_| target.contains("://")).map(|url| redact_url(&url));
        add("--target", shown.unwrap_or_else(|| target.clone()));
    }
    if let Some(protocol) = &args.what.protocol {
        add("--protocol", protocol.clone());
    }
    if (plan.scale - 1.0).abs() > f64::EPSILON {
        add("--scale", plan.scale.to_string());
    }
    args.what.set.iter().for_each(|set| add("--set", set.clone()));
    add("--seed", plan.seed.to_string());
    if let Some(host) = &args.confirm {
        add("--confirm", host.clone());
    }
    words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

struct Done<'a> {
    args: &'a RunArgs,
    style: Style,
    several: bool,
    reports: Vec<Report>,
    /// How each scenario ended so far, in order.
    endings: Vec<Ending>,
}

impl Done<'_> {
    async fn one(&mut self, plan: Plan, settings: &Settings, stop: &Stop, color: Color) {
        let width = columns(io::stderr());
        let needs =
            format!("needs {}", Needs::of(&plan, plan.target.url.is_none(), subscriber_threads()).line());
        let mut lines = head(&plan, width);
        // The report says why.
        let ids: Vec<_> = not_applicable(&plan).into_iter().map(|(id, _)| id).collect();
        if !ids.is_empty() {
            lines.extend(hanging("  ", &format!("not applicable: {}", ids.join(", ")), width));
        }
        for fault in plan.fault_lines() {
            lines.extend(hanging("  ", &format!("fault {fault}"), width));
        }
        lines.extend(hanging("  ", &needs, width));
        lines.iter().for_each(|line| say(line));
        let name = plan.name.clone();
        let mut progress = progress(color);
        let settings = Settings { command: Some(reproduce(self.args, &plan)), ..settings.clone() };
        // Each scenario has its own reasons to stop; only the user stops them all.
        let own = Stop::new();
        let result = tokio::select! {
            biased;
            result = session::run(Arc::new(plan), &settings, &own, &mut progress) => result,
            never = own.follow(stop) => match never {},
        };
        match result {
            Ok(report) => self.keep(report),
            Err(e) => {
                let outcome = outcome_of(&e);
                let e = anyhow::Error::from(e);
                say(&format!("error: {e:#}"));
                self.not_run(name, outcome, &e.to_string());
            }
        }
    }

    fn not_run(&mut self, name: String, outcome: Outcome, why: &str) {
        self.endings.push(Ending { name, outcome, judged: None, why: Some(why.to_owned()) });
    }

    /// What cannot be written is said, and does not take the other scenarios with it.
    fn keep(&mut self, report: Report) {
        let mut ending = Ending::of(&report);
        if let Err(e) = self.write(&report) {
            say(&format!("error: {e:#}"));
            ending.outcome = gravest(&[ending.outcome, Outcome::Usage]);
            ending.why = Some(e.to_string());
        }
        self.endings.push(ending);
        self.reports.push(report);
    }

    fn write(&self, report: &Report) -> anyhow::Result<()> {
        let path: PathBuf = json::write(&self.args.out, report)?;
        match self.args.output {
            Output::Text => {
                let mut screen = Vec::new();
                text::render(report, Some(&path), self.style, columns(io::stdout()), &mut screen)?;
                if self.several {
                    screen.push(b'\n');
                }
                out(&String::from_utf8_lossy(&screen))
            }
            Output::Json => out(&json::line(report)?),
            Output::Quiet => Ok(()),
        }
        .context("cannot write to standard output")
    }

    fn finish(mut self) -> anyhow::Result<u8> {
        if let Err(e) = self.write_documents() {
            say(&format!("error: {e:#}"));
            for ending in &mut self.endings {
                ending.outcome = gravest(&[ending.outcome, Outcome::Usage]);
                ending.why.get_or_insert_with(|| e.to_string());
            }
        }
        if self.args.output == Output::Text && self.several {
            let mut lines = Vec::new();
            closing::summary(&self.endings, self.style, columns(io::stdout()), &mut lines)?;
            out(&String::from_utf8_lossy(&lines))?;
        }
        let outcomes: Vec<Outcome> = self.endings.iter().map(|ending| ending.outcome).collect();
        Ok(exit_code(&outcomes))
    }

    /// About this run alone: what earlier ones left in the directory is named, and what was not run has no report.
    fn write_documents(&mut self) -> anyhow::Result<()> {
        sort(&mut self.reports)?;
        let left_out = json::others(&self.args.out, &self.reports)?;
        let scope = Scope { reports: &self.reports, endings: self.endings.clone(), left_out };
        documents::write(&self.args.out, &scope)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("publishers.feed.rate=200/s"), "publishers.feed.rate=200/s");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("ws://h/q?a=$b"), "'ws://h/q?a=$b'");
        assert_eq!(quoted(""), "''");
    }
}
