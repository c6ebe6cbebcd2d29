//! Sums the packed parts of one UTC day of a workspace by kind and piece of the day. The Python form is
//! `api/report/days.py`.

use std::collections::HashSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::day_parts::{
    read_cell_columns, read_delta_columns, read_head, read_summary, DeltaColumns, Summary, QUARTERS_A_DAY,
};
use crate::formats::{shown, FormatError, PackedTexts};

/// The packed parts of one day of one source partition, as far as they were asked for.
pub struct PartitionDay<'a> {
    pub summaries: &'a [&'a [u8]],
    pub heads: &'a [&'a [u8]],
    pub cells: &'a [&'a [u8]],
    pub delta: Option<&'a [u8]>,
}

impl PartitionDay<'_> {
    /// Of how many pieces its sum is made: one a base; the delta, which continues the last base, comes with that.
    pub fn steps(&self) -> usize {
        self.summaries.len().max(self.heads.len()).max(1)
    }

    pub fn step_bytes(&self, step: usize) -> usize {
        let bases = [self.summaries, self.heads, self.cells].into_iter().filter_map(|of| of.get(step));
        bases.chain(&self.delta).map(|part| part.len()).sum()
    }
}

/// How far the sum of a day has come, which may be made in several calls.
#[derive(Default)]
pub struct Place {
    part: usize,
    step: usize,
}

impl Place {
    /// What comes next, if anything does.
    pub fn next<'d, 'a>(&self, parts: &'d [PartitionDay<'a>]) -> Option<(&'d PartitionDay<'a>, usize)> {
        parts.get(self.part).map(|part| (part, self.step))
    }

    pub fn advance(&mut self, part: &PartitionDay<'_>) {
        self.step += 1;
        if self.step >= part.steps() {
            *self = Place { part: self.part + 1, step: 0 };
        }
    }
}

/// Sources or users that are asked for.
pub struct Chosen {
    texts: HashSet<String>,
    none: bool,
}

impl Chosen {
    /// `None` among them: without one.
    pub fn new(values: impl IntoIterator<Item = Option<String>>) -> Self {
        let (mut texts, mut none) = (HashSet::new(), false);
        for value in values {
            match value {
                Some(text) => _ = texts.insert(text),
                None => none = true,
            }
        }
        Chosen { texts, none }
    }

    pub fn has(&self, value: Option<&str>) -> bool {
        value.map_or(self.none, |text| self.texts.contains(text))
    }
}

/// The sources of some sums, each of which has a kind that occurs.
pub type Sources = Arc<[Option<Arc<str>>]>;

/// Counts of one day: of each source those of each activity, and of these one a piece of the day.
#[derive(Debug, PartialEq)]
pub struct KindSums {
    pub sources: Sources,
    pub counts: Vec<u64>,
}

/// Of a day's sums: themselves, a source and its text, a count.
const DAY_BYTES: usize = 120;
const SOURCE_BYTES: usize = 56;
const COUNT_BYTES: usize = 8;

impl KindSums {
    /// With the table of sources that it may share with others.
    pub fn size_bytes(&self) -> usize {
        let texts: usize = self.sources.iter().flatten().map(|source| source.len()).sum();
        DAY_BYTES + SOURCE_BYTES * self.sources.len() + texts + COUNT_BYTES * self.counts.len()
    }
}

/// Numbers the sources that sums meet, 0 being that of none, so that days are added up by number. One day that changed has
/// few, and for these a search from the start takes less than to make a hash table.
struct SourceNumbers {
    /// Empty as long as there are few.
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Option<Arc<str>>>,
    /// Those of whole tables as they lie in parts: most parts of a workspace have the same.
    known: Vec<(Box<[u8]>, Arc<[u32]>)>,
}

const FEW_SOURCES: usize = 16;
const KNOWN_TABLES: usize = 16;

impl SourceNumbers {
    fn new() -> Self {
        SourceNumbers { numbers: HashMap::new(), texts: vec![None], known: Vec::new() }
    }

