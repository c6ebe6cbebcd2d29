//! Shows Python the sums of days and their folds (`api/report/compiled.py`). Nothing is decided here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::answers::{self, Progress};
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

/// As `DayParts` in `api/read/parts.py`: the days that values are of, the shape of each, the values (`found`), and which
/// of the days are meant. Both ascend.
#[derive(FromPyObject)]
pub struct DayParts<'py> {
    asked: Vec<i64>,
    shapes: Bound<'py, PyList>,
    found: Bound<'py, PyList>,
    days: Vec<i64>,
}

/// The days that are to be summed, one after the other. What Python holds of a day is looked at when it has its turn.
struct Waiting {
    asked: Vec<i64>,
    shapes: Py<PyList>,
    values: Py<PyList>,
    wanted: Vec<i64>,
    /// How many of the wanted days are done.
    done: usize,
    /// How many of those that were asked for lie behind, and how many values these have.
    passed: usize,
    start: usize,
    /// Most days look alike, and then have one object as their shape.
    last_shape: Option<(Py<PyAny>, Shape)>,
}

impl Waiting {
    fn new(of: DayParts<'_>) -> Self {
        let DayParts { asked, shapes, found, days } = of;
        let (shapes, values) = (shapes.unbind(), found.unbind());
        Waiting { asked, shapes, values, wanted: days, done: 0, passed: 0, start: 0, last_shape: None }
    }

    fn is_done(&self) -> bool {
        self.done == self.wanted.len()
    }

    /// The day whose turn it is.
    fn day<'py>(&mut self, py: Python<'py>) -> PyResult<Option<HeldDay<'py>>> {
        let Some(&day) = self.wanted.get(self.done) else { return Ok(None) };
        loop {
            let of = *self.asked.get(self.passed).expect("days ascend, and are among those that were asked for");
            let shape = self.shape(py)?;
            let end = self.start + width_of(&shape);
            if of == day {
                let values = self.values.bind(py);
                let value = |place| values.get_item(place)?.extract::<Option<Bound<'py, PyBytes>>>();
                return Ok(Some(HeldDay {
                    day,
                    shape,
                    values: (self.start..end).map(value).collect::<PyResult<_>>()?,
                }));
            }
            (self.passed, self.start) = (self.passed + 1, end);
        }
    }

    fn shape(&mut self, py: Python<'_>) -> PyResult<Shape> {
        let of_day = self.shapes.bind(py).get_item(self.passed)?;
        if let Some((_, shape)) = self.last_shape.as_ref().filter(|(known, _)| known.is(&of_day)) {
            return Ok(Arc::clone(shape));
        }
        let shape: Shape = of_day.extract::<Vec<(usize, usize, usize)>>()?.into();
        self.last_shape = Some((of_day.unbind(), Arc::clone(&shape)));
        Ok(shape)
    }
}

fn width_of(shape: &Shape) -> usize {
    shape.iter().map(|(summaries, heads, cells)| summaries + heads + cells + 1).sum()
}

/// The packed parts of a day, as Python holds them.
struct HeldDay<'py> {
    day: i64,
    shape: Shape,
    values: Vec<Option<Bound<'py, PyBytes>>>,
}

impl HeldDay<'_> {
    /// Its bases in the order of the values, without the deltas.
    fn bases(&self) -> Result<Vec<&[u8]>, FormatError> {
        let mut values = self.values.iter();
        let mut bases = Vec::with_capacity(self.values.len() - self.shape.len());
        for &(summaries, heads, cells) in self.shape.iter() {
            for value in (&mut values).take(summaries + heads + cells) {
                bases.push(value.as_ref().ok_or_else(days::damaged)?.as_bytes());
            }
            values.next();
        }
        Ok(bases)
    }

    fn parts<'a>(&'a self, mut bases: &'a [&'a [u8]]) -> Vec<PartitionDay<'a>> {
        let mut delta = 0;
        let mut part = |&(summaries, heads, cells): &(usize, usize, usize)| {
            let mut take = |number: usize| {
                let (taken, rest) = bases.split_at(number);
                bases = rest;
                taken
            };
            let (summaries, heads, cells) = (take(summaries), take(heads), take(cells));
            delta += summaries.len() + heads.len() + cells.len() + 1;
            let delta = self.values[delta - 1].as_ref().map(|value| value.as_bytes());
            PartitionDay { summaries, heads, cells, delta }
        };
        self.shape.iter().map(&mut part).collect()
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

