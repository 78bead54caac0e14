//! How far a payload climbed and how it failed: rows and one sentence that the screen and the Markdown document share.

use super::human::{NOTHING, bytes, clean, count, seconds};
use super::model::{PayloadClimb, PayloadStep, Report};
use super::words::Row;

/// Header of [`rows`].
pub(super) const HEADER: [&str; 9] =
    ["Payload", "sent", "owed", "delivered", "damaged", "took", "memory", "server's", "outcome"];

/// One line per step that began; none where nothing climbed.
pub(super) fn rows(report: &Report) -> Vec<Row<9>> {
    let memory = |peak: Option<u64>| peak.map_or_else(|| NOTHING.to_owned(), |peak| bytes(peak as f64));
    let row = |step: &PayloadStep| {
        [
            bytes(step.payload_bytes as f64),
            count(step.published),
            count(step.owed),
            count(step.delivered),
            count(step.corrupted),
            seconds(step.duration_s),
            memory(step.client_memory_peak_bytes),
            memory(step.server_memory_peak_bytes),
            clean(&step.outcome),
        ]
    };
    climb(report).map_or_else(Vec::new, |climb| climb.steps.iter().map(row).collect())
}

/// What it came to, once anything was climbed.
pub(super) fn sentence(report: &Report) -> Option<String> {
    let climb = climb(report).filter(|climb| !climb.steps.is_empty())?;
    let largest = climb.largest_ok_bytes.map_or_else(
        || "no payload was delivered whole".to_owned(),
        |largest| format!("the largest payload that worked: {}", bytes(largest as f64)),
    );
    let end = match climb.failure.as_deref() {
        Some("none") => "nothing failed up to the cap".to_owned(),
        None => "how the next one fails was not found out".to_owned(),
        Some(word) => {
            let at = climb.failed_at.as_deref().map(|at| format!(" at {at}")).unwrap_or_default();
            let text = climb.failure_text.as_deref().map(|text| format!(", “{text}”")).unwrap_or_default();
            format!("the next one failed by {word}{at}{text}")
        }
    };
    Some(clean(&format!("{largest}; {end}")))
}

fn climb(report: &Report) -> Option<&PayloadClimb> {
    report.escalation.as_ref().map(|escalation| &escalation.payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::Escalation;

    fn report(failure: Option<&str>, at: Option<&str>) -> Report {
        let step = |payload_bytes, delivered, outcome: &str| PayloadStep {
            payload_bytes,
            published: 2,
            acked: delivered / 4,
            owed: 8,
            delivered,
            duration_s: 0.75,
            client_memory_peak_bytes: Some(90 << 20),
            outcome: outcome.to_owned(),
            ..PayloadStep::default()
        };
        let payload = PayloadClimb {
            largest_ok_bytes: Some(4 << 20),
            failure: failure.map(str::to_owned),
            failed_at: at.map(str::to_owned),
            failure_text: at.map(|_| "message too large".to_owned()),
            steps: vec![step(4 << 20, 8, "delivered"), step(8 << 20, 0, failure.unwrap_or("unfinished"))],
        };
        Report { escalation: Some(Escalation { payload }), ..Report::default() }
    }

    #[test]
    fn every_step_is_a_row() {
        assert_eq!(
            rows(&report(Some("close-1009"), Some("publisher"))),
            [
                ["4 MiB", "2", "8", "8", "0", "750 ms", "90 MiB", "–", "delivered"],
                ["8 MiB", "2", "8", "0", "0", "750 ms", "90 MiB", "–", "close-1009"],
            ]
        );
        assert_eq!(rows(&Report::default()), [[""; 9]; 0]);
    }

    #[test]
    fn what_it_came_to_is_a_sentence() {
        let told = |failure, at| sentence(&report(failure, at)).unwrap();
        assert_eq!(
            told(Some("close-1009"), Some("publisher")),
            "the largest payload that worked: 4 MiB; the next one failed by close-1009 at publisher, “message too large”"
        );
        assert_eq!(
            told(Some("none"), None),
            "the largest payload that worked: 4 MiB; nothing failed up to the cap"
        );
        assert_eq!(
            told(None, None),
            "the largest payload that worked: 4 MiB; how the next one fails was not found out"
        );
        assert_eq!(sentence(&Report::default()), None);
    }

    #[test]
    fn the_screen_and_the_document_have_both() {
        let report = report(Some("close-1009"), Some("publisher"));
        let reports = [report];
        let document = crate::report::markdown::render(&crate::report::documents::Scope::of(&reports));
        assert!(
            document.contains("| 8 MiB | 2 | 8 | 0 | 0 | 750 ms | 90 MiB | – | close-1009 |"),
            "{document}"
        );
        assert!(document.contains("the largest payload that worked"), "{document}");
    }
}
