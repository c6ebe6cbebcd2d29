//! Counts the events of each series in each quarter-hour. A day aggregate has the counts of one workspace and UTC day
//! of the partition. The Python form, with the stored formats, is `stream/tables/counts.py`.

use std::collections::{HashSet, VecDeque};

use crate::day_parts::{put_base, put_delta, read_base, read_cells, read_delta, read_head, summarize};
use crate::day_parts::{written_at, DeltaHead, QUARTERS_A_DAY};
use crate::few::Few;
use crate::formats::{damaged, shown, Changes, FormatError};
use crate::merge::{merge, Addition};
use crate::mutants::kept;
use crate::names::{Names, Place, NO_SOURCE};
use crate::rows::{RowList, Rows};
use crate::small_map::{SmallMap, SmallSet};

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
/// What counting needs of so many day aggregates that were closed is kept for those that are opened next, where each has
/// no more bytes.
const SPARE: usize = 10_000;
/// And the room of a delta that was merged, where it has no more.
const SPARE_BYTES: usize = 512;

pub struct CountRules {
    pub delta_floor: usize,
    pub base_bytes_limit: usize,
}

/// A base that was written: its number, and what it is without users.
pub struct ChangedBase {
    pub number: usize,
    pub summary: Vec<u8>,
}

/// What became of a day aggregate. Until the next event is counted `Counts` has its bases and its delta.
pub struct AggregateChange {
    pub number: u32,
    pub workspace: u32,
    pub day: i64,
    pub bases: Vec<ChangedBase>,
    /// Bases 0 up to this number, exclusive, exist; where `dropped`, they did.
    pub base_count: usize,
    /// Among those of the commit.
    pub rows: RowList,
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
    /// user << 32 | kind; its place is the number of the series.
    series: SmallSet,
    /// Those of the day aggregate, numbered from 1 on.
    sources: Few<u32>,
    /// Cell -> count.
    delta: SmallMap,
    base_cells: usize,
    first_series: usize,
    first_source: usize,
}

impl Counting {
    fn add(&mut self, activity: u8, source: u32, user: u32, quarter: u64) {
        let source_number = match source {
            NO_SOURCE => 0,
            _ => match self.sources.as_slice().iter().position(|&known| known == source) {
                Some(place) => place + 1,
                None => {
                    self.sources.push(source);
                    self.sources.as_slice().len()
                }
            },
        };
        let key = series_key(user, source_number as u64 * 2 + u64::from(activity));
        let number = self.series.place(key).unwrap_or_else(|| self.series.push(key));
        *self.delta.get_or_insert(number as u64 * QUARTERS_A_DAY + quarter, 0) += 1;
    }

    fn is_to_be_merged(&self, floor: usize) -> bool {
        self.delta.len() > floor.max(self.base_cells.isqrt())
    }

    /// The delta is part of the base now, which has so many cells.
    fn go_on(&mut self, base_cells: usize) {
        self.base_cells = base_cells;
        self.first_series = self.series.len();
        self.first_source = self.sources.as_slice().len();
        // A day aggregate stays open for long, with the room of its largest delta otherwise.
        if self.delta.bytes() > SPARE_BYTES {
            self.delta = SmallMap::default();
        } else {
            self.delta.clear();
        }
    }

    fn weight(&self) -> usize {
        self.series.len() + self.delta.len()
    }

    fn new_sources<'a>(&'a self, names: &'a Names) -> impl ExactSizeIterator<Item = &'a str> {
        let text = move |&source: &u32| names.source_text(source).expect("a source of a day aggregate has a text");
        self.sources.as_slice()[self.first_source..].iter().map(text)
    }

    fn new_users<'a>(&'a self, workspace: u32, names: &'a Names) -> impl ExactSizeIterator<Item = Option<&'a str>> {
        self.series.items()[self.first_series..].iter().map(move |key| names.user_id(workspace, (key >> 32) as u32))
    }