/// A fold that is made, with its size in bytes; or what goes on to make it.
#[derive(IntoPyObject)]
pub enum Made<F, S> {
    Fold((F, usize)),
    Steps(S),
}

/// A fold by kind that is being made of another one: days are summed, so many bytes at a time, and exchanged.
#[pyclass]
pub struct KindFolding {
    before: Py<KindFold>,
    gone: Vec<i64>,
    changed: Days<KindSums>,
    days: Waiting,
    users: Option<Chosen>,
    current: ByKind,
}

#[pymethods]
impl KindFolding {
    /// Do some more; the fold and its size with the last of it, else None.
    fn step(&mut self, py: Python<'_>, mut left_bytes: usize) -> PyResult<Option<(KindFold, usize)>> {
        let before = &self.before.get().0;
        while let Some(held) = self.days.day(py)? {
            let bases = held.bases().map_err(of_format)?;
            let cuts = &before.plan().day(held.day).map_err(of_format)?.cuts;
            let sums = self.current.sum(&held.parts(&bases), cuts, self.users.as_ref(), &mut left_bytes);
            let Some(sums) = sums.map_err(of_format)? else { return Ok(None) };
            self.changed.push((held.day, Arc::new(sums)));
            self.days.done += 1;
            if left_bytes == 0 && !self.days.is_done() {
                return Ok(None);
            }
        }
        let changed = std::mem::take(&mut self.changed);
        let fold = before.exchange(&self.gone, changed).map_err(of_format)?;
        let size = fold.size_bytes();
        Ok(Some((KindFold(fold), size)))
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
    days: Waiting,
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
    fn sum(&mut self, py: Python<'_>, table: &mut user_table::UserTable, left_bytes: &mut usize) -> PyResult<bool> {
        while *left_bytes > 0 {
            let Some(held) = self.days.day(py)? else { break };
            let bases = held.bases().map_err(of_format)?;
            let window = self.plan.day(held.day).map_err(of_format)?.window;
            let (parts, sources) = (held.parts(&bases), self.sources.as_ref());
            let sums = self.current.sum(&parts, window, sources, table, &mut self.place, left_bytes);
            let Some(sums) = sums.map_err(of_format)? else { break };
            self.changed.push((held.day, Arc::new(sums)));
            self.place = Place::default();
            self.days.done += 1;
        }
        Ok(self.days.is_done())
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
}

impl Exchanging {
    /// Do some more; true: that was the last of it.
    fn advance(&mut self, mut left_bytes: usize) -> bool {
        loop {
            let size = if let Some((_, sums)) = self.out.next() {
                self.fold.exchange(&[&*sums], &[]);
                self.bytes -= size_of_sums(&sums);
                size_of_sums(&sums)
            } else if let Some((day, sums)) = self.into.next() {
                let size = size_of_sums(&sums);
                self.fold.exchange(&[], &[&*sums]);
                self.bytes += size;
                self.days.put(day, sums);
                size
            } else {
                return true;
            };
            left_bytes = left_bytes.saturating_sub(size);
            if left_bytes == 0 {
                return false;
            }
        }
    }
}

#[pymethods]
impl UserFolding {
    /// As in `KindFolding`.
    fn step(&mut self, py: Python<'_>, mut left_bytes: usize) -> PyResult<Option<(UserFold, usize)>> {
        let (before, table) = (self.before.clone_ref(py), self.table.clone_ref(py));
        let users = &mut table.borrow_mut(py).0;
        if self.exchanging.is_none() {
            if !self.sum(py, users, &mut left_bytes)? {
                return Ok(None);
            }
            self.exchanging = Some(self.begin(before.get(), users.len()).map_err(of_format)?);
        }
        if !self.exchanging.as_mut().is_some_and(|of| of.advance(left_bytes)) {
            return Ok(None);
        }
        Ok(self.exchanging.take().map(|of| {
            let outdated: usize = of.days.outdated().map(size_of_sums).sum();
            let size = OBJECT_BYTES + of.fold.size_bytes() + of.bytes + outdated;
            (UserFold { fold: of.fold, days: of.days, days_bytes: of.bytes }, size)
        }))
    }
}

/// The first quarter of a day that holds an event.
#[pyfunction]
pub fn first_quarter(py: Python<'_>, day: DayParts<'_>) -> PyResult<Option<u64>> {
    let Some(held) = Waiting::new(day).day(py)? else { return Ok(None) };
    let bases = held.bases().map_err(of_format)?;
    days::first_quarter(&held.parts(&bases)).map_err(of_format)
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

/// As `Progress` in `api/report/timeline.py`.
type NumberedStates = (usize, usize, usize);

/// Added, deleted, and both of the earlier side.
type Totals = (u64, u64, u64, u64);

type Written<'py> = (Json<'py>, Json<'py>, Json<'py>, Option<Json<'py>>, Json<'py>, Json<'py>);
type Json<'py> = Bound<'py, PyBytes>;

fn progress_of((settled, ended, begun): NumberedStates) -> Progress {
    Progress { settled, ended, begun }
}

fn totals_of(counts: &fold::Counts<'_>) -> Totals {
    let sum = |of: &Vec<u64>| of.iter().copied().fold(0, u64::wrapping_add);
    let ([added, deleted], [added_before, deleted_before]) = (&counts.now.totals, &counts.before.totals);
    (sum(added), sum(deleted), sum(added_before), sum(deleted_before))
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

    /// Another fold: without some days, and with others whose sums are known, or are made of parts; of all users, or
    /// some. Where it takes more than one step, the first of them is done.
    fn exchange(
        slf: &Bound<'_, Self>,
        gone: Vec<i64>,
        known: &Bound<'_, PyDict>,
        days: DayParts<'_>,
        users: Option<Values>,
        step_bytes: usize,
    ) -> PyResult<Made<KindFold, KindFolding>> {
        let mut steps = KindFolding {
            before: slf.clone().unbind(),
            gone,
            changed: known_sums(known, |of| Ok(Arc::clone(&of.downcast::<KindDay>()?.get().0)))?,
            days: Waiting::new(days),
            users: users.map(Chosen::new),
            current: ByKind::new(),
        };
        Ok(steps.step(slf.py(), step_bytes)?.map_or(Made::Steps(steps), Made::Fold))
    }

    /// The sums of a day that is in it.
    fn sums_of(&self, day: i64) -> Option<KindDay> {
        self.0.sums_of(day).map(|sums| KindDay(Arc::clone(sums)))
    }

    /// Added, deleted, and both of the earlier side.
    fn totals(&self) -> Totals {
        totals_of(&self.0.counts())
    }

    /// The timeline as JSON.
    fn timeline<'py>(&self, py: Python<'py>, progress: NumberedStates) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &answers::timeline(self.0.plan(), &self.0.counts(), &progress_of(progress)))
    }

