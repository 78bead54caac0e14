//! The server's figures set against ours while everything moves: pure arithmetic on what may be true meanwhile.
//!
//! An answer tells how it was at some moment between the request and its arrival. So a figure has no one right value,
//! but an envelope of them, and what lies outside of it is wrong by the distance.

use std::collections::VecDeque;

use super::read::{ServerCount, ServerCounts};
use crate::report::model::{DuringCheck, StatError, StatsDuring};

/// The counts that are compared all along.
const COMPARED: [ServerCount; 4] =
    [ServerCount::Connections, ServerCount::Subscriptions, ServerCount::Published, ServerCount::Delivered];

/// What may be true of one figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Envelope {
    /// The least.
    pub low: f64,
    /// The most; infinite where that is not known.
    pub high: f64,
}

impl Envelope {
    /// How far the server's figure is outside, as a share of what it should be.
    fn error_ratio(self, server: f64) -> f64 {
        let nearest = server.clamp(self.low.min(self.high), self.high);
        (server - nearest).abs() / nearest.max(1.0)
    }
}

/// Our gauges at one moment: the least and the most that the server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Open connections.
    pub connections: [u64; 2],
    /// Active subscriptions.
    pub subscriptions: [u64; 2],
}

/// Our gauges over the last while. What we have ended the server still has for a moment, and what it has made we
/// do not know for a moment.
#[derive(Debug, Default)]
pub struct Window(VecDeque<(f64, Held)>);

/// How far apart the least and the most of a count may be on average, as a share of the most, for a comparison with them to
/// mean anything.
const SLACK: f64 = 0.5;

/// Looks that a window holds: more than a second of them and the longest scrape.
const LOOKS: usize = 4_096;

impl Window {
    /// Notes how it is at `at_s`.
    pub fn note(&mut self, at_s: f64, held: Held) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((at_s, held));
    }

    /// Envelopes of connections and of subscriptions since `from_s`; what was before is forgotten.
    pub fn since(&mut self, from_s: f64) -> [Envelope; 2] {
        while self.0.len() > 1 && self.0.front().is_some_and(|(at_s, _)| *at_s < from_s) {
            self.0.pop_front();
        }
        [|held: &Held| held.connections, |held: &Held| held.subscriptions].map(|of| {
            let ends = self.0.iter().map(|(_, held)| of(held));
            let (low, high) = ends.fold((u64::MAX, 0), |(low, high), [l, h]| (low.min(l), high.max(h)));
            Envelope { low: low as f64, high: high as f64 }
        })
    }
}

/// Our counters at one moment, since the round began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Published and acknowledged, of whatever kind.
    pub answered: u64,
    /// Published, of whatever kind.
    pub handed: u64,
    /// Messages received.
    pub received: u64,
    /// Most deliveries that the server can have made; `None`: not known, because a fault of ours holds connections
    /// that it goes on delivering to.
    pub deliverable: Option<u64>,
}

/// Everything that one scrape is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// The server's counters when nothing moved, and ours before and after that answer.
    pub base: Option<(ServerCounts, [Totals; 2])>,
    /// Ours when the request was sent.
    pub asked: Totals,
    /// Ours when the answer had come.
    pub told: Totals,
    /// Gauges, by the window.
    pub gauges: [Envelope; 2],
}

impl Moments {
    /// What may be true of the growth of a counter, or of a gauge; with the server's figure in the same terms.
    fn of(&self, count: ServerCount, server: &ServerCounts) -> Option<(f64, Envelope)> {
        let told = server.get(count)?;
        let [connections, subscriptions] = self.gauges;
        match count {
            ServerCount::Connections => return Some((told, connections)),
            ServerCount::Subscriptions => return Some((told, subscriptions)),
            _ => {}
        }
        let (base, [before, after]) = self.base.as_ref()?;
        let less = |a: u64, b: u64| a.saturating_sub(b) as f64;
        let envelope = if count == ServerCount::Published {
            Envelope {
                low: less(self.asked.answered, after.handed),
                high: less(self.told.handed, before.answered),
            }
        } else {
            let high = self
                .told
                .deliverable
                .zip(before.deliverable)
                .map(|(most, then)| less(most, then) + less(after.received, before.received));
            Envelope { low: less(self.asked.received, after.received), high: high.unwrap_or(f64::INFINITY) }
        };
        Some((told - base.get(count)?, envelope))
    }
}

