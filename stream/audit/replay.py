"""Chooses the dead letters to replay, and says why others are not replayed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from enum import StrEnum

import msgspec

from stream.audit.letter_search import LetterReader
from stream.ingest.event import EventRules, Rejected, parse
from stream.kafka.letters import Letter
from stream.kafka.replay import TRANSACTION_BYTES, TRANSACTION_LETTERS, Place, Replayer
from stream.settings.worker import WorkerConfig
from stream.tables.rules import counting_rules


class Decision(StrEnum):
    REPLAY = "replay"
    REPLAYED_BEFORE = "replayed_before"
    INCOMPLETE = "incomplete"
    """Its value, key or headers were left out."""
    OTHER_TOPIC = "other_topic"


class Choice(msgspec.Struct):
    """What is done with one letter."""

    letter: Letter
    decision: Decision
    judged: str | None
    """Why it would be rejected again, by the rules of today; None: it would count, or be a duplicate."""
    offset: int | None = None
    """Of the record, once it was sent."""


class Chooser:
    """Decides for one letter after another; a record that has two letters is replayed once."""

    def __init__(self, config: WorkerConfig, replayed: Collection[Place], again: bool) -> None:
        """`again`: replay what was replayed before, too."""
        self._config, self._again = config, again
        self._replayed = set(replayed)
        self._chosen: set[Place] = set()
        self._rules = counting_rules(config).event

    def choose(self, letter: Letter) -> Choice:
        return Choice(letter, self._decide(letter), _judge(letter, self._rules))

    def _decide(self, letter: Letter) -> Decision:
        place = letter.source_partition, letter.source_offset
        if letter.source_topic != self._config.topic:
            return Decision.OTHER_TOPIC
        if letter.omitted:
            return Decision.INCOMPLETE
        if place in self._chosen or (place in self._replayed and not self._again):
            return Decision.REPLAYED_BEFORE
        self._chosen.add(place)
        return Decision.REPLAY


async def replay(letters: LetterReader, chooser: Chooser, replayer: Replayer | None) -> AsyncIterator[Choice]:
    """Decide for each letter that is there, and send it; what was sent comes after its transaction. Without a replayer
    nothing is sent. Raises KafkaAway, Fenced.
    """
    part: list[Choice] = []
    size = 0
    async for letter in letters.present():
        choice = chooser.choose(letter)
        if replayer is None or choice.decision is not Decision.REPLAY:
            yield choice
            continue
        part.append(choice)
        size += len(letter.value or b"")
        if len(part) >= TRANSACTION_LETTERS or size >= TRANSACTION_BYTES:
            for sent in await _send(replayer, part):
                yield sent
            part, size = [], 0
    if replayer is not None and part:
        for sent in await _send(replayer, part):
            yield sent


async def _send(replayer: Replayer, part: list[Choice]) -> list[Choice]:
    offsets = await replayer.send([choice.letter for choice in part])
    for choice, offset in zip(part, offsets, strict=True):
        choice.offset = offset
    return part


def _judge(letter: Letter, rules: EventRules) -> str | None:
    """As if it were taken by the broker now."""
    record = msgspec.structs.replace(letter.record(), timestamp=int(time.time() * 1000))
    read = parse(record, rules)
    return read.reason.value if isinstance(read, Rejected) else None
