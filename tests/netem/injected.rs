//! The injector's link delay around the client's end of a connection: all that this measurement knows of the injector.

use std::cell::RefCell;
use std::rc::Rc;

use stressctl::clients::timer;
use stressctl::inject::{Alarm, Control, FaultTally, Lane, LaneDelay, Link, Schedule};
use stressctl::scenarios::plan;
use tokio::net::TcpStream;

use crate::sets::Delay;

/// More than is ever on its way here.
const BUFFER: usize = 1 << 20;

/// What all links of a thread share.
#[derive(Debug, Default)]
pub(crate) struct Injector {
    alarm: Rc<Alarm>,
    /// Its seed is always the same.
    schedule: Schedule,
    tally: Rc<RefCell<FaultTally>>,
}

impl Injector {
    /// Delays what goes out of `stream` and what comes in, each as `delay` says; `nth` tells connections apart.
    pub(crate) fn link(&self, stream: TcpStream, delay: Delay, nth: u32) -> Link<TcpStream> {
        let control = Control::new(&self.alarm);
        for lane in [Lane::Up, Lane::Down] {
            let draws = self.schedule.delays(0, nth, lane);
            let tally = Rc::clone(&self.tally);
            let lane_delay = in_plan(delay).map(|delay| LaneDelay { delay, draws, buffer: BUFFER, tally });
            control.delay(lane, lane_delay);
        }
        Link::under(stream, control)
    }

    /// Lets go what is due, as it does in a run.
    pub(crate) async fn drive(&self) {
        timer::drive(&self.alarm).await;
    }
}

fn in_plan(delay: Delay) -> Option<plan::Delay> {
    match delay {
        Delay::None => None,
        Delay::Fixed(always) => Some(plan::Delay::Fixed(always)),
        Delay::Uniform { min, max } => Some(plan::Delay::Uniform { low: min, high: max }),
        Delay::Normal { mean, deviation } => Some(plan::Delay::Normal { mean, deviation }),
    }
}
