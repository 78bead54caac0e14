//! What is said of slow readers, the same on the screen and in the Markdown document.

use super::human::{bytes, clean, count, range, ratio};
use super::model::{Report, SlowConsumers};

/// How it stood with slow readers, what the server did and how what was lost is explained; by what that was recognised.
/// `None`: nobody was slow.
pub(super) fn told(report: &Report) -> Option<([String; 3], Vec<String>)> {
    let slow = report.slow_consumers.as_ref()?;
    let readers = format!(
        "{} · {} of them felt by the server · behind by {} at most",
        count(slow.readers),
        ratio(slow.felt_ratio),
        range(&bytes(slow.backlog_bytes as f64), &bytes(slow.backlog_max_bytes as f64))
    );
    let also: Vec<&str> = slow.also.iter().map(|policy| policy.word()).collect();
    let policy = match also.as_slice() {
        [] => format!("policy {}", slow.policy.word()),
        also => format!("policy {}, and {}", slow.policy.word(), also.join(" and ")),
    };
    let evidence = slow.evidence.iter().map(|said| clean(said)).collect();
    Some(([readers, policy, losses(report, slow)], evidence))
}

fn losses(report: &Report, slow: &SlowConsumers) -> String {
    let mut said = vec![format!("{} lost", count(slow.lost))];
    if slow.cut_short > 0 {
        said.push(format!("{} open when cut off", count(slow.cut_short)));
    }
    if slow.missed > 0 {
        said.push(format!("{} missed while cut off", count(slow.missed)));
    }
    said.push(match slow.admitted {
        Some(admitted) => format!("the server says it dropped {}", count(admitted)),
        None => "the target does not say what it dropped".to_owned(),
    });
    said.push(match report.ledger.lost_unexplained {
        Some(unexplained) => format!("{} unexplained", count(unexplained)),
        None => "whether the server admits to it is not known".to_owned(),
    });
    said.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::model::SlowPolicy;
    use crate::report::sample_herd::herd;
    use crate::report::{style::Style, text};

    /// A report with slow readers whom the server dropped for and then cut off.
    fn slow() -> Report {
        let mut report = herd();
        report.ledger.lost_unexplained = Some(3);
        report.slow_consumers = Some(SlowConsumers {
            readers: 50,
            felt_ratio: 1.0,
            backlog_bytes: 9 << 20,
            backlog_max_bytes: 19 << 20,
            policy: SlowPolicy::Disconnect,
            also: vec![SlowPolicy::Drop],
            evidence: vec![
                "the server ended the connections of 50 of 50 slow readers (open.closed 50)".into(),
            ],
            disconnected: 50,
            lost: 1_234,
            cut_short: 41_712,
            admitted: Some(1_231),
            ..SlowConsumers::default()
        });
        report
    }

    #[test]
    fn everything_is_said_of_them() {
        let (lines, evidence) = told(&slow()).unwrap();
        assert_eq!(
            lines,
            [
                "50 · 100 % of them felt by the server · behind by 9 MiB to 19 MiB at most",
                "policy disconnect, and drop",
                "1,234 lost · 41,712 open when cut off · the server says it dropped 1,231 · 3 unexplained",
            ]
        );
        assert_eq!(evidence.len(), 1);
        assert_eq!(told(&herd()), None);
        let mut silent = slow();
        silent.ledger.lost_unexplained = None;
        silent.slow_consumers.as_mut().unwrap().admitted = None;
        let (lines, _) = told(&silent).unwrap();
        assert!(lines[2].ends_with(
            "the target does not say what it dropped · whether the server admits to it is not known"
        ));
    }

    #[test]
    fn both_documents_have_it() {
        let mut screen = Vec::new();
        text::render(&slow(), None, Style::default(), 80, &mut screen).unwrap();
        let screen = String::from_utf8(screen).unwrap();
        let document = crate::report::markdown::render(&crate::report::documents::Scope::of(&[slow()]));
        for shown in [&screen, &document] {
            assert!(shown.contains("policy disconnect, and drop"), "{shown}");
            assert!(shown.contains("the server ended the connections of 50 of 50 slow readers"), "{shown}");
        }
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    }
}
