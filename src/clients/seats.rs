//! Which connection of the plan a shard opens, in which wave, with which subscriptions: pure arithmetic.

use std::ops::Range;

use crate::inject::{Schedule, cohort};
use crate::scenarios::plan::SubscriberGroup;

/// One connection's place in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    /// Index among its shard's connections.
    pub local: usize,
    pub group: u16,
    /// Its group's victims, or its bystanders.
    pub cohort: u16,
    pub wave: u16,
    /// Index among all connections of the plan.
    pub connection: u32,
    /// First of its subscriptions among its shard's.
    pub first_sub: u32,
    /// Number of its subscriptions.
    pub subs: u32,
    /// First of its subscriptions among all of the plan.
    pub first_global: u32,
}

impl Seat {
    /// Its subscriptions as indices among its shard's.
    pub(super) fn range(&self) -> Range<u32> {
        self.first_sub..self.first_sub + self.subs
    }

    /// The channels of its subscriptions: subscription i of the plan is on channel i mod `channels`.
    pub(super) fn channels(&self, channels: u32) -> impl Iterator<Item = u32> + use<> {
        let first = self.first_global;
        (0..self.subs).map(move |k| (first + k) % channels)
    }
}

/// The connections of shard `index`: every `shards`-th of the plan.
pub(super) fn seats(groups: &[SubscriberGroup], schedule: &Schedule, index: u32, shards: u32) -> Vec<Seat> {
    let mut seats = Vec::new();
    let (mut first_sub, mut group_base) = (0, 0);
    for (g, group) in groups.iter().enumerate() {
        let subs = group.per_connection();
        for wave in 0..group.waves {
            for c in group.wave(wave).filter(|c| (group_base + c) % shards == index) {
                seats.push(Seat {
                    local: seats.len(),
                    group: g as u16,
                    cohort: cohort(g, schedule.is_victim(group_base + c)) as u16,
                    wave: wave as u16,
                    connection: group_base + c,
                    first_sub,
                    subs,
                    first_global: group.first_subscription + c * subs,
                });
                first_sub += subs;
            }
        }
        group_base += group.connections;
    }
    seats
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scenarios::plan::{Connect, Reconnect};

    fn group(connections: u32, subscriptions: u32, waves: u32, first_subscription: u32) -> SubscriberGroup {
        SubscriberGroup {
            name: "clients".to_owned(),
            connections,
            subscriptions,
            connect: Connect::Together,
            waves,
            wave_pause: Duration::ZERO,
            first_subscription,
            reconnect: Reconnect::None,
            retry_budget: None,
            breaker: None,
            keepalive: None,
        }
    }

    #[test]
    fn all_shards_together_hold_every_subscription_once() {
        let groups = [group(7, 21, 3, 0), group(4, 4, 1, 21)];
        for shards in 1..=3 {
            let mut all = Vec::new();
            for index in 0..shards {
                let mine = seats(&groups, &Schedule::default(), index, shards);
                let next = mine.iter().fold(0, |next, seat| {
                    assert_eq!(seat.first_sub, next, "a shard's subscriptions lie side by side");
                    seat.range().end
                });
                assert_eq!(next, mine.iter().map(|s| s.subs).sum::<u32>());
                all.extend(mine.iter().flat_map(|s| s.first_global..s.first_global + s.subs));
            }
            all.sort_unstable();
            assert_eq!(all, (0..25).collect::<Vec<_>>(), "{shards} shards");
        }
    }

    #[test]
    fn channels_are_taken_in_turn() {
        let seat = seats(&[group(4, 8, 1, 0)], &Schedule::default(), 0, 1)[2];
        assert_eq!(seat.channels(5).collect::<Vec<_>>(), [4, 0]);
        assert_eq!((seat.range(), seat.wave, seat.connection), (4..6, 0, 2));
    }

    #[test]
    fn waves_part_the_connections() {
        let mine = seats(&[group(7, 7, 3, 0)], &Schedule::default(), 0, 1);
        let waves: Vec<u16> = mine.iter().map(|s| s.wave).collect();
        assert_eq!(waves, [0, 0, 1, 1, 2, 2, 2]);
    }
}
