//! Packs one row of the activity table. The order of the packed bytes is the order of the table.
//! `stream/storage/row.py` draws the format.

use crate::formats::{put_array, put_str, put_text, put_uint};

/// All texts of an event at their limits take less.
pub const ROW_BYTES_LIMIT: usize = 32_768;

/// What a row shows, as the event said it.
pub struct Row<'a> {
    pub occurred_at: i64,
    pub event_id: &'a str,
    pub partition: u16,
    pub offset: i64,
    pub activity: u8,
    pub fraction_digits: u8,
    pub contact_id: &'a str,
    pub contact_name: Option<&'a str>,
    pub source: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub user_name: Option<&'a str>,
    pub batch_id: Option<&'a str>,
}

/// Packs a row at the end of `out`.
pub fn put_row(out: &mut Vec<u8>, row: &Row<'_>) {
    let start = out.len();
    out.extend_from_slice(&row.occurred_at.to_be_bytes());
    if row.event_id.as_bytes().contains(&0) {
        for &byte in row.event_id.as_bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xff);
            }
        }
    } else {
        out.extend_from_slice(row.event_id.as_bytes());
    }
    out.extend_from_slice(&[0, 1]);
    out.extend_from_slice(&row.partition.to_be_bytes());
    out.extend_from_slice(&row.offset.to_be_bytes());
    put_array(out, 8);
    put_uint(out, u64::from(row.activity));
    put_uint(out, u64::from(row.fraction_digits));
    put_str(out, row.contact_id);
    for text in [row.contact_name, row.source, row.user_id, row.user_name, row.batch_id] {
        put_text(out, text);
    }
    assert!(out.len() - start <= ROW_BYTES_LIMIT, "a row of {} bytes", out.len() - start);
}
