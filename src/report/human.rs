//! Numbers for reading: counts, durations, bytes, shares and rates, each with its unit.
//!
//! Pure, and the only place that decides how a number looks. Scripts read the JSON, never these texts.

use crate::scenarios::condition::Dimension;

/// Stands where there is no value.
pub const NOTHING: &str = "–";

/// Significant digits that a reader needs.
const DIGITS: usize = 3;

/// A count with thousands separators: `10,000`.
#[must_use]
pub fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A plain number, whole or with `3` significant digits: `10,000`, `1.18`.
#[must_use]
pub fn number(value: f64) -> String {
    significant(value, DIGITS)
}

/// A duration given in microseconds: `840 µs`, `12.4 ms`, `1.25 s`, `2 min 5 s`.
#[must_use]
pub fn micros(us: u64) -> String {
    seconds(us as f64 / 1e6)
}

/// A duration given in seconds.
#[must_use]
pub fn seconds(s: f64) -> String {
    duration(s, DIGITS)
}

/// A sentence about so many deliveries: of one it speaks in the singular.
#[must_use]
pub fn of_deliveries(sentence: &str, n: f64) -> String {
    if n == 1.0 {
        sentence.replace("deliveries were", "delivery was").replace("deliveries", "delivery")
    } else {
        sentence.to_owned()
    }
}

/// Bytes in binary units: `512 B`, `5.8 KiB`, `1.2 GiB`; what is round in decimal ones alone, in those: `100 KB`, `16 MB`.
#[must_use]
pub fn bytes(n: f64) -> String {
    decimal(n).unwrap_or_else(|| size(n, DIGITS))
}

/// A size that somebody wrote in decimal units: a whole number of tens of kB or MB, and of neither KiB nor MiB.
fn decimal(n: f64) -> Option<String> {
    [(1e6, "MB", 1024.0 * 1024.0), (1e3, "KB", 1024.0)].into_iter().find_map(|(unit, name, binary)| {
        let is_round = n >= unit && n % (unit / 10.0) == 0.0 && n % binary != 0.0;
        is_round.then(|| format!("{} {name}", significant(n / unit, DIGITS)))
    })
}

/// A share as a percentage that never rounds up to 100 or down to 0: `99.98 %`, `99.99999 %`.
#[must_use]
pub fn ratio(share: f64) -> String {
    percentage(share, DIGITS + 1)
}

/// Per second, in full: `5,000/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    format!("{}/s", significant(per_second, DIGITS))
}

