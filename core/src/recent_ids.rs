//! Remembers the ids that a partition counted within the dedupe window, by hours of broker time. The Python form, with
//! the stored formats, is `stream/tables/recent_ids.py`.

use std::collections::HashMap;

use crate::formats::{shown, Changes, FormatError};
use crate::mutants::kept;

pub const KIND: u8 = b'i';
const VERSION: u8 = 1;
const ID_BYTES: usize = 10;
const BLOCK_IDS_LIMIT: usize = 8_192;
const HOUR_MILLISECONDS: i64 = 3_600_000;
const LAST_HOUR: i64 = u32::MAX as i64;
const NEVER: i64 = i64::MIN;
const TAGS: usize = 1 << 16;
/// Ids of a changelog that are put into the table at once, in the order of so many parts of it.
const ADOPTED_AT_ONCE: usize = 1 << 20;
const PARTS_BITS: u32 = 9;

/// The first 80 bits of XXH3-128 of `<workspace id> 00 <event id>`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Id {
    key: u64,
    rest: u16,
}

impl Id {
    pub fn of(workspace_id: &str, event_id: &str, scratch: &mut Vec<u8>) -> Id {
        scratch.clear();
        scratch.extend_from_slice(workspace_id.as_bytes());
        scratch.push(0);
        scratch.extend_from_slice(event_id.as_bytes());
        let hash = xxhash_rust::xxh3::xxh3_128(scratch);
        Id { key: (hash >> 64) as u64, rest: (hash >> 48) as u16 }
    }

