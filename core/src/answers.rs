//! Writes the parts of an answer as JSON: its buckets, and its first users. The Python forms are `api/report/timeline.py`,
//! `api/report/sources.py` and `api/report/users.py`, whose structs `api/wire.py` has.

use crate::days::ACTIVITIES;
use crate::fold::{Counts, Side};
use crate::plan::Plan;
use crate::user_fold::First;
use crate::user_table::{Texts, UserTable, NO_USER};

/// How sources are named in answers.
pub struct Names {
    /// Those that are always there, in this order.
    pub known: Vec<String>,
    /// The name of events without a source.
    pub none: String,
    /// The sum of those past `limit`, which is no source's name.
    pub rest: String,
    pub limit: usize,
}

/// How many buckets, from the first on, are final, have ended, and have begun.
pub struct Progress {
    pub settled: usize,
    pub ended: usize,
    pub begun: usize,
}

/// Each bucket's state. One that begins after now is in the future only as long as it holds nothing.
struct States<'a> {
    of: &'a Progress,
    counts: &'a Side<'a>,
}

impl States<'_> {
    fn is_future(&self, bucket: usize) -> bool {
        bucket >= self.of.begun && self.counts.totals.iter().all(|of| of[bucket] == 0)
    }

    /// What follows the span of a bucket.
    fn text(&self, bucket: usize) -> &'static [u8] {
        match bucket {
            _ if bucket < self.of.settled => b",\"state\":\"final\",\"added\":",
            _ if bucket < self.of.ended => b",\"state\":\"settling\",\"added\":",
            _ if self.is_future(bucket) => b",\"state\":\"future\",\"added\":",
            _ => b",\"state\":\"open\",\"added\":",
        }
    }
}

const NULL: &[u8] = b"null";

fn number(out: &mut Vec<u8>, mut number: u64) {
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0; 20];
    let mut start = digits.len();
    while number > 0 {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[start..]);
}

fn put_quoted(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a text is JSON");
}

fn or_null(out: &mut Vec<u8>, is_null: bool, count: u64) {
    if is_null {
        out.extend_from_slice(NULL);
    } else {
        number(out, count);
    }
}

fn sum(of: &[u64]) -> u64 {
    of.iter().copied().fold(0, u64::wrapping_add)
}

/// In percent of the earlier side, to one decimal, half away from zero; None where there was nothing.
fn change_percent(count: u64, previous: u64) -> Option<f64> {
    let (thousandths, whole) = (u128::from(count.abs_diff(previous)) * 1_000, u128::from(previous));
    let tenths = (2 * thousandths + whole).checked_div(2 * whole)? as f64 / 10.0;
    Some(if count >= previous || tenths == 0.0 { tenths } else { -tenths })
}

/// Added and deleted, each with the earlier side's and the change between them.
pub fn totals(plan: &Plan, counts: &Counts<'_>) -> [Vec<u8>; ACTIVITIES] {
    std::array::from_fn(|activity| {
        let (count, previous) = (sum(&counts.now.totals[activity]), sum(&counts.before.totals[activity]));
        let is_compared = plan.earlier > 0;
        let mut out = b"{\"count\":".to_vec();
        number(&mut out, count);
        out.extend_from_slice(b",\"previous\":");
        or_null(&mut out, !is_compared, previous);
        out.extend_from_slice(b",\"change_percent\":");
        match change_percent(count, previous).filter(|_| is_compared) {
            Some(change) => serde_json::to_writer(&mut out, &change).expect("a number is JSON"),
            None => out.extend_from_slice(NULL),
        }
        out.push(b'}');
        out
    })
}

