//! How long a phase may take, from the plan alone: pure.

use std::time::Duration;

use super::round::SLACK;
use crate::clients::source::spans;
use crate::inject::{Act, Schedule};
use crate::scenarios::plan::{Churn, Fault, FaultKind, Pace, Part, Plan, Stagger, WhenBehind};

/// What a cycle of churn may take beside what is planned, on average: probes go out every 50 ms at most.
const CYCLE_NEEDS: Duration = Duration::from_millis(500);

/// Planned cycles of churn up to the end of this phase.
pub(super) fn cycles_by(plan: &Plan, schedule: &Schedule, phase: usize) -> u64 {
    let churns = |act: &&Act| {
        matches!(plan.faults[act.fault].kind, FaultKind::Churn(_)) && act.part <= Part::Phase(phase)
    };
    schedule.acts().iter().filter(churns).map(|act| plan.faults[act.fault].kind.times()).sum()
}

/// How long the cycles of a phase should take, with what a server may need for each subscribe and unsubscribe.
fn churn_takes(plan: &Plan, phase: usize) -> Duration {
    let takes = |fault: &Fault| {
        let FaultKind::Churn(Churn { cycles, hold, pause }) = fault.kind else { return None };
        let spread = match fault.stagger {
            Stagger::Together => Duration::ZERO,
            Stagger::Linear(over) | Stagger::Poisson(over) => over,
        };
        fault.parts.contains(&Part::Phase(phase)).then(|| {
            let each = hold.saturating_add(pause).saturating_add(CYCLE_NEEDS);
            each.saturating_mul(cycles).saturating_add(fault.start).saturating_add(spread)
        })
    };
    plan.faults.iter().filter_map(takes).max().unwrap_or_default()
}

/// A schedule that may slip may take so many times as long; a rate below a thirtieth is not going to be waited for.
const SLOWEST: u32 = 10;

/// Three times what the phase should take, and the time an operation may take; a server that takes events more
/// slowly than that is not going to be waited for.
pub(super) fn phase_limit(plan: &Plan, phase: usize) -> Duration {
    let publishing = plan.publishers.iter().filter_map(|group| {
        let (_, count) = spans(plan, group)[phase]?;
        Some(match group.pace {
            Pace::Open(rate) => {
                let planned = Duration::from_secs_f64(count as f64 / rate) + plan.longest_think();
                if group.when_behind == WhenBehind::SlowDown { planned * SLOWEST } else { planned }
            }
            // Without a rate there is no expectation of how long it takes; a bound all the same.
            Pace::Unlimited => Duration::from_secs(600),
            Pace::OneByOne => {
                (plan.timeouts.operation + plan.longest_think())
                    * u32::try_from(count.div_ceil(group.connections.into())).unwrap_or(u32::MAX)
            }
        })
    });
    let churn = churn_takes(plan, phase);
    let planned = publishing.chain(plan.phases[phase].length).max().unwrap_or_default().max(churn);
    planned.saturating_mul(3) + plan.timeouts.operation + SLACK
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::catalogue::{Catalogue, Options};

    fn limit_s(publishers: &str, more: &str) -> f64 {
        let text = format!(
            r#"
            [scenarios.it]
            about = "one phase"
            phases = [{{ name = "load" }}]
            subscribers.clients = {{ connections = 10 }}
            publishers.feed = {{ {publishers} }}
            timeouts = {{ operation = "10s" }}
            {more}
            "#
        );
        let catalogue = Catalogue::from_text(Some(("test", &text))).expect("a good file");
        let plan = catalogue.plan(&["it"], &Options::default()).expect("a good plan").plans.remove(0);
        (phase_limit(&plan, 0) - SLACK).as_secs_f64()
    }

    /// Three times what is planned, and an operation.
    #[test]
    fn a_phase_may_take_three_times_as_long_as_planned() {
        let churn = r#"faults.churn = { on = "clients", fraction = "50%", phase = "load", churn = { cycles = 4, hold = "1s", pause = "500ms" } }
            reached.all-churned = "faults.churn.applied / predicted == 100%""#;
        let held = r#"expect.rate-held = "published.rate / predicted >= 99%""#;
        let table = [
            ("rate = '10/s', events = 100", "", 3.0 * 10.0 + 10.0),
            ("rate = '10/s', events = 100, when-behind = 'slow-down'", held, 3.0 * 100.0 + 10.0),
            ("rate = 'unlimited', events = 100", "", 3.0 * 600.0 + 10.0),
            ("rate = 'one-by-one', events = 7, connections = 2", "", 3.0 * 4.0 * 10.0 + 10.0),
            // Four cycles of 1.5 s and half a second for the server; publishing is over long before.
            ("rate = '10/s', events = 10", churn, 3.0 * 8.0 + 10.0),
        ];
        for (publishers, more, expected) in table {
            assert!((limit_s(publishers, more) - expected).abs() < 1e-6, "{publishers} {more}");
        }
    }
}
