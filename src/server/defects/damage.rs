//! What is done to bytes: nothing here knows a connection.

use super::choice::draw;
use super::kind::Breakage;

/// The payload with the character at `at` replaced by another URL-safe one; `None` if it has none there.
pub(super) fn corrupt(payload_json: &str, at: impl FnOnce(usize) -> Option<usize>) -> Option<String> {
    let mut payload = text_of(payload_json)?;
    let at = at(payload.len())?;
    let old = *payload.as_bytes().get(at)?;
    if !old.is_ascii() {
        return None;
    }
    payload.replace_range(at..=at, if old == b'A' { "B" } else { "A" });
    Some(json_of(&payload))
}

/// A place drawn from `range`, as far as the payload reaches.
pub(super) fn place(
    seed: u64,
    series: &str,
    n: u64,
    range: std::ops::Range<usize>,
    len: usize,
) -> Option<usize> {
    let end = range.end.min(len);
    let width = end.checked_sub(range.start).filter(|&width| width > 0)?;
    Some(range.start + (draw(seed, series, n) % width as u64) as usize)
}

/// The first `share` of the payload.
pub(super) fn truncate(payload_json: &str, share: f64) -> Option<String> {
    let mut payload = text_of(payload_json)?;
    let keep = payload.floor_char_boundary((payload.len() as f64 * share) as usize);
    payload.truncate(keep);
    Some(json_of(&payload))
}

/// A text as a JSON string.
pub(super) fn json_of(text: &str) -> String {
    serde_json::to_string(text).expect("a string is valid JSON")
}

fn text_of(payload_json: &str) -> Option<String> {
    serde_json::from_str(payload_json).ok()
}

/// A frame that no client may accept.
pub(super) fn broken_frame(how: Breakage) -> &'static [u8] {
    match how {
        Breakage::Reserved => &[0b1111_0001, 2, b'{', b'}'],
        Breakage::Opcode => &[0x83, 2, b'{', b'}'],
        Breakage::Masked => &[0x81, 0x82, 0, 0, 0, 0, b'{', b'}'],
        Breakage::Utf8 => &[0x81, 2, 0xC3, 0x28],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_character_is_changed_where_asked() {
        assert_eq!(corrupt(r#""xAy""#, |_| Some(1)).unwrap(), r#""xBy""#);
        assert_eq!(corrupt(r#""xAy""#, |len| len.checked_sub(1)).unwrap(), r#""xAA""#);
        assert_eq!(corrupt(r#""a\nb""#, |_| Some(2)).unwrap(), r#""a\nA""#);
        assert_eq!(corrupt(r#""ä""#, |_| Some(0)), None);
        assert_eq!(corrupt(r#""abc""#, |_| Some(3)), None);
        assert_eq!(corrupt(r#""\ud800""#, |_| Some(0)), None);
    }

    #[test]
    fn places_lie_in_their_range_and_in_the_payload() {
        let places = (0..200).map(|n| place(1, "s", n, 10..70, 50)).collect::<Option<Vec<_>>>().unwrap();
        assert!(places.iter().all(|place| (10..50).contains(place)));
        assert!(places.iter().collect::<std::collections::HashSet<_>>().len() > 20);
        assert_eq!(place(1, "s", 0, 10..70, 10), None);
    }

    #[test]
    fn what_is_cut_is_still_json() {
        assert_eq!(truncate(r#""abcdefghij""#, 0.7).unwrap(), r#""abcdefg""#);
        assert_eq!(truncate(r#""ää""#, 0.8).unwrap(), r#""ä""#);
        assert_eq!(truncate(r#""a\"b""#, 0.7).unwrap(), r#""a\"""#);
        assert_eq!(truncate(r#""abc""#, 0.0).unwrap(), r#""""#);
    }
}
