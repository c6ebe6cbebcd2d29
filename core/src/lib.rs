//! The compiled form of the counting, and of the sums of reports. It contains the pure, hot code: no clock, no thread, no
//! Kafka and no Redis. Bytes and rules go in, bytes and a few numbers come out. Most modules have a Python form of the same
//! name, which defines the correct result; both give the same bytes and the same sums.

pub mod answers;
pub mod batches;
pub mod by_day;
pub mod calls;
pub mod cloudevents;
pub mod counts;
pub mod day_parts;
pub mod days;
pub mod event;
pub mod few;
pub mod fold;
pub mod formats;
pub mod lateness;
pub mod latest;
pub mod merge;
mod mutants;
pub mod names;
pub mod partition;
pub mod plain_json;
pub mod plan;
mod python;
pub mod recent_ids;
pub mod records;
mod reports;
pub mod row;
pub mod rows;
pub mod small_map;
pub mod text;
pub mod timestamps;
pub mod uncounted;
pub mod user_days;
pub mod user_fold;
pub mod user_table;
