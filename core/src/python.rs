//! The classes and functions that Python sees. This module only converts arguments and results.

use pyo3::create_exception;
use pyo3::exceptions::PyValueError;
use pyo3::panic::PanicException;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList, PyTuple};

use crate::batches::{bodies, frame, Header};
use crate::calls::{Call, Calls, Limits};
use crate::counts::AggregateChange;
use crate::formats::FormatError;
use crate::latest::Latest;
use crate::names::{self, Moved};
use crate::partition::{Activity, Commit, Partition, Reading, Rules};
use crate::records::{Fetch, Place, RecordsError};
use crate::reports;
use crate::rows::Rows;

create_exception!(contacts_core, DamagedError, PyValueError, "A stored value is of an unknown format, or damaged.");
create_exception!(contacts_core, CorruptError, PyValueError, "A fetched record batch cannot be read.");
create_exception!(contacts_core, UnsupportedError, PyValueError, "A record batch that another reader may read.");
create_exception!(contacts_core, TooLargeError, PyValueError, "A record batch that comes to too many bytes.");

/// Raised with each change that Python must know of: it takes no other (`stream/core.py`).
const INTERFACE: u32 = 11;

pub fn of_format(error: FormatError) -> PyErr {
    DamagedError::new_err(error.0)
}

fn of_records(error: RecordsError) -> PyErr {
    let text = error.to_string();
    match error {
        RecordsError::Corrupt(_) => CorruptError::new_err(text),
        RecordsError::Unsupported(_) => UnsupportedError::new_err(text),
        RecordsError::TooLarge { .. } => TooLargeError::new_err(text),
    }
}

/// What one fetch brought of a partition: record batches, and which transactions in them were aborted.
#[pyclass]
struct Fetched {
    bytes: PyBackedBytes,
    aborted: Vec<(i64, i64)>,
    place: Place,
    check_crc: bool,
    batch_bytes_limit: usize,
}

#[pymethods]
impl Fetched {
    /// `aborted`: (first offset, producer id), ascending. `start`: the first offset that is wanted.
    #[new]
    fn new(
        bytes: PyBackedBytes,
        start: i64,
        aborted: Vec<(i64, i64)>,
        check_crc: bool,
        batch_bytes_limit: usize,
    ) -> Self {
        let place = Place { next_offset: start, ..Place::default() };
        Fetched { bytes, aborted, place, check_crc, batch_bytes_limit }
    }

    /// The next offset to ask for, after what was taken.
    #[getter]
    fn next_offset(&self) -> i64 {
        self.place.next_offset
    }

    /// How many bytes are left, perhaps of a batch that is not whole.
    #[getter]
    fn left(&self) -> usize {
        self.fetch().left()
    }

    /// Whether a whole batch is left.
    #[getter]
    fn has_next(&self) -> bool {
        self.fetch().has_next()
    }
}

impl Fetched {
    fn fetch(&self) -> Fetch<'_> {
        let place = self.place.clone();
        Fetch::resume(&self.bytes, &self.aborted, place, self.check_crc, self.batch_bytes_limit)
    }
}

/// The latest value of each key of a changelog, until a partition adopts them.
#[pyclass]
#[derive(Default)]
struct LatestRecords {
    latest: Latest,
}

#[pymethods]
impl LatestRecords {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// Take all of a fetch.
    fn read(&mut self, py: Python<'_>, fetched: &mut Fetched) -> PyResult<()> {
        let latest = &mut self.latest;
        fetched.place = py
            .allow_threads(|| {
                let mut fetch = fetched.fetch();
                latest.read(&mut fetch).map(|()| fetch.place())
            })
            .map_err(of_records)?;
        Ok(())
    }

    /// Take one record. Without a value it deletes its key.
    #[pyo3(signature = (key, value))]
    fn put(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.latest.put(key, value);
    }

    /// Look at some keys for their order. False: all were looked at, and a partition may adopt them.
    fn arrange(&mut self, py: Python<'_>) -> bool {
        py.allow_threads(|| self.latest.arrange())
    }

    /// A key of each kind, once all were arranged.
    fn one_of_each_kind<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyBytes>> {
        self.latest.one_of_each_kind().into_iter().map(|key| PyBytes::new(py, key)).collect()
    }

    /// The value of a key, until it is adopted.
    fn get<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyBytes>> {
        self.latest.get(key).map(|value| PyBytes::new(py, value))
    }

