//! Looks at processes through /proc.

use std::fs;

/// A process as it was when looked at; its start time tells it from a later one with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) id: u32,
    pub(crate) parent: u32,
    pub(crate) command: String,
    started: u64,
    state: char,
}

impl Process {
    /// Reads one process; `None`: there is none.
    pub(crate) fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name is in parentheses and may hold anything; the last one closes it.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let command = fs::read(format!("/proc/{id}/cmdline")).ok()?;
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            command: String::from_utf8_lossy(&command).replace('\0', " ").trim_end().to_owned(),
            started: fields.get(19)?.parse().ok()?,
            state: fields.first()?.chars().next()?,
        })
    }

    /// Whether this very process still runs; one that only waits to be reaped does not.
    pub(crate) fn runs(&self) -> bool {
        Self::read(self.id).is_some_and(|now| now.started == self.started && !matches!(now.state, 'Z' | 'X'))
    }

    /// How many files it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id)).map_or(0, Iterator::count)
    }
}

/// All processes that a process started, and theirs.
pub(crate) fn descendants(ancestor: u32) -> Vec<Process> {
    let all: Vec<Process> = fs::read_dir("/proc")
        .expect("there is a /proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Process::read)
        .collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = vec![ancestor];
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            parents.push(process.id);
            found.push(process.clone());
        }
    }
    found
}
