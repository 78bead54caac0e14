//! How the threads of a process fared with the processors: how long they ran, and how long they waited to run.
//!
//! Linux only, from `/proc/PID/task/TID/schedstat`: nanoseconds on a processor, nanoseconds on a run queue (kernel
//! documentation, `scheduler/sched-stats`). A process that waits is not slow by itself: whoever else is busy on the
//! machine, be it us, takes what it would have needed.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// The threads of a process at one moment.
#[derive(Debug, Clone, Default)]
pub struct Threads(BTreeMap<u32, Turn>);

/// Time of one thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Turn {
    /// On a processor.
    pub ran: Duration,
    /// Ready, with no processor for it.
    pub waited: Duration,
}

impl Threads {
    /// Looks at the threads of a process; `None`: the kernel does not tell.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
        let turns = tasks.flatten().filter_map(|task| {
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((id, parse(&fs::read_to_string(task.path().join("schedstat")).ok()?)?))
        });
        let turns: BTreeMap<_, _> = turns.collect();
        (!turns.is_empty()).then_some(Self(turns))
    }

    /// The thread that has wanted the processors most since `before`.
    #[must_use]
    pub fn busiest_since(&self, before: &Self) -> Turn {
        let since = self.0.iter().map(|(id, now)| {
            let before = before.0.get(id).copied().unwrap_or_default();
            Turn { ran: now.ran.saturating_sub(before.ran), waited: now.waited.saturating_sub(before.waited) }
        });
        since.max_by_key(|turn| turn.ran + turn.waited).unwrap_or_default()
    }
}

fn parse(schedstat: &str) -> Option<Turn> {
    let mut fields = schedstat.split_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(Turn { ran: fields.next()??, waited: fields.next()?? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(ran: u64, waited: u64) -> Turn {
        Turn { ran: Duration::from_nanos(ran), waited: Duration::from_nanos(waited) }
    }

    #[test]
    fn the_two_first_fields_are_read() {
        assert_eq!(parse("3900 1789 12\n"), Some(turn(3_900, 1_789)));
        assert_eq!([parse(""), parse("12"), parse("a b c")], [None; 3]);
    }

    #[test]
    fn the_busiest_is_who_wanted_most_and_new_threads_count() {
        let before = Threads(BTreeMap::from([(1, turn(100, 0)), (2, turn(900, 900))]));
        let now = Threads(BTreeMap::from([(1, turn(150, 60)), (2, turn(930, 910)), (3, turn(5, 5))]));
        assert_eq!(now.busiest_since(&before), turn(50, 60));
        assert_eq!(now.busiest_since(&Threads::default()), turn(930, 910));
    }

    #[test]
    fn our_own_threads_run() {
        let Some(before) = Threads::of(std::process::id()) else { return };
        let began = crate::metrics::thread_time();
        while crate::metrics::thread_time() - began < Duration::from_millis(20) {}
        let now = Threads::of(std::process::id()).expect("there before");
        // On a busy machine another thread may have waited longer than this one ran.
        let Turn { ran, waited } = now.busiest_since(&before);
        assert!(ran + waited >= Duration::from_millis(15), "{ran:?} {waited:?}");
    }
}
