//! Whether a schedule slipped, and because of whom.

use std::time::Duration;

use crate::clients::slowdown::Slips;
use crate::metrics::Turn;
use crate::report::model::Slowed;

/// What a processor more would have had to bring for the schedule to be called held, as a share of it.
const HELD: f64 = 0.99;

/// How the processors were shared while events were published.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Shares {
    /// The server's busiest thread, and how long that was; `None`: not known.
    pub server: Option<(Turn, Duration)>,
}

impl Shares {
    /// The server's busiest thread, beside the time that our own busiest one is known over.
    pub(super) fn of(server: Option<Turn>, busiest: Option<(Duration, Duration)>) -> Self {
        Self { server: server.zip(busiest.map(|(_, wall)| wall)) }
    }

    fn share(self, time: fn(Turn) -> Duration) -> Option<f64> {
        let (turn, wall) = self.server.filter(|(_, wall)| !wall.is_zero())?;
        Some(time(turn).as_secs_f64() / wall.as_secs_f64())
    }
}

/// What slipped, out of so many seconds of publishing.
pub(super) fn slowed<'a>(slips: impl Iterator<Item = &'a Slips>, seconds: f64, shares: Shares) -> Slowed {
    let mut all = Slowed::default();
    let (mut total_ns, mut by_server_ns) = (0, 0);
    for slips in slips {
        all.slips += slips.count;
        total_ns += slips.total_ns;
        by_server_ns += slips.by_server_ns;
    }
    all.slipped_s = total_ns as f64 / 1e9;
    all.by_server_s = by_server_ns as f64 / 1e9;
    all.by_generator_s = all.slipped_s - all.by_server_s;
    all.server_cpu_share = shares.share(|turn| turn.ran);
    all.server_wait_share = shares.share(|turn| turn.waited);
    all.limited_by = limited_by(&all, seconds).to_owned();
    all
}

/// A server that waits for a processor would have been faster on a machine of its own, at best by all that it waited.
/// Only if that would not have been enough either, it is the server that did not hold the rate.
fn limited_by(slowed: &Slowed, seconds: f64) -> &'static str {
    if slowed.slips == 0 {
        return "none";
    }
    if slowed.by_generator_s > slowed.by_server_s {
        return "generator";
    }
    let planned = seconds - slowed.slipped_s;
    let at_best = seconds * (1.0 - slowed.server_wait_share.unwrap_or(0.0));
    if at_best * HELD > planned { "server" } else { "machine" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_limits_is_who_slipped_more_unless_the_processors_did() {
        // Slipped by the server and by us, what the server's busiest thread waited; of 100 s.
        let table = [
            ((0.0, 0.0, Some(0.5)), "none"),
            ((20.0, 1.0, None), "server"),
            ((20.0, 1.0, Some(0.0)), "server"),
            ((20.0, 1.0, Some(0.1)), "server"),
            ((20.0, 1.0, Some(0.3)), "machine"),
            ((80.0, 0.0, Some(0.3)), "server"),
            ((1.0, 20.0, Some(0.0)), "generator"),
            ((1.0, 20.0, Some(0.3)), "generator"),
        ];
        for ((by_server_s, by_generator_s, server_wait_share), expected) in table {
            let slowed = Slowed {
                slips: u64::from(by_server_s + by_generator_s > 0.0),
                slipped_s: by_server_s + by_generator_s,
                by_server_s,
                by_generator_s,
                server_wait_share,
                ..Slowed::default()
            };
            assert_eq!(limited_by(&slowed, 100.0), expected, "{slowed:?}");
        }
    }
}
