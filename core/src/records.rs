//! Walks fetched record batches (format v2) up to an offset limit, and returns the records that a consumer of committed
//! records sees. It checks every length against the available bytes before it uses it, and limits the uncompressed size
//! of a batch while it decompresses it.

use std::borrow::Cow;
use std::fmt;
use std::io::Read;

use crate::mutants::kept;

const HEADER_BYTES: usize = 61;
/// Before what a batch's length counts: base offset and length.
const BEFORE_LENGTH: usize = 12;
const CRC_AT: usize = 17;
const CRC_COVERS_FROM: usize = 21;

/// A record that has more bytes may have so many headers: each takes a hundred bytes in memory, and may be of two.
const LARGE_RECORD_BYTES: i64 = 1 << 20;
const HEADERS_LIMIT: usize = 10_000;

const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

const NO_PRODUCER: i64 = -1;
/// The type of a control record that ends a transaction without its records.
const ABORT_MARKER: i16 = 0;

/// What was fetched cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordsError {
    /// The checksum, a length or a compressed block is wrong.
    Corrupt(String),
    /// A format before v2, or a compression that this reader does not know: another reader may.
    Unsupported(String),
    /// A batch that comes to more bytes than allowed.
    TooLarge { base_offset: i64, limit: usize },
}

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordsError::Corrupt(what) => write!(f, "a record batch is corrupt: {what}"),
            RecordsError::Unsupported(what) => write!(f, "a record batch is not read: {what}"),
            RecordsError::TooLarge { base_offset, limit } => {
                write!(f, "the record batch at offset {base_offset} comes to more than {limit} bytes")
            }
        }
    }
}

fn corrupt(what: &str) -> RecordsError {
    RecordsError::Corrupt(what.to_owned())
}

/// One record, as it lies in its batch.
pub struct Record<'a> {
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// Whether the timestamp is the broker's own.
    pub log_append_time: bool,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub header_count: usize,
    headers: &'a [u8],
}

/// A header's name, as it came, and its value.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

impl<'a> Record<'a> {
    pub fn bytes(&self) -> usize {
        self.key.map_or(0, <[u8]>::len)
            + self.value.map_or(0, <[u8]>::len)
            + 50 * self.header_count
            + self.headers.len()
    }

    pub fn headers(&self) -> Result<Vec<Header<'a>>, RecordsError> {
        let mut from = Slice(self.headers);
        let mut headers = Vec::with_capacity(self.header_count.min(self.headers.len()));
        for _ in 0..self.header_count {
            let name = from.varint_bytes()?.ok_or_else(|| corrupt("a header without a name"))?;
            headers.push((name, from.varint_bytes()?));
        }
        Ok(headers)
    }
}

/// What one fetch brought of a partition, taken out batch by batch.
pub struct Fetch<'a> {
    bytes: &'a [u8],
    at: usize,
    next_offset: i64,
    /// (first offset, producer) of aborted transactions, ascending.
    aborted: &'a [(i64, i64)],
    aborted_at: usize,
    aborted_producers: Vec<i64>,
    check_crc: bool,
    batch_bytes_limit: usize,
}

/// What a reader is to know of where it is, to go on in the same bytes.
#[derive(Clone, Default)]
pub struct Place {
    pub at: usize,
    pub next_offset: i64,
    pub aborted_at: usize,
    pub aborted_producers: Vec<i64>,
}

impl<'a> Fetch<'a> {
    /// `place`: where to go on; its `next_offset` is the first offset that is wanted.
    pub fn resume(
        bytes: &'a [u8],
        aborted: &'a [(i64, i64)],
        place: Place,
        check_crc: bool,
        batch_bytes_limit: usize,
    ) -> Self {
        Fetch {
            bytes,
            at: place.at,
            next_offset: place.next_offset,
            aborted,
            aborted_at: place.aborted_at,
            aborted_producers: place.aborted_producers,
            check_crc,
            batch_bytes_limit,
        }
    }

    pub fn place(self) -> Place {
        Place {
            at: self.at,
            next_offset: self.next_offset,
            aborted_at: self.aborted_at,
            aborted_producers: self.aborted_producers,
        }
    }

