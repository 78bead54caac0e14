//! One subscribing client, through all the connections it has in a run.
//!
//! A task that does little but wait: the present connection is in [`Shard::lives`], where a fault can take it away in
//! the middle of everything, and what the way back needs exists only while the client is on it.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::handshake::{Opening, Refusal, Socket, Stages};
use super::live::{Ended, Live};
use super::opening::Permit;
use super::returning::{Returning, Way};
use super::seats::Seat;
use super::shard::{Course, Shard};
use super::subs::Away;
use super::tally::Sight;
use crate::ledger::End;
use crate::scenarios::plan::Reconnect;

/// Connects, lives, and comes back for as long as its group's policy and the orders say.
pub(super) async fn run(shard: Rc<Shard>, seat: usize, permit: Permit) {
    let mut way = Way::default();
    // Boxed: the handshake's state is several KiB and is needed only for a moment.
    let mut connected = match Box::pin(first(&shard, seat, permit)).await {
        First::Open => true,
        First::Aborted => {
            way = Way::excused();
            Box::pin(come_back(&shard, seat, &mut way)).await
        }
        First::Gone => false,
    };
    way.lives = way.lives.max(1);
    while connected {
        connected = live(&shard, seat).await && Box::pin(come_back(&shard, seat, &mut way)).await;
    }
}

/// What came of a client's first attempt.
enum First {
    /// A connection.
    Open,
    /// A fault of ours ended it, and the client tries again as after a connection that ended.
    Aborted,
    /// Nothing, and nothing will.
    Gone,
}

/// Opens the first connection. It is attempted once: what a server does to newcomers is counted, not smoothed over.
async fn first(shard: &Rc<Shard>, seat: usize, permit: Permit) -> First {
    let seat = &shard.seats[seat];
    let began_ns = shard.plan.board.clock.now_ns();
    {
        let cohort = &mut shard.state.borrow_mut().cohorts[usize::from(seat.cohort)];
        cohort.attempted += 1;
        cohort.requested += u64::from(seat.subs);
        cohort.offer(usize::from(seat.wave), began_ns);
    }
    let opened = shard.handshakes.run_until_cancelled(handshake(shard, seat.local)).await;
    drop(permit);
    match opened {
        Some(Ok((socket, stages))) => {
            shard.state.borrow_mut().resolved += 1;
            shard.established(seat, &stages);
            shard.begin_life(seat, 0, socket);
            First::Open
        }
        Some(Err(refusal)) if refusal.failure.is_injected() => {
            if shard.aborted(seat, began_ns) {
                First::Aborted
            } else {
                First::Gone
            }
        }
        Some(Err(refusal)) => {
            shard.refused(seat, Some(&refusal));
            First::Gone
        }
        None => {
            shard.refused(seat, None);
            First::Gone
        }
    }
}

/// Lives the connection to its end; whether the client shall come back.
async fn live(shard: &Shard, seat: usize) -> bool {
    let mut open = Open { shard, seat, booked: false };
    let end = poll_fn(|cx| shard.poll_life(seat, cx)).await;
    open.booked = true;
    shard.ended(&shard.seats[seat], &end)
}

/// Tries until there is a connection again, or for the first time; false once nobody may come back any more.
pub(super) async fn come_back(shard: &Shard, seat: usize, way: &mut Way) -> bool {
    let seat = &shard.seats[seat];
    let mut returning = Returning::of(shard, seat, way);
    let opened = returning.until_open(async || handshake(shard, seat.local).await);
    let opened = shard.returns.run_until_cancelled(opened).await;
    drop(returning);
    let is_new = way.lives == 0;
    let stays_away = matches!(opened, Some(None));
    let Some((socket, stages)) = opened.flatten() else {
        if is_new {
            shard.give_up_newcomer(seat);
        } else if stays_away {
            shard.stay_away(seat);
        }
        return false;
    };
    if is_new {
        shard.resolve_newcomer(seat.local);
        shard.established(seat, &stages);
    } else {
        shard.plan.board.open.up();
    }
    shard.reconnected(seat);
    shard.begin_life(seat, way.lives, socket);
    way.lives += 1;
    true
}

async fn handshake(shard: &Shard, seat: usize) -> Result<(Socket, Stages), Refusal> {
    let _handshaking = Handshaking::of(shard);
    // It may be doomed while it is under way, and that is another attempt.
    let doomed = shard.climate.has_doomed_attempt(seat);
    let opening = shard.opening(seat);
    let opened = shard.plan.endpoint.open_as(&opening).await;
    if let Err(refusal) = &opened
        && doomed
        && refusal.failure.is_injected()
        && let Some(doom) = shard.climate.take_doomed_attempt(seat)
    {
        shard.note_point(doom);
    }
    opened
}

/// Counts a connection as handshaking for as long as it lives, however it ends.
struct Handshaking<'a>(&'a Shard);

impl<'a> Handshaking<'a> {
    fn of(shard: &'a Shard) -> Self {
        shard.plan.board.handshaking.up();
        Self(shard)
    }
}

