//! Reads `KIND[=PARAMETERS]`, and says what is allowed where something else was written.

use std::fmt::{Display, Write};
use std::str::FromStr;
use std::time::Duration;

use super::super::options::Size;
use super::choice::{Channels, Rule, draw};
use super::kind::{Breakage, Counter, Defect, Kind};

/// Below this, a payload is taken for a probe or a barrier.
const MIN_BYTES: usize = 100;

/// A header's first bytes mark it, and its last belong to its check; what lies between is its content.
pub(super) const HEADER: std::ops::Range<usize> = 10..70;

const USUAL: &[&str] = &["channels", "times", "every", "seed", "skip", "min-bytes"];
const OF_CONNECTIONS: &[&str] = &["times", "every", "seed"];
const OF_SUBSCRIPTIONS: &[&str] = &["channels", "times", "every", "seed"];

/// Every kind: its name, the parameters it shares with others, its own.
const KINDS: &[(&str, &[&str], &[&str])] = &[
    ("drop", USUAL, &[]),
    ("drop-tail", &["channels", "times", "min-bytes"], &["after"]),
    ("drop-when-slow", USUAL, &[]),
    ("drop-first", OF_SUBSCRIPTIONS, &["min-bytes"]),
    ("drop-on-reconnect", OF_SUBSCRIPTIONS, &["min-bytes"]),
    ("duplicate", USUAL, &[]),
    ("duplicate-on-reconnect", OF_SUBSCRIPTIONS, &["min-bytes", "events", "lag"]),
    ("reorder", USUAL, &["by"]),
    ("corrupt-filler", USUAL, &["from-end"]),
    ("corrupt-header", USUAL, &["at"]),
    ("break-frame", USUAL, &["how"]),
    ("truncate", USUAL, &["share"]),
    ("misroute", USUAL, &[]),
    ("after-unsubscribe", OF_SUBSCRIPTIONS, &["min-bytes", "events"]),
    ("replay-old-run", USUAL, &["payload"]),
    ("ack-and-forget", USUAL, &[]),
    ("no-ack", USUAL, &[]),
    ("forget-subscription", OF_SUBSCRIPTIONS, &["min-bytes", "after"]),
    ("not-restored", OF_SUBSCRIPTIONS, &[]),
    ("stale-count", OF_SUBSCRIPTIONS, &["for"]),
    ("keep-subscriptions", OF_SUBSCRIPTIONS, &["bytes"]),
    ("miscount", &["channels", "skip", "min-bytes"], &["counter", "by", "from", "until"]),
    ("leak-per-connection", OF_CONNECTIONS, &["bytes"]),
    ("leak-per-event", USUAL, &["bytes"]),
    ("stall", USUAL, &["after"]),
    ("no-pong", OF_SUBSCRIPTIONS, &["after"]),
    ("close-without-frame", USUAL, &["after"]),
    ("starve-accepts", &[], &["after", "pause"]),
    ("serialise", &[], &[]),
    ("slow-down", &["channels", "skip", "min-bytes"], &["step", "max"]),
    ("slow-publish", &["channels", "skip", "min-bytes"], &["per"]),
];

/// Kinds that strike wherever they can unless told otherwise; the others strike once.
const ALWAYS: &[&str] = &[
    "drop-when-slow",
    "drop-on-reconnect",
    "stale-count",
    "leak-per-connection",
    "leak-per-event",
    "miscount",
    "no-pong",
    "starve-accepts",
    "serialise",
    "slow-down",
    "slow-publish",
];

/// Kinds that any message will do for, however short.
const ANY_LENGTH: &[&str] = &["drop-first", "after-unsubscribe"];

const BREAKAGES: &[(&str, Breakage)] = &[
    ("reserved", Breakage::Reserved),
    ("opcode", Breakage::Opcode),
    ("masked", Breakage::Masked),
    ("utf8", Breakage::Utf8),
];

const COUNTERS: &[(&str, Counter)] = &[
    ("delivered", Counter::Delivered),
    ("published", Counter::Published),
    ("connections", Counter::Connections),
    ("subscriptions", Counter::Subscriptions),
];

impl Defect {
    /// The names of all kinds.
    pub fn kinds() -> impl Iterator<Item = &'static str> {
        KINDS.iter().map(|known| known.0)
    }
}

