//! What the kernel says about processes and threads.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// CPU time of every thread of a process, by thread id, with its name; threads that have ended are gone.
pub(crate) fn threads(pid: u32) -> BTreeMap<u32, (String, Duration)> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeMap::new() };
    let ids = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok());
    ids.filter_map(|tid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
        let cpu = schedstat(&format!("/proc/{pid}/task/{tid}/schedstat"))?;
        Some((tid, (name.trim().to_owned(), cpu)))
    })
    .collect()
}

/// CPU time of the threads whose names begin with `name`.
pub(crate) fn thread_cpu(pid: u32, name: &str) -> Duration {
    threads(pid).values().filter(|(n, _)| n.starts_with(name)).map(|(_, cpu)| *cpu).sum()
}

/// CPU time of all threads that are alive.
pub(crate) fn process_cpu(pid: u32) -> Duration {
    thread_cpu(pid, "")
}

/// `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms.
fn schedstat(path: &str) -> Option<Duration> {
    let text = fs::read_to_string(path).ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Times the threads whose names begin with `name` went to sleep of their own accord.
pub(crate) fn thread_waits(pid: u32, name: &str) -> u64 {
    let ids = threads(pid).into_iter().filter(|(_, (n, _))| n.starts_with(name));
    ids.filter_map(|(tid, _)| field(&format!("/proc/{pid}/task/{tid}/status"), WAITS)).sum()
}

/// The same of the calling thread.
pub(crate) fn own_waits() -> u64 {
    field("/proc/thread-self/status", WAITS).unwrap_or(0)
}

const WAITS: &str = "voluntary_ctxt_switches:";

/// Resident memory in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    field(&format!("/proc/{pid}/status"), "VmRSS:").unwrap_or(0) * 1024
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The machine in one line.
pub(crate) fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("unknown processor");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = model.trim_start_matches(['\t', ' ', ':']);
    format!("{cpus} x {model}, Linux {}, load average {load} before the start", kernel.trim())
}
