//! The rules: what became of one obligation, decided from its facts alone.

use crate::scenarios::target::Contract;

/// What became of a delivery that was owed. Exactly one class applies; see [`classify`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// A memory cap was hit; nothing is known.
    Unverified,
    /// Received intact in time.
    Delivered,
    /// Received intact after the deadline.
    Late,
    /// Received intact only in a later incarnation.
    Recovered,
    /// Received only damaged.
    Damaged,
    /// The publish was never acknowledged.
    UnknownPublish,
    /// Published while the subscription had no live incarnation.
    MissedDisconnected,
    /// A fault of ours held or cut the stream.
    Suppressed,
    /// Lost: something later of the same stream arrived on an ordered target.
    LostProven,
    /// Lost: never arrived although the subscription lived on.
    LostPresumed,
    /// Cannot be decided.
    Indeterminate,
}

impl Class {
    /// All classes, in the order of their indices.
    pub const ALL: [Self; 11] = [
        Self::Unverified,
        Self::Delivered,
        Self::Late,
        Self::Recovered,
        Self::Damaged,
        Self::UnknownPublish,
        Self::MissedDisconnected,
        Self::Suppressed,
        Self::LostProven,
        Self::LostPresumed,
        Self::Indeterminate,
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Delivered => "delivered",
            Self::Late => "late",
            Self::Recovered => "recovered",
            Self::Damaged => "damaged",
            Self::UnknownPublish => "unknown_publish",
            Self::MissedDisconnected => "missed_disconnected",
            Self::Suppressed => "suppressed",
            Self::LostProven => "lost_proven",
            Self::LostPresumed => "lost_presumed",
            Self::Indeterminate => "indeterminate",
        }
    }

    /// Whether it is a loss that a server with this contract is blamed for: one that promises that nothing is missed
    /// promises to make up for what was published while a subscriber was away.
    #[must_use]
    pub fn is_lost(self, contract: Contract) -> bool {
        match self {
            Self::LostProven | Self::LostPresumed => true,
            Self::MissedDisconnected => contract != Contract::AtMostOnce,
            _ => false,
        }
    }
}

/// What arrived for an obligation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Nothing.
    Nothing,
    /// Only damaged copies.
    Damaged,
    /// Intact, but only in a later incarnation.
    Recovered,
    /// Intact, after the deadline.
    Late,
    /// Intact, in time.
    InTime,
}

/// How the publish lies to the incarnations of the subscription.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Life {
    /// No incarnation was live at any instant from sent to acknowledged.
    Absent,
    /// That interval touches the start of an incarnation that renewed the subscription.
    Starting,
    /// That interval touches the end of an incarnation.
    Ending,
    /// One incarnation was live throughout.
    Throughout,
}

/// All that decides the class of one obligation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// A memory cap was hit before this seq could be accounted for.
    pub unaccounted: bool,
    /// What arrived.
    pub received: Received,
    /// The publish was acknowledged, or needs no acknowledgement.
    pub acknowledged: bool,
    /// Whether somebody was there to receive it.
    pub life: Life,
    /// A fault of ours still held or cut the stream.
    pub suppressed: bool,
    /// A later seq of the same stream and epoch, or its barrier, arrived in the same incarnation.
    pub later_arrived: bool,
    /// The target promises order.
    pub ordered: bool,
    /// The incarnation lived through the quiet period.
    pub lived_on: bool,
    /// The barrier of the event's stream and epoch was given up on that incarnation, and its connection answered
    /// nothing after that: it may have been stuck rather than the event lost.
    pub barrier_given_up: bool,
}

/// The class of an obligation; the first line that applies wins.
#[must_use]
pub fn classify(facts: &Facts) -> Class {
    match facts {
        Facts { unaccounted: true, .. } => Class::Unverified,
        Facts { received: Received::InTime, .. } => Class::Delivered,
        Facts { received: Received::Late, .. } => Class::Late,
        Facts { received: Received::Recovered, .. } => Class::Recovered,
        Facts { received: Received::Damaged, .. } => Class::Damaged,
        Facts { acknowledged: false, .. } => Class::UnknownPublish,
        Facts { life: Life::Absent, .. } => Class::MissedDisconnected,
        Facts { life: Life::Starting | Life::Ending, .. } => Class::Indeterminate,
        Facts { suppressed: true, .. } => Class::Suppressed,
        Facts { later_arrived: true, ordered: true, .. } => Class::LostProven,
        Facts { lived_on: true, barrier_given_up: false, .. } => Class::LostPresumed,
        _ => Class::Indeterminate,
    }
}

/// The line that makes a delivery late.
pub(super) const LATE: &str = "received intact after the deadline";

