//! The name of every way in which a connection or an operation ends badly: `STAGE.REASON`.
//!
//! The list is closed and short, so that scripts can match on it; what a server says itself is kept apart, as an
//! example text that has been made harmless.

use std::io;

use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};

/// How far a connection had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// TCP handshake.
    Tcp,
    /// TLS handshake.
    Tls,
    /// HTTP upgrade.
    Upgrade,
    /// `connection_init` until `connection_ack`.
    Init,
    /// Subscribe until the first probe.
    Confirm,
    /// Established.
    Open,
    /// A publish.
    Publish,
    /// What is sent after the last unsubscribe until its answer.
    Unsubscribe,
    /// Close handshake.
    Close,
}

impl Stage {
    /// Its name, as in `upgrade.timeout`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Init => "init",
            Self::Confirm => "confirm",
            Self::Open => "open",
            Self::Publish => "publish",
            Self::Unsubscribe => "unsubscribe",
            Self::Close => "close",
        }
    }
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// A deadline passed.
    Timeout,
    /// The peer refused the connection.
    Refused,
    /// The peer reset the connection.
    Reset,
    /// The peer ended the connection without saying why.
    Closed,
    /// The network or host cannot be reached.
    Unreachable,
    /// The peer closed with this WebSocket close code.
    CloseCode(u16),
    /// The peer answered the upgrade with this HTTP status.
    Http(u16),
    /// The peer chose no subprotocol or another one.
    Subprotocol,
    /// The peer's HTTP or WebSocket handshake is not valid.
    Handshake,
    /// A frame or message is larger than the scenario can need.
    Oversized,
    /// A text message is not UTF-8.
    InvalidUtf8,
    /// RFC 6455 was violated.
    InvalidFrame,
    /// A message is not one of the protocol's.
    InvalidMessage,
    /// The server answered with errors.
    Error,
    /// The server ended an operation that should have gone on.
    Complete,
    /// The certificate was not accepted or TLS failed.
    Tls,
    /// This process has no free file descriptor.
    NoFile,
    /// This machine has no free source port.
    NoPort,
    /// The socket was connected to itself (possible on loopback).
    SelfConnect,
    /// A fault of ours ended it.
    Injected,
    /// Anything else the operating system said.
    Io,
}

/// One named end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failure {
    /// How far it had come.
    pub stage: Stage,
    /// Why it ended.
    pub reason: Reason,
}

impl Failure {
    /// Pairs a stage with a reason.
    #[must_use]
    pub fn new(stage: Stage, reason: Reason) -> Self {
        Self { stage, reason }
    }

    /// Whether the generator's own machine is to blame.
    #[must_use]
    pub fn is_local(self) -> bool {
        matches!(self.reason, Reason::NoFile | Reason::NoPort | Reason::SelfConnect)
    }

    /// Whether a fault of ours ended it, so that it says nothing about the server.
    #[must_use]
    pub fn is_injected(self) -> bool {
        self.reason == Reason::Injected
    }

    /// Whether a subscription was refused, or ended by the server although its connection lives.
    #[must_use]
    pub fn ends_operation(self) -> bool {
        let ended = matches!(self.reason, Reason::Error | Reason::Complete);
        self.stage == Stage::Confirm || (self.stage == Stage::Open && ended)
    }

    /// Whether the cause has no name of its own.
    #[must_use]
    pub fn is_unexplained(self) -> bool {
        self.reason == Reason::Io
    }

    /// Names what the operating system said.
    #[must_use]
    pub fn from_io(stage: Stage, error: &io::Error) -> Self {
        Self::new(stage, reason_of_io(error))
    }

    /// Names what the WebSocket library said.
    #[must_use]
    pub fn from_ws(stage: Stage, error: &WsError) -> Self {
        let reason = match error {
            WsError::Io(e) => reason_of_io(e),
            WsError::ConnectionClosed | WsError::AlreadyClosed => Reason::Closed,
            WsError::Capacity(CapacityError::MessageTooLong { .. }) => Reason::Oversized,
            WsError::Utf8(_) => Reason::InvalidUtf8,
            WsError::Http(response) => Reason::Http(response.status().as_u16()),
            WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Reason::Closed,
            WsError::Protocol(ProtocolError::HandshakeIncomplete) => Reason::Closed,
            WsError::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => Reason::Subprotocol,
            WsError::Protocol(_) if stage == Stage::Upgrade => Reason::Handshake,
            WsError::Protocol(_) => Reason::InvalidFrame,
            WsError::Capacity(_) | WsError::HttpFormat(_) | WsError::Url(_) | WsError::AttackAttempt => {
                Reason::Handshake
            }
            WsError::Tls(_) => Reason::Tls,
            WsError::WriteBufferFull(_) => Reason::Io,
        };
        Self::new(stage, reason)
    }
}

