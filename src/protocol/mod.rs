//! What is said on the wire: one file per protocol, text in and text out, no sockets.

pub mod graphql_transport_ws;
mod reply;
mod template;

pub use reply::{http_reply, refusal, refusal_in_next};
