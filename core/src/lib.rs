//! The counting core of the contacts report. It holds what is pure and hot, and knows no clock, no thread, no Kafka and no
//! Redis: bytes and rules go in, bytes and a handful of numbers come out. Each module has a Python form of the same name,
//! which says what is right and gives the same bytes.

pub mod batches;
pub mod calls;
pub mod counts;
pub mod day_parts;
pub mod days;
pub mod event;
pub mod formats;
pub mod merge;
mod mutants;
pub mod names;
pub mod partition;
mod python;
pub mod recent_ids;
pub mod records;
pub mod row;
pub mod small_map;
pub mod timestamps;
pub mod uncounted;
