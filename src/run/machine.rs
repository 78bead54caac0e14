//! What this machine has to offer: files, ports, memory.

use std::io;

use sysinfo::System;

use crate::report::model::Host;

/// Ephemeral ports where the system does not say: those that IANA sets aside.
const IANA_PORTS: u64 = 16_384;

/// What there is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Files this process may have open.
    pub files: u64,
    /// Ephemeral ports of one source address to one target port.
    pub ports: u64,
    /// Memory that can be had without swapping; `None`: not known.
    pub memory_available_bytes: Option<u64>,
    /// The machine as the report shows it.
    pub host: Host,
}

/// Raises the limit of open files to the hard limit and returns what it is then. The reference server, a child,
/// inherits it.
///
/// # Errors
/// If the system refuses.
pub fn raise_open_files() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}

/// Processors that this process may use.
fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64)
}

/// One thread of subscribers, two where there are processors to spare for the publishers and the server.
#[must_use]
pub fn subscriber_threads() -> u32 {
    if cpus() >= 4 { 2 } else { 1 }
}

impl Machine {
    /// Looks around; [`raise_open_files`] comes first.
    ///
    /// # Errors
    /// If the limits of this process cannot be read.
    pub fn read() -> io::Result<Self> {
        let files = rlimit::Resource::NOFILE.get_soft()?;
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
        let ports = range.as_deref().and_then(ports_in).unwrap_or(IANA_PORTS);
        let system = System::new().ok().map(|mut system| {
            system.refresh_memory();
            system
        });
        let host = Host {
            os: System::long_os_version().unwrap_or_else(|_| std::env::consts::OS.to_owned()),
            kernel: System::kernel_version().unwrap_or_default(),
            cpus: cpus(),
            memory_bytes: system.as_ref().map_or(0, System::total_memory),
            nofile: files,
            ports,
        };
        Ok(Self { files, ports, memory_available_bytes: system.as_ref().and_then(available), host })
    }
}

/// In a container the group's limit counts, not what the machine has left.
fn available(system: &System) -> Option<u64> {
    let machine = Some(system.available_memory()).filter(|bytes| *bytes > 0);
    let group = system.cgroup_limits().map(|limits| limits.free_memory);
    machine.map(|machine| group.map_or(machine, |group| group.min(machine)))
}

fn ports_in(range: &str) -> Option<u64> {
    let mut ends = range.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (high + 1).checked_sub(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_range_includes_both_ends() {
        assert_eq!(ports_in("32768\t60999\n"), Some(28_232));
        assert_eq!(ports_in("1024 1024"), Some(1));
        assert_eq!(ports_in("60999 32768"), None);
        assert_eq!(ports_in("garbage"), None);
    }

    #[test]
    fn this_machine_has_something_to_offer() {
        let raised = raise_open_files().unwrap();
        let machine = Machine::read().unwrap();
        assert_eq!((machine.files, machine.host.nofile), (raised, raised));
        assert!(machine.ports > 0 && machine.host.cpus > 0, "{machine:?}");
        if cfg!(target_os = "linux") {
            assert!(machine.memory_available_bytes.unwrap() > 0, "{machine:?}");
            assert!(machine.host.memory_bytes > 0 && !machine.host.kernel.is_empty(), "{machine:?}");
        }
    }
}
