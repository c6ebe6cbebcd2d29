//! Reads an event in the form in which nearly all publishers send it. Everything else is `None`: the strict reader in
//! Python (`stream/ingest/`) then reads it, or finds the reason to reject it. So this reader may refuse a valid event,
//! but must never accept what the strict reader rejects, nor read it differently.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::cloudevents::Attributes;
use crate::plain_json;

pub const ADDED: u8 = 0;
pub const DELETED: u8 = 1;

const ID_LENGTH: usize = 128;
const SOURCE_LENGTH: usize = 64;
const NAME_LENGTH: usize = 512;
const NONE: &str = "none";

/// One contact added or deleted, before its time and its names are looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Event<'a> {
    pub id: Cow<'a, str>,
    pub activity: u8,
    pub workspace_id: Cow<'a, str>,
    pub contact_id: Cow<'a, str>,
    pub contact_name: Option<Cow<'a, str>>,
    /// As written; `source_of` makes it what is counted.
    pub source: Option<Cow<'a, str>>,
    pub user_id: Option<Cow<'a, str>>,
    pub user_name: Option<Cow<'a, str>>,
    pub occurred_at: Cow<'a, str>,
    pub batch_id: Option<Cow<'a, str>>,
}

/// Reads a value that is one JSON object with the fields of an event, but for those that are attributes of a CloudEvent.
pub fn read<'a>(value: &'a [u8], attributes: Option<&Attributes<'a>>) -> Option<Event<'a>> {
    if value.first() != Some(&b'{') {
        return None;
    }
    let mut fields: Fields<'a> = match plain_json::read(value) {
        Some(fields) => fields,
        None => serde_json::from_slice(value).ok()?,
    };
    if let Some(attributes) = attributes {
        attributes.put_into(&mut fields);
    }
    let event = fields.event()?;
    let good = is_text(&event.id, 1, ID_LENGTH)
        && is_workspace(&event.workspace_id)
        && is_text(&event.contact_id, 1, ID_LENGTH)
        && is_optional_text(&event.contact_name, NAME_LENGTH)
        && is_optional_text(&event.user_id, ID_LENGTH)
        && is_optional_text(&event.user_name, NAME_LENGTH)
        && is_optional_text(&event.batch_id, ID_LENGTH);
    good.then_some(event)
}

/// The source as it is counted: lower-case, `None` without one. The outer `None`: the strict reader is to say.
pub fn source_of(source: Option<&str>) -> Option<Option<Cow<'_, str>>> {
    let Some(source) = source else { return Some(None) };
    if source.len() > SOURCE_LENGTH || !source.is_ascii() || source == "*" || source.contains(',') {
        return None;
    }
    let lower = if source.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(source.to_ascii_lowercase())
    } else {
        Cow::Borrowed(source)
    };
    Some(if lower.is_empty() || lower == NONE { None } else { Some(lower) })
}

/// A user as it is counted.
pub fn user_of(user: Option<&str>) -> Option<&str> {
    user.filter(|user| !user.is_empty() && *user != NONE)
}

fn is_text(text: &str, shortest: usize, longest: usize) -> bool {
    text.len() >= shortest && (text.len() <= longest || text.chars().count() <= longest)
}

fn is_optional_text(text: &Option<Cow<'_, str>>, longest: usize) -> bool {
    text.as_ref().is_none_or(|text| is_text(text, 0, longest))
}

fn is_workspace(text: &str) -> bool {
    (1..=ID_LENGTH).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._~:@-".contains(&byte))
}

struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Texts)
    }
}

/// A text, or an integer as its decimal text.
struct Contact<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Contact<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Contacts;
        impl<'de> Visitor<'de> for Contacts {
            type Value = Contact<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an integer")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Contact<'de>, E> {
                Ok(Contact(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Contact<'de>, E> {
                Ok(Contact(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Contact<'de>, E> {
                Ok(Contact(Cow::Owned(number.to_string())))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Contact<'de>, E> {
                Ok(Contact(Cow::Owned(number.to_string())))
            }
        }
        deserializer.deserialize_any(Contacts)
    }
}

/// A value that is not used. It is read like any other: what the strict reader refuses of it must be refused here too,
/// such as half a surrogate.
struct Unused;

impl<'de> Deserialize<'de> for Unused {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Unused;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E>(self, _: bool) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_str<E>(self, _: &str) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_unit<E>(self) -> Result<Unused, E> {
                Ok(Unused)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unused, A::Error> {
                while items.next_element::<Unused>()?.is_some() {}
                Ok(Unused)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Unused, A::Error> {
                while items.next_key::<Text>()?.is_some() {
                    items.next_value::<Unused>()?;
                }
                Ok(Unused)
            }
        }
        deserializer.deserialize_any(Values)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Objects)
    }
}

struct Objects;

/// The fields of a value; the outer `None`: there is none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) kind: Option<Cow<'a, str>>,
    pub(crate) workspace_id: Option<Cow<'a, str>>,
    pub(crate) contact_id: Option<Cow<'a, str>>,
    pub(crate) contact_name: Option<Option<Cow<'a, str>>>,
    pub(crate) source: Option<Option<Cow<'a, str>>>,
    pub(crate) user_id: Option<Option<Cow<'a, str>>>,
    pub(crate) user_name: Option<Option<Cow<'a, str>>>,
    pub(crate) occurred_at: Option<Cow<'a, str>>,
    pub(crate) batch_id: Option<Option<Cow<'a, str>>>,
}

