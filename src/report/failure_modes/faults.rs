//! What we injected ourselves, so that it is not taken for the server's doing.

use super::{Found, Origin, circumstances};
use crate::report::human::{count, seconds};
use crate::report::model::{FaultReport, Report};

/// Every fault that was applied, by its kind, and what breakers of the clients did.
pub(super) fn found(report: &Report) -> Vec<Found> {
    let applied = report.faults.iter().filter(|(_, fault)| fault.applied > 0);
    let mut found: Vec<Found> = applied.map(|(name, fault)| injected(report, name, fault)).collect();
    found.extend(report.faults.iter().filter_map(|(name, fault)| cycles(report, name, fault)));
    found.extend(breakers(report));
    found
}

fn injected(report: &Report, name: &str, fault: &FaultReport) -> Found {
    let FaultReport { kind, layer, applied, planned, not_applied, .. } = fault;
    let missing = match not_applied {
        0 => String::new(),
        n => {
            format!("; {} were not, because the connection was not open then, or the run was over", count(*n))
        }
    };
    let what =
        format!("{name}: applied {} of {} times, at the {layer}{missing}", count(*applied), count(*planned));
    let names = [&format!("fault {kind}"), &format!("Fault: {kind}")];
    let mut found = Found::new(report, Origin::Ours, names.map(String::as_str), *applied, what);
    let seen = &mut found.sighting;
    seen.whom = aimed_at(report, fault);
    let parts = fault.parts.iter().map(|part| format!("planned in {part}"));
    let times = fault.first_s.map(|first| {
        let spread =
            fault.spread_s.map_or_else(String::new, |spread| format!(", all within {}", seconds(spread)));
        format!("the first at {} of the run{spread}", seconds(first))
    });
    seen.when = parts.chain(times).collect();
    seen.others = circumstances::others(report);
    // What happens at one moment does not end.
    if kind != "terminate" {
        seen.recovery.push(format!("{} of {} were taken back", count(fault.ended), count(*applied)));
    }
    seen.recovery.extend(circumstances::came_back(report));
    found
}

/// Cycles of churning clients that failed although no fault of ours ended them.
fn cycles(report: &Report, name: &str, fault: &FaultReport) -> Option<Found> {
    let cycles = fault.cycles.as_ref().filter(|cycles| cycles.failed > 0)?;
    let names = ["cycles-failed", "Cycles of subscribing and unsubscribing that failed"];
    let what = format!(
        "{name}: {} of {} cycles, beside {} that we ended ourselves",
        count(cycles.failed),
        count(fault.applied),
        count(cycles.failed_by_plan)
    );
    let mut found = Found::new(report, Origin::Answer, names, cycles.failed, what);
    found.sighting.when = fault.parts.iter().map(|part| format!("planned in {part}")).collect();
    found.sighting.others = circumstances::others(report);
    Some(found)
}

/// Whom a fault was aimed at; reports of before it was known know the victims of all faults together.
fn aimed_at(report: &Report, fault: &FaultReport) -> Vec<String> {
    if fault.victims > 0 {
        let of = |(name, n): (&String, &u64)| {
            let all = report.groups.get(name).map(|group| group.connections.planned);
            all.map_or_else(
                || format!("{} of {name}", count(*n)),
                |all| format!("{} of the {} {name}", count(*n), count(all)),
            )
        };
        let groups: Vec<String> = fault.groups.iter().map(of).collect();
        return vec![format!("{} connections: {}", count(fault.victims), groups.join(", "))];
    }

    let victims = report.groups.get("victims").map(|group| group.connections.planned);
    victims.map(|n| format!("victims of all faults together: {} connections", count(n))).into_iter().collect()
}

/// Breakers are ours; that one stays open means that the server did not let its client come back.
fn breakers(report: &Report) -> Option<Found> {
    let breaker = &report.breaker;
    (breaker.open_at_end > 0).then(|| {
        let names = ["breaker-open", "Circuit breakers that were still open at the end"];
        let what = format!(
            "{} breakers, of {} times that one opened and {} that one closed again",
            count(breaker.open_at_end),
            count(breaker.opened),
            count(breaker.closed)
        );
        let mut found = Found::new(report, Origin::Answer, names, breaker.open_at_end, what);
        found.sighting.whom = circumstances::whom(report, |slice| (slice.breaker.open_at_end, None));
        found.sighting.recovery.extend(circumstances::came_back(report));
        found
    })
}
