//! What is planted, in which company, and what must be found of it: a table, and the words it is written in.
//!
//! A stage is one scenario. Each of its rows is one defect with a group of clients of its own, on channels of their
//! own, so that all of a stage's defects can be planted together and each figure still has one cause.

use crate::report::model::Verdict;

/// One scenario with the defects that are planted in it.
#[derive(Debug)]
pub struct Stage {
    /// Its name, and the scenario's.
    pub name: &'static str,
    /// What it is about, one line.
    pub about: &'static str,
    /// Whether it belongs to `--long`.
    pub long: bool,
    /// Whether all groups share one channel instead of having one for each subscription.
    pub one_channel: bool,
    /// The phases, each of which ends when its events have been published.
    pub phases: &'static [&'static str],
    /// Events on each channel in each phase.
    pub each: u64,
    /// The publishers' pace, as in a scenario file.
    pub rate: &'static str,
    /// Bytes of payload, as in a scenario file. Far more than the 81 of probes and barriers, which defects of
    /// deliveries must leave alone.
    pub payload: &'static str,
    /// Further lines of the scenario, TOML.
    pub more: &'static str,
    /// Waits that its defects must make end without what was waited for.
    pub waits: &'static [&'static str],
    /// What is planted.
    pub rows: Vec<Row>,
}

/// One defect, or a group that none is planted in.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name in the matrix, and its group's in the scenario.
    pub name: &'static str,
    /// The kind, as in `--defect KIND`; `None`: nothing is planted.
    pub kind: Option<&'static str>,
    /// Its parameters besides the channels and the seed.
    pub parameters: &'static str,
    /// Its own clients; `None`: the defect is the server's as a whole.
    pub group: Option<Group>,
    /// How often the server must say that it struck.
    pub asked: Asked,
    /// Where it must be found, and nowhere else; empty where its condition alone tells.
    pub found: Vec<Found>,
    /// Classes that the scenario itself leads to: a client that is away misses something.
    pub usual: &'static [&'static str],
    /// The condition that must judge it.
    pub expect: &'static str,
    /// How.
    pub verdict: Verdict,
    /// Why it cannot be seen with the protocol in use.
    pub unseen: Option<&'static str>,
}

/// The clients of one row.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Their connections.
    pub connections: u32,
    /// Their subscriptions, over all connections.
    pub subscriptions: u32,
    /// Further keys of the group, as in a scenario file.
    pub keys: &'static str,
}

/// How often a defect was asked to strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// So often on each of its channels.
    OnEach(u64),
    /// So often in all.
    Times(u64),
    /// Often enough to see it: how often depends on this machine.
    Some,
}

/// Where a defect shows, and how often for each time it struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// This class of the ledger, once for each strike.
    Ledger(&'static str),
    /// This class of the ledger, once for each delivery that a strike touched.
    LedgerByDelivery(&'static str),
    /// Connections that were dropped unexpectedly.
    Dropped,
    /// Failures of this name.
    Failed(&'static str),
    /// Publishes that were never acknowledged.
    Unacknowledged,
    /// The server's own figure of this name is larger than ours, by as much as it struck.
    Surplus(&'static str),
    /// The server's own figure of this name is smaller than ours, by as much as it struck.
    Deficit(&'static str),
    /// The server's own figure of this name is off by exactly this much.
    Off(&'static str, i64),
}

impl Found {
    /// What the matrix calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger(class) | Self::LedgerByDelivery(class) => class,
            Self::Dropped => "dropped_unexpectedly",
            Self::Unacknowledged => "published.unknown",
            Self::Failed(name) | Self::Surplus(name) | Self::Deficit(name) | Self::Off(name, _) => name,
        }
    }
}

impl Row {
    /// A defect that must make its condition fail.
    pub(super) fn of(name: &'static str, parameters: &'static str) -> Self {
        Self {
            name,
            kind: Some(name),
            parameters,
            group: Some(Group { connections: 8, subscriptions: 8, keys: "" }),
            asked: Asked::OnEach(4),
            found: Vec::new(),
            usual: &[],
            expect: "",
            verdict: Verdict::Fail,
            unseen: None,
        }
    }

    /// Clients that nothing is planted for: whatever is found of them is a false alarm.
    pub(super) fn honest(expect: &'static str) -> Self {
        Self { kind: None, asked: Asked::Times(0), verdict: Verdict::Pass, ..Self::of("honest", "") }
            .by(expect)
    }

    pub(super) fn kind(self, kind: &'static str) -> Self {
        Self { kind: Some(kind), ..self }
    }

    pub(super) fn clients(self, connections: u32, subscriptions: u32, keys: &'static str) -> Self {
        Self { group: Some(Group { connections, subscriptions, keys }), ..self }
    }

    pub(super) fn of_the_server(self) -> Self {
        Self { group: None, ..self }
    }

    pub(super) fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    pub(super) fn found(self, found: impl Into<Vec<Found>>) -> Self {
        Self { found: found.into(), ..self }
    }

    pub(super) fn usual(self, usual: &'static [&'static str]) -> Self {
        Self { usual, ..self }
    }

    pub(super) fn by(self, expect: &'static str) -> Self {
        Self { expect, ..self }
    }

    pub(super) fn verdict(self, verdict: Verdict) -> Self {
        Self { verdict, ..self }
    }

    pub(super) fn unseen(self, why: &'static str) -> Self {
        Self { unseen: Some(why), verdict: Verdict::Pass, ..self }
    }
}

/// The group that publishes.
pub const PUBLISHERS: &str = "feed";

/// Stands in parameters for an event of a run that never was.
pub const OLD_RUN: &str = "{old-run}";
