"""The question where partitions end is the one that aiokafka would send; its answer is read as aiokafka reads it."""

from __future__ import annotations

from io import BytesIO

import pytest
from aiokafka.protocol.offset import OffsetRequest, OffsetResponse_v2

from stream.kafka.end_requests import ask_ends, read_ends


@pytest.mark.parametrize("partitions", [[0], [3, 0, 7]])
def test_it_has_the_bytes_of_aiokafkas(partitions: list[int]) -> None:
    own = OffsetRequest(-1, 1, [("événements", [(partition, -1) for partition in partitions])]).prepare({2: (0, 2)})
    packed = ask_ends("événements", partitions).prepare({})
    assert packed.encode() == own.encode()
    assert packed.build_request_header(5, "client").encode() == own.build_request_header(5, "client").encode()


def test_its_answer_says_of_each_partition_an_error_or_its_end() -> None:
    answers = [("événements", [(3, 0, -1, 2**40), (0, 6, -1, -1)]), ("other", [(7, 0, -1, 0)])]
    read = ask_ends("événements", [3, 0, 7]).RESPONSE_TYPE.decode(BytesIO(OffsetResponse_v2(0, answers).encode()))
    assert read_ends(read) == {3: (0, 2**40), 0: (6, -1), 7: (0, 0)}
