//! What is injected: into whom, when, and what it does.

use std::time::Duration;

/// One injected disturbance, as planned; who it hits and when is drawn by [`crate::inject::Schedule`].
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// Whom it aims at, in the order of the file.
    pub on: Vec<Aim>,
    /// The parts of the run it acts in, once in each.
    pub parts: Vec<Part>,
    /// Its begin after the begin of the part.
    pub start: Duration,
    /// How long it lasts for each victim; `None`: to the end of the part. Means nothing to what happens at one moment.
    pub length: Option<Duration>,
    /// How its applications are spread.
    pub stagger: Stagger,
    /// What it does.
    pub kind: FaultKind,
    /// It hits exactly this share of the cycles that its victims are planned to go through, all taken together; `None`: it
    /// hits each victim once.
    pub operations: Option<f64>,
}

/// How many of so many a share is: rounded, half up, and at least one.
#[must_use]
pub fn exact_share(share: f64, of: u64) -> u64 {
    // 14.5 % of 100 is 14.499999999999998 in binary, and still 15.
    let exact = share * of as f64 * (1.0 + 1e-12);
    ((exact + 0.5).floor() as u64).max(1).min(of)
}

/// Whom a fault aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// So many connections of a group, an exact number.
    Group {
        /// The group.
        group: Crew,
        /// How many of its connections are hit.
        count: u32,
    },
    /// So many of the victims of another fault, an exact number; that fault stands anywhere in the plan.
    Victims {
        /// Index of the other fault.
        of: usize,
        /// How many of its victims are hit.
        count: u32,
    },
}

/// A group of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Crew {
    /// Index among the groups of subscribers.
    Subscribers(usize),
    /// Index among the groups of publishers.
    Publishers(usize),
}

/// A part of a run that a fault can act in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// From the first connect to the begin of the first phase.
    Setup,
    /// Index of a phase.
    Phase(usize),
}

/// How the applications of a fault are spread over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stagger {
    /// All at one instant.
    #[default]
    Together,
    /// Evenly over this time.
    Linear(Duration),
    /// At random moments of this time (a Poisson process with a known number of arrivals).
    Poisson(Duration),
}

/// What a fault does.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultKind {
    /// A client waits before every subscribe and publish.
    ThinkTime(Delay),
    /// Bytes take longer to travel.
    LinkDelay(LinkDelay),
    /// Bytes are kept on our side of the link and let go when it is over: the peer goes on sending and being read.
    Hold(Direction),
    /// The socket is neither read nor written: the peer runs into a window that closes.
    Stall(Direction),
    /// Nothing of the peer arrives, not even an acknowledgement of its kernel, and nothing is sent.
    Partition {
        /// Whether it runs as a stall, and is reported as one, where the kernel does not allow it.
        or_stall: bool,
    },
    /// A client reads more slowly than it is sent to, or pauses reading.
    SlowConsumer(SlowConsumer),
    /// Attempts to connect end at this point.
    HandshakeAbort(HandshakePoint),
    /// Ends the connection.
    Terminate(Terminate),
    /// A client goes through cycles of subscribing and unsubscribing.
    Churn(Churn),
}

impl FaultKind {
    /// Its name in the scenario language and in reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ThinkTime(_) => "think-time",
            Self::LinkDelay(_) => "link-delay",
            Self::Hold(_) => "hold",
            Self::Stall(_) => "stall",
            Self::Partition { .. } => "partition",
            Self::SlowConsumer(_) => "slow-consumer",
            Self::HandshakeAbort(_) => "handshake-abort",
            Self::Terminate(_) => "terminate",
            Self::Churn(_) => "churn",
        }
    }

    /// Where it acts, as in reports.
    #[must_use]
    pub fn layer(&self) -> &'static str {
        match self {
            Self::ThinkTime(_) | Self::Churn(_) => "client",
            Self::LinkDelay(_)
            | Self::Hold(_)
            | Self::Stall(_)
            | Self::Partition { .. }
            | Self::SlowConsumer(_) => "link",
            Self::HandshakeAbort(_) | Self::Terminate(_) => "connection",
        }
    }

    /// Whether each application has a length, rather than happening at one moment.
    #[must_use]
    pub fn lasts(&self) -> bool {
        !matches!(self, Self::Terminate(_))
    }

    /// How often one application of it counts: every cycle is one.
    #[must_use]
    pub fn times(&self) -> u64 {
        if let Self::Churn(churn) = self { churn.cycles.into() } else { 1 }
    }

    /// Whether it can keep a delivery from its victim, rather than making it late. What a server does about a client that
    /// reads slowly is its own decision, and it may be to drop.
    #[must_use]
    pub fn takes_away(&self) -> bool {
        !matches!(self, Self::ThinkTime(_) | Self::LinkDelay(_))
    }
}

/// Cycles of each victim, one after the other: subscribe, have it proved by a probe, hold, unsubscribe, have that answered,
/// pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Churn {
    /// How many.
    pub cycles: u32,
    /// From the proof to the unsubscribe.
    pub hold: Duration,
    /// From its answer, or from the end of the connection, to the next subscribe.
    pub pause: Duration,
}