impl FromStr for Defect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, parameters) = text.split_once('=').unwrap_or((text, ""));
        let Some(&(name, shared, own)) = KINDS.iter().find(|known| known.0 == name) else {
            return Err(unknown("defect", name, KINDS.iter().map(|known| known.0)));
        };
        let given = Given::read(name, parameters, &[shared, own].concat())?;
        let often = given.number("every")?;
        let once = often.is_none() && !ALWAYS.contains(&name);
        let rule = Rule {
            // Two kinds with one seed must not hit the same places.
            seed: draw(given.number_or("seed", 0)?, name, 0),
            every: often.unwrap_or(1),
            times: given.number("times")?.or(once.then_some(1)),
        };
        if rule.every == 0 {
            return Err(given.wrong("every", "0", "a number from 1 on"));
        }
        let shortest = if ANY_LENGTH.contains(&name) { 0 } else { MIN_BYTES };
        let channels = given.read_as("channels", "numbers such as 3, 10-19 or 1-3+7", Channels::parse)?;
        Ok(Self {
            kind: kind(name, &given)?,
            name,
            parameters: parameters.to_owned(),
            channels: channels.unwrap_or_default(),
            rule,
            skip: given.number_or("skip", 0)?,
            min_bytes: given.number_or("min-bytes", shortest)?,
        })
    }
}

/// The kind of this name with its own parameters.
fn kind(name: &str, given: &Given<'_>) -> Result<Kind, String> {
    let duration = |key| {
        let read = |text: &str| humantime::parse_duration(text).ok();
        given.read_as(key, "a duration such as 5ms", read)
    };
    let size = |text: &str| text.parse::<Size>().ok().map(|size| size.0);
    let bytes =
        |default| given.read_as("bytes", "a size such as 64KiB", size).map(|bytes| bytes.unwrap_or(default));
    Ok(match name {
        "drop" => Kind::Drop,
        "drop-tail" => Kind::DropTail { after: given.required("after", given.number("after")?)? },
        "drop-when-slow" => Kind::DropWhenSlow,
        "drop-first" => Kind::DropFirst,
        "drop-on-reconnect" => Kind::DropOnReconnect,
        "duplicate" => Kind::Duplicate,
        "duplicate-on-reconnect" => Kind::DuplicateOnReconnect {
            events: given.positive_or("events", 1)?,
            lag: given.number_or("lag", 10)?,
        },
        "reorder" => Kind::Reorder { by: given.positive_or("by", 1)? },
        "corrupt-filler" => Kind::CorruptFiller { from_end: given.positive_or("from-end", 20)? },
        "corrupt-header" => Kind::CorruptHeader { at: given.number("at")? },
        "break-frame" => Kind::BreakFrame(given.one_of("how", BREAKAGES)?.unwrap_or(Breakage::Reserved)),
        "truncate" => {
            let share = |text: &str| text.parse().ok().filter(|share| (0.0..1.0).contains(share));
            let share = given.read_as("share", "a number from 0 to below 1", share)?;
            Kind::Truncate { share: share.unwrap_or(0.7) }
        }
        "misroute" => Kind::Misroute,
        "after-unsubscribe" => Kind::AfterUnsubscribe { events: given.positive_or("events", 1)? },
        "replay-old-run" => {
            let payload = given.get("payload").map(str::to_owned);
            Kind::ReplayOldRun { payload: given.required("payload", payload)? }
        }
        "ack-and-forget" => Kind::AckAndForget,
        "no-ack" => Kind::NoAck,
        "forget-subscription" => Kind::ForgetSubscription { after: given.number_or("after", 0)? },
        "not-restored" => Kind::NotRestored,
        "stale-count" => Kind::StaleCount { lasting: duration("for")? },
        "keep-subscriptions" => Kind::KeepSubscriptions { bytes: bytes(1 << 10)? },
        "miscount" => Kind::Miscount {
            counter: given.required("counter", given.one_of("counter", COUNTERS)?)?,
            by: given.number_or("by", 1)?,
            from: given.positive_or("from", 1)?,
            until: given.positive_or("until", u64::MAX)?,
        },
        "leak-per-connection" => Kind::LeakPerConnection { bytes: bytes(64 << 10)? },
        "leak-per-event" => Kind::LeakPerEvent { bytes: bytes(4 << 10)? },
        "stall" => Kind::Stall { after: given.number_or("after", 0)? },
        "no-pong" => Kind::NoPong { after: given.number_or("after", 0)? },
        "close-without-frame" => Kind::CloseWithoutFrame { after: given.positive_or("after", 1)? },
        "starve-accepts" => Kind::StarveAccepts {
            after: given.number_or("after", 16)?,
            pause: duration("pause")?.unwrap_or(Duration::from_millis(100)),
        },
        "serialise" => Kind::Serialise,
        "slow-publish" => Kind::SlowPublish { per: given.required("per", duration("per")?)? },
        "slow-down" => Kind::SlowDown {
            step: given.required("step", duration("step")?)?,
            max: duration("max")?.unwrap_or(Duration::MAX),
        },
        other => unreachable!("{other} is in the table and not here"),
    })
}

