//! Sums the packed parts of one UTC day of a workspace by kind and piece of the day. The Python form is
//! `api/report/days.py`.

use std::collections::HashSet;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::day_parts::{read_cell_columns, read_delta, read_head, read_summary, Delta, Summary, QUARTERS_A_DAY};
use crate::formats::{shown, FormatError};

/// The packed parts of one day of one source partition, as far as they were asked for.
pub struct PartitionDay<'a> {
    pub summaries: Vec<&'a [u8]>,
    pub heads: Vec<&'a [u8]>,
    pub cells: Vec<&'a [u8]>,
    pub delta: Option<&'a [u8]>,
}

impl PartitionDay<'_> {
    /// Of how many pieces its sum is made: one a base; the delta, which continues the last base, comes with that.
    pub fn steps(&self) -> usize {
        self.summaries.len().max(self.heads.len()).max(1)
    }

    pub fn step_bytes(&self, step: usize) -> usize {
        let bases = [&self.summaries, &self.heads, &self.cells].into_iter().filter_map(|of| of.get(step));
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

/// The sources of some sums, first that without one, then by name.
pub type Sources = Arc<[Option<Arc<str>>]>;

/// Counts of one day: of each source those of each activity, and of these one a piece of the day.
#[derive(Debug, PartialEq)]
pub struct KindSums {
    pub sources: Sources,
    pub counts: Vec<u64>,
}

/// Equal tables of sources are one, as long as it is among the last: then folds look it up once.
#[derive(Default)]
pub struct KindTables(Vec<Sources>);

const TABLES: usize = 8;

impl KindTables {
    fn table_of(&mut self, names: &[Option<&str>]) -> Sources {
        let same = |table: &Sources| table.iter().map(Option::as_deref).eq(names.iter().copied());
        if let Some(place) = self.0.iter().position(same) {
            return Arc::clone(&self.0[place]);
        }
        let table: Sources = names.iter().map(|name| name.map(Arc::from)).collect();
        self.0.truncate(TABLES - 1);
        self.0.insert(0, Arc::clone(&table));
        table
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

/// The counts of the sources of one part, by number of kind and piece, and of a day, by source.
struct ByKind<'a> {
    width: usize,
    numbered: Vec<u64>,
    places: HashMap<Option<&'a str>, usize>,
    sources: Vec<Option<&'a str>>,
    counts: Vec<u64>,
}

impl<'a> ByKind<'a> {
    fn new(width: usize) -> Self {
        ByKind { width, numbered: Vec::new(), places: HashMap::new(), sources: Vec::new(), counts: Vec::new() }
    }

    /// Begins with what was summed before.
    fn go_on_from(&mut self, before: &'a KindSums) {
        let each = ACTIVITIES * self.width;
        for (source, start) in before.sources.iter().zip((0..).step_by(each)) {
            self.sources.push(source.as_deref());
            self.places.insert(source.as_deref(), start);
        }
        self.counts.extend_from_slice(&before.counts);
    }

    /// Begins with a part that has so many sources.
    fn begin(&mut self, sources: usize) {
        self.numbered.clear();
        self.numbered.resize((sources + 1) * ACTIVITIES * self.width, 0);
    }

    /// The counts of a kind of this part, one a piece.
    fn pieces(&mut self, kind: u64) -> Result<&mut [u64], FormatError> {
        let start = (kind as usize).checked_mul(self.width).ok_or_else(damaged)?;
        self.numbered.get_mut(start..start.saturating_add(self.width)).ok_or_else(damaged)
    }

    /// Ends with a part, whose kinds this table of sources numbers.
    fn end(&mut self, sources: &[&'a str]) {
        let texts = std::iter::once(None).chain(sources.iter().map(|source| Some(*source)));
        let each = ACTIVITIES * self.width;
        for (source, counts) in texts.zip(self.numbered.chunks_exact(each)) {
            let start = *self.places.entry(source).or_insert_with(|| {
                self.sources.push(source);
                self.counts.resize(self.counts.len() + each, 0);
                self.counts.len() - each
            });
            self.counts[start..start + each].iter_mut().zip(counts).for_each(|(to, &count)| add(to, count));
        }
    }

    fn sorted(mut self, tables: &mut KindTables) -> KindSums {
        self.sources.push(None);
        self.sources.sort_unstable();
        self.sources.dedup();
        let each = ACTIVITIES * self.width;
        let mut counts = Vec::with_capacity(self.sources.len() * each);
        for source in &self.sources {
            match self.places.get(source) {
                Some(&start) => counts.extend_from_slice(&self.counts[start..start + each]),
                None => counts.resize(counts.len() + each, 0),
            }
        }
        KindSums { sources: tables.table_of(&self.sources), counts }
    }

    fn add_summary(&mut self, of: &Summary<'a>, cuts: &[u64]) -> Result<(), FormatError> {
        let (mut low, mut base) = (0, 0);
        for ((kind, cells), total) in of.kinds.iter().zip(of.cell_counts.iter()).zip(of.totals.iter()) {
            let pieces = self.pieces(kind)?;
            if let [whole] = pieces {
                add(whole, total);
                continue;
            }
            let high = low + usize::try_from(cells).map_err(|_| damaged())?.min(of.keys.len());
            let (mut left, mut start) = (total, low);
            for (piece, cut) in pieces.iter_mut().zip(cuts) {
                let end = of.keys.place_of(base + cut, start, high);
                let count =
                    if *cut == QUARTERS_A_DAY { left } else { of.counts.sum(start, end).ok_or_else(damaged)? };
                add(piece, count);
                (left, start) = (left.wrapping_sub(count), end);
            }
            (low, base) = (high, base + QUARTERS_A_DAY);
        }
        Ok(())
    }

    fn add_delta(&mut self, delta: &Delta<'a>, of_quarter: &[u8; DAY], on: Option<&[bool]>) -> Result<(), FormatError> {
        for ((&key, &count), &kind) in delta.keys.iter().zip(&delta.counts).zip(&delta.kinds) {
            if on.map_or(Ok(true), |on| at(on, key / QUARTERS_A_DAY))? {
                let piece = usize::from(of_quarter[(key % QUARTERS_A_DAY) as usize]);
                add(&mut self.pieces(kind)?[piece], count);
            }
        }
        Ok(())
    }
}

/// The sum of a day by kind, as far as it has come.
#[derive(Default)]
pub struct Unfinished {
    sums: Option<KindSums>,
    place: Place,
}

impl Unfinished {
    /// Go on with the sums of all users, or of some, and stop where the limit of bytes is used up. Needs deltas, and
    /// summaries; of some users heads instead, and cells where the day is cut.
    pub fn sum(
        &mut self,
        parts: &[PartitionDay<'_>],
        cuts: &[u64],
        users: Option<&Chosen>,
        tables: &mut KindTables,
        left_bytes: &mut usize,
    ) -> Result<Option<KindSums>, FormatError> {
        let of_quarter = pieces_of(cuts)?;
        let before = self.sums.take();
        let mut sums = ByKind::new(cuts.len());
        if let Some(before) = &before {
            sums.go_on_from(before);
        }
        while let Some((part, step)) = self.place.next(parts) {
            if *left_bytes == 0 {
                self.sums = Some(sums.sorted(tables));
                return Ok(None);
            }
            *left_bytes = left_bytes.saturating_sub(part.step_bytes(step));
            match users {
                None => add_step(&mut sums, part, step, cuts, &of_quarter)?,
                Some(users) => add_step_of_users(&mut sums, part, step, &of_quarter, users)?,
            }
            self.place.advance(part);
        }
        Ok(Some(sums.sorted(tables)))
    }
}

/// Add a base, and with the last one the delta.
fn add_step<'a>(
    sums: &mut ByKind<'a>,
    part: &PartitionDay<'a>,
    step: usize,
    cuts: &[u64],
    of_quarter: &[u8; DAY],
) -> Result<(), FormatError> {
    let mut sources = Vec::new();
    if let Some(packed) = part.summaries.get(step) {
        let summary = read_summary(packed, NAME)?;
        sums.begin(summary.sources.len());
        sums.add_summary(&summary, cuts)?;
        sums.end(&summary.sources);
        sources = summary.sources;
    }
    if let Some(packed) = part.delta.filter(|_| step + 1 == part.steps()) {
        let delta = read_delta(packed, NAME)?;
        let sources = sources_with(&sources, &delta)?;
        sums.begin(sources.len());
        sums.add_delta(&delta, of_quarter, None)?;
        sums.end(&sources);
    }
    Ok(())
}

/// The same, of some users alone.
fn add_step_of_users<'a>(
    sums: &mut ByKind<'a>,
    part: &PartitionDay<'a>,
    step: usize,
    of_quarter: &[u8; DAY],
    chosen: &Chosen,
) -> Result<(), FormatError> {
    let (mut sources, mut users) = (Vec::new(), Vec::new());
    if let Some(packed) = part.heads.get(step) {
        let head = read_head(packed, NAME)?;
        users = head.user_names(NAME)?;
        let on: Vec<bool> = users.iter().map(|user| chosen.has(*user)).collect();
        sums.begin(head.sources.len());
        if sums.width == 1 {
            for (series, &kind) in head.kinds.iter().enumerate().filter(|(series, _)| on[*series]) {
                add(&mut sums.pieces(kind)?[0], head.totals[series]);
            }
        } else if on.contains(&true) {
            let (keys, counts) = read_cell_columns(part.cells.get(step).ok_or_else(damaged)?, NAME)?;
            for (key, count) in keys.iter().zip(counts.iter()) {
                let series = key / QUARTERS_A_DAY;
                if at(&on, series)? {
                    let piece = usize::from(of_quarter[(key % QUARTERS_A_DAY) as usize]);
                    add(&mut sums.pieces(at(&head.kinds, series)?)?[piece], count);
                }
            }
        }
        sums.end(&head.sources);
        sources = head.sources;
    }
    if let Some(packed) = part.delta.filter(|_| step + 1 == part.steps()) {
        let delta = read_delta(packed, NAME)?;
        let on: Vec<bool> = users_with(&users, &delta)?.iter().map(|user| chosen.has(*user)).collect();
        let sources = sources_with(&sources, &delta)?;
        sums.begin(sources.len());
        sums.add_delta(&delta, of_quarter, Some(&on))?;
        sums.end(&sources);
    }
    Ok(())
}

/// The first quarter of the day that holds an event. Needs summaries and deltas.
pub fn first_quarter(parts: &[PartitionDay<'_>]) -> Result<Option<u64>, FormatError> {
    let mut first: Option<u64> = None;
    let mut see = |key: u64| {
        let quarter = key % QUARTERS_A_DAY;
        first = Some(first.map_or(quarter, |known| known.min(quarter)));
    };
    for part in parts {
        for packed in &part.summaries {
            read_summary(packed, NAME)?.keys.iter().for_each(&mut see);
        }
        if let Some(packed) = part.delta {
            read_delta(packed, NAME)?.keys.into_iter().for_each(&mut see);
        }
    }
    Ok(first)
}

/// Of each kind number whether its source is wanted.
pub fn kinds_on(sources: &[&str], chosen: Option<&Chosen>) -> Vec<bool> {
    let texts = std::iter::once(None).chain(sources.iter().map(|source| Some(*source)));
    texts.flat_map(|source| [chosen.is_none_or(|chosen| chosen.has(source)); ACTIVITIES]).collect()
}

/// The sources that a delta's kinds number. It continues the last base, unless that one was frozen before it.
pub fn sources_with<'a>(sources: &[&'a str], delta: &Delta<'a>) -> Result<Vec<&'a str>, FormatError> {
    if delta.first_source == 0 {
        return Ok(delta.new_sources.clone());
    }
    if sources.len() as u64 != delta.first_source {
        let text =
            format!("{} continues {} sources of a base that is not there", shown(b"a delta"), delta.first_source);
        return Err(FormatError(text));
    }
    Ok(sources.iter().chain(&delta.new_sources).copied().collect())
}

/// The users of a delta's series, by number: the last base's, which it continues, then its own.
pub fn users_with<'a>(users: &[Option<&'a str>], delta: &Delta<'a>) -> Result<Vec<Option<&'a str>>, FormatError> {
    if delta.first_series == 0 {
        return Ok(delta.new_users.clone());
    }
    if users.len() as u64 != delta.first_series {
        let text = format!("{} continues {} series of a base that is not there", shown(b"a delta"), delta.first_series);
        return Err(FormatError(text));
    }
    Ok(users.iter().chain(&delta.new_users).copied().collect())
}
