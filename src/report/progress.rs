//! What is seen while a scenario runs: two lines redrawn in place on a terminal, a plain line now and then elsewhere.
//!
//! A view of state, never a second truth: rates are worked out here from one view to the next, everything else is
//! shown as given. Time comes with the view; nothing here reads a clock.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human::{clean, count, short_rate};
use super::style::{chars, shorten};

/// The state of a run at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProgressView {
    /// The scenario's name.
    pub scenario: String,
    /// What is going on: `connecting`, `confirming`, `census`, `phase load`, `draining`, `closing`.
    pub stage: String,
    /// Time since the run began.
    pub elapsed: Duration,
    /// Connections in the plan.
    pub planned: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections between TCP connect and acknowledgement now.
    pub handshaking: u64,
    /// Connections established so far.
    pub established: u64,
    /// Connects that failed so far.
    pub failed: u64,
    /// Connections that ended and are on their way back now.
    pub away: u64,
    /// Subscriptions asked for so far.
    pub requested: u64,
    /// Subscriptions proved so far.
    pub confirmed: u64,
    /// Subscriptions active now.
    pub active: u64,
    /// Events sent so far.
    pub published: u64,
    /// Events in the plan; `None`: until the phases end.
    pub events: Option<u64>,
    /// Deliveries owed so far.
    pub expected: u64,
    /// Deliveries received so far; what is missing may still arrive, so nothing is called lost yet.
    pub delivered: u64,
}

/// Per second, between two views.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Connections established.
    pub connects: f64,
    /// Subscriptions proved.
    pub confirms: f64,
    /// Events sent.
    pub publishes: f64,
    /// Deliveries received.
    pub deliveries: f64,
}

impl Rates {
    /// What happened from `before` to `now`, per second; zero when no time passed or counts started anew.
    #[must_use]
    pub fn between(before: &ProgressView, now: &ProgressView) -> Self {
        let s = now.elapsed.saturating_sub(before.elapsed).as_secs_f64();
        let per = |a: u64, b: u64| if s > 0.0 { b.saturating_sub(a) as f64 / s } else { 0.0 };
        Self {
            connects: per(before.established, now.established),
            confirms: per(before.confirmed, now.confirmed),
            publishes: per(before.published, now.published),
            deliveries: per(before.delivered, now.delivered),
        }
    }
}

/// One plain line, at most `width` columns wide: what matters in the stage comes first, what is still zero is left
/// out, and so is what matters least when there is no room.
#[must_use]
pub fn line(view: &ProgressView, rates: &Rates, width: usize) -> String {
    let before = format!("{} {}: ", clock(view.elapsed), clean(&view.stage));
    let room = width.saturating_sub(chars(&before));
    before + &details(view, rates, room)
}

/// A figure and how fast it grows.
struct Part {
    text: String,
    /// Empty where it does not grow.
    rate: String,
    /// What is dropped first when there is no room: the lowest.
    weight: u8,
}

fn details(view: &ProgressView, rates: &Rates, room: usize) -> String {
    let mut parts = parts(view, rates);
    let joined = |parts: &[Part]| {
        let texts: Vec<_> = parts.iter().map(|part| format!("{}{}", part.text, part.rate)).collect();
        texts.join(" · ")
    };
    while chars(&joined(&parts)) > room {
        let alone = parts.len() == 1;
        // The figure that matters most keeps its rate until it is alone.
        let most = parts.iter().map(|part| part.weight).max();
        let fast = parts.iter_mut().filter(|p| !p.rate.is_empty() && (alone || Some(p.weight) < most));
        if let Some(part) = fast.min_by_key(|part| part.weight) {
            part.rate.clear();
        } else if alone {
            break;
        } else {
            let least = parts.iter().map(|part| part.weight).min();
            parts.retain(|part| Some(part.weight) != least);
        }
    }
    shorten(&joined(&parts), room)
}

