//! How a publisher thinks before each publish: pure but for the draws, which are the plan's.

use std::time::Duration;

use super::weather::{Tally, ThinkSlot};

/// One publisher's thinking.
pub(super) struct Thinker {
    /// What it is told; nothing where no fault ever has it think.
    slot: Option<ThinkSlot>,
    /// What it thinks about.
    now: Option<Thought>,
    /// When it sent last: it thinks about one thing after the other.
    sent_ns: u64,
}

struct Thought {
    began_ns: u64,
    drawn: Duration,
    tally: Tally,
}

impl Thinker {
    pub(super) fn new(slot: Option<ThinkSlot>) -> Self {
        Self { slot, now: None, sent_ns: 0 }
    }

    /// Since when it has thought about the event that is next.
    pub(super) fn began_ns(&self) -> Option<u64> {
        self.now.as_ref().map(|thought| thought.began_ns)
    }

    /// Since when an event that was due at `due_ns` may be sent; `Err`: when it may be looked at again. It is sent at
    /// once when this says so. Once the fault is over, what was being thought about is sent.
    pub(super) fn ready(&mut self, due_ns: u64, now_ns: u64) -> Result<u64, u64> {
        let Some(slot) = &self.slot else { return Ok(due_ns) };
        let mut slot = slot.borrow_mut();
        let Some(think) = slot.as_mut() else {
            let ready_ns = if self.now.take().is_some() { now_ns } else { due_ns };
            return Ok(ready_ns);
        };
        let began_ns = due_ns.max(self.sent_ns);
        let thought =
            self.now.get_or_insert_with(|| Thought { began_ns, drawn: think.draw(), tally: think.tally() });
        let drawn_ns = u64::try_from(thought.drawn.as_nanos()).unwrap_or(u64::MAX);
        let ready_ns = thought.began_ns.saturating_add(drawn_ns);
        if ready_ns > now_ns {
            return Err(ready_ns);
        }
        let realised = Duration::from_nanos(now_ns - thought.began_ns);
        thought.tally.borrow_mut().delayed(thought.drawn, realised);
        self.now = None;
        self.sent_ns = now_ns;
        Ok(ready_ns)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::clients::weather::Climate;
    use crate::inject::Schedule;
    use crate::scenarios::catalogue::{Catalogue, Options};
    use crate::scenarios::plan::{Crew, Delay, FaultKind};

    const MS: u64 = 1_000_000;

    const FILE: &str = r#"[scenarios.a]
about = "x"
subscribers.clients = { connections = 1 }
publishers.feed = { rate = "10/s", events = 10 }
"#;

    /// One publisher that thinks for so long, and what was noted of it.
    fn thinker(delay: Delay) -> (Thinker, Climate, Tally) {
        let catalogue = Catalogue::from_text(Some(("a.toml", FILE))).expect("a good file");
        let mut plan = catalogue.plan(&["a"], &Options::default()).expect("a good plan").plans.remove(0);
        let kind = FaultKind::ThinkTime(delay);
        plan.faults = vec![crate::scenarios::plan::Fault {
            name: "think".to_owned(),
            on: vec![crate::scenarios::plan::Aim::Group { group: Crew::Publishers(0), count: 1 }],
            parts: vec![crate::scenarios::plan::Part::Phase(0)],
            start: Duration::ZERO,
            length: None,
            stagger: crate::scenarios::plan::Stagger::Together,
            kind: kind.clone(),
            operations: None,
        }];
        let schedule = Schedule::of(&plan);
        let climate =
            Climate::of(&schedule, std::slice::from_ref(&kind), |connection| (connection == 1).then_some(0));
        let tally = Tally::default();
        let draws = |lane| schedule.delays(0, 1, lane);
        assert!(climate.begin(0, 0, &kind, draws, &tally));
        (Thinker::new(climate.think(0)), climate, tally)
    }

    #[test]
    fn it_thinks_before_each_and_about_one_after_the_other() {
        let (mut thinker, _, tally) = thinker(Delay::Fixed(Duration::from_millis(100)));
        assert_eq!(thinker.ready(0, 0), Err(100 * MS));
        assert_eq!(thinker.ready(0, 99 * MS), Err(100 * MS), "it does not begin again");
        assert_eq!(thinker.ready(0, 103 * MS), Ok(100 * MS), "what is late now is late because of us");
        // The next was due long ago: it is thought about from when the one before was sent.
        assert_eq!(thinker.ready(10 * MS, 103 * MS), Err(203 * MS));
        assert_eq!(thinker.ready(10 * MS, 203 * MS), Ok(203 * MS));
        // And this one only when it is due.
        assert_eq!(thinker.ready(500 * MS, 500 * MS), Err(600 * MS));
        assert_eq!(thinker.ready(500 * MS, 600 * MS), Ok(600 * MS));
        let tally = tally.borrow();
        assert_eq!((tally.drawn.count, tally.drawn.mean), (3, 0.1));
        assert!((tally.realised.mean - 0.101).abs() < 1e-9, "{:?}", tally.realised);
    }

    #[test]
    fn what_is_thought_about_when_it_is_over_goes_out_and_is_no_sample() {
        let (mut thinker, climate, tally) = thinker(Delay::Fixed(Duration::from_millis(100)));
        assert_eq!(thinker.ready(0, 0), Err(100 * MS));
        assert_eq!(thinker.began_ns(), Some(0));
        climate.end(0, 0);
        assert_eq!(thinker.ready(0, 40 * MS), Ok(40 * MS));
        assert_eq!(thinker.ready(50 * MS, 51 * MS), Ok(50 * MS));
        assert_eq!((thinker.began_ns(), tally.borrow().drawn.count), (None, 0));
    }

    #[test]
    fn who_is_never_hit_never_thinks() {
        let mut thinker = Thinker::new(None);
        assert_eq!(thinker.ready(7, 9), Ok(7));
        let (_, climate, tally) = super::tests::thinker(Delay::Fixed(Duration::ZERO));
        assert!(climate.think(1).is_none() && Rc::strong_count(&tally) == 2);
    }
}
