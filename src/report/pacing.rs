//! Compressed time and schedules that slipped, in words.

use super::human::{self, count, ratio};
use super::model::{Report, Slowed};
use crate::scenarios::pacing::volume;

/// A schedule that slipped by no more than it takes to publish at this share of the rate was held.
const HELD: f64 = 0.99;

/// What was published, in the time that it stands for; `None`: time was not compressed.
#[must_use]
pub fn event_volume(report: &Report) -> Option<String> {
    let scale = report.scenario.time_scale?;
    let rate = report.predicted.get("published.rate").filter(|rate| **rate > 0.0)?;
    Some(volume(report.published.sent as f64 / rate * scale))
}

/// The rate that held, and who did not hold the planned one; `None`: no schedule may slip.
pub(super) fn held(report: &Report) -> Option<String> {
    let slowed = report.published.slowed.as_ref()?;
    let planned = report.predicted.get("published.rate").copied();
    let Some(held) = slowed.held_rate.filter(|_| slowed.slips > 0) else {
        return Some("the planned rate was held: the schedule never slipped".to_owned());
    };
    if planned.is_some_and(|planned| held >= HELD * planned) {
        let (slips, by) = (count(slowed.slips), human::seconds(slowed.slipped_s));
        return Some(format!(
            "the planned rate was held: the schedule slipped {slips} times, by {by} in all"
        ));
    }
    let of = planned.map(|planned| format!(" of {}", human::rate(planned))).unwrap_or_default();
    Some(format!(
        "the rate that held: {}{of}, limited by {} (slipped {} times, by {}{})",
        human::rate(held),
        limit(slowed),
        count(slowed.slips),
        human::seconds(slowed.slipped_s),
        shares(slowed)
    ))
}

fn limit(slowed: &Slowed) -> &str {
    match slowed.limited_by.as_str() {
        "machine" => "the processors that server and generator share",
        "generator" => "the generator",
        "server" => "the server",
        _ => human::NOTHING,
    }
}

/// What both sides did with the time: who has none left cannot be faster.
fn shares(slowed: &Slowed) -> String {
    let by = match (slowed.by_server_s, slowed.by_generator_s) {
        (server, generator) if server > 0.0 && generator > 0.0 => {
            format!(", {} of it by the generator", human::seconds(generator))
        }
        _ => String::new(),
    };
    busiest(slowed).map_or_else(|| by.clone(), |busiest| format!("{by}; {busiest}"))
}

/// What the server's busiest thread did with the time; `None`: not known.
pub(super) fn busiest(slowed: &Slowed) -> Option<String> {
    let (ran, waited) = slowed.server_cpu_share.zip(slowed.server_wait_share)?;
    Some(format!(
        "the server's busiest thread ran {} of the time and waited {} for a processor",
        ratio(ran),
        ratio(waited)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::{Published, ScenarioInfo};

    fn report(slowed: Option<Slowed>) -> Report {
        Report {
            scenario: ScenarioInfo { time_scale: Some(1_000.0), ..ScenarioInfo::default() },
            published: Published { sent: 8_640_000, slowed, ..Published::default() },
            predicted: [("published.rate".to_owned(), 100_000.0)].into(),
            ..Report::default()
        }
    }

    #[test]
    fn a_day_in_a_minute_and_a_half_is_called_what_it_is() {
        let mut report = report(None);
        assert_eq!(event_volume(&report).unwrap(), "24 h event volume, timers are not exercised");
        report.published.sent /= 2;
        assert!(event_volume(&report).unwrap().starts_with("12 h"), "what was published counts");
        report.scenario.time_scale = None;
        assert_eq!(event_volume(&report), None);
    }

    #[test]
    fn the_rate_that_held_is_said_with_who_did_not_hold_the_other() {
        assert_eq!(held(&report(None)), None);
        let even = Slowed { limited_by: "none".to_owned(), ..Slowed::default() };
        assert_eq!(
            held(&report(Some(even))).unwrap(),
            "the planned rate was held: the schedule never slipped"
        );
        let slow = Slowed {
            slips: 120,
            slipped_s: 17.6,
            by_server_s: 17.0,
            by_generator_s: 0.6,
            limited_by: "server".to_owned(),
            held_rate: Some(83_000.0),
            server_cpu_share: Some(0.98),
            server_wait_share: Some(0.01),
        };
        let little = Slowed { slips: 2, slipped_s: 0.232, held_rate: Some(99_700.0), ..slow.clone() };
        assert_eq!(
            held(&report(Some(little))).unwrap(),
            "the planned rate was held: the schedule slipped 2 times, by 232 ms in all"
        );
        assert_eq!(
            held(&report(Some(slow))).unwrap(),
            "the rate that held: 83,000/s of 100,000/s, limited by the server (slipped 120 times, by 17.6 s, 600 ms of \
             it by the generator; the server's busiest thread ran 98 % of the time and waited 1 % for a processor)"
        );
    }
}
