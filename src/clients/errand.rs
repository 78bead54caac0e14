//! What a subscribing connection does besides its own business, for a fault: think before it subscribes, or do one
//! operation and end in the middle of it.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Sleep, sleep_until};

use super::shard::Shard;
use super::weather::{Doom, Tally};
use crate::clock::{self, Instant};
use crate::scenarios::plan::DropPoint;

/// A client that thinks before an operation.
pub(super) struct Thinking {
    until: Pin<Box<Sleep>>,
    began: Instant,
    drawn: Duration,
    tally: Tally,
}

impl Thinking {
    /// Begins to think before the next operation of a client, if a fault has it think.
    pub(super) fn begin(shard: &Shard, seat: usize) -> Option<Self> {
        let slot = shard.climate.think(seat)?;
        let mut slot = slot.borrow_mut();
        let think = slot.as_mut()?;
        let (began, drawn) = (clock::now(), think.draw());
        Some(Self { until: Box::pin(sleep_until(began + drawn)), began, drawn, tally: think.tally() })
    }

    /// Whether it is over: by its time, or because the fault is.
    pub(super) fn is_over(&mut self, shard: &Shard, seat: usize, cx: &mut Context<'_>) -> bool {
        let thinks = shard.climate.think(seat).is_some_and(|slot| slot.borrow().is_some());
        if thinks && self.until.as_mut().poll(cx).is_pending() {
            return false;
        }
        if thinks {
            self.tally.borrow_mut().delayed(self.drawn, self.began.elapsed());
        }
        true
    }
}

/// How far a doomed connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Errand {
    pub doom: Doom,
    /// The operation that it ends in was handed to the socket.
    pub said: bool,
    /// It is at its point.
    pub is_over: bool,
}

impl Errand {
    pub(super) fn of(doom: Doom) -> Self {
        Self { doom, said: false, is_over: false }
    }

    /// Whether an operation is still to be handed to the socket.
    pub(super) fn has_to_say(&self) -> bool {
        use DropPoint::{PublishSent, SubscribeSent, UnsubscribeSent};
        !self.said && matches!(self.doom.point, PublishSent | SubscribeSent | UnsubscribeSent)
    }

    /// Everything was flushed.
    pub(super) fn flushed(&mut self) {
        self.is_over |= self.said;
    }

    /// An event was received.
    pub(super) fn received(&mut self) {
        self.is_over |= self.doom.point == DropPoint::Receive;
    }
}
