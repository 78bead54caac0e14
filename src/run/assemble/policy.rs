//! What a server did about slow readers, named from what happened: pure, and nothing but that.
//!
//! Signs are looked for one by one, and more than one may be there: a server that drops up to a limit and then cuts the
//! reader off shows two. The gravest for the reader is the policy, and the others are listed: disconnect, then drop,
//! then backpressure, then buffer. Whatever a server may do to publishers, a reader that it cuts off has the worst of it.

use crate::report::model::SlowPolicy;

/// What was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Signs {
    /// It ended connections of readers that lagged.
    pub disconnected: bool,
    /// Readers on living connections lost deliveries.
    pub dropped: bool,
    /// Publishers had to wait while readers were slow, and not before.
    pub held_up: bool,
    /// Readers were behind by more than the kernels hold.
    pub backlog: bool,
    /// What became of some deliveries to slow readers is open.
    pub open: bool,
}

/// The policy, and what else the server did.
pub(super) fn name(signs: Signs) -> (SlowPolicy, Vec<SlowPolicy>) {
    let acts = [
        (signs.disconnected, SlowPolicy::Disconnect),
        (signs.dropped, SlowPolicy::Drop),
        (signs.held_up, SlowPolicy::Backpressure),
    ];
    let mut seen: Vec<SlowPolicy> =
        acts.into_iter().filter(|(seen, _)| *seen).map(|(_, policy)| policy).collect();
    if seen.is_empty() && signs.open {
        // It may have been dropped, or be on its way still: that it was kept is not shown.
        return (SlowPolicy::Unknown, Vec::new());
    }
    // What was given up counts as unread until the reader has come past it: only where nothing was, all of it was kept.
    let kept = signs.backlog && !signs.disconnected && !signs.dropped;
    seen.extend(kept.then_some(SlowPolicy::Buffer));
    if seen.is_empty() {
        return (SlowPolicy::None, Vec::new());
    }
    (seen.remove(0), seen)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a combination of signs is to be called, put down for each by hand in words: disconnected, dropped, held up,
    /// backlog, open.
    const TABLE: [(&str, &str); 32] = [
        ("-----", "none"),
        ("----o", "unknown"),
        ("---b-", "buffer"),
        ("---bo", "unknown"),
        ("--h--", "backpressure"),
        ("--h-o", "backpressure"),
        ("--hb-", "backpressure buffer"),
        ("--hbo", "backpressure buffer"),
        ("-d---", "drop"),
        ("-d--o", "drop"),
        ("-d-b-", "drop"),
        ("-d-bo", "drop"),
        ("-dh--", "drop backpressure"),
        ("-dh-o", "drop backpressure"),
        ("-dhb-", "drop backpressure"),
        ("-dhbo", "drop backpressure"),
        ("c----", "disconnect"),
        ("c---o", "disconnect"),
        ("c--b-", "disconnect"),
        ("c--bo", "disconnect"),
        ("c-h--", "disconnect backpressure"),
        ("c-h-o", "disconnect backpressure"),
        ("c-hb-", "disconnect backpressure"),
        ("c-hbo", "disconnect backpressure"),
        ("cd---", "disconnect drop"),
        ("cd--o", "disconnect drop"),
        ("cd-b-", "disconnect drop"),
        ("cd-bo", "disconnect drop"),
        ("cdh--", "disconnect drop backpressure"),
        ("cdh-o", "disconnect drop backpressure"),
        ("cdhb-", "disconnect drop backpressure"),
        ("cdhbo", "disconnect drop backpressure"),
    ];

    #[test]
    fn every_combination_of_signs_has_its_name() {
        let mut met = std::collections::HashSet::new();
        for (signs, expected) in TABLE {
            let seen: Vec<bool> = signs.chars().map(|sign| sign != '-').collect();
            let &[disconnected, dropped, held_up, backlog, open] = seen.as_slice() else {
                panic!("five signs")
            };
            let (policy, also) = name(Signs { disconnected, dropped, held_up, backlog, open });
            let words: Vec<&str> = std::iter::once(policy).chain(also).map(SlowPolicy::word).collect();
            assert_eq!(words.join(" "), expected, "{signs}");
            assert!(met.insert(seen), "{signs} is there twice");
        }
        assert_eq!(met.len(), 32);
    }

    #[test]
    fn words_are_those_of_the_report() {
        use SlowPolicy::{Backpressure, Buffer, Disconnect, Drop, None, Unknown};
        for policy in [Disconnect, Drop, Backpressure, Buffer, None, Unknown] {
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.word());
        }
    }
}
