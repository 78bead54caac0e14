//! Time scale and `when-behind`: what they cannot go with, and how they are said.

use super::condition::{Condition, Over, Quantity, Test};
use super::faults::aims;
use super::file::PaceWord;
use super::full::{Cuts, Full, FullPublishers};
use super::plan::{FaultKind, Plan, WhenBehind};
use super::problem::Finding;
use super::units::show_duration;

/// How an expectation about the rate that held is written.
const EXAMPLE: &str = "write expect.rate-held = \"published.rate / predicted >= 99%\"";

fn slow(full: &Full) -> impl Iterator<Item = &FullPublishers> {
    full.publishers.iter().filter(|group| group.when_behind.value == WhenBehind::SlowDown)
}

/// A schedule slips only where there is one, and where nothing of ours looks like a server that is behind.
pub(crate) fn slow_down(full: &Full, cuts: Cuts<'_>, findings: &mut Vec<Finding>) {
    let hits = aims::hits(full);
    for group in slow(full) {
        let span = || group.when_behind.span.clone();
        let rate_cut = cuts.touch(&format!("publishers.{}.rate", group.name));
        if !matches!(group.rate.value, PaceWord::Open(_)) && group.rate.written && !rate_cut {
            let message = format!("`{}` has no schedule that could slip: its rate is no number", group.name);
            findings.push(Finding::error(span(), message).note("write rate = \"100/s\""));
        }
        let fault = full.faults.iter().zip(&hits).find(|(fault, hits)| {
            let publishes = hits.iter().any(|(crew, _)| full.crew(&group.name) == Some(*crew));
            publishes || fault.kind.as_ref().is_some_and(delays)
        });
        if let Some((fault, _)) = fault {
            let message = format!(
                "what `{}` delays or ends would be taken for a server that cannot hold the rate of `{}`",
                fault.name, group.name
            );
            findings.push(Finding::error(span(), message).note("write when-behind = \"catch-up\""));
        }
    }
}

/// Whether deliveries to those whom a fault hits take longer because of it.
fn delays(kind: &FaultKind) -> bool {
    !matches!(kind, FaultKind::ThinkTime(_) | FaultKind::HandshakeAbort(_) | FaultKind::Terminate(_))
}

/// A rate that nobody judges could be anything.
pub(crate) fn held(full: &Full, cuts: Cuts<'_>, expect: &[Condition], findings: &mut Vec<Finding>) {
    let judged = expect.iter().any(|condition| {
        let (Test::Compare { left, .. } | Test::Within { left, .. }) = &condition.test else { return false };
        let Quantity { term, over: Some(Over::Predicted) } = left else { return false };
        term.metric == "published.rate"
    });
    if judged || cuts.touch("expect") || expect.len() < full.expect.len() {
        return;
    }
    if let Some(group) = slow(full).next() {
        let message = "`slow-down` needs an expectation about `published.rate / predicted`: nothing else would say \
                       that the rate was not held";
        findings.push(Finding::error(group.when_behind.span.clone(), message).note(EXAMPLE));
    }
}

/// A span of time as people say it: `24 h`, `33.3 min`, `86.4 s`.
#[must_use]
pub fn long(seconds: f64) -> String {
    // What rounds to a minute is a minute.
    let (value, unit) = match seconds {
        s if s >= 3_599.5 => (s / 3_600.0, "h"),
        s if s >= 59.95 => (s / 60.0, "min"),
        s => (s, "s"),
    };
    let rounded = (value * 10.0).round() / 10.0;
    format!("{rounded} {unit}")
}

/// What compressed time comes to: the events of so many seconds at time-scale 1, and what they do not show.
#[must_use]
pub fn volume(seconds: f64) -> String {
    format!("{} event volume, timers are not exercised", long(seconds))
}

impl Plan {
    /// Whether time runs otherwise than it does.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        (self.time_scale - 1.0).abs() > f64::EPSILON
    }

    /// What its time scale means, for `plan` and `run`; `None`: time runs as it does.
    #[must_use]
    pub fn time_scale_line(&self) -> Option<String> {
        if !self.is_compressed() {
            return None;
        }
        let predicted = self.predict();
        let events = predicted.get("published.attempted").zip(predicted.get("published.rate"));
        let seconds = events.map(|(events, rate)| events / rate);
        let what = seconds
            .map(|s| format!(": {}, in {} of publishing", volume(s * self.time_scale), show_duration(s)));
        Some(format!("time-scale {}{}", self.time_scale, what.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_as_people_say_them() {
        let table =
            [(86_400.0, "24 h"), (2_000.0, "33.3 min"), (86.4, "1.4 min"), (59.0, "59 s"), (3_600.0, "1 h")];
        for (seconds, text) in table {
            assert_eq!(long(seconds), text);
        }
        assert_eq!(volume(86_400.0), "24 h event volume, timers are not exercised");
    }
}
