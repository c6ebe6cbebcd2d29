//! Splits a commit into calls to Redis. Each call has a bounded size, and each day aggregate is whole within one call.
//! Keys and arguments are encoded as in the Redis protocol, one bulk string after the other. The Python form, with the
//! reasons, is `stream/projection/calls.py`; `replica.lua` defines the operations.

use std::io::Write;

use hashbrown::{HashMap, HashSet};

use crate::counts::{AggregateChange, Rows};
use crate::names::{Moved, Names};

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

/// Puts one bulk text of Redis' protocol.
fn put_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'$');
    put_number(out, bytes.len() as i64);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn put_number(out: &mut Vec<u8>, number: i64) {
    let _ = write!(out, "{number}"); // a vector takes all
}

/// How large a call is about, and how many values one operation has at most; two or more.
#[derive(Clone, Copy)]
pub struct Limits {
    pub call_bytes: usize,
    pub operation_values: usize,
}

/// Operations gathered into calls. A call is closed where the next thing would make it too large.
pub struct Calls<'a> {
    names: &'a Names,
    prefix: &'a str,
    partition: u16,
    limits: Limits,
    closed: Vec<Call>,
    call: Call,
    numbers: HashMap<(Key, u32), usize>,
    touched: HashSet<u32>,
    bytes: usize,
    scratch: Vec<u8>,
}

impl<'a> Calls<'a> {
    pub fn new(names: &'a Names, prefix: &'a str, partition: u16, limits: Limits) -> Self {
        Calls {
            names,
            prefix,
            partition,
            limits,
            closed: Vec::new(),
            call: Call::default(),
            numbers: HashMap::new(),
            touched: HashSet::new(),
            bytes: 0,
            scratch: Vec::new(),
        }
    }

    /// The calls of one commit, in order; at least one.
    pub fn of_commit(mut self, aggregates: &[AggregateChange], moved: &Moved) -> Vec<Call> {
        let mut order: Vec<&AggregateChange> = aggregates.iter().collect();
        order.sort_by_key(|aggregate| self.names.workspace_id(aggregate.workspace));
        for aggregate in order {
            self.aggregate_with_rows(aggregate);
        }
        self.moved(moved);
        self.finish()
    }

    fn finish(mut self) -> Vec<Call> {
        self.close();
        self.closed
    }

    fn close(&mut self) {
        self.closed.push(std::mem::take(&mut self.call));
        self.numbers.clear();
        self.touched.clear();
        self.bytes = 0;
    }

    /// Closes the call that is full before about so many bytes are added.
    fn make_room(&mut self, size: usize) {
        if self.bytes > 0 && self.bytes + size > self.limits.call_bytes {
            self.close();
        }
        self.bytes += size;
    }

    fn aggregate_with_rows(&mut self, aggregate: &AggregateChange) {
        let (size, of_rows) = (size_of(aggregate), aggregate.rows.bytes.len());
        if of_rows + size > self.limits.call_bytes {
            self.cut_rows(aggregate);
            self.make_room(size);
        } else {
            self.make_room(of_rows + size);
            self.rows(aggregate.workspace, aggregate.day, &aggregate.rows, 0, aggregate.rows.ends.len());
        }
        self.aggregate(aggregate);
    }

    fn cut_rows(&mut self, aggregate: &AggregateChange) {
        let (mut first, mut size) = (0, 0);
        for (place, row) in aggregate.rows.iter().enumerate() {
            if size + row.len() > self.limits.call_bytes / 2 {
                self.make_room(size);
                self.rows(aggregate.workspace, aggregate.day, &aggregate.rows, first, place);
                (first, size) = (place, 0);
            }
            size += row.len();
        }
        self.make_room(size);
        self.rows(aggregate.workspace, aggregate.day, &aggregate.rows, first, aggregate.rows.ends.len());
    }

    /// Adds rows of a day aggregate, by their places from `first` to `end`.
    fn rows(&mut self, workspace: u32, day: i64, rows: &Rows, mut first: usize, end: usize) {
        if first == end {
            return;
        }
        self.touch(workspace);
        while first < end {
            let until = end.min(first + self.limits.operation_values);
            self.operation(b"z", workspace, Key::Rows(day));
            self.number((until - first) as i64);
            for place in first..until {
                let start = if place == 0 { 0 } else { rows.ends[place - 1] as usize };
                self.argument(&rows.bytes[start..rows.ends[place] as usize]);
            }
            first = until;
        }
    }

