//! Keeps the latest value of each key of a changelog while that is read, and gives them in the order in which a partition
//! takes them. The Python form keeps a dict.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::formats::FormatError;
use crate::names;
use crate::records::{Fetch, Record, RecordsError};

/// The kind of a key, and a day or an hour: what has the same is sorted in a moment.
const SORTED_BYTES: usize = 5;
/// Keys that are looked at in one step, some milliseconds.
const KEYS_A_STEP: usize = 50_000;
/// In place of the length of a key that was deleted.
const DELETED: u32 = u32::MAX;

/// In place of the first bytes of names: there is no such kind.
const NAMES: &[u8] = &[0];

struct Entry {
    /// The key, and the value behind it.
    record: Box<[u8]>,
    key_bytes: u32,
    /// Half of the hash of the key.
    hash: u32,
}

impl Entry {
    fn key(&self) -> &[u8] {
        &self.record[..self.key_bytes as usize]
    }

    fn value(&self) -> &[u8] {
        &self.record[self.key_bytes as usize..]
    }
}

/// A hash for a table, which looks at its upper and lower bits.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

#[derive(Default)]
pub struct Latest {
    hasher: DefaultHashBuilder,
    places: HashTable<u32>,
    /// Names in the order in which they came.
    entries: Vec<Entry>,
    /// Of entries whose key was deleted.
    free: Vec<u32>,
    /// How many entries were looked at for their order.
    looked_at: usize,
    /// Entries by the first bytes of their keys; those of names lie before all others.
    parts: BTreeMap<Vec<u8>, Vec<u32>>,
    /// Of the part that is given, from its end to its beginning.
    part: Vec<u32>,
}

impl Latest {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = self.hasher.hash_one(key) as u32;
        let entries = &self.entries;
        let found = self.places.find(spread(hash), |&place| is_it(&entries[place as usize], hash, key));
        found.map(|&place| entries[place as usize].value())
    }

    /// Takes a record. Without a value it deletes its key.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        let hash = self.hasher.hash_one(key) as u32;
        let entries = &mut self.entries;
        let found = self.places.find_entry(spread(hash), |&place| is_it(&entries[place as usize], hash, key));
        match (found, value) {
            (Ok(found), Some(value)) => {
                let entry = &mut entries[*found.get() as usize];
                if entry.value().len() == value.len() {
                    entry.record[key.len()..].copy_from_slice(value);
                } else {
                    entry.record = [key, value].concat().into();
                }
            }
            (Ok(found), None) => {
                let (place, _) = found.remove();
                entries[place as usize] = Entry { record: Box::default(), key_bytes: DELETED, hash };
                self.free.push(place);
            }
            (Err(_), Some(value)) => {
                let entry = Entry { record: [key, value].concat().into(), key_bytes: key.len() as u32, hash };
                // Names keep the order in which they came.
                let free = if key.first() == Some(&names::KIND) { None } else { self.free.pop() };
                let place = match free {
                    Some(place) => {
                        entries[place as usize] = entry;
                        place
                    }
                    None => {
                        entries.push(entry);
                        entries.len() as u32 - 1
                    }
                };
                let entries = &self.entries;
                self.places.insert_unique(spread(hash), place, |&place| spread(entries[place as usize].hash));
            }
            (Err(_), None) => {}
        }
    }

    /// Takes all of a fetch.
    pub fn read(&mut self, fetch: &mut Fetch<'_>) -> Result<(), RecordsError> {
        let mut see = |record: &Record<'_>| {
            let key =
                record.key.ok_or_else(|| RecordsError::Corrupt("a record of a changelog without a key".into()))?;
            self.put(key, record.value);
            Ok(())
        };
        while fetch.next_batch(&mut see)? {}
        Ok(())
    }

    /// Looks at some keys for their order. False: all were looked at.
    pub fn arrange(&mut self) -> bool {
        let end = self.entries.len().min(self.looked_at + KEYS_A_STEP);
        for place in self.looked_at..end {
            if self.entries[place].key_bytes == DELETED {
                continue;
            }
            let key = self.entries[place].key();
            let is_name = key.first() == Some(&names::KIND);
            let first: &[u8] = if is_name { NAMES } else { &key[..key.len().min(SORTED_BYTES)] };
            match self.parts.get_mut(first) {
                Some(part) => part.push(place as u32),
                None => {
                    self.parts.insert(first.into(), vec![place as u32]);
                }
            }
        }
        self.looked_at = end;
        end < self.entries.len()
    }

    /// A key of each kind, once all were arranged.
    pub fn one_of_each_kind(&self) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = self.parts.values().map(|part| self.entries[part[0] as usize].key()).collect();
        keys.dedup_by_key(|key| key.first());
        keys
    }

    /// Once all were arranged: gives some records, about so many and of so many bytes, and lets them go: those of names
    /// in the order in which they came, then all others in the order of their keys. False: there are no more.
    pub fn give(
        &mut self,
        records: usize,
        bytes: usize,
        take: &mut dyn FnMut(&[u8], &[u8]) -> Result<(), FormatError>,
    ) -> Result<bool, FormatError> {
        if self.part.is_empty() {
            let Some((first, mut part)) = self.parts.pop_first() else { return Ok(false) };
            if *first != *NAMES {
                let entries = &self.entries;
                part.sort_unstable_by(|&a, &b| entries[a as usize].key().cmp(entries[b as usize].key()));
            }
            part.reverse();
            self.part = part;
        }
        let (mut given, mut size) = (0, 0);
        while given < records && size < bytes {
            let Some(place) = self.part.pop() else { break };
            let entry = &mut self.entries[place as usize];
            take(entry.key(), entry.value())?;
            given += 1;
            size += entry.record.len();
            *entry = Entry { record: Box::default(), key_bytes: 0, hash: 0 };
        }
        Ok(true)
    }
}

