//! Whether a figure rises over a run: a robust slope with an interval that knows that samples resemble their
//! neighbours. Pure arithmetic; `docs/trends.md` says why each part is there and how often it errs.
//!
//! Comparing the last sample with the first calls every healthy process a leak, and tests that take samples for
//! independent are wrong more often than right on memory, which moves in steps, sawtooth and drifts. So:
//!
//! 1. The first fifth is left out: caches, pools and arenas fill.
//! 2. The rest becomes 24 to 48 medians of blocks of equal length, which a spike does not move.
//! 3. The slope is the median of the slopes of all pairs: Theil, "A rank-invariant method of linear and polynomial
//!    regression analysis", Indag. Math. 12 (1950); Sen, JASA 63 (1968) 1379–1389, from whom the interval is.
//! 4. The variance of Kendall's S, on which both test and interval rest, is multiplied by what autocorrelation of the
//!    detrended ranks adds to it: Hamed and Rao, J. Hydrology 204 (1998) 182–196. Their estimate is too small for few
//!    blocks, as sample autocorrelations are biased towards zero (Marriott and Pope, Biometrika 41 (1954) 390–402).
//!    So it is never less than that of a first-order process with the unbiased first coefficient, and never below 1.
//! 5. It *grows* only if the whole interval lies above the floor, the test is significant, and the level rises from
//!    each quarter to the next and in both halves: neither one step, nor a curve that flattens, nor two teeth of a saw.
//! 6. It is *steady* only if the whole interval lies below the floor, and it does not end on a new level that is
//!    higher by more than the floor. Anything else is *undecided*.

use crate::report::model::TrendWord;

/// Fewest blocks that a trend is judged from.
pub const BLOCKS_MIN: usize = 24;
/// Most blocks: more would only be more alike.
const BLOCKS_MAX: usize = 48;
/// Fewest samples in a block: a median of fewer does not shed a spike.
pub const BLOCK_SAMPLES: usize = 3;
/// The share of the period that is left out at its beginning.
pub const WARM_UP: f64 = 0.2;
/// The part of the mean step between quarters by which each has to be above the one before, and the part of what the
/// second half grows by that the first has to.
const FAIR_SHARE: f64 = 0.25;
/// A second half that grows by less than this part of the first is one of a curve that flattens.
const FLATTENS: f64 = 0.6;
/// The normal quantile of a two-sided interval of 95 %.
const Z: f64 = 1.959_964;
/// Below this probability of so high a tau without any trend, the test is significant.
const SIGNIFICANT: f64 = 0.05;

/// Samples of a period that are needed for [`BLOCKS_MIN`] blocks after the warm-up.
#[must_use]
pub fn samples_needed() -> usize {
    ((BLOCKS_MIN * BLOCK_SAMPLES) as f64 / (1.0 - WARM_UP)).ceil() as usize
}

/// What a series comes to. Growth is that of the slope over the whole period, in the unit of the values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trend {
    /// Growth over the period, its warm-up included.
    pub growth: f64,
    /// Its 95 % interval; `None`: neighbours resemble each other so much that nothing can be excluded.
    pub interval: Option<[f64; 2]>,
    /// Samples after the warm-up.
    pub samples: usize,
    /// Blocks they were put into.
    pub blocks: usize,
    /// Kendall's tau, from -1 (falls throughout) to 1 (rises throughout).
    pub tau: f64,
    /// Two-sided probability of a tau so far from 0 without a trend, corrected for autocorrelation.
    pub p_value: f64,
    /// By how much autocorrelation has widened the variance, at least 1.
    pub inflation: f64,
    /// The same at the slopes of the first and of the second half of what was judged.
    pub halves: [f64; 2],
    /// Whether the level rises from each quarter to the next, and in neither half far more slowly than in the other.
    pub all_along: bool,
    /// How much higher the level is on which it ends, if it is one that was never reached before; else 0.
    pub last_step: f64,
}

/// Judges `(time, value)` samples, in order of time; `None`: too few for [`BLOCKS_MIN`] blocks.
#[must_use]
pub fn trend(series: &[(f64, f64)]) -> Option<Trend> {
    Sampled::of(series).map(|sampled| sampled.trend())
}

/// The same of values above zero, with growth as a share of where each slope begins: 0.1 is a tenth more at the end.
#[must_use]
pub fn relative(series: &[(f64, f64)]) -> Option<Trend> {
    let sampled = Sampled::of(series)?;
    let trend = sampled.trend();
    let share = |growth: f64| growth / sampled.begins_at(growth / sampled.length);
    let level = sampled.begins_at(trend.growth / sampled.length);
    Some(Trend {
        growth: share(trend.growth),
        interval: trend.interval.map(|ends| ends.map(share)),
        halves: trend.halves.map(|half| half / level),
        last_step: trend.last_step / level,
        ..trend
    })
}

