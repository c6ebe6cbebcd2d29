//! Holds the state of one source partition, and applies records to it. The Python form, which defines the correct
//! result, is `stream/tables/partition.py`.
//!
//! A fetch is applied in two steps. `read` decodes the records that it can, and lists the others; the strict reader in
//! Python returns their activities or the reasons to reject them. `judge` then applies all records in the order of
//! their offsets.

use crate::counts::{AggregateChange, CountRules, Counts};
use crate::event::{self, source_of, user_of};
use crate::formats::{damaged, shown, Changes, FormatError, VALUE_BYTES_LIMIT};
use crate::lateness::Lateness;
use crate::mutants::kept;
use crate::names::{Moved, Names};
use crate::recent_ids::{hour_of, Id, RecentIds};
use crate::records::{Fetch, Record, RecordsError};
use crate::row::{put_row, Row};
use crate::rows::Rows;
use crate::timestamps;
use crate::uncounted::Uncounted;
use crate::{cloudevents, counts, names, recent_ids, uncounted};

const QUARTER_NANOSECONDS: i64 = 900 * timestamps::NANOSECONDS;
const QUARTERS_A_DAY: i64 = 96;
const DAY_NANOSECONDS: i64 = QUARTERS_A_DAY * QUARTER_NANOSECONDS;
const DAY_MILLISECONDS: i64 = 86_400_000;
const NANOSECONDS_A_MILLISECOND: i64 = 1_000_000;
const HOURS_A_DAY: i64 = 24;
/// A value that is longer may be nested more deeply than is read.
const LENGTH_OF_DEEP_NESTING: usize = 1_024;
/// What is read at once takes so much, or one batch.
const READING_BYTES: usize = 4 << 20;
/// The key of the position, which the caller keeps.
const POSITION: u8 = b'p';

/// What a deployment may set about counting.
#[derive(Clone)]
pub struct Rules {
    pub max_event_bytes: usize,
    pub future_tolerance_seconds: i64,
    pub retention_days: Option<i64>,
    pub dedupe_window_hours: i64,
    pub dedupe_max_ids: usize,
    pub name_limit: usize,
    pub delta_floor: usize,
    pub base_bytes_limit: usize,
    pub keep_rows: bool,
    pub block_ids: usize,
    pub uncounted_block_bytes: usize,
    /// See `Names::unkept`.
    pub unkept_limit: usize,
    pub lateness_bounds_ms: Vec<i64>,
}

/// An event as it is counted: names are numbers, texts lie in `Reading::texts`.
struct Counted {
    offset: i64,
    timestamp: i64,
    occurred_at: i64,
    id: Id,
    workspace: u32,
    source: u32,
    user: u32,
    activity: u8,
    label: Option<(u32, u32)>,
    row: (u32, u32),
}

enum Slot {
    Event(Counted),
    /// Without a value.
    Tombstone {
        offset: i64,
    },
    /// For the strict reader.
    Odd {
        offset: i64,
    },
    Rejected {
        offset: i64,
    },
}

/// A record that the strict reader is to read.
pub struct Odd {
    pub offset: i64,
    pub timestamp: i64,
    pub log_append_time: bool,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What the last record looked like, and what came with it.
#[derive(Clone, Copy)]
pub struct Last {
    pub offset: i64,
    pub timestamp: i64,
    pub checksum: u32,
}

/// Records that are read and not judged yet.
#[derive(Default)]
pub struct Reading {
    slots: Vec<Slot>,
    texts: Vec<u8>,
    pub odd: Vec<Odd>,
    pub last: Option<Last>,
    /// Of the records whose timestamps are believed.
    pub greatest_timestamp: i64,
    trusted_ms: i64,
    /// Of the odd records.
    odd_bytes: usize,
}

impl Reading {
    /// About how many bytes it holds.
    fn bytes(&self) -> usize {
        self.odd_bytes + self.texts.len()
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }
}

/// What the strict reader made of an odd record.
pub struct Activity<'a> {
    pub event_id: &'a str,
    pub activity: u8,
    pub workspace_id: &'a str,
    pub contact_id: &'a str,
    pub contact_name: Option<&'a str>,
    pub source: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub user_name: Option<&'a str>,
    pub occurred_at: i64,
    pub fraction_digits: u8,
    pub batch_id: Option<&'a str>,
}

