"""The counting job in Bytewax, run by `python -m bytewax.run`.

Events are decoded a batch at a time, and a cell takes all its events of a batch at once: the operators that Bytewax
offers for speed.
"""

from __future__ import annotations

import os

import orjson
from bytewax import operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic

from benchmarks.peers.jobs.cells import cell_of


class Count(StatefulBatchLogic[None, int, int]):
    def __init__(self, counted: int | None) -> None:
        self._counted = counted or 0

    def on_batch(self, values: list[None]) -> tuple[tuple[int], bool]:
        self._counted += len(values)
        return (self._counted,), StatefulBatchLogic.RETAIN

    def snapshot(self) -> int:
        return self._counted


def decode(batch: list[KafkaSourceMessage[bytes, bytes]]) -> list[tuple[str, None]]:
    return [(cell_of(orjson.loads(message.value)), None) for message in batch]


def encode(batch: list[tuple[str, int]]) -> list[KafkaSinkMessage[bytes, bytes]]:
    return [KafkaSinkMessage(cell.encode(), b"%d" % counted) for cell, counted in batch]


brokers = [os.environ["PEER_KAFKA"]]
flow = Dataflow("counts")
messages = op.input("read", flow, KafkaSource(brokers, [os.environ["PEER_TOPIC"]]))
cells = op.flat_map_batch("decode", messages, decode)
counts = op.stateful_batch("count", cells, Count)
op.output("write", op.flat_map_batch("encode", counts, encode), KafkaSink(brokers, os.environ["PEER_OUTPUT"]))