    fn bytes(self) -> [u8; ID_BYTES] {
        let mut bytes = [0; ID_BYTES];
        bytes[..8].copy_from_slice(&self.key.to_be_bytes());
        bytes[8..].copy_from_slice(&self.rest.to_be_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Id {
        let &[a, b, c, d, e, f, g, h, i, j] = bytes else { unreachable!("an id has {ID_BYTES} bytes") };
        Id { key: u64::from_be_bytes([a, b, c, d, e, f, g, h]), rest: u16::from_be_bytes([i, j]) }
    }
}

pub struct RecentIds {
    window: i64,
    max_ids: usize,
    /// A block of so many is written no more.
    block_ids: usize,
    /// Greatest hour of broker time among the records that counted.
    pub latest_hour: Option<i64>,
    /// Ids that went before their time because there were too many.
    pub dropped_early: u64,
    table: Table,
    adopted: Adopted,
    hours: Vec<Hour>,
    hour_of_tag: Vec<i64>,
    freed_tags: Vec<u16>,
    size: usize,
    deleted: Vec<(u32, u32)>,
}

struct Hour {
    hour: i64,
    tag: u16,
    /// Ids that no commit has yet.
    fresh: Vec<u8>,
    /// The ids of the block that is written again with the next.
    open: Vec<u8>,
    block: u32,
    sealed_ids: usize,
}

impl Hour {
    fn ids(&self) -> usize {
        self.sealed_ids + (self.open.len() + self.fresh.len()) / ID_BYTES
    }

    /// How many blocks the changelog has.
    fn blocks(&self) -> u32 {
        self.block + u32::from(!self.open.is_empty())
    }

    /// Notes what the changelog's newest block holds.
    fn advance(&mut self, items: &[u8], block_ids: usize) {
        self.open.clear();
        if items.len() < block_ids * ID_BYTES {
            self.open.extend_from_slice(items);
        } else {
            self.block += 1;
            self.sealed_ids += items.len() / ID_BYTES;
        }
    }
}

/// Where publishers set the time, it may be any: what no key can hold is the last hour that one can hold.
pub fn hour_of(timestamp: i64) -> i64 {
    timestamp.div_euclid(HOUR_MILLISECONDS).clamp(0, LAST_HOUR)
}

impl RecentIds {
    pub fn new(window: i64, max_ids: usize, block_ids: usize) -> Self {
        RecentIds {
            window,
            max_ids,
            block_ids,
            latest_hour: None,
            dropped_early: 0,
            table: Table::new(),
            adopted: Adopted::default(),
            hours: Vec::new(),
            hour_of_tag: Vec::new(),
            freed_tags: Vec::new(),
            size: 0,
            deleted: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.size
    }

    /// How many keys the changelog has of them, with what was encoded.
    pub fn keys(&self) -> usize {
        self.hours.iter().map(|known| known.blocks() as usize).sum()
    }

    /// Judges one event by the hour of its record. False: a duplicate. Else it counts, and is remembered from now on.
    pub fn remember(&mut self, id: Id, hour: i64) -> bool {
        let oldest = if kept("window-of-the-two-records") { hour - self.window } else { NEVER + 1 };
        if self.table.has(id, &self.hour_of_tag, oldest) {
            if !kept("a-duplicate-does-not-move-the-hour") {
                self.turn_to(hour);
            }
            return false;
        }
        if self.latest_hour.is_some_and(|latest| self.is_too_old(hour, latest)) && kept("expiry-whatever-the-batch") {
            return true; // too far behind the latest to be remembered
        }
        self.turn_to(hour);
        let place = self.place_of(hour);
        let known = &mut self.hours[place];
        known.fresh.extend_from_slice(&id.bytes());
        let tag = known.tag;
        self.table.add(id, tag, &self.hour_of_tag);
        self.size += 1;
        if self.size > self.max_ids {
            self.drop_oldest();
        }
        true
    }

    /// An hour more than the window is kept: the clocks of brokers differ.
    fn is_too_old(&self, hour: i64, latest: i64) -> bool {
        latest - hour > self.window + i64::from(kept("extra-hour"))
    }

    fn turn_to(&mut self, hour: i64) {
        if self.latest_hour.is_none_or(|latest| hour > latest) {
            self.latest_hour = Some(hour);
            self.expire();
        }
    }

    fn place_of(&mut self, hour: i64) -> usize {
        match self.hours.iter().rposition(|known| known.hour == hour) {
            Some(place) => place,
            None => self.begin(hour),
        }
    }

    fn begin(&mut self, hour: i64) -> usize {
        let tag = self.new_tag();
        self.hour_of_tag[usize::from(tag)] = hour;
        self.hours.push(Hour { hour, tag, fresh: Vec::new(), open: Vec::new(), block: 0, sealed_ids: 0 });
        self.hours.len() - 1
    }

    fn new_tag(&mut self) -> u16 {
        if self.hour_of_tag.len() < TAGS {
            self.hour_of_tag.push(NEVER);
            return (self.hour_of_tag.len() - 1) as u16;
        }
        if self.freed_tags.is_empty() {
            self.table.rebuild(0, &self.hour_of_tag);
            let taken: Vec<u16> = self.hours.iter().map(|known| known.tag).collect();
            self.freed_tags = (0..=u16::MAX).filter(|tag| !taken.contains(tag)).collect();
        }
        self.freed_tags.pop().expect("a window has fewer hours than there are tags")
    }

    fn expire(&mut self) {
        let Some(latest) = self.latest_hour else { return };
        while let Some(place) = self.hours.iter().position(|known| self.is_too_old(known.hour, latest)) {
            self.drop_at(place);
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.hours.iter().enumerate().min_by_key(|(_, known)| known.hour);
        if let Some((place, _)) = oldest {
            self.dropped_early += self.drop_at(place) as u64;
        }
    }

    /// Forgets an hour, in the changelog too; the number of its ids.
    fn drop_at(&mut self, place: usize) -> usize {
        let gone = self.hours.remove(place);
        self.hour_of_tag[usize::from(gone.tag)] = NEVER;
        let ids = gone.ids();
        self.size -= ids;
        for number in 0..gone.blocks() {
            self.deleted.push((gone.hour as u32, number));
        }
        ids
    }

    /// Adds the changelog records of what was remembered and dropped since the last call.
    pub fn encode(&mut self, changes: &mut Changes) {
        let mut deleted: HashMap<(u32, u32), usize> = HashMap::new();
        for block in self.deleted.drain(..) {
            deleted.entry(block).or_insert_with(|| changes.delete(|out| put_key(out, block.0, block.1)));
        }
        for known in self.hours.iter_mut().filter(|known| !known.fresh.is_empty()) {
            let mut items = std::mem::take(&mut known.open);
            items.append(&mut known.fresh);
            for block in items.chunks(BLOCK_IDS_LIMIT * ID_BYTES) {
                let (hour, number) = (known.hour as u32, known.block);
                let place = match deleted.get(&(hour, number)) {
                    Some(&place) => place,
                    None => changes.delete(|out| put_key(out, hour, number)),
                };
                changes.set(place, |out| {
                    out.push(VERSION);
                    out.extend_from_slice(block);
                });
                known.advance(block, self.block_ids);
            }
        }
    }

    /// Takes a record of the changelog; those of an hour in the order of their blocks, hours ascending.
    pub fn adopt(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let damaged = || FormatError(format!("{} is no block of ids that follows", shown(stored_key)));
        if stored_key.len() != 9 {
            return Err(damaged());
        }
        if value.first() != Some(&VERSION) {
            return Err(FormatError(format!("{} is not of format {VERSION}", shown(stored_key))));
        }
        let number = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
        let (hour, block) = (i64::from(number(&stored_key[1..5])), number(&stored_key[5..9]));
        let items = &value[1..];
        let place = self.place_of(hour);
        let known = &mut self.hours[place];
        if items.len() % ID_BYTES != 0 || block != known.blocks() || !known.open.is_empty() {
            return Err(damaged());
        }
        known.advance(items, self.block_ids);
        let tag = known.tag;
        for item in items.chunks_exact(ID_BYTES) {
            self.adopted.push(Id::from_bytes(item), tag);
        }
        self.size += items.len() / ID_BYTES;
        if self.adopted.len >= ADOPTED_AT_ONCE {
            self.table.adopt(&mut self.adopted, &self.hour_of_tag);
        }
        Ok(())
    }

    /// Drops what a shorter window or a lower limit no longer allows, after all was adopted.
    pub fn finish_adopting(&mut self) {
        self.table.adopt(&mut self.adopted, &self.hour_of_tag);
        self.adopted = Adopted::default();
        self.expire();
        while self.size > self.max_ids {
            self.drop_oldest();
        }
    }

    pub fn bytes(&self) -> usize {
        self.table.keys.capacity() * 12 + self.hours.iter().map(|known| known.fresh.capacity() + 1_400).sum::<usize>()
    }
}

fn put_key(out: &mut Vec<u8>, hour: u32, block: u32) {
    out.push(KIND);
    out.extend_from_slice(&hour.to_be_bytes());
    out.extend_from_slice(&block.to_be_bytes());
}

/// Ids of a changelog that are not in the table yet, by the part of it in which they belong: what lies apart in a large
/// table is waited for once a part, not once an id.
#[derive(Default)]
struct Adopted {
    parts: Vec<Vec<(u64, u32)>>,
    len: usize,
}

impl Adopted {
    fn push(&mut self, id: Id, tag: u16) {
        if self.parts.is_empty() {
            self.parts.resize_with(1 << PARTS_BITS, Vec::new);
        }
        let (key, mark) = Table::stored(id, tag);
        self.parts[(key >> (u64::BITS - PARTS_BITS)) as usize].push((key, mark));
        self.len += 1;
    }
}

/// An open table of ids, each with the tag of its hour: 12 bytes a slot. An hour goes by withdrawing its tag; its slots
/// are taken back when the table is built anew.
struct Table {
    keys: Vec<u64>,
    marks: Vec<u32>,
    used: usize,
}

const LEAST_SLOTS: usize = 1 << 10;

impl Table {
    fn new() -> Self {
        Table { keys: vec![0; LEAST_SLOTS], marks: vec![0; LEAST_SLOTS], used: 0 }
    }

    /// 0 is the key of an empty slot.
    fn key_of(id: Id) -> u64 {
        id.key.max(1)
    }

    fn stored(id: Id, tag: u16) -> (u64, u32) {
        (Self::key_of(id), u32::from(id.rest) << 16 | u32::from(tag))
    }

    /// The slot at which the way of a key begins: its upper bits, scaled to the table.
    fn first(&self, key: u64) -> usize {
        ((u128::from(key) * self.keys.len() as u128) >> 64) as usize
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.keys.len() {
            0
        } else {
            slot + 1
        }
    }

    fn has(&self, id: Id, hour_of_tag: &[i64], oldest: i64) -> bool {
        let key = Self::key_of(id);
        let mut slot = self.first(key);
        while self.keys[slot] != 0 {
            if self.keys[slot] == key {
                let mark = self.marks[slot];
                if mark >> 16 == u32::from(id.rest) && hour_of_tag[(mark & 0xffff) as usize] >= oldest {
                    return true;
                }
            }
            slot = self.next(slot);
        }
        false
    }

    fn add(&mut self, id: Id, tag: u16, hour_of_tag: &[i64]) {
        self.make_room(1, hour_of_tag);
        let (key, mark) = Self::stored(id, tag);
        self.put(key, mark);
    }

    fn adopt(&mut self, ids: &mut Adopted, hour_of_tag: &[i64]) {
        self.make_room(ids.len, hour_of_tag);
        ids.len = 0;
        for (key, mark) in ids.parts.iter_mut().flat_map(|part| part.drain(..)) {
            self.put(key, mark);
        }
    }

    fn put(&mut self, key: u64, mark: u32) {
        let mut slot = self.first(key);
        while self.keys[slot] != 0 {
            slot = self.next(slot);
        }
        self.keys[slot] = key;
        self.marks[slot] = mark;
        self.used += 1;
    }

    /// Four of five slots may be taken.
    fn make_room(&mut self, more: usize, hour_of_tag: &[i64]) {
        if (self.used + more) * 5 > self.keys.len() * 4 {
            self.rebuild(more, hour_of_tag);
        }
    }

    /// Builds the table again without the ids whose tag is withdrawn, with room for more.
    fn rebuild(&mut self, more: usize, hour_of_tag: &[i64]) {
        let alive = |mark: u32| hour_of_tag[(mark & 0xffff) as usize] != NEVER;
        let left = self.keys.iter().zip(&self.marks).filter(|&(&key, &mark)| key != 0 && alive(mark)).count();
        let capacity = ((left + more) * 7 / 4).max(LEAST_SLOTS);
        let keys = std::mem::replace(&mut self.keys, vec![0; capacity]);
        let marks = std::mem::replace(&mut self.marks, vec![0; capacity]);
        self.used = 0;
        for (key, mark) in keys.into_iter().zip(marks).filter(|&(key, mark)| key != 0 && alive(mark)) {
            self.put(key, mark);
        }
    }
}
