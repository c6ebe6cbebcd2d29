//! Sums the packed parts of one UTC day of a workspace: by kind and piece of the day, or by user. The Python form is
//! `api/report/days.py`.

use hashbrown::HashMap;

use crate::day_parts::{read_cells, read_delta, read_head, read_summary, Delta, QUARTERS_A_DAY};
use crate::formats::{shown, FormatError};

/// (activity, source); `None`: without a source.
pub type Kind<'a> = (u8, Option<&'a str>);

/// The packed parts of one day of one source partition, as far as they were asked for.
pub struct PartitionDay<'a> {
    pub summaries: Vec<&'a [u8]>,
    pub heads: Vec<&'a [u8]>,
    pub cells: Vec<&'a [u8]>,
    pub delta: Option<&'a [u8]>,
}

/// Counts by kind: of each kind as many, one after the other, as the day has pieces.
#[derive(Debug, PartialEq)]
pub struct KindSums<'a> {
    pub kinds: Vec<Kind<'a>>,
    pub counts: Vec<u64>,
}

/// Counts by user, without those that are 0.
#[derive(Default)]
pub struct UserSums<'a> {
    pub added: HashMap<Option<&'a str>, u64>,
    pub deleted: HashMap<Option<&'a str>, u64>,
}

const NAME: &[u8] = b"a day";
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

struct ByKind<'a> {
    width: usize,
    places: HashMap<Kind<'a>, usize>,
    kinds: Vec<Kind<'a>>,
    counts: Vec<u64>,
}

impl<'a> ByKind<'a> {
    fn new(width: usize) -> Self {
        ByKind { width, places: HashMap::new(), kinds: Vec::new(), counts: Vec::new() }
    }

    /// Where a kind's counts begin.
    fn place(&mut self, kind: Kind<'a>) -> usize {
        *self.places.entry(kind).or_insert_with(|| {
            self.kinds.push(kind);
            self.counts.resize(self.counts.len() + self.width, 0);
            self.counts.len() - self.width
        })
    }

    /// The places of the kinds that a table of sources numbers.
    fn places_of(&mut self, sources: &[&'a str]) -> Vec<usize> {
        let texts = std::iter::once(None).chain(sources.iter().map(|source| Some(*source)));
        texts.flat_map(|source| [(0, source), (1, source)]).map(|kind| self.place(kind)).collect()
    }

    /// By the name of the source, first that without one; each source with both activities.
    fn sorted(self) -> KindSums<'a> {
        let mut sources: Vec<Option<&str>> = self.kinds.iter().map(|kind| kind.1).collect();
        sources.push(None);
        sources.sort_unstable();
        sources.dedup();
        let kinds: Vec<Kind<'a>> = sources.into_iter().flat_map(|source| [(0, source), (1, source)]).collect();
        let mut counts = Vec::with_capacity(kinds.len() * self.width);
        for kind in &kinds {
            match self.places.get(kind) {
                Some(&place) => counts.extend_from_slice(&self.counts[place..place + self.width]),
                None => counts.resize(counts.len() + self.width, 0),
            }
        }
        KindSums { kinds, counts }
    }
}

fn damaged() -> FormatError {
    crate::formats::damaged(NAME)
}

fn at<T: Copy>(items: &[T], place: u64) -> Result<T, FormatError> {
    items.get(place as usize).copied().ok_or_else(damaged)
}

/// Sums without regard to users. Needs summaries and deltas.
pub fn kind_sums<'a>(parts: &[PartitionDay<'a>], cuts: &[u64]) -> Result<KindSums<'a>, FormatError> {
    let pieces = pieces_of(cuts)?;
    let mut sums = ByKind::new(cuts.len());
    for part in parts {
        let mut sources = Vec::new();
        for packed in &part.summaries {
            let summary = read_summary(packed, NAME)?;
            sources = summary.sources;
            let places = sums.places_of(&sources);
            let mut cells = summary.keys.iter().zip(&summary.counts);
            for (series, (&kind, &cell_count)) in summary.kinds.iter().zip(&summary.cell_counts).enumerate() {
                let place = at(&places, kind)?;
                if cuts.len() == 1 {
                    sums.counts[place] += summary.totals[series];
                    continue;
                }
                for _ in 0..cell_count {
                    let (&key, &count) = cells.next().ok_or_else(damaged)?;
                    sums.counts[place + usize::from(pieces[(key % QUARTERS_A_DAY) as usize])] += count;
                }
            }
        }
        if let Some(packed) = part.delta {
            let delta = read_delta(packed, NAME)?;
            let places = sums.places_of(&sources_with(&sources, &delta)?);
            for ((&key, &count), &kind) in delta.keys.iter().zip(&delta.counts).zip(&delta.kinds) {
                let piece = usize::from(pieces[(key % QUARTERS_A_DAY) as usize]);
                sums.counts[at(&places, kind)? + piece] += count;
            }
        }
    }
    Ok(sums.sorted())
}