    /// The next offset to ask for, after what was taken.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Whether a whole batch is left. A fetch may end within one.
    pub fn has_next(&self) -> bool {
        self.batch_length().is_ok_and(|length| length.is_some())
    }

    /// How many bytes are left.
    pub fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn batch_length(&self) -> Result<Option<usize>, RecordsError> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        if rest.len() < BEFORE_LENGTH {
            return Ok(None);
        }
        let length = i32_at(rest, 8);
        if length < (HEADER_BYTES - BEFORE_LENGTH) as i32 {
            return Err(corrupt("a batch shorter than its header"));
        }
        let whole = BEFORE_LENGTH + length as usize;
        Ok((rest.len() >= whole).then_some(whole))
    }

    /// Gives each visible record of the next batch to `see`. False: no whole batch is left.
    pub fn next_batch(
        &mut self,
        see: &mut dyn FnMut(&Record<'_>) -> Result<(), RecordsError>,
    ) -> Result<bool, RecordsError> {
        let Some(length) = self.batch_length()? else { return Ok(false) };
        let batch = &self.bytes[self.at..self.at + length];
        if batch[16] != 2 {
            return Err(RecordsError::Unsupported(format!("format {}", batch[16])));
        }
        if self.check_crc && crc32c::crc32c(&batch[CRC_COVERS_FROM..]) != i32_at(batch, CRC_AT) as u32 {
            return Err(corrupt("its checksum differs"));
        }
        let base_offset = i64_at(batch, 0);
        let attributes = i16_at(batch, 21);
        let last_delta = i32_at(batch, 23);
        let producer = i64_at(batch, 43);
        let control = attributes & CONTROL != 0;
        let mut hidden = control;
        if producer != NO_PRODUCER {
            self.note_aborted_up_to(base_offset);
            if control && abort_marker(batch)? {
                self.aborted_producers.retain(|&known| known != producer);
            }
            hidden |= attributes & TRANSACTIONAL != 0 && self.aborted_producers.contains(&producer);
        }
        if !hidden {
            let body = self.body(batch, attributes, base_offset)?;
            self.see_records(batch, &body, base_offset, attributes, see)?;
        }
        let end = base_offset.checked_add(i64::from(last_delta)).and_then(|last| last.checked_add(1));
        let end = end.ok_or_else(|| corrupt("an offset beyond all"))?;
        self.next_offset = self.next_offset.max(end);
        self.at += length;
        Ok(true)
    }

    fn note_aborted_up_to(&mut self, offset: i64) {
        while let Some(&(first, producer)) = self.aborted.get(self.aborted_at) {
            if first > offset {
                break;
            }
            self.aborted_producers.push(producer);
            self.aborted_at += 1;
        }
    }

    fn body(&self, batch: &'a [u8], attributes: i16, base_offset: i64) -> Result<Cow<'a, [u8]>, RecordsError> {
        let packed = &batch[HEADER_BYTES..];
        let limit = self.batch_bytes_limit;
        let too_large = RecordsError::TooLarge { base_offset, limit };
        let unpacked = match attributes & COMPRESSION_MASK {
            0 => return Ok(Cow::Borrowed(packed)),
            1 => read_bounded(flate2::read::MultiGzDecoder::new(packed), limit, too_large)?,
            2 => unpack_snappy(packed, limit, too_large)?,
            3 => read_bounded(lz4_flex::frame::FrameDecoder::new(packed), limit, too_large)?,
            4 => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(packed);
                read_bounded(decoder.map_err(|_| corrupt("its zstd frame"))?, limit, too_large)?
            }
            other => return Err(RecordsError::Unsupported(format!("compression {other}"))),
        };
        Ok(Cow::Owned(unpacked))
    }

    fn see_records(
        &self,
        batch: &[u8],
        body: &[u8],
        base_offset: i64,
        attributes: i16,
        see: &mut dyn FnMut(&Record<'_>) -> Result<(), RecordsError>,
    ) -> Result<(), RecordsError> {
        let (first_timestamp, max_timestamp) = (i64_at(batch, 27), i64_at(batch, 35));
        let log_append_time = attributes & LOG_APPEND_TIME != 0;
        let mut from = Slice(body);
        for _ in 0..i32_at(batch, 57) {
            let length = from.varint()?;
            let mut record = Slice(from.take(length)?);
            record.take(1)?;
            let timestamp_delta = record.varint()?;
            let offset = base_offset.wrapping_add(record.varint()?);
            let key = record.varint_bytes()?;
            let value = record.varint_bytes()?;
            let header_count = usize::try_from(record.varint()?).map_err(|_| corrupt("a number of headers"))?;
            if header_count > record.0.len() {
                return Err(corrupt("a number of headers"));
            }
            if length > LARGE_RECORD_BYTES && header_count > HEADERS_LIMIT {
                return Err(RecordsError::TooLarge { base_offset, limit: HEADERS_LIMIT });
            }
            if offset >= self.next_offset || !kept("skipped-not-judged") {
                let timestamp =
                    if log_append_time { max_timestamp } else { first_timestamp.wrapping_add(timestamp_delta) };
                see(&Record { offset, timestamp, log_append_time, key, value, header_count, headers: record.0 })?;
            }
        }
        Ok(())
    }
}

/// Whether a control batch ends its transaction without the records. Its one record's key is a version and a type.
fn abort_marker(batch: &[u8]) -> Result<bool, RecordsError> {
    let mut from = Slice(&batch[HEADER_BYTES..]);
    let length = from.varint()?;
    let mut record = Slice(from.take(length)?);
    record.take(1)?;
    record.varint()?;
    record.varint()?;
    let key = record.varint_bytes()?.ok_or_else(|| corrupt("a marker without a key"))?;
    if key.len() < 4 {
        return Err(corrupt("a marker's key"));
    }
    Ok(i16_at(key, 2) == ABORT_MARKER)
}

fn read_bounded(from: impl Read, limit: usize, too_large: RecordsError) -> Result<Vec<u8>, RecordsError> {
    let mut unpacked = Vec::new();
    let read = from.take(limit as u64 + 1).read_to_end(&mut unpacked);
    if unpacked.len() > limit {
        return Err(too_large);
    }
    read.map_err(|_| corrupt("its compressed records"))?;
    Ok(unpacked)
}

/// Snappy, plain or in the blocks that Java's clients write.
fn unpack_snappy(packed: &[u8], limit: usize, too_large: RecordsError) -> Result<Vec<u8>, RecordsError> {
    const MAGIC: &[u8] = b"\x82SNAPPY\x00";
    const BLOCKS_FROM: usize = 16;
    let fault = || corrupt("its snappy block");
    let mut unpacked = Vec::new();
    let mut unpack = |block: &[u8]| {
        let length = snap::raw::decompress_len(block).map_err(|_| fault())?;
        if length > limit || unpacked.len() + length > limit {
            return Err(too_large.clone());
        }
        unpacked.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(|_| fault())?);
        Ok(())
    };
    if packed.starts_with(MAGIC) {
        let mut from = Slice(packed.get(BLOCKS_FROM..).ok_or_else(fault)?);
        while !from.0.is_empty() {
            let length = i32_at(from.take(4)?, 0);
            unpack(from.take(i64::from(length))?)?;
        }
    } else {
        unpack(packed)?;
    }
    Ok(unpacked)
}

struct Slice<'a>(&'a [u8]);

impl<'a> Slice<'a> {
    fn take(&mut self, length: i64) -> Result<&'a [u8], RecordsError> {
        let length = usize::try_from(length).ok().filter(|&length| length <= self.0.len());
        let (taken, rest) = self.0.split_at(length.ok_or_else(|| corrupt("a length beyond its end"))?);
        self.0 = rest;
        Ok(taken)
    }

    /// A zigzag number of at most ten bytes.
    fn varint(&mut self) -> Result<i64, RecordsError> {
        let mut number = 0u64;
        for (place, &byte) in self.0.iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte < 0x80 {
                self.0 = &self.0[place + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(corrupt("a number without an end"))
    }

    /// Bytes behind their length; -1 stands for none.
    fn varint_bytes(&mut self) -> Result<Option<&'a [u8]>, RecordsError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.take(length).map(Some),
        }
    }
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from(i32_at(bytes, at)) << 32 | i64::from(i32_at(bytes, at + 4) as u32)
}
