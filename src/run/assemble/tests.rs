//! Each part on a plan of two groups, the first with two victims among four connections.

use std::sync::Arc;
use std::time::Duration;

use super::clients::{connections, link_connections, place_failures, prober, recovered_ratio};
use super::cohorts::{Selection, ledger, selections};
use super::errors::{Deeds, errors};
use super::facts::Facts;
use super::faults::faults;
use super::publishing::flow;
use super::returns::returns;
use crate::clients::board::Board;
use crate::clients::failure::{Failure, Reason, Stage};
use crate::clients::fleet::FleetResult;
use crate::clients::publisher::{LinkTally, PublishTally, PublisherResult};
use crate::clients::tally::{GroupTally, Sight};
use crate::clock::RunClock;
use crate::inject::{Act, FaultTally, cohort};
use crate::ledger::{
    Class, Config, Counts, Found, GroupShape, Kind, ReceiptClass, ShardLedger, StreamId, Streams,
    SubscriptionShape, Token, Totals,
};
use crate::metrics::LatencySet;
use crate::metrics::silence::Receipts;
use crate::report::model::{
    Breaker, Connections, Errors, FailedSpan, FaultReport, Ledger, Published, Reconnects, Report, Slice,
};
use crate::scenarios::catalogue::{Catalogue, Options};
use crate::scenarios::plan::{Aim, Crew, Direction, Fault, FaultKind, How, Part, Plan, Stagger, Terminate};
use crate::scenarios::target::Contract;

const TWO_GROUPS: &str = r#"
    [scenarios.two]
    about = "two groups"
    channels = 1
    phases = [{ name = "before", for = "1s" }, { name = "herd", for = "1s" }]
    subscribers.near = { connections = 4 }
    subscribers.far = { connections = 3 }
    publishers.feed = { rate = "10/s" }
"#;

fn plan() -> Plan {
    let catalogue = Catalogue::from_text(Some(("test", TWO_GROUPS))).expect("a good file");
    catalogue.plan(&["two"], &Options::default()).expect("a good plan").plans.remove(0)
}

fn faulty() -> Plan {
    let cut = Fault {
        name: "cut".to_owned(),
        on: vec![Aim::Group { group: Crew::Subscribers(0), count: 2 }],
        parts: vec![Part::Phase(1)],
        start: Duration::ZERO,
        length: None,
        stagger: Stagger::Together,
        kind: FaultKind::Terminate(Terminate { how: How::Reset, at: Vec::new() }),
        operations: None,
    };
    Plan { faults: vec![cut.clone(), Fault { name: "again".to_owned(), ..cut }], ..plan() }
}

/// Connections 1 and 3 by the first fault, 3 by the second too.
fn cuts() -> Vec<Act> {
    let cut = |fault, connection| Act {
        fault,
        connection,
        part: Part::Phase(1),
        after: Duration::ZERO,
        length: None,
        point: None,
        cycle: None,
    };
    vec![cut(0, 1), cut(0, 3), cut(1, 3)]
}

#[test]
fn victims_and_bystanders_are_told_apart_where_there_are_faults() {
    let one = |name: &str, cohorts: &[usize], planned| Selection {
        name: name.to_owned(),
        cohorts: cohorts.to_vec(),
        planned,
    };
    let groups = [one("near", &[0, 1], 4), one("far", &[2, 3], 3)];
    assert_eq!(selections(&plan(), &[]), groups);
    let [near, far] = groups;
    let expected = [near, far, one("victims", &[1, 3], 2), one("bystanders", &[0, 2], 5)];
    assert_eq!(selections(&faulty(), &cuts()), expected);
}

