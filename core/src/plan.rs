//! Holds a plan as `api/report/plan.py` makes it: which UTC days a view reads, and where each is cut.

use hashbrown::HashMap;

use crate::day_parts::QUARTERS_A_DAY;
use crate::formats::FormatError;

/// One UTC day in pieces.
pub struct DayPlan {
    /// Where each piece ends, the last at 96.
    pub cuts: Vec<u64>,
    /// The column in which each piece counts.
    pub columns: Vec<usize>,
    /// (piece, column) of pieces that count a second time.
    pub also: Vec<(usize, usize)>,
    /// [first, end) quarters of the day that lie in the range itself.
    pub window: (u64, u64),
}

/// The days of a view. Its columns are its buckets, the earlier ones, and what is outside.
pub struct Plan {
    pub buckets: usize,
    pub earlier: usize,
    pub spans: Spans,
    pub earlier_spans: Spans,
    days: HashMap<i64, DayPlan>,
}

/// Where buckets start and end, each as the beginning of an object in JSON; one behind the other, as they are read.
pub struct Spans {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Spans {
    fn new(spans: &[(String, String)]) -> Self {
        let mut of = Spans { text: Vec::new(), ends: Vec::new() };
        for (start, end) in spans {
            of.text.extend_from_slice(format!("{{\"start\":\"{start}\",\"end\":\"{end}\"").as_bytes());
            of.ends.push(of.text.len());
        }
        of
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |&end| &self.text[std::mem::replace(&mut start, end)..end])
    }
}

fn fault(text: String) -> FormatError {
    FormatError(format!("a plan {text}"))
}

impl Plan {
    /// `spans`: start and end of each bucket, as texts. There are as many earlier buckets as buckets, or none.
    pub fn new(
        spans: Vec<(String, String)>,
        earlier_spans: Vec<(String, String)>,
        days: impl IntoIterator<Item = (i64, DayPlan)>,
    ) -> Result<Self, FormatError> {
        let (buckets, earlier) = (spans.len(), earlier_spans.len());
        if earlier != 0 && earlier != buckets {
            return Err(fault(format!("has {earlier} buckets beside {buckets}")));
        }
        let (spans, earlier_spans) = (Spans::new(&spans), Spans::new(&earlier_spans));
        let plan = Plan { buckets, earlier, spans, earlier_spans, days: days.into_iter().collect() };
        for (day, of) in &plan.days {
            let columns = of.columns.iter().chain(of.also.iter().map(|(_, column)| column));
            let good = of.columns.len() == of.cuts.len()
                && columns.max() < Some(&plan.columns())
                && of.also.iter().all(|&(piece, _)| piece < of.cuts.len())
                && of.window.1 <= QUARTERS_A_DAY;
            if !good {
                return Err(fault(format!("has day {day} in columns that it does not have")));
            }
        }
        Ok(plan)
    }

    pub fn columns(&self) -> usize {
        self.buckets + self.earlier + 1
    }

    pub fn day(&self, day: i64) -> Result<&DayPlan, FormatError> {
        self.days.get(&day).ok_or_else(|| fault(format!("without day {day}")))
    }
}
