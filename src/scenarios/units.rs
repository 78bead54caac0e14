//! Units: `"30s"`, `"2GiB"`, `"100/s"`, `"20%"` into numbers and back.
//!
//! The types are what the scenario file is read into: a bad value cannot be spoken, and the message of each
//! visitor says what would be right. The `show_*` functions are for people; the `Display` of each type is exact
//! and can be read again.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::condition::{Dimension, Value};

/// The longest duration that is accepted: ten years.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

/// The largest size that is accepted: 1 PiB.
const LARGEST: f64 = 1_125_899_906_842_624.0;

/// The highest rate that is accepted.
const FASTEST: f64 = 1e12;

const DURATIONS: [(&str, f64); 16] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("sec", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3_600.0),
    ("hour", 3_600.0),
    ("hours", 3_600.0),
    ("d", 86_400.0),
];

const SIZES: [(&str, u64); 11] = [
    ("B", 1),
    ("KB", 1_000),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("kiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

const DURATION_HINT: &str = r#"a duration in quotes, such as "500ms", "30s" or "24h""#;
const SIZE_HINT: &str = r#"a size in quotes, such as "200B", "100KB" (100,000 bytes) or "2GiB""#;
const RATE_HINT: &str = r#"a rate in quotes, such as "100/s""#;
const BYTE_RATE_HINT: &str = r#"a byte rate in quotes, such as "64KiB/s""#;
const RATIO_HINT: &str = r#"a ratio in quotes, such as "20%""#;

/// Splits `1_500.5ms` into 1500.5 and `ms`.
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((digits.replace('_', "").parse().ok()?, unit.trim()))
}

fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    let (_, factor) = DURATIONS.iter().find(|(name, _)| *name == unit)?;
    Some(number * factor).filter(|s| *s <= LONGEST)
}

fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit)?;
    let bytes = number * *factor as f64;
    (bytes <= LARGEST && bytes.fract() == 0.0).then_some(bytes as u64)
}

fn per_second(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    (unit == "/s" && number > 0.0 && number <= FASTEST).then_some(number)
}

fn bytes_per_second(text: &str) -> Option<u64> {
    bytes(text.trim().strip_suffix("/s")?).filter(|b| *b > 0)
}

fn share(text: &str) -> Option<f64> {
    let (number, unit) = split(text)?;
    (unit == "%").then_some(number / 100.0)
}

/// Reads a limit in a condition: `100ms`, `2GiB`, `99%`, `5000/s`, `1.5`.
pub(crate) fn parse_value(text: &str) -> Option<Value> {
    let (number, unit) = split(text)?;
    let value = |number, dimension| Some(Value { number, dimension });
    match unit {
        "" => value(number, Dimension::Count),
        "%" => value(number / 100.0, Dimension::Ratio),
        "/s" => value(number, Dimension::Rate),
        _ => match (seconds(text), bytes(text)) {
            (Some(seconds), _) => value(seconds, Dimension::Duration),
            (None, Some(bytes)) => value(bytes as f64, Dimension::Size),
            (None, None) => None,
        },
    }
}

/// Declares a unit type: its reading from a string, its hint, its exact text.
macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($inner:ty), $read:expr, $hint:expr, $show:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
        pub struct $name(pub $inner);

        impl $name {
            /// Reads it from text with its unit.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                let read: fn(&str) -> Option<$inner> = $read;
                read(text).map(Self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Read;
                impl Visitor<'_> for Read {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($hint)
                    }
                    fn visit_str<E: Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
                    }
                }
                deserializer.deserialize_any(Read)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let show: fn($inner) -> String = $show;
                f.write_str(&show(self.0))
            }
        }
    };
}

unit!(
    /// A length of time.
    Span(Duration),
    |text| seconds(text).map(Duration::from_secs_f64),
    DURATION_HINT,
    exact_duration
);
unit!(
    /// A number of bytes.
    Size(u64),
    bytes,
    SIZE_HINT,
    exact_size
);
unit!(
    /// Events (or connections) per second, above zero.
    Rate(f64),
    per_second,
    RATE_HINT,
    |rate| format!("{rate}/s")
);
unit!(
    /// Bytes per second, above zero.
    ByteRate(u64),
    bytes_per_second,
    BYTE_RATE_HINT,
    |rate| format!("{}/s", exact_size(rate))
);
unit!(
    /// A share; 20 % is 0.2.
    Ratio(f64),
    share,
    RATIO_HINT,
    exact_ratio
);

