//! Tables for each decision, and a simulated server that takes so much and no more.

use super::*;

const S: u64 = 1_000 * MS;
const TICK_NS: u64 = 20 * MS;

fn kept(until_ns: u64, by: Side) -> Kept {
    Kept { until_ns, by }
}

#[test]
fn what_is_a_little_late_keeps_its_due_time() {
    let mut slowdown = Slowdown::new(1);
    let nobody = kept(0, Side::Server);
    for late_ms in [0, 1, 49, 50] {
        assert_eq!(slowdown.send(0, S, S + late_ms * MS, nobody), S);
    }
    // Sent early never happens, and would be no slip.
    assert_eq!(slowdown.send(0, 2 * S, S, nobody), 2 * S);
    assert_eq!(slowdown.phases[0], Slips::default());
    assert_eq!(slowdown.phases[0].timetable().due_ns(7), 7);
}

#[test]
fn what_is_late_moves_everything_after_it_and_says_because_of_whom() {
    // (kept until, by) of an event due at 1 s and sent at 1.4 s; who is to blame.
    let table = [
        ((0, Side::Server), Side::Generator),
        ((S + 100 * MS, Side::Server), Side::Generator),
        ((S + 300 * MS, Side::Server), Side::Server),
        ((S + 399 * MS, Side::Generator), Side::Generator),
        ((S + 400 * MS, Side::Server), Side::Server),
    ];
    for ((until_ns, by), blamed) in table {
        let mut slowdown = Slowdown::new(2);
        assert_eq!(slowdown.send(1, S, S + 400 * MS, kept(until_ns, by)), S + 400 * MS);
        assert_eq!((slowdown.slipped_ns(0), slowdown.slipped_ns(1)), (0, 400 * MS));
        let slips = &slowdown.phases[1];
        let by_server_ns = if blamed == Side::Server { 400 * MS } else { 0 };
        assert_eq!(
            (slips.total_ns, slips.by_server_ns),
            (400 * MS, by_server_ns),
            "kept until {until_ns} by {by:?}"
        );
    }
}

/// A server (or we) through which events go at a rate, in order, after a fixed time; time in ticks.
struct Queue {
    /// Taken per tick.
    rate: f64,
    way_ns: u64,
    waiting: VecDeque<u64>,
    room: f64,
}

impl Queue {
    fn new(per_second: f64, way_ns: u64) -> Self {
        Self { rate: per_second * 0.02, way_ns, waiting: VecDeque::new(), room: 0.0 }
    }

    /// What comes out in this tick: how many, and their delays summed up, µs.
    fn take(&mut self, now_ns: u64) -> (u64, u64) {
        self.room = (self.room + self.rate).min(self.rate.max(1.0));
        let (mut taken, mut delay_us) = (0, 0);
        while self.room >= 1.0
            && let Some(sent_ns) = self.waiting.front().filter(|sent| **sent + self.way_ns <= now_ns)
        {
            delay_us += (now_ns - sent_ns) / 1_000;
            taken += 1;
            self.room -= 1.0;
            self.waiting.pop_front();
        }
        (taken, delay_us)
    }
}

/// What a simulated run came to.
struct Simulated {
    slips: Slips,
    sent: u64,
    seconds: f64,
    most_waiting: usize,
    worst_from_due_ns: u64,
}

impl Simulated {
    fn rate(&self) -> f64 {
        self.sent as f64 / self.seconds
    }
}

