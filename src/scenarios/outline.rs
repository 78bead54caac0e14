//! What a plan will do, in words: the phase timetable, every fault with its victims, what is predicted.

use std::fmt::Write as _;
use std::time::Duration;

use super::faults::words;
use super::plan::{Aim, Crew, Fault, FaultKind, Part, Plan, PublisherGroup, Stagger};
use super::units::{exact_size, show_count, show_duration};
use crate::inject::Schedule;

/// How many victims are named.
const NAMED: usize = 6;

impl Plan {
    /// One line for each phase: when it is and what is published in it.
    #[must_use]
    pub fn timetable(&self) -> Vec<String> {
        let predicted = self.predict();
        let mut begin = Some(Duration::ZERO);
        let mut lines = Vec::new();
        for (index, phase) in self.phases.iter().enumerate() {
            let when = match (begin, phase.length) {
                (Some(from), Some(length)) => {
                    format!("{} to {} after set-up", show(from), show(from + length))
                }
                (Some(from), None) => {
                    format!("from {} after set-up until its events are acknowledged", show(from))
                }
                (None, Some(length)) => format!("for {}", show(length)),
                (None, None) => "until its events are acknowledged".to_owned(),
            };
            let mut line = format!("{}, {when}", phase.name);
            if let Some(steps) = self.climb_in(index) {
                let _ = write!(line, ": {steps}");
            }
            let known = |metric: &str| {
                let value = predicted.get(&format!("{metric} in {}", phase.name))?;
                Some(show_count(*value as u64))
            };
            if let Some(events) = known("published.attempted") {
                let _ = write!(line, ": {events} events");
                let _ = match (known("ledger.obligations"), known("bystanders.ledger.obligations")) {
                    (Some(all), Some(some)) => {
                        write!(line, ", {all} deliveries owed ({some} to bystanders)")
                    }
                    (Some(all), None) => write!(line, ", {all} deliveries owed"),
                    (None, Some(some)) => write!(line, ", {some} deliveries owed to bystanders"),
                    (None, None) => Ok(()),
                };
                line.push_str(if self.rounds > 1 { ", in each round" } else { "" });
            }
            lines.push(line);
            begin = begin.zip(phase.length).map(|(from, length)| from + length);
        }
        lines
    }

    /// The steps of a payload that climbs in a phase; how many of them there will be nobody knows.
    fn climb_in(&self, phase: usize) -> Option<String> {
        let climbs = |group: &&PublisherGroup| group.climb.is_some() && group.phases.contains(&phase);
        let group = self.publishers.iter().find(climbs)?;
        let events = show_count(group.events?);
        let steps: Vec<String> = group.payloads().into_iter().map(|bytes| exact_size(bytes as u64)).collect();
        let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
        Some(format!("{events} events each of {}, until one step fails", words::and(&steps)))
    }

    /// One line for each fault: what it does to how many, and when.
    #[must_use]
    pub fn fault_lines(&self) -> Vec<String> {
        self.faults.iter().map(|fault| self.fault_line(fault)).collect()
    }

    /// The same, each followed by the victims that the seed has drawn.
    #[must_use]
    pub fn fault_details(&self) -> Vec<(String, Vec<String>)> {
        let schedule = Schedule::of(self);
        let details = |(index, fault)| (self.fault_line(fault), self.victims(&schedule, index));
        self.faults.iter().enumerate().map(details).collect()
    }

    fn fault_line(&self, fault: &Fault) -> String {
        if let (Some(_), Some(index)) =
            (fault.operations, self.faults.iter().position(|f| f.name == fault.name))
        {
            let schedule = self.schedule();
            let hit = schedule.planned(index, &fault.kind);
            let [hit_shown, all] = [hit, self.cycles_of(&schedule, fault)].map(show_count);
            let aims: Vec<&str> = fault.on.iter().map(|aim| self.aim_name(*aim)).collect();
            let does = words::does(&fault.kind, hit);
            let parts: Vec<&str> = fault.parts.iter().map(|part| self.part_name(*part)).collect();
            return format!(
                "{}: {hit_shown} of {all} cycles of {} {does}, in {}",
                fault.name,
                words::and(&aims),
                words::and(&parts)
            );
        }
        let does = words::does(&fault.kind, self.hit(fault));
        format!("{}: {} {does}{}", fault.name, self.aims(fault), self.when(fault))
    }

