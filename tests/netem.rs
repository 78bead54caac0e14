//! The injector's link delay against the Linux kernel's own netem, over the same traffic with the same parameters.
//!
//! `tests/netem/compare.sh` runs this very program where netem is and where the injector is, and has it judge what came
//! of both. SKIPPED where there is neither a netem in the kernel nor a user-mode-linux to boot one that has it.

mod common;

#[path = "netem/injected.rs"]
mod injected;
#[path = "netem/judge.rs"]
mod judge;
#[path = "netem/measure.rs"]
mod measure;
#[path = "netem/sets.rs"]
mod sets;

use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

use anyhow::{Context, bail};
use common::optional;
use injected::Injector;
use judge::{Comparison, row};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/netem/compare.sh");
/// What the script exits with where it cannot compare.
const SKIPPED: i32 = 77;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let worked = match args[..] {
        ["sets"] => sets(),
        ["measure", by, set] => measured(by, set),
        ["judge", dir] => judged(Path::new(dir)),
        _ => return tests(),
    };
    match worked {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the name of every delay, and what netem is told.
fn sets() -> anyhow::Result<()> {
    for set in sets::SETS {
        writeln!(std::io::stdout(), "{} {}", set.name, set.netem)?;
    }
    Ok(())
}

/// Prints what each message took, over plain sockets or through the injector.
fn measured(by: &str, set: &str) -> anyhow::Result<()> {
    let set = sets::named(set).with_context(|| format!("there is no set {set}"))?;
    let latencies = match by {
        "plain" => measure::measure(&set, |socket, _| Ok(socket), std::future::pending()),
        "injected" => {
            let injector = Injector::default();
            measure::measure(&set, |socket, nth| Ok(injector.link(socket, set.delay, nth)), injector.drive())
        }
        _ => bail!("measured by what? plain or injected, not {by}"),
    }?;
    Ok(std::io::stdout().write_all(judge::lines(&latencies).as_bytes())?)
}

/// Prints the table of what lies in `dir`, and fails where netem and the injector do not agree.
fn judged(dir: &Path) -> anyhow::Result<()> {
    let comparison = Comparison::read(dir)?;
    write!(std::io::stdout(), "{comparison}")?;
    comparison.verdict()
}

fn tests() -> ExitCode {
    let always: [optional::Test; 3] = [
        ("quartiles_that_agree_pass", quartiles_that_agree_pass),
        ("a_quartile_that_is_apart_fails", a_quartile_that_is_apart_fails),
        ("a_netem_that_does_not_delay_proves_nothing", a_netem_that_does_not_delay_proves_nothing),
    ];
    let compared: [optional::Test; 1] =
        [("the_injector_delays_as_netem_does", the_injector_delays_as_netem_does)];
    let judge = optional::run(&always, &Ok(()), "");
    let netem = optional::run(&compared, &means(), "STRESSCTL_REQUIRE_NETEM");
    if judge == ExitCode::SUCCESS { netem } else { judge }
}

fn script(args: &[&str]) -> Output {
    Command::new(SCRIPT).args(args).output().expect("bash starts")
}

/// Whether there is a netem to compare with.
fn means() -> Result<(), String> {
    let output = script(&["--probe"]);
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

fn the_injector_delays_as_netem_does() {
    let program = std::env::current_exe().expect("this program has a path");
    let output = script(&["--program", program.to_str().expect("its path is text")]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_ne!(output.status.code(), Some(SKIPPED), "what was there is gone:\n{stderr}");
    assert!(output.status.success(), "{stdout}\n{stderr}");
}

fn compare(row: judge::Row) -> Result<(), String> {
    let baseline = judge::row("none", 0, [[0.1; 3]; 3]);
    Comparison { baseline, rows: vec![row] }.verdict().map_err(|error| error.to_string())
}

fn quartiles_that_agree_pass() {
    let near = row("near", 20, [[20.1, 20.1, 20.2], [21.1, 21.0, 21.1], [19.2, 19.1, 20.2]]);
    assert_eq!(compare(near), Ok(()));
    let wide = row("wide", 100, [[75.0, 100.0, 125.0], [78.7, 104.9, 131.2], [71.3, 95.1, 118.8]]);
    assert_eq!(compare(wide), Ok(()));
}

fn a_quartile_that_is_apart_fails() {
    let netem = [75.0, 100.0, 125.0];
    for quartile in 0..3 {
        for factor in [0.94, 1.06] {
            let mut apart = netem;
            apart[quartile] *= factor;
            for sides in [[netem, apart, netem], [netem, netem, apart]] {
                let refused = Err("the injector does not delay as netem does: wide".to_owned());
                assert_eq!(compare(row("wide", 100, sides)), refused, "{sides:?}");
            }
        }
    }
    let short = row("short", 2, [[2.0; 3], [3.1; 3], [2.0; 3]]);
    assert_eq!(compare(short), Err("the injector does not delay as netem does: short".to_owned()));
}

fn a_netem_that_does_not_delay_proves_nothing() {
    let neither = row("neither", 100, [[0.1; 3]; 3]);
    assert_eq!(compare(neither), Err("netem itself did not delay as it was told: neither".to_owned()));
}
