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
    /// Where each bucket starts and ends, as the beginning of an object in JSON, and likewise each earlier one.
    pub spans: Vec<String>,
    pub earlier_spans: Vec<String>,
    days: HashMap<i64, DayPlan>,
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
        let json = |spans: Vec<(String, String)>| {
            spans.iter().map(|(start, end)| format!("{{\"start\":\"{start}\",\"end\":\"{end}\"")).collect()
        };
        let (spans, earlier_spans) = (json(spans), json(earlier_spans));
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
