//! A timer that is microseconds late, not milliseconds.
//!
//! tokio's timers are 1 ms coarse, which at 5,000 events/s would send five events at once. A timerfd wakes the
//! same event loop with the kernel's own precision.

use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep_until;

use crate::clock::{self, Instant};
use crate::inject::Alarm;

/// One timer; it must live on a tokio runtime with I/O enabled.
#[derive(Debug)]
pub(super) struct PreciseTimer {
    fd: AsyncFd<OwnedFd>,
    armed: Option<Instant>,
}

impl PreciseTimer {
    /// Makes a timer that is not armed.
    ///
    /// # Errors
    /// What the operating system says, in practice only `EMFILE`.
    pub(super) fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        // Deprecated in favour of an unsafe constructor for the sake of types that may close their descriptor while
        // it is registered; an `OwnedFd` that nobody else can reach does not.
        #[allow(deprecated, reason = "sound for an OwnedFd, and unsafe code is forbidden here")]
        let fd = AsyncFd::new(fd)?;
        Ok(Self { fd, armed: None })
    }

    /// Ready once `at` has come; otherwise the task is woken then.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        loop {
            let now = clock::now();
            if now >= at {
                return Poll::Ready(());
            }
            if self.armed != Some(at) {
                let wait = at - now;
                let it_value = Timespec {
                    tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                    tv_nsec: i64::from(wait.subsec_nanos().max(1)),
                };
                let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
                timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once)
                    .expect("a valid time on our own timerfd");
                self.armed = Some(at);
            }
            match ready!(self.fd.poll_read_ready(cx)) {
                Err(_) => return Poll::Ready(()),
                Ok(mut guard) => {
                    let mut expirations = [0_u8; 8];
                    if guard.try_io(|fd| rustix::io::read(fd, &mut expirations).map_err(Into::into)).is_ok() {
                        self.armed = None;
                    }
                }
            }
        }
    }
}

/// Drives the alarm clock of a thread's links for as long as the thread lasts, and never ends.
pub async fn drive(alarm: &Alarm) {
    // Without a file for a timer nothing would be let go: the runtime's own timer is coarse, but it is there.
    let Ok(mut timer) = PreciseTimer::new() else { return drive_coarsely(alarm).await };
    poll_fn(|cx| {
        alarm.watch(cx.waker());
        loop {
            alarm.fire(clock::now());
            let Some(first) = alarm.first() else { return Poll::<()>::Pending };
            if timer.poll_until(cx, first).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// The same by the runtime's timer, which tests can pause.
pub async fn drive_coarsely(alarm: &Alarm) {
    let mut sleep = Box::pin(sleep_until(clock::now()));
    poll_fn(|cx| {
        alarm.watch(cx.waker());
        loop {
            alarm.fire(clock::now());
            let Some(first) = alarm.first() else { return Poll::<()>::Pending };
            sleep.as_mut().reset(first);
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_never_fires_early_and_can_be_moved() {
        let mut timer = PreciseTimer::new().expect("a timer");
        let began = clock::now();
        let far = began + Duration::from_secs(60);
        assert!(poll_fn(|cx| Poll::Ready(timer.poll_until(cx, far).is_pending())).await);
        for ms in [1_u64, 3, 3, 9] {
            let at = began + Duration::from_millis(ms);
            poll_fn(|cx| timer.poll_until(cx, at)).await;
            assert!(clock::now() >= at);
        }
    }
}