impl Drop for Handshaking<'_> {
    fn drop(&mut self) {
        self.0.plan.board.handshaking.down();
    }
}

/// An established connection whose end is not booked yet.
struct Open<'a> {
    shard: &'a Shard,
    seat: usize,
    booked: bool,
}

impl Drop for Open<'_> {
    /// A connection that is dropped because the run is over has ended by plan, though without its goodbyes.
    fn drop(&mut self) {
        if !self.booked && !std::thread::panicking() {
            let cut = self.shard.take_life(self.seat).is_none();
            let end = if cut { Ended::Cut } else { Ended::ByPlan };
            self.shard.ended(&self.shard.seats[self.seat], &end);
        }
    }
}

impl Shard {
    /// How a client's next connection is to be opened.
    pub(super) fn opening(&self, seat: usize) -> Opening {
        let opening = self.climate.opening(seat);
        let shared = self.turnstile.as_ref();
        // Where a fault may ever slow down what arrives, nobody else is to wait for that.
        let turnstile =
            shared.map(|shared| if opening.control.is_some() { shared.apart() } else { Rc::clone(shared) });
        Opening { turnstile, ..opening }
    }

    pub(super) fn established(&self, seat: &Seat, stages: &Stages) {
        self.plan.board.open.up();
        let mut state = self.state.borrow_mut();
        state.cohorts[usize::from(seat.cohort)].established += 1;
        state.latency.connect.record(stages.total());
        state.latency.tcp.record(stages.tcp);
        if let Some(tls) = stages.tls {
            state.latency.tls.record(tls);
        }
        state.latency.upgrade.record(stages.upgrade);
        state.latency.init.record(stages.init);
    }

    /// That something fails now on the connection of a client.
    pub(super) fn sight(&self, seat: &Seat) -> Sight {
        Sight { at_ns: self.plan.board.clock.now_ns(), connection: seat.connection }
    }

    /// Books a first attempt that failed, or that was given up because the run is over.
    fn refused(&self, seat: &Seat, refusal: Option<&Refusal>) {
        {
            let mut state = self.state.borrow_mut();
            state.resolved += 1;
            let cohort = &mut state.cohorts[usize::from(seat.cohort)];
            match refusal {
                Some(refusal) => cohort.failures.add(refusal.failure, &refusal.text, self.sight(seat)),
                None => cohort.cancelled += 1,
            }
        }
        self.leave(seat.range());
    }

    fn begin_life(&self, seat: &Seat, life: u32, socket: Socket) {
        let live = Box::new(Live::new(self, *seat, life, socket));
        self.lives.borrow_mut()[seat.local] = Some(live);
    }

    /// Takes the present connection of a client away from it; `None`: it has none.
    pub(super) fn take_life(&self, seat: usize) -> Option<Box<Live>> {
        let mut live = self.lives.borrow_mut()[seat].take()?;
        live.forgo_answer(self);
        Some(live)
    }

    /// Drives the present connection; one that was taken away has been cut.
    fn poll_life(&self, seat: usize, cx: &mut Context<'_>) -> Poll<Ended> {
        let Some(mut live) = self.lives.borrow_mut()[seat].take() else { return Poll::Ready(Ended::Cut) };
        let polled = live.poll(self, cx);
        match polled {
            Poll::Pending => self.lives.borrow_mut()[seat] = Some(live),
            Poll::Ready(Ended::Doomed(doom)) => {
                live.forgo_answer(self);
                self.execute(live, doom);
                return Poll::Ready(Ended::Cut);
            }
            Poll::Ready(_) => _ = live.forgo_answer(self),
        }
        polled
    }

    /// Books the end of a connection; whether its client shall come back.
    pub(super) fn ended(&self, seat: &Seat, end: &Ended) -> bool {
        // Whatever the server does with a connection that we hold, we have brought it about.
        if matches!(end, Ended::Unexpectedly(_)) && self.climate.is_our_doing(seat.local) {
            return self.book_cut(seat.local);
        }
        let slow = matches!(end, Ended::Unexpectedly(_)) && self.was_slow_end(seat);
        // What was taken away was booked when that happened.
        if !matches!(end, Ended::Cut | Ended::Doomed(_)) {
            self.plan.board.open.down();
            self.end_life(seat.range(), End::Died);
        }
        {
            let state = &mut *self.state.borrow_mut();
            let cohort = &mut state.cohorts[usize::from(seat.cohort)];
            match end {
                Ended::Cut | Ended::Doomed(_) => {}
                Ended::ByPlan => cohort.dropped_by_plan += 1,
                Ended::Unexpectedly(refusal) if slow => {
                    cohort.disconnected_slow.add(refusal.failure, &refusal.text, self.sight(seat));
                }
                Ended::Unexpectedly(refusal) => {
                    cohort.dropped_unexpectedly += 1;
                    cohort.failures.add(refusal.failure, &refusal.text, self.sight(seat));
                    if let Some(climb) = &self.plan.board.climb {
                        climb.subscriber_failed(refusal, self.plan.board.clock.now_ns());
                    }
                }
            }
        }
        if matches!(end, Ended::ByPlan) {
            self.leave(seat.range());
            return false;
        }
        if matches!(end, Ended::Unexpectedly(_)) {
            self.note_absence(seat);
        }
        self.part(seat)
    }

