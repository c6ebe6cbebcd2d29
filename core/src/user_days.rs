//! Sums the packed parts of one UTC day of a workspace by user. The Python form is `api/report/user_days.py`.

use crate::day_parts::{read_cell_columns, read_delta_columns, read_head_columns, QUARTERS_A_DAY};
use crate::days::{at, continued, damaged, kinds_on, Chosen, PartitionDay, Place, ACTIVITIES, NAME};
use crate::formats::{Column as Packed, FormatError};
use crate::user_table::{UserTable, NO_USER};

/// Counts of some users, each of whom is there once.
#[derive(Default)]
pub struct Column {
    pub users: Box<[u32]>,
    pub counts: Box<[u64]>,
}

/// Counts by activity and user, without those that are 0, as the numbers of one table.
pub type UserSums = [Column; ACTIVITIES];

const USER_DAY_BYTES: usize = 200;

pub fn size_of_sums(sums: &UserSums) -> usize {
    USER_DAY_BYTES + sums.iter().map(|column| 12 * column.users.len()).sum::<usize>()
}

/// Counts by user's number, of one activity.
#[derive(Default)]
struct Counting {
    counts: Vec<u64>,
    seen: Vec<u32>,
}

impl Counting {
    fn add(&mut self, user: u32, count: u64) {
        let place = user as usize;
        if place >= self.counts.len() {
            self.counts.resize(place + 1, 0);
        }
        if self.counts[place] == 0 {
            self.seen.push(user);
        }
        self.counts[place] = self.counts[place].wrapping_add(count);
    }

    /// What was added, and begin anew.
    fn take(&mut self) -> Column {
        if self.seen.len() * DENSE > self.counts.len() {
            let all = 0..self.counts.len() as u32;
            self.seen.clear();
            self.seen.extend(all.filter(|&user| self.counts[user as usize] > 0));
        } else {
            self.seen.sort_unstable();
            self.seen.dedup(); // one that came to 0 in between
        }
        let counts = self.seen.iter().map(|&user| std::mem::take(&mut self.counts[user as usize])).collect();
        Column { users: std::mem::take(&mut self.seen).into_boxed_slice(), counts }
    }
}

/// The numbers of users who came before in a head, which names a user once for each of its series: where few users have
/// many, most are found here by a comparison, without a hash. Where many are not, nobody looks any more.
struct Recent<'a> {
    users: [(&'a [u8], u32); RECENT_USERS],
    missed: usize,
}

const RECENT_USERS: usize = 128;
const MISSES: usize = 2 * RECENT_USERS;

impl Default for Recent<'_> {
    fn default() -> Self {
        Recent { users: [(&[], NO_USER); RECENT_USERS], missed: 0 }
    }
}

impl<'a> Recent<'a> {
    fn number_of(&mut self, user: Option<&'a [u8]>, table: &mut UserTable) -> Result<u32, FormatError> {
        let Some([.., before, last]) = user.filter(|_| self.missed < MISSES) else {
            return table.number_of(user, NAME);
        };
        let (bytes, number) = &mut self.users[(31 * usize::from(*before) + usize::from(*last)) % RECENT_USERS];
        if user != Some(*bytes) {
            self.missed += 1;
            (*bytes, *number) = (user.unwrap_or_default(), table.number_of(user, NAME)?);
        }
        Ok(*number)
    }
}

/// Where more than one in so many has a count, looking at each takes less than sorting those that have.
const DENSE: usize = 16;

/// Sums days by user, one after the other, and each of them base by base.
#[derive(Default)]
pub struct ByUser {
    counting: [Counting; ACTIVITIES],
    /// Of the base at hand, by series.
    users: Vec<u32>,
}