/// What all scrapes of a round come to: bounded, however many there are.
#[derive(Debug, Clone, Default)]
pub struct During {
    samples: u64,
    failed: u64,
    counts: [Compared; 4],
}

/// What all scrapes come to for one count.
#[derive(Debug, Clone, Default)]
struct Compared {
    samples: u64,
    bounded: u64,
    /// Sum over those of how far apart the least and the most were, as a share of the most.
    slack: f64,
    worst: Option<DuringCheck>,
}

impl Compared {
    fn note(&mut self, check: DuringCheck) {
        if let Some(high) = check.high {
            self.bounded += 1;
            self.slack += (high - check.low).max(0.0) / high.max(1.0);
        }
        if self.worst.as_ref().is_none_or(|worst| check.error_ratio > worst.error_ratio) {
            self.worst = Some(check);
        }
    }

    /// Whether most answers were compared with a least and a most that are close enough to each other.
    fn is_known(&self) -> bool {
        self.bounded * 2 >= self.samples && self.slack <= SLACK * self.bounded as f64
    }

    fn report(self) -> Option<DuringCheck> {
        let Self { samples, bounded, slack, worst } = self;
        let slack_ratio = (bounded > 0).then(|| slack / bounded as f64);
        worst.map(|worst| DuringCheck { samples, bounded, slack_ratio, ..worst })
    }
}

impl During {
    /// A scrape that was not answered.
    pub fn failed(&mut self) {
        self.samples += 1;
        self.failed += 1;
    }

    /// A scrape that was answered at `at_s`, of what `named` says the target gives.
    pub fn answered(
        &mut self,
        at_s: f64,
        server: &ServerCounts,
        moments: &Moments,
        named: impl Fn(ServerCount) -> bool,
    ) {
        self.samples += 1;
        for (count, compared) in COMPARED.into_iter().zip(&mut self.counts) {
            if !named(count) {
                continue;
            }
            // An answer without it, or without anything to compare it with, leaves it unknown.
            compared.samples += 1;
            let Some((server, envelope)) = moments.of(count, server) else { continue };
            let error_ratio = envelope.error_ratio(server);
            compared.note(DuringCheck {
                name: count.name().to_owned(),
                at_s,
                server,
                low: envelope.low,
                high: envelope.high.is_finite().then_some(envelope.high),
                error_ratio,
                ..DuringCheck::default()
            });
        }
    }

