"""The requests of a transaction are, byte by byte, those of Kafka's protocol."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest_v0,
    AddPartitionsToTxnResponse_v0,
    EndTxnRequest_v0,
    InitProducerIdRequest_v0,
    InitProducerIdResponse_v0,
)

from stream.kafka.transaction_requests import (
    Answer,
    FlexibleAnswer,
    Identity,
    Request,
    add_partitions,
    end_transaction,
    init_producer,
    produce,
    read_added,
    read_end,
    read_features,
    read_produced,
    read_producer,
)

WHO = Identity("grüp-3", 4_000, 7)


def sent(request: Any) -> bytes:
    """What goes to the socket, as aiokafka's connection puts it together."""
    prepared = request.prepare({}) if isinstance(request, Request) else request
    header: bytes = prepared.build_request_header(correlation_id=5, client_id="é").encode()
    return header + bytes(prepared.encode())


def test_before_version_2_they_are_those_of_aiokafka() -> None:
    places, batches = [("a", 3), ("b", 3), ("a", 4)], [(("a", 3), b"one"), (("b", 3), b"two"), (("a", 4), b"")]
    pairs: list[tuple[Request, Any]] = [
        (init_producer("grüp-3", 9_000), InitProducerIdRequest_v0("grüp-3", 9_000)),
        (add_partitions(WHO, places), AddPartitionsToTxnRequest_v0(*WHO, [("a", [3, 4]), ("b", [3])])),
        (end_transaction(WHO, whole=False), EndTxnRequest_v0(*WHO, True)),
        (
            produce(WHO, 9_000, batches, whole=False),
            ProduceRequest_v7(WHO[0], -1, 9_000, [("a", [(3, b"one"), (4, b"")]), ("b", [(3, b"two")])]),
        ),
    ]
    for ours, theirs in pairs:
        assert sent(ours) == sent(theirs)


def test_answers_before_version_2_are_read_as_aiokafka_writes_them() -> None:
    places: Any = [("a", [(3, 0), (4, 51)]), ("b", [(3, 47)])]
    added = AddPartitionsToTxnResponse_v0(0, places).encode()
    assert read_added(Answer(added)) == {("a", 3): 0, ("a", 4): 51, ("b", 3): 47}
    produced = ProduceResponse_v7([("a", [(3, 0, 17, -1, 0), (4, 10, -1, -1, -1)]), ("b", [(3, 6, 1, 2, 3)])], 0)
    assert read_produced(Answer(produced.encode())) == {("a", 3): 0, ("a", 4): 10, ("b", 3): 6}
    assert read_producer(Answer(InitProducerIdResponse_v0(0, 0, 4_000, 7).encode())) == (0, 4_000, 7)
    assert read_end(Answer(b"\0\0\0\0" + b"\0\x33")) == 51


def test_as_of_version_2_they_are_in_the_compact_form() -> None:
    """Written out by hand, after common/message/*.json of Apache Kafka 4.1."""
    records = b"r" * 200  # its length takes two bytes
    expected = (
        b"\x00\x00\x00\x0c\x00\x00\x00\x05\x00\x02" + "é".encode() + b"\x00"  # Produce 12, correlation, client, tags
        b"\x08" + "grüp-3".encode() + b"\xff\xff\x00\x00\x23\x28"  # transactional id, acks, time-out
        b"\x02\x02a\x02\x00\x00\x00\x03\xc9\x01" + records + b"\x00\x00\x00"  # a topic, a partition, tags of each
    )
    assert sent(produce(WHO, 9_000, [(("a", 3), records)], whole=True)) == expected
    expected = (
        b"\x00\x1a\x00\x05\x00\x00\x00\x05\x00\x02" + "é".encode() + b"\x00"  # EndTxn 5
        b"\x08" + "grüp-3".encode() + b"\x00\x00\x00\x00\x00\x00\x0f\xa0\x00\x07\x01\x00"
    )
    assert sent(end_transaction(WHO, whole=True)) == expected


def test_answers_as_of_version_2() -> None:
    partition = b"\x00\x00\x00\x03\x00\x57" + b"\xff" * 24
    errors, message, tags = b"\x02\x00\x00\x00\x01\x04why\x00", b"\x05what", b"\x01\x00\x02\xaa\xbb"
    written = partition.replace(b"\x00\x57", b"\x00\x00") + b"\x01\x00\x00"
    produced = b"\x03\x02a\x02" + partition + errors + message + tags + b"\x00\x02b\x02" + written + b"\x00"
    assert read_produced(FlexibleAnswer(produced + b"\0\0\0\0\x00")) == {("a", 3): 87, ("b", 3): 0}
    ended = b"\0\0\0\0\x00\x5a" + b"\0" * 6 + b"\x0f\xa0\x00\x08\x00"
    assert read_producer(FlexibleAnswer(ended)) == (90, 4_000, 8)


def test_features_of_the_cluster() -> None:
    versions = b"\x02\x00\x00\x00\x03\x00\x0d\x00"
    finalized = b"\x02\x14transaction.version\x00\x02\x00\x01\x00"
    tags = b"\x02\x01\x08" + b"\0" * 8 + b"\x02" + bytes([len(finalized)]) + finalized
    assert read_features(FlexibleAnswer(b"\0\0" + versions + b"\0\0\0\0" + tags)) == {"transaction.version": 2}
    assert read_features(FlexibleAnswer(b"\0\0" + versions + b"\0\0\0\0" + b"\0")) == {}
    # One that does not know the question answers in the first form.
    assert read_features(FlexibleAnswer(b"\0\x23\0\0\0\x01\0\x12\0\0\0\x02")) == {}


def test_an_answers_header_is_passed_over() -> None:
    assert end_transaction(WHO, whole=True).parse_response_header(BytesIO(b"\0\0\0\x05\0rest")).correlation_id == 5
    buffer = BytesIO(b"\0\0\0\x05rest")
    assert end_transaction(WHO, whole=False).parse_response_header(buffer).correlation_id == 5
    assert Answer.decode(buffer)._data == b"rest"
