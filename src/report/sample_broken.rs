//! A report in which nearly everything went wrong at once, and every text that came from elsewhere is hostile.

use super::model::*;
use super::sample::judgement;
use super::sample_herd::cascade;

/// What a server might say to break a document.
pub(crate) const HOSTILE: &str =
    "</details><script>x</script>\n## heading | `a` \u{1b}[31m\u{202e}[link](http://x) **b**";

/// Faults as in a cascade, and a server that does everything wrong.
pub(crate) fn broken() -> Report {
    let mut report = cascade();
    report.scenario.name = "own|<b>*everything*</b>".to_owned();
    report.scenario.about = HOSTILE.to_owned();
    report.verdict = Verdict::Fail;
    report.why = vec![format!("nothing-lost failed: {HOSTILE}")];
    report.expectations.push(judgement(
        "fast",
        "bystanders.latency.deliver.p99 during < 250ms",
        0.5,
        ["500 ms", "< 250 ms"],
        Verdict::Fail,
    ));
    for (name, n) in
        [("open.close-1011", 4), ("upgrade.http-503", 7), ("confirm.timeout", 2), ("tcp.emfile", 1)]
    {
        report.connections.failed.insert(name.to_owned(), n);
        report.connections.failed_texts.insert(name.to_owned(), HOSTILE.to_owned());
    }
    report.connections.dropped_unexpectedly = 6;
    for fault in report.faults.values_mut() {
        fault.parts = vec!["herd".to_owned()];
    }
    let whole = &mut report.ledger;
    (whole.lost_proven, whole.lost_presumed, whole.lost) = (3, 1, 4);
    (whole.damaged, whole.corrupted, whole.phantom, whole.misrouted) = (1, 2, 3, 4);
    (whole.duplicated, whole.reordered, whole.after_unsubscribe) = (5, 6, 7);
    whole.examples = vec![Example {
        class: "lost_proven".to_owned(),
        channel_name: format!("stress-{HOSTILE}"),
        rule: HOSTILE.to_owned(),
        due_s: Some(14.2),
        ..Example::default()
    }];
    report.phases[1].ledger.lost_proven = 3;
    report.timeline = [(13.0, 0, 900), (14.0, 0, 880), (15.0, 4, 700), (16.0, 0, 905)]
        .map(|(t_s, lost, delivered)| TimelinePoint { t_s, lost, delivered, ..TimelinePoint::default() })
        .into();
    report.slow_consumers = Some(SlowConsumers {
        readers: 12,
        policy: SlowPolicy::Drop,
        also: vec![SlowPolicy::Buffer],
        evidence: vec!["readers were passed over".to_owned()],
        passed_over: 12,
        lost: 3,
        admitted: Some(2),
        ..SlowConsumers::default()
    });
    report.ledger.lost_unexplained = Some(2);
    report.run.timed_out = vec!["settle".to_owned()];
    report.generator.health = Health::Limited;
    report.generator.reasons = vec!["a thread was busy all the time".to_owned()];
    if let Some(stats) = &mut report.server_stats {
        stats.checks[1].verdict = Verdict::Fail;
    }
    report
}
