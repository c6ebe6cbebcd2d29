"""The model Redis of the simulation does what the script does on a real server: the same calls, the same answers, the
same content.
"""

import random
from collections.abc import Iterator
from importlib.resources import files

import pytest
import redis

from tests.simulation.redis import State, run
from tests.support.stack import RedisServer

SCRIPT = files("stream.projection").joinpath("replica.lua").read_text()
NOW_MS = 1 << 41
"""Where no time in a call is ahead of it, any will do."""
POSITIONS = b"cr1:g:{0}:positions"
TOKENS = (b"aa", b"bb")
LONE_ROWS = (b"lone0", b"lone1", b"lone2")
LABELS = (
    b"5 0 0 7 1Ada",
    b"5 0 1 3 1Bo",
    b"5 10 0 9 1",
    b"12 0 0 2 0",
    b"5 0 0 7 1Ida",
    b"5 0 0 8 0",
    b"40 0 0 10 1x y\nz",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    running.start()
    client = running.client
    yield client
    client.close()
    running.kill()


def content(client: redis.Redis) -> State:
    found: dict[bytes, dict[bytes, bytes]] = {}
    for key in client.keys("*"):
        if client.type(key) == b"hash":
            found[key] = client.hgetall(key)
        else:
            found[key] = {member: b"%d" % score for member, score in client.zrange(key, 0, -1, withscores=True)}
    return found


def operations(rng: random.Random, partition: bytes) -> tuple[list[bytes], list[bytes]]:
    """Some operations of a partition on some keys."""
    keys = [b"cells", b"days", b"rows", b"names", b"other", b"list"]
    rng.shuffle(keys)
    keys += LONE_ROWS
    place = {key: b"%d" % (number + 2) for number, key in enumerate(keys)}
    argv: list[bytes] = []
    for _ in range(rng.randrange(6)):
        kind = rng.choice("hxdwzrluh")
        few = [b"f%d" % rng.randrange(5) for _ in range(rng.randrange(1, 5))]
        if kind == "h":
            argv += [b"h", place[b"cells"], b"%d" % len(few)]
            argv += [part for field in few for part in (field, b"v%d" % rng.randrange(9))]
        elif kind == "x":
            argv += [b"x", place[b"cells"], b"%d" % len(few), *few]
        elif kind == "d":
            days = rng.sample((b"0", b"1", b"2"), rng.randrange(1, 4))
            argv += [b"d", place[b"days"], b"%d" % len(days)]
            argv += [part for day in days for part in (day, rng.choice((b"", partition + b":0", partition + b":3")))]
        elif kind == "w":
            argv += [b"w", place[b"list"], place[b"days"], rng.choice((b"w", b"w", b"w", b"w", b"w2"))]
            if rng.random() < 0.2:
                argv += [b"h", place[b"days"], b"1", b"all", b"word 20000"]
        elif kind == "z":
            argv += [b"z", place[b"rows"], b"%d" % len(few), *few]
        elif kind == "r":
            lone = LONE_ROWS[rng.randrange(len(LONE_ROWS)) :]
            argv += [b"r", place[lone[0]], b"%d" % len(lone), *(rng.choice(few) for _ in lone)]
        elif kind == "l":
            pairs = [(user, rng.choice(LABELS)) for user in rng.sample((b"u:0", b"u:1", b"u:2"), rng.randrange(1, 4))]
            argv += [b"l", place[b"names"], b"%d" % len(pairs), *(part for pair in pairs for part in pair)]
        else:
            argv += [b"u", place[rng.choice((b"rows", b"other", b"other", b"days"))]]
    return keys, argv


def call(rng: random.Random, numbers: dict[bytes, int]) -> tuple[list[bytes], list[bytes]]:
    """A claim, or a call that is taken most of the time."""
    partition = b"%d" % rng.choice((1, 1, 10))
    if rng.random() < 0.2:
        return [POSITIONS], [b"claim", partition, rng.choice((b"h1", b"h1", b"h1", b"h2")), rng.choice(TOKENS)]
    if rng.random() < 0.05:
        policy = rng.choice((b"noeviction", b"volatile-lru", b"allkeys-lfu"))
        return [POSITIONS], [b"evicted", rng.choice((b"r1", b"r2")), b"%d" % rng.randrange(4), policy]
    keys, argv = operations(rng, partition)
    fields = [
        (partition + b"." + name, b"%d" % rng.randrange(99))
        for name in (b"position", b"owed", b"when", b"copied")
        if rng.random() < 0.5
    ]
    number = b"%d" % rng.choice((numbers.get(partition, 0) + 1, numbers.get(partition, 0) + 1, rng.randrange(4)))
    some = rng.choice((b"", b"%d" % rng.randrange(-9, 200)))
    head = [b"project", partition, rng.choice(TOKENS), number, b"word%d" % rng.randrange(10**6), b"changes", b"w"]
    head += [some, rng.choice((b"", b"%d" % rng.randrange(5))), b"%d" % len(fields)]
    return [POSITIONS, *keys], [*head, *(part for field in fields for part in field), *argv]


def without_the_time(answer: object) -> object:
    """A call that was taken, and a claim beside others, answer with the time."""
    if isinstance(answer, list):
        return answer[:4] + answer[5:]
    return answer if answer in (0, 1) else "the time"


@pytest.mark.parametrize("seed", range(12))
def test_the_same_calls_leave_the_same_content(server: redis.Redis, seed: int) -> None:
    # Given an empty server and an empty model, and calls of which some are taken and some refused
    rng = random.Random(seed)
    server.flushall()
    script = server.register_script(SCRIPT)
    state: State = {}
    numbers: dict[bytes, int] = {}
    taken = refused = 0
    for step in range(150):
        keys, argv = call(rng, numbers)
        # When both get the same call
        real = script(keys=keys, args=argv)
        model, state = run(state, keys, argv, NOW_MS)
        # Then they answer alike and hold the same
        assert without_the_time(real) == without_the_time(model), (step, argv)
        if step % 15 == 14:
            assert content(server) == state, (step, argv)
        taken, refused = taken + (real != 0), refused + (real == 0)
        held = state.get(POSITIONS, {})
        numbers = {p: int(held.get(p + b".number", b"0")) for p in (b"1", b"10")}
    assert taken > 20
    assert refused > 20


def test_a_refused_call_leaves_no_trace() -> None:
    # Given a claimed partition
    _, state = run({}, [POSITIONS], [b"claim", b"0", b"h", b"t"])
    # When a call of another token comes
    head = [b"project", b"0", b"other", b"1", b"word", b"changes", b"", b"", b"", b"0"]
    answer, after = run(state, [POSITIONS, b"days"], [*head, b"u", b"2"])
    # Then nothing changes
    assert (answer, after) == (0, state)


def test_what_a_reader_misses_lets_the_positions_go_and_not_again_for_a_while(server: redis.Redis) -> None:
    # Given a partition with a position
    server.flushall()
    script = server.register_script(SCRIPT)
    held = {"partitions": 1, "0.position": 7, "0.token": "t", "0.copied": 3, "0.as_of": 9, "0.owed": "[]"}
    server.hset(POSITIONS, mapping=held)
    state = content(server)
    # When keys are missed twice in a row
    answers = [script(keys=[POSITIONS], args=["lost", 15, 300]) for _ in range(2)]
    (now, _), models = server.time(), []
    for _ in range(2):
        model, state = run(state, [POSITIONS], [b"lost", b"15", b"300"], now * 1000)
        models.append(model)
    # Then position and token went once, and what readers were told before stays
    assert answers == models == [1, 0]
    left = content(server)[POSITIONS]
    assert abs(int(left.pop(b"lost")) - now) < 60
    assert left == {b"partitions": b"1", b"0.as_of": b"9", b"0.owed": b"[]", b"lost_wait": b"15"}
    assert {f: v for f, v in state[POSITIONS].items() if f != b"lost"} == left


def test_what_is_missed_again_and_again_is_sent_again_less_and_less_often(server: redis.Redis) -> None:
    # Given keys that are missed again, each time so many seconds after all was sent again last
    script = server.register_script(SCRIPT)
    waits: list[int] = []
    cases = ((10, 15), (20, 15), (50, 15), (70, 15), (20, 30), (200, 240), (250, 240), (290, 300), (2_000, 300))
    for seconds, wait in cases:
        server.flushall()
        (now, _) = server.time()
        server.hset(POSITIONS, mapping={"lost": now - seconds, "lost_wait": wait})
        state = content(server)
        # When they are missed
        real = script(keys=[POSITIONS], args=["lost", 15, 300])
        model, after = run(state, [POSITIONS], [b"lost", b"15", b"300"], now * 1000)
        assert (model, after[POSITIONS][b"lost_wait"]) == (real, content(server)[POSITIONS][b"lost_wait"])
        waits.append(int(after[POSITIONS][b"lost_wait"]) if real else 0)
    # Then the wait doubles up to the most, and begins again after a while without
    assert waits == [0, 30, 30, 15, 0, 0, 300, 0, 15]


def test_a_state_is_never_changed() -> None:
    # Given and when a state is changed
    _, first = run({}, [POSITIONS], [b"claim", b"0", b"h", b"t"])
    _, second = run(first, [POSITIONS], [b"claim", b"0", b"h", b"u"])
    # Then the one before is as it was
    assert first[POSITIONS][b"0.token"] == b"t"
    assert second[POSITIONS][b"0.token"] == b"u"
