//! The timeline of a run: points of a chosen width, and never more than a fixed number of them, however long it takes.
//!
//! Pure. Where there would be too many, neighbours are put together in pairs and all that follow are twice as wide. So
//! the memory for a day is that for an hour. Counts add up, and memory keeps the higher value, as within a point. A
//! percentile of both together lies between the two; the mean by deliveries is taken, because the higher would
//! raise old points above new ones, which are true percentiles, and hide that a server slows down.

use std::time::Duration;

use crate::metrics::{Precision, Recorder};
use crate::report::model::TimelinePoint;

/// Most points.
pub(crate) const MOST: usize = 1_200;

/// What was seen since the last look.
#[derive(Debug)]
pub(crate) struct Look {
    /// Everything but percentiles; counts are those since the last look.
    pub(crate) point: TimelinePoint,
    /// Deliver latencies since the last look.
    pub(crate) latency: Recorder,
}

/// Collects looks into points.
#[derive(Debug)]
pub struct Timeline {
    width_s: f64,
    points: Vec<TimelinePoint>,
    /// The point that is not complete yet, from when on it counts, and its latencies.
    open: Option<TimelinePoint>,
    since_s: f64,
    latency: Recorder,
}

impl Timeline {
    /// An empty one with points of this width.
    pub(crate) fn new(width: Duration) -> Self {
        Self {
            width_s: width.as_secs_f64(),
            points: Vec::new(),
            open: None,
            since_s: 0.0,
            latency: Recorder::new(Precision::Coarse),
        }
    }

    /// Takes one look.
    pub(crate) fn add(&mut self, look: Look) {
        let Look { point, latency } = look;
        let t_s = point.t_s;
        self.latency.merge(&latency);
        self.open = Some(match self.open.take() {
            None => point,
            Some(open) => together(&open, &point),
        });
        // Looks come a moment early or late; a point must not need one more of them for that.
        if t_s - self.since_s >= 0.95 * self.width_s {
            self.close();
        }
    }

    /// Completes the point in progress, and shows all.
    pub(crate) fn points(&mut self) -> &mut Vec<TimelinePoint> {
        self.close();
        &mut self.points
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        let latency = self.latency.take();
        self.since_s = open.t_s;
        self.points.push(TimelinePoint {
            deliver_p50_us: latency.quantile_us(0.5),
            deliver_p99_us: latency.quantile_us(0.99),
            ..open
        });
        if self.points.len() >= MOST {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| pair.iter().skip(1).fold(pair[0].clone(), |a, b| together(&a, b)))
                .collect();
            self.width_s *= 2.0;
        }
    }
}

/// Two stretches as one; `b` follows `a`.
fn together(a: &TimelinePoint, b: &TimelinePoint) -> TimelinePoint {
    let mean = |of: fn(&TimelinePoint) -> Option<u64>| match (of(a), of(b)) {
        (Some(x), Some(y)) => {
            let (m, n) = (a.delivered.max(1) as f64, b.delivered.max(1) as f64);
            Some(((x as f64 * m + y as f64 * n) / (m + n)).round() as u64)
        }
        (x, y) => x.or(y),
    };
    TimelinePoint {
        t_s: b.t_s,
        open: b.open,
        active: b.active,
        published: a.published + b.published,
        delivered: a.delivered + b.delivered,
        lost: a.lost + b.lost,
        deliver_p50_us: mean(|point| point.deliver_p50_us),
        deliver_p99_us: mean(|point| point.deliver_p99_us),
        client_rss_bytes: a.client_rss_bytes.max(b.client_rss_bytes),
        server_rss_bytes: a.server_rss_bytes.max(b.server_rss_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(t_s: f64, delivered: u64, took_us: u64, rss: u64) -> Look {
        let mut latency = Recorder::new(Precision::Coarse);
        (0..delivered).for_each(|_| latency.record_us(took_us));
        let point = TimelinePoint {
            t_s,
            open: rss,
            published: 1,
            delivered,
            client_rss_bytes: rss,
            server_rss_bytes: Some(rss),
            ..TimelinePoint::default()
        };
        Look { point, latency }
    }

    #[test]
    fn looks_of_one_width_are_one_point_with_true_percentiles() {
        let mut timeline = Timeline::new(Duration::from_secs(2));
        timeline.add(look(0.99, 99, 100, 7));
        timeline.add(look(1.99, 1, 5_000, 5));
        timeline.add(look(3.0, 10, 40, 6));
        let points = timeline.points();
        assert_eq!(points.len(), 2);
        assert_eq!(
            points[0],
            TimelinePoint {
                t_s: 1.99,
                open: 5,
                published: 2,
                delivered: 100,
                deliver_p50_us: Some(100),
                deliver_p99_us: Some(100),
                client_rss_bytes: 7,
                server_rss_bytes: Some(7),
                ..TimelinePoint::default()
            }
        );
        assert_eq!((points[1].t_s, points[1].deliver_p99_us), (3.0, Some(40)));
    }

    #[test]
    fn a_day_takes_no_more_points_than_an_hour_and_loses_no_count() {
        let mut timeline = Timeline::new(Duration::from_secs(1));
        let mut most = 0;
        for second in 1..=86_400_u32 {
            timeline.add(look(f64::from(second), 3, u64::from(second), u64::from(second)));
            most = most.max(timeline.points.len());
        }
        let points = timeline.points();
        assert!(most < MOST && points.len() >= MOST / 2, "{most}, {}", points.len());
        assert_eq!(points.iter().map(|p| p.delivered).sum::<u64>(), 3 * 86_400);
        assert_eq!(points.iter().map(|p| p.published).sum::<u64>(), 86_400);
        assert_eq!(points.last().map(|p| (p.t_s, p.client_rss_bytes)), Some((86_400.0, 86_400)));
        assert!(points.windows(2).all(|pair| pair[0].t_s < pair[1].t_s));
        // A latency that rises evenly still does, old points beside new ones.
        for point in points {
            let p50 = point.deliver_p50_us.unwrap() as f64;
            assert!((point.t_s - p50).abs() < 130.0 + 0.01 * point.t_s, "{p50} at {}", point.t_s);
        }
    }

    #[test]
    fn what_is_put_together_adds_up() {
        let point = |delivered, p99| TimelinePoint {
            delivered,
            lost: 1,
            deliver_p99_us: p99,
            ..TimelinePoint::default()
        };
        let both = |a, b| {
            let one = together(&a, &b);
            (one.delivered, one.lost, one.deliver_p99_us)
        };
        assert_eq!(both(point(30, Some(100)), point(10, Some(200))), (40, 2, Some(125)));
        assert_eq!(both(point(0, None), point(10, Some(200))), (10, 2, Some(200)));
        assert_eq!(both(point(0, None), point(0, None)), (0, 2, None));
    }
}
