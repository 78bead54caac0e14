//! The text that identifies one event inside a payload, and the search for it in what arrives.
//!
//! A token is one run of URL-safe characters, so that it survives the JSON re-encoding of every server:
//! magic, fixed-width header in base64url digits, check (xxh3) over the header's text, filler. The filler is a
//! slice of one fixed table at an offset taken from the check, so that verifying it is a comparison of memory.
//!
//! A corrupted byte in the magic makes a token invisible to [`find`]. Whoever reads messages that must carry a
//! token counts one without as corrupted: [`ShardLedger::receive_nothing`](super::ShardLedger::receive_nothing).

use std::collections::HashSet;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What every token begins with; `~` occurs nowhere else in it.
const MAGIC: &[u8] = b"~sct1~";
/// Digits of a 32-bit and of a 64-bit number in base64url.
const D32: usize = 6;
const D64: usize = 11;
/// run, channel, publisher, epoch, kind, seq, due, sent, payload length.
const FIELDS: usize = 4 * D32 + 1 + 3 * D64 + D32;
const CHECK_AT: usize = MAGIC.len() + FIELDS;

/// Length of a token without filler.
pub const MAX_HEADER: usize = CHECK_AT + D64;

/// Separates the header's check from every other use of xxh3.
const CHECK_SEED: u64 = 0x7374_7265_7373_6331;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Value of each byte as a digit; 0xFF: not a digit.
const VALUES: [u8; 256] = {
    let mut values = [0xFF; 256];
    let mut i = 0;
    while i < DIGITS.len() {
        values[DIGITS[i] as usize] = i as u8;
        i += 1;
    }
    values
};

/// A prime, so that blocks of any usual size that change places do not match, and larger than the window of
/// deflate, so that the filler does not compress to nothing.
const FILLER_PERIOD: usize = 65_521;

static FILLER: LazyLock<Box<[u8]>> = LazyLock::new(|| {
    let mut state = CHECK_SEED;
    let next = |_| {
        // xorshift64: any fixed noise will do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        DIGITS[(state >> 58) as usize]
    };
    (0..FILLER_PERIOD).map(next).collect()
});

/// What an event is published for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Load; the only kind that is owed.
    Event,
    /// Confirms a subscription.
    Probe,
    /// Proves that all subscriptions are active at one moment.
    Census,
    /// Says "this was my last seq".
    Barrier,
    /// Published by a victim in its last moment; of no further meaning.
    Parting,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Event, Self::Probe, Self::Census, Self::Barrier, Self::Parting];
}

/// The identity of one event and when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Token {
    /// The run, so that leftovers of another one are recognised.
    pub run: u32,
    /// Channel index.
    pub channel: u32,
    /// Publisher connection index over all groups.
    pub publisher: u32,
    /// Rises when the publisher reconnects.
    pub epoch: u32,
    /// What it is for.
    pub kind: Kind,
    /// Contiguous per channel and publisher.
    pub seq: u64,
    /// When it was due, on the run's time axis.
    pub due_ns: u64,
    /// When it was handed to the socket, on the run's time axis.
    pub sent_ns: u64,
}

impl Token {
    /// Appends the token, filled up to `payload_len` bytes; never shorter than [`MAX_HEADER`].
    pub fn write(&self, payload_len: usize, out: &mut Vec<u8>) {
        let length = payload_len.clamp(MAX_HEADER, u32::MAX as usize);
        let mut header = [0; MAX_HEADER];
        header[..MAGIC.len()].copy_from_slice(MAGIC);
        let mut pen = Pen { header: &mut header, at: MAGIC.len() };
        pen.put::<D32>(self.run.into());
        pen.put::<D32>(self.channel.into());
        pen.put::<D32>(self.publisher.into());
        pen.put::<D32>(self.epoch.into());
        pen.put::<1>(self.kind as u64);
        pen.put::<D64>(self.seq);
        pen.put::<D64>(self.due_ns);
        pen.put::<D64>(self.sent_ns);
        pen.put::<D32>(length as u64);
        let check = check_of(pen.header);
        pen.put::<D64>(check);
        out.reserve(length);
        out.extend_from_slice(&header);
        filler(check, length - MAX_HEADER).for_each(|piece| out.extend_from_slice(piece));
    }

