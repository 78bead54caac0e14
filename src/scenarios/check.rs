//! Checks across keys: what each value alone cannot tell.
//!
//! Works on the full-size scenario and finds everything in one go. What fits here runs before anything is
//! scaled; what depends on the size of the run is in `build`.

use std::collections::HashSet;
use std::ops::Range;

use super::condition::{Condition, Op, Over, Term, Test};
use super::expectation::{self, Names};
use super::faults;
use super::faults::full::FullFault;
use super::file::PaceWord;
use super::full::{Cuts, Full, FullCondition, FullPublishers};
use super::not_yet;
use super::pacing;
use super::plan::Part;
use super::problem::{Finding, Sources};
use super::target::Target;
use super::units::{show_count, show_duration, show_rate, show_size};
use crate::verdict::is_share;

/// Smallest payload: the token must fit.
pub(crate) const TOKEN: u64 = 128;

/// Largest payload.
const LARGEST: u64 = 1 << 30;

/// Most subscriptions (and channels) of a scenario.
const MOST: u64 = 10_000_000;

/// Names that mean something in conditions and reports.
const RESERVED: [&str; 8] =
    ["setup", "main", "drain", "closed", "victims", "bystanders", "prober", "predicted"];

/// The three kinds of conditions, parsed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    pub(crate) expect: Vec<Condition>,
    pub(crate) reached: Vec<Condition>,
    pub(crate) abort_if: Vec<Condition>,
}

/// Finds everything wrong with a scenario, and parses its conditions.
pub(crate) fn scenario(
    full: &Full,
    cuts: Cuts<'_>,
    sources: &Sources,
    findings: &mut Vec<Finding>,
) -> Conditions {
    names(full, findings);
    groups(full, cuts, findings);
    for publisher in &full.publishers {
        publishing(full, publisher, findings);
    }
    pacing::slow_down(full, cuts, findings);
    endings(full, cuts, findings);
    faults::check::faults(full, cuts, findings);
    let names = Names {
        groups: group_names(full),
        phases: full.phases.iter().map(|p| p.name.clone()).collect(),
        faults: full.faults.iter().map(|f| f.name.clone()).collect(),
        acting: if cuts.touch("phases") || cuts.touch("faults") { Vec::new() } else { acting(full) },
    };
    let mut parse = |conditions: &[FullCondition]| -> Vec<Condition> {
        conditions.iter().filter_map(|c| condition(full, cuts, c, &names, sources, findings)).collect()
    };
    let (expect, reached) = (parse(&full.expect), parse(&full.reached));
    let abort_if = parse(&full.abort_if);
    pacing::held(full, cuts, &expect, findings);
    for (condition, written) in
        abort_if.iter().filter_map(|c| Some((c, full.abort_if.iter().find(|w| w.id == c.id)?)))
    {
        let dead = not_yet::in_abort_if(condition);
        findings.extend(dead.map(|message| Finding::error(written.span.clone(), message)));
    }
    Conditions { expect, reached, abort_if }
}

/// The parts of the run that each fault begins in.
fn acting(full: &Full) -> Vec<Vec<Part>> {
    let index = |name: &str| full.phases.iter().position(|phase| phase.name == name);
    let of = |fault: &FullFault| {
        let setup = fault.phases.iter().flatten().any(|(name, _)| name == "setup").then_some(Part::Setup);
        let acting = full.phases_named(fault.phases.as_ref());
        setup.into_iter().chain(acting.filter_map(|phase| index(&phase.name).map(Part::Phase))).collect()
    };
    full.faults.iter().map(of).collect()
}

fn group_names(full: &Full) -> Vec<String> {
    let subscribers = full.subscribers.iter().map(|g| g.name.clone());
    subscribers.chain(full.publishers.iter().map(|g| g.name.clone())).collect()
}

/// A name that can stand in a condition, in `--set` and in a file name.
pub(crate) fn well_formed(name: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 64 && name.chars().all(fine)
}

