//! What a publishing connection hands to its socket, when it is flushed, and when it is looked at again.

use super::*;

impl Link<'_> {
    /// Hands over what is due, flushes when a batch is full or nothing more is due, and sets the timer.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Result<(), WsError> {
        self.expire();
        let batch = self.source.batch(&self.desk.orders.get());
        for _ in 0..BUDGET {
            if self.unflushed >= batch && self.flush(cx)?.is_pending() {
                return Ok(());
            }
            if self.closing {
                return self.flush(cx).map(drop);
            }
            if self.socket().poll_ready(cx)?.is_pending() {
                self.blocked = true;
                return self.wait_for_room(cx);
            }
            let now_ns = self.desk.board.clock.now_ns();
            if let Some(reply) = self.replies.pop() {
                self.hand_over(Message::text(reply))?;
                continue;
            }
            let orders = self.desk.orders.get();
            let next = self.source.next(&orders, self.line(), now_ns);
            let at_ns = match next {
                Next::Send(outgoing) => {
                    self.said_ns = now_ns;
                    self.send(&outgoing, now_ns)?;
                    continue;
                }
                _ if now_ns >= self.said_ns + SILENCE_NS => {
                    self.ping(now_ns);
                    continue;
                }
                Next::At(at_ns) => Some(at_ns),
                Next::Wait => None,
            };
            let _ = self.flush(cx)?;
            // An answer that never comes wakes nobody: without this, whoever waits for it waits for ever.
            let ping_ns = self.said_ns + SILENCE_NS;
            let wake_ns = at_ns.into_iter().chain(self.next_expiry_ns()).fold(ping_ns, u64::min);
            if self.timer.poll_until(cx, self.desk.board.clock.at(wake_ns)).is_pending() {
                return self.close_if_ordered(cx);
            }
            self.expire();
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    pub(super) fn line(&self) -> Line {
        Line { in_flight: self.in_flight.len(), free_ns: self.unblocked_ns }
    }

    /// The socket takes nothing: what was sent before still has its time to be answered in, and no more.
    pub(super) fn wait_for_room(&mut self, cx: &mut Context<'_>) -> Result<(), WsError> {
        while let Some(ns) = self.next_expiry_ns() {
            if self.timer.poll_until(cx, self.desk.board.clock.at(ns)).is_pending() {
                break;
            }
            self.expire();
        }
        Ok(())
    }

    pub(super) fn send(&mut self, outgoing: &Outgoing, now_ns: u64) -> Result<(), WsError> {
        self.payload.clear();
        self.text.clear();
        outgoing.token.write(outgoing.payload, &mut self.payload);
        let payload = std::str::from_utf8(&self.payload).expect("a token is ASCII");
        let channel = self.desk.board.channel_name(outgoing.token.channel);
        let id = self.in_flight.next_id();
        self.desk.endpoint.dialect.publish(id, &channel, payload, &mut self.text);
        self.in_flight.open(Sent { what: outgoing.what, sent_ns: now_ns });
        self.desk.sent(outgoing.what, now_ns);
        self.desk.carried(outgoing.what, self.text.len());
        if matches!(outgoing.what, What::Event { .. }) && !self.blocked {
            self.desk.send_lag(now_ns.saturating_sub(outgoing.ready_ns.max(self.unblocked_ns)));
        }
        if let Some((errand, _)) = &mut self.doomed
            && matches!(outgoing.what, What::Event { .. })
        {
            errand.said |= errand.doom.point == DropPoint::PublishSent;
        }
        self.hand_over(Message::text(self.text.as_str()))
    }

    pub(super) fn hand_over(&mut self, message: Message) -> Result<(), WsError> {
        self.unflushed += 1;
        self.dirty = true;
        self.socket().start_send(message)
    }

    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, WsError> {
        if !self.dirty {
            return Ok(Poll::Ready(()));
        }
        if self.socket().poll_flush(cx)?.is_ready() {
            self.dirty = false;
            self.doomed.iter_mut().for_each(|(errand, _)| errand.flushed());
            self.unflushed = 0;
            if self.blocked {
                self.blocked = false;
                self.unblocked_ns = self.desk.board.clock.now_ns();
            }
            return Ok(Poll::Ready(()));
        }
        self.blocked = true;
        Ok(Poll::Pending)
    }

    pub(super) fn close_if_ordered(&mut self, cx: &mut Context<'_>) -> Result<(), WsError> {
        if self.desk.orders.get().close && !self.closing {
            self.closing = true;
            let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
            self.hand_over(Message::Close(Some(frame)))?;
            let _ = self.flush(cx)?;
        }
        Ok(())
    }
}
