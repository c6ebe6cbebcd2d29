"""The state of a partition, one module a kind, each with its changelog key and its packed form.

    counts.py      b"c"  day aggregates: bases and a delta  (stream/storage/day_parts.py: their format;
                         merge.py: a delta into its base)
    recent_ids.py  b"i"  which ids were counted lately
    uncounted.py   b"u"  which offsets did not count
    names.py       b"n"  latest labels of users, sources seen
    position.py    b"p"  how far the partition is counted

All of them are pure: no clock, no I/O. `formats.py` holds the one check that all share.
"""
