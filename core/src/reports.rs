//! Shows Python the sums of days and their folds (`api/report/compiled.py`). Nothing is decided here.

use std::collections::HashSet;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyDict, PyList};

use crate::days::{self, ByKind, Chosen, KindSums, PartitionDay, Place, ACTIVITIES};
use crate::fold::{self, Side};
use crate::formats::FormatError;
use crate::plan::{self, DayPlan};
use crate::python::of_format;
use crate::user_days::{ByUser, UserSums};
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

/// As `Plan` in `api/report/plan.py`.
#[pyclass(frozen)]
pub struct Plan(Arc<plan::Plan>);

#[pymethods]
impl Plan {
    /// `days`: (day, cuts, columns, also, window) each.
    #[new]
    fn new(buckets: usize, earlier: usize, days: Vec<PlannedDay>) -> PyResult<Self> {
        let planned =
            days.into_iter().map(|(day, cuts, columns, also, window)| (day, DayPlan { cuts, columns, also, window }));
        Ok(Plan(Arc::new(plan::Plan::new(buckets, earlier, planned).map_err(of_format)?)))
    }

    /// The sums of days by kind, of all users or some.
    #[pyo3(signature = (days, users=None))]
    fn kind_sums(&self, days: DayParts<'_>, users: Option<Values>) -> PyResult<KindSumming> {
        Ok(KindSumming {
            plan: Arc::clone(&self.0),
            days: hold_days(&days)?,
            users: users.map(Chosen::new),
            current: ByKind::new(),
            sums: Vec::new(),
        })
    }

    /// The same by user, of all sources or some.
    #[pyo3(signature = (table, days, sources=None))]
    fn user_sums(&self, table: Py<UserTable>, days: DayParts<'_>, sources: Option<Values>) -> PyResult<UserSumming> {
        Ok(UserSumming {
            plan: Arc::clone(&self.0),
            days: hold_days(&days)?,
            sources: sources.map(Chosen::new),
            table,
            current: ByUser::default(),
            place: Place::default(),
            sums: Vec::new(),
        })
    }
}

/// Days that are being summed by kind, so many bytes at a time.
#[pyclass]
pub struct KindSumming {
    plan: Arc<plan::Plan>,
    days: Vec<HeldDay>,
    users: Option<Chosen>,
    current: ByKind,
    sums: Vec<KindSums>,
}

impl KindSumming {
    fn advance(&mut self, mut left_bytes: usize) -> Result<(), FormatError> {
        while let Some(held) = self.days.get(self.sums.len()).filter(|_| left_bytes > 0) {
            let (parts, cuts) = (held.parts()?, &self.plan.day(held.day)?.cuts);
            let Some(sums) = self.current.sum(&parts, cuts, self.users.as_ref(), &mut left_bytes)? else { break };
            self.sums.push(sums);
        }
        Ok(())
    }
}

#[pymethods]
impl KindSumming {
    /// Sum some more; the sums of all days with the last of them, else None.
    fn step(&mut self, py: Python<'_>, limit_bytes: usize) -> PyResult<Option<Vec<KindDay>>> {
        py.allow_threads(|| self.advance(limit_bytes)).map_err(of_format)?;
        let done = self.sums.len() == self.days.len();
        Ok(done.then(|| std::mem::take(&mut self.sums).into_iter().map(KindDay).collect()))
    }
}

/// Days that are being summed by user, so many bytes at a time.
#[pyclass]
pub struct UserSumming {
    plan: Arc<plan::Plan>,
    days: Vec<HeldDay>,
    sources: Option<Chosen>,
    table: Py<UserTable>,
    current: ByUser,
    place: Place,
    sums: Vec<UserSums>,
}

impl UserSumming {
    fn advance(&mut self, table: &mut user_table::UserTable, mut left_bytes: usize) -> Result<(), FormatError> {
        while let Some(held) = self.days.get(self.sums.len()).filter(|_| left_bytes > 0) {
            let (parts, window, sources) = (held.parts()?, self.plan.day(held.day)?.window, self.sources.as_ref());
            let sums = self.current.sum(&parts, window, sources, table, &mut self.place, &mut left_bytes)?;
            let Some(sums) = sums else { break };
            self.sums.push(sums);
            self.place = Place::default();
        }
        Ok(())
    }
}