    fn number_of(&mut self, source: &str) -> u32 {
        let known = match self.numbers.is_empty() {
            true => self.texts.iter().position(|text| text.as_deref() == Some(source)).map(|place| place as u32),
            false => self.numbers.get(source).copied(),
        };
        if let Some(number) = known {
            return number;
        }
        let number = self.texts.len() as u32;
        self.texts.push(Some(source.into()));
        if self.texts.len() > FEW_SOURCES {
            let new = if self.numbers.is_empty() { 0 } else { number as usize };
            let texts = self.texts.iter().enumerate().skip(new);
            self.numbers.extend(texts.filter_map(|(place, text)| Some((Arc::clone(text.as_ref()?), place as u32))));
        }
        number
    }

    fn numbers_of(&mut self, table: &PackedTexts<'_>) -> Result<Arc<[u32]>, FormatError> {
        if let Some(place) = self.known.iter().position(|(packed, _)| **packed == *table.packed) {
            self.known.swap(0, place);
            return Ok(Arc::clone(&self.known[0].1));
        }
        let texts = table.strings(NAME)?;
        let numbers: Arc<[u32]> = texts.into_iter().map(|source| self.number_of(source)).collect();
        self.known.truncate(KNOWN_TABLES - 1);
        self.known.push((table.packed.into(), Arc::clone(&numbers)));
        Ok(numbers)
    }
}

pub const NAME: &[u8] = b"a day";
pub const ACTIVITIES: usize = 2;
const DAY: usize = QUARTERS_A_DAY as usize;

/// The piece that each quarter of the day lies in. `cuts`: where each piece ends, the last at 96.
fn pieces_of(cuts: &[u64]) -> Result<[u8; DAY], FormatError> {
    let good = cuts.last() == Some(&QUARTERS_A_DAY) && cuts.windows(2).all(|two| two[0] <= two[1]) && cuts.len() <= DAY;
    if !good {
        return Err(FormatError("a day is cut between its beginning and its end".to_owned()));
    }
    let mut pieces = [0; DAY];
    let mut start = 0;
    for (piece, &end) in cuts.iter().enumerate() {
        pieces[start..end as usize].fill(piece as u8);
        start = end as usize;
    }
    Ok(pieces)
}

pub fn damaged() -> FormatError {
    crate::formats::damaged(NAME)
}

pub fn at<T: Copy>(items: &[T], place: u64) -> Result<T, FormatError> {
    items.get(place as usize).copied().ok_or_else(damaged)
}

/// Real counts stay far below 2^64; damaged ones begin at 0 again.
fn add(to: &mut u64, count: u64) {
    *to = to.wrapping_add(count);
}

/// Sums days by kind, one after the other, and each of them base by base.
pub struct ByKind {
    numbers: SourceNumbers,
    /// The tables of the last days, by the numbers that are in them: of equal ones one, so that folds look it up once.
    tables: Vec<(Box<[u32]>, Sources)>,
    place: Place,
    width: usize,
    /// Of the day, of each source by its number: those of each activity, and of these one a piece.
    counts: Vec<u64>,
    seen: Vec<u32>,
    is_seen: Vec<bool>,
}

const TABLES: usize = 8;

impl ByKind {
    pub fn new() -> Self {
        ByKind {
            numbers: SourceNumbers::new(),
            tables: Vec::new(),
            place: Place::default(),
            width: 0,
            counts: Vec::new(),
            seen: Vec::new(),
            is_seen: Vec::new(),
        }
    }

