//! What each command does, and with which exit code it ends.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::CommandFactory;

use crate::care::redact_url;
use crate::cli::{Cli, Color, Command, FileArgs, Output, PlanArgs, RunArgs, SelftestArgs};
use crate::inject::partition;
use crate::metrics::process;
use crate::report::json::JsonError;
use crate::report::progress::Progress;
use crate::report::style::{self, ColorWish, Style, wrap};
use crate::report::{human, json, markdown, model::Report, text};
use crate::run::limits::{self, Partitions};
use crate::run::machine::{Machine, raise_open_files};
use crate::run::needs::Needs;
use crate::run::session::{self, RunError, Settings};
use crate::run::stop::{Heard, Signals, Stop};
use crate::scenarios::catalogue::{Catalogue, Options, Planned};
use crate::scenarios::plan::Plan;
use crate::scenarios::problem::{Problem, Problems, harmless_text};
use crate::selftest::stage::StageError;
use crate::selftest::{self, SelftestError, Wish};
use crate::server::{ServeError, serve};
use crate::verdict::{Outcome, exit_code};

/// A scenario file that is used without being named.
const DEFAULT_FILE: &str = "scenarios.toml";

/// Does what the command line says; the exit code of design §3.
///
/// # Errors
/// What could not be done; [`code_of`] knows its exit code.
pub fn execute(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Run(args) => run(args, cli.color),
        Command::List(file) => list(file),
        Command::Show { name, file } => {
            out(&catalogue(file)?.show(name)?)?;
            Ok(0)
        }
        Command::Plan { names, what } => plan(names, what),
        Command::Check { file } => check(file),
        Command::Serve(options) => serve(options).map(|()| 0),
        Command::Selftest(args) => selftest(args, cli.color),
        Command::Report { dir } => report(dir),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "stressctl", &mut script);
            out(&String::from_utf8_lossy(&script))?;
            Ok(0)
        }
    }
}

/// The exit code of an error: what the user has to change is 2, what nobody foresaw is 70.
#[must_use]
pub fn code_of(error: &anyhow::Error) -> u8 {
    let foreseen = error.is::<Problems>() || error.is::<JsonError>() || error.is::<ServeError>();
    exit_code(&[if foreseen { Outcome::Usage } else { Outcome::Internal }])
}

fn outcome_of(error: &RunError) -> Outcome {
    match error {
        RunError::Target(e) if e.exit_code() == 4 => Outcome::Unreachable,
        RunError::Target(_) => Outcome::Usage,
        RunError::Unreachable { .. } => Outcome::Unreachable,
        RunError::TooSmall(_) | RunError::NoPartition | RunError::Machine(_) => Outcome::Inconclusive,
        RunError::Reference(_) | RunError::Fleet(_) => Outcome::Internal,
    }
}

