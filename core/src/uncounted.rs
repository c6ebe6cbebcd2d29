//! Records which offsets of a partition did not count, as ranges in packed blocks. The Python form, with the stored
//! formats, is `stream/tables/uncounted.py`.

use std::collections::BTreeSet;

use crate::formats::{damaged, shown, Changes, FormatError};

pub const KIND: u8 = b'u';
const VERSION: u8 = 1;

/// First offset, and the offset after the last.
type Range = (u64, u64);

#[derive(Default)]
pub struct Uncounted {
    /// A range that would begin when a block has so many begins the next one.
    block_bytes: usize,
    firsts: Vec<u64>,
    /// Packed blocks; the newest without its last range.
    blocks: Vec<Vec<u8>>,
    /// Where the newest block's ranges before the last end.
    end: u64,
    last: Option<Range>,
    /// First offsets of the blocks that no commit has in this form.
    changed: BTreeSet<u64>,
    deleted: Vec<u64>,
}

impl Uncounted {
    pub fn new(block_bytes: usize) -> Self {
        Uncounted { block_bytes, ..Uncounted::default() }
    }

    /// Notes an offset, greater than all before.
    pub fn add(&mut self, offset: i64) {
        let offset = offset as u64;
        if let Some((first, end)) = self.last {
            assert!(offset >= end, "offset {offset} after {end}");
            if offset == end {
                self.last = Some((first, offset + 1));
                self.changed.insert(self.newest());
                return;
            }
            self.close_last(first, end);
        }
        if self.blocks.last().is_none_or(|block| block.len() >= self.block_bytes) {
            self.firsts.push(offset);
            self.blocks.push(vec![VERSION]);
            self.end = offset;
        }
        self.last = Some((offset, offset + 1));
        self.changed.insert(self.newest());
    }

    /// How many keys the changelog has of them, with what was encoded.
    pub fn keys(&self) -> usize {
        self.firsts.len()
    }

    fn newest(&self) -> u64 {
        *self.firsts.last().expect("there is a block")
    }

    fn close_last(&mut self, first: u64, end: u64) {
        let block = self.blocks.last_mut().expect("there is a block");
        put_varint(block, first - self.end);
        put_varint(block, end - first);
        self.end = end;
    }

    pub fn contains(&self, offset: i64) -> bool {
        let Ok(offset) = u64::try_from(offset) else { return false };
        let Some(index) = self.block_of(offset) else { return false };
        self.ranges_of(index).iter().any(|&(first, end)| first <= offset && offset < end)
    }

    fn block_of(&self, offset: u64) -> Option<usize> {
        self.firsts.partition_point(|&first| first <= offset).checked_sub(1)
    }

    /// The ranges of offsets in (after, upto], cut to it: first and last offset of each, ascending.
    pub fn ranges(&self, after: i64, upto: i64) -> Vec<(i64, i64)> {
        let from = u64::try_from(after + 1).unwrap_or(0);
        let mut found = Vec::new();
        for index in self.block_of(from).unwrap_or(0)..self.firsts.len() {
            if self.firsts[index] as i64 > upto {
                break;
            }
            for (first, end) in self.ranges_of(index) {
                let (first, last) = (first as i64, end as i64 - 1);
                if last > after && first <= upto {
                    found.push((first.max(after + 1), last.min(upto)));
                }
            }
        }
        found
    }

    /// Drops the blocks that say nothing of this offset or later ones. The newest block stays.
    pub fn forget_before(&mut self, offset: i64) {
        let gone = self.block_of(offset.max(0) as u64).unwrap_or(0);
        for first in self.firsts.drain(..gone) {
            self.changed.remove(&first);
            self.deleted.push(first);
        }
        self.blocks.drain(..gone);
    }

    /// Adds the changelog records of the blocks that changed since the last call.
    pub fn encode(&mut self, changes: &mut Changes) {
        for first in self.deleted.drain(..) {
            changes.delete(|out| put_key(out, first));
        }
        for first in std::mem::take(&mut self.changed) {
            let index = self.block_of(first).expect("a changed block is there");
            changes.put(|out| put_key(out, first), |out| self.pack(index, out));
        }
    }

    fn pack(&self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.blocks[index]);
        if index + 1 == self.blocks.len() {
            if let Some((first, end)) = self.last {
                put_varint(out, first - self.end);
                put_varint(out, end - first);
            }
        }
    }

    /// Takes a record of the changelog, in the order of their keys.
    pub fn adopt(&mut self, stored_key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        let Ok(first) = <[u8; 8]>::try_from(&stored_key[1..]) else { return Err(damaged(stored_key)) };
        if value.first() != Some(&VERSION) {
            return Err(FormatError(format!("{} is not of format {VERSION}", shown(stored_key))));
        }
        let first = u64::from_be_bytes(first);
        ranges(value, first).ok_or_else(|| damaged(stored_key))?;
        self.firsts.push(first);
        self.blocks.push(value.to_vec());
        Ok(())
    }

    /// Takes the last range out of the newest block again, since it may grow; after all was adopted.
    pub fn finish_adopting(&mut self) {
        let (Some(&first), Some(block)) = (self.firsts.last(), self.blocks.last_mut()) else { return };
        let mut known = ranges(block, first).expect("an adopted block was read");
        *block = vec![VERSION];
        self.end = first;
        self.last = known.pop();
        for (first, end) in known {
            self.close_last(first, end);
        }
    }

    fn ranges_of(&self, index: usize) -> Vec<Range> {
        let mut packed = Vec::new();
        self.pack(index, &mut packed);
        ranges(&packed, self.firsts[index]).expect("a block of our own is read")
    }
}

fn put_key(out: &mut Vec<u8>, first: u64) {
    out.push(KIND);
    out.extend_from_slice(&first.to_be_bytes());
}

/// Seven bits a byte, the lowest first; the eighth says that another byte follows.
fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 & 0x7f | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A block's ranges; `None`: it is damaged.
fn ranges(block: &[u8], first: u64) -> Option<Vec<Range>> {
    let mut numbers = Vec::new();
    let (mut number, mut shift) = (0u64, 0u32);
    for &byte in &block[1..] {
        if shift > 63 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 != 0 {
            shift += 7;
        } else {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    if shift != 0 || numbers.is_empty() || numbers.len() % 2 != 0 {
        return None;
    }
    let mut found = Vec::with_capacity(numbers.len() / 2);
    let mut end = first;
    for pair in numbers.chunks_exact(2) {
        let start = end.checked_add(pair[0])?;
        end = start.checked_add(pair[1])?;
        found.push((start, end));
    }
    Some(found)
}
