//! From the timeline of the phases to trends of memory and latency.

use crate::report::model::{MemoryTrend, PhaseReport, RatioTrend, TimelinePoint, TrendEvidence, Trends};
use crate::scenarios::condition::{Op, Test};
use crate::scenarios::plan::Plan;
use crate::scenarios::sampling::DELIVERIES_PER_POINT;
use crate::verdict::trend::{Trend, relative, trend};

/// Growth of memory that would matter where no condition says so.
const MEMORY_FLOOR: f64 = 64.0 * 1024.0 * 1024.0;
/// Growth of the delivery p99 that would matter where no condition says so.
const LATENCY_FLOOR: f64 = 0.1;

/// Trends over the phases of one round; `None`: too few points for any.
pub(crate) fn trends(plan: &Plan, timeline: &[TimelinePoint], phases: &[PhaseReport]) -> Option<Trends> {
    let (start_s, end_s) = (phases.first()?.start_s, phases.last()?.end_s);
    // A point that began before the first phase is of both.
    let inside = |pair: &&[TimelinePoint]| pair[0].t_s >= start_s && pair[1].t_s <= end_s;
    let points: Vec<&TimelinePoint> = timeline.windows(2).filter(inside).map(|pair| &pair[1]).collect();
    let series = |of: &dyn Fn(&TimelinePoint) -> Option<f64>| -> Vec<(f64, f64)> {
        points.iter().filter_map(|point| Some((point.t_s, of(point)?))).collect()
    };
    let server = trend(&series(&|point| point.server_rss_bytes.map(|bytes| bytes as f64)));
    let client = trend(&series(&|point| Some(point.client_rss_bytes as f64)));
    let p99 = relative(&series(&|point| {
        let enough = point.delivered >= DELIVERIES_PER_POINT;
        point.deliver_p99_us.filter(|_| enough).map(|us| us.max(1) as f64)
    }));
    let trends = Trends {
        server_memory: server.map(|t| memory(&t, floor(plan, "server_memory", MEMORY_FLOOR))),
        client_memory: client.map(|t| memory(&t, floor(plan, "client_memory", MEMORY_FLOOR))),
        deliver_p99: p99.map(|t| ratio(&t, floor(plan, "deliver_p99", LATENCY_FLOOR))),
    };
    (trends != Trends::default()).then_some(trends)
}

/// The limit of the first condition on the growth of this, or the usual one.
fn floor(plan: &Plan, name: &str, usual: f64) -> f64 {
    let metric = format!("trend.{name}.growth");
    let limit = |test: &Test| match test {
        Test::Compare { left, op: Op::Less | Op::LessOrEqual, right, .. } if left.term.metric == metric => {
            Some(right.number)
        }
        _ => None,
    };
    plan.expect.iter().find_map(|condition| limit(&condition.test)).unwrap_or(usual)
}

fn memory(trend: &Trend, floor: f64) -> MemoryTrend {
    let (word, why) = trend.word(floor);
    MemoryTrend {
        growth_bytes: trend.growth,
        interval_bytes: trend.interval,
        floor_bytes: floor,
        word,
        why: why.to_owned(),
        halves_bytes: trend.halves,
        last_step_bytes: trend.last_step,
        evidence: TrendEvidence::from(trend),
    }
}

fn ratio(trend: &Trend, floor: f64) -> RatioTrend {
    let (word, why) = trend.word(floor);
    RatioTrend {
        growth: trend.growth,
        interval: trend.interval,
        floor_ratio: floor,
        word,
        why: why.to_owned(),
        halves: trend.halves,
        last_step_ratio: trend.last_step,
        evidence: TrendEvidence::from(trend),
    }
}
