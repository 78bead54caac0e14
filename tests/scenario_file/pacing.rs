//! Schedules that may slip, and time that is compressed: what they cannot go with, and how they are shown.

use stressctl::scenarios::catalogue::{Catalogue, Options};

use super::{check, places};

fn slow(rate: &str, more: &str) -> String {
    format!(
        r#"[scenarios.mine]
about = "a rate that is to be held"
time-scale = 10
subscribers.clients = {{ connections = 20, reconnect = "immediate" }}
{more}
[scenarios.mine.publishers.feed]
connections = 2
rate = "{rate}"
events = 20_000
when-behind = "slow-down"
"#
    )
}

const HELD: &str = "expect.rate-held = \"published.rate / predicted >= 99%\"";

#[test]
fn a_schedule_that_may_slip_needs_a_rate_and_somebody_who_judges_it() {
    let place = |text: &str| places(&check(text).unwrap_err().0);
    assert!(check(&slow("100/s", HELD)).is_ok());
    assert_eq!(
        place(&slow("100/s", "")),
        [
            "10:15 `slow-down` needs an expectation about `published.rate / predicted`: nothing else would say that the \
          rate was not held"
        ]
    );
    // Neither a rate of its own nor one of what it is compared with is enough.
    let other = "expect.fast = \"published.rate >= 90/s\"";
    assert_eq!(place(&slow("100/s", other)).len(), 1);
    let closed = place(&slow("one-by-one", HELD));
    let expected = "10:15 `feed` has no schedule that could slip: its rate is no number";
    assert!(closed.iter().any(|problem| problem == expected), "{closed:?}");
}

#[test]
fn what_a_fault_delays_would_be_taken_for_a_server_that_is_behind() {
    let with = |fault: &str| {
        let reached = "reached.all = \"faults.hit.applied / predicted == 100%\"";
        let phases = "phases = [{ name = \"one\" }]";
        slow("100/s", &format!("{HELD}\n{reached}\n{phases}\nfaults.hit = {{ phase = \"one\", {fault} }}"))
    };
    for bad in [
        "on = \"clients\", link-delay = { down = \"100ms\" }",
        "on = \"clients\", hold = \"down\"",
        "on = \"feed\", terminate = { how = \"reset\" }",
        "on = \"feed\", think-time = \"1ms\"",
    ] {
        let problems = places(&check(&with(bad)).unwrap_err().0);
        let expected =
            "13:15 what `hit` delays or ends would be taken for a server that cannot hold the rate of `feed`";
        assert!(problems.iter().any(|problem| problem == expected), "{bad}: {problems:?}");
    }
    let fine = check(&with("on = \"clients\", fraction = \"10%\", terminate = { how = \"reset\" }"));
    assert!(fine.is_ok(), "{fine:?}");
}

#[test]
fn compressed_time_is_called_what_it_is_and_real_time_can_be_had() {
    let catalogue = Catalogue::from_text(None).unwrap();
    let plan = |set: &[&str]| {
        let set = set.iter().map(|text| (*text).to_owned()).collect();
        let options = Options { set, ..Options::default() };
        catalogue.plan(&["soak-24h"], &options).unwrap().plans.remove(0)
    };
    let day = plan(&[]);
    assert_eq!(day.time_scale, 1_000.0);
    let line = day.time_scale_line().unwrap();
    assert!(line.contains("24 h event volume, timers are not exercised"), "{line}");
    assert_eq!((day.predict()["published.rate"], day.predict()["published.attempted"]), (1e5, 8.64e6));
    let real = plan(&["time-scale=1"]);
    assert_eq!((real.time_scale_line(), real.predict()["published.rate"]), (None, 100.0));
    assert_ne!(real.hash, day.hash);
}
