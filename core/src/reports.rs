//! Shows Python the sums of days and their folds (`api/report/compiled.py`). Nothing is decided here.

use std::collections::HashSet;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::answers;
use crate::by_day::ByDay;
use crate::days::{self, ByKind, Chosen, KindSums, PartitionDay, Place, ACTIVITIES};
use crate::fold::{self, Side};
use crate::formats::FormatError;
use crate::plan::{self, DayPlan};
use crate::python::of_format;
use crate::user_days::{size_of_sums, ByUser, UserSums};
use crate::user_fold::{self, Row};
use crate::user_table;

type Values = HashSet<Option<String>>;

/// Of each partition of a day, how many summaries, heads and cells come before its delta.
type Shape = Arc<[(usize, usize, usize)]>;

/// The packed parts of a day, as Python holds them.
struct HeldDay {
    day: i64,
    shape: Shape,
    values: Vec<Option<PyBackedBytes>>,
}

/// As `DayParts` in `api/read/parts.py`: the days that values are of, the shape of each, the values, and which of the
/// days are meant. Both ascend.
#[derive(FromPyObject)]
pub struct DayParts<'py>(Vec<i64>, Bound<'py, PyList>, Bound<'py, PyList>, Vec<i64>);

fn width_of(shape: &Shape) -> usize {
    shape.iter().map(|(summaries, heads, cells)| summaries + heads + cells + 1).sum()
}

fn hold_days(of: &DayParts<'_>) -> PyResult<Vec<HeldDay>> {
    let DayParts(days, shapes, values, wanted) = of;
    let (mut wanted, mut start) = (wanted.iter().copied().peekable(), 0);
    let mut last: Option<(Bound<'_, PyAny>, Shape)> = None;
    let mut held = Vec::with_capacity(wanted.len());
    for (&day, of_day) in days.iter().zip(shapes.iter()) {
        // Most days look alike, and then have one object as their shape.
        let shape = match &last {
            Some((known, shape)) if known.is(&of_day) => Arc::clone(shape),
            _ => of_day.extract::<Vec<(usize, usize, usize)>>()?.into(),
        };
        last = Some((of_day, Arc::clone(&shape)));
        let end = start + width_of(&shape);
        if wanted.next_if_eq(&day).is_some() {
            let values = (start..end).map(|place| values.get_item(place)?.extract()).collect::<PyResult<_>>()?;
            held.push(HeldDay { day, shape, values });
        }
        start = end;
    }
    assert!(wanted.next().is_none(), "days ascend, and are among those that were asked for");
    Ok(held)
}

impl HeldDay {
    fn parts(&self) -> Result<Vec<PartitionDay<'_>>, FormatError> {
        let mut values = self.values.iter().map(Option::as_deref);
        let mut parts = Vec::with_capacity(self.shape.len());
        for &(summaries, heads, cells) in self.shape.iter() {
            let mut take = |number: usize| (&mut values).take(number).collect::<Option<_>>().ok_or_else(days::damaged);
            let (summaries, heads, cells) = (take(summaries)?, take(heads)?, take(cells)?);
            parts.push(PartitionDay { summaries, heads, cells, delta: values.next().flatten() });
        }
        Ok(parts)
    }
}

type PlannedDay = (i64, Vec<u64>, Vec<usize>, Vec<(usize, usize)>, (u64, u64));
type Spans = Vec<(String, String)>;

/// As `Plan` in `api/report/plan.py`.
#[pyclass(frozen)]
pub struct Plan(Arc<plan::Plan>);

#[pymethods]
impl Plan {
    /// `spans`: start and end of each bucket, as texts; `days`: (day, cuts, columns, also, window) each.
    #[new]
    fn new(spans: Spans, earlier_spans: Spans, days: Vec<PlannedDay>) -> PyResult<Self> {
        let planned =
            days.into_iter().map(|(day, cuts, columns, also, window)| (day, DayPlan { cuts, columns, also, window }));
        Ok(Plan(Arc::new(plan::Plan::new(spans, earlier_spans, planned).map_err(of_format)?)))
    }
}