/// What is wrong with a name, wherever names are given.
pub(crate) fn name(name: &str, span: &Range<usize>, findings: &mut Vec<Finding>) {
    if !well_formed(name) {
        let message = "a name is made of 1 to 64 letters, digits, `-` and `_`";
        findings.push(Finding::error(span.clone(), message));
    }
}

/// Groups, phases and faults share one namespace; conditions have theirs.
fn names(full: &Full, findings: &mut Vec<Finding>) {
    name(&full.name, &full.span, findings);
    let phases = full.phases.iter().map(|p| (p.name.as_str(), &p.span, "phase"));
    let subscribers = full.subscribers.iter().map(|g| (g.name.as_str(), &g.span, "group"));
    let publishers = full.publishers.iter().map(|g| (g.name.as_str(), &g.span, "group"));
    let faults = full.faults.iter().map(|f| (f.name.as_str(), &f.span, "fault"));
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for (word, span, kind) in phases.chain(subscribers).chain(publishers).chain(faults) {
        name(word, span, findings);
        // The only phase of a scenario may be called by its default name.
        let default = kind == "phase" && word == "main" && full.phases.len() == 1;
        if RESERVED.contains(&word) && !default {
            let message = format!("`{word}` is reserved and cannot name a {kind}");
            findings.push(
                Finding::error(span.clone(), message).note(format!("reserved: {}", RESERVED.join(", "))),
            );
        }
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == word) {
            let message =
                format!("`{word}` already names a {other}: groups, phases and faults need different names");
            findings.push(Finding::error(span.clone(), message));
        }
        seen.push((word, kind));
    }
    for condition in full.expect.iter().chain(&full.reached).chain(&full.abort_if) {
        name(&condition.id, &condition.id_span, findings);
    }
}

fn groups(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let error = |span: &Range<usize>, message: String| Finding::error(span.clone(), message);
    if full.subscribers.is_empty() && !cuts.touch("subscribers") {
        let example = "write subscribers.clients = { connections = 1_000 }";
        findings.push(error(&full.span, "the scenario has no subscribers".to_owned()).note(example));
    }
    if full.publishers.is_empty() && !cuts.touch("publishers") {
        let example = "write publishers.feed = { rate = \"100/s\", events = 1_000 }";
        findings.push(error(&full.span, "the scenario has no publishers".to_owned()).note(example));
    }
    for group in &full.subscribers {
        let (connections, subscriptions) = (group.connections.value, group.subscriptions.value);
        // A missing count is reported already; what follows would judge the stand-in.
        if !group.connections.written {
            continue;
        }
        if subscriptions % connections != 0 {
            let message = format!(
                "{} subscriptions do not divide evenly among {} connections",
                show_count(subscriptions.into()),
                show_count(connections.into())
            );
            findings.push(error(&group.subscriptions.span, message));
        }
        if group.waves.value > connections {
            let message = format!("more waves than the {} connections", show_count(connections.into()));
            findings.push(error(&group.waves.span, message));
        }
        if group.wave_pause.written && group.waves.value < 2 {
            findings.push(
                Finding::warning(
                    group.wave_pause.span.clone(),
                    "`wave-pause` does nothing with a single wave",
                )
                .note("write waves = 5"),
            );
        }
    }
    let total: u64 = full.subscribers.iter().map(|g| u64::from(g.subscriptions.value)).sum();
    if total > MOST {
        let message = format!("more than {} subscriptions in one scenario", show_count(MOST));
        findings.push(error(&full.span, message));
    }
    let nothing_to_scale = full.publishers.iter().all(|g| !matches!(g.rate.value, PaceWord::Open(_)))
        && full.phases.iter().all(|phase| phase.length.is_none());
    if full.time_scale.written && nothing_to_scale && !cuts.touch("publishers") && !cuts.touch("phases") {
        let message = "`time-scale` does nothing: there is no rate and no phase length";
        findings.push(Finding::warning(full.time_scale.span.clone(), message));
    }
    let publishing: u64 = full.publishers.iter().map(|g| u64::from(g.connections.value)).sum();
    if publishing > MOST {
        let message = format!("more than {} connections of publishers", show_count(MOST));
        findings.push(error(&full.span, message));
    }
    if let super::file::Channels::Shared(channels) = full.channels.value
        && u64::from(channels) > total
        && !cuts.touch("subscribers")
    {
        let message = format!(
            "{} channels for {} subscriptions: some would have no subscriber",
            show_count(channels.into()),
            show_count(total)
        );
        findings.push(Finding::warning(full.channels.span.clone(), message));
    }
}

