//! Whether the generator itself kept up.

use std::time::Duration;

use crate::clients::failure::Failure;
use crate::clients::fleet::FleetResult;
use crate::report::model::{Health, Report};

/// A generator whose events are sent this late, or whose loop wakes up this late, does not keep its own schedule.
const LATE_US: u64 = 100_000;
/// A thread that is busy for more than this share of the time has no room to be on time.
const BUSY: f64 = 0.95;

/// Whether the generator kept its own schedule. Where it did not, times say more about it than about the server.
pub(super) fn generator(report: &mut Report, fleet: &FleetResult, busiest: Option<(Duration, Duration)>) {
    let latency = &fleet.latency;
    let generator = &mut report.generator;
    generator.send_lag_p99_us = fleet.publisher.latency.send_lag.quantile_us(0.99);
    generator.loop_lag_p99_us =
        latency.loop_lag.quantile_us(0.99).max(fleet.publisher.latency.loop_lag.quantile_us(0.99));
    generator.setup_lag_p99_us = latency.setup_lag.quantile_us(0.99);
    generator.drain_p99_us = latency.drain.quantile_us(0.99);
    generator.cpu_share =
        busiest.filter(|(_, wall)| !wall.is_zero()).map(|(cpu, wall)| cpu.as_secs_f64() / wall.as_secs_f64());
    let ms = |us: u64| us as f64 / 1e3;
    let mut reasons = Vec::new();
    if let Some(us) = generator.send_lag_p99_us.filter(|us| *us > LATE_US) {
        reasons.push(format!("one event in a hundred was sent {:.0} ms late or later", ms(us)));
    }
    if let Some(us) = generator.loop_lag_p99_us.filter(|us| *us > LATE_US) {
        reasons.push(format!("its event loop woke up {:.0} ms late or later one time in a hundred", ms(us)));
    }
    if let Some(share) = generator.cpu_share.filter(|s| *s > BUSY) {
        reasons.push(format!("its busiest thread was busy {:.0} % of the time", share * 100.0));
    }
    let local: u64 = fleet
        .groups
        .iter()
        .map(|g| g.failures.count(Failure::is_local) + g.reconnect_failures.count(Failure::is_local))
        .sum();
    if local > 0 {
        reasons.push(format!("{local} connections failed for want of files or ports on this machine"));
    }
    if !reasons.is_empty() {
        generator.health = Health::Limited;
    }
    generator.reasons = reasons;
}
