//! Writes the buckets of an answer as JSON. The Python forms are `api/report/timeline.py` and `api/report/sources.py`, whose
//! structs `api/wire.py` has.

use hashbrown::HashMap;

use crate::fold::{Counts, Side};
use crate::plan::Plan;

/// The state of a bucket whose counts are null.
const FUTURE: &str = "future";

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

fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

fn quoted(text: &str) -> Vec<u8> {
    serde_json::to_vec(text).expect("a text is JSON")
}

fn span(out: &mut Vec<u8>, (start, end): &(String, String)) {
    for (name, text) in [("{\"start\":\"", start), ("\",\"end\":\"", end)] {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.push(b'"');
}

fn bucket(out: &mut Vec<u8>, of: &(String, String), state: &str) {
    span(out, of);
    out.extend_from_slice(b",\"state\":\"");
    out.extend_from_slice(state.as_bytes());
    out.push(b'"');
}

fn count(out: &mut Vec<u8>, name: &[u8], count: Option<u64>) {
    out.extend_from_slice(name);
    match count {
        Some(count) => number(out, count),
        None => out.extend_from_slice(b"null"),
    }
}

/// Every bucket with its state and counts.
pub fn timeline(plan: &Plan, counts: &Counts<'_>, states: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2 + 320 * states.len());
    out.push(b'[');
    let [added, deleted] = &counts.now.totals;
    let [added_before, deleted_before] = &counts.before.totals;
    for (i, (of, state)) in plan.spans.iter().zip(states).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        bucket(&mut out, of, state);
        let here = |of: &[u64]| (*state != FUTURE).then(|| of[i]);
        count(&mut out, b",\"added\":", here(added));
        count(&mut out, b",\"deleted\":", here(deleted));
        out.extend_from_slice(b",\"previous\":");
        match plan.earlier_spans.get(i) {
            Some(earlier) => {
                span(&mut out, earlier);
                count(&mut out, b",\"added\":", Some(added_before[i]));
                count(&mut out, b",\"deleted\":", Some(deleted_before[i]));
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.push(b']');
    out
}

/// A name as JSON, and its counts; none: there are none.
type Row<'a> = (Vec<u8>, Option<&'a [u64]>);

impl Names {
    /// The sources of a side by name; None where one is called as that of none is, or the rest.
    fn rows<'a>(&'a self, of: &'a Side<'_>) -> Option<HashMap<&'a str, &'a [u64]>> {
        let mut rows = HashMap::with_capacity(of.by_source.len());
        for (source, counts) in &of.by_source {
            if source.is_some_and(|source| source == self.none || source == self.rest) {
                return None;
            }
            rows.insert(source.unwrap_or(&self.none), *counts);
        }
        Some(rows)
    }

    /// The known names first, others in their order, that of none last; without those of `before`.
    fn extend<'a>(&'a self, before: &mut Vec<&'a str>, rows: &HashMap<&'a str, &'a [u64]>) {
        let is_other = |name: &&str| *name != self.none && !self.known.iter().any(|known| known == name);
        let mut others: Vec<&str> = rows.keys().copied().filter(is_other).collect();
        others.sort_unstable();
        others.extend(rows.contains_key(self.none.as_str()).then_some(self.none.as_str()));
        others.retain(|name| !before.contains(name));
        before.append(&mut others);
    }
}

fn as_rows<'a>(names: &[&'a str], rows: &HashMap<&'a str, &'a [u64]>) -> Vec<Row<'a>> {
    names.iter().map(|name| (quoted(name), rows.get(name).copied())).collect()
}

fn by_name(out: &mut Vec<u8>, rows: &[Row<'_>], count_of: impl Fn(Option<&[u64]>) -> Option<u64>) {
    out.push(b'{');
    for (i, (name, counts)) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
        count(out, b":", count_of(*counts));
    }
    out.push(b'}');
}

/// Added by source; None where there are more than are named.
pub fn sources(plan: &Plan, counts: &Counts<'_>, states: &[&str], of: &Names) -> Option<Vec<u8>> {
    let (now, before) = (of.rows(&counts.now)?, of.rows(&counts.before)?);
    let mut names: Vec<&str> = of.known.iter().map(String::as_str).collect();
    of.extend(&mut names, &now);
    if names.len() > of.limit {
        return None;
    }
    let rows = as_rows(&names, &now);
    let mut earlier_names = names;
    of.extend(&mut earlier_names, &before);
    if earlier_names.len() > of.limit {
        return None;
    }
    let earlier = as_rows(&earlier_names, &before);

    let mut out = Vec::with_capacity(400 + states.len() * (200 + 40 * (rows.len() + earlier.len())));
    out.extend_from_slice(b"{\"names\":[");
    for (i, (name, _)) in rows.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name);
    }
    out.extend_from_slice(b"],\"totals\":");
    by_name(&mut out, &rows, |counts| Some(counts.unwrap_or(&[]).iter().copied().fold(0, u64::wrapping_add)));
    out.extend_from_slice(b",\"timeline\":[");
    for (i, (of, state)) in plan.spans.iter().zip(states).enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let here = |counts: Option<&[u64]>| Some(counts.map_or(0, |counts| counts[i]));
        bucket(&mut out, of, state);
        out.extend_from_slice(b",\"added\":");
        by_name(&mut out, &rows, |counts| here(counts).filter(|_| *state != FUTURE));
        out.extend_from_slice(b",\"previous\":");
        match plan.earlier_spans.get(i) {
            Some(of) => {
                span(&mut out, of);
                out.extend_from_slice(b",\"added\":");
                by_name(&mut out, &earlier, here);
                out.push(b'}');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Some(out)
}
