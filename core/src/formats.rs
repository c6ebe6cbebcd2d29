//! Encodes and decodes the elements of stored values: msgpack, and columns of numbers. The Python form is
//! `stream/storage/formats.py` and `stream/storage/day_parts.py`.

use std::fmt;
use std::ops::Range;

/// No changelog value is larger: below what a broker takes by default, with room for the key and the record's frame.
pub const VALUE_BYTES_LIMIT: usize = 1_000_000;

/// A stored value is of a format that this program does not know, or is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormatError(pub String);

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FormatError {}

/// A key or value as it is shown in a message.
pub fn shown(name: &[u8]) -> String {
    format!("b'{}'", name.escape_ascii())
}

pub fn damaged(name: &[u8]) -> FormatError {
    FormatError(format!("{} is damaged", shown(name)))
}

/// Changelog records of one commit, in order, all of them in one buffer.
#[derive(Default)]
pub struct Changes {
    bytes: Vec<u8>,
    records: Vec<Change>,
}

struct Change {
    key: Range<usize>,
    /// `None` deletes the key.
    value: Option<Range<usize>>,
}

impl Changes {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Of all keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a record, whose key and value are written at the end of the buffer. Returns its place.
    pub fn put(&mut self, key: impl FnOnce(&mut Vec<u8>), value: impl FnOnce(&mut Vec<u8>)) -> usize {
        let place = self.delete(key);
        self.set(place, value);
        place
    }

    /// Adds a record that deletes a key. Returns its place.
    pub fn delete(&mut self, key: impl FnOnce(&mut Vec<u8>)) -> usize {
        let key = self.write(key);
        self.records.push(Change { key, value: None });
        self.records.len() - 1
    }

    /// Gives the record of a place a value.
    pub fn set(&mut self, place: usize, value: impl FnOnce(&mut Vec<u8>)) {
        let value = self.write(value);
        self.records[place].value = Some(value);
    }

    fn write(&mut self, content: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let start = self.bytes.len();
        content(&mut self.bytes);
        start..self.bytes.len()
    }

    /// The value of a place; empty where the record deletes its key.
    pub fn value(&self, place: usize) -> &[u8] {
        self.records[place].value.clone().map_or(&[], |range| &self.bytes[range])
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let of = |range: &Range<usize>| &self.bytes[range.clone()];
        self.records.iter().map(move |record| (of(&record.key), record.value.as_ref().map(of)))
    }
}

// ---- writing

pub fn put_array(out: &mut Vec<u8>, count: usize) {
    if count < 16 {
        out.push(0x90 | count as u8);
    } else if count < 1 << 16 {
        out.push(0xdc);
        out.extend_from_slice(&(count as u16).to_be_bytes());
    } else {
        out.push(0xdd);
        out.extend_from_slice(&(count as u32).to_be_bytes());
    }
}

