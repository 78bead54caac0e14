//! What a shard counts for the conductor to see.

use std::ops::AddAssign;

/// Counts that the conductor sees while the run goes on.
///
/// Those that it waits for while it sets up, `resolved` to `confirmed`, count each connection and subscription of the
/// plan once, by its first life, so that clients which come back do not stand in for others that are still to come.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// First attempts that have ended, well or badly. One that a fault of ours ended counts when its client gets its first
    /// connection, or has had as long for it as a handshake may take.
    pub resolved: u64,
    /// Attempts that failed, and established connections that ended unexpectedly.
    pub failed: u64,
    /// Established connections that ended unexpectedly, and attempts to come back that failed.
    pub turned_away: u64,
    /// Of those, the established connections that ended unexpectedly.
    pub dropped: u64,
    /// Subscriptions that were refused or ended by the server, and results that carried errors.
    pub ended_operations: u64,
    /// First connections established so far.
    pub established: u64,
    /// Subscriptions that no longer wait for their first probe: confirmed, failed or gone. One whose connection ends
    /// before that is settled, even if its client comes back.
    pub settled: u64,
    /// Subscriptions confirmed at least once.
    pub confirmed: u64,
    /// Event messages received.
    pub receipts: u64,
    /// Messages received, those of probes, censuses, barriers and last words included.
    pub received: u64,
    /// Messages that the server may have delivered and nobody received, because of faults of ours.
    pub withheld: u64,
    /// Owed events received intact.
    pub satisfied: u64,
    /// Connections that ended and are on their way back: not open, or not all subscriptions proved again.
    pub away: u64,
    /// Shards that have noted who waits for barriers.
    pub barriers_noted: u64,
    /// Deliveries still owed on live incarnations; reckoned only once barriers are awaited.
    pub outstanding: u64,
    /// Connections that have not answered what was sent after their unsubscribes.
    pub unanswered: u64,
    /// Planned cycles of churn that are over, or will never be because their client is gone.
    pub cycles_over: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.resolved += other.resolved;
        self.failed += other.failed;
        self.turned_away += other.turned_away;
        self.dropped += other.dropped;
        self.ended_operations += other.ended_operations;
        self.established += other.established;
        self.settled += other.settled;
        self.confirmed += other.confirmed;
        self.receipts += other.receipts;
        self.received += other.received;
        self.withheld += other.withheld;
        self.satisfied += other.satisfied;
        self.away += other.away;
        self.barriers_noted += other.barriers_noted;
        self.outstanding += other.outstanding;
        self.unanswered += other.unanswered;
        self.cycles_over += other.cycles_over;
    }
}
