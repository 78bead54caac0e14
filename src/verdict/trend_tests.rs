//! How often the judgement of a trend errs, by simulation: known series with known noise, always the same seeds.
//!
//! The floor is 1 throughout. Run with `--nocapture` for the table of `docs/trends.md`.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use rand_distr::{Distribution, Normal, Uniform};

use super::*;

/// Series per kind: with 200 a rate of 95 % is known to 3 %.
const SERIES: u64 = 200;
/// Points of a series, as a plan aims at.
const POINTS: usize = 250;

/// A source of the same noise every time.
struct Noise(ChaCha8Rng);

impl Noise {
    fn uniform(&mut self) -> f64 {
        Uniform::new(0.0, 1.0).unwrap().sample(&mut self.0)
    }

    /// A first-order process: each value is `phi` of the one before and a bit of its own.
    fn process(&mut self, points: usize, phi: f64, deviation: f64) -> Vec<f64> {
        let normal = Normal::new(0.0, deviation).unwrap();
        let mut value = normal.sample(&mut self.0);
        let mut next = || {
            value = phi * value + (1.0 - phi * phi).sqrt() * normal.sample(&mut self.0);
            value
        };
        (0..points).map(|_| next()).collect()
    }
}

/// The value without noise, by where in the run: 0 to 1.
type Shape = Box<dyn Fn(f64) -> f64>;

/// A kind of series: its shape, which may be drawn, and the noise on it.
struct Kind {
    name: String,
    phi: f64,
    deviation: f64,
    shape: Box<dyn Fn(&mut Noise) -> Shape>,
}

fn kind(name: &str, (phi, deviation): (f64, f64), shape: impl Fn(f64) -> f64 + Clone + 'static) -> Kind {
    random(name, (phi, deviation), move |_| Box::new(shape.clone()))
}

fn random(name: &str, (phi, deviation): (f64, f64), shape: impl Fn(&mut Noise) -> Shape + 'static) -> Kind {
    let name = format!("{name}, noise {deviation} of coefficient {phi}");
    Kind { name, phi, deviation, shape: Box::new(shape) }
}

/// A collector's sawtooth of so many teeth, beginning anywhere in one.
fn saw(teeth: f64, height: f64) -> impl Fn(&mut Noise) -> Shape {
    move |noise| {
        let phase = noise.uniform();
        Box::new(move |at| height * (at * teeth + phase).fract())
    }
}

/// Shares of `[grows, steady, undecided]`.
fn rates(kind: &Kind, points: usize) -> [f64; 3] {
    let mut counts = [0_u32; 3];
    for seed in 0..SERIES {
        let mut noise = Noise(ChaCha8Rng::seed_from_u64(seed));
        let shape = (kind.shape)(&mut noise);
        let values = noise.process(points, kind.phi, kind.deviation);
        let series: Vec<(f64, f64)> = values
            .iter()
            .enumerate()
            .map(|(i, value)| (i as f64 * 0.4, 100.0 + shape(i as f64 / points as f64) + value))
            .collect();
        let word = trend(&series).expect("points enough").word(1.0).0;
        counts[word as usize] += 1;
    }
    let rates = counts.map(|count| f64::from(count) / SERIES as f64);
    let [grows, steady, undecided] = rates.map(|rate| format!("{:5.1} %", 100.0 * rate));
    println!("| {:<62} | {points:3} | {grows} | {steady} | {undecided} |", kind.name);
    rates
}

const QUIET: (f64, f64) = (0.5, 0.05);

#[test]
fn what_does_not_leak_is_not_called_a_leak() {
    let mut kinds = Vec::new();
    for deviation in [0.1, 0.5, 1.0, 3.0] {
        for phi in [0.0, 0.5, 0.8, 0.9, 0.95] {
            kinds.push(kind("flat", (phi, deviation), |_| 0.0));
        }
    }
    for (teeth, height) in [(2.0, 0.5), (2.0, 5.0), (3.0, 2.0), (5.0, 5.0), (8.0, 2.0), (20.0, 5.0)] {
        kinds.push(random(&format!("sawtooth, {teeth} teeth of {height}"), QUIET, saw(teeth, height)));
    }
    for at in [0.3, 0.5, 0.6, 0.75, 0.9] {
        kinds.push(kind(
            &format!("one step of 5 at {at}"),
            (0.8, 0.1),
            move |t| if t > at { 5.0 } else { 0.0 },
        ));
    }
    kinds.push(random("one step of 1 to 10 anywhere", (0.8, 0.1), |noise| {
        let (at, height) = (noise.uniform(), 1.0 + 9.0 * noise.uniform());
        Box::new(move |t| if t > at { height } else { 0.0 })
    }));
    for (constant, height) in [(0.05, 10.0), (0.1, 2.0), (0.1, 10.0), (0.2, 10.0), (0.3, 2.0), (0.3, 10.0)] {
        let name = format!("allocator, {height} with time constant {constant}");
        kinds.push(kind(&name, (0.8, 0.1), move |t| height * (1.0 - (-t / constant).exp())));
    }
    let wrong: Vec<String> = kinds
        .iter()
        .flat_map(|kind| [100, POINTS].map(|points| (kind, points, rates(kind, points)[0])))
        .filter(|(_, _, grows)| *grows > 0.05)
        .map(|(kind, points, grows)| format!("{} at {points}: {grows}", kind.name))
        .collect();
    assert_eq!(wrong, [""; 0]);
}