/// A series without its warm-up, in blocks.
struct Sampled {
    first: f64,
    length: f64,
    samples: usize,
    blocks: Vec<(f64, f64)>,
}

impl Sampled {
    fn of(series: &[(f64, f64)]) -> Option<Self> {
        let (first, last) = (series.first()?.0, series.last()?.0);
        let length = last - first;
        let warm = series.partition_point(|(t, _)| *t < first + WARM_UP * length);
        let kept = &series[warm..];
        let blocks = blocks(kept);
        let enough = blocks.len() >= BLOCKS_MIN && length > 0.0;
        enough.then_some(Self { first, length, samples: kept.len(), blocks })
    }

    fn trend(&self) -> Trend {
        let Self { length, blocks, .. } = self;
        let mut slopes = slopes(blocks);
        let slope = median(&mut slopes);
        let (s, variance) = kendall(blocks);
        let inflation = inflation(blocks, slope);
        let deviation = (variance * inflation).sqrt();
        let (early, late) = blocks.split_at(blocks.len() / 2);
        let halves = [early, late].map(|half| median(&mut self::slopes(half)) * length);
        Trend {
            growth: slope * length,
            interval: interval(&slopes, Z * deviation).map(|ends| ends.map(|end| end * length)),
            samples: self.samples,
            blocks: blocks.len(),
            tau: s / slopes.len() as f64,
            p_value: p_value(s, deviation),
            inflation,
            halves,
            all_along: rises_all_along(&quarters(blocks), halves),
            last_step: last_step(blocks),
        }
    }

    /// The level at which a line of this slope through the blocks begins; never below a quarter of the lowest of them,
    /// so that a steep one cannot begin at nothing.
    fn begins_at(&self, slope: f64) -> f64 {
        let lowest = self.blocks.iter().map(|(_, v)| *v).fold(f64::INFINITY, f64::min);
        let back = |(t, v): &(f64, f64)| v - slope * (t - self.first);
        median(&mut self.blocks.iter().map(back).collect::<Vec<_>>()).max(lowest / 4.0)
    }
}

impl Trend {
    /// The word for it beside a floor, and the reason in plain words, without figures.
    #[must_use]
    pub fn word(&self, floor: f64) -> (TrendWord, &'static str) {
        let Some([low, high]) = self.interval else {
            return (
                TrendWord::Undecided,
                "neighbouring samples are so alike that no growth can be excluded",
            );
        };
        if high < floor {
            if self.last_step > floor {
                return (TrendWord::Undecided, "it ends on a level that is higher than ever before");
            }
            return (TrendWord::Steady, "the whole interval is below the floor");
        }
        if low <= floor {
            return (TrendWord::Undecided, "the floor lies within the interval");
        }
        if self.p_value >= SIGNIFICANT {
            return (TrendWord::Undecided, "the rise is not significant");
        }
        if !self.all_along {
            return (TrendWord::Undecided, "it rose in a part of the run only");
        }
        (TrendWord::Grows, "the whole interval is above the floor, and it rose all along")
    }
}

/// Medians of time and value over blocks of equal numbers of samples.
fn blocks(samples: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let count = (samples.len() / BLOCK_SAMPLES).min(BLOCKS_MAX);
    let bound = |block: usize| samples.len() * block / count;
    let middle = |block: usize, of: fn(&(f64, f64)) -> f64| {
        median(&mut samples[bound(block)..bound(block + 1)].iter().map(of).collect::<Vec<_>>())
    };
    (0..count).map(|block| (middle(block, |s| s.0), middle(block, |s| s.1))).collect()
}

/// The median; sorts.
fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn slopes(blocks: &[(f64, f64)]) -> Vec<f64> {
    let from = |i: usize| {
        let (t, v) = blocks[i];
        blocks[i + 1..]
            .iter()
            .filter(move |(later, _)| *later > t)
            .map(move |(later, value)| (value - v) / (later - t))
    };
    (0..blocks.len()).flat_map(from).collect()
}

/// Kendall's S and its variance without a trend, ties considered (Kendall, Rank Correlation Methods, 1975).
fn kendall(blocks: &[(f64, f64)]) -> (f64, f64) {
    let mut s = 0.0;
    for (i, (_, value)) in blocks.iter().enumerate() {
        for (_, later) in &blocks[i + 1..] {
            s += (later - value).partial_cmp(&0.0).map_or(0.0, |order| f64::from(order as i8));
        }
    }
    let term = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut values: Vec<f64> = blocks.iter().map(|b| b.1).collect();
    values.sort_unstable_by(f64::total_cmp);
    let ties: f64 = values.chunk_by(|a, b| a == b).map(|group| term(group.len() as f64)).sum();
    (s, (term(blocks.len() as f64) - ties) / 18.0)
}

