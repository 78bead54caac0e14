//! Runs stressctl as a user would: as a process, in a directory of its own, with a limit on everything.
//!
//! It runs in a process group of its own, so that a signal to the group is what Ctrl-C in a terminal is, and so that
//! nothing it started outlives the test.

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use stressctl::clock;
use tempfile::TempDir;

/// A command line to be run.
pub(crate) struct Stressctl {
    command: Command,
    dir: TempDir,
    limit: Duration,
}

impl Stressctl {
    /// `stressctl ARGS`, in an empty directory.
    pub(crate) fn new(args: &[&str]) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_stressctl"));
        command.args(args).current_dir(dir.path()).stdin(Stdio::null()).process_group(0).env("NO_COLOR", "1");
        // What the developer has set must not decide what is tested.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STRESSCTL_") {
                command.env_remove(name);
            }
        }
        Self { command, dir, limit: Duration::from_secs(60) }
    }

    /// `stressctl run --out OUT ARGS`.
    pub(crate) fn run(args: &[&str]) -> Self {
        let mut this = Self::new(&["run"]);
        let out = this.out();
        this.command.arg("--out").arg(out).args(args);
        this
    }

    /// Writes a scenario file and names it with `--scenarios`.
    pub(crate) fn scenarios(mut self, text: &str) -> Self {
        let path = self.file("own-scenarios.toml", text);
        self.command.arg("--scenarios").arg(path);
        self
    }

    /// Writes a file into the directory it will run in.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).expect("the temporary directory can be written");
        path
    }

    /// Sets a variable of its environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lets it open no more than so many files.
    pub(crate) fn files(mut self, most: u32) -> Self {
        let mut limited = Command::new("sh");
        limited.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
        limited.arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => limited.env(name, value),
                None => limited.env_remove(name),
            };
        }
        limited.current_dir(self.dir.path()).stdin(Stdio::null()).process_group(0);
        self.command = limited;
        self
    }

    /// How long it may take; a minute unless told.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Running {
        let mut child =
            self.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("stressctl starts");
        let stdout = Capture::of(child.stdout.take().expect("stdout is piped"));
        let stderr = Capture::of(child.stderr.take().expect("stderr is piped"));
        let out = self.out();
        Running {
            child,
            ended: false,
            stdout,
            stderr,
            started: clock::now(),
            out,
            dir: Some(self.dir),
            limit: self.limit,
        }
    }

    /// Runs it to its end.
    pub(crate) fn finish(self) -> Finished {
        self.start().finish()
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }
}

/// A running stressctl; dropped before its end, it is killed with everything in its process group.
pub(crate) struct Running {
    child: Child,
    ended: bool,
    stdout: Capture,
    stderr: Capture,
    started: clock::Instant,
    out: PathBuf,
    dir: Option<TempDir>,
    limit: Duration,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal to the process alone.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("stressctl is running");
    }

    /// Sends a signal to its whole process group, as a terminal does on Ctrl-C.
    pub(crate) fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid(), signal).expect("stressctl is running");
    }

    /// Waits until something is so; fails at once if it ends meanwhile.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let deadline = clock::now() + Duration::from_secs(20);
        while !so(self) {
            let ended = self.child.try_wait().expect("it is our child");
            self.ended = ended.is_some();
            let (stderr, in_time) = (self.stderr(), clock::now() < deadline);
            assert!(in_time && ended.is_none(), "no {what} ({ended:?}); stderr:\n{stderr}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for it to end by itself.
    pub(crate) fn finish(mut self) -> Finished {
        let status = self.status();
        let elapsed = self.started.elapsed();
        self.stdout.settle();
        self.stderr.settle();
        let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
        Finished { status, stdout, stderr, elapsed, out: self.out.clone(), _dir: self.dir.take() }
    }

    fn status(&mut self) -> ExitStatus {
        let deadline = self.started + self.limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.ended = true;
                return status;
            }
            let stderr = self.stderr();
            assert!(
                clock::now() < deadline,
                "stressctl still runs after {:?}; stderr:\n{stderr}",
                self.limit
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once it was waited for, its id may belong to someone else.
        if !self.ended {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// What a run left behind.
pub(crate) struct Finished {
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    pub(crate) out: PathBuf,
    /// Kept because reports are read from it.
    _dir: Option<TempDir>,
}

impl Finished {
    /// Asserts the exit code; otherwise shows all that was said.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        let Self { status, stdout, stderr, .. } = &self;
        assert!(status.code() == Some(code), "{status}, not {code}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        self
    }

    /// Asserts that stderr has a text, in whatever case.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        let found = self.stderr.to_lowercase().contains(&text.to_lowercase());
        assert!(found, "no {text:?} in stderr:\n{}", self.stderr);
        self
    }

    /// Asserts that everything held: exit code 0, or 3 if a machine that was too busy is the only thing in doubt. For
    /// runs that are large enough to be late on a machine that others use as well.
    #[track_caller]
    pub(crate) fn holds(self, scenarios: &[&str]) -> Self {
        let limited = scenarios.iter().map(|name| self.report(name)).filter(|report| {
            assert_ne!(report["verdict"], "fail", "{}", report["why"]);
            report["verdict"] != "pass"
        });
        let mut code = 0;
        for report in limited {
            code = 3;
            let why = report["why"].as_array().expect("a list");
            let busy = |why: &Value| {
                let text = why.as_str().unwrap_or_default();
                text.contains("the generator was limited") || text.contains("our own processing")
            };
            assert!(why.iter().all(busy), "{why:?}");
        }
        self.exits(code)
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn killed_by(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The JSON report of a scenario.
    #[track_caller]
    pub(crate) fn report(&self, scenario: &str) -> Value {
        let path = self.out.join(format!("{scenario}.json"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}\nstderr:\n{}", path.display(), self.stderr));
        serde_json::from_str(&text).expect("the report is JSON")
    }

    /// Everything a person or a program could read: both streams and every file written.
    pub(crate) fn everything(&self) -> Vec<(String, String)> {
        let mut all = vec![("stdout".into(), self.stdout.clone()), ("stderr".into(), self.stderr.clone())];
        for entry in fs::read_dir(&self.out).into_iter().flatten() {
            let path = entry.expect("the output directory can be read").path();
            if path.is_file() {
                let bytes = fs::read(&path).expect("what it wrote can be read");
                all.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
            }
        }
        all
    }
}

/// Reads a stream as it comes.
struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Capture {
    fn of(mut stream: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Lets the reader reach the end; bounded, because a process left over would hold the stream open.
    fn settle(&self) {
        let deadline = clock::now() + Duration::from_secs(1);
        while !self.reader.is_finished() && clock::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_until(what: &str, limit: Duration, mut so: impl FnMut() -> bool) {
    let deadline = clock::now() + limit;
    while !so() {
        assert!(clock::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
