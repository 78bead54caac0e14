//! Predictions with faults: against the definition, and where there must be none.

use super::*;
use crate::scenarios::catalogue::{Catalogue, Options};

const FILE: &str = r#"[scenarios.a]
about = "x"
channels = 7
phases = [{ name = "calm", for = "3s" }, { name = "storm", for = "4s" }, { name = "end", for = "2s" }]
subscribers.back = { connections = 30, subscriptions = 60, reconnect = "immediate" }
subscribers.gone = { connections = 25 }
subscribers.safe = { connections = 11 }
publishers.feed = { connections = 9, rate = "10/s" }
faults.cut = { on = ["back", "gone"], fraction = "40%", phase = "storm", terminate = { how = "reset" } }
faults.again = { on = "back", fraction = "20%", phase = ["storm", "end"], terminate = { how = "fin" } }
reached.all = "faults.cut.applied / predicted == 100%"
"#;

fn plan(text: &str, name: &str, options: &Options) -> Plan {
    Catalogue::from_text(Some(("a.toml", text))).unwrap().plan(&[name], options).unwrap().plans.remove(0)
}

/// Deliveries owed to the victims (or bystanders) of a group for events `from..to`, counted one by one.
fn count(plan: &Plan, group: usize, victims: bool, from: u64, to: u64) -> f64 {
    let schedule = plan.schedule();
    let first: u32 = plan.subscribers[..group].iter().map(|g| g.connections).sum();
    let per = plan.subscribers[group].per_connection();
    let mut sum = 0;
    for sub in 0..plan.subscribers[group].subscriptions {
        if schedule.is_victim(first + sub / per) != victims {
            continue;
        }
        let channel = u64::from((plan.subscribers[group].first_subscription + sub) % plan.channels);
        sum += (from..to).filter(|event| event % 9 % 7 == channel).count();
    }
    sum as f64
}

#[test]
fn victims_and_bystanders_are_counted_apart() {
    let plan = plan(FILE, "a", &Options::default());
    let predicted = plan.predict();
    let value = |key: &str| predicted.get(key).copied();
    for (phase, from, to) in [("calm", 0, 30), ("storm", 30, 70), ("end", 70, 90)] {
        let bystanders: f64 = (0..3).map(|group| count(&plan, group, false, from, to)).sum();
        for name in ["obligations", "delivered"] {
            assert_eq!(value(&format!("bystanders.ledger.{name} in {phase}")), Some(bystanders), "{phase}");
            let safe = count(&plan, 2, false, from, to);
            assert_eq!(value(&format!("safe.ledger.{name} in {phase}")), Some(safe));
        }
        // Who comes back is owed what was published meanwhile.
        let back = count(&plan, 0, true, from, to) + count(&plan, 0, false, from, to);
        assert_eq!(value(&format!("back.ledger.obligations in {phase}")), Some(back));
    }
    let victims: f64 = (0..3).map(|group| count(&plan, group, true, 0, 30)).sum();
    assert!(victims > 0.0);
    assert_eq!(value("victims.ledger.obligations in calm"), Some(victims));
    assert_eq!(value("victims.ledger.delivered in calm"), Some(victims));
    let all: f64 = (0..3).map(|g| count(&plan, g, true, 0, 90) + count(&plan, g, false, 0, 90)).sum();
    assert_eq!(
        value("bystanders.ledger.delivered").unwrap()
            + (0..3).map(|g| count(&plan, g, true, 0, 90)).sum::<f64>(),
        all
    );
    assert_eq!(value("ledger.delivered in calm").unwrap(), value("ledger.obligations in calm").unwrap());
}

#[test]
fn what_depends_on_how_fast_clients_return_is_not_predicted() {
    let predicted = plan(FILE, "a", &Options::default()).predict();
    for key in [
        "ledger.delivered",
        "ledger.delivered in storm",
        "ledger.delivered in end",
        "back.ledger.delivered",
        "back.ledger.delivered in end",
        "victims.ledger.delivered in storm",
        // Those that do not come back are owed nothing more.
        "ledger.obligations",
        "gone.ledger.obligations",
        "gone.ledger.obligations in end",
        "victims.ledger.obligations in end",
    ] {
        assert_eq!(predicted.get(key), None, "{key}");
    }
    for key in [
        "safe.ledger.delivered",
        "back.ledger.obligations",
        "gone.ledger.delivered in calm",
        "published.acked",
    ] {
        assert!(predicted.contains_key(key), "{key}");
    }
}

#[test]
fn applications_are_counted_once_in_each_phase() {
    let predicted = plan(FILE, "a", &Options::default()).predict();
    let counts = ["cut.planned", "cut.applied", "again.planned"].map(|f| predicted[&format!("faults.{f}")]);
    assert_eq!(counts, [22.0, 22.0, 12.0]);
}

#[test]
fn the_herd_at_two_sizes() {
    let sizes = |scale: f64| {
        let plan = plan(FILE, "thundering-herd", &Options { scale, ..Options::default() });
        let predicted = plan.predict();
        let bystanders =
            ["before", "herd"].map(|p| predicted[&format!("bystanders.ledger.obligations in {p}")]);
        let hit = plan.schedule().acts().len();
        assert!(plan.expect.iter().chain(&plan.reached).all(|c| c.not_applicable.is_none()));
        (plan.subscribers[0].connections, plan.channels, hit, bystanders)
    };
    assert_eq!(sizes(1.0), (1_000, 100, 500, [30_000.0, 60_000.0]));
    assert_eq!(sizes(0.02), (40, 4, 20, [30_000.0, 60_000.0]));
}

#[test]
fn a_percentile_of_too_few_bystanders_is_not_judged() {
    let text = format!(
        "{FILE}expect.p99 = \"bystanders.latency.deliver.p99 in storm / in calm < 1.5\"\n\
                        expect.back = \"victims.latency.reconnect.p90 < 5s\"\n"
    );
    let reasons = |set: &[&str]| {
        let set = set.iter().map(|s| (*s).to_owned()).collect();
        let plan = plan(&text, "a", &Options { scale: 0.99, set, ..Options::default() });
        let reason = |id: &str| plan.expect.iter().find(|c| c.id == id).unwrap().not_applicable.clone();
        (reason("p99"), reason("back"))
    };
    let needs = |metric: &str, needed: &str, planned: &str| {
        Some(format!("`{metric}` needs {needed} samples, and {planned} are planned"))
    };
    // The smaller of the two windows decides; 12 connections of `back` are cut once and 6 twice.
    let (p99, back) = reasons(&[]);
    let plan = plan(&text, "a", &Options { scale: 0.99, ..Options::default() });
    let bystanders: f64 = (0..3).map(|group| count(&plan, group, false, 30, 70)).sum();
    assert_eq!(p99, needs("latency.deliver.p99", "1,000", &bystanders.to_string()));
    assert_eq!(back, needs("latency.reconnect.p90", "100", "24"));
    // Many events are enough for all bystanders, but not where everyone is hit.
    assert_eq!(reasons(&["publishers.feed.rate=1000/s"]).0, None);
    let everyone = ["faults.cut.on=[\"back\", \"gone\", \"safe\"]", "faults.cut.fraction=100%"];
    assert_eq!(
        reasons(&everyone).0.as_deref(),
        Some("every connection is hit by a fault, so there are no bystanders")
    );
}