#[test]
fn what_was_planned_is_reported_whatever_was_applied() {
    let mut tally = FaultTally::default();
    tally.apply(1_000_000_000, 1_000_500_000);
    let reports = faults(&faulty(), &cuts(), &[tally], &[(0, 1), (1, 2)]);
    let cut = FaultReport {
        kind: "terminate".to_owned(),
        layer: "connection".to_owned(),
        parts: vec!["herd".to_owned()],
        victims: 2,
        groups: [("near".to_owned(), 2)].into_iter().collect(),
        planned: 2,
        applied: 1,
        not_applied: 1,
        first_s: Some(1.0005),
        last_s: Some(1.0005),
        spread_s: Some(0.0),
        applied_late_p99_us: Some(500),
        ..FaultReport::default()
    };
    // Nobody told what became of the second one: then it was not applied.
    let again = FaultReport {
        victims: 1,
        groups: [("near".to_owned(), 1)].into_iter().collect(),
        planned: 1,
        not_applied: 1,
        ..FaultReport::default()
    };
    let again =
        FaultReport { kind: cut.kind.clone(), layer: cut.layer.clone(), parts: cut.parts.clone(), ..again };
    assert_eq!(
        reports.into_iter().collect::<Vec<_>>(),
        [("cut".to_owned(), cut), ("again".to_owned(), again)]
    );
}

/// Seven connections subscribe, four of them near, and those after them publish.
#[test]
fn each_fault_has_its_own_victims_by_group() {
    let plan = faulty();
    let act = |connection, cycle| Act { connection, cycle, ..cuts()[0] };
    // One connection is one victim, however often it is hit.
    let acts = [act(3, Some(0)), act(3, Some(1)), act(4, None), act(7, None)];
    let cut = &faults(&plan, &acts, &[], &[(0, 1), (1, 2)])["cut"];
    let groups: Vec<(&str, u64)> = cut.groups.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!((cut.victims, groups), (3, vec![("near", 1), ("far", 1), (&*plan.publishers[0].name, 1)]));
}

#[test]
fn a_failure_has_its_times_and_one_connection() {
    let plan = faulty();
    let refused = Failure::new(Stage::Tcp, Reason::Refused);
    let sight = |at_ns, connection| Sight { at_ns, connection };
    let (mut first, mut again) = (GroupTally::default(), GroupTally::default());
    first.failures.add(refused, "", sight(2_000_000_000, 5));
    first.failures.add(refused, "", sight(3_000_000_000, 6));
    again.reconnect_failures.add(refused, "", sight(4_500_000_000, 1));
    let mut link = LinkTally::default();
    link.failures.add(refused, "", sight(1_000_000_000, 0));
    let mut prober_link = LinkTally::default();
    prober_link.failures.add(refused, "", sight(6_000_000_000, 1));
    let mut report =
        Report { connections: connections(7, [&again, &first].into_iter(), None), ..Report::default() };
    let feed = plan.publishers[0].name.clone();
    let slice = Slice { connections: link_connections(1, &link), ..Slice::default() };
    report.groups.insert(feed.clone(), slice);
    report.groups.extend(prober(&[LinkTally::default(), prober_link]));
    place_failures(&mut report, &plan);
    let span = |group: &str, connection, first_s, last_s| {
        let group = group.to_owned();
        [("tcp.refused".to_owned(), FailedSpan { first_s, last_s, group, connection })].into()
    };
    assert_eq!(report.connections.failed_spans, span("far", 1, 2.0, 4.5));
    assert_eq!(report.groups[&feed].connections.failed_spans, span(&feed, 0, 1.0, 1.0));
    assert_eq!(report.groups["prober"].connections.failed_spans, span("prober", 0, 6.0, 6.0));
}

#[test]
fn a_fault_acts_as_far_as_its_length_reaches() {
    const SECOND: u64 = 1_000_000_000;
    let plan = faulty();
    let parts = |part, after, length: Option<u64>| {
        let act = Act {
            part,
            after: Duration::from_secs(after),
            length: length.map(Duration::from_secs),
            ..cuts()[0]
        };
        let spans = [(0, 4 * SECOND), (5 * SECOND, 9 * SECOND)];
        faults(&plan, &[act], &[], &spans)["cut"].parts.clone()
    };
    assert_eq!(parts(Part::Phase(0), 1, None), ["before"]);
    assert_eq!(parts(Part::Phase(0), 1, Some(4)), ["before"], "it ends before the next phase begins");
    assert_eq!(parts(Part::Phase(0), 2, Some(4)), ["before", "herd"]);
    assert_eq!(parts(Part::Phase(1), 2, Some(40)), ["herd"]);
    assert_eq!(parts(Part::Setup, 0, None), ["setup"]);
}

