//! Numbers the users of a workspace, so that sums are columns of numbers. The Python form, `api/report/user_table.py`,
//! has each as one text.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::formats::{damaged, FormatError};

/// The user of events without one.
pub const NO_USER: u32 = 0;

const TEXTS_A_CHUNK: usize = 1024;

/// Texts one behind the other, and where each ends.
#[derive(Clone, Default)]
struct Chunk {
    text: String,
    ends: Vec<u32>,
}

/// Texts by number. A copy shares all chunks, so it is made at once, and may be read while more texts come.
#[derive(Clone, Default)]
pub struct Texts {
    full: Vec<Arc<Chunk>>,
    last: Arc<Chunk>,
    bytes: usize,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.full.len() * TEXTS_A_CHUNK + self.last.ends.len()
    }

    fn push(&mut self, text: &str) {
        if self.last.ends.len() == TEXTS_A_CHUNK {
            let mut full = std::mem::take(&mut self.last);
            Arc::make_mut(&mut full).text.shrink_to_fit();
            self.full.push(full);
        }
        let last = Arc::make_mut(&mut self.last);
        last.text.push_str(text);
        last.ends.push(last.text.len() as u32);
        self.bytes += text.len();
    }

    pub fn text(&self, number: u32) -> &str {
        let (chunk, place) = (number as usize / TEXTS_A_CHUNK, number as usize % TEXTS_A_CHUNK);
        let chunk = self.full.get(chunk).unwrap_or(&self.last);
        let start = if place == 0 { 0 } else { chunk.ends[place - 1] as usize };
        &chunk.text[start..chunk.ends[place] as usize]
    }
}

/// How many tables were made in this process.
static TABLES: AtomicU64 = AtomicU64::new(0);

/// It only grows: what was numbered keeps its number.
pub struct UserTable {
    /// No other table of this process has it.
    id: u64,
    hasher: DefaultHashBuilder,
    /// Each with half of its hash: a table that grows looks at no text.
    numbers: HashTable<(u32, u32)>,
    texts: Texts,
}

/// Where a text ends, and the place of its number, of which there may be twice as many.
const USER_BYTES: usize = 4 + 2 * 9 + 4;

fn whole_hash(half: u32) -> u64 {
    u64::from(half).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl UserTable {
    pub fn new() -> Self {
        let mut texts = Texts::default();
        texts.push("");
        let id = TABLES.fetch_add(1, Ordering::Relaxed);
        UserTable { id, hasher: DefaultHashBuilder::default(), numbers: HashTable::new(), texts }
    }

    /// Names the table to what is true of its numbers alone, and shall not hold it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Numbers that are taken, with that of nobody.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    fn half_hash(&self, text: &[u8]) -> u32 {
        (self.hasher.hash_one(text) >> 32) as u32
    }

    /// Who has no number gets the next one. What has one is a text, so nobody looks again whether it is.
    pub fn number_of(&mut self, user: Option<&[u8]>, name: &[u8]) -> Result<u32, FormatError> {
        let Some(bytes) = user else { return Ok(NO_USER) };
        let half = self.half_hash(bytes);
        if let Some(number) = self.number_at(half, bytes) {
            return Ok(number);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| damaged(name))?;
        let number = self.texts.len() as u32;
        self.texts.push(text);
        self.numbers.insert_unique(whole_hash(half), (number, half), |&(_, half)| whole_hash(half));
        Ok(number)
    }

    /// None: nobody has counted this user yet.
    pub fn find(&self, user: Option<&str>) -> Option<u32> {
        let Some(text) = user else { return Some(NO_USER) };
        self.number_at(self.half_hash(text.as_bytes()), text.as_bytes())
    }

    fn number_at(&self, half: u32, text: &[u8]) -> Option<u32> {
        let same = |&(number, known): &(u32, u32)| known == half && self.texts.text(number).as_bytes() == text;
        self.numbers.find(whole_hash(half), same).map(|&(number, _)| number)
    }

    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    pub fn size_bytes(&self) -> usize {
        self.texts.bytes + USER_BYTES * self.len()
    }
}
