//! Base64 (RFC 4648, padded), for the histograms inside a report.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes `bytes`.
pub(super) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (group >> (18 - 6 * digit)) & 63;
            text.push(if digit <= chunk.len() { char::from(ALPHABET[index as usize]) } else { '=' });
        }
    }
    text
}

/// Decodes what [`encode`] made; `None`: it is not of that kind.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| ALPHABET.iter().position(|known| *known == byte);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut chunks = text.as_bytes().chunks(4).peekable();
    while let Some(chunk) = chunks.next() {
        let digits = chunk.iter().take_while(|byte| **byte != b'=').count();
        let padded = chunk.len() == 4 && digits >= 2 && chunk[digits..].iter().all(|byte| *byte == b'=');
        if !padded || (digits < 4 && chunks.peek().is_some()) {
            return None;
        }
        let mut group = 0_u32;
        for byte in &chunk[..digits] {
            group = group << 6 | u32::try_from(digit(*byte)?).ok()?;
        }
        group <<= 6 * (4 - digits);
        bytes.extend(&group.to_be_bytes()[1..digits]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_vectors_of_the_rfc() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (bytes, text) in vectors {
            assert_eq!(encode(bytes.as_bytes()), text);
            assert_eq!(decode(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(encode(&[0xff, 0xfe, 0xfd]), "//79");
        for text in ["Z", "Zg", "Zg=", "Z===", "Zg==Zg==", "Zm9v!A==", "Zg=v"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