impl ByUser {
    /// Go on with the sums over the quarters [first, end) of a day, of all sources or some, and stop where the limit of
    /// bytes is used up. Needs heads and deltas, and cells where the window is not the whole day.
    pub fn sum(
        &mut self,
        parts: &[PartitionDay<'_>],
        window: (u64, u64),
        chosen: Option<&Chosen>,
        table: &mut UserTable,
        place: &mut Place,
        left_bytes: &mut usize,
    ) -> Result<Option<UserSums>, FormatError> {
        while let Some((part, step)) = place.next(parts) {
            if *left_bytes == 0 {
                return Ok(None);
            }
            *left_bytes = left_bytes.saturating_sub(part.step_bytes(step));
            self.add_step(part, step, window, chosen, table)?;
            place.advance(part);
        }
        let [added, deleted] = &mut self.counting;
        Ok(Some([added.take(), deleted.take()]))
    }

    /// Add a base, and with the last one the delta, which continues it.
    fn add_step(
        &mut self,
        part: &PartitionDay<'_>,
        step: usize,
        window: (u64, u64),
        chosen: Option<&Chosen>,
        table: &mut UserTable,
    ) -> Result<(), FormatError> {
        let mut sources = Vec::new();
        self.users.clear();
        if let Some(packed) = part.heads.get(step) {
            let (users, mut recent) = (&mut self.users, Recent::default());
            let head = read_head_columns(packed, NAME, |user| {
                users.push(recent.number_of(user, table)?);
                Ok(())
            })?;
            sources = head.sources.strings(NAME)?;
            let on = kinds_on(&sources, chosen);
            if window == (0, QUARTERS_A_DAY) {
                self.add_series(&on, head.kinds, head.totals.iter())?;
            } else {
                let cells = part.cells.get(step).ok_or_else(damaged)?;
                self.add_series(&on, head.kinds, window_counts(head.cell_counts, cells, window)?.into_iter())?;
            }
        }
        if let Some(packed) = part.delta.filter(|_| step + 1 == part.steps()) {
            let delta = read_delta_columns(packed, NAME)?;
            let sources = continued(&sources, &delta.new_sources.strings(NAME)?, delta.first_source, "sources")?;
            let on = kinds_on(&sources, chosen);
            let new: Result<Vec<u32>, _> =
                delta.new_users.bytes(NAME).map(|user| table.number_of(user?, NAME)).collect();
            let users = continued(&self.users, &new?, delta.first_series, "series")?;
            for ((key, count), kind) in delta.keys.iter().zip(delta.counts.iter()).zip(delta.kinds.iter()) {
                if (window.0..window.1).contains(&(key % QUARTERS_A_DAY)) && at(&on, kind)? {
                    self.add(kind, at(&users, key / QUARTERS_A_DAY)?, count);
                }
            }
        }
        Ok(())
    }

    /// Add the counts of the series of the base at hand.
    fn add_series(
        &mut self,
        on: &[bool],
        kinds: Packed<'_>,
        counts: impl Iterator<Item = u64>,
    ) -> Result<(), FormatError> {
        for ((place, kind), count) in kinds.iter().enumerate().zip(counts) {
            if at(on, kind)? {
                self.add(kind, self.users[place], count);
            }
        }
        Ok(())
    }

    fn add(&mut self, kind: u64, user: u32, count: u64) {
        if count > 0 {
            self.counting[kind as usize % ACTIVITIES].add(user, count);
        }
    }
}

/// Of each series what lies in the window.
fn window_counts(cell_counts: Packed<'_>, cells: &[u8], window: (u64, u64)) -> Result<Vec<u64>, FormatError> {
    let (keys, counts) = read_cell_columns(cells, NAME)?;
    let (mut low, mut base) = (0, 0);
    let mut found = Vec::with_capacity(cell_counts.len());
    for cells in cell_counts.iter() {
        let high = low + usize::try_from(cells).map_err(|_| damaged())?.min(keys.len());
        // A range begins or ends within a day, and seldom both.
        let first = if window.0 == 0 { low } else { keys.place_of(base + window.0, low, high) };
        let end = if window.1 == QUARTERS_A_DAY { high } else { keys.place_of(base + window.1, first, high) };
        found.push(counts.sum(first, end).ok_or_else(damaged)?);
        (low, base) = (high, base + QUARTERS_A_DAY);
    }
    Ok(found)
}
