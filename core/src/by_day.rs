//! What days sum to, by the day, ascending: a copy shares them all.

use std::sync::Arc;

use crate::formats::FormatError;

pub struct ByDay<T>(Vec<(i64, Arc<T>)>);

impl<T> Default for ByDay<T> {
    fn default() -> Self {
        ByDay(Vec::new())
    }
}

impl<T> Clone for ByDay<T> {
    fn clone(&self) -> Self {
        ByDay(self.0.clone())
    }
}

impl<T> ByDay<T> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn place(&self, day: i64) -> Result<usize, usize> {
        self.0.binary_search_by_key(&day, |(of, _)| *of)
    }

    pub fn get(&self, day: i64) -> Option<&Arc<T>> {
        self.place(day).ok().map(|place| &self.0[place].1)
    }

    /// Takes out days that are there.
    pub fn take(&mut self, days: &[i64]) -> Result<Vec<(i64, Arc<T>)>, FormatError> {
        let missing = |day: i64| FormatError(format!("day {day} is not in this fold"));
        days.iter().map(|&day| self.place(day).map(|place| self.0.remove(place)).map_err(|_| missing(day))).collect()
    }

    /// Puts a day that is not there; one behind all others takes no look at them.
    pub fn put(&mut self, day: i64, sums: Arc<T>) {
        if self.0.last().is_none_or(|(last, _)| *last < day) {
            self.0.push((day, sums));
            return;
        }
        match self.place(day) {
            Ok(place) => self.0[place].1 = sums,
            Err(place) => self.0.insert(place, (day, sums)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::ByDay;

    #[test]
    fn days_ascend_in_whatever_order_they_come_and_go() {
        let mut days = ByDay::default();
        [5i64, 9, 2, 7].iter().for_each(|&day| days.put(day, Arc::new(day * 10)));
        let other = days.clone();
        assert_eq!(days.take(&[9, 2]).unwrap(), [(9, Arc::new(90)), (2, Arc::new(20))]);
        assert!(days.take(&[9]).is_err());
        days.put(6, Arc::new(60));
        days.put(5, Arc::new(51));
        assert_eq!(days.0.iter().map(|(day, of)| (*day, **of)).collect::<Vec<_>>(), [(5, 51), (6, 60), (7, 70)]);
        assert_eq!((days.len(), other.len(), days.get(2), other.get(2).map(|of| **of)), (3, 4, None, Some(20)));
    }
}
