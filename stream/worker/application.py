"""The interface of the application that brings the worker its batches; stream/agents/app.py is the one on Faust."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from stream.ports import FetchControl
from stream.settings.worker import WorkerConfig
from stream.worker.assignment import OwnedPartitions
from stream.worker.partition_task import OwnedPartition


class Batches(Protocol):
    """The consumer of the topic."""

    def group_error(self) -> BaseException | None:
        """Why the consumer has left its group for good; None while it has not."""

    def assigned_partitions(self) -> set[int]:
        """The partitions of the topic that the group has given to this worker."""

    def commit_for_monitors(self, offsets: Mapping[int, int]) -> None:
        """Write the group's offsets, which nothing here depends on. Returns at once."""


class Application(Protocol):
    """One consumer group's member, with the partitions that it owns."""

    partitions: OwnedPartitions
    fetch_control: FetchControl

    @property
    def batches(self) -> Batches: ...
    @property
    def crashed(self) -> bool: ...
    @property
    def crash_reason(self) -> BaseException | None: ...
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


MakeApplication = Callable[[WorkerConfig, int, Callable[[int], OwnedPartition]], Application]
"""Settings, the number of the topic's partitions, and what begins a partition that this worker comes to own."""
