//! The one door through which text from a server enters: short, printable, without secrets.

use super::Secrets;

/// The most bytes that [`foreign`] lets through, its ellipsis included.
pub const FOREIGN_MAX: usize = 200;

const ELLIPSIS: &str = "…";
const REDACTED: &str = "[redacted]";

/// Makes text from a server safe to show: at most [`FOREIGN_MAX`] bytes, known secrets replaced, and every
/// character escaped that could move a cursor, reorder what is read, hide, or break a document.
///
/// Secrets are looked for in the whole text before it is cut, so none shows its first half at the cut.
#[must_use]
pub fn foreign(text: impl AsRef<[u8]>, secrets: &Secrets) -> String {
    let text = String::from_utf8_lossy(text.as_ref());
    let mut shown = String::with_capacity(text.len().min(FOREIGN_MAX));
    // Where to cut if the rest turns out not to fit: never inside an escape or a redaction.
    let mut cut = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if let Some(length) = covered(rest, secrets) {
            shown.push_str(REDACTED);
            at += length;
        } else {
            let Some(c) = rest.chars().next() else { break };
            if harmless(c) {
                shown.push(c);
            } else {
                shown.extend(c.escape_unicode());
            }
            at += c.len_utf8();
        }
        if shown.len() > FOREIGN_MAX {
            shown.truncate(cut);
            shown.push_str(ELLIPSIS);
            break;
        }
        if shown.len() <= FOREIGN_MAX - ELLIPSIS.len() {
            cut = shown.len();
        }
    }
    shown
}

/// The bytes at the start of `text` that secrets cover, overlapping ones taken together.
fn covered(text: &str, secrets: &Secrets) -> Option<usize> {
    let mut end = secrets.starting(text)?;
    let mut at = 1;
    while at < end {
        if text.is_char_boundary(at)
            && let Some(length) = secrets.starting(&text[at..])
        {
            end = end.max(at + length);
        }
        at += 1;
    }
    Some(end)
}

fn harmless(c: char) -> bool {
    let hidden_or_reordering = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e0fff}');
    // Not characters at all; XML refuses a document that holds one.
    let no_character = u32::from(c) & 0xfffe == 0xfffe || matches!(c, '\u{fdd0}'..='\u{fdef}');
    !(c.is_control() || hidden_or_reordering || no_character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn knowing(texts: &[&str]) -> Secrets {
        let mut secrets = Secrets::none();
        texts.iter().for_each(|text| secrets.add(text));
        secrets
    }

    #[test]
    fn plain_text_passes_unchanged() {
        let text = "4400: Zugriff verweigert – 无效的令牌 🙂";
        assert_eq!(foreign(text, &Secrets::none()), text);
        assert_eq!(foreign("", &Secrets::none()), "");
    }

    #[test]
    fn what_moves_hides_or_reorders_is_escaped() {
        let none = Secrets::none();
        assert_eq!(foreign("\x1b[2Jgone\r\n", &none), "\\u{1b}[2Jgone\\u{d}\\u{a}");
        assert_eq!(
            foreign("a\u{202e}b\u{2066}c\u{200b}d\u{61c}e\u{9b}f", &none),
            "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{61c}e\\u{9b}f"
        );
        assert_eq!(foreign(b"ok\xff\xfe!", &none), "ok\u{fffd}\u{fffd}!");
        assert_eq!(foreign("\u{fffe}", &none), "\\u{fffe}");
    }

    #[test]
    fn long_text_is_cut_with_a_mark_and_never_inside_a_unit() {
        let none = Secrets::none();
        assert_eq!(foreign("x".repeat(200), &none), "x".repeat(200));
        assert_eq!(foreign("x".repeat(201), &none), format!("{}…", "x".repeat(197)));
        assert_eq!(foreign(format!("{}éé", "x".repeat(197)), &none), format!("{}…", "x".repeat(197)));
        assert_eq!(foreign(format!("{}\x1b[31m", "x".repeat(196)), &none), format!("{}…", "x".repeat(196)));
    }

    #[test]
    fn secrets_are_replaced_even_where_they_overlap_or_straddle_the_cut() {
        let secrets = knowing(&["abcdef", "defghi"]);
        assert_eq!(foreign("bad token abcdef!", &secrets), "bad token [redacted]!");
        assert_eq!(foreign("<abcdefghi>", &secrets), "<[redacted]>");
        let straddling = foreign(format!("{}abcdef and more", "x".repeat(196)), &secrets);
        assert_eq!(straddling, format!("{}…", "x".repeat(196)));
    }

    #[test]
    fn a_secret_that_the_server_itself_cut_is_replaced() {
        assert_eq!(foreign("refused: hunter", &knowing(&["hunter2-and-more"])), "refused: [redacted]");
    }

    proptest! {
        #[test]
        fn output_is_bounded_and_harmless(text in prop::collection::vec(any::<u8>(), 0..600)) {
            let shown = foreign(&text, &Secrets::none());
            prop_assert!(shown.len() <= FOREIGN_MAX);
            prop_assert!(shown.chars().all(harmless));
        }

        #[test]
        fn any_characters_become_bounded_and_harmless(text in "\\PC{0,30}\\p{C}{0,30}\\p{Cf}{0,90}") {
            let shown = foreign(&text, &Secrets::none());
            prop_assert!(shown.len() <= FOREIGN_MAX);
            let moves = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
            prop_assert!(!shown.chars().any(moves));
        }

        #[test]
        fn no_secret_shows(
            before in "[a-c]{0,210}",
            secret in "[a-c]{4,12}",
            other in "[a-c]{4,12}",
            after in "[a-c]{0,30}",
        ) {
            let secrets = knowing(&[&secret, &other]);
            let shown = foreign(format!("{before}{secret}{after}{other}"), &secrets);
            // The mark itself holds letters; what lies between marks must hold no secret.
            for part in shown.split(REDACTED) {
                prop_assert!(!part.contains(&secret) && !part.contains(&other), "{}", shown);
            }
        }
    }
}
