//! Numbers the users of a workspace, so that sums are columns of numbers. The Python form is
//! `api/report/user_table.py`.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// The user of events without one.
pub const NO_USER: u32 = 0;

/// It only grows: what was numbered keeps its number.
pub struct UserTable {
    hasher: DefaultHashBuilder,
    numbers: HashTable<u32>,
    texts: Vec<Arc<str>>,
    text_bytes: usize,
}

/// A text's head beside its bytes, its place in `texts`, and that of its number.
const USER_BYTES: usize = 16 + 16 + 8 + 16;

impl UserTable {
    pub fn new() -> Self {
        UserTable {
            hasher: DefaultHashBuilder::default(),
            numbers: HashTable::new(),
            texts: vec![Arc::from("")],
            text_bytes: 0,
        }
    }

    /// Numbers that are taken, with that of nobody.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Who has no number gets the next one.
    pub fn number_of(&mut self, user: Option<&str>) -> u32 {
        let Some(text) = user else { return NO_USER };
        let hash = self.hasher.hash_one(text);
        if let Some(&number) = self.numbers.find(hash, |&number| *self.texts[number as usize] == *text) {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(text.into());
        self.text_bytes += text.len();
        let (hasher, texts) = (&self.hasher, &self.texts);
        self.numbers.insert_unique(hash, number, |&number| hasher.hash_one(&*texts[number as usize]));
        number
    }

    /// None: nobody has counted this user yet.
    pub fn find(&self, user: Option<&str>) -> Option<u32> {
        let Some(text) = user else { return Some(NO_USER) };
        let hash = self.hasher.hash_one(text);
        self.numbers.find(hash, |&number| *self.texts[number as usize] == *text).copied()
    }

    pub fn text(&self, number: u32) -> &Arc<str> {
        &self.texts[number as usize]
    }

    pub fn size_bytes(&self) -> usize {
        self.text_bytes + USER_BYTES * self.len()
    }
}
