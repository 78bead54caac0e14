//! Dates as reports write them.

use std::time::SystemTime;

/// RFC 3339 in UTC, to the second: `2026-03-01T12:00:00Z`.
#[must_use]
pub fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn dates_are_utc_to_the_second() {
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_millis(1_772_366_400_999)), "2026-03-01T12:00:00Z");
    }
}