    /// Go on with the sums of a day of all users, or of some, and stop where the limit of bytes is used up. Needs deltas,
    /// and summaries; of some users heads instead, and cells where the day is cut.
    pub fn sum(
        &mut self,
        parts: &[PartitionDay<'_>],
        cuts: &[u64],
        users: Option<&Chosen>,
        left_bytes: &mut usize,
    ) -> Result<Option<KindSums>, FormatError> {
        let of_quarter = pieces_of(cuts)?;
        self.width = cuts.len();
        while let Some((part, step)) = self.place.next(parts) {
            if *left_bytes == 0 {
                return Ok(None);
            }
            *left_bytes = left_bytes.saturating_sub(part.step_bytes(step));
            match users {
                None => self.add_step(part, step, cuts, &of_quarter)?,
                Some(users) => self.add_step_of_users(part, step, &of_quarter, users)?,
            }
            self.place.advance(part);
        }
        self.place = Place::default();
        Ok(Some(self.take()))
    }

    /// Add a base, and with the last one the delta.
    fn add_step(
        &mut self,
        part: &PartitionDay<'_>,
        step: usize,
        cuts: &[u64],
        of_quarter: &[u8; DAY],
    ) -> Result<(), FormatError> {
        let mut table: Arc<[u32]> = Arc::default();
        if let Some(packed) = part.summaries.get(step) {
            let summary = read_summary(packed, NAME)?;
            table = self.numbers.numbers_of(&summary.sources)?;
            self.add_summary(&summary, &table, cuts)?;
        }
        if let Some(packed) = part.delta.filter(|_| step + 1 == part.steps()) {
            let delta = read_delta_columns(packed, NAME)?;
            let table = self.table_with(table, &delta)?;
            self.add_delta(&delta, &table, of_quarter, None)?;
        }
        Ok(())
    }

    /// The same, of some users alone.
    fn add_step_of_users(
        &mut self,
        part: &PartitionDay<'_>,
        step: usize,
        of_quarter: &[u8; DAY],
        chosen: &Chosen,
    ) -> Result<(), FormatError> {
        let (mut table, mut users): (Arc<[u32]>, _) = (Arc::default(), Vec::new());
        if let Some(packed) = part.heads.get(step) {
            let head = read_head(packed, NAME)?;
            users = head.user_names(NAME)?;
            let on: Vec<bool> = users.iter().map(|user| chosen.has(*user)).collect();
            table = head.sources.iter().map(|source| self.numbers.number_of(source)).collect();
            if self.width == 1 {
                for (series, &kind) in head.kinds.iter().enumerate().filter(|(series, _)| on[*series]) {
                    add(&mut self.pieces(&table, kind)?[0], head.totals[series]);
                }
            } else if on.contains(&true) {
                let (keys, counts) = read_cell_columns(part.cells.get(step).ok_or_else(damaged)?, NAME)?;
                for (key, count) in keys.iter().zip(counts.iter()) {
                    let series = key / QUARTERS_A_DAY;
                    if at(&on, series)? {
                        let piece = usize::from(of_quarter[(key % QUARTERS_A_DAY) as usize]);
                        add(&mut self.pieces(&table, at(&head.kinds, series)?)?[piece], count);
                    }
                }
            }
        }
        if let Some(packed) = part.delta.filter(|_| step + 1 == part.steps()) {
            let delta = read_delta_columns(packed, NAME)?;
            let new_users = delta.new_users.texts(NAME)?;
            let users = continued(&users, &new_users, delta.first_series, "series")?;
            let on: Vec<bool> = users.iter().map(|user| chosen.has(*user)).collect();
            let table = self.table_with(table, &delta)?;
            self.add_delta(&delta, &table, of_quarter, Some(&on))?;
        }
        Ok(())
    }

    fn add_summary(&mut self, of: &Summary<'_>, table: &[u32], cuts: &[u64]) -> Result<(), FormatError> {
        let (mut low, mut base) = (0, 0);
        for ((kind, cells), total) in of.kinds.iter().zip(of.cell_counts.iter()).zip(of.totals.iter()) {
            let pieces = self.pieces(table, kind)?;
            let high = low + usize::try_from(cells).map_err(|_| damaged())?.min(of.keys.len());
            let (mut left, mut start) = (total, low);
            let (last, first) = pieces.split_last_mut().ok_or_else(damaged)?;
            for (piece, cut) in first.iter_mut().zip(cuts) {
                let end = of.keys.place_of(base + cut, start, high);
                let count = of.counts.sum(start, end).ok_or_else(damaged)?;
                add(piece, count);
                (left, start) = (left.wrapping_sub(count), end);
            }
            add(last, left);
            (low, base) = (high, base + QUARTERS_A_DAY);
        }
        Ok(())
    }

    fn add_delta(
        &mut self,
        delta: &DeltaColumns<'_>,
        table: &[u32],
        of_quarter: &[u8; DAY],
        on: Option<&[bool]>,
    ) -> Result<(), FormatError> {
        for ((key, count), kind) in delta.keys.iter().zip(delta.counts.iter()).zip(delta.kinds.iter()) {
            if on.map_or(Ok(true), |on| at(on, key / QUARTERS_A_DAY))? {
                let piece = usize::from(of_quarter[(key % QUARTERS_A_DAY) as usize]);
                add(&mut self.pieces(table, kind)?[piece], count);
            }
        }
        Ok(())
    }

    /// The sources that a delta's kinds number. It continues the last base, unless that one was frozen before it.
    fn table_with(&mut self, base: Arc<[u32]>, delta: &DeltaColumns<'_>) -> Result<Arc<[u32]>, FormatError> {
        let new = self.numbers.numbers_of(&delta.new_sources)?;
        if new.is_empty() && delta.first_source == base.len() as u64 {
            return Ok(base);
        }
        Ok(continued(&base, &new, delta.first_source, "sources")?.into())
    }

    /// The counts of a kind, one a piece, of a part whose sources have these numbers.
    fn pieces(&mut self, table: &[u32], kind: u64) -> Result<&mut [u64], FormatError> {
        let place = usize::try_from(kind).map_err(|_| damaged())?;
        let (source, activity) = (place / ACTIVITIES, place % ACTIVITIES);
        let number = match source {
            0 => 0,
            _ => *table.get(source - 1).ok_or_else(damaged)?,
        };
        let each = ACTIVITIES * self.width;
        let start = number as usize * each;
        if self.counts.len() < start + each {
            self.counts.resize(start + each, 0);
        }
        if self.is_seen.len() <= number as usize {
            self.is_seen.resize(number as usize + 1, false);
        }
        if !std::mem::replace(&mut self.is_seen[number as usize], true) {
            self.seen.push(number);
        }
        Ok(&mut self.counts[start + activity * self.width..][..self.width])
    }

    /// The sums of the day; what is next is another day.
    fn take(&mut self) -> KindSums {
        self.seen.sort_unstable();
        let each = ACTIVITIES * self.width;
        let mut counts = Vec::with_capacity(self.seen.len() * each);
        for &number in &self.seen {
            let of_source = &mut self.counts[number as usize * each..][..each];
            counts.extend_from_slice(of_source);
            of_source.fill(0);
            self.is_seen[number as usize] = false;
        }
        let sources = self.table_of_seen();
        self.seen.clear();
        KindSums { sources, counts }
    }

    fn table_of_seen(&mut self) -> Sources {
        if let Some((_, table)) = self.tables.iter().find(|(numbers, _)| **numbers == *self.seen) {
            return Arc::clone(table);
        }
        let texts = &self.numbers.texts;
        let table: Sources = self.seen.iter().map(|&number| texts[number as usize].clone()).collect();
        self.tables.truncate(TABLES - 1);
        self.tables.insert(0, (self.seen.as_slice().into(), Arc::clone(&table)));
        table
    }
}

/// The first quarter of the day that holds an event. Needs summaries and deltas.
pub fn first_quarter(parts: &[PartitionDay<'_>]) -> Result<Option<u64>, FormatError> {
    let mut first: Option<u64> = None;
    let mut see = |key: u64| {
        let quarter = key % QUARTERS_A_DAY;
        first = Some(first.map_or(quarter, |known| known.min(quarter)));
    };
    for part in parts {
        for packed in part.summaries {
            read_summary(packed, NAME)?.keys.iter().for_each(&mut see);
        }
        if let Some(packed) = part.delta {
            read_delta_columns(packed, NAME)?.keys.iter().for_each(&mut see);
        }
    }
    Ok(first)
}

/// Of each kind number whether its source is wanted.
pub fn kinds_on(sources: &[&str], chosen: Option<&Chosen>) -> Vec<bool> {
    let texts = std::iter::once(None).chain(sources.iter().map(|source| Some(*source)));
    texts.flat_map(|source| [chosen.is_none_or(|chosen| chosen.has(source)); ACTIVITIES]).collect()
}

/// What a delta numbers, its sources or the users of its series: those of the last base, whose first it continues, and its
/// own; its own alone where the base was frozen before it.
pub fn continued<T: Copy>(base: &[T], new: &[T], first: u64, what: &str) -> Result<Vec<T>, FormatError> {
    if first == 0 {
        return Ok(new.to_vec());
    }
    if base.len() as u64 != first {
        let text = format!("{} continues {first} {what} of a base that is not there", shown(b"a delta"));
        return Err(FormatError(text));
    }
    Ok(base.iter().chain(new).copied().collect())
}