#[test]
fn what_ran_is_reported_and_what_was_planned_beside_it() {
    let mut plan = faulty();
    let stall = |plan: &Plan| {
        let report = &faults(plan, &cuts(), &[], &[])["cut"];
        (report.kind.clone(), report.planned_kind.clone())
    };
    plan.faults[0].kind = FaultKind::Stall(Direction::Both);
    assert_eq!(stall(&plan), ("stall".to_owned(), None), "as it was written");
    plan.resolved["faults"]["cut"]["partition"] = serde_json::json!({"otherwise": "stall"});
    assert_eq!(stall(&plan), ("stall".to_owned(), Some("partition".to_owned())));
    plan.faults[0].kind = FaultKind::Partition { or_stall: true };
    assert_eq!(stall(&plan), ("partition".to_owned(), None));
}

#[test]
fn silence_is_looked_for_while_any_group_publishes() {
    const MS: u64 = 1_000_000;
    let mut receipts = Receipts::default();
    [100, 150, 900].iter().for_each(|ms| receipts.note(ms * MS));
    let sent = |span: Option<(u64, u64)>| PublishTally {
        span_ns: span.map(|(first, last)| (first * MS, last * MS)),
        ..PublishTally::default()
    };
    let longest =
        |tallies: &[PublishTally], end_ns| flow(&receipts, tallies.iter(), end_ns).longest_silence_s;
    assert_eq!(longest(&[sent(Some((100, 140))), sent(None)], u64::MAX), Some(0.74));
    assert_eq!(longest(&[sent(Some((100, 140))), sent(Some((50, 60)))], 200 * MS), Some(0.05));
    assert_eq!(longest(&[sent(None)], u64::MAX), None);
}

#[test]
fn recovered_of_all_that_ended() {
    let tally = |cut, dropped_unexpectedly, recovered| GroupTally {
        cut,
        dropped_unexpectedly,
        absences: cut + dropped_unexpectedly,
        recovered,
        ..GroupTally::default()
    };
    let ratio = |tallies: &[GroupTally]| recovered_ratio(&connections(0, tallies.iter(), None));
    assert_eq!(ratio(&[tally(0, 0, 0)]), None);
    assert_eq!(ratio(&[tally(3, 0, 3), tally(0, 0, 0)]), Some(1.0));
    assert_eq!(ratio(&[tally(3, 0, 3), tally(0, 1, 0)]), Some(0.75));
}

#[test]
fn cuts_and_failed_reconnects_are_no_errors_of_the_server() {
    let refused = Failure::new(Stage::Tcp, Reason::Refused);
    let published = Published { sent: 90, ..Published::default() };
    let stated = Connections { established: 10, dropped_by_plan: 5, ..Connections::default() };
    let deeds = Deeds { published: Some(&published), connections: Some(&stated), ..Deeds::default() };
    let mut cut = GroupTally { cut: 5, dropped_by_plan: 5, ..GroupTally::default() };
    for failure in [refused, Failure::new(Stage::Init, Reason::Timeout)] {
        cut.reconnect_failures.add(failure, "", Sight::default());
    }
    let of = |groups: &[GroupTally]| errors(deeds, &groups.iter().collect::<Vec<_>>());
    let none = Errors { ratio: Some(0.0), ..Errors::default() };
    assert_eq!(of(&[cut.clone()]), none);
    assert_eq!(
        connections(5, [&cut].into_iter(), None).failed,
        [("init.timeout".to_owned(), 1), ("tcp.refused".to_owned(), 1)].into()
    );
    cut.reconnect_failures.add(Failure::new(Stage::Tcp, Reason::Io), "", Sight::default());
    assert_eq!(of(&[cut.clone()]), Errors { unexplained: 1, ..none });
    cut.failures.add(Failure::new(Stage::Confirm, Reason::Timeout), "", Sight::default());
    let first = Errors { ratio: Some(0.01), timeout: 1, unexpected: 1, unexplained: 1 };
    assert_eq!(of(&[cut.clone()]), first);
    // What a fault of ours ended is none, wherever it is counted.
    cut.failures.add(Failure::new(Stage::Upgrade, Reason::Injected), "", Sight::default());
    assert_eq!(of(&[cut]), first);
}

