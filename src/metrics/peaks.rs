//! Peaks of memory within a part of a run, from samples.
//!
//! The kernel's own mark is that of a process's whole life, and resetting it is not ours to do to a server. So a peak
//! between two samples is not seen; they are a tenth of a second apart.

use super::resources::Sample;
use crate::report::model::{PhaseMemory, PhaseResources};

/// The highest memory of both processes since it was begun.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peaks {
    client: Option<u64>,
    server: Option<u64>,
}

impl Peaks {
    /// Takes in what was seen.
    pub fn see(&mut self, sample: &Sample) {
        self.note(sample.client.memory_bytes, sample.server.memory_bytes());
    }

    fn note(&mut self, client: u64, server: Option<u64>) {
        self.client = self.client.max(Some(client));
        self.server = self.server.max(server);
    }

    /// The client's, in bytes; `None`: nothing was seen.
    #[must_use]
    pub fn client(&self) -> Option<u64> {
        self.client
    }

    /// The server's, in bytes; `None`: it was not seen.
    #[must_use]
    pub fn server(&self) -> Option<u64> {
        self.server
    }

    /// As the report of a phase shows it.
    #[must_use]
    pub fn report(&self) -> PhaseResources {
        let memory = |peak: Option<u64>| peak.map(|memory_peak_bytes| PhaseMemory { memory_peak_bytes });
        PhaseResources { client: memory(self.client), server: memory(self.server) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_counts_and_what_was_not_seen_is_none() {
        let mut peaks = Peaks::default();
        assert_eq!(peaks.report(), PhaseResources::default());
        for (client, server) in [(5, None), (9, Some(100)), (7, Some(300)), (8, Some(200)), (1, None)] {
            peaks.note(client, server);
        }
        assert_eq!((peaks.client(), peaks.server()), (Some(9), Some(300)));
        assert_eq!(peaks.report().server, Some(PhaseMemory { memory_peak_bytes: 300 }));
    }
}