    /// All cycles that the victims of a fault go through in its parts.
    fn cycles_of(&self, schedule: &Schedule, fault: &Fault) -> u64 {
        let groups: Vec<std::ops::Range<u32>> = fault
            .on
            .iter()
            .filter_map(|aim| match aim {
                Aim::Group { group, .. } => {
                    let first = schedule.first_of(*group);
                    Some(first..first + self.crew(*group).1)
                }
                Aim::Victims { .. } => None,
            })
            .collect();
        let others: Vec<usize> = fault
            .on
            .iter()
            .filter_map(|aim| if let Aim::Victims { of, .. } = aim { Some(*of) } else { None })
            .collect();
        let hit_by_others =
            |connection: u32| schedule.acts_of(connection).iter().any(|act| others.contains(&act.fault));
        let aimed = |connection: u32| {
            groups.iter().any(|seats| seats.contains(&connection)) || hit_by_others(connection)
        };
        let acts = schedule.acts().iter().filter(|act| fault.parts.contains(&act.part));
        let churns = acts.filter(|act| matches!(self.faults[act.fault].kind, FaultKind::Churn(_)));
        churns.filter(|act| aimed(act.connection)).map(|act| self.faults[act.fault].kind.times()).sum()
    }

    /// The name of the group, or of the fault.
    fn aim_name(&self, aim: Aim) -> &str {
        match aim {
            Aim::Group { group, .. } => self.crew(group).0,
            Aim::Victims { of, .. } => &self.faults[of].name,
        }
    }

    /// Whom it aims at; victims that several others share are counted once.
    fn aims(&self, fault: &Fault) -> String {
        let other = |aim: &Aim| {
            if let Aim::Victims { of, .. } = aim { Some(self.faults[*of].name.as_str()) } else { None }
        };
        let others: Vec<&str> = fault.on.iter().filter_map(other).collect();
        if others.len() == fault.on.len() {
            return format!("{} victims of {}", show_count(self.hit(fault)), words::and(&others));
        }
        let on: Vec<String> = fault.on.iter().map(|aim| self.aim(*aim)).collect();
        on.join(" and ")
    }

    /// When it does so.
    fn when(&self, fault: &Fault) -> String {
        let parts: Vec<&str> = fault.parts.iter().map(|part| self.part_name(*part)).collect();
        let parts = words::and(&parts);
        let lasting = if fault.kind.lasts() { fault.length } else { None };
        let whole = fault.kind.lasts() && lasting.is_none();
        if whole && fault.start.is_zero() && fault.stagger == Stagger::Together {
            return format!(", in {parts}");
        }
        let begin = format!("the begin of {parts}");
        let (at, from) = match fault.start {
            Duration::ZERO => (format!("at {begin}"), begin),
            start => (format!("{} after {begin}", show(start)), format!("{} after {begin}", show(start))),
        };
        let when = match fault.stagger {
            Stagger::Together => format!("all {at}"),
            Stagger::Linear(over) => format!("evenly over {} from {from}", show(over)),
            Stagger::Poisson(over) => format!("at random over {} from {from}", show(over)),
        };
        let lasting = lasting.map(|length| format!(" for {}", show(length))).unwrap_or_default();
        format!("{lasting}, {when}{}", if whole { ", to its end" } else { "" })
    }

    /// How many connections a fault hits: one that it aims at twice is one victim.
    fn hit(&self, fault: &Fault) -> u64 {
        let aimed = fault.on.iter().map(|aim| match aim {
            Aim::Group { count, .. } | Aim::Victims { count, .. } => u64::from(*count),
        });
        let groups = fault.on.iter().all(|aim| matches!(aim, Aim::Group { .. }));
        match self.faults.iter().position(|other| other.name == fault.name) {
            Some(index) if !groups => {
                let acts = self.schedule().acts().iter().filter(|act| act.fault == index).count() as u64;
                acts / (fault.parts.len() as u64).max(1)
            }
            _ => aimed.sum(),
        }
    }

    /// Whom a fault aims at, with how many of how many.
    fn aim(&self, aim: Aim) -> String {
        match aim {
            Aim::Group { group, count } => {
                let (name, all) = self.crew(group);
                format!("{} of {} connections of {name}", show_count(count.into()), show_count(all.into()))
            }
            Aim::Victims { of, count } => {
                format!("{} victims of {}", show_count(count.into()), self.faults[of].name)
            }
        }
    }

    /// Name and connections of a group.
    #[must_use]
    pub fn crew(&self, crew: Crew) -> (&str, u32) {
        match crew {
            Crew::Subscribers(index) => (&self.subscribers[index].name, self.subscribers[index].connections),
            Crew::Publishers(index) => (&self.publishers[index].name, self.publishers[index].connections),
        }
    }

    /// How a part of the run is called in the scenario language.
    #[must_use]
    pub fn part_name(&self, part: Part) -> &str {
        match part {
            Part::Setup => "setup",
            Part::Phase(index) => &self.phases[index].name,
        }
    }

    /// Per group, the first victims by index within it, a digest of all, and what they do then.
    fn victims(&self, schedule: &Schedule, index: usize) -> Vec<String> {
        let subscribers = (0..self.subscribers.len()).map(Crew::Subscribers);
        let crews = subscribers.chain((0..self.publishers.len()).map(Crew::Publishers));
        crews.filter_map(|crew| self.victims_of(schedule, index, crew)).collect()
    }

