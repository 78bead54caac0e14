//! The command line, as clap types only; `commands` does what they say.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::server::ServeOptions;

/// Puts a WebSocket subscriptions server under load and proves what it delivered.
///
/// Without a target it loads its own reference server, so `stressctl run --scenario 10k-concurrent` works at once.
#[derive(Debug, Parser)]
#[command(name = "stressctl", version, max_term_width = 100)]
pub struct Cli {
    /// When to colour: auto (on a terminal, unless NO_COLOR or TERM=dumb), always or never
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, env = "STRESSCTL_COLOR")]
    #[arg(hide_possible_values = true, hide_env_values = true)]
    pub color: Color,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios and judge them
    #[command(after_help = EXIT_CODES)]
    Run(RunArgs),
    /// List all scenarios
    List(FileArgs),
    /// Print a scenario with every default filled in
    Show {
        /// Its name
        name: String,
        /// Where it is.
        #[command(flatten)]
        file: FileArgs,
    },
    /// Print what a run would do and need, and whom its faults hit, and do nothing
    Plan {
        /// Names of scenarios
        #[arg(required = true)]
        names: Vec<String>,
        /// What changes it.
        #[command(flatten)]
        what: PlanArgs,
    },
    /// Find every mistake in a scenario file
    Check {
        /// The file
        file: PathBuf,
    },
    /// Run the reference server on its own
    Serve(ServeOptions),
    /// Plant defects in the reference server and show that each is found, exactly
    #[command(after_help = SELFTEST_EXIT_CODES)]
    Selftest(SelftestArgs),
    /// Render every document again from the JSON reports in a directory
    Report {
        /// The directory
        dir: PathBuf,
    },
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

const EXIT_CODES: &str = "\
Exit codes, the gravest of all scenarios:
   0  something was judged, and every expectation held
   1  at least one expectation failed
   2  bad usage or scenario file, or a foreign target that was not confirmed
   3  inconclusive: nothing failed, but something could not be judged, or the machine is too small
      for the plan
   4  the target could not be reached or does not speak the protocol
  70  internal error, a bug in stressctl";

const SELFTEST_EXIT_CODES: &str = "\
Exit codes:
   0  every defect was found exactly, and the honest server raised no alarm
   1  a defect was not found exactly, or there was a false alarm
   2  bad usage
   3  interrupted, or this machine is too small
  70  internal error, a bug in stressctl";

/// `stressctl selftest`
#[derive(Debug, Args)]
pub struct SelftestArgs {
    /// Also plant the defects that need a trend: leaks and a server that becomes slower; takes some minutes
    #[arg(long)]
    pub long: bool,

    /// Run the honest server this many times, with seeds from 1 on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub seeds: u32,

    /// Seed of every random decision while defects are planted
    #[arg(long, value_name = "N", default_value_t = 1, env = "STRESSCTL_SEED", hide_env_values = true)]
    pub seed: u64,

    /// Directory for the report of each run [default: none is kept]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// What goes to standard output: text (the matrix), json (the same on one line) or quiet (nothing)
    #[arg(long, value_enum, value_name = "FORM", default_value_t, env = "STRESSCTL_OUTPUT")]
    #[arg(hide_possible_values = true, hide_env_values = true)]
    pub output: Output,
}

/// `stressctl run`
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["scenarios", "all"])))]
pub struct RunArgs {
    /// A scenario to run; may be given several times
    #[arg(long = "scenario", value_name = "NAME")]
    pub scenarios: Vec<String>,

    /// Run every scenario of the scenario file, or of the built-in catalogue if there is none
    #[arg(long)]
    pub all: bool,

    /// What changes the plan.
    #[command(flatten)]
    pub what: PlanArgs,

    /// Host of a target that is not this machine; must be given for it to be loaded
    #[arg(long, value_name = "HOST")]
    pub confirm: Option<String>,

    /// Process id of the target, if it runs on this machine, for its memory and CPU
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,

    /// Directory for reports
    #[arg(
        long,
        value_name = "DIR",
        default_value = "./stress-results",
        env = "STRESSCTL_OUT",
        hide_env_values = true
    )]
    pub out: PathBuf,

    /// What goes to standard output: text (a screen per scenario), json (a report per line) or quiet (nothing)
    #[arg(long, value_enum, value_name = "FORM", default_value_t, env = "STRESSCTL_OUTPUT")]
    #[arg(hide_possible_values = true, hide_env_values = true)]
    pub output: Output,
}

/// Where scenarios are.
#[derive(Debug, Args)]
pub struct FileArgs {
    /// Scenario file [default: ./scenarios.toml if present]; names not in it are looked up in the built-in catalogue
    #[arg(long = "scenarios", value_name = "FILE", env = "STRESSCTL_SCENARIOS", hide_env_values = true)]
    pub path: Option<PathBuf>,
}

/// What changes a plan.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Where scenarios are.
    #[command(flatten)]
    pub file: FileArgs,

    /// ws:// or wss:// URL, or name of a [targets.NAME] table [default: the reference server]
    #[arg(long, value_name = "URL|NAME", env = "STRESSCTL_TARGET", hide_env_values = true)]
    pub target: Option<String>,

    /// Protocol of the target [default: its table's, or graphql-transport-ws]
    #[arg(long, value_name = "NAME", env = "STRESSCTL_PROTOCOL", hide_env_values = true)]
    pub protocol: Option<String>,

    /// Shrink connections, subscriptions, channels, events and cycles by this factor, above 0 and at most 1
    #[arg(
        long,
        value_name = "F",
        default_value_t = 1.0,
        env = "STRESSCTL_SCALE",
        hide_env_values = true,
        allow_negative_numbers = true
    )]
    pub scale: f64,

    /// Change a value of the scenario by its path, such as publishers.feed.rate=200/s; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Seed of every random decision [default: the scenario's]
    #[arg(
        long,
        value_name = "N",
        env = "STRESSCTL_SEED",
        hide_env_values = true,
        allow_negative_numbers = true
    )]
    pub seed: Option<u64>,
}

/// What goes to standard output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A screen per scenario
    #[default]
    Text,
    /// One compact JSON report per line
    Json,
    /// Nothing
    Quiet,
}
