//! What cannot fit is refused before the start: a run that breaks on its own machine says nothing of a server.

use std::fmt;

use super::machine::Machine;
use super::needs::{Needs, bytes, count};
use crate::scenarios::plan::{FaultKind, Plan};

/// Exit code of a run that did not start because the machine is too small: inconclusive.
pub const EXIT_TOO_SMALL: u8 = 3;

/// What there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Files of one process.
    Files,
    /// Ephemeral ports.
    Ports,
    /// Memory.
    Memory,
}

/// One thing there is too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    /// What.
    pub of: Resource,
    /// How much is needed.
    pub needed: u64,
    /// How much there is.
    pub available: u64,
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, available) = (self.needed, self.available);
        match self.of {
            Resource::Files => write!(
                f,
                "needs {} open files and may have {}: raise the hard limit (`ulimit -Hn {needed}` as root, or \
                 LimitNOFILE in the unit), or shrink the run with --scale",
                count(needed),
                count(available),
            ),
            Resource::Ports => write!(
                f,
                "needs {} ports to one address and has {}: widen the range (`sysctl -w \
                 net.ipv4.ip_local_port_range=\"1024 65535\"`), or shrink the run with --scale",
                count(needed),
                count(available),
            ),
            Resource::Memory => write!(
                f,
                "needs about {} of memory and {} are available: free some, or shrink the run with --scale",
                bytes(needed),
                bytes(available),
            ),
        }
    }
}

/// Holds what a plan needs against what the machine has.
///
/// # Errors
/// Everything there is too little of, not only the first.
pub fn check(needs: &Needs, machine: &Machine) -> Result<(), Vec<Shortage>> {
    let mut shortages = Vec::new();
    let mut hold = |of, needed, available| {
        if needed > available {
            shortages.push(Shortage { of, needed, available });
        }
    };
    hold(Resource::Files, needs.files, machine.files);
    hold(Resource::Ports, needs.ports, machine.ports);
    // Not known is not too little.
    hold(Resource::Memory, needs.memory_bytes, machine.memory_available_bytes.unwrap_or(u64::MAX));
    if shortages.is_empty() { Ok(()) } else { Err(shortages) }
}

/// What becomes of a plan's partitions on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitions {
    /// There are none.
    None,
    /// They can be made.
    Allowed,
    /// They run as stalls, as the plan says they may.
    AsStalls,
    /// One of them has to be a partition, and cannot be.
    Refused,
}

/// What is said where a partition cannot be made.
pub const NO_PARTITION: &str = "this kernel does not let stressctl drop what arrives on its own sockets \
    (SO_ATTACH_FILTER), so it cannot partition: run it with CAP_NET_ADMIN, or write partition = { otherwise = \"stall\" }";

/// Whether a plan's partitions can be made; `allowed` is asked only if there are any.
pub fn partitions(plan: &Plan, allowed: impl FnOnce() -> bool) -> Partitions {
    let mut all = plan.faults.iter().filter_map(|fault| match fault.kind {
        FaultKind::Partition { or_stall } => Some(or_stall),
        _ => None,
    });
    match all.next() {
        None => Partitions::None,
        Some(_) if allowed() => Partitions::Allowed,
        Some(or_stall) if or_stall && all.all(|or_stall| or_stall) => Partitions::AsStalls,
        Some(_) => Partitions::Refused,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::needs::tests::plan;
    use super::*;
    use crate::scenarios::plan::{Direction, Fault, Stagger};

    fn machine(files: u64, ports: u64, memory: Option<u64>) -> Machine {
        Machine { files, ports, memory_available_bytes: memory, ..Machine::default() }
    }

    #[test]
    fn a_partition_is_refused_only_where_it_may_not_be_a_stall() {
        let with = |kinds: &[bool]| {
            let mut plan = plan(10);
            plan.faults = kinds.iter().map(|or_stall| partition(*or_stall)).collect();
            plan
        };
        let not_asked = || -> bool { panic!("there is nothing to ask for") };
        assert_eq!(partitions(&with(&[]), not_asked), Partitions::None);
        assert_eq!(partitions(&with(&[false, true]), || true), Partitions::Allowed);
        assert_eq!(partitions(&with(&[true, true]), || false), Partitions::AsStalls);
        assert_eq!(partitions(&with(&[true, false]), || false), Partitions::Refused);
        let mut plan = with(&[true]);
        assert!(!plan.stall_instead_of_partition());
        assert_eq!(plan.faults[0].kind, FaultKind::Stall(Direction::Both));
        assert!(with(&[false]).stall_instead_of_partition());
    }

    fn partition(or_stall: bool) -> Fault {
        Fault {
            name: "silent".to_owned(),
            on: Vec::new(),
            parts: Vec::new(),
            start: Duration::ZERO,
            length: None,
            stagger: Stagger::Together,
            kind: FaultKind::Partition { or_stall },
            operations: None,
        }
    }

    #[test]
    fn what_fits_exactly_fits() {
        let needs = Needs::of(&plan(10_000), true, 1);
        assert_eq!(check(&needs, &machine(needs.files, needs.ports, Some(needs.memory_bytes))), Ok(()));
        assert_eq!(check(&needs, &machine(needs.files, needs.ports, None)), Ok(()));
    }

    #[test]
    fn every_shortage_is_named_with_its_remedy() {
        let needs = Needs { memory_bytes: 3 << 30, ..Needs::of(&plan(30_000), true, 1) };
        let shortages = check(&needs, &machine(20_000, 28_232, Some(1 << 30))).unwrap_err();
        let texts: Vec<String> = shortages.iter().map(Shortage::to_string).collect();
        assert_eq!(
            texts,
            [
                "needs 30,130 open files and may have 20,000: raise the hard limit (`ulimit -Hn 30130` as root, \
                 or LimitNOFILE in the unit), or shrink the run with --scale",
                "needs 30,002 ports to one address and has 28,232: widen the range (`sysctl -w \
                 net.ipv4.ip_local_port_range=\"1024 65535\"`), or shrink the run with --scale",
                "needs about 3.0 GiB of memory and 1.0 GiB are available: free some, or shrink the run with \
                 --scale",
            ]
        );
    }
}