    fn kinds(&self) -> impl Iterator<Item = u64> + '_ {
        self.series.items().iter().map(|&key| kind_of(key))
    }

    /// Its cells by ascending key, in a vector that is there for this.
    fn sort_delta<'a>(&self, cells: &'a mut Vec<(u64, u64)>) -> &'a [(u64, u64)] {
        cells.clear();
        cells.extend_from_slice(self.delta.items());
        cells.sort_unstable();
        cells
    }

    fn put_delta(&self, out: &mut Vec<u8>, workspace: u32, written_at: i64, names: &Names, cells: &[(u64, u64)]) {
        let head = DeltaHead { written_at, first_series: self.first_series, first_source: self.first_source };
        let (sources, users) = (self.new_sources(names), self.new_users(workspace, names));
        let series = self.series.items();
        put_delta(out, &head, sources, users, cells, |number| kind_of(series[number as usize]));
    }

    /// Goes on from the committed base and delta.
    fn open(&mut self, aggregate: &DayAggregate, names: &mut Names) -> Result<(), FormatError> {
        if aggregate.keys() == 0 {
            return Ok(());
        }
        let name = key_of(names.workspace_id(aggregate.workspace), aggregate.day, DELTA_SLOT);
        if let Some(base) = aggregate.bases.last() {
            let (head, cells) = read_base(base, &name)?;
            let head = read_head(head, &name)?;
            self.number_sources(&head.sources, names);
            for (&kind, user) in head.kinds.iter().zip(head.user_names(&name)?) {
                self.number_series(kind, aggregate.workspace, user, names).ok_or_else(|| damaged(&name))?;
            }
            self.go_on(read_cells(cells, &name)?.keys.len());
        }
        if let Some(delta) = &aggregate.delta {
            let delta = read_delta(delta, &name)?;
            let continues =
                delta.first_series as usize == self.first_series && delta.first_source as usize == self.first_source;
            if !continues {
                return Err(FormatError(format!("{} does not continue its base", shown(&name))));
            }
            self.number_sources(&delta.new_sources, names);
            let mut kinds = vec![None; delta.new_users.len()];
            for (&key, &kind) in delta.keys.iter().zip(&delta.kinds) {
                let series = key / QUARTERS_A_DAY;
                if series >= delta.first_series {
                    *kinds.get_mut((series - delta.first_series) as usize).ok_or_else(|| damaged(&name))? = Some(kind);
                }
            }
            for (user, kind) in delta.new_users.iter().zip(kinds) {
                let kind = kind.ok_or_else(|| damaged(&name))?;
                self.number_series(kind, aggregate.workspace, *user, names).ok_or_else(|| damaged(&name))?;
            }
            for (&key, &count) in delta.keys.iter().zip(&delta.counts) {
                self.delta.insert(key, count);
            }
        }
        Ok(())
    }

    fn number_sources(&mut self, more: &[&str], names: &mut Names) {
        more.iter().for_each(|source| self.sources.push(names.source(Some(source))));
    }

    /// `None` where the kind names a source that is not there, or the series has a number already.
    fn number_series(&mut self, kind: u64, workspace: u32, user: Option<&str>, names: &mut Names) -> Option<()> {
        if (kind >> 1) as usize > self.sources.as_slice().len() {
            return None;
        }
        let key = series_key(names.user(workspace, user), kind);
        if self.series.place(key).is_some() {
            return None;
        }
        self.series.push(key);
        Some(())
    }

    fn clear(&mut self) {
        self.sources.clear();
        self.series.clear();
        self.go_on(0);
    }

    fn bytes(&self) -> usize {
        size_of::<Counting>() + self.series.bytes() + self.sources.bytes() + self.delta.bytes()
    }
}

fn series_key(user: u32, kind: u64) -> u64 {
    u64::from(user) << 32 | kind
}

