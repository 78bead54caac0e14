//! The table of defects: each in its stage, with what must be found of it.

use super::rows::{Asked, Found, Row, Stage};
use crate::report::model::Verdict;

mod returns;

/// All stages, in the order they are run in.
#[must_use]
pub fn stages() -> Vec<Stage> {
    vec![
        deliveries(),
        lives(),
        counts(),
        slow(),
        returns::returns(),
        returns::crowd(),
        leak_per_connection(),
        leak_per_event(),
        slowdown(),
        returns::starved(),
    ]
}

/// Everything that happens to single deliveries.
fn deliveries() -> Stage {
    Stage {
        name: "deliveries",
        about: "defects of single deliveries, each on channels of its own",
        long: false,
        one_channel: false,
        phases: &["before", "after"],
        each: 20,
        rate: "2000/s",
        payload: "200B",
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
faults.cut = { on = "duplicate-on-reconnect", phase = "after", start = "500ms", terminate = { how = "reset" } }
reached.cut = "faults.cut.applied / faults.cut.planned == 100%"
"#,
        waits: &[],
        rows: [losses(), oddities(), vec![Row::honest("honest.ledger.strange == 0")]].concat(),
    }
}

/// One of each ten events of a channel, the last ten included: four times on each channel.
const TENTH: &str = "every=10";

/// Deliveries that never arrive, or not where they should.
fn losses() -> Vec<Row> {
    use Found::Ledger;
    vec![
        Row::of("drop", TENTH).found([Ledger("lost_proven")]).by("drop.ledger.lost == 0"),
        Row::of("drop-tail", "after=35,times=5")
            .asked(Asked::OnEach(5))
            .found([Ledger("lost_proven")])
            .by("drop-tail.ledger.lost == 0"),
        Row::of("drop-first", "")
            .asked(Asked::OnEach(1))
            .by("drop-first.ledger.lost == 0")
            .unseen(
                "graphql-transport-ws acknowledges no subscribe, so nobody can know from when on events are owed; \
                 probes are repeated until one arrives, and only what follows it is owed",
            ),
        Row::of("corrupt-header", TENTH)
            .found([Ledger("corrupted"), Ledger("lost_proven")])
            .by("corrupt-header.ledger.corrupted == 0"),
        Row::of("misroute", TENTH)
            .clients(4, 8, "")
            .found([Ledger("misrouted"), Ledger("lost_proven")])
            .by("misroute.ledger.misrouted == 0"),
        Row::of("ack-and-forget", TENTH)
            .found([Ledger("lost_proven")])
            .by("ack-and-forget.ledger.lost == 0"),
    ]
}

/// Deliveries that arrive otherwise than they should, and subscriptions that do not end.
fn oddities() -> Vec<Row> {
    use Found::Ledger;
    vec![
        Row::of("duplicate", TENTH).found([Ledger("duplicated")]).by("duplicate.ledger.duplicated == 0"),
        Row::of("duplicate-on-reconnect", "events=2,lag=8")
            .clients(8, 8, "reconnect = \"immediate\"")
            .asked(Asked::OnEach(2))
            .found([Ledger("duplicated")])
            .usual(&["missed_disconnected", "suppressed", "indeterminate"])
            .by("duplicate-on-reconnect.ledger.duplicated == 0"),
        // Three times, because the last ten events might not be overtaken by three others.
        Row::of("reorder", "every=10,times=3,by=3")
            .asked(Asked::OnEach(3))
            .found([Ledger("reordered")])
            .by("reorder.ledger.reordered == 0"),
        Row::of("corrupt-filler", TENTH)
            .found([Ledger("corrupted"), Ledger("damaged")])
            .by("corrupt-filler.ledger.corrupted == 0"),
        Row::of("truncate", TENTH)
            .found([Ledger("corrupted"), Ledger("damaged")])
            .by("truncate.ledger.corrupted == 0"),
        Row::of("replay-old-run", "every=10,payload={old-run}")
            .found([Ledger("phantom")])
            .by("replay-old-run.ledger.phantom == 0"),
        Row::of("after-unsubscribe", "events=1")
            .asked(Asked::OnEach(1))
            .found([Ledger("after_unsubscribe")])
            .by("after-unsubscribe.ledger.after_unsubscribe == 0"),
        Row::of("keep-subscriptions", "")
            .asked(Asked::OnEach(1))
            .found([Found::Surplus("subscriptions after close")])
            .by("server_stats.gauges.error_ratio == 0%"),
    ]
}