    /// Reads the header at the start of `bytes` (which begin with the magic): token, payload length, check.
    fn read(bytes: &[u8]) -> Option<(Self, usize, u64)> {
        let header: &[u8; MAX_HEADER] = bytes.get(..MAX_HEADER)?.try_into().ok()?;
        let mut eye = Eye { header, at: CHECK_AT };
        let check = eye.take::<D64>()?;
        if check != check_of(header) {
            return None;
        }
        eye.at = MAGIC.len();
        let token = Self {
            run: eye.take::<D32>()?.try_into().ok()?,
            channel: eye.take::<D32>()?.try_into().ok()?,
            publisher: eye.take::<D32>()?.try_into().ok()?,
            epoch: eye.take::<D32>()?.try_into().ok()?,
            kind: *Kind::ALL.get(usize::try_from(eye.take::<1>()?).ok()?)?,
            seq: eye.take::<D64>()?,
            due_ns: eye.take::<D64>()?,
            sent_ns: eye.take::<D64>()?,
        };
        let length = usize::try_from(eye.take::<D32>()?).ok()?;
        (length >= MAX_HEADER).then_some((token, length, check))
    }
}

fn check_of(header: &[u8; MAX_HEADER]) -> u64 {
    xxh3_64_with_seed(&header[MAGIC.len()..CHECK_AT], CHECK_SEED)
}

/// The pieces of the filler that belongs to `check`, `length` bytes together.
fn filler(check: u64, length: usize) -> impl Iterator<Item = &'static [u8]> {
    let table: &'static [u8] = &FILLER;
    let mut at = (check % FILLER_PERIOD as u64) as usize;
    let mut left = length;
    std::iter::from_fn(move || {
        let piece = &table[at..table.len().min(at + left)];
        left -= piece.len();
        at = 0;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Writes fixed-width numbers, most significant digit first.
struct Pen<'a> {
    header: &'a mut [u8; MAX_HEADER],
    at: usize,
}

impl Pen<'_> {
    fn put<const WIDTH: usize>(&mut self, mut value: u64) {
        for digit in self.header[self.at..self.at + WIDTH].iter_mut().rev() {
            *digit = DIGITS[(value & 63) as usize];
            value >>= 6;
        }
        self.at += WIDTH;
    }
}

/// Reads what [`Pen`] wrote; `None` for a foreign character or a number that is too large.
struct Eye<'a> {
    header: &'a [u8; MAX_HEADER],
    at: usize,
}

impl Eye<'_> {
    fn take<const WIDTH: usize>(&mut self) -> Option<u64> {
        let digits = &self.header[self.at..self.at + WIDTH];
        self.at += WIDTH;
        // Eleven digits hold 66 bits: the first one may only use four of its six.
        let mut bad = WIDTH == D64 && VALUES[digits[0] as usize] > 15;
        let mut value = 0_u64;
        for digit in digits {
            let digit = VALUES[*digit as usize];
            bad |= digit == 0xFF;
            value = value << 6 | u64::from(digit & 63);
        }
        (!bad).then_some(value)
    }
}

/// One thing that looks like a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// Exactly as written.
    Intact(Token),
    /// The header is good; the filler is wrong or truncated.
    Damaged(Token),
    /// The header is truncated or its check fails.
    Broken,
}

/// Finds the tokens of a message, each distinct one once, without allocating for the first.
#[must_use]
pub fn find(text: &str) -> Tokens<'_> {
    Tokens { text, at: 0, first: None, further: None }
}

/// Iterator over the tokens of a message; made by [`find`].
pub struct Tokens<'a> {
    text: &'a str,
    at: usize,
    first: Option<(Token, bool)>,
    further: Option<HashSet<(Token, bool)>>,
}

impl Tokens<'_> {
    /// Says whether this is the first time that `token` is seen, whole or damaged, and remembers it.
    fn is_new(&mut self, token: Token, intact: bool) -> bool {
        match self.first {
            None => {
                self.first = Some((token, intact));
                true
            }
            Some(first) if first == (token, intact) => false,
            Some(_) => self.further.get_or_insert_default().insert((token, intact)),
        }
    }
}

impl Iterator for Tokens<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let at = self.at + self.text.get(self.at..)?.find('~')?;
            let bytes = &self.text.as_bytes()[at..];
            self.at = at + 1;
            if !bytes.starts_with(MAGIC) {
                continue;
            }
            let Some((token, length, check)) = Token::read(bytes) else { return Some(Found::Broken) };
            let intact = bytes.get(MAX_HEADER..length).is_some_and(|found| is_filler(found, check));
            self.at = at + if intact { length } else { MAX_HEADER };
            if self.is_new(token, intact) {
                return Some(if intact { Found::Intact(token) } else { Found::Damaged(token) });
            }
        }
    }
}