/// The parameters that were given.
struct Given<'a> {
    kind: &'static str,
    pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Given<'a> {
    fn read(kind: &'static str, text: &'a str, allowed: &[&'static str]) -> Result<Self, String> {
        let mut given = Self { kind, pairs: Vec::new() };
        for pair in text.split(',').filter(|_| !text.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(format!(
                    "`{pair}` is not a parameter; parameters are KEY=VALUE, with commas between them"
                ));
            };
            if !allowed.contains(&key) {
                return Err(unknown(&format!("parameter of {kind}"), key, allowed.iter().copied()));
            }
            if given.get(key).is_some() {
                return Err(format!("{kind} has two values for {key}; give one"));
            }
            given.pairs.push((key, value));
        }
        Ok(given)
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.pairs.iter().find(|pair| pair.0 == key).map(|pair| pair.1)
    }

    fn read_as<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, String> {
        let Some(text) = self.get(key) else { return Ok(None) };
        read(text).map(Some).ok_or_else(|| self.wrong(key, text, expected))
    }

    fn number<T: FromStr>(&self, key: &str) -> Result<Option<T>, String> {
        self.read_as(key, "a whole number", |text| text.parse().ok())
    }

    fn number_or<T: FromStr>(&self, key: &str, default: T) -> Result<T, String> {
        Ok(self.number(key)?.unwrap_or(default))
    }

    fn positive_or<T: FromStr + Default + PartialEq>(&self, key: &str, default: T) -> Result<T, String> {
        let positive = |text: &str| text.parse().ok().filter(|n| *n != T::default());
        Ok(self.read_as(key, "a number from 1 on", positive)?.unwrap_or(default))
    }

    fn one_of<T: Copy>(&self, key: &str, known: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(text) = self.get(key) else { return Ok(None) };
        match known.iter().find(|known| known.0 == text) {
            Some(&(_, value)) => Ok(Some(value)),
            None => Err(unknown(&format!("{key} of {}", self.kind), text, known.iter().map(|known| known.0))),
        }
    }

    fn required<T>(&self, key: &str, value: Option<T>) -> Result<T, String> {
        value.ok_or_else(|| format!("{} needs {key}; write {}={key}=…", self.kind, self.kind))
    }

    fn wrong(&self, key: &str, text: &str, expected: impl Display) -> String {
        format!("{key}={text} of {} is not {expected}", self.kind)
    }
}

