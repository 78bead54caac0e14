//! Churn, and what ends its cycles: whom they suit, when, and whether a phase is long enough.

use std::time::Duration;

use super::aims::{Hits, hits, name_of};
use super::file::Of;
use super::full::{FullFault, SETUP};
use crate::inject::Schedule;
use crate::scenarios::full::{At, Full};
use crate::scenarios::plan::{Churn, Crew, DropPoint, Fault, FaultKind, Part, Plan, Reconnect, Stagger};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{show_count, show_duration, show_ratio};

/// Points of a cycle.
const POINTS: [DropPoint; 3] = [DropPoint::SubscribeSent, DropPoint::Receive, DropPoint::UnsubscribeSent];

/// Most cycles of one scenario: each of those that fail is drawn, and kept, before the run begins.
const MOST: u64 = 1_000_000;

/// A fault whose victims churn, or that ends what they do, at full size.
pub(crate) fn check(full: &Full, fault: &FullFault, hits: &Hits, findings: &mut Vec<Finding>) {
    if fault.cycles.is_some() {
        churn(full, fault, hits, findings);
    }
    if fault.of_operations() {
        operations(full, fault, hits, findings);
    }
}

fn churn(full: &Full, fault: &FullFault, hits: &Hits, findings: &mut Vec<Finding>) {
    let error = |message: String| Finding::error(fault.kind_span.clone(), message);
    if let Some(crew) = hits.iter().map(|(crew, _)| *crew).find(|crew| matches!(crew, Crew::Publishers(_))) {
        let message = format!("`{}` publishes and never subscribes: it cannot churn", name_of(full, crew));
        findings.push(error(message).note("aim it at a group of subscribers"));
    }
    if fault.in_setup() {
        let message = format!("churn cannot begin in `{SETUP}`, which has every subscription proved first");
        findings.push(error(message).note("name a phase"));
    } else if let [first, second, ..] =
        full.phases_named(fault.phases.as_ref()).collect::<Vec<_>>().as_slice()
    {
        let message =
            format!("churn goes on in one phase, and this acts in `{}` and `{}`", first.name, second.name);
        findings.push(error(message).note(format!("write phase = \"{}\"", first.name)));
    }
}

fn operations(full: &Full, fault: &FullFault, hits: &Hits, findings: &mut Vec<Finding>) {
    let error = |message: &str| Finding::error(fault.of.span.clone(), message);
    if fault.kind.is_some() && !matches!(fault.kind, Some(FaultKind::Terminate(_))) {
        let message = "a share of operations can only be ended: `of = \"operations\"` goes with `terminate`";
        findings.push(error(message).note("leave `of` out to hit a share of the connections"));
        return;
    }
    points(fault, findings);
    for (written, key, span) in [
        (fault.start.written, "start", &fault.start.span),
        (fault.stagger.written, "stagger", &fault.stagger.span),
    ] {
        if written {
            let message = format!("`{key}` means nothing to operations: each fails when its turn comes");
            findings.push(Finding::error(span.clone(), message));
        }
    }
    for crew in hits.iter().map(|(crew, _)| *crew) {
        findings.extend(does_none(full, fault, crew));
    }
    findings.extend(too_much(full, fault, hits));
}

/// Where in a cycle it ends.
fn points(fault: &FullFault, findings: &mut Vec<Finding>) {
    let allowed = POINTS.map(DropPoint::word).join(", ");
    if fault.points.is_empty() && fault.kind.is_some() {
        let message = "an operation ends at a point of it: `at` is missing";
        let finding = Finding::error(fault.kind_span.clone(), message);
        findings.push(finding.note(format!("allowed: {allowed}")));
    }
    for (point, span) in fault.points.iter().filter(|(point, _)| !POINTS.contains(point)) {
        let message = format!("no cycle is ever at `{}`", point.word());
        findings.push(Finding::error(span.clone(), message).note(format!("allowed in cycles: {allowed}")));
    }
}

/// Why a group has no operations that could be counted, or could not go on after one that failed.
fn does_none(full: &Full, fault: &FullFault, crew: Crew) -> Option<Finding> {
    let name = name_of(full, crew);
    let error = |message: String| Finding::error(fault.of.span.clone(), message);
    let Crew::Subscribers(index) = crew else {
        let message = format!("`{name}` publishes, and this version cannot end a share of its publishes yet");
        return Some(error(message).note("aim at a group that churns, or leave `of` out"));
    };
    let all = hits(full);
    let churns = |(other, hits): &(&FullFault, &Hits)| {
        other.cycles.is_some() && hits.iter().any(|(hit, _)| *hit == crew)
    };
    let churning: Vec<&FullFault> =
        full.faults.iter().zip(&all).filter(churns).map(|(other, _)| other).collect();
    let Some(first) = churning.first() else {
        let message = format!("`{name}` has no operations whose number is planned: nothing has it churn");
        return Some(error(message).note("add a fault with churn = { cycles = 100 }"));
    };
    let together = |other: &&FullFault| {
        full.phases.iter().any(|phase| other.acts_in(&phase.name) && fault.acts_in(&phase.name))
    };
    if !churning.iter().any(together) {
        let message = format!("`{}` and `{}` never act in the same phase", fault.name, first.name);
        return Some(error(message).note("leave `phase` out: operations fail where they are"));
    }
    let group = &full.subscribers[index];
    (group.reconnect.value == Reconnect::None).then(|| {
        let message =
            format!("`{name}` does not reconnect: after its first cycle that fails it has no other");
        error(message).note("write reconnect = \"immediate\" for the group")
    })
}

