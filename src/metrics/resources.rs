//! Memory, CPU time and open files of this process and, where its pid is known, of the server's.
//!
//! One [`Monitor::sample`] of both processes costs 0.14 ms with 10,000 open files in each (2 cores, unoptimised
//! build); it belongs on the conductor's thread, once a second, never on a shard.

use std::time::Duration;

use sysinfo::System;

use super::process::{Look, Usage, Watched};
use super::threads::Threads;
use crate::report::model::{ClientResources, ServerResources};

/// Samples two processes and remembers start, peak and end.
#[derive(Debug)]
pub struct Monitor {
    system: System,
    own: Tracked,
    server: Option<Tracked>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// This process.
    pub client: Usage,
    /// The server's.
    pub server: ServerSample,
}

/// The server's process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSample {
    /// Its pid is not known, or it could not be looked at just now.
    Unknown,
    /// It runs.
    Running(Usage),
    /// It ran, or should have, and is gone: the server died.
    Gone,
}

impl ServerSample {
    /// Its resident memory, if it runs.
    #[must_use]
    pub const fn memory_bytes(&self) -> Option<u64> {
        match self {
            Self::Running(usage) => Some(usage.memory_bytes),
            Self::Unknown | Self::Gone => None,
        }
    }
}

impl Monitor {
    /// Watches `own` and, where known, the server's process.
    ///
    /// # Errors
    /// If this system does not show its processes.
    pub fn new(own: u32, server: Option<u32>) -> Result<Self, sysinfo::Error> {
        Ok(Self { system: System::new()?, own: Tracked::new(own), server: server.map(Tracked::new) })
    }

    /// Looks at both processes.
    pub fn sample(&mut self) -> Sample {
        self.own.look(&mut self.system);
        let server = match self.server.as_mut().map(|server| server.look(&mut self.system)) {
            None | Some(Look::Unreadable) => ServerSample::Unknown,
            Some(Look::Seen(usage)) => ServerSample::Running(usage),
            Some(Look::Gone) => ServerSample::Gone,
        };
        // Out of files, one cannot look at oneself: the last that was seen is nearer the truth than 0.
        Sample { client: self.own.span.unwrap_or_default().last, server }
    }

    /// This process as the report shows it; `peak_open` connections share its growth.
    #[must_use]
    pub fn client(&self, peak_open: u64) -> ClientResources {
        let span = self.own.span.unwrap_or_default();
        ClientResources {
            memory_start_bytes: span.first.memory_bytes,
            memory_peak_bytes: span.memory_peak(),
            memory_end_bytes: span.last.memory_bytes,
            memory_per_connection_bytes: span.per_connection(peak_open),
            cpu_s: span.cpu().as_secs_f64(),
            fds_peak: span.most_files,
        }
    }

    /// The threads of the server's process; `None`: it is not watched, or the kernel does not tell.
    #[must_use]
    pub fn server_threads(&self) -> Option<Threads> {
        self.server.as_ref().and_then(|server| Threads::of(server.watched.pid()))
    }

    /// The server's process as the report shows it, up to the last sample it was alive in; `None`: never seen.
    #[must_use]
    pub fn server(&self, peak_open: u64) -> Option<ServerResources> {
        let server = self.server.as_ref()?;
        let span = server.span?;
        Some(ServerResources {
            pid: server.watched.pid(),
            memory_bytes: span.last.memory_bytes,
            memory_start_bytes: span.first.memory_bytes,
            memory_peak_bytes: span.memory_peak(),
            memory_end_bytes: span.last.memory_bytes,
            memory_per_connection_bytes: span.per_connection(peak_open),
            cpu_s: span.cpu().as_secs_f64(),
            fds_peak: span.most_files,
        })
    }
}

#[derive(Debug)]
struct Tracked {
    watched: Watched,
    span: Option<Span>,
}

impl Tracked {
    fn new(pid: u32) -> Self {
        Self { watched: Watched::new(pid), span: None }
    }

