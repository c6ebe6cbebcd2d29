//! Counts the events of each series in each quarter-hour. A day aggregate has the counts of one workspace and UTC day
//! of the partition. The Python form, with the stored formats, is `stream/tables/counts.py`.

use std::collections::{HashSet, VecDeque};

use crate::day_parts::{encode_base, encode_delta, read_base, read_cells, read_delta, read_head, summarize};
use crate::day_parts::{written_at, NewSeries, QUARTERS_A_DAY};
use crate::formats::{damaged, shown, Changes, FormatError};
use crate::merge::{merge, Addition};
use crate::mutants::kept;
use crate::names::{Names, Place, NO_SOURCE};
use crate::small_map::SmallMap;

pub const KIND: u8 = b'c';
const DELTA_SLOT: u16 = 0xffff;

/// A day aggregate keeps what counting needs for so many offsets after its last event.
const IDLE_OFFSETS: i64 = 20_000;
/// So many series and cells of idle day aggregates are kept nonetheless.
const FREE_SERIES: usize = 50_000;
/// More are not kept even if they are not idle.
const SERIES_LIMIT: usize = 600_000;
/// Day aggregates that one commit deletes at most, when retention has moved on.
const DROPS_A_COMMIT: usize = 1_000;
/// Places that a draw looks at before it gives up.
const DRAW_PLACES: usize = 1_000;
const UNCHANGED: u32 = u32::MAX;

pub struct CountRules {
    pub delta_floor: usize,
    pub base_bytes_limit: usize,
}

/// Rows of one day aggregate that no commit has yet, one after the other.
#[derive(Default, Clone)]
pub struct Rows {
    pub bytes: Vec<u8>,
    pub ends: Vec<u32>,
}

impl Rows {
    pub fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, &end)| &self.bytes[start as usize..end as usize])
    }
}

/// A base that was written: its number, and its parts.
pub struct ChangedBase {
    pub number: usize,
    pub head: Vec<u8>,
    pub cells: Vec<u8>,
    pub summary: Vec<u8>,
}

/// What became of a day aggregate.
pub struct AggregateChange {
    pub workspace: u32,
    pub day: i64,
    pub bases: Vec<ChangedBase>,
    /// None: there is none, and one that there was is to be deleted.
    pub delta: Option<Vec<u8>>,
    /// Bases 0 up to this number, exclusive, exist; where `dropped`, they did.
    pub base_count: usize,
    pub rows: Rows,
    /// The day is older than the retention allows: nothing of it is left.
    pub dropped: bool,
}

#[derive(Default)]
struct DayAggregate {
    workspace: u32,
    changed: u32,
    day: i64,
    changed_at: i64,
    /// Changelog values of the bases; only the last still changes.
    bases: Vec<Box<[u8]>>,
    delta: Option<Box<[u8]>>,
    counting: Option<Box<Counting>>,
    /// As long as `counting` is kept: what it weighs, and its place among those that may be closed.
    weight: u32,
    queued: u64,
}

impl DayAggregate {
    /// How many keys the changelog has of it.
    fn keys(&self) -> usize {
        self.bases.len() + usize::from(self.delta.is_some())
    }
}

/// What counting in a day aggregate needs: the numbers of the series of its last base and delta, and the delta.
#[derive(Default)]
struct Counting {
    /// user << 32 | source << 1 | activity -> number of the series.
    series: SmallMap,
    kinds: Vec<u32>,
    /// Source -> its number in the day aggregate, from 1 on.
    sources: SmallMap,
    /// Cell -> count.
    delta: SmallMap,
    base_cells: usize,
    first_series: usize,
    first_source: usize,
}

impl Counting {
    fn add(&mut self, activity: u8, source: u32, user: u32, quarter: u64) {
        let key = series_key(activity, source, user);
        let number = match self.series.get(key) {
            Some(number) => number,
            None => self.begin_series(key, activity, source),
        };
        *self.delta.get_or_insert(number * QUARTERS_A_DAY + quarter, 0) += 1;
    }

    fn begin_series(&mut self, key: u64, activity: u8, source: u32) -> u64 {
        let source_number = if source == NO_SOURCE {
            0
        } else {
            let next = self.sources.len() as u64 + 1;
            *self.sources.get_or_insert(u64::from(source), next)
        };
        let number = self.kinds.len() as u64;
        self.kinds.push(source_number as u32 * 2 + u32::from(activity));
        self.series.insert(key, number);
        number
    }

