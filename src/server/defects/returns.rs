//! What befalls those who come back after their connection has ended, and those who were there all the while.

use std::rc::Rc;

use super::super::fanout::Subscription;
use super::kind::Kind;
use super::planted::{Defects, Spot};
use super::strike::Action;

impl Defects {
    /// Whether a subscription is not made that its client believes to have.
    pub(crate) fn forgoes(&self, channel: &str) -> bool {
        let lane = self.lane(channel);
        let spots = lane.spots.iter().filter(|spot| *spot.kind() == Kind::NotRestored);
        let struck = spots.filter(|spot| spot.state.borrow().left && spot.hits(&lane.label));
        // Of several, the first strikes alone.
        let Some(spot) = struck.take(1).next() else { return false };
        spot.planted.truth.borrow_mut().strike(Some(&lane.label), 0);
        true
    }
}

impl Spot {
    /// A subscription was made: whether somebody has come back with it.
    pub(super) fn comes_back(&self, label: &str, subscription: &Rc<Subscription>) {
        let returned = self.state.borrow().left && self.hits(label);
        let returns = {
            let mut state = self.state.borrow_mut();
            state.returns += u64::from(returned);
            state.returns
        };
        // Its own return harms others only.
        self.know(subscription, |known| known.returns = returns);
    }

    /// A delivery is lost if somebody has come back since the one before.
    pub(super) fn rob(&self, label: &Rc<str>, to: &Rc<Subscription>) -> Option<Action> {
        let returns = self.state.borrow().returns;
        let known = self.know(to, |known| std::mem::replace(&mut known.returns, returns));
        if known == returns {
            return None;
        }
        let harmed = std::mem::replace(&mut self.state.borrow_mut().harmful, returns);
        let mut truth = self.planted.truth.borrow_mut();
        for _ in harmed.max(known)..returns {
            truth.strike(Some(label), 0);
        }
        truth.touch();
        Some(Action::Lose)
    }
}