    /// Added by source as JSON; None where there are more sources than are named.
    fn sources<'py>(&self, py: Python<'py>, progress: NumberedStates, names: &Names) -> Option<Bound<'py, PyBytes>> {
        let found = answers::sources(self.0.plan(), &self.0.counts(), &progress_of(progress), &names.0);
        found.map(|json| PyBytes::new(py, &json))
    }

    /// The parts of a whole report as JSON: added, deleted, timeline, sources as above, users, and the sum of those that
    /// are not listed.
    fn report<'py>(
        &self,
        py: Python<'py>,
        progress: NumberedStates,
        names: &Names,
        users: &FirstUsers,
        labels: &Labels,
    ) -> Written<'py> {
        let table = users.table.borrow(py);
        assert_eq!(labels.table_id, table.0.id(), "labels are written for the users that are listed");
        let (plan, counts, progress) = (self.0.plan(), self.0.counts(), progress_of(progress));
        let [added, deleted] = answers::totals(plan, &counts);
        let json = |json: Vec<u8>| PyBytes::new(py, &json);
        (
            json(added),
            json(deleted),
            json(answers::timeline(plan, &counts, &progress)),
            answers::sources(plan, &counts, &progress, &names.0).map(json),
            json(answers::users(&users.of, table.0.texts(), &labels.of)),
            json(answers::omitted(&users.of)),
        )
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

