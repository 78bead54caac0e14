//! A pass over nothing is no pass: what the quantity counts must have been able to happen.

use super::judge::Evidence;
use super::lookup;
use crate::scenarios::condition::Term;

/// Why a pass of this term shows nothing; `None`: it shows something.
pub(crate) fn pass(term: &Term, evidence: &Evidence) -> Option<String> {
    let keys: Vec<&str> = term.keys.iter().map(String::as_str).collect();
    let count = |section: &str, key: &str| lookup::sibling(&evidence.report, term, &[section, key]);
    let none = |section, key, why: &str| (count(section, key) == Some(0.0)).then(|| why.to_owned());
    // Who would have been hit is known from the plan; all else about them needs that they were.
    let of_the_plan = keys == ["connections", "planned"];
    if term.subject.as_deref() == Some("victims") && !of_the_plan && evidence.applied() == 0 {
        return Some("no fault was applied, so nobody was a victim".to_owned());
    }
    match keys.as_slice() {
        ["ledger", "lost" | "lost_proven" | "lost_presumed" | "lost_unexplained"] => {
            none("ledger", "obligations", "no delivery was owed")
                .or_else(|| none("ledger", "receipts", "nothing was received"))
        }
        [
            "ledger",
            "corrupted" | "duplicated" | "reordered" | "phantom" | "misrouted" | "after_unsubscribe"
            | "strange",
        ] => none("ledger", "receipts", "nothing was received"),
        ["ledger", "obligations" | "receipts" | "first_receipts" | "unowed"] => None,
        ["ledger", _] => none("ledger", "obligations", "no delivery was owed"),
        ["connections", "dropped_unexpectedly"] | ["errors", _] if term.when.is_some() => {
            none("errors", "operations", "nobody was there and nothing was done")
        }
        ["connections", "dropped_unexpectedly"] => {
            none("connections", "established", "no connection was established")
        }
        ["errors", _] => none("connections", "established", "no connection was established"),
        // A breaker that never opened has nothing to be closed again.
        ["breaker", "opened"] => none("reconnects", "attempts", "nobody tried to connect again"),
        ["breaker", _] => none("breaker", "opened", "no breaker ever opened"),
        ["reconnects", "ended"] => none("connections", "established", "no connection was established"),
        ["reconnects", "attempts" | "amplification"] => none("reconnects", "ended", "no connection ended"),
        // Times that are there are those of connections that came back.
        ["reconnects", "restored_50_s" | "restored_95_s" | "restored_100_s"] => None,
        ["reconnects", _] => none("reconnects", "attempts", "nobody tried to connect again"),
        ["published", "failed" | "unknown"] => none("published", "sent", "nothing was published"),
        _ => None,
    }
}
