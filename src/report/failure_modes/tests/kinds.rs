//! Every kind of failure by itself: what makes a report show it, and where it stands then.

use super::*;

/// A kind of failure: the causes it must appear under, and what makes a report show it.
type Kind = (&'static [(Origin, &'static str)], fn(&mut Report));

const KINDS: &[Kind] = &[
    (&[(Origin::Server, "lost_proven")], |r| r.ledger.lost_proven = 1),
    (&[(Origin::Server, "lost_presumed")], |r| r.ledger.lost_presumed = 1),
    (&[(Origin::Server, "damaged")], |r| r.ledger.damaged = 1),
    (&[(Origin::Server, "corrupted")], |r| r.ledger.corrupted = 1),
    (&[(Origin::Server, "phantom")], |r| r.ledger.phantom = 1),
    (&[(Origin::Server, "misrouted")], |r| r.ledger.misrouted = 1),
    (&[(Origin::Server, "after_unsubscribe")], |r| r.ledger.after_unsubscribe = 1),
    (&[(Origin::Server, "duplicated")], |r| r.ledger.duplicated = 1),
    (&[(Origin::Server, "reordered")], |r| r.ledger.reordered = 1),
    (&[(Origin::Server, "late")], |r| r.ledger.late = 1),
    (&[(Origin::Server, "recovered")], |r| r.ledger.recovered = 1),
    (&[(Origin::Server, "unknown_publish")], |r| r.ledger.unknown_publish = 1),
    (&[(Origin::Open, "missed_disconnected")], |r| r.ledger.missed_disconnected = 1),
    (&[(Origin::Open, "indeterminate")], |r| r.ledger.indeterminate = 1),
    (&[(Origin::Ours, "indeterminate")], |r| {
        (r.ledger.indeterminate, r.ledger.indeterminate_by_faults) = (1, 1);
    }),
    (&[(Origin::Run, "unverified")], |r| r.ledger.unverified = 1),
    (&[(Origin::Ours, "suppressed")], |r| r.ledger.suppressed = 1),
    (&[(Origin::Server, "publish-unknown")], |r| r.published.unknown = 1),
    (&[(Origin::Server, "publish-failed")], |r| r.published.failed = 1),
    (&[(Origin::Open, "publish-unsent")], |r| r.published.attempted = 1),
    (&[(Origin::Server, "upgrade.http-503")], |r| fail(r, "upgrade.http-503")),
    (&[(Origin::Run, "tcp.emfile")], |r| fail(r, "tcp.emfile")),
    (&[(Origin::Ours, "init.injected")], |r| fail(r, "init.injected")),
    (&[(Origin::Server, "open.close-1011")], |r| {
        fail(r, "open.close-1011");
        r.connections.dropped_unexpectedly = 1;
    }),
    (&[(Origin::Server, "publish.error")], |r| {
        let mut feed = Slice::default();
        feed.connections.failed.insert("publish.error".to_owned(), 1);
        r.groups.insert("feed".to_owned(), feed);
    }),
    (&[(Origin::Server, "dropped")], |r| r.connections.dropped_unexpectedly = 1),
    (&[(Origin::Server, "errors")], |r| r.errors.unexplained = 1),
    (&[(Origin::Open, "unconfirmed")], |r| r.subscriptions.requested = 1),
    (&[(Origin::Server, "not-back")], |r| (r.connections.absences, r.reconnects.attempts) = (1, 1)),
    (&[(Origin::Server, "probes-missed")], |r| r.subscriptions.probes.missed_after_first = 1),
    (&[(Origin::Server, "server-gone")], |r| r.run.stop_reason = "target-lost".to_owned()),
    (&[(Origin::Server, "server-gone")], |r| r.server.alive = Some(false)),
    (&[(Origin::Answer, "slow-readers disconnect")], |r| {
        let policy = SlowPolicy::Disconnect;
        r.slow_consumers = Some(SlowConsumers { readers: 1, policy, ..SlowConsumers::default() });
    }),
    (&[(Origin::Server, "server-counts")], |r| {
        let check =
            StatCheck { name: "delivered".to_owned(), verdict: Verdict::Fail, ..StatCheck::default() };
        r.server_stats = Some(ServerStats { checks: vec![check], ..ServerStats::default() });
    }),
    (&[(Origin::Server, "server-counts-during")], |r| r.server_stats = Some(wrong_meanwhile())),
    (&[(Origin::Server, "rate-not-held")], |r| r.published.slowed = Some(slowed("server"))),
    (&[(Origin::Run, "rate-not-held")], |r| r.published.slowed = Some(slowed("generator"))),
    (&[(Origin::Open, "rate-not-held")], |r| r.published.slowed = Some(slowed("machine"))),
    (&[(Origin::Answer, "cycles-failed")], |r| {
        let cycles = Some(CycleReport { failed: 1, ..CycleReport::default() });
        r.faults.insert("churn".to_owned(), FaultReport { cycles, ..FaultReport::default() });
    }),
    (&[(Origin::Server, "growth of server memory")], |r| {
        let grows = MemoryTrend { word: TrendWord::Grows, ..MemoryTrend::default() };
        r.trend = Some(Trends { server_memory: Some(grows), ..Trends::default() });
    }),
    (&[(Origin::Server, "growth of deliver p99")], |r| r.trend = Some(slower())),
    (&[(Origin::Open, "growth of deliver p99")], |r| {
        (r.trend, r.generator.drain_p99_us) = (Some(slower()), Some(1));
    }),
    (&[(Origin::Run, "growth of our own memory")], |r| {
        let grows = MemoryTrend { word: TrendWord::Grows, ..MemoryTrend::default() };
        r.trend = Some(Trends { client_memory: Some(grows), ..Trends::default() });
    }),
    (&[(Origin::Server, "limit fast")], |r| {
        r.expectations = vec![fails("fast", "latency.deliver.p99 < 1ms")];
    }),
    (&[(Origin::Answer, "limit back")], |r| {
        r.expectations = vec![fails("back", "victims.latency.reconnect.max < 1s")];
    }),
    (&[(Origin::Run, "limit small")], |r| {
        r.expectations = vec![fails("small", "resources.client.memory_peak < 512MiB")];
    }),
    (&[], |r| {
        let policy = SlowPolicy::Buffer;
        r.slow_consumers = Some(SlowConsumers { readers: 1, policy, ..SlowConsumers::default() });
    }),
    // What has an entry of its own needs no second one.
    (&[(Origin::Run, "growth of our own memory")], |r| {
        let grows = MemoryTrend { word: TrendWord::Grows, ..MemoryTrend::default() };
        r.trend = Some(Trends { client_memory: Some(grows), ..Trends::default() });
        r.expectations = vec![fails("no-leak-of-ours", "trend.client_memory.growth < 64MiB")];
    }),
    (&[(Origin::Server, "growth of deliver p99")], |r| {
        r.trend = Some(slower());
        r.expectations = vec![fails("no-degradation", "trend.deliver_p99.growth < 10%")];
    }),
    (&[(Origin::Server, "limit no-leak")], |r| {
        r.expectations = vec![fails("no-leak", "trend.server_memory.growth < 64MiB")];
    }),
    (&[(Origin::Answer, "cycles-failed")], |r| {
        let cycles = Some(CycleReport { failed: 1, ..CycleReport::default() });
        r.faults.insert("churn".to_owned(), FaultReport { cycles, ..FaultReport::default() });
        r.expectations = vec![fails("clean", "faults.churn.cycles.failed == 0")];
    }),
    (&[(Origin::Server, "rate-not-held")], |r| {
        r.published.slowed = Some(slowed("server"));
        r.expectations = vec![fails("rate-held", "published.rate / predicted >= 99%")];
    }),
    (&[(Origin::Run, "interrupted")], |r| r.run.interrupted = true),
    (&[(Origin::Run, "stopped")], |r| r.run.stop_reason = "abort-if memory".to_owned()),
    (&[(Origin::Open, "wait drain")], |r| r.run.timed_out = vec!["drain".to_owned()]),
    (&[(Origin::Run, "generator-limited")], |r| r.generator.health = Health::Limited),
    (&[(Origin::Run, "generator-invalid")], |r| r.generator.health = Health::Invalid),
    (&[(Origin::Answer, "breaker-open")], |r| r.breaker.open_at_end = 1),
    (&[(Origin::Ours, "fault stall")], |r| {
        let fault = FaultReport { kind: "stall".to_owned(), applied: 1, ..FaultReport::default() };
        r.faults.insert("silent".to_owned(), fault);
    }),
];

#[test]
fn every_kind_appears_where_it_was_observed_and_alone() {
    assert_eq!(causes(&nothing()), []);
    for (wanted, plant) in KINDS {
        let mut report = nothing();
        plant(&mut report);
        let wanted: Vec<_> = wanted.iter().map(|(origin, cause)| (*origin, (*cause).to_owned())).collect();
        assert_eq!(causes(&report), wanted);
        // The document names it, and says of everything that is not ours that it failed.
        let text = render(&[report]);
        for (_, cause) in &wanted {
            assert!(text.contains(&format!("(`{cause}`)")), "{cause}: {text}");
        }
        let failed = wanted.iter().any(|(origin, _)| *origin != Origin::Ours);
        assert_eq!(text.contains("No failure was observed"), !failed, "{wanted:?}");
    }
}