    /// As the report shows it, with the worst of all; `None`: the server was never asked. Where most answers are missing,
    /// or one of the counts could mostly not be compared on both sides, or only with bounds that are far apart, nothing is
    /// known of how it was all along.
    #[must_use]
    pub fn report(self) -> Option<(StatError, StatsDuring)> {
        let known = self.counts.iter().all(Compared::is_known) && self.failed * 2 <= self.samples;
        let checks: Vec<DuringCheck> = self.counts.into_iter().filter_map(Compared::report).collect();
        let worst = checks.iter().map(|check| check.error_ratio).reduce(f64::max).filter(|_| known);
        let during = StatsDuring { samples: self.samples, failed: self.failed, checks };
        (self.samples > 0).then_some((StatError { error_ratio: worst }, during))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(answered: u64, handed: u64, received: u64, deliverable: Option<u64>) -> Totals {
        Totals { answered, handed, received, deliverable }
    }

    /// At the base 10 published and 50 delivered by our count, 1,000 and 500 by the server's; now 90 to 100 and 700 to 800.
    fn moments() -> Moments {
        let base =
            ServerCounts { published: Some(1_000.0), delivered: Some(500.0), ..ServerCounts::default() };
        let ours = totals(10, 10, 50, Some(40));
        Moments {
            base: Some((base, [ours, ours])),
            asked: totals(100, 105, 750, Some(790)),
            told: totals(104, 110, 760, Some(840)),
            gauges: [Envelope { low: 5.0, high: 7.0 }, Envelope { low: 20.0, high: 20.0 }],
        }
    }

    fn told(published: f64, delivered: f64, connections: f64, subscriptions: f64) -> ServerCounts {
        ServerCounts {
            published: Some(1_000.0 + published),
            delivered: Some(500.0 + delivered),
            connections: Some(connections),
            subscriptions: Some(subscriptions),
            ..ServerCounts::default()
        }
    }

    fn errors(server: &ServerCounts, moments: &Moments) -> Vec<(String, f64)> {
        let mut during = During::default();
        during.answered(1.0, server, moments, |_| true);
        let (_, report) = during.report().unwrap();
        report.checks.into_iter().map(|check| (check.name, check.error_ratio)).collect()
    }

    #[test]
    fn inside_of_the_envelope_is_no_error_and_outside_it_is_the_distance() {
        let all = |c, s, p, d| {
            vec![
                ("connections".to_owned(), c),
                ("subscriptions".to_owned(), s),
                ("published".to_owned(), p),
                ("delivered".to_owned(), d),
            ]
        };
        assert_eq!(errors(&told(90.0, 700.0, 5.0, 20.0), &moments()), all(0.0, 0.0, 0.0, 0.0));
        assert_eq!(errors(&told(100.0, 800.0, 7.0, 20.0), &moments()), all(0.0, 0.0, 0.0, 0.0));
        let below = errors(&told(81.0, 630.0, 4.0, 19.0), &moments());
        assert_eq!(below, all(0.2, 0.05, 0.1, 0.1));
        let above = errors(&told(110.0, 880.0, 14.0, 25.0), &moments());
        assert_eq!(above, all(1.0, 0.25, 0.1, 0.1));
    }

    #[test]
    fn what_is_held_may_have_been_delivered() {
        let mut moments = moments();
        moments.told.deliverable = None;
        assert_eq!(errors(&told(90.0, 9_000.0, 5.0, 20.0), &moments)[3].1, 0.0);
        assert_eq!(errors(&told(90.0, 350.0, 5.0, 20.0), &moments)[3].1, 0.5, "what we have was delivered");
    }

    fn worst(server: &ServerCounts, moments: &Moments, times: usize) -> Option<f64> {
        let mut during = During::default();
        (0..times).for_each(|_| during.answered(1.0, server, moments, |_| true));
        during.report().unwrap().0.error_ratio
    }

    /// Counters that were never compared have not been right all along, however well gauges agree.
    #[test]
    fn without_a_base_only_gauges_are_compared_and_nothing_is_known() {
        let moments = Moments { base: None, ..moments() };
        let right = told(95.0, 750.0, 6.0, 20.0);
        assert_eq!(errors(&right, &moments).len(), 2);
        assert_eq!(worst(&right, &moments, 3), None);
    }

    #[test]
    fn a_count_that_the_server_ceases_to_tell_is_not_known() {
        let right = told(95.0, 750.0, 6.0, 20.0);
        let silent = ServerCounts { delivered: None, ..right };
        let mut during = During::default();
        during.answered(1.0, &right, &moments(), |_| true);
        during.answered(2.0, &silent, &moments(), |_| true);
        assert_eq!(during.clone().report().unwrap().0.error_ratio, Some(0.0));
        during.answered(3.0, &silent, &moments(), |_| true);
        let (worst, report) = during.report().unwrap();
        assert_eq!(worst.error_ratio, None);
        let delivered = report.checks.iter().find(|check| check.name == "delivered").unwrap();
        assert_eq!((delivered.samples, delivered.bounded), (3, 1));
    }

    /// Between nothing and everything any figure is right.
    #[test]
    fn where_the_bounds_are_far_apart_nothing_is_known() {
        let [connections, subscriptions] = moments().gauges;
        let right = told(95.0, 750.0, 6.0, 20.0);
        let wide = Moments { gauges: [connections, Envelope { low: 9.0, ..subscriptions }], ..moments() };
        assert_eq!(worst(&right, &wide, 3), None);
        let close = Moments { gauges: [connections, Envelope { low: 11.0, ..subscriptions }], ..moments() };
        assert_eq!(worst(&right, &close, 3), Some(0.0));
    }

    #[test]
    fn the_worst_of_all_is_kept_with_its_moment() {
        let mut during = During::default();
        for (at_s, published) in [(1.0, 95.0), (2.0, 81.0), (3.0, 95.0)] {
            let only = |count| count == ServerCount::Published;
            during.answered(at_s, &told(published, 0.0, 0.0, 0.0), &moments(), only);
        }
        during.failed();
        let (worst, report) = during.report().unwrap();
        assert_eq!(worst.error_ratio, Some(0.1));
        assert_eq!((report.samples, report.failed, report.checks[0].at_s), (4, 1, 2.0));
        assert_eq!((report.checks[0].server, report.checks[0].low), (81.0, 90.0));
        // Each time it was known to be from 90 to 100.
        let check = &report.checks[0];
        assert_eq!((check.samples, check.bounded), (3, 3));
        assert!(check.slack_ratio.is_some_and(|slack| (slack - 0.1).abs() < 1e-9), "{check:?}");
    }

    /// A count that nothing bounds has not been right all along.
    #[test]
    fn where_most_answers_had_no_bound_nothing_is_known() {
        let unbounded = {
            let now = moments();
            Moments { told: Totals { deliverable: None, ..now.told }, ..now }
        };
        let mut during = During::default();
        let only = |count| count == ServerCount::Delivered;
        during.answered(1.0, &told(95.0, 750.0, 6.0, 20.0), &moments(), only);
        during.answered(2.0, &told(95.0, 750.0, 6.0, 20.0), &unbounded, only);
        assert_eq!(during.clone().report().unwrap().0.error_ratio, Some(0.0));
        during.answered(3.0, &told(95.0, 750.0, 6.0, 20.0), &unbounded, only);
        let (worst, report) = during.report().unwrap();
        assert_eq!((worst.error_ratio, report.checks[0].samples, report.checks[0].bounded), (None, 3, 1));
    }

    #[test]
    fn where_most_answers_are_missing_nothing_is_known() {
        let mut during = During::default();
        assert_eq!(during.clone().report(), None);
        during.answered(1.0, &told(95.0, 750.0, 6.0, 20.0), &moments(), |_| true);
        during.failed();
        assert_eq!(during.clone().report().unwrap().0.error_ratio, Some(0.0));
        during.failed();
        assert_eq!(during.report().unwrap().0.error_ratio, None);
    }

    #[test]
    fn a_window_knows_the_least_and_the_most_and_forgets() {
        let held = |low, high| Held { connections: [low, high], subscriptions: [10 * low, 10 * high] };
        let mut window = Window::default();
        for (at_s, low, high) in [(0.0, 1, 9), (1.0, 5, 6), (2.0, 4, 7)] {
            window.note(at_s, held(low, high));
        }
        let [connections, subscriptions] = window.since(0.5);
        assert_eq!(connections, Envelope { low: 4.0, high: 7.0 });
        assert_eq!(subscriptions, Envelope { low: 40.0, high: 70.0 });
        assert_eq!(window.since(9.0)[0], Envelope { low: 4.0, high: 7.0 }, "the last look always counts");
        (0..10_000).for_each(|i| window.note(f64::from(i), held(1, 1)));
        assert_eq!(window.0.len(), LOOKS);
    }
}