pub fn put_int(out: &mut Vec<u8>, number: i64) {
    if number >= 0 {
        put_uint(out, number as u64);
    } else if number >= -32 {
        out.push(number as i8 as u8);
    } else if number >= i64::from(i8::MIN) {
        out.push(0xd0);
        out.push(number as i8 as u8);
    } else if number >= i64::from(i16::MIN) {
        out.push(0xd1);
        out.extend_from_slice(&(number as i16).to_be_bytes());
    } else if number >= i64::from(i32::MIN) {
        out.push(0xd2);
        out.extend_from_slice(&(number as i32).to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

pub fn put_uint(out: &mut Vec<u8>, number: u64) {
    if number < 128 {
        out.push(number as u8);
    } else if number < 1 << 8 {
        out.push(0xcc);
        out.push(number as u8);
    } else if number < 1 << 16 {
        out.push(0xcd);
        out.extend_from_slice(&(number as u16).to_be_bytes());
    } else if number < 1 << 32 {
        out.push(0xce);
        out.extend_from_slice(&(number as u32).to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

pub fn put_str(out: &mut Vec<u8>, text: &str) {
    let length = text.len();
    if length < 32 {
        out.push(0xa0 | length as u8);
    } else if length < 1 << 8 {
        out.push(0xd9);
        out.push(length as u8);
    } else if length < 1 << 16 {
        out.push(0xda);
        out.extend_from_slice(&(length as u16).to_be_bytes());
    } else {
        out.push(0xdb);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
    out.extend_from_slice(text.as_bytes());
}

pub fn put_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => put_str(out, text),
        None => out.push(0xc0),
    }
}

pub fn put_bin(out: &mut Vec<u8>, bytes: &[u8]) {
    put_bin_head(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_bin_head(out: &mut Vec<u8>, length: usize) {
    if length < 1 << 8 {
        out.extend_from_slice(&[0xc4, length as u8]);
    } else if length < 1 << 16 {
        out.push(0xc5);
        out.extend_from_slice(&(length as u16).to_be_bytes());
    } else {
        out.push(0xc6);
        out.extend_from_slice(&(length as u32).to_be_bytes());
    }
}

/// The size of an item in a column whose greatest number this is.
pub fn item_size(greatest: u64, at_least: u8) -> u8 {
    let size = if greatest < 1 << 8 {
        1
    } else if greatest < 1 << 16 {
        2
    } else if greatest < 1 << 32 {
        4
    } else {
        8
    };
    size.max(at_least)
}

/// Packs numbers in the smallest size that holds all of them, and at least so many bytes each.
pub fn put_column(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = u64> + Clone, at_least: u8) {
    let size = item_size(values.clone().max().unwrap_or(0), at_least);
    let length = 1 + values.len() * usize::from(size);
    put_bin_head(out, length);
    out.reserve(length);
    out.push(size);
    match size {
        1 => out.extend(values.map(|value| value as u8)),
        2 => values.for_each(|value| out.extend_from_slice(&(value as u16).to_le_bytes())),
        4 => values.for_each(|value| out.extend_from_slice(&(value as u32).to_le_bytes())),
        _ => values.for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
    }
}

/// A column that is read where it lies.
#[derive(Clone, Copy)]
pub struct Column<'a> {
    width: usize,
    items: &'a [u8],
}

fn number(item: &[u8]) -> u64 {
    match *item {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_le_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_le_bytes([a, b, c, d])),
        _ => item.iter().rev().fold(0, |sum, &byte| sum << 8 | u64::from(byte)),
    }
}

/// How many of ascending items, of so many bytes each, are below a number.
fn count_below<const WIDTH: usize>(items: &[u8], least: u64) -> usize {
    let (mut from, mut to) = (0, items.len() / WIDTH);
    while from < to {
        let middle = from + (to - from) / 2;
        if number(&items[middle * WIDTH..][..WIDTH]) < least {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    from
}

impl<'a> Column<'a> {
    pub fn read(packed: &'a [u8], name: &[u8]) -> Result<Self, FormatError> {
        let fault = || FormatError(format!("{} has a damaged column", shown(name)));
        let (&size, items) = packed.split_first().ok_or_else(fault)?;
        let width = usize::from(size);
        if !matches!(size, 1 | 2 | 4 | 8) || items.len() % width != 0 {
            return Err(fault());
        }
        Ok(Column { width, items })
    }

    pub fn len(&self) -> usize {
        self.items.len() / self.width
    }

    pub fn iter(&self) -> impl Iterator<Item = u64> + 'a {
        self.items.chunks_exact(self.width).map(number)
    }

    pub fn to_vec(&self) -> Vec<u64> {
        match self.width {
            1 => self.items.iter().map(|&byte| u64::from(byte)).collect(),
            2 => self.items.chunks_exact(2).map(number).collect(),
            _ => self.iter().collect(),
        }
    }

    fn between(&self, low: usize, high: usize) -> Option<&'a [u8]> {
        self.items.get(low.checked_mul(self.width)?..high.checked_mul(self.width)?)
    }

    /// The sum of the items [low, high), or None where they are not all there. Damaged ones may come to more than fits,
    /// and the sum then begins at 0 again.
    pub fn sum(&self, low: usize, high: usize) -> Option<u64> {
        let items = self.between(low, high)?;
        Some(match self.width {
            1 => items.iter().map(|&byte| u64::from(byte)).sum(),
            2 => items.chunks_exact(2).map(number).sum(),
            width => items.chunks_exact(width).map(number).fold(0, u64::wrapping_add),
        })
    }

    /// The first place in [low, high) whose item is not below a number, or `high`. Items ascend; `high` is within the
    /// column.
    pub fn place_of(&self, least: u64, low: usize, high: usize) -> usize {
        let Some(items) = self.between(low, high) else { return high };
        low + match self.width {
            1 => count_below::<1>(items, least),
            2 => count_below::<2>(items, least),
            4 => count_below::<4>(items, least),
            _ => count_below::<8>(items, least),
        }
    }
}

// ---- reading

/// The texts of an array, as they lie behind its head.
#[derive(Clone, Copy)]
pub struct PackedTexts<'a> {
    pub count: usize,
    pub packed: &'a [u8],
}

impl<'a> PackedTexts<'a> {
    pub fn texts(&self, name: &'a [u8]) -> Result<Vec<Option<&'a str>>, FormatError> {
        let mut from = Reader::plain(self.packed, name);
        (0..self.count).map(|_| from.text()).collect()
    }

    /// Without looking whether they are Unicode.
    pub fn bytes(&self, name: &'a [u8]) -> impl Iterator<Item = Result<Option<&'a [u8]>, FormatError>> + 'a {
        let mut from = Reader::plain(self.packed, name);
        (0..self.count).map(move |_| from.text_bytes())
    }

    /// The texts, of which none may be absent.
    pub fn strings(&self, name: &'a [u8]) -> Result<Vec<&'a str>, FormatError> {
        let mut from = Reader::plain(self.packed, name);
        (0..self.count).map(|_| from.str()).collect()
    }
}

/// Reads msgpack from a slice; every length is checked against what is there.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    name: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Begins to read an array whose first item is `version`.
    pub fn versioned(bytes: &'a [u8], version: u8, name: &'a [u8]) -> Result<Self, FormatError> {
        if bytes.len() < 2 || bytes[0] & 0xf0 != 0x90 || bytes[1] != version {
            return Err(FormatError(format!("{} is not of format {version}", shown(name))));
        }
        Ok(Reader { bytes, at: 2, name })
    }

    pub fn plain(bytes: &'a [u8], name: &'a [u8]) -> Self {
        Reader { bytes, at: 0, name }
    }

    fn fault(&self) -> FormatError {
        damaged(self.name)
    }

    pub fn take(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or_else(|| self.fault())?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, FormatError> {
        Ok(self.take(1)?[0])
    }

    fn big_endian(&mut self, width: usize) -> Result<u64, FormatError> {
        Ok(self.take(width)?.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    pub fn int(&mut self) -> Result<i64, FormatError> {
        let code = self.byte()?;
        let number = match code {
            0x00..=0x7f => return Ok(i64::from(code)),
            0xe0..=0xff => return Ok(i64::from(code as i8)),
            0xcc => self.big_endian(1)?,
            0xcd => self.big_endian(2)?,
            0xce => self.big_endian(4)?,
            0xcf => self.big_endian(8)?,
            0xd0 => return Ok(i64::from(self.big_endian(1)? as i8)),
            0xd1 => return Ok(i64::from(self.big_endian(2)? as i16)),
            0xd2 => return Ok(i64::from(self.big_endian(4)? as i32)),
            0xd3 => return Ok(self.big_endian(8)? as i64),
            _ => return Err(self.fault()),
        };
        i64::try_from(number).map_err(|_| self.fault())
    }

    pub fn array(&mut self) -> Result<usize, FormatError> {
        let code = self.byte()?;
        Ok(match code {
            0x90..=0x9f => usize::from(code & 0x0f),
            0xdc => self.big_endian(2)? as usize,
            0xdd => self.big_endian(4)? as usize,
            _ => return Err(self.fault()),
        })
    }

    pub fn text(&mut self) -> Result<Option<&'a str>, FormatError> {
        let Some(bytes) = self.text_bytes()? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| self.fault())
    }

    /// A text that may be none in Unicode.
    pub fn text_bytes(&mut self) -> Result<Option<&'a [u8]>, FormatError> {
        let code = self.byte()?;
        let length = match code {
            0xc0 => return Ok(None),
            0xa0..=0xbf => usize::from(code & 0x1f),
            0xd9 => self.big_endian(1)? as usize,
            0xda => self.big_endian(2)? as usize,
            0xdb => self.big_endian(4)? as usize,
            _ => return Err(self.fault()),
        };
        self.take(length).map(Some)
    }

    pub fn str(&mut self) -> Result<&'a str, FormatError> {
        self.text()?.ok_or_else(|| self.fault())
    }

    pub fn bin(&mut self) -> Result<&'a [u8], FormatError> {
        let length = match self.byte()? {
            0xc4 => self.big_endian(1)?,
            0xc5 => self.big_endian(2)?,
            0xc6 => self.big_endian(4)?,
            _ => return Err(self.fault()),
        };
        self.take(length as usize)
    }

    pub fn column(&mut self) -> Result<Vec<u64>, FormatError> {
        Ok(self.packed_column()?.to_vec())
    }

    pub fn packed_column(&mut self) -> Result<Column<'a>, FormatError> {
        let packed = self.bin()?;
        Column::read(packed, self.name)
    }

    pub fn packed_texts(&mut self) -> Result<PackedTexts<'a>, FormatError> {
        let count = self.array()?;
        let start = self.at;
        for _ in 0..count {
            self.text()?;
        }
        Ok(PackedTexts { count, packed: &self.bytes[start..self.at] })
    }

    pub fn strings(&mut self) -> Result<Vec<&'a str>, FormatError> {
        let count = self.array()?;
        let mut texts = Vec::with_capacity(count.min(self.bytes.len()));
        for _ in 0..count {
            texts.push(self.str()?);
        }
        Ok(texts)
    }

    pub fn texts(&mut self) -> Result<Vec<Option<&'a str>>, FormatError> {
        let count = self.array()?;
        let mut texts = Vec::with_capacity(count.min(self.bytes.len()));
        for _ in 0..count {
            texts.push(self.text()?);
        }
        Ok(texts)
    }
}
