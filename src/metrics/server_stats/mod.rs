//! The server's own counts beside ours.
//!
//! A [`Scraper`] fetches them, [`compare`] sets them against ours. Neither decides when: the conductor scrapes
//! before the run, at a census, again and again while the phases run (`envelope`), at the ends of phases, after the last phase and after close. What cannot be read is said to be
//! unknown and never taken for 0.

mod compare;
mod envelope;
mod fetch;
mod read;
mod selector;

pub use compare::{Counters, Gauges, Moment, at_end_of, compare};
pub use envelope::{During, Envelope, Held, Moments, Totals, Window};
pub use fetch::{BODY_MAX, ScrapeError, Scraper};
pub use read::{ServerCount, ServerCounts};
pub use selector::{BadSelector, Selector};
