//! Who is hit by which fault, and when: drawn from the seed, before the run starts.
//!
//! Every draw has a key of its own (the seed, what is drawn, for whom), and depends on nothing else. So neither the
//! order of asking nor the timing of a run can change a decision, and a change of one part of a plan leaves the draws
//! of all others as they are. Groups and faults enter the key by name, connections by their index within the group.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::draws::{Draws, Stream};
use crate::scenarios::plan::{Aim, Crew, DropPoint, Fault, FaultKind, Part, Plan, Stagger, exact_share};

/// One planned application of a fault to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Act {
    /// Index of the fault in the plan.
    pub fault: usize,
    /// Index of the connection among all of the plan: subscribing ones first, then publishing ones.
    pub connection: u32,
    /// The part of the run it happens in.
    pub part: Part,
    /// When it begins, after the begin of that part.
    pub after: Duration,
    /// How long it lasts; `None`: to the end of the part, or no time at all where it is no matter of time.
    pub length: Option<Duration>,
    /// What the connection is in the middle of when it is ended; `None`: anything, or it is not ended.
    pub point: Option<DropPoint>,
    /// The cycle of the connection's churn in this part that it is ended in, from 0; `None`: it is ended, or whatever it
    /// is, when it is due. Of one in a cycle the times mean nothing.
    pub cycle: Option<u32>,
}

/// Every decision about faults of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schedule {
    /// By connection, then part, then time, then fault.
    acts: Vec<Act>,
    groups: Vec<Seats>,
    /// Names of the faults.
    faults: Vec<String>,
    seed: u64,
}

/// A group's part of all connections.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seats {
    crew: Crew,
    name: String,
    first: u32,
    connections: u32,
}

/// A victim: index of its group among [`Schedule::groups`], and of the connection within it.
type Victim = (usize, u32);

/// A cycle of a connection, by its number within a part of the run.
type Cycle = (u32, Part, u32);

