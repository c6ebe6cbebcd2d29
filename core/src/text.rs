//! A text that is kept. One that is short lies here, without an allocation.

const SHORT_BYTES: usize = 22;

pub enum Text {
    Short { length: u8, bytes: [u8; SHORT_BYTES] },
    Long(Box<str>),
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        if text.len() > SHORT_BYTES {
            return Text::Long(text.into());
        }
        let mut bytes = [0; SHORT_BYTES];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Text::Short { length: text.len() as u8, bytes }
    }
}

impl Text {
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Short { length, bytes } => &bytes[..usize::from(*length)],
            Text::Long(text) => text.as_bytes(),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Text::Short { .. } => std::str::from_utf8(self.as_bytes()).expect("it was made of a text"),
            Text::Long(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, SHORT_BYTES};

    #[test]
    fn a_text_is_as_it_was_on_both_sides_of_the_border() {
        for text in
            ["", "u_7", "Zoë Ångström", &"x".repeat(SHORT_BYTES), &"x".repeat(SHORT_BYTES + 1), &"é".repeat(300)]
        {
            let kept = Text::from(text);
            assert_eq!((kept.as_str(), kept.as_bytes()), (text, text.as_bytes()));
        }
        assert_eq!(size_of::<Option<Text>>(), 24);
    }
}