fn is_filler(mut found: &[u8], check: u64) -> bool {
    filler(check, found.len()).all(|piece| {
        let (head, tail) = found.split_at(piece.len());
        found = tail;
        head == piece
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn token() -> Token {
        Token {
            run: 7,
            channel: 3,
            publisher: 2,
            epoch: 0,
            kind: Kind::Event,
            seq: 41,
            due_ns: 1_000,
            sent_ns: 1_200,
        }
    }

    fn text(token: &Token, length: usize) -> String {
        let mut out = Vec::new();
        token.write(length, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn all(text: &str) -> Vec<Found> {
        find(text).collect()
    }

    #[test]
    fn header_is_pinned_and_short() {
        assert_eq!(
            text(&token(), 0),
            "~sct1~AAAAAHAAAAADAAAAACAAAAAAAAAAAAAAAAApAAAAAAAAAPoAAAAAAAAASwAAAABRPOsg6yU9_xa"
        );
        const { assert!(MAX_HEADER <= 120) };
    }

    #[test]
    fn length_is_exact_and_never_below_the_header() {
        for length in [0, MAX_HEADER, MAX_HEADER + 1, 200, 65_521, 200_000] {
            let text = text(&token(), length);
            assert_eq!(text.len(), length.max(MAX_HEADER));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b)));
            assert_eq!(all(&text), [Found::Intact(token())]);
        }
    }

    #[test]
    fn distinct_tokens_are_found_once_each() {
        let other = Token { seq: 42, ..token() };
        let message =
            format!("~{{\"a\":\"{0}\",\"b\":\"{1}\",\"c\":\"{0}\"}}", text(&token(), 200), text(&other, 90));
        assert_eq!(all(&message), [Found::Intact(token()), Found::Intact(other)]);
    }

    #[test]
    fn truncation_is_seen() {
        let whole = text(&token(), 200);
        assert_eq!(all(&whole[..199]), [Found::Damaged(token())]);
        assert_eq!(all(&whole[..MAX_HEADER - 1]), [Found::Broken]);
        assert_eq!(
            all(&format!("{}{whole}", &whole[..150])),
            [Found::Damaged(token()), Found::Intact(token())]
        );
    }

    #[test]
    fn magic_may_overlap_and_ordinary_text_is_nothing() {
        assert_eq!(all(&format!("~sct1{}", text(&token(), 90))), [Found::Broken, Found::Intact(token())]);
        assert_eq!(all("~ ~sct ~~~ sct1~ é~"), []);
    }

    #[test]
    fn exchanged_blocks_are_seen() {
        let whole = text(&token(), 1 << 20);
        let mut bytes = whole.into_bytes();
        let (left, right) = bytes.split_at_mut(1 << 17);
        left[1 << 16..].swap_with_slice(&mut right[..1 << 16]);
        assert_eq!(all(&String::from_utf8(bytes).unwrap()), [Found::Damaged(token())]);
    }

    fn any_token() -> impl Strategy<Value = Token> {
        let kind = proptest::sample::select(&Kind::ALL[..]);
        (any::<[u32; 4]>(), kind, any::<[u64; 3]>()).prop_map(|(a, kind, b)| Token {
            run: a[0],
            channel: a[1],
            publisher: a[2],
            epoch: a[3],
            kind,
            seq: b[0],
            due_ns: b[1],
            sent_ns: b[2],
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_found(token in any_token(), length in 0_usize..400, around in "[^~]{0,20}") {
            let message = format!("{around}{}{around}", text(&token, length));
            prop_assert_eq!(all(&message), [Found::Intact(token)]);
        }

        #[test]
        fn no_text_panics(text in ".{0,200}", cut in 0_usize..200) {
            all(&text);
            all(&format!("~sct1~{text}"));
            let token = self::text(&token(), 200);
            all(&format!("{}{text}{token}", &token[..cut]));
        }

        #[test]
        fn every_corrupted_byte_is_seen(token in any_token(), at in 0_usize..200, byte in 0_u8..128) {
            let whole = text(&token, 200);
            let mut bytes = whole.clone().into_bytes();
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let found = all(&String::from_utf8(bytes).unwrap());
            match at {
                _ if at < MAGIC.len() => prop_assert_eq!(found, []),
                _ if at < MAX_HEADER => prop_assert_eq!(found, [Found::Broken]),
                _ => prop_assert_eq!(found, [Found::Damaged(token)]),
            }
        }
    }
}
