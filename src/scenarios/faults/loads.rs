//! What faults meet at the size of a run: enough victims, buffers that are large enough, jitter that stays jitter.

use std::collections::HashSet;

use super::build::victims_of;
use super::delays::{longest, mean, width};
use super::full::{FullFault, MOST_BUFFER};
use super::{cycles, overlaps, slow};
use crate::inject::Schedule;
use crate::scenarios::full::Full;
use crate::scenarios::plan::{
    Aim, Crew, Delay, DropPoint, Fault, FaultKind, Pace, Part, Plan, PublisherGroup,
};
use crate::scenarios::problem::Finding;
use crate::scenarios::target::Publish;
use crate::scenarios::units::{exact_size, show_count, show_duration, show_size};

/// Bytes of a message around its payload, for those that are said to fit into a buffer.
const AROUND: f64 = 256.0;

/// Checks a plan whose faults are all there.
pub(crate) fn check(full: &Full, plan: &Plan, findings: &mut Vec<Finding>) {
    if plan.faults.is_empty() || plan.faults.len() != full.faults.len() {
        return;
    }
    let schedule = Schedule::of(plan);
    for (index, (written, fault)) in full.faults.iter().zip(&plan.faults).enumerate() {
        findings.extend(too_few(&schedule, index, written));
        cycles::load(plan, &schedule, index, written, findings);
        findings.extend(not_published(plan, written));
        findings.extend(slow::unfelt(plan, &schedule, index, written));
        findings.extend(no_web_socket(plan, &schedule, index, written));
        if let FaultKind::LinkDelay(link) = &fault.kind {
            for crew in hit(plan, &schedule, index) {
                for (delay, up) in [(link.up, true), (link.down, false)] {
                    let Some(delay) = delay else { continue };
                    let lane = Lane { plan, fault, crew, delay, up };
                    findings.extend(lane.overflows(written, link.buffer));
                    findings.extend(lane.crowded(written));
                }
            }
        }
    }
    findings.extend(overlaps::check(full, plan, &schedule));
    for (index, group) in full.subscribers.iter().enumerate() {
        let Some(breaker) = &group.breaker else { continue };
        if let Some(name) = never_opens(plan, &schedule, Crew::Subscribers(index)) {
            let message = format!(
                "the circuit breakers of `{}` never open: `{name}` cuts connections, and the next attempt succeeds",
                group.name
            );
            let note = format!("add a fault with on = \"{name}\" and handshake-abort = \"connect\"");
            findings.push(Finding::warning(breaker.span.clone(), message).note(note));
        }
    }
}

/// Points that nobody would be left for.
fn too_few(schedule: &Schedule, index: usize, fault: &FullFault) -> Option<Finding> {
    let (victims, points) = (victims_of(schedule, index), fault.points.len());
    let few = (victims as usize) < points && !fault.of_operations();
    let (_, last) = fault.points.last().filter(|_| few)?;
    let message = format!(
        "`{}` has {} victims at this size, too few for its {points} points",
        fault.name,
        show_count(victims.into())
    );
    Some(Finding::error(last.clone(), message).note("raise `fraction`, or at-least.connections"))
}

/// A victim publishes over its own connection.
fn not_published(plan: &Plan, fault: &FullFault) -> Option<Finding> {
    let Publish::Http { .. } = plan.target.publish else { return None };
    let (_, span) = fault.points.iter().find(|(point, _)| *point == DropPoint::PublishSent)?;
    let message = "this target is published to by HTTP: no WebSocket is ever at `publish-sent`";
    Some(Finding::error(span.clone(), message))
}

/// Over HTTP a publisher has a connection for each request, or for some: there is none to be ended or partitioned.
fn no_web_socket(plan: &Plan, schedule: &Schedule, index: usize, fault: &FullFault) -> Option<Finding> {
    let Publish::Http { .. } = plan.target.publish else { return None };
    let kind = &plan.faults[index].kind;
    let needs_one =
        matches!(kind, FaultKind::Terminate(_) | FaultKind::Partition { .. } | FaultKind::HandshakeAbort(_));
    let crew = hit(plan, schedule, index).into_iter().find(|crew| matches!(crew, Crew::Publishers(_)))?;
    let message = format!(
        "this target is published to by HTTP: `{}` cannot be hit by `{}`",
        plan.crew(crew).0,
        kind.name()
    );
    needs_one.then(|| {
        let note = "allowed there: think-time, link-delay, hold, stall";
        Finding::error(fault.kind_span.clone(), message).note(note)
    })
}

/// The groups a fault hits.
fn hit(plan: &Plan, schedule: &Schedule, fault: usize) -> Vec<Crew> {
    let subscribers = (0..plan.subscribers.len()).map(Crew::Subscribers);
    let crews = subscribers.chain((0..plan.publishers.len()).map(Crew::Publishers));
    let hits = |crew: &Crew| {
        let first = schedule.first_of(*crew);
        let seats = first..first + plan.crew(*crew).1;
        schedule.acts().iter().any(|act| act.fault == fault && seats.contains(&act.connection))
    };
    crews.filter(hits).collect()
}

