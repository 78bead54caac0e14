//! How long a client waits before it connects again: pure arithmetic, no clock, no dice.

use std::time::Duration;

use crate::scenarios::plan::Reconnect;

/// Before an attempt that follows another one in vain, where the policy itself knows no wait: a client that is refused
/// in 20 µs would otherwise do nothing but be refused.
const IN_VAIN: Duration = Duration::from_millis(100);

/// The wait before attempt `n`, counted from 0 since everything was last well; `share` in 0..1 is the random part that
/// jitter leaves of it. `None`: no further attempt.
pub(super) fn wait_before(policy: Reconnect, n: u32, share: impl FnOnce() -> f64) -> Option<Duration> {
    match policy {
        Reconnect::None => None,
        Reconnect::Immediate if n == 0 => Some(Duration::ZERO),
        Reconnect::Immediate => Some(IN_VAIN),
        Reconnect::Fixed(wait) => Some(wait),
        Reconnect::Exponential { first, cap, jitter } => {
            // What overflows is beyond every cap.
            let doubled = 2_u32.checked_pow(n).and_then(|factor| first.checked_mul(factor));
            let most = doubled.unwrap_or(cap).min(cap);
            Some(if jitter { most.mul_f64(share()) } else { most })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn waits(policy: Reconnect, share: f64) -> Vec<Option<Duration>> {
        [0, 1, 2, 5, 40].map(|n| wait_before(policy, n, || share)).into()
    }

    #[test]
    fn every_policy_by_its_table() {
        let some = |ms: [u64; 5]| ms.map(|ms| Some(MS(ms))).to_vec();
        assert_eq!(waits(Reconnect::None, 0.5), [None; 5]);
        assert_eq!(waits(Reconnect::Immediate, 0.5), some([0, 100, 100, 100, 100]));
        assert_eq!(waits(Reconnect::Fixed(MS(250)), 0.5), some([250; 5]));
        let steady = Reconnect::Exponential { first: MS(100), cap: MS(1_000), jitter: false };
        assert_eq!(waits(steady, 0.5), some([100, 200, 400, 1_000, 1_000]));
        let jittered = Reconnect::Exponential { first: MS(100), cap: MS(1_000), jitter: true };
        assert_eq!(waits(jittered, 0.25), some([25, 50, 100, 250, 250]));
        assert_eq!(waits(jittered, 0.0), some([0; 5]));
    }

    #[test]
    fn the_cap_holds_from_the_first_wait_on() {
        let policy = Reconnect::Exponential { first: MS(500), cap: MS(200), jitter: false };
        assert_eq!(waits(policy, 1.0), [Some(MS(200)); 5]);
    }
}
