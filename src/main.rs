//! Parses the command line, runs it, maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser;
use stressctl::cli::Cli;
use stressctl::commands::{code_of, execute};
use stressctl::scenarios::problem::Problems;

#[allow(clippy::print_stderr, reason = "the last words of a failed command")]
fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("STRESSCTL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Problems of a file bring the word, for each of them.
            let word = if error.is::<Problems>() { "" } else { "error: " };
            eprintln!("{word}{error:#}");
            ExitCode::from(code_of(&error))
        }
    }
}
