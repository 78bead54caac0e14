//! The injector's link delay around the client's end of a connection: all that this measurement knows of the injector.

use anyhow::bail;
use tokio::net::TcpStream;

use crate::sets::Delay;

/// Delays what goes out of `stream` and what comes in, each as `delay` says; `nth` tells connections apart.
pub(crate) fn link(_stream: TcpStream, delay: Delay, _nth: u32) -> anyhow::Result<TcpStream> {
    bail!("not built in: the injector has no link delay yet, and cannot do {delay:?}");
}
