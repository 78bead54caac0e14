//! What a `next` message carried, and where it is booked: events in the ledger, probes and barriers beside it.

use super::failure::{Failure, Reason, Stage};
use super::handshake::Refusal;
use super::shard::Shard;
use super::subs::{State, SubState};
use crate::ledger::{Found, Kind, Receipt, Token, find};
use crate::protocol::refusal_in_next;

/// One message as it came in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    /// The subscription under whose id it came.
    pub sub: u32,
    /// Which of its ids.
    pub under: Under,
    /// When, ns on the run's axis.
    pub at_ns: u64,
    /// When the server answered what was sent after the last unsubscribe under the present id.
    pub answered_ns: Option<u64>,
}

/// Whether an operation id is the present one of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Under {
    Present,
    /// That of an earlier cycle on the same connection.
    Earlier {
        /// When the server answered what was sent after the unsubscribe under it.
        answered_ns: Option<u64>,
    },
}

impl Arrival {
    /// Whether it came under the id of an earlier cycle, and was sent after the server had ended that.
    fn is_of_an_ended_cycle(&self, token: &Token) -> bool {
        let Under::Earlier { answered_ns } = self.under else { return false };
        answered_ns.is_some_and(|answered| token.sent_ns > answered)
    }
}

impl Shard {
    /// Books what one `next` message carried; whether there was an event in it. `errors`: the whole message, if it
    /// carries any.
    pub(super) fn received(&self, arrival: Arrival, payload: &str, errors: Option<&str>) -> bool {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        if errors.is_some() {
            let cohort = usize::from(state.subs[arrival.sub as usize].cohort);
            state.cohorts[cohort].errors_in_next += 1;
        }
        let (mut empty, mut events) = (true, false);
        for found in find(payload) {
            empty = false;
            match found {
                Found::Intact(token) if token.kind != Kind::Event => self.on_other(state, arrival, &token),
                // A damaged probe has no obligation to be held against, but damage it is.
                Found::Damaged(token) if token.kind != Kind::Event => {
                    self.on_event(state, arrival, &Found::Broken);
                }
                found => {
                    events = true;
                    self.on_event(state, arrival, &found);
                }
            }
        }
        match errors {
            // A message that should carry an event and carries nothing recognisable.
            None if empty => self.on_event(state, arrival, &Found::Broken),
            Some(message) if empty => self.refused_delivery(Reason::Error, &refusal_in_next(message)),
            _ => {}
        }
        events
    }

    /// A server says to a subscriber that it does not deliver: in a climb, that is how a step fails.
    pub(super) fn refused_delivery(&self, reason: Reason, text: &str) {
        if let Some(climb) = &self.plan.board.climb {
            let text = self.plan.endpoint.foreign(text);
            let refusal = Refusal { failure: Failure::new(Stage::Open, reason), text };
            climb.subscriber_failed(&refusal, self.plan.board.clock.now_ns());
        }
    }

    fn on_event(&self, state: &mut State, arrival: Arrival, found: &Found) {
        let Arrival { sub, at_ns: now_ns, .. } = arrival;
        let sub = sub as usize;
        let (due_ns, sent_ns) = match found {
            Found::Intact(t) | Found::Damaged(t) => (t.due_ns, t.sent_ns),
            Found::Broken => (now_ns, now_ns),
        };
        let phase = self.plan.board.phase_of(due_ns);
        state.receipts += 1;
        state.latency.receipts.note(now_ns);
        state.ledger.count_receipt(sub, phase);
        if let Found::Intact(token) = found
            && token.run == self.plan.board.run
            && token.channel == state.subs[sub].channel
            && arrival.is_of_an_ended_cycle(token)
        {
            state.ledger.receive_stray(sub, token, now_ns, phase, Receipt::AfterUnsubscribe);
            return;
        }
        let earlier = arrival.under != Under::Present;
        let receipt = state.ledger.receive_under(sub, found, now_ns, phase, earlier);
        if let Some(climb) = &self.plan.board.climb {
            let streams = &self.plan.board.streams;
            match (found, receipt) {
                (Found::Intact(token), Receipt::First { owed: true, .. }) => {
                    climb.received(streams, token, true, now_ns);
                }
                (Found::Damaged(token), _) => climb.received(streams, token, false, now_ns),
                (Found::Broken, _) => climb.broken(now_ns),
                (Found::Intact(_), _) => {}
            }
        }
        if let Receipt::First { owed, .. } = receipt {
            state.satisfied += u64::from(owed);
            let cohort = usize::from(state.subs[sub].cohort);
            let since_us = |ns: u64| now_ns.saturating_sub(ns) / 1_000;
            let from_sent_us = since_us(sent_ns);
            state.from_sent_us += from_sent_us;
            state.latency.deliver(cohort, phase, since_us(due_ns), from_sent_us);
        }
    }

    /// Probes, censuses and barriers are in no stream and owed to nobody; they count as receipts only where they
    /// show what an event would: under a foreign operation, of another run, or after the end.
    fn on_other(&self, state: &mut State, arrival: Arrival, token: &Token) {
        let board = &self.plan.board;
        let sub = &state.subs[arrival.sub as usize];
        if token.run != board.run {
            // Another run's: the ledger names it as it would an event.
            let token = Token { kind: Kind::Event, ..*token };
            return self.on_event(state, arrival, &Found::Intact(token));
        }
        let ended = arrival.under == Under::Present && sub.state == SubState::Unsubscribed;
        let too_late = arrival.is_of_an_ended_cycle(token)
            || (ended && arrival.answered_ns.is_some_and(|answered| token.sent_ns > answered));
        let receipt = if token.channel != sub.channel {
            Receipt::Misrouted
        } else if too_late {
            Receipt::AfterUnsubscribe
        } else if token.kind == Kind::Parting {
            state.cohorts[usize::from(sub.cohort)].partings_delivered += 1;
            return;
        } else if token.kind == Kind::Barrier {
            return self.on_barrier(state, arrival, token);
        } else {
            return self.on_probe(state, arrival, token);
        };
        let phase = board.phase_of(token.due_ns);
        let index = arrival.sub as usize;
        state.receipts += 1;
        state.ledger.count_receipt(index, phase);
        state.ledger.receive_stray(index, token, arrival.at_ns, phase, receipt);
    }

    fn on_barrier(&self, state: &mut State, arrival: Arrival, token: &Token) {
        let index = arrival.sub as usize;
        state.cohorts[usize::from(state.subs[index].cohort)].barriers_delivered += 1;
        let present = arrival.under == Under::Present;
        if present && let Some(stream) = state.ledger.barrier(index, token) {
            self.plan.board.barriers.done(stream);
        }
    }

    fn on_probe(&self, state: &mut State, arrival: Arrival, token: &Token) {
        let board = &self.plan.board;
        let index = arrival.sub as usize;
        let sub = &mut state.subs[index];
        state.cohorts[usize::from(sub.cohort)].probes_delivered += 1;
        if arrival.under != Under::Present {
            return;
        }
        if sub.first_probe == 0 {
            sub.first_probe = token.seq as u32 + 1;
        }
        sub.probes += 1;
        if sub.state == SubState::Waiting && token.sent_ns >= sub.flushed_ns {
            self.proved(state, index, arrival.at_ns);
        }
        let census = token.epoch;
        let sub = &mut state.subs[index];
        let fresh = token.kind == Kind::Census && sub.state == SubState::Active && sub.census != census;
        if fresh && board.census.hold(census) {
            sub.census = census;
        }
    }
}
