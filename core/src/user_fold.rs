//! Adds up the sums of days by user, and ranks the users of a range. The Python form is `api/report/user_fold.py`.

use std::cmp::{Ordering, Reverse};

use crate::days::ACTIVITIES;
use crate::user_days::UserSums;
use crate::user_table::{Texts, NO_USER};

/// The days of a range, added up: counts of each activity by the number of the user; those beyond its end have none.
#[derive(Clone, Default)]
pub struct UserFold {
    counts: [Vec<u64>; ACTIVITIES],
}

/// A user, or None, with added and deleted.
pub type Row<'a> = (Option<&'a str>, u64, u64);

impl UserFold {
    /// With places for so many users.
    pub fn widen(&mut self, users: usize) {
        self.counts.iter_mut().for_each(|counts| counts.resize(users, 0));
    }

    /// Takes some days out and others in. Their users have places.
    pub fn exchange(&mut self, gone: &[&UserSums], changed: &[&UserSums]) {
        for (activity, counts) in self.counts.iter_mut().enumerate() {
            for (days, add) in [(gone, u64::wrapping_sub as fn(u64, u64) -> u64), (changed, u64::wrapping_add)] {
                for column in days.iter().map(|sums| &sums[activity]) {
                    for (&user, &count) in column.users.iter().zip(&column.counts) {
                        let place = &mut counts[user as usize];
                        *place = add(*place, count);
                    }
                }
            }
        }
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

    /// The first users in the report's order, by added, then deleted, descending, then id: of those who were the first
    /// before, and of those with numbers from `start` to before `end`. The null user is not among them.
    pub fn first(&self, before: Vec<u32>, start: usize, end: usize, limit: usize, texts: &Texts) -> Vec<u32> {
        let order = |a: &u32, b: &u32| compare(self, texts, *a, *b);
        let last = before.last().copied().filter(|_| before.len() >= limit);
        let mut users = before;
        let better = |user: &u32| last.is_none_or(|last| order(user, &last) == Ordering::Less);
        users.extend(self.active(start, end).filter(better));
        if limit < users.len() {
            users.select_nth_unstable_by(limit, order);
            users.truncate(limit);
        }
        users.sort_unstable_by(order);
        users
    }

    /// The rows of users, and that of the null user where it has any activity.
    pub fn rows<'a>(&self, users: &[u32], texts: &'a Texts) -> Vec<Row<'a>> {
        let row = |&user: &u32| (Some(texts.text(user)), self.of(user).0, self.of(user).1);
        users.iter().map(row).chain(self.null().map(|(added, deleted)| (None, added, deleted))).collect()
    }

    fn null(&self) -> Option<(u64, u64)> {
        Some(self.of(NO_USER)).filter(|counts| counts.0 | counts.1 > 0)
    }

    /// The users with any activity, but the null user, with numbers from `start` to before `end`.
    fn active(&self, start: usize, end: usize) -> impl Iterator<Item = u32> + '_ {
        let users = start.max(NO_USER as usize + 1)..end.min(self.counts[0].len());
        users.map(|user| user as u32).filter(|&user| self.of(user).0 | self.of(user).1 > 0)
    }

    pub fn size_bytes(&self) -> usize {
        self.counts.iter().map(|column| 8 * column.capacity()).sum()
    }
}

fn compare(of: &UserFold, texts: &Texts, a: u32, b: u32) -> Ordering {
    let (one, other) = (of.of(a), of.of(b));
    Reverse(one).cmp(&Reverse(other)).then_with(|| texts.text(a).cmp(texts.text(b)))
}

/// All users with any activity, to be put in the report's order: it holds what it needs, so that it may be sorted while
/// others go on with fold and table.
pub struct Everyone {
    rows: Vec<(u64, u64, u32)>,
    null: Option<(u64, u64)>,
    texts: Texts,
}

impl Everyone {
    pub fn new(of: &UserFold, texts: &Texts) -> Self {
        let rows = of.active(0, usize::MAX).map(|user| (of.of(user).0, of.of(user).1, user)).collect();
        Everyone { rows, null: of.null(), texts: texts.clone() }
    }

    pub fn sort(&mut self) {
        let texts = &self.texts;
        self.rows.sort_unstable_by(|a, b| (b.0, b.1, texts.text(a.2)).cmp(&(a.0, a.1, texts.text(b.2))));
    }

    /// So many rows from a place on.
    pub fn piece(&self, start: usize, limit: usize) -> Vec<Row<'_>> {
        let null = self.null.map(|(added, deleted)| (None, added, deleted));
        let row = |&(added, deleted, user): &(u64, u64, u32)| (Some(self.texts.text(user)), added, deleted);
        let null = null.into_iter().skip(start.saturating_sub(self.rows.len()));
        self.rows.iter().skip(start).map(row).chain(null).take(limit).collect()
    }
}
