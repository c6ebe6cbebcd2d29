//! Merges a delta into its base. If the base would reach its size limit, splits it into several, by series. The Python
//! form is `stream/tables/merge.py`.

use crate::day_parts::{encode_series, read_cells, read_head, Base, Cells, Series, QUARTERS_A_DAY};
use crate::formats::{item_size, put_text, FormatError, Reader};

/// What msgpack and the columns add to a base, at most.
const FRAME_BYTES: usize = 64;

/// What is to be added to a base: a delta, unpacked.
pub struct Addition<'a> {
    pub written_at: i64,
    /// (key, count) by ascending key; keys continue those of the base.
    pub cells: &'a [(u64, u64)],
    /// Of all series, those of the base too.
    pub kinds: &'a [u64],
    pub new_sources: &'a [&'a str],
    pub new_users: &'a [Option<&'a str>],
}

/// Adds a delta to a base, or to nothing. Gives one base, or several where it would reach the limit.
pub fn merge(
    stored: Option<(&[u8], &[u8])>,
    addition: &Addition<'_>,
    limit_bytes: usize,
    name: &[u8],
) -> Result<Vec<Base>, FormatError> {
    let mut sources: Vec<&str> = Vec::new();
    let mut users = Vec::new();
    let mut user_count = addition.new_users.len();
    let mut cells = Cells { keys: Vec::new(), counts: Vec::new() };
    if let Some((head, packed_cells)) = stored {
        let old = read_head(head, name)?;
        sources.extend(&old.sources);
        users.extend_from_slice(old.users);
        user_count += old.user_count;
        cells = read_cells(packed_cells, name)?;
    }
    sources.extend(addition.new_sources);
    for user in addition.new_users {
        put_text(&mut users, *user);
    }
    let (keys, counts) = sum(&cells, addition.cells);
    let whole = Series {
        written_at: addition.written_at,
        sources: &sources,
        kinds: addition.kinds,
        user_count,
        users: &users,
        keys: &keys,
        counts: &counts,
    };
    let base = encode_series(&whole);
    if base.size_bytes() < limit_bytes {
        return Ok(vec![base]);
    }
    cut(&whole, limit_bytes, name)
}

fn sum(stored: &Cells, more: &[(u64, u64)]) -> (Vec<u64>, Vec<u64>) {
    let room = stored.keys.len() + more.len();
    let (mut keys, mut counts) = (Vec::with_capacity(room), Vec::with_capacity(room));
    let mut more = more.iter().copied().peekable();
    for (&key, &count) in stored.keys.iter().zip(&stored.counts) {
        while let Some(first) = more.next_if(|cell| cell.0 < key) {
            keys.push(first.0);
            counts.push(first.1);
        }
        let same = more.next_if(|cell| cell.0 == key).map_or(0, |cell| cell.1);
        keys.push(key);
        counts.push(count + same);
    }
    for (key, count) in more {
        keys.push(key);
        counts.push(count);
    }
    (keys, counts)
}

/// Several bases, each of some of the series, in order.
fn cut(whole: &Series<'_>, limit_bytes: usize, name: &[u8]) -> Result<Vec<Base>, FormatError> {
    let mut from = Reader::plain(whole.users, name);
    let users: Vec<Option<&str>> = (0..whole.user_count).map(|_| from.text()).collect::<Result<_, _>>()?;
    let mut firsts = vec![0; whole.kinds.len() + 1];
    for key in whole.keys {
        firsts[(key / QUARTERS_A_DAY) as usize + 1] += 1;
    }
    for number in 0..whole.kinds.len() {
        firsts[number + 1] += firsts[number];
    }
    let bases = cuts(whole, &users, &firsts, limit_bytes);
    Ok(bases.into_iter().map(|(start, end)| part(whole, &users, &firsts, start, end)).collect())
}

/// Runs of series, first and end, that are certainly below the limit, or of one series.
fn cuts(whole: &Series<'_>, users: &[Option<&str>], firsts: &[usize], limit_bytes: usize) -> Vec<(usize, usize)> {
    let size = |greatest: u64, at_least: u8| usize::from(item_size(greatest, at_least));
    let greatest = |values: &mut dyn Iterator<Item = u64>| values.max().unwrap_or(0);
    // The width of an item, and the byte of its column: as the Python form counts them.
    let cell_bytes =
        size(whole.keys.last().copied().unwrap_or(0), 2) + size(greatest(&mut whole.counts.iter().copied()), 1);
    let mut totals =
        (0..whole.kinds.len()).map(|number| whole.counts[firsts[number]..firsts[number + 1]].iter().sum::<u64>());
    let series_bytes = size(greatest(&mut whole.kinds.iter().copied()), 1) + size(greatest(&mut totals), 1) + 1;
    let packed = |text: Option<&str>| {
        let mut out = Vec::new();
        put_text(&mut out, text);
        out.len()
    };
    let mut found = Vec::new();
    let (mut start, mut bytes) = (0, FRAME_BYTES);
    let mut seen = vec![false; whole.sources.len() + 1];
    for (number, (&kind, user)) in whole.kinds.iter().zip(users).enumerate() {
        let source = (kind >> 1) as usize;
        let own = series_bytes + packed(*user) + (firsts[number + 1] - firsts[number]) * cell_bytes;
        let text = if source > 0 { packed(Some(whole.sources[source - 1])) } else { 0 };
        let with_text = |seen: &[bool]| if seen[source] { own } else { own + text };
        if number > start && bytes + with_text(&seen) >= limit_bytes {
            found.push((start, number));
            (start, bytes) = (number, FRAME_BYTES);
            seen.fill(false);
        }
        bytes += with_text(&seen);
        seen[source] = true;
    }
    found.push((start, whole.kinds.len()));
    found
}

/// A base of its own, with the sources that occur in it, in the order in which they do.
fn part(whole: &Series<'_>, users: &[Option<&str>], firsts: &[usize], start: usize, end: usize) -> Base {
    let mut numbers = vec![None; whole.sources.len() + 1];
    numbers[0] = Some(0);
    let mut sources = Vec::new();
    let mut kinds = Vec::with_capacity(end - start);
    for &kind in &whole.kinds[start..end] {
        let source = (kind >> 1) as usize;
        let number = *numbers[source].get_or_insert_with(|| {
            sources.push(whole.sources[source - 1]);
            sources.len() as u64
        });
        kinds.push(number * 2 + (kind & 1));
    }
    let mut packed_users = Vec::new();
    for user in &users[start..end] {
        put_text(&mut packed_users, *user);
    }
    let shift = start as u64 * QUARTERS_A_DAY;
    let keys: Vec<u64> = whole.keys[firsts[start]..firsts[end]].iter().map(|key| key - shift).collect();
    encode_series(&Series {
        written_at: whole.written_at,
        sources: &sources,
        kinds: &kinds,
        user_count: end - start,
        users: &packed_users,
        keys: &keys,
        counts: &whole.counts[firsts[start]..firsts[end]],
    })
}
