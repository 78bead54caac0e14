//! Which channels, and which of the candidates there: decided from a seed and a count, never from time.

use std::ops::RangeInclusive;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The channels a defect strikes, by the numbers their names end with; all of them when empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Channels(Vec<RangeInclusive<u64>>);

impl Channels {
    /// Reads `3`, `10-19` or `1-3+7`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let range = |item: &str| {
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            let range = first.parse().ok()?..=last.parse().ok()?;
            (!range.is_empty()).then_some(range)
        };
        text.split('+').map(range).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Whether the channel of this name is among them.
    pub(super) fn contain(&self, name: &str) -> bool {
        self.0.is_empty()
            || number(name).is_some_and(|number| self.0.iter().any(|range| range.contains(&number)))
    }
}

/// The number a channel's name ends with.
fn number(name: &str) -> Option<u64> {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    name[name.len() - digits..].parse().ok()
}

/// What a channel is called in the truth: its number, or its name where it has none.
pub(super) fn label(name: &str) -> String {
    number(name).map_or_else(|| name.to_owned(), |number| number.to_string())
}

/// How many of the candidates are hit: one in `every`, and `times` at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) seed: u64,
    pub(super) every: u64,
    pub(super) times: Option<u64>,
}

/// Counts candidates and picks the hits among them.
///
/// Exactly one of each `every` consecutive candidates is hit; which one is drawn from the seed. So a multiple of
/// `every` candidates has a number of hits known beforehand, and no client can adapt to a fixed distance.
#[derive(Debug, Default)]
pub(super) struct Choice {
    candidates: u64,
    hits: u64,
}

impl Choice {
    /// Whether the next candidate of the series called `series` is hit.
    pub(super) fn next(&mut self, rule: &Rule, series: &str) -> bool {
        if rule.times.is_some_and(|times| self.hits >= times) {
            return false;
        }
        let candidate = self.candidates;
        self.candidates += 1;
        let hit = candidate % rule.every == draw(rule.seed, series, candidate / rule.every) % rule.every;
        self.hits += u64::from(hit);
        hit
    }
}

/// A number that depends on nothing but these.
pub(super) fn draw(seed: u64, series: &str, n: u64) -> u64 {
    xxh3_64_with_seed(series.as_bytes(), seed ^ xxh3_64_with_seed(&n.to_le_bytes(), seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(rule: &Rule, series: &str, candidates: usize) -> Vec<usize> {
        let mut choice = Choice::default();
        (0..candidates).filter(|_| choice.next(rule, series)).collect()
    }

    #[test]
    fn channels_are_known_by_the_number_at_the_end() {
        let some = Channels::parse("3+10-19").unwrap();
        assert!(some.contain("stress-0a1b2c3d-17") && some.contain("c3") && some.contain("x-0010"));
        assert!(!some.contain("stress-0a1b2c3d-20") && !some.contain("17-x") && !some.contain(""));
        assert!(Channels::default().contain("") && Channels::default().contain("any-99"));
        for wrong in ["", "a", "3-", "5-3", "1,2", "-1", "1+"] {
            assert_eq!(Channels::parse(wrong), None, "{wrong}");
        }
        assert_eq!((label("stress-1-017"), label("news")), ("17".into(), "news".into()));
        assert_eq!(label("x99999999999999999999"), "x99999999999999999999");
    }

    #[test]
    fn each_block_has_exactly_one_hit_and_times_is_a_limit() {
        let rule = Rule { seed: 3, every: 10, times: None };
        let all = hits(&rule, "17", 1000);
        assert_eq!(all.iter().map(|n| n / 10).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
        assert!(all.iter().map(|n| n % 10).collect::<std::collections::HashSet<_>>().len() > 5);
        assert_eq!(hits(&rule, "17", 1000), all);
        assert_ne!(hits(&rule, "18", 1000), all);
        assert_ne!(hits(&Rule { seed: 4, ..rule.clone() }, "17", 1000), all);
        assert_eq!(hits(&Rule { times: Some(7), ..rule.clone() }, "17", 1000), all[..7]);
        assert_eq!(hits(&Rule { every: 1, times: Some(3), ..rule }, "17", 9), [0, 1, 2]);
    }
}