fn publishing(full: &Full, group: &FullPublishers, findings: &mut Vec<Finding>) {
    let payload = group.payload.value;
    if payload < TOKEN {
        let message =
            format!("a payload has at least {TOKEN} bytes: the token that proves delivery is in it");
        findings.push(Finding::error(group.payload.span.clone(), message));
    } else if payload > LARGEST {
        let message = format!("a payload has at most {}", show_size(LARGEST as f64));
        findings.push(Finding::error(group.payload.span.clone(), message));
    }
    if let Some((times, up_to)) = group.climb {
        climbing(full, group, (times, up_to), findings);
    }
    let mut seen = HashSet::new();
    for (phase, span) in group.phases.iter().flatten() {
        let known = full.phases.iter().map(|p| p.name.as_str());
        if full.phase(phase).is_none() {
            let message = format!("there is no phase `{phase}`");
            findings.push(Finding::error(span.clone(), message).allowed(phase, known));
        } else if !seen.insert(phase) {
            findings.push(Finding::error(span.clone(), format!("the phase `{phase}` is listed twice")));
        }
    }
    if group.phases.as_ref().is_some_and(Vec::is_empty) {
        findings.push(Finding::error(group.span.clone(), "an empty list of phases: it would never publish"));
    }
    let (PaceWord::Open(rate), Some(events)) = (group.rate.value, &group.events) else { return };
    for phase in full.phases_of(group) {
        let Some(length) = &phase.length else { continue };
        let needed = events.value as f64 / rate;
        if needed > length.value.as_secs_f64() * (1.0 + 1e-9) {
            let message = format!(
                "{} events at {} take {}, and the phase `{}` ends after {}",
                show_count(events.value),
                show_rate(rate),
                show_duration(needed),
                phase.name,
                show_duration(length.value.as_secs_f64())
            );
            findings.push(Finding::error(events.span.clone(), message));
        }
    }
}

/// What a climb needs: to know that a step has failed before the next begins, and that nothing else is in its way.
fn climbing(full: &Full, group: &FullPublishers, (times, up_to): (u32, u64), findings: &mut Vec<Finding>) {
    let mut refuse = |message: String, note: &str| {
        findings.push(Finding::error(group.payload.span.clone(), message).note(note));
    };
    let from = group.payload.value;
    if times < 2 {
        refuse("a payload that climbs grows: `times` is at least 2".to_owned(), "write times = 2");
    }
    if up_to <= from {
        let message = format!("`up-to` is not above `from`, {}", show_size(from as f64));
        refuse(message, "such as { from = \"2MB\", times = 2, up-to = \"16MB\" }");
    }
    if up_to > LARGEST {
        refuse(format!("a payload has at most {}", show_size(LARGEST as f64)), "lower `up-to`");
    }
    let next = "a step begins when all of the one before has arrived";
    if !matches!(group.rate.value, PaceWord::OneByOne) {
        refuse(
            format!("a payload climbs one by one, not at `{}`: {next}", group.rate.value),
            "write rate = \"one-by-one\"",
        );
    }
    if group.connections.value != 1 || group.batch != 1 {
        refuse(format!("a payload climbs over one connection, without batches: {next}"), "leave both out");
    }
    let others = full.publishers.iter().filter(|other| other.name != group.name);
    if let Some(other) = others.clone().find(|other| other.climb.is_some()) {
        refuse(
            format!("`{}` climbs as well, and one climb is what a run can tell", other.name),
            "make two scenarios",
        );
    }
    let phases: Vec<&str> = full.phases_of(group).map(|phase| phase.name.as_str()).collect();
    let last = full.phases.last();
    let own = [last.map(|phase| phase.name.as_str())].into_iter().flatten().collect::<Vec<_>>();
    if phases != own || last.is_some_and(|phase| phase.length.is_some()) {
        let message =
            "a climb has the last phase to itself, without `for`: it ends when something gives".to_owned();
        refuse(message, "give it a phase of its own at the end of `phases`");
    } else if let Some(other) =
        others.clone().find(|o| full.phases_of(o).any(|phase| own.contains(&phase.name.as_str())))
    {
        let message = format!(
            "`{}` publishes in the phase of the climb, so that it would not tell what gave",
            other.name
        );
        refuse(message, "give the climb a phase of its own at the end of `phases`");
    }
}