/// How many records came to which end.
#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcomes {
    pub counted: u64,
    pub duplicate: u64,
    pub skipped: u64,
    /// Of a day that retention had dropped before they came.
    pub expired: u64,
}

/// All that changed since the commit before.
pub struct Commit {
    pub table: Changes,
    pub aggregates: Vec<AggregateChange>,
    pub rows: Rows,
    pub moved: Moved,
}

pub struct Partition {
    number: u16,
    rules: Rules,
    pub ids: RecentIds,
    pub uncounted: Uncounted,
    pub names: Names,
    pub counts: Counts,
    pub lateness: Lateness,
    scratch: Vec<u8>,
}

impl Partition {
    pub fn new(number: u16, rules: Rules) -> Self {
        let count_rules = CountRules { delta_floor: rules.delta_floor, base_bytes_limit: rules.base_bytes_limit };
        Partition {
            number,
            ids: RecentIds::new(rules.dedupe_window_hours, rules.dedupe_max_ids, rules.block_ids),
            uncounted: Uncounted::new(rules.uncounted_block_bytes),
            names: Names::new(rules.name_limit),
            counts: Counts::new(count_rules),
            lateness: Lateness::new(rules.lateness_bounds_ms.clone()),
            scratch: Vec::new(),
            rules,
        }
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    /// Takes one of the changelog's latest records of each key: those of names first, in any order, then all others in
    /// the order of their keys. The position's own record is the caller's.
    pub fn adopt(&mut self, key: &[u8], value: &[u8]) -> Result<(), FormatError> {
        match key.first() {
            Some(&names::KIND) => self.names.adopt(key, value),
            Some(&POSITION) => Ok(()),
            Some(&recent_ids::KIND) => self.ids.adopt(key, value),
            Some(&uncounted::KIND) if key.len() == 9 => self.uncounted.adopt(key, value),
            Some(&counts::KIND) => self.counts.adopt(key, value, &mut self.names),
            Some(&uncounted::KIND) => Err(damaged(key)),
            _ => Err(FormatError(format!("{} is a key of no known kind", shown(key)))),
        }
    }

    /// Once all records were given.
    pub fn finish_adopting(&mut self, latest_hour: Option<i64>, counts_from: Option<i64>) {
        self.ids.latest_hour = latest_hour;
        self.ids.finish_adopting();
        self.uncounted.finish_adopting();
        if let Some(day) = counts_from {
            self.counts.drop_before(day);
        }
    }

    /// Reads whole batches until so many records were read, they take READING_BYTES, or nothing is left. `trusted_ms`:
    /// the latest timestamp that a record may have.
    pub fn read(&mut self, fetch: &mut Fetch<'_>, limit: usize, trusted_ms: i64) -> Result<Reading, RecordsError> {
        let mut reading = Reading { greatest_timestamp: i64::MIN, trusted_ms, ..Reading::default() };
        while reading.len() < limit && reading.bytes() < READING_BYTES {
            if !fetch.next_batch(&mut |record| self.read_record(record, &mut reading))? {
                break;
            }
        }
        Ok(reading)
    }

    /// As `read`, of records that the strict reader reads, all of them: by (offset, timestamp, whether there is a
    /// value).
    pub fn take(&mut self, records: &[(i64, i64, bool)]) -> Reading {
        let mut reading = Reading::default();
        for &(offset, timestamp, has_value) in records {
            if has_value {
                let (key, value, headers) = (None, None, Vec::new());
                reading.odd.push(Odd { offset, timestamp, log_append_time: false, key, value, headers });
                reading.slots.push(Slot::Odd { offset });
            } else {
                reading.slots.push(Slot::Tombstone { offset });
            }
        }
        reading
    }

    fn read_record(&mut self, record: &Record<'_>, reading: &mut Reading) -> Result<(), RecordsError> {
        let offset = record.offset;
        if reading.last.is_some_and(|last| offset <= last.offset) {
            return Err(RecordsError::Corrupt("offsets that do not ascend".to_owned()));
        }
        if record.timestamp <= reading.trusted_ms || !kept("publishers-time-far-ahead") {
            reading.greatest_timestamp = reading.greatest_timestamp.max(record.timestamp);
        }
        let slot = match record.value {
            None => Slot::Tombstone { offset },
            Some(value) => match self.read_event(record, value, reading) {
                Some(event) => Slot::Event(event),
                None => {
                    let headers = record.headers()?;
                    reading.odd_bytes += record.bytes();
                    reading.odd.push(Odd {
                        offset,
                        timestamp: record.timestamp,
                        log_append_time: record.log_append_time,
                        key: record.key.map(Into::into),
                        value: record.value.map(Into::into),
                        headers: headers
                            .into_iter()
                            .map(|(name, value)| (name.into(), value.map(Into::into)))
                            .collect(),
                    });
                    Slot::Odd { offset }
                }
            },
        };
        reading.slots.push(slot);
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(record.key.unwrap_or_default());
        checksum.update(record.value.unwrap_or_default());
        reading.last = Some(Last { offset, timestamp: record.timestamp, checksum: checksum.finalize() });
        Ok(())
    }

    fn read_event(&mut self, record: &Record<'_>, value: &[u8], reading: &mut Reading) -> Option<Counted> {
        if record.timestamp > reading.trusted_ms && kept("publishers-time-far-ahead") {
            return None;
        }
        if value.len() > self.rules.max_event_bytes.min(LENGTH_OF_DEEP_NESTING) {
            return None;
        }
        let attributes = if record.header_count > 0 { cloudevents::read(&record.headers().ok()?)? } else { None };
        let event = event::read(value, attributes.as_ref())?;
        let (occurred_at, fraction_digits) = timestamps::read(event.occurred_at.as_bytes())?;
        let source = source_of(event.source.as_deref())?;
        if !self.is_in_time(occurred_at, record.timestamp) {
            return None;
        }
        let activity = Activity {
            event_id: &event.id,
            activity: event.activity,
            workspace_id: &event.workspace_id,
            contact_id: &event.contact_id,
            contact_name: event.contact_name.as_deref(),
            source: source.as_deref(),
            user_id: user_of(event.user_id.as_deref()),
            user_name: event.user_name.as_deref(),
            occurred_at,
            fraction_digits,
            batch_id: event.batch_id.as_deref(),
        };
        Some(self.counted(&activity, record.offset, record.timestamp, reading))
    }

    /// Whether an event's time is one that counts. Years before 2001 do not come here.
    fn is_in_time(&self, occurred_at: i64, timestamp: i64) -> bool {
        let tolerance = i128::from(self.rules.future_tolerance_seconds) * i128::from(timestamps::NANOSECONDS);
        if i128::from(occurred_at) > i128::from(timestamp) * 1_000_000 + tolerance {
            return false;
        }
        self.rules.retention_days.is_none_or(|days| {
            let first_day = i128::from(timestamp.div_euclid(DAY_MILLISECONDS)) - i128::from(days);
            i128::from(occurred_at) >= first_day * i128::from(DAY_NANOSECONDS)
        })
    }

    fn counted(&mut self, of: &Activity<'_>, offset: i64, timestamp: i64, reading: &mut Reading) -> Counted {
        let workspace = self.names.workspace(of.workspace_id);
        let texts = &mut reading.texts;
        let label = of.user_name.map(|label| {
            let start = texts.len() as u32;
            texts.extend_from_slice(label.as_bytes());
            (start, texts.len() as u32)
        });
        let start = texts.len() as u32;
        if self.rules.keep_rows {
            let row = Row {
                occurred_at: of.occurred_at,
                event_id: of.event_id,
                partition: self.number,
                offset,
                activity: of.activity,
                fraction_digits: of.fraction_digits,
                contact_id: of.contact_id,
                contact_name: of.contact_name,
                source: of.source,
                user_id: of.user_id,
                user_name: of.user_name,
                batch_id: of.batch_id,
            };
            put_row(texts, &row);
        }
        Counted {
            offset,
            timestamp,
            occurred_at: of.occurred_at,
            id: Id::of(of.workspace_id, of.event_id, &mut self.scratch),
            workspace,
            source: self.names.source(of.source),
            user: self.names.user(workspace, of.user_id),
            activity: of.activity,
            label,
            row: (start, reading.texts.len() as u32),
        }
    }

    /// Puts in what the strict reader made of the odd records, in their order: an activity, or nothing to count.
    pub fn resolve(&mut self, reading: &mut Reading, resolved: &[Option<Activity<'_>>]) {
        let mut resolved = resolved.iter();
        let odd = std::mem::take(&mut reading.odd);
        let mut odd = odd.iter();
        let mut slots = std::mem::take(&mut reading.slots);
        for slot in &mut slots {
            if let Slot::Odd { offset } = *slot {
                let timestamp = odd.next().map_or(0, |record| record.timestamp);
                *slot = match resolved.next() {
                    Some(Some(activity)) => Slot::Event(self.counted(activity, offset, timestamp, reading)),
                    _ => Slot::Rejected { offset },
                };
            }
        }
        reading.slots = slots;
    }

    /// Judges and counts what was read.
    pub fn judge(&mut self, reading: &Reading) -> Result<Outcomes, FormatError> {
        let mut outcomes = Outcomes::default();
        let mut counted = Vec::with_capacity(reading.slots.len());
        for slot in &reading.slots {
            match slot {
                Slot::Event(event) if self.ids.remember(event.id, hour_of(event.timestamp)) => counted.push(event),
                Slot::Event(event) => {
                    outcomes.duplicate += 1;
                    if kept("duplicates-get-no-row") {
                        self.uncounted.add(event.offset);
                    }
                }
                Slot::Tombstone { offset } => {
                    outcomes.skipped += 1;
                    self.uncounted.add(*offset);
                }
                Slot::Odd { offset } | Slot::Rejected { offset } => self.uncounted.add(*offset),
            }
        }
        let of_last = reading.last.map(|last| hour_of(last.timestamp));
        let latest_hour = if kept("retention-never-goes-back") { self.ids.latest_hour } else { of_last };
        if let (Some(days), Some(hour)) = (self.rules.retention_days, latest_hour) {
            self.counts.drop_before(hour.div_euclid(HOURS_A_DAY) - days);
        }
        for event in counted {
            if self.count(event, &reading.texts)? {
                outcomes.counted += 1;
                self.lateness.add(event.timestamp - event.occurred_at.div_euclid(NANOSECONDS_A_MILLISECOND));
            } else {
                outcomes.expired += 1;
            }
        }
        Ok(outcomes)
    }

    /// Adds one to an event's cell. False: it has none, since retention has dropped its day.
    fn count(&mut self, event: &Counted, texts: &[u8]) -> Result<bool, FormatError> {
        let text = |range: (u32, u32)| &texts[range.0 as usize..range.1 as usize];
        self.counts.meet(event.workspace);
        let label = event.label.map(|range| std::str::from_utf8(text(range)).expect("a label is a text"));
        self.names.see_user(event.workspace, event.user, label, event.occurred_at, event.offset);
        self.names.see_source(event.workspace, event.source, event.offset);
        let quarter = event.occurred_at.div_euclid(QUARTER_NANOSECONDS);
        let (day, of_day) = (quarter.div_euclid(QUARTERS_A_DAY), quarter.rem_euclid(QUARTERS_A_DAY));
        let Some(aggregate) = self.counts.aggregate(event.workspace, day) else { return Ok(false) };
        self.counts.add(
            aggregate,
            event.activity,
            event.source,
            event.user,
            of_day as u64,
            event.offset,
            self.rules.keep_rows.then(|| text(event.row)),
            &mut self.names,
        )?;
        Ok(true)
    }

    /// How many keys the changelog has of all but the position, with what was encoded.
    pub fn keys(&self) -> usize {
        self.ids.keys() + self.uncounted.keys() + self.names.keys + self.counts.keys
    }

    /// Everything that changed since the last call, but the position.
    pub fn encode(&mut self, next_offset: i64) -> Result<Commit, FormatError> {
        let mut table = Changes::default();
        if kept("ids-in-the-transaction") {
            self.ids.encode(&mut table);
        }
        self.uncounted.encode(&mut table);
        let moved = self.names.encode(&mut table);
        let (aggregates, rows) = self.counts.encode(next_offset, &self.names, &mut table)?;
        for (key, value) in table.iter() {
            let bytes = value.map_or(0, <[u8]>::len);
            assert!(bytes <= VALUE_BYTES_LIMIT, "{} has {bytes} bytes", shown(key));
        }
        Ok(Commit { table, aggregates, rows, moved })
    }

    /// Lets go of the numbers of what has no name, where there are many: between two commits, when what the last one
    /// gave is written.
    pub fn forget_unkept(&mut self) {
        if self.names.unkept() > self.rules.unkept_limit {
            self.counts.close_all();
            let to_drop = self.counts.workspaces_to_drop();
            let counts = &self.counts;
            self.names.forget_unkept(|workspace| counts.has_days(workspace) || to_drop.contains(&workspace));
        }
    }
}
