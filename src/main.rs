//! Parses the command line, runs it, maps the outcome to an exit code.

use std::process::ExitCode;

use clap::Parser;
use stressctl::cli::Cli;
use stressctl::commands::{code_of, execute, say};
use stressctl::scenarios::problem::Problems;
use tracing_subscriber::EnvFilter;

/// Libraries that log, at `trace`, what goes over the wire: secrets, and whatever a server says.
const TALKATIVE: [&str; 5] = ["tungstenite", "tokio_tungstenite", "hyper", "hyper_util", "rustls"];

fn main() -> ExitCode {
    let filter = TALKATIVE.into_iter().fold(
        EnvFilter::try_from_env("STRESSCTL_LOG").unwrap_or_else(|_| EnvFilter::new("warn")),
        |filter, library| {
            filter.add_directive(format!("{library}=warn").parse().expect("a directive is well formed"))
        },
    );
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        // It would report a closed stderr on stderr, and panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    let cli = Cli::parse();
    match execute(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Problems of a file bring the word, for each of them.
            let word = if error.is::<Problems>() { "" } else { "error: " };
            say(&format!("{word}{error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}
