//! The reference server in a child process: started, watched, and never left behind.
//!
//! It lives in a process group of its own, so that Ctrl-C reaches only us, and it exits when its stdin ends, so
//! that it goes even if we are killed without a word.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinSet;

use crate::care::{Secrets, foreign};

/// How the line begins by which the server says that it listens.
const READY: &str = "listening on ";
/// How long it may take to say so.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long it may take to leave before it is killed.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);
/// How much of what it says on stderr is kept.
const TAIL_MAX: usize = 8 * 1024;
/// The longest line that is looked at for the address.
const LINE_MAX: u64 = 4 * 1024;

/// Why there is no reference server.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// It could not be started.
    #[error("cannot start the reference server {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It left before it listened.
    #[error("the reference server left before it listened{}", said(.stderr))]
    Left {
        /// The last it said on stderr, made safe to show.
        stderr: String,
    },
    /// It did not listen in time.
    #[error("the reference server did not listen within {READY_WITHIN:?}{}", said(.stderr))]
    Late {
        /// The last it said on stderr, made safe to show.
        stderr: String,
    },
    /// It said where it listens, but not in a way that can be read.
    #[error("the reference server said `{line}` instead of where it listens")]
    Unreadable {
        /// What it said, made safe to show.
        line: String,
    },
}

/// A running reference server.
#[derive(Debug)]
pub struct Reference {
    url: http::Uri,
    pid: u32,
    child: Child,
    /// Held open: its end tells the server to leave.
    stdin: Option<ChildStdin>,
    tail: Tail,
    /// Read what the server says, so that it never waits for a full pipe.
    _readers: JoinSet<()>,
}

impl Reference {
    /// Starts this very program as `serve` on a free port of loopback; `extra` follows the usual arguments.
    ///
    /// # Errors
    /// See [`Reference::start`].
    pub async fn of_this_program(extra: &[String]) -> Result<Self, ReferenceError> {
        let program = std::env::current_exe()
            .map_err(|source| ReferenceError::Start { program: PathBuf::from("stressctl"), source })?;
        let usual = ["serve", "--listen", "127.0.0.1:0", "--exit-with-stdin"].map(String::from);
        Self::start(&program, usual.iter().chain(extra)).await
    }

    /// Starts `program` and waits until it says where it listens.
    ///
    /// # Errors
    /// If it cannot be started, leaves, or does not say so in time; nothing is left behind then.
    pub async fn start<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, ReferenceError> {
        let start = |source| ReferenceError::Start { program: program.to_owned(), source };
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(start)?;
        let stdin = child.stdin.take();
        let pid = child.id().ok_or_else(|| start(io::Error::other("it has no process id")))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(start(io::Error::other("it has no pipes")));
        };
        let tail = Tail::default();
        let mut readers = JoinSet::new();
        readers.spawn(keep(stderr, tail.clone()));
        let mut stdout = BufReader::new(stdout);
        let url = match tokio::time::timeout(READY_WITHIN, ready(&mut stdout)).await {
            Err(_) => return Err(ReferenceError::Late { stderr: tail.shown() }),
            Ok(Ok(Some(url))) => url,
            Ok(Err(line)) => return Err(ReferenceError::Unreadable { line }),
            Ok(Ok(None)) => {
                // Its last words may still be in the other pipe.
                let _ = tokio::time::timeout(LEAVE_WITHIN, readers.join_next()).await;
                return Err(ReferenceError::Left { stderr: tail.shown() });
            }
        };
        readers.spawn(keep(stdout, Tail::default()));
        Ok(Self { url, pid, child, stdin, tail, _readers: readers })
    }

    /// Where it listens.
    #[must_use]
    pub const fn url(&self) -> &http::Uri {
        &self.url
    }

    /// Its process, for sampling.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last it said on stderr, made safe to show.
    #[must_use]
    pub fn last_words(&self) -> String {
        self.tail.shown()
    }

    /// Tells it to leave, waits at most 3 s, then kills it.
    ///
    /// # Errors
    /// If the system cannot tell what became of it.
    pub async fn stop(mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        if let Ok(left) = tokio::time::timeout(LEAVE_WITHIN, self.child.wait()).await {
            return left;
        }
        self.child.start_kill()?;
        self.child.wait().await
    }
}

/// Reads lines until one says where the server listens; `None`: there are no more; an error is the odd line.
async fn ready(stdout: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Option<http::Uri>, String> {
    loop {
        let mut line = Vec::new();
        let read = (&mut *stdout).take(LINE_MAX).read_until(b'\n', &mut line).await;
        if read.unwrap_or(0) == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(url) = line.trim().strip_prefix(READY) {
            let odd = || foreign(line.trim(), &Secrets::none());
            let url: http::Uri = url.parse().map_err(|_| odd())?;
            return if url.port_u16().is_some_and(|port| port > 0) { Ok(Some(url)) } else { Err(odd()) };
        }
    }
}

/// Reads to the end and keeps the last of it.
async fn keep(mut from: impl AsyncRead + Unpin, tail: Tail) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        tail.push(&buffer[..count]);
    }
}

/// The last bytes of a stream.
#[derive(Debug, Clone, Default)]
struct Tail {
    bytes: Arc<Mutex<VecDeque<u8>>>,
}

impl Tail {
    fn push(&self, more: &[u8]) {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.extend(more);
        let surplus = bytes.len().saturating_sub(TAIL_MAX);
        bytes.drain(..surplus);
    }

    /// The last lines that fit into what may be shown of foreign text, whole if possible.
    fn shown(&self) -> String {
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(bytes.make_contiguous()).into_owned();
        let mut shown = String::new();
        for line in text.lines().rev().map(str::trim).filter(|line| !line.is_empty()) {
            let longer = if shown.is_empty() { line.to_owned() } else { format!("{line}; {shown}") };
            if !shown.is_empty() && longer.len() > crate::care::FOREIGN_MAX {
                break;
            }
            shown = longer;
        }
        foreign(shown, &Secrets::none())
    }
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
