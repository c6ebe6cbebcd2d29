//! Lists the guards that the simulation removes, one at a time, to show that it notices each
//! (`tests/simulation/mutants.py`). Without the feature `mutants` every guard is in place, and `kept` costs nothing.

#[cfg(not(feature = "mutants"))]
mod asked {
    #[inline(always)]
    pub const fn kept(_guard: &str) -> bool {
        true
    }
}

#[cfg(feature = "mutants")]
mod asked {
    use std::sync::OnceLock;

    /// By the names of their mutants.
    pub const GUARDS: &[&str] = &[
        "a-duplicate-does-not-move-the-hour",
        "copied-of-what-was-sent",
        "duplicates-get-no-row",
        "expiry-whatever-the-batch",
        "extra-hour",
        "ids-in-the-transaction",
        "label-by-its-time",
        "no-more-names",
        "publishers-time-far-ahead",
        "rest-while-sending",
        "retention-never-goes-back",
        "retention-when-read",
        "skipped-not-judged",
        "whole-aggregates",
        "window-of-the-two-records",
    ];

    static TAKEN_AWAY: OnceLock<String> = OnceLock::new();

    pub fn kept(guard: &str) -> bool {
        debug_assert!(GUARDS.contains(&guard), "{guard} is not among the guards");
        TAKEN_AWAY.get().is_none_or(|gone| gone != guard)
    }

    /// From now on in this process. Panics where there is no such guard, or one is gone already.
    pub fn take_away(guard: &str) {
        assert!(GUARDS.contains(&guard), "there is no guard {guard}");
        TAKEN_AWAY.set(guard.to_owned()).expect("one guard is taken away at a time");
    }
}

pub use asked::*;