#[test]
fn a_late_step_is_not_called_steady() {
    for at in [0.5, 0.6, 0.75, 0.9] {
        let late =
            kind(&format!("one step of 5 at {at}"), (0.8, 0.1), move |t| if t > at { 5.0 } else { 0.0 });
        assert_eq!(rates(&late, POINTS)[1], 0.0, "{}", late.name);
    }
}

/// Noise as that of real processes: the reference server's memory over 90 s has a deviation below 1 MiB, and a
/// tenth of the usual floor of 64 MiB is 6.4 MiB.
fn realistic() -> [(f64, f64); 4] {
    [(0.0, 0.25), (0.5, 0.2), (0.8, 0.1), (0.9, 0.1)]
}

#[test]
fn a_leak_of_twice_the_floor_is_found_and_never_called_steady() {
    let mut kinds: Vec<Kind> =
        realistic().into_iter().map(|noise| kind("leak of 2", noise, |t| 2.0 * t)).collect();
    for (teeth, height) in [(8.0, 1.0), (20.0, 0.5), (50.0, 1.0)] {
        let name = format!("leak of 2 under {teeth} teeth of {height}");
        kinds.push(random(&name, QUIET, move |noise| {
            let saw = saw(teeth, height)(noise);
            Box::new(move |t| 2.0 * t + saw(t))
        }));
    }
    for kind in &kinds {
        let [grows, steady, _] = rates(kind, POINTS);
        assert!(grows >= 0.95 && steady == 0.0, "{}: {grows} {steady}", kind.name);
    }
    // Under noise in which nothing can be found it is undecided.
    for (phi, deviation) in [(0.0, 1.0), (0.9, 0.3), (0.95, 1.0), (0.95, 3.0)] {
        let drowned = kind("leak of 2", (phi, deviation), |t| 2.0 * t);
        let [_, steady, undecided] = rates(&drowned, POINTS);
        assert!(steady <= 0.05 && undecided > 0.2, "{}: {steady} {undecided}", drowned.name);
    }
}

#[test]
fn half_the_floor_is_mostly_steady_and_the_floor_itself_is_undecided() {
    for noise in realistic() {
        let half = kind("leak of 0.5", noise, |t| 0.5 * t);
        let [grows, steady, _] = rates(&half, POINTS);
        assert!(grows == 0.0 && steady >= 0.75, "{}: {grows} {steady}", half.name);
        let exact = kind("leak of 1", noise, |t| t);
        let [grows, steady, undecided] = rates(&exact, POINTS);
        assert!(grows <= 0.05 && steady <= 0.06 && undecided >= 0.9, "{}: {grows} {steady}", exact.name);
    }
}

#[test]
fn the_interval_covers_the_truth() {
    for (phi, deviation) in [(0.0, 1.0), (0.5, 1.0), (0.8, 1.0), (0.9, 1.0)] {
        let mut covered = 0;
        for seed in 0..SERIES {
            let values = Noise(ChaCha8Rng::seed_from_u64(seed)).process(POINTS, phi, deviation);
            let series: Vec<(f64, f64)> = values
                .iter()
                .enumerate()
                .map(|(i, v)| (i as f64, 3.0 * i as f64 / POINTS as f64 + v))
                .collect();
            let [low, high] = trend(&series).unwrap().interval.unwrap();
            covered += u32::from(low <= 3.0 && 3.0 <= high);
        }
        let share = f64::from(covered) / SERIES as f64;
        println!("coefficient {phi}: the 95 % interval covers the truth in {:.1} %", 100.0 * share);
        assert!(share >= 0.91, "{phi}: {share}");
    }
}

/// Latencies have multiplicative noise with a long tail, and slow down along a line: the median slope has to cope.
#[test]
fn shares_of_latencies_err_as_rarely() {
    let words = |growth: f64, deviation: f64, floor: f64| {
        let mut counts = [0_u32; 3];
        for seed in 0..SERIES {
            let noise = Noise(ChaCha8Rng::seed_from_u64(seed)).process(POINTS, 0.5, deviation);
            let at = |(i, n): (usize, &f64)| {
                (i as f64, 700.0 * (1.0 + growth * i as f64 / POINTS as f64) * n.exp())
            };
            let series: Vec<(f64, f64)> = noise.iter().enumerate().map(at).collect();
            counts[relative(&series).unwrap().word(floor).0 as usize] += 1;
        }
        let rates = counts.map(|count| f64::from(count) / SERIES as f64);
        println!("p99 grows by {growth}, noise {deviation}, floor {floor}: {rates:?}");
        rates
    };
    for deviation in [0.05, 0.3, 1.0] {
        assert!(words(0.0, deviation, 0.1)[0] <= 0.05);
    }
    for (deviation, floor) in [(0.02, 0.1), (0.07, 0.5), (0.1, 1.0)] {
        let [grows, steady, _] = words(2.0 * floor, deviation, floor);
        assert!(grows >= 0.95 && steady == 0.0, "{floor}: {grows}, {steady}");
        assert!(words(0.0, deviation, floor)[1] >= 0.95);
    }
    // Slow by degrees: forty times slower at the end is no curve that flattens.
    assert!(words(40.0, 0.1, 0.5)[0] >= 0.95);
}

