//! Sets what netem did beside what the injector did.

use std::fmt::{self, Write as _};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::measure::Latencies;
use crate::sets::{BASELINE, SETS, Set};

/// The 25th, 50th and 75th of a hundred, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Quartiles([u64; 3]);

impl Quartiles {
    fn of(mut sample: Vec<u64>) -> Self {
        sample.sort_unstable();
        Self([1, 2, 3].map(|quarter| sample[(sample.len() - 1) * quarter / 4]))
    }
}

/// One set as netem delayed it, which knows no direction on loopback, and as the injector did in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) median: Duration,
    pub(crate) netem: Quartiles,
    pub(crate) out: Quartiles,
    pub(crate) in_: Quartiles,
}

/// How far from `ns` is no difference: a millisecond, or a twentieth where that is more.
fn allowed(ns: u64) -> u64 {
    (ns / 20).max(1_000_000)
}

impl Row {
    fn differences(&self) -> [[u64; 2]; 3] {
        [0, 1, 2].map(|at| [self.out, self.in_].map(|ours| ours.0[at].abs_diff(self.netem.0[at])))
    }

    /// Whether netem and the injector agree.
    pub(crate) fn agrees(&self) -> bool {
        let bounds = self.netem.0.map(allowed);
        self.differences().iter().zip(bounds).all(|(both, bound)| both.iter().all(|ns| *ns <= bound))
    }

    /// Whether netem did what it was told; if not, agreeing with it means nothing.
    pub(crate) fn is_exact(&self) -> bool {
        let asked = self.median.as_nanos() as u64;
        self.netem.0[1].abs_diff(asked) <= allowed(asked)
    }
}

/// All sets, and without a delay what the machines themselves take.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) baseline: Row,
    pub(crate) rows: Vec<Row>,
}

impl Comparison {
    /// Reads what was measured: `netem/SET` and `injector/SET` in `dir`.
    pub(crate) fn read(dir: &Path) -> anyhow::Result<Self> {
        let row = |set: &Set| {
            let netem = read(&dir.join("netem"), set)?;
            let injector = read(&dir.join("injector"), set)?;
            anyhow::Ok(Row {
                name: set.name,
                median: set.delay.median(),
                netem: Quartiles::of([netem.out, netem.in_].concat()),
                out: Quartiles::of(injector.out),
                in_: Quartiles::of(injector.in_),
            })
        };
        Ok(Self { baseline: row(&BASELINE)?, rows: SETS.iter().map(row).collect::<Result<_, _>>()? })
    }

    /// Refuses a netem that is not what it is said to be, and an injector that does not agree with it.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let names = |wrong: fn(&Row) -> bool| -> Vec<&str> {
            self.rows.iter().filter(|row| wrong(row)).map(|row| row.name).collect()
        };
        let inexact = names(|row| !row.is_exact());
        ensure!(inexact.is_empty(), "netem itself did not delay as it was told: {}", inexact.join(", "));
        let apart = names(|row| !row.agrees());
        ensure!(apart.is_empty(), "the injector does not delay as netem does: {}", apart.join(", "));
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        writeln!(
            f,
            "| delay | quartile | netem, ms | injector out, ms | injector in, ms | difference | allowed | |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for (row, judged) in
            [(&self.baseline, false)].into_iter().chain(self.rows.iter().map(|row| (row, true)))
        {
            for (at, both) in row.differences().iter().enumerate() {
                let mut line = format!("| {} | {} % |", row.name, 25 * (at + 1));
                for ns in [row.netem, row.out, row.in_].map(|quartiles| quartiles.0[at]) {
                    write!(line, " {:.2} |", ms(ns))?;
                }
                let (worst, bound) = (both[0].max(both[1]), allowed(row.netem.0[at]));
                let word = if worst <= bound { "ok" } else { "APART" };
                match judged {
                    true => write!(line, " {:.2} | {:.2} | {word} |", ms(worst), ms(bound))?,
                    false => write!(line, " | | not judged |")?,
                }
                writeln!(f, "{line}")?;
            }
        }
        Ok(())
    }
}

/// Writes one line for each message: which way, and the nanoseconds.
pub(crate) fn lines(latencies: &Latencies) -> String {
    let line = |way: &'static str| move |ns: &u64| format!("{way} {ns}\n");
    latencies.out.iter().map(line("out")).chain(latencies.in_.iter().map(line("in"))).collect()
}

/// Reads these lines again; every message of the set must be there.
fn read(folder: &Path, set: &Set) -> anyhow::Result<Latencies> {
    let path = folder.join(set.name);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut latencies = Latencies::default();
    for line in text.lines() {
        let Some((way, Ok(ns))) = line.split_once(' ').map(|(way, ns)| (way, ns.parse())) else {
            bail!("{}: not a latency: {line}", path.display());
        };
        match way {
            "out" => latencies.out.push(ns),
            "in" => latencies.in_.push(ns),
            _ => bail!("{}: not a direction: {line}", path.display()),
        }
    }
    let owed = (set.connections * set.messages) as usize;
    ensure!(
        latencies.out.len() == owed && latencies.in_.len() == owed,
        "{}: {} and {} messages instead of {owed} each way",
        path.display(),
        latencies.out.len(),
        latencies.in_.len()
    );
    Ok(latencies)
}

/// A row by its quartiles in milliseconds, for tests.
pub(crate) fn row(name: &'static str, median: u64, [netem, out, in_]: [[f64; 3]; 3]) -> Row {
    let quartiles = |of: [f64; 3]| Quartiles(of.map(|ms| (ms * 1e6) as u64));
    let median = Duration::from_millis(median);
    Row { name, median, netem: quartiles(netem), out: quartiles(out), in_: quartiles(in_) }
}
