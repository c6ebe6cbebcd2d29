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

/// Those of a report and of the list of users together.
const MOST_FIRST: usize = 2_500;

/// A user, or None, with added and deleted.
pub type Row<'a> = (Option<&'a str>, u64, u64);

/// The same by the user's number.
pub type Numbered = (u32, u64, u64);

/// The first users in the report's order.
pub struct First {
    pub rows: Vec<Numbered>,
    /// Of these and the others: how many have any activity, added, deleted.
    pub total: (usize, u64, u64),
}

impl First {
    /// Of those that are not listed: how many they are, added, deleted.
    pub fn omitted(&self) -> (usize, u64, u64) {
        let (users, added, deleted) = self.total;
        let less =
            |total: u64, count_of: fn(&Numbered) -> u64| self.rows.iter().map(count_of).fold(total, u64::wrapping_sub);
        (users - self.rows.len(), less(added, |row| row.1), less(deleted, |row| row.2))
    }
}

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

    /// The first of users that are in the report's order, and the null user behind them.
    pub fn listed(&self, users: &[u32], limit: usize) -> First {
        let rows = users.iter().map(|&user| self.row(user)).chain(self.null()).take(limit).collect();
        First { rows, total: self.total() }
    }

    /// The first of some users alone; each is there once.
    pub fn first_of(&self, users: impl Iterator<Item = u32>, limit: usize, texts: &Texts) -> First {
        let mut rows: Vec<Numbered> = users.map(|user| self.row(user)).filter(is_active).collect();
        let sum = |count_of: fn(&Numbered) -> u64| rows.iter().map(count_of).fold(0, u64::wrapping_add);
        let total = (rows.len(), sum(|row| row.1), sum(|row| row.2));
        rows.sort_unstable_by(|a, b| {
            (a.0 == NO_USER).cmp(&(b.0 == NO_USER)).then_with(|| compare(self, texts, a.0, b.0))
        });
        rows.truncate(limit);
        First { rows, total }
    }

    fn row(&self, user: u32) -> Numbered {
        let (added, deleted) = self.of(user);
        (user, added, deleted)
    }

    fn null(&self) -> Option<Numbered> {
        Some(self.row(NO_USER)).filter(is_active)
    }

    /// The users with any activity, but the null user, with numbers from `start` to before `end`.
    fn active(&self, start: usize, end: usize) -> impl Iterator<Item = u32> + '_ {
        let users = start.max(NO_USER as usize + 1)..end.min(self.counts[0].len());
        users.map(|user| user as u32).filter(|&user| self.of(user).0 | self.of(user).1 > 0)
    }

    /// With the first users, who are kept.
    pub fn size_bytes(&self) -> usize {
        let first = self.counts[0].len().min(MOST_FIRST);
        self.counts.iter().map(|column| 8 * column.capacity()).sum::<usize>() + first * size_of::<Numbered>()
    }
}

fn is_active((_, added, deleted): &Numbered) -> bool {
    added | deleted > 0
}

fn compare(of: &UserFold, texts: &Texts, a: u32, b: u32) -> Ordering {
    let (one, other) = (of.of(a), of.of(b));
    Reverse(one).cmp(&Reverse(other)).then_with(|| texts.text(a).cmp(texts.text(b)))
}

/// All users with any activity, to be put in the report's order: it holds what it needs, so that it may be sorted while
/// others go on with fold and table.
pub struct Everyone {
    rows: Vec<Numbered>,
    null: Option<Numbered>,
    texts: Texts,
}

impl Everyone {
    pub fn new(of: &UserFold, texts: &Texts) -> Self {
        let rows = of.active(0, usize::MAX).map(|user| of.row(user)).collect();
        Everyone { rows, null: of.null(), texts: texts.clone() }
    }

    pub fn sort(&mut self) {
        let texts = &self.texts;
        self.rows.sort_unstable_by(|a, b| (b.1, b.2, texts.text(a.0)).cmp(&(a.1, a.2, texts.text(b.0))));
    }

    /// So many rows from a place on.
    pub fn piece(&self, start: usize, limit: usize) -> Vec<Row<'_>> {
        let null = self.null.map(|(_, added, deleted)| (None, added, deleted));
        let row = |&(user, added, deleted): &Numbered| (Some(self.texts.text(user)), added, deleted);
        let null = null.into_iter().skip(start.saturating_sub(self.rows.len()));
        self.rows.iter().skip(start).map(row).chain(null).take(limit).collect()
    }
}
