//! Reads what the headers of a record say of a CloudEvent, in the plain form: attributes in `ce_…`, the other fields in
//! the value. The strict reader, `stream/ingest/cloudevents.py`, decides all else.

use std::borrow::Cow;

use crate::event::Fields;
use crate::records::Header;

const SPEC_VERSION: &[u8] = b"1.0";
/// Of the media types of CloudEvents in the value.
const IN_THE_VALUE: &[u8] = b"cloudevents";

/// The attributes that are fields of our event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    id: Option<&'a str>,
    kind: Option<&'a str>,
    occurred_at: Option<&'a str>,
    contact_id: Option<&'a str>,
}

/// The attributes of a CloudEvent; the inner `None`: the headers make none. The outer `None`: the strict reader is to say.
pub fn read<'a>(headers: &[Header<'a>]) -> Option<Option<Attributes<'a>>> {
    // Of each name the last header counts, with or without a value.
    let (mut id, mut kind, mut time, mut subject) = (None, None, None, None);
    let (mut version, mut content_type) = (None, None);
    for &(name, value) in headers {
        if !name.is_ascii() {
            return None;
        }
        let place = match name.len() {
            5 if name.eq_ignore_ascii_case(b"ce_id") => &mut id,
            7 if name.eq_ignore_ascii_case(b"ce_type") => &mut kind,
            7 if name.eq_ignore_ascii_case(b"ce_time") => &mut time,
            10 if name.eq_ignore_ascii_case(b"ce_subject") => &mut subject,
            12 if name.eq_ignore_ascii_case(b"content-type") => &mut content_type,
            14 if name.eq_ignore_ascii_case(b"ce_specversion") => &mut version,
            _ => continue,
        };
        *place = Some(value);
    }
    if content_type.flatten().is_some_and(|content_type| !is_of_the_value_alone(content_type)) {
        return None;
    }
    if id.is_none() && version.is_none() {
        return Some(None);
    }
    if version.flatten().is_some_and(|version| version != SPEC_VERSION) {
        return None;
    }
    Some(Some(Attributes {
        id: text(id.flatten())?,
        kind: text(kind.flatten())?,
        occurred_at: text(time.flatten())?,
        contact_id: text(subject.flatten())?,
    }))
}

/// Whether a media type certainly says nothing of a CloudEvent in the value.
fn is_of_the_value_alone(content_type: &[u8]) -> bool {
    content_type.is_ascii() && !content_type.windows(IN_THE_VALUE.len()).any(|it| it.eq_ignore_ascii_case(IN_THE_VALUE))
}

/// The outer `None`: it is no text.
fn text(value: Option<&[u8]>) -> Option<Option<&str>> {
    value.map(std::str::from_utf8).transpose().ok()
}

impl<'a> Attributes<'a> {
    /// Puts them in place of the fields of the value.
    pub(crate) fn put_into(&self, fields: &mut Fields<'a>) {
        for (attribute, field) in [
            (self.id, &mut fields.id),
            (self.kind, &mut fields.kind),
            (self.occurred_at, &mut fields.occurred_at),
            (self.contact_id, &mut fields.contact_id),
        ] {
            if let Some(text) = attribute {
                *field = Some(Cow::Borrowed(text));
            }
        }
        fields.kind = fields.kind.take().map(last_words);
    }
}

/// `contact.added` for `contact.added`, `com.example.contact.added` and `com.example.contact.added.v1`.
fn last_words(kind: Cow<'_, str>) -> Cow<'_, str> {
    let words = kind.strip_suffix(".v1").unwrap_or(&kind);
    let from = words.rmatch_indices('.').nth(1).map_or(0, |(at, _)| at + 1);
    if from == 0 && words.len() == kind.len() {
        return kind;
    }
    Cow::Owned(words[from..].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(kind: &str) -> String {
        last_words(Cow::Borrowed(kind)).into_owned()
    }

    #[test]
    fn headers_make_a_cloudevent_or_none() {
        let plain: &[Header] = &[(b"traceparent", Some(b"00-1")), (b"Content-Type", Some(b"application/json;a=b"))];
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(plain), Some(None));
        assert_eq!(read(&[(b"ce_type", Some(b"x"))]), Some(None));
        let event = Attributes { id: Some("e2"), occurred_at: Some("t"), ..Attributes::default() };
        let headers: &[Header] = &[
            (b"ce_id", Some(b"e1")),
            (b"CE_ID", Some(b"e2")),
            (b"ce_specversion", Some(b"1.0")),
            (b"ce_time", Some(b"t")),
            (b"ce_subject", Some(b"c")),
            (b"ce_subject", None),
        ];
        assert_eq!(read(headers), Some(Some(event)));
        assert_eq!(read(&[(b"ce_id", None)]), Some(Some(Attributes::default())));
    }

    #[test]
    fn leaves_to_the_strict_reader_what_it_does_not_decide() {
        for odd in [
            (&b"ce_id"[..], &b"\xff"[..]),
            (b"ce_specversion", b"0.3"),
            (b"content-type", b"application/CloudEvents+json"),
            (b"content-type", b"application/json\xa0"),
            (b"ce_\xc4\xb0d", b"e1"),
        ] {
            assert_eq!(read(&[(odd.0, Some(odd.1))]), None, "{odd:?}");
        }
    }

    #[test]
    fn a_type_is_its_last_two_words() {
        for kind in ["contact.added", "com.example.contact.added", "contact.added.v1", "x.contact.added.v1"] {
            assert_eq!(kind_of(kind), "contact.added");
        }
        for kind in ["added", "", "contact.added.v2", "contact.added.v1.v1", ".v1"] {
            assert_ne!(kind_of(kind), "contact.added");
        }
    }
}