/// Everything that happens to connections and subscriptions as a whole.
fn lives() -> Stage {
    use Found::{Deficit, Dropped, Failed, LedgerByDelivery, Unacknowledged};
    let broken = |name, parameters| {
        // What was in flight when the client gave up cannot be decided.
        Row::of(name, parameters)
            .kind("break-frame")
            .clients(2, 2, "")
            .asked(Asked::OnEach(1))
            .usual(&["indeterminate"])
    };
    let rows = vec![
        broken("break-frame-reserved", "how=reserved,skip=10")
            .found([Dropped, Failed("open.invalid-frame")])
            .by("break-frame-reserved.connections.dropped_unexpectedly == 0"),
        broken("break-frame-opcode", "how=opcode,skip=10")
            .found([Dropped, Failed("open.invalid-frame")])
            .by("break-frame-opcode.connections.dropped_unexpectedly == 0"),
        broken("break-frame-masked", "how=masked,skip=10")
            .found([Dropped, Failed("open.invalid-frame")])
            .by("break-frame-masked.connections.dropped_unexpectedly == 0"),
        broken("break-frame-utf8", "how=utf8,skip=10")
            .found([Dropped, Failed("open.invalid-utf8")])
            .by("break-frame-utf8.connections.dropped_unexpectedly == 0"),
        Row::of("close-without-frame", "after=10,every=4")
            .asked(Asked::Times(2))
            .found([Dropped, Failed("open.closed")])
            .usual(&["indeterminate"])
            .by("close-without-frame.connections.dropped_unexpectedly == 0"),
        // The barrier never comes either, but the connection answers: nothing can still be on its way.
        Row::of("forget-subscription", "after=10")
            .clients(4, 4, "")
            .asked(Asked::OnEach(1))
            .found([LedgerByDelivery("lost_presumed"), Deficit("subscriptions when quiet")])
            .by("forget-subscription.ledger.lost == 0"),
        // Nothing comes, not even an answer: lost or still on its way, nobody can know.
        Row::of("stall", "after=10,every=4")
            .asked(Asked::Times(2))
            .found([LedgerByDelivery("indeterminate"), Failed("unsubscribe.timeout")])
            .by("stall.ledger.lost == 0")
            .verdict(Verdict::Inconclusive),
        Row::of("no-pong", "")
            .clients(4, 4, "")
            .asked(Asked::OnEach(1))
            .found([Failed("unsubscribe.timeout")])
            .by("no-pong.ledger.after_unsubscribe == 0")
            .verdict(Verdict::Inconclusive),
        Row::of("no-ack", "every=10")
            // That the server counts them is right: they may have been accepted.
            .found([Unacknowledged])
            .by("published.unknown == 0"),
        Row::honest("honest.connections.dropped_unexpectedly == 0"),
    ];
    Stage {
        name: "lives",
        about: "defects of whole connections and subscriptions, each on channels of its own",
        long: false,
        one_channel: false,
        phases: &["main"],
        each: 40,
        rate: "1000/s",
        payload: "200B",
        more: r#"
deadline = "2s"
timeouts = { operation = "2s", drain = "4s", quiet = "1s", cool-down = "500ms" }
"#,
        waits: &["barrier", "unsubscribe"],
        rows,
    }
}