/// Publishes `events` at `rate` through a queue for answers and deliveries alike; every `lost`th delivery never comes.
fn simulate(rate: f64, events: u64, mut queue: Queue, lost: Option<u64>, own_busy: bool) -> Simulated {
    let mut slowdown = Slowdown::new(1);
    let (mut n, mut now_ns, mut most_waiting, mut worst_ns) = (0, 0, 0, 0);
    let mut held = kept(0, Side::Server);
    let mut finished_ns = 0;
    while n < events || !queue.waiting.is_empty() {
        assert!(now_ns < 3_600 * S, "it ends");
        let mut offered = 0;
        while n < events {
            let due_ns = (n as f64 / rate * 1e9) as u64 + slowdown.slipped_ns(0);
            if due_ns > now_ns {
                break;
            }
            if let Some(by) = slowdown.holds() {
                held = kept(now_ns, by);
                break;
            }
            let due_ns = slowdown.send(0, due_ns, now_ns, held);
            worst_ns = worst_ns.max(now_ns - due_ns);
            slowdown.sent(1);
            queue.waiting.push_back(now_ns);
            n += 1;
            offered += 1;
            finished_ns = now_ns;
        }
        most_waiting = most_waiting.max(queue.waiting.len());
        now_ns += TICK_NS;
        let (completed, delay_us) = queue.take(now_ns);
        (0..completed).for_each(|_| slowdown.answered(delay_us / completed));
        let received = completed - lost.map_or(0, |every| completed / every);
        let delay_us = delay_us.checked_div(completed).unwrap_or(0) * received;
        let own = Own { wait_us: 0, busy: own_busy };
        slowdown.tick(own, Tick { offered, completed: received, delay_us, must_come: false, own });
    }
    let slips = slowdown.slips()[0].clone();
    let seconds = finished_ns as f64 / 1e9;
    Simulated { slips, sent: n, seconds, most_waiting, worst_from_due_ns: worst_ns }
}

#[test]
fn who_is_not_behind_never_slips() {
    for way_ms in [0, 20, 800] {
        let run = simulate(1_000.0, 20_000, Queue::new(1_100.0, way_ms * MS), None, false);
        assert_eq!(run.slips, Slips::default(), "a way of {way_ms} ms is no queue");
        assert!((run.rate() - 1_000.0).abs() < 2.0, "{}", run.rate());
    }
}

#[test]
fn losses_do_not_slow_anything_down() {
    for every in [2, 10, 100] {
        let run = simulate(1_000.0, 20_000, Queue::new(1_100.0, 20 * MS), Some(every), false);
        assert_eq!(run.slips, Slips::default(), "every {every}th delivery is lost");
    }
}

#[test]
fn the_rate_that_holds_is_found_and_the_queue_stays_short() {
    for (server, way_ms) in [(900.0, 0), (500.0, 20), (100.0, 0), (500.0, 400)] {
        let run = simulate(1_000.0, 20_000, Queue::new(server, way_ms * MS), None, false);
        assert!(run.rate() <= server * 1.05 && run.rate() >= server * 0.85, "{} of {server}", run.rate());
        // The queue and the way, not the backlog of the run.
        let bound = server * (0.8 + way_ms as f64 / 1e3) + 1_000.0 * 0.4;
        assert!((run.most_waiting as f64) < bound, "{} wait at {server}/s", run.most_waiting);
        assert!(run.worst_from_due_ns <= CATCH_UP_NS, "{}", run.worst_from_due_ns);
        let planned_s = 20.0;
        let slipped_s = run.slips.total_ns as f64 / 1e9;
        assert!((run.seconds - planned_s - slipped_s).abs() < 0.2, "what it took longer is what slipped");
        assert_eq!(run.slips.by_server_ns, run.slips.total_ns, "the server did it");
    }
}

#[test]
fn what_is_queued_by_ourselves_is_our_doing() {
    let run = simulate(1_000.0, 20_000, Queue::new(500.0, 0), None, true);
    assert!(run.slips.total_ns > 10 * S);
    assert!(run.slips.by_server_ns * 10 < run.slips.total_ns, "{:?}", run.slips.by_server_ns);
}

#[test]
fn who_has_no_time_left_rests_and_gets_up_again() {
    let mut slowdown = Slowdown::new(1);
    let mut rested = |busy: bool, ticks: u32| {
        let own = Own { wait_us: 0, busy };
        let rests = (0..ticks).filter(|_| {
            slowdown.tick(own, Tick::default());
            slowdown.holds() == Some(Side::Generator)
        });
        rests.count()
    };
    assert_eq!(rested(false, 100), 0);
    let begins = rested(true, 50);
    assert!((1..15).contains(&begins), "{begins}");
    rested(true, 1_000);
    assert_eq!(rested(true, 100), 75, "and no more, however long it lasts");
    rested(false, 500);
    assert_eq!(rested(false, 100), 0);
}

#[test]
fn who_has_no_answer_at_all_is_not_given_more() {
    let mut slowdown = Slowdown::new(1);
    // 1 s: nothing is known of how long it takes.
    for _ in 0..51 {
        assert_eq!(slowdown.holds(), None);
        (0..10).for_each(|_| slowdown.sent(1));
        slowdown.tick(Own::default(), Tick::default());
    }
    assert_eq!(slowdown.holds(), Some(Side::Server));
    // The first answers let it go on.
    (0..5).for_each(|_| slowdown.answered(200_000));
    slowdown.tick(Own::default(), Tick::default());
    assert_eq!(slowdown.holds(), None);
}

