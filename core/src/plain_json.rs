//! Reads an event whose JSON is one flat object of texts and nulls, without escapes, as nearly all publishers write it: at
//! a third of what the general reader in `event.rs` takes. `None` leaves the value to that one, which gives the same
//! fields where this one gives any.

use std::borrow::Cow;

use crate::event::Fields;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

pub(crate) fn read(value: &[u8]) -> Option<Fields<'_>> {
    let mut from = Cursor { rest: std::str::from_utf8(value).ok()? };
    let mut fields = Fields::default();
    from.take(b'{')?;
    loop {
        let name = from.text()?;
        from.take(b':')?;
        let text = from.text_or_null()?.map(Cow::Borrowed);
        match name {
            "id" => put(&mut fields.id, text?)?,
            "type" => put(&mut fields.kind, text?)?,
            "workspace_id" => put(&mut fields.workspace_id, text?)?,
            "contact_id" => put(&mut fields.contact_id, text?)?,
            "contact_name" => put(&mut fields.contact_name, text)?,
            "source" => put(&mut fields.source, text)?,
            "user_id" => put(&mut fields.user_id, text)?,
            "user_name" => put(&mut fields.user_name, text)?,
            "occurred_at" => put(&mut fields.occurred_at, text?)?,
            "batch_id" => put(&mut fields.batch_id, text)?,
            _ => {}
        }
        if from.take(b',').is_none() {
            break;
        }
    }
    from.take(b'}')?;
    from.skip_spaces();
    from.rest.is_empty().then_some(fields)
}

/// `None`: the field comes twice.
fn put<T>(field: &mut Option<T>, value: T) -> Option<()> {
    if field.is_some() {
        return None;
    }
    *field = Some(value);
    Some(())
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.rest.as_bytes().first() {
            self.rest = &self.rest[1..];
        }
    }

    /// One character of the syntax, behind spaces.
    fn take(&mut self, character: u8) -> Option<()> {
        self.skip_spaces();
        if self.rest.as_bytes().first() != Some(&character) {
            return None;
        }
        self.rest = &self.rest[1..];
        Some(())
    }

    fn text_or_null(&mut self) -> Option<Option<&'a str>> {
        self.skip_spaces();
        match self.rest.strip_prefix("null") {
            Some(rest) => {
                self.rest = rest;
                Some(None)
            }
            None => self.text().map(Some),
        }
    }

    /// A text without escapes.
    fn text(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let length = plain_length(self.rest.as_bytes());
        let text = self.rest.get(..length)?;
        self.rest = &self.rest[length..];
        if self.rest.as_bytes().first() != Some(&b'"') {
            return None;
        }
        self.rest = &self.rest[1..];
        Some(text)
    }
}

/// How many bytes come before the first that is a quote, a backslash or a control character.
fn plain_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(eight) = bytes.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let found = ends(word);
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let is_end = |&byte: &u8| byte == b'"' || byte == b'\\' || byte < 0x20;
    at + bytes[at..].iter().position(is_end).unwrap_or(bytes.len() - at)
}

/// The high bit of each byte that ends a plain text; of those above the lowest such byte it may be set wrongly.
fn ends(word: u64) -> u64 {
    let is_zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let below_space = word.wrapping_sub(ONES * 0x20) & !word;
    let is = |byte: u8| is_zero(word ^ (ONES * u64::from(byte)));
    (is(b'"') | is(b'\\') | below_space) & HIGHS
}

#[cfg(test)]
mod tests {
    use super::{plain_length, read};
    use crate::event::Fields;

    const GOOD: &str = r#"{"id":"e1","type":"contact.added","workspace_id":"w","contact_id":"7", "contact_name":"Zoë",
        "source":null,"user_id" : "u_1","occurred_at":"2026-11-23T01:13:07Z","more":"x","batch_id":""}"#;

    fn read_generally(value: &[u8]) -> Option<Fields<'_>> {
        serde_json::from_slice(value).ok()
    }

    #[test]
    fn reads_what_the_general_reader_reads() {
        let fields = read(GOOD.as_bytes()).expect("an event");
        assert_eq!(Some(&fields), read_generally(GOOD.as_bytes()).as_ref());
        assert_eq!((fields.id.as_deref(), fields.contact_name), (Some("e1"), Some(Some("Zoë".into()))));
    }

    #[test]
    fn never_reads_other_fields_than_the_general_reader() {
        let mut read_both = 0;
        for at in 0..GOOD.len() {
            for byte in 0..=255u8 {
                let mut odd = GOOD.as_bytes().to_vec();
                odd[at] = byte;
                for odd in [&odd[..], &odd[..at], &odd[at..], &[&odd[..at], &[byte], &odd[at..]].concat()] {
                    if let Some(fields) = read(odd) {
                        assert_eq!(Some(fields), read_generally(odd), "{}", odd.escape_ascii());
                        read_both += 1;
                    }
                }
            }
        }
        assert!(read_both > 10_000, "{read_both} events were read");
    }

    #[test]
    fn leaves_the_rest_to_the_general_reader() {
        for (from, to) in [
            (r#""7""#, "7"),
            (r#""x""#, "[]"),
            (r#""x""#, r#""\u0041""#),
            (r#""more""#, r#""id""#),
            (r#""e1""#, "null"),
        ] {
            let odd = GOOD.replace(from, to);
            assert_ne!(odd, GOOD);
            assert_eq!(read(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_plain_text_ends_at_the_first_byte_that_is_none_of_it() {
        for length in 0..20 {
            for end in 0..=255u8 {
                let mut bytes = vec![b'a'; length];
                bytes.push(end);
                bytes.extend_from_slice("é\"\\\n\u{1f}".repeat(3).as_bytes());
                let expected = if end < 0x20 || end == b'"' || end == b'\\' { length } else { length + 3 };
                assert_eq!(plain_length(&bytes), expected, "{length} {end}");
            }
        }
        assert_eq!(plain_length(b"abc"), 3);
        assert_eq!(plain_length(b""), 0);
    }
}