    /// How many keys there are, or were before they were adopted.
    fn __len__(&self) -> usize {
        self.latest.len()
    }
}

type Fields = (
    String,
    u8,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    i64,
    u8,
    Option<String>,
);
type Resolved = Option<Fields>;

/// The state of one source partition.
#[pyclass]
struct CorePartition {
    state: Partition,
    reading: Option<Reading>,
    panics_in: Option<String>,
}

#[pymethods]
impl CorePartition {
    #[new]
    #[pyo3(signature = (partition, *, max_event_bytes, future_tolerance_seconds, retention_days, dedupe_window_hours,
        dedupe_max_ids, delta_floor, base_bytes_limit, keep_rows, name_limit=5_000_000, block_ids=128,
        uncounted_block_bytes=512, unkept_limit=1_000_000, lateness_bounds_ms=Vec::new()))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        partition: u16,
        max_event_bytes: usize,
        future_tolerance_seconds: i64,
        retention_days: Option<i64>,
        dedupe_window_hours: i64,
        dedupe_max_ids: usize,
        delta_floor: usize,
        base_bytes_limit: usize,
        keep_rows: bool,
        name_limit: usize,
        block_ids: usize,
        uncounted_block_bytes: usize,
        unkept_limit: usize,
        lateness_bounds_ms: Vec<i64>,
    ) -> Self {
        let rules = Rules {
            max_event_bytes,
            future_tolerance_seconds,
            retention_days,
            dedupe_window_hours,
            dedupe_max_ids,
            name_limit,
            delta_floor,
            base_bytes_limit,
            keep_rows,
            block_ids,
            uncounted_block_bytes,
            unkept_limit,
            lateness_bounds_ms,
        };
        CorePartition { state: Partition::new(partition, rules), reading: None, panics_in: None }
    }

    /// For tests of what becomes of a panic: the next `read`, `judge`, `encode` or `adopt` is to.
    fn panic_in(&mut self, place: String) {
        self.panics_in = Some(place);
    }

    /// Take some of a changelog's records, which are arranged: about so many and of so many bytes. False: there are no
    /// more.
    fn adopt(&mut self, py: Python<'_>, latest: &mut LatestRecords, records: usize, bytes: usize) -> PyResult<bool> {
        self.reach("adopt");
        let state = &mut self.state;
        py.allow_threads(|| latest.latest.give(records, bytes, &mut |key, value| state.adopt(key, value)))
            .map_err(of_format)
    }

    /// Once all were given; with what the position's record says.
    fn finish_adopting(&mut self, py: Python<'_>, latest_hour: Option<i64>, counts_from: Option<i64>) {
        py.allow_threads(|| self.state.finish_adopting(latest_hour, counts_from));
    }

    /// In place of `read`, of records that the strict reader reads, all of them: (offset, timestamp, has a value) each.
    fn take(&mut self, records: Vec<(i64, i64, bool)>) {
        self.reading = Some(self.state.take(&records));
    }

    /// Read whole batches until so many records were read. Returns the number of records, what the last one looked like
    /// (offset, timestamp, checksum), the greatest timestamp, and the records that are for the strict reader, each as
    /// (offset, timestamp, by the broker's clock, key, value, headers). `trusted_ms`: the latest timestamp that a
    /// record may have; the strict reader is to say what becomes of one beyond it.
    #[allow(clippy::type_complexity)]
    fn read<'py>(
        &mut self,
        py: Python<'py>,
        fetched: &mut Fetched,
        limit: usize,
        trusted_ms: i64,
    ) -> PyResult<(usize, Option<(i64, i64, u32)>, i64, Bound<'py, PyList>)> {
        self.reach("read");
        let state = &mut self.state;
        let (reading, place) = py
            .allow_threads(|| {
                let mut fetch = fetched.fetch();
                let reading = state.read(&mut fetch, limit, trusted_ms);
                reading.map(|reading| (reading, fetch.place()))
            })
            .map_err(of_records)?;
        fetched.place = place;
        let odd = PyList::empty(py);
        for record in &reading.odd {
            let headers = PyList::empty(py);
            for (name, value) in &record.headers {
                headers.append((PyBytes::new(py, name), value.as_ref().map(|value| PyBytes::new(py, value))))?;
            }
            let bytes = |part: &Option<Vec<u8>>| part.as_ref().map(|part| PyBytes::new(py, part));
            let (key, value) = (bytes(&record.key), bytes(&record.value));
            odd.append((record.offset, record.timestamp, record.log_append_time, key, value, headers))?;
        }
        let last = reading.last.map(|last| (last.offset, last.timestamp, last.checksum));
        let answer = (reading.len(), last, reading.greatest_timestamp, odd);
        self.reading = Some(reading);
        Ok(answer)
    }

    /// Judge and count what was read last. `resolved`: of each odd record what the strict reader made of it, an
    /// activity as a tuple of its fields, or None where it does not count. Returns how many counted, were duplicates,
    /// had no value, and were of a day that retention had dropped.
    fn judge(&mut self, py: Python<'_>, resolved: Vec<Resolved>) -> PyResult<(u64, u64, u64, u64)> {
        self.reach("judge");
        let Some(mut reading) = self.reading.take() else {
            return Err(PyValueError::new_err("nothing was read"));
        };
        let state = &mut self.state;
        let outcomes = py.allow_threads(|| {
            if !reading.odd.is_empty() {
                let activities: Vec<Option<Activity<'_>>> =
                    resolved.iter().map(|of| of.as_ref().map(activity_of)).collect();
                state.resolve(&mut reading, &activities);
            }
            state.judge(&reading)
        });
        let outcomes = outcomes.map_err(of_format)?;
        Ok((outcomes.counted, outcomes.duplicate, outcomes.skipped, outcomes.expired))
    }

    /// Everything that changed since the last call: changelog records, the position's as the last; day aggregates as
    /// (workspace, day, bases, delta, number of bases, rows, whether it was dropped); users and sources that moved.
    fn encode<'py>(&mut self, py: Python<'py>, next_offset: i64) -> PyResult<Bound<'py, PyTuple>> {
        self.reach("encode");
        let state = &mut self.state;
        let commit = py.allow_threads(|| state.encode(next_offset)).map_err(of_format)?;
        let shown = self.shown(py, &commit);
        self.forget_unkept(py);
        shown
    }

    /// The same, packed: bodies of record batches as (records, number), the position's record the last of all; and
    /// calls to Redis as (keys, number, operations, number, workspaces). `position` is told how many keys the changelog
    /// has of all but the position, and gives its record.
    #[allow(clippy::type_complexity, clippy::too_many_arguments)]
    fn encode_packed<'py>(
        &mut self,
        py: Python<'py>,
        next_offset: i64,
        position: &Bound<'py, PyAny>,
        prefix: &str,
        batch_bytes: usize,
        call_bytes: usize,
        operation_values: usize,
    ) -> PyResult<(Vec<(Bound<'py, PyBytes>, u32)>, Vec<PackedCall<'py>>)> {
        self.reach("encode");
        let state = &mut self.state;
        let mut commit = py.allow_threads(|| state.encode(next_offset)).map_err(of_format)?;
        let (key, value): (PyBackedBytes, PyBackedBytes) = position.call1((state.keys(),))?.extract()?;
        let (bodies, calls) = py.allow_threads(|| {
            commit.table.put(|out| out.extend_from_slice(&key), |out| out.extend_from_slice(&value));
            let limits = Limits { call_bytes, operation_values: operation_values.max(2) };
            let calls = Calls::new(state, prefix, limits).of_commit(&commit);
            (bodies(&commit.table, batch_bytes), calls)
        });
        self.forget_unkept(py);
        let bodies = bodies.iter().map(|body| (PyBytes::new(py, &body.records), body.count)).collect();
        Ok((bodies, calls.iter().map(|call| packed_call(py, call)).collect()))
    }

    /// Look at so many day aggregates from a place on: (offset, number) of those whose last event has an offset above
    /// this one, ascending; and the place to go on from, or None.
    fn aggregates_piece(
        &self,
        after: i64,
        workspace: usize,
        day: usize,
        limit: usize,
    ) -> (Vec<(i64, u32)>, Option<names::Place>) {
        self.state.counts.piece_after(after, (workspace, day), limit)
    }

    /// One of the day aggregates, which `chance` in [0, 1) says, as (offset of its last event, number).
    fn draw(&self, chance: f64) -> Option<(i64, u32)> {
        self.state.counts.draw(chance)
    }

    /// The day aggregate of a workspace and day, as (offset of its last event, number).
    fn find(&self, workspace: &str, day: i64) -> Option<(i64, u32)> {
        self.state.counts.find(self.state.names.find_workspace(workspace)?, day)
    }

    /// All of a day aggregate, by its number.
    fn whole_aggregate<'py>(&self, py: Python<'py>, aggregate: u32) -> PyResult<Bound<'py, PyTuple>> {
        let whole = self.state.counts.whole(aggregate, &self.state.names).map_err(of_format)?;
        self.shown_aggregate(py, &whole, &Rows::default())
    }

    /// Look at so many names from a place on: the users whose label moved last, as (offset, workspace, user),
    /// ascending, and the sources first seen, as texts, at an offset above this one; and the place to go on from, or
    /// None.
    #[allow(clippy::type_complexity)]
    fn names_piece<'py>(
        &self,
        py: Python<'py>,
        after: i64,
        workspace: usize,
        name: usize,
        limit: usize,
    ) -> PyResult<(Vec<(i64, u32, u32)>, Bound<'py, PyList>, Option<names::Place>)> {
        let piece = self.state.names.piece_after(after, (workspace, name), limit);
        Ok((piece.users, self.shown_sources(py, &piece.sources)?, piece.next))
    }

    /// A user's label, by the numbers of workspace and user.
    fn user_name<'py>(&self, py: Python<'py>, workspace: u32, user: u32) -> PyResult<Bound<'py, PyTuple>> {
        let name = self.state.names.user_name(workspace, user);
        let workspace_id = self.state.names.workspace_id(workspace);
        (workspace_id, name.user_id, name.occurred_at, name.offset, name.label).into_pyobject(py)
    }

    fn is_uncounted(&self, offset: i64) -> bool {
        self.state.uncounted.contains(offset)
    }

    fn uncounted(&self, after: i64, upto: i64) -> Vec<(i64, i64)> {
        self.state.uncounted.ranges(after, upto)
    }

    fn forget_uncounted_before(&mut self, offset: i64) {
        self.state.uncounted.forget_before(offset);
    }

    /// Of the events that counted since this was asked last: how many were late by at most each bound, and more than
    /// the one before, the last of them by more than any; and the sum of the milliseconds.
    fn take_lateness(&mut self) -> (Vec<u64>, u64) {
        self.state.lateness.take()
    }

    /// How many keys the changelog has of all but the position, with what was encoded.
    #[getter]
    fn keys(&self) -> usize {
        self.state.keys()
    }

    #[getter]
    fn ids(&self) -> usize {
        self.state.ids.len()
    }

    #[getter]
    fn ids_dropped_early(&self) -> u64 {
        self.state.ids.dropped_early
    }

    #[getter]
    fn names_not_kept(&self) -> u64 {
        self.state.names.not_kept
    }

    /// How many users, sources and workspaces have a number and no name.
    #[getter]
    fn unkept(&self) -> usize {
        self.state.names.unkept()
    }

    #[getter]
    fn latest_hour(&self) -> Option<i64> {
        self.state.ids.latest_hour
    }

    #[getter]
    fn counts_from(&self) -> Option<i64> {
        self.state.counts.counts_from
    }

    /// Day aggregates, the bytes that they take, and the bytes that recent ids take.
    fn size(&self) -> (usize, usize, usize) {
        let (aggregates, bytes) = self.state.counts.size();
        (aggregates, bytes, self.state.ids.bytes())
    }
}