    fn is_to_be_merged(&self, floor: usize) -> bool {
        self.delta.len() > floor.max(self.base_cells.isqrt())
    }

    /// The delta is part of the base now, which has so many cells.
    fn go_on(&mut self, base_cells: usize) {
        self.base_cells = base_cells;
        self.first_series = self.kinds.len();
        self.first_source = self.sources.len();
        self.delta.clear();
    }

    fn weight(&self) -> usize {
        self.kinds.len() + self.delta.len()
    }

    fn new_sources<'a>(&self, names: &'a Names) -> Vec<&'a str> {
        let new = &self.sources.items()[self.first_source..];
        new.iter()
            .map(|item| names.source_text(item.0 as u32).expect("a source of a day aggregate has a text"))
            .collect()
    }

    fn new_users<'a>(&self, workspace: u32, names: &'a Names) -> Vec<Option<&'a str>> {
        let new = &self.series.items()[self.first_series..];
        new.iter().map(|item| names.user_id(workspace, (item.0 >> 32) as u32)).collect()
    }

    fn sorted_delta(&self) -> Vec<(u64, u64)> {
        let mut cells = self.delta.items().to_vec();
        cells.sort_unstable();
        cells
    }

    fn packed_delta(&self, workspace: u32, changed_at: i64, names: &Names) -> Vec<u8> {
        let kind_of = |key: u64| u64::from(self.kinds[(key / QUARTERS_A_DAY) as usize]);
        let cells: Vec<(u64, u64, u64)> =
            self.sorted_delta().into_iter().map(|(key, count)| (key, count, kind_of(key))).collect();
        let new = NewSeries {
            first_series: self.first_series as u64,
            first_source: self.first_source as u64,
            sources: &self.new_sources(names),
            users: &self.new_users(workspace, names),
        };
        encode_delta(changed_at, &new, &cells)
    }

    /// Goes on from the committed base and delta.
    fn opened(aggregate: &DayAggregate, names: &mut Names) -> Result<Counting, FormatError> {
        let mut counting = Counting::default();
        let name = key_of(names.workspace_id(aggregate.workspace), aggregate.day, DELTA_SLOT);
        if let Some(base) = aggregate.bases.last() {
            let (head, cells) = read_base(base, &name)?;
            let head = read_head(head, &name)?;
            counting.number_sources(&head.sources, names);
            for (&kind, user) in head.kinds.iter().zip(head.user_names(&name)?) {
                counting.number_series(kind, aggregate.workspace, user, names).ok_or_else(|| damaged(&name))?;
            }
            counting.go_on(read_cells(cells, &name)?.keys.len());
        }
        if let Some(delta) = &aggregate.delta {
            let delta = read_delta(delta, &name)?;
            let continues = delta.first_series as usize == counting.first_series
                && delta.first_source as usize == counting.first_source;
            if !continues {
                return Err(FormatError(format!("{} does not continue its base", shown(&name))));
            }
            counting.number_sources(&delta.new_sources, names);
            let mut kinds = vec![None; delta.new_users.len()];
            for (&key, &kind) in delta.keys.iter().zip(&delta.kinds) {
                let series = key / QUARTERS_A_DAY;
                if series >= delta.first_series {
                    *kinds.get_mut((series - delta.first_series) as usize).ok_or_else(|| damaged(&name))? = Some(kind);
                }
            }
            for (user, kind) in delta.new_users.iter().zip(kinds) {
                let kind = kind.ok_or_else(|| damaged(&name))?;
                counting.number_series(kind, aggregate.workspace, *user, names).ok_or_else(|| damaged(&name))?;
            }
            for (&key, &count) in delta.keys.iter().zip(&delta.counts) {
                counting.delta.insert(key, count);
            }
        }
        Ok(counting)
    }

    fn number_sources(&mut self, more: &[&str], names: &mut Names) {
        for source in more {
            let number = self.sources.len() as u64 + 1;
            self.sources.insert(u64::from(names.source(Some(source))), number);
        }
    }

    /// `None` where the kind names a source that is not there.
    fn number_series(&mut self, kind: u64, workspace: u32, user: Option<&str>, names: &mut Names) -> Option<()> {
        let source = match (kind >> 1) as usize {
            0 => NO_SOURCE,
            number => self.sources.items().get(number - 1)?.0 as u32,
        };
        let key = series_key(kind as u8 & 1, source, names.user(workspace, user));
        self.series.insert(key, self.kinds.len() as u64);
        self.kinds.push(kind as u32);
        Some(())
    }

    fn bytes(&self) -> usize {
        200 + self.series.bytes() + self.sources.bytes() + self.delta.bytes() + 4 * self.kinds.capacity()
    }
}

