//! `--set PATH=VALUE`: put into the scenario's own tree, then read and checked like the file.
//!
//! An override is one more text among the sources, so a mistake in it is reported at `--set PATH=VALUE`.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::file::ScenarioTable;
use super::parse::{self, Tree};
use super::problem::{Finding, Sources};

/// One `--set` argument at its place among the sources.
#[derive(Debug)]
pub(crate) struct Override {
    /// `publishers`, `feed`, `rate`.
    path: Vec<(String, Range<usize>)>,
    /// `k=VALUE`, moved so that the value is at its offset.
    padded: String,
    /// Where the value is.
    value: Range<usize>,
    /// The whole argument.
    pub(crate) span: Range<usize>,
}

/// What came of an override in one scenario.
#[derive(Debug)]
pub(crate) enum Applied {
    /// The scenario has the key; its value may still be wrong.
    Yes,
    /// The scenario has no such key.
    NoKey(Finding),
}

/// Adds a `--set` argument to the sources.
pub(crate) fn add(argument: &str, sources: &mut Sources) -> Result<Override, Finding> {
    let start = sources.add(format!("--set {argument}"), argument, false);
    let span = start..start + argument.len();
    let Some((path, value)) = argument.split_once('=') else {
        return Err(Finding::error(span, "an override is written PATH=VALUE")
            .note("such as --set publishers.feed.rate=200/s"));
    };
    let mut at = start;
    let mut keys = Vec::new();
    for key in path.split('.') {
        let trimmed = key.trim().trim_matches('"');
        keys.push((trimmed.to_owned(), at..at + key.len()));
        if trimmed.is_empty() {
            return Err(Finding::error(at..at + key.len(), "an empty key in the path"));
        }
        at += key.len() + 1;
    }
    // A bare value cannot be parsed at an offset, an entry can; PATH= has room for the shortest key.
    let padded = parse::padded(&format!("k={value}"), at - 2);
    Ok(Override { path: keys, padded, value: at..at + value.len(), span })
}

impl Override {
    /// The first key of the path.
    pub(crate) fn head(&self) -> &str {
        &self.path[0].0
    }

    /// Takes a leading scenario name off the path, if there is more than it.
    pub(crate) fn for_scenario(&mut self, names: &[&str]) -> Option<String> {
        let named = self.path.len() > 1 && names.contains(&self.head());
        named.then(|| self.path.remove(0).0)
    }

    /// Puts the value into the scenario's tree: as TOML if that can be read there, else as a string.
    pub(crate) fn apply<'t>(&'t self, tree: &mut Tree<'t>, ids: &dyn Fn(&str) -> Vec<String>) -> Applied {
        if let Some(finding) = self.unknown_name(tree, ids) {
            return Applied::NoKey(finding);
        }
        let text = &self.padded[self.value.start..];
        let as_text = Spanned::new(self.value.clone(), DeValue::String(text.to_owned().into()));
        let as_toml = match parse::parse(&self.padded) {
            (Some(tree), _) => only_entry(tree),
            (None, _) => None,
        };
        let mut first = None;
        for value in as_toml.into_iter().chain([as_text]) {
            let mut candidate = tree.clone();
            if let Err(finding) = insert(&mut candidate, &self.path, value) {
                return Applied::NoKey(finding);
            }
            let read = parse::read::<ScenarioTable>(&candidate);
            let own = read.findings.into_iter().find(|f| {
                f.span.as_ref().is_some_and(|s| self.span.start <= s.start && s.end <= self.span.end)
            });
            match own {
                None => {
                    *tree = candidate;
                    return Applied::Yes;
                }
                Some(finding) if finding.message.starts_with("unknown key") => {
                    return Applied::NoKey(finding);
                }
                Some(_) => first = first.or(Some(candidate)),
            }
        }
        // Wrong either way: keep the first reading, whose mistake is reported with all others.
        if let Some(candidate) = first {
            *tree = candidate;
        }
        Applied::Yes
    }

    /// A name in the path that the scenario does not have.
    fn unknown_name(&self, tree: &Tree<'_>, ids: &dyn Fn(&str) -> Vec<String>) -> Option<Finding> {
        let [(map, _), (name, span), ..] = self.path.as_slice() else { return None };
        let (known, kind) = match map.as_str() {
            "subscribers" | "publishers" => (keys(tree, map), "group"),
            "faults" => (keys(tree, map), "fault"),
            "phases" => (phase_names(tree), "phase"),
            "expect" | "reached" | "abort-if" => (ids(map), "condition"),
            _ => return None,
        };
        if known.iter().any(|k| k == name) {
            return None;
        }
        let message = format!("there is no {kind} `{name}` in `{map}`");
        Some(Finding::error(span.clone(), message).allowed(name, known.iter().map(String::as_str)))
    }
}

/// The value of `k`, unless the text smuggles in other keys.
fn only_entry(tree: Tree<'_>) -> Option<Tree<'_>> {
    let DeValue::Table(table) = tree.into_inner() else { return None };
    let mut entries = table.into_iter();
    let (key, value) = entries.next()?;
    (entries.next().is_none() && key.get_ref() == "k").then_some(value)
}

fn keys(tree: &Tree<'_>, map: &str) -> Vec<String> {
    let table = tree.get_ref().get(map).and_then(|value| value.get_ref().as_table());
    table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().to_string()).collect()
}

fn phase_names(tree: &Tree<'_>) -> Vec<String> {
    match tree.get_ref().get("phases").and_then(|value| value.get_ref().as_array()) {
        None => vec!["main".to_owned()],
        Some(phases) => phases.iter().filter_map(|phase| phase_name(phase)).map(ToOwned::to_owned).collect(),
    }
}

fn phase_name<'a>(phase: &'a Tree<'_>) -> Option<&'a str> {
    phase.get_ref().get("name")?.get_ref().as_str()
}

/// Sets the value at a path, making the tables on the way.
fn insert<'t>(tree: &mut Tree<'t>, path: &[(String, Range<usize>)], value: Tree<'t>) -> Result<(), Finding> {
    let [(key, span), rest @ ..] = path else {
        *tree = value;
        return Ok(());
    };
    match tree.get_mut() {
        DeValue::Table(table) => {
            if rest.is_empty() {
                table.remove(key.as_str());
            }
            if !table.contains_key(key.as_str()) {
                let child = if key == "phases" && !rest.is_empty() {
                    main_phase(span)
                } else {
                    DeValue::Table(DeTable::new())
                };
                let key = Spanned::new(span.clone(), key.clone().into());
                table.insert(key, Spanned::new(span.clone(), child));
            }
            match table.get_mut(key.as_str()) {
                Some(child) => insert(child, rest, value),
                None => Ok(()),
            }
        }
        DeValue::Array(phases) => match phases.iter_mut().find(|p| phase_name(p) == Some(key)) {
            Some(phase) if !rest.is_empty() => insert(phase, rest, value),
            _ => Err(Finding::error(
                span.clone(),
                "a phase is changed key by key, such as phases.load.for=20s",
            )),
        },
        _ => Err(Finding::error(span.clone(), format!("there is nothing below, so no `{key}`"))),
    }
}

/// The phase that is there when none is written.
fn main_phase<'t>(span: &Range<usize>) -> DeValue<'t> {
    let mut phase = DeTable::new();
    let name = Spanned::new(span.clone(), DeValue::String("main".into()));
    phase.insert(Spanned::new(span.clone(), "name".into()), name);
    let mut phases = DeArray::new();
    phases.push(Spanned::new(span.clone(), DeValue::Table(phase)));
    DeValue::Array(phases)
}
