//! When connections are opened, first and again: wave by wave, as each group's `connect` says.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::client;
use super::pace::Timetable;
use super::shard::Shard;
use crate::clock::{self, Instant};
use crate::scenarios::plan::Connect;

/// Held while a handshake that was limited is in flight.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// A seat whose turn it is.
pub(super) type Offer = (usize, Permit);

/// What one group's handshakes of this shard have to pass.
pub(super) enum Gate {
    /// Nothing in their way.
    Open,
    /// At most so many in flight.
    Bounded(Arc<Semaphore>),
    /// One at a time; for those that come again, who come whenever they like.
    Paced { rate: f64, every: Duration, next: Cell<Option<Instant>> },
}

impl Gate {
    /// This shard's part of the discipline.
    pub(super) fn new(connect: Connect, index: u32, shards: u32) -> Self {
        match connect {
            Connect::Together => Self::Open,
            Connect::Bounded(limit) => {
                Self::Bounded(Arc::new(Semaphore::new(share_of(limit, index, shards))))
            }
            Connect::Rate(rate) => {
                let rate = rate / f64::from(shards);
                Self::Paced { rate, every: Duration::from_secs_f64(1.0 / rate), next: Cell::new(None) }
            }
        }
    }

    /// Waits for the turn of one that connects again.
    pub(super) async fn pass(&self) -> Permit {
        match self {
            Self::Open => None,
            Self::Bounded(permits) => Arc::clone(permits).acquire_owned().await.ok(),
            Self::Paced { every, next, .. } => {
                let now = clock::now();
                let turn = next.get().map_or(now, |next| next.max(now));
                next.set(Some(turn + *every));
                if turn > now {
                    sleep_until(turn).await;
                }
                None
            }
        }
    }
}

/// This shard's part of a limit; at least 1, or nothing would ever open.
fn share_of(limit: u32, index: u32, shards: u32) -> usize {
    (limit / shards + u32::from(index < limit % shards)).max(1) as usize
}

/// Opens a wave: at once where nothing limits it, by offers otherwise.
pub(super) fn open_wave(
    shard: &Rc<Shard>,
    wave: u32,
    offers: &Sender<Offer>,
    connections: &mut JoinSet<()>,
    openers: &mut JoinSet<()>,
) {
    for (group, gate) in shard.gates.iter().enumerate() {
        let is_mine = |s: &&super::seats::Seat| usize::from(s.group) == group && u32::from(s.wave) == wave;
        let mine: Vec<usize> = shard.seats.iter().filter(is_mine).map(|s| s.local).collect();
        match gate {
            Gate::Open => {
                for seat in mine {
                    connections.spawn_local(client::run(Rc::clone(shard), seat, None));
                }
            }
            Gate::Bounded(permits) => {
                openers.spawn_local(open_bounded(mine, Arc::clone(permits), offers.clone()));
            }
            Gate::Paced { rate, .. } => {
                openers.spawn_local(open_at_rate(mine, *rate, offers.clone()));
            }
        }
    }
}

async fn open_bounded(seats: Vec<usize>, permits: Arc<Semaphore>, offers: Sender<Offer>) {
    for seat in seats {
        let permit = Arc::clone(&permits).acquire_owned().await.ok();
        if offers.send((seat, permit)).await.is_err() {
            return;
        }
    }
}

async fn open_at_rate(seats: Vec<usize>, rate: f64, offers: Sender<Offer>) {
    let table = Timetable { rate: Some(rate), together: 1 };
    let began = clock::now();
    for (n, seat) in seats.into_iter().enumerate() {
        sleep_until(began + table.due(n as u64)).await;
        if offers.send((seat, None)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    /// When each of five that come at once may go, in ms.
    async fn turns(connect: Connect) -> Vec<u128> {
        let gate = Gate::new(connect, 0, 1);
        let began = clock::now();
        let one = || async {
            let _permit = gate.pass().await;
            let at = began.elapsed().as_millis();
            tokio::time::sleep(Duration::from_millis(30)).await;
            at
        };
        join_all([one(), one(), one(), one(), one()]).await
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_again_waits_as_who_comes_first() {
        assert_eq!(turns(Connect::Together).await, [0; 5]);
        assert_eq!(turns(Connect::Rate(100.0)).await, [0, 10, 20, 30, 40]);
        let bounded = turns(Connect::Bounded(2)).await;
        let (first, second, third) = (bounded[1], bounded[3], bounded[4]);
        assert!(first == 0 && (30..35).contains(&second) && (60..70).contains(&third), "{bounded:?}");
    }

    #[test]
    fn shares_of_a_limit() {
        let shares =
            |limit, shards| (0..shards).map(|index| share_of(limit, index, shards)).collect::<Vec<_>>();
        assert_eq!(shares(5, 2), [3, 2]);
        assert_eq!(shares(1, 2), [1, 1]);
    }
}