/// A distribution of delays; never below zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Evenly between two.
    Uniform {
        /// The shortest.
        low: Duration,
        /// The longest.
        high: Duration,
    },
    /// Normal, with what is below zero made zero.
    Normal {
        /// The mean.
        mean: Duration,
        /// The standard deviation.
        deviation: Duration,
    },
}

impl Delay {
    /// The longest of them, or one that hardly any is longer than: six deviations above the mean.
    #[must_use]
    pub fn longest(self) -> Duration {
        match self {
            Self::Fixed(always) => always,
            Self::Uniform { high, .. } => high,
            Self::Normal { mean, deviation } => mean + deviation * 6,
        }
    }
}

/// How much longer bytes travel, per direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkDelay {
    /// From us to the peer.
    pub up: Option<Delay>,
    /// From the peer to us.
    pub down: Option<Delay>,
    /// Bytes that may be on their way in each direction; beyond it the socket is not read, or not written.
    pub buffer: usize,
}

/// Payload bytes that a slow reader must be owed and not have read for its server to feel it. Measured on loopback: the
/// two kernels together hold 4.2 MiB of one connection, 2.3 MiB with the smallest of receive buffers.
pub const FELT: u64 = 8 << 20;

/// How a client reads that does not keep up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlowConsumer {
    /// Most bytes that it reads in a second; `None`: as many as there are.
    pub reads: Option<u64>,
    /// It stops reading now and then.
    pub pauses: Option<Pauses>,
    /// Size that is asked for the socket's receive buffer before it connects, in bytes; `None`: what the system gives.
    pub receive_buffer: Option<u32>,
}

/// When nothing is read: for `pause` at the begin of each `every`, counted from when the fault begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// How long.
    pub pause: Duration,
    /// How often; longer than `pause`.
    pub every: Duration,
}

impl SlowConsumer {
    /// Bytes per second that it reads at most in the long run; `None`: no bound but its pauses, whose share it is not.
    #[must_use]
    pub fn most_per_second(&self) -> Option<f64> {
        let share = self.pauses.map_or(1.0, |p| 1.0 - p.pause.as_secs_f64() / p.every.as_secs_f64());
        self.reads.map(|reads| reads as f64 * share)
    }
}

/// Directions of a link.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// From us to the peer.
    Up,
    /// From the peer to us.
    Down,
    /// Both.
    #[default]
    Both,
}

impl Direction {
    /// Whether bytes from us to the peer are meant.
    #[must_use]
    pub fn is_up(self) -> bool {
        self != Self::Down
    }

    /// Whether bytes from the peer to us are meant.
    #[must_use]
    pub fn is_down(self) -> bool {
        self != Self::Up
    }

    /// How it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Both => "both",
        }
    }
}

/// How far an attempt to connect comes before we end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HandshakePoint {
    /// Connected, and nothing said.
    Connect,
    /// The upgrade request is sent, and no answer read.
    Upgrade,
    /// `connection_init` is sent, and no answer read.
    Init,
}

impl HandshakePoint {
    /// How it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade => "upgrade",
            Self::Init => "init",
        }
    }
}

/// How connections are ended by us, and in the middle of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminate {
    /// How.
    pub how: How,
    /// Points that the victims are shared out to, as evenly as their number allows; empty: at once, whatever it is doing.
    pub at: Vec<DropPoint>,
}

/// How a connection is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// TCP reset: `SO_LINGER` 0, then close.
    Reset,
    /// Shut down writing, read to the end, close.
    Fin,
    /// Shut down writing, and keep on reading until the server ends its side or the fault is healed.
    HalfClose,
    /// A close frame with this code, and the answer waited for.
    WsClose(u16),
}

/// What a victim is in the middle of when it is cut: it does that one thing itself, and dies in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropPoint {
    /// It connects anew, and dies when TCP is connected.
    Connect,
    /// It connects anew, and dies when `connection_init` is sent.
    Init,
    /// It subscribes, and dies when that is sent.
    SubscribeSent,
    /// It publishes, and dies when that is sent.
    PublishSent,
    /// It dies with the next message that it receives.
    Receive,
    /// It dies when it has received a part of the next frame.
    ReceivePartial,
    /// It unsubscribes, and dies when that is sent.
    UnsubscribeSent,
}

impl DropPoint {
    /// All of them, in the order of a connection's life.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::Init,
        Self::SubscribeSent,
        Self::PublishSent,
        Self::Receive,
        Self::ReceivePartial,
        Self::UnsubscribeSent,
    ];

    /// How it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Init => "init",
            Self::SubscribeSent => "subscribe-sent",
            Self::PublishSent => "publish-sent",
            Self::Receive => "receive",
            Self::ReceivePartial => "receive-partial",
            Self::UnsubscribeSent => "unsubscribe-sent",
        }
    }
}