impl CorePartition {
    fn forget_unkept(&mut self, py: Python<'_>) {
        if self.reading.is_none() {
            py.allow_threads(|| self.state.forget_unkept());
        }
    }

    fn reach(&self, place: &str) {
        assert!(self.panics_in.as_deref() != Some(place), "a panic in {place}, as a test asked for");
    }

    fn shown<'py>(&self, py: Python<'py>, commit: &Commit) -> PyResult<Bound<'py, PyTuple>> {
        let table = PyList::empty(py);
        for (key, value) in commit.table.iter() {
            table.append((PyBytes::new(py, key), value.map(|value| PyBytes::new(py, value))))?;
        }
        let aggregates = PyList::empty(py);
        for aggregate in &commit.aggregates {
            aggregates.append(self.shown_aggregate(py, aggregate, &commit.rows)?)?;
        }
        let (users, sources) = self.shown_names(py, &commit.moved)?;
        (table, aggregates, users, sources).into_pyobject(py)
    }

    fn shown_names<'py>(&self, py: Python<'py>, moved: &Moved) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let users = PyList::empty(py);
        for &(workspace, user) in &moved.users {
            users.append(self.user_name(py, workspace, user)?)?;
        }
        Ok((users, self.shown_sources(py, &moved.sources)?))
    }

    fn shown_sources<'py>(&self, py: Python<'py>, sources: &[(u32, u32)]) -> PyResult<Bound<'py, PyList>> {
        let names = &self.state.names;
        let shown = PyList::empty(py);
        for &(workspace, source) in sources {
            shown.append((names.workspace_id(workspace), names.source_text(source)))?;
        }
        Ok(shown)
    }

    fn shown_aggregate<'py>(
        &self,
        py: Python<'py>,
        aggregate: &AggregateChange,
        of_commit: &Rows,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let bases = PyList::empty(py);
        for base in &aggregate.bases {
            let (head, cells) = self.state.counts.base(aggregate.number, base.number);
            let parts = [head, cells, &base.summary].map(|part| PyBytes::new(py, part));
            let [head, cells, summary] = parts;
            bases.append((base.number, head, cells, summary))?;
        }
        let rows = PyList::empty(py);
        for row in of_commit.of(&aggregate.rows) {
            rows.append(PyBytes::new(py, row))?;
        }
        let delta = self.state.counts.delta(aggregate.number).map(|delta| PyBytes::new(py, delta));
        let workspace = self.state.names.workspace_id(aggregate.workspace);
        (workspace, aggregate.day, bases, delta, aggregate.base_count, rows, aggregate.dropped).into_pyobject(py)
    }
}

