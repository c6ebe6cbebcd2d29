"""What a seed decides: how small the limits are, which faults there are in this run, and how often."""

import random
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Profile:
    """One run. Rates are probabilities; a fault list for one mutant sets some of them by hand."""

    # the world
    partitions: int = 2
    workers: int = 2
    seconds: float = 20.0
    """How long things go wrong, in virtual time."""
    events: int = 120
    # the product's limits
    commit_interval: float = 0.2
    commit_max_events: int = 40
    window_hours: int = 2
    max_ids: int = 1_000
    name_limit: int = 100_000
    delta_floor: int = 2
    base_bytes_limit: int = 400
    retention_days: int | None = None
    call_bytes: int = 1_500
    operation_limit: int = 4
    step_offsets: int = 7
    batch_bytes: int = 2_000
    block_ids: int = 4
    uncounted_block_bytes: int = 6
    # the log
    first_hour: float = 20.0
    """The broker's hour of the day when all begins: how soon midnight comes."""
    transactions: float = 0.2
    aborted: float = 0.3
    duplicates: float = 0.2
    poison: float = 0.12
    hour_jumps: float = 0.15
    day_jumps: float = 0.0
    backwards: float = 0.1
    """Broker time of a record that lies before that of the one before."""
    backwards_hours: float = 0.9
    lateness: float = 0.3
    publishers_time: float = 0.0
    """Of records: the publisher set their time."""
    ahead: float = 0.0
    """Of those: the time is far ahead, some of them only until the clocks have gone on."""
    broker_ahead: float = 0.0
    """Per second: the brokers' clock is hours ahead of all others, until these have gone on."""
    head_retention: float = 0.0
    """Per second: the topic loses its head, up to what is committed."""
    # Kafka
    slow: float = 0.05
    """Of all hops of a message: some seconds instead of milliseconds."""
    kafka_fails: float = 0.03
    answer_lost: float = 0.03
    batch_fails: float = 0.02
    init_hangs: float = 0.05
    slow_reads: float = 0.1
    """Of old records: much longer than a commit, so that whatever happens in the middle of a read does."""
    slow_close: float = 0.02
    """Of producers: closing takes longer than the product waits for it, or nearly as long."""
    compaction: float = 0.3
    too_large_letter: float = 0.0
    """Above 0: the dead-letter topic takes little, and so many of the rejected have a large key or headers."""
    limit_hidden: bool = False
    """Workers are not told how little."""
    # Redis, per call
    call_lost: float = 0.02
    call_late: float = 0.02
    call_answer_lost: float = 0.02
    copies: bool = False
    """A client that sends a call again by itself: both copies may arrive, at any time."""
    # per second of the run
    crash: float = 0.05
    pause: float = 0.05
    rebalance: float = 0.1
    zombie: float = 0.3
    """Of rebalances: a worker that loses partitions is not told, for long or for ever."""
    zombie_returns: float = 0.1
    redis_restore: float = 0.1
    redis_empty: float = 0.03
    redis_lose_delta: float = 0.1
    redis_away: float = 0.03
    kafka_away: float = 0.02
    redis_evicts: float = 0.0
    """Some keys go, and nobody is told."""
    evicts_seconds: float = 4.0
    """The policy that evicts is there for so long at most."""
    clock_steps: float = 0.0
    """A worker's clock is set, to a wrong time most of the time."""
    as_of_ahead: float = 0.0
    """What a worker with a wrong clock once said, before `as_of` was bounded; or Redis' own clock was set back."""
    wire_survives: float = 0.3
    """Of losses in Redis: what was on its way still arrives."""
    zombies_stay: bool = True
    clock_wrong: float = 0.0
    """The clock of a worker, or of Redis, is set wrong for a while."""
    stop: float = 0.03
    """A worker is told to stop, and another takes its place."""
    raise_partitions: float = 0.0
    """By Kafka's own tools."""
    topics_command: float = 0.0
    """Somebody gives `topics --partitions N`, perhaps two at once."""
    topics_fail: float = 0.3
    """Of such a command: it ends somewhere; of its requests to Kafka: refused, or the answer is lost."""
    without_rows: float = 0.0
    """Of workers: it is told to keep no rows."""
    # at the end: what the worker must refuse
    changelog_lost: float = 0.03
    keys_lost: float = 0.03
    topic_anew: float = 0.03


