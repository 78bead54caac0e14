//! Random numbers by key: each is a function of its key alone, so that neither timing nor order can change it.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rand_distr::{Distribution, Normal, Uniform};
use xxhash_rust::xxh3::xxh3_64;

use crate::scenarios::plan::Delay;

/// Draws that share the first half of their key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    seed: u64,
    name: u64,
}

impl Stream {
    /// What is drawn, by which fault, in which group.
    pub(super) fn of(seed: u64, what: &str, fault: &str, group: &str) -> Self {
        // No name has a slash in it.
        Self { seed, name: xxh3_64(format!("{what}/{fault}/{group}").as_bytes()) }
    }

    /// Those of one connection, by its index within the group.
    pub(super) fn of_connection(self, connection: u32) -> Draws {
        Draws { stream: self, connection, first: 0 }
    }
}

/// All draws of one thing for one connection, by their number.
#[derive(Debug, Clone, Copy)]
pub struct Draws {
    stream: Stream,
    connection: u32,
    /// What the numbers are counted from.
    first: u64,
}

impl Draws {
    /// The draws of another attempt to connect, from 0: those of one connection are not those of the next.
    #[must_use]
    pub fn of_attempt(self, attempt: u32) -> Self {
        Self { first: u64::from(attempt) << 32, ..self }
    }

    /// 64 random bits.
    pub(super) fn draw(self, number: u64) -> u64 {
        self.rng(number).next_u64()
    }

    /// The same as a share, in 0..1.
    pub(super) fn share(self, number: u64) -> f64 {
        // 53 bits: as many as a float holds exactly.
        (self.draw(number) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The delay with this number.
    #[must_use]
    pub fn delay(self, delay: Delay, number: u64) -> Duration {
        match delay {
            Delay::Fixed(always) => always,
            Delay::Uniform { low, high } => {
                let (low, high) = (low.as_secs_f64(), high.as_secs_f64());
                let between = Uniform::new_inclusive(low, high).ok();
                Duration::from_secs_f64(between.map_or(low, |b| b.sample(&mut self.rng(number))))
            }
            Delay::Normal { mean, deviation } => {
                let normal = Normal::new(mean.as_secs_f64(), deviation.as_secs_f64())
                    .expect("a duration is neither infinite nor negative");
                let drawn: f64 = normal.sample(&mut self.rng(number));
                Duration::try_from_secs_f64(drawn.max(0.0)).unwrap_or(Duration::MAX)
            }
        }
    }

    fn rng(self, number: u64) -> ChaCha8Rng {
        let mut key = [0; 32];
        let number = self.first.wrapping_add(number);
        let words = [self.stream.seed, self.stream.name, self.connection.into(), number];
        for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        ChaCha8Rng::from_seed(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn sample(delay: Delay) -> Vec<f64> {
        let draws = |connection| Stream::of(7, "down", "slow", "clients").of_connection(connection);
        (0..20_000).map(|n| draws(n % 100).delay(delay, u64::from(n / 100)).as_secs_f64() * 1e3).collect()
    }

    fn moments(sample: &[f64]) -> (f64, f64) {
        let n = sample.len() as f64;
        let mean = sample.iter().sum::<f64>() / n;
        (mean, (sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt())
    }

    #[test]
    fn each_distribution_has_its_moments() {
        assert!(sample(Delay::Fixed(MS(40))).iter().all(|ms| *ms == 40.0));
        let uniform = sample(Delay::Uniform { low: MS(50), high: MS(500) });
        assert!(uniform.iter().all(|ms| (50.0..=500.0).contains(ms)));
        let (mean, deviation) = moments(&uniform);
        // 450 / √12 is 129.9; the standard error of the mean of 20,000 is 0.9.
        assert!((mean - 275.0).abs() < 4.0 && (deviation - 129.9).abs() < 3.0, "{mean} {deviation}");
        let normal = sample(Delay::Normal { mean: MS(100), deviation: MS(20) });
        let (mean, deviation) = moments(&normal);
        assert!((mean - 100.0).abs() < 0.6 && (deviation - 20.0).abs() < 0.5, "{mean} {deviation}");
        let within = normal.iter().filter(|ms| (80.0..120.0).contains(*ms)).count() as f64 / 20_000.0;
        assert!((within - 0.6827).abs() < 0.015, "{within} within one deviation");
    }

    #[test]
    fn nothing_is_below_zero() {
        let normal = sample(Delay::Normal { mean: MS(10), deviation: MS(20) });
        assert!(normal.iter().all(|ms| *ms >= 0.0));
        let none = normal.iter().filter(|ms| **ms == 0.0).count() as f64 / 20_000.0;
        assert!((none - 0.3085).abs() < 0.015, "{none} are cut off at zero");
    }

    #[test]
    fn a_draw_is_its_keys_alone() {
        let delay = Delay::Uniform { low: MS(0), high: MS(1_000) };
        let of = |seed, what, connection, n| {
            Stream::of(seed, what, "f", "g").of_connection(connection).delay(delay, n)
        };
        let one = of(1, "up", 3, 9);
        assert_eq!(one, of(1, "up", 3, 9));
        let again = Stream::of(1, "up", "f", "g").of_connection(3).of_attempt(1).delay(delay, 9);
        for other in [of(2, "up", 3, 9), of(1, "down", 3, 9), of(1, "up", 4, 9), of(1, "up", 3, 10), again] {
            assert_ne!(one, other);
        }
    }
}
