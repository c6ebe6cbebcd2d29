//! Encodes the changelog records of a commit as the bodies of record batches (format v2). The sender adds the header of
//! each batch, with its producer id and transaction.

use crate::formats::Changes;

/// What a record has beside key and value, about: lengths, and its place in the batch.
const FRAME_BYTES: usize = 12;

/// Records of one batch, one after the other, and how many they are.
pub struct Body {
    pub records: Vec<u8>,
    pub count: u32,
}

/// Cuts records into bodies of at most so many bytes, or of one record.
pub fn bodies(table: &Changes, limit_bytes: usize) -> Vec<Body> {
    let mut found: Vec<Body> = Vec::new();
    let mut left = table.bytes() + table.len() * FRAME_BYTES;
    for (key, value) in table.iter() {
        let count = found.last().map_or(0, |body| body.count);
        let length = length_of(count, key, value);
        let whole = varint_bytes(length as i64) + length;
        match found.last_mut().filter(|body| body.records.len() + whole <= limit_bytes) {
            Some(body) => {
                put_record(&mut body.records, length, count, key, value);
                body.count += 1;
            }
            None => {
                let mut records = Vec::with_capacity(left.min(limit_bytes.max(whole)));
                put_record(&mut records, length_of(0, key, value), 0, key, value);
                found.push(Body { records, count: 1 });
            }
        }
        left -= key.len() + value.map_or(0, <[u8]>::len) + FRAME_BYTES;
    }
    found
}

/// The length of a record, without that number itself.
fn length_of(offset_delta: u32, key: &[u8], value: Option<&[u8]>) -> usize {
    1 // attributes
        + 1 // delta of the timestamp
        + varint_bytes(i64::from(offset_delta))
        + varint_bytes(key.len() as i64)
        + key.len()
        + value.map_or(1, |value| varint_bytes(value.len() as i64) + value.len())
        + 1 // number of headers
}

fn put_record(out: &mut Vec<u8>, length: usize, offset_delta: u32, key: &[u8], value: Option<&[u8]>) {
    put_varint(out, length as i64);
    out.extend_from_slice(&[0, 0]);
    put_varint(out, i64::from(offset_delta));
    put_varint(out, key.len() as i64);
    out.extend_from_slice(key);
    match value {
        Some(value) => {
            put_varint(out, value.len() as i64);
            out.extend_from_slice(value);
        }
        None => put_varint(out, -1),
    }
    put_varint(out, 0);
}

fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut left = zigzag(number);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn varint_bytes(number: i64) -> usize {
    ((64 - zigzag(number).leading_zeros()).max(1) as usize).div_ceil(7)
}

/// What a batch's header says beside its records.
pub struct Header {
    pub timestamp_ms: i64,
    pub transactional: bool,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

/// A whole record batch.
pub fn frame(records: &[u8], count: u32, header: &Header) -> Vec<u8> {
    const AFTER_LENGTH: usize = 49;
    const CRC_AT: usize = 17;
    let mut batch = Vec::with_capacity(61 + records.len());
    batch.extend_from_slice(&0i64.to_be_bytes()); // base offset
    batch.extend_from_slice(&((AFTER_LENGTH + records.len()) as i32).to_be_bytes());
    batch.extend_from_slice(&(-1i32).to_be_bytes()); // leader epoch
    batch.push(2);
    batch.extend_from_slice(&[0; 4]); // checksum
    batch.extend_from_slice(&(if header.transactional { 0x10i16 } else { 0 }).to_be_bytes());
    batch.extend_from_slice(&(count as i32 - 1).to_be_bytes());
    batch.extend_from_slice(&header.timestamp_ms.to_be_bytes());
    batch.extend_from_slice(&header.timestamp_ms.to_be_bytes());
    batch.extend_from_slice(&header.producer_id.to_be_bytes());
    batch.extend_from_slice(&header.producer_epoch.to_be_bytes());
    batch.extend_from_slice(&header.base_sequence.to_be_bytes());
    batch.extend_from_slice(&(count as i32).to_be_bytes());
    batch.extend_from_slice(records);
    let checksum = crc32c::crc32c(&batch[CRC_AT + 4..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&checksum.to_be_bytes());
    batch
}

#[cfg(test)]
mod tests {
    use super::{bodies, frame, Header};
    use crate::formats::Changes;
    use crate::records::{Fetch, Place};

    #[test]
    fn what_is_framed_is_read_again() {
        let records: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            (0..300u32).map(|n| (n.to_be_bytes().to_vec(), (n % 3 > 0).then(|| vec![7; n as usize]))).collect();
        let mut table = Changes::default();
        for (key, value) in &records {
            let place = table.delete(|out| out.extend_from_slice(key));
            if let Some(value) = value {
                table.set(place, |out| out.extend_from_slice(value));
            }
        }
        let header =
            Header { timestamp_ms: 5, transactional: true, producer_id: 9, producer_epoch: 1, base_sequence: 0 };
        let mut seen = Vec::new();
        for body in bodies(&table, 4_000) {
            assert!(body.records.len() <= 4_000);
            let batch = frame(&body.records, body.count, &header);
            let mut fetch = Fetch::resume(&batch, &[], Place::default(), true, 1 << 20);
            let read = fetch.next_batch(&mut |record| {
                seen.push((record.key.map(Into::into), record.value.map(Vec::from)));
                Ok(())
            });
            assert_eq!(read, Ok(true));
            assert_eq!(fetch.next_offset(), i64::from(body.count));
        }
        let expected: Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> =
            records.into_iter().map(|(key, value)| (Some(key), value)).collect();
        assert_eq!(seen, expected);
    }
}