fn series_key(activity: u8, source: u32, user: u32) -> u64 {
    u64::from(user) << 32 | u64::from(source) << 1 | u64::from(activity)
}

/// The day aggregates of a partition.
pub struct Counts {
    rules: CountRules,
    aggregates: Vec<DayAggregate>,
    free: Vec<u32>,
    /// Of each workspace: day -> day aggregate, in the order in which they began.
    days: Vec<SmallMap>,
    met: Vec<bool>,
    /// The workspaces that may have days, in the order in which they were seen.
    order: Vec<u32>,
    /// UTC day before which retention has dropped counts.
    pub counts_from: Option<i64>,
    /// How many keys the changelog has of the day aggregates, with what was encoded.
    pub keys: usize,
    changed: Vec<(u32, Rows)>,
    /// Day aggregates that are open, in the order of their last commit; an item whose number is no more the day
    /// aggregate's is stale.
    open: VecDeque<(u32, u64)>,
    open_weight: usize,
    queued: u64,
    to_drop: VecDeque<u32>,
}

impl Counts {
    pub fn new(rules: CountRules) -> Self {
        Counts {
            rules,
            aggregates: Vec::new(),
            free: Vec::new(),
            days: Vec::new(),
            met: Vec::new(),
            order: Vec::new(),
            counts_from: None,
            keys: 0,
            changed: Vec::new(),
            open: VecDeque::new(),
            open_weight: 0,
            queued: 0,
            to_drop: VecDeque::new(),
        }
    }

    /// Makes room for a workspace's days, where there is none yet.
    pub fn meet(&mut self, workspace: u32) {
        let place = workspace as usize;
        if self.days.len() <= place {
            self.days.resize_with(place + 1, SmallMap::default);
            self.met.resize(place + 1, false);
        }
        if !self.met[place] {
            self.met[place] = true;
            self.order.push(workspace);
        }
    }

    /// The day aggregate of a day, which is begun where it is not there. `None`: retention has dropped that day.
    pub fn aggregate(&mut self, workspace: u32, day: i64) -> Option<u32> {
        if let Some(aggregate) = self.days[workspace as usize].get(day as u64) {
            return Some(aggregate as u32);
        }
        if self.counts_from.is_some_and(|from| day < from) && kept("retention-when-read") {
            return None;
        }
        Some(self.begin(workspace, day))
    }

    fn begin(&mut self, workspace: u32, day: i64) -> u32 {
        let new = DayAggregate { workspace, day, changed: UNCHANGED, changed_at: -1, ..DayAggregate::default() };
        let number = match self.free.pop() {
            Some(number) => {
                self.aggregates[number as usize] = new;
                number
            }
            None => {
                self.aggregates.push(new);
                self.aggregates.len() as u32 - 1
            }
        };
        self.days[workspace as usize].insert(day as u64, u64::from(number));
        number
    }

    /// Adds one to a cell of a day aggregate, and its row.
    #[allow(clippy::too_many_arguments)]
    pub fn add(
        &mut self,
        number: u32,
        activity: u8,
        source: u32,
        user: u32,
        quarter: u64,
        offset: i64,
        row: Option<&[u8]>,
        names: &mut Names,
    ) -> Result<(), FormatError> {
        let aggregate = &mut self.aggregates[number as usize];
        if aggregate.changed == UNCHANGED {
            aggregate.changed = self.changed.len() as u32;
            self.changed.push((number, Rows::default()));
        }
        aggregate.changed_at = offset;
        if aggregate.counting.is_none() {
            aggregate.counting = Some(Box::new(Counting::opened(aggregate, names)?));
        }
        if let Some(counting) = &mut aggregate.counting {
            counting.add(activity, source, user, quarter);
        }
        if let Some(row) = row {
            self.changed[aggregate.changed as usize].1.push(row);
        }
        Ok(())
    }

    /// Drops the day aggregates of days before this one; never takes it back.
    pub fn drop_before(&mut self, day: i64) {
        if self.counts_from.is_some_and(|from| day <= from) && kept("retention-never-goes-back") {
            return;
        }
        self.counts_from = Some(day);
        for &workspace in &self.order {
            let to_drop = &mut self.to_drop;
            self.days[workspace as usize].retain(|of, aggregate| {
                let kept = of as i64 >= day;
                if !kept {
                    to_drop.push_back(aggregate as u32);
                }
                kept
            });
        }
        let (days, met) = (&self.days, &mut self.met);
        self.order.retain(|&workspace| {
            met[workspace as usize] = !days[workspace as usize].is_empty();
            met[workspace as usize]
        });
    }