/// The number of the source in the day aggregate and the activity.
fn kind_of(series: u64) -> u64 {
    series & u64::from(u32::MAX)
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
    changed: Vec<(u32, RowList)>,
    /// Of the day aggregates that changed.
    rows: Rows,
    /// Day aggregates that are open, in the order of their last commit; an item whose number is no more the day
    /// aggregate's is stale.
    open: VecDeque<(u32, u64)>,
    open_weight: usize,
    queued: u64,
    to_drop: VecDeque<u32>,
    /// Of no day aggregate.
    #[allow(clippy::vec_box)] // a day aggregate takes the box
    spare: Vec<Box<Counting>>,
    /// Of the day aggregate that is encoded.
    cells: Vec<(u64, u64)>,
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
            rows: Rows::default(),
            cells: Vec::new(),
            spare: Vec::new(),
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
            self.changed.push((number, RowList::default()));
        }
        aggregate.changed_at = offset;
        if aggregate.counting.is_none() {
            let mut counting = self.spare.pop().unwrap_or_default();
            counting.open(aggregate, names)?;
            aggregate.counting = Some(counting);
        }
        if let Some(counting) = &mut aggregate.counting {
            counting.add(activity, source, user, quarter);
        }
        if let Some(row) = row {
            self.rows.push(&mut self.changed[aggregate.changed as usize].1, row);
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

    /// Adds the changelog records of what was counted since the last call; `upto` is the next offset. Gives what became
    /// of the day aggregates, and their rows.
    pub fn encode(
        &mut self,
        upto: i64,
        names: &Names,
        changes: &mut Changes,
    ) -> Result<(Vec<AggregateChange>, Rows), FormatError> {
        let changed = std::mem::take(&mut self.changed);
        let mut aggregates = Vec::with_capacity(changed.len());
        for &(number, rows) in &changed {
            self.aggregates[number as usize].changed = UNCHANGED;
            if self.is_kept(number) {
                self.keys -= self.aggregates[number as usize].keys();
                aggregates.push(self.encode_aggregate(number, rows, names, changes)?);
                self.keys += self.aggregates[number as usize].keys();
            }
        }
        let mut gone = Vec::new();
        for _ in 0..self.to_drop.len().min(DROPS_A_COMMIT) {
            if let Some(number) = self.to_drop.pop_front() {
                aggregates.extend(self.drop(number, names, changes));
                gone.push(number);
            }
        }
        self.close_some(&changed, upto);
        for number in gone {
            self.aggregates[number as usize] = DayAggregate { changed: UNCHANGED, ..DayAggregate::default() };
            self.free.push(number);
        }
        Ok((aggregates, std::mem::take(&mut self.rows)))
    }

    fn is_kept(&self, number: u32) -> bool {
        let in_time = |from| self.aggregates[number as usize].day >= from;
        self.counts_from.is_none_or(in_time) || !kept("retention-when-read")
    }

    fn encode_aggregate(
        &mut self,
        number: u32,
        rows: RowList,
        names: &Names,
        changes: &mut Changes,
    ) -> Result<AggregateChange, FormatError> {
        let aggregate = &mut self.aggregates[number as usize];
        let (workspace, day) = (aggregate.workspace, aggregate.day);
        let workspace_id = names.workspace_id(workspace);
        let counting = aggregate.counting.as_mut().expect("a day aggregate changes while it is open");
        let cells = counting.sort_delta(&mut self.cells);
        let mut bases = Vec::new();
        if counting.is_to_be_merged(self.rules.delta_floor) {
            let name = key_of(workspace_id, day, DELTA_SLOT);
            let stored = aggregate.bases.last().map(|base| read_base(base, &name)).transpose()?;
            let addition = Addition {
                written_at: aggregate.changed_at,
                cells,
                kinds: &counting.kinds().collect::<Vec<_>>(),
                new_sources: &counting.new_sources(names).collect::<Vec<_>>(),
                new_users: &counting.new_users(workspace, names).collect::<Vec<_>>(),
            };
            let parts = merge(stored, &addition, self.rules.base_bytes_limit, &name)?;
            let first = aggregate.bases.len().saturating_sub(1);
            assert!(first + parts.len() <= usize::from(DELTA_SLOT), "{} bases of one day", first + parts.len());
            if let [only] = parts.as_slice() {
                counting.go_on(only.cell_count);
            } else {
                aggregate.counting = None;
            }
            aggregate.bases.truncate(first);
            for (number, part) in (first..).zip(parts) {
                let place = changes.put(
                    |out| put_key(out, workspace_id, day, number as u16),
                    |out| put_base(out, &part.head, &part.cells),
                );
                aggregate.bases.push(changes.value(place).into());
                bases.push(ChangedBase { number, summary: part.summary });
            }
            if aggregate.delta.take().is_some() {
                changes.delete(|out| put_key(out, workspace_id, day, DELTA_SLOT));
            }
        } else {
            let place = changes.put(
                |out| put_key(out, workspace_id, day, DELTA_SLOT),
                |out| counting.put_delta(out, workspace, aggregate.changed_at, names, cells),
            );
            keep(&mut aggregate.delta, changes.value(place));
        }
        Ok(AggregateChange { number, workspace, day, bases, base_count: aggregate.bases.len(), rows, dropped: false })
    }

    /// The delta of a day aggregate as it is committed, where it has one.
    pub fn delta(&self, number: u32) -> Option<&[u8]> {
        self.aggregates[number as usize].delta.as_deref()
    }

    /// Head and cells of one of the bases of a day aggregate.
    pub fn base(&self, number: u32, base: usize) -> (&[u8], &[u8]) {
        read_base(&self.aggregates[number as usize].bases[base], b"").expect("a base that was read before is read")
    }

    /// Deletes what the changelog has of a day aggregate. `None`: it has nothing.
    fn drop(&mut self, number: u32, names: &Names, changes: &mut Changes) -> Option<AggregateChange> {
        self.forget_open(number);
        let aggregate = &self.aggregates[number as usize];
        self.keys -= aggregate.keys();
        let (workspace, day, base_count) = (aggregate.workspace, aggregate.day, aggregate.bases.len());
        let workspace_id = names.workspace_id(workspace);
        for base in 0..base_count {
            changes.delete(|out| put_key(out, workspace_id, day, base as u16));
        }
        if aggregate.delta.is_some() {
            changes.delete(|out| put_key(out, workspace_id, day, DELTA_SLOT));
        }
        (aggregate.keys() > 0).then(|| AggregateChange {
            number,
            workspace,
            day,
            bases: Vec::new(),
            base_count,
            rows: RowList::default(),
            dropped: true,
        })
    }

    /// Takes back what counting needs in day aggregates that were not touched for long, or for longest.
    fn close_some(&mut self, changed: &[(u32, RowList)], upto: i64) {
        for &(number, _) in changed {
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
                let closed = self.aggregates[number as usize].counting.take();
                if let Some(mut counting) = closed.filter(|it| self.spare.len() < SPARE && it.bytes() <= SPARE_BYTES) {
                    counting.clear();
                    self.spare.push(counting);
                }
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
            bases.push(ChangedBase { number: place, summary });
        }
        Ok(AggregateChange {
            number,
            workspace: aggregate.workspace,
            day: aggregate.day,
            bases,
            base_count: aggregate.bases.len(),
            rows: RowList::default(),
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
            + self.days.iter().map(SmallMap::bytes).sum::<usize>()
            + self.spare.iter().map(|counting| counting.bytes()).sum::<usize>();
        (self.aggregates.len() - self.free.len(), fixed + self.aggregates.iter().map(of).sum::<usize>())
    }
}

/// Stores a value in place of the one before.
fn keep(stored: &mut Option<Box<[u8]>>, value: &[u8]) {
    match stored {
        Some(before) if before.len() == value.len() => before.copy_from_slice(value),
        _ => *stored = Some(value.into()),
    }
}

/// The changelog key of a base or of the delta.
fn key_of(workspace: &str, day: i64, slot: u16) -> Vec<u8> {
    let mut key = Vec::with_capacity(7 + workspace.len());
    put_key(&mut key, workspace, day, slot);
    key
}

fn put_key(out: &mut Vec<u8>, workspace: &str, day: i64, slot: u16) {
    out.push(KIND);
    out.extend_from_slice(&(day as u32).to_be_bytes());
    out.extend_from_slice(&slot.to_be_bytes());
    out.extend_from_slice(workspace.as_bytes());
}
