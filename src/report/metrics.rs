//! The names that conditions may use: every scalar of the report, found in the report's own schema.
//!
//! A metric is a path of keys without the unit suffix (`latency.deliver.p99`); its dimension follows from the
//! suffix. So a field added to the report can be named in a condition at once, and a misspelt one cannot.

use std::sync::OnceLock;

use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use super::model::{PhaseReport, Report, Slice};
use crate::scenarios::condition::Dimension;

/// One scalar of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Path without unit suffix: `latency.deliver.p99`; `*` stands for a fault's name.
    pub path: String,
    /// Keys in the report, with unit suffix.
    pub keys: Vec<String>,
    /// What kind of number it is.
    pub dimension: Dimension,
    /// Whether the whole run has it.
    pub in_run: bool,
    /// Whether a group has it.
    pub in_group: bool,
    /// Whether a phase has it.
    pub in_phase: bool,
}

/// Parts of the report that describe the run instead of measuring it.
const NOT_MEASURED: [&str; 8] =
    ["schema", "tool", "host", "scenario", "target", "run.started_at", "run.stop_reason", "verdict"];

/// All metrics, in the order of the report.
#[must_use]
pub fn all() -> &'static [Metric] {
    static ALL: OnceLock<Vec<Metric>> = OnceLock::new();
    ALL.get_or_init(collect)
}

/// The metric a path names; a fault's name in it stands where the table has `*`.
#[must_use]
pub fn find(path: &str) -> Option<Metric> {
    if let Some(metric) = all().iter().find(|metric| metric.path == path) {
        return (!path.contains('*')).then(|| metric.clone());
    }
    let rest = path.strip_prefix("faults.")?;
    let (name, _) = rest.split_once('.')?;
    let general = format!("faults.*{}", &rest[name.len()..]);
    let mut metric = all().iter().find(|metric| metric.path == general)?.clone();
    metric.path = path.to_owned();
    metric.keys[1] = name.to_owned();
    Some(metric)
}

/// Whether a condition is on what this process takes, or how it keeps up: nothing that a server could do better.
pub(super) fn is_of_ourselves(condition: &str) -> bool {
    ["resources.client", "trend.client_memory", "generator."].iter().any(|of| condition.contains(of))
}

fn collect() -> Vec<Metric> {
    let run = scalars::<Report>();
    let group = scalars::<Slice>();
    let phase = scalars::<PhaseReport>();
    let mut metrics: Vec<Metric> = Vec::new();
    for (keys, word) in run.iter().chain(&phase).chain(&group) {
        let path = path_of(keys);
        let described = |part: &str| path == part || path.starts_with(&format!("{part}."));
        if NOT_MEASURED.iter().any(|part| described(part)) || metrics.iter().any(|m| m.keys == *keys) {
            continue;
        }
        let within = |list: &[(Vec<String>, bool)]| list.iter().any(|(other, _)| other == keys);
        metrics.push(Metric {
            dimension: if *word { Dimension::Word } else { dimension_of(keys) },
            in_run: within(&run),
            in_group: within(&group),
            in_phase: within(&phase),
            path,
            keys: keys.clone(),
        });
    }
    // A phase's name is not a measurement of it, and neither an encoded histogram nor a reason is a word.
    let no_word = |path: &str| path == "name" || path.ends_with(".hdr") || path.ends_with(".why");
    metrics.retain(|metric| !no_word(&metric.path));
    metrics
}

fn path_of(keys: &[String]) -> String {
    let mut path = keys.join(".");
    for suffix in ["_us", "_s", "_bytes"] {
        if let Some(stem) = path.strip_suffix(suffix) {
            path.truncate(stem.len());
            break;
        }
    }
    path
}

fn dimension_of(keys: &[String]) -> Dimension {
    let last = keys.last().map_or("", String::as_str);
    match last {
        "growth" | "spread" | "cpu_share" | "server_cpu_share" | "server_wait_share" | "ratio"
        | "amplification" => Dimension::Ratio,
        "rate" | "held_rate" => Dimension::Rate,
        _ if last.ends_with("_ratio") => Dimension::Ratio,
        _ if last.ends_with("_us") || last.ends_with("_s") => Dimension::Duration,
        _ if last.ends_with("_bytes") => Dimension::Size,
        _ => Dimension::Count,
    }
}

/// Keys of every scalar of a type, and whether it is a word.
fn scalars<T: JsonSchema>() -> Vec<(Vec<String>, bool)> {
    let schema = schema_for!(T).to_value();
    let mut found = Vec::new();
    walk(&schema, &schema, &mut Vec::new(), &mut found);
    found
}