    /// Adds the changelog records of what was counted since the last call; `upto` is the next offset.
    pub fn encode(
        &mut self,
        upto: i64,
        names: &Names,
        changes: &mut Changes,
    ) -> Result<Vec<AggregateChange>, FormatError> {
        let changed = std::mem::take(&mut self.changed);
        let mut aggregates = Vec::with_capacity(changed.len());
        let mut numbers = Vec::with_capacity(changed.len());
        for (number, rows) in changed {
            self.aggregates[number as usize].changed = UNCHANGED;
            if self.is_kept(number) {
                self.keys -= self.aggregates[number as usize].keys();
                aggregates.push(self.encode_aggregate(number, rows, names, changes)?);
                self.keys += self.aggregates[number as usize].keys();
            }
            numbers.push(number);
        }
        let mut gone = Vec::new();
        for _ in 0..self.to_drop.len().min(DROPS_A_COMMIT) {
            if let Some(number) = self.to_drop.pop_front() {
                aggregates.extend(self.drop(number, names, changes));
                gone.push(number);
            }
        }
        self.close_some(&numbers, upto);
        for number in gone {
            self.aggregates[number as usize] = DayAggregate { changed: UNCHANGED, ..DayAggregate::default() };
            self.free.push(number);
        }
        Ok(aggregates)
    }

    fn is_kept(&self, number: u32) -> bool {
        let in_time = |from| self.aggregates[number as usize].day >= from;
        self.counts_from.is_none_or(in_time) || !kept("retention-when-read")
    }

    fn encode_aggregate(
        &mut self,
        number: u32,
        rows: Rows,
        names: &Names,
        changes: &mut Changes,
    ) -> Result<AggregateChange, FormatError> {
        let aggregate = &mut self.aggregates[number as usize];
        let workspace_id = names.workspace_id(aggregate.workspace);
        let counting = aggregate.counting.as_mut().expect("a day aggregate changes while it is open");
        let mut bases = Vec::new();
        let delta_key = key_of(workspace_id, aggregate.day, DELTA_SLOT);
        if counting.is_to_be_merged(self.rules.delta_floor) {
            let stored = aggregate.bases.last().map(|base| read_base(base, &delta_key)).transpose()?;
            let kinds: Vec<u64> = counting.kinds.iter().map(|&kind| u64::from(kind)).collect();
            let addition = Addition {
                written_at: aggregate.changed_at,
                cells: &counting.sorted_delta(),
                kinds: &kinds,
                new_sources: &counting.new_sources(names),
                new_users: &counting.new_users(aggregate.workspace, names),
            };
            let parts = merge(stored, &addition, self.rules.base_bytes_limit, &delta_key)?;
            let first = aggregate.bases.len().saturating_sub(1);
            assert!(first + parts.len() <= usize::from(DELTA_SLOT), "{} bases of one day", first + parts.len());
            if let [only] = parts.as_slice() {
                counting.go_on(only.cell_count);
            } else {
                aggregate.counting = None;
            }
            aggregate.bases.truncate(first);
            for (place, part) in parts.into_iter().enumerate() {
                let value = encode_base(&part.head, &part.cells);
                changes.push((key_of(workspace_id, aggregate.day, (first + place) as u16), Some(value.clone())));
                aggregate.bases.push(value.into());
                let (head, cells, summary) = (part.head, part.cells, part.summary);
                bases.push(ChangedBase { number: first + place, head, cells, summary });
            }
            if aggregate.delta.take().is_some() {
                changes.push((delta_key, None));
            }
        } else {
            let delta = counting.packed_delta(aggregate.workspace, aggregate.changed_at, names);
            changes.push((delta_key, Some(delta.clone())));
            aggregate.delta = Some(delta.into());
        }
        Ok(AggregateChange {
            workspace: aggregate.workspace,
            day: aggregate.day,
            bases,
            delta: aggregate.delta.as_deref().map(Into::into),
            base_count: aggregate.bases.len(),
            rows,
            dropped: false,
        })
    }

