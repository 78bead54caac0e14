//! Exact counts, disjoint draws, and keys that depend on nothing else.

use super::*;
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{How, Terminate};

/// 1,000 clients and 400 others over three phases; the faults are given.
fn plan(seed: u64, faults: Vec<Fault>) -> Plan {
    let text = r#"[scenarios.a]
about = "x"
phases = [{ name = "one", for = "5s" }, { name = "two", for = "10s" }, { name = "three", for = "10s" }]
subscribers.clients = { connections = 1_000 }
subscribers.others = { connections = 400 }
publishers.feed = { rate = "10/s" }
"#;
    let catalogue = Catalogue::from_text(Some(("a.toml", text))).unwrap();
    let options = Options { seed: Some(seed), ..Options::default() };
    let mut plan = catalogue.plan(&["a"], &options).unwrap().plans.remove(0);
    plan.faults = faults;
    plan
}

fn aim(group: usize, count: u32) -> Aim {
    Aim::Group { group: Crew::Subscribers(group), count }
}

fn fault(name: &str, on: &[(usize, u32)]) -> Fault {
    Fault {
        name: name.into(),
        on: on.iter().map(|(group, count)| aim(*group, *count)).collect(),
        parts: vec![Part::Phase(1)],
        start: Duration::ZERO,
        length: None,
        stagger: Stagger::Together,
        kind: FaultKind::Terminate(Terminate { how: How::Reset, at: Vec::new() }),
        operations: None,
    }
}

fn victims(schedule: &Schedule, fault: usize) -> Vec<u32> {
    schedule.acts().iter().filter(|act| act.fault == fault).map(|act| act.connection).collect()
}

#[test]
fn counts_are_exact_and_draws_are_disjoint() {
    let faults = vec![fault("a", &[(0, 250)]), fault("b", &[(0, 250), (1, 7)]), fault("all", &[(0, 1_000)])];
    let schedule = Schedule::of(&plan(1, faults));
    let [a, b, all] = [0, 1, 2].map(|index| victims(&schedule, index));
    assert_eq!((a.len(), all.len()), (250, 1_000));
    assert_eq!(b.iter().filter(|c| **c < 1_000).count(), 250);
    assert_eq!(b.iter().filter(|c| (1_000..1_400).contains(*c)).count(), 7);
    assert!(a.iter().all(|connection| !b.contains(connection)));
}

#[test]
fn faults_that_take_everyone_between_them_leave_nobody_out() {
    let faults = vec![fault("a", &[(1, 100)]), fault("b", &[(1, 299)]), fault("c", &[(1, 1)])];
    let schedule = Schedule::of(&plan(3, faults));
    let mut hit: Vec<u32> = (0..3).flat_map(|index| victims(&schedule, index)).collect();
    hit.sort_unstable();
    assert_eq!(hit, (1_000..1_400).collect::<Vec<_>>());
}

#[test]
fn the_seed_decides_everything_and_the_order_of_asking_nothing() {
    let faults =
        || vec![Fault { stagger: Stagger::Poisson(Duration::from_secs(4)), ..fault("a", &[(0, 200)]) }];
    let (one, same, other) = (
        Schedule::of(&plan(1, faults())),
        Schedule::of(&plan(1, faults())),
        Schedule::of(&plan(2, faults())),
    );
    assert_eq!(one, same);
    assert_ne!(victims(&one, 0), victims(&other, 0));
    assert_eq!(victims(&other, 0).len(), 200);
    let backwards: Vec<u64> = (0..50).rev().map(|attempt| one.jitter(3, attempt).to_bits()).collect();
    let forwards: Vec<u64> = (0..50).map(|attempt| same.jitter(3, attempt).to_bits()).collect();
    assert_eq!(backwards.into_iter().rev().collect::<Vec<_>>(), forwards);
    assert_ne!(one.jitter(3, 0).to_bits(), other.jitter(3, 0).to_bits());
}

#[test]
fn what_else_is_in_the_plan_changes_no_draw() {
    let mut plain = plan(1, vec![fault("a", &[(1, 50)])]);
    let schedule = Schedule::of(&plain);
    let within: Vec<u32> = victims(&schedule, 0).iter().map(|c| c - 1_000).collect();
    let jitter = schedule.jitter(1_007, 2).to_bits();
    // Another group before it, another fault before it on another group, another phase.
    plain.subscribers[0].connections = 3;
    plain.faults.insert(0, fault("b", &[(0, 2)]));
    plain.faults[1].parts = vec![Part::Phase(2)];
    let changed = Schedule::of(&plain);
    assert_eq!(victims(&changed, 1).iter().map(|c| c - 3).collect::<Vec<_>>(), within);
    assert_eq!(changed.jitter(10, 2).to_bits(), jitter);
    // And a smaller share of the same draw is a part of the larger one.
    plain.faults[1].on = vec![aim(1, 20)];
    assert!(victims(&Schedule::of(&plain), 1).iter().all(|c| within.contains(&(c - 3))));
}

#[test]
fn moments_follow_the_stagger() {
    let moments = |stagger| {
        let fault = Fault { start: Duration::from_secs(1), stagger, ..fault("a", &[(0, 400), (1, 100)]) };
        let schedule = Schedule::of(&plan(1, vec![fault]));
        let mut after: Vec<Duration> = schedule.acts().iter().map(|act| act.after).collect();
        after.sort_unstable();
        after
    };
    let (start, over) = (Duration::from_secs(1), Duration::from_secs(5));
    assert_eq!(moments(Stagger::Together), vec![start; 500]);
    let linear: Vec<Duration> = (0..500_u32).map(|i| start + Duration::from_millis(10) * i).collect();
    assert_eq!(moments(Stagger::Linear(over)), linear);
    let poisson = moments(Stagger::Poisson(over));
    assert!(poisson.iter().all(|after| (start..start + over).contains(after)));
    // Each of ten parts has 50 on average, with a standard deviation of 6.7.
    for part in 0..10 {
        let from = start + Duration::from_millis(500) * part;
        let count = poisson.iter().filter(|a| (from..from + Duration::from_millis(500)).contains(*a)).count();
        assert!((25..=75).contains(&count), "{count} in part {part}");
    }
}

