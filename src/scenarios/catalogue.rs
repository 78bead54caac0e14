//! The catalogue: the built-in scenarios, the user's file over them, and the way from a name to a plan.
//!
//! Names that the user's file does not have fall back to the built-in ones. The built-in `[defaults]` are the base
//! of every scenario; those of the user's file lie over them, for its own scenarios only.

use std::io::Read as _;
use std::path::Path;

use serde_json::{Value, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::build::{self, Sizing};
use super::check;
use super::file::{DefaultsTable, FileTable, Name, ScenarioTable};
use super::full::{self, Cuts};
use super::overrides::{self, Applied, Override};
use super::parse::{self, Read, Tree};
use super::plan::Plan;
use super::problem::{Finding, Problem, Problems, Sources};
use super::target::Target;
use super::{resolved, targets};

/// The built-in catalogue's text.
pub const BUILT_IN: &str = include_str!("../../scenarios.toml");

/// What places in the built-in catalogue are called.
const BUILT_IN_LABEL: &str = "built-in scenarios.toml";

/// The largest scenario file that is read.
const LARGEST: u64 = 4 << 20;

/// All scenarios and targets that can be named.
#[derive(Debug)]
pub struct Catalogue {
    sources: Sources,
    /// The user's file, if any, then the built-in one.
    documents: Vec<Document>,
}

#[derive(Debug)]
struct Document {
    text: String,
    start: usize,
    built_in: bool,
    read: Read<FileTable>,
}

/// One line of `stressctl list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The scenario's name.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// Whether it comes with stressctl.
    pub built_in: bool,
}