/// Operations are drawn without replacement, too.
fn too_much(full: &Full, fault: &FullFault, own: &Hits) -> Option<Finding> {
    let all = hits(full);
    let before = full.faults.iter().zip(&all).take_while(|(other, _)| other.name != fault.name);
    let same = before.filter(|(other, hits)| {
        other.of_operations() && hits.iter().any(|(crew, _)| own.iter().any(|(mine, _)| mine == crew))
    });
    let taken: f64 = same.map(|(other, _)| other.fraction.value).sum();
    (taken + fault.fraction.value > 1.0 + 1e-9).then(|| {
        let message = format!(
            "{} of the operations are taken by the faults before, and {} more are not there",
            show_ratio(taken),
            show_ratio(fault.fraction.value)
        );
        Finding::error(fault.fraction.span.clone(), message)
    })
}

/// At the size of a run: whether there are too many cycles with those of a fault whose victims are known now. To be asked
/// before anything is drawn that is drawn for each cycle.
pub(super) fn too_many(plan: &Plan, index: usize, written: &FullFault) -> Option<Finding> {
    let cycles = written.cycles.as_ref()?;
    let of = |(fault, victims): (&Fault, usize)| match fault.kind {
        FaultKind::Churn(churn) => (victims * fault.parts.len()) as u64 * u64::from(churn.cycles),
        _ => 0,
    };
    let all: u64 = plan.faults.iter().zip(Schedule::victims(plan)).map(of).sum();
    (all > MOST).then(|| {
        let (all, most) = (show_count(all), show_count(MOST));
        let message = format!("{all} cycles in all, and at most {most} can be planned");
        Finding::error(cycles.span.clone(), message)
            .note(format!("fewer cycles or fewer victims of `{}`", plan.faults[index].name))
    })
}

/// At the size of a run: whether there are too few cycles, or more than a phase has time for.
pub(super) fn load(
    plan: &Plan,
    schedule: &Schedule,
    index: usize,
    written: &FullFault,
    findings: &mut Vec<Finding>,
) {
    let fault = &plan.faults[index];
    let planned = schedule.planned(index, &fault.kind);
    if let (FaultKind::Churn(churn), Some(cycles)) = (&fault.kind, &written.cycles) {
        findings.extend(too_long(plan, fault, *churn, cycles));
        findings.extend(twice(plan, schedule, index, written));
    }
    let points = written.points.len() as u64;
    if written.of.value == Of::Operations && planned > 0 && planned < points {
        let message = format!(
            "`{}` ends {} of the operations at this size, too few for its {points} points",
            fault.name,
            show_count(planned)
        );
        let finding = Finding::error(written.fraction.span.clone(), message);
        findings.push(finding.note("raise `fraction`, or at-least.cycles"));
    }
}

/// A client that two faults have churn, even one after the other, would need two lists of cycles.
fn twice(plan: &Plan, schedule: &Schedule, index: usize, written: &FullFault) -> Option<Finding> {
    let churns = |fault: usize| matches!(plan.faults[fault].kind, FaultKind::Churn(_));
    let hit = schedule.acts().iter().filter(|act| act.fault == index);
    let mut others = hit.flat_map(|act| schedule.acts_of(act.connection));
    let other = others.find(|other| other.fault < index && churns(other.fault))?;
    let message = format!("`{}` has some of these clients churn already", plan.faults[other.fault].name);
    Some(Finding::error(written.kind_span.clone(), message).note("write one fault, or aim at other clients"))
}

/// More cycles than fit into a phase of a fixed length.
fn too_long(plan: &Plan, fault: &Fault, churn: Churn, cycles: &At<u32>) -> Option<Finding> {
    let spread = match fault.stagger {
        Stagger::Together => Duration::ZERO,
        Stagger::Linear(over) | Stagger::Poisson(over) => over,
    };
    let each = churn.hold.saturating_add(churn.pause);
    let needed = each.saturating_mul(churn.cycles).saturating_add(fault.start).saturating_add(spread);
    let phase = fault.parts.iter().find_map(|part| match part {
        Part::Phase(index) => plan.phases.get(*index),
        Part::Setup => None,
    })?;
    let length = phase.length.filter(|length| needed > *length)?;
    let show = |time: Duration| show_duration(time.as_secs_f64());
    let message = format!(
        "{} cycles of {} each take {} at least, and `{}` ends after {}",
        show_count(churn.cycles.into()),
        show(each),
        show(needed),
        phase.name,
        show(length)
    );
    Some(
        Finding::error(cycles.span.clone(), message)
            .note("fewer cycles, a shorter `hold` or `pause`, or a longer phase"),
    )
}

