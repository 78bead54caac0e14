//! What a run needs around it: limits, the permitted address, the reference server's process, one reason to stop.

pub mod date;
pub mod preflight_address;
pub mod stop;
