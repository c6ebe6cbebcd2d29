//! What days sum to, by the day. A copy shares what it is made of, and takes no look at each day: their counters lie apart, and
//! to raise all took longer than the rest of an exchange.

use std::sync::Arc;

use crate::formats::FormatError;

type Day<T> = (i64, Arc<T>);

/// Both ascend.
pub struct ByDay<T> {
    base: Arc<Vec<Day<T>>>,
    /// Of some days what is no longer as there; None: nothing.
    changed: Vec<(i64, Option<Arc<T>>)>,
    len: usize,
}

/// With more of them changed there is another base.
const MOST_CHANGED: usize = 16;

impl<T> Default for ByDay<T> {
    fn default() -> Self {
        ByDay { base: Arc::default(), changed: Vec::new(), len: 0 }
    }
}

impl<T> Clone for ByDay<T> {
    fn clone(&self) -> Self {
        ByDay { base: Arc::clone(&self.base), changed: self.changed.clone(), len: self.len }
    }
}

impl<T> ByDay<T> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, day: i64) -> Option<&Arc<T>> {
        match self.changed.binary_search_by_key(&day, |(of, _)| *of) {
            Ok(place) => self.changed[place].1.as_ref(),
            Err(_) => self.base.binary_search_by_key(&day, |(of, _)| *of).ok().map(|place| &self.base[place].1),
        }
    }

    /// Takes out days that are there.
    pub fn take(&mut self, days: &[i64]) -> Result<Vec<Day<T>>, FormatError> {
        let mut taken = Vec::with_capacity(days.len());
        for &day in days {
            let sums = self.get(day).ok_or_else(|| FormatError(format!("day {day} is not in this fold")))?;
            taken.push((day, Arc::clone(sums)));
            self.change(day, None);
        }
        Ok(taken)
    }

    /// Puts a day that is not there; one behind all others takes no look at them.
    pub fn put(&mut self, day: i64, sums: Arc<T>) {
        let is_behind = self.changed.is_empty() && self.base.last().is_none_or(|(last, _)| *last < day);
        if let Some(base) = Arc::get_mut(&mut self.base).filter(|_| is_behind) {
            base.push((day, sums));
            self.len += 1;
        } else {
            self.change(day, Some(sums));
        }
    }

    /// What is held of days that have something else by now, or nothing: it goes with the base.
    pub fn outdated(&self) -> impl Iterator<Item = &T> {
        let in_base = |day: i64| self.base.binary_search_by_key(&day, |(of, _)| *of).ok();
        self.changed.iter().filter_map(move |(day, _)| in_base(*day)).map(|place| &*self.base[place].1)
    }

    fn change(&mut self, day: i64, sums: Option<Arc<T>>) {
        self.len = self.len + usize::from(sums.is_some()) - usize::from(self.get(day).is_some());
        match self.changed.binary_search_by_key(&day, |(of, _)| *of) {
            Ok(place) => self.changed[place].1 = sums,
            Err(place) => self.changed.insert(place, (day, sums)),
        }
        if self.changed.len() > MOST_CHANGED {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let mut merged = Vec::with_capacity(self.len);
        let mut changed = std::mem::take(&mut self.changed).into_iter().peekable();
        for (day, sums) in self.base.iter() {
            while let Some((before, of)) = changed.next_if(|(of, _)| of < day) {
                merged.extend(of.map(|of| (before, of)));
            }
            match changed.next_if(|(of, _)| of == day) {
                Some((_, of)) => merged.extend(of.map(|of| (*day, of))),
                None => merged.push((*day, Arc::clone(sums))),
            }
        }
        merged.extend(changed.filter_map(|(day, of)| of.map(|of| (day, of))));
        self.base = Arc::new(merged);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{ByDay, MOST_CHANGED};

    fn items(days: &ByDay<i64>) -> Vec<(i64, i64)> {
        (-100..200).filter_map(|day| days.get(day).map(|of| (day, **of))).collect()
    }

    #[test]
    fn days_come_and_go_in_whatever_order_and_a_copy_keeps_its_own() {
        let mut days = ByDay::default();
        [5i64, 9, 2, 7].iter().for_each(|&day| days.put(day, Arc::new(day * 10)));
        let other = days.clone();
        assert_eq!(days.take(&[9, 2]).unwrap(), [(9, Arc::new(90)), (2, Arc::new(20))]);
        assert!(days.take(&[9]).is_err());
        days.put(6, Arc::new(60));
        days.put(5, Arc::new(51));
        assert_eq!(items(&days), [(5, 51), (6, 60), (7, 70)]);
        assert_eq!((days.len(), other.len(), days.get(2), other.get(2).map(|of| **of)), (3, 4, None, Some(20)));
        // What the copy shares is held: of each day that is another one, or gone
        assert_eq!(days.outdated().collect::<Vec<_>>(), [&50, &90]);
        assert_eq!(other.outdated().count(), 0);
    }

    #[test]
    fn many_changes_are_the_same_as_in_a_map() {
        let (mut days, mut map, mut number) = (ByDay::default(), BTreeMap::new(), 1u64);
        let mut kept = Vec::new();
        for step in 0..2_000i64 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let day = (number >> 33) as i64 % 90;
            if map.contains_key(&day) && step % 3 > 0 {
                assert_eq!(days.take(&[day]).unwrap(), [(day, Arc::new(map.remove(&day).unwrap()))]);
            } else {
                days.put(day, Arc::new(step));
                map.insert(day, step);
            }
            assert_eq!(days.len(), map.len());
            assert!(days.changed.len() <= MOST_CHANGED && days.outdated().count() <= days.changed.len());
            if step % 7 == 0 {
                kept.push((days.clone(), map.clone()));
            }
        }
        for (days, map) in kept {
            assert_eq!(items(&days), map.into_iter().collect::<Vec<_>>());
        }
    }
}