/// Writes to standard output; a reader that has gone away (`| head`) is not an error.
fn out(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let newline = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    match write!(stdout, "{text}{newline}").and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Tells the user something. Nobody listening (`2>&1 | head`, a full disk) is no reason to lose the report.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

fn catalogue(file: &FileArgs) -> anyhow::Result<Catalogue> {
    let default = Path::new(DEFAULT_FILE);
    let path = file.path.as_deref().or_else(|| default.exists().then_some(default));
    Ok(Catalogue::load(path)?)
}

fn list(file: &FileArgs) -> anyhow::Result<u8> {
    let listed = catalogue(file)?.list();
    let width = listed.iter().map(|l| l.name.len()).max().unwrap_or(0);
    // One line each for a program that reads it.
    let room =
        if io::stdout().is_terminal() { columns(io::stdout()) - width.min(40) - 2 } else { usize::MAX };
    let mut lines = Vec::new();
    for l in &listed {
        let mut name = l.name.as_str();
        for line in wrap(&harmless_text(&l.about), room) {
            lines.push(format!("{name:width$}  {line}"));
            name = "";
        }
    }
    out(&lines.join("\n"))?;
    Ok(0)
}

fn check(file: &Path) -> anyhow::Result<u8> {
    let warnings = Catalogue::check_file(file)?;
    warn(&warnings);
    out(&format!("{}: no problems", file.display()))?;
    Ok(0)
}

fn warn(warnings: &[crate::scenarios::problem::Problem]) {
    for warning in warnings {
        let mut text = String::new();
        warning.render("warning", &mut text).expect("writing to a string cannot fail");
        say(&text);
    }
}

fn planned(
    catalogue: &Catalogue,
    names: &[String],
    what: &PlanArgs,
    server_pid: bool,
) -> anyhow::Result<Planned> {
    let options = Options {
        scale: what.scale,
        set: what.set.clone(),
        seed: what.seed,
        target: what.target.clone(),
        protocol: what.protocol.clone(),
        server_pid,
    };
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(catalogue.plan(&names, &options)?)
}

fn plan(names: &[String], what: &PlanArgs) -> anyhow::Result<u8> {
    let planned = planned(&catalogue(&what.file)?, names, what, false)?;
    warn(&planned.warnings);
    raise_open_files().ok();
    let machine = Machine::read().context("cannot read the limits of this machine")?;
    let mut outcomes = Vec::new();
    for plan in &planned.plans {
        let needs = Needs::of(plan, plan.target.url.is_none());
        let width = columns(io::stdout());
        let mut head = head(plan, width);
        head.extend(outline(plan, width));
        for (id, why) in not_applicable(plan) {
            head.extend(hanging("  ", &format!("not applicable: {id}, {why}"), width));
        }
        out(&format!("{}\n{}\n", head.join("\n"), needs.text().trim_end()))?;
        let partitions = limits::partitions(plan, partition::is_allowed);
        match partitions {
            Partitions::None | Partitions::Allowed => {}
            Partitions::AsStalls => out("partitions run as stalls on this machine\n")?,
            Partitions::Refused => {
                outcomes.push(Outcome::Inconclusive);
                out(&format!("does not fit: {}\n", limits::NO_PARTITION))?;
            }
        }
        match limits::check(&needs, &machine) {
            Ok(()) if partitions == Partitions::Refused => {}
            Ok(()) => out("fits on this machine\n")?,
            Err(shortages) => {
                outcomes.push(Outcome::Inconclusive);
                for shortage in shortages {
                    out(&format!("does not fit: {shortage}"))?;
                }
            }
        }
    }
    Ok(if outcomes.is_empty() { 0 } else { exit_code(&outcomes) })
}

/// What the user is told about a plan before anything starts, in lines of at most `width` columns.
fn head(plan: &Plan, width: usize) -> Vec<String> {
    let mut lines = hanging("", &format!("{}: {}", plan.name, harmless_text(&plan.about)), width);
    let Plan { hash, seed, scale, .. } = plan;
    lines.extend(hanging("  ", &format!("seed {seed} · scale {scale} · plan hash {hash}"), width));
    let scaled = plan.time_scale_line();
    lines.extend(scaled.iter().flat_map(|line| hanging("  ", line, width)));
    for change in &plan.changes {
        let why = if change.at_least { " (at-least)" } else { "" };
        let (from, to) = (human::count(change.from), human::count(change.to));
        lines.extend(hanging("  ", &format!("scaled {}: {from} → {to}{why}", change.key), width));
    }
    lines
}

/// The phases, and whom every fault hits.
fn outline(plan: &Plan, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |indent: &str, text: &str| lines.extend(hanging(indent, &harmless_text(text), width));
    plan.timetable().iter().for_each(|line| say("  ", &format!("phase {line}")));
    for (fault, victims) in plan.fault_details() {
        say("  ", &format!("fault {fault}"));
        victims.iter().for_each(|line| say("    ", line));
    }
    lines
}

/// The conditions that cannot be judged at this size, and why.
fn not_applicable(plan: &Plan) -> Vec<(&str, &str)> {
    let conditions = plan.expect.iter().chain(&plan.reached);
    conditions.filter_map(|c| Some((c.id.as_str(), c.not_applicable.as_deref()?))).collect()
}

/// Lines of a text, all but the first indented further.
fn hanging(indent: &str, text: &str, width: usize) -> Vec<String> {
    if text.chars().count() + indent.len() <= width {
        return vec![format!("{indent}{text}")];
    }
    let lines = wrap(text, width - indent.len() - 4).into_iter().enumerate();
    lines.map(|(i, line)| format!("{indent}{}{line}", if i == 0 { "" } else { "    " })).collect()
}

/// Columns to write for.
fn columns(stream: impl AsFd) -> usize {
    let terminal = rustix::termios::tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
    style::width(terminal, std::env::var("COLUMNS").ok().as_deref())
}

fn report(dir: &Path) -> anyhow::Result<u8> {
    let loaded = json::load_all(dir)?;
    let bad = !loaded.problems.is_empty();
    for problem in loaded.problems {
        say(&format!("warning: {:#}", anyhow::Error::from(problem)));
    }
    if loaded.reports.is_empty() {
        say(&format!("error: there are no reports in {}", dir.display()));
        return Ok(exit_code(&[Outcome::Usage]));
    }
    let reports: Vec<Report> = loaded.reports.into_iter().map(|(_, report)| report).collect();
    let path = markdown::write(dir, &reports)
        .with_context(|| format!("cannot write {} in {}", markdown::FILE, dir.display()))?;
    out(&format!("wrote {}", path.display()))?;
    Ok(if bad { exit_code(&[Outcome::Usage]) } else { 0 })
}

fn run(args: &RunArgs, color: Color) -> anyhow::Result<u8> {
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

fn event_loop() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().context("cannot start an event loop")
}

fn selftest(args: &SelftestArgs, color: Color) -> anyhow::Result<u8> {
    args.out.as_deref().map(json::prepare).transpose()?;
    if let Err(e) = raise_open_files() {
        say(&format!("warning: cannot raise the limit of open files: {e}"));
    }
    let wish = Wish { long: args.long, seeds: args.seeds.into(), seed: args.seed, out: args.out.clone() };
    let result = event_loop()?.block_on(async {
        let stop = Stop::new();
        let signals = Signals::listen().context("cannot listen for signals")?;
        // A line for each run is enough where nothing can be redrawn.
        let drawn = || if io::stderr().is_terminal() { progress(color) } else { Progress::hidden() };
        let work = selftest::run(&wish, &stop, say, drawn);
        let obey = signals.obey(&stop, |heard| match heard {
            Heard::Stopping => say("stopping: what has been found so far is printed within seconds"),
            Heard::Hurrying => say("leaving at once"),
        });
        anyhow::Ok(tokio::select! {
            biased;
            result = work => Some(result),
            () = obey => None,
        })
    })?;
    let matrix = match result {
        None => return Ok(exit_code(&[Outcome::Inconclusive])),
        Some(Err(SelftestError::Stage(StageError::Run(e)))) => {
            let outcome = outcome_of(&e);
            say(&format!("error: {:#}", anyhow::Error::from(e)));
            return Ok(exit_code(&[outcome]));
        }
        Some(result) => result?,
    };
    match args.output {
        Output::Text => {
            out(&matrix.text(colors(color, io::stdout().is_terminal()), columns(io::stdout())))?;
        }
        Output::Json => out(&matrix.json()?)?,
        Output::Quiet => {}
    }
    Ok(exit_code(&[matrix.outcome()]))
}

fn progress(color: Color) -> Progress {
    let terminal = io::stderr().is_terminal() && std::env::var("TERM").as_deref() != Ok("dumb");
    Progress::new(terminal, colors(color, terminal).color, || columns(io::stderr()))
}

fn every_name(catalogue: &Catalogue) -> Vec<String> {
    let listed = catalogue.list();
    let own = listed.iter().any(|l| !l.built_in);
    listed.into_iter().filter(|l| !own || !l.built_in).map(|l| l.name).collect()
}

fn wish(color: Color) -> ColorWish {
    match color {
        Color::Auto => ColorWish::Auto,
        Color::Always => ColorWish::Always,
        Color::Never => ColorWish::Never,
    }
}

fn colors(color: Color, is_terminal: bool) -> Style {
    let no_color = std::env::var("NO_COLOR").ok();
    let term = std::env::var("TERM").ok();
    Style::decide(wish(color), is_terminal, no_color.as_deref(), term.as_deref())
}

/// Runs scenarios one after the other; each has its own reference server and its own report.
async fn run_all(args: &RunArgs, color: Color, plans: Vec<Plan>) -> anyhow::Result<u8> {
    let stop = Stop::new();
    let signals = Signals::listen().context("cannot listen for signals")?;
    let settings = Settings { confirm: args.confirm.clone(), server_pid: args.server_pid, command: None };
    let mut done = Done {
        args,
        style: colors(color, io::stdout().is_terminal()),
        several: plans.len() > 1,
        reports: Vec::new(),
        outcomes: Vec::new(),
    };
    let work = async {
        for plan in plans {
            if stop.is_stopping() && !done.outcomes.is_empty() {
                say(&format!("{}: not started, because the run is stopping", plan.name));
                done.outcomes.push(Outcome::Inconclusive);
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
    outcomes: Vec<Outcome>,
}

impl Done<'_> {
    async fn one(&mut self, plan: Plan, settings: &Settings, stop: &Stop, color: Color) {
        let width = columns(io::stderr());
        let needs = format!("needs {}", Needs::of(&plan, plan.target.url.is_none()).line());
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
                self.outcomes.push(outcome_of(&e));
                say(&format!("error: {:#}", anyhow::Error::from(e)));
            }
        }
    }

    /// What cannot be written is said, and does not take the other scenarios with it.
    fn keep(&mut self, report: Report) {
        self.outcomes.push(Outcome::from(&report));
        if let Err(e) = self.write(&report) {
            say(&format!("error: {e:#}"));
            self.outcomes.push(Outcome::Usage);
        }
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

    fn finish(self) -> anyhow::Result<u8> {
        if !self.reports.is_empty() {
            let all = json::load_all(&self.args.out)?;
            let reports: Vec<Report> = all.reports.into_iter().map(|(_, report)| report).collect();
            markdown::write(&self.args.out, &reports)
                .with_context(|| format!("cannot write {}", markdown::FILE))?;
        }
        if self.args.output == Output::Text && self.outcomes.len() > 1 {
            let mut lines = Vec::new();
            text::summary(&self.reports, self.style, columns(io::stdout()), &mut lines)?;
            out(&String::from_utf8_lossy(&lines))?;
        }
        Ok(exit_code(&self.outcomes))
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
