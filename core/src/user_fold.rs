//! Adds up the sums of days by user, and ranks the users of a range. The Python form is `api/report/user_fold.py`.

use std::cmp::{Ordering, Reverse};
use std::sync::Arc;

use crate::days::ACTIVITIES;
use crate::user_days::UserSums;
use crate::user_table::{UserTable, NO_USER};

/// The days of a range, added up: counts of each activity by the number of the user; those beyond its end have none.
/// Never changed: `exchange` makes another.
#[derive(Default)]
pub struct UserFold {
    counts: [Vec<u64>; ACTIVITIES],
}

/// A user, or None, with added and deleted.
pub type Row<'a> = (Option<&'a str>, u64, u64);

impl UserFold {
    /// Another fold, of so many users, without some days and with others; where `anew`, none of this one's are in it.
    pub fn exchange(&self, users: usize, anew: bool, gone: &[&UserSums], changed: &[&UserSums]) -> UserFold {
        let mut counts = if anew { Default::default() } else { self.counts.clone() };
        for (activity, counts) in counts.iter_mut().enumerate() {
            counts.resize(users, 0);
            for (days, add) in [(gone, u64::wrapping_sub as fn(u64, u64) -> u64), (changed, u64::wrapping_add)] {
                for column in days.iter().map(|sums| &sums[activity]) {
                    for (&user, &count) in column.users.iter().zip(&column.counts) {
                        let place = &mut counts[user as usize];
                        *place = add(*place, count);
                    }
                }
            }
        }
        UserFold { counts }
    }

    /// Added and deleted of a user.
    pub fn of(&self, user: u32) -> (u64, u64) {
        let [added, deleted] = &self.counts;
        let at = |counts: &[u64]| counts.get(user as usize).copied().unwrap_or(0);
        (at(added), at(deleted))
    }

    /// How many users have any activity, and what they sum to.
    pub fn total(&self) -> (usize, u64, u64) {
        let [added, deleted] = &self.counts;
        let active = added.iter().zip(deleted).filter(|(&added, &deleted)| added | deleted > 0).count();
        let sum = |counts: &[u64]| counts.iter().copied().fold(0, u64::wrapping_add);
        (active, sum(added), sum(deleted))
    }

    /// The first users in the report's order: by added, then deleted, descending, then id; the null user last.
    pub fn first<'a>(&self, limit: usize, table: &'a UserTable) -> Vec<Row<'a>> {
        let mut users: Vec<u32> = self.active().collect();
        let order = |a: &u32, b: &u32| compare(self, table, *a, *b);
        if limit < users.len() {
            users.select_nth_unstable_by(limit, order);
            users.truncate(limit);
        }
        users.sort_unstable_by(order);
        let row = |user: u32| (Some(&**table.text(user)), self.of(user).0, self.of(user).1);
        let null = Some((None, self.of(NO_USER).0, self.of(NO_USER).1)).filter(|row| row.1 | row.2 > 0);
        users.into_iter().map(row).chain(null).take(limit).collect()
    }

    /// The users with any activity, but the null user.
    fn active(&self) -> impl Iterator<Item = u32> + '_ {
        let [added, deleted] = &self.counts;
        let active = added.iter().zip(deleted).enumerate().filter(|(_, (&added, &deleted))| added | deleted > 0);
        active.map(|(user, _)| user as u32).filter(|&user| user != NO_USER)
    }

    pub fn size_bytes(&self) -> usize {
        self.counts.iter().map(|column| 8 * column.capacity()).sum()
    }
}

fn compare(of: &UserFold, table: &UserTable, a: u32, b: u32) -> Ordering {
    let (one, other) = (of.of(a), of.of(b));
    Reverse(one).cmp(&Reverse(other)).then_with(|| table.text(a).cmp(table.text(b)))
}

/// All users with any activity, to be put in the report's order: it holds what it needs, so that it may be sorted while
/// others go on with fold and table.
pub struct Everyone {
    rows: Vec<(u64, u64, Arc<str>)>,
    null: Option<(u64, u64)>,
}

impl Everyone {
    pub fn new(of: &UserFold, table: &UserTable) -> Self {
        let rows = of.active().map(|user| (of.of(user).0, of.of(user).1, Arc::clone(table.text(user)))).collect();
        let null = Some(of.of(NO_USER)).filter(|counts| counts.0 | counts.1 > 0);
        Everyone { rows, null }
    }

    pub fn sort(&mut self) {
        self.rows.sort_unstable_by(|a, b| (b.0, b.1, &a.2).cmp(&(a.0, a.1, &b.2)));
    }

    /// So many rows from a place on.
    pub fn piece(&self, start: usize, limit: usize) -> Vec<Row<'_>> {
        let null = self.null.map(|(added, deleted)| (None, added, deleted));
        let rows = self.rows.iter().skip(start).map(|(added, deleted, user)| (Some(&**user), *added, *deleted));
        let null = null.into_iter().skip(start.saturating_sub(self.rows.len()));
        rows.chain(null).take(limit).collect()
    }
}