fn is_it(entry: &Entry, hash: u32, key: &[u8]) -> bool {
    entry.hash == hash && entry.key() == key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Latest;
    use crate::batches::{bodies, frame, Header};
    use crate::formats::Changes;
    use crate::records::{Fetch, Place};

    fn taken(latest: &mut Latest, records: usize, bytes: usize) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        let mut take = |key: &[u8], value: &[u8]| {
            let [key, value] = [key, value].map(|text| String::from_utf8(text.into()).expect("a text"));
            taken.push((key, value));
            Ok(())
        };
        while latest.arrange() {}
        while latest.give(records, bytes, &mut take).expect("nothing is refused") {}
        taken
    }

    #[test]
    fn names_come_in_their_order_and_then_all_else_by_its_key() {
        for (records, bytes) in [(1, 1_000), (1_000, 1), (1_000, 1_000)] {
            let mut latest = Latest::default();
            for key in ["cbbbbz", "nb", "p", "cbbbba", "caaaab", "na", "ibbbb", "c"] {
                latest.put(key.as_bytes(), Some(b"v"));
            }
            assert!(!latest.arrange());
            assert_eq!(latest.one_of_each_kind(), [&b"nb"[..], b"c", b"ibbbb", b"p"]);
            let keys: Vec<String> = taken(&mut latest, records, bytes).into_iter().map(|(key, _)| key).collect();
            assert_eq!(keys, ["nb", "na", "c", "caaaab", "cbbbba", "cbbbbz", "ibbbb", "p"]);
        }
    }

    #[test]
    fn each_key_has_its_latest_value_whatever_came_before() {
        let (mut latest, mut expected) = (Latest::default(), BTreeMap::new());
        for step in 0..5_000u64 {
            let mixed = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let key = format!("c{:04}-{}", mixed % 7, mixed % 90);
            if mixed % 5 == 0 {
                latest.put(key.as_bytes(), None);
                expected.remove(&key);
            } else {
                let value = "v".repeat(mixed as usize % 4) + &step.to_string();
                latest.put(key.as_bytes(), Some(value.as_bytes()));
                expected.insert(key, value);
            }
            assert_eq!(latest.len(), expected.len());
        }
        for (key, value) in &expected {
            assert_eq!(latest.get(key.as_bytes()), Some(value.as_bytes()));
        }
        assert_eq!(latest.get(b"c"), None);
        assert_eq!(taken(&mut latest, 7, 1_000), Vec::from_iter(expected));
    }

    #[test]
    fn a_fetch_is_read_from_its_offset_on() {
        let mut table = Changes::default();
        for key in ["a", "b", "c"] {
            table.put(|out| out.extend_from_slice(key.as_bytes()), |out| out.push(b'1'));
        }
        table.delete(|out| out.push(b'c'));
        let header =
            Header { timestamp_ms: 5, transactional: false, producer_id: -1, producer_epoch: -1, base_sequence: -1 };
        let batches: Vec<u8> =
            bodies(&table, 1_000).iter().flat_map(|body| frame(&body.records, body.count, &header)).collect();
        let mut latest = Latest::default();
        let mut fetch = Fetch::resume(&batches, &[], Place { next_offset: 1, ..Place::default() }, true, 1 << 20);
        assert_eq!(latest.read(&mut fetch), Ok(()));
        assert_eq!((latest.len(), latest.get(b"b"), fetch.next_offset(), fetch.left()), (1, Some(&b"1"[..]), 4, 0));
    }
}