/// Sums that are known already, by the day.
fn known_sums<T>(
    known: &Bound<'_, PyDict>,
    sums_of: impl Fn(&Bound<'_, PyAny>) -> PyResult<Arc<T>>,
) -> PyResult<Days<T>> {
    known.iter().map(|(day, of)| Ok((day.extract()?, sums_of(&of)?))).collect()
}

type Days<T> = Vec<(i64, Arc<T>)>;

/// A fold by kind that is being made of another one: days are summed, so many bytes at a time, and exchanged.
#[pyclass]
pub struct KindFolding {
    before: Py<KindFold>,
    gone: Vec<i64>,
    changed: Days<KindSums>,
    days: Vec<HeldDay>,
    done: usize,
    users: Option<Chosen>,
    current: ByKind,
}

impl KindFolding {
    fn advance(
        &mut self,
        before: &fold::KindFold,
        mut left_bytes: usize,
    ) -> Result<Option<fold::KindFold>, FormatError> {
        while let Some(held) = self.days.get(self.done) {
            let (parts, cuts) = (held.parts()?, &before.plan().day(held.day)?.cuts);
            let sums = self.current.sum(&parts, cuts, self.users.as_ref(), &mut left_bytes)?;
            let Some(sums) = sums else { return Ok(None) };
            self.changed.push((held.day, Arc::new(sums)));
            self.done += 1;
            if left_bytes == 0 && self.done < self.days.len() {
                return Ok(None);
            }
        }
        before.exchange(&self.gone, std::mem::take(&mut self.changed)).map(Some)
    }
}

#[pymethods]
impl KindFolding {
    /// Do some more; the fold with the last of it, else None.
    fn step(&mut self, py: Python<'_>, limit_bytes: usize) -> PyResult<Option<KindFold>> {
        let before = self.before.clone_ref(py);
        let found = py.allow_threads(|| self.advance(&before.get().0, limit_bytes)).map_err(of_format)?;
        Ok(found.map(KindFold))
    }
}

/// The same by user: its days are exchanged in steps too.
#[pyclass]
pub struct UserFolding {
    before: Py<UserFold>,
    table: Py<UserTable>,
    plan: Arc<plan::Plan>,
    gone: Vec<i64>,
    changed: Days<UserSums>,
    days: Vec<HeldDay>,
    done: usize,
    sources: Option<Chosen>,
    current: ByUser,
    place: Place,
    exchanging: Option<Exchanging>,
}

/// Days that go out of a fold, or come into it.
struct Exchanging {
    fold: user_fold::UserFold,
    days: ByDay<UserSums>,
    bytes: usize,
    out: std::vec::IntoIter<(i64, Arc<UserSums>)>,
    into: std::vec::IntoIter<(i64, Arc<UserSums>)>,
}

impl UserFolding {
    fn sum(&mut self, table: &mut user_table::UserTable, left_bytes: &mut usize) -> Result<bool, FormatError> {
        while let Some(held) = self.days.get(self.done).filter(|_| *left_bytes > 0) {
            let (parts, window, sources) = (held.parts()?, self.plan.day(held.day)?.window, self.sources.as_ref());
            let sums = self.current.sum(&parts, window, sources, table, &mut self.place, left_bytes)?;
            let Some(sums) = sums else { break };
            self.changed.push((held.day, Arc::new(sums)));
            self.place = Place::default();
            self.done += 1;
        }
        Ok(self.done == self.days.len())
    }

    fn begin(&mut self, before: &UserFold, users: usize) -> Result<Exchanging, FormatError> {
        let anew = self.gone.len() == before.days.len();
        let mut begun = Exchanging {
            fold: if anew { user_fold::UserFold::default() } else { before.fold.clone() },
            days: if anew { ByDay::default() } else { before.days.clone() },
            bytes: if anew { 0 } else { before.days_bytes },
            out: Vec::new().into_iter(),
            into: std::mem::take(&mut self.changed).into_iter(),
        };
        begun.fold.widen(users);
        if !anew {
            begun.out = begun.days.take(&self.gone)?.into_iter();
        }
        Ok(begun)
    }

    fn advance(
        &mut self,
        before: &UserFold,
        table: &mut user_table::UserTable,
        mut left_bytes: usize,
    ) -> Result<Option<UserFold>, FormatError> {
        if self.exchanging.is_none() {
            if !self.sum(table, &mut left_bytes)? {
                return Ok(None);
            }
            self.exchanging = Some(self.begin(before, table.len())?);
        }
        let of = self.exchanging.as_mut().expect("it has begun");
        loop {
            let (size, more) = if let Some((_, sums)) = of.out.next() {
                of.fold.exchange(&[&*sums], &[]);
                of.bytes -= size_of_sums(&sums);
                (size_of_sums(&sums), true)
            } else if let Some((day, sums)) = of.into.next() {
                let size = size_of_sums(&sums);
                of.fold.exchange(&[], &[&*sums]);
                of.bytes += size;
                of.days.put(day, sums);
                (size, true)
            } else {
                (0, false)
            };
            if !more {
                let Exchanging { fold, days, bytes, .. } = self.exchanging.take().expect("it has begun");
                return Ok(Some(UserFold { fold, days, days_bytes: bytes }));
            }
            left_bytes = left_bytes.saturating_sub(size);
            if left_bytes == 0 {
                return Ok(None);
            }
        }
    }
}

#[pymethods]
impl UserFolding {
    /// As in `KindFolding`.
    fn step(&mut self, py: Python<'_>, limit_bytes: usize) -> PyResult<Option<UserFold>> {
        let (before, table) = (self.before.clone_ref(py), self.table.clone_ref(py));
        let mut borrowed = table.borrow_mut(py);
        let users = &mut borrowed.0;
        py.allow_threads(|| self.advance(before.get(), users, limit_bytes)).map_err(of_format)
    }
}

/// The first quarter of a day that holds an event.
#[pyfunction]
pub fn first_quarter(day: DayParts<'_>) -> PyResult<Option<u64>> {
    let mut first = None;
    for held in hold_days(&day)? {
        first = days::first_quarter(&held.parts().map_err(of_format)?).map_err(of_format)?;
    }
    Ok(first)
}

/// As `KindSums` in `api/report/days.py`.
#[pyclass(frozen)]
pub struct KindDay(Arc<KindSums>);

#[pymethods]
impl KindDay {
    #[getter]
    fn kinds(&self) -> Vec<(u8, Option<&str>)> {
        let kinds =
            self.0.sources.iter().flat_map(|source| (0..ACTIVITIES).map(move |of| (of as u8, source.as_deref())));
        kinds.collect()
    }

    #[getter]
    fn counts(&self) -> &[u64] {
        &self.0.counts
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

/// How sources are named in answers (`api/report/sources.py`).
#[pyclass(frozen)]
pub struct Names(answers::Names);

#[pymethods]
impl Names {
    #[new]
    fn new(known: Vec<String>, none: String, rest: String, limit: usize) -> Self {
        Names(answers::Names { known, none, rest, limit })
    }
}

/// As `KindFold` in `api/report/fold.py`.
#[pyclass(frozen)]
pub struct KindFold(fold::KindFold);

type Sides<'py> = (Bound<'py, PyList>, Bound<'py, PyList>, Bound<'py, PyDict>);

fn side<'py>(py: Python<'py>, of: &Side<'_>) -> PyResult<Sides<'py>> {
    let [added, deleted] = &of.totals;
    let by_source = PyDict::new(py);
    for (source, counts) in &of.by_source {
        by_source.set_item(source, PyList::new(py, *counts)?)?;
    }
    Ok((PyList::new(py, added)?, PyList::new(py, deleted)?, by_source))
}

#[pymethods]
impl KindFold {
    /// An empty one; of all sources, or of some.
    #[new]
    #[pyo3(signature = (plan, sources=None))]
    fn new(plan: &Plan, sources: Option<Values>) -> Self {
        KindFold(fold::KindFold::new(Arc::clone(&plan.0), sources.map(|sources| Arc::new(Chosen::new(sources)))))
    }

    /// Begin another fold: without some days, and with others whose sums are known, or are made of parts; of all users,
    /// or some.
    #[pyo3(signature = (gone, known, days, users=None))]
    fn exchange(
        slf: &Bound<'_, Self>,
        gone: Vec<i64>,
        known: &Bound<'_, PyDict>,
        days: DayParts<'_>,
        users: Option<Values>,
    ) -> PyResult<KindFolding> {
        Ok(KindFolding {
            before: slf.clone().unbind(),
            gone,
            changed: known_sums(known, |of| Ok(Arc::clone(&of.downcast::<KindDay>()?.get().0)))?,
            days: hold_days(&days)?,
            done: 0,
            users: users.map(Chosen::new),
            current: ByKind::new(),
        })
    }

    /// The sums of a day that is in it.
    fn sums_of(&self, day: i64) -> Option<KindDay> {
        self.0.sums_of(day).map(|sums| KindDay(Arc::clone(sums)))
    }

    /// Added, deleted, and both of the earlier side.
    fn totals(&self) -> (u64, u64, u64, u64) {
        let counts = self.0.counts();
        let sum = |of: &Vec<u64>| of.iter().copied().fold(0, u64::wrapping_add);
        let ([added, deleted], [added_before, deleted_before]) = (&counts.now.totals, &counts.before.totals);
        (sum(added), sum(deleted), sum(added_before), sum(deleted_before))
    }

    /// The timeline as JSON, of buckets in these states.
    fn timeline<'py>(&self, py: Python<'py>, states: Vec<PyBackedStr>) -> Bound<'py, PyBytes> {
        let states: Vec<&str> = states.iter().map(|state| &**state).collect();
        PyBytes::new(py, &answers::timeline(self.0.plan(), &self.0.counts(), &states))
    }

    /// Added by source as JSON; None where there are more sources than are named.
    fn sources<'py>(&self, py: Python<'py>, states: Vec<PyBackedStr>, names: &Names) -> Option<Bound<'py, PyBytes>> {
        let states: Vec<&str> = states.iter().map(|state| &**state).collect();
        answers::sources(self.0.plan(), &self.0.counts(), &states, &names.0).map(|json| PyBytes::new(py, &json))
    }

    /// Of the sums of its days.
    #[getter]
    fn days_bytes(&self) -> usize {
        self.0.days_bytes()
    }

    /// Added, deleted, added by source; and of the earlier side.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<(Sides<'py>, Sides<'py>)> {
        let counts = self.0.counts();
        Ok((side(py, &counts.now)?, side(py, &counts.before)?))
    }

    /// Rows that are kept.
    fn __len__(&self) -> usize {
        self.0.len()
    }
}