    /// Deletes what the changelog has of a day aggregate. `None`: it has nothing.
    fn drop(&mut self, number: u32, names: &Names, changes: &mut Changes) -> Option<AggregateChange> {
        self.forget_open(number);
        let aggregate = &self.aggregates[number as usize];
        self.keys -= aggregate.keys();
        let workspace_id = names.workspace_id(aggregate.workspace);
        for base in 0..aggregate.bases.len() {
            changes.push((key_of(workspace_id, aggregate.day, base as u16), None));
        }
        if aggregate.delta.is_some() {
            changes.push((key_of(workspace_id, aggregate.day, DELTA_SLOT), None));
        }
        (!aggregate.bases.is_empty() || aggregate.delta.is_some()).then(|| AggregateChange {
            workspace: aggregate.workspace,
            day: aggregate.day,
            bases: Vec::new(),
            delta: None,
            base_count: aggregate.bases.len(),
            rows: Rows::default(),
            dropped: true,
        })
    }

    /// Takes back what counting needs in day aggregates that were not touched for long, or for longest.
    fn close_some(&mut self, changed: &[u32], upto: i64) {
        for &number in changed {
            self.forget_open(number);
            let kept = self.is_kept(number);
            let aggregate = &mut self.aggregates[number as usize];
            if let Some(counting) = aggregate.counting.as_ref().filter(|_| kept) {
                self.queued += 1;
                aggregate.weight = counting.weight() as u32;
                aggregate.queued = self.queued;
                self.open_weight += aggregate.weight as usize;
                self.open.push_back((number, self.queued));
            }
        }
        while self.open_weight > FREE_SERIES {
            let Some(&(number, queued)) = self.open.front() else { return };
            let aggregate = &self.aggregates[number as usize];
            if aggregate.queued == queued {
                if self.open_weight <= SERIES_LIMIT && aggregate.changed_at > upto - IDLE_OFFSETS {
                    return;
                }
                self.forget_open(number);
                self.aggregates[number as usize].counting = None;
            }
            self.open.pop_front();
        }
    }

    /// Takes back what counting needs in all day aggregates; what is committed makes it anew.
    pub fn close_all(&mut self) {
        assert!(self.changed.is_empty(), "a day aggregate with events that no commit has stays open");
        for (number, _) in std::mem::take(&mut self.open) {
            self.forget_open(number);
            self.aggregates[number as usize].counting = None;
        }
    }

    /// Whether a workspace has days, or may have.
    pub fn has_days(&self, workspace: u32) -> bool {
        self.met.get(workspace as usize).is_some_and(|&met| met)
    }

    /// Those of the days that retention has dropped and the changelog still has.
    pub fn workspaces_to_drop(&self) -> HashSet<u32> {
        self.to_drop.iter().map(|&aggregate| self.aggregates[aggregate as usize].workspace).collect()
    }

    fn forget_open(&mut self, number: u32) {
        let aggregate = &mut self.aggregates[number as usize];
        self.open_weight -= aggregate.weight as usize;
        (aggregate.weight, aggregate.queued) = (0, 0);
    }

    /// Looks at so many day aggregates from a place on. Returns those whose last event is at an offset above this one,
    /// as (offset, number), ascending; and where to go on, where there are more.
    pub fn piece_after(
        &self,
        after: i64,
        (mut workspace_at, mut day_at): Place,
        limit: usize,
    ) -> (Vec<(i64, u32)>, Option<Place>) {
        let committed = self.changed.is_empty() || !kept("rest-while-sending");
        assert!(committed, "a whole day aggregate is one that is committed");
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while looked_at < limit && workspace_at < self.order.len() {
            let days = self.days[self.order[workspace_at] as usize].items();
            let end = days.len().min(day_at + limit - looked_at);
            for &(_, aggregate) in &days[day_at..end] {
                let changed_at = self.aggregates[aggregate as usize].changed_at;
                if changed_at > after {
                    found.push((changed_at, aggregate as u32));
                }
            }
            looked_at += end - day_at + 1;
            (workspace_at, day_at) = if end == days.len() { (workspace_at + 1, 0) } else { (workspace_at, end) };
        }
        found.sort_unstable();
        if !kept("copied-of-what-was-sent") {
            found.reverse();
        }
        (found, (workspace_at < self.order.len()).then_some((workspace_at, day_at)))
    }

