//! Which clients the report speaks of under one name: a group, all victims, all bystanders.

use std::collections::HashSet;
use std::ops::Range;

use super::clients::{connections, recovered_ratio, subscriptions};
use super::errors::{Deeds, errors};
use super::returns::returns;
use crate::clients::fleet::FleetResult;
use crate::inject::{Act, cohort};
use crate::ledger::{Counts, Totals};
use crate::metrics::{LatencySet, latency_set::Delivered};
use crate::report::model::{Latencies, Ledger, Slice};
use crate::scenarios::plan::Plan;

/// Cohorts under one name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// As in the report.
    pub(super) name: String,
    /// Their indices; see [`cohort`].
    pub(super) cohorts: Vec<usize>,
    /// Connections in the plan.
    pub(super) planned: u64,
}

/// How many cohorts a plan has.
pub(super) fn count(plan: &Plan) -> usize {
    cohort(plan.subscribers.len(), false)
}

/// Every group of subscribers in file order; victims and bystanders after them, where there are faults.
pub(super) fn selections(plan: &Plan, acts: &[Act]) -> Vec<Selection> {
    let aimed_at: HashSet<u32> = acts.iter().map(|act| act.connection).collect();
    let mut all = Vec::new();
    let none = |name: &str| Selection { name: name.to_owned(), cohorts: Vec::new(), planned: 0 };
    let (mut victims, mut bystanders) = (none("victims"), none("bystanders"));
    let mut first = 0;
    for (index, group) in plan.subscribers.iter().enumerate() {
        let own = first..first + group.connections;
        first = own.end;
        let hit = own.filter(|connection| aimed_at.contains(connection)).count() as u64;
        let planned = u64::from(group.connections);
        let cohorts = vec![cohort(index, false), cohort(index, true)];
        bystanders.cohorts.push(cohorts[0]);
        bystanders.planned += planned - hit;
        victims.cohorts.push(cohorts[1]);
        victims.planned += hit;
        all.push(Selection { name: group.name.clone(), cohorts, planned });
    }
    if !plan.faults.is_empty() {
        all.extend([victims, bystanders]);
    }
    all
}

impl Selection {
    /// The whole run as they saw it.
    pub(super) fn slice(&self, plan: &Plan, fleet: &FleetResult, totals: &Totals) -> Slice {
        let tallies = || self.cohorts.iter().map(|cohort| &fleet.groups[*cohort]);
        let reconnect = fleet.latency.reconnects(|cohort| self.cohorts.contains(&cohort)).latency();
        let connections = connections(self.planned, tallies(), None);
        let subscriptions = subscriptions(plan, tallies(), None, &fleet.board);
        let deeds = Deeds {
            connections: Some(&connections),
            subscriptions: Some(&subscriptions),
            ..Deeds::default()
        };
        let (reconnects, breaker) = returns(tallies());
        Slice {
            recovered_ratio: recovered_ratio(&connections),
            errors: errors(deeds, &tallies().collect::<Vec<_>>()),
            reconnects,
            breaker,
            connections,
            subscriptions,
            ledger: self.ledger(plan, totals, 0..plan.phases.len()),
            latency: Latencies { reconnect, ..self.deliveries(&fleet.latency, |_| true) },
            ..Slice::default()
        }
    }

    /// The events of one phase as they saw them.
    pub(super) fn in_phase(&self, plan: &Plan, latency: &LatencySet, totals: &Totals, phase: usize) -> Slice {
        Slice {
            ledger: self.ledger(plan, totals, phase..phase + 1),
            latency: self.deliveries(latency, |of| of == phase),
            ..Slice::default()
        }
    }

    fn ledger(&self, plan: &Plan, totals: &Totals, phases: Range<usize>) -> Ledger {
        let mut counts = Counts::default();
        let mut receipts = 0;
        for phase in phases {
            for &cohort in &self.cohorts {
                counts += totals.at(cohort, phase);
                receipts += totals.receipts_at(cohort, phase);
            }
        }
        ledger(plan, &counts, receipts, counts.obligations())
    }

    fn deliveries(&self, latency: &LatencySet, phase: impl Fn(usize) -> bool) -> Latencies {
        deliveries(&latency.slice(|cohort, of| self.cohorts.contains(&cohort) && phase(of)))
    }
}

/// Counts as the report states them under the contract of the target.
pub(super) fn ledger(plan: &Plan, counts: &Counts, receipts: u64, obligations: u64) -> Ledger {
    counts.report(receipts, obligations, plan.target.contract, plan.target.ordered)
}

/// Latencies of deliveries, and none else.
pub(super) fn deliveries(delivered: &Delivered) -> Latencies {
    Latencies {
        deliver: delivered.from_due.latency(),
        deliver_from_sent: delivered.from_sent.latency(),
        ..Latencies::default()
    }
}