/// The fault that cuts connections of a group, if nobody of it is kept from connecting again.
fn never_opens<'p>(plan: &'p Plan, schedule: &Schedule, crew: Crew) -> Option<&'p str> {
    let first = schedule.first_of(crew);
    let seats = first..first + plan.crew(crew).1;
    let own = || schedule.acts().iter().filter(|act| seats.contains(&act.connection));
    let barred: HashSet<(u32, Part)> = own()
        .filter(|act| matches!(plan.faults[act.fault].kind, FaultKind::HandshakeAbort(_)))
        .map(|act| (act.connection, act.part))
        .collect();
    let mut cut =
        own().filter(|act| matches!(plan.faults[act.fault].kind, FaultKind::Terminate(_))).peekable();
    let name = plan.faults[cut.peek()?.fault].name.as_str();
    (!cut.any(|act| barred.contains(&(act.connection, act.part)))).then_some(name)
}

/// One direction of the links of a group under a delay.
#[derive(Clone, Copy)]
struct Lane<'a> {
    plan: &'a Plan,
    fault: &'a Fault,
    crew: Crew,
    delay: Delay,
    /// From us to the server.
    up: bool,
}

/// What goes over one connection in one direction.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    messages: f64,
    bytes: f64,
}

impl Lane<'_> {
    /// The most of any phase, per second.
    fn flow(&self) -> Flow {
        let phases =
            self.fault.parts.iter().filter_map(|part| {
                if let Part::Phase(phase) = part { Some(self.flow_in(*phase)) } else { None }
            });
        phases.fold(Flow::default(), |most, one| Flow {
            messages: most.messages.max(one.messages),
            bytes: most.bytes.max(one.bytes),
        })
    }

    fn flow_in(&self, phase: usize) -> Flow {
        let plan = self.plan;
        let mut flow = Flow::default();
        let mut add = |messages: f64, payload: f64| {
            flow.messages += messages;
            flow.bytes += messages * (payload + AROUND);
        };
        match self.crew {
            // Pings and little else.
            Crew::Subscribers(_) if self.up => {}
            Crew::Subscribers(index) => {
                let per = f64::from(plan.subscribers[index].per_connection());
                for group in &plan.publishers {
                    let on_channel = share(plan, group, plan.channels);
                    add(rate(plan, group, phase) * on_channel * per, group.payload as f64);
                }
            }
            Crew::Publishers(index) => {
                let group = &plan.publishers[index];
                let on_connection = rate(plan, group, phase) * share(plan, group, group.connections);
                // An acknowledgement has no payload.
                add(on_connection, if self.up { group.payload as f64 } else { 0.0 });
            }
        }
        flow
    }

    /// What is on its way for as long as it is delayed has to fit.
    fn overflows(&self, written: &FullFault, buffer: usize) -> Option<Finding> {
        let needed = self.flow().bytes * longest(self.delay).as_secs_f64();
        if !needed.is_finite() || needed <= buffer as f64 {
            return None;
        }
        let message = format!(
            "{} that `{}` {} in {} do not fit into a buffer of {}",
            show_size(needed),
            self.plan.crew(self.crew).0,
            if self.up { "sends" } else { "gets" },
            show_duration(longest(self.delay).as_secs_f64()),
            show_size(buffer as f64)
        );
        let note = if needed > MOST_BUFFER as f64 {
            "no buffer is that large: a lower rate, smaller payloads or a shorter delay would fit".to_owned()
        } else {
            let enough = exact_size((needed as u64).max(1).next_power_of_two());
            format!("write buffer = \"{enough}\", for each connection and direction")
        };
        Some(Finding::error(written.buffer_span.clone(), message).note(note))
    }

    /// Bytes stay in order: where the next message comes before the delay of the last is over, it waits for it.
    fn crowded(&self, written: &FullFault) -> Option<Finding> {
        let (messages, width) = (self.flow().messages, width(self.delay).as_secs_f64());
        if width == 0.0 || messages * width <= 1.0 + 1e-9 {
            return None;
        }
        let often = if messages.is_finite() {
            format!("a message every {}", show_duration(1.0 / messages))
        } else {
            "messages without a pause".to_owned()
        };
        let message = format!(
            "each connection of `{}` {} {often}, and delays differ by {}: in order, the longest delay rules",
            self.plan.crew(self.crew).0,
            if self.up { "sends" } else { "gets" },
            show_duration(width)
        );
        let note = "more connections or channels, a lower rate or a narrower delay keep messages apart";
        Some(Finding::warning(written.kind_span.clone(), message).note(note))
    }
}

/// The largest share of a group's events that goes to one of so many channels or connections.
fn share(plan: &Plan, group: &PublisherGroup, among: u32) -> f64 {
    let streams = plan.channels.max(group.connections);
    f64::from(streams.div_ceil(among)) / f64::from(streams)
}

/// Events per second of a group in a phase, as far as the plan knows: what waits for its acknowledgements is known by
/// what it thinks only.
fn rate(plan: &Plan, group: &PublisherGroup, phase: usize) -> f64 {
    if !group.phases.contains(&phase) {
        return 0.0;
    }
    match group.pace {
        Pace::Open(rate) => rate,
        Pace::Unlimited => f64::INFINITY,
        Pace::OneByOne => {
            let all = |fault: &Fault| {
                fault.on.iter().any(|aim| match aim {
                    Aim::Group { group: Crew::Publishers(index), count } => {
                        plan.publishers[*index].name == group.name && *count == group.connections
                    }
                    _ => false,
                })
            };
            let thinks =
                plan.faults.iter().filter(|fault| fault.parts.contains(&Part::Phase(phase)) && all(fault));
            let thought = thinks.filter_map(|fault| {
                if let FaultKind::ThinkTime(delay) = &fault.kind { Some(mean(*delay)) } else { None }
            });
            let thought = thought.fold(0.0, f64::max);
            if thought > 0.0 { f64::from(group.connections) / thought } else { 0.0 }
        }
    }
}
