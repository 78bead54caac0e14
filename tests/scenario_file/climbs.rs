//! Payloads that climb: what they cannot go with, and how they are shown.

use super::{check, places};

const PAYLOAD: &str = "{ from = \"2MB\", times = 2, up-to = \"9MB\" }";

/// A climb behind another phase, with changes to its group and lines behind it.
fn climb(payload: &str, group: &str, more: &str) -> String {
    format!(
        r#"[scenarios.mine]
about = "ever larger"
phases = [{{ name = "before" }}, {{ name = "beyond" }}]
subscribers.clients = {{ connections = 4 }}
publishers.feed = {{ phase = "before", rate = "10/s", events = 10 }}
publishers.climb = {{ {group}, events = 2, payload = {payload} }}
expect.found = "escalation.payload.largest_ok >= 1MB"
{more}
"#
    )
}

const GROUP: &str = "phase = \"beyond\", rate = \"one-by-one\"";

fn problems(text: &str) -> Vec<String> {
    check(text).err().map_or_else(Vec::new, |problems| places(&problems.0))
}

#[test]
fn a_climb_that_is_alone_in_the_last_phase_is_right() {
    assert_eq!(problems(&climb(PAYLOAD, GROUP, "")), Vec::<String>::new());
}

#[test]
fn what_a_climb_cannot_go_with_is_said() {
    let cases = [
        (climb("{ from = \"2MB\", times = 1, up-to = \"9MB\" }", GROUP, ""), "`times` is at least 2"),
        (climb("{ from = \"9MB\", times = 2, up-to = \"9MB\" }", GROUP, ""), "`up-to` is not above `from`"),
        (climb("{ from = \"2MB\", times = 2, up-to = \"90GB\" }", GROUP, ""), "a payload has at most"),
        (climb(PAYLOAD, "phase = \"beyond\", rate = \"10/s\"", ""), "climbs one by one, not at `10/s`"),
        (climb(PAYLOAD, &format!("{GROUP}, connections = 2"), ""), "climbs over one connection"),
        (climb(PAYLOAD, "phase = \"before\", rate = \"one-by-one\"", ""), "the last phase to itself"),
        (
            climb(PAYLOAD, GROUP, "publishers.other = { phase = \"beyond\", rate = \"10/s\", events = 10 }"),
            "`other` publishes in the phase of the climb",
        ),
    ];
    for (text, expected) in cases {
        let found = problems(&text);
        // At the payload of its group, whatever else is wrong for the same reason.
        let named = |problem: &String| problem.starts_with("6:") && problem.contains(expected);
        assert!(found.iter().any(named), "{expected}: {found:?}");
    }
}