    fn aggregate(&mut self, aggregate: &AggregateChange) {
        let (workspace, day, partition) = (aggregate.workspace, aggregate.day, self.partition);
        self.touch(workspace);
        let delta_field = format!("{day}.{partition}.t");
        if aggregate.dropped {
            let mut fields = vec![delta_field];
            for number in 0..aggregate.base_count {
                fields.extend(["h", "c", "s"].map(|part| format!("{day}.{partition}.{number}.{part}")));
            }
            for some in fields.chunks(self.limits.operation_values) {
                self.operation(b"x", workspace, Key::cells(day));
                self.number(some.len() as i64);
                some.iter().for_each(|field| self.argument(field.as_bytes()));
            }
            self.manifest(workspace, day, "");
            self.operation(b"u", workspace, Key::Rows(day));
            return;
        }
        let mut put: Vec<(String, &[u8])> = Vec::new();
        for base in &aggregate.bases {
            let field = |part: &str| format!("{day}.{partition}.{}.{part}", base.number);
            put.push((field("h"), &base.head));
            put.push((field("c"), &base.cells));
            put.push((field("s"), &base.summary));
        }
        match &aggregate.delta {
            Some(delta) => put.push((delta_field, delta)),
            None => {
                self.operation(b"x", workspace, Key::cells(day));
                self.number(1);
                self.argument(delta_field.as_bytes());
            }
        }
        for some in put.chunks(self.limits.operation_values / 2) {
            self.operation(b"h", workspace, Key::cells(day));
            self.number(some.len() as i64);
            for (field, value) in some {
                self.argument(field.as_bytes());
                self.argument(value);
            }
        }
        self.manifest(workspace, day, &format!("{partition}:{}", aggregate.base_count));
    }

    fn manifest(&mut self, workspace: u32, day: i64, segment: &str) {
        self.operation(b"d", workspace, Key::Days);
        self.argument(day.to_string().as_bytes());
        self.argument(segment.as_bytes());
    }

    fn moved(&mut self, moved: &Moved) {
        let names = self.names;
        let mut users = moved.users.clone();
        users.sort_by_key(|user| names.workspace_id(user.0));
        for (workspace, user) in users {
            self.make_room(NAME_BYTES);
            self.touch(workspace);
            let name = names.user_name(workspace, user);
            self.operation(b"l", workspace, Key::Names);
            self.number(1);
            self.argument(format!("u:{}", name.user_id.unwrap_or("")).as_bytes());
            let (seconds, nanos) = (name.occurred_at.div_euclid(NANOSECONDS), name.occurred_at.rem_euclid(NANOSECONDS));
            let label = name.label.map_or_else(|| "0".to_owned(), |label| format!("1{label}"));
            self.argument(format!("{seconds} {nanos} {} {} {label}", self.partition, name.offset).as_bytes());
        }
        let mut sources = moved.sources.clone();
        sources.sort_by_key(|source| names.workspace_id(source.0));
        for (workspace, source) in sources {
            self.make_room(NAME_BYTES);
            self.touch(workspace);
            self.operation(b"h", workspace, Key::Names);
            self.number(1);
            self.argument(format!("s:{}", names.source_text(source).unwrap_or("")).as_bytes());
            self.argument(b"");
        }
    }

    /// Once a call and workspace: it is listed, and has changed.
    fn touch(&mut self, workspace: u32) {
        if !self.touched.insert(workspace) {
            return;
        }
        let id = self.names.workspace_id(workspace);
        if !self.call.workspaces.is_empty() {
            self.call.workspaces.push(b'\n');
        }
        self.call.workspaces.extend_from_slice(id.as_bytes());
        let days = self.key_number(workspace, Key::Days);
        self.operation(b"w", workspace, Key::Workspaces);
        self.number(days as i64);
        self.argument(id.as_bytes());
    }

    fn operation(&mut self, name: &[u8], workspace: u32, key: Key) {
        self.argument(name);
        let number = self.key_number(workspace, key);
        self.number(number as i64);
    }

    fn key_number(&mut self, workspace: u32, key: Key) -> usize {
        let of = if matches!(key, Key::Workspaces) { 0 } else { workspace };
        if let Some(&number) = self.numbers.get(&(key, of)) {
            return number;
        }
        let id = self.names.workspace_id(workspace);
        self.scratch.clear();
        let out = &mut self.scratch;
        out.extend_from_slice(self.prefix.as_bytes());
        let _ = match key {
            Key::Workspaces => write!(out, "workspaces"),
            Key::Days => write!(out, "days:{id}"),
            Key::Cells(hash) => write!(out, "cells:{id}:{hash}"),
            Key::Rows(day) => write!(out, "rows1:{id}:{day}"),
            Key::Names => write!(out, "names:{id}"),
        };
        put_bulk(&mut self.call.keys, &self.scratch);
        self.call.key_count += 1;
        let number = self.call.key_count + 1; // the first key is that of the positions
        self.numbers.insert((key, of), number);
        number
    }

    fn argument(&mut self, bytes: &[u8]) {
        put_bulk(&mut self.call.operations, bytes);
        self.call.operation_count += 1;
    }

    fn number(&mut self, number: i64) {
        let mut text = [0u8; 20];
        let mut left = &mut text[..];
        let _ = write!(left, "{number}");
        let length = 20 - left.len();
        self.argument(&text[..length]);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Workspaces,
    Days,
    Cells(i64),
    Rows(i64),
    Names,
}

impl Key {
    /// That of the hash in which a day's cells lie.
    fn cells(day: i64) -> Self {
        Key::Cells(day.div_euclid(DAYS_A_HASH))
    }
}

fn size_of(aggregate: &AggregateChange) -> usize {
    let bases = aggregate.bases.iter().map(|base| base.head.len() + base.cells.len() + base.summary.len());
    200 + aggregate.delta.as_ref().map_or(0, Vec::len) + bases.sum::<usize>()
}
