//! Adds up the sums of days to the counts of a view, and exchanges the days that changed. The Python form is `api/report/fold.py`.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::by_day::ByDay;
use crate::days::{damaged, Chosen, KindSums, Sources, ACTIVITIES};
use crate::formats::FormatError;
use crate::plan::{DayPlan, Plan};

/// The days of a plan, added up by source and activity. Never changed: `exchange` makes another.
pub struct KindFold {
    plan: Arc<Plan>,
    chosen: Option<Arc<Chosen>>,
    rows: Rows,
    days: ByDay<KindSums>,
    days_bytes: usize,
}

/// Of a count here, and as a number of Python; and of a row beside its counts.
const COUNT_BYTES: usize = 8 + 40;
const ROW_BYTES: usize = 400;

/// Of each source a row of each activity, with one count a column.
#[derive(Clone, Default)]
struct Rows {
    places: Arc<HashMap<Option<Arc<str>>, usize>>,
    sources: Arc<Vec<Option<Arc<str>>>>,
    counts: Vec<u64>,
}

/// One item a bucket; `before`: of the earlier bucket beside it.
pub struct Counts<'a> {
    pub now: Side<'a>,
    pub before: Side<'a>,
}

pub struct Side<'a> {
    pub totals: [Vec<u64>; ACTIVITIES],
    /// Added, of the sources that have any there.
    pub by_source: Vec<(Option<&'a str>, &'a [u64])>,
}

impl KindFold {
    pub fn new(plan: Arc<Plan>, chosen: Option<Arc<Chosen>>) -> Self {
        KindFold { plan, chosen, rows: Rows::default(), days: ByDay::default(), days_bytes: 0 }
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Rows that are kept: one a source and activity.
    pub fn len(&self) -> usize {
        self.rows.sources.len() * ACTIVITIES
    }

    /// Of the sums of its days.
    pub fn days_bytes(&self) -> usize {
        self.days_bytes
    }

    /// With its rows, the counts that Python may have of them, and what else is held of its days.
    pub fn size_bytes(&self) -> usize {
        let outdated: usize = self.days.outdated().map(KindSums::size_bytes).sum();
        (COUNT_BYTES * self.plan.columns() + ROW_BYTES) * (2 + self.len()) + self.days_bytes + outdated
    }

    pub fn sums_of(&self, day: i64) -> Option<&Arc<KindSums>> {
        self.days.get(day)
    }

    /// Another fold, without some days and with others. Where all are gone, to begin anew is less work.
    pub fn exchange(&self, gone: &[i64], changed: Vec<(i64, Arc<KindSums>)>) -> Result<KindFold, FormatError> {
        let mut fold = KindFold::new(Arc::clone(&self.plan), self.chosen.clone());
        let mut taken = Vec::new();
        if gone.len() < self.days.len() {
            (fold.rows, fold.days, fold.days_bytes) = (self.rows.clone(), self.days.clone(), self.days_bytes);
            taken = fold.days.take(gone)?;
        }
        let mut adder = Adder { fold, known: Vec::new() };
        for (day, sums) in taken {
            adder.add(day, &sums, u64::wrapping_sub)?;
            adder.fold.days_bytes -= sums.size_bytes();
        }
        for (day, sums) in changed {
            adder.add(day, &sums, u64::wrapping_add)?;
            adder.fold.days_bytes += sums.size_bytes();
            adder.fold.days.put(day, sums);
        }
        Ok(adder.fold)
    }

    pub fn counts(&self) -> Counts<'_> {
        let (buckets, earlier) = (self.plan.buckets, self.plan.earlier);
        Counts { now: self.side(0, buckets), before: self.side(buckets, buckets + earlier) }
    }

    /// What lies in the columns [first, end).
    fn side(&self, first: usize, end: usize) -> Side<'_> {
        let columns = self.plan.columns();
        let mut side = Side { totals: [vec![0; end - first], vec![0; end - first]], by_source: Vec::new() };
        for (source, rows) in self.rows.sources.iter().zip(self.rows.counts.chunks_exact(ACTIVITIES * columns)) {
            for (row, totals) in rows.chunks_exact(columns).zip(&mut side.totals) {
                totals.iter_mut().zip(&row[first..end]).for_each(|(total, &count)| *total = total.wrapping_add(count));
            }
            let added = &rows[first..end];
            if added.iter().any(|&count| count > 0) {
                side.by_source.push((source.as_deref(), added));
            }
        }
        side
    }
}

/// Adds days to a fold; the rows of a table of sources are looked up once.
struct Adder {
    fold: KindFold,
    known: Vec<(Sources, Vec<Option<usize>>)>,
}

impl Adder {
    fn add(&mut self, day: i64, sums: &KindSums, add: fn(u64, u64) -> u64) -> Result<(), FormatError> {
        let plan = Arc::clone(&self.fold.plan);
        let (of, columns) = (plan.day(day)?, plan.columns());
        let width = of.columns.len();
        if sums.counts.len() != sums.sources.len() * ACTIVITIES * width {
            return Err(damaged());
        }
        let table = self.rows_of(&sums.sources);
        let (_, starts) = &self.known[table];
        for (start, counts) in starts.iter().zip(sums.counts.chunks_exact(ACTIVITIES * width)) {
            let Some(start) = *start else { continue };
            for (activity, pieces) in counts.chunks_exact(width).enumerate() {
                let start = start + activity * columns;
                add_pieces(&mut self.fold.rows.counts[start..start + columns], of, pieces, add);
            }
        }
        Ok(())
    }

    /// Where among the known tables this one is, with the places of its sources' rows; None: not asked for.
    fn rows_of(&mut self, sources: &Sources) -> usize {
        if let Some(found) = self.known.iter().position(|(table, _)| Arc::ptr_eq(table, sources)) {
            return found;
        }
        let each = ACTIVITIES * self.fold.plan.columns();
        let KindFold { chosen, rows, .. } = &mut self.fold;
        let wanted = |source: &&Option<Arc<str>>| chosen.as_ref().is_none_or(|chosen| chosen.has(source.as_deref()));
        let starts = sources
            .iter()
            .map(|source| Some(source).filter(wanted).map(|source| rows.start_of(source, each)))
            .collect();
        self.known.push((Arc::clone(sources), starts));
        self.known.len() - 1
    }
}

impl Rows {
    fn start_of(&mut self, source: &Option<Arc<str>>, each: usize) -> usize {
        if let Some(&start) = self.places.get(source) {
            return start;
        }
        let start = self.counts.len();
        self.counts.resize(start + each, 0);
        Arc::make_mut(&mut self.sources).push(source.clone());
        Arc::make_mut(&mut self.places).insert(source.clone(), start);
        start
    }
}

fn add_pieces(row: &mut [u64], of: &DayPlan, pieces: &[u64], add: fn(u64, u64) -> u64) {
    for (&column, &count) in of.columns.iter().zip(pieces) {
        row[column] = add(row[column], count);
    }
    for &(piece, column) in &of.also {
        row[column] = add(row[column], pieces[piece]);
    }
}
