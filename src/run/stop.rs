//! One reason to stop, the first; a second request only hurries.
//!
//! Every wait of a run goes through [`Stop::run_until_cancelled`], barriers too, so that no wait outlives it.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Why a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// The plan was carried out.
    Completed,
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// The target died or let go of every connection.
    TargetLost,
    /// The named `abort-if` condition became true.
    AbortIf(String),
    /// A bug in stressctl.
    Internal(String),
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed => f.write_str("completed"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::TargetLost => f.write_str("target-lost"),
            Self::AbortIf(id) => write!(f, "abort-if {id}"),
            Self::Internal(what) => write!(f, "internal {what}"),
        }
    }
}

/// A handle on the end of a run; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    reason: OnceLock<StopReason>,
    stopping: CancellationToken,
    hurrying: CancellationToken,
}

impl Stop {
    /// A run that goes on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the run; returns whether this was the reason, that is, the first one given.
    pub fn stop(&self, reason: StopReason) -> bool {
        // The reason is there before anyone can see that the run is stopping.
        let first = self.shared.reason.set(reason).is_ok();
        self.shared.stopping.cancel();
        first
    }

    /// Stops the run without waiting for anything still under way.
    pub fn hurry(&self) {
        self.stop(StopReason::Interrupted);
        self.shared.hurrying.cancel();
    }

    /// Stops and hurries whenever `other` does, for the same reason; runs until it is dropped.
    pub async fn follow(&self, other: &Self) -> std::convert::Infallible {
        other.token().cancelled_owned().await;
        self.stop(other.reason().cloned().unwrap_or(StopReason::Interrupted));
        other.hurry_token().cancelled_owned().await;
        self.hurry();
        std::future::pending().await
    }

    /// Why the run is stopping; `None`: it goes on.
    #[must_use]
    pub fn reason(&self) -> Option<&StopReason> {
        self.shared.reason.get()
    }

    /// Whether the run is stopping.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.is_cancelled()
    }

    /// Whether nothing is to be waited for any more.
    #[must_use]
    pub fn is_hurrying(&self) -> bool {
        self.shared.hurrying.is_cancelled()
    }

    /// Cancelled when the run stops: for what belongs to the load.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.shared.stopping.clone()
    }

    /// Cancelled when the run hurries: for draining and closing, which still happen while it stops.
    #[must_use]
    pub fn hurry_token(&self) -> CancellationToken {
        self.shared.hurrying.clone()
    }

    /// Waits for `work` until the run stops; `None`: it was given up.
    pub async fn run_until_cancelled<F: Future>(&self, work: F) -> Option<F::Output> {
        self.shared.stopping.run_until_cancelled(work).await
    }

    /// Waits for `work` until the run hurries; `None`: it was given up.
    pub async fn run_until_hurried<F: Future>(&self, work: F) -> Option<F::Output> {
        self.shared.hurrying.run_until_cancelled(work).await
    }
}

/// What a signal did, for whoever tells the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The first one: the run stops in an orderly way.
    Stopping,
    /// A further one: it leaves at once.
    Hurrying,
}

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Takes the signals over from their default action; none is missed from here on.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Stops the run at the first signal and hurries it at every further one; tells `heard` of each. Runs until
    /// it is dropped.
    pub async fn obey(mut self, stop: &Stop, mut heard: impl FnMut(Heard)) {
        let mut first = true;
        while self.next().await.is_some() {
            if first {
                heard(Heard::Stopping);
                stop.stop(StopReason::Interrupted);
            } else {
                heard(Heard::Hurrying);
                stop.hurry();
            }
            first = false;
        }
    }

    async fn next(&mut self) -> Option<()> {
        tokio::select! {
            signal = self.interrupt.recv() => signal,
            signal = self.terminate.recv() => signal,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use rustix::process::{Signal as Number, getpid, kill_process};

    use super::*;

    #[test]
    fn the_first_reason_is_kept() {
        let stop = Stop::new();
        assert_eq!((stop.reason(), stop.is_stopping()), (None, false));
        assert!(stop.stop(StopReason::AbortIf("leak".into())));
        assert!(!stop.clone().stop(StopReason::Completed));
        assert_eq!(stop.reason(), Some(&StopReason::AbortIf("leak".into())));
        assert!(stop.is_stopping() && !stop.is_hurrying());
        stop.hurry();
        assert!(stop.is_hurrying());
        assert_eq!(stop.reason().unwrap().to_string(), "abort-if leak");
    }

    #[tokio::test]
    async fn one_may_follow_another_but_not_lead_it() {
        let (user, scenario) = (Stop::new(), Stop::new());
        let follow = |stop: Stop, user: Stop| async move {
            tokio::select! { _ = stop.follow(&user) => {}, () = tokio::task::yield_now() => {} }
        };
        scenario.stop(StopReason::AbortIf("leak".into()));
        follow(scenario.clone(), user.clone()).await;
        assert!(!user.is_stopping());
        let next = Stop::new();
        user.stop(StopReason::Interrupted);
        follow(next.clone(), user.clone()).await;
        assert_eq!((next.reason(), next.is_hurrying()), (Some(&StopReason::Interrupted), false));
        user.hurry();
        follow(next.clone(), user.clone()).await;
        assert!(next.is_hurrying());
    }

    #[test]
    fn hurrying_alone_is_an_interruption() {
        let stop = Stop::new();
        stop.hurry();
        assert_eq!(stop.reason(), Some(&StopReason::Interrupted));
        assert!(stop.token().is_cancelled() && stop.hurry_token().is_cancelled());
    }

    #[test]
    fn reasons_are_words_that_scripts_can_read() {
        let words = [
            (StopReason::Completed, "completed"),
            (StopReason::Interrupted, "interrupted"),
            (StopReason::TargetLost, "target-lost"),
            (StopReason::Internal("sums".into()), "internal sums"),
        ];
        for (reason, word) in words {
            assert_eq!(reason.to_string(), word);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_end_with_the_run() {
        let stop = Stop::new();
        assert_eq!(stop.run_until_cancelled(ready(1)).await, Some(1));
        let (gave_up, ()) = tokio::join!(stop.run_until_cancelled(pending::<()>()), async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            stop.stop(StopReason::Completed);
        });
        assert_eq!(gave_up, None);
        let drained = stop.run_until_hurried(tokio::time::sleep(Duration::from_secs(5))).await;
        assert_eq!(drained, Some(()), "draining goes on while the run stops");
        stop.hurry();
        assert_eq!(stop.run_until_hurried(pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn the_first_signal_stops_and_the_second_hurries() {
        let stop = Stop::new();
        let signals = Signals::listen().unwrap();
        let mut heard = Vec::new();
        let sends = async {
            kill_process(getpid(), Number::TERM).unwrap();
            stop.token().cancelled().await;
            assert!(!stop.is_hurrying());
            kill_process(getpid(), Number::INT).unwrap();
            stop.hurry_token().cancelled().await;
        };
        tokio::select! {
            () = signals.obey(&stop, |what| heard.push(what)) => panic!("signals never end"),
            () = sends => {}
        }
        assert_eq!(heard, [Heard::Stopping, Heard::Hurrying]);
        assert_eq!(stop.reason(), Some(&StopReason::Interrupted));
    }
}