/// Of a fold as Python holds it.
const OBJECT_BYTES: usize = 500;

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
    #[expect(clippy::too_many_arguments, reason = "Python has them one by one")]
    fn exchange(
        slf: &Bound<'_, Self>,
        gone: Vec<i64>,
        known: &Bound<'_, PyDict>,
        plan: &Plan,
        table: Py<UserTable>,
        days: DayParts<'_>,
        sources: Option<Values>,
        step_bytes: usize,
    ) -> PyResult<Made<UserFold, UserFolding>> {
        let mut steps = UserFolding {
            before: slf.clone().unbind(),
            table,
            plan: Arc::clone(&plan.0),
            gone,
            changed: known_sums(known, |of| Ok(Arc::clone(&of.downcast::<UserDay>()?.get().0)))?,
            days: Waiting::new(days),
            sources: sources.map(Chosen::new),
            current: ByUser::default(),
            place: Place::default(),
            exchanging: None,
        };
        Ok(steps.step(slf.py(), step_bytes)?.map_or(Made::Steps(steps), Made::Fold))
    }

    /// The sums of a day that is in it.
    fn sums_of(&self, day: i64) -> Option<UserDay> {
        self.days.get(day).map(|sums| UserDay(Arc::clone(sums)))
    }

    /// The numbers of the first users in the report's order: of those who were the first `before`, and of so many more.
    fn first(&self, table: &UserTable, before: Vec<u32>, start: usize, users: usize, limit: usize) -> Vec<u32> {
        self.fold.first(before, start, start.saturating_add(users), limit, table.0.texts())
    }

    /// The first users: of those who were the first `before`, and of all with numbers from `start` on.
    fn listed(&self, py: Python<'_>, table: Py<UserTable>, before: Vec<u32>, start: usize, limit: usize) -> FirstUsers {
        let first = self.fold.first(before, start, usize::MAX, limit, table.borrow(py).0.texts());
        FirstUsers { of: self.fold.listed(&first, limit), table }
    }

    /// The first of some users alone.
    fn first_of(&self, py: Python<'_>, table: Py<UserTable>, users: Values, limit: usize) -> FirstUsers {
        let known = &table.borrow(py).0;
        let numbers = users.iter().filter_map(|user| known.find(user.as_deref()));
        let of = self.fold.first_of(numbers, limit, known.texts());
        FirstUsers { of, table: table.clone_ref(py) }
    }

    /// All users, to be sorted.
    fn everyone(&self, table: &UserTable) -> Everyone {
        Everyone(user_fold::Everyone::new(&self.fold, table.0.texts()))
    }

    /// Of the sums of its days.
    #[getter]
    fn days_bytes(&self) -> usize {
        self.days_bytes
    }
}

/// As `FirstUsers` in `api/report/user_fold.py`.
#[pyclass(frozen)]
pub struct FirstUsers {
    of: user_fold::First,
    table: Py<UserTable>,
}

#[pymethods]
impl FirstUsers {
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let table = self.table.borrow(py);
        let user =
            |user: u32| Some(user).filter(|&user| user != user_table::NO_USER).map(|user| table.0.texts().text(user));
        PyList::new(py, self.of.rows.iter().map(|&(number, added, deleted)| (user(number), added, deleted)))
    }

    /// Of these and the others: how many have any activity, added, deleted.
    #[getter]
    fn total(&self) -> (usize, u64, u64) {
        self.of.total
    }

    /// Whether some of them are not among those with labels; None: no labels are written, or those of another table.
    fn lack(&self, py: Python<'_>, labels: Option<&Labels>) -> Option<bool> {
        let table_id = self.table.borrow(py).0.id();
        labels.filter(|labels| labels.table_id == table_id).map(|labels| labels.of.lack(&self.of))
    }

    /// The labels of users, as answers have them.
    fn write(&self, py: Python<'_>, by_user: HashMap<String, Option<String>>) -> Labels {
        let table = &self.table.borrow(py).0;
        Labels { of: answers::Labels::new(by_user, table), table_id: table.id() }
    }
}

/// Labels that are written, of users of a table. They are remembered apart from it, and so do not hold it.
#[pyclass(frozen)]
pub struct Labels {
    of: answers::Labels,
    table_id: u64,
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
