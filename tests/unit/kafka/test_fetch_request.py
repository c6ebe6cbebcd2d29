"""A fetch that is packed here is the one that aiokafka would send, and its answer is read as aiokafka reads it."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.protocol.fetch import (
    FetchRequest,
    FetchRequest_v10,
    FetchRequest_v11,
    FetchResponse_v11,
)

from stream.kafka.fetch_request import FetchAnswer, PackedFetchRequest

ASKED: list[Any] = [
    pytest.param((250, 1, 50 << 20, 1, [("events", [(3, 2**40, 2 << 20), (0, 0, 2 << 20)])]), id="one topic"),
    pytest.param(
        (20, 1, 1, 0, [("événements", [(0, 7, 1)]), ("b", [(1, 8, 1)])], "rack 1"), id="two topics and a rack"
    ),
    pytest.param((0, 0, 0, 1, []), id="nothing"),
]


@pytest.mark.parametrize("asked", ASKED)
def test_a_fetch_has_the_bytes_of_aiokafkas(asked: tuple[Any, ...]) -> None:
    packed, own = PackedFetchRequest(*asked), FetchRequest(*asked)
    versions = {1: (0, 11)}
    assert packed.topics == own.topics
    assert packed.prepare(versions).encode() == own.prepare(versions).encode()
    assert (
        packed.prepare(versions).build_request_header(5, "client").encode()
        == own.prepare(versions).build_request_header(5, "client").encode()
    )


def test_to_an_older_broker_it_is_aiokafkas_own() -> None:
    assert isinstance(PackedFetchRequest(*ASKED[0].values[0]).prepare({1: (0, 10)}), FetchRequest_v10)


@pytest.mark.parametrize(
    "topics",
    [
        pytest.param([], id="nothing"),
        pytest.param(
            [
                (
                    "événements",
                    [(3, 0, 2**40, 9, 0, [(7, 1), (8, 2)], -1, b"records"), (0, 1, -1, -1, -1, None, 2, b"")],
                ),
                ("other", [(0, 0, 5, 5, 0, [], -1, None)]),
            ],
            id="two topics",
        ),
    ],
)
def test_an_answer_says_what_aiokafka_reads_in_it(topics: list[Any]) -> None:
    encoded = FetchResponse_v11(10, 0, 0, topics).encode()
    request = FetchRequest(*ASKED[0].values[0]).build(FetchRequest_v11)
    buffer = BytesIO(b"\0\0\0\5" + encoded)
    own = request.RESPONSE_TYPE.decode(BytesIO(encoded))
    packed = PackedFetchRequest(*ASKED[0].values[0]).prepare({1: (0, 11)})

    assert packed.parse_response_header(buffer).correlation_id == 5
    read = packed.RESPONSE_TYPE.decode(buffer)

    assert isinstance(read, FetchAnswer)
    assert [(topic, list(of)) for topic, of in own.topics] == read.topics
    assert read.API_VERSION == own.API_VERSION