/// Every bucket with its state and counts.
pub fn timeline(plan: &Plan, counts: &Counts<'_>, progress: &Progress) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + 320 * plan.buckets);
    let states = States { of: progress, counts: &counts.now };
    let [added, deleted] = &counts.now.totals;
    let [added_before, deleted_before] = &counts.before.totals;
    let mut between = b'[';
    let mut earlier_spans = plan.earlier_spans.iter();
    for (i, span) in plan.spans.iter().enumerate() {
        out.push(between);
        between = b',';
        let is_future = states.is_future(i);
        out.extend_from_slice(span);
        out.extend_from_slice(states.text(i));
        or_null(&mut out, is_future, added[i]);
        out.extend_from_slice(b",\"deleted\":");
        or_null(&mut out, is_future, deleted[i]);
        out.extend_from_slice(b",\"previous\":");
        match earlier_spans.next() {
            Some(earlier) => {
                out.extend_from_slice(earlier);
                out.extend_from_slice(b",\"added\":");
                number(&mut out, added_before[i]);
                out.extend_from_slice(b",\"deleted\":");
                number(&mut out, deleted_before[i]);
                out.push(b'}');
            }
            None => out.extend_from_slice(NULL),
        }
        out.push(b'}');
    }
    out.extend_from_slice(if plan.buckets == 0 { &b"[]"[..] } else { b"]" });
    out
}

/// A source's counts by its name as the key of an object; none: there are none.
type Row<'a> = (Vec<u8>, Option<&'a [u64]>);

/// The sources of a side by name.
type ByName<'a> = Vec<(&'a str, &'a [u64])>;

impl Names {
    /// None where one is called as that of none is, or the rest.
    fn rows<'a>(&'a self, of: &'a Side<'_>) -> Option<ByName<'a>> {
        let name = |&(source, counts): &(Option<&'a str>, &'a [u64])| match source {
            Some(source) if source == self.none || source == self.rest => None,
            _ => Some((source.unwrap_or(&self.none), counts)),
        };
        let mut rows = of.by_source.iter().map(name).collect::<Option<ByName<'a>>>()?;
        rows.sort_unstable_by_key(|row| row.0);
        Some(rows)
    }

    /// The known names first, others in their order, that of none last; without those of `before`.
    fn extend<'a>(&'a self, before: &mut Vec<&'a str>, rows: &ByName<'a>) {
        let is_new = |name: &&str| *name != self.none && !before.contains(name);
        let mut others: Vec<&str> = rows.iter().map(|row| row.0).filter(is_new).collect();
        let none = self.none.as_str();
        others.extend((counts_of(rows, none).is_some() && !before.contains(&none)).then_some(none));
        before.append(&mut others);
    }
}

fn counts_of<'a>(rows: &ByName<'a>, name: &str) -> Option<&'a [u64]> {
    rows.binary_search_by_key(&name, |row| row.0).ok().map(|place| rows[place].1)
}

fn as_rows<'a>(names: &[&'a str], rows: &ByName<'a>) -> Vec<Row<'a>> {
    let row = |(i, name): (usize, &&str)| {
        let mut key = Vec::with_capacity(name.len() + 4);
        key.push(if i == 0 { b'{' } else { b',' });
        put_quoted(&mut key, name);
        key.push(b':');
        (key, counts_of(rows, name))
    };
    names.iter().enumerate().map(row).collect()
}

