//! What one life of a subscribing connection has to say next, and the handing over of it.

use super::*;

impl Live {
    /// Hands over everything the orders ask for, as far as the socket takes it, and flushes once.
    pub(super) fn write(
        &mut self,
        shard: &Shard,
        cx: &mut Context<'_>,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        while self.pending_write(shard, cx) && Pin::new(&mut self.socket).poll_ready(cx)?.is_ready() {
            let message = self.next_write(shard);
            Pin::new(&mut self.socket).start_send(message)?;
            self.dirty = true;
        }
        if self.dirty && Pin::new(&mut self.socket).poll_flush(cx)?.is_ready() {
            self.dirty = false;
            self.errand.iter_mut().for_each(|errand| errand.flushed());
            if self.flushed < self.asked {
                let first = self.seat.first_sub;
                shard.flushed(first + self.flushed..first + self.asked);
                self.flushed = self.asked;
            }
        }
        Ok(())
    }

    /// Whether there is something to say; passes over what is not to be asked for or ended any more.
    pub(super) fn pending_write(&mut self, shard: &Shard, cx: &mut Context<'_>) -> bool {
        if !self.is_open() {
            return false;
        }
        let course = shard.course();
        if course == Course::Run && self.may_subscribe() {
            while self.asked < self.seat.subs && self.state_of(shard, self.asked) != SubState::Idle {
                self.asked += 1;
            }
        }
        if self.unsubscribes(course) {
            while self.unasked < self.asked && self.state_of(shard, self.unasked) == SubState::Ended {
                self.unasked += 1;
            }
        }
        !self.replies.is_empty()
            || (course == Course::Run && self.owes_ping())
            || (course == Course::Run && self.has_errand_to_say())
            || (course == Course::Run && self.wants_more() && self.has_thought(shard, cx))
            || (self.unsubscribes(course) && self.unasked < self.asked)
            || (course == Course::Run && self.owes_question())
            || (course == Course::Unsubscribe && self.answer == Answer::Owed)
            || course >= Course::Close
    }

    /// Whether its cycles, if it has any, let it ask for subscriptions.
    pub(super) fn may_subscribe(&self) -> bool {
        self.cycling.as_ref().is_none_or(|cycling| cycling.may_subscribe())
    }

    /// Whether there are subscriptions that are still to be asked for.
    pub(super) fn wants_more(&self) -> bool {
        self.asked < self.seat.subs && self.may_subscribe()
    }

    /// Whether its subscriptions are to be ended: at the end of the run, or in a cycle.
    pub(super) fn unsubscribes(&self, course: Course) -> bool {
        course >= Course::Unsubscribe || self.cycling.as_ref().is_some_and(|cycling| cycling.is_leaving())
    }

    /// Whether something is to be asked behind the unsubscribes of a cycle.
    pub(super) fn owes_question(&self) -> bool {
        self.cycling.as_ref().is_some_and(|cycling| cycling.owes_question())
    }

    pub(super) fn owes_ping(&self) -> bool {
        self.pulse.as_ref().is_some_and(|pulse| pulse.is_owed())
    }

    pub(super) fn next_write(&mut self, shard: &Shard) -> Message {
        let dialect = &shard.plan.endpoint.dialect;
        let course = shard.course();
        let mut text = String::new();
        if let Some(reply) = self.replies.pop() {
            text = reply;
        } else if let Some(pulse) = self.pulse.as_mut().filter(|p| course == Course::Run && p.is_owed()) {
            dialect.ping(PAYLOAD, &mut text);
            pulse.sent();
        } else if course == Course::Run && self.has_errand_to_say() {
            self.say_errand(shard, &mut text);
        } else if course == Course::Run && self.wants_more() {
            self.thought = false;
            shard.asks(self.seat.first_sub + self.asked);
            let sub = shard.state.borrow().subs[(self.seat.first_sub + self.asked) as usize];
            let channel = shard.plan.board.channel_name(sub.channel);
            let id = self.first_id + u64::from(self.asked);
            dialect.subscribe(id, &channel, self.seat.connection, &mut text);
            self.asked += 1;
        } else if self.unasked < self.asked {
            dialect.complete(self.first_id + u64::from(self.unasked), &mut text);
            let how = if course == Course::Run { End::Left } else { End::Unsubscribed };
            shard.end_subscription(self.seat.first_sub + self.unasked, how);
            self.unasked += 1;
        } else if course == Course::Run {
            dialect.ping(&self.question(), &mut text);
            let now_ns = shard.plan.board.clock.now_ns();
            self.cycling.iter_mut().for_each(|cycling| cycling.asked(now_ns));
        } else if course == Course::Unsubscribe {
            dialect.ping(&self.question(), &mut text);
            self.answer = Answer::Awaited;
        } else {
            self.goodbye = Goodbye::Ours;
            let (code, reason) = (CloseCode::Normal, Utf8Bytes::default());
            return Message::Close(Some(CloseFrame { code, reason }));
        }
        Message::text(text)
    }

    /// Whether it may subscribe: before every subscribe a client may have to think.
    pub(super) fn has_thought(&mut self, shard: &Shard, cx: &mut Context<'_>) -> bool {
        if self.thought {
            return true;
        }
        let seat = self.seat.local;
        if self.thinking.is_none() {
            self.thinking = Thinking::begin(shard, seat).map(Box::new);
        }
        self.thought = self.thinking.as_mut().is_none_or(|thinking| thinking.is_over(shard, seat, cx));
        if self.thought {
            self.thinking = None;
        }
        self.thought
    }

    pub(super) fn has_errand_to_say(&self) -> bool {
        self.errand.as_ref().is_some_and(|errand| errand.has_to_say())
    }

    /// The operation in the middle of which it ends.
    pub(super) fn say_errand(&mut self, shard: &Shard, text: &mut String) {
        let (id, connection) = (self.parting_id(), self.seat.connection);
        let Some(errand) = &mut self.errand else { return };
        errand.said = true;
        let dialect = &shard.plan.endpoint.dialect;
        let channel = shard.state.borrow().subs[self.seat.first_sub as usize].channel;
        let name = shard.plan.board.channel_name(channel);
        match errand.doom.point {
            DropPoint::SubscribeSent => dialect.subscribe(id, &name, connection, text),
            DropPoint::UnsubscribeSent => dialect.complete(self.first_id, text),
            _ => {
                let payload = shard.parting(channel, self.seat.cohort);
                dialect.publish(id, &name, &payload, text);
            }
        }
    }
}