def draw(seed: int) -> Profile:
    """The profile of a seed. Most runs have some kinds of faults in plenty and lack others: so each kind is seen
    alone, too.
    """
    rng = random.Random(f"profile {seed}")
    some = rng.choice

    def rate(most: float, nothing: float = 0.35) -> float:
        return 0.0 if rng.random() < nothing else most * rng.random()

    retention = some([None, None, None, 1, 2])
    head_retention = rate(0.3, 0.7)
    return Profile(
        partitions=some([1, 1, 2, 2, 3]),
        workers=some([1, 2, 2, 3]),
        seconds=some([6.0, 12.0, 20.0]),
        events=some([30, 60, 110]),
        commit_interval=some([0.02, 0.1, 0.4]),
        commit_max_events=some([3, 10, 50]),
        window_hours=some([0, 1, 2, 3]),
        max_ids=some([1_000, 1_000, 25, 8]),
        delta_floor=some([0, 1, 2, 4]),
        base_bytes_limit=some([120, 200, 400, 100_000]),
        retention_days=retention,
        call_bytes=some([200, 600, 1_500, 200_000]),
        operation_limit=some([2, 4, 2_000]),
        step_offsets=some([1, 3, 10, 2_000]),
        batch_bytes=some([300, 2_000, 1 << 20]),
        block_ids=some([1, 3, 128]),
        uncounted_block_bytes=some([2, 6, 512]),
        first_hour=some([20.0, 23.6]),
        transactions=rate(0.6),
        aborted=0.3,
        duplicates=rate(0.5),
        poison=rate(0.35),
        hour_jumps=rate(0.5),
        day_jumps=rate(0.15, 0.3 if retention else 0.6),
        backwards=rate(0.3),
        backwards_hours=0.9 if head_retention or rng.random() < 0.6 else 3.5,
        lateness=rate(0.8),
        head_retention=head_retention,
        slow=rate(0.1),
        kafka_fails=rate(0.06),
        answer_lost=rate(0.06),
        batch_fails=rate(0.06),
        init_hangs=rate(0.15),
        slow_close=rate(0.5),
        slow_reads=rate(0.5),
        compaction=rate(1.0),
        too_large_letter=rate(0.3, 0.8),
        limit_hidden=rng.random() < 0.5,
        call_lost=rate(0.06),
        call_late=rate(0.06),
        call_answer_lost=rate(0.06),
        crash=rate(0.15),
        pause=rate(0.15),
        rebalance=rate(0.3),
        zombie=rate(1.0, 0.2),
        zombie_returns=rate(0.5),
        redis_restore=rate(0.3),
        redis_empty=rate(0.1),
        redis_lose_delta=rate(0.3),
        redis_away=rate(0.1),
        kafka_away=rate(0.06),
        wire_survives=some([0.0, 0.5, 1.0]),
        zombies_stay=rng.random() < 0.5,
        stop=rate(0.1),
        raise_partitions=rate(0.08, 0.8),
        without_rows=rate(0.5, 0.7),
        redis_evicts=rate(0.2, 0.8),
        publishers_time=rate(0.8),
        ahead=0.0 if head_retention else rate(0.5),
        broker_ahead=0.0 if head_retention else rate(0.2, 0.7),
        clock_wrong=rate(0.2),
        clock_steps=rate(0.5, 0.6),
        as_of_ahead=rate(0.2, 0.7),
        topics_command=rate(0.3, 0.7),
        name_limit=some([100_000, 100_000, 100_000, 9, 3]),
    )


def changed(profile: Profile, **faults: Any) -> Profile:
    return replace(profile, **faults)
