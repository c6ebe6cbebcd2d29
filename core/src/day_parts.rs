//! Packs and unpacks the counts of a day aggregate: heads, cells, summaries, deltas and bases.
//! `stream/storage/day_parts.py` draws the format.

use crate::formats::{
    damaged, put_array, put_bin, put_column, put_int, put_str, put_text, put_uint, Column, FormatError, PackedTexts,
    Reader,
};

pub const VERSION: u8 = 1;
pub const QUARTERS_A_DAY: u64 = 96;

/// The series of a base and their totals; `users` still packed.
pub struct Head<'a> {
    pub written_at: i64,
    pub sources: Vec<&'a str>,
    pub kinds: Vec<u64>,
    pub user_count: usize,
    /// The users as they lie in their array, without its head.
    pub users: &'a [u8],
    pub cell_counts: Vec<u64>,
    pub totals: Vec<u64>,
}

pub struct Cells {
    pub keys: Vec<u64>,
    pub counts: Vec<u64>,
}

pub struct Delta<'a> {
    pub written_at: i64,
    pub first_series: u64,
    pub first_source: u64,
    pub new_sources: Vec<&'a str>,
    pub new_users: Vec<Option<&'a str>>,
    pub keys: Vec<u64>,
    pub counts: Vec<u64>,
    pub kinds: Vec<u64>,
}

/// A head whose columns are read where they lie; its users were given to who read it.
pub struct HeadColumns<'a> {
    pub sources: PackedTexts<'a>,
    pub kinds: Column<'a>,
    pub cell_counts: Column<'a>,
    pub totals: Column<'a>,
}

/// A delta whose columns are read where they lie, and its texts are still packed.
pub struct DeltaColumns<'a> {
    pub first_series: u64,
    pub first_source: u64,
    pub new_sources: PackedTexts<'a>,
    pub new_users: PackedTexts<'a>,
    pub keys: Column<'a>,
    pub counts: Column<'a>,
    pub kinds: Column<'a>,
}

pub struct Summary<'a> {
    pub sources: PackedTexts<'a>,
    pub kinds: Column<'a>,
    pub cell_counts: Column<'a>,
    pub totals: Column<'a>,
    pub keys: Column<'a>,
    pub counts: Column<'a>,
}

fn same_length(name: &[u8], first: usize, others: &[usize]) -> Result<(), FormatError> {
    if others.iter().all(|&other| other == first) {
        Ok(())
    } else {
        Err(damaged(name))
    }
}

pub fn read_head<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<Head<'a>, FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    let written_at = from.int()?;
    let sources = from.strings()?;
    let kinds = from.column()?;
    let PackedTexts { count: user_count, packed: users } = from.packed_texts()?;
    let cell_counts = from.column()?;
    let totals = from.column()?;
    same_length(name, kinds.len(), &[user_count, cell_counts.len(), totals.len()])?;
    Ok(Head { written_at, sources, kinds, user_count, users, cell_counts, totals })
}

/// Reads a head and gives the user of each of its series to `take`, who looks whether it is a text.
pub fn read_head_columns<'a>(
    packed: &'a [u8],
    name: &'a [u8],
    mut take: impl FnMut(Option<&'a [u8]>) -> Result<(), FormatError>,
) -> Result<HeadColumns<'a>, FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    from.int()?; // written_at
    let (sources, kinds) = (from.packed_texts()?, from.packed_column()?);
    let users = from.array()?;
    for _ in 0..users {
        take(from.text_bytes()?)?;
    }
    let (cell_counts, totals) = (from.packed_column()?, from.packed_column()?);
    same_length(name, kinds.len(), &[users, cell_counts.len(), totals.len()])?;
    Ok(HeadColumns { sources, kinds, cell_counts, totals })
}

impl<'a> Head<'a> {
    pub fn user_names(&self, name: &'a [u8]) -> Result<Vec<Option<&'a str>>, FormatError> {
        let mut from = Reader::plain(self.users, name);
        (0..self.user_count).map(|_| from.text()).collect()
    }
}

pub fn read_cells(packed: &[u8], name: &[u8]) -> Result<Cells, FormatError> {
    let (keys, counts) = read_cell_columns(packed, name)?;
    Ok(Cells { keys: keys.to_vec(), counts: counts.to_vec() })
}

/// Keys and counts of a base's cells, as they lie there.
pub fn read_cell_columns<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<(Column<'a>, Column<'a>), FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    let (keys, counts) = (from.packed_column()?, from.packed_column()?);
    same_length(name, keys.len(), &[counts.len()])?;
    Ok((keys, counts))
}