#[test]
fn the_order_of_the_moments_is_not_that_of_the_connections() {
    let linear = Fault { stagger: Stagger::Linear(Duration::from_secs(5)), ..fault("a", &[(0, 1_000)]) };
    let schedule = Schedule::of(&plan(1, vec![linear]));
    let sorted = schedule.acts().windows(2).filter(|two| two[0].after < two[1].after).count();
    assert!((400..600).contains(&sorted), "{sorted} of 999 in the order of connections");
}

#[test]
fn a_fault_acts_once_in_each_of_its_phases_on_the_same_victims() {
    let both = Fault { parts: vec![Part::Setup, Part::Phase(2)], ..fault("a", &[(0, 10)]) };
    let schedule = Schedule::of(&plan(1, vec![both]));
    assert_eq!(schedule.acts().len(), 20);
    for act in schedule.acts() {
        let parts: Vec<Part> = schedule.acts_of(act.connection).iter().map(|act| act.part).collect();
        assert_eq!(parts, [Part::Setup, Part::Phase(2)]);
        assert!(schedule.is_victim(act.connection));
    }
    assert_eq!((0..1_400).filter(|connection| schedule.is_victim(*connection)).count(), 10);
}

#[test]
fn who_aims_at_victims_hits_them_wherever_it_stands_in_the_file() {
    let on = |of, count| Aim::Victims { of, count };
    // The first aims at the third, which aims at the second and at a group.
    let mut faults = vec![fault("first", &[]), fault("second", &[(0, 40)]), fault("third", &[(1, 30)])];
    faults[0].on = vec![on(2, 35)];
    faults[2].on.push(on(1, 40));
    let schedule = Schedule::of(&plan(1, faults));
    let [first, second, third] = [0, 1, 2].map(|index| victims(&schedule, index));
    assert_eq!((first.len(), second.len(), third.len()), (35, 40, 70));
    assert!(first.iter().all(|victim| third.contains(victim)));
    assert!(second.iter().all(|victim| third.contains(victim)));
    assert_eq!(third.iter().filter(|victim| (1_000..1_400).contains(*victim)).count(), 30);
    // A circle has no victims, and hangs nothing.
    let mut circle = vec![fault("a", &[]), fault("b", &[])];
    (circle[0].on, circle[1].on) = (vec![on(1, 1)], vec![on(0, 1)]);
    assert_eq!(Schedule::of(&plan(1, circle)).acts(), []);
}

#[test]
fn points_are_shared_out_evenly_and_publishers_come_after_all_subscribers() {
    use DropPoint::{PublishSent, Receive, SubscribeSent};
    let at = vec![SubscribeSent, PublishSent, Receive];
    let kind = FaultKind::Terminate(Terminate { how: How::Fin, at: at.clone() });
    let mut drop = Fault { kind, ..fault("drop", &[(0, 200)]) };
    drop.on.push(Aim::Group { group: Crew::Publishers(0), count: 1 });
    let schedule = Schedule::of(&plan(1, vec![drop]));
    let count = |point| schedule.acts().iter().filter(|act| act.point == Some(point)).count();
    assert_eq!(at.into_iter().map(count).collect::<Vec<_>>(), [67, 67, 67]);
    assert_eq!(schedule.first_of(Crew::Publishers(0)), 1_400);
    assert!(schedule.is_victim(1_400) && victims(&schedule, 0).last() == Some(&1_400));
}

#[test]
fn draws_are_roughly_uniform() {
    let schedule = Schedule::of(&plan(1, vec![fault("a", &[(0, 500)])]));
    // Each hundred has 50 on average, with a standard deviation of 4.7.
    for hundred in 0..10_u32 {
        let range = hundred * 100..(hundred + 1) * 100;
        let count = victims(&schedule, 0).iter().filter(|c| range.contains(c)).count();
        assert!((30..=70).contains(&count), "{count} in {range:?}");
    }
    let jitters: Vec<f64> =
        (0..1_000).flat_map(|c| (0..10).map(move |a| (c, a))).map(|(c, a)| schedule.jitter(c, a)).collect();
    assert!(jitters.iter().all(|jitter| (0.0..1.0).contains(jitter)));
    let mean = jitters.iter().sum::<f64>() / jitters.len() as f64;
    assert!((0.48..0.52).contains(&mean), "{mean}");
    let distinct: HashSet<u64> = jitters.iter().map(|jitter| jitter.to_bits()).collect();
    assert_eq!(distinct.len(), jitters.len());
}

/// A library or a key that draws otherwise would make every plan that somebody has noted another one.
#[test]
fn draws_are_pinned() {
    let moments = Fault { stagger: Stagger::Poisson(Duration::from_secs(1)), ..fault("cut", &[(0, 5)]) };
    let schedule = Schedule::of(&plan(1, vec![moments]));
    let drawn: Vec<(u32, u128)> =
        schedule.acts().iter().map(|act| (act.connection, act.after.as_micros())).collect();
    let jitter = [schedule.jitter(0, 0), schedule.jitter(1_000, 1)];
    assert_eq!(
        format!("{drawn:?} {jitter:.6?}"),
        "[(35, 507324), (622, 703040), (821, 796191), (921, 529520), (953, 887718)] [0.626538, 0.389964]"
    );
}
