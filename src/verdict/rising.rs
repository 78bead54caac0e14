//! Conditions on a trend: the limit is the floor, the interval decides, and there are three answers.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::trend::Trend;
use super::wording;
use crate::report::model::{Judgement, MemoryTrend, Observed, RatioTrend, TrendEvidence, TrendWord, Verdict};
use crate::scenarios::condition::{Condition, Term};

/// Whether a term is growth over the run, which only `<` and `<=` can limit.
pub(crate) fn is_trend(term: &Term) -> bool {
    matches!(
        term.metric.as_str(),
        "trend.server_memory.growth" | "trend.client_memory.growth" | "trend.deliver_p99.growth"
    )
}

/// Judges a condition on a trend beside its limit.
///
/// # Errors
/// If there is no trend.
pub(crate) fn judge(
    condition: &Condition,
    open: &Judgement,
    report: &Value,
    term: &Term,
    limit: f64,
) -> Result<Judgement, String> {
    let found = found(report, term);
    let nothing = || "there are too few points of the timeline for a trend".to_owned();
    found.ok_or_else(nothing).map(|trend| judged(condition, open, &trend, limit))
}

fn judged(condition: &Condition, open: &Judgement, trend: &Trend, limit: f64) -> Judgement {
    let (word, reason) = trend.word(limit);
    let observed_text = wording::observed(condition, trend.growth, None);
    let spoken = |ends| format!("95 %: {}", wording::between(condition, ends));
    let observed = format!("{observed_text} ({})", trend.interval.map_or("no interval".to_owned(), spoken));
    let (verdict, why) = match word {
        TrendWord::Steady => (Verdict::Pass, None),
        TrendWord::Grows => {
            (Verdict::Fail, Some(format!("observed {observed}, wanted {}: {reason}", open.limit)))
        }
        TrendWord::Undecided => {
            (Verdict::Inconclusive, Some(format!("{reason}: observed {observed}, wanted {}", open.limit)))
        }
    };
    Judgement {
        observed: Some(Observed::Number(trend.growth)),
        observed_text,
        interval: trend.interval,
        verdict,
        why,
        ..open.clone()
    }
}

/// The trend that a term names, as the report has it.
fn found(report: &Value, term: &Term) -> Option<Trend> {
    let name = term.keys.get(1)?;
    let value = report.get("trend")?.get(name)?;
    if name == "deliver_p99" {
        read::<RatioTrend>(value).as_ref().map(Trend::from)
    } else {
        read::<MemoryTrend>(value).as_ref().map(Trend::from)
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value::<Option<T>>(value.clone()).ok().flatten()
}

impl From<&MemoryTrend> for Trend {
    fn from(from: &MemoryTrend) -> Self {
        let figures = (from.growth_bytes, from.interval_bytes, from.halves_bytes, from.last_step_bytes);
        with_evidence(&from.evidence, figures)
    }
}

impl From<&RatioTrend> for Trend {
    fn from(from: &RatioTrend) -> Self {
        with_evidence(&from.evidence, (from.growth, from.interval, from.halves, from.last_step_ratio))
    }
}

type Figures = (f64, Option<[f64; 2]>, [f64; 2], f64);

fn with_evidence(evidence: &TrendEvidence, (growth, interval, halves, last_step): Figures) -> Trend {
    Trend {
        growth,
        interval,
        halves,
        last_step,
        samples: evidence.samples as usize,
        blocks: evidence.blocks as usize,
        tau: evidence.tau,
        p_value: evidence.p_value,
        inflation: evidence.inflation,
        all_along: evidence.all_along,
    }
}

impl From<&Trend> for TrendEvidence {
    fn from(trend: &Trend) -> Self {
        Self {
            samples: trend.samples as u64,
            blocks: trend.blocks as u64,
            tau: trend.tau,
            p_value: trend.p_value,
            inflation: trend.inflation,
            all_along: trend.all_along,
        }
    }
}
