//! What remains to be done on a thread about connections that faults ended, and about faults that are over.

use std::cell::RefCell;
use std::pin::Pin;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::agenda::{Agenda, Course, Planned, Step};
use super::board::Board;
use super::farewell;
use super::handshake::Socket;
use super::task::pass_on;
use super::timer;
use super::weather::Climate;
use crate::scenarios::plan::How;

/// What remains to be done about a connection that was ended.
pub(super) type Rest = Pin<Box<dyn Future<Output = ()>>>;

/// Everything of the kind on one thread.
#[derive(Default)]
pub(super) struct Aftermath {
    rests: RefCell<Vec<Rest>>,
    /// There is more of it.
    more: Notify,
    /// Cancelled when every fault has been taken back.
    healed: CancellationToken,
}

impl Aftermath {
    /// Ends a connection now; what remains to be done about it is done aside.
    pub(super) fn see_off(&self, socket: Socket, how: How) {
        if let Some(rest) = farewell::begin(socket, how, self.healed.clone()) {
            self.rests.borrow_mut().push(rest);
            self.more.notify_one();
        }
    }

    /// Follows the agenda to its end and sees everything through; never ends by itself. `course` reads orders, with
    /// whether what is still on its way is to be let go at once.
    pub(super) async fn run<O>(
        &self,
        agenda: &RefCell<Agenda>,
        (board, climate): (&Board, &Climate),
        orders: watch::Receiver<O>,
        course: impl Fn(&O) -> (Course, bool),
        step: impl FnMut(u64, Step, &Planned),
    ) {
        let mut heal = orders.clone();
        let healing = async {
            Agenda::follow(agenda, board, orders, |orders| course(orders).0, step).await;
            // It may be through long before: whoever is doomed, or closed on one side only, is not spared by that.
            let last = heal.wait_for(|orders| course(orders).0.healed).await;
            last.is_ok_and(|orders| course(&orders).1)
        };
        let mut rests = JoinSet::new();
        let mut healing = std::pin::pin!(healing);
        let mut driving = std::pin::pin!(timer::drive(climate.alarm()));
        let mut healed = false;
        loop {
            for rest in self.rests.take() {
                rests.spawn_local(rest);
            }
            tokio::select! {
                hurries = &mut healing, if !healed => {
                    healed = true;
                    self.healed.cancel();
                    climate.forget_dooms();
                    if hurries {
                        climate.flush();
                    }
                }
                () = &mut driving => {}
                () = self.more.notified() => {}
                Some(ended) = rests.join_next() => pass_on(ended),
            }
        }
    }
}
