//! The reference server: a fast, small, honest subscriptions server to measure against and to test with.
//!
//! It speaks `graphql-transport-ws` on one port, beside `POST /graphql`, `GET /stats`, `GET /metrics` and
//! `GET /closings`. It keeps no events: what is published reaches who is subscribed at that moment. It may not know
//! anything of scenarios, faults or ledgers; what it counts is its own. One thread runs everything, so its state is
//! plain cells.
//!
//! A message's way through it: `http` upgrades a connection, `session` reads messages, `message` parses them,
//! `fanout` delivers events (`fanout::deliver` is the one place where an event goes to a subscriber), `conn`
//! writes to the socket and keeps in its `outbox` what the socket would not take. `sweep` ends what is overdue,
//! `farewell` in good order, and `closings` tells how connections ended.
//!
//! With `--defect` it is wrong on purpose; how is all in `defects`, and asked for where `hub.defects` is.

mod accept;
mod closings;
mod conn;
mod defects;
mod event;
mod fanout;
mod farewell;
mod http;
mod hub;
mod message;
mod options;
mod outbox;
mod request;
mod serve;
mod session;
mod stats;
mod sweep;

pub use defects::Defect;
pub use options::{ServeOptions, Size, WhenFull};
pub use serve::{ServeError, Server, serve};