    /// Counts an absence, unless it is still the same one.
    pub(super) fn note_absence(&self, seat: &Seat) {
        let state = &mut *self.state.borrow_mut();
        let is_new = state.away.get(&seat.local).is_none_or(|away| away.is_new);
        state.cohorts[usize::from(seat.cohort)].absences += u64::from(is_new);
    }

    /// What becomes of a client without connection: it is on its way back, which is returned, or has left. One that
    /// was not all back yet is still on the same way.
    pub(super) fn part(&self, seat: &Seat) -> bool {
        let returns = self.may_return(seat);
        if !returns {
            self.leave(seat.range());
        }
        let since_ns = self.plan.board.clock.now_ns();
        let state = &mut *self.state.borrow_mut();
        state.cohorts[usize::from(seat.cohort)].returns.first_end_ns.get_or_insert(since_ns);
        if returns {
            let away = state.away.entry(seat.local).or_insert(Away::since(since_ns));
            away.unproved = None;
            if std::mem::take(&mut away.is_new) {
                away.since_ns = since_ns;
            }
        }
        returns
    }

    /// A client does not try again after all.
    fn stay_away(&self, seat: &Seat) {
        self.state.borrow_mut().away.remove(&seat.local);
        self.leave(seat.range());
    }

    /// Whether a client without connection shall get one, if only to fail in the attempt.
    pub(super) fn may_return(&self, seat: &Seat) -> bool {
        let policy = self.plan.groups[usize::from(seat.group)].reconnect;
        let orders = self.orders.get();
        let tries = policy != Reconnect::None || self.climate.has_doomed_attempt(seat.local);
        tries && orders.course == Course::Run && !orders.settled
    }

    /// Counts an attempt to connect again; how many there were before it since everything was last well.
    pub(super) fn attempt(&self, seat: &Seat) -> u32 {
        let mut state = self.state.borrow_mut();
        let Some(away) = state.away.get_mut(&seat.local) else { return 0 };
        away.attempts += 1;
        away.attempts - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::super::returning_tests::shard_of;
    use super::*;
    use crate::clock;

    fn size<F: Future>(_: impl Fn(Rc<Shard>, usize, Permit) -> F) -> usize {
        size_of::<F>()
    }

    const SOME_SLOW: &str = r#"
        [scenarios.test]
        about = "ten clients, some of them slow"
        channels = 2
        phases = [{ name = "only", for = "5s" }]
        subscribers.clients = { connections = 10 }
        publishers.feed = { rate = "10/s", payload = "1MB" }
        faults.slow = { on = "clients", fraction = "20%", slow-consumer = { reads = "64KiB/s" } }
        faults.stuck = { on = "clients", fraction = "20%", stall = "down" }
        reached.slow = "faults.slow.applied / predicted == 100%"
        reached.stuck = "faults.stuck.applied / predicted == 100%"
    "#;

    #[test]
    fn nobody_waits_for_what_a_fault_slows_down() {
        let shard = shard_of(SOME_SLOW, |_| ());
        let shared = shard.turnstile.clone().expect("megabytes come");
        let own = |seat: usize| {
            let turnstile = shard.opening(seat).turnstile.expect("all are sent them");
            Some(turnstile).filter(|turnstile| !Rc::ptr_eq(turnstile, &shared))
        };
        let victims: BTreeSet<usize> =
            shard.plan.schedule.acts().iter().map(|act| act.connection as usize).collect();
        assert!((2..10).contains(&victims.len()), "{victims:?}");
        let apart: Vec<_> = (0..10).filter_map(|seat| Some((seat, own(seat)?))).collect();
        assert_eq!(apart.iter().map(|(seat, _)| *seat).collect::<BTreeSet<_>>(), victims);
        let strangers = apart.windows(2).all(|two| !Rc::ptr_eq(&two[0].1, &two[1].1));
        assert!(strangers, "nor for each other");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_for_other_messages_is_ours_while_it_is_measured() {
        let shard = shard_of(SOME_SLOW, |_| ());
        let began = clock::now();
        tokio::time::advance(Duration::from_millis(70)).await;
        let after = |measuring: bool| {
            shard.plan.board.measuring.store(measuring, Relaxed);
            shard.turnstile.iter().for_each(|turnstile| turnstile.waited(began));
            shard.tick_turnstile();
            let drain = &shard.state.borrow().latency.drain;
            (drain.count(), drain.quantile_us(1.0))
        };
        assert_eq!(after(false).0, 0);
        let (count, longest) = after(true);
        assert!(count == 1 && longest >= Some(70_000), "{count}, {longest:?}");
    }

    /// It counts 10,000 times. Reading, writing and the way back are to be found elsewhere, boxed or in maps.
    #[test]
    fn an_idle_client_is_small() {
        let (task, live) = (size(run), size_of::<Live>());
        assert!(task <= 160 && live <= 480, "{task} bytes of task, {live} of connection");
    }
}
