//! Who is hit by which fault, and when: drawn from the seed, before the run starts.
//!
//! Every draw has a key of its own (the seed, what is drawn, for whom), and depends on nothing else. So neither the
//! order of asking nor the timing of a run can change a decision, and a change of one part of a plan leaves the draws
//! of all others as they are. Groups and faults enter the key by name, connections by their index within the group.

use std::collections::HashSet;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use xxhash_rust::xxh3::xxh3_64;

use crate::scenarios::plan::{Fault, FaultKind, Plan, Stagger, SubscriberGroup, Terminate};

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
    groups: Vec<Seats>,
    seed: u64,
}

/// A group's part of all connections.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seats {
    name: String,
    first: u32,
    connections: u32,
}

impl Schedule {
    /// Draws every victim and every moment of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut schedule = Self { cuts: Vec::new(), groups: seats(&plan.subscribers), seed: plan.seed };
        // Connections of each group that a fault has drawn already.
        let mut drawn = vec![HashSet::new(); plan.subscribers.len()];
        for (index, fault) in plan.faults.iter().enumerate() {
            schedule.add(index, fault, &mut drawn);
        }
        schedule.cuts.sort_by_key(|cut| (cut.connection, cut.phase, cut.after, cut.fault));
        schedule
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
        let group = self.groups.iter().rfind(|group| group.first <= connection);
        let (name, first) = group.map_or(("", 0), |group| (group.name.as_str(), group.first));
        self.stream("jitter", "", name).share(connection - first, attempt.into())
    }

    /// All applications of one fault.
    fn add(&mut self, index: usize, fault: &Fault, drawn: &mut [HashSet<u32>]) {
        let FaultKind::Terminate(how) = fault.kind;
        let victims = self.victims(fault, drawn);
        let count = u32::try_from(victims.len()).unwrap_or(u32::MAX);
        for phase in fault.phases.iter().copied() {
            for (place, (group, connection)) in (0_u32..).zip(victims.iter().copied()) {
                let seats = &self.groups[group];
                let spread = match fault.stagger {
                    Stagger::Together => Duration::ZERO,
                    // The first at once, the last one step before the end: never outside of the spread.
                    Stagger::Linear(over) => over.mul_f64(f64::from(place) / f64::from(count)),
                    // Arrivals of a Poisson process of which the number is known are uniform, each by itself.
                    Stagger::Poisson(over) => {
                        let moments = self.stream("moment", &fault.name, &seats.name);
                        over.mul_f64(moments.share(connection, phase as u64))
                    }
                };
                let (connection, after) = (seats.first + connection, fault.start + spread);
                self.cuts.push(Cut { fault: index, connection, phase, after, how });
            }
        }
    }

    /// Victims of a fault as (group, connection within it), in the order of their draws over all its groups.
    fn victims(&self, fault: &Fault, drawn: &mut [HashSet<u32>]) -> Vec<(usize, u32)> {
        let mut victims = Vec::new();
        for (group, count) in fault.on.iter().copied() {
            let seats = &self.groups[group];
            let draws = self.stream("victim", &fault.name, &seats.name);
            // Whoever hits all draws nobody, and takes nobody from the other faults.
            let all = count >= seats.connections;
            let mut ranked: Vec<(u64, u32)> = (0..seats.connections)
                .filter(|connection| all || !drawn[group].contains(connection))
                .map(|connection| (draws.draw(connection, 0), connection))
                .collect();
            ranked.sort_unstable();
            ranked.truncate(count as usize);
            if !all {
                drawn[group].extend(ranked.iter().map(|(_, connection)| connection));
            }
            victims.extend(ranked.into_iter().map(|(rank, connection)| (rank, group, connection)));
        }
        victims.sort_unstable();
        victims.into_iter().map(|(_, group, connection)| (group, connection)).collect()
    }

    fn stream(&self, what: &str, fault: &str, group: &str) -> Stream {
        // No name has a slash in it.
        Stream { seed: self.seed, name: xxh3_64(format!("{what}/{fault}/{group}").as_bytes()) }
    }
}

/// Draws that share the first half of their key.
#[derive(Debug, Clone, Copy)]
struct Stream {
    seed: u64,
    name: u64,
}

impl Stream {
    /// The one draw of a key.
    fn draw(self, connection: u32, number: u64) -> u64 {
        let mut key = [0; 32];
        let words = [self.seed, self.name, connection.into(), number];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key).next_u64()
    }

    /// The same as a share, in 0..1.
    fn share(self, connection: u32, number: u64) -> f64 {
        // 53 bits: as many as a float holds exactly.
        (self.draw(connection, number) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn seats(groups: &[SubscriberGroup]) -> Vec<Seats> {
    let mut first = 0;
    let seat = |group: &SubscriberGroup| {
        let seats = Seats { name: group.name.clone(), first, connections: group.connections };
        first += group.connections;
        seats
    };
    groups.iter().map(seat).collect()
}

/// Index of a group's bystanders or victims among all cohorts: figures are kept per cohort, so that groups, victims
/// and bystanders are each a sum of them.
#[must_use]
pub fn cohort(group: usize, victim: bool) -> usize {
    2 * group + usize::from(victim)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
