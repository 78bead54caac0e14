//! Injected delays against what else takes its time: rates that must be kept, and timeouts that must not run out.

use std::time::Duration;

use super::aims::{Hits, name_of};
use super::full::FullFault;
use crate::scenarios::file::PaceWord;
use crate::scenarios::full::Full;
use crate::scenarios::plan::{Crew, Delay, FaultKind, Reconnect};
use crate::scenarios::problem::Finding;
use crate::scenarios::units::{show_count, show_duration, show_rate};

/// Deviations on each side of the mean of a normal delay that are taken for its width, and for its longest.
const WIDE: f64 = 2.0;
const LONG: f64 = 4.0;

/// Its mean, in seconds.
pub(crate) fn mean(delay: Delay) -> f64 {
    match delay {
        Delay::Fixed(time) => time.as_secs_f64(),
        Delay::Uniform { low, high } => (low + high).as_secs_f64() / 2.0,
        Delay::Normal { mean, .. } => mean.as_secs_f64(),
    }
}

/// The longest that is to be expected.
pub(crate) fn longest(delay: Delay) -> Duration {
    match delay {
        Delay::Fixed(time) => time,
        Delay::Uniform { high, .. } => high,
        Delay::Normal { mean, deviation } => mean.saturating_add(deviation.mul_f64(LONG)),
    }
}

/// How far its values are apart.
pub(crate) fn width(delay: Delay) -> Duration {
    match delay {
        Delay::Fixed(_) => Duration::ZERO,
        Delay::Uniform { low, high } => high - low,
        Delay::Normal { deviation, .. } => deviation.mul_f64(2.0 * WIDE),
    }
}

/// The delays of a fault, against the groups it hits.
pub(crate) fn check(full: &Full, fault: &FullFault, hits: &Hits, findings: &mut Vec<Finding>) {
    for (crew, _) in hits {
        match (&fault.kind, *crew) {
            (Some(FaultKind::ThinkTime(delay)), Crew::Publishers(index)) => {
                findings.extend(too_fast(full, fault, *delay, index));
            }
            (Some(FaultKind::LinkDelay(_)), crew) => findings.extend(gives_up(full, fault, crew)),
            _ => {}
        }
    }
}

/// Whether a group publishes in a phase that a fault acts in.
fn publishes_then(full: &Full, fault: &FullFault, publisher: usize) -> bool {
    full.phases_of(&full.publishers[publisher]).any(|phase| fault.acts_in(&phase.name))
}

/// An open-rate publisher that thinks before each event for longer than it has.
fn too_fast(full: &Full, fault: &FullFault, think: Delay, publisher: usize) -> Option<Finding> {
    let group = &full.publishers[publisher];
    let PaceWord::Open(rate) = group.rate.value else { return None };
    let (rate, wait) = (rate * full.time_scale.value, mean(think));
    let each = rate / f64::from(group.connections.value);
    if each * wait <= 1.0 + 1e-9 || !publishes_then(full, fault, publisher) {
        return None;
    }
    let message = format!(
        "each connection of `{}` publishes {}, and with {} before every event it can do {}",
        group.name,
        show_rate(each),
        show_duration(wait),
        show_rate(1.0 / wait)
    );
    let enough = show_count((rate * wait * (1.0 - 1e-9)).ceil() as u64);
    let note = format!("give it {enough} connections or more, or write rate = \"one-by-one\"");
    Some(Finding::error(fault.kind_span.clone(), message).note(note))
}

/// A way there and back that takes longer than someone waits for it.
fn gives_up(full: &Full, fault: &FullFault, crew: Crew) -> Option<Finding> {
    let delay = fault.link_delay()?;
    let there_and_back = [delay.up, delay.down].into_iter().flatten().map(longest).sum::<Duration>();
    let timeouts = &full.timeouts;
    let mut waits = Vec::new();
    let in_phases = full.phases.iter().any(|phase| fault.acts_in(&phase.name));
    let (connects, operates) = match crew {
        Crew::Subscribers(index) => {
            let returns = full.subscribers[index].reconnect.value != Reconnect::None;
            let connects = fault.in_setup() || (returns && in_phases);
            (connects, connects.then_some(("confirm", timeouts.confirm)))
        }
        Crew::Publishers(index) => {
            let publishes = publishes_then(full, fault, index);
            (fault.in_setup(), publishes.then_some(("operation", timeouts.operation)))
        }
    };
    if connects {
        waits.extend([("connect", timeouts.connect), ("upgrade", timeouts.upgrade), ("init", timeouts.init)]);
    }
    waits.extend(operates);
    let short = waits.into_iter().filter(|(_, wait)| *wait <= there_and_back);
    let short: Vec<String> = short.map(|(name, wait)| format!("{name} ({})", shown(wait))).collect();
    if short.is_empty() {
        return None;
    }
    let message = format!(
        "`{}` is delayed by up to {} there and back, and gives up before: {}",
        name_of(full, crew),
        shown(there_and_back),
        short.join(", ")
    );
    Some(Finding::error(fault.kind_span.clone(), message).note("raise these in `timeouts`"))
}

fn shown(time: Duration) -> String {
    show_duration(time.as_secs_f64())
}