#[test]
fn shares_are_of_where_the_slope_begins() {
    let double = relative(&line(201, |t| 100.0 + 100.0 * t)).unwrap();
    assert!((double.growth - 1.0).abs() < 1e-9 && double.halves.iter().all(|h| (h - 1.0).abs() < 1e-9));
    let steep = relative(&line(201, |t| 1e4 * t)).unwrap();
    assert!(steep.growth > 3.0 && steep.growth.is_finite(), "{}", steep.growth);
}

fn line(points: usize, value: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    (0..points).map(|i| (i as f64, value(i as f64 / (points - 1) as f64))).collect()
}

#[test]
fn exact_series_have_exact_trends() {
    let rise = trend(&line(201, |t| 50.0 + 7.0 * t)).unwrap();
    assert_eq!((rise.samples, rise.blocks, rise.tau, rise.inflation), (161, 48, 1.0, 1.0));
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    let [low, high] = rise.interval.unwrap();
    assert!(close(rise.growth, 7.0) && close(low, 7.0) && close(high, 7.0), "{rise:?}");
    assert!(rise.all_along && rise.halves.iter().all(|half| close(*half, 7.0)) && rise.p_value < 1e-6);
    assert_eq!([6.9, 7.1].map(|floor| rise.word(floor).0), [TrendWord::Grows, TrendWord::Steady]);

    let flat = trend(&line(201, |_| 50.0)).unwrap();
    assert_eq!((flat.growth, flat.interval, flat.p_value), (0.0, Some([0.0, 0.0]), 1.0));
    assert_eq!(flat.word(0.1).0, TrendWord::Steady);

    let fall = trend(&line(201, |t| 50.0 - 7.0 * t)).unwrap();
    assert_eq!((fall.tau, fall.word(0.1).0), (-1.0, TrendWord::Steady));
}

#[test]
fn what_happens_in_the_warm_up_does_not_count() {
    let settled = trend(&line(201, |t| if t < 0.19 { 500.0 * t } else { 100.0 })).unwrap();
    assert_eq!((settled.growth, settled.word(0.1).0), (0.0, TrendWord::Steady));
}

#[test]
fn fewer_than_24_blocks_are_no_trend() {
    assert_eq!(samples_needed(), 90);
    assert_eq!(trend(&line(89, |t| t)), None);
    assert_eq!(trend(&line(91, |t| t)).map(|t| t.blocks), Some(24));
    assert_eq!(trend(&[]), None);
    assert_eq!(trend(&[(1.0, 1.0); 200]), None, "no time passed");
}

/// The same noise upside down is the same evidence, the other way round.
#[test]
fn what_falls_has_the_interval_of_what_rises() {
    let sorted: Vec<f64> = (0..300).map(f64::from).collect();
    // (300 - 99) / 2 = 100.5: the 100th slope and the 100th from the end.
    assert_eq!(interval(&sorted, 99.0), Some([99.0, 200.0]));
    assert_eq!(interval(&sorted, 100.0), Some([99.0, 200.0]));
    assert_eq!([298.0, 299.0].map(|reach| interval(&sorted, reach)), [Some([0.0, 299.0]), None]);
    for seed in 0..20 {
        let rises = Noise(ChaCha8Rng::seed_from_u64(seed)).process(POINTS, 0.5, 1.0);
        let of = |sign: f64| {
            let series: Vec<_> = rises.iter().enumerate().map(|(i, v)| (i as f64, sign * v)).collect();
            trend(&series).expect("points enough").interval.expect("an interval")
        };
        let ([low, high], [mirrored_high, mirrored_low]) = (of(1.0), of(-1.0).map(|end| -end));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(low, mirrored_low) && close(high, mirrored_high), "{low} {high} of seed {seed}");
    }
}

#[test]
fn ranks_and_ties() {
    assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
    let (s, variance) = kendall(&[(0.0, 1.0), (1.0, 2.0), (2.0, 2.0), (3.0, 3.0)]);
    // 4 · 3 · 13 = 156, less 2 · 1 · 9 = 18 for the tie.
    assert_eq!((s, variance), (5.0, 138.0 / 18.0));
    assert!((normal(1.959_964) - 0.975).abs() < 1e-6 && (normal(0.0) - 0.5).abs() < 1e-6);
}
