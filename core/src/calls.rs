//! Splits a commit into calls to Redis. Each call has a bounded size, and each day aggregate is whole within one call.
//! Keys and arguments are encoded as in the Redis protocol, one bulk string after the other. The Python form, with the
//! reasons, is `stream/projection/calls.py`; `replica.lua` defines the operations.

use hashbrown::HashMap;

use crate::counts::{AggregateChange, Counts};
use crate::names::{Moved, Names};
use crate::partition::{Commit, Partition};
use crate::rows::Rows;

const NAME_BYTES: usize = 400;
const DAYS_A_HASH: i64 = 32;
const NANOSECONDS: i64 = 1_000_000_000;

/// One call: keys behind that of the positions, operations, and the workspaces that it touches, one a line.
#[derive(Default)]
pub struct Call {
    pub keys: Vec<u8>,
    pub key_count: usize,
    pub operations: Vec<u8>,
    pub operation_count: usize,
    pub workspaces: Vec<u8>,
}

/// How large a call is about, and how many values one operation has at most; two or more.
#[derive(Clone, Copy)]
pub struct Limits {
    pub call_bytes: usize,
    pub operation_values: usize,
}

/// The numbers of keys of a workspace in a call.
#[derive(Clone, Copy)]
struct WorkspaceKeys {
    days: usize,
    /// 0: the call has none yet.
    names: usize,
}

/// An operation whose pairs are gathered as long as a workspace lasts.
struct Gathered {
    name: u8,
    key: usize,
    pairs: usize,
    bytes: Vec<u8>,
}

/// Operations gathered into calls. A call is closed where the next thing would make it too large.
pub struct Calls<'a> {
    names: &'a Names,
    counts: &'a Counts,
    prefix: &'a str,
    partition: u16,
    limits: Limits,
    closed: Vec<Call>,
    call: Call,
    /// Of the list of workspaces; 0: the call has none yet.
    workspaces_key: usize,
    /// By workspace.
    touched: HashMap<u32, WorkspaceKeys>,
    /// The workspace that was touched last: its operations that are not in the call yet, and in the order of which of
    /// them began; the keys of its hashes of cells and of its last rows.
    workspace: Option<u32>,
    gathered: Vec<Gathered>,
    /// Of operations that are in the call.
    spare: Vec<Gathered>,
    cells_keys: Vec<(i64, usize)>,
    rows_key: Option<(i64, usize)>,
    /// Its days that get one row each, and that row.
    lone_rows: Vec<(i64, &'a [u8])>,
    bytes: usize,
    scratch: Vec<u8>,
}