fn reason_of_io(error: &io::Error) -> Reason {
    use rustix::io::Errno;
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => return Reason::NoFile,
        Some(Errno::ADDRNOTAVAIL) => return Reason::NoPort,
        _ => {}
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reason::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Reason::Reset
        }
        io::ErrorKind::UnexpectedEof => Reason::Closed,
        io::ErrorKind::TimedOut => Reason::Timeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Reason::Unreachable,
        io::ErrorKind::InvalidData => Reason::Tls,
        _ => Reason::Io,
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stage = if self.is_local() { "local" } else { self.stage.name() };
        write!(f, "{stage}.")?;
        match self.reason {
            Reason::Timeout => f.write_str("timeout"),
            Reason::Refused => f.write_str("refused"),
            Reason::Reset => f.write_str("reset"),
            Reason::Closed => f.write_str("closed"),
            Reason::Unreachable => f.write_str("unreachable"),
            Reason::CloseCode(code) => write!(f, "close-{}", bucket(code)),
            Reason::Http(status) => write!(f, "http-{status}"),
            Reason::Subprotocol => f.write_str("subprotocol"),
            Reason::Handshake => f.write_str("handshake"),
            Reason::Oversized => f.write_str("oversized"),
            Reason::InvalidUtf8 => f.write_str("invalid-utf8"),
            Reason::InvalidFrame => f.write_str("invalid-frame"),
            Reason::InvalidMessage => f.write_str("invalid-message"),
            Reason::Error => f.write_str("error"),
            Reason::Complete => f.write_str("complete"),
            Reason::Tls => f.write_str("tls"),
            Reason::NoFile => f.write_str("emfile"),
            Reason::NoPort => f.write_str("no-port"),
            Reason::SelfConnect => f.write_str("self-connect"),
            Reason::Injected => f.write_str("injected"),
            Reason::Io => f.write_str("io"),
        }
    }
}

/// Close codes outside the registered and the protocol's own ranges share one name, so that the list stays closed.
fn bucket(code: u16) -> String {
    match code {
        1000..=1015 | 4400..=4409 | 4429 | 4499..=4500 => code.to_string(),
        _ => "other".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_happened() {
        let io = |kind| Failure::from_io(Stage::Tcp, &io::Error::from(kind)).to_string();
        assert_eq!(io(io::ErrorKind::ConnectionRefused), "tcp.refused");
        assert_eq!(io(io::ErrorKind::ConnectionReset), "tcp.reset");
        assert_eq!(io(io::ErrorKind::Other), "tcp.io");
        let os = |errno: rustix::io::Errno| {
            Failure::from_io(Stage::Tcp, &io::Error::from_raw_os_error(errno.raw_os_error())).to_string()
        };
        assert_eq!(os(rustix::io::Errno::MFILE), "local.emfile");
        assert_eq!(os(rustix::io::Errno::ADDRNOTAVAIL), "local.no-port");
        assert_eq!(Failure::new(Stage::Init, Reason::CloseCode(4400)).to_string(), "init.close-4400");
        assert_eq!(Failure::new(Stage::Open, Reason::CloseCode(4777)).to_string(), "open.close-other");
        assert_eq!(Failure::new(Stage::Upgrade, Reason::Http(429)).to_string(), "upgrade.http-429");
    }

    #[test]
    fn names_what_the_library_says() {
        let ws = |e: WsError| Failure::from_ws(Stage::Open, &e).to_string();
        assert_eq!(ws(WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake)), "open.closed");
        assert_eq!(ws(WsError::Protocol(ProtocolError::NonZeroReservedBits)), "open.invalid-frame");
        assert_eq!(ws(WsError::Utf8(String::new())), "open.invalid-utf8");
        let large = CapacityError::MessageTooLong { size: 2, max_size: 1 };
        assert_eq!(ws(WsError::Capacity(large)), "open.oversized");
    }
}