    fn victims_of(&self, schedule: &Schedule, index: usize, crew: Crew) -> Option<String> {
        let first = schedule.first_of(crew);
        let (name, connections) = self.crew(crew);
        let seats = first..first + connections;
        let acts = schedule.acts().iter();
        let hit = acts.filter(|act| act.fault == index && seats.contains(&act.connection));
        let mut victims: Vec<u32> = hit.map(|act| act.connection - first).collect();
        // Once for each part.
        victims.dedup();
        if victims.is_empty() {
            return None;
        }
        let bytes: Vec<u8> = victims.iter().flat_map(|victim| victim.to_le_bytes()).collect();
        let digest = xxhash_rust::xxh3::xxh3_64(&bytes);
        let named: Vec<String> = victims.iter().take(NAMED).map(u32::to_string).collect();
        let more = if victims.len() > NAMED { ", …" } else { "" };
        let then = match crew {
            // Delays end no connection, so it does not matter who comes back how.
            _ if !self.faults[index].kind.takes_away() => String::new(),
            Crew::Subscribers(group) => format!("; {}", words::policy(&self.subscribers[group])),
            Crew::Publishers(_) => "; they reconnect".to_owned(),
        };
        Some(format!("{name} {}{more} (digest {digest:016x}){then}", named.join(", ")))
    }
}

fn show(duration: Duration) -> String {
    show_duration(duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use crate::scenarios::catalogue::{Catalogue, Options};
    use crate::scenarios::plan::Plan;

    const FILE: &str = r#"[scenarios.a]
about = "x"
rounds = 2
time-scale = 2
channels = 10
phases = [{ name = "calm" }, { name = "storm", for = "20s" }, { name = "end" }]
subscribers.clients = { connections = 100, reconnect = { exponential = { first = "100ms", cap = "5s" } } }
subscribers.others = { connections = 10 }
publishers.feed = { rate = "10/s", events = 100 }
reached.all = "faults.cut.applied / predicted == 100%"
expect.few-errors = "off"

[scenarios.a.faults.cut]
on = ["clients", "others"]
fraction = "25%"
phase = ["storm"]
start = "2s"
stagger = { poisson = "8s" }
terminate = { how = "ws-close", code = 1001 }

[scenarios.a.faults.all]
on = "others"
phase = "end"
terminate = { how = "fin" }
"#;

    fn plan(seed: u64) -> Plan {
        let options = Options { seed: Some(seed), ..Options::default() };
        Catalogue::from_text(Some(("a.toml", FILE))).unwrap().plan(&["a"], &options).unwrap().plans.remove(0)
    }

    #[test]
    fn the_timetable_says_what_is_known() {
        assert_eq!(
            plan(1).timetable(),
            [
                "calm, from 0s after set-up until its events are acknowledged: 100 events, 1,100 deliveries owed (750 to bystanders), in each round",
                "storm, for 10s: 100 events, 750 deliveries owed to bystanders, in each round",
                "end, until its events are acknowledged: 100 events, 750 deliveries owed to bystanders, in each round",
            ]
        );
    }

    #[test]
    fn a_climb_is_told_by_its_steps() {
        let catalogue = Catalogue::from_text(None).unwrap();
        let plan = catalogue.plan(&["large-payload"], &Options::default()).unwrap().plans.remove(0);
        assert_eq!(
            plan.timetable().last().unwrap(),
            "beyond, until its events are acknowledged: 2 events each of 2MB, 4MB, 8MB and 16MB, until one step fails"
        );
    }

    #[test]
    fn a_fault_is_told_with_its_victims() {
        let details = plan(1).fault_details();
        assert_eq!(
            details[0].0,
            "cut: 25 of 100 connections of clients and 3 of 10 connections of others are closed with close code 1001, \
             at random over 4s from 1s after the begin of storm"
        );
        assert_eq!(
            details[1].0,
            "all: 10 of 10 connections of others are closed with FIN, all at the begin of end"
        );
        let [clients, others] = details[0].1.as_slice() else { panic!("{details:?}") };
        assert!(clients.starts_with("clients ") && clients.contains(", … (digest "), "{clients}");
        assert!(
            clients
                .ends_with("they wait a random time up to 100ms and reconnect, then twice as long up to 5s"),
            "{clients}"
        );
        assert!(others.starts_with("others ") && others.ends_with("they do not reconnect"), "{others}");
        assert!(details[1].1[0].starts_with("others 0, 1, 2, 3, 4, 5, … (digest "));
        // Whoever notes the digest knows whether another run hits the same.
        let digest = |seed| plan(seed).fault_details()[0].1[0].clone();
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}