impl<'a> Calls<'a> {
    pub fn new(state: &'a Partition, prefix: &'a str, limits: Limits) -> Self {
        Calls {
            names: &state.names,
            counts: &state.counts,
            prefix,
            partition: state.number(),
            limits,
            closed: Vec::new(),
            call: Call::default(),
            workspaces_key: 0,
            touched: HashMap::new(),
            workspace: None,
            gathered: Vec::new(),
            spare: Vec::new(),
            cells_keys: Vec::new(),
            rows_key: None,
            lone_rows: Vec::new(),
            bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// The calls of one commit, in order; at least one.
    pub fn of_commit(mut self, commit: &'a Commit) -> Vec<Call> {
        let aggregates = &commit.aggregates;
        for place in self.by_workspace(aggregates.iter().map(|aggregate| aggregate.workspace)) {
            self.aggregate_with_rows(&aggregates[place], &commit.rows);
        }
        self.moved(&commit.moved);
        self.close();
        self.closed
    }

    /// The places of what has these workspaces: by their ids, in their order of one workspace.
    fn by_workspace(&self, workspaces: impl Iterator<Item = u32> + Clone) -> Vec<usize> {
        let mut ids: Vec<u32> = workspaces.clone().collect();
        ids.sort_unstable();
        ids.dedup();
        ids.sort_unstable_by_key(|&workspace| self.names.workspace_id(workspace));
        let ranks: HashMap<u32, usize> = ids.iter().enumerate().map(|(rank, &workspace)| (workspace, rank)).collect();
        let mut order: Vec<(usize, usize)> =
            workspaces.enumerate().map(|(place, workspace)| (ranks[&workspace], place)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, place)| place).collect()
    }

    fn close(&mut self) {
        self.leave_workspace();
        self.closed.push(std::mem::take(&mut self.call));
        self.workspaces_key = 0;
        self.touched.clear();
        self.bytes = 0;
    }

    fn leave_workspace(&mut self) {
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.iter_mut().for_each(|operation| self.send(operation));
        self.spare.append(&mut gathered);
        self.gathered = gathered;
        self.send_lone_rows();
        self.workspace = None;
        self.cells_keys.clear();
        self.rows_key = None;
    }

    /// Closes the call that is full before about so many bytes are added.
    fn make_room(&mut self, size: usize) {
        if self.bytes > 0 && self.bytes + size > self.limits.call_bytes {
            self.close();
        }
        self.bytes += size;
    }

    fn aggregate_with_rows(&mut self, aggregate: &AggregateChange, rows: &'a Rows) {
        let (size, list) = (self.size_of(aggregate), &aggregate.rows);
        if list.bytes + size > self.limits.call_bytes {
            self.cut_rows(aggregate, rows);
            self.make_room(size);
        } else {
            self.make_room(list.bytes + size);
            self.rows(aggregate, rows.of(list), list.count);
        }
        self.aggregate(aggregate);
    }

    fn size_of(&self, aggregate: &AggregateChange) -> usize {
        let bases = aggregate.bases.iter().map(|base| {
            let (head, cells) = self.counts.base(aggregate.number, base.number);
            head.len() + cells.len() + base.summary.len()
        });
        200 + self.counts.delta(aggregate.number).map_or(0, <[u8]>::len) + bases.sum::<usize>()
    }

    fn cut_rows(&mut self, aggregate: &AggregateChange, rows: &'a Rows) {
        let mut rest = rows.of(&aggregate.rows);
        let (mut count, mut size) = (0, 0);
        for row in rows.of(&aggregate.rows) {
            if size + row.len() > self.limits.call_bytes / 2 {
                self.make_room(size);
                self.rows(aggregate, rest.by_ref(), count);
                (count, size) = (0, 0);
            }
            count += 1;
            size += row.len();
        }
        self.make_room(size);
        self.rows(aggregate, rest, count);
    }

    /// Adds the first `count` of some rows of a day aggregate.
    fn rows(&mut self, aggregate: &AggregateChange, mut rows: impl Iterator<Item = &'a [u8]>, mut count: usize) {
        if count == 0 {
            return;
        }
        self.touch(aggregate.workspace);
        if count == 1 {
            self.lone_rows.extend(rows.next().map(|row| (aggregate.day, row)));
            return;
        }
        while count > 0 {
            let some = count.min(self.limits.operation_values);
            let key = self.rows_key(aggregate.workspace, aggregate.day);
            self.operation(b"z", key);
            self.number(some as i64);
            rows.by_ref().take(some).for_each(|row| self.argument(row));
            count -= some;
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateChange) {
        let (workspace, day, number) = (aggregate.workspace, aggregate.day, aggregate.number);
        let days = self.touch(workspace).days;
        let cells = self.cells_key(workspace, day);
        if aggregate.dropped {
            self.drop_day(aggregate, cells);
            self.manifest(days, day, None);
            let key = self.rows_key(workspace, day);
            self.operation(b"u", key);
            return;
        }
        let (counts, partition) = (self.counts, self.partition);
        let mut put = |base: Option<usize>, part: u8, value: &[u8]| {
            self.gather(b'h', cells, |out, scratch| {
                scratch.clear();
                put_field(scratch, day, partition, base, part);
                put_bulk(out, scratch);
                put_bulk(out, value);
            });
        };
        for base in &aggregate.bases {
            let (head, cells) = counts.base(number, base.number);
            put(Some(base.number), b'h', head);
            put(Some(base.number), b'c', cells);
            put(Some(base.number), b's', &base.summary);
        }
        match counts.delta(number) {
            Some(delta) => put(None, b't', delta),
            None => {
                self.operation(b"x", cells);
                self.number(1);
                self.text(|out| put_field(out, day, partition, None, b't'));
            }
        }
        self.manifest(days, day, Some(aggregate.base_count));
    }

    fn drop_day(&mut self, aggregate: &AggregateChange, cells: usize) {
        let (day, partition) = (aggregate.day, self.partition);
        let bases = (0..aggregate.base_count).flat_map(|base| [b'h', b'c', b's'].map(|part| (Some(base), part)));
        let fields = 1 + 3 * aggregate.base_count;
        for (place, (base, part)) in std::iter::once((None, b't')).chain(bases).enumerate() {
            if place % self.limits.operation_values == 0 {
                self.operation(b"x", cells);
                self.number((fields - place).min(self.limits.operation_values) as i64);
            }
            self.text(|out| put_field(out, day, partition, base, part));
        }
    }

    /// This partition's part of a day's manifest: its bases, or nothing.
    fn manifest(&mut self, days: usize, day: i64, base_count: Option<usize>) {
        let partition = self.partition;
        self.gather(b'd', days, |out, scratch| {
            put_bulk_number(out, day);
            scratch.clear();
            if let Some(bases) = base_count {
                put_number(scratch, i64::from(partition));
                scratch.push(b':');
                put_number(scratch, bases as i64);
            }
            put_bulk(out, scratch);
        });
    }

    fn moved(&mut self, moved: &Moved) {
        let names = self.names;
        for place in self.by_workspace(moved.users.iter().map(|user| user.0)) {
            let (workspace, user) = moved.users[place];
            self.make_room(NAME_BYTES);
            let key = self.names_key(workspace);
            let name = names.user_name(workspace, user);
            let (seconds, nanos) = (name.occurred_at.div_euclid(NANOSECONDS), name.occurred_at.rem_euclid(NANOSECONDS));
            let whence = [seconds, nanos, i64::from(self.partition), name.offset];
            self.gather(b'l', key, |out, scratch| {
                scratch.clear();
                scratch.extend_from_slice(b"u:");
                scratch.extend_from_slice(name.user_id.unwrap_or("").as_bytes());
                put_bulk(out, scratch);
                scratch.clear();
                for number in whence {
                    put_number(scratch, number);
                    scratch.push(b' ');
                }
                scratch.push(if name.label.is_some() { b'1' } else { b'0' });
                scratch.extend_from_slice(name.label.unwrap_or("").as_bytes());
                put_bulk(out, scratch);
            });
        }
        for place in self.by_workspace(moved.sources.iter().map(|source| source.0)) {
            let (workspace, source) = moved.sources[place];
            self.make_room(NAME_BYTES);
            let key = self.names_key(workspace);
            self.gather(b'h', key, |out, scratch| {
                scratch.clear();
                scratch.extend_from_slice(b"s:");
                scratch.extend_from_slice(names.source_text(source).unwrap_or("").as_bytes());
                put_bulk(out, scratch);
                put_bulk(out, b"");
            });
        }
    }

    /// Once a call and workspace: it is listed, and has changed.
    fn touch(&mut self, workspace: u32) -> WorkspaceKeys {
        if self.workspace != Some(workspace) {
            self.leave_workspace();
            self.workspace = Some(workspace);
        }
        if let Some(&keys) = self.touched.get(&workspace) {
            return keys;
        }
        let id = self.names.workspace_id(workspace).as_bytes();
        if !self.call.workspaces.is_empty() {
            self.call.workspaces.push(b'\n');
        }
        self.call.workspaces.extend_from_slice(id);
        let keys = WorkspaceKeys { days: self.add_key(&[b"days:", id], None), names: 0 };
        self.touched.insert(workspace, keys);
        if self.workspaces_key == 0 {
            self.workspaces_key = self.add_key(&[b"workspaces"], None);
        }
        self.operation(b"w", self.workspaces_key);
        self.number(keys.days as i64);
        self.argument(id);
        keys
    }

    fn names_key(&mut self, workspace: u32) -> usize {
        let keys = self.touch(workspace);
        if keys.names > 0 {
            return keys.names;
        }
        let names = self.add_key(&[b"names:", self.names.workspace_id(workspace).as_bytes()], None);
        self.touched.insert(workspace, WorkspaceKeys { names, ..keys });
        names
    }

    /// The key of the hash in which a day's cells lie.
    fn cells_key(&mut self, workspace: u32, day: i64) -> usize {
        let hash = day.div_euclid(DAYS_A_HASH);
        if let Some(&(_, key)) = self.cells_keys.iter().find(|known| known.0 == hash) {
            return key;
        }
        let key = self.add_key(&[b"cells:", self.names.workspace_id(workspace).as_bytes()], Some(hash));
        self.cells_keys.push((hash, key));
        key
    }

    fn rows_key(&mut self, workspace: u32, day: i64) -> usize {
        match self.rows_key {
            Some((known, key)) if known == day => key,
            _ => {
                let key = self.add_key(&[b"rows1:", self.names.workspace_id(workspace).as_bytes()], Some(day));
                self.rows_key = Some((day, key));
                key
            }
        }
    }

    /// Adds a key to the call: behind the prefix some texts, and perhaps a number. Returns its own number.
    fn add_key(&mut self, texts: &[&[u8]], number: Option<i64>) -> usize {
        self.scratch.clear();
        self.scratch.extend_from_slice(self.prefix.as_bytes());
        texts.iter().for_each(|text| self.scratch.extend_from_slice(text));
        if let Some(number) = number {
            self.scratch.push(b':');
            put_number(&mut self.scratch, number);
        }
        put_bulk(&mut self.call.keys, &self.scratch);
        self.call.key_count += 1;
        self.call.key_count + 1 // the first key is that of the positions
    }

    /// Adds a pair to the operation of a key of the workspace. It goes into the call when it is full, or all of the
    /// workspace is there.
    fn gather(&mut self, name: u8, key: usize, pair: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) {
        let known = self.gathered.iter().rposition(|operation| operation.name == name && operation.key == key);
        let place = known.unwrap_or_else(|| {
            let bytes = self.spare.pop().map_or_else(Vec::new, |spare| spare.bytes);
            self.gathered.push(Gathered { name, key, pairs: 0, bytes });
            self.gathered.len() - 1
        });
        let operation = &mut self.gathered[place];
        pair(&mut operation.bytes, &mut self.scratch);
        operation.pairs += 1;
        if 2 * operation.pairs + 2 > self.limits.operation_values {
            let mut full = std::mem::replace(operation, Gathered { name, key, pairs: 0, bytes: Vec::new() });
            self.send(&mut full);
            self.gathered[place].bytes = full.bytes;
        }
    }

    /// Puts what was gathered of an operation into the call.
    fn send(&mut self, operation: &mut Gathered) {
        if operation.pairs > 0 {
            self.operation(&[operation.name], operation.key);
            self.number(operation.pairs as i64);
            self.call.operations.extend_from_slice(&operation.bytes);
            self.call.operation_count += 2 * operation.pairs;
        }
        operation.pairs = 0;
        operation.bytes.clear();
    }

    /// Adds the keys that get one row each, one after another, and the one operation for all of them.
    fn send_lone_rows(&mut self) {
        let (Some(workspace), false) = (self.workspace, self.lone_rows.is_empty()) else { return };
        let mut lone_rows = std::mem::take(&mut self.lone_rows);
        let first = self.call.key_count + 2;
        let id = self.names.workspace_id(workspace).as_bytes();
        for &(day, _) in &lone_rows {
            self.add_key(&[b"rows1:", id], Some(day));
        }
        self.operation(b"r", first);
        self.number(lone_rows.len() as i64);
        lone_rows.drain(..).for_each(|(_, row)| self.argument(row));
        self.lone_rows = lone_rows;
    }

    fn operation(&mut self, name: &[u8], key: usize) {
        self.argument(name);
        self.number(key as i64);
    }

    fn argument(&mut self, bytes: &[u8]) {
        put_bulk(&mut self.call.operations, bytes);
        self.call.operation_count += 1;
    }

    fn number(&mut self, number: i64) {
        put_bulk_number(&mut self.call.operations, number);
        self.call.operation_count += 1;
    }

    /// Adds what is written as one argument.
    fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.scratch.clear();
        write(&mut self.scratch);
        put_bulk(&mut self.call.operations, &self.scratch);
        self.call.operation_count += 1;
    }
}

/// Puts the name of a field of a day: its delta, or a part of one of its bases.
fn put_field(out: &mut Vec<u8>, day: i64, partition: u16, base: Option<usize>, part: u8) {
    for number in [Some(day), Some(i64::from(partition)), base.map(|base| base as i64)].into_iter().flatten() {
        put_number(out, number);
        out.push(b'.');
    }
    out.push(part);
}

/// Puts one bulk text of Redis' protocol.
fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + DIGITS + 5);
    out.push(b'$');
    put_number(out, bytes.len() as i64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn put_bulk_number(out: &mut Vec<u8>, number: i64) {
    if (0..10).contains(&number) {
        out.extend_from_slice(&[b'$', b'1', b'\r', b'\n', b'0' + number as u8, b'\r', b'\n']);
    } else {
        put_bulk(out, write_number(&mut [0; DIGITS], number));
    }
}

/// Of the longest number, with its sign.
const DIGITS: usize = 20;

fn put_number(out: &mut Vec<u8>, number: i64) {
    if (0..10).contains(&number) {
        out.push(b'0' + number as u8);
    } else {
        out.extend_from_slice(write_number(&mut [0; DIGITS], number));
    }
}

/// A number in decimal, at the end of the digits.
fn write_number(digits: &mut [u8; DIGITS], number: i64) -> &[u8] {
    let (mut at, mut left) = (DIGITS, number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    &digits[at..]
}

#[cfg(test)]
mod tests {
    use super::put_number;

    #[test]
    fn numbers_are_written_as_they_are_printed() {
        for number in [0, 9, 10, 99, 100, 1_234_567, -1, -90, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