/// Of a name that comes twice the last counts: the strict reader knows how.
fn once<T, E: Error>(field: &mut Option<T>, value: T) -> Result<(), E> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::custom("a field twice")),
    }
}

fn optional<'de, A: MapAccess<'de>>(items: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(items.next_value::<Option<Text>>()?.map(|text| text.0))
}

impl<'de> Visitor<'de> for Objects {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Fields<'de>, A::Error> {
        let mut fields = Fields::default();
        while let Some(Text(name)) = items.next_key()? {
            match &*name {
                "id" => once(&mut fields.id, items.next_value::<Text>()?.0)?,
                "type" => once(&mut fields.kind, items.next_value::<Text>()?.0)?,
                "workspace_id" => once(&mut fields.workspace_id, items.next_value::<Text>()?.0)?,
                "contact_id" => once(&mut fields.contact_id, items.next_value::<Contact>()?.0)?,
                "contact_name" => once(&mut fields.contact_name, optional(&mut items)?)?,
                "source" => once(&mut fields.source, optional(&mut items)?)?,
                "user_id" => once(&mut fields.user_id, optional(&mut items)?)?,
                "user_name" => once(&mut fields.user_name, optional(&mut items)?)?,
                "occurred_at" => once(&mut fields.occurred_at, items.next_value::<Text>()?.0)?,
                "batch_id" => once(&mut fields.batch_id, optional(&mut items)?)?,
                _ => {
                    items.next_value::<Unused>()?;
                }
            }
        }
        Ok(fields)
    }
}

impl<'a> Fields<'a> {
    /// `None`: it is of another type, or a field is missing.
    fn event(self) -> Option<Event<'a>> {
        let activity = match self.kind.as_deref()? {
            "contact.added" => ADDED,
            "contact.deleted" => DELETED,
            _ => return None,
        };
        Some(Event {
            id: self.id?,
            activity,
            workspace_id: self.workspace_id?,
            contact_id: self.contact_id?,
            contact_name: self.contact_name.flatten(),
            source: self.source.flatten(),
            user_id: self.user_id.flatten(),
            user_name: self.user_name.flatten(),
            occurred_at: self.occurred_at?,
            batch_id: self.batch_id.flatten().filter(|id| !id.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"id":"e1","type":"contact.added","workspace_id":"w","contact_id":7,"source":"User",
        "occurred_at":"2026-11-23T01:13:07Z","more":{"a":[1,2.5,null,true,"x"]},"batch_id":""}"#;

    #[test]
    fn reads_an_event() {
        let event = read(GOOD.as_bytes(), None).expect("an event");
        assert_eq!((&*event.id, event.activity, &*event.contact_id), ("e1", ADDED, "7"));
        assert_eq!(event.batch_id, None);
        assert_eq!(source_of(event.source.as_deref()), Some(Some(Cow::Borrowed("user"))));
    }

    #[test]
    fn leaves_to_the_strict_reader_what_it_does_not_decide() {
        for (from, to) in [
            (r#""id":"e1""#, r#""id":"e1","id":"e2""#),
            (r#""id":"e1""#, r#""id":"""#),
            (r#""x""#, r#""\ud800""#),
            (r#""contact_id":7"#, r#""contact_id":7.0"#),
            (r#""contact_id":7"#, r#""contact_id":-0"#),
            (r#""contact_id":7"#, r#""contact_id":18446744073709551616"#),
            (r#""workspace_id":"w""#, r#""workspace_id":"..""#),
            (r#""workspace_id":"w""#, r#""workspace_id":"a b""#),
            ("contact.added", "contact.merged"),
            (r#""more""#, r#""\udc00""#),
        ] {
            let odd = GOOD.replace(from, to);
            assert_ne!(odd, GOOD);
            assert!(read(odd.as_bytes(), None).is_none(), "{odd}");
        }
    }

    #[test]
    fn attributes_of_a_cloudevent_stand_in_place_of_fields() {
        let rest = br#"{"id":"e1","workspace_id":"w","contact_id":7}"#;
        let headers: [crate::records::Header; 3] =
            [(b"ce_id", Some(b"e2")), (b"ce_type", Some(b"com.x.contact.deleted.v1")), (b"ce_time", Some(b"now"))];
        let attributes = crate::cloudevents::read(&headers).expect("plain headers").expect("a CloudEvent");
        let event = read(rest, Some(&attributes)).expect("an event");
        assert_eq!((&*event.id, event.activity, &*event.contact_id), ("e2", DELETED, "7"));
        assert_eq!(&*event.occurred_at, "now");
        assert_eq!(read(rest, None), None);
    }

    #[test]
    fn a_source_beyond_ascii_is_for_the_strict_reader() {
        assert_eq!(source_of(Some("É")), None);
        assert_eq!(source_of(Some("a,b")), None);
        assert_eq!(source_of(Some("*")), None);
        assert_eq!(source_of(Some("NONE")), Some(None));
        assert_eq!(source_of(Some("")), Some(None));
    }
}