pub fn read_delta<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<Delta<'a>, FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    let written_at = from.int()?;
    let first_series = u64::try_from(from.int()?).map_err(|_| damaged(name))?;
    let first_source = u64::try_from(from.int()?).map_err(|_| damaged(name))?;
    let new_sources = from.strings()?;
    let new_users = from.texts()?;
    let (keys, counts, kinds) = (from.column()?, from.column()?, from.column()?);
    same_length(name, keys.len(), &[counts.len(), kinds.len()])?;
    Ok(Delta { written_at, first_series, first_source, new_sources, new_users, keys, counts, kinds })
}

pub fn read_delta_columns<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<DeltaColumns<'a>, FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    from.int()?; // written_at
    let first_series = u64::try_from(from.int()?).map_err(|_| damaged(name))?;
    let first_source = u64::try_from(from.int()?).map_err(|_| damaged(name))?;
    let (new_sources, new_users) = (from.packed_texts()?, from.packed_texts()?);
    let (keys, counts, kinds) = (from.packed_column()?, from.packed_column()?, from.packed_column()?);
    same_length(name, keys.len(), &[counts.len(), kinds.len()])?;
    Ok(DeltaColumns { first_series, first_source, new_sources, new_users, keys, counts, kinds })
}

pub fn read_summary<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<Summary<'a>, FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    let sources = from.packed_texts()?;
    let (kinds, cell_counts, totals) = (from.packed_column()?, from.packed_column()?, from.packed_column()?);
    let (keys, counts) = (from.packed_column()?, from.packed_column()?);
    same_length(name, kinds.len(), &[cell_counts.len(), totals.len()])?;
    same_length(name, keys.len(), &[counts.len()])?;
    Ok(Summary { sources, kinds, cell_counts, totals, keys, counts })
}

/// The head and the cells of a changelog value, still packed.
pub fn read_base<'a>(packed: &'a [u8], name: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), FormatError> {
    let mut from = Reader::versioned(packed, VERSION, name)?;
    Ok((from.bin()?, from.bin()?))
}

/// The last source offset that is counted in a head or a delta, without unpacking the rest.
pub fn written_at(packed: &[u8], name: &[u8]) -> Result<i64, FormatError> {
    Reader::versioned(packed, VERSION, name)?.int()
}

fn begin(items: usize) -> Vec<u8> {
    let mut out = Vec::new();
    put_array(&mut out, items);
    out.push(VERSION);
    out
}

fn put_strings(out: &mut Vec<u8>, texts: &[&str]) {
    put_array(out, texts.len());
    for text in texts {
        put_str(out, text);
    }
}

pub fn put_base(out: &mut Vec<u8>, head: &[u8], cells: &[u8]) {
    put_array(out, 3);
    out.push(VERSION);
    put_bin(out, head);
    put_bin(out, cells);
}

/// What a delta says beside its new series and its cells.
pub struct DeltaHead {
    pub written_at: i64,
    pub first_series: usize,
    pub first_source: usize,
}

/// Packs a delta. `cells`: (key, count) by ascending key.
pub fn put_delta<'a>(
    out: &mut Vec<u8>,
    head: &DeltaHead,
    sources: impl ExactSizeIterator<Item = &'a str>,
    users: impl ExactSizeIterator<Item = Option<&'a str>>,
    cells: &[(u64, u64)],
    kind_of: impl Fn(u64) -> u64 + Copy,
) {
    put_array(out, 9);
    out.push(VERSION);
    put_int(out, head.written_at);
    put_uint(out, head.first_series as u64);
    put_uint(out, head.first_source as u64);
    put_array(out, sources.len());
    sources.for_each(|source| put_str(out, source));
    put_array(out, users.len());
    users.for_each(|user| put_text(out, user));
    put_column(out, cells.iter().map(|cell| cell.0), 2);
    put_column(out, cells.iter().map(|cell| cell.1), 1);
    put_column(out, cells.iter().map(move |cell| kind_of(cell.0 / QUARTERS_A_DAY)), 1);
}

/// A base, packed, with its summary.
pub struct Base {
    pub head: Vec<u8>,
    pub cells: Vec<u8>,
    pub summary: Vec<u8>,
    pub cell_count: usize,
}

