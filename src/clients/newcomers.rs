//! Clients whose first attempt a fault of ours ended.
//!
//! Set-up waits for them as it waits for everybody, for as long as a handshake may take from its begin to its end: a
//! fault that is over by then leaves no trace in the load, and one that is not does not hold up the run. Connected later,
//! they count once among the established and their subscriptions among the confirmed, as everybody does.

use std::time::Duration;

use super::seats::Seat;
use super::shard::Shard;
use super::subs::Away;

impl Shard {
    /// Books a first attempt, begun at `began_ns`, that a fault of ours ended; whether its client tries again.
    pub(super) fn aborted(&self, seat: &Seat, began_ns: u64) -> bool {
        let again = self.may_return(seat);
        {
            let state = &mut *self.state.borrow_mut();
            state.cohorts[usize::from(seat.cohort)].aborted_by_plan += 1;
            if again {
                let patience = u64::try_from(self.newcomers_patience().as_nanos()).unwrap_or(u64::MAX);
                state.newcomers.insert(seat.local, began_ns.saturating_add(patience));
                let now_ns = self.plan.board.clock.now_ns();
                state.away.insert(seat.local, Away { is_new: true, ..Away::since(now_ns) });
            } else {
                state.resolved += 1;
            }
        }
        if !again {
            self.leave(seat.range());
        }
        again
    }

    /// The longest that a handshake can take.
    fn newcomers_patience(&self) -> Duration {
        let timeouts = &self.plan.endpoint.timeouts;
        let tls = if self.plan.endpoint.tls.is_some() { timeouts.connect } else { Duration::ZERO };
        timeouts.connect + tls + timeouts.upgrade + timeouts.init
    }

    /// A client is not waited for any longer, if it was.
    pub(super) fn resolve_newcomer(&self, seat: usize) {
        let state = &mut *self.state.borrow_mut();
        state.resolved += u64::from(state.newcomers.remove(&seat).is_some());
    }

    /// A client that never was connected will not be any more.
    pub(super) fn give_up_newcomer(&self, seat: &Seat) {
        self.resolve_newcomer(seat.local);
        self.state.borrow_mut().away.remove(&seat.local);
        self.leave(seat.range());
    }

    /// Set-up waits no longer for those that have had their time; they go on trying.
    pub(super) fn expire_newcomers(&self) {
        let state = &mut *self.state.borrow_mut();
        if state.newcomers.is_empty() {
            return;
        }
        let now_ns = self.plan.board.clock.now_ns();
        let late: Vec<usize> =
            state.newcomers.extract_if(.., |_, until_ns| *until_ns <= now_ns).map(|(seat, _)| seat).collect();
        for seat in late {
            state.resolved += 1;
            self.seats[seat].range().for_each(|index| state.settle(index as usize));
        }
    }
}