type PackedCall<'py> = (Bound<'py, PyBytes>, usize, Bound<'py, PyBytes>, usize, Bound<'py, PyBytes>);

fn packed_call<'py>(py: Python<'py>, call: &Call) -> PackedCall<'py> {
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
    (bytes(&call.keys), call.key_count, bytes(&call.operations), call.operation_count, bytes(&call.workspaces))
}

/// A whole record batch of some records, for a producer and its transaction.
#[pyfunction]
fn frame_batch<'py>(
    py: Python<'py>,
    records: &[u8],
    count: u32,
    timestamp_ms: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
) -> Bound<'py, PyBytes> {
    let header = Header { timestamp_ms, transactional: producer_id >= 0, producer_id, producer_epoch, base_sequence };
    PyBytes::new(py, &frame(records, count, &header))
}

fn activity_of(of: &Fields) -> Activity<'_> {
    Activity {
        event_id: &of.0,
        activity: of.1,
        workspace_id: &of.2,
        contact_id: &of.3,
        contact_name: of.4.as_deref(),
        source: of.5.as_deref(),
        user_id: of.6.as_deref(),
        user_name: of.7.as_deref(),
        occurred_at: of.8,
        fraction_digits: of.9,
        batch_id: of.10.as_deref(),
    }
}

/// Go on without a guard, in this process.
#[cfg(feature = "mutants")]
#[pyfunction]
fn take_away(guard: &str) {
    crate::mutants::take_away(guard);
}