    /// The day aggregate at the place that `chance` in [0, 1) says, or at the next one that has one, as (offset of its
    /// last event, number).
    pub fn draw(&self, chance: f64) -> Option<(i64, u32)> {
        assert!(self.changed.is_empty(), "a whole day aggregate is one that is committed");
        let first = (chance * self.aggregates.len() as f64) as usize;
        let places = (first..self.aggregates.len()).chain(0..first).take(DRAW_PLACES);
        let mut numbers = places.map(|place| place as u32);
        let found = numbers.find(|&number| self.aggregates[number as usize].keys() > 0 && self.is_kept(number))?;
        Some((self.aggregates[found as usize].changed_at, found))
    }

    /// The day aggregate of a workspace and day.
    pub fn find(&self, workspace: u32, day: i64) -> Option<(i64, u32)> {
        assert!(self.changed.is_empty(), "a whole day aggregate is one that is committed");
        let aggregate = self.days.get(workspace as usize)?.get(day as u64)? as u32;
        Some((self.aggregates[aggregate as usize].changed_at, aggregate))
    }

    /// All of a day aggregate as it is committed.
    pub fn whole(&self, number: u32, names: &Names) -> Result<AggregateChange, FormatError> {
        let aggregate = &self.aggregates[number as usize];
        let mut bases = Vec::with_capacity(aggregate.bases.len());
        let left_out = if kept("whole-aggregates") { 0 } else { aggregate.bases.len().saturating_sub(1) };
        for (place, base) in aggregate.bases.iter().enumerate().skip(left_out) {
            let name = key_of(names.workspace_id(aggregate.workspace), aggregate.day, place as u16);
            let (head, cells) = read_base(base, &name)?;
            let summary = summarize(head, cells, &name)?;
            bases.push(ChangedBase { number: place, head: head.to_vec(), cells: cells.to_vec(), summary });
        }
        Ok(AggregateChange {
            workspace: aggregate.workspace,
            day: aggregate.day,
            bases,
            delta: aggregate.delta.as_deref().map(Into::into),
            base_count: aggregate.bases.len(),
            rows: Rows::default(),
            dropped: false,
        })
    }

    /// Takes a record of the changelog, in the order of their keys: by day, then slot.
    pub fn adopt(&mut self, stored_key: &[u8], value: &[u8], names: &mut Names) -> Result<(), FormatError> {
        if stored_key.len() < 7 {
            return Err(damaged(stored_key));
        }
        let day = i64::from(u32::from_be_bytes([stored_key[1], stored_key[2], stored_key[3], stored_key[4]]));
        let slot = u16::from_be_bytes([stored_key[5], stored_key[6]]);
        let workspace = std::str::from_utf8(&stored_key[7..]).map_err(|_| damaged(stored_key))?;
        let workspace = names.workspace(workspace);
        self.keys += 1;
        self.meet(workspace);
        let number = match self.days[workspace as usize].get(day as u64) {
            Some(number) => number as u32,
            None => self.begin(workspace, day),
        };
        let aggregate = &mut self.aggregates[number as usize];
        let written = if slot == DELTA_SLOT {
            let written = written_at(value, stored_key)?;
            aggregate.delta = Some(value.into());
            written
        } else {
            if usize::from(slot) != aggregate.bases.len() {
                return Err(FormatError(format!(
                    "{} does not follow on {} bases",
                    shown(stored_key),
                    aggregate.bases.len()
                )));
            }
            let (head, _) = read_base(value, stored_key)?;
            let written = written_at(head, stored_key)?;
            aggregate.bases.push(value.into());
            written
        };
        aggregate.changed_at = aggregate.changed_at.max(written);
        Ok(())
    }

    /// Day aggregates, and the bytes that they take, about.
    pub fn size(&self) -> (usize, usize) {
        let of = |aggregate: &DayAggregate| {
            let stored: usize = aggregate.bases.iter().map(|base| base.len() + 16).sum();
            stored
                + aggregate.delta.as_ref().map_or(0, |delta| delta.len())
                + aggregate.counting.as_ref().map_or(0, |c| c.bytes())
        };
        let fixed = self.aggregates.capacity() * std::mem::size_of::<DayAggregate>()
            + self.days.iter().map(SmallMap::bytes).sum::<usize>();
        (self.aggregates.len() - self.free.len(), fixed + self.aggregates.iter().map(of).sum::<usize>())
    }
}

/// The changelog key of a base or of the delta.
fn key_of(workspace: &str, day: i64, slot: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(7 + workspace.len());
    key.push(KIND);
    key.extend_from_slice(&(day as u32).to_be_bytes());
    key.extend_from_slice(&slot.to_be_bytes());
    key.extend_from_slice(workspace.as_bytes());
    key
}