/// A server that delivers nothing any more is found by the ledger; waiting for it would find nothing else.
#[test]
fn who_delivers_nothing_any_more_holds_nobody() {
    let mut slowdown = Slowdown::new(1);
    let answered = |slowdown: &mut Slowdown, ms: u64, deliveries: Tick| {
        for _ in 0..10 {
            slowdown.sent(1);
            slowdown.answered(ms * 1_000);
        }
        slowdown.tick(Own::default(), deliveries);
    };
    answered(&mut slowdown, 1, Tick { offered: 10, completed: 10, delay_us: 10_000, ..Tick::default() });
    for _ in 0..10 * WINDOW {
        answered(&mut slowdown, 1, Tick { offered: 10, ..Tick::default() });
        assert_eq!(slowdown.holds(), None);
    }
}

#[test]
fn a_server_that_becomes_slow_and_takes_everything_holds_the_rate() {
    let mut slowdown = Slowdown::new(1);
    for ms in 1..2_000 {
        for _ in 0..10 {
            slowdown.sent(1);
            slowdown.answered(ms * 1_000);
        }
        let deliveries = Tick { offered: 10, completed: 10, delay_us: 10_000 * ms, ..Tick::default() };
        slowdown.tick(Own::default(), deliveries);
        assert_eq!(slowdown.holds(), None, "at {ms} ms");
    }
}

/// Groups that publish at these rates through one server of 1,000 deliveries/s for a minute; which of them slow down.
/// How many of each were sent, and the most that ever waited.
fn side_by_side(groups: &[(f64, bool)]) -> (Vec<u64>, usize) {
    let mut queue = Queue::new(1_000.0, 0);
    let mut slowdowns: Vec<Slowdown> = groups.iter().map(|_| Slowdown::new(1)).collect();
    let (mut sent, mut most_waiting) = (vec![0; groups.len()], 0);
    for now_ns in (0..3_000).map(|tick| tick * TICK_NS) {
        let before: u64 = sent.iter().sum();
        for (((rate, slows), slowdown), n) in groups.iter().zip(&mut slowdowns).zip(&mut sent) {
            let due_ns = |n: u64, slipped_ns| (n as f64 / rate * 1e9) as u64 + slipped_ns;
            while due_ns(*n, slowdown.slipped_ns(0)) <= now_ns && !(*slows && slowdown.holds().is_some()) {
                if *slows {
                    let due_ns = due_ns(*n, slowdown.slipped_ns(0));
                    slowdown.send(0, due_ns, now_ns, kept(now_ns, Side::Server));
                    slowdown.sent(1);
                    slowdown.answered(0);
                }
                queue.waiting.push_back(now_ns);
                *n += 1;
            }
        }
        most_waiting = most_waiting.max(queue.waiting.len());
        let offered = sent.iter().sum::<u64>() - before;
        let (completed, delay_us) = queue.take(now_ns + TICK_NS);
        let deliveries = Tick { offered, completed, delay_us, ..Tick::default() };
        slowdowns.iter_mut().for_each(|slowdown| slowdown.tick(Own::default(), deliveries));
    }
    (sent, most_waiting)
}

#[test]
fn groups_that_slow_down_share_what_the_server_delivers() {
    let (sent, most_waiting) = side_by_side(&[(1_000.0, true), (1_000.0, true)]);
    assert!(most_waiting < 1_200, "{most_waiting} wait");
    let all: u64 = sent.iter().sum();
    assert!((51_000..=63_000).contains(&all), "{sent:?} of 60,000");
    assert!(sent.iter().all(|one| one * 5 > all * 2), "neither gives way to the other: {sent:?}");
}

#[test]
fn who_slows_down_leaves_room_for_who_does_not() {
    let (sent, most_waiting) = side_by_side(&[(1_000.0, true), (600.0, false)]);
    assert!(most_waiting < 1_200, "{most_waiting} wait");
    assert!(sent[1] > 35_900, "a minute at 600/s: {sent:?}");
    assert!((15_000..=25_000).contains(&sent[0]), "{sent:?}: some 24,000 are left");
}