fn parts(view: &ProgressView, rates: &Rates) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |weight, text, rate: f64| {
        let rate = if rate >= 0.5 { format!(" ({})", short_rate(rate)) } else { String::new() };
        parts.push(Part { text, rate, weight });
    };
    // What is complete is said briefly, and matters less.
    let all_open = view.open == view.planned;
    let of = if all_open { String::new() } else { format!(" of {}", count(view.planned)) };
    add(if all_open { 2 } else { 4 }, format!("{}{of} open", count(view.open)), rates.connects);
    let states = [(0, view.handshaking, "handshaking"), (5, view.failed, "failed"), (6, view.away, "away")];
    for (weight, n, what) in states {
        if n > 0 {
            add(weight, format!("{} {what}", count(n)), 0.0);
        }
    }
    let confirming = view.confirmed < view.requested || view.published == 0;
    if view.requested > 0 && confirming {
        add(6, format!("{} of {} confirmed", count(view.confirmed), count(view.requested)), rates.confirms);
    }
    if view.active > 0 && view.active != view.confirmed {
        add(1, format!("{} active", count(view.active)), 0.0);
    }
    if view.published > 0 {
        let of = view.events.map(|n| format!(" of {}", count(n))).unwrap_or_default();
        add(3, format!("{}{of} published", count(view.published)), rates.publishes);
    }
    if view.expected > 0 {
        let text = format!("{} of {} delivered", count(view.delivered), count(view.expected));
        add(7, text, rates.deliveries);
    }
    parts
}

