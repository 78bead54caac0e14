//! Which event has which name: a pure mapping between event numbers and (channel, publisher, seq).
//!
//! A stream is what one publisher connection sends to one channel; its seqs are contiguous from 0. A group with
//! P connections on C channels has max(C, P) streams: stream k is channel `k % C` over connection `k % P`, and
//! event n of the group is seq `n / S` of stream `n % S`.

/// One stream, counted over all groups.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Its index in an array of all streams.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the mapping needs to know of a publisher group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupShape {
    /// Connections it publishes over, at least 1.
    pub connections: u32,
}

/// One group with its offsets in the global numberings.
#[derive(Clone, Copy, Debug)]
struct Group {
    connections: u32,
    first_publisher: u32,
    streams: u32,
    first_stream: u32,
    first_slot: u32,
}

/// The streams of a run.
#[derive(Clone, Debug)]
pub struct Streams {
    channels: u32,
    groups: Vec<Group>,
    slots: u32,
    len: u32,
}

impl Streams {
    /// Lays out the streams of all publisher groups over `channels` channels, at least 1.
    ///
    /// # Panics
    /// If there is no channel or a group without connections; no checked plan has either.
    #[must_use]
    pub fn new(channels: u32, groups: &[GroupShape]) -> Self {
        assert!(channels > 0, "a plan has at least one channel");
        let mut this = Self { channels, groups: Vec::with_capacity(groups.len()), slots: 0, len: 0 };
        let mut first_publisher = 0;
        for shape in groups {
            assert!(shape.connections > 0, "a publisher group has at least one connection");
            let streams = channels.max(shape.connections);
            this.groups.push(Group {
                connections: shape.connections,
                first_publisher,
                streams,
                first_stream: this.len,
                first_slot: this.slots,
            });
            first_publisher += shape.connections;
            this.len += streams;
            this.slots += streams.div_ceil(channels);
        }
        this
    }

    /// Number of streams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nobody publishes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of channels.
    #[must_use]
    pub fn channels(&self) -> u32 {
        self.channels
    }

    /// All streams.
    pub fn all(&self) -> impl Iterator<Item = StreamId> + use<> {
        (0..self.len).map(StreamId)
    }

    /// The streams of one publisher group.
    #[must_use]
    pub fn streams_of_group(&self, group: usize) -> u32 {
        self.groups[group].streams
    }

    /// Where event `n` of a group goes.
    #[must_use]
    pub fn event(&self, group: usize, n: u64) -> (StreamId, u64) {
        let group = &self.groups[group];
        let streams = u64::from(group.streams);
        (StreamId(group.first_stream + (n % streams) as u32), n / streams)
    }

    /// Which event of which group this is; the inverse of [`Self::event`].
    #[must_use]
    pub fn number(&self, stream: StreamId, seq: u64) -> (usize, u64) {
        let index = self.group_of(stream);
        let group = &self.groups[index];
        (index, seq * u64::from(group.streams) + u64::from(stream.0 - group.first_stream))
    }

    /// The stream of a publisher on a channel; `None`: it never publishes there, or one of them does not exist.
    #[must_use]
    pub fn stream_of(&self, publisher: u32, channel: u32) -> Option<StreamId> {
        if channel >= self.channels {
            return None;
        }
        let group = self.groups.iter().find(|g| publisher < g.first_publisher + g.connections)?;
        let connection = publisher - group.first_publisher;
        // The larger of the two numbers identifies the stream; the smaller one must agree.
        let (k, agrees) = if self.channels >= group.connections {
            (channel, channel == connection || channel % group.connections == connection)
        } else {
            (connection, connection % self.channels == channel)
        };
        agrees.then_some(StreamId(group.first_stream + k))
    }

    /// The channel that a stream publishes to.
    #[must_use]
    pub fn channel(&self, stream: StreamId) -> u32 {
        (stream.0 - self.groups[self.group_of(stream)].first_stream) % self.channels
    }

    /// The publisher connection of a stream, counted over all groups.
    #[must_use]
    pub fn publisher(&self, stream: StreamId) -> u32 {
        let group = &self.groups[self.group_of(stream)];
        group.first_publisher + (stream.0 - group.first_stream) % group.connections
    }

    /// The streams of a channel, by rising slot.
    pub fn streams_of_channel(&self, channel: u32) -> impl Iterator<Item = StreamId> + '_ {
        self.groups.iter().flat_map(move |group| {
            (channel..group.streams).step_by(self.channels as usize).map(|k| StreamId(group.first_stream + k))
        })
    }

    /// The most streams that any channel has: the length of a subscription's row of books.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// Where a stream's book is in the row of a subscription to its channel.
    #[must_use]
    pub fn slot(&self, stream: StreamId) -> usize {
        let group = &self.groups[self.group_of(stream)];
        // Asked for every receipt: a division costs more than everything else here.
        if group.streams == self.channels {
            return group.first_slot as usize;
        }
        (group.first_slot + (stream.0 - group.first_stream) / self.channels) as usize
    }

    fn group_of(&self, stream: StreamId) -> usize {
        self.groups
            .iter()
            .position(|g| stream.0 < g.first_stream + g.streams)
            .expect("stream ids come from this mapping")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_groups_side_by_side() {
        let streams = Streams::new(4, &[GroupShape { connections: 2 }, GroupShape { connections: 6 }]);
        assert_eq!((streams.len(), streams.slots()), (10, 3));
        assert_eq!(streams.event(0, 5), (StreamId(1), 1));
        assert_eq!(streams.event(1, 5), (StreamId(9), 0));
        assert_eq!((streams.channel(StreamId(9)), streams.publisher(StreamId(9))), (1, 7));
        assert_eq!(
            streams.streams_of_channel(1).collect::<Vec<_>>(),
            [StreamId(1), StreamId(5), StreamId(9)]
        );
        assert_eq!(streams.streams_of_channel(3).collect::<Vec<_>>(), [StreamId(3), StreamId(7)]);
        assert_eq!(streams.stream_of(0, 1), None);
        assert_eq!(streams.stream_of(8, 0), None);
        assert_eq!(streams.stream_of(0, 4), None);
    }

    proptest! {
        #[test]
        fn mapping_is_a_bijection(channels in 1_u32..20, groups in prop::collection::vec(1_u32..20, 1..4)) {
            let shapes: Vec<_> = groups.iter().map(|&connections| GroupShape { connections }).collect();
            let streams = Streams::new(channels, &shapes);
            for stream in streams.all() {
                let (channel, publisher) = (streams.channel(stream), streams.publisher(stream));
                prop_assert_eq!(streams.stream_of(publisher, channel), Some(stream));
                prop_assert!(streams.slot(stream) < streams.slots());
                let (group, n) = streams.number(stream, 17);
                prop_assert_eq!(streams.event(group, n), (stream, 17));
            }
            let mut seen = 0;
            for channel in 0..channels {
                let row: Vec<_> = streams.streams_of_channel(channel).collect();
                let slots: Vec<_> = row.iter().map(|&s| streams.slot(s)).collect();
                prop_assert!(slots.is_sorted_by(|a, b| a < b));
                prop_assert!(row.iter().all(|&s| streams.channel(s) == channel));
                seen += row.len();
            }
            prop_assert_eq!(seen, streams.len());
        }
    }
}