impl Schedule {
    /// Draws every victim and every moment of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let faults = plan.faults.iter().map(|fault| fault.name.clone()).collect();
        let mut schedule = Self { acts: Vec::new(), groups: seats(plan), faults, seed: plan.seed };
        let victims = schedule.all_victims(plan);
        for ((index, fault), victims) in plan.faults.iter().enumerate().zip(&victims) {
            if fault.operations.is_none() {
                schedule.add(index, fault, victims);
            }
        }
        let mut taken = HashSet::new();
        for ((index, fault), victims) in plan.faults.iter().enumerate().zip(&victims) {
            if let Some(share) = fault.operations {
                schedule.add_to_cycles(plan, (index, share), victims, &mut taken);
            }
        }
        schedule.acts.sort_by_key(|act| (act.connection, act.part, act.after, act.fault, act.cycle));
        schedule
    }

    /// How many connections each fault of a plan hits: all that can be known without drawing a single cycle.
    #[must_use]
    pub fn victims(plan: &Plan) -> Vec<usize> {
        let bare = Self { groups: seats(plan), seed: plan.seed, ..Self::default() };
        bare.all_victims(plan).iter().map(Vec::len).collect()
    }

    /// Everything planned, by connection, then part, then time.
    #[must_use]
    pub fn acts(&self) -> &[Act] {
        &self.acts
    }

    /// What is planned for one connection, in the order of its times.
    #[must_use]
    pub fn acts_of(&self, connection: u32) -> &[Act] {
        let from = self.acts.partition_point(|act| act.connection < connection);
        let to = self.acts.partition_point(|act| act.connection <= connection);
        &self.acts[from..to]
    }

    /// How often a fault is planned to act: each cycle of churn is once.
    #[must_use]
    pub fn planned(&self, fault: usize, kind: &FaultKind) -> u64 {
        self.acts.iter().filter(|act| act.fault == fault).map(|_| kind.times()).sum()
    }

    /// How many of the cycles of one churn are planned to fail.
    #[must_use]
    pub fn failing_cycles(&self, churn: usize) -> u64 {
        let churning = self.acts.iter().filter(|act| act.fault == churn);
        let churning: HashSet<_> = churning.map(|act| (act.connection, act.part)).collect();
        let fails = |act: &&Act| act.cycle.is_some() && churning.contains(&(act.connection, act.part));
        self.acts.iter().filter(fails).count() as u64
    }

    /// Whether any fault aims at a connection.
    #[must_use]
    pub fn is_victim(&self, connection: u32) -> bool {
        !self.acts_of(connection).is_empty()
    }

    /// Index of the first connection of a group among all of the plan.
    #[must_use]
    pub fn first_of(&self, crew: Crew) -> u32 {
        self.groups.iter().find(|seats| seats.crew == crew).map_or(0, |seats| seats.first)
    }

    /// A random share of a backoff, in 0..1, for one attempt of one connection: full jitter.
    #[must_use]
    pub fn jitter(&self, connection: u32, attempt: u32) -> f64 {
        self.draws("jitter", "", connection).share(attempt.into())
    }

    /// The delays that a fault draws for a connection in one direction (or for its thinking), by their number.
    #[must_use]
    pub fn delays(&self, fault: usize, connection: u32, lane: Lane) -> Draws {
        let name = self.faults.get(fault).map_or("", String::as_str);
        self.draws(lane.word(), name, connection)
    }

    fn draws(&self, what: &str, fault: &str, connection: u32) -> Draws {
        let group = self.groups.iter().rfind(|group| group.first <= connection);
        let (name, first) = group.map_or(("", 0), |group| (group.name.as_str(), group.first));
        Stream::of(self.seed, what, fault, name).of_connection(connection - first)
    }

    /// All applications of one fault.
    fn add(&mut self, index: usize, fault: &Fault, victims: &[Victim]) {
        let count = u32::try_from(victims.len()).unwrap_or(u32::MAX);
        let points = if let FaultKind::Terminate(end) = &fault.kind { end.at.as_slice() } else { &[] };
        let length = fault.length.filter(|_| fault.kind.lasts());
        for part in fault.parts.iter().copied() {
            for (place, (group, connection)) in (0_u32..).zip(victims.iter().copied()) {
                let seats = &self.groups[group];
                let spread = match fault.stagger {
                    Stagger::Together => Duration::ZERO,
                    // The first at once, the last one step before the end: never outside of the spread.
                    Stagger::Linear(over) => over.mul_f64(f64::from(place) / f64::from(count)),
                    // Arrivals of a Poisson process of which the number is known are uniform, each by itself.
                    Stagger::Poisson(over) => {
                        let moments = Stream::of(self.seed, "moment", &fault.name, &seats.name);
                        let number = match part {
                            Part::Phase(phase) => phase as u64,
                            Part::Setup => u64::MAX,
                        };
                        over.mul_f64(moments.of_connection(connection).share(number))
                    }
                };
                // In the order of their draws the victims take the points in turn: as even as their number allows.
                let point = (!points.is_empty()).then(|| points[place as usize % points.len()]);
                let (connection, after) = (seats.first + connection, fault.start + spread);
                self.acts.push(Act { fault: index, connection, part, after, length, point, cycle: None });
            }
        }
    }

    /// An exact share of all cycles that the victims go through in the parts of a fault; those that another fault has
    /// drawn are no more to be had.
    fn add_to_cycles(
        &mut self,
        plan: &Plan,
        (index, share): (usize, f64),
        victims: &[Victim],
        taken: &mut HashSet<Cycle>,
    ) {
        let fault = &plan.faults[index];
        let FaultKind::Terminate(end) = &fault.kind else { return };
        let draws: HashMap<u32, Draws> = victims
            .iter()
            .map(|(group, connection)| {
                let seats = &self.groups[*group];
                let draws = Stream::of(self.seed, "operation", &fault.name, &seats.name);
                (seats.first + connection, draws.of_connection(*connection))
            })
            .collect();
        let mut planned = 0;
        let mut ranked: Vec<(u64, Cycle)> = Vec::new();
        for act in self.acts.iter().filter(|act| fault.parts.contains(&act.part)) {
            let (Some(draws), FaultKind::Churn(churn)) =
                (draws.get(&act.connection), &plan.faults[act.fault].kind)
            else {
                continue;
            };
            planned += u64::from(churn.cycles);
            let cycles = (0..churn.cycles).map(|cycle| (act.connection, act.part, cycle));
            let free = cycles.filter(|cycle| !taken.contains(cycle));
            ranked.extend(free.map(|cycle| (draws.draw(cycle.2.into()), cycle)));
        }
        if planned == 0 {
            return;
        }
        ranked.sort_unstable();
        ranked.truncate(usize::try_from(exact_share(share, planned)).unwrap_or(usize::MAX));
        for (place, (_, cycle)) in ranked.into_iter().enumerate() {
            taken.insert(cycle);
            let (connection, part, cycle) = cycle;
            // In the order of their draws, as above.
            let point = (!end.at.is_empty()).then(|| end.at[place % end.at.len()]);
            let (after, length) = (Duration::ZERO, None);
            self.acts.push(Act { fault: index, connection, part, after, length, point, cycle: Some(cycle) });
        }
    }

    /// The victims of every fault, each in the order of their draws over all its groups.
    fn all_victims(&self, plan: &Plan) -> Vec<Vec<Victim>> {
        // Connections of each group that a fault has drawn already.
        let mut drawn = vec![HashSet::new(); self.groups.len()];
        let mut victims: Vec<Option<Vec<Victim>>> = vec![None; plan.faults.len()];
        for (fault, victims) in plan.faults.iter().zip(&mut victims) {
            if fault.on.iter().all(|aim| matches!(aim, Aim::Group { .. })) {
                *victims = Some(self.drawn(fault, &mut drawn, &[]));
            }
        }
        // Who aims at others' victims can be told once those are; a circle among them has no victims.
        for _ in 0..plan.faults.len() {
            for (index, fault) in plan.faults.iter().enumerate() {
                let known = |aim: &Aim| match aim {
                    Aim::Group { .. } => true,
                    Aim::Victims { of, .. } => victims[*of].is_some(),
                };
                if victims[index].is_none() && fault.on.iter().all(known) {
                    victims[index] = Some(self.drawn(fault, &mut drawn, &victims));
                }
            }
        }
        victims.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Victims of a fault in the order of their draws, each once.
    fn drawn(
        &self,
        fault: &Fault,
        drawn: &mut [HashSet<u32>],
        victims: &[Option<Vec<Victim>>],
    ) -> Vec<Victim> {
        let mut chosen: Vec<(u64, Victim)> = Vec::new();
        for aim in fault.on.iter().copied() {
            let (from, count) = match aim {
                Aim::Victims { of, count } => {
                    (victims.get(of).cloned().flatten().unwrap_or_default(), count as usize)
                }
                Aim::Group { group, count } => {
                    let Some(index) = self.groups.iter().position(|seats| seats.crew == group) else {
                        continue;
                    };
                    // Whoever hits all draws nobody, and takes nobody from the other faults.
                    let all = count >= self.groups[index].connections;
                    let free = (0..self.groups[index].connections)
                        .filter(|connection| all || !drawn[index].contains(connection));
                    (free.map(|connection| (index, connection)).collect(), count as usize)
                }
            };
            let mut ranked: Vec<(u64, Victim)> =
                from.into_iter().map(|victim| (self.rank(fault, victim), victim)).collect();
            ranked.sort_unstable();
            ranked.truncate(count);
            if let Aim::Group { .. } = aim {
                let all = |index: usize| count >= self.groups[index].connections as usize;
                let takes = ranked.iter().filter(|(_, (index, _))| !all(*index));
                takes.for_each(|(_, (index, connection))| {
                    drawn[*index].insert(*connection);
                });
            }
            chosen.extend(ranked);
        }
        chosen.sort_unstable();
        chosen.dedup();
        chosen.into_iter().map(|(_, victim)| victim).collect()
    }

    fn rank(&self, fault: &Fault, (group, connection): Victim) -> u64 {
        let draws = Stream::of(self.seed, "victim", &fault.name, &self.groups[group].name);
        draws.of_connection(connection).draw(0)
    }
}

/// What a drawn delay is for; each has draws of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Thinking before an operation.
    Think,
    /// Bytes from us to the peer.
    Up,
    /// Bytes from the peer to us.
    Down,
}

impl Lane {
    fn word(self) -> &'static str {
        match self {
            Self::Think => "think",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

fn seats(plan: &Plan) -> Vec<Seats> {
    let subscribers = plan.subscribers.iter().enumerate();
    let subscribers = subscribers.map(|(i, g)| (Crew::Subscribers(i), g.name.clone(), g.connections));
    let publishers = plan.publishers.iter().enumerate();
    let publishers = publishers.map(|(i, g)| (Crew::Publishers(i), g.name.clone(), g.connections));
    let mut first = 0;
    let seat = |(crew, name, connections)| {
        let seats = Seats { crew, name, first, connections };
        first += connections;
        seats
    };
    subscribers.chain(publishers).map(seat).collect()
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
