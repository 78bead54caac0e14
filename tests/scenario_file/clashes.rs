//! Faults that could not both act, and faults that what they hit does not have.

use stressctl::scenarios::catalogue::{Catalogue, Options};

use super::faults::with;
use super::{check, places};

/// A scenario whose faults are these lines; the first of them is line 10.
fn with_faults(lines: &str) -> String {
    let text = r#"subscribers.a = { connections = 40, reconnect = "immediate" }
reached.all = "faults.first.applied / predicted == 100%"

[scenarios.mine.faults]
"#;
    with(&format!("{text}{lines}")).replace("feed = { rate", "feed = { connections = 10, rate")
}

#[test]
fn two_faults_that_do_the_same_to_a_client_at_once_are_refused() {
    let text = with_faults(
        r#"first = { on = "a", think-time = "1ms" }
second = { on = "a", fraction = "50%", phase = "one", start = "4s", think-time = { uniform = ["1ms", "2ms"] } }
three = { on = "feed", phase = "one", for = "2s", link-delay = { up = "1ms" } }
four = { on = "feed", phase = "one", start = "1.999s", link-delay = { up = "2ms", down = "1ms" } }
five = { on = "a", for = "2s", link-delay = { down = "1ms" } }
six = { on = "a", phase = "two", stagger = { poisson = "3s" }, link-delay = { down = "2ms" } }
seven = { on = "ten", phase = "two", start = "1s", for = "1s", stall = "down" }
eight = { on = "ten", phase = "one", start = "2s", for = "1s", partition = { otherwise = "stall" } }
nine = { on = "ten", start = "3s", for = "1s", hold = "up" }
ten = { on = "a", fraction = "25%", start = "0.5s", for = "2s", hold = "both" }
eleven = { on = ["a", "feed"], phase = "two", for = "1s", handshake-abort = "connect" }
twelve = { on = "feed", fraction = "10%", phase = "two", start = "0.1s", handshake-abort = "init" }
"#,
    );
    let problems = check(&text).unwrap_err().0;
    let clash = |line: u32, kind: &str, pair: [&str; 2], what: &str| {
        let source = text.lines().nth(line as usize - 1).unwrap_or_default();
        let column = source.find(kind).map_or(0, |at| at + 1);
        let [later, earlier] = pair;
        format!(
            "{line}:{column} `{later}` and `{earlier}` both {what} at the same time, and only one of them could"
        )
    };
    // Once for each pair, however many clients and phases it is about, and at whichever comes later in the file.
    assert_eq!(
        places(&problems),
        [
            clash(11, "think-time", ["second", "first"], "have it think"),
            clash(13, "link-delay", ["four", "three"], "delay what it sends"),
            clash(15, "link-delay", ["six", "five"], "delay what it gets"),
            clash(19, "hold", ["ten", "eight"], "keep its bytes from travelling"),
            clash(19, "hold", ["ten", "seven"], "keep its bytes from travelling"),
            clash(21, "handshake-abort", ["twelve", "eleven"], "end its attempts to connect"),
        ]
    );
    let note = "aim them at different clients, or let one end before the other begins";
    assert!(problems.iter().all(|problem| problem.notes == [note]), "{problems:?}");
}