/// An object of all rows, of which there are some.
fn by_name(out: &mut Vec<u8>, rows: &[Row<'_>], is_null: bool, count_of: impl Fn(&[u64]) -> u64) {
    for (key, counts) in rows {
        out.extend_from_slice(key);
        or_null(out, is_null, counts.map_or(0, &count_of));
    }
    out.push(b'}');
}

/// Added by source; None where there are more than are named.
pub fn sources(plan: &Plan, counts: &Counts<'_>, progress: &Progress, of: &Names) -> Option<Vec<u8>> {
    let (now, before) = (of.rows(&counts.now)?, of.rows(&counts.before)?);
    let mut names: Vec<&str> = of.known.iter().map(String::as_str).collect();
    of.extend(&mut names, &now);
    if names.len() > of.limit {
        return None;
    }
    let rows = as_rows(&names, &now);
    of.extend(&mut names, &before);
    if names.len() > of.limit {
        return None;
    }
    let earlier = as_rows(&names, &before);

    let states = States { of: progress, counts: &counts.now };
    let mut out = Vec::with_capacity(400 + plan.buckets * (200 + 40 * (rows.len() + earlier.len())));
    let mut between: &[u8] = b"{\"names\":[";
    for (key, _) in &rows {
        out.extend_from_slice(between);
        out.extend_from_slice(&key[1..key.len() - 1]);
        between = b",";
    }
    out.extend_from_slice(b"],\"totals\":");
    by_name(&mut out, &rows, false, sum);
    out.extend_from_slice(b",\"timeline\":[");
    let mut earlier_spans = plan.earlier_spans.iter();
    for (i, span) in plan.spans.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(span);
        out.extend_from_slice(states.text(i));
        by_name(&mut out, &rows, states.is_future(i), |counts| counts[i]);
        out.extend_from_slice(b",\"previous\":");
        match earlier_spans.next() {
            Some(span) => {
                out.extend_from_slice(span);
                out.extend_from_slice(b",\"added\":");
                by_name(&mut out, &earlier, false, |counts| counts[i]);
                out.push(b'}');
            }
            None => out.extend_from_slice(NULL),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Some(out)
}

/// Users with their labels, each written up to its counts: one behind the other.
pub struct Labels {
    text: Vec<u8>,
    /// By ascending number of the user: where what is written starts and ends.
    users: Vec<(u32, usize, usize)>,
}

fn put_labelled(out: &mut Vec<u8>, user: Option<&str>, label: Option<&str>) {
    for (name, text) in [("{\"user_id\":", user), (",\"user_name\":", label)] {
        out.extend_from_slice(name.as_bytes());
        match text {
            Some(text) => put_quoted(out, text),
            None => out.extend_from_slice(NULL),
        }
    }
    out.extend_from_slice(b",\"added\":");
}

impl Labels {
    /// Of users who have a number in a table; nobody has counted the others yet.
    pub fn new(labels: impl IntoIterator<Item = (String, Option<String>)>, table: &UserTable) -> Self {
        let mut of = Labels { text: Vec::new(), users: Vec::new() };
        for (user, label) in labels {
            let Some(number) = table.find(Some(&user)) else { continue };
            let start = of.text.len();
            put_labelled(&mut of.text, Some(&user), label.as_deref());
            of.users.push((number, start, of.text.len()));
        }
        of.users.sort_unstable();
        of
    }

    fn get(&self, user: u32) -> Option<&[u8]> {
        let place = self.users.binary_search_by_key(&user, |of| of.0).ok()?;
        let (_, start, end) = self.users[place];
        Some(&self.text[start..end])
    }

    pub fn lack(&self, first: &First) -> bool {
        first.rows.iter().any(|&(user, ..)| user != NO_USER && self.get(user).is_none())
    }
}

/// The first users with their labels and counts. Whose label is not there has none.
pub fn users(first: &First, texts: &Texts, labels: &Labels) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + 120 * first.rows.len());
    out.push(b'[');
    for (i, &(user, added, deleted)) in first.rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        match labels.get(user) {
            Some(written) => out.extend_from_slice(written),
            None => {
                put_labelled(&mut out, Some(user).filter(|&user| user != NO_USER).map(|user| texts.text(user)), None)
            }
        }
        number(&mut out, added);
        out.extend_from_slice(b",\"deleted\":");
        number(&mut out, deleted);
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// What the users sum to that are not listed.
pub fn omitted(first: &First) -> Vec<u8> {
    let (users, added, deleted) = first.omitted();
    let mut out = Vec::new();
    for (name, count) in [("{\"count\":", users as u64), (",\"added\":", added), (",\"deleted\":", deleted)] {
        out.extend_from_slice(name.as_bytes());
        number(&mut out, count);
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::{change_percent, number};

    #[test]
    fn a_change_is_to_one_decimal_and_half_away_from_zero() {
        let cases = [
            ((3, 0), None),
            ((0, 0), None),
            ((4, 4), Some("0.0")),
            ((1, 2), Some("-50.0")),
            ((0, 7), Some("-100.0")),
            ((2, 3), Some("-33.3")),
            ((2_001, 2_000), Some("0.1")),
            ((1_999, 2_000), Some("-0.1")),
            ((9_999, 10_000), Some("0.0")),
            ((10_004, 10_000), Some("0.0")),
            ((1_125, 1_000), Some("12.5")),
            ((123_456_789_012, 1), Some("12345678901100.0")),
        ];
        for ((count, previous), expected) in cases {
            let found = change_percent(count, previous).map(|change| serde_json::to_string(&change).unwrap());
            assert_eq!(found.as_deref(), expected, "{count} after {previous}");
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        for of in [0, 7, 9, 10, 99, 100, 12_345, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, of);
            assert_eq!(String::from_utf8(out).unwrap(), of.to_string());
        }
    }
}
