//! Clients: everything that opens a connection, and the fleet that owns them.
//!
//! Start with [`fleet`] (who owns what), then [`shard`] and `subscriber` (one receiving connection), then
//! [`publisher`], `source` and `link` (what is published, when, and how).

mod barriers;
pub mod board;
pub mod failure;
pub mod fleet;
pub mod handshake;
pub mod http_link;
mod in_flight;
mod link;
pub mod pace;
mod probes;
pub mod publisher;
mod seats;
pub mod shard;
pub mod source;
pub mod stream;
mod subscriber;
pub mod tally;
mod task;
mod timer;
mod upgrade;
