//! Clients: everything that opens a connection, and the fleet that owns them.
//!
//! Start with [`fleet`] (who owns what), then [`shard`], `client` (a receiving client through all its connections) and
//! `live` (one of them), then [`publisher`], `source` and `link` (what is published, when, and how).

mod aftermath;
mod agenda;
mod backoff;
mod barriers;
pub mod board;
mod breaker;
mod budget;
mod churn;
mod client;
pub mod climb;
pub mod counts;
mod cycling;
mod desk;
mod errand;
pub mod failure;
mod farewell;
pub mod fleet;
mod frames;
pub mod handshake;
pub mod http_link;
mod in_flight;
mod injector;
mod keepalive;
mod link;
mod live;
mod newcomers;
mod opening;
pub mod pace;
pub mod pacing;
mod presence;
mod probes;
pub mod publisher;
mod receive;
mod returning;
#[cfg(test)]
mod returning_tests;
pub mod returns;
mod sabotage;
mod seats;
pub mod shard;
pub mod slips;
pub mod slow;
pub mod slowdown;
pub mod source;
pub mod stream;
mod subs;
pub mod tally;
mod task;
mod thinker;
pub mod timer;
pub mod turnstile;
mod upgrade;
mod weather;