#[test]
fn who_was_kept_from_connecting_by_us_is_no_failure_of_the_server() {
    let of = |attempted, aborted_by_plan, established| {
        let tally = GroupTally { attempted, aborted_by_plan, established, ..GroupTally::default() };
        connections(10, [&tally].into_iter(), None)
    };
    assert_eq!(of(10, 0, 9).established_ratio, Some(0.9));
    assert_eq!(of(10, 4, 6).established_ratio, Some(1.0));
    assert_eq!(of(10, 4, 3).established_ratio, Some(0.5));
    assert_eq!(of(10, 10, 0).established_ratio, None);
    assert_eq!((of(10, 4, 6).attempted, of(10, 4, 6).aborted_by_plan), (10, 4));
}

/// Four connections end at 1.005 s and later; attempts and returns at these times, in ms.
fn returning(attempts: &[u64], recovered: &[u64]) -> GroupTally {
    let mut tally = GroupTally { cut: 3, dropped_unexpectedly: 1, absences: 4, ..GroupTally::default() };
    tally.recovered = recovered.len() as u64;
    tally.returns.first_end_ns = Some(1_005_000_000);
    attempts.iter().for_each(|ms| tally.returns.attempts.add(ms * 1_000_000));
    recovered.iter().for_each(|ms| tally.returns.recovered.add(ms * 1_000_000));
    tally
}

#[test]
fn how_fast_and_at_what_price_everybody_came_back() {
    let attempts = [1_010, 1_010, 1_020, 1_095, 1_110, 1_400, 1_500, 1_500];
    let mut tally = returning(&attempts, &[1_025, 1_099, 1_403, 1_512]);
    tally.reconnect_failures.add(Failure::new(Stage::Tcp, Reason::Refused), "", Sight::default());
    tally.returns.aborted_by_plan = 3;
    tally.returns.budget_waits = 2;
    (tally.returns.opened, tally.returns.closed) = (4, 3);
    (tally.returns.half_open_attempts, tally.returns.open_at_end) = (5, 1);
    let (reconnects, breaker) = returns([&tally].into_iter());
    let expected = Reconnects {
        ended: 4,
        attempts: 8,
        failed: 4,
        aborted_by_plan: 3,
        budget_waits: 2,
        amplification: Some(2.0),
        // The first lies in the bucket of 1.01 s, the fifth ten buckets later.
        peak_per_100ms: 4,
        restored_50_s: Some(0.095),
        restored_95_s: Some(0.515),
        restored_100_s: Some(0.515),
    };
    assert_eq!(reconnects, expected);
    let expected = Breaker { opened: 4, closed: 3, half_open_attempts: 5, open_at_end: 1 };
    assert_eq!(breaker, expected);
}

#[test]
fn what_was_never_restored_is_not_stated() {
    let restored = |tallies: &[GroupTally]| {
        let (r, _) = returns(tallies.iter());
        (r.amplification, r.restored_50_s, r.restored_95_s, r.restored_100_s)
    };
    assert_eq!(restored(&[GroupTally::default()]), (None, None, None, None), "none ended");
    assert_eq!(restored(&[returning(&[], &[1_101])]), (Some(0.0), None, None, None));
    assert_eq!(restored(&[returning(&[], &[1_101, 1_201])]), (Some(0.0), Some(0.205), None, None));
    // Of forty, two are missing: 95 %.
    let many: Vec<_> = (0..10)
        .map(|n| returning(&[], if n < 8 { &[1_101, 1_101, 1_201, 1_301] } else { &[1_101, 1_101, 1_201] }))
        .collect();
    assert_eq!(restored(&many), (Some(0.0), Some(0.105), Some(0.305), None));
}