/// Says that there is no such thing, what was probably meant, and what there is.
fn unknown<'a>(what: &str, found: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut text = format!("there is no {what} `{found}`");
    let near = known.clone().map(|name| (strsim::damerau_levenshtein(found, name), name)).min();
    if let Some((distance, name)) = near
        && distance <= 1 + found.len() / 4
    {
        write!(text, "; did you mean `{name}`?").expect("writing to a string does not fail");
    }
    let all = known.collect::<Vec<_>>().join(", ");
    text + " (there are: " + &all + ")"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Defect {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn refused(text: &str) -> String {
        text.parse::<Defect>().expect_err(text)
    }

    #[test]
    fn a_kind_alone_strikes_once_on_every_channel() {
        let drop = parse("drop");
        assert_eq!((&drop.kind, drop.name, &*drop.parameters), (&Kind::Drop, "drop", ""));
        assert_eq!((drop.rule.every, drop.rule.times, drop.skip, drop.min_bytes), (1, Some(1), 0, 100));
        assert!(drop.channels.contain("any"));
        assert_eq!(parse("drop=every=10").rule.times, None);
        assert_eq!(parse("leak-per-event").rule.times, None);
        assert_eq!(parse("after-unsubscribe").min_bytes, 0);
    }

    #[test]
    fn parameters_are_read() {
        let text = "times=7,channels=10-19+3,seed=3,every=5,skip=2,min-bytes=9,by=4";
        let reorder = parse(&format!("reorder={text}"));
        assert_eq!((&reorder.kind, &*reorder.parameters), (&Kind::Reorder { by: 4 }, text));
        assert_eq!((reorder.rule.every, reorder.rule.times), (5, Some(7)));
        assert_eq!((reorder.skip, reorder.min_bytes), (2, 9));
        assert!(reorder.channels.contain("c-3") && !reorder.channels.contain("c-4"));
        assert_ne!(reorder.rule.seed, parse("duplicate=seed=3").rule.seed);
        assert_ne!(reorder.rule.seed, parse("reorder=seed=4").rule.seed);
    }

    #[test]
    fn every_kind_takes_its_own_parameters() {
        let kind = |text| parse(text).kind;
        assert_eq!(kind("drop-tail=after=90,times=10"), Kind::DropTail { after: 90 });
        assert_eq!(
            kind("duplicate-on-reconnect=events=3,lag=0"),
            Kind::DuplicateOnReconnect { events: 3, lag: 0 }
        );
        assert_eq!(kind("corrupt-filler=from-end=1"), Kind::CorruptFiller { from_end: 1 });
        assert_eq!(kind("corrupt-header=at=12"), Kind::CorruptHeader { at: Some(12) });
        assert_eq!(kind("break-frame=how=masked"), Kind::BreakFrame(Breakage::Masked));
        assert_eq!(kind("truncate=share=0.5"), Kind::Truncate { share: 0.5 });
        assert_eq!(kind("after-unsubscribe=events=2"), Kind::AfterUnsubscribe { events: 2 });
        let replay = Kind::ReplayOldRun { payload: "a=b".into() };
        assert_eq!(kind("replay-old-run=payload=a=b,times=2"), replay);
        assert_eq!(kind("keep-subscriptions=bytes=1MiB"), Kind::KeepSubscriptions { bytes: 1 << 20 });
        let miscount = Kind::Miscount { counter: Counter::Published, by: -3, from: 1, until: u64::MAX };
        assert_eq!(kind("miscount=counter=published,by=-3"), miscount);
        assert_eq!(kind("leak-per-connection=bytes=10"), Kind::LeakPerConnection { bytes: 10 });
        assert_eq!(kind("stall=after=5"), Kind::Stall { after: 5 });
        assert_eq!(kind("stale-count"), Kind::StaleCount { lasting: None });
        let for_a_while = Kind::StaleCount { lasting: Some(Duration::from_secs(3)) };
        assert_eq!(kind("stale-count=for=3s,every=2"), for_a_while);
        let starve = |after, pause| Kind::StarveAccepts { after, pause: Duration::from_millis(pause) };
        assert_eq!(kind("starve-accepts"), starve(16, 100));
        assert_eq!(kind("starve-accepts=after=3,pause=1s"), starve(3, 1000));
        let slower = Kind::SlowDown { step: Duration::from_millis(2), max: Duration::from_secs(1) };
        assert_eq!(kind("slow-down=step=2ms,max=1s"), slower);
        let taken = Kind::SlowPublish { per: Duration::from_micros(50) };
        assert_eq!(kind("slow-publish=per=50us"), taken);
        for &(name, _, _) in KINDS {
            let needed = match name {
                "drop-tail" => "=after=1",
                "slow-publish" => "=per=1ms",
                "replay-old-run" => "=payload=x",
                "miscount" => "=counter=delivered",
                "slow-down" => "=step=1ms",
                _ => "",
            };
            assert_eq!(parse(&format!("{name}{needed}")).name, name);
        }
        for name in ALWAYS.iter().chain(ANY_LENGTH) {
            assert!(KINDS.iter().any(|known| known.0 == *name), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_allowed() {
        let unknown = refused("dorp=times=1");
        assert!(unknown.starts_with("there is no defect `dorp`; did you mean `drop`? (there are: drop, "));
        assert!(!refused("wrong-somehow").contains("did you mean"));
        assert_eq!(
            refused("drop=tmes=1"),
            "there is no parameter of drop `tmes`; did you mean `times`? (there are: channels, times, every, \
             seed, skip, min-bytes)"
        );
        assert_eq!(
            refused("drop=after=1"),
            "there is no parameter of drop `after` (there are: channels, times, every, seed, skip, min-bytes)"
        );
        assert_eq!(
            refused("break-frame=how=utf"),
            "there is no how of break-frame `utf` (there are: reserved, opcode, masked, utf8)"
                .replace("`utf` ", "`utf`; did you mean `utf8`? ")
        );
        assert_eq!(refused("drop=times=x"), "times=x of drop is not a whole number");
        assert_eq!(refused("drop=every=0"), "every=0 of drop is not a number from 1 on");
        assert_eq!(refused("reorder=by=0"), "by=0 of reorder is not a number from 1 on");
        assert_eq!(refused("truncate=share=1"), "share=1 of truncate is not a number from 0 to below 1");
        assert_eq!(
            refused("drop=channels=1,2"),
            "`2` is not a parameter; parameters are KEY=VALUE, with commas between them"
        );
        assert_eq!(
            refused("drop=channels=2-1"),
            "channels=2-1 of drop is not numbers such as 3, 10-19 or 1-3+7"
        );
        assert_eq!(refused("drop=times=1,times=2"), "drop has two values for times; give one");
        assert_eq!(refused("drop-tail"), "drop-tail needs after; write drop-tail=after=…");
        assert_eq!(refused("slow-down=step=5"), "step=5 of slow-down is not a duration such as 5ms");
        assert_eq!(refused("stall=after=-1"), "after=-1 of stall is not a whole number");
    }
}
