//! Rows of events that no commit has yet, all of them in one buffer, in a list for each day aggregate.

/// The rows of one day aggregate.
#[derive(Default, Clone, Copy)]
pub struct RowList {
    first: usize,
    last: usize,
    pub count: usize,
    pub bytes: usize,
}

struct Row {
    start: usize,
    end: usize,
    /// The place of the next row of the same list, where there is one.
    next: usize,
}

#[derive(Default)]
pub struct Rows {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

impl Rows {
    /// Adds a row at the end of a list.
    pub fn push(&mut self, list: &mut RowList, row: &[u8]) {
        let (start, place) = (self.bytes.len(), self.rows.len());
        self.bytes.extend_from_slice(row);
        self.rows.push(Row { start, end: self.bytes.len(), next: place });
        if list.count == 0 {
            list.first = place;
        } else {
            self.rows[list.last].next = place;
        }
        list.last = place;
        list.count += 1;
        list.bytes += row.len();
    }

    /// The rows of a list, in the order in which they came.
    pub fn of(&self, list: &RowList) -> impl Iterator<Item = &[u8]> + Clone {
        let mut place = list.first;
        (0..list.count).map(move |_| {
            let row = &self.rows[place];
            place = row.next;
            &self.bytes[row.start..row.end]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{RowList, Rows};

    #[test]
    fn each_list_has_its_rows_in_order() {
        let mut rows = Rows::default();
        let mut lists = [RowList::default(); 3];
        for number in 0..20u8 {
            rows.push(&mut lists[usize::from(number % 2)], &vec![number; usize::from(number)]);
        }
        for (first, list) in lists[..2].iter().enumerate() {
            let found: Vec<Vec<u8>> = rows.of(list).map(Into::into).collect();
            let expected: Vec<Vec<u8>> = (first as u8..20).step_by(2).map(|n| vec![n; usize::from(n)]).collect();
            assert_eq!(found, expected);
            assert_eq!((list.count, list.bytes), (10, expected.iter().map(Vec::len).sum()));
        }
        assert_eq!(rows.of(&lists[2]).count(), 0);
    }
}