/// Per second, shortened: `850/s`, `12.3k/s`, `1.2M/s`.
#[must_use]
pub fn short_rate(per_second: f64) -> String {
    let (value, unit) = match per_second {
        v if v >= 999_500.0 => (v / 1e6, "M"),
        v if v >= 9_999.5 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{}{unit}/s", significant(value, DIGITS))
}

/// A share that is meant to be small, as in claims: `3 %`, and below a thousandth both ways, `0.03 % (3.0e-4)`.
#[must_use]
pub fn small_share(share: f64) -> String {
    let text = percentage(share, DIGITS);
    if share > 0.0 && share < 1e-3 { format!("{text} ({share:.1e})") } else { text }
}

/// A duration given in microseconds, to two significant digits: `2.8 ms` for both 2.76 ms and 2.77 ms, as two
/// histograms of the same deliveries may have them.
#[must_use]
pub fn rough_micros(us: u64) -> String {
    let step = 10_u64.pow(us.max(1).ilog10().saturating_sub(1));
    micros((us + step / 2) / step * step)
}

/// A value in base units, shown as its kind asks; `digits` beyond the usual tell close values apart.
#[must_use]
pub fn quantity(value: f64, dimension: Dimension, percent: bool, digits: usize) -> String {
    match dimension {
        Dimension::Duration => duration(value, digits),
        Dimension::Size => size(value, digits),
        Dimension::Rate => format!("{}/s", significant(value, digits)),
        Dimension::Ratio if percent => percentage(value, digits + 1),
        Dimension::Ratio | Dimension::Count | Dimension::Word => significant(value, digits),
    }
}

/// Text that came from elsewhere, on one line and without anything that moves a cursor or turns the writing
/// direction.
#[must_use]
pub fn clean(foreign: &str) -> String {
    foreign.chars().map(|c| if c.is_control() || is_direction(c) { '\u{fffd}' } else { c }).collect()
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn duration(s: f64, digits: usize) -> String {
    let size = s.abs();
    match size {
        0.0 => "0 s".to_owned(),
        _ if size < 999.5e-6 => format!("{} µs", significant(s * 1e6, digits)),
        _ if size < 0.9995 => format!("{} ms", significant(s * 1e3, digits)),
        _ if size < 120.0 || digits > DIGITS || s < 0.0 => format!("{} s", significant(s, digits)),
        _ => long_duration(s),
    }
}

fn long_duration(s: f64) -> String {
    let whole = s.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole % 3600 / 60, whole % 60);
    match (hours, minutes, rest) {
        (0, m, 0) => format!("{m} min"),
        (0, m, r) => format!("{m} min {r} s"),
        (h, 0, _) => format!("{} h", count(h)),
        (h, m, _) => format!("{} h {m} min", count(h)),
    }
}

fn size(n: f64, digits: usize) -> String {
    let mut value = n;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value.abs() < 1023.5 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{} {unit}", significant(value, digits))
}

fn percentage(share: f64, digits: usize) -> String {
    let percent = share * 100.0;
    // Close to all, one digit more: 99.98 and 99.9 are worlds apart. Small shares need no such care.
    let digits = if share.abs() < 0.1 { digits - 1 } else { digits };
    (digits..digits + 12)
        .map(|d| significant(percent, d))
        .find(|text| share >= 1.0 || text != "100")
        .map_or_else(|| format!("{percent} %"), |text| format!("{text} %"))
}

/// Rounds to `digits` significant digits, never inside the integer part, and drops trailing zeros.
fn significant(value: f64, digits: usize) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let integer_digits = if value == 0.0 { 1 } else { value.abs().log10().floor() as i32 + 1 };
    let decimals = usize::try_from(digits as i32 - integer_digits).unwrap_or(0).min(15);
    let text = format!("{value:.decimals$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (integer, fraction) = text.split_once('.').map_or((text, None), |(i, f)| (i, Some(f)));
    fraction.map_or_else(|| group(integer), |f| format!("{}.{f}", group(integer)))
}

/// Puts a comma before every third digit from the right.
fn group(integer: &str) -> String {
    let (sign, digits) = integer.strip_prefix('-').map_or(("", integer), |d| ("-", d));
    let mut out = String::from(sign);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Two ends, or one where they read the same.
#[must_use]
pub fn range(low: &str, high: &str) -> String {
    if low == high { low.to_owned() } else { format!("{low} to {high}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped() {
        let texts: Vec<_> = [0, 999, 1_000, 10_000, 8_640_000].map(count).to_vec();
        assert_eq!(texts, ["0", "999", "1,000", "10,000", "8,640,000"]);
    }

    #[test]
    fn durations_choose_their_unit() {
        let table = [
            (0, "0 s"),
            (840, "840 µs"),
            (999, "999 µs"),
            (1_000, "1 ms"),
            (12_437, "12.4 ms"),
            (999_600, "1 s"),
            (1_250_000, "1.25 s"),
            (125_000_000, "2 min 5 s"),
            (300_000_000, "5 min"),
            (4_320_000_000, "1 h 12 min"),
            (86_400_000_000, "24 h"),
        ];
        for (us, text) in table {
            assert_eq!(micros(us), text, "{us} µs");
        }
    }

    #[test]
    fn bytes_are_binary() {
        let texts: Vec<_> =
            [0.0, 512.0, 5_939.0, 73_400_320.0, 1_288_490_188.8, 2_147_483_648.0].map(bytes).to_vec();
        assert_eq!(texts, ["0 B", "512 B", "5.8 KiB", "70 MiB", "1.2 GiB", "2 GiB"]);
    }

    #[test]
    fn shares_never_round_to_all_or_nothing() {
        let texts: Vec<_> = [0.0, 0.000_000_1, 0.005, 0.9998, 0.999_999_9, 1.0, 1.25].map(ratio).to_vec();
        assert_eq!(texts, ["0 %", "0.00001 %", "0.5 %", "99.98 %", "99.99999 %", "100 %", "125 %"]);
    }

    #[test]
    fn small_shares_are_told_both_ways() {
        let texts = [0.0, 2.5e-6, 3.0e-4, 0.000_72, 0.029, 0.42].map(small_share);
        assert_eq!(
            texts,
            ["0 %", "0.00025 % (2.5e-6)", "0.03 % (3.0e-4)", "0.072 % (7.2e-4)", "2.9 %", "42 %"]
        );
    }

    #[test]
    fn rough_durations_hide_the_third_digit() {
        let texts = [0, 7, 99, 240, 2_762, 2_769, 9_960, 812_345, 119_500_000].map(rough_micros);
        let expected = ["0 s", "7 µs", "99 µs", "240 µs", "2.8 ms", "2.8 ms", "10 ms", "810 ms", "2 min"];
        assert_eq!(texts, expected);
    }

    #[test]
    fn rates_in_full_and_short() {
        assert_eq!(rate(5_000.0), "5,000/s");
        let texts: Vec<_> = [0.0, 850.0, 9_999.0, 12_345.0, 1_200_000.0].map(short_rate).to_vec();
        assert_eq!(texts, ["0/s", "850/s", "9,999/s", "12.3k/s", "1.2M/s"]);
    }

    #[test]
    fn foreign_text_stays_on_its_line() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{202e}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
    }

    #[test]
    fn more_digits_tell_close_values_apart() {
        assert_eq!(quantity(30.0004, Dimension::Duration, false, 3), "30 s");
        assert_eq!(quantity(30.0004, Dimension::Duration, false, 6), "30.0004 s");
    }

    #[test]
    fn sizes_are_shown_in_the_units_they_are_round_in() {
        let shown =
            [100_000.0, 1e6, 2e6, 16e6, 1_500_000.0, 512_000.0, 1_048_576.0, 8_409_088.0, 999.0, 1_234_567.0]
                .map(bytes);
        let expected = [
            "100 KB", "1 MB", "2 MB", "16 MB", "1.5 MB", "500 KiB", "1 MiB", "8.02 MiB", "999 B", "1.18 MiB",
        ];
        assert_eq!(shown, expected);
    }
}