/// How a run was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// `--scale`, above 0 and at most 1.
    pub scale: f64,
    /// `--set PATH=VALUE`, in order.
    pub set: Vec<String>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--target`: a URL or the name of a table; `None`: the reference server.
    pub target: Option<String>,
    /// `--protocol`.
    pub protocol: Option<String>,
    /// Whether the target's process is watched (`--server-pid`).
    pub server_pid: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { scale: 1.0, set: Vec::new(), seed: None, target: None, protocol: None, server_pid: false }
    }
}

/// Plans, and what is doubtful about them.
#[derive(Debug)]
pub struct Planned {
    /// One for each name, in the order asked for.
    pub plans: Vec<Plan>,
    /// Doubts that stop nothing.
    pub warnings: Vec<Problem>,
}

impl Catalogue {
    /// Loads the user's file, if one is given, over the built-in catalogue.
    ///
    /// # Errors
    /// Everything that is wrong in the file, or why it cannot be read.
    pub fn load(user_file: Option<&Path>) -> Result<Self, Problems> {
        let Some(path) = user_file else { return Self::from_text(None) };
        let label = path.display().to_string();
        let cannot = |why: String| Problem::nowhere(format!("cannot read the scenario file {label}: {why}"));
        let file = std::fs::File::open(path).map_err(|e| cannot(e.to_string()))?;
        let mut bytes = Vec::new();
        // Not by its length: a device or a pipe has none.
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(|e| cannot(e.to_string()))?;
        if bytes.len() as u64 > LARGEST {
            return Err(cannot(format!("it has more than {LARGEST} bytes")).into());
        }
        let text = String::from_utf8(bytes).map_err(|_| cannot("it is not UTF-8 text".to_owned()))?;
        Self::from_text(Some((&label, &text)))
    }

    /// The same from a text and what to call it.
    ///
    /// # Errors
    /// Everything that is wrong in the text.
    pub fn from_text(user: Option<(&str, &str)>) -> Result<Self, Problems> {
        let catalogue = Self::read(user);
        if catalogue.documents.iter().all(|document| document.read.findings.is_empty()) {
            return Ok(catalogue);
        }
        // Whoever has to correct the file should see everything at once.
        Err(catalogue.check().err().unwrap_or_else(|| Problem::nowhere("the scenario file is wrong").into()))
    }

    /// Finds every problem of a scenario file; the warnings of a good one.
    ///
    /// # Errors
    /// Everything that is wrong in the file, or why it cannot be read.
    pub fn check_file(path: &Path) -> Result<Vec<Problem>, Problems> {
        Self::load(Some(path))?.check()
    }

    fn read(user: Option<(&str, &str)>) -> Self {
        let mut sources = Sources::default();
        let texts = user.map(|(label, text)| (label, text, false));
        let documents = texts
            .into_iter()
            .chain([(BUILT_IN_LABEL, BUILT_IN, true)])
            .map(|(label, text, built_in)| {
                let start = sources.add(label, text, true);
                let padded = parse::padded(text, start);
                let read = match parse::parse(&padded) {
                    (Some(tree), _) => parse::read(&tree),
                    (None, findings) => {
                        Read { value: None, findings, cuts: std::collections::HashSet::new() }
                    }
                };
                Document { text: text.to_owned(), start, built_in, read }
            })
            .collect();
        Self { sources, documents }
    }

    /// Checks every scenario and target of the user's file (of the built-in one, if there is none) at full size.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn check(&self) -> Result<Vec<Problem>, Problems> {
        let document = &self.documents[0];
        let mut findings = document.read.findings.clone();
        if let Some(file) = &document.read.value {
            for (name, table) in &file.targets {
                targets::from_table(name, table, None, &mut findings);
            }
            let sizing = Sizing { scale: 1.0, seed: None, server_pid: false, sources: &self.sources };
            for (name, table) in &file.scenarios {
                let found = Found { document, name, table };
                let cuts = format!("scenarios.{}.", name.get_ref());
                self.plan_one(&found, document.cuts(&cuts), targets::reference(), sizing, &mut findings);
            }
        }
        outcome(&self.sources, (), &findings).map(|((), warnings)| warnings)
    }

    /// Every scenario: the user's, then the built-in ones that are not replaced.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        for document in &self.documents {
            for (name, table) in document.read.value.iter().flat_map(|file| &file.scenarios) {
                if listed.iter().all(|known| known.name != *name.get_ref()) {
                    let about = table.about.as_ref().map(|a| a.get_ref().clone()).unwrap_or_default();
                    let name = name.get_ref().clone();
                    listed.push(Listed { name, about, built_in: document.built_in });
                }
            }
        }
        listed
    }

    /// The list as text: name and purpose, one line each; `*` marks those of the user's file.
    #[must_use]
    pub fn list_text(&self) -> String {
        let listed = self.list();
        let width = listed.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
        let line = |l: &Listed| {
            format!(
                "{} {:width$}  {}\n",
                if l.built_in { ' ' } else { '*' },
                l.name,
                super::problem::harmless_text(&l.about)
            )
        };
        listed.iter().map(line).collect()
    }

    /// Names of all targets that have a table.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        let files = self.documents.iter().filter_map(|document| document.read.value.as_ref());
        files.flat_map(|file| file.targets.keys()).map(|name| name.get_ref().clone()).collect()
    }

    /// A scenario as TOML with every default filled in, at full size.
    ///
    /// # Errors
    /// An unknown name, or everything that is wrong with the scenario.
    pub fn show(&self, name: &str) -> Result<String, Problems> {
        let planned = self.plan(&[name], &Options::default())?;
        let mut table = planned.plans.into_iter().next().map(|plan| plan.resolved).unwrap_or_default();
        if let Value::Object(map) = &mut table {
            map.remove("target");
        }
        let whole = json!({"scenarios": {name: table}});
        toml::to_string_pretty(&whole)
            .map_err(|e| Problem::nowhere(format!("cannot show `{name}`: {e}")).into())
    }

    /// Plans the named scenarios. Each `--set` must fit at least one of them.
    ///
    /// # Errors
    /// Everything that is wrong with what was asked for.
    pub fn plan(&self, names: &[&str], options: &Options) -> Result<Planned, Problems> {
        let environment = |name: &str| std::env::var(name).ok();
        self.plan_in(names, options, &environment)
    }

    /// The same with a given environment.
    pub(crate) fn plan_in(
        &self,
        names: &[&str],
        options: &Options,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Planned, Problems> {
        let mut sources = self.sources.clone();
        let mut findings = Vec::new();
        if !(options.scale > 0.0 && options.scale <= 1.0) {
            let message = format!("--scale {} is not above 0 and at most 1", options.scale);
            findings.push(Finding::nowhere(message).note("write --scale 0.02"));
        }
        let target = self.target(options, environment, &mut findings);
        let found: Vec<Found<'_>> = names.iter().filter_map(|name| self.find(name, &mut findings)).collect();
        let mut set = Vec::new();
        for argument in &options.set {
            match overrides::add(argument, &mut sources) {
                Ok(known) => set.push(known),
                Err(finding) => findings.push(finding),
            }
        }
        let tables = self.overridden(&found, &mut set, &mut findings);
        let mut plans = Vec::new();
        if let Some(target) = target.filter(|_| findings.iter().all(|f| f.warning)) {
            let (scale, seed, server_pid) = (options.scale, options.seed, options.server_pid);
            let sizing = Sizing { scale, seed, server_pid, sources: &sources };
            for (found, read) in found.iter().zip(&tables) {
                findings.extend(read.findings.iter().cloned());
                let Some(table) = &read.value else { continue };
                let found = Found { table, ..*found };
                let cuts = Cuts { all: &read.cuts, prefix: "" };
                if let Some(mut plan) = self.plan_one(&found, cuts, target.clone(), sizing, &mut findings) {
                    plan.hash = hash(&plan, &options.set);
                    plans.push(plan);
                }
            }
        }
        outcome(&sources, plans, &findings).map(|(plans, warnings)| Planned { plans, warnings })
    }

    fn find(&self, name: &str, findings: &mut Vec<Finding>) -> Option<Found<'_>> {
        for document in &self.documents {
            let Some(file) = &document.read.value else { continue };
            if let Some((name, table)) = file.scenarios.get_key_value(name) {
                return Some(Found { document, name, table });
            }
        }
        let listed = self.list();
        let finding = Finding::nowhere(format!("unknown scenario `{}`", name.escape_debug()));
        findings.push(finding.allowed(name, listed.iter().map(|l| l.name.as_str())));
        None
    }

    fn target(
        &self,
        options: &Options,
        environment: &dyn Fn(&str) -> Option<String>,
        findings: &mut Vec<Finding>,
    ) -> Option<Target> {
        let mut target = match options.target.as_deref() {
            None => targets::reference(),
            Some(text) => {
                let files = self.documents.iter().filter_map(|document| document.read.value.as_ref());
                let table = files.into_iter().find_map(|file| file.targets.get_key_value(text));
                let result = match table {
                    Some((name, table)) => Ok(targets::from_table(name, table, Some(environment), findings)),
                    None if text.contains("://") => targets::from_url(text),
                    None => Err(targets::unknown(text, &self.targets())),
                };
                result.map_err(|finding| findings.push(finding)).ok()?
            }
        };
        if let Some(name) = &options.protocol {
            target.protocol = targets::protocol(name).map_err(|finding| findings.push(finding)).ok()?;
        }
        Some(target)
    }

    /// The tables of the found scenarios with all overrides put in.
    fn overridden(
        &self,
        found: &[Found<'_>],
        set: &mut [Override],
        findings: &mut Vec<Finding>,
    ) -> Vec<Read<ScenarioTable>> {
        let listed = self.list();
        let all: Vec<&str> = listed.iter().map(|l| l.name.as_str()).collect();
        let only: Vec<Option<String>> = set.iter_mut().map(|one| one.for_scenario(&all)).collect();
        let texts: Vec<String> =
            found.iter().map(|f| parse::padded(&f.document.text, f.document.start)).collect();
        let mut trees: Vec<Tree<'_>> = found.iter().zip(&texts).map(|(f, text)| f.tree(text)).collect();
        for (one, only) in set.iter().zip(&only) {
            let mut refused = None;
            let mut applied = 0;
            for (found, tree) in found.iter().zip(&mut trees) {
                if only.as_ref().is_some_and(|only| only != found.name.get_ref()) {
                    continue;
                }
                match one.apply(tree, &|map| self.condition_ids(found, map)) {
                    Applied::Yes => applied += 1,
                    Applied::NoKey(finding) => refused = refused.or(Some(finding)),
                }
            }
            if applied == 0 && !found.is_empty() {
                let unused = || Finding::error(one.span.clone(), "names a scenario that is not selected");
                findings.push(refused.unwrap_or_else(unused));
            }
        }
        trees.iter().map(parse::read).collect()
    }

    /// IDs of conditions of a kind that a scenario has, its defaults included.
    fn condition_ids(&self, found: &Found<'_>, map: &str) -> Vec<String> {
        let defaults = self.defaults(found.document).into_iter().map(|d| match map {
            "expect" => &d.expect,
            "reached" => &d.reached,
            _ => &d.abort_if,
        });
        let own = match map {
            "expect" => &found.table.expect,
            "reached" => &found.table.reached,
            _ => &found.table.abort_if,
        };
        [own]
            .into_iter()
            .chain(defaults)
            .flat_map(|named| named.keys())
            .map(|id| id.get_ref().clone())
            .collect()
    }

    /// The defaults that hold for a document's scenarios, the nearest first.
    fn defaults(&self, document: &Document) -> Vec<&DefaultsTable> {
        let holds = |other: &&Document| other.built_in || std::ptr::eq(*other, document);
        let files = self.documents.iter().filter(holds).filter_map(|other| other.read.value.as_ref());
        files.map(|file| &file.defaults).collect()
    }

    /// One scenario, merged, checked and built; `None`: there was an error.
    fn plan_one(
        &self,
        found: &Found<'_>,
        cuts: Cuts<'_>,
        target: Target,
        sizing: Sizing<'_>,
        findings: &mut Vec<Finding>,
    ) -> Option<Plan> {
        let mut own = super::not_yet::in_scenario(found.table);
        let full = full::fill(found.name, found.table, &self.defaults(found.document), cuts, &mut own);
        let conditions = check::scenario(&full, cuts, sizing.sources, &mut own);
        let sound = |findings: &[Finding]| findings.iter().all(|finding| finding.warning);
        let mut plan = None;
        if sound(&own) && cuts.all.iter().all(|cut| !cut.starts_with(cuts.prefix)) {
            let mut built = build::plan(&full, conditions, target, sizing, &mut own);
            let mut table = resolved::scenario(&full);
            table.insert("target".to_owned(), resolved::target(&built.target));
            built.resolved = Value::Object(table);
            plan = Some(built).filter(|_| sound(&own));
        }
        findings.extend(own);
        plan
    }
}

/// A scenario in its document.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    document: &'a Document,
    name: &'a Name,
    table: &'a ScenarioTable,
}

impl Found<'_> {
    /// Its tree, from the document's padded text.
    fn tree<'t>(&self, padded: &'t str) -> Tree<'t> {
        let empty = || Spanned::new(self.name.span(), DeValue::Table(DeTable::new()));
        let (tree, _) = parse::parse(padded);
        let scenario = tree.as_ref().and_then(|tree| tree.get_ref().get("scenarios"));
        let scenario = scenario.and_then(|scenarios| scenarios.get_ref().get(self.name.get_ref().as_str()));
        scenario.cloned().unwrap_or_else(empty)
    }
}

impl Document {
    fn cuts<'a>(&'a self, prefix: &'a str) -> Cuts<'a> {
        Cuts { all: &self.read.cuts, prefix }
    }
}

fn outcome<T>(sources: &Sources, value: T, findings: &[Finding]) -> Result<(T, Vec<Problem>), Problems> {
    let errors = sources.locate_all(findings.iter().filter(|finding| !finding.warning));
    if errors.is_empty() {
        return Ok((value, sources.locate_all(findings)));
    }
    Err(Problems(errors))
}

/// Equal for runs that do the same: the resolved scenario, its seed, its size, its overrides.
fn hash(plan: &Plan, set: &[String]) -> String {
    let decisive = json!([plan.resolved, plan.seed, plan.scale, set]);
    format!("{:016x}", xxhash_rust::xxh3::xxh3_64(decisive.to_string().as_bytes()))
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