/// A whole number between `LOW` and ten million: connections, subscriptions, channels, rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole<const LOW: u64, const HIGH: u64>(pub u64);

/// A count of things that there must be at least one of.
pub type Count = Whole<1, 10_000_000>;

/// A count of events.
pub type Events = Whole<1, 1_000_000_000_000>;

/// A seed.
pub type Seed = Whole<0, { i64::MAX as u64 }>;

impl<'de, const LOW: u64, const HIGH: u64> Deserialize<'de> for Whole<LOW, HIGH> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<const LOW: u64, const HIGH: u64>;
        impl<const LOW: u64, const HIGH: u64> Visitor<'_> for Read<LOW, HIGH> {
            type Value = Whole<LOW, HIGH>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let (low, high) = (show_count(LOW), show_count(HIGH));
                write!(f, "a whole number without quotes, from {low} to {high}")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
                let invalid = || E::invalid_value(serde::de::Unexpected::Signed(number), &self);
                let number = u64::try_from(number).map_err(|_| invalid())?;
                if (LOW..=HIGH).contains(&number) { Ok(Whole(number)) } else { Err(invalid()) }
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

/// A duration for a scenario file: exact.
#[must_use]
pub fn exact_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let steps: [(u128, &str); 6] = [
        (3_600_000_000_000, "h"),
        (60_000_000_000, "min"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let (step, unit) = if nanos == 0 {
        (1, "s")
    } else {
        // 90 s is clearer than 1.5 min, and 60 s is clearer than 1 min.
        let fits = |(step, unit): &&(u128, &str)| {
            nanos.is_multiple_of(*step) && (*unit != "min" || nanos / step >= 2)
        };
        steps.iter().find(fits).copied().unwrap_or((1, "ns"))
    };
    format!("{}{unit}", nanos / step)
}

/// A size for a scenario file: exact.
#[must_use]
pub fn exact_size(bytes: u64) -> String {
    let steps =
        [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1_000_000_000, "GB"), (1_000_000, "MB")];
    let small = [(1 << 10, "KiB"), (1_000, "KB")];
    let fits = |(step, _): &&(u64, &str)| bytes > 0 && bytes.is_multiple_of(*step);
    let (step, unit) = steps.iter().chain(&small).find(fits).copied().unwrap_or((1, "B"));
    format!("{}{unit}", bytes / step)
}

/// A share for a scenario file: exact, in as few digits as that takes.
#[must_use]
pub fn exact_ratio(ratio: f64) -> String {
    let written = |places: usize| format!("{:.places$}%", ratio * 100.0);
    (0..=17).map(written).find(|text| share(text) == Some(ratio)).unwrap_or_else(|| written(17))
}