#[pymethods]
impl UserSumming {
    /// As in `KindSumming`.
    fn step(&mut self, py: Python<'_>, limit_bytes: usize) -> PyResult<Option<Vec<UserDay>>> {
        let table = self.table.clone_ref(py);
        let mut borrowed = table.borrow_mut(py);
        let users = &mut borrowed.0;
        py.allow_threads(|| self.advance(users, limit_bytes)).map_err(of_format)?;
        let done = self.sums.len() == self.days.len();
        let of_table = |sums| UserDay { sums, table: table.clone_ref(py) };
        Ok(done.then(|| std::mem::take(&mut self.sums).into_iter().map(of_table).collect()))
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
pub struct KindDay(KindSums);

/// Of a day's sums: themselves, a source and its text, a count.
const DAY_BYTES: usize = 120;
const SOURCE_BYTES: usize = 56;
const COUNT_BYTES: usize = 8;

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

    /// With the table of sources that it may share with others.
    #[getter]
    fn size_bytes(&self) -> usize {
        let texts: usize = self.0.sources.iter().flatten().map(|source| source.len()).sum();
        DAY_BYTES + SOURCE_BYTES * self.0.sources.len() + texts + COUNT_BYTES * self.0.counts.len()
    }
}

/// As `KindFold` in `api/report/fold.py`, without the days that are in it.
#[pyclass(frozen)]
pub struct KindFold(fold::KindFold);

fn sums_of<'a>(days: &'a [(i64, Bound<'_, KindDay>)]) -> Vec<(i64, &'a KindSums)> {
    days.iter().map(|(day, sums)| (*day, &sums.get().0)).collect()
}

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

    /// Another fold, without some days and with others; where `anew`, none of this one's are in it.
    fn exchange(
        &self,
        anew: bool,
        gone: Vec<(i64, Bound<'_, KindDay>)>,
        changed: Vec<(i64, Bound<'_, KindDay>)>,
    ) -> PyResult<KindFold> {
        Ok(KindFold(self.0.exchange(anew, &sums_of(&gone), &sums_of(&changed)).map_err(of_format)?))
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
pub struct UserDay {
    sums: UserSums,
    #[pyo3(get)]
    table: Py<UserTable>,
}

const USER_DAY_BYTES: usize = 200;

#[pymethods]
impl UserDay {
    /// Added and deleted: (user's number, count) each.
    #[getter]
    fn columns(&self) -> Vec<Vec<(u32, u64)>> {
        let pairs = |of: &crate::user_days::Column| of.users.iter().copied().zip(of.counts.iter().copied()).collect();
        self.sums.iter().map(pairs).collect()
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        USER_DAY_BYTES + self.sums.iter().map(|column| 12 * column.users.len()).sum::<usize>()
    }
}

/// As `UserFold` in `api/report/user_fold.py`, without the days that are in it. It changes only before it is a fold's.
#[pyclass]
pub struct UserFold(user_fold::UserFold);

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
        UserFold(user_fold::UserFold::default())
    }

    /// Another one with places for all users of a table, with the same counts or, where `anew`, with none.
    fn copy(&self, py: Python<'_>, table: &UserTable, anew: bool) -> UserFold {
        let users = table.0.len();
        py.allow_threads(|| {
            let mut other = if anew { user_fold::UserFold::default() } else { self.0.clone() };
            other.widen(users);
            UserFold(other)
        })
    }

    /// Take some days out and others in.
    fn exchange(&mut self, py: Python<'_>, gone: Vec<Bound<'_, UserDay>>, changed: Vec<Bound<'_, UserDay>>) {
        let gone: Vec<&UserSums> = gone.iter().map(|day| &day.get().sums).collect();
        let changed: Vec<&UserSums> = changed.iter().map(|day| &day.get().sums).collect();
        py.allow_threads(|| self.0.exchange(&gone, &changed));
    }

    /// Added and deleted of a user; zeros of whom the table does not know.
    #[pyo3(signature = (table, user))]
    fn of(&self, table: &UserTable, user: Option<&str>) -> (u64, u64) {
        table.0.find(user).map_or((0, 0), |number| self.0.of(number))
    }

    /// Users with any activity, added, deleted.
    fn total(&self) -> (usize, u64, u64) {
        self.0.total()
    }

    /// The numbers of the first users in the report's order: of those who were the first `before`, and of so many more.
    fn first(&self, table: &UserTable, before: Vec<u32>, start: usize, users: usize, limit: usize) -> Vec<u32> {
        self.0.first(before, start, start.saturating_add(users), limit, table.0.texts())
    }

    /// Users by number, and the null user where it has any activity: (user, added, deleted) each.
    fn rows<'py>(&self, py: Python<'py>, table: &UserTable, users: Vec<u32>) -> PyResult<Bound<'py, PyList>> {
        PyList::new(py, self.0.rows(&users, table.0.texts()))
    }

    /// All users, to be sorted.
    fn everyone(&self, table: &UserTable) -> Everyone {
        Everyone(user_fold::Everyone::new(&self.0, table.0.texts()))
    }

    #[getter]
    fn size_bytes(&self) -> usize {
        self.0.size_bytes()
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
