//! Which phases of a plan a window of a condition covers.

use std::collections::{BTreeMap, BTreeSet};

use super::condition::{Dimension, Term, When};
use super::plan::{Part, Plan};
use crate::inject::Act;

impl Plan {
    /// Indices of the phases that a window covers.
    #[must_use]
    pub fn covered(&self, when: &When) -> Vec<usize> {
        let phases: Vec<&str> = self.phases.iter().map(|phase| phase.name.as_str()).collect();
        when.covers(&phases, &self.acting())
    }

    /// Indices of the phases at whose end some condition asks for the server's gauges.
    #[must_use]
    pub fn gauges_asked(&self) -> Vec<usize> {
        let conditions = self.expect.iter().chain(&self.reached);
        let terms = conditions.filter(|condition| condition.not_applicable.is_none()).flat_map(|c| c.terms());
        let asked = terms.filter(|term| term.metric.starts_with("server_stats."));
        let phases: BTreeSet<usize> =
            asked.filter_map(|term| term.when.as_ref()).flat_map(|when| self.covered(when)).collect();
        phases.into_iter().collect()
    }

    /// What the plan predicts for a term: of a window over one phase what it predicts for that, over several the sum
    /// of counts.
    pub(crate) fn predicted_of(&self, predicted: &BTreeMap<String, f64>, term: &Term) -> Option<f64> {
        if let Some(value) = predicted.get(&term.key()) {
            return Some(*value);
        }
        let covered = self.covered(term.when.as_ref()?);
        let in_phase = |phase: &usize| {
            let when = Some(When::In(self.phases[*phase].name.clone()));
            predicted.get(&Term { when, ..term.clone() }.key()).copied()
        };
        match covered.as_slice() {
            [] => None,
            [phase] => in_phase(phase),
            several if term.dimension == Dimension::Count => several.iter().map(in_phase).sum(),
            _ => None,
        }
    }

    /// Every fault with the parts it acts in: those it begins in, and those that its length reaches into, as far as the
    /// phases have lengths.
    fn acting(&self) -> Vec<(&str, Vec<Part>)> {
        let schedule = self.schedule();
        let parts = |fault: usize| -> Vec<Part> {
            let acts = schedule.acts().iter().filter(|act| act.fault == fault);
            let parts: BTreeSet<Part> = acts.flat_map(|act| self.reached(act)).collect();
            parts.into_iter().collect()
        };
        self.faults.iter().enumerate().map(|(index, fault)| (fault.name.as_str(), parts(index))).collect()
    }

    /// The parts that one application reaches into.
    pub(super) fn reached(&self, act: &Act) -> Vec<Part> {
        let mut parts = vec![act.part];
        let (Part::Phase(first), Some(length)) = (act.part, act.length) else { return parts };
        let mut left = act.after.saturating_add(length);
        for (phase, next) in self.phases.iter().skip(first).zip(first + 1..self.phases.len()) {
            match phase.length {
                Some(length) if length < left => left -= length,
                _ => break,
            }
            parts.push(Part::Phase(next));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::catalogue::{Catalogue, Options};
    use crate::scenarios::plan::{Direction, FaultKind};
    use std::time::Duration;

    const FILE: &str = r#"[scenarios.a]
        about = "x"
        channels = 2
        phases = [{ name = "calm", for = "3s" }, { name = "storm", for = "4s" }, { name = "lull", for = "2s" }, { name = "end", for = "2s" }]
        subscribers.back = { connections = 10, reconnect = "immediate" }
        publishers.feed = { rate = "10/s" }
        faults.cut = { on = "back", fraction = "40%", phase = "storm", terminate = { how = "reset" } }
        expect.all = "bystanders.ledger.delivered before / bystanders.ledger.obligations before == 100%"
        expect.counts = "server_stats.gauges.error_ratio after == 0%"
        reached.all = "faults.cut.applied / predicted == 100%"
    "#;

    fn plan() -> Plan {
        let catalogue = Catalogue::from_text(Some(("a.toml", FILE))).expect("a good file");
        catalogue.plan(&["a"], &Options::default()).expect("a good plan").plans.remove(0)
    }

    #[test]
    fn gauges_are_asked_at_the_ends_of_the_phases_of_conditions() {
        let mut plan = plan();
        assert_eq!(plan.gauges_asked(), [2, 3]);
        plan.expect.retain(|condition| condition.id != "counts");
        assert_eq!(plan.gauges_asked(), [0; 0]);
    }

    #[test]
    fn a_fault_reaches_as_far_as_it_is_long() {
        let mut plan = plan();
        plan.faults[0].kind = FaultKind::Stall(Direction::Both);
        let mut during = |seconds: u64| {
            plan.faults[0].length = Some(Duration::from_secs(seconds));
            plan.covered(&When::During(None))
        };
        assert_eq!(during(4), [1]);
        assert_eq!(during(5), [1, 2]);
        assert_eq!(during(6), [1, 2]);
        assert_eq!(during(60), [1, 2, 3]);
        plan.phases[2].length = None;
        assert_eq!(plan.covered(&When::During(None)), [1, 2], "how long it lasts from there nobody knows");
    }

    #[test]
    fn predictions_of_windows_are_those_of_their_phases() {
        let plan = plan();
        let predicted = plan.predict();
        let all = Term {
            subject: Some("bystanders".to_owned()),
            metric: "ledger.obligations".to_owned(),
            keys: Vec::new(),
            dimension: Dimension::Count,
            when: None,
        };
        let of = |when| plan.predicted_of(&predicted, &Term { when: Some(when), ..all.clone() });
        // Six of ten subscriptions, five on each of two channels: 10 events per second reach half of them.
        let each = |phase: &str| predicted[&format!("bystanders.ledger.obligations in {phase}")];
        assert_eq!(of(When::Before(None)), Some(each("calm")));
        assert_eq!(of(When::After(Some("cut".to_owned()))), Some(each("lull") + each("end")));
        assert_eq!(of(When::Before(Some("calm".to_owned()))), None);
        let rate =
            Term { metric: "published.rate".to_owned(), subject: None, dimension: Dimension::Rate, ..all };
        let rate = |when| plan.predicted_of(&predicted, &Term { when: Some(when), ..rate.clone() });
        assert_eq!((rate(When::During(None)), rate(When::After(None))), (Some(10.0), None));
    }
}