/// Every phase must end: at its `for`, or when the `events` of all its publishers are acknowledged.
fn endings(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    if full.phases.is_empty() && !cuts.touch("phases") {
        let message = "a scenario has at least one phase; leave `phases` out for a single one";
        findings.push(Finding::error(full.span.clone(), message));
    }
    for phase in &full.phases {
        if phase.length.as_ref().is_some_and(|length| length.value.is_zero()) {
            let message = format!("the phase `{}` would end at once", phase.name);
            findings.extend(phase.length.as_ref().map(|l| Finding::error(l.span.clone(), message)));
        }
        if phase.length.is_some() || cuts.touch("phases") || cuts.touch("publishers") {
            continue;
        }
        let publishing: Vec<&FullPublishers> =
            full.publishers.iter().filter(|g| full.phases_of(g).any(|p| p.name == phase.name)).collect();
        let endless = publishing.iter().find(|group| group.events.is_none());
        let finding = match endless {
            Some(group) => Finding::error(
                phase.span.clone(),
                format!("the phase `{}` never ends: `{}` has no `events`", phase.name, group.name),
            ),
            None if publishing.is_empty() && !full.publishers.is_empty() => Finding::error(
                phase.span.clone(),
                format!("the phase `{}` never ends: nobody publishes in it", phase.name),
            ),
            None => continue,
        };
        findings.push(finding.note("give the phase a length (for = \"60s\") or its publishers events"));
    }
}

fn condition(
    full: &Full,
    cuts: Cuts<'_>,
    condition: &FullCondition,
    names: &Names,
    sources: &Sources,
    findings: &mut Vec<Finding>,
) -> Option<Condition> {
    // The place inside the text is a place in the file only if the text was written without escapes.
    let inner = condition.span.start + 1..condition.span.end.saturating_sub(1);
    let verbatim = [inner.start, condition.span.start].into_iter().find(|start| {
        sources.slice(&(*start..start + condition.text.len())) == Some(condition.text.as_str())
    });
    let place = |mut finding: Finding| {
        finding.span = Some(match (verbatim, finding.span) {
            (Some(start), Some(span)) => start + span.start..start + span.end,
            _ => condition.span.clone(),
        });
        finding
    };
    match expectation::parse(&condition.text, names) {
        Ok((test, warnings)) => {
            findings.extend(warnings.into_iter().map(place));
            findings
                .extend(undecidable(&test).map(|message| Finding::error(condition.span.clone(), message)));
            findings.extend(
                comparable(full, cuts, &test).map(|message| Finding::error(condition.span.clone(), message)),
            );
            let (id, text) = (condition.id.clone(), condition.text.clone());
            let parsed = Condition { id, text, test, not_applicable: None };
            findings.extend(faults::check::condition(full, &parsed, &condition.span));
            Some(parsed)
        }
        Err(finding) => {
            findings.push(place(finding));
            None
        }
    }
}