#[pymodule]
fn contacts_core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("INTERFACE", INTERFACE)?;
    module.add("Panic", module.py().get_type::<PanicException>())?;
    module.add_function(wrap_pyfunction!(frame_batch, module)?)?;
    module.add_function(wrap_pyfunction!(reports::first_quarter, module)?)?;
    module.add_class::<Fetched>()?;
    module.add_class::<CorePartition>()?;
    module.add_class::<LatestRecords>()?;
    module.add_class::<reports::Plan>()?;
    module.add_class::<reports::KindFolding>()?;
    module.add_class::<reports::UserFolding>()?;
    module.add_class::<reports::Names>()?;
    module.add_class::<reports::KindDay>()?;
    module.add_class::<reports::KindFold>()?;
    module.add_class::<reports::UserTable>()?;
    module.add_class::<reports::UserDay>()?;
    module.add_class::<reports::UserFold>()?;
    module.add_class::<reports::FirstUsers>()?;
    module.add_class::<reports::Labels>()?;
    module.add_class::<reports::Everyone>()?;
    module.add("DamagedError", module.py().get_type::<DamagedError>())?;
    module.add("CorruptError", module.py().get_type::<CorruptError>())?;
    module.add("UnsupportedError", module.py().get_type::<UnsupportedError>())?;
    module.add("TooLargeError", module.py().get_type::<TooLargeError>())?;
    #[cfg(feature = "mutants")]
    {
        module.add("GUARDS", crate::mutants::GUARDS)?;
        module.add_function(wrap_pyfunction!(take_away, module)?)?;
    }
    Ok(())
}
