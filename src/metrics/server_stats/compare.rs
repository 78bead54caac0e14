//! The server's figures set against ours: pure arithmetic, no clock, no socket.
//!
//! Gauges are compared while nothing changes, so they must be exact; counters may have been read a moment early,
//! so they may be off by 1 %. A figure that should be there and is not makes its check, and every aggregate
//! that includes it, unknown: a comparison that could not be made has not been passed.

use super::read::{ServerCount, ServerCounts};
use crate::report::model::{GaugeError, PhaseStats, ServerStats, StatCheck, StatError, Verdict};

/// How far a counter may be off.
const COUNTER_TOLERANCE: f64 = 0.01;

/// When gauges were read; nothing was opened, closed, subscribed or published meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Right after a census.
    Census,
    /// At the end of the phase with this index, before the next begins; only where a condition asks for it.
    EndOf(usize),
    /// After the quiet period: everyone who was away is back, and nothing is on its way.
    Quiet,
    /// After the last close.
    AfterClose,
}

impl Moment {
    /// How a check of it is named; `phases`: the names of the phases.
    fn text(self, phases: &[&str]) -> String {
        match self {
            Self::Census => "at census".to_owned(),
            Self::EndOf(phase) => format!("at the end of {}", phases.get(phase).unwrap_or(&"a phase")),
            Self::Quiet => "when quiet".to_owned(),
            Self::AfterClose => "after close".to_owned(),
        }
    }

    /// Whether nothing may change at it, whatever the plan. At the end of a phase a fault may still be acting: those
    /// figures are for the conditions that ask for them, and not among the worst of the run.
    fn is_at_rest(self) -> bool {
        !matches!(self, Self::EndOf(_))
    }
}

/// Gauges at one moment, and what they must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gauges {
    /// When.
    pub moment: Moment,
    /// The server's answer; `None`: the scrape failed.
    pub server: Option<ServerCounts>,
    /// Connections we hold open, those of publishers and of the prober included.
    pub connections: u64,
    /// Subscriptions we hold active, a prober's own included.
    pub subscriptions: u64,
}

/// Counters over the run, and what they must have grown by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counters {
    /// The server's answer before the first publish; `None`: the scrape failed.
    pub before: Option<ServerCounts>,
    /// The server's answer when the last phase was drained; `None`: the scrape failed.
    pub after: Option<ServerCounts>,
    /// Events we published and that were acknowledged, probes and barriers included: the server cannot tell them apart.
    pub published: u64,
    /// Events we published and that were never acknowledged: the server may have counted any number of them.
    pub unknown: u64,
    /// Messages we received, those of probes and barriers included.
    pub delivered: u64,
    /// Deliveries that a fault of ours kept from arriving: the kernel may have taken them from the server all the same.
    pub withheld: u64,
}

/// Compares every figure that `named` says the target gives.
#[must_use]
pub fn compare(
    source: &str,
    named: impl Fn(ServerCount) -> bool,
    phases: &[&str],
    gauges: &[Gauges],
    counters: Option<&Counters>,
) -> ServerStats {
    let mut found: Vec<Found> = gauges.iter().flat_map(Gauges::found).collect();
    if let Some(counters) = counters {
        for (count, ours, unknown) in [
            (ServerCount::Published, counters.published, counters.unknown),
            (ServerCount::Delivered, counters.delivered, counters.withheld),
        ] {
            let (server, ours) = (counters.grown(count), ours as f64);
            // Of what it may have counted, what it did count is as good as any other.
            let client = server.map_or(ours, |server| server.clamp(ours, ours + unknown as f64));
            found.push(Found { count, moment: None, server, client });
        }
    }
    found.retain(|found| named(found.count));
    // The last census speaks for the gauges that conditions name.
    let at_census = |count| {
        let last = found.iter().rev().find(|f| f.count == count && f.moment == Some(Moment::Census));
        gauge(last)
    };
    ServerStats {
        source: source.to_owned(),
        worst: worst(&found, |found| found.moment.is_none_or(Moment::is_at_rest)),
        gauges: worst(&found, |found| found.moment.is_some_and(Moment::is_at_rest)),
        connections: at_census(ServerCount::Connections),
        subscriptions: at_census(ServerCount::Subscriptions),
        published: worst(&found, |found| found.count == ServerCount::Published),
        delivered: worst(&found, |found| found.count == ServerCount::Delivered),
        checks: found.iter().map(|found| found.check(phases)).collect(),
        ..ServerStats::default()
    }
}

