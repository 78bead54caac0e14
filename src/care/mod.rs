//! Care: secrets stay secret, foreign text stays harmless, and no stranger's server is loaded by accident.
//!
//! Everything here is a pure function of its arguments; nothing here opens a socket or asks a resolver. Next to
//! read: `run::preflight_address`, which asks the resolver and hands its answer to [`permit`].

mod confirm;
mod foreign;
mod secret;
mod secrets;
mod url;

pub use confirm::{Refused, host_of, permit};
pub use foreign::{FOREIGN_MAX, foreign};
pub use secret::Secret;
pub use secrets::Secrets;
pub use url::redact_url;
