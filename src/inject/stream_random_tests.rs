//! Anything in any order: bytes come out in the order they went in, none is lost, none is early.

use proptest::prelude::*;

use std::cell::RefCell;

use tokio::io::split;
use tokio::task::JoinSet;

use super::scene::Scene;
use super::*;

/// What happens after a pause of so many milliseconds.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// So many bytes are written: by the owner, or by the peer.
    Write(bool, usize),
    /// Delays of one direction: none, or at least so many milliseconds and at most as many more.
    Delay(bool, Option<(u64, u64)>),
    Hold(bool, bool),
    Stall(bool, bool),
}

fn event() -> impl Strategy<Value = Event> {
    let delay = prop_oneof![Just(None), (0_u64..60, 0_u64..40).prop_map(Some)];
    prop_oneof![
        6 => (any::<bool>(), 1_usize..40).prop_map(|(up, n)| Event::Write(up, n)),
        3 => (any::<bool>(), delay).prop_map(|(up, delay)| Event::Delay(up, delay)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(up, on)| Event::Hold(up, on)),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(up, on)| Event::Stall(up, on)),
    ]
}

/// What was ordered for one direction, and from which millisecond on.
#[derive(Debug, Clone, Copy)]
struct Order {
    from: u64,
    least: u64,
    holds: bool,
    /// Of what comes down a stall keeps only what has not been read from the socket: noted for what goes up alone.
    stalls: bool,
}

/// One direction: its orders, and which byte went in and came out when.
#[derive(Debug, Default)]
struct Lanes {
    orders: Vec<Order>,
    wrote: Vec<u64>,
    read: Vec<(u64, u8)>,
}

impl Lanes {
    fn order(&mut self, from: u64, change: impl FnOnce(&mut Order)) {
        let none = Order { from: 0, least: 0, holds: false, stalls: false };
        let mut order = self.orders.last().copied().unwrap_or(none);
        order.from = from;
        change(&mut order);
        self.orders.push(order);
    }

    /// The orders that were in force in some moment of `from..=to`.
    fn within(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, Order)> {
        let ends = self.orders.iter().skip(1).map(|order| order.from).chain([u64::MAX]);
        let all = self.orders.iter().zip(ends).filter(move |(order, end)| order.from <= to && *end >= from);
        all.map(move |(order, _)| (order.from.max(from), *order))
    }

    fn check(&self, up: bool) {
        assert_eq!(self.read.len(), self.wrote.len(), "up: {up}");
        for (nth, ((at, byte), wrote)) in self.read.iter().zip(&self.wrote).enumerate() {
            assert_eq!(*byte, nth as u8, "byte {nth}, up: {up}");
            let is_time = self.within(*wrote, *at).any(|(begin, order)| begin + order.least <= *at);
            assert!(is_time, "byte {nth} of {wrote} came at {at}, up: {up}, {:?}", self.orders);
            let is_free = self.within(*at, *at).any(|(_, order)| !order.holds && !order.stalls);
            assert!(is_free, "byte {nth} came at {at}, when it was kept, up: {up}, {:?}", self.orders);
        }
    }
}

type Shared = Rc<RefCell<[Lanes; 2]>>;

/// Writes what it is told to, in pieces as they are taken, and then the end.
async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut told: tokio::sync::mpsc::Receiver<usize>,
    began: Instant,
    lanes: Shared,
    lane: usize,
) {
    while let Some(mut left) = told.recv().await {
        while left > 0 {
            let next = lanes.borrow()[lane].wrote.len();
            let bytes: Vec<u8> = (next..next + left).map(|n| n as u8).collect();
            let n = stream.write(&bytes).await.expect("it is open");
            lanes.borrow_mut()[lane].wrote.extend(std::iter::repeat_n(ms_since(began), n));
            left -= n;
        }
    }
    stream.shutdown().await.expect("it is open");
}

async fn read(
    mut stream: impl AsyncRead + Unpin,
    sizes: Vec<usize>,
    began: Instant,
    lanes: Shared,
    lane: usize,
) {
    for size in sizes.iter().cycle() {
        let mut buf = vec![0; *size];
        let n = stream.read(&mut buf).await.expect("it is open");
        if n == 0 {
            return;
        }
        let at = ms_since(began);
        lanes.borrow_mut()[lane].read.extend(buf[..n].iter().map(|byte| (at, *byte)));
    }
}

fn act(scene: &Scene, lanes: &Shared, event: Event, buffer: usize) {
    let at = ms_since(scene.began);
    let of = |up: bool| usize::from(!up);
    let direction = |up: bool| if up { Direction::Up } else { Direction::Down };
    let mut lanes = lanes.borrow_mut();
    match event {
        Event::Write(..) => {}
        Event::Delay(up, delay) => {
            let lane = if up { Lane::Up } else { Lane::Down };
            match delay {
                None => scene.control.delay(lane, None),
                Some((low, more)) => {
                    scene.delay(lane, Delay::Uniform { low: MS(low), high: MS(low + more) }, buffer);
                }
            }
            lanes[of(up)].order(at, |order| order.least = delay.map_or(0, |(low, _)| low));
        }
        Event::Hold(up, on) => {
            scene.control.hold(direction(up), on);
            lanes[of(up)].order(at, |order| order.holds = on);
        }
        Event::Stall(up, on) => {
            scene.control.stall(direction(up), on);
            lanes[of(up)].order(at, |order| order.stalls = up && on);
        }
    }
}

fn run(events: &[(u64, Event)], buffer: usize, capacity: usize, sizes: &[usize]) {
    play(capacity, async |scene| {
        let lanes = Shared::default();
        lanes.borrow_mut().iter_mut().for_each(|lane| lane.order(0, |_| ()));
        let (up, up_told) = tokio::sync::mpsc::channel(100);
        let (down, down_told) = tokio::sync::mpsc::channel(100);
        let (reads, writes) = split(scene.link.take().expect("nobody owns it"));
        let (began, sizes) = (scene.began, sizes.to_vec());
        let mut done = JoinSet::new();
        let both = (Rc::clone(&lanes), Rc::clone(&lanes), sizes.clone());
        done.spawn_local(async move {
            let (ours, theirs, sizes) = both;
            tokio::join!(write(writes, up_told, began, ours, 0), read(reads, sizes, began, theirs, 1));
        });
        let (reads, writes) = split(scene.peer.take().expect("nobody is it"));
        done.spawn_local(write(writes, down_told, began, Rc::clone(&lanes), 1));
        done.spawn_local(read(reads, sizes, began, Rc::clone(&lanes), 0));
        for (pause, event) in events {
            tokio::time::sleep(MS(*pause)).await;
            act(scene, &lanes, *event, buffer);
            if let Event::Write(is_up, n) = event {
                let told = if *is_up { &up } else { &down };
                told.try_send(*n).expect("there are fewer events than that");
            }
        }
        for is_up in [true, false] {
            act(scene, &lanes, Event::Stall(is_up, false), buffer);
            act(scene, &lanes, Event::Hold(is_up, false), buffer);
        }
        drop((up, down));
        while let Some(ended) = done.join_next().await {
            ended.expect("nobody panicked");
        }
        lanes.borrow()[0].check(true);
        lanes.borrow()[1].check(false);
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn bytes_come_out_in_order_all_of_them_and_none_early(
        events in proptest::collection::vec((0_u64..25, event()), 1..60),
        buffer in 1_usize..80,
        capacity in 1_usize..80,
        sizes in proptest::collection::vec(1_usize..50, 1..6),
    ) {
        run(&events, buffer, capacity, &sizes);
    }
}