/// The gauges at the end of one phase; `None`: they were not read.
#[must_use]
pub fn at_end_of(phase: usize, named: impl Fn(ServerCount) -> bool, gauges: &[Gauges]) -> Option<PhaseStats> {
    let read = gauges.iter().find(|gauges| gauges.moment == Moment::EndOf(phase))?;
    let mut found: Vec<Found> = read.found().into();
    found.retain(|found| named(found.count));
    let of = |count| gauge(found.iter().find(|found| found.count == count));
    Some(PhaseStats {
        gauges: worst(&found, |_| true),
        connections: of(ServerCount::Connections),
        subscriptions: of(ServerCount::Subscriptions),
    })
}

impl Gauges {
    fn found(&self) -> [Found; 2] {
        let ours =
            [(ServerCount::Connections, self.connections), (ServerCount::Subscriptions, self.subscriptions)];
        ours.map(|(count, ours)| Found {
            count,
            moment: Some(self.moment),
            server: self.server.and_then(|server| server.get(count)),
            client: ours as f64,
        })
    }
}

impl Counters {
    /// Deliveries that the server says it dropped since it had dropped so many; `None`: it does not say.
    #[must_use]
    pub fn dropped_since(&self, so_many: f64) -> Option<f64> {
        let dropped = self.after?.get(ServerCount::Dropped)? - so_many;
        (dropped >= 0.0).then_some(dropped)
    }

    /// A counter that went back belongs to a server that was restarted: its growth is not known.
    fn grown(&self, count: ServerCount) -> Option<f64> {
        let grown = self.after?.get(count)? - self.before?.get(count)?;
        (grown >= 0.0).then_some(grown)
    }
}

/// One figure of both sides.
struct Found {
    count: ServerCount,
    /// `None`: a counter.
    moment: Option<Moment>,
    server: Option<f64>,
    client: f64,
}

impl Found {
    fn error_ratio(&self) -> Option<f64> {
        self.server.map(|server| (server - self.client).abs() / self.client.max(1.0))
    }

    fn check(&self, phases: &[&str]) -> StatCheck {
        let tolerance = if self.moment.is_some() { 0.0 } else { COUNTER_TOLERANCE };
        let verdict = match self.error_ratio() {
            None => Verdict::Inconclusive,
            Some(ratio) if ratio <= tolerance => Verdict::Pass,
            Some(_) => Verdict::Fail,
        };
        let name = self.count.name();
        let name = self.moment.map_or(name.to_owned(), |moment| format!("{name} {}", moment.text(phases)));
        let (server, client, error_ratio) = (self.server, self.client, self.error_ratio());
        StatCheck { name, server, client, error_ratio, verdict }
    }
}

/// One gauge as conditions name it.
fn gauge(found: Option<&Found>) -> GaugeError {
    GaugeError {
        error_ratio: found.and_then(Found::error_ratio),
        left_over: found.and_then(|found| Some((found.server? - found.client).max(0.0))),
    }
}

