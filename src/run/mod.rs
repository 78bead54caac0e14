//! What a run needs around it: limits, the permitted address, the reference server's process, one reason to stop.

pub mod all_along;
mod assemble;
mod closing;
pub mod date;
mod gauges;
pub mod limits;
pub mod machine;
pub mod needs;
mod phase_limit;
pub mod preflight;
pub mod preflight_address;
pub mod reference;
pub mod round;
pub mod rounds;
pub mod session;
pub mod stop;
pub mod target;
mod timeline;
pub mod watch;