/// Minutes and seconds, the same width for a day.
fn clock(elapsed: Duration) -> String {
    let s = elapsed.as_secs();
    if s < 3600 {
        format!("{:02}:{:02}", s / 60, s % 60)
    } else {
        format!("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
    }
}

/// Shows views as they come.
pub struct Progress {
    display: Display,
    /// The view rates are counted from, and the rates last shown.
    base: Option<ProgressView>,
    rates: Rates,
}

enum Display {
    /// With the width of the terminal, which may change.
    Live(ProgressBar, fn() -> usize),
    Plain(Plain),
}

/// Lines for a log: on every change of stage, and every few seconds in between.
struct Plain {
    out: Box<dyn Write + Send>,
    every: Duration,
    shown: Option<(String, Duration)>,
}

/// Columns that the bar and its percentage take beside the title, and one to spare.
const BAR: usize = 24 + 8;

impl Progress {
    /// How often a plain line is written unless told otherwise.
    pub const EVERY: Duration = Duration::from_secs(5);

    /// Width of plain lines: nobody knows where a log will be read.
    const PLAIN_WIDTH: usize = 80;

    /// On stderr: redrawn in place on a terminal, where `width` tells its columns; plain lines elsewhere. A terminal
    /// that is `dumb` is none; the caller decides that, and about colour.
    #[must_use]
    pub fn new(is_terminal: bool, color: bool, width: fn() -> usize) -> Self {
        if is_terminal { Self::live(color, width) } else { Self::plain(Box::new(io::stderr()), Self::EVERY) }
    }

    /// Plain lines to any writer.
    #[must_use]
    pub fn plain(out: Box<dyn Write + Send>, every: Duration) -> Self {
        Self::showing(Display::Plain(Plain { out, every, shown: None }))
    }

    /// Shows nothing, for `--output quiet`.
    #[must_use]
    pub fn hidden() -> Self {
        Self::showing(Display::Live(ProgressBar::hidden(), || Self::PLAIN_WIDTH))
    }

    fn live(color: bool, width: fn() -> usize) -> Self {
        // Ten times a second is as much as an eye can use and costs nothing next to 10,000 connections.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(10));
        let template = if color {
            "{prefix:.bold} {bar:24.cyan/dim} {percent:>3} %\n  {wide_msg}"
        } else {
            "{prefix} {bar:24} {percent:>3} %\n  {wide_msg}"
        };
        let style =
            ProgressStyle::with_template(template).expect("the template is valid").progress_chars("━╸─");
        bar.set_style(style);
        Self::showing(Display::Live(bar, width))
    }

    fn showing(display: Display) -> Self {
        Self { display, base: None, rates: Rates::default() }
    }

    /// Shows a view, unless it is too soon after the last one.
    pub fn update(&mut self, view: &ProgressView) {
        match &mut self.display {
            Display::Live(bar, width) => {
                if bar.is_finished() {
                    bar.reset();
                }
                let (done, all) = share(view);
                // Rates over at least a second: from tenth to tenth they would only flicker.
                let age = self.base.as_ref().map(|base| view.elapsed.saturating_sub(base.elapsed));
                if age.is_none_or(|age| age >= Duration::from_secs(1)) {
                    self.rates =
                        self.base.as_ref().map_or(Rates::default(), |base| Rates::between(base, view));
                    self.base = Some(view.clone());
                }
                let width = width();
                bar.set_prefix(title(view, width.saturating_sub(BAR)));
                bar.set_length(all.max(1));
                bar.set_position(done.min(all));
                bar.set_message(details(view, &self.rates, width.saturating_sub(3)));
            }
            Display::Plain(plain) => {
                if !plain.is_due(view) {
                    return;
                }
                let rates = self.base.as_ref().map_or(Rates::default(), |base| Rates::between(base, view));
                plain.write(&line(view, &rates, Self::PLAIN_WIDTH));
                plain.shown = Some((view.stage.clone(), view.elapsed));
                self.base = Some(view.clone());
            }
        }
    }

    /// Says something between the lines, such as that an interrupt was received.
    pub fn note(&mut self, text: &str) {
        match &mut self.display {
            Display::Live(bar, _) => bar.println(text),
            Display::Plain(plain) => plain.write(text),
        }
    }

    /// Removes what was redrawn, so that the report starts on a clean line; the next view starts a new scenario.
    pub fn finish(&mut self) {
        self.base = None;
        self.rates = Rates::default();
        match &mut self.display {
            Display::Live(bar, _) => bar.finish_and_clear(),
            Display::Plain(plain) => plain.shown = None,
        }
    }
}

impl Plain {
    fn is_due(&self, view: &ProgressView) -> bool {
        self.shown
            .as_ref()
            .is_none_or(|(stage, at)| *stage != view.stage || view.elapsed.saturating_sub(*at) >= self.every)
    }

    /// Progress is a courtesy: when stderr is gone, the run goes on.
    fn write(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }
}

/// When, what and where in it; without the name of the scenario, which was said before, where there is no room.
fn title(view: &ProgressView, room: usize) -> String {
    let (time, stage) = (clock(view.elapsed), clean(&view.stage));
    let full = format!("{time} {} · {stage}", clean(&view.scenario));
    if chars(&full) <= room { full } else { shorten(&format!("{time} {stage}"), room) }
}

/// What the bar shows: the part of the stage that is done.
fn share(view: &ProgressView) -> (u64, u64) {
    match (view.stage.as_str(), view.events) {
        ("connecting", _) => (view.established + view.failed, view.planned),
        ("confirming" | "census", _) => (view.confirmed, view.requested),
        (stage, Some(events)) if stage.starts_with("phase") => (view.published, events),
        ("closing", _) => (view.planned.saturating_sub(view.open), view.planned),
        _ => (view.delivered, view.expected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    fn view(stage: &str, elapsed_ms: u64) -> ProgressView {
        ProgressView {
            scenario: "10k-concurrent".to_owned(),
            stage: stage.to_owned(),
            elapsed: Duration::from_millis(elapsed_ms),
            planned: 10_000,
            ..ProgressView::default()
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_each_stage() {
        let connecting = ProgressView {
            open: 812,
            handshaking: 4_000,
            established: 812,
            failed: 3,
            ..view("connecting", 1_500)
        };
        assert_eq!(
            line(&connecting, &Rates { connects: 541.3, ..Rates::default() }, 80),
            "00:01 connecting: 812 of 10,000 open (541/s) · 4,000 handshaking · 3 failed"
        );
        let load = ProgressView {
            open: 9_997,
            requested: 9_997,
            confirmed: 9_997,
            active: 9_997,
            published: 5_000,
            events: Some(10_000),
            expected: 5_000,
            delivered: 4_998,
            ..view("phase load", 3_723_000)
        };
        let rates = Rates { publishes: 5_000.0, deliveries: 12_340.0, ..Rates::default() };
        assert_eq!(
            line(&load, &rates, 120),
            "1:02:03 phase load: 9,997 of 10,000 open · 5,000 of 10,000 published \
             (5,000/s) · 4,998 of 5,000 delivered (12.3k/s)"
        );
        assert_eq!(
            line(&load, &rates, 80),
            "1:02:03 phase load: 9,997 of 10,000 open · 4,998 of 5,000 delivered (12.3k/s)"
        );
        let herd = ProgressView { open: 5_000, away: 4_997, handshaking: 300, ..load.clone() };
        assert_eq!(
            line(&herd, &rates, 90),
            "1:02:03 phase load: 5,000 of 10,000 open · 4,997 away · 4,998 of 5,000 delivered (12.3k/s)"
        );
        let all_open = ProgressView { open: 10_000, ..load };
        assert_eq!(
            line(&all_open, &rates, 100),
            "1:02:03 phase load: 10,000 open · 5,000 of 10,000 published · 4,998 of 5,000 delivered (12.3k/s)"
        );
        assert_eq!(line(&all_open, &rates, 50), "1:02:03 phase load: 4,998 of 5,000 delivered");
    }

    #[test]
    fn the_title_gives_up_the_name_before_the_stage() {
        let load = view("phase load", 3_000);
        assert_eq!(title(&load, 48), "00:03 10k-concurrent · phase load");
        assert_eq!(title(&load, 20), "00:03 phase load");
    }

    #[test]
    fn rates_come_from_two_views() {
        let before = ProgressView { delivered: 100, ..view("phase load", 1_000) };
        let now = ProgressView { delivered: 1_100, published: 10, ..view("phase load", 3_000) };
        let expected = Rates { publishes: 5.0, deliveries: 500.0, ..Rates::default() };
        assert_eq!(Rates::between(&before, &now), expected);
        assert_eq!(Rates::between(&now, &now), Rates::default());
        assert_eq!(Rates::between(&now, &before), Rates::default());
    }

    #[test]
    fn plain_lines_on_a_new_stage_and_every_few_seconds() {
        let log = Log::default();
        let mut progress = Progress::plain(Box::new(log.clone()), Duration::from_secs(5));
        for (stage, ms, open) in [
            ("connecting", 0, 0),
            ("connecting", 4_900, 4_000),
            ("connecting", 5_000, 4_000),
            ("confirming", 5_100, 10_000),
            ("confirming", 6_000, 10_000),
        ] {
            progress.update(&ProgressView { open, established: open, ..view(stage, ms) });
        }
        progress.note("interrupted: draining for at most 10 s");
        progress.finish();
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "00:00 connecting: 0 of 10,000 open",
                "00:05 connecting: 4,000 of 10,000 open (800/s)",
                "00:05 confirming: 10,000 open (60k/s)",
                "interrupted: draining for at most 10 s",
            ]
        );
    }

    #[test]
    fn the_bar_follows_the_stage() {
        let state = ProgressView {
            open: 10_000,
            established: 9_000,
            failed: 1,
            published: 7,
            events: Some(50),
            ..view("", 0)
        };
        let at = |stage: &str| share(&ProgressView { stage: stage.to_owned(), ..state.clone() });
        assert_eq!(
            ["connecting", "phase load", "closing", "draining"].map(at),
            [(9_001, 10_000), (7, 50), (0, 10_000), (0, 0)]
        );
    }

    #[test]
    fn a_terminal_display_takes_every_call() {
        let mut progress = Progress::new(true, true, || 80);
        progress.update(&view("connecting", 0));
        progress.update(&ProgressView { established: 10, ..view("connecting", 2_000) });
        progress.note("noted");
        progress.finish();
        progress.update(&view("connecting", 0));
        progress.finish();
        Progress::hidden().update(&view("connecting", 0));
    }
}
