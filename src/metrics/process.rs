//! One look at one process: memory, CPU time, open files.
//!
//! A process is known by its id *and* its start: an id that was handed to another process is a process that is
//! gone. Costs are those of one pid without its tasks; looking at all processes, or listing open files, would
//! cost the generator more than the sample is worth.

use std::fs;
use std::time::Duration;

use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System};

/// The system reckons starts from a boot time that it may correct by a second or so; no id comes round again in
/// that time.
const START_TOLERANCE_S: u64 = 2;

/// What one process used at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory.
    pub memory_bytes: u64,
    /// The most resident memory since the process began, where the kernel keeps it.
    pub memory_high_water_bytes: Option<u64>,
    /// User and system time since the process began.
    pub cpu: Duration,
    /// Open files; `None`: not permitted, or not known on this system.
    pub open_files: Option<u64>,
}

/// One look at a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It runs.
    Seen(Usage),
    /// It runs, but could not be looked at just now.
    Unreadable,
    /// It ended.
    Gone,
}

/// A process under observation.
#[derive(Debug)]
pub struct Watched {
    pid: Pid,
    /// Seconds since 1970; `None`: it was never seen alive.
    started: Option<u64>,
    gone: bool,
}

impl Watched {
    /// Names the process; it is looked at first by [`Watched::look`].
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid: Pid::from_u32(pid), started: None, gone: false }
    }

    /// Its id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_u32()
    }

    /// Looks at it once. One that is gone stays gone, whatever gets its id.
    pub fn look(&mut self, system: &mut System) -> Look {
        if self.gone {
            return Look::Gone;
        }
        let what = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), true, what);
        let Some(process) = system.process(self.pid) else {
            // Out of files, one cannot look at a process that is quite well.
            self.gone = !exists(self.pid());
            return if self.gone { Look::Gone } else { Look::Unreadable };
        };
        let started = *self.started.get_or_insert(process.start_time());
        // A child that ended and was not waited for keeps its entry and uses nothing.
        let ended = matches!(process.status(), ProcessStatus::Zombie | ProcessStatus::Dead);
        if ended || process.start_time().abs_diff(started) > START_TOLERANCE_S {
            self.gone = true;
            return Look::Gone;
        }
        Look::Seen(Usage {
            memory_bytes: process.memory(),
            memory_high_water_bytes: high_water(self.pid()),
            cpu: Duration::from_millis(process.accumulated_cpu_time()),
            open_files: open_files(self.pid()),
        })
    }
}

/// Asks the kernel without opening anything.
#[must_use]
pub fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    // Not being permitted to signal it shows that it is there.
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// `VmHWM` of /proc/PID/status.
fn high_water(pid: u32) -> Option<u64> {
    parse_high_water(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
}

fn parse_high_water(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Since Linux 6.2 the length of /proc/PID/fd is the number of open files; before, it is 0 and one has to count.
fn open_files(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    match fs::metadata(&path).ok()?.len() {
        0 => fs::read_dir(&path).ok().map(|entries| entries.count() as u64),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn high_water_is_read_in_bytes() {
        assert_eq!(parse_high_water("Name:\tx\nVmPeak:\t 9 kB\nVmHWM:\t  1234 kB\n"), Some(1_263_616));
        assert_eq!(parse_high_water("Name:\tkthreadd\n"), None);
        assert_eq!(parse_high_water("VmHWM:\t many\n"), None);
    }

    #[test]
    fn this_process_uses_memory_and_files() {
        let files: Vec<_> = (0..50).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let look = Watched::new(std::process::id()).look(&mut System::new().unwrap());
        let Look::Seen(usage) = look else { panic!("{look:?}") };
        assert!(usage.memory_bytes > 500_000, "{usage:?}");
        if cfg!(target_os = "linux") {
            assert!(usage.open_files.unwrap() >= files.len() as u64 + 3, "{usage:?}");
            assert!(usage.memory_high_water_bytes.unwrap() > 500_000, "{usage:?}");
        }
    }

    #[test]
    fn a_process_that_ended_is_gone_even_before_it_is_waited_for() {
        let mut child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        let (mut system, mut watched) = (System::new().unwrap(), Watched::new(child.id()));
        assert!(matches!(watched.look(&mut system), Look::Seen(_)));
        child.kill().unwrap();
        let mut looks = 0;
        while watched.look(&mut system) != Look::Gone {
            looks += 1;
            assert!(looks < 500, "still there");
            std::thread::sleep(Duration::from_millis(10));
        }
        child.wait().unwrap();
        assert_eq!(watched.look(&mut system), Look::Gone);
    }

    #[test]
    fn another_process_under_the_same_id_is_not_the_one_watched() {
        let mut watched = Watched { started: Some(1), ..Watched::new(std::process::id()) };
        assert_eq!(watched.look(&mut System::new().unwrap()), Look::Gone);
        watched.started = None;
        assert_eq!(watched.look(&mut System::new().unwrap()), Look::Gone, "gone is final");
    }

    #[test]
    fn a_process_exists_or_does_not() {
        assert!(exists(std::process::id()) && exists(1), "ours, and one we may not signal");
        assert!(!exists(u32::MAX / 2) && !exists(u32::MAX) && !exists(0));
    }

    #[test]
    fn an_id_without_a_process_is_gone() {
        assert_eq!(Watched::new(u32::MAX / 2).look(&mut System::new().unwrap()), Look::Gone);
    }
}