fn walk(root: &Value, schema: &Value, keys: &mut Vec<String>, found: &mut Vec<(Vec<String>, bool)>) {
    // The model nests five deep; the bound is against a schema that refers to itself.
    if keys.len() > 8 {
        return;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        if let Some(target) = root.pointer(reference.trim_start_matches('#')) {
            walk(root, target, keys, found);
        }
        return;
    }
    if let Some(choices) = schema.get("anyOf").and_then(Value::as_array) {
        for choice in choices {
            walk(root, choice, keys, found);
        }
        return;
    }
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (key, property) in properties {
            keys.push(key.clone());
            walk(root, property, keys, found);
            keys.pop();
        }
        return;
    }
    if let Some(each) = schema.get("additionalProperties").filter(|_| keys.len() == 1 && keys[0] == "faults")
    {
        keys.push("*".to_owned());
        walk(root, each, keys, found);
        keys.pop();
        return;
    }
    let is = |kind: &str| match schema.get("type") {
        Some(Value::String(text)) => text == kind,
        Some(Value::Array(kinds)) => kinds.iter().any(|k| k == kind),
        _ => false,
    };
    // A documented enum is a list of constants.
    let constants = schema.get("oneOf").is_some() || schema.get("enum").is_some();
    if is("number") || is("integer") {
        found.push((keys.clone(), false));
    } else if is("string") || is("boolean") || constants {
        // What is true or not is judged by the words `yes` and `no`.
        found.push((keys.clone(), true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_dimensions() {
        let table = [
            ("setup.duration", Dimension::Duration),
            ("resources.server.memory_peak", Dimension::Size),
            ("resources.server.memory", Dimension::Size),
            ("resources.client.memory_per_connection", Dimension::Size),
            ("connections.offered_spread", Dimension::Duration),
            ("connections.established_ratio", Dimension::Ratio),
            ("connections.peak_open", Dimension::Count),
            ("server_stats.worst.error_ratio", Dimension::Ratio),
            ("server_stats.subscriptions.error_ratio", Dimension::Ratio),
            ("waves.server_memory.spread", Dimension::Ratio),
            ("rounds.server_memory_end.growth", Dimension::Ratio),
            ("latency.deliver.p99", Dimension::Duration),
            ("latency.deliver.count", Dimension::Count),
            ("published.rate", Dimension::Rate),
            ("ledger.lost", Dimension::Count),
            ("errors.ratio", Dimension::Ratio),
            ("generator.health", Dimension::Word),
            ("generator.cpu_share", Dimension::Ratio),
            ("generator.send_lag_p99", Dimension::Duration),
            ("faults.cut.spread", Dimension::Duration),
            ("faults.cut.applied", Dimension::Count),
            ("subscriptions.probes.sent", Dimension::Count),
            ("recovered_ratio", Dimension::Ratio),
            ("connections.cut", Dimension::Count),
            ("reconnects.amplification", Dimension::Ratio),
            ("reconnects.restored_95", Dimension::Duration),
            ("reconnects.peak_per_100ms", Dimension::Count),
            ("breaker.open_at_end", Dimension::Count),
            ("faults.drop.points_hit", Dimension::Count),
            ("faults.think.delays.mean", Dimension::Duration),
            ("faults.think.delays.count", Dimension::Count),
            ("flow.longest_silence", Dimension::Duration),
            ("server.alive", Dimension::Word),
            ("slow_consumers.policy", Dimension::Word),
            ("slow_consumers.backlog", Dimension::Size),
            ("slow_consumers.felt_ratio", Dimension::Ratio),
            ("ledger.lost_unexplained", Dimension::Count),
            ("drain.duration", Dimension::Duration),
            ("faults.stuck.reads.per_second", Dimension::Size),
            ("trend.server_memory.growth", Dimension::Size),
            ("trend.deliver_p99.growth", Dimension::Ratio),
            ("trend.deliver_p99.word", Dimension::Word),
        ];
        for (path, dimension) in table {
            assert_eq!(find(path).map(|m| m.dimension), Some(dimension), "{path}");
        }
    }

    #[test]
    fn keys_lead_into_the_report() {
        let keys = |path| find(path).map(|m| m.keys.join("/"));
        assert_eq!(keys("latency.deliver.p99").as_deref(), Some("latency/deliver/p99_us"));
        assert_eq!(keys("faults.cut.spread").as_deref(), Some("faults/cut/spread_s"));
        assert_eq!(keys("duration").as_deref(), Some("duration_s"));
    }

    #[test]
    fn groups_and_phases_have_their_share() {
        let shares = |path| find(path).map(|m| (m.in_run, m.in_group, m.in_phase));
        assert_eq!(shares("ledger.lost"), Some((true, true, true)));
        assert_eq!(shares("connections.planned"), Some((true, true, false)));
        assert_eq!(shares("setup.duration"), Some((true, false, false)));
        assert_eq!(shares("duration"), Some((false, false, true)));
        assert_eq!(shares("recovered_ratio"), Some((false, true, false)));
        assert_eq!(shares("errors.unexpected"), Some((true, true, false)));
        assert_eq!(shares("breaker.opened"), Some((true, true, false)));
        assert_eq!(shares("reconnects.restored_95"), Some((true, true, false)));
        assert_eq!(shares("flow.longest_silence"), Some((true, false, true)));
        assert_eq!(shares("server_stats.gauges.error_ratio"), Some((true, false, true)));
        assert_eq!(shares("faults.drop.points_hit"), Some((true, false, false)));
    }

    #[test]
    fn what_is_no_measurement_has_no_name() {
        for path in [
            "verdict",
            "host.cpus",
            "scenario.seed",
            "latency.deliver.hdr",
            "name",
            "faults.*.applied",
            "faults.drop.parts",
            "trend.server_memory.why",
            "x",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn no_two_scalars_share_a_name() {
        for metric in all() {
            assert_eq!(all().iter().filter(|m| m.path == metric.path).count(), 1, "{}", metric.path);
        }
    }
}
