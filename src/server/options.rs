//! The reference server's options, as clap types with their policies.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use super::defects::Defect;

/// Options of `stressctl serve`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServeOptions {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4000")]
    pub listen: SocketAddr,

    /// Allow an address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,

    /// How much may wait for one connection that does not read
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    pub queue_limit: Size,

    /// What happens to a connection whose queue is full
    #[arg(long, value_enum, value_name = "POLICY", default_value_t)]
    pub when_full: WhenFull,

    /// Largest message accepted from a client
    #[arg(long, value_name = "SIZE", default_value = "17MiB")]
    pub max_message: Size,

    /// Most subscriptions on one connection; unlimited when left out
    #[arg(long, value_name = "N")]
    pub max_subscriptions_per_connection: Option<usize>,

    /// How long a client may take to send connection_init (or its HTTP request)
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub init_timeout: Duration,

    /// How long a connection without subscriptions may stay silent
    #[arg(long, value_name = "DURATION", default_value = "10min", value_parser = humantime::parse_duration)]
    pub idle_timeout: Duration,

    /// Exit at once when standard input ends, so that the server cannot outlive its parent
    #[arg(long)]
    pub exit_with_stdin: bool,

    /// Be wrong on purpose, to see whether it is found: docs/defects.md lists the kinds; may be given several times
    #[arg(long = "defect", value_name = "KIND[=PARAMETERS]")]
    pub defects: Vec<Defect>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)),
            allow_remote: false,
            queue_limit: Size(32 << 20),
            when_full: WhenFull::Disconnect,
            max_message: Size(17 << 20),
            max_subscriptions_per_connection: None,
            init_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(600),
            exit_with_stdin: false,
            defects: Vec::new(),
        }
    }
}

/// What happens when a subscriber's queue is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WhenFull {
    /// The connection is cut; everything queued for it counts as dropped.
    #[default]
    Disconnect,
    /// The event is dropped for this subscriber and counted; the connection stays.
    Drop,
    /// Nothing is dropped: the WebSocket of whoever publishes to that subscriber is not read until there is room again.
    Backpressure,
}

/// A number of bytes, written as `32MiB`, `100KB` or plain bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let size = bytesize::ByteSize::from_str(text)
            .map_err(|_| format!("{text:?} is not a size; write it as 32MiB, 100KB or a number of bytes"))?;
        usize::try_from(size.as_u64())
            .map(Self)
            .map_err(|_| format!("{text} is more than this machine can address"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bytesize::ByteSize::b(self.0 as u64).display().iec().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: ServeOptions,
    }

    #[test]
    fn clap_and_default_agree() {
        let parsed = Cli::try_parse_from(["serve"]).unwrap().options;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", ServeOptions::default()));
    }

    #[test]
    fn sizes_are_read_with_units_and_refused_with_advice() {
        assert_eq!("32MiB".parse(), Ok(Size(32 << 20)));
        assert_eq!("100KB".parse(), Ok(Size(100_000)));
        assert_eq!("17".parse(), Ok(Size(17)));
        let refused = "much".parse::<Size>().unwrap_err();
        assert_eq!(refused, "\"much\" is not a size; write it as 32MiB, 100KB or a number of bytes");
    }
}