/// As `UserTable` in `api/report/user_table.py`.
#[pyclass]
pub struct UserTable(user_table::UserTable);

#[pymethods]
impl UserTable {
    #[new]
    fn new() -> Self {
        UserTable(user_table::UserTable::new())
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
    }
}

/// As `UserSums` in `api/report/user_days.py`.
#[pyclass(frozen)]
pub struct UserDay(Arc<UserSums>);

#[pymethods]
impl UserDay {
    /// Added and deleted: (user's number, count) each.
    #[getter]
    fn columns(&self) -> Vec<Vec<(u32, u64)>> {
        let pairs = |of: &crate::user_days::Column| of.users.iter().copied().zip(of.counts.iter().copied()).collect();
        self.0.iter().map(pairs).collect()
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        size_of_sums(&self.0)
    }
}

/// As `UserFold` in `api/report/user_fold.py`.
#[pyclass(frozen)]
pub struct UserFold {
    fold: user_fold::UserFold,
    days: ByDay<UserSums>,
    days_bytes: usize,
}

type Columns<'a> = (Vec<Option<&'a str>>, Vec<u64>, Vec<u64>);

fn columns_of(rows: Vec<Row<'_>>) -> Columns<'_> {
    let (users, counts): (Vec<_>, Vec<_>) =
        rows.into_iter().map(|(user, added, deleted)| (user, (added, deleted))).unzip();
    let (added, deleted) = counts.into_iter().unzip();
    (users, added, deleted)
}

#[pymethods]
impl UserFold {
    #[new]
    fn new() -> Self {
        UserFold { fold: user_fold::UserFold::default(), days: ByDay::default(), days_bytes: 0 }
    }

    /// As in `KindFold`: of all sources, or some.
    #[pyo3(signature = (gone, known, plan, table, days, sources=None))]
    fn exchange(
        slf: &Bound<'_, Self>,
        gone: Vec<i64>,
        known: &Bound<'_, PyDict>,
        plan: &Plan,
        table: Py<UserTable>,
        days: DayParts<'_>,
        sources: Option<Values>,
    ) -> PyResult<UserFolding> {
        Ok(UserFolding {
            before: slf.clone().unbind(),
            table,
            plan: Arc::clone(&plan.0),
            gone,
            changed: known_sums(known, |of| Ok(Arc::clone(&of.downcast::<UserDay>()?.get().0)))?,
            days: hold_days(&days)?,
            done: 0,
            sources: sources.map(Chosen::new),
            current: ByUser::default(),
            place: Place::default(),
            exchanging: None,
        })
    }

    /// The sums of a day that is in it.
    fn sums_of(&self, day: i64) -> Option<UserDay> {
        self.days.get(day).map(|sums| UserDay(Arc::clone(sums)))
    }

    /// Added and deleted of a user; zeros of whom the table does not know.
    #[pyo3(signature = (table, user))]
    fn of(&self, table: &UserTable, user: Option<&str>) -> (u64, u64) {
        table.0.find(user).map_or((0, 0), |number| self.fold.of(number))
    }

    /// Users with any activity, added, deleted.
    fn total(&self) -> (usize, u64, u64) {
        self.fold.total()
    }

    /// The numbers of the first users in the report's order: of those who were the first `before`, and of so many more.
    fn first(&self, table: &UserTable, before: Vec<u32>, start: usize, users: usize, limit: usize) -> Vec<u32> {
        self.fold.first(before, start, start.saturating_add(users), limit, table.0.texts())
    }

    /// Users by number, and the null user where it has any activity: (user, added, deleted) each.
    fn rows<'py>(&self, py: Python<'py>, table: &UserTable, users: Vec<u32>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.fold.rows(&users, table.0.texts()))
    }

    /// All users, to be sorted.
    fn everyone(&self, table: &UserTable) -> Everyone {
        Everyone(user_fold::Everyone::new(&self.fold, table.0.texts()))
    }

    /// With the sums of its days.
    #[getter]
    fn size_bytes(&self) -> usize {
        self.fold.size_bytes() + self.days_bytes
    }

    /// Of the sums of its days.
    #[getter]
    fn days_bytes(&self) -> usize {
        self.days_bytes
    }
}

/// All users with any activity.
#[pyclass]
pub struct Everyone(user_fold::Everyone);

#[pymethods]
impl Everyone {
    /// Into the report's order, while other threads go on.
    fn sort(&mut self, py: Python<'_>) {
        py.allow_threads(|| self.0.sort());
    }

    /// So many rows from a place on, by column: users, added, deleted.
    fn piece(&self, start: usize, limit: usize) -> Columns<'_> {
        columns_of(self.0.piece(start, limit))
    }
}
