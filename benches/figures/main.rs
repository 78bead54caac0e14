//! The figures that the README quotes, measured on the release binary over loopback.
//!
//! `cargo bench --bench figures [-- [--quick] [NAME]...]`; NAME is a part of a figure's name. What is measured and
//! how is told in `docs/benchmarks.md`.

mod bare;
mod children;
mod client;
mod layer;
mod proc;
mod scratch;
mod server;
mod sustained;
mod table;

use std::process::ExitCode;

use children::eprintln;
use stressctl::clock;
use table::{Figure, Table};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Full,
    Quick,
}

impl Size {
    pub(crate) fn of(self, full: u32, quick: u32) -> u32 {
        if self == Self::Full { full } else { quick }
    }
}

type Measure = fn(Size) -> anyhow::Result<Vec<Figure>>;

const MEASURES: [(&str, Measure); 9] = [
    ("client-memory", client::memory),
    ("client-connect", client::connect),
    ("client-delivery", client::delivery),
    ("client-publish", client::publish),
    ("server-delivery", server::delivery),
    ("server-memory", server::memory),
    ("sustained", sustained::deliveries),
    ("fault-layer-cpu", layer::cpu),
    ("fault-layer-memory", layer::memory),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [flag, url, connections] = &args[..]
        && flag == scratch::FLAG
    {
        return outcome(scratch::client(url, connections.parse().unwrap_or(0)));
    }
    outcome(measure(&args))
}

fn outcome(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln(&format!("error: {error:?}"));
            ExitCode::FAILURE
        }
    }
}

/// A figure that is missed is printed, not an error: this machine is not everybody's.
#[allow(clippy::print_stdout, reason = "a bench prints its figures")]
fn measure(args: &[String]) -> anyhow::Result<()> {
    let size = if args.iter().any(|a| a == "--quick") { Size::Quick } else { Size::Full };
    let wanted: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    // One connection is one file.
    rlimit::increase_nofile_limit(u64::MAX)?;
    let machine = proc::machine();
    let mut figures = Vec::new();
    for (name, measure) in MEASURES {
        if wanted.is_empty() || wanted.iter().any(|w| name.contains(w.as_str())) {
            let began = clock::now();
            eprintln(&format!("{name} ..."));
            figures.extend(measure(size)?);
            eprintln(&format!("{name}: {:.0} s", began.elapsed().as_secs_f64()));
        }
    }
    println!("\n{machine}\n\n{}", Table(&figures));
    Ok(())
}