    fn look(&mut self, system: &mut System) -> Look {
        let look = self.watched.look(system);
        if let Look::Seen(usage) = look {
            self.span.get_or_insert(Span::starting(usage)).extend(usage);
        }
        look
    }
}

/// What samples of one process over one run come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    first: Usage,
    last: Usage,
    most_memory: u64,
    most_files: u64,
}

impl Span {
    fn starting(first: Usage) -> Self {
        Self { first, last: first, most_memory: first.memory_bytes, most_files: 0 }
    }

    fn extend(&mut self, usage: Usage) {
        self.last = usage;
        self.most_memory = self.most_memory.max(usage.memory_bytes);
        self.most_files = self.most_files.max(usage.open_files.unwrap_or(0));
    }

    /// The kernel's high-water mark catches what falls between samples, but it is that of the process's whole
    /// life: only a mark that rose while it was watched is a peak of the run.
    fn memory_peak(&self) -> u64 {
        match (self.first.memory_high_water_bytes, self.last.memory_high_water_bytes) {
            (Some(before), Some(now)) if now > before => now.max(self.most_memory),
            _ => self.most_memory,
        }
    }

    fn per_connection(&self, peak_open: u64) -> Option<f64> {
        let growth = self.memory_peak().saturating_sub(self.first.memory_bytes);
        (peak_open > 0).then(|| growth as f64 / peak_open as f64)
    }

    fn cpu(&self) -> Duration {
        self.last.cpu.saturating_sub(self.first.cpu)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn usage(memory_bytes: u64, high_water: u64, cpu_ms: u64, files: u64) -> Usage {
        Usage {
            memory_bytes,
            memory_high_water_bytes: Some(high_water),
            cpu: Duration::from_millis(cpu_ms),
            open_files: Some(files),
        }
    }

    fn span(samples: &[Usage]) -> Span {
        let mut span = Span::starting(samples[0]);
        samples.iter().for_each(|sample| span.extend(*sample));
        span
    }

    #[test]
    fn a_mark_that_rose_is_the_peak_and_an_older_one_is_not() {
        let rose = span(&[usage(100, 110, 0, 3), usage(200, 350, 0, 3), usage(150, 350, 0, 3)]);
        assert_eq!(rose.memory_peak(), 350);
        let old = span(&[usage(100, 900, 0, 3), usage(200, 900, 0, 3), usage(150, 900, 0, 3)]);
        assert_eq!(old.memory_peak(), 200);
    }

    #[test]
    fn growth_is_shared_by_connections_and_cpu_counts_from_the_start() {
        let span =
            span(&[usage(1_000, 1_000, 500, 4), usage(3_000, 3_000, 900, 20), usage(2_000, 3_000, 1_000, 5)]);
        assert_eq!(span.per_connection(10), Some(200.0));
        assert_eq!(span.per_connection(0), None);
        assert_eq!(span.cpu(), Duration::from_millis(500));
        assert_eq!(span.most_files, 20);
    }

    #[test]
    fn a_server_that_dies_is_gone_and_keeps_its_figures() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let mut monitor = Monitor::new(std::process::id(), Some(child.id())).unwrap();
        assert!(matches!(monitor.sample().server, ServerSample::Running(_)));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(monitor.sample().server, ServerSample::Gone);
        assert_eq!(monitor.server(1).map(|server| server.pid), Some(child.id()));
        monitor.sample();
        assert_eq!(monitor.server(1).map(|server| server.pid), Some(child.id()), "it is not forgotten");
        assert!(monitor.client(1).memory_peak_bytes > 0);
    }

    #[test]
    fn without_a_pid_the_server_is_unknown_not_gone() {
        let mut monitor = Monitor::new(std::process::id(), None).unwrap();
        assert_eq!(monitor.sample().server, ServerSample::Unknown);
        assert_eq!(monitor.server(1), None);
    }
}