/// By what autocorrelation of the detrended ranks multiplies the variance of S.
fn inflation(blocks: &[(f64, f64)], slope: f64) -> f64 {
    let n = blocks.len() as f64;
    let scale = blocks.iter().map(|(_, v)| v.abs()).fold(0.0, f64::max);
    // What is left of a straight line is rounding, and has no order.
    let rest = |(t, v): &(f64, f64)| ((v - slope * t) * 1e9 / scale).round();
    let ranks = ranks(&blocks.iter().map(rest).collect::<Vec<_>>());
    let mean = ranks.iter().sum::<f64>() / n;
    let spread: f64 = ranks.iter().map(|r| (r - mean).powi(2)).sum();
    if spread == 0.0 {
        return 1.0;
    }
    let lag = |k: usize| {
        let pairs = ranks.iter().zip(&ranks[k..]);
        pairs.map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>() / spread
    };
    let sum = |rho: &dyn Fn(usize) -> f64| -> f64 {
        let weight = |k: f64| (n - k) * (n - k - 1.0) * (n - k - 2.0);
        1.0 + 2.0 / (n * (n - 1.0) * (n - 2.0))
            * (1..blocks.len()).map(|k| weight(k as f64) * rho(k)).sum::<f64>()
    };
    let significant = |k: usize| Some(lag(k)).filter(|rho| rho.abs() > Z / n.sqrt()).unwrap_or(0.0);
    // The bias of the first coefficient is -(1 + 4 rho) / n where a mean was taken away, and about one more where a
    // slope was, too.
    let first = ((n * lag(1) + 2.0) / (n - 4.0)).clamp(0.0, 0.99);
    let process = |k: usize| first.powi(k as i32);
    let noticed = lag(1) > Z / n.sqrt() / 2.0;
    sum(&significant).max(if noticed { sum(&process) } else { 1.0 }).max(1.0)
}

/// Ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let rank = |value: &f64| {
        let below = values.iter().filter(|v| *v < value).count();
        let equal = values.iter().filter(|v| *v == value).count();
        below as f64 + (equal as f64 + 1.0) / 2.0
    };
    values.iter().map(rank).collect()
}

/// Sen's interval from sorted slopes; `reach`: quantile times standard deviation of S. Its ends have as many slopes
/// outside of them as each other, so that what falls is judged as what rises.
fn interval(sorted: &[f64], reach: f64) -> Option<[f64; 2]> {
    let pairs = sorted.len() as f64;
    // From 1 these are the ranks M1 and M2 + 1 of Sen, so that from 0 the lower one is M1 - 1.
    let low = ((pairs - reach) / 2.0).floor() - 1.0;
    let high = pairs - 1.0 - low;
    if low < 0.0 {
        // With few pairs and no spread the ends are the ends.
        return (reach == 0.0).then(|| [sorted[0], sorted[sorted.len() - 1]]);
    }
    Some([sorted[low as usize], sorted[high as usize]])
}

/// Two-sided, by the normal approximation with its continuity correction.
fn p_value(s: f64, deviation: f64) -> f64 {
    if deviation == 0.0 {
        return 1.0;
    }
    let z = (s.abs() - 1.0).max(0.0) / deviation;
    2.0 * (1.0 - normal(z))
}

/// The normal distribution function (Abramowitz and Stegun 26.2.17, error below 1e-7), for arguments from 0 on.
fn normal(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let tail = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    1.0 - (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * tail
}

/// Whether every quarter lies above the one before by a fair share of the mean step, and neither half grows far more
/// slowly than the other.
fn rises_all_along(quarters: &[f64; 4], [early, late]: [f64; 2]) -> bool {
    let mean = (quarters[3] - quarters[0]) / 3.0;
    mean > 0.0
        && quarters.windows(2).all(|pair| pair[1] - pair[0] >= FAIR_SHARE * mean)
        && late >= FLATTENS * early
        && early >= FAIR_SHARE * late
}

fn quarters(blocks: &[(f64, f64)]) -> [f64; 4] {
    let bound = |quarter: usize| blocks.len() * quarter / 4;
    [0, 1, 2, 3].map(|q| median(&mut blocks[bound(q)..bound(q + 1)].iter().map(|b| b.1).collect::<Vec<_>>()))
}

/// The step to a level never reached before on which the series ends, if there is one in its second half.
fn last_step(blocks: &[(f64, f64)]) -> f64 {
    let values: Vec<f64> = blocks.iter().map(|b| b.1).collect();
    let step = |at: usize| {
        let (before, after) = values.split_at(at);
        let highest = before.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let apart = after.iter().all(|value| *value > highest);
        if apart { median(&mut after.to_vec()) - median(&mut before.to_vec()) } else { 0.0 }
    };
    (values.len() / 2..=values.len() - 3).map(step).fold(0.0, f64::max)
}

#[cfg(test)]
#[path = "trend_tests.rs"]
mod tests;
