//! What each command does, and with which exit code it ends.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;

use crate::cli::{Cli, Color, Command, FileArgs, Output, PlanArgs, SelftestArgs};
use crate::inject::partition;
use crate::report::documents::Scope;
use crate::report::json::JsonError;
use crate::report::progress::Progress;
use crate::report::style::{self, ColorWish, Style, wrap};
use crate::report::{documents, human, json, model::Report};
use crate::run::limits::{self, Partitions};
use crate::run::machine::{Machine, raise_open_files, subscriber_threads};
use crate::run::needs::Needs;
use crate::run::session::RunError;
use crate::run::stop::{Heard, Signals, Stop};
use crate::scenarios::catalogue::{Catalogue, Options, Planned};
use crate::scenarios::plan::Plan;
use crate::scenarios::problem::{Problems, harmless_text};
use crate::selftest::stage::StageError;
use crate::selftest::{self, SelftestError, Wish};
use crate::server::{ServeError, serve};
use crate::verdict::{Outcome, exit_code};

mod run;

/// A scenario file that is used without being named.
const DEFAULT_FILE: &str = "scenarios.toml";

/// Does what the command line says; the exit code of design §3.
///
/// # Errors
/// What could not be done; [`code_of`] knows its exit code.
pub fn execute(cli: &Cli) -> anyhow::Result<u8> {
    match &cli.command {
        Command::Run(args) => run::run(args, cli.color),
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
        let needs = Needs::of(plan, plan.target.url.is_none(), subscriber_threads());
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
    let mut reports: Vec<Report> = loaded.reports.into_iter().map(|(_, report)| report).collect();
    sort(&mut reports)?;
    for path in documents::write(dir, &Scope::of(&reports))? {
        out(&format!("wrote {}", path.display()))?;
    }
    Ok(if bad { exit_code(&[Outcome::Usage]) } else { 0 })
}

/// Puts reports in the order of the catalogue.
fn sort(reports: &mut [Report]) -> anyhow::Result<()> {
    let listed = Catalogue::from_text(None)?.list();
    let names: Vec<&str> = listed.iter().map(|listed| listed.name.as_str()).collect();
    documents::sort(&names, reports);
    Ok(())
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
