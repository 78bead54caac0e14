//! How clients came back: rows and sentences that the screen and the Markdown document share.

use super::disturbed::COMPUTED;
use super::human::{NOTHING, clean, count, number, seconds};
use super::model::{Breaker, Reconnects, Report};
use super::words::{Row, publishes};

/// Header of [`rows`].
pub(super) const HEADER: [&str; 9] =
    ["Reconnects", "ended", "tries", "failed", "tries/end", "max/100 ms", "50 %", "95 %", "100 %"];

/// What the last columns of [`rows`] mean.
const TIMES: &str =
    "50 %, 95 %, 100 %: from the first end until so many were back with every subscription proved";

/// Kinds of faults that end connections, at once or by their silence.
const ENDING: [&str; 2] = ["terminate", "partition"];

/// One line per group of subscribers of which a connection ended, and one for all of them where there are several;
/// bystanders stand out if they had to come back at all. Nothing where nobody tried to.
pub(super) fn rows(report: &Report) -> Vec<Row<9>> {
    if report.reconnects.attempts == 0 {
        return Vec::new();
    }
    let all = report.groups.iter().filter(|(name, group)| !publishes(name, group));
    let ended = all.filter(|(name, group)| {
        group.reconnects.ended > 0 && (!COMPUTED.contains(&name.as_str()) || name.as_str() == "bystanders")
    });
    let mut rows: Vec<_> = ended.map(|(name, group)| row(name, &group.reconnects)).collect();
    if report.reconnects.ended > 0 && rows.len() != 1 {
        rows.insert(0, row("all", &report.reconnects));
    }
    rows
}

fn row(name: &str, reconnects: &Reconnects) -> Row<9> {
    let time = |s: Option<f64>| s.map_or_else(|| NOTHING.to_owned(), seconds);
    [
        clean(name),
        count(reconnects.ended),
        count(reconnects.attempts),
        count(reconnects.failed),
        reconnects.amplification.map_or_else(|| NOTHING.to_owned(), number),
        count(reconnects.peak_per_100ms),
        time(reconnects.restored_50_s),
        time(reconnects.restored_95_s),
        time(reconnects.restored_100_s),
    ]
}

/// What the rows do not say.
pub(super) fn notes(report: &Report) -> Vec<String> {
    let Reconnects { attempts, aborted_by_plan, budget_waits, .. } = report.reconnects;
    let mut notes = Vec::new();
    if attempts > 0 {
        notes.push(TIMES.to_owned());
    }
    if let Some(spread) = ends_spread(report).filter(|_| attempts > 0) {
        notes.push(format!("the plan spread the ends over {}, which is in these times", seconds(spread)));
    }
    if aborted_by_plan > 0 {
        notes.push(format!("{} of the tries were ended by a fault of ours", count(aborted_by_plan)));
    }
    if budget_waits > 0 {
        notes.push(format!("{} of the tries had to wait for the retry budget", count(budget_waits)));
    }
    notes
}

/// Over how long the plan ended connections, where that is a large part of the time until they were back.
pub(super) fn ends_spread(report: &Report) -> Option<f64> {
    let ending = || report.faults.values().filter(|fault| ENDING.contains(&fault.kind.as_str()));
    let first = ending().filter_map(|fault| fault.first_s).reduce(f64::min)?;
    let last = ending().filter_map(|fault| fault.last_s).reduce(f64::max)?;
    let until = report.reconnects.restored_100_s.or(report.reconnects.restored_95_s)?;
    (last - first >= until / 4.0).then_some(last - first)
}

/// What circuit breakers did, if any ever opened.
pub(super) fn breakers(breaker: &Breaker) -> Option<String> {
    (breaker.opened > 0).then(|| {
        format!(
            "opened {} times, closed {} · {} tries half open · {} open at the end",
            count(breaker.opened),
            count(breaker.closed),
            count(breaker.half_open_attempts),
            count(breaker.open_at_end)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Slice;

    fn report(groups: &[(&str, u64)]) -> Report {
        let mut report = Report::default();
        report.reconnects.attempts = 1;
        for (name, ended) in groups {
            let reconnects = Reconnects { ended: *ended, ..Reconnects::default() };
            let mut slice = Slice { reconnects, ..Slice::default() };
            slice.subscriptions.requested = 9;
            report.groups.insert((*name).to_owned(), slice);
            report.reconnects.ended += u64::from(!COMPUTED.contains(name)) * ended;
        }
        report
    }

    #[test]
    fn groups_that_lost_nothing_have_no_line() {
        let names = |groups: &[(&str, u64)]| {
            rows(&report(groups)).into_iter().map(|row| format!("{} {}", row[0], row[1])).collect::<Vec<_>>()
        };
        assert_eq!(names(&[("near", 0), ("victims", 0)]), [""; 0]);
        assert_eq!(names(&[("near", 4), ("far", 0), ("victims", 4), ("bystanders", 0)]), ["near 4"]);
        let several = names(&[("near", 4), ("far", 2), ("victims", 5), ("bystanders", 1)]);
        assert_eq!(several, ["all 6", "near 4", "far 2", "bystanders 1"]);
    }

    #[test]
    fn that_the_plan_spread_the_ends_is_said() {
        let mut spread = report(&[("near", 4)]);
        spread.reconnects.restored_100_s = Some(20.0);
        let mut fault = crate::report::model::FaultReport {
            kind: "terminate".to_owned(),
            first_s: Some(5.0),
            last_s: Some(6.0),
            ..Default::default()
        };
        spread.faults.insert("cut".to_owned(), fault.clone());
        assert_eq!(notes(&spread), [TIMES]);
        fault.last_s = Some(24.0);
        spread.faults.insert("later".to_owned(), fault.clone());
        assert_eq!(notes(&spread), [TIMES, "the plan spread the ends over 19 s, which is in these times"]);
        // What ends no connection spreads no ends.
        fault.kind = "link-delay".to_owned();
        spread.faults.insert("later".to_owned(), fault);
        assert_eq!(notes(&spread), [TIMES]);
    }

    #[test]
    fn what_never_happened_is_not_mentioned() {
        let mut gone_for_good = report(&[("near", 4)]);
        gone_for_good.reconnects.attempts = 0;
        assert_eq!(rows(&gone_for_good), [] as [Row<9>; 0]);
        assert_eq!((notes(&Report::default()), breakers(&Breaker::default())), (Vec::new(), None));
    }
}
