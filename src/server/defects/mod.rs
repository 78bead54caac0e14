//! The server, wrong on purpose: what `--defect` plants, where it strikes, and how often it did.
//!
//! Everything wrong lives here. The honest server asks in a handful of places whether there are defects at all
//! (`hub.defects`), and hands over if there are. Like the honest server, this knows nothing of scenarios or
//! ledgers: it works on bytes, channels, connections and counts, and tells events from short messages (probes,
//! barriers) by their length alone.
//!
//! `parse` reads what was asked for into `kind`; `choice` decides what is hit; `planted` keeps who was;
//! `fan_out` does it to a publish, `strike` to one delivery, `lives` to subscriptions and connections, `returns` when
//! a client comes back; `damage` changes bytes; `delay` holds messages back, `serial` connections; `truth` is what
//! `GET /defects` tells.

mod choice;
mod damage;
mod delay;
mod fan_out;
mod kind;
mod lives;
mod parse;
mod planted;
mod returns;
mod serial;
mod strike;
mod truth;

pub(crate) use delay::run;
pub(crate) use fan_out::publish;
pub use kind::Defect;
pub(crate) use lives::Left;
pub(crate) use planted::Defects;