/// The largest error among the chosen checks; unknown if one of them could not be made.
fn worst(found: &[Found], chosen: impl Fn(&Found) -> bool) -> StatError {
    let ratios: Option<Vec<f64>> = found.iter().filter(|f| chosen(f)).map(Found::error_ratio).collect();
    StatError { error_ratio: ratios.unwrap_or_default().into_iter().reduce(f64::max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(connections: f64, subscriptions: f64, published: f64, delivered: f64) -> Option<ServerCounts> {
        Some(ServerCounts {
            connections: Some(connections),
            subscriptions: Some(subscriptions),
            published: Some(published),
            delivered: Some(delivered),
            ..ServerCounts::default()
        })
    }

    fn check(name: &str, server: f64, client: f64, error_ratio: f64, verdict: Verdict) -> StatCheck {
        StatCheck { name: name.into(), server: Some(server), client, error_ratio: Some(error_ratio), verdict }
    }

    fn ratio(error_ratio: f64) -> StatError {
        StatError { error_ratio: Some(error_ratio) }
    }

    fn gauge(error_ratio: f64, left_over: f64) -> GaugeError {
        GaugeError { error_ratio: Some(error_ratio), left_over: Some(left_over) }
    }

    #[test]
    fn gauges_must_be_exact_and_counters_close() {
        let gauges = [
            Gauges {
                moment: Moment::Census,
                server: counts(101.0, 99.0, 0.0, 0.0),
                connections: 101,
                subscriptions: 100,
            },
            Gauges {
                moment: Moment::AfterClose,
                server: counts(0.0, 2.0, 0.0, 0.0),
                connections: 0,
                subscriptions: 0,
            },
        ];
        let counters = Counters {
            before: counts(0.0, 0.0, 1_000.0, 50.0),
            after: counts(0.0, 0.0, 2_010.0, 150.0),
            published: 1_000,
            unknown: 0,
            delivered: 98,
            withheld: 0,
        };
        let stats = compare("http://x/stats", |_| true, &[], &gauges, Some(&counters));
        assert_eq!(
            stats.checks,
            [
                check("connections at census", 101.0, 101.0, 0.0, Verdict::Pass),
                check("subscriptions at census", 99.0, 100.0, 0.01, Verdict::Fail),
                check("connections after close", 0.0, 0.0, 0.0, Verdict::Pass),
                check("subscriptions after close", 2.0, 0.0, 2.0, Verdict::Fail),
                check("published", 1_010.0, 1_000.0, 0.01, Verdict::Pass),
                check("delivered", 100.0, 98.0, 2.0 / 98.0, Verdict::Fail),
            ]
        );
        assert_eq!((stats.worst, stats.gauges), (ratio(2.0), ratio(2.0)));
        assert_eq!((stats.connections, stats.subscriptions), (gauge(0.0, 0.0), gauge(0.01, 0.0)));
        assert_eq!((stats.published, stats.delivered), (ratio(0.01), ratio(2.0 / 98.0)));
    }

    #[test]
    fn what_was_not_named_is_not_compared() {
        let gauges = [Gauges {
            moment: Moment::Census,
            server: counts(5.0, 9.0, 0.0, 0.0),
            connections: 5,
            subscriptions: 5,
        }];
        let stats = compare("s", |count| count == ServerCount::Connections, &[], &gauges, None);
        assert_eq!(stats.checks, [check("connections at census", 5.0, 5.0, 0.0, Verdict::Pass)]);
        assert_eq!((stats.worst, stats.subscriptions), (ratio(0.0), GaugeError::default()));
    }

    #[test]
    fn a_failed_scrape_makes_its_checks_and_their_aggregates_unknown() {
        let good = Gauges {
            moment: Moment::Census,
            server: counts(5.0, 5.0, 0.0, 0.0),
            connections: 5,
            subscriptions: 5,
        };
        let failed = Gauges { moment: Moment::AfterClose, server: None, connections: 0, subscriptions: 0 };
        let stats = compare("s", |_| true, &[], &[good, failed], None);
        assert_eq!(stats.checks[2].verdict, Verdict::Inconclusive);
        assert_eq!((stats.checks[2].server, stats.checks[2].error_ratio), (None, None));
        assert_eq!((stats.worst, stats.gauges), (StatError::default(), StatError::default()));
        assert_eq!(stats.connections, gauge(0.0, 0.0), "the census is known");
    }

    #[test]
    fn a_counter_that_went_back_is_unknown() {
        let before = counts(0.0, 0.0, 500.0, 0.0);
        let counters = Counters {
            before,
            after: counts(0.0, 0.0, 100.0, 100.0),
            published: 100,
            unknown: 0,
            delivered: 100,
            withheld: 0,
        };
        let stats = compare("s", |_| true, &[], &[], Some(&counters));
        assert_eq!((stats.published, stats.delivered), (StatError::default(), ratio(0.0)));
    }

    #[test]
    fn no_check_is_no_result() {
        let stats = compare("s", |_| true, &[], &[], None);
        assert_eq!((stats.checks.len(), stats.worst), (0, StatError::default()));
    }

    #[test]
    fn what_may_have_been_accepted_is_no_error() {
        let published = |grown: f64| {
            let counters = Counters {
                before: counts(0.0, 0.0, 500.0, 0.0),
                after: counts(0.0, 0.0, 500.0 + grown, 0.0),
                published: 100,
                unknown: 10,
                delivered: 0,
                withheld: 0,
            };
            let stats = compare("s", |count| count == ServerCount::Published, &[], &[], Some(&counters));
            (stats.checks[0].client, stats.published.error_ratio.unwrap(), stats.checks[0].verdict)
        };
        assert_eq!(published(90.0), (100.0, 0.1, Verdict::Fail));
        for grown in [100.0, 107.0, 110.0] {
            assert_eq!(published(grown), (grown, 0.0, Verdict::Pass));
        }
        assert_eq!(published(121.0), (110.0, 0.1, Verdict::Fail));
    }

    #[test]
    fn what_we_kept_from_arriving_may_have_been_delivered() {
        let delivered = |grown: f64| {
            let counters = Counters {
                before: counts(0.0, 0.0, 0.0, 500.0),
                after: counts(0.0, 0.0, 0.0, 500.0 + grown),
                published: 0,
                unknown: 0,
                delivered: 100,
                withheld: 50,
            };
            compare("s", |count| count == ServerCount::Delivered, &[], &[], Some(&counters)).checks[0].verdict
        };
        assert_eq!([98.0, 100.0, 130.0, 151.0, 153.0].map(delivered), {
            use Verdict::{Fail, Pass};
            [Fail, Pass, Pass, Pass, Fail]
        });
    }

    #[test]
    fn ends_of_phases_have_figures_of_their_own() {
        let read = |moment, theirs: f64| Gauges {
            moment,
            server: counts(theirs, 4.0, 0.0, 0.0),
            connections: 5,
            subscriptions: 4,
        };
        let gauges = [read(Moment::Census, 5.0), read(Moment::EndOf(1), 6.0), read(Moment::AfterClose, 5.0)];
        let stats = compare("s", |_| true, &["calm", "storm"], &gauges, None);
        assert_eq!(stats.checks[2], check("connections at the end of storm", 6.0, 5.0, 0.2, Verdict::Fail));
        assert_eq!(stats.checks[3].name, "subscriptions at the end of storm");
        assert_eq!(
            (stats.worst, stats.gauges),
            (ratio(0.0), ratio(0.0)),
            "a fault may still have been acting"
        );
        let storm =
            PhaseStats { gauges: ratio(0.2), connections: gauge(0.2, 1.0), subscriptions: gauge(0.0, 0.0) };
        assert_eq!(at_end_of(1, |_| true, &gauges), Some(storm));
        assert_eq!(at_end_of(0, |_| true, &gauges), None);
        let only = at_end_of(1, |count| count == ServerCount::Subscriptions, &gauges).unwrap();
        assert_eq!((only.gauges, only.connections), (ratio(0.0), GaugeError::default()));
        let failed = Gauges { server: None, ..gauges[1] };
        assert_eq!(at_end_of(1, |_| true, &[failed]), Some(PhaseStats::default()));
    }
}
