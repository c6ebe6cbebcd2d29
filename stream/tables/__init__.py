"""The state of a partition, one module a kind, each with its changelog key and its packed form.

    partition.py   applies records to all of them: the Python form, which says what is right
    counts.py      b"c"  day aggregates: bases and a delta  (stream/storage/day_parts.py: their format;
                         merge.py: how they are packed, and a delta merged into its base)
    recent_ids.py  b"i"  which ids were counted lately
    uncounted.py   b"u"  which offsets did not count
    names.py       b"n"  latest labels of users, sources seen
    position.py    b"p"  how far the partition is counted

    compiled.py    the same state in the compiled core; state.py is the interface of both: batches go in (batch.py),
                   commits come out (commit.py), by the rules of rules.py; changelog.py reads what all records say

All of them are pure: no clock, no I/O. `formats.py` holds the one check that all share.
"""