/// Cuts a number to at most `places` decimals, without trailing zeros.
fn trimmed(number: f64, places: usize) -> String {
    let text = format!("{number:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Three significant digits, or all digits before the point.
fn significant(number: f64) -> String {
    trimmed(number, if number.abs() >= 99.95 { 0 } else { 1 + usize::from(number.abs() < 9.995) })
}

/// Seconds for people: `1.23ms`, `86.4s`, `24h`.
#[must_use]
pub fn show_duration(seconds: f64) -> String {
    let size = seconds.abs();
    match size {
        0.0 => "0s".to_owned(),
        s if s < 999.5e-9 => format!("{}ns", significant(seconds * 1e9)),
        s if s < 999.5e-6 => format!("{}us", significant(seconds * 1e6)),
        s if s < 0.9995 => format!("{}ms", significant(seconds * 1e3)),
        s if s < 120.0 => format!("{}s", significant(seconds)),
        s if s < 7_200.0 => format!("{}min", significant(seconds / 60.0)),
        _ => format!("{}h", significant(seconds / 3_600.0)),
    }
}

/// Bytes for people: `512B`, `5.8KiB`, `1.86GiB`.
#[must_use]
pub fn show_size(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut number = bytes;
    let mut unit = 0;
    while number.abs() >= 1_023.5 && unit < units.len() - 1 {
        number /= 1_024.0;
        unit += 1;
    }
    format!("{}{}", significant(number), units[unit])
}

/// A share for people: `99.98%`; never rounded up to 100 % or down to 0 %.
#[must_use]
pub fn show_ratio(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let text = trimmed(percent, 2);
    let rounded_away = (text == "100" && ratio != 1.0) || (text == "0" && ratio != 0.0);
    if rounded_away && (percent - 100.0).abs() > 1e-9 && percent.abs() > 1e-9 {
        return format!("{}%", trimmed(percent, 9));
    }
    format!("{text}%")
}

/// A rate for people: `4,998/s`.
#[must_use]
pub fn show_rate(rate: f64) -> String {
    if rate.abs() >= 1_000.0 {
        return format!("{}/s", show_count(rate.round() as u64));
    }
    format!("{}/s", significant(rate))
}

/// A count for people: `10,000`.
#[must_use]
pub fn show_count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Any number for people, by its dimension.
#[must_use]
pub fn show_number(number: f64, dimension: Dimension) -> String {
    match dimension {
        Dimension::Duration => show_duration(number),
        Dimension::Size => show_size(number),
        Dimension::Ratio => show_ratio(number),
        Dimension::Rate => show_rate(number),
        Dimension::Count | Dimension::Word if number.fract() == 0.0 && (0.0..1e18).contains(&number) => {
            show_count(number as u64)
        }
        Dimension::Count | Dimension::Word => trimmed(number, 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text| Span::parse(text).map(|span| span.0);
        assert_eq!(read("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1_500)));
        assert_eq!(read("5min"), Some(Duration::from_secs(300)));
        assert_eq!(read("24h"), Some(Duration::from_secs(86_400)));
        for bad in ["", "30", "s", "-1s", "1 parsec", "1..5s", "99999999h", "inf s", "1e9s"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_rates_and_ratios_are_read() {
        assert_eq!(Size::parse("100KB"), Some(Size(100_000)));
        assert_eq!(Size::parse("2GiB"), Some(Size(2_147_483_648)));
        assert_eq!(Size::parse("1.5KiB"), Some(Size(1_536)));
        assert_eq!(Size::parse("0.3B"), None);
        assert_eq!(Rate::parse("5_000/s"), Some(Rate(5_000.0)));
        assert_eq!(Rate::parse("0/s"), None);
        assert_eq!(ByteRate::parse("64KiB/s"), Some(ByteRate(65_536)));
        assert_eq!(Ratio::parse("0.5%"), Some(Ratio(0.005)));
        assert_eq!(Ratio::parse("0.5"), None);
    }

    #[test]
    fn exact_texts_can_be_read_again() {
        for text in ["500ms", "30s", "60s", "24h", "5min", "90s", "1001us"] {
            assert_eq!(Span::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
        for text in ["200B", "100KB", "2GiB", "1MB", "2KiB", "1025B"] {
            assert_eq!(Size::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
        for text in ["7%", "25%", "33.333%", "0.001%", "14.5%", "100%"] {
            assert_eq!(Ratio::parse(text).map(|s| s.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn figures_for_people() {
        assert_eq!(show_duration(0.001_234_5), "1.23ms");
        assert_eq!(show_duration(0.0638), "63.8ms");
        assert_eq!(show_duration(86.4), "86.4s");
        assert_eq!(show_duration(86_400.0), "24h");
        assert_eq!(show_size(2_147_483_648.0), "2GiB");
        assert_eq!(show_size(5_939.0), "5.8KiB");
        assert_eq!(show_ratio(0.99), "99%");
        assert_eq!(show_ratio(0.999_999), "99.9999%");
        assert_eq!(show_ratio(1.0), "100%");
        assert_eq!(show_ratio(0.000_01), "0.001%");
        assert_eq!(show_rate(4_998.2), "4,998/s");
        assert_eq!(show_rate(99.96), "100/s");
        assert_eq!(show_count(8_640_000), "8,640,000");
    }

    #[test]
    fn limits_have_dimensions() {
        let value = |text: &str| parse_value(text).map(|v| (v.number, v.dimension));
        assert_eq!(value("100ms"), Some((0.1, Dimension::Duration)));
        assert_eq!(value("99%"), Some((0.99, Dimension::Ratio)));
        assert_eq!(value("1.5"), Some((1.5, Dimension::Count)));
        assert_eq!(value("2GiB"), Some((2_147_483_648.0, Dimension::Size)));
        assert_eq!(value("100/s"), Some((100.0, Dimension::Rate)));
        assert_eq!(value("12parsec"), None);
    }
}