#[test]
fn the_contract_decides_what_fails_and_never_what_is_counted() {
    let mut counts = Counts::default();
    counts.reordered = 16;
    for class in [Class::LostProven, Class::MissedDisconnected, Class::MissedDisconnected] {
        counts.add(class);
    }
    (0..8).for_each(|_| counts.add_receipt(ReceiptClass::Duplicated));
    counts.add_receipt(ReceiptClass::Phantom);
    let under = |contract, ordered| {
        let mut plan = plan();
        (plan.target.contract, plan.target.ordered) = (contract, ordered);
        let stated = ledger(&plan, &counts, counts.receipts(), counts.obligations());
        let failures = (stated.lost, stated.strange);
        (failures, Ledger { lost: 0, strange: 0, ..stated })
    };
    let (_, counted) = under(Contract::AtMostOnce, true);
    let table = [
        (Contract::AtMostOnce, true, (1, 25)),
        (Contract::AtMostOnce, false, (1, 9)),
        (Contract::AtLeastOnce, true, (3, 17)),
        (Contract::AtLeastOnce, false, (3, 1)),
        (Contract::ExactlyOnce, true, (3, 25)),
        (Contract::ExactlyOnce, false, (3, 9)),
    ];
    for (contract, ordered, failures) in table {
        assert_eq!(under(contract, ordered), (failures, counted.clone()), "{contract:?} {ordered}");
    }
}

/// What publishers leave behind who did nothing.
fn nobody_published() -> PublisherResult {
    PublisherResult {
        faults: Vec::new(),
        groups: vec![Vec::new()],
        links: Vec::new(),
        latency: LatencySet::new(0, 0),
        acks: Vec::new(),
        unacked: Vec::new(),
        unacked_capped: false,
    }
}

/// Seven subscriptions on one channel; one event in each phase, the second of which only bystanders receive.
fn round(plan: &Plan) -> (FleetResult, Totals) {
    let streams = Arc::new(Streams::new(1, &[GroupShape { connections: 1 }]));
    let board = Arc::new(Board::new(RunClock::start(), 7, Arc::clone(&streams), 1, 2));
    let victims = [false, true, false, true, false, false, false];
    let cohorts = victims.iter().enumerate().map(|(i, victim)| cohort(usize::from(i >= 4), *victim));
    let shapes: Vec<_> = cohorts.clone().map(|c| SubscriptionShape { channel: 0, group: c as u16 }).collect();
    let config = Config {
        run: 7,
        streams: Arc::clone(&streams),
        roster: Arc::clone(&board.roster),
        deadline_ns: u64::MAX,
        groups: 4,
        phases: 2,
        gaps_max_bytes: 1 << 20,
        first_subscription: 0,
    };
    let mut ledger = ShardLedger::new(config, &shapes);
    let mut latency = LatencySet::new(4, 2);
    let mut groups = vec![GroupTally::default(); 4];
    for (sub, cohort) in cohorts.clone().enumerate() {
        groups[cohort].attempted += 1;
        groups[cohort].established += 1;
        ledger.confirm(sub);
    }
    // Ten events are due in each phase; the first of each is delivered.
    for phase in 0..2 {
        let seq = 10 * phase as u64;
        while board.roster.publish(StreamId(0)).seq < seq {}
        let token = Token {
            run: 7,
            channel: 0,
            publisher: 0,
            epoch: 0,
            kind: Kind::Event,
            seq,
            due_ns: 0,
            sent_ns: 0,
        };
        for (sub, cohort) in cohorts.clone().enumerate() {
            if phase == 1 && victims[sub] {
                continue;
            }
            ledger.count_receipt(sub, phase);
            ledger.receive(sub, &Found::Intact(token), 5, phase);
            latency.deliver(cohort, phase, 10 * (cohort as u64 + 1), 1);
        }
    }
    (groups[1].cut, groups[1].absences) = (2, 2);
    groups[1].reconnected = 2;
    groups[1].recovered = 1;
    latency.reconnect[1].record_us(30_000);
    let publisher = nobody_published();
    let phases = [(0, 1_000_000_000), (1_000_000_000, 2_000_000_000)];
    let totals = ledger.close(&Facts::new(plan, &streams, &phases, &publisher));
    let fleet = FleetResult {
        groups,
        ledgers: Vec::new(),
        receipts: 0,
        latency,
        publisher,
        faults: Vec::new(),
        slow: Vec::new(),
        board,
    };
    (fleet, totals)
}