/// The server's own statistics, wrong.
fn counts() -> Stage {
    let wrong = |name, parameters, figures: &[Found]| {
        Row::of(name, parameters).kind("miscount").of_the_server().asked(Asked::Times(1)).found(figures)
    };
    let rows = vec![
        wrong("miscount-published", "counter=published,by=-17", &[Found::Off("published", -17)])
            .by("server_stats.published.error_ratio <= 1%"),
        wrong("miscount-delivered", "counter=delivered,by=23", &[Found::Off("delivered", 23)])
            .by("server_stats.delivered.error_ratio <= 1%"),
        wrong(
            "miscount-connections",
            "counter=connections,by=1",
            &[Found::Off("connections when quiet", 1), Found::Off("connections after close", 1)],
        )
        .by("server_stats.gauges.error_ratio == 0%"),
        wrong(
            "miscount-subscriptions",
            "counter=subscriptions,by=2",
            &[Found::Off("subscriptions when quiet", 2), Found::Off("subscriptions after close", 2)],
        )
        .by("server_stats.gauges.error_ratio == 0%"),
        Row::honest("honest.ledger.lost == 0"),
    ];
    Stage {
        name: "counts",
        about: "a server that counts wrongly",
        long: false,
        one_channel: false,
        phases: &["main"],
        each: 50,
        rate: "1000/s",
        payload: "200B",
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
"#,
        waits: &[],
        rows,
    }
}

/// A server that drops what a slow reader does not take at once.
fn slow() -> Stage {
    let rows = vec![
        Row::of("drop-when-slow", "")
            .clients(12, 12, "")
            .asked(Asked::Some)
            .found([Found::Ledger("lost_proven")])
            .by("drop-when-slow.ledger.lost == 0"),
    ];
    Stage {
        name: "slow",
        about: "a server that drops what cannot be written at once; events larger than the kernel's buffers",
        long: false,
        one_channel: true,
        phases: &["main"],
        // All of them fit into the queue that the server has for one connection.
        each: 5,
        rate: "unlimited",
        payload: "6MiB",
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
"#,
        waits: &[],
        rows,
    }
}

/// A server that never gives back what each connection took.
fn leak_per_connection() -> Stage {
    let rows = vec![
        Row::of("leak-per-connection", "bytes=64KiB")
            .of_the_server()
            .asked(Asked::Some)
            .by("rounds.server_memory_end.growth < 50%"),
        Row::honest("honest.ledger.lost == 0").clients(500, 500, ""),
    ];
    Stage {
        name: "leak-per-connection",
        about: "a server that never gives back what each connection took, over three rounds",
        each: 4,
        ..leak(rows)
    }
}

/// A server that never gives back what each event took.
fn leak_per_event() -> Stage {
    let rows = vec![
        Row::of("leak-per-event", "bytes=4KiB")
            .of_the_server()
            // 200 on each of 50 channels, in each of three rounds.
            .asked(Asked::Times(30_000))
            .by("rounds.server_memory_end.growth < 50%"),
        Row::honest("honest.ledger.lost == 0").clients(50, 50, ""),
    ];
    Stage {
        name: "leak-per-event",
        about: "a server that never gives back what each event took, over three rounds",
        each: 200,
        ..leak(rows)
    }
}

fn leak(rows: Vec<Row>) -> Stage {
    Stage {
        name: "",
        about: "",
        long: true,
        one_channel: false,
        phases: &["main"],
        each: 1,
        rate: "2000/s",
        payload: "200B",
        more: r#"
rounds = 3
timeouts = { quiet = "1s", cool-down = "2s" }
"#,
        waits: &[],
        rows,
    }
}

/// A server that becomes slower and slower.
fn slowdown() -> Stage {
    // None in the first phase, up to 200 ms in the second.
    let rows = vec![
        Row::of("slow-down", "step=1ms,skip=200")
            .asked(Asked::OnEach(200))
            .by("slow-down.latency.deliver.p50 in late < 25ms"),
    ];
    Stage {
        name: "slow-down",
        about: "a server that delivers each event a little later than the one before",
        long: true,
        one_channel: false,
        phases: &["early", "late"],
        each: 200,
        rate: "500/s",
        payload: "200B",
        more: r#"
timeouts = { quiet = "1s", cool-down = "500ms" }
"#,
        waits: &[],
        rows,
    }
}