#[test]
fn faults_that_are_apart_are_accepted() {
    let apart = [
        // One begins when the other has ended, on the same clients.
        r#"first = { on = "a", start = "1s", for = "1s", hold = "both" }
second = { on = "first", start = "2s", for = "1s", partition = { otherwise = "stall" } }
three = { on = "second", start = "3s", stall = "up" }
"#,
        // In another phase.
        r#"first = { on = "a", phase = "one", think-time = "1ms" }
second = { on = "a", phase = ["two", "setup"], think-time = "2ms" }
"#,
        // On other clients: two shares of one group, and two groups.
        r#"first = { on = "a", fraction = "50%", handshake-abort = "connect", phase = "one" }
second = { on = "a", fraction = "50%", handshake-abort = "init", phase = "one" }
three = { on = "feed", handshake-abort = "upgrade", phase = "one" }
"#,
        // In the other direction.
        r#"first = { on = ["a", "feed"], link-delay = { up = "1ms" } }
second = { on = ["a", "feed"], link-delay = { down = "1ms" } }
"#,
        // Something else with the same clients.
        r#"first = { on = "a", link-delay = { up = "1ms", down = "1ms" } }
second = { on = "a", think-time = "1ms" }
three = { on = "a", for = "1s", stall = "down" }
four = { on = "a", handshake-abort = "connect", phase = "two", for = "1s" }
five = { on = "a", terminate = { how = "fin" } }
six = { on = "a", terminate = { how = "reset", at = "receive" } }
"#,
    ];
    for lines in apart {
        assert_eq!(check(&with_faults(lines)), Ok(Vec::new()), "{lines}");
    }
    // The clients of a stagger begin at times of their own: none of them is hit by both at once.
    let staggered = r#"first = { on = "a", phase = "one", stagger = { linear = "2s" }, for = "1s", stall = "down" }
second = { on = "a", phase = "one", start = "2.999s", for = "1s", hold = "both" }
"#;
    let nearer = staggered.replace("2.999s", "2.9s");
    assert_eq!(check(&with_faults(staggered)), Ok(Vec::new()));
    assert_eq!(check(&with_faults(&nearer)).unwrap_err().0.len(), 1);
}

#[test]
fn publishers_over_http_have_no_connection_that_could_be_ended() {
    let text = with_faults(
        r#"first = { on = "feed", phase = "one", think-time = "1ms" }
second = { on = "feed", link-delay = { up = "1ms" } }
three = { on = "feed", phase = "one", for = "1s", hold = "both" }
four = { on = "feed", phase = "two", for = "1s", stall = "up" }
five = { on = ["a", "feed"], phase = "one", terminate = { how = "reset" } }
six = { on = ["a", "feed"], phase = "two", start = "1s", for = "1s", partition = {} }
seven = { on = "feed", fraction = "10%", phase = "two", handshake-abort = "init" }
eight = { on = "a", phase = "two", for = "1s", handshake-abort = "connect" }

[targets.web]
url = "ws://localhost:1/"
publish = { query = "mutation ($p: String!) { p(p: $p) }", variables = { p = "${payload}" }, http = {} }
"#,
    );
    assert_eq!(check(&text), Ok(Vec::new()));
    let catalogue = Catalogue::from_text(Some(("my.toml", &text))).unwrap();
    let options = Options { target: Some("web".to_owned()), ..Options::default() };
    let problems = catalogue.plan(&["mine"], &options).unwrap_err().0;
    let cannot =
        |kind: &str| format!("this target is published to by HTTP: `feed` cannot be hit by `{kind}`");
    assert_eq!(
        places(&problems),
        [
            format!("14:45 {}", cannot("terminate")),
            format!("15:70 {}", cannot("partition")),
            format!("16:57 {}", cannot("handshake-abort")),
        ]
    );
    assert!(
        problems
            .iter()
            .all(|problem| problem.notes == ["allowed there: think-time, link-delay, hold, stall"])
    );
}

#[test]
fn who_publishes_may_be_silent_while_a_phase_does_not_wait_for_it() {
    let text = with_faults(
        r#"first = { on = "feed", phase = "two", stall = "up" }
second = { on = "feed", phase = "one", for = "1s", hold = "both" }
"#,
    );
    assert_eq!(check(&text), Ok(Vec::new()));
    let of_events = |name: &str| {
        text.replace("rate = \"100/s\"", "rate = \"100/s\", events = 100")
            .replace(&format!("{{ name = \"{name}\", for = \"5s\" }}"), &format!("{{ name = \"{name}\" }}"))
    };
    assert_eq!(check(&of_events("one")), Ok(Vec::new()));
    let message = "`stall` until the end of `two`, which ends with the events of those whom it silences";
    assert_eq!(places(&check(&of_events("two")).unwrap_err().0), [format!("10:39 {message}")]);
}