#[cfg(test)]
mod tests {
    use crate::scenarios::catalogue::{Catalogue, Options};
    use crate::scenarios::plan::{FaultKind, Plan};

    const FILE: &str = r#"[scenarios.a]
about = "x"
phases = [{ name = "main", for = "10s" }]
subscribers.a = { connections = 20, reconnect = "immediate" }
publishers.feed = { rate = "10/s" }
faults.churn = { on = "a", churn = { cycles = 100, hold = "50ms", pause = "50ms" } }
at-least = { connections = 2, cycles = 10 }
reached.all = "faults.churn.applied / predicted == 100%"
expect.few-errors = "off"

[scenarios.a.faults.fail]
on = "churn"
fraction = "10%"
of = "operations"
terminate = { how = "reset", at = ["subscribe-sent", "receive", "unsubscribe-sent"] }
"#;

    fn plan(scale: f64, set: &[&str]) -> Result<Plan, String> {
        plan_of(FILE, scale, set)
    }

    fn plan_of(file: &str, scale: f64, set: &[&str]) -> Result<Plan, String> {
        let set = set.iter().map(|set| (*set).to_owned()).collect();
        let options = Options { scale, set, ..Options::default() };
        let catalogue = Catalogue::from_text(Some(("a.toml", file))).map_err(|e| e.to_string())?;
        let planned = catalogue.plan(&["a"], &options).map_err(|e| e.to_string())?;
        Ok(planned.plans.into_iter().next().expect("one scenario"))
    }

    fn cycles(plan: &Plan) -> (u32, u64, u64) {
        let FaultKind::Churn(churn) = plan.faults[0].kind else { panic!("{:?}", plan.faults[0]) };
        let of = |index: usize| plan.schedule().planned(index, &plan.faults[index].kind);
        (churn.cycles, of(0), of(1))
    }

    #[test]
    fn cycles_shrink_to_their_floor_and_a_tenth_stays_a_tenth() {
        assert_eq!(cycles(&plan(1.0, &[]).expect("it fits")), (100, 2_000, 200));
        let reduced = plan(0.2, &[]).expect("it fits");
        assert_eq!(cycles(&reduced), (20, 4 * 20, 8));
        let change = reduced.changes.iter().find(|change| change.key == "faults.churn.churn.cycles");
        assert_eq!(change.map(|change| (change.from, change.to, change.at_least)), Some((100, 20, false)));
        assert_eq!(cycles(&plan(0.02, &["subscribers.a.connections=4"]).expect("it fits")), (10, 40, 4));
        let set = ["faults.churn.churn.cycles=50", "subscribers.a.connections=2"];
        assert_eq!(cycles(&plan(0.02, &set).expect("it fits")), (50, 100, 10));
    }

    #[test]
    fn what_the_plan_says_of_them() {
        let lines = plan(1.0, &[]).expect("it fits").fault_lines();
        assert_eq!(
            lines,
            [
                "churn: 20 of 20 connections of a subscribe, hold for 50ms, unsubscribe and pause for 50ms, 100 times each, \
                 in main",
                "fail: 200 of 2,000 cycles of churn are reset while they subscribe, receive and unsubscribe \
                 (66 or 67 each), in main",
            ]
        );
    }

    #[track_caller]
    fn refused(set: &[&str], scale: f64, why: &str) {
        let told = plan(scale, set).expect_err("it does not fit");
        assert!(told.contains(why), "{told}");
    }

    /// Ten thousand million draws would take hundreds of gigabytes.
    #[test]
    fn more_cycles_than_can_be_drawn_are_refused_before_any_is() {
        let many = ["subscribers.a.connections=1000", "faults.churn.churn.cycles=10000000"];
        let told = plan(1.0, &many).expect_err("it is too much");
        assert!(
            told.contains("10,000,000,000 cycles in all, and at most 1,000,000 can be planned"),
            "{told}"
        );
        assert_eq!(told.matches("error").count(), 1, "{told}");
        // Each of the two would do alone.
        let more =
            "subscribers.b = { connections = 20 }\nfaults.more = { on = \"b\", churn = { cycles = 30_000 } }";
        let two = FILE.replace("reached.all", &format!("{more}\nreached.all"));
        let told = plan_of(&two, 1.0, &["faults.churn.churn.cycles=30000"]).expect_err("it is too much");
        assert!(told.contains("1,200,000 cycles in all"), "{told}");
    }

    #[test]
    fn what_does_not_fit_is_told() {
        refused(
            &["faults.churn.churn.hold=51ms"],
            1.0,
            "100 cycles of 101ms each take 10.1s at least, and `main` ends after 10s",
        );
        refused(&["faults.churn.start=500ms"], 1.0, "take 10.5s at least");
        let fail = ["faults.fail.fraction=5%"];
        refused(&fail, 0.1, "`fail` ends 1 of the operations at this size, too few for its 3 points");
    }
}