/// Sums of some users. Needs heads and deltas, and cells where the day is cut.
pub fn kind_sums_of_users<'a>(
    parts: &[PartitionDay<'a>],
    cuts: &[u64],
    wanted: &dyn Fn(Option<&str>) -> bool,
) -> Result<KindSums<'a>, FormatError> {
    let pieces = pieces_of(cuts)?;
    let mut sums = ByKind::new(cuts.len());
    for part in parts {
        let (mut sources, mut users) = (Vec::new(), Vec::new());
        for (number, packed) in part.heads.iter().enumerate() {
            let head = read_head(packed, NAME)?;
            users = head.user_names(NAME)?;
            sources = head.sources;
            let places = sums.places_of(&sources);
            let on: Vec<bool> = users.iter().map(|user| wanted(*user)).collect();
            if !on.contains(&true) {
                continue;
            }
            if cuts.len() == 1 {
                for (series, &kind) in head.kinds.iter().enumerate().filter(|(series, _)| on[*series]) {
                    sums.counts[at(&places, kind)?] += head.totals[series];
                }
                continue;
            }
            let cells = read_cells(part.cells.get(number).ok_or_else(damaged)?, NAME)?;
            for (&key, &count) in cells.keys.iter().zip(&cells.counts) {
                let series = key / QUARTERS_A_DAY;
                if at(&on, series)? {
                    let piece = usize::from(pieces[(key % QUARTERS_A_DAY) as usize]);
                    sums.counts[at(&places, head.kinds[series as usize])? + piece] += count;
                }
            }
        }
        if let Some(packed) = part.delta {
            let delta = read_delta(packed, NAME)?;
            let on: Vec<bool> = users_with(&users, &delta)?.iter().map(|user| wanted(*user)).collect();
            let places = sums.places_of(&sources_with(&sources, &delta)?);
            for ((&key, &count), &kind) in delta.keys.iter().zip(&delta.counts).zip(&delta.kinds) {
                if at(&on, key / QUARTERS_A_DAY)? {
                    let piece = usize::from(pieces[(key % QUARTERS_A_DAY) as usize]);
                    sums.counts[at(&places, kind)? + piece] += count;
                }
            }
        }
    }
    Ok(sums.sorted())
}

/// Sums by user over the quarters [first, end) of the day, of the sources that are wanted. Needs heads and deltas, and
/// cells where the window is not the whole day.
pub fn user_sums<'a>(
    parts: &[PartitionDay<'a>],
    window: (u64, u64),
    wanted: &dyn Fn(Option<&str>) -> bool,
) -> Result<UserSums<'a>, FormatError> {
    let mut sums = UserSums::default();
    let whole = window == (0, QUARTERS_A_DAY);
    let inside = |key: u64| (window.0..window.1).contains(&(key % QUARTERS_A_DAY));
    for part in parts {
        let (mut sources, mut users): (Vec<&str>, Vec<Option<&str>>) = (Vec::new(), Vec::new());
        for (number, packed) in part.heads.iter().enumerate() {
            let head = read_head(packed, NAME)?;
            users = head.user_names(NAME)?;
            sources = head.sources;
            let on = kinds_on(&sources, wanted);
            let counts = if whole {
                head.totals
            } else {
                let cells = read_cells(part.cells.get(number).ok_or_else(damaged)?, NAME)?;
                let mut counts = vec![0; users.len()];
                for (&key, &count) in cells.keys.iter().zip(&cells.counts).filter(|cell| inside(*cell.0)) {
                    *counts.get_mut((key / QUARTERS_A_DAY) as usize).ok_or_else(damaged)? += count;
                }
                counts
            };
            for ((user, &kind), &count) in users.iter().zip(&head.kinds).zip(&counts) {
                if count > 0 && at(&on, kind)? {
                    sums.add(kind, *user, count);
                }
            }
        }
        if let Some(packed) = part.delta {
            let delta = read_delta(packed, NAME)?;
            let on = kinds_on(&sources_with(&sources, &delta)?, wanted);
            let users = users_with(&users, &delta)?;
            for ((&key, &count), &kind) in delta.keys.iter().zip(&delta.counts).zip(&delta.kinds) {
                if inside(key) && at(&on, kind)? {
                    sums.add(kind, at(&users, key / QUARTERS_A_DAY)?, count);
                }
            }
        }
    }
    Ok(sums)
}

impl<'a> UserSums<'a> {
    fn add(&mut self, kind: u64, user: Option<&'a str>, count: u64) {
        let of = if kind & 1 == 0 { &mut self.added } else { &mut self.deleted };
        *of.entry(user).or_insert(0) += count;
    }
}

/// The first quarter of the day that holds an event. Needs summaries and deltas.
pub fn first_quarter(parts: &[PartitionDay<'_>]) -> Result<Option<u64>, FormatError> {
    let mut first: Option<u64> = None;
    let mut see = |keys: &[u64]| {
        for key in keys {
            let quarter = key % QUARTERS_A_DAY;
            first = Some(first.map_or(quarter, |known| known.min(quarter)));
        }
    };
    for part in parts {
        for packed in &part.summaries {
            see(&read_summary(packed, NAME)?.keys);
        }
        if let Some(packed) = part.delta {
            see(&read_delta(packed, NAME)?.keys);
        }
    }
    Ok(first)
}

/// Of each kind number whether its source is wanted.
fn kinds_on(sources: &[&str], wanted: &dyn Fn(Option<&str>) -> bool) -> Vec<bool> {
    let texts = std::iter::once(None).chain(sources.iter().map(|source| Some(*source)));
    texts.flat_map(|source| [wanted(source); 2]).collect()
}

/// The sources that a delta's kinds number. It continues the last base, unless that one was frozen before it.
fn sources_with<'a>(sources: &[&'a str], delta: &Delta<'a>) -> Result<Vec<&'a str>, FormatError> {
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
fn users_with<'a>(users: &[Option<&'a str>], delta: &Delta<'a>) -> Result<Vec<Option<&'a str>>, FormatError> {
    if delta.first_series == 0 {
        return Ok(delta.new_users.clone());
    }
    if users.len() as u64 != delta.first_series {
        let text = format!("{} continues {} series of a base that is not there", shown(b"a delta"), delta.first_series);
        return Err(FormatError(text));
    }
    Ok(users.iter().chain(&delta.new_users).copied().collect())
}
