//! Which quantities are shares of a counted whole, so that an interval can be given for them.

use serde_json::Value;

use super::{lookup, statistics};
use crate::scenarios::condition::{Over, Quantity, Term};

/// Parts of wholes in one section of the report: (section, whole, parts). Only what is a set of trials with two
/// outcomes each belongs here; `peak_open / established`, for one, is not.
const SHARES: [(&str, &str, &[&str]); 6] = [
    ("connections", "attempted", &["established"]),
    ("connections", "planned", &["established"]),
    ("subscriptions", "requested", &["confirmed", "peak_active"]),
    ("published", "sent", &["acked", "unknown", "failed"]),
    (
        "ledger",
        "obligations",
        &[
            "delivered",
            "late",
            "recovered",
            "damaged",
            "missed_disconnected",
            "indeterminate",
            "unknown_publish",
            "suppressed",
            "lost_proven",
            "lost_presumed",
            "lost",
            "unverified",
        ],
    ),
    (
        "ledger",
        "receipts",
        &["duplicated", "reordered", "corrupted", "phantom", "misrouted", "after_unsubscribe", "strange"],
    ),
];

/// `part` of `whole` trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Proportion {
    /// Trials that ended this way.
    pub(crate) part: f64,
    /// All trials.
    pub(crate) whole: f64,
    /// Independent trials among them: the deliveries of one event are one cluster.
    clusters: f64,
}

/// Whether a quantity is a share of counted trials.
pub(crate) fn is_share(quantity: &Quantity) -> bool {
    is_recovered(quantity) || names(quantity).is_some()
}

fn is_recovered(quantity: &Quantity) -> bool {
    quantity.over.is_none() && quantity.term.keys == ["recovered_ratio"]
}

/// The names of whole and part of a quantity that is a share.
fn names(quantity: &Quantity) -> Option<(&str, &str)> {
    let (part, whole) = match &quantity.over {
        None if ends_with(&quantity.term, &["connections", "established_ratio"]) => {
            ("established", "attempted")
        }
        Some(Over::Term(over)) if comparable(&quantity.term, over) => (last(&quantity.term)?, last(over)?),
        _ => return None,
    };
    let section = quantity.term.keys.first()?.as_str();
    SHARES.iter().find(|(s, w, parts)| *s == section && *w == whole && parts.contains(&part))?;
    Some((part, whole))
}

impl Proportion {
    /// The counts behind a quantity, if it is a share.
    pub(crate) fn of(quantity: &Quantity, report: &Value) -> Option<Self> {
        if is_recovered(quantity) {
            return Self::recovered(&quantity.term, report);
        }
        let (part, whole) = names(quantity)?;
        let section = quantity.term.keys.first()?.as_str();
        let count = |key: &str| lookup::sibling(report, &quantity.term, &[section, key]);
        let (part, mut whole) = (count(part)?, count(whole)?);
        if quantity.over.is_none() {
            // What we kept from connecting ourselves shows nothing of the server; so says `established_ratio`, too.
            whole -= count("aborted_by_plan").unwrap_or(0.0);
        }
        (whole > 0.0 && part <= whole).then(|| Self {
            part,
            whole,
            clusters: clusters(&quantity.term, report, whole),
        })
    }

    /// Connections that came back, of those that ended for whatever reason.
    fn recovered(term: &Term, report: &Value) -> Option<Self> {
        let count = |key: &str| lookup::sibling(report, term, &["connections", key]);
        let (part, whole) = (count("recovered")?, count("cut")? + count("dropped_unexpectedly")?);
        (whole > 0.0 && part <= whole).then_some(Self { part, whole, clusters: whole })
    }

    /// What may be claimed of the server at this confidence.
    pub(crate) fn interval(&self, confidence: f64) -> Option<[f64; 2]> {
        statistics::interval(self.part * self.clusters / self.whole, self.clusters, confidence)
    }
}

fn comparable(part: &Term, whole: &Term) -> bool {
    part.keys.len() == 2
        && whole.keys.len() == 2
        && part.keys[0] == whole.keys[0]
        && part.subject == whole.subject
        && part.when == whole.when
}

/// Events published in the same window, where the whole counts deliveries of them.
fn clusters(term: &Term, report: &Value, whole: f64) -> f64 {
    if term.keys.first().is_none_or(|section| section != "ledger") {
        return whole;
    }
    // Subscribers publish nothing themselves, so the group of the term is left out.
    let everyone = Term { subject: None, ..term.clone() };
    match lookup::sibling(report, &everyone, &["published", "sent"]) {
        Some(events) if events > 0.0 => whole.min(events),
        _ => whole,
    }
}

fn last(term: &Term) -> Option<&str> {
    term.keys.last().map(String::as_str)
}

fn ends_with(term: &Term, keys: &[&str]) -> bool {
    term.keys.iter().map(String::as_str).eq(keys.iter().copied())
}