/// An interval can be given for shares only; anything else `at` a confidence would never be decided.
fn undecidable(test: &Test) -> Option<String> {
    let Test::Compare { left, op, at: Some(_), .. } = test else { return None };
    if !is_share(left) {
        let metric = &left.term.metric;
        return Some(format!(
            "`{metric}` is no share of a count here, so there is no interval to judge it by"
        ));
    }
    matches!(op, Op::Equal).then(|| "no number of samples shows that two shares are equal".to_owned())
}

/// The terms of a condition.
pub(crate) fn terms(test: &Test) -> impl Iterator<Item = &Term> {
    let (first, over) = match test {
        Test::Compare { left, .. } | Test::Within { left, .. } => (&left.term, left.over.as_ref()),
        Test::Is { left, .. } => (left, None),
    };
    let second = if let Some(Over::Term(term)) = over { Some(term) } else { None };
    [first].into_iter().chain(second)
}

/// Rounds and waves can be compared only where there are enough of them.
fn comparable(full: &Full, cuts: Cuts<'_>, test: &Test) -> Option<String> {
    let waves = full.subscribers.iter().map(|g| g.waves.value).max().unwrap_or(1);
    let cut = [cuts.touch("rounds"), cuts.touch("subscribers")];
    terms(test).find_map(|term| {
        let metric = term.metric.as_str();
        if (metric.starts_with("rounds.") && cut[0]) || (metric.starts_with("waves.") && cut[1]) {
            return None;
        }
        if metric.starts_with("rounds.") && full.rounds.value < 2 {
            return Some(format!("`{metric}` needs rounds = 2 or more"));
        }
        if metric == "waves.server_memory.spread" && waves < 3 {
            return Some(format!("`{metric}` needs waves = 3 or more: the first wave is not compared"));
        }
        (metric.starts_with("waves.") && waves < 2).then(|| format!("`{metric}` needs waves = 2 or more"))
    })
}

/// Whether the target would be given more than it may get.
pub(crate) fn limits(full: &Full, target: &Target, connections: u32, findings: &mut Vec<Finding>) {
    let whose = target.name.as_deref().unwrap_or("the target");
    let limits = &target.limits;
    if let Some(most) = limits.connections.filter(|most| connections > *most) {
        let (used, most) = (show_count(connections.into()), show_count(most.into()));
        let message = format!("{used} connections, publishers included, and `{whose}` may be given {most}");
        findings.push(
            Finding::error(full.span.clone(), message).note("use --scale, or raise limits.connections"),
        );
    }
    if let Some(most) = limits.publish_rate {
        for phase in &full.phases {
            let here = full.publishers.iter().filter(|g| full.phases_of(g).any(|p| p.name == phase.name));
            let mut rate = 0.0;
            for group in here {
                match group.rate.value {
                    PaceWord::Open(own) => rate += own * full.time_scale.value,
                    PaceWord::Unlimited | PaceWord::OneByOne => rate = f64::INFINITY,
                }
            }
            if rate > most * (1.0 + 1e-9) {
                let rate = if rate.is_finite() { show_rate(rate) } else { "without a limit".to_owned() };
                let most = show_rate(most);
                let message = format!("`{}` publishes {rate}, and `{whose}` may be given {most}", phase.name);
                let note = "lower publishers.NAME.rate, or raise limits.publish-rate";
                findings.push(Finding::error(phase.span.clone(), message).note(note));
            }
        }
    }
    if let Some(most) = limits.subscriptions_per_connection {
        for group in full.subscribers.iter().filter(|g| g.subscriptions.value / g.connections.value > most) {
            let per = group.subscriptions.value / group.connections.value;
            let message = format!("{per} subscriptions on each connection, and `{whose}` takes {most}");
            findings.push(Finding::error(group.subscriptions.span.clone(), message));
        }
    }
}