/// The line that makes one recovered.
pub(super) const RECOVERED: &str = "received intact only in a later incarnation";

/// The line that decided, for examples in reports.
#[must_use]
pub fn rule(facts: &Facts) -> &'static str {
    match classify(facts) {
        Class::Unverified => "a memory cap was hit for this stream",
        Class::Delivered => "received intact before the deadline",
        Class::Late => LATE,
        Class::Recovered => RECOVERED,
        Class::Damaged => "received only damaged",
        Class::UnknownPublish => "the publish was never acknowledged",
        Class::MissedDisconnected => {
            "no incarnation was live from when it was sent until it was acknowledged"
        }
        Class::Suppressed => "a fault of ours held or cut the stream",
        Class::LostProven => {
            "a later event of the same stream and epoch, or its barrier, arrived on an ordered target"
        }
        Class::LostPresumed => "never arrived although the subscription lived through the quiet period",
        Class::Indeterminate => match facts {
            Facts { life: Life::Starting, .. } => {
                "its publish was in flight when the subscription was renewed"
            }
            Facts { life: Life::Ending, .. } => "its publish was in flight when the subscription ended",
            Facts { lived_on: true, .. } => {
                "its barrier was given up, and its connection answered nothing after that"
            }
            _ => "the subscription ended before the quiet period",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// The table of the design, line by line, written independently of the match.
    fn lines(f: &Facts) -> Vec<Class> {
        let table = [
            (f.unaccounted, Class::Unverified),
            (f.received == Received::InTime, Class::Delivered),
            (f.received == Received::Late, Class::Late),
            (f.received == Received::Recovered, Class::Recovered),
            (f.received == Received::Damaged, Class::Damaged),
            (!f.acknowledged, Class::UnknownPublish),
            (f.life == Life::Absent, Class::MissedDisconnected),
            (f.life == Life::Starting, Class::Indeterminate),
            (f.life == Life::Ending, Class::Indeterminate),
            (f.suppressed, Class::Suppressed),
            (f.later_arrived && f.ordered, Class::LostProven),
            (f.lived_on && !f.barrier_given_up, Class::LostPresumed),
            (true, Class::Indeterminate),
        ];
        table.iter().filter(|(applies, _)| *applies).map(|(_, class)| *class).collect()
    }

    #[test]
    fn every_combination_has_exactly_the_first_line_that_applies() {
        let received =
            [Received::Nothing, Received::Damaged, Received::Recovered, Received::Late, Received::InTime];
        let mut seen = BTreeMap::<_, BTreeSet<_>>::new();
        for bits in 0..128_u32 {
            let bit = |n: u32| bits >> n & 1 == 1;
            for received in received {
                for life in [Life::Absent, Life::Starting, Life::Ending, Life::Throughout] {
                    let facts = Facts {
                        unaccounted: bit(0),
                        received,
                        acknowledged: bit(1),
                        life,
                        suppressed: bit(2),
                        later_arrived: bit(3),
                        ordered: bit(4),
                        lived_on: bit(5),
                        barrier_given_up: bit(6),
                    };
                    assert_eq!(Some(&classify(&facts)), lines(&facts).first(), "{facts:?}");
                    seen.entry(classify(&facts).name()).or_default().insert(rule(&facts));
                }
            }
        }
        let rules: Vec<_> = Class::ALL.iter().map(|class| seen[class.name()].len()).collect();
        assert_eq!(rules, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 4]);
        assert_eq!(
            seen.values().flatten().collect::<BTreeSet<_>>().len(),
            14,
            "no two lines in the same words"
        );
        assert_eq!(
            seen["indeterminate"],
            BTreeSet::from([
                "its barrier was given up, and its connection answered nothing after that",
                "its publish was in flight when the subscription ended",
                "its publish was in flight when the subscription was renewed",
                "the subscription ended before the quiet period",
            ])
        );
    }

    #[test]
    fn the_contract_says_what_is_a_loss() {
        let lost = |contract| Class::ALL.into_iter().filter(|c| c.is_lost(contract)).collect::<Vec<_>>();
        let (proven, presumed) = (Class::LostProven, Class::LostPresumed);
        assert_eq!(lost(Contract::AtMostOnce), [proven, presumed]);
        for contract in [Contract::AtLeastOnce, Contract::ExactlyOnce] {
            assert_eq!(lost(contract), [Class::MissedDisconnected, proven, presumed]);
        }
    }

    #[test]
    fn indices_follow_the_list() {
        assert!(Class::ALL.iter().enumerate().all(|(i, class)| *class as usize == i));
    }
}
