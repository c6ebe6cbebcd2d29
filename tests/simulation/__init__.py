"""Deterministic simulation: the code that counts, commits, recovers and projects, against a model of Kafka and of
Redis, in one process.

    python -m tests.simulation --seeds 1000        many runs, each drawn from its seed
    python -m tests.simulation --seed 17           one of them again, with a readable trace
    python -m tests.simulation --mutants           each guard of the product taken away in turn: the runs must turn red

Time is virtual and everything is drawn from the seed, so a run that failed fails again, step by step.

    loop.py       asyncio with a clock that jumps
    chance.py     what a seed decides: which faults, how often, how small the limits
    kafka.py      a model broker: source topic, changelog, dead letters, transactions
    clients.py    what the product sees of it, in the shape of aiokafka's producer and consumer
    redis.py      a model Redis: the script of stream/projection/replica.lua, every state that ever was, and its client
    workload.py   the events that publishers send, and what is true of each
    recount.py    the oracle: a recount written without the product's code
    reader.py     what a reader of Redis sees at a moment
    checks.py     what must hold at every write, and at the end
    worker.py     a worker: the product's owners, fed like by its consumer
    topics.py     the command that adds partitions
    faults.py     what goes wrong, and when
    run.py        one run
    cores.py      which form counts: in Python, compiled, or both side by side
    chosen_core.py, core_build.py  the compiled core that can go on without a guard
    mutants.py    the guards, and how each is taken away
    seeds.py      some seeds, one after the other
    apart.py      a process for each search and for some seeds
"""