fn named<'a>(all: &'a [Selection], name: &str) -> &'a Selection {
    all.iter().find(|one| one.name == name).expect(name)
}

#[test]
fn cohorts_add_up_to_groups_victims_and_bystanders() {
    let plan = faulty();
    let (fleet, totals) = round(&plan);
    let all = selections(&plan, &cuts());
    let slice = |name| named(&all, name).slice(&plan, &fleet, &totals);
    let figures = |slice: Slice| {
        let c = &slice.connections;
        let connections = (c.planned, c.established, c.reconnected);
        let deliver = slice.latency.deliver.map_or(0, |l| l.count);
        (connections, slice.ledger.delivered, slice.ledger.receipts, deliver, slice.recovered_ratio)
    };
    assert_eq!(figures(slice("near")), ((4, 4, 2), 6, 6, 6, Some(0.5)));
    assert_eq!(figures(slice("far")), ((3, 3, 0), 6, 6, 6, None));
    assert_eq!(figures(slice("victims")), ((2, 2, 2), 2, 2, 2, Some(0.5)));
    assert_eq!(figures(slice("bystanders")), ((5, 5, 0), 10, 10, 10, None));
    assert_eq!(slice("victims").latency.reconnect.map(|l| l.count), Some(1));
    assert_eq!(slice("bystanders").latency.reconnect, None);
}

#[test]
fn each_selection_has_errors_and_returns_of_its_own() {
    let plan = faulty();
    let (mut fleet, totals) = round(&plan);
    let groups = &mut fleet.groups;
    groups[1].returns = returning(&[1_010, 1_010, 1_500], &[1_520]).returns;
    groups[1].returns.opened = 1;
    groups[1].failures.add(Failure::new(Stage::Confirm, Reason::Timeout), "", Sight::default());
    groups[2].failures.add(Failure::new(Stage::Confirm, Reason::Error), "", Sight::default());
    groups[2].errors_in_next = 1;
    let all = selections(&plan, &cuts());
    let slice = |name| named(&all, name).slice(&plan, &fleet, &totals);
    let errors = |name| {
        let Slice { errors: Errors { timeout, unexpected, .. }, .. } = slice(name);
        (timeout, unexpected)
    };
    assert_eq!(["near", "far", "victims", "bystanders"].map(errors), [(1, 1), (0, 2), (1, 1), (0, 2)]);
    assert_eq!(slice("near").errors.ratio, Some(1.0 / 4.0), "of four connections");
    let coming_back = |name| (slice(name).reconnects.attempts, slice(name).breaker.opened);
    assert_eq!(["near", "far", "victims", "bystanders"].map(coming_back), [(3, 1), (0, 0), (3, 1), (0, 0)]);
    assert_eq!(slice("victims").reconnects.restored_50_s, Some(0.525));
}

#[test]
fn each_phase_knows_what_victims_and_bystanders_received() {
    let plan = faulty();
    let (fleet, totals) = round(&plan);
    let all = selections(&plan, &cuts());
    let in_phase = |name, phase| {
        let slice = named(&all, name).in_phase(&plan, &fleet.latency, &totals, phase);
        (slice.ledger.delivered, slice.latency.deliver.map(|l| l.max_us))
    };
    assert_eq!(in_phase("victims", 0), (2, Some(20)));
    assert_eq!(in_phase("victims", 1), (0, None));
    assert_eq!(in_phase("bystanders", 0), (5, Some(30)));
    assert_eq!(in_phase("bystanders", 1), (5, Some(30)));
    assert_eq!(in_phase("near", 1), (2, Some(10)));
}