impl Base {
    pub fn size_bytes(&self) -> usize {
        self.head.len() + self.cells.len()
    }
}

/// What a base is made of. `keys` ascend, and each series has a cell.
pub struct Series<'a> {
    pub written_at: i64,
    pub sources: &'a [&'a str],
    pub kinds: &'a [u64],
    pub user_count: usize,
    pub users: &'a [u8],
    pub keys: &'a [u64],
    pub counts: &'a [u64],
}

pub fn encode_series(of: &Series<'_>) -> Base {
    let (cell_counts, totals) = by_series(of.keys, of.counts, of.kinds.len());
    let mut head = begin(7);
    put_int(&mut head, of.written_at);
    put_strings(&mut head, of.sources);
    put_column(&mut head, of.kinds.iter().copied(), 1);
    put_array(&mut head, of.user_count);
    head.extend_from_slice(of.users);
    put_column(&mut head, cell_counts.iter().copied(), 1);
    put_column(&mut head, totals.iter().copied(), 1);
    let mut cells = begin(3);
    put_column(&mut cells, of.keys.iter().copied(), 2);
    put_column(&mut cells, of.counts.iter().copied(), 1);
    let summary = encode_summary(of.sources, of.kinds, of.keys, of.counts);
    Base { head, cells, summary, cell_count: of.keys.len() }
}

/// How many cells each series has, and their sum.
fn by_series(keys: &[u64], counts: &[u64], series: usize) -> (Vec<u64>, Vec<u64>) {
    let (mut cell_counts, mut totals) = (vec![0; series], vec![0; series]);
    for (&key, &count) in keys.iter().zip(counts) {
        let number = (key / QUARTERS_A_DAY) as usize;
        cell_counts[number] += 1;
        totals[number] += count;
    }
    (cell_counts, totals)
}

/// The same cells without their users: one series a kind that occurs.
pub fn encode_summary(sources: &[&str], kinds: &[u64], keys: &[u64], counts: &[u64]) -> Vec<u8> {
    let greatest = kinds.iter().copied().max().unwrap_or(0) as usize;
    let mut place_of = vec![usize::MAX; greatest + 1];
    for &kind in kinds {
        place_of[kind as usize] = 0;
    }
    let mut kinds_of = Vec::new();
    for (kind, place) in place_of.iter_mut().enumerate().filter(|(_, place)| **place == 0) {
        *place = kinds_of.len();
        kinds_of.push(kind as u64);
    }
    let width = QUARTERS_A_DAY as usize;
    let mut sums = vec![0u64; kinds_of.len() * width];
    for (&key, &count) in keys.iter().zip(counts) {
        let (series, quarter) = ((key / QUARTERS_A_DAY) as usize, (key % QUARTERS_A_DAY) as usize);
        sums[place_of[kinds[series] as usize] * width + quarter] += count;
    }
    let summed: Vec<(u64, u64)> =
        sums.iter().enumerate().filter(|item| *item.1 > 0).map(|(key, &count)| (key as u64, count)).collect();
    let (mut cell_counts, mut totals) = (vec![0u64; kinds_of.len()], vec![0u64; kinds_of.len()]);
    for &(key, count) in &summed {
        cell_counts[(key / QUARTERS_A_DAY) as usize] += 1;
        totals[(key / QUARTERS_A_DAY) as usize] += count;
    }
    let mut out = begin(7);
    put_strings(&mut out, sources);
    put_column(&mut out, kinds_of.iter().copied(), 1);
    put_column(&mut out, cell_counts.iter().copied(), 1);
    put_column(&mut out, totals.iter().copied(), 1);
    put_column(&mut out, summed.iter().map(|cell| cell.0), 2);
    put_column(&mut out, summed.iter().map(|cell| cell.1), 1);
    out
}

/// The summary of a packed base.
pub fn summarize(head: &[u8], cells: &[u8], name: &[u8]) -> Result<Vec<u8>, FormatError> {
    let series = read_head(head, name)?;
    let stored = read_cells(cells, name)?;
    let sources = series.sources.len() as u64;
    let good = series.kinds.iter().all(|kind| kind >> 1 <= sources)
        && stored.keys.iter().all(|key| key / QUARTERS_A_DAY < series.kinds.len() as u64);
    if !good {
        return Err(damaged(name));
    }
    Ok(encode_summary(&series.sources, &series.kinds, &stored.keys, &stored.counts))
}
