//! How memory and latency moved, one sentence each: what the screen and the Markdown document share.

use super::human;
use super::model::{Report, TrendWord};

/// What the trend of the server's process is called.
pub(super) const SERVER_MEMORY: &str = "server memory";

/// What that of this process is called.
pub(super) const OUR_MEMORY: &str = "our own memory";

/// What that of deliveries is called.
pub(super) const DELIVER_P99: &str = "deliver p99";

/// A sentence per trend; none where nothing was judged.
pub(super) fn sentences(report: &Report) -> Vec<String> {
    named(report).into_iter().map(|(_, _, sentence)| sentence).collect()
}

/// Names and sentences of those that grew.
pub(super) fn growing(report: &Report) -> Vec<(&'static str, String)> {
    let grew = named(report).into_iter().filter(|(_, word, _)| *word == TrendWord::Grows);
    grew.map(|(name, _, sentence)| (name, sentence)).collect()
}

fn named(report: &Report) -> Vec<(&'static str, TrendWord, String)> {
    let Some(trends) = &report.trend else { return Vec::new() };
    let memory = [(SERVER_MEMORY, &trends.server_memory), (OUR_MEMORY, &trends.client_memory)];
    let sizes = memory.into_iter().filter_map(|(name, trend)| {
        let t = trend.as_ref()?;
        let figures = (t.growth_bytes, t.interval_bytes, t.floor_bytes);
        Some((name, t.word, sentence(name, figures, human::bytes, (t.word, &t.why))))
    });
    let share = trends.deliver_p99.iter().map(|t| {
        let (name, figures) = (DELIVER_P99, (t.growth, t.interval, t.floor_ratio));
        (name, t.word, sentence(name, figures, human::ratio, (t.word, &t.why)))
    });
    sizes.chain(share).collect()
}

/// `server memory grew by 3.1 MiB (95 %: -1 MiB to 7.2 MiB), floor 64 MiB: steady`
fn sentence(
    name: &str,
    (growth, interval, floor): (f64, Option<[f64; 2]>, f64),
    show: fn(f64) -> String,
    (word, why): (TrendWord, &str),
) -> String {
    let moved = if growth < 0.0 { "fell" } else { "grew" };
    let size = show(growth.abs());
    let interval = interval.map_or_else(
        || "no interval".to_owned(),
        |[low, high]| format!("95 %: {} to {}", show(low), show(high)),
    );
    let word = match word {
        TrendWord::Grows => "grows".to_owned(),
        TrendWord::Steady => "steady".to_owned(),
        TrendWord::Undecided => format!("undecided, {}", human::clean(why)),
    };
    format!("{name} {moved} by {size} ({interval}), floor {}: {word}", show(floor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{MemoryTrend, Trends};
    use crate::report::sample;

    #[test]
    fn a_trend_is_a_sentence() {
        let report = Report { trend: Some(sample::trends()), ..Report::default() };
        assert_eq!(
            sentences(&report),
            [
                "server memory grew by 3.1 MiB (95 %: -1 MiB to 7.2 MiB), floor 64 MiB: steady",
                "deliver p99 fell by 2 % (95 %: -15 % to 13 %), floor 10 %: undecided, the floor lies within the interval",
            ]
        );
        assert_eq!(sentences(&Report::default()), [""; 0]);
        let unknown = MemoryTrend {
            growth_bytes: 1024.0,
            floor_bytes: 2048.0,
            why: "no".into(),
            ..MemoryTrend::default()
        };
        let trends = Trends { client_memory: Some(unknown), ..Trends::default() };
        let report = Report { trend: Some(trends), ..Report::default() };
        assert_eq!(
            sentences(&report),
            ["our own memory grew by 1 KiB (no interval), floor 2 KiB: undecided, no"]
        );
    }
}
