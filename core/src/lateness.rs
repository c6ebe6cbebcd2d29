//! By how much later than they happened events came that counted: how many in each span of time. The Python form is
//! `stream/tables/lateness.py`, which has the bounds.

pub struct Lateness {
    bounds_ms: Vec<i64>,
    counts: Vec<u64>,
    total_ms: u64,
}

impl Lateness {
    pub fn new(bounds_ms: Vec<i64>) -> Self {
        let counts = vec![0; bounds_ms.len() + 1];
        Lateness { bounds_ms, counts, total_ms: 0 }
    }

    pub fn add(&mut self, late_ms: i64) {
        self.counts[self.bounds_ms.partition_point(|&bound| bound < late_ms)] += 1;
        self.total_ms += late_ms.max(0) as u64;
    }

    /// Events by bound, and all their milliseconds, since this was asked last.
    pub fn take(&mut self) -> (Vec<u64>, u64) {
        let counts = vec![0; self.counts.len()];
        (std::mem::replace(&mut self.counts, counts), std::mem::take(&mut self.total_ms))
    }
}
