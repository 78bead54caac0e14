//! Starts the server, runs it, stops it.

use std::future::Future;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use super::accept;
use super::conn::Fate;
use super::defects;
use super::hub::Hub;
use super::options::ServeOptions;
use super::sweep;

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address can be reached by others and that was not allowed.
    #[error("{addr} can be reached from other machines; if that is intended, add --allow-remote")]
    Remote {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// A server with defects may not be taken for an honest one, so nobody else gets to see it.
    #[error(
        "a server with --defect listens on a loopback address only, and {addr} is none; leave out --listen"
    )]
    Defective {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A server that listens; nothing is accepted until it runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    options: ServeOptions,
}

impl Server {
    /// Listens where the options say. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// If the address is not a loopback address and remote ones are not allowed (never with defects), or cannot be
    /// listened on.
    #[allow(clippy::unused_async, reason = "registers with the runtime it is awaited on")]
    pub async fn bind(options: &ServeOptions) -> Result<Self, ServeError> {
        let addr = options.listen;
        let loopback = addr.ip().to_canonical().is_loopback();
        if !loopback && !options.defects.is_empty() {
            return Err(ServeError::Defective { addr });
        }
        if !loopback && !options.allow_remote {
            return Err(ServeError::Remote { addr });
        }
        let listen = || {
            let listener = accept::listen(addr)?;
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        };
        let (listener, addr) = listen().map_err(|source| ServeError::Listen { addr, source })?;
        Ok(Self { listener, addr, options: options.clone() })
    }

    /// The address it listens on, with the port it was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` completes, then closes every connection (1001), waiting at most two seconds for them.
    ///
    /// The future is not `Send`: all of the server runs where it is polled.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self { listener, options, .. } = self;
        let hub = Rc::new(Hub::new(options));
        let tasks = LocalSet::new();
        tasks
            .run_until(async {
                // Dropped last: whatever has not ended by then is dropped with it.
                let mut connections = JoinSet::new();
                tokio::select! {
                    () = accept::accept(&hub, &listener, &mut connections) => {}
                    () = sweep::sweep(&hub) => {}
                    () = defects::run(&hub) => {}
                    () = stop => {}
                }
                drop(listener);
                hub.for_each(|conn| conn.end(Fate::Close(1001, "server is going away")));
                let all_closed = async { while connections.join_next().await.is_some() {} };
                // Not an error: who has not closed by now is cut off.
                let _ = tokio::time::timeout(sweep::CLOSING, all_closed).await;
            })
            .await;
    }
}

/// Runs the server until SIGTERM or SIGINT (or, if so asked, the end of standard input).
///
/// Prints one line, `listening on ws://ADDR/graphql`, on standard output when it is ready.
///
/// # Errors
/// If it cannot listen (a [`ServeError`]), or the machine refuses it a runtime, signals or standard output.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    if options.exit_with_stdin {
        exit_with_stdin()?;
    }
    // One connection is one file; the soft limit is often 1,024.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime")?;
    runtime.block_on(async {
        let stop = stop_signal().context("cannot listen for signals")?;
        let server = Server::bind(options).await?;
        announce(server.local_addr()).context("cannot write to standard output")?;
        server.run(stop).await;
        Ok(())
    })
}

fn announce(addr: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on ws://{addr}/graphql")?;
    stdout.flush()
}

/// Completes with the first SIGTERM or SIGINT.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Watches standard input from a thread of its own, so that a busy runtime cannot delay the end.
fn exit_with_stdin() -> anyhow::Result<()> {
    let watch = || {
        let mut ignored = [0; 1024];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut ignored) {
                Ok(0) => break,
                Err(error) if error.kind() != io::ErrorKind::Interrupted => break,
                _ => {}
            }
        }
        drop(stdin);
        leave();
    };
    std::thread::Builder::new().name("stdin".into()).spawn(watch).context("cannot watch standard input")?;
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "the parent is gone: nobody is left to read an exit code")]
fn leave() -> ! {
    std::process::exit(0)
}
